"""The loader that feeds the step.

Images are uint8 until the step needs them. A set that fits, by the memory that is free, is held on the device as one
tensor and gathered, shuffled and normalised there; a larger one streams through worker processes. Both give the same
batches. Sources come along: with their counterparts in paired sets, in an order of their own in unpaired ones. Those
that are made of the images are made there too, of the batch.
"""

import ctypes
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils import signal_handling

from ganzoo.data import memory
from ganzoo.data.balance import Balanced
from ganzoo.data.imagecache import Mapped
from ganzoo.data.making import Made, Maker
from ganzoo.data.pixels import normalise, to_uint8
from ganzoo.data.reading import fetch, marks_of, whole
from ganzoo.data.sets import ImageSet
from ganzoo.data.spec import Batch
from ganzoo.data.views import Views
from ganzoo.errors import GanzooError, UsageError, one_line

CHECKED_BYTES = 64 * 2**20
"""Of this many bytes of pixels a checksum is taken: enough to notice other data, little enough to take no time."""

EXAMPLES_SEED = 20140611
"""Of the draw of images to look at: one for all runs, so that they can be compared."""
LABELLED_SEED = 20161119
"""Of the choice of images that come with their class, where few do: one for all runs."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal for a process whose parent has died."""
SOURCES_APART = 2**31
"""Added to the seeds of the order of unpaired sources: the order that images have in an epoch which nobody reaches.
Not more, since torch's generator on the CPU takes the last 32 bits of a seed alone."""


