"""What a metric and a feature extractor are: the two things that a plugin brings through `register_metrics`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ganzoo.errors import UsageError

if TYPE_CHECKING:
    from ganzoo.metrics.reference import Reference

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
        raise NotImplementedError

    def extract(self, images: Tensor) -> Features:
        """Look at uint8 images (N, C, H, W) on the CPU, C 1 or 3; the answer is on the extractor's device."""
        raise NotImplementedError


class Images(NamedTuple):
    """A batch of the images that are measured."""

    images: Tensor
    """uint8 (N, C, H, W), on the CPU."""
    labels: Tensor | None
    """int64 (N,), on the CPU: the class that each was meant to be; None when there are none."""


class Measured(NamedTuple):
    """The same with what the extractor says of it."""

    images: Tensor
    labels: Tensor | None
    vectors: Tensor | None
    """float (N, D), on the device; None when no metric asks for features."""
    logits: Tensor | None


@dataclass
class Setting:
    """What every metric of one evaluation may know."""

    reference: "Reference"
    n: int
    """Images to be measured."""
    labelled: bool
    """Whether they come with labels."""
    seed: int
    device: torch.device

    @property
    def extractor(self) -> FeatureExtractor:
        """The extractor in use.

        Raises:
            UsageError: there is none.
        """
        return self.reference.extractor


class Metric(ABC):
    """One measurement of a set of images against a reference. Subclass it, register it through `register_metrics`.

    Made anew for each evaluation, fed batch by batch, asked once.
    """

    name: ClassVar[str]
    """What the user types."""
    summary: ClassVar[str]
    """One line for listings."""
    default: ClassVar[bool] = True
    """Whether it is measured when no metric is named."""
    features: ClassVar[bool] = True
    """Whether it needs the extractor."""

    def __init__(self, setting: Setting):
        self.setting = setting

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        """What this evaluation lacks for the metric to be measured; None when nothing."""
        return None

    @abstractmethod
    def update(self, batch: Measured) -> None:
        """Take in a batch."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Named results, the metric's own name first."""

    def settings(self) -> dict[str, float | str]:
        """What the result depends on besides the protocol: results that differ in it are not compared."""
        return {}


def needs_labels(setting: Setting) -> str | None:
    """Why a metric of labelled images cannot be measured; None when it can."""
    if not setting.labelled:
        return "the images have no labels"
    return None if setting.reference.data.classes else f"data set '{setting.reference.name}' has no classes"


def needs_classifier(setting: Setting) -> str | None:
    """Why a metric that classifies the images cannot be measured; None when it can."""
    extractor, reference = setting.extractor, setting.reference
    if extractor.classes != reference.data.classes:
        return f"the extractor '{extractor.name}' does not classify into the classes of '{reference.name}'"
    return needs_labels(setting)


def needs_test_split(setting: Setting) -> str | None:
    """Why a metric that holds training and test images against each other cannot be measured; None when it can."""
    reference = setting.reference
    return None if reference.has_test_split else f"data set '{reference.name}' has no test split of its own"


def require(condition: bool, message: str) -> None:
    """Raise a UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(message)
