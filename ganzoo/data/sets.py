"""What a data set plugin supplies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ganzoo.data.spec import Attribute, DataSpec


class DatasetOptions(BaseModel):
    """Options of a data set: a subclass's fields, each with a default and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataRequest(NamedTuple):
    """What a run asks of a data set."""

    split: Literal["train", "test"] = "train"
    root: Path | None = None
    """`--data-root`: where the user keeps the files."""
    image_size: int | None = None
    """Side of the square images to make; None keeps the set's own. Sources follow: see `open_dataset`."""
    channels: int | None = None
    """1 (grey) or 3 (colour); None keeps the set's own. Sources keep theirs."""
    options: Any = MappingProxyType({})
    """The data set's own options, by name; `Dataset.load` gets them as its `Options`. None: as version 0.1.0 had it,
    which knew none."""
    source: str | None = None
    """`--source`: how sources are made of the images, as `Maker.named` takes it. `open_dataset` makes them."""


class Modes(NamedTuple):
    """The parts that data is known to be made of, so that it can be counted which of them a model makes."""

    shares: Tensor
    """How often each comes, double (K,); they sum to 1."""
    centres: Tensor | None = None
    """Of vectors: the means of Gaussians, float (K, D). Of images a classifier tells the modes apart: these are its
    classes, in its order."""
    deviation: float = 0.0
    """Of vectors: the standard deviation of each Gaussian, the same in every direction."""


class Words(NamedTuple):
    """What vectors stand for, where they are those of words: so that words can be read from what a model makes."""

    names: tuple[str, ...]
    vectors: Tensor
    """float32 (V, D), none of them zero: a vector means the word that it makes the smallest angle with."""
    places: Tensor
    """Which of them each sample is, int64 (N,): words that come in the same company may have one vector."""


@dataclass
class ImageSet:
    """Samples, their conditions and what they are to be made from, as a data set plugin hands them over."""

    images: "Tensor | torch.utils.data.Dataset[Tensor]"
    """uint8 (N, C, H, W); or, for more than memory holds, a map-style dataset of uint8 (C, H, W) tensors; or vectors,
    float32 (N, D), which are taken as they are."""
    labels: Tensor | None = None
    """int64 (N,) class indices, or float (N, K) condition vectors; None when there are none."""
    classes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = field(default=())
    sources: "Tensor | torch.utils.data.Dataset[Tensor] | None" = None
    """The images that samples are to be made from, as `images`, of a size and number of channels of their own."""
    paired: bool = True
    """Whether `sources[i]` is the counterpart of `images[i]`; otherwise they are another set, of any length."""
    source_labels: Tensor | None = None
    """Classes of unpaired sources, int64 (M,), of the same `classes`: what labelled images teach of unlabelled ones.
    Counterparts in pairs are of one class, that in `labels`."""
    modes: Modes | None = None
    """What the data is made of, where that is known."""
    words: Words | None = None
    """Which words the vectors stand for, where they do."""
    split: str = ""
    """What the images are, where that is not the split that was asked for: `train` where there is no test split, or
    `held-out`, a part that was kept from training for want of one. Stands beside the numbers of an evaluation."""

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    @property
    def is_images(self) -> bool:
        """Whether samples are images, not vectors."""
        return not (isinstance(self.images, Tensor) and self.images.dim() == 2)

    @property
    def own(self) -> bool:
        """Whether the images are their own sources: see `GAN.sourced`."""
        return self.sources is self.images

    def spec(self, name: str) -> DataSpec:
        """The description that models and run files get."""
        shape = tuple(map(int, self.images[0].shape))
        source_shape: tuple[int, int, int] | None = None
        if self.sources is not None:
            c, h, w = map(int, self.sources[0].shape)
            source_shape = c, h, w
        return DataSpec(
            name, shape, len(self), self.classes, self.attributes, self._counts(), source_shape, self.paired,
            self.source_labels is not None,
        )  # fmt: skip

    def class_of(self) -> Tensor | None:
        """The class of each sample, int64 (N,), whether labels are indices or vectors; None where there are none."""
        if self.labels is None or not self.classes:
            return None
        return self.labels if self.labels.dim() == 1 else self.labels[:, : len(self.classes)].argmax(1)

    def _counts(self) -> tuple[int, ...]:
        """Samples of each class."""
        index = self.class_of()
        return () if index is None else tuple(torch.bincount(index, minlength=len(self.classes)).tolist())


class Dataset(ABC):
    """One data set. Subclass it, register the class through `register_datasets`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings: what it is, its native size, whether it has classes."""
    attribution: ClassVar[str] = ""
    """Whose the data are and under which licence, in a sentence or two for the cards of shared runs; empty: not known
    here."""
    Options: ClassVar[type[DatasetOptions]] = DatasetOptions
    """What can be chosen of it: `label_column` is `--label-column` where this data set is chosen."""
    before: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options by which it is what version 0.1.0 had, where its defaults are not: runs of then go on so."""
    takes_root: ClassVar[bool] = True
    """Whether `load` looks for files in `request.root`. Where it does not, whoever gives --data-root is told."""

    @abstractmethod
    def load(self, request: DataRequest) -> ImageSet:
        """Find, check and decode the images.

        A set whose images have one native size may ignore `image_size` and `channels`: `open_dataset` applies them.

        Raises:
            UsageError: the request cannot be met (no such folder, a broken file: named).
            GanzooError: the work failed (no network, a full disk).
        """
