"""Faults of what a data set plugin hands over, found before they make something fail far from their cause."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ganzoo.data.reading import fetch, whole
from ganzoo.data.sets import ImageSet
from ganzoo.data.spec import LONGEST_VECTOR
from ganzoo.errors import GanzooError, plain


def refuse_faulty(data: ImageSet, name: str) -> None:
    """Raises GanzooError, which names the data set and its first fault, if it has one."""
    for fault in faults(data):
        raise GanzooError(f"data set '{name}' is at fault: {fault}")


def faults(data: Any) -> Iterator[str]:
    """What is wrong, in words; later faults may follow from earlier ones."""
    if not isinstance(data, ImageSet):
        yield f"load gives {type(data).__name__}, not an ImageSet"
        return
    try:
        count = len(data)
    except TypeError:
        yield f"its images are {type(data.images).__name__}, which has no length"
        return
    if not count:
        yield "it has no images"
        return
    for look in (of_names, of_samples, of_sources, of_source_labels, of_modes, of_words, of_labels):
        yield from look(data)


def of_names(data: ImageSet) -> Iterator[str]:
    """Of classes and attributes."""
    attributes = [attribute.name for attribute in data.attributes]
    for what, several, names in (("class", "classes", data.classes), ("attribute", "attributes", attributes)):
        if odd := [name for name in names if not isinstance(name, str)]:
            yield f"the name of a {what} is {type(odd[0]).__name__}, not text: {odd[0]!r}"
        elif twice := [name for name, count in Counter(names).items() if count > 1]:
            yield f"two {several} are named '{plain(twice[0])}'"
    for name, low, high, _ in data.attributes:
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            yield f"attribute '{plain(str(name))}' goes from {low} to {high}: it must not fall, between finite numbers"


def of_samples(data: ImageSet) -> Iterator[str]:
    """Of images, by the first of them, or of all vectors."""
    images = _some(data.images)
    if images.dim() == 2:
        yield from of_vectors(data, images)
    elif not _is_pictures(images):
        yield f"images are {_kind(images)}, not uint8 (N, C, H, W) with 1 or 3 channels"


def of_vectors(data: ImageSet, vectors: Tensor) -> Iterator[str]:
    """Of `vectors`, the data's samples."""
    if vectors.dtype != torch.float32 or not 0 < vectors.shape[1] <= LONGEST_VECTOR:
        yield f"vectors are {_kind(vectors)}, not float32 (N, D)"
    elif not vectors.isfinite().all():
        yield f"vector {int((~vectors.isfinite()).any(1).nonzero()[0])} is not finite"
    if data.sources is not None:
        yield "vectors have no sources: those are for images"


def of_sources(data: ImageSet) -> Iterator[str]:
    """Of the images that samples are made from, by the first."""
    if data.sources is None:
        if not data.paired:
            yield "it is not paired, but there are no sources"
        return
    count = len(data.sources)  # type: ignore[arg-type]
    if data.paired and count != len(data):
        yield f"there are {len(data)} images, but {count} sources, and it is paired"
    elif not count:
        yield "there are no sources"
    elif not _is_pictures(sources := _some(data.sources)):
        yield f"sources are {_kind(sources)}, not uint8 (N, C, H, W) with 1 or 3 channels"


def of_source_labels(data: ImageSet) -> Iterator[str]:
    """Of the classes of unpaired sources."""
    labels, classes = data.source_labels, len(data.classes)
    if labels is None:
        return
    count = 0 if data.sources is None else len(data.sources)  # type: ignore[arg-type]
    if data.paired:
        yield "there are labels of sources, and it is paired: a pair is of one class"
    elif labels.dtype != torch.int64 or labels.shape != (count,):
        yield f"labels of sources are {_kind(labels)}, not int64 ({count},)"
    elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        yield f"labels of sources run from {int(labels.min())} to {int(labels.max())}, of {classes} classes"


def of_modes(data: ImageSet) -> Iterator[str]:
    """Of what the data is said to be made of."""
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


def of_words(data: ImageSet) -> Iterator[str]:
    """Of what vectors stand for."""
    if data.words is None:
        return
    names, vectors, places = data.words
    width = None if data.is_images else data.images[0].numel()
    if width is None:
        yield "words are what vectors stand for, and it holds images"
    elif vectors.dtype != torch.float32 or vectors.shape != (len(names), width):
        yield f"vectors of its {len(names)} words are {_kind(vectors)}, not float32 ({len(names)}, {width})"
    elif not (vectors.isfinite().all() and vectors.any(1).all()):
        yield "the vector of a word is zero, or not finite"
    elif places.dtype != torch.int64 or places.shape != (len(data),):
        yield f"places of words are {_kind(places)}, not int64 ({len(data)},)"
    elif not 0 <= int(places.min()) <= int(places.max()) < len(names):
        yield f"places of words run from {int(places.min())} to {int(places.max())}, of {len(names)} words"
    elif not torch.equal(data.images[:], vectors[places]):
        yield "a sample is not the vector of its word"


def of_labels(data: ImageSet) -> Iterator[str]:
    """Of the conditions."""
    labels, classes = data.labels, len(data.classes)
    if labels is None:
        if classes or data.attributes:
            yield "there are classes or attributes, but no labels"
    elif len(labels) != len(data):
        yield f"there are {len(data)} images, but {len(labels)} labels"
    elif data.attributes:
        if not labels.is_floating_point() or labels.shape[1:] != (classes + len(data.attributes),):
            yield f"labels must be float (N, {classes + len(data.attributes)}), one column for each class and attribute"
        elif not labels.isfinite().all():
            yield f"the label of sample {int((~labels.isfinite()).any(1).nonzero()[0])} is not finite"
    elif labels.dtype != torch.int64 or labels.dim() != 1:
        yield "labels must be int64 (N,)"
    elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        yield f"labels run from {int(labels.min())} to {int(labels.max())}, but there are {classes} classes"


def _some(images: Any) -> Tensor:
    return images if isinstance(images, Tensor) else whole(fetch(images, [0]))


def _kind(images: Tensor) -> str:
    return f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"


def _is_pictures(images: Tensor) -> bool:
    return images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] in (1, 3)
