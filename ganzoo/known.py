"""Samples whose class is known, kept as they come by: for classifiers that learn from few labels."""

import torch
from torch import Tensor, nn

from ganzoo.data import normalise, to_uint8

MOST = 4096
"""Labelled images that are kept at once, unless a batch is larger."""


class Known(nn.Module):
    """Labelled images that have come by, the latest `size` of them, to draw batches from.

    Each process of a run keeps its own.
    """

    own = True
    batch_statistics = True
    """What is drawn depends on all that has come by."""
    images: Tensor
    """uint8 (size + 1, C, H, W); the last place is for what is not kept, and stays empty."""
    classes: Tensor
    """int64 (size + 1,)."""
    count: Tensor
    """How many have come, int64."""

    def __init__(self, shape: tuple[int, ...], size: int):
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size + 1, *shape, dtype=torch.uint8))
        self.register_buffer("classes", torch.zeros(size + 1, dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def keep(self, x: Tensor, y: Tensor) -> None:
        """Keep those of images (N, C, H, W) in [-1, 1] that have a class, in y, int64 (N,); N is at most `size`."""
        has = y >= 0
        place = torch.where(has, (self.count + has.cumsum(0) - 1) % self.size, self.size)
        self.images.index_copy_(0, place, to_uint8(x.detach()))
        self.classes.index_copy_(0, place, y)
        self.images[self.size].zero_()
        self.classes[self.size].zero_()
        self.count.add_(has.sum())

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """`n` images, their classes, and whether there are any, 1 or 0; if not, images are black."""
        held = self.count.clamp(max=self.size)
        index = (torch.rand(n, device=held.device) * held).long()
        return normalise(self.images[index]), self.classes[index], (held > 0).float()
