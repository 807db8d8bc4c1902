"""DiffAugment: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020.

What D sees is changed, real and fakes alike, in D's turn and in G's (section 3.2, equations 4 and 5), by changes T that
let gradients through:

    D judges T(x) and T(G(z)),    G learns through D(T(G(z)))

Every image is changed each time, by amounts of its own, drawn uniformly (section 4, and the published program):

    colour       brightness, x + u with u from -0.5 to 0.5; saturation, the distance to the mean over channels times
                 0 to 2; contrast, the distance to the mean over the image times 0.5 to 1.5
    translation  by whole pixels, at most an eighth of the side, zero where nothing is left
    cutout       a square of half the side is zero, its centre anywhere
"""

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo.errors import UsageError
from ganzoo.ingredients import Augmentation, IngredientOptions

SHIFT = 1 / 8
"""Share of the side by which images are moved, at most."""
HOLE = 1 / 2
"""Side of what is cut out, as a share of the image's."""


class DiffAugment(Augmentation):
    """Colour, translation and cutout, as published; with few images the paper has all three."""

    name = "diffaugment"
    summary = "Colour, translation and cutout, of every image each time (Zhao et al. 2020)"

    class Options(IngredientOptions):
        """Which changes are made: the paper's policy."""

        color: bool = Field(True, description="Change brightness, saturation and contrast.")
        translation: bool = Field(True, description="Move by up to an eighth of the side; zero comes in.")
        cutout: bool = Field(True, description="Set a square of half the side to zero.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        if not (options.color or options.translation or options.cutout):
            raise UsageError("augmentation 'diffaugment' has nothing left to do: allow color, translation or cutout")

    def forward(self, x: Tensor) -> Tensor:
        """Images, float (N, C, H, W) in [-1, 1], to changed ones, of any range."""
        if self.options.color:
            x = recoloured(x)
        if self.options.translation:
            x = translated(x)
        return cut(x) if self.options.cutout else x


def recoloured(x: Tensor) -> Tensor:
    """Images of another brightness, saturation (grey ones have none) and contrast, in this order."""
    x = x + uniform(x, -0.5, 0.5)
    amount = uniform(x, 0, 2)
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * amount
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * uniform(x, 0.5, 1.5)


def translated(x: Tensor) -> Tensor:
    """Images moved by whole pixels, up or down and to the left or right, each by as much as it draws."""
    for axis in (2, 3):
        side = x.shape[axis]
        most = round_half_up(side * SHIFT)
        place = torch.arange(side, device=x.device) + integers(x, -most, most)
        inside = (place >= 0) & (place < side)
        along = place.clamp(0, side - 1).unsqueeze(1).unsqueeze(5 - axis)
        x = x.gather(axis, along.expand_as(x)) * inside.unsqueeze(1).unsqueeze(5 - axis)
    return x


def cut(x: Tensor) -> Tensor:
    """Images in each of which a square is zero. Its centre is anywhere in the image: a part of it may lie outside."""
    holes = []
    for side in x.shape[2:]:
        size = round_half_up(side * HOLE)
        # An even hole has its centre between pixels, or on either edge.
        first = integers(x, 0, side - size % 2) - size // 2
        place = torch.arange(side, device=x.device)
        holes.append((place >= first) & (place < first + size))
    rows, columns = holes
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def uniform(x: Tensor, low: float, high: float) -> Tensor:
    """A number for each image of x, from `low` to `high`: (N, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)


def integers(x: Tensor, low: int, high: int) -> Tensor:
    """An integer for each image of x, `high` included: (N, 1)."""
    return torch.randint(low, high + 1, (len(x), 1), device=x.device)


def round_half_up(value: float) -> int:
    """As the published program rounds."""
    return int(value + 0.5)


@ganzoo.hookimpl
def register_augmentations(register):
    register(DiffAugment)
