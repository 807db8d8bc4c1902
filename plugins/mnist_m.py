"""Digits over coloured patches, after the MNIST-M of Ganin & Lempitsky 2015.

In Unsupervised Domain Adaptation by Backpropagation they blend each digit with a patch of a photograph,
channel by channel: |patch - digit| (section 4). Here patches are cut from pictures that are made: clouds of colour at
several scales with sharp borders between them. All arithmetic is of whole numbers, so that every machine makes the
same pixels.
"""

import torch
from torch import Tensor

import ganzoo
from ganzoo.plugins import registry

PICTURES, SIDE = 48, 160
"""Pictures that patches are cut from, in each split, and their side in pixels."""
CHUNK = 5000
"""Digits blended at once."""
SEEDS = {"train": 20150706, "test": 20150707}


class MNISTM(ganzoo.Dataset):
    """The embedded digits over coloured patches; training and test digits over patches of different pictures."""

    name = "mnist-m"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "the digits of mnist over coloured patches, 28 x 28 colour, 10 classes; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        return ganzoo.ImageSet(blended(digits.images, SEEDS[request.split]), digits.labels, digits.classes)


class Unpaired(ganzoo.Dataset):
    """What adapting from plain digits to coloured ones takes: Bousmalis et al. 2017 (pixelda).

    Images are those of mnist-m; sources the digits of mnist in an order of their own, with their classes.
    """

    name = "mnist-m-unpaired"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "mnist-m, and the digits of mnist with their classes as unpaired sources; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        return ganzoo.ImageSet(
            blended(digits.images, SEEDS[request.split]), digits.labels, digits.classes,
            sources=digits.images, paired=False, source_labels=digits.labels,
        )  # fmt: skip


def blended(digits: Tensor, seed: int) -> Tensor:
    """uint8 digits (N, 1, H, W) over patches, |patch - digit|: uint8 (N, 3, H, W)."""
    draw = torch.Generator().manual_seed(seed)
    n, _, h, w = digits.shape
    windows = pictures(draw).unfold(2, h, 1).unfold(3, w, 1)
    which, top, left = (torch.randint(m, (n,), generator=draw) for m in (PICTURES, SIDE - h + 1, SIDE - w + 1))
    found = torch.empty(n, 3, h, w, dtype=torch.uint8)
    for part in torch.arange(n).split(CHUNK):
        patches = windows[which[part], :, top[part], left[part]]
        found[part] = (patches.short() - digits[part].short()).abs_().byte()
    return found


def pictures(draw: torch.Generator) -> Tensor:
    """uint8 (PICTURES, 3, SIDE, SIDE): two scenes each, side by side along a winding border."""
    one, other = scene(draw), scene(draw)
    border = cloud(draw, 1, 32) + cloud(draw, 1, 8) // 4
    return torch.where(border > 160, one, other)


def scene(draw: torch.Generator) -> Tensor:
    """Light that varies at three scales, and colour at one: uint8 (PICTURES, 3, SIDE, SIDE)."""
    light = (4 * cloud(draw, 1, 32) + 2 * cloud(draw, 1, 8) + cloud(draw, 1, 2)) // 7
    colour = cloud(draw, 3, 40)
    return (2 * ((light + colour) // 2 - 128) + 128).clamp(0, 255).byte()


def cloud(draw: torch.Generator, channels: int, cell: int) -> Tensor:
    """Random numbers on a grid of `cell` pixels, 0 to 255, and between them lines: int64 (PICTURES, channels, ...)."""
    points = -(-SIDE // cell) + 1
    x = torch.randint(256, (PICTURES, channels, points, points), generator=draw)
    place = torch.arange(SIDE)
    low, share = place // cell, place % cell
    x = x[:, :, low] * (cell - share[:, None]) + x[:, :, low + 1] * share[:, None]
    return (x[..., low] * (cell - share) + x[..., low + 1] * share) // cell**2


@ganzoo.hookimpl
def register_datasets(register):
    register(MNISTM)
    register(Unpaired)
