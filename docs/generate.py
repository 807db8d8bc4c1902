"""Make the pages of this folder that follow from the code: `make docs`, or `python docs/generate.py`.

What ships is read from pyproject.toml, so that other people's installed plugins leave no trace here.
"""

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

import ganzoo
from ganzoo import hookspecs
from ganzoo.cli import COMMANDS
from ganzoo.commands.run import MODEL, train_command
from ganzoo.data import DataSpec
from ganzoo.fields import in_words, taken, value_in_words
from ganzoo.plugins import GROUP, Registry, discover
from ganzoo.sampling import sampling_fields

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NOTE = "<!-- Made by `make docs`: edit the code, not this page. -->"


def shipped() -> Registry:
    """The plugins that pyproject.toml names, and no others.

    Raises:
        RuntimeError: one of them is broken.
    """
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    registry = discover([EntryPoint(name, module, GROUP) for name, module in entries.items()], {}).check()
    for plugin in registry.plugins:
        if plugin.broken:
            raise RuntimeError(f"plugin {plugin.name}: {plugin.broken}")
    return registry


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---" for _ in head]] + [list(map(str, row)) for row in rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# models.md


def models(registry: Registry) -> str:
    """Every model: its paper, what it says of itself, its options and presets."""
    classes = [registry.get("models", name) for name in registry.names("models")]
    parts = [
        "# Models",
        NOTE,
        "What ships with ganzoo. `ganzoo list models` shows what is installed besides; `ganzoo info MODEL` says of any "
        "of them what this page says, and `ganzoo run MODEL --help` explains every option. Pictures are of runs in "
        "[recipes.md](recipes.md), of most models after one minute on one thread.",
        "## Which model should I take?",
        table(["you want", "take"], CHOICE),
        "What each reaches in minutes: [recipes.md](recipes.md). Samples side by side: [gallery.md](gallery.md).",
        "## All of them",
        table(
            ["model", "paper", "labels", "presets"],
            [[f"[`{c.name}`](#{c.name})", citation(c.paper), labels(c), code(sorted(c.presets))] for c in classes],
        ),
        "All models have these options; what a model lists below it has besides, or with another default.",
        options(ganzoo.Options.model_fields.items()),
    ]
    for cls in classes:
        mathematics = (inspect.getdoc(sys.modules[cls.__module__]) or "").partition("\n\n")[2]
        parts += [f"## {cls.name}", citation(cls.paper), prose(inspect.getdoc(cls) or ""), prose(mathematics)]
        base = ganzoo.Options.model_fields
        own = [
            (name, field)
            for name, field in cls.Options.model_fields.items()
            if name not in base or field.get_default() != base[name].get_default()
        ]
        if own:
            parts.append(options(own))
        if drawing := sampling_fields(cls):
            parts += ["Options of drawing, of `ganzoo sample`, `eval` and `demo`:", options(drawing.items())]
        if drawn := picture(cls.name):
            parts.append(f"![What {cls.name} draws](images/{drawn})")
        if cls.presets:
            rows = [[f"`{name}`", code(flags(values))] for name, values in sorted(cls.presets.items())]
            parts.append(table(["preset", "stands for"], rows))
    return page([*parts, "Next: [what was measured](recipes.md), and [a model of your own](write-a-plugin.md)."])


IMAGES = DOCS / "images"
DRAWN = ("mnist", "emoji", "styles", "digits", "minute")
"""How names of pictures end that show what a model draws; the last, after a minute of training on one thread."""
LEARNT = {"pacgan": "learn-pacgan.png", "unrolled-gan": "learn-unrolled.png"}
"""Pictures of learn.md that show what a model draws."""
CHOICE = [
    [
        "digits, small pictures of a class you choose, in minutes on a CPU",
        "`cgan`; better pictures: `sngan`, `acgan`",
    ],
    ["your own pictures, some thousands, on a CPU", "`dcgan --preset pictures`"],
    ["your own pictures, on a GPU", "`stylegan2 --augment ada`: [stylegan2.md](stylegan2.md)"],
    ["a few dozen large pictures, on a GPU", "`fastgan`: [few-images.md](few-images.md#a-model-for-few-images)"],
    ["to see how GANs fail", "`gan --r1 0`, `pacgan` and `unrolled-gan` on points in the plane: [learn.md](learn.md)"],
    ["to learn classes from few labels", "`sgan`, `ccgan`"],
    ["groups found without any label", "`clustergan`, `infogan`"],
    ["to turn images into other images", "`pix2pix`, `cyclegan`, `srgan` and others: [translation.md](translation.md)"],
    ["words for a picture", "`cgan` on `emoji-tags`: [tagging.md](tagging.md)"],
    ["a modern baseline", "`r3gan`"],
]
"""What somebody wants, and the model to take."""


