"""Adversarial losses as pure functions of logits: each returns the mean over its input, a scalar.

The functions named `*_discriminator` take (real_logits, fake_logits); those named `*_generator` take fake_logits.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
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


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Half of `minimax_discriminator`: the cross-entropy of classifying both halves, as most code has it."""
    return minimax_discriminator(real, fake) / 2


def least_squares_discriminator(real: Tensor, fake: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """(E[(D(x) - b)^2] + E[(D(G(z)) - a)^2]) / 2. Mao et al. 2017, equation 2."""
    return ((real - b).square().mean() + (fake - a).square().mean()) / 2


def least_squares_generator(fake: Tensor, c: float = 1.0) -> Tensor:
    """E[(D(G(z)) - c)^2] / 2. Mao et al. 2017, equation 2."""
    return (fake - c).square().mean() / 2


def mean_squared_generator(fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2]: the same without the half, as tutorials have it."""
    return (fake - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]. Miyato et al. 2018, equation 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E[D(G(z))]. Miyato et al. 2018, equation 17."""
    return -fake.mean()


def raw(logits: Tensor) -> Tensor:
    """The logits themselves, for losses that do not read them as odds."""
    return logits


class Adversarial(NamedTuple):
    """The two sides of one adversarial loss, and how to read a logit."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    """What to show of the discriminator's output: a probability where the loss gives it that meaning."""


Name = Literal["minimax", "non-saturating", "cross-entropy", "least-squares", "mean-squared", "hinge"]
"""The losses that a model may offer by name, as the type of an option."""

ADVERSARIAL: dict[Name, Adversarial] = {
    "minimax": Adversarial(minimax_discriminator, minimax_generator, torch.sigmoid),
    "non-saturating": Adversarial(minimax_discriminator, non_saturating_generator, torch.sigmoid),
    "cross-entropy": Adversarial(cross_entropy_discriminator, non_saturating_generator, torch.sigmoid),
    "least-squares": Adversarial(least_squares_discriminator, least_squares_generator, raw),
    "mean-squared": Adversarial(least_squares_discriminator, mean_squared_generator, raw),
    "hinge": Adversarial(hinge_discriminator, hinge_generator, raw),
}
"""Each by its name."""
