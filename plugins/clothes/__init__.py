"""The feature extractor for Fashion-MNIST: a small classifier of it, embedded, so that measuring needs no training."""

import ganzoo
from ganzoo.metrics.classifier import Embedded


class Clothes(Embedded):
    """128 features of a convnet trained by `ganzoo features train --dataset fashion-mnist --seed 0`."""

    name = "clothes"
    summary = "128 features of a small convnet that classifies Fashion-MNIST; 28 x 28 grey; embedded"
    datasets = ("fashion-mnist",)


@ganzoo.hookimpl
def register_metrics(register):
    register(Clothes)
