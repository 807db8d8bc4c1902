"""The feature extractor for digits: a small classifier of MNIST, embedded, so that measuring needs no network."""

from importlib import resources
from pathlib import Path

import ganzoo
from ganzoo.errors import GanzooError, UsageError
from ganzoo.metrics.classifier import Trained


class Digits(Trained):
    """128 features of a convnet trained on MNIST by `ganzoo features train --dataset mnist --seed 0`."""

    name = "digits"
    summary = "128 features of a small convnet that classifies MNIST; 28 x 28 grey; embedded"
    datasets = ("mnist", "mnist-strokes", "mnist-edges")

    def __init__(self, weights: Path | None = None):
        ganzoo.FeatureExtractor.__init__(self)
        if weights is not None:
            raise UsageError("the extractor 'digits' brings its own weights; for a file, use --features FILE")
        try:
            packed = resources.files(__name__).joinpath("digits.safetensors").read_bytes()
        except OSError as error:
            raise GanzooError("the embedded file digits.safetensors is missing: reinstall ganzoo") from error
        self.fill(packed, "the embedded file digits.safetensors")


@ganzoo.hookimpl
def register_metrics(register):
    register(Digits)
