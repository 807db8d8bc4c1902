"""Averaged networks: what samples are drawn from."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.gan import GAN

GROUP_BYTES = 16 * 2**20
"""What an update may take besides the two sets of weights: a large network is not copied for it."""


class EMA:
    """Exponential moving averages of a model's `saved` modules.

    Parameters and BatchNorm's running statistics are averaged; all other buffers are copied, for the mean of unit
    vectors, as spectral normalisation keeps them, is none. Each tensor is looked up by its name at every step, so that
    one that the model replaces is followed.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float, kimg: float | None = None, rampup: float = 0.05):
        """Copy the modules.

        Args:
            modules: by name; the first is the generator.
            decay: of the average at each step; it ramps up as min(decay, (1 + step) / (10 + step)), so that the first
                steps are soon forgotten.
            kimg: instead of the decay, the half-life in thousands of images, as the code of StyleGAN2-ADA has it.
            rampup: the half-life is at most this share of the images seen so far; 0: no limit.
        """
        self.decay, self.kimg, self.rampup = decay, kimg, rampup
        self.begun = False
        """Whether the networks are averages already as training starts: then nothing ramps up."""
        # Synchronised BatchNorm holds on to its processes, of which there is no copy.
        groups = [getattr(m, "process_group", None) for module in modules.values() for m in module.modules()]
        memo: dict[int, Any] = {id(group): group for group in groups if group is not None}
        # One memo for all, so that what two modules share is one in the copies too.
        self.modules = {
            name: copy.deepcopy(module, memo).eval().requires_grad_(False) for name, module in modules.items()
        }
        averaged, copied = _places(self.modules.values())
        live, live_copied = _places(modules.values())
        self._averaged, self._copied = (
            list(zip(averaged, live, strict=True)),
            list(zip(copied, live_copied, strict=True)),
        )
        self._groups = _groups([held[name].nbytes for held, name in averaged])

    @property
    def module(self) -> nn.Module:
        """The averaged generator."""
        return next(iter(self.modules.values()))

    def weight(self, step: int, images: int = 0, batch: int = 0) -> float:
        """The weight of the networks as they are after step `step`, counted from 1.

        `images` real images were seen before it, and `batch` in it.
        """
        if self.kimg is None:
            return 1 - (self.decay if self.begun else min(self.decay, (1 + step) / (10 + step)))
        ramps = self.rampup and not self.begun
        half_life = min(self.kimg * 1000, images * self.rampup) if ramps else self.kimg * 1000
        return float(1 - 0.5 ** (batch / max(half_life, 1e-8)))

    @torch.no_grad()
    def update(self, weight: float | Tensor) -> None:
        """Take in the networks with this weight, a number or a scalar tensor on the device."""
        mine = [place[0][place[1]].detach() for place, _ in self._averaged]
        live = [place[0][place[1]].detach() for _, place in self._averaged]
        if not isinstance(weight, Tensor):
            torch._foreach_lerp_(mine, live, weight)
        elif weight.device.type == "cpu":  # The same kernel, rounded alike.
            weights = {dtype: weight.to(dtype) for dtype in {t.dtype for t in mine}}
            torch._foreach_lerp_(mine, live, [weights[t.dtype] for t in mine])
        else:
            for group in self._groups:
                approach(mine[group], live[group], weight)
        for (held, name), (theirs, key) in self._copied:
            held[name].copy_(theirs[key])


def approach(mine: list[Tensor], live: list[Tensor], weight: Tensor) -> None:
    """Move tensors towards others by a share that is a scalar on their device, in three kernels for all of them."""
    change = torch._foreach_sub(live, mine)
    torch._foreach_mul_(change, weight)
    torch._foreach_add_(mine, change)


def _groups(sizes: Sequence[int]) -> list[slice]:
    """Neighbours of up to `GROUP_BYTES` together, and larger ones by themselves: what `approach` takes besides."""
    ends, total = [0], 0
    for i, size in enumerate(sizes):
        if total and total + size > GROUP_BYTES:
            ends.append(i)
            total = 0
        total += size
    return [slice(a, b) for a, b in pairwise([*ends, len(sizes)])]


def averaged(gan: GAN, ema: EMA) -> GAN:
    """The same model with its averaged networks; everything else is shared, nothing is copied."""
    return with_modules(gan, ema.modules)


def with_modules(gan: GAN, modules: Mapping[str, nn.Module]) -> GAN:
    """The same model with other modules of these names; everything else is shared, nothing is copied."""
    view = copy.copy(gan)
    view._modules = dict(gan._modules)
    for name, module in modules.items():
        setattr(view, name, module)
    return view


Place = tuple[dict[str, Any], str]
"""Where a module keeps a tensor: its dictionary of parameters or of buffers, and the name in it."""


def _places(modules: Any) -> tuple[list[Place], list[Place]]:
    """The places of tensors to average, and of those to copy; of a tensor that stands in several, the first."""
    average: list[Place] = []
    copied: list[Place] = []
    seen: set[int] = set()
    for module in (inner for outer in modules for inner in outer.modules()):
        statistics = ("running_mean", "running_var") if isinstance(module, _BatchNorm) else ()
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None or id(tensor) in seen:
                    continue
                seen.add(id(tensor))
                follows = held is module._parameters or name in statistics
                (average if follows and tensor.is_floating_point() else copied).append((held, name))
    return average, copied
