"""Update rules as values: a model names the rule, the trainer builds the fastest optimizer that follows it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Progress(NamedTuple):
    """Where training stands, as schedules see it."""

    step: int
    """Generator steps done."""
    epoch: float
    """Epochs done, with their fraction."""
    fraction: float
    """Share of the run's budget that is spent, from 0 to 1."""


Schedule = float | Callable[[Progress], float]
"""A number, or how it follows from the progress of training."""


def at(value: Schedule, progress: Progress) -> float:
    """The schedule's value now."""
    return value(progress) if callable(value) else value


def exponential(start: float, factor: float, floor: float = 0.0) -> Callable[[Progress], float]:
    """`start` divided by `factor` at every step, never below `floor`."""
    return lambda progress: max(start * factor ** -float(progress.step), floor)


def ramp(start: float, end: float, epochs: float) -> Callable[[Progress], float]:
    """A straight line from `start` to `end` over the first `epochs` epochs."""
    return lambda progress: start + (end - start) * min(progress.epoch / epochs, 1.0)


def linear_decay(start: float, begin: float = 0.0, end: float = 0.0) -> Schedule:
    """`start` until the share `begin` of the budget, then a straight line to `end` at the budget's end; 1: never."""
    if begin >= 1:
        return start

    def value(progress: Progress) -> float:
        share = (progress.fraction - begin) / (1 - begin)
        return start + (end - start) * min(max(share, 0.0), 1.0)

    return value


class Rule(Protocol):
    """An update rule: how to build its optimizer, and what its settings are at a moment of training."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer, in torch's fused form where there is one."""

    def settings(self, progress: Progress) -> dict[str, float]:
        """The values that its schedules give now, named as torch's parameter groups name them."""


def on_cuda(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether steps may be recorded there as a CUDA graph, which wants every number of an update on the device."""
    return any(p.is_cuda for p in parameters)


class FusedAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` of one group, without gathering its state anew at every step.

    The same function of torch's on the same tensors: equal bit for bit, and with the same `state_dict`. A step in
    which a parameter has no gradient, and the first, are torch's own.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], betas: tuple[float, float], eps: float):
        parameters = list(parameters)
        super().__init__(parameters, betas=betas, eps=eps, fused=True, capturable=on_cuda(parameters))
        self._kept: tuple[list[Tensor], list[Tensor], list[Tensor]] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._kept = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        (group,) = self.param_groups
        parameters = group["params"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if closure is not None or len(gradients) < len(parameters) or len(self.state) < len(parameters):
            return super().step(closure)
        if self._kept is None:
            states = [self.state[p] for p in parameters]
            self._kept = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], [s["step"] for s in states]
        first, second, steps = self._kept
        beta1, beta2 = group["betas"]
        adam(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            capturable=group["capturable"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        return None


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba 2015."""

    lr: Schedule
    b1: float = 0.5
    b2: float = 0.999
    eps: float = 1e-8

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return FusedAdam(parameters, (self.b1, self.b2), self.eps)

    def settings(self, progress: Progress) -> dict[str, float]:
        return {"lr": at(self.lr, progress)}


@dataclass(frozen=True)
class RMSprop:
    """Hinton's lecture 6e, as torch has it."""

    lr: Schedule
    alpha: float = 0.99

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        return torch.optim.RMSprop(parameters, alpha=self.alpha, foreach=True, capturable=on_cuda(parameters))

    def settings(self, progress: Progress) -> dict[str, float]:
        return {"lr": at(self.lr, progress)}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    lr: Schedule
    momentum: Schedule = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        # A momentum above zero at the start keeps the buffers; its value is set at every step.
        return torch.optim.SGD(parameters, lr=0.0, momentum=0.5 if self.momentum else 0.0, fused=True)

    def settings(self, progress: Progress) -> dict[str, float]:
        return {"lr": at(self.lr, progress), "momentum": at(self.momentum, progress)}
