"""Adversarial losses as pure functions of logits: each returns the mean over its input, a scalar.

The functions named `*_discriminator` take (real_logits, fake_logits); those named `*_generator` take fake_logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logits). Goodfellow et al. 2014, equation 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]: the value of the game itself. Goodfellow et al. 2014, equation 1."""
    return -F.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]: the same fixed point, stronger gradients early. Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """(E[(D(x) - b)^2] + E[(D(G(z)) - a)^2]) / 2. Mao et al. 2017, equation 2."""
    return ((real - b).square().mean() + (fake - a).square().mean()) / 2


def least_squares_generator(fake: Tensor, c: float = 1.0) -> Tensor:
    """E[(D(G(z)) - c)^2] / 2. Mao et al. 2017, equation 2 (tutorials leave out the half: see the `tutorial` preset)."""
    return (fake - c).square().mean() / 2


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]. Miyato et al. 2018, equation 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E[D(G(z))]. Miyato et al. 2018, equation 17."""
    return -fake.mean()


class Adversarial(NamedTuple):
    """The two sides of one adversarial loss."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


ADVERSARIAL: dict[str, Adversarial] = {
    "minimax": Adversarial(minimax_discriminator, minimax_generator),
    "non-saturating": Adversarial(minimax_discriminator, non_saturating_generator),
    "least-squares": Adversarial(least_squares_discriminator, least_squares_generator),
    "hinge": Adversarial(hinge_discriminator, hinge_generator),
}
"""The losses that a model may offer by name."""
