"""Update rules as values: a model names the rule, the trainer builds the fastest optimizer that follows it."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


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


def cosine(start: float, end: float, steps: float) -> Callable[[Progress], float]:
    """Half a cosine from `start` to `end` over the first `steps` steps, flat at both ends, and then `end`."""

    def value(progress: Progress) -> float:
        share = min(progress.step / steps, 1.0)
        return start + (end - start) * (1 - math.cos(math.pi * share)) / 2

    return value


def late(rate: float, begin: float, b1: float, b2: float, each: int = 1) -> Schedule:
    """`rate`, of an Adam whose gradients are 0 until the share `begin` of the budget: its steps are those of one that
    begins there.

    Adam counts the steps in which it rests, and by then takes its averages, which are still 0, for those of many
    gradients: its first steps would be three times as long and more. `each`: its steps in one of training, of which
    the first is gone by.
    """
    if begin <= 0:
        return rate

    def value(progress: Progress) -> float:
        if progress.fraction < begin:
            return rate
        rested = math.ceil(progress.step * begin / progress.fraction - 1e-6)  # What is left out is rounding.
        counted, own = each * progress.step + 1, each * (progress.step - rested) + 1
        first, second = ((1 - b**counted) / (1 - b**own) for b in (b1, b2))
        return rate * first / math.sqrt(second)

    return value


class Rule(Protocol):
    """An update rule: how to build its optimizer, and what its settings are at a moment of training."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer, in torch's fused form where there is one."""

    def settings(self, progress: Progress) -> dict[str, float]:
        """The values that its schedules give now, named as the optimizer's parameter group names them."""


def on_cuda(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether steps may be recorded there as a CUDA graph, which wants every number of an update on the device."""
    return any(p.is_cuda for p in parameters)


class Uncompiled(torch.optim.Optimizer):
    """Torch's own methods, without the wrappers that keep its compiler out of them.

    Those import the compiler first: a second or two before the first step of every run, which compiles none of them.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


ADAM_STEP = inspect.unwrap(torch.optim.Adam.step)
RMSPROP_STEP = inspect.unwrap(torch.optim.RMSprop.step)
SGD_STEP = inspect.unwrap(torch.optim.SGD.step)
"""The same of `step`, to be called where no gradients are recorded."""


class FusedAdam(Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` of one group, without gathering its state anew at every step.

    The same kernel of torch's on the same tensors: equal bit for bit, and with the same `state_dict`. A parameter that
    has no gradient stays as it is, counter included. Steps are torch's own until every parameter has had one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], betas: tuple[float, float], eps: float):
        parameters = list(parameters)
        super().__init__(parameters, betas=betas, eps=eps, fused=True, capturable=on_cuda(parameters))
        self._kept: tuple[list[Tensor], list[Tensor], list[Tensor], Tensor] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._keep()

    def _keep(self) -> None:
        """Gather the state once; the counters become places in one tensor, which is counted up in one go."""
        parameters = self.param_groups[0]["params"]
        self._kept = None
        if all("step" in self.state.get(p, {}) for p in parameters):
            states = [self.state[p] for p in parameters]
            counters = torch.stack([state["step"] for state in states])
            for state, counter in zip(states, counters.unbind(), strict=True):
                state["step"] = counter
            first, second, steps = ([s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            self._kept = first, second, steps, counters

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        (group,) = self.param_groups
        parameters = group["params"]
        if closure is not None or self._kept is None:
            loss = ADAM_STEP(self, closure)
            self._keep()
            return loss
        first, second, steps, counters = self._kept
        moving = [i for i, p in enumerate(parameters) if p.grad is not None]
        if len(moving) == len(parameters):
            counters.add_(1)
        elif not moving:
            return None
        else:  # As of a penalty on gradients, which a last bias has no part in.
            parameters, first, second, steps = (
                [kept[i] for i in moving] for kept in (parameters, first, second, steps)
            )
            torch._foreach_add_(steps, 1)
        gradients = [p.grad for p in parameters]
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        return None


class VaryingAdam(Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam` of one group whose second decay moves: `b2` of the group, a number or a scalar tensor.

    torch's kernels take a number, which a recording would hold still. Here a few operators take its place; the bias of
    the averages is corrected as torch does it, by the decay that holds now.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], betas: tuple[float, float], eps: float):
        parameters = list(parameters)
        super().__init__(parameters, betas=betas, eps=eps, foreach=True, capturable=on_cuda(parameters))
        self.param_groups[0]["b2"] = betas[1]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        (group,) = self.param_groups
        moving = [p for p in group["params"] if p.grad is not None]
        if not moving:
            return None
        for p in moving:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        gradients = [p.grad for p in moving]
        steps, first, second = ([self.state[p][key] for p in moving] for key in ("step", "exp_avg", "exp_avg_sq"))
        device = moving[0].device
        # What recordings give numbers as.
        kind = torch.float64 if device.type == "cpu" else torch.float32
        lr, b2 = (
            value.to(kind) if isinstance(value, Tensor) else torch.full((), value, dtype=kind, device=device)
            for value in (group["lr"], group["b2"])
        )
        b1 = group["betas"][0]
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(first, gradients, 1 - b1)
        squares = torch._foreach_mul(gradients, gradients)
        torch._foreach_mul_(squares, 1 - b2)
        torch._foreach_mul_(second, b2)
        torch._foreach_add_(second, squares)
        counts = torch.stack(steps).to(kind)
        rates, scales = lr / (1 - b1**counts), (1 - b2**counts).sqrt()
        below = torch._foreach_sqrt(second)
        torch._foreach_div_(below, list(scales.unbind()))
        torch._foreach_add_(below, group["eps"])
        change = torch._foreach_div(first, below)
        torch._foreach_mul_(change, list(rates.unbind()))
        torch._foreach_sub_(moving, change)
        return None


