"""What a metric is, with the feature extractor that it looks through: what a plugin brings by `register_metrics`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.errors import UsageError
from ganzoo.metrics.extractor import MOST, FeatureExtractor, Features
from ganzoo.metrics.reference import Reference

__all__ = [
    "MOST",
    "NO_LABELS",
    "Drawer",
    "FeatureExtractor",
    "Features",
    "Images",
    "Measured",
    "Metric",
    "Recogniser",
    "Setting",
]


NO_LABELS = "the images have no labels"
"""Why a metric of labelled images is left out."""


class Images(NamedTuple):
    """A batch of the images that are measured."""

    images: Tensor
    """uint8 (N, C, H, W), on the CPU; of a model of vectors these, float (N, D)."""
    labels: Tensor | None
    """int64 (N,), on the CPU: the class that each was meant to be; None when there are none."""
    targets: Tensor | None = None
    """uint8 (N, C, H, W), on the CPU: what each was to be, where images are made from sources in pairs."""
    cycle: Tensor | None = None
    """float (N,), on the CPU: how far what comes back is from the source, pixels in [0, 1], of a model with `back`."""


Recogniser = Callable[[Tensor], Mapping[str, Tensor]]
"""Images, uint8 (N, C, H, W), to the classes that a model itself sees in them, int64 (N,) on the CPU, by name: see
`GAN.recognise`."""


Drawer = Callable[[Tensor, int], Tensor]
"""Conditions, (N, ...), and a seed to samples of a model that was asked for them, on the CPU: images, uint8
(N, C, H, W), or vectors, float (N, D)."""


class Measured(NamedTuple):
    """The same with what the extractor says of it."""

    images: Tensor
    labels: Tensor | None
    vectors: Tensor | None
    """float (N, D), on the device; None when no metric asks for features."""
    logits: Tensor | None
    targets: Tensor | None = None
    cycle: Tensor | None = None

    def on(self, device: torch.device) -> "Measured":
        """The same with what the extractor says on a device."""
        vectors, logits = (None if part is None else part.to(device) for part in (self.vectors, self.logits))
        return self._replace(vectors=vectors, logits=logits)


@dataclass
class Setting:
    """What every metric of one evaluation may know."""

    reference: Reference
    n: int
    """Images to be measured."""
    labelled: bool
    """Whether they come with labels."""
    seed: int
    device: torch.device
    paired: bool = False
    """Whether they come with what they were to be."""
    cycled: bool = False
    """Whether they come with how far what is made back of them is from their sources."""
    recognise: Recogniser | None = None
    """What the model that made them sees in images, where it names the reference's classes."""
    clusters: bool = False
    """Whether what it sees are clusters of its own making instead."""
    draw: Drawer | None = None
    """Draws more samples of the model, under conditions of a metric's own; None where nothing takes conditions."""
    intervals: bool = False
    """Whether it is asked how far other images of the same kind would move the numbers."""

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
    of_vectors: ClassVar[bool] = False
    """Whether it measures vectors too, whose features are their own numbers, and not images alone."""

    def __init__(self, setting: Setting):
        self.setting = setting

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        """What this evaluation lacks for the metric to be measured; None when nothing."""
        return None

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        """Whether, when no metric is named, it is measured of such images, or told to be missing."""
        return True

    @abstractmethod
    def update(self, batch: Measured) -> None:
        """Take in a batch."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Numbers by name, the metric's own name first, none by a name that another metric gives."""

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Where 95 % of as many other images of the same kind would have brought a result, by its name, if known.

        Asked after `compute`, and only where `setting.intervals` said before that it would be.
        """
        return {}

    def settings(self) -> dict[str, float | str]:
        """What the result depends on besides the protocol: results that differ in it are not compared."""
        return {}


def needs_labels(setting: Setting) -> str | None:
    """Why a metric of labelled images cannot be measured; None when it can."""
    if not setting.labelled:
        return NO_LABELS
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


def needs_room(setting: Setting, images: int, bytes_each: int) -> str | None:
    """Why a metric that holds so many images at a time, each value in `bytes_each`, cannot be measured; None when it
    can."""
    shape = setting.reference.spec.shape
    if images * bytes_each * math.prod(shape) <= memory.available() / 2:
        return None
    return f"the {images:,} images of {shape[2]} x {shape[1]} pixels that it holds do not fit in memory"


def require(condition: bool, message: str) -> None:
    """Raise a UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(message)
