"""A new plugin package from templates: written whole or not at all."""

import ast
import importlib.util
import keyword
import secrets
import shutil
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import is_name


class Start(NamedTuple):
    """What a new package begins as."""

    summary: str
    """A line of the command's help."""
    module: str = "module.py.tmpl"
    """The template of its module."""
    holds: str = "two networks and two losses"
    """What the module holds, for the README."""
    data: str = ""
    """What `ganzoo run NAME` must be told besides."""
    noun: str = "model"
    about: str = "A generative adversarial network"
    """What the package is, for the README."""
    check: str = "check_gan"
    """What of `ganzoo.testing` its test calls."""

    @property
    def kinds(self) -> str:
        """What `ganzoo list` has it among."""
        return f"{self.noun}s"

    def run(self, name: str) -> str:
        """The arguments of `ganzoo run` that train it, or train with it."""
        flag = {"augmentation": "--augment", "regulariser": "--regularise"}.get(self.noun)
        return f"cgan {flag} {name}" if flag else f"{name}{self.data}"


TEMPLATES = {
    "unconditional": Start("two networks and two losses"),
    "class-conditional": Start("the same, told the class: draws what it is asked for"),
    "translating": Start(
        "makes images from images, for data with sources: a small pix2pix",
        "translating.py.tmpl",
        "a generator that makes images from images, a discriminator that sees both, and two losses",
        " --dataset mnist-edges",
    ),
    "three-player": Start(
        "an encoder as third player, and a penalty in every 16th step: a small BiGAN",
        "three_player.py.tmpl",
        "three networks, each with a turn of its own, and a penalty that is due in every 16th step",
    ),
}
"""By name; the first unless another is asked for."""

INGREDIENTS = {
    "augmentation": Start(
        "a change of what the discriminator sees",
        "augmentation.py.tmpl",
        "a change of images, with one option",
        noun="augmentation",
        about="An augmentation of what the discriminator sees,",
        check="check_ingredient",
    ),
    "regulariser": Start(
        "a term of a player's loss",
        "regulariser.py.tmpl",
        "a term of the discriminator's loss, with two options",
        noun="regulariser",
        about="A regulariser of a player's loss,",
        check="check_ingredient",
    ),
}
"""The same for what combines with any model."""

FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/test.yml": "workflow.yml.tmpl",
}
"""Where each file's template goes; the module and its test are named after the model."""


def write_package(name: str, parent: Path, template: str = "unconditional") -> list[Path]:
    """Write the package `name` into a new folder of that name in `parent`, from one of `TEMPLATES` or `INGREDIENTS`;
    returns the files.

    Raises:
        UsageError: the name cannot be a model's and a module's, is taken, or the folder exists.
        GanzooError: it cannot be written; nothing is left behind.
    """
    start = (TEMPLATES | INGREDIENTS)[template]
    module = checked(name, start.noun)
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already: choose another name, or remove it")
    names = {"name": name, "module": module, "cls": class_name(name), "version": __version__}
    conditional = template == "class-conditional"
    names |= {"conditional": str(conditional), "given": ", given the condition" if conditional else ""}
    names |= {"holds": start.holds, "noun": start.noun, "kinds": start.kinds, "run": start.run(name)}
    names |= {"about": start.about, "check": start.check}
    files = FILES | {
        f"{module}.py": start.module,
        f"tests/test_{module}.py": "test.py.tmpl",
    }
    refuse_hiding(name, start.noun, Template(_template(start.module)).substitute(names))
    # Beside the target, so that the last move is one rename.
    part = parent / f".{name}.{secrets.token_hex(4)}.part"
    try:
        for path, template in files.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_text(Template(_template(template)).substitute(names), encoding="utf-8")
        part.rename(folder)
    except OSError as error:
        raise GanzooError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [folder / path for path in sorted(files)]


def checked(name: str, noun: str = "model") -> str:
    """The module's name for the name of a model, or of something else that is a `noun`.

    Raises:
        UsageError: it is not lower-case words joined by '-', or Python or an installed package has taken it.
    """
    last = "gan" if noun == "model" else noun
    if not is_name(name) or name[0].isdigit() or len(name) > 50:  # A module's name begins with a letter.
        raise UsageError(f"'{name}' cannot name {a(noun)}: write lower-case words joined by '-', such as my-{last}")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise UsageError(f"'{name}' cannot name {a(noun)}: '{module}' is a word of Python; try {name}-{last}")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"'{name}' is taken: a module named {module} is installed; try my-{name}")
    return module


def refuse_hiding(name: str, noun: str, module: str) -> None:
    """Refuse a name whose class would be a word of Python, or would hide what its module imports or defines.

    Raises:
        UsageError: it would.
    """
    cls = class_name(name)
    named: list[str] = []
    for node in [] if keyword.iskeyword(cls) else ast.parse(module).body:
        found = node.names if isinstance(node, ast.Import | ast.ImportFrom) else ()
        named += [alias.asname or alias.name for alias in found]
        named += [node.name] if isinstance(node, ast.ClassDef) else []
    if named.count(cls) != 1:
        raise UsageError(f"'{name}' cannot name {a(noun)}: its class would be {cls}, which is taken; try my-{name}")


def _template(name: str) -> str:
    return (resources.files("ganzoo.kit") / "templates" / name).read_text(encoding="utf-8")


def a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def class_name(name: str) -> str:
    """`my-gan` to `MyGAN`."""
    words = (f"{w[:-3].capitalize()}GAN" if w.endswith("gan") else w.capitalize() for w in name.split("-"))
    return "".join(words)
