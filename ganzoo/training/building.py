"""A model built from its class, the data's description and options; what a plugin does wrong told in one line."""

from typing import Any

import torch
from torch import Tensor

from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, one_line
from ganzoo.files import memory
from ganzoo.gan import GAN
from ganzoo.training.dispatch import ThreadMode


def build(model: type[GAN], spec: DataSpec, options: Any) -> GAN:
    """A model for the data, its plugin's faults told in one line.

    Raises:
        GanzooError: the plugin raised, or left out a network.
    """
    try:
        gan = model(spec, options)
    except GanzooError:
        raise
    except Exception as error:
        _refuse_taken(model, error)
        raise GanzooError(
            f"model '{model.name}' cannot be built for {spec.name} {spec.shape}: {one_line(error)}"
        ) from error
    for network in ("generator", "discriminator"):
        if not hasattr(gan, network):
            raise GanzooError(f"model '{model.name}' does not set self.{network} in __init__")
    for name in METHODS:
        if not callable(getattr(gan, name)):
            raise _taken(model, name)
    return gan


METHODS = ("turns", "pictures", "judge")
"""Names of the contract that a plugin written for ganzoo 0.1 may have used for something of its own."""


def _refuse_taken(model: type[GAN], error: Exception) -> None:
    """Say what torch's `attribute 'turns' already exists` means."""
    for name in METHODS:
        if isinstance(error, KeyError) and f"attribute '{name}' already exists" in str(error):
            raise _taken(model, name) from error


def _taken(model: type[GAN], name: str) -> GanzooError:
    return GanzooError(
        f"model '{model.name}' sets self.{name}, which is a method of ganzoo.GAN: give the attribute another name"
    )


def refuse_giants(model: type[GAN], spec: DataSpec, options: Any) -> GAN | None:
    """The model built without memory: options may come from a file that nobody looked at. None: it cannot be so built.

    Raises:
        GanzooError: the plugin raised; or its weights are larger than this machine's memory.
    """
    try:
        with torch.device("meta"), _Unfilled():
            gan = build(model, spec, options)
    except GanzooError as error:
        if isinstance(error.__cause__, RuntimeError) and "meta" in str(error.__cause__).lower():
            return None  # It reads a number of a tensor, or mixes in one that has memory.
        raise
    size, most = sum(t.nbytes for t in (*gan.parameters(), *gan.buffers())), memory()
    if size > most:
        raise GanzooError(
            f"model '{model.name}' cannot be built for {spec.name} {spec.shape}: "
            f"its weights take {size / 1e9:,.0f} GB, more than this machine's memory ({most / 1e9:,.0f} GB)"
        )
    return gan


class _Unfilled(ThreadMode):
    """Leaves out whatever only fills tensors without memory: weights are not drawn, shapes stay what they are.

    For these operators torch would import its compiler, which takes longer than everything else in loading a model.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if (
            isinstance(function, torch._ops.OpOverload)
            and args and isinstance(args[0], Tensor) and args[0].device.type == "meta"
            and function._schema.name.endswith("_")
            and torch.Tag.inplace_view not in function.tags
        ):  # fmt: skip
            return args[0]
        return function(*args, **(kwargs or {}))
