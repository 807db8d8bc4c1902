"""The averaged generator: what samples are drawn from."""

import copy

import torch
from torch import Tensor, nn

from ganzoo.gan import GAN


class EMA:
    """Exponential moving average of a generator's weights and of its float buffers (BatchNorm's statistics).

    The decay ramps up as min(decay, (1 + step) / (10 + step)), so that the first steps are soon forgotten.
    """

    def __init__(self, generator: nn.Module, decay: float):
        self.decay = decay
        # Synchronised BatchNorm holds on to its processes, of which there is no copy.
        groups = [getattr(module, "process_group", None) for module in generator.modules()]
        shared = {id(group): group for group in groups if group is not None}
        self.module = copy.deepcopy(generator, shared).eval().requires_grad_(False)
        self._averaged, self._copied = _tensors(self.module)
        self._live, self._live_copied = _tensors(generator)

    def weight(self, step: int) -> float:
        """The weight of the generator as it is after step `step` (counted from 1)."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, weight: float | Tensor) -> None:
        """Take in the generator with this weight, a number or a scalar tensor on the device."""
        if not isinstance(weight, Tensor):
            torch._foreach_lerp_(self._averaged, self._live, weight)
        elif weight.device.type == "cpu":  # The same kernel, rounded alike.
            weights = {dtype: weight.to(dtype) for dtype in {t.dtype for t in self._averaged}}
            torch._foreach_lerp_(self._averaged, self._live, [weights[t.dtype] for t in self._averaged])
        else:
            change = torch._foreach_sub(self._live, self._averaged)
            torch._foreach_mul_(change, weight)
            torch._foreach_add_(self._averaged, change)
        for mine, theirs in zip(self._copied, self._live_copied, strict=True):
            mine.copy_(theirs)


def with_generator(gan: GAN, generator: nn.Module) -> GAN:
    """The same model with another generator; everything else is shared, nothing is copied."""
    view = copy.copy(gan)
    view._modules = dict(gan._modules)
    view.generator = generator
    return view


def _tensors(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors to average, and those to copy (integer counters)."""
    tensors = [p.detach() for p in module.parameters()] + list(module.buffers())
    return [t for t in tensors if t.is_floating_point()], [t for t in tensors if not t.is_floating_point()]
