"""MNIST as super-resolution has it: each digit, and the same in 7 x 7 pixels to make it from.

Ledig et al. 2017, Photo-Realistic Single Image Super-Resolution, enlarge photographs four times; this is the smallest
set of that kind, and needs no network.
"""

import ganzoo
from ganzoo.data.making import smaller
from ganzoo.plugins import registry

TIMES = 4


class MNISTSmall(ganzoo.Dataset):
    """The embedded digits, paired with themselves at a quarter of their size, as `--source smaller:4` makes it."""

    name = "mnist-small"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "the digits of mnist, each with the same at 7 x 7 as the source to make it from; 10 classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        return ganzoo.ImageSet(digits.images, digits.labels, digits.classes, sources=smaller(digits.images, TIMES))


@ganzoo.hookimpl
def register_datasets(register):
    register(MNISTSmall)