class Loader:
    """Endless shuffled batches, a pure function of (seed, position): resuming needs no state but a number.

    Every epoch is a new permutation; the last, incomplete batch of it is dropped, so that shapes never change. Where
    classes are balanced, an epoch has as many batches, and an image may come several times in it.
    """

    def __init__(
        self, data: ImageSet, batch_size: int, seed: int, device: torch.device, workers: int = 2,
        share: tuple[int, int] = (0, 1), sources: bool = False, views: Views | None = None, balance: bool = False,
        labelled: int | None = None,
    ):  # fmt: skip
        """Batches of `batch_size` images, of which this process gets the `share[0]`-th of `share[1]` equal parts.

        With `sources`, where the data has them: a model that does not translate pays nothing for them. An image that
        is its own source is so in the same view. `views` are drawn of images and sources. With `balance`, each class
        comes equally often. With `labelled`, so many images come with their class, and the others with -1.

        Raises:
            UsageError: the data does not fill one batch, a batch cannot be divided so, vectors have no views, or
                there are no classes to balance.
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
        labels = data.labels
        if labels is not None and labelled is not None:
            labels = few(labels, labelled)
        self.labels = None if labels is None else labels.to(device)
        self.class_of = data.class_of()
        """The class of each image, int64 (N,), on the CPU; None where there are none."""
        self.views = views or Views()
        self._vectors = not data.is_images
        if self._vectors and any(self.views):
            raise UsageError("the data holds vectors: --mirror and --jitter are for images")
        self.balanced: Balanced | None = None
        """What makes the order, where each class is to come equally often."""
        if balance:
            if self.class_of is None:
                raise UsageError("--balance is for data with classes, and these have none")
            self.balanced = Balanced(self.class_of, data.classes, seed)
        self.paired = data.paired
        held: list[Any] = [data.images]
        self._own = sources and data.own
        self.maker: Maker | None = None
        """How sources are made of the images, where they are."""
        if sources and isinstance(data.sources, Made):
            self.maker = data.sources.maker
        elif sources and data.sources is not None and not self._own:
            held.append(data.sources)
            if batch_size > len(held[1]):
                raise UsageError(
                    f"a batch of {batch_size} is larger than the data's {len(held[1])} sources: lower --batch-size"
                )
        theirs = data.source_labels if len(held) > 1 else None
        self.source_labels = None if theirs is None else theirs.to(device)
        self._summed = [isinstance(part, Tensor) for part in held]
        """Which of images and sources a checksum is taken of, wherever there is room for them."""
        self._in_files = [part for part in held if not isinstance(part, Tensor)]
        in_memory = all(isinstance(part, Tensor | Mapped) for part in held)
        self.resident = in_memory and sum(part.nbytes for part in held) <= memory.room(device)
        self.images: Any
        self.images, *rest = [_onto(part, device) for part in held] if self.resident else held
        self.sources: Any = rest[0] if rest else None if self.maker is None else Made(self.images, self.maker)
        self._held_sources: Any = rest[0] if rest else None

    def examples(self, columns: int, rows: int, classes: Sequence[int] = ()) -> Tensor:
        """Training images to look at, drawn at random, always the same: uint8 (N, C, H, W), row by row.

        Column i shows class `classes[i]`, if they are given; one that has no images stays black.
        """
        draw = torch.Generator().manual_seed(EXAMPLES_SEED)
        if not classes:
            return whole(
                fetch(self.images, torch.randperm(self.count, generator=draw)[: columns * rows].tolist())
            ).cpu()
        assert self.class_of is not None
        of_class = [(self.class_of == c).nonzero().flatten() for c in classes]
        of_class = [index[torch.randperm(len(index), generator=draw)] for index in of_class]
        chosen = [int(index[row % len(index)]) if len(index) else 0 for row in range(rows) for index in of_class]
        images = whole(fetch(self.images, chosen)).cpu()
        for column, index in enumerate(of_class):
            if not len(index):
                images[column :: len(of_class)] = 0
        return images

    def checksum(self) -> str:
        """A CRC-32 of the labels and, where they live in memory, of 64 MB of pixels spread over all images.

        Of sources as of images, if there are any.
        """
        parts = [labels for labels in (self.labels, self.source_labels) if labels is not None]
        for held, summed in zip((self.images, self._held_sources), self._summed, strict=False):
            if summed:
                parts.append(held[:: -(-held.nbytes // CHECKED_BYTES)])
        value = 0
        for part in parts:
            value = zlib.crc32(part.cpu().contiguous().numpy().data, value)
        return f"{value:08x}"

    def marks(self) -> dict[str, str]:
        """Of images and sources that were not read at once, as `marks_of`: `checksum` is not of these.

        Raises:
            UsageError: a picture's file is not there.
        """
        return marks_of(*self._in_files)

    def order(self, epoch: int) -> Tensor:
        """The images of epoch `epoch` (from 0), int64: a permutation of all; balanced, as many as fill its batches."""
        if self.balanced is not None:
            return self.balanced.order(epoch, self.batches_per_epoch * self.batch_size)
        return _permutation(self.count, self.seed * 1_000_003 + epoch)

    def source_order(self, epoch: int) -> Tensor:
        """The permutation of unpaired sources in their `epoch`-th pass, which has a length of its own."""
        return _permutation(len(self.sources), self.seed * 1_000_003 + epoch + SOURCES_APART)

    def batches(self, position: int = 0) -> Iterator[Batch]:
        """Batches from the `position`-th since the start of training, without end."""
        return (self.batch(*parts) for parts in self.parts(position))

    def parts(self, position: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """What `batch` makes batches of, all on the device.

        The indices, and those of unpaired sources; where images are streamed, then the images and the sources too.
        """
        return self._resident(position) if self.resident else self._streamed(position)

    def batch(self, index: Tensor, *parts: Tensor) -> Batch:
        """Gather, view and normalise, on the device: one of `parts`. `index` is int64 (N,)."""
        source_index = index
        if self._apart:
            source_index, *streamed = parts
        else:
            streamed = list(parts)
        images = streamed
        if self.resident:
            images = [self.images.index_select(0, index)]
            if self._held_sources is not None:
                images.append(self._held_sources.index_select(0, source_index))
        x, *source = self._seen(images)
        if self.maker is not None:  # Of the view: of what is enlarged or flipped, the source is too.
            source = [normalise(self.maker(to_uint8(x) if any(self.views) else images[0]))]
        y = None if self.labels is None else self.labels.index_select(0, index)
        source_y = None if self.source_labels is None else self.source_labels.index_select(0, source_index)
        return Batch(x, y, source=x if self._own else source[0] if source else None, source_y=source_y)

    @property
    def _apart(self) -> bool:
        """Whether sources come in an order of their own."""
        return self._held_sources is not None and not self.paired

    def _seen(self, images: list[Tensor]) -> list[Tensor]:
        """As networks see them: a pair in the same view, and what is not paired in views of their own."""
        if self._vectors:
            return images
        if not any(self.views):
            return [normalise(x) for x in images]
        return self.views(*images) if self.paired else [view for x in images for view in self.views(x)]

    def _indices(self, position: int, device: torch.device) -> Iterator[Tensor]:
        return self._chunks(self.order, self.batches_per_epoch, position, device)

    def _source_indices(self, position: int, device: torch.device) -> Iterator[Tensor]:
        return self._chunks(self.source_order, len(self.sources) // self.batch_size, position, device)

    def _chunks(
        self, order: Callable[[int], Tensor], per_epoch: int, position: int, device: torch.device
    ) -> Iterator[Tensor]:
        """This process's part of each batch of indices, from the `position`-th on."""
        epoch, first = divmod(position, per_epoch)
        while True:
            chunks = sent(order(epoch), device).split(self.batch_size)
            yield from (chunk[self._mine] for chunk in islice(chunks, first, per_epoch))
            epoch, first = epoch + 1, 0

    def _resident(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        if not self._apart:
            return ((index,) for index in self._indices(position, self.device))
        return zip(self._indices(position, self.device), self._source_indices(position, self.device), strict=True)

    def _read(self, position: int) -> Iterator[list[list[int]]]:
        """Which images, and which sources if any, the worker processes are to read."""
        cpu = torch.device("cpu")
        if self._held_sources is None:
            return ([index.tolist()] for index in self._indices(position, cpu))
        if self.paired:
            return ([index.tolist()] * 2 for index in self._indices(position, cpu))
        both = zip(self._indices(position, cpu), self._source_indices(position, cpu), strict=True)
        return ([index.tolist(), source.tolist()] for index, source in both)

    def _streamed(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # More workers than cores: as asked.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            loader: Any = torch.utils.data.DataLoader(
                _Indexed(self.images, self._held_sources),
                batch_sampler=self._read(position),
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda",
                prefetch_factor=4 if self.workers else None,
                worker_init_fn=partial(_begin_reading, _mortal_parent() if self.workers else None),
                # Without its own, it would draw from the generator that the model draws from.
                generator=torch.Generator(),
            )
            try:
                fetched = iter(loader)
            except (pickle.PicklingError, AttributeError, TypeError) as error:  # Unless processes are forked.
                held = _kinds(self.images, self._held_sources)
                raise GanzooError(
                    f"the data set is at fault: {held} cannot be sent to the processes that read images "
                    f"({one_line(error)}); --workers 0 reads them in this one"
                ) from error
        try:
            cpu = torch.device("cpu")
            orders = [self._indices(position, cpu)] + ([self._source_indices(position, cpu)] if self._apart else [])
            for index in zip(*orders, strict=True):
                asked = time.perf_counter()
                try:
                    found = next(fetched)
                except (RuntimeError, OSError, EOFError) as error:  # A pipe to the dead breaks in more ways than one.
                    watched_no_more(fetched)
                    raise _died(error) from error
                self.waited += time.perf_counter() - asked
                images = [whole(part).to(self.device, non_blocking=True) for part in found]
                yield *(sent(order, self.device) for order in index), *images
        finally:
            # An error's traceback holds this frame; left to the garbage collector, the workers end late.
            del fetched


def death_of_reader(error: Exception) -> GanzooError | None:
    """What to say where an error tells of the death of a process that reads images; None: it tells of something else.

    torch raises it from a signal handler: in the midst of whatever the main process does, as often in a step as where
    it waits for images.
    """
    told = r"DataLoader worker \(pid .*\) (is killed by|exited unexpectedly)"
    return _died(error) if isinstance(error, RuntimeError) and re.match(told, str(error)) else None


def watched_no_more(fetched: Any) -> None:
    """Have torch say nothing more of an iterator's processes.

    Where a pipe breaks before the system tells of the death, its signal handler would raise another error, in the midst
    of whatever tells the user of the first.
    """
    if getattr(fetched, "_worker_pids_set", False):
        signal_handling._remove_worker_pids(id(fetched))
        fetched._worker_pids_set = False  # Or it would take them off the list once more.


def _died(error: Exception) -> GanzooError:
    return GanzooError(f"a process that reads images died: {one_line(error)}; try --workers 0, or a smaller batch")


def few(labels: Tensor, n: int) -> Tensor:
    """Classes, int64 (N,), of which all but `n` are hidden, -1.

    Classes take turns, each with its images in a random order that is always the same, so that each keeps as many as
    the others while it has some.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(LABELLED_SEED))
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    begins = counts.cumsum(0) - counts
    turns = torch.arange(len(labels)) - begins[labels[by_class]]
    known = by_class[turns.argsort(stable=True)[:n]]
    return torch.full_like(labels, -1).index_copy_(0, known, labels[known])


def _onto(part: "Tensor | Mapped", device: torch.device) -> Tensor:
    return part.onto(device) if isinstance(part, Mapped) else part.to(device)


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Numbers from this machine's memory on their way to a device: nobody waits until a GPU has done what it does."""
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)


