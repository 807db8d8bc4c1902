"""Samples for latents, in parts that memory holds."""

from itertools import repeat

import torch
from torch import Tensor

from ganzoo.gan import GAN
from ganzoo.metrics.classifier import at_once

CHUNK = 512
"""Images of up to 64 x 64 pixels, or vectors, that are generated at once."""


def part_of(gan: GAN) -> int:
    """How many samples of a model are generated at once."""
    return max(1, CHUNK * at_once(*gan.data.shape[1:]) // at_once())


def in_parts(gan: GAN, z: Tensor, y: Tensor | None) -> Tensor:
    """What the model makes of latents (n, ...) and conditions, or None: float (n, ...).

    Large images are made in parts, so that memory does not grow with their number: 31 at once of 256 x 256, and of
    1024 x 1024 one by one.
    """
    step = part_of(gan)
    parts = z.split(step), repeat(None) if y is None else y.split(step)
    return torch.cat([gan.generate(zs, ys).float() for zs, ys in zip(*parts, strict=False)])
