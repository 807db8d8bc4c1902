"""Options of a pydantic model as options of a command: typed, bounded, explained."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from ganzoo.errors import GanzooError, UsageError, plain
from ganzoo.streams import for_results
from ganzoo.terminal import limits_in_words

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from ganzoo.gan import GAN

FILM = "training.webp"
"""The film of a run's training, in its directory."""
FPS, HOLD = 8.0, 2.0
"""Frames of it in a second, and seconds for which the last one stays."""


class Section(click.Option):
    """An option that is listed under a heading of its own."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.section = section


class Explained(click.Command):
    """A command whose help says what options take as people write it: `a | b`, `>= 0, <= 1`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write_dl([record for param in self.get_params(ctx) if (record := _record(param, ctx))])


def _record(param: click.Parameter, ctx: click.Context) -> tuple[str, str] | None:
    """An option's flags, with a word for what it takes, and its help, with choices, bounds and default at its end."""
    found = param.get_help_record(ctx)
    if found is None or not isinstance(param, click.Option):
        return None
    flags, text = found
    if param.is_flag or param.metavar is not None:
        return flags, text
    kind, takes = param.type, []
    flags = flags.removesuffix(param.make_metavar(ctx))
    if isinstance(kind, click.IntRange | click.FloatRange):
        takes = [limits_in_words(kind.min, kind.max, kind.min_open, kind.max_open)]
        told = param.get_help_extra(ctx).get("range", "")
        text = text.replace(f"  [{told}]", "").replace(f"; {told}]", "]")
        flags += "INTEGER" if isinstance(kind, click.IntRange) else "NUMBER"
    elif isinstance(kind, click.Choice):
        takes = [" | ".join(map(str, kind.choices))]
        flags += "NAME"
    else:
        flags += kind.name.upper()
    said, _, default = text.partition("  [")
    takes = [*filter(None, takes), *([default.removesuffix("]").replace("]  [", "; ")] if default else [])]
    return flags, said + (f"  [{'; '.join(takes)}]" if takes else "")


class Sectioned(Explained):
    """A command whose help lists its options by section."""

    rest = "Other options"
    """The heading of those that are in none."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := _record(param, ctx):
                sections.setdefault(getattr(param, "section", "") or self.rest, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class OfData(Sectioned):
    """A command with `--dataset`, to which the data set's own options belong: `--dataset folder --skip-broken`.

    They are known once the data set is; `data_given` finds what was given of them among a command's values.
    """

    own = "ganzoo.data_options"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the data set first, wherever it stands, and then parse with its options."""
        values = _loosely(self, ctx, args)
        name = self.data_set(values)
        # Help that is general answers at once: what knows data sets imports torch.
        general = bool({"-h", "--help"} & set(args)) and name is None
        name = name or ("" if general else _usual())
        fields = {} if general else _data_fields(name)
        taken = {name for param in self.get_params(ctx) for name in (param.name, *param.opts)}
        ctx.meta[self.own] = {
            key: option
            for key, info in fields.items()
            if not {key, "--" + key.replace("_", "-")} & taken
            for option in from_fields({key: info}, f"Options of the data set '{name}'")
        }
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            key = error.option_name.removeprefix("--").removeprefix("no-").replace("-", "_")
            others = _having(key)
            if not others:
                raise
            flag = f"--{key.replace('_', '-')}"
            raise click.UsageError(f"{flag} belongs to {others}, and the data set is '{name}'", ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(self.own, {}).values()]

    def data_set(self, values: dict[str, Any]) -> str | None:
        """The name of the data set, given what can be read of the command line; None: that of runs which name none."""
        return values.get("dataset") or None


def _usual() -> str:
    """The data set of runs that name none."""
    from ganzoo.settings import Settings

    name: str = Settings.model_fields["dataset"].default
    return name


