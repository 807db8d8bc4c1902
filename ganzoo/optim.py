"""Update rules as values: a model names the rule, the trainer builds the fastest optimizer that follows it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn


class Progress(Protocol):
    """Where training stands, as schedules see it."""

    @property
    def step(self) -> int:
        """Generator steps done."""

    @property
    def epoch(self) -> float:
        """Epochs done, with their fraction."""

    @property
    def fraction(self) -> float:
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

    def settings(self, progress: Progress) -> dict[str, Any]:
        """The values that its schedules give now, named as torch's parameter groups name them."""


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba 2015."""

    lr: Schedule
    b1: float = 0.5
    b2: float = 0.999
    eps: float = 1e-8

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, betas=(self.b1, self.b2), eps=self.eps, fused=True)

    def settings(self, progress: Progress) -> dict[str, Any]:
        return {"lr": at(self.lr, progress)}


@dataclass(frozen=True)
class RMSprop:
    """Hinton's lecture 6e, as torch has it."""

    lr: Schedule
    alpha: float = 0.99

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, alpha=self.alpha, foreach=True)

    def settings(self, progress: Progress) -> dict[str, Any]:
        return {"lr": at(self.lr, progress)}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    lr: Schedule
    momentum: Schedule = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        # A momentum above zero at the start keeps the buffers; its value is set at every step.
        return torch.optim.SGD(parameters, lr=0.0, momentum=0.5 if self.momentum else 0.0, fused=True)

    def settings(self, progress: Progress) -> dict[str, Any]:
        return {"lr": at(self.lr, progress), "momentum": at(self.momentum, progress)}
