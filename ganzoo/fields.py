"""Fields of pydantic models: what each takes, in terms of which options and sliders are made, and its faults."""

import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from ganzoo.errors import UsageError
from ganzoo.terminal import limits_in_words


class Taken(NamedTuple):
    """A field's type without `None` and annotations, and its bounds."""

    kind: Any
    bounds: dict[str, Any]
    """As click's ranges take them: `min`, `max`, `min_open`, `max_open`; those that there are."""


class NoOption:
    """Marks a field that no command has as an option under its own name."""


class Repeated:
    """Marks an option that may be given several times, and whose values may hold commas."""


def offered(fields: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """Those that are options of commands."""
    return {name: info for name, info in fields.items() if not any(isinstance(m, NoOption) for m in info.metadata)}


def taken(info: FieldInfo) -> Taken:
    """What the field takes."""
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
    return Taken(kind, bounds)


def _bound(meta: Any, bounds: dict[str, Any]) -> None:
    if isinstance(meta, annotated_types.Ge | annotated_types.Gt):
        bounds["min"] = meta.ge if isinstance(meta, annotated_types.Ge) else meta.gt
        bounds["min_open"] = isinstance(meta, annotated_types.Gt)
    if isinstance(meta, annotated_types.Le | annotated_types.Lt):
        bounds["max"] = meta.le if isinstance(meta, annotated_types.Le) else meta.lt
        bounds["max_open"] = isinstance(meta, annotated_types.Lt)


# Options that many models have: `lr: LearningRate = 1e-3`, or, where a model has more to say of one,
# `width: Width = Field(32, description="Channels of a level's maps.")`, which keeps the bounds.
BatchSize = Annotated[int, Field(ge=1, le=65536, description="Images in a batch, over all processes.")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="Learning rate.")]
LearningRateD = Annotated[LearningRate, Field(description="Learning rate of the discriminator.")]
LearningRateG = Annotated[LearningRate, Field(description="Learning rate of the generator.")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the first moment.")]
Beta2 = Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the second moment.")]
LatentDim = Annotated[int, Field(ge=1, le=65536, description="Size of the latent vector z.")]
NCritic = Annotated[int, Field(ge=1, le=100, description="Discriminator steps for each generator step.")]
Width = Annotated[int, Field(ge=1, le=1024, description="Channels next to the image; they double at each halving.")]
Penalty = Annotated[float, Field(ge=0, le=1e4, description="Weight of the gradient penalty, lambda.")]
Hold = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Share of the run after which the rate falls in a line to 0; 1: it stays.",
        json_schema_extra={"absent": 1.0},
    ),
]
"""What an option `lr_hold` takes, which `GAN.optimizer` heeds. In runs recorded before there was one, rates stayed."""
Hidden = Annotated[
    int,
    Field(
        ge=0,
        le=65536,
        description="Units of a fully connected layer after the latent, and of one before the logits; 0: none.",
        json_schema_extra={"absent": 0},
    ),
]
"""What an option `hidden` of convolutional networks takes. Runs recorded before there was one had no such layers."""
R1_EVERY = 16
"""Steps from one penalty R1 to the next, as Karras et al. 2020 have it."""
R1 = Annotated[
    float,
    Field(
        ge=0,
        le=1e6,
        description=f"Weight of the penalty R1 on D's gradient at real samples, in every {R1_EVERY}th step; 0: none.",
        json_schema_extra={"absent": 0.0},
    ),
]
"""What an option `r1` takes. Runs recorded before there was one had no penalty."""
WORDS = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}


def flags(fields: Mapping[str, FieldInfo]) -> set[str]:
    """The names by which these can be given: of a switch, the one that switches it off, too."""
    return {*fields, *(f"no_{name}" for name, info in fields.items() if taken(info).kind is bool)}


def fault_of(info: FieldInfo) -> str | None:
    """Why no command can have the field as an option, in words that follow its name; None: it can."""
    if info.is_required():
        return "has no default"
    if _can_be_given(info.annotation):
        return None
    return "takes what no command can give: bool, int, float, str, Path, Literal, or a tuple of these"


def _can_be_given(kind: Any) -> bool:
    """Whether a command makes such a value of what is typed; of several kinds the first must take what others do."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _can_be_given(parts[0])
    if origin in (Union, types.UnionType):
        first, *others = [part for part in parts if part is not type(None)]
        wide = {str: True, Path: True, float: set(others) <= {int}}.get(first, False)
        return _can_be_given(first) and (not others or wide)
    if origin is tuple:
        return all(part is ... or (get_origin(part) is not tuple and _can_be_given(part)) for part in parts)
    return origin is Literal or (isinstance(kind, type) and issubclass(kind, (*WORDS, Enum)))


def in_words(info: FieldInfo) -> str:
    """What the field takes, as people write it: `a | b`, `number >= 0, <= 1`, `text, or none`."""
    kind, bounds = taken(info)
    if get_origin(kind) is Literal:
        told = " | ".join(map(str, get_args(kind)))
    elif get_origin(kind) in (tuple, list):
        told = "whole numbers" if get_args(kind)[:1] == (int,) else "names"
    elif any(type(meta).__name__ == "BeforeValidator" for meta in info.metadata):
        told = "duration"
    else:
        told = WORDS.get(kind) or str(getattr(kind, "__name__", kind))
    limits = limits_in_words(bounds.get("min"), bounds.get("max"), bounds.get("min_open"), bounds.get("max_open"))
    none = type(None) in get_args(info.annotation)
    return f"{told}{limits and ' ' + limits}{', or none' if none else ''}"


def value_in_words(value: Any) -> str:
    """A default as one reads it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ",".join(f"{key}={value_in_words(each)}" for key, each in value.items()) or "none"
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def as_recorded(cls: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a run recorded, and, of options that came later, what a run without them was like.

    An author says so by `Field(0.5, json_schema_extra={"absent": 1.0})`.
    """
    extras = {name: info.json_schema_extra for name, info in cls.model_fields.items() if name not in values}
    later = {name: e["absent"] for name, e in extras.items() if isinstance(e, dict) and "absent" in e}
    return {**later, **values}


def validated(cls: type[BaseModel], values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> Any:
    """An instance of `cls`; the first fault as one line.

    Raises:
        UsageError: a value has the wrong type or is out of range.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]) if fault["loc"] else ""
        where = f" (from the {(sources or {})[name]})" if (sources or {}).get(name) in ("file", "preset") else ""
        message = fault["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if not name:  # Of several options together; what was wrong with them their author says.
            raise UsageError(message) from None
        raise UsageError(f"--{name.replace('_', '-')}{where}: {message}, not {fault['input']!r}") from None
