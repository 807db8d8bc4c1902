"""The real images that generated ones are measured against, and what is kept of them between evaluations."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ganzoo.data import DataRequest, Dataset, DataSpec, ImageSet, open_dataset
from ganzoo.data.pixels import resize
from ganzoo.data.reading import marks_of
from ganzoo.errors import UsageError
from ganzoo.files import cache_dir, whole
from ganzoo.metrics.balls import radii
from ganzoo.metrics.classifier import at_once, read
from ganzoo.metrics.extractor import MOST, FeatureExtractor
from ganzoo.metrics.together import looking

FORMAT = 4
LARGEST = 2**31
"""Bytes of a cached file beyond which it is not read."""
LARGEST_CLASS_MOMENTS = 2**30
"""Bytes of covariances by class beyond which they are not kept: 32 classes of 2048 features, a thousand of 366."""
GLANCED = 16
"""Reference images whose brightness is told, at most."""

Split = Literal["train", "test"]


@dataclass
class Moments:
    """Sums over feature vectors, from which means and covariances follow: what torchmetrics keeps of a side."""

    total: Tensor
    """double (..., D): the sum of the vectors."""
    products: Tensor
    """double (..., D, D): the sum of their outer products."""
    count: Tensor
    """int64 (...): how many."""


@dataclass
class Statistics:
    """What is kept of the reference images, whatever their number."""

    total: Tensor
    products: Tensor
    count: Tensor
    class_total: Tensor
    """double (K, D); K is 0 where there are no classes, or too many."""
    class_products: Tensor
    class_count: Tensor
    vectors: Tensor
    """float (M, D): those of up to `MOST` images, drawn at random."""
    radii: Tensor
    """double (M,): the distance from each to its k-th neighbour among them."""

    @property
    def moments(self) -> Moments:
        """Of all images."""
        return Moments(self.total, self.products, self.count)

    def moments_of(self, label: int) -> Moments:
        """Of the images of one class."""
        return Moments(self.class_total[label], self.class_products[label], self.class_count[label])


class Reference:
    """A split of a data set at one size, as an extractor sees it."""

    def __init__(
        self,
        dataset: Dataset,
        extractor: FeatureExtractor | None = None,
        split: Split = "test",
        shape: tuple[int, ...] | None = None,
        root: Path | None = None,
        device: torch.device | None = None,
        data_options: Any = MappingProxyType({}),
        source: str | None = None,
    ):
        """Open the data at `shape`, (C, H, W) or (D,); None: its own, of images.

        `data_options` and `source` are as `DataRequest` takes them.

        Raises:
            UsageError, GanzooError: the data cannot be had at that shape.
        """
        self.dataset, self.split, self.root = dataset, split, root
        self.data_options, self.source = data_options, source
        self.name = dataset.name
        self.device = device or torch.device("cpu")
        self._extractor = extractor
        self._shape = shape
        self.data = self._open(split)
        self.spec: DataSpec = self.data.spec(dataset.name)

    @property
    def extractor(self) -> FeatureExtractor:
        """The extractor.

        Raises:
            UsageError: there is none.
        """
        if self._extractor is None:
            raise UsageError("this metric needs a feature extractor: name one with --features")
        return self._extractor

    def _open(self, split: Split, shape: tuple[int, ...] | None = None) -> ImageSet:
        shape = shape or self._shape
        asked = DataRequest(split, self.root, options=self.data_options)
        data = open_dataset(self.dataset, asked)
        native = data.spec(self.name).shape
        if shape is not None and len(shape) != len(native):
            held = {1: "vectors", 3: "images"}
            raise UsageError(
                f"{held[len(shape)]} cannot be compared with '{self.name}', which holds {held[len(native)]}"
            )
        if not data.is_images and shape != native:
            asked_for = "of which size is not said" if shape is None else f"of {shape[0]} numbers"
            raise UsageError(
                f"vectors {asked_for} cannot be compared with '{self.name}', which holds vectors of {native[0]}"
            )
        if shape is None or shape == native:
            return data if self.source is None else open_dataset(self.dataset, asked._replace(source=self.source))
        c, h, w = shape
        if c not in (1, 3) or (h != w and (h, w) != native[1:]):
            raise UsageError(
                f"images of {w} x {h} pixels cannot be compared with '{self.name}': its own are {native[2]} x "
                f"{native[1]}, and other sizes must be square"
            )
        asked = asked._replace(image_size=h if h == w else None, channels=c, source=self.source)
        return open_dataset(self.dataset, asked)

    @cached_property
    def training(self) -> ImageSet:
        """The training split, at the same size."""
        return self.data if self.split == "train" else self._open("train")

    @cached_property
    def testing(self) -> ImageSet:
        """The test split, at the same size."""
        return self.data if self.split == "test" else self._open("test")

    @cached_property
    def fingerprint(self) -> str:
        """Of the reference images, as `fingerprint_of`."""
        return self.training_fingerprint if self.split == "train" else self.testing_fingerprint

    @cached_property
    def glance(self) -> list[int]:
        """How bright the middle squares of some reference images are, evenly spread, 0 to 255: at any size about the
        same. Of vectors, nothing."""
        if not self.data.is_images:
            return []
        some = read(self.data, list(range(0, len(self.data), -(-len(self.data) // GLANCED))))
        return [round(mean) for mean in resize(some, min(some.shape[2:])).float().mean((1, 2, 3)).tolist()]

    @cached_property
    def training_fingerprint(self) -> str:
        """Of the training split, as `fingerprint_of`."""
        return fingerprint_of(self.training, self.spec.shape)

    @cached_property
    def testing_fingerprint(self) -> str:
        """Of the test split, as `fingerprint_of`."""
        return fingerprint_of(self.testing, self.spec.shape)

    def training_glimpse(self, shape: tuple[int, ...]) -> str:
        """Of the training split at this shape, as `glimpse_of`.

        Raises:
            UsageError, GanzooError: it cannot be had at that shape.
        """
        return glimpse_of(self.training if shape == self.spec.shape else self._open("train", shape))

    @cached_property
    def has_test_split(self) -> bool:
        """Whether the test split holds other images than the training split; `folder` may have one set for both."""
        return len(self.training) != len(self.testing) or self.training_fingerprint != self.testing_fingerprint

    @cached_property
    def labels(self) -> Tensor | None:
        """The classes of the images, int64 (N,); None where there are none."""
        return self.data.class_of()

    @cached_property
    def statistics(self) -> Statistics:
        """From the cache, or computed and cached; a cache that is damaged or cannot be written is passed over."""
        path = self.file()
        with suppress(OSError, ValueError):
            return _load(path, self.extractor.num_features)
        statistics = self._compute()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _store(path, statistics)
        return statistics

    def file(self) -> Path:
        """Where the statistics are kept: one file for each data, size, split and extractor."""
        extractor = self.extractor
        facts = [FORMAT, self.fingerprint, self.name, self.split, list(self.spec.shape), list(self.data.classes)]
        facts += [marks] if (marks := marks_of(self.data.images)) else []  # Their fingerprint is of 256 images.
        facts += [extractor.name, extractor.sha256, extractor.resizing(*self.spec.shape[1:])]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return cache_dir() / "reference" / f"{self.name}-{self.split}-{extractor.name}-{key}.stats"

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The images, uint8 (n, C, H, W), and their classes, in order."""
        step = at_once(*self.spec.shape[1:])
        for start in range(0, len(self.data), step):
            images = read(self.data, range(start, min(start + step, len(self.data))))
            yield images, None if self.labels is None else self.labels[start : start + step]

    def _compute(self) -> Statistics:
        size = self.extractor.num_features
        classes = len(self.data.classes) if self.labels is not None else 0
        if classes * size * size * 8 > LARGEST_CLASS_MOMENTS:
            classes = 0
        whole, by_class = Accumulator(size), [Accumulator(size) for _ in range(classes)]
        chosen = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(0))[:MOST].sort().values
        kept, seen, looked = [], 0, looking(self.extractor)
        for images, labels in self.batches():
            vectors, _ = looked(images)
            assert vectors is not None
            vectors = vectors.to(self.device)
            whole.update(vectors)
            if labels is not None and classes:
                for label in labels.unique().tolist():
                    by_class[label].update(vectors[labels == label])
            here = chosen[(chosen >= seen) & (chosen < seen + len(images))] - seen
            kept.append(vectors[here].cpu())
            seen += len(images)
        vectors = torch.cat(kept)
        moments = whole.moments
        parts = [a.moments for a in by_class]
        nothing = torch.zeros(0, size, size, dtype=torch.float64)
        return Statistics(
            moments.total,
            moments.products,
            moments.count,
            torch.stack([p.total for p in parts]) if parts else nothing[:, 0],
            torch.stack([p.products for p in parts]) if parts else nothing,
            torch.stack([p.count for p in parts]) if parts else torch.zeros(0, dtype=torch.int64),
            vectors,
            radii(vectors.to(self.device)).cpu(),
        )


