"""What may come between gradients and the optimizer's step, on the device."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Treatment = Callable[[Sequence[nn.Parameter]], None]
"""Changes the gradients of one player's parameters in place."""


def zero_nonfinite(parameters: Sequence[nn.Parameter]) -> None:
    """Set what is not finite to zero, as the code of StyleGAN2-ADA does before each step."""
    for parameter in parameters:
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0, out=parameter.grad)


def clip(norm: float) -> Treatment:
    """Scale a player's gradients so that their joint Euclidean norm is at most `norm`. Pascanu et al. 2013."""

    def treat(parameters: Sequence[nn.Parameter]) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    return treat


def treatments(nonfinite: str, norm: float | None) -> tuple[Treatment, ...]:
    """Those that the run's options `nonfinite_gradients` and `clip_gradients` ask for, in order."""
    zero = (zero_nonfinite,) if nonfinite == "zero" else ()
    return zero + ((clip(norm),) if norm is not None else ())