class _Indexed(torch.utils.data.Dataset[Any]):
    """What a worker process reads batches from."""

    def __init__(self, *held: Any):
        """Images and sources, or None."""
        self.held = held

    def __getitems__(self, index: list[list[int]]) -> "list[Tensor | GanzooError]":
        return [fetch(images, chosen) for images, chosen in zip(self.held, index, strict=False)]


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))


def _kinds(*held: Any) -> str:
    """What holds the images, as an author knows it."""
    kinds = [type(part) for part in held if part is not None and not isinstance(part, Tensor)]
    return " or ".join(dict.fromkeys(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)) or "its images"


def _as_it_is(value: Any) -> Any:
    return value


def _mortal_parent() -> int | None:
    """This process, if those that it starts may die with it.

    Linux means the thread that started them: one that is not the main one may end before. None too where another
    process starts them.
    """
    if sys.platform != "linux" or multiprocessing.get_start_method() == "forkserver":
        return None
    return os.getpid() if threading.current_thread() is threading.main_thread() else None


def _begin_reading(parent: int | None, _worker: int) -> None:
    """Let a worker live while the main process saves: Ctrl-C, `timeout` and batch systems signal every process.

    The main process ends its workers itself. Should it fail to, a worker that was told to end does so soon after. Where
    the main process is killed, Linux ends its workers with it: they have what it had open, its connections too, and
    while these are held the other processes of a run wait for one that is dead.
    """
    if parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It has died before that was said.
            os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What goes wrong with an image travels to the main process; left is that the latter hangs up when it has failed.
    sys.excepthook = lambda *_: None
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(5))