def fingerprint_of(data: ImageSet, shape: tuple[int, ...]) -> str:
    """SHA-256 of images, sources and labels; of those that stream, of 256 images evenly spread."""
    digest = hashlib.sha256(json.dumps([len(data), list(shape)]).encode())
    held = [data] if data.sources is None else [data, ImageSet(data.sources)]
    for part in held:
        if isinstance(part.images, Tensor):
            digest.update(part.images.contiguous().numpy().data)
        else:
            digest.update(_spread(part).contiguous().numpy().data)
    if data.labels is not None:
        digest.update(data.labels.contiguous().numpy().data)
    return digest.hexdigest()


def glimpse_of(data: ImageSet) -> str:
    """SHA-256 of 256 images evenly spread, all labels and the classes: cheap, and the same where images stream."""
    digest = hashlib.sha256(json.dumps([len(data), list(data.classes)]).encode())
    digest.update(_spread(data).contiguous().numpy().data)
    if data.labels is not None:
        digest.update(data.labels.contiguous().numpy().data)
    return digest.hexdigest()


def _spread(data: ImageSet) -> Tensor:
    return read(data, list(range(0, len(data), -(-len(data) // 256))))


class Accumulator:
    """Moments of vectors that come in batches; its size does not depend on their number."""

    def __init__(self, size: int):
        self.moments = Moments(
            torch.zeros(size, dtype=torch.float64),
            torch.zeros(size, size, dtype=torch.float64),
            torch.zeros((), dtype=torch.int64),
        )

    def update(self, vectors: Tensor) -> None:
        """Take in vectors (n, D)."""
        exact = vectors.double()
        self.moments.total += exact.sum(0).cpu()
        self.moments.products += (exact.T @ exact).cpu()
        self.moments.count += len(exact)


def _store(path: Path, statistics: Statistics) -> None:
    from safetensors.torch import save

    data = save({f.name: getattr(statistics, f.name).contiguous() for f in fields(Statistics)})
    with whole(path) as file:
        file.write(hashlib.sha256(data).digest())
        file.write(data)


def _load(path: Path, size: int) -> Statistics:
    """Raises ValueError when the file is damaged."""
    from safetensors.torch import load

    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is no file of ganzoo's")
    content = path.read_bytes()
    checksum, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != checksum:
        raise ValueError(f"{path} is damaged")
    tensors = load(data)
    if set(tensors) != {f.name for f in fields(Statistics)} or tensors["vectors"].shape[1] != size:
        raise ValueError(f"{path} is of another version")
    return Statistics(**tensors)
