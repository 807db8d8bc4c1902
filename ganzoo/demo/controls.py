"""How the demo's page lets a user turn the options of drawing."""

from typing import Any, Literal, get_args, get_origin

from ganzoo.fields import taken
from ganzoo.gan import GAN
from ganzoo.sampling import sampling_fields, used

INSIDE = 1000
"""A slider over an open range stops a thousandth of the range before an end that is not in it."""


def controls(gan: GAN) -> list[dict[str, Any]]:
    """One control for each option, with its name, help and value: `kind` is slider, choice, check or text.

    A slider has `low`, `high` and `step`, a choice has `choices`. What has no bounds, or may be left out, is text.
    """
    values, made = used(gan), []
    for name, info in sampling_fields(type(gan)).items():
        kind, bounds = taken(info)
        control: dict[str, Any] = {"name": name, "help": info.description or "", "value": values[name]}
        if get_origin(kind) is Literal:
            control |= {"kind": "choice", "choices": list(get_args(kind))}
        elif kind is bool:
            control["kind"] = "check"
        elif kind in (int, float) and {"min", "max"} <= bounds.keys() and values[name] is not None:
            low, high = bounds["min"], bounds["max"]
            inside = 1 if kind is int else (high - low) / INSIDE
            control |= {"kind": "slider", "step": 1 if kind is int else "any"}
            control |= {"low": low + inside * bounds["min_open"], "high": high - inside * bounds["max_open"]}
        else:
            control |= {"kind": "text", "value": "" if values[name] is None else values[name]}
        made.append(control)
    return made
