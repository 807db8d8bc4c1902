"""Options of a pydantic model as options of a command: typed, bounded, explained."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ganzoo.errors import UsageError

SHORT = {"out": "-o", "n": "-n"}


class Section(click.Option):
    """An option that is listed under a heading of its own."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.section = section


class Sectioned(click.Command):
    """A command whose help lists its options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                sections.setdefault(getattr(param, "section", "") or "Other options", []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Names(click.ParamType):
    """Names separated by commas; `none` for none."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip() not in ("", "none"))
        return value


class Duration(click.ParamType):
    """A duration such as 90s, 2m or 1h30m; checked where it is used."""

    name = "duration"


def from_model(cls: type[BaseModel], section: str) -> list[click.Parameter]:
    """One option per field. Each has the default None, so that what was not given can be told apart."""
    return [_option(name, info, section) for name, info in cls.model_fields.items()]


def given(values: dict[str, Any], cls: type[BaseModel]) -> dict[str, Any]:
    """Those of a command's values that were given and belong to `cls`."""
    return {name: value for name, value in values.items() if name in cls.model_fields and value is not None}


def _option(name: str, info: FieldInfo, section: str) -> click.Parameter:
    flag = "--" + name.replace("_", "-")
    kind, is_flag = _type(info)
    default = info.get_default()
    text = info.description or ""
    if default is not None and "default:" not in text:
        shown = ",".join(default) if isinstance(default, tuple) else default
        text += f"  [default: {str(shown).lower() if is_flag else shown}]"
    if is_flag:
        return Section([f"{flag}/--no-{flag[2:]}", name], default=None, help=text, section=section)
    return Section([flag, name], type=kind, default=None, help=text, section=section)


def _type(info: FieldInfo) -> tuple[Any, bool]:
    kind = info.annotation
    bounds: dict[str, Any] = {}
    for meta in info.metadata:
        _bound(meta, bounds)
    while get_origin(kind) in (Union, types.UnionType, Annotated):
        if get_origin(kind) is Annotated:
            for meta in get_args(kind)[1:]:
                _bound(meta, bounds)
            kind = get_args(kind)[0]
        else:
            kind = next(a for a in get_args(kind) if a is not type(None))
    if any(type(m).__name__ == "BeforeValidator" for m in info.metadata):
        return Duration(), False
    if get_origin(kind) is Literal:
        return click.Choice(list(get_args(kind))), False
    if kind is bool:
        return None, True
    if kind is int:
        return click.IntRange(**bounds), False
    if kind is float:
        return click.FloatRange(**bounds), False
    if kind is Path:
        return click.Path(path_type=Path), False
    if get_origin(kind) is tuple:
        return Names(), False
    return str, False


def _bound(meta: Any, bounds: dict[str, Any]) -> None:
    if isinstance(meta, annotated_types.Ge | annotated_types.Gt):
        bounds["min"] = meta.ge if isinstance(meta, annotated_types.Ge) else meta.gt
        bounds["min_open"] = isinstance(meta, annotated_types.Gt)
    if isinstance(meta, annotated_types.Le | annotated_types.Lt):
        bounds["max"] = meta.le if isinstance(meta, annotated_types.Le) else meta.lt
        bounds["max_open"] = isinstance(meta, annotated_types.Lt)


def echo_json(value: Any) -> None:
    """Print a result as JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def nproc_option(make: Callable[..., Any] = Section) -> Any:
    """`--nproc`, as an option in a list or, with `click.option`, as a decorator."""
    names = ["--nproc"]
    about: dict[str, Any] = {
        "type": click.IntRange(1, 256),
        "help": "Processes on this machine, each with its share of every batch; a GPU for each, where there are any.",
    }
    return make(names, **about) if make is Section else make(*names, **about)


def check_spread(count: int | None, device: str, batch_size: int | None = None) -> None:
    """Check that `count` processes can share the work, before any is started.

    Raises:
        UsageError: the device or the batch cannot be divided.
    """
    if count is None or count == 1:
        return
    from ganzoo.training.distributed import World, is_worker

    if is_worker():
        return
    World(0, count).device(device)
    if batch_size is not None and batch_size % count:
        raise UsageError(f"--batch-size {batch_size} cannot be divided among {count} processes")


def spread(count: int | None) -> None:
    """Run this very command in `count` processes and exit as they do; return where that was not asked, or is done.

    Raises:
        GanzooError: a process was killed.
    """
    if count is None or count == 1:
        return
    from ganzoo.training.distributed import is_worker, launch

    if is_worker():
        return
    raise click.exceptions.Exit(launch(count, sys.argv[1:]))
