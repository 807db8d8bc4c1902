"""A new plugin package from templates: written whole or not at all."""

import importlib.util
import keyword
import re
import secrets
import shutil
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError


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

FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/test.yml": "workflow.yml.tmpl",
}
"""Where each file's template goes; the module and its test are named after the model."""


def write_package(name: str, parent: Path, template: str = "unconditional") -> list[Path]:
    """Write the package `name` into a new folder of that name in `parent`, from one of `TEMPLATES`; returns the files.

    Raises:
        UsageError: the name cannot be a model's and a module's, is taken, or the folder exists.
        GanzooError: it cannot be written; nothing is left behind.
    """
    module = checked(name)
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already: choose another name, or remove it")
    names = {"name": name, "module": module, "cls": class_name(name), "version": __version__}
    conditional, start = template == "class-conditional", TEMPLATES[template]
    names |= {"conditional": str(conditional), "given": ", given the condition" if conditional else ""}
    names |= {"holds": start.holds, "data": start.data}
    files = FILES | {
        f"{module}.py": start.module,
        f"tests/test_{module}.py": "test.py.tmpl",
    }
    # Beside the target, so that the last move is one rename.
    part = parent / f".{name}.{secrets.token_hex(4)}.part"
    try:
        for path, template in files.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            text = (resources.files("ganzoo.kit") / "templates" / template).read_text(encoding="utf-8")
            (part / path).write_text(Template(text).substitute(names), encoding="utf-8")
        part.rename(folder)
    except OSError as error:
        raise GanzooError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [folder / path for path in sorted(files)]


def checked(name: str) -> str:
    """The module's name for a model's name.

    Raises:
        UsageError: it is not lower-case words joined by '-', or Python or an installed package has taken it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 50:
        raise UsageError(f"'{name}' cannot name a model: write lower-case words joined by '-', such as my-gan")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise UsageError(f"'{name}' cannot name a model: '{module}' is a word of Python; try {name}-gan")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"'{name}' is taken: a module named {module} is installed; try my-{name}")
    return module


def class_name(name: str) -> str:
    """`my-gan` to `MyGAN`."""
    words = (f"{w[:-3].capitalize()}GAN" if w.endswith("gan") else w.capitalize() for w in name.split("-"))
    return "".join(words)
