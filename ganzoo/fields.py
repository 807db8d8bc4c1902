"""What a field of a pydantic model takes, in terms of which options and sliders are made."""

import types
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo


class Taken(NamedTuple):
    """A field's type without `None` and annotations, and its bounds."""

    kind: Any
    bounds: dict[str, Any]
    """As click's ranges take them: `min`, `max`, `min_open`, `max_open`; those that there are."""


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
