"""MNIST as pairs: each digit, and its outline to make it from.

Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, make photographs of edges; this is
the smallest set of that kind, and needs no network.
"""

import torch
from torch import Tensor

import ganzoo
from ganzoo.plugins import registry

CHUNK = 5000
"""Images outlined at once."""


class MNISTEdges(ganzoo.Dataset):
    """The embedded digits, paired with their outlines."""

    name = "mnist-edges"
    summary = "the digits of mnist, each with its outline as the source to make it from; 10 classes"

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        return ganzoo.ImageSet(digits.images, digits.labels, digits.classes, sources=outlines(digits.images))


def outlines(images: Tensor) -> Tensor:
    """The morphological gradient of uint8 (N, C, H, W): the largest of each pixel's 3 x 3 neighbours less the smallest.

    Beyond its border an image goes on as at its border.
    """
    found = torch.empty_like(images)
    for chunk, outline in zip(images.split(CHUNK), found.split(CHUNK), strict=True):
        torch.sub(_extreme(chunk, torch.maximum), _extreme(chunk, torch.minimum), out=outline)
    return found


def _extreme(x: Tensor, of_two) -> Tensor:  # type: ignore[no-untyped-def]
    """The largest or smallest of each pixel and its eight neighbours."""
    for axis in (2, 3):
        n = x.shape[axis]
        before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, n - 1)], axis)
        after = torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)
        x = of_two(of_two(before, x), after)
    return x


@ganzoo.hookimpl
def register_datasets(register):
    register(MNISTEdges)
