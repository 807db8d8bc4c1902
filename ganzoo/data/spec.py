"""What a model is told of data: batches, and the description that it is built for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganzoo.errors import UsageError, one_line

LARGEST_SIDE = 1024
"""Pixels: what models are built for, and what `--image-size` takes."""
LONGEST_VECTOR = 3 * LARGEST_SIDE**2
"""Numbers in a vector, at most: as many as in the largest image."""


class Batch(NamedTuple):
    """Samples, their condition, the image they are to be made from, and for fakes the latent they were made from."""

    x: Tensor
    """Samples: images, float (N, C, H, W) in [-1, 1]; or vectors, float (N, D)."""
    y: Tensor | None = None
    """Condition: class indices, int64 (N,); or tags and vectors, float (N, K). None when unconditional."""
    z: Tensor | None = None
    """The latent that `x` was made from; None for real samples."""
    source: Tensor | None = None
    """The images that `x` is to be made from, float (N, C', H', W') in [-1, 1]: in paired sets `x`'s own counterparts,
    in unpaired ones other draws. None where the data has none, or the model does not translate."""
    source_y: Tensor | None = None
    """Class indices of unpaired sources, int64 (N,), where the data has them; counterparts are of the class `y`."""

    def detach(self) -> "Batch":
        """The same batch with `x`, and a `source` that was made, cut from the graph."""
        return self._replace(x=self.x.detach(), source=None if self.source is None else self.source.detach())

    def parts(self, count: int) -> list["Batch"]:
        """The batch in `count` equal parts, in order."""
        if count == 1:
            return [self]
        n = len(self.x) // count
        columns = [[None] * count if column is None else column.split(n) for column in self]
        return [Batch(*part) for part in zip(*columns, strict=True)]


class Attribute(NamedTuple):
    """One named number in a condition vector."""

    name: str
    low: float = 0.0
    high: float = 1.0
    help: str = ""


@dataclass(frozen=True)
class DataSpec:
    """What a model may know of the data it is built for.

    A condition is a class index when the set has classes and no attributes. With attributes it is a float
    vector: the one-hot class (when there are classes) followed by the attributes in order.
    """

    name: str
    shape: tuple[int, ...]
    """(C, H, W) of images; (D,) of vectors."""
    count: int
    """Number of training samples."""
    classes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    counts: tuple[int, ...] = ()
    """Training samples of each class, as often as which fakes draw it; empty where there are no classes, or where fakes
    draw them uniformly."""
    source_shape: tuple[int, int, int] | None = None
    """(C', H', W') of the images that samples are to be made from; None where there are none."""
    paired: bool = True
    """Whether each sample has a source of its own; otherwise sources are another set of images."""
    source_labels: bool = False
    """Whether unpaired sources come with classes of their own, of the same `classes`."""

    @property
    def conditional(self) -> bool:
        """Whether each image comes with a condition."""
        return bool(self.classes or self.attributes)

    @property
    def condition_size(self) -> int:
        """Number of classes, or K of a condition vector; 0 when there is no condition."""
        return len(self.classes) + len(self.attributes)

    @property
    def pixels(self) -> int:
        """C * H * W, or D: numbers in a sample."""
        return math.prod(self.shape)

    @property
    def is_images(self) -> bool:
        """Whether samples are images, not vectors."""
        return len(self.shape) == 3

    def condition(self, classes: Tensor | None, values: Mapping[str, float] | None = None) -> Tensor | None:
        """The condition tensor for class indices (N,) and attribute values by name (absent ones: mid-range).

        Raises:
            UsageError: an attribute is unknown or out of its range, or no classes were given where there are some.
        """
        values = dict(values or {})
        for name, value in values.items():
            known = {a.name: a for a in self.attributes}
            if name not in known:
                raise UsageError(
                    f"data set '{self.name}' has no attribute '{name}' (it has: {', '.join(known) or 'none'})"
                )
            if not known[name].low <= value <= known[name].high:
                raise UsageError(f"{name}={value:g} is outside {known[name].low:g} to {known[name].high:g}")
        if not self.attributes:
            return classes
        if classes is None:
            raise UsageError("the number of samples must be given as class indices")
        columns = []
        if self.classes:
            columns.append(torch.nn.functional.one_hot(classes, len(self.classes)).float())
        for a in self.attributes:
            value = values.get(a.name, (a.low + a.high) / 2)
            columns.append(torch.full((len(classes), 1), value, device=classes.device))
        return torch.cat(columns, dim=1)

    def without_labels(self) -> "DataSpec":
        """The same data as an unconditional model sees it."""
        return replace(self, classes=(), attributes=(), counts=(), source_labels=False)

    def without_sources(self) -> "DataSpec":
        """The same data as a model sees it that translates nothing."""
        return replace(self, source_shape=None, paired=True, source_labels=False)

    def with_own_sources(self) -> "DataSpec":
        """The same data as a model sees it that makes each image from another image of the set."""
        c, h, w = self.shape if self.is_images else (0, 0, 0)
        return replace(self, source_shape=(c, h, w) if self.is_images else None, paired=not self.is_images)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `config.json`."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "count": self.count,
            "classes": list(self.classes),
            "attributes": [a._asdict() for a in self.attributes],
            "counts": list(self.counts),
            "source_shape": list(self.source_shape) if self.source_shape else None,
            "paired": self.paired,
            "source_labels": self.source_labels,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "DataSpec":
        """The inverse of `to_json`. Files of version 0.1.0 say nothing of sources: there were none.

        Raises:
            UsageError: the value does not describe a data set, or one of absurd size.
        """
        try:
            spec = cls(
                name=str(value["name"]),
                shape=tuple(int(n) for n in value["shape"]),
                count=int(value["count"]),
                classes=tuple(_listed(value["classes"])),
                attributes=tuple(_attribute(a) for a in _listed(value["attributes"], dict)),
                counts=tuple(_listed(value.get("counts", []), int)),  # Version 0.1.0 drew classes uniformly.
                source_shape=_image_shape(value.get("source_shape")),
                paired=_truth(value.get("paired", True)),
                source_labels=_truth(value.get("source_labels", False)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"the description of the data set is damaged: {one_line(error)}") from error
        vectors = len(spec.shape) == 1 and 0 < spec.shape[0] <= LONGEST_VECTOR
        if not ((vectors or _is_image(spec.shape)) and spec.count >= 0):
            raise UsageError(f"the description of the data set is damaged: shape {spec.shape}, count {spec.count}")
        if spec.source_shape is not None and not _is_image(spec.source_shape):
            raise UsageError(f"the description of the data set is damaged: sources {spec.source_shape}")
        if spec.condition_size > 100_000:
            raise UsageError(f"the description of the data set is damaged: {spec.condition_size:,} classes and tags")
        if spec.counts and not (
            len(spec.counts) == len(spec.classes) and min(spec.counts) >= 0 and sum(spec.counts) == spec.count
        ):
            raise UsageError(
                f"the description of the data set is damaged: counts of {len(spec.counts):,} classes do not make "
                f"{spec.count:,} samples of {len(spec.classes):,}"
            )
        return spec


def _is_image(shape: tuple[int, ...]) -> bool:
    """Whether it is (C, H, W) of an image that models are built for."""
    return len(shape) == 3 and shape[0] in (1, 3) and all(0 < side <= LARGEST_SIDE for side in shape[1:])


def _image_shape(value: Any) -> tuple[int, int, int] | None:
    if value is None:
        return None
    c, h, w = (int(n) for n in value)
    return c, h, w


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false was expected, not {str(value)[:40]!r}")
    return value


def _listed(value: Any, kind: type = str) -> list[Any]:
    """`value`, if it is a list of `kind`; a string would pass for a list of letters."""
    if not (isinstance(value, list | tuple) and all(isinstance(v, kind) for v in value)):
        raise TypeError(f"a list of {kind.__name__} was expected, not {str(value)[:40]!r}")
    return list(value)


def _attribute(value: Mapping[str, Any]) -> Attribute:
    a = Attribute(**value)
    a = Attribute(str(a.name), float(a.low), float(a.high), str(a.help))
    if not a.low <= a.high:
        raise ValueError(f"attribute '{a.name}' ranges from {a.low:g} to {a.high:g}")
    return a
