"""What a data set plugin supplies, and how it is opened."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.pixels import resize, to_channels
from ganzoo.data.reading import fetch, whole
from ganzoo.data.spec import Attribute, DataSpec
from ganzoo.errors import GanzooError


class DataRequest(NamedTuple):
    """What a run asks of a data set."""

    split: Literal["train", "test"] = "train"
    root: Path | None = None
    """`--data-root`: where the user keeps the files."""
    image_size: int | None = None
    """Side of the square images to make; None keeps the set's own."""
    channels: int | None = None
    """1 (grey) or 3 (colour); None keeps the set's own."""


@dataclass
class ImageSet:
    """Images and their conditions, as a data set plugin hands them over."""

    images: "Tensor | torch.utils.data.Dataset[Tensor]"
    """uint8 (N, C, H, W); or, for more than memory holds, a map-style dataset of uint8 (C, H, W) tensors."""
    labels: Tensor | None = None
    """int64 (N,) class indices, or float (N, K) condition vectors; None when there are none."""
    classes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def spec(self, name: str) -> DataSpec:
        """The description that models and run files get."""
        c, h, w = self.images[0].shape
        return DataSpec(name, (int(c), int(h), int(w)), len(self), self.classes, self.attributes, self._counts())

    def _counts(self) -> tuple[int, ...]:
        """Samples of each class."""
        if self.labels is None or not self.classes:
            return ()
        index = self.labels if self.labels.dim() == 1 else self.labels[:, : len(self.classes)].argmax(1)
        return tuple(torch.bincount(index, minlength=len(self.classes)).tolist())


class Dataset(ABC):
    """One data set. Subclass it, register the class through `register_datasets`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings: what it is, its native size, whether it has classes."""

    @abstractmethod
    def load(self, request: DataRequest) -> ImageSet:
        """Find, check and decode the images.

        A set whose images have one native size may ignore `image_size` and `channels`: `open_dataset` applies them.

        Raises:
            UsageError: the request cannot be met (no such folder, a broken file: named).
            GanzooError: the work failed (no network, a full disk).
        """


def open_dataset(dataset: Dataset, request: DataRequest) -> ImageSet:
    """Load a data set and bring its images to the requested size and number of channels.

    A set that fits in memory at that size is converted once; of a larger one, each image as it is read.

    Raises:
        UsageError, GanzooError: as `Dataset.load`; or the plugin handed over something else than it should.
    """
    data = dataset.load(request)
    _check(data, dataset.name)
    c, h, w = data.images[0].shape
    shape = (request.channels or c, request.image_size or h, request.image_size or w)
    if shape == (c, h, w):
        return data
    if isinstance(data.images, Tensor) and len(data) * shape[0] * shape[1] * shape[2] <= memory.IN_MEMORY_BYTES:
        data.images = resize(to_channels(data.images, request.channels), request.image_size)
    else:
        data.images = _Fitted(data.images, request.image_size, request.channels)
    return data


def _check(data: ImageSet, name: str) -> None:
    """Refuse what a plugin should not have handed over, before it fails far from its cause."""

    def faults() -> Iterator[str]:
        if len(data) == 0:
            yield "it has no images"
            return
        images = data.images if isinstance(data.images, Tensor) else whole(fetch(data.images, [0]))
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3):
            kind = str(images.dtype).removeprefix("torch.")
            yield f"images are {kind} {tuple(images.shape)}, not uint8 (N, C, H, W) with 1 or 3 channels"
        labels, classes = data.labels, len(data.classes)
        if labels is None:
            if classes or data.attributes:
                yield "there are classes or attributes, but no labels"
        elif len(labels) != len(data):
            yield f"there are {len(data)} images, but {len(labels)} labels"
        elif data.attributes:
            if not labels.is_floating_point() or labels.shape[1:] != (classes + len(data.attributes),):
                yield f"labels must be float (N, {classes + len(data.attributes)}), one column for each class and tag"
        elif labels.dtype != torch.int64 or labels.dim() != 1:
            yield "labels must be int64 (N,)"
        elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            yield f"labels run from {int(labels.min())} to {int(labels.max())}, but there are {classes} classes"

    for fault in faults():
        raise GanzooError(f"data set '{name}' is at fault: {fault}")


class _Fitted(torch.utils.data.Dataset[Tensor]):
    """Images brought to a size and number of channels one by one, as they are read."""

    def __init__(self, images: Any, size: int | None, channels: int | None):
        self.images, self.size, self.channels = images, size, channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return resize(to_channels(self.images[index].unsqueeze(0), self.channels), self.size)[0]
