"""Views of real images: flipped and cropped at random, on the device, a pair alike."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.data.pixels import normalise


class Views(NamedTuple):
    """Which views are drawn. Their random numbers are torch's default ones, so that recorded steps draw them anew."""

    mirror: bool = False
    """Each image is flipped left-right with probability 1/2."""
    jitter: int = 0
    """Each image is enlarged by so many pixels, and a part of its old size is cropped out of it at random: pix2pix
    (Isola et al. 2017, section 6.2) enlarges 256 pixels by 30."""

    def __call__(self, *images: Tensor) -> list[Tensor]:
        """Normalised views of uint8 (N, C, H, W): float in [-1, 1]. Several get the same view, whatever their sizes.

        `jitter` counts pixels of the first. Of the others the same part is taken, in the proportion of their sizes.
        """
        n, device = len(images[0]), images[0].device
        views = [normalise(x) for x in images]
        if self.jitter:
            offset = torch.randint(self.jitter + 1, (n, 2), device=device)
            sides = views[0].shape[2:]
            views = [_cropped(x, offset, sides, self.jitter) for x in views]
        if self.mirror:
            flipped = torch.rand(n, 1, 1, 1, device=device) < 0.5
            views = [torch.where(flipped, x.flip(3), x) for x in views]
        return views


def _cropped(x: Tensor, offset: Tensor, sides: tuple[int, ...], jitter: int) -> Tensor:
    """The part of `x` (N, C, H', W') that a crop of `sides` takes out of `sides` + `jitter`, at `offset` (N, 2).

    Enlarging and cropping are one bilinear look-up, so that images of other sizes can be cropped between pixels.
    """
    axes = []
    for axis, side in enumerate(sides):
        count = x.shape[2 + axis]
        centres = (torch.arange(count, device=x.device) + 0.5) * (side / count)
        # -1 and 1 are the edges of the whole image.
        axes.append((centres + offset[:, axis, None]) * (2 / (side + jitter)) - 1)
    down, across = axes
    size = len(x), down.shape[1], across.shape[1]
    grid = torch.stack([across[:, None, :].expand(size), down[:, :, None].expand(size)], dim=3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
