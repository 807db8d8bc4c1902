"""The loader that feeds the step.

Images are uint8 until the step needs them. A set that fits is held on the device as one tensor and gathered,
shuffled and normalised there; a larger one streams through worker processes. Both give the same batches.
"""

import os
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice, tee
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.pixels import normalise
from ganzoo.data.reading import fetch, whole
from ganzoo.data.sets import ImageSet
from ganzoo.data.spec import Batch
from ganzoo.errors import GanzooError, UsageError, one_line

CHECKED_BYTES = 64 * 2**20
"""Of this many bytes of pixels a checksum is taken: enough to notice other data, little enough to take no time."""


class Loader:
    """Endless shuffled batches, a pure function of (seed, position): resuming needs no state but a number.

    Every epoch is a new permutation; the last, incomplete batch of it is dropped, so that shapes never change.
    """

    def __init__(
        self, data: ImageSet, batch_size: int, seed: int, device: torch.device, workers: int = 2,
        share: tuple[int, int] = (0, 1),
    ):  # fmt: skip
        """Batches of `batch_size` images, of which this process gets the `share[0]`-th of `share[1]` equal parts.

        Raises:
            UsageError: the data does not fill one batch, or a batch cannot be divided so.
        """
        if batch_size > len(data):
            raise UsageError(
                f"a batch of {batch_size} is larger than the data ({len(data)} images): lower --batch-size"
            )
        rank, size = share
        if batch_size % size:
            raise UsageError(f"a batch of {batch_size} cannot be divided among {size} processes: see --batch-size")
        self._mine = slice(rank * batch_size // size, (rank + 1) * batch_size // size)
        self.count = len(data)
        self.batch_size = batch_size
        self.batches_per_epoch = self.count // batch_size
        self.seed = seed
        self.device = device
        self.workers = workers
        self.waited = 0.0
        """Seconds that training has waited for images so far; 0 where they live on the device."""
        self.labels = None if data.labels is None else data.labels.to(device)
        self.classes = len(data.classes)
        self.images = data.images
        self.resident = isinstance(self.images, Tensor) and self.images.nbytes <= memory.IN_MEMORY_BYTES
        if self.resident:
            self.images = self.images.to(device)  # type: ignore[union-attr]

    def examples(self, columns: int, rows: int) -> Tensor:
        """Training images to look at: uint8 (N, C, H, W), row by row; a class per column when `columns` fits."""
        labels = self.labels
        if labels is not None and self.classes == columns:
            index = labels if labels.dim() == 1 else labels[:, : self.classes].argmax(1)
            of_class = [(index == c).nonzero().flatten().cpu() for c in range(columns)]
            chosen = [int(i[row % len(i)]) if len(i) else 0 for row in range(rows) for i in of_class]
        else:
            chosen = list(range(min(columns * rows, self.count)))
        return whole(fetch(self.images, chosen)).cpu()

    def checksum(self) -> str:
        """A CRC-32 of the labels and, where the images live in memory, of 64 MB of pixels spread over all of them."""
        parts = [] if self.labels is None else [self.labels]
        if isinstance(self.images, Tensor):
            parts.append(self.images[:: -(-self.images.nbytes // CHECKED_BYTES)])
        value = 0
        for part in parts:
            value = zlib.crc32(part.cpu().contiguous().numpy().data, value)
        return f"{value:08x}"

    def order(self, epoch: int) -> Tensor:
        """The permutation of epoch `epoch` (from 0): int64 (count,)."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.count, generator=generator)

    def batches(self, position: int = 0) -> Iterator[Batch]:
        """Batches from the `position`-th since the start of training, without end."""
        return (self.batch(*parts) for parts in self.parts(position))

    def parts(self, position: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """What `batch` makes batches of: indices, and where images are streamed, the images; all on the device."""
        return self._resident(position) if self.resident else self._streamed(position)

    def batch(self, index: Tensor, images: Tensor | None = None) -> Batch:
        """Gather and normalise, on the device. `index` is int64 (N,), `images` uint8 (N, C, H, W)."""
        if images is None:
            images = self.images.index_select(0, index)  # type: ignore[union-attr]
        return Batch(normalise(images), None if self.labels is None else self.labels.index_select(0, index))

    def _indices(self, position: int, device: torch.device) -> Iterator[Tensor]:
        epoch, first = divmod(position, self.batches_per_epoch)
        while True:
            chunks = self.order(epoch).to(device).split(self.batch_size)
            yield from (chunk[self._mine] for chunk in islice(chunks, first, self.batches_per_epoch))
            epoch, first = epoch + 1, 0

    def _resident(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        return ((index,) for index in self._indices(position, self.device))

    def _streamed(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        ahead, behind = tee(self._indices(position, torch.device("cpu")))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # More workers than cores: as asked.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            loader: Any = torch.utils.data.DataLoader(
                _Indexed(self.images),
                batch_sampler=(index.tolist() for index in ahead),
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda",
                prefetch_factor=4 if self.workers else None,
                worker_init_fn=_outlive_signals,
                # Without its own, it would draw from the generator that the model draws from.
                generator=torch.Generator(),
            )
            fetched = iter(loader)
        try:
            for index in behind:
                asked = time.perf_counter()
                try:
                    images = next(fetched)
                except (RuntimeError, OSError, EOFError) as error:  # A pipe to the dead breaks in more ways than one.
                    raise GanzooError(
                        f"a process that reads images died: {one_line(error)}; try --workers 0, or a smaller batch"
                    ) from error
                self.waited += time.perf_counter() - asked
                yield index.to(self.device), whole(images).to(self.device, non_blocking=True)
        finally:
            # An error's traceback holds this frame; left to the garbage collector, the workers end late.
            del fetched


class _Indexed(torch.utils.data.Dataset[Any]):
    """What a worker process reads batches from."""

    def __init__(self, images: Any):
        self.images = images

    def __getitems__(self, index: list[int]) -> "Tensor | GanzooError":
        return fetch(self.images, index)


def _as_it_is(value: Any) -> Any:
    return value


def _outlive_signals(_worker: int) -> None:
    """Let a worker live while the main process saves: Ctrl-C, `timeout` and batch systems signal every process.

    The main process ends its workers itself. Should it fail to, a worker that was told to end does so soon after.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What goes wrong with an image travels to the main process; left is that the latter hangs up when it has failed.
    sys.excepthook = lambda *_: None
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(5))