def picture(name: str) -> str | None:
    """The file name of a picture of what a model draws; None where there is none."""
    names = (*(f"{name}-{of}.png" for of in DRAWN), LEARNT.get(name, ""))
    return next((found for found in names if (IMAGES / found).is_file()), None)


def citation(paper: str) -> str:
    """A paper with its address as a link."""
    return re.sub(r"https?://\S+", lambda m: f"<{m[0]}>", paper)


def labels(cls: type[ganzoo.GAN]) -> str:
    """What a model does with labels."""
    if cls.supervised:
        return "learns to name them"
    with_labels, without = (DataSpec("data", (1, 28, 28), 1, classes) for classes in (("a", "b"), ()))
    if cls.uses_labels(without, cls.Options()):
        return "needs them"
    if cls.uses_labels(with_labels, cls.Options()):
        return "uses them where there are any"
    return "with `--conditional yes`" if "conditional" in cls.Options.model_fields else "uses none"


def options(fields: Iterable[tuple[str, Any]]) -> str:
    """Options as a table: flag, what it takes, default, what it is."""
    rows = [
        [typed(name, field), takes(field), f"`{value_in_words(field.get_default())}`", field.description or ""]
        for name, field in fields
    ]
    return table(["option", "takes", "default", ""], rows)


def typed(name: str, field: Any) -> str:
    """An option as one types it; a switch with how it is turned off."""
    return f"`{flag(name)}`" + (f", `{flag('no_' + name)}`" if taken(field).kind is bool else "")


def takes(field: Any) -> str:
    """What an option takes, a choice as one would type it; nothing of a switch."""
    if taken(field).kind is bool:
        return ""
    if get_origin(taken(field).kind) is Literal:
        none = ["none"] if type(None) in get_args(field.annotation) else []
        return code([*map(str, get_args(taken(field).kind)), *none])
    return in_words(field)


def flag(name: str) -> str:
    """`latent_dim` to `--latent-dim`."""
    return "--" + name.replace("_", "-")


REPEATED = ("augment", "regularise")
"""Options that are given once for each of several."""


def flags(values: dict[str, Any]) -> list[str]:
    """A preset as one would type it."""
    typed: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            typed.append(flag(name if value else f"no-{name}"))
        elif name in REPEATED:
            typed += [f"{flag(name)} {each}" for each in value] or [f"{flag(name)} none"]
        else:
            typed.append(f"{flag(name)} {value_in_words(value)}")
    return typed


def code(items: Iterable[str]) -> str:
    """Items set as code."""
    return ", ".join(f"`{item}`" for item in items)


# hooks.md


def hooks(registry: Registry) -> str:
    """Every hook: when it is called, its signature, what it registers, an example that ships."""
    parts = [
        "# Hooks",
        NOTE,
        "A plugin is a module that an entry point of the group `ganzoo` names and that implements at least one of "
        "these hooks, marked with `@ganzoo.hookimpl`. How to write one: [write-a-plugin.md](write-a-plugin.md).",
        "**When they are called**: each once in a process, when a command first asks what is installed; ganzoo's own "
        "plugins first, then the rest by name. The argument is a function to be called with each class.",
        "**When something is wrong**: what a plugin raises, in a hook or at its import, makes it a broken plugin, "
        "which stops nobody; so does a misspelt hook. `ganzoo list plugins` shows the reason. Two classes of one "
        "name are an error that names both packages.",
    ]
    for name, spec in specifications().items():
        path, source = example(registry, name)
        parts += [f"## {name}", f"`{name}{signature(spec)}`", prose(inspect.getdoc(spec) or "")]
        for base in re.findall(r"`ganzoo\.(\w+)`", inspect.getdoc(spec) or ""):
            parts.append(interface(getattr(ganzoo, base)))
        parts += [f"Shipped example, from [{path}](../{path}):", f"```python\nimport ganzoo\n\n\n{source}\n```"]
    return page([*parts, "Next: [write a plugin](write-a-plugin.md), and [the classes that it gives](api.md)."])


def specifications() -> dict[str, Callable[..., Any]]:
    """The hooks of `hookspecs.py`, in the order they stand there."""
    return {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, f"{GROUP}_spec")}


