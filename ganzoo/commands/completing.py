"""Shell completion from a cache: what can be completed is written down once, so that a TAB imports neither torch nor
plugins. It is written anew when a package, a plugin's code or ganzoo's own has changed."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, FishComplete, add_completion_class, shell_complete

from ganzoo import __version__
from ganzoo.errors import GanzooError
from ganzoo.files import cache_dir, from_json, read_bytes, write_text

FORMAT = 2
MOST_BYTES = 2**24
HELP = {"help_option_names": ["-h", "--help"]}
WORDS = "ganzoo.words"
OPTIONS = {
    "dataset": ("datasets",),
    "metrics": ("metrics",),
    "features": ("features",),
    "augment": ("augmentations",),
    "regularise": ("regularisers",),
    "loggers": ("loggers",),
}
"""Options whose values are names of some kinds."""
ARGUMENTS = {
    ("info", "name"): ("models", "datasets", "augmentations", "regularisers"),
    ("check", "model"): ("models",),
    ("bench", "models"): ("models",),
    ("compare", "what"): ("models",),
    ("sweep", "model"): ("models",),
}
"""Arguments that are such names; those in `OR_FILES` may be paths too."""
OR_FILES = (("info", "name"), ("compare", "what"))

Tree = dict[str, Any]
"""What can be completed: `commands` by name, each with the numbers of its `params` among all that there are, the
`names` of each kind with what each is, and the options that come with a data set (`data`) or a model (`drawing`)."""


@add_completion_class
class Fish(FishComplete):
    """Click's script for fish ends each word, and what is told of it, at their first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


def complete(commands: Mapping[str, tuple[str, str]], instruction: str) -> int:
    """Answer a shell that asks what may follow; `commands` are the modules and one-line helps of all commands.

    And, as it starts (`fish_source`), by which script it asks, for which nothing needs to be known.
    """
    if instruction.endswith("_source"):
        return shell_complete(click.Command("ganzoo"), {}, "ganzoo", "_GANZOO_COMPLETE", instruction)
    tree = read()
    if tree is None:
        tree = {"params": [], "names": {}, "data": {}, "drawing": {}, "commands": _outlines(commands)}
        with suppress(Exception), _silence():
            tree = build(commands)
            write(tree)
    return shell_complete(Known("ganzoo", tree, tree), {}, "ganzoo", "_GANZOO_COMPLETE", instruction)


# The cache


def place() -> Path:
    """The file of this Python environment."""
    return cache_dir() / f"completion-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]}.json"


def read() -> Tree | None:
    """What was written, if it is whole and nothing that it depends on has changed since."""
    try:
        head, _, body = read_bytes(place(), MOST_BYTES).partition(b"\n")
        known = from_json(head)
        if known["sha256"] != hashlib.sha256(body).hexdigest() or known["key"] != _key():
            return None
        tree: Tree = from_json(body)
        return tree if all(_state(path) == state for path, state in known["files"].items()) else None
    except (GanzooError, OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def write(tree: Tree) -> None:
    """Keep it for the next time.

    Raises:
        OSError: it cannot be written.
    """
    body = json.dumps(tree)
    head = {"sha256": hashlib.sha256(body.encode()).hexdigest(), "key": _key(), "files": _files()}
    place().parent.mkdir(parents=True, exist_ok=True)
    write_text(place(), json.dumps(head) + "\n" + body)


def _key() -> list[Any]:
    """What tells one set of installed plugins from another: distributions, with their versions and entry points."""
    found = set()
    for folder in sys.path:
        with suppress(OSError):
            for entry in os.scandir(folder or "."):
                if entry.name.endswith((".dist-info", ".egg-info")):
                    found.add((entry.name, *(_state(f"{entry.path}/entry_points.txt") or ())))
    return [FORMAT, __version__, sys.version, os.environ.get("GANZOO_PLUGINS"), *map(list, sorted(found))]


def _files() -> dict[str, list[int] | None]:
    """The code that was asked, ganzoo's and plugins', as it is now: a package that is being worked on stays one."""
    from ganzoo.plugins import registry

    tops = {"ganzoo", *(plugin.module.partition(":")[0].partition(".")[0] for plugin in registry().plugins)}
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in tops]
    paths = {str(file) for module in modules if (file := getattr(module, "__file__", None))}
    return {path: _state(path) for path in sorted(paths)}


