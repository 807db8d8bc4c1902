"""MNIST with a condition vector: the digit, how thick its strokes are, and how much it leans.

The two numbers are measured from each image, so that samples can be measured by the same rule and compared with what
was asked for. Mirza & Osindero 2014 condition on any side information; this is a small set that has some.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import ganzoo
from ganzoo.plugins import registry

THINNEST, THICKEST = 1.4, 3.8
"""Stroke thickness in pixels that is called 0 and 1: nearly all of MNIST lies between."""
SLANTS = (-0.6, 0.8)
"""Range of the slant: nearly all of MNIST lies between."""
CHUNK = 5000
"""Images measured at once."""

ATTRIBUTES = (
    ganzoo.Attribute("thickness", 0.0, 1.0, f"stroke thickness, from {THINNEST} pixels (0) to {THICKEST} (1)"),
    ganzoo.Attribute("slant", *SLANTS, "lean to the right: tangent of the angle between the digit and the vertical"),
)


class Strokes(NamedTuple):
    """What is measured of each image, unbounded."""

    thickness: Tensor
    """Mean width of the strokes in pixels, (N,)."""
    slant: Tensor
    """Tangent of the lean to the right, (N,)."""


class MNISTStrokes(ganzoo.Dataset):
    """The embedded digits with condition vectors: one-hot digit, thickness, slant."""

    name = "mnist-strokes"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "the digits of mnist, each with its class, stroke thickness and slant as a condition vector"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        strokes = measure(digits.images)
        columns = [
            F.one_hot(digits.labels, len(digits.classes)).float(),
            ((strokes.thickness - THINNEST) / (THICKEST - THINNEST)).clamp(0, 1).unsqueeze(1),
            strokes.slant.clamp(*SLANTS).unsqueeze(1),
        ]
        return ganzoo.ImageSet(digits.images, torch.cat(columns, dim=1), digits.classes, ATTRIBUTES)


def measure(images: Tensor) -> Strokes:
    """Thickness and slant of light strokes on dark ground: uint8 (N, 1, H, W), of any size; an empty image has 0, 0.

    Thickness is twice the area over the outline, which is exact for long strokes: a stroke of length L and width w
    has area L w and an outline of 2 L. The outline is the total variation of the image. Slant is the shear that
    would set the digit upright: the covariance of x and y over the variance of y, y pointing up.
    """
    parts = [_measure(chunk[:, 0].float() / 255) for chunk in images.split(CHUNK)]
    return Strokes(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _measure(x: Tensor) -> Strokes:
    area = x.sum((1, 2))
    padded = F.pad(x, (1, 1, 1, 1))
    across, down = padded[:, 1:, 1:] - padded[:, 1:, :-1], padded[:, 1:, 1:] - padded[:, :-1, 1:]
    outline = (across.square() + down.square()).sqrt().sum((1, 2))

    mass = area.clamp(min=1e-6)
    rows, columns = torch.arange(x.shape[1]).float(), torch.arange(x.shape[2]).float()
    dy = (x.sum(2) @ rows / mass).unsqueeze(1) - rows
    dx = columns - (x.sum(1) @ columns / mass).unsqueeze(1)
    covariance = torch.einsum("nij,ni,nj->n", x, dy, dx)
    variance = torch.einsum("nij,ni->n", x, dy.square())
    return Strokes(2 * area / outline.clamp(min=1e-6), covariance / variance.clamp(min=1e-6))


@ganzoo.hookimpl
def register_datasets(register):
    register(MNISTStrokes)
