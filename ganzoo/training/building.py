"""A model built from its class, the data's description and options; what a plugin does wrong told in one line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, one_line
from ganzoo.fields import validated
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
    for name, parameter in gan.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise GanzooError(f"model '{model.name}': {name} has no shape yet: its layer is a lazy one, give it sizes")
    return gan


def check_networks(gan: GAN) -> None:
    """See that players and what is saved are networks.

    Raises:
        GanzooError: one is not; it is named.
    """
    players, who = gan.players(), f"model '{gan.name}'"
    if not isinstance(players, Mapping):
        raise GanzooError(f"{who}: players() returns {type(players).__name__}, not a dict of modules by name")
    for player, module in players.items():
        if not isinstance(module, nn.Module):
            raise GanzooError(f"{who}: players() gives '{player}' as {type(module).__name__}, which is no module")
        if next(module.parameters(), None) is None:
            raise GanzooError(f"{who}: the {player} has no parameter that could move")
    owners: dict[int, str] = {}
    for player, module in players.items():
        for name, parameter in module.named_parameters():
            if (other := owners.setdefault(id(parameter), player)) != player:
                raise GanzooError(f"{who}: {name} is in two players, the {other} and the {player}: give it to one")
    if isinstance(gan.saved, str):
        raise GanzooError(f"{who}: saved is {gan.saved!r}: write a tuple of names, ({gan.saved!r},)")
    if not gan.saved or gan.saved[0] != "generator":
        raise GanzooError(f"{who}: saved is {gan.saved!r}: it begins with 'generator', from which samples are drawn")
    if isinstance(gan.makers, str):
        raise GanzooError(f"{who}: makers is {gan.makers!r}: write a tuple of names, ({gan.makers!r},)")
    for what, names in (("saved", gan.saved), ("makers", gan.makers or ())):
        for name in names:
            if not hasattr(gan, name):
                raise GanzooError(f"{who}: {what} names '{name}', and __init__ sets no self.{name}")
            if not isinstance(getattr(gan, name), nn.Module):
                raise GanzooError(f"{who}: {what} names '{name}', which is no module")


METHODS = ("turns", "pictures", "judge", "discriminator_layers")
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


MANY = 100_000_000
"""Weights, of which so many are told of before memory is taken for them."""


def forewarning(outline: GAN, spec: DataSpec, options: Any) -> str | None:
    """What to say of a model of 100 million weights or more, given its outline: how many, how much memory training
    takes for them, and what would be smaller. None: it has fewer.
    """
    count = _weights(outline)
    if count < MANY:
        return None
    # Each with its gradient and Adam's two moments; those that are averaged once more.
    size = 4 * sum(p.nbytes for p in outline.parameters())
    size += sum(p.nbytes for name in outline.saved for p in getattr(outline, name).parameters())
    smaller = [f"{flag} ({n / 1e6:,.0f} million)" for flag, n in _smaller(type(outline), spec, options, count)]
    hint = f"; smaller: {', '.join(smaller)}" if smaller else ""
    return (
        f"model '{outline.name}' has {count / 1e6:,.0f} million weights for {spec.name} {spec.shape}: training takes "
        f"about {size / 1e9:,.1f} GB for them{hint}"
    )


def _weights(gan: GAN) -> int:
    return sum(p.numel() for p in gan.parameters())


def _smaller(model: type[GAN], spec: DataSpec, options: Any, count: int) -> Iterator[tuple[str, int]]:
    """What makes a model smaller by a quarter or more, and its weights then: smaller images, and halves of its options.

    Each is tried, without memory. The two best options are given.
    """

    def tried(spec: DataSpec, options: Any) -> int:
        with suppress(GanzooError):
            if (outline := refuse_giants(model, spec, options)) is not None:
                return _weights(outline)
        return count

    if spec.is_images and (side := spec.shape[1] // 2) >= 8:
        source = spec.source_shape and (spec.source_shape[0], side, side)
        other = replace(spec, shape=(spec.shape[0], side, side), source_shape=source)
        if (left := tried(other, options)) <= 0.75 * count:
            yield f"--image-size {side}", left
    found = []
    for name, value in options:
        if isinstance(value, int) and not isinstance(value, bool) and name != "batch_size":
            with suppress(GanzooError):
                half = validated(model.Options, options.model_dump() | {name: value // 2})
                if (left := tried(spec, half)) <= 0.75 * count:
                    found.append((f"--{name.replace('_', '-')} {value // 2}", left))
    yield from sorted(found, key=lambda choice: choice[1])[:2]


ARITHMETIC = {
    "abs", "add", "clamp", "clamp_max", "clamp_min", "cos", "div", "exp", "log", "mul", "neg", "pow", "reciprocal",
    "rsqrt", "rsub", "sin", "sqrt", "square", "sub", "tanh",
}  # fmt: skip
"""Operators that make floats of floats, one for each place: the shape of what they make needs no kernel."""


class _Unfilled(ThreadMode):
    """Leaves out whatever only fills tensors without memory: weights are not drawn, shapes stay what they are.

    For these operators torch would import its compiler, which takes longer than everything else in loading a model;
    and so it would for what weights are scaled by: arithmetic, norms, and the power method of spectral norm.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        outline = _outline(function, args, kwargs) if isinstance(function, torch._ops.OpOverload) and args else None
        return function(*args, **kwargs) if outline is None else outline


def _outline(function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What an operator makes on the meta device, as far as its shape is known without torch's own ways; or None."""
    name = function._schema.name.removeprefix("aten::")
    if name in ("rand", "randn") and kwargs.get("device") == torch.device("meta") and not kwargs.get("pin_memory"):
        return torch.empty(args[0], dtype=kwargs.get("dtype"), device="meta")
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not tensors or any(t.device.type != "meta" and t.dim() for t in tensors):
        return None
    if name.endswith("_") and tensors[0] is args[0] and torch.Tag.inplace_view not in function.tags:
        return tensors[0]
    if not all(t.is_floating_point() for t in tensors) or kwargs.keys() - {"out"}:
        return None
    shape: Sequence[int]
    if name in ARITHMETIC:
        shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    elif name == "linalg_vector_norm" or (name == "norm" and len(args) > 2):
        shape = _reduced(tensors[0].shape, *args[2:4])
    elif name in ("mv", "dot", "vdot"):
        shape = tensors[0].shape[:-1]
    else:
        return None
    dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
    return kwargs["out"] if "out" in kwargs else torch.empty(shape, dtype=dtype, device="meta")


def _reduced(shape: Sequence[int], dim: Sequence[int] | None = None, keep: bool = False) -> list[int]:
    """A shape without the dimensions that a norm is taken over: all, unless told."""
    gone = {d % len(shape) for d in dim} if dim else set(range(len(shape)))
    return [1 if i in gone else n for i, n in enumerate(shape) if keep or i not in gone]
