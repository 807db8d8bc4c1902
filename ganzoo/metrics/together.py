"""How many images are made, or looked at, together: as many as fit in the memory that is free."""

import sys
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.errors import GanzooError
from ganzoo.metrics.extractor import FeatureExtractor, Features
from ganzoo.training.dispatch import ThreadMode

Work = Callable[..., Sequence[Tensor | None]]
"""Tensors of as many rows, or None, to such."""
ALIKE = 1e-4
"""Of the largest value: how far what comes of a row may be moved by those beside it, and be that row's alone."""


class Together:
    """Does some work for the rows of a batch, as many at a time as fit in the memory that is free.

    It looks once: at what three rows and two take. Where two do not come out alike, a row depends on those beside it
    (random numbers are drawn, or the network looks at its batch), and what is given together is done together. So the
    results depend on the memory no more than on the rounding of sums.
    """

    def __init__(self, work: Work, device: torch.device, processes: int = 1):
        """`processes` is how many do the same at a time, which have the memory of a CPU among them."""
        self.work, self.device = work, device
        self.processes = processes if device.type == "cpu" else 1
        self.most: int | None = None
        """Rows at a time; None: nobody has looked yet."""

    def look(self, *given: Tensor | None) -> None:
        """Settle how many rows are done at a time, by some that stand for all: three, or there is nothing to settle."""
        if _rows(given) < 3:
            return
        # Three first: what is made in the first call alone, and kept, may make a row seem larger, and not smaller.
        (more, three), (taken, two) = (self._measured(_part(given, 0, count)) for count in (3, 2))
        if not all(map(_alike, two, three)):
            self.most = sys.maxsize
            return
        each = max(1, more - taken)
        fixed = max(0, taken - 2 * each)
        self.most = max(1, (memory.share(self.device) // self.processes - fixed) // each)

    def __call__(self, *given: Tensor | None) -> Sequence[Tensor | None]:
        """What the work makes of all rows, in order."""
        if self.most is None:
            self.look(*given)
        rows, most = _rows(given), self.most
        if most is None or rows <= most:
            return self.work(*given)
        made = [self.work(*_part(given, start, start + most)) for start in range(0, rows, most)]
        return [None if part[0] is None else torch.cat(part) for part in zip(*made, strict=True)]

    def _measured(self, given: Sequence[Tensor | None]) -> tuple[int, Sequence[Tensor | None]]:
        with Held() as held:
            made = self.work(*given)
        return held.most, made


def looking(extractor: FeatureExtractor, processes: int = 1) -> Together:
    """Looks at images through an extractor: vectors and, where it classifies, logits."""
    place = next(extractor.parameters(), torch.empty(0)).device
    return Together(partial(_said, extractor), place, processes)


def _said(extractor: FeatureExtractor, images: Tensor) -> Features:
    """What an extractor says of images.

    Raises:
        GanzooError: that is no `Features` of so many images; the extractor is named.
    """
    before = None if images.is_inference() else images._version
    found, who, n = extractor.extract(images), f"feature extractor '{extractor.name}'", len(images)
    if before is not None and images._version != before:
        raise GanzooError(f"{who}: extract() changes the images in place, and others look at them: let it copy them")
    if not (isinstance(found, tuple) and len(found) == 2):
        raise GanzooError(f"{who}: extract() gives {type(found).__name__}, not ganzoo.Features(vectors, logits)")
    for what, part, wide in zip(("vectors", "logits"), found, (extractor.num_features, None), strict=True):
        if part is None and what == "logits":
            continue
        shape = f"({n}, {'K' if wide is None else wide})"
        if not (isinstance(part, Tensor) and part.is_floating_point()):
            given = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise GanzooError(f"{who}: extract() gives {what} of {given}, not a float tensor {shape}")
        if part.dim() != 2 or len(part) != n or wide not in (None, part.shape[1]):
            raise GanzooError(f"{who}: extract() gives {what} {tuple(part.shape)} for {n} images, not {shape}")
    return Features(*found)


def _rows(given: Sequence[Tensor | None]) -> int:
    return next(len(part) for part in given if part is not None)


def _part(given: Sequence[Tensor | None], start: int, stop: int) -> list[Tensor | None]:
    return [None if part is None else part[start:stop] for part in given]


def _alike(two: Tensor | None, three: Tensor | None) -> bool:
    """Whether two rows come out by themselves as they do beside a third; what is not finite is no row's alone."""
    if two is None or three is None:
        return two is three
    apart = (two - three[:2]).abs().max() / three.abs().max().clamp(min=torch.finfo(three.dtype).tiny)
    return bool(apart <= ALIKE)


class Held(ThreadMode):
    """Counts the bytes of the tensors that operators of this thread make, as long as these live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        """Bytes that live, and at most did."""
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, Tensor) and made.layout is torch.strided:
                self._hold(made.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:  # Operators in place, and views, make nothing.
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