def signature(function: Callable[..., Any], called: bool = False) -> str:
    """A signature without annotations, and as it is `called`, without `self`; of a class, that of what makes one."""
    parameters = []
    for p in inspect.signature(function).parameters.values():
        if not called or p.name != "self":
            default = p.empty if p.default is p.empty else Shown(p.default)
            parameters.append(p.replace(annotation=p.empty, default=default))
    return str(inspect.Signature(parameters))


class Shown:
    """A default as one reads it: a function is told by its name, or left open."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        if inspect.isfunction(self.value):
            return "..." if self.value.__name__ == "<lambda>" else self.value.__name__
        return repr(self.value)


def interface(base: type[Any]) -> str:
    """What a class that is registered must state and may override."""
    lines = [f"A `ganzoo.{base.__name__}` states:", ""]
    annotated = vars(base).get("__annotations__", {})
    stated = [name for name in annotated if name not in vars(base) and not name.startswith("_")]
    lines += [f"- `{name}`" for name in stated]
    abstract = getattr(base, "__abstractmethods__", frozenset())
    for name, method in vars(base).items():
        if name in abstract or (inspect.isfunction(method) and to_be_stated(method)):
            lines.append(f"- `{name}{signature(method)}`: {first_line(method)}")
    return "\n".join(lines)


def to_be_stated(method: Any) -> bool:
    """Whether it raises that a subclass does not state it."""
    return "does not state" in inspect.getsource(method)


def first_line(thing: Any) -> str:
    """The summary of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def example(registry: Registry, hook: str) -> tuple[str, str]:
    """The shortest shipped module that implements a hook: its path in the repository, and the implementation."""
    found = []
    for plugin in registry.plugins:
        module = import_module(plugin.module)
        if hasattr(module, hook):
            found.append((len(inspect.getsource(module)), plugin.name, module))
    if not found:
        raise RuntimeError(f"no shipped plugin implements {hook}")
    module = min(found)[2]
    folder, _, rest = module.__name__.partition(".")
    stem = ROOT / folder.replace("ganzoo_plugins", "plugins") / rest.replace(".", "/")
    path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    return path.relative_to(ROOT).as_posix(), inspect.getsource(getattr(module, hook)).strip()


# cli.md


def cli(registry: Registry) -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Commands",
        NOTE,
        table(["command", ""], [[f"[`ganzoo {n}`](#ganzoo-{n})", text] for n, (_, text) in COMMANDS.items()]),
        "Exit codes: 0 done; 1 the work failed; 2 wrong usage; 129, 130 and 143 stopped by a signal: what trains has "
        "saved. `GANZOO_TRACEBACK=1` shows where an error came from.",
    ]
    for name, (module, _) in COMMANDS.items():
        command = import_module(module).command
        if name == "run":
            parts += section(f"ganzoo {name}", command, ["MODEL"])
            parts.append("The options of each model are in [models.md](models.md). Those of every run:")
            of_run = train_command(registry.get("models", "cgan")).params
            parts.append(flags_of([p for p in of_run if getattr(p, "section", "") != MODEL and p.name != "preset"]))
        else:
            parts += command_pages(f"ganzoo {name}", command)
    return page([*parts, "Next: [the options of each model](models.md), and [the same from Python](python.md)."])


def command_pages(path: str, command: click.Command) -> list[str]:
    """A command and those below it."""
    taken = [p.metavar or (p.name or "").upper() for p in command.params if isinstance(p, click.Argument)]
    required = [p.required for p in command.params if isinstance(p, click.Argument)]
    parts = section(
        path, command, [n if r or n.startswith("[") else f"[{n}]" for n, r in zip(taken, required, strict=True)]
    )
    parts.append(flags_of(command.params))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            parts += command_pages(f"{path} {name}", below)
    return parts


def section(path: str, command: click.Command, takes: list[str]) -> list[str]:
    """A command's heading, usage and help."""
    usage = " ".join([path, *takes, "COMMAND ..." if isinstance(command, click.Group) and not takes else "[OPTIONS]"])
    return [f"## {path}", f"`{usage}`", prose(inspect.cleandoc(command.help or ""))]


def flags_of(params: Iterable[click.Parameter]) -> str:
    """The options among the parameters, as a table."""
    rows = [option(p) for p in params if isinstance(p, click.Option) and not p.hidden]
    return table(["option", ""], rows) if rows else ""