class ForeachRMSprop(Uncompiled, torch.optim.RMSprop):
    """`torch.optim.RMSprop(foreach=True)`."""

    def __init__(self, parameters: Iterable[nn.Parameter], alpha: float):
        parameters = list(parameters)
        super().__init__(parameters, alpha=alpha, foreach=True, capturable=on_cuda(parameters))

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return RMSPROP_STEP(self, closure)


class VaryingRMSprop(ForeachRMSprop):
    """`torch.optim.RMSprop` of one group whose rate may be a tensor on a CPU too, so that a recording can follow it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        (group,) = self.param_groups
        moving = [p for p in group["params"] if p.grad is not None]
        if not moving:
            return None
        for p in moving:
            if not self.state[p]:
                self.state[p] = {"step": torch.zeros((), device=p.device), "square_avg": torch.zeros_like(p)}
        gradients = [p.grad for p in moving]
        steps, squares = ([self.state[p][key] for p in moving] for key in ("step", "square_avg"))
        torch._foreach_add_(steps, 1)
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
        below = torch._foreach_sqrt(squares)
        torch._foreach_add_(below, group["eps"])
        change = torch._foreach_div(gradients, below)
        torch._foreach_mul_(change, group["lr"])
        torch._foreach_sub_(moving, change)
        return None


class FusedSGD(Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD(fused=True)` of one group, whose momentum may be a tensor, so that a recording can follow it.

    torch's kernel takes a number. It gets 1, and the buffers are multiplied beforehand; only rounding differs.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: bool):
        super().__init__(parameters, lr=0.0, momentum=1.0 if momentum else 0.0, fused=True)
        self._momentum = momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if not self._momentum:
            return SGD_STEP(self, closure)
        (group,) = self.param_groups
        moving = [p for p in group["params"] if p.grad is not None]
        buffers = [b for p in moving if (b := self.state[p].get("momentum_buffer")) is not None]
        momentum, group["momentum"] = group["momentum"], 1.0
        if buffers:
            torch._foreach_mul_(buffers, momentum)
        try:
            return SGD_STEP(self, closure)
        finally:
            group["momentum"] = momentum


def _check_rate(rule: Rule, rate: Any) -> None:
    if not callable(rate) and not (isinstance(rate, int | float) and 0 <= rate < math.inf):
        raise ValueError(f"{type(rule).__name__}'s lr must be a number of at least 0, or a schedule, not {rate!r}")


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba 2015. Where `b2` follows a schedule, steps cost more operators.

    Raises:
        ValueError: a rate that is no schedule is no number, or below 0.
    """

    lr: Schedule
    b1: float = 0.5
    b2: Schedule = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_rate(self, self.lr)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if callable(self.b2):
            return VaryingAdam(parameters, (self.b1, 0.0), self.eps)
        return FusedAdam(parameters, (self.b1, self.b2), self.eps)

    def settings(self, progress: Progress) -> dict[str, float]:
        now = {"lr": at(self.lr, progress)}
        return now | {"b2": at(self.b2, progress)} if callable(self.b2) else now


@dataclass(frozen=True)
class RMSprop:
    """Hinton's lecture 6e, as torch has it. Where the rate follows a schedule, steps cost more operators."""

    lr: Schedule
    alpha: float = 0.99

    def __post_init__(self) -> None:
        _check_rate(self, self.lr)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return (VaryingRMSprop if callable(self.lr) else ForeachRMSprop)(parameters, self.alpha)

    def settings(self, progress: Progress) -> dict[str, float]:
        return {"lr": at(self.lr, progress)}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    lr: Schedule
    momentum: Schedule = 0.0

    def __post_init__(self) -> None:
        _check_rate(self, self.lr)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return FusedSGD(parameters, momentum=bool(self.momentum))

    def settings(self, progress: Progress) -> dict[str, float]:
        return {"lr": at(self.lr, progress), "momentum": at(self.momentum, progress)}
