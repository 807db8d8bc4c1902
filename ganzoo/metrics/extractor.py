"""What a feature extractor is: one of the two things that a plugin brings through `register_metrics`."""

import hashlib
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ganzoo.errors import GanzooError, UsageError

MOST = 10_000
"""Images of each side that go into metrics which compare all pairs; FID takes any number."""


class Features(NamedTuple):
    """What an extractor says of a batch."""

    vectors: Tensor
    """float (N, num_features)."""
    logits: Tensor | None = None
    """float (N, classes) before the softmax; None when the extractor classifies nothing."""


class FeatureExtractor(nn.Module):
    """A fixed network that turns images into vectors. Subclass it, register the class through `register_metrics`.

    It scales, resizes and recolours its own input, and never leaves evaluation mode.
    """

    name: str
    summary: ClassVar[str]
    """One line for listings."""
    datasets: ClassVar[tuple[str, ...]] = ()
    """The data sets for which it is the default."""
    num_features: int
    classes: tuple[str, ...] = ()
    """What its logits stand for, in order; empty when they are not the classes of any data set."""
    classifies: bool = False
    """Whether it gives logits."""
    accuracy: float | None = None
    """The share of images that it classifies rightly, where that was measured."""
    tested_on: str = "test"
    """On which: `test`, `held-out`, or `train`, those that it has learnt from."""
    trained_on: str = ""
    """What `glimpse_of` says of the images that it has learnt from; empty where that is not known."""
    sha256: str
    """Of its weights."""

    def __init__(self, weights: Path | None = None):
        """Load the weights: those of a file, or its own.

        Raises:
            UsageError: it takes no file, or the file does not fit.
            GanzooError: the weights cannot be had.
        """
        super().__init__()

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stay in evaluation mode, whatever `mode` says."""
        return super().train(False)

    def resizing(self, height: int, width: int) -> str:
        """How images of this size are brought to the network's: `none`, or from what to what, and by which filter."""
        raise GanzooError(f"feature extractor '{self.name}' does not state resizing")

    def extract(self, images: Tensor) -> Features:
        """Look at uint8 images (N, C, H, W) on the CPU, C 1 or 3; the answer is on the extractor's device."""
        raise GanzooError(f"feature extractor '{self.name}' does not state extract")

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps (N, K, h, w) of images (N, C, H, W) in [-1, 1], C 1 or 3, with gradients: for content terms.

        Raises:
            UsageError: it has none, as by default.
        """
        raise UsageError(f"feature extractor '{self.name}' has no feature maps that a model could learn from")


class Coordinates(FeatureExtractor):
    """Stands where data has no pixels: the features of vectors (N, D) are their own numbers."""

    name = "coordinates"
    sha256 = hashlib.sha256(b"coordinates").hexdigest()

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def resizing(self, height: int = 1, width: int = 1) -> str:
        return "none"

    def extract(self, images: Tensor) -> Features:
        return Features(images)
