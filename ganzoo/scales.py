"""One image at several sizes, for models of pyramids: sizes from small to large, as `nets.pyramid` has them."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


def smaller(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) at a smaller height and width, by the means of areas."""
    return F.adaptive_avg_pool2d(x, size)


def larger(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) at a larger height and width, bilinear."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def at_sizes(x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Images at each of the sizes, from small to large; the last of these is that of `x`, which it shares."""
    found = [x]
    for size in sizes[-2::-1]:
        found.insert(0, smaller(found[0], size))
    return found


def packed(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (N, ...) as one, (N, K): `Batch.source` has room for it, and a gradient has one norm."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def unpacked(x: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """The inverse: (N, K) as tensors (N, *shape) for each shape in turn."""
    parts = x.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
