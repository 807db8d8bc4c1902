"""The feature extractor for digits: a small classifier of MNIST, embedded, so that measuring needs no network."""

import ganzoo
from ganzoo.metrics.classifier import Embedded


class Digits(Embedded):
    """128 features of a convnet trained on MNIST by `ganzoo features train --dataset mnist --seed 0`."""

    name = "digits"
    summary = "128 features of a small convnet that classifies MNIST; 28 x 28 grey; embedded"
    datasets = ("mnist", "mnist-strokes", "mnist-edges", "mnist-small")


@ganzoo.hookimpl
def register_metrics(register):
    register(Digits)