def option(param: click.Option) -> list[str]:
    """One row: the flags with what they take, and the help with its default."""
    names = ", ".join(param.opts) + ("".join(f" / {o}" for o in param.secondary_opts))
    takes = "" if param.is_flag else f" {param.metavar or kind(param.type)}"
    told = param.show_default and isinstance(param.default, int | float | str)
    default = f"  [default: {param.default}]" if told else ""
    return [f"`{names}{takes}`", ((param.help or "") + default).replace("]  [", "; ").replace("  [", " [")]


def kind(value: click.ParamType) -> str:
    """What an option takes, in a word."""
    if isinstance(value, click.Choice):
        return "|".join(map(str, value.choices))
    return {"integer": "INTEGER", "float": "NUMBER"}.get(value.name.removesuffix(" range"), value.name.upper())


# write-a-plugin.md


def tutorial(_: Registry) -> str:
    """The page as it stands, with what lies between `<!-- from MODULE -->` and `<!-- end -->` made anew."""
    text = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8")
    return re.sub(
        r"(<!-- from ([\w.]+) -->\n).*?(<!-- end -->)",
        lambda m: f"{m[1]}\n{BLOCKS.get(m[2], parts_of)(import_module(m[2]))}\n\n{m[3]}",
        text,
        flags=re.DOTALL,
    )


def methods_of_gan(_: Any) -> str:
    """What a model may override or call, with signatures."""
    rows = [
        [f"`{name}{signature(function, called=True)}`", first_line(function)]
        for name, function in vars(ganzoo.GAN).items()
        if inspect.isfunction(function) and not name.startswith("_") and name not in ("watched", *LOSSES)
    ]
    return table(["method", ""], rows)


LOSSES = ("discriminator_loss", "generator_loss")
"""Methods that every model has: the page begins with them."""
RULES = ("Adam", "RMSprop", "SGD", "exponential", "ramp", "linear_decay", "cosine")
"""What a model needs of `ganzoo.optim`."""


def parts_of(module: Any) -> str:
    """The public names of a module in their order: how each is made, how a module of torch is called, what it is."""
    rows = []
    for name, text in public(module).items():
        thing = getattr(module, name)
        made, called = f"`{name}`", ""
        if inspect.isfunction(thing) or inspect.isclass(thing):
            made = f"`{name}{signature(thing)}`"
            text = first_line(thing)
        text = text.replace("<", "&lt;")
        if inspect.isclass(thing) and "forward" in vars(thing):
            called = f"`{signature(thing.forward, called=True)}`"
        rows.append([made, called, text])
    with_calls = any(called for _, called, _ in rows)
    return table(
        [f"`{module.__name__}`", "called with", ""] if with_calls else [f"`{module.__name__}`", ""],
        rows if with_calls else [[made, text] for made, _, text in rows],
    )


def rules_of(module: Any) -> str:
    """Update rules and their schedules."""
    rows = [[f"`{name}{signature(getattr(module, name))}`", first_line(getattr(module, name))] for name in RULES]
    return table([f"`{module.__name__}`", ""], rows)


def public(module: Any) -> dict[str, str]:
    """The names that a module defines for others, each with what a string beneath it says."""
    found: dict[str, str] = {}
    body = ast.parse(inspect.getsource(module)).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        names = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        told = following.value.value if isinstance(following, ast.Expr) and names else ""
        found |= {name: " ".join(str(told).split()) for name in names if not name.startswith("_")}
    return found


BLOCKS: dict[str, Callable[[Any], str]] = {"ganzoo.gan": methods_of_gan, "ganzoo.optim": rules_of}


# All pages


def prose(text: str) -> str:
    """A docstring: paragraphs that click keeps as they are, and indented ones, become blocks."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.startswith("\b"):
            parts.append("```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```")
        elif all(line.startswith("    ") for line in paragraph.splitlines()):
            parts.append("```text\n" + inspect.cleandoc(paragraph) + "\n```")
        else:
            parts.append(paragraph if paragraph.lstrip().startswith("- ") else " ".join(paragraph.split()))
    return "\n\n".join(parts)


def page(parts: Iterable[str]) -> str:
    """Paragraphs joined, with one line break at the end."""
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


PAGES: dict[str, Callable[[Registry], str]] = {
    "models.md": models,
    "hooks.md": hooks,
    "cli.md": cli,
    "write-a-plugin.md": tutorial,
}


def main() -> None:
    """Write every page."""
    registry = shipped()
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(registry), encoding="utf-8")
        print(DOCS / name)


if __name__ == "__main__":
    sys.exit(main())