def data_given(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the data set's own options out of a command's values: those that were given."""
    names = click.get_current_context().meta.get(OfData.own, {})
    found = {name: values.pop(name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _loosely(command: click.Command, ctx: click.Context, args: list[str]) -> dict[str, Any]:
    """The values of known options and arguments; whatever else there is is in `others`."""
    parser = command.make_parser(ctx)
    parser.ignore_unknown_options = True
    try:
        values, others, _ = parser.parse_args(list(args))
    except click.UsageError:
        return {}
    return {**values, "others": others}


def _data_fields(name: str) -> "Mapping[str, FieldInfo]":
    """The options of a data set; none where there is no such, which the command tells."""
    from ganzoo.plugins import registry

    try:
        fields: Mapping[str, FieldInfo] = registry().check().get("datasets", name).Options.model_fields
    except GanzooError:
        return {}
    return fields


def _having(key: str) -> str:
    """The data sets that have an option, in words."""
    from ganzoo.plugins import registry

    try:
        plugins = registry().check()
        names = [f"'{n}'" for n in plugins.names("datasets") if key in plugins.get("datasets", n).Options.model_fields]
    except GanzooError:
        return ""
    return ("data set " if len(names) == 1 else "data sets ") + ", ".join(names) if names else ""


class OfRun(Sectioned):
    """A command on a run, to which its model's options of drawing belong: `ganzoo sample RUN --truncation 0.7`.

    They are known once RUN is. Without one, `--help` is general, and torch is not imported.
    """

    rest = "Options"
    known = "ganzoo.sampling"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find RUN first, whatever stands before it, and then parse with the options of its model."""
        run, model = _model_of(self._places(ctx, args))
        if model is not None:
            from ganzoo.sampling import sampling_fields

            section = f"Options of drawing, of the model '{model.name}'"
            ctx.meta[self.known] = from_fields(sampling_fields(model), section)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if model is None:
                told = f"{error.message.rstrip('.')} (a run's model may have it, and no run directory is named)"
                raise click.NoSuchOption(error.option_name, told, error.possibilities, ctx) from None
            none = "" if ctx.meta[self.known] else f" (model '{model.name}' has no options of drawing)"
            told = error.message.rstrip(".") + none if none else error.message
            raise Unknown(f"{ctx.command_path} {run}", error.option_name, told, error.possibilities, ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(self.known, [])]

    def _places(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What may be RUN: the arguments that are no values of known options."""
        values = _loosely(self, ctx, args)
        named = [values.get(param.name or "") for param in self.params if isinstance(param, click.Argument)]
        return [place for place in (*named, *values.get("others", [])) if isinstance(place, str)]


class Unknown(click.NoSuchOption):
    """An option that neither the command nor the run's model has."""

    def __init__(self, command: str, *args: Any):
        super().__init__(*args)
        self.command = command
        """What explains the options when `--help` is added."""


def _model_of(places: list[str]) -> "tuple[Path | None, type[GAN] | None]":
    """The first run directory, and its model; None where something is wrong, which the command tells."""
    from ganzoo.files import contained, read_json

    folders = [Path(here(place)) for place in places if "\0" not in place]
    folder = next((folder for folder in folders if (folder / "config.json").is_file()), None)
    if folder is None:
        return None, None
    from ganzoo.plugins import registry

    try:
        contained(folder)
        config = read_json(folder / "config.json")
        name = config.get("model") if isinstance(config, dict) else None
        return folder, registry().check().get("models", plain(str(name)))
    except GanzooError:
        return folder, None


class Place(click.Path):
    """A path. An empty one would be the current folder, and is that of a variable that the shell does not know."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            raise UsageError("an argument is empty: name a folder")
        return super().convert(value, param, ctx)


class RunPath(Place):
    """A run directory, or the address of one on the hub, hf://owner/name, which is fetched."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(here(value), param, ctx)


class OwnRun(Place):
    """A run directory that is worked in: none on the hub, where no checkpoints are."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("hf://"):
            from ganzoo.runs.hub import nothing_to_resume

            raise nothing_to_resume(value)
        return super().convert(value, param, ctx)


def here(place: Any) -> Any:
    """A run's folder, where `place` is its address on the hub; anything else as it is."""
    if not (isinstance(place, str) and place.startswith("hf://")):
        return place
    from ganzoo.runs.hub import local

    return local(place)


class Names(click.ParamType):
    """Names separated by commas; `none` for none."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip() not in ("", "none"))
        return value


class Number(click.FloatRange):
    """A number within bounds. No comparison refuses nan by itself."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Duration(click.ParamType):
    """A duration such as 90s, 2m or 1h30m; checked where it is used."""

    name = "duration"


def from_model(cls: "type[BaseModel]", section: str) -> list[click.Parameter]:
    """One option per field. Each has the default None, so that what was not given can be told apart."""
    return from_fields(cls.model_fields, section)


def from_fields(fields: "Mapping[str, FieldInfo]", section: str) -> list[click.Parameter]:
    """The same for some fields of a model."""
    from ganzoo.fields import offered

    return [_option(name, info, section) for name, info in offered(fields).items()]


def given(values: dict[str, Any], cls: "type[BaseModel]") -> dict[str, Any]:
    """Those of a command's values that were given and belong to `cls`."""
    return {name: value for name, value in values.items() if name in cls.model_fields and value is not None}


def _option(name: str, info: "FieldInfo", section: str) -> click.Parameter:
    from ganzoo.fields import Repeated

    flag = "--" + name.replace("_", "-")
    kind, is_flag = _type(info)
    kind = RunPath() if name == "init_from" else kind
    default = info.get_default(call_default_factory=True)
    text = info.description or ""
    if default is not None and "default:" not in text:
        shown = (",".join(map(str, default)) or "none") if isinstance(default, tuple) else default
        text += f"  [default: {str(shown).lower() if is_flag else shown}]"
    if any(isinstance(m, Repeated) for m in info.metadata):
        text += "  [may be repeated; none: leave out those of a preset]"
        return Section(
            [flag, name], multiple=True, default=None, callback=_repeated, metavar="NAME[:OPTION=VALUE,...]", help=text,
            section=section,
        )  # fmt: skip
    if is_flag:
        return Section([f"{flag}/--no-{flag[2:]}", name], default=None, help=text, section=section)
    return Section([flag, name], type=kind, default=None, help=text, section=section)


def _repeated(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """None where the option was not given, so that it can be told apart from `none`."""
    return tuple(value for value in values if value != "none") if values else None


def _type(info: "FieldInfo") -> tuple[Any, bool]:
    from ganzoo.fields import taken

    kind, bounds = taken(info)
    if any(type(m).__name__ == "BeforeValidator" for m in info.metadata):
        return Duration(), False
    if get_origin(kind) is Literal:
        return click.Choice(list(get_args(kind))), False
    if kind is bool:
        return None, True
    if kind is int:
        return click.IntRange(**bounds), False
    if kind is float:
        return Number(**bounds), False
    if kind is Path:
        return click.Path(path_type=Path), False
    if get_origin(kind) is tuple:
        return Names(), False
    return str, False


def echo_json(value: Any) -> None:
    """Print a result as JSON, on the standard output."""
    click.echo(json.dumps(value, indent=2, default=str), file=for_results())


checkpoint_option = click.option(
    "--checkpoint",
    metavar="best|last|STEP",
    help="Take the averaged networks of this checkpoint: the best by FID (--eval-every), the last, or a step's."
    "  [default: as they were last saved]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def nproc_option(make: Callable[..., Any] = Section, shared: str = "every batch") -> Any:
    """`--nproc`, as an option in a list or, with `click.option`, as a decorator; what is `shared` is told."""
    names = ["--nproc"]
    about: dict[str, Any] = {
        "type": click.IntRange(1, 256),
        "help": f"Processes on this machine, each with its share of {shared}; a GPU for each, where there are any.",
    }
    return make(names, **about) if make is Section else make(*names, **about)


PER_CORE = 4
"""Processes that may share a core of the CPU; eight are always allowed."""


def check_spread(count: int | None, device: str, batch_size: int | None = None) -> None:
    """Check that `count` processes can share the work, before any is started.

    Raises:
        UsageError: the device or the batch cannot be divided, or so many processes would only take the memory.
    """
    if count is None or count == 1:
        return
    from ganzoo.training.cores import available
    from ganzoo.training.distributed import World, is_worker

    if is_worker():
        return
    cores = available()
    if World(0, count).device(device) == "cpu" and count > (most := max(PER_CORE * cores, 8)):
        raise UsageError(
            f"--nproc {count}: this process may use {cores} core{'s' * (cores > 1)}, for which {most} processes are "
            "the most: name fewer"
        )
    if batch_size is not None and batch_size % count:
        raise UsageError(f"--batch-size {batch_size} cannot be divided among {count} processes")


def spread(count: int | None, kept: str | None = None) -> None:
    """Run this very command in `count` processes and exit as they do; return where that was not asked, or is done.

    `kept` says what is left when one of them does not come to its end; None: the last checkpoint.

    Raises:
        GanzooError: a process was killed.
    """
    if count is None or count == 1:
        return
    from ganzoo.training.distributed import KEPT, is_worker, launch

    if is_worker():
        return
    raise click.exceptions.Exit(launch(count, sys.argv[1:], kept or KEPT))
