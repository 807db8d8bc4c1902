"""Networks against the program of a paper's authors: with weights that any program can make, the same numbers."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn


def fill(module: nn.Module) -> None:
    """Weights that any program can make: parameters in order, from a sine whose digits are as good as random."""
    begun = 0
    for parameter in module.parameters():
        i = torch.arange(begun, begun + parameter.numel(), dtype=torch.float64)
        size = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
        parameter.data.copy_(((torch.sin(i * 12.9898) * 43758.5453).frac() * size).view_as(parameter))
        begun += parameter.numel()


def waves(channels: int, side: int) -> Tensor:
    """One image that any program can make, float (1, C, H, W)."""
    i = torch.arange(channels * side * side, dtype=torch.float64)
    return torch.sin(i * 0.37).float().view(1, channels, side, side)


def check_numbers(
    network: nn.Module, inputs: Sequence[Tensor | None], spread: tuple[float, float], first: Sequence[float],
    gradient: float,
) -> None:  # fmt: skip
    """Hold a network against what the authors' gives, all outputs one after the other.

    `spread`: mean and deviation; `first`: the first four numbers; `gradient`: the norm of the gradient, by all
    parameters, of the sum of the squares.
    """
    fill(network)
    made = network(*inputs)
    out = torch.cat([part.flatten() for part in (made if isinstance(made, tuple) else (made,))])
    out.square().sum().backward()
    norm = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm()
    assert out.mean().item() == pytest.approx(spread[0], abs=1e-5)
    assert out.std().item() == pytest.approx(spread[1], abs=1e-5)
    torch.testing.assert_close(out[:4], torch.tensor(list(first)), rtol=0, atol=1e-5)
    assert norm.item() == pytest.approx(gradient, rel=1e-4)
