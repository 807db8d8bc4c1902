"""What a checkpoint must hold before a trainer takes it in: its checksum says that it is whole, not that it is ours."""

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import GanzooError


def sound(state: dict[str, Any], step: int) -> None:
    """Look through what a checkpoint of `step` holds, all but weights, which the model itself compares with its own.

    Raises:
        ValueError: a value is missing, or is not what ganzoo writes there; it is named.
    """
    _demand(_count(state.get("step")) and state["step"] == step, "step")
    elapsed = state.get("elapsed")
    _demand(isinstance(elapsed, int | float) and 0 <= elapsed < math.inf, "elapsed")
    for name in ("gan", "ema", "averages"):
        part = state.get(name, {} if name == "averages" else None)
        _demand(isinstance(part, dict) and all(isinstance(k, str) for k in part), name)
    parts = state.get("optimizers")
    _demand(isinstance(parts, dict) and all(_optimizer(part) for part in parts.values()), "optimizers")
    meter = state.get("meter")
    _demand(isinstance(meter, dict) and _meter(meter), "meter")
    others = state.get("others", [])
    _demand(isinstance(others, list | tuple), "others")
    own = state.get("own", [])
    _demand(isinstance(own, list | tuple) and all(isinstance(p, dict) and _tensors(p) for p in own), "own")
    for drawn in [state.get("random"), *others]:
        _random(drawn)


OF_WEIGHTS = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "grad_avg", "momentum_buffer", "acc_delta",
    "sum", "ax", "prev", "step_size",
}  # fmt: skip
"""What torch's optimizers keep a number of for each weight; their kernels take its size for granted."""


def keepable(optimizers: Mapping[str, Any]) -> None:
    """See that what optimizers keep, by player as their `state_dict` has it, can be read back.

    Raises:
        GanzooError: it cannot; the player is named.
    """
    for name, part in optimizers.items():
        if not _optimizer(part):
            raise GanzooError(
                f"what the optimizer of the {name} keeps cannot be saved: its state must be tensors and numbers by name"
            )


def fits(optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Compare what the optimizers took from a checkpoint with their parameters: torch's own steps do not.

    Raises:
        ValueError: a tensor that goes with a parameter has another shape.
    """
    for name, optimizer in optimizers.items():
        for parameter, kept in optimizer.state.items():
            for key, value in kept.items():
                shape = torch.Size() if key == "step" else parameter.shape
                counts = key == "step" or key in OF_WEIGHTS
                if counts and isinstance(value, Tensor) and value.shape != shape:
                    raise ValueError(f"the {name}'s {key} is {tuple(value.shape)}, not {tuple(shape)}")


def _demand(good: Any, name: str) -> None:
    if not good:
        raise ValueError(f"its `{name}` is not one of ganzoo's")


def _tensors(part: dict[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in part.values())


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _optimizer(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and isinstance(part.get("state"), dict)
        and all(isinstance(kept, dict) for kept in part["state"].values())
        and isinstance(part.get("param_groups"), list)
        and all(isinstance(group, dict) for group in part["param_groups"])
        and not any(isinstance(v, list | tuple | dict) for kept in part["state"].values() for v in kept.values())
    )


def _meter(meter: dict[str, Any]) -> bool:
    names, rows, told = meter.get("names"), meter.get("rows"), meter.get("told")
    noted = meter.get("noted", {})
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and _count(meter.get("first_step"))
        and isinstance(rows, Tensor)
        and rows.dim() == 2
        and rows.is_floating_point()
        and rows.shape[1] == len(names)
        and isinstance(noted, dict)
        and all(isinstance(k, str) and isinstance(v, float) and math.isfinite(v) for k, v in noted.items())
        and (told is None or (isinstance(told, Tensor) and told.dtype == torch.bool and told.shape == rows.shape))
    )


def _random(drawn: Any) -> None:
    """Raise ValueError unless these are states of generators; each is tried on a generator of its own."""
    try:
        version, internal, gauss = drawn["python"]
        random.Random().setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = drawn["numpy"]
        _demand(keys.shape == (624,) and 0 <= position <= 624, "random")  # numpy would read beyond its own.
        np.random.RandomState().set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
        torch.Generator().set_state(drawn["torch"].cpu())
        for name in ("cuda", "mps"):
            _demand(isinstance(drawn.get(name, drawn["torch"]), Tensor), "random")
    except Exception as error:  # Generators say what they please.
        raise ValueError("its `random` is not one of ganzoo's") from error