def _state(path: str) -> list[int] | None:
    """When a file was changed, and its size; None where there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116  A Path for each of hundreds takes its time.
    except OSError:
        return None
    return [about.st_mtime_ns, about.st_size]


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what imports say off the line that somebody types on."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, _ in kept:
            os.dup2(null, stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)
        os.close(null)


# From commands to what is written


def build(commands: Mapping[str, tuple[str, str]]) -> Tree:
    """Ask all commands and plugins. A plugin that is broken, or claims a name twice, has nothing to complete."""
    from ganzoo.commands.options import OfData, OfRun, from_fields
    from ganzoo.commands.run import train_command
    from ganzoo.plugins import NOUNS, registry
    from ganzoo.sampling import sampling_fields
    from ganzoo.settings import Settings

    plugins, usual = registry(), Settings.model_fields["dataset"].default
    params: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}

    def number(param: dict[str, Any]) -> int:
        """Most options are those of many commands: each is written once."""
        text = json.dumps(param, sort_keys=True)
        if text not in numbers:
            numbers[text] = len(params)
            params.append(param)
        return numbers[text]

    def outline(path: str, command: click.Command, about: str, presets: Sequence[str] = ()) -> Tree:
        made: Tree = {"help": about, "params": [number(_param(path, p, presets)) for p in command.params]}
        if isinstance(command, OfData):
            made["data"] = command.data_set({}) or usual
        made["drawing"] = isinstance(command, OfRun)
        if isinstance(command, click.Group):
            made["commands"] = {
                name: outline(name, below, below.get_short_help_str(100)) for name, below in command.commands.items()
            }
        return made

    def options(fields: Any) -> list[int]:
        return [number(_param("", p)) for p in from_fields(fields, "")]

    found = {n: outline(n, import_module(module).command, about) for n, (module, about) in commands.items()}
    models = {name: plugins.get("models", name) for name in plugins.names("models")}
    found["run"]["commands"] = {
        name: outline(name, train_command(model), model.paper, sorted(model.presets)) for name, model in models.items()
    }
    # What `run` takes in place of a model.
    found["run"]["before"] = [n for n, param in enumerate(params) if "--config" in param.get("opts", ())]
    names = {kind: {name: _about(plugins.get(kind, name)) for name in plugins.names(kind)} for kind in NOUNS}
    data = {name: options(plugins.get("datasets", name).Options.model_fields) for name in plugins.names("datasets")}
    drawing = {name: options(sampling_fields(model)) for name, model in models.items()}
    return {"params": params, "names": names, "data": data, "drawing": drawing, "commands": found}


def _about(cls: Any) -> str:
    """What a class is, in a line: a model's paper."""
    return str(getattr(cls, "paper", None) or getattr(cls, "summary", ""))


def _outlines(commands: Mapping[str, tuple[str, str]]) -> Tree:
    """The commands alone: where nothing more can be known, their names still are."""
    return {name: {"help": about, "params": [], "drawing": False} for name, (_, about) in commands.items()}


def _param(path: str, param: click.Parameter, presets: Sequence[str] = ()) -> dict[str, Any]:
    """A parameter, as far as a shell has to know it."""
    made: dict[str, Any] = {"name": param.name, "nargs": param.nargs, "multiple": param.multiple}
    kind = param.type
    made["commas"] = kind.name == "names"
    if isinstance(param, click.Option):
        made |= {"opts": [*param.opts, *param.secondary_opts], "flag": param.is_flag, "help": param.help or ""}
        kinds: tuple[str, ...] = OPTIONS.get(param.name or "", ())
        choices = list(presets) if param.name == "preset" else []
        paths = ""
    else:
        kinds, choices = ARGUMENTS.get((path, param.name or ""), ()), []
        paths = "file" if (path, param.name) in OR_FILES else ""
    if isinstance(kind, click.Choice):
        choices = list(map(str, kind.choices))
    if isinstance(kind, click.Path):
        paths = "dir" if kind.dir_okay and not kind.file_okay else "file"
    return made | {"kinds": kinds, "choices": choices, "paths": paths}


# From what is written to commands that can be completed, and do nothing else


class Leaf(click.Command):
    """A command of which the options are known, those of its data set or its run's model among them."""

    def __init__(self, name: str, tree: Tree, about: Tree):
        params = [_made(tree, tree["params"][number]) for number in about["params"]]
        super().__init__(name, params=params, short_help=about["help"], context_settings=HELP)
        self.tree, self.about = tree, about

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        taken = {flag for param in params for flag in param.opts}
        more = [_made(self.tree, self.tree["params"][number]) for number in self._more(ctx.meta.get(WORDS, []))]
        return [*params, *(param for param in more if not taken & set(param.opts))]

    def _more(self, words: list[str]) -> list[int]:
        found: list[int] = []
        if "data" in self.about:
            given = [word.partition("=")[2] for word in words if word.startswith("--dataset=")]
            given += [value for flag, value in pairwise(words) if flag == "--dataset"]
            found += self.tree["data"].get(given[-1] if given else self.about["data"], [])
        if self.about["drawing"]:
            configs = (Path(word) / "config.json" for word in words)
            with suppress(GanzooError, OSError, ValueError, RecursionError, KeyError, TypeError):
                config = next((path for path in configs if path.is_file()), None)
                found += self.tree["drawing"][from_json(read_bytes(config, MOST_BYTES))["model"]] if config else []
        return found


class Known(click.Group):
    """A command that has others below it."""

    def __init__(self, name: str, tree: Tree, about: Tree):
        params = [_made(tree, tree["params"][number]) for number in about.get("before", [])]
        super().__init__(name, params=params, short_help=about.get("help", ""), context_settings=HELP)
        self.tree, self.below = tree, about["commands"]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.below)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        about = self.below.get(name)
        if about is None:
            return None
        return (Known if "commands" in about else Leaf)(name, self.tree, about)


def _made(tree: Tree, about: dict[str, Any]) -> click.Parameter:
    """A parameter that knows what may be its value."""

    def values(_ctx: click.Context, _param: click.Parameter, begun: str) -> "list[CompletionItem[str]]":
        before, comma, last = begun.rpartition(",") if about["commas"] else ("", "", begun)
        known = dict.fromkeys(about["choices"], "")
        for kind in about["kinds"]:
            known |= tree["names"].get(kind, {})
        files = [CompletionItem(begun, type=about["paths"])] if about["paths"] else []
        items = (CompletionItem(before + comma + n, help=told) for n, told in known.items() if n.startswith(last))
        return [*files, *items]

    common = {"nargs": about["nargs"], "shell_complete": values}
    if "opts" not in about:
        return click.Argument([about["name"]], required=False, **common)
    if about["flag"]:
        return click.Option(about["opts"] + [about["name"]], is_flag=True, help=about["help"])
    return click.Option(about["opts"] + [about["name"]], multiple=about["multiple"], help=about["help"], **common)
