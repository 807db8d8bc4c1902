"""A few samples of a set, always the same ones, as a model takes them: what grids show."""

from typing import Any

from torch import Tensor

from ganzoo.data.pixels import fit, normalise
from ganzoo.data.reading import fetch, whole
from ganzoo.data.sets import ImageSet
from ganzoo.data.spec import Batch, DataSpec


def examples_of(data: ImageSet, spec: DataSpec, n: int) -> Batch:
    """Up to `n` samples, evenly spread over the set from the first to the last, on the CPU.

    They have the shape that `spec` says, and conditions and sources where it has some. Sources are the samples' own in
    a paired set, and evenly spread over all sources in an unpaired one.

    Raises:
        UsageError, GanzooError: an image cannot be read, or brought to that shape.
    """
    chosen = spread(len(data), n)
    sources, source_labels = None, None
    if spec.source_shape is not None and data.sources is not None:
        count = len(data.sources)  # type: ignore[arg-type]
        if not data.paired:
            chosen = spread(len(data), min(n, count))
        theirs = chosen if data.paired else spread(count, len(chosen))
        sources = normalised(data.sources, theirs, spec.source_shape)
        source_labels = data.source_labels[theirs] if data.source_labels is not None else None
    return Batch(
        normalised(data.images, chosen, spec.shape) if spec.is_images else whole(fetch(data.images, chosen)),
        data.labels[chosen] if data.labels is not None and spec.conditional else None,
        source=sources,
        source_y=source_labels,
    )


def normalised(images: Any, index: list[int], shape: tuple[int, ...]) -> Tensor:
    """The images at `index`, in `shape`, as networks see them: float (N, C, H, W) in [-1, 1].

    Raises:
        UsageError, GanzooError: as `examples_of`.
    """
    return normalise(fit(whole(fetch(images, index)), shape))


def spread(count: int, n: int) -> list[int]:
    """Up to `n` of `count` indices, evenly spread from the first to the last."""
    n = min(n, count)
    return [i * (count - 1) // max(n - 1, 1) for i in range(n)]
