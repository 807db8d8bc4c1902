"""The feature extractor for Fashion-MNIST: a small classifier of it, embedded, so that measuring needs no training."""

from importlib import resources
from pathlib import Path

import ganzoo
from ganzoo.errors import GanzooError, UsageError
from ganzoo.metrics.classifier import Trained


class Clothes(Trained):
    """128 features of a convnet trained by `ganzoo features train --dataset fashion-mnist --seed 0`."""

    name = "clothes"
    summary = "128 features of a small convnet that classifies Fashion-MNIST; 28 x 28 grey; embedded"
    datasets = ("fashion-mnist",)

    def __init__(self, weights: Path | None = None):
        ganzoo.FeatureExtractor.__init__(self)
        if weights is not None:
            raise UsageError("the extractor 'clothes' brings its own weights; for a file, use --features FILE")
        try:
            packed = resources.files(__name__).joinpath("clothes.safetensors").read_bytes()
        except OSError as error:
            raise GanzooError("the embedded file clothes.safetensors is missing: reinstall ganzoo") from error
        self.fill(packed, "the embedded file clothes.safetensors")


@ganzoo.hookimpl
def register_metrics(register):
    register(Clothes)
