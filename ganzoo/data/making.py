"""Sources that are made of images, as they are needed: smaller ones, grey ones, outlines, and images with a hole.

Each maker is a function of uint8 images (N, C, H, W), on whatever device they are, to uint8 sources (N, C', H', W').
Nothing is drawn: an image has one source, in training as in grids and evaluations.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.data.pixels import CHUNK, to_channels
from ganzoo.errors import UsageError, did_you_mean

FILLED = 128
"""What a hole is filled with: the middle of the range that networks see."""
USUAL_HOLE = 0.5
"""Of each side of an image, the share that a hole takes unless another is named."""
MOST_TIMES = 64


def smaller(images: Tensor, times: int) -> Tensor:
    """Images (N, C, H, W) at 1/`times` of both sides, which it divides: bicubic, antialiased.

    As super-resolution has it: Ledig et al. 2017, section 3.
    """
    size = images.shape[2] // times, images.shape[3] // times

    def part(x: Tensor) -> Tensor:
        small = F.interpolate(x.float(), size, mode="bicubic", antialias=True, align_corners=False)
        return small.round_().clamp_(0, 255).byte()

    return in_parts(part, images)


def grey(images: Tensor) -> Tensor:
    """The brightness of images in colour, (N, 3, H, W): (N, 1, H, W)."""
    return to_channels(images, 1)


def edges(images: Tensor) -> Tensor:
    """The morphological gradient, (N, 1, H, W): the brightest of each pixel's 3 x 3 neighbours less the darkest.

    Beyond its border an image goes on as at its border. Colours count by their brightness.
    """

    def part(x: Tensor) -> Tensor:
        bright = grey(x)
        return _extreme(bright, torch.maximum) - _extreme(bright, torch.minimum)

    return in_parts(part, images)


def _extreme(x: Tensor, of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The largest or smallest of each pixel and its eight neighbours."""
    for axis in (2, 3):
        n = x.shape[axis]
        before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, n - 1)], axis)
        after = torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)
        x = of_two(of_two(before, x), after)
    return x


def hole(images: Tensor, share: float) -> Tensor:
    """Images (N, C, H, W) whose middle, `share` of each side, is even grey: Pathak et al. 2016, section 3.2."""
    top, left, height, width = hole_in(images.shape[2], images.shape[3], share)
    holed = images.clone()
    holed[:, :, top : top + height, left : left + width] = FILLED
    return holed


def hole_in(h: int, w: int, share: float) -> tuple[int, int, int, int]:
    """The hole in an image of h x w pixels: its topmost row, leftmost column, height and width."""
    height, width = max(1, round(h * share)), max(1, round(w * share))
    return (h - height) // 2, (w - width) // 2, height, width


def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """A function of images, of few enough at a time for little memory."""
    size = max(1, CHUNK // max(1, images[0].numel())) if len(images) else 1
    return function(images) if len(images) <= size else torch.cat([function(part) for part in images.split(size)])


WAYS = ("smaller", "grey", "edges", "hole")


@dataclass(frozen=True)
class Maker:
    """One way of making sources, as `--source` names it: `smaller:4`, `grey`, `edges`, `hole` or `hole:0.25`."""

    way: str
    value: float = 0

    @classmethod
    def named(cls, text: str) -> "Maker":
        """From a name and, after a colon, its number.

        Raises:
            UsageError: there is no such way (the nearest is given), or no such number of it.
        """
        way, colon, given = (part.strip() for part in text.partition(":"))
        if way not in WAYS:
            hint = did_you_mean(way, [*WAYS])
            raise UsageError(f"--source {text}: there is no way '{way}' of making sources: {hint}")
        if way == "smaller":
            if not (re.fullmatch(r"[0-9]{1,9}", given) and 2 <= int(given) <= MOST_TIMES):
                raise UsageError(
                    f"--source {text}: say how many times smaller, 2 to {MOST_TIMES}, as in --source smaller:4"
                )
            return cls(way, int(given))
        if way == "hole":
            try:
                share = float(given) if colon else USUAL_HOLE
            except ValueError:
                share = 0
            if not 0 < share < 1:
                raise UsageError(
                    f"--source {text}: say what share of each side the hole takes, between 0 and 1, as in "
                    "--source hole:0.5"
                )
            return cls(way, share)
        if colon:
            raise UsageError(f"--source {text}: '{way}' takes no number: write --source {way}")
        return cls(way)

    @property
    def text(self) -> str:
        """As `--source` takes it, in the shortest way: two makers are the same if their texts are."""
        return self.way if self.value in (0, USUAL_HOLE) else f"{self.way}:{self.value}"

    @property
    def of_pictures(self) -> bool:
        """Whether a source is made of what a user brings; small pictures are what they are brought as."""
        return self.way != "smaller"

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) to uint8 sources (N, C', H', W')."""
        if self.way == "smaller":
            return smaller(images, int(self.value))
        if self.way == "hole":
            return hole(images, self.value)
        return grey(images) if self.way == "grey" else edges(images)

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """See that sources can be made of the images of data set `name`, (C, H, W).

        Raises:
            UsageError: they cannot.
        """
        if len(shape) != 3:
            raise UsageError(f"--source {self.text}: data set '{name}' holds vectors: sources are made of images")
        c, h, w = shape
        times = int(self.value)
        if self.way == "smaller" and (h % times or w % times):
            raise UsageError(
                f"--source {self.text}: images of '{name}' are {w} x {h} pixels: --image-size must be a multiple of "
                f"{times}"
            )
        if self.way == "grey" and c == 1:
            raise UsageError(f"--source {self.text}: images of '{name}' are grey already: say --channels 3, or edges")


class Made(torch.utils.data.Dataset[Tensor]):
    """The sources of images, each made when it is asked for: nothing is held of them."""

    def __init__(self, images: Any, maker: Maker):
        """`images`: uint8, a tensor (N, C, H, W) or a map-style dataset of (C, H, W)."""
        self.images, self.maker = images, maker

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.maker(self.images[index].unsqueeze(0))[0]
