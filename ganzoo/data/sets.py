"""What a data set plugin supplies, and how it is opened."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.making import Made, Maker
from ganzoo.data.pixels import resize, to_channels
from ganzoo.data.reading import fetch, whole
from ganzoo.data.spec import LONGEST_VECTOR, Attribute, DataSpec
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.fields import validated


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

    @abstractmethod
    def load(self, request: DataRequest) -> ImageSet:
        """Find, check and decode the images.

        A set whose images have one native size may ignore `image_size` and `channels`: `open_dataset` applies them.

        Raises:
            UsageError: the request cannot be met (no such folder, a broken file: named).
            GanzooError: the work failed (no network, a full disk).
        """


def choose_options(dataset: Dataset | type[Dataset], values: Any) -> Any:
    """An instance of the data set's `Options` from values by name; None stands for `before`.

    Raises:
        UsageError: it has no such option (the nearest is given), or a value is of the wrong type or out of range.
    """
    if isinstance(values, DatasetOptions):
        return values
    fields = dataset.Options.model_fields
    given = dataset.before if values is None else values
    for name in given:
        if name not in fields:
            flag, known = str(name).replace("_", "-"), [field.replace("_", "-") for field in fields]
            hint = did_you_mean(flag, known) if known else "it has none"
            raise UsageError(f"data set '{dataset.name}' has no option --{flag}: {hint}")
    return validated(dataset.Options, given)


def open_dataset(dataset: Dataset, request: DataRequest) -> ImageSet:
    """Load a data set and bring its images to the requested size and number of channels.

    A set that fits in memory at that size is converted once; of a larger one, each image as it is read. Paired sources
    are cropped and resized with their counterparts: to the same size where they are as large, and in the same
    proportion where one is a whole multiple of the other. Unpaired ones are brought to the size that is asked for.
    Sources that are asked for are made of the images as they are then, whenever they are needed.

    Raises:
        UsageError, GanzooError: as `Dataset.load`; or the plugin handed over something else than it should, or what
            cannot be brought to that size; or sources are asked for that it has, or that cannot be made.
    """
    maker = None if request.source is None else Maker.named(request.source)
    request = request._replace(options=choose_options(dataset, request.options))
    data = dataset.load(request)
    _check(data, dataset.name)
    size, channels = request.image_size, request.channels
    if not data.is_images:
        if size is not None or channels is not None:
            raise UsageError(
                f"data set '{dataset.name}' holds vectors of {data.images[0].numel()} numbers: "
                "--image-size and --channels are for images"
            )
        if maker is not None:
            maker.check(tuple(data.images[0].shape), dataset.name)
        return data
    if maker is not None and data.sources is not None:
        raise UsageError(
            f"data set '{dataset.name}' has sources of its own: leave out --source {maker.text}, or choose a data set "
            "without any"
        )
    source_size, grid, source_grid = size, 1, 1
    if size is not None and data.sources is not None and data.paired:
        source_size, grid, source_grid = _in_proportion(data, size, dataset.name)
    images = _fitted(data.images, size, channels, grid)
    if maker is not None:
        maker.check(tuple(images[0].shape), dataset.name)
        return replace(data, images=images, sources=Made(images, maker))
    return replace(
        data,
        images=images,
        sources=None if data.sources is None else _fitted(data.sources, source_size, None, source_grid),
    )


def limited(data: ImageSet, count: int) -> ImageSet:
    """`count` of the samples, drawn once and for all, in their order: what is in few is in more. Unpaired sources stay.

    Raises:
        UsageError: there are fewer.
    """
    if count > len(data):
        raise UsageError(f"--limit {count}: there are {len(data):,} training samples")
    generator = torch.Generator().manual_seed(0)
    index = torch.randperm(len(data), generator=generator)[:count].sort().values

    def some(held: Any) -> Any:
        return held[index] if isinstance(held, Tensor) else torch.utils.data.Subset(held, index.tolist())

    images, sources = some(data.images), data.sources
    if isinstance(sources, Made):
        sources = Made(images, sources.maker)
    elif sources is not None and data.paired:
        sources = some(sources)
    return replace(
        data,
        images=images,
        labels=None if data.labels is None else data.labels[index],
        sources=sources,
        words=None if data.words is None else data.words._replace(places=data.words.places[index]),
    )


def _in_proportion(data: ImageSet, size: int, name: str) -> tuple[int | None, int, int]:
    """Of paired sources when images become `size` square: their side, and what the corners of both are multiples of.

    Raises:
        UsageError: one is no whole multiple of the other, or `size` cannot be divided so.
    """
    assert data.sources is not None
    h, w = data.images[0].shape[1:]
    height, width = data.sources[0].shape[1:]
    if (h, w) == (size, size):  # Nothing is resized, as where no size is asked for.
        return None, 1, 1
    up, down = h // height, height // h  # How many times the images, or the sources, are the larger.
    if up and (h, w) == (up * height, up * width):
        if size % up:
            raise UsageError(
                f"images of '{name}' are {up} times as large as their sources: --image-size must be a multiple of {up}"
            )
        return size // up, up, 1
    if down and (height, width) == (down * h, down * w):
        return size * down, 1, down
    raise UsageError(
        f"images of '{name}' are {w} x {h} and their sources {width} x {height} pixels, neither a whole multiple of "
        "the other: a pair cannot be brought to another --image-size alike"
    )


def _fitted(images: Any, size: int | None, channels: int | None, grid: int) -> Any:
    """The images at that size and number of channels, now where they fit in memory so, or as they are read."""
    c, h, w = images[0].shape
    shape = (channels or c, size or h, size or w)
    if shape == (c, h, w):
        return images
    if isinstance(images, Tensor) and len(images) * math.prod(shape) <= memory.room():
        return resize(to_channels(images, channels), size, grid)
    return _Fitted(images, size, channels, grid)


def _check(data: ImageSet, name: str) -> None:
    """Refuse what a plugin should not have handed over, before it fails far from its cause."""

    def some(images: Any) -> Tensor:
        return images if isinstance(images, Tensor) else whole(fetch(images, [0]))

    def kind(images: Tensor) -> str:
        return f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"

    def is_pictures(images: Tensor) -> bool:
        return images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] in (1, 3)

    def faults_of_vectors(vectors: Tensor) -> Iterator[str]:
        if vectors.dtype != torch.float32 or not 0 < vectors.shape[1] <= LONGEST_VECTOR:
            yield f"vectors are {kind(vectors)}, not float32 (N, D)"
        elif not vectors.isfinite().all():
            yield f"vector {int((~vectors.isfinite()).any(1).nonzero()[0])} is not finite"
        if data.sources is not None:
            yield "vectors have no sources: those are for images"

    def faults_of_sources() -> Iterator[str]:
        if data.sources is None:
            if not data.paired:
                yield "it is not paired, but there are no sources"
            return
        count = len(data.sources)  # type: ignore[arg-type]
        if data.paired and count != len(data):
            yield f"there are {len(data)} images, but {count} sources, and it is paired"
        elif not count:
            yield "there are no sources"
        elif not is_pictures(sources := some(data.sources)):
            yield f"sources are {kind(sources)}, not uint8 (N, C, H, W) with 1 or 3 channels"

    def faults_of_source_labels() -> Iterator[str]:
        labels, classes = data.source_labels, len(data.classes)
        if labels is None:
            return
        count = 0 if data.sources is None else len(data.sources)  # type: ignore[arg-type]
        if data.paired:
            yield "there are labels of sources, and it is paired: a pair is of one class"
        elif labels.dtype != torch.int64 or labels.shape != (count,):
            yield f"labels of sources are {kind(labels)}, not int64 ({count},)"
        elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            yield f"labels of sources run from {int(labels.min())} to {int(labels.max())}, of {classes} classes"

    def faults_of_modes() -> Iterator[str]:
        if data.modes is None:
            return
        shares, centres, deviation = data.modes
        count = len(shares)
        if shares.dim() != 1 or not (shares >= 0).all() or abs(float(shares.sum()) - 1) > 1e-6:
            yield "the shares of its modes are not numbers of at least 0 that sum to 1"
        elif data.is_images != (centres is None):
            yield "centres of modes are for vectors, which need them"
        elif centres is not None and (centres.shape != (count, data.images[0].numel()) or not deviation > 0):
            yield f"{count} modes of vectors need as many centres, (K, D), and a deviation above 0"

    def faults_of_words() -> Iterator[str]:
        if data.words is None:
            return
        names, vectors, places = data.words
        width = None if data.is_images else data.images[0].numel()
        if width is None:
            yield "words are what vectors stand for, and it holds images"
        elif vectors.dtype != torch.float32 or vectors.shape != (len(names), width):
            yield f"vectors of its {len(names)} words are {kind(vectors)}, not float32 ({len(names)}, {width})"
        elif not (vectors.isfinite().all() and vectors.any(1).all()):
            yield "the vector of a word is zero, or not finite"
        elif places.dtype != torch.int64 or places.shape != (len(data),):
            yield f"places of words are {kind(places)}, not int64 ({len(data)},)"
        elif not 0 <= int(places.min()) <= int(places.max()) < len(names):
            yield f"places of words run from {int(places.min())} to {int(places.max())}, of {len(names)} words"
        elif not torch.equal(data.images[:], vectors[places]):
            yield "a sample is not the vector of its word"

    def faults() -> Iterator[str]:
        if len(data) == 0:
            yield "it has no images"
            return
        images = some(data.images)
        if images.dim() == 2:
            yield from faults_of_vectors(images)
        elif not is_pictures(images):
            yield f"images are {kind(images)}, not uint8 (N, C, H, W) with 1 or 3 channels"
        yield from faults_of_sources()
        yield from faults_of_source_labels()
        yield from faults_of_modes()
        yield from faults_of_words()
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

    def __init__(self, images: Any, size: int | None, channels: int | None, grid: int):
        self.images, self.size, self.channels, self.grid = images, size, channels, grid

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return resize(to_channels(self.images[index].unsqueeze(0), self.channels), self.size, self.grid)[0]
