"""MNIST as pairs: each digit, and its outline to make it from.

Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, make photographs of edges; this is
the smallest set of that kind, and needs no network.
"""

import ganzoo
from ganzoo.data.making import edges
from ganzoo.plugins import registry


class MNISTEdges(ganzoo.Dataset):
    """The embedded digits, paired with their outlines."""

    name = "mnist-edges"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "the digits of mnist, each with its outline as the source to make it from; 10 classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        return ganzoo.ImageSet(digits.images, digits.labels, digits.classes, sources=edges(digits.images))


@ganzoo.hookimpl
def register_datasets(register):
    register(MNISTEdges)
