"""Data: what a model is told of it, what a data set plugin supplies, and the loader that feeds the step.

Images are uint8 until the step needs them. A set that fits is held on the device as one tensor and gathered,
shuffled and normalised there; a larger one streams through worker processes. Both give the same batches.
"""

import os
import signal
import sys
import time
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, UsageError, one_line

LARGEST_SIDE = 1024
"""Pixels: what models are built for, and what `--image-size` takes."""
IN_MEMORY_BYTES = 2 * 2**30
"""Sets of up to this many bytes of uint8 pixels live on the device; larger ones stream."""
CHECKED_BYTES = 64 * 2**20
"""Of this many bytes of pixels a checksum is taken: enough to notice other data, little enough to take no time."""


class Batch(NamedTuple):
    """Samples, their condition, and for fakes the latent they were made from."""

    x: Tensor
    """Samples, float (N, C, H, W) in [-1, 1]."""
    y: Tensor | None = None
    """Condition: class indices, int64 (N,); or tags and vectors, float (N, K). None when unconditional."""
    z: Tensor | None = None
    """The latent that `x` was made from; None for real samples."""

    def detach(self) -> "Batch":
        """The same batch with `x` cut from the graph."""
        return self._replace(x=self.x.detach())


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
    shape: tuple[int, int, int]
    """(C, H, W)."""
    count: int
    """Number of training images."""
    classes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()

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
        """C * H * W."""
        return self.shape[0] * self.shape[1] * self.shape[2]

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
        return replace(self, classes=(), attributes=())

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `config.json`."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "count": self.count,
            "classes": list(self.classes),
            "attributes": [a._asdict() for a in self.attributes],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "DataSpec":
        """The inverse of `to_json`.

        Raises:
            UsageError: the value does not describe a data set, or one of absurd size.
        """
        try:
            c, h, w = (int(n) for n in value["shape"])
            spec = cls(
                name=str(value["name"]),
                shape=(c, h, w),
                count=int(value["count"]),
                classes=tuple(_listed(value["classes"])),
                attributes=tuple(_attribute(a) for a in _listed(value["attributes"], dict)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"the description of the data set is damaged: {one_line(error)}") from error
        if not (c in (1, 3) and 0 < h <= LARGEST_SIDE and 0 < w <= LARGEST_SIDE and spec.count >= 0):
            raise UsageError(f"the description of the data set is damaged: shape {spec.shape}, count {spec.count}")
        if spec.condition_size > 100_000:
            raise UsageError(f"the description of the data set is damaged: {spec.condition_size:,} classes and tags")
        return spec


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
        return DataSpec(name, (int(c), int(h), int(w)), len(self), self.classes, self.attributes)


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
    if isinstance(data.images, Tensor) and len(data) * shape[0] * shape[1] * shape[2] <= IN_MEMORY_BYTES:
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
        images = data.images if isinstance(data.images, Tensor) else _whole(_fetch(data.images, [0]))
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


CHUNK = 2**24
"""Numbers to convert at a time: few enough for little memory, many enough for all cores."""


def to_channels(images: Tensor, channels: int | None) -> Tensor:
    """uint8 (N, C, H, W), C 1 or 3, in grey (1; ITU-R BT.601 luma) or colour (3)."""
    n, have, h, w = images.shape
    if channels is None or channels == have:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1).contiguous()
    weight = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = images.new_empty(n, 1, h, w)
    step = max(1, CHUNK // (have * h * w))
    for source, target in zip(images.split(step), grey.split(step), strict=True):
        target.copy_((source.float() * weight).sum(1, keepdim=True).round_())
    return grey


def resize(images: Tensor, size: int | None) -> Tensor:
    """uint8 (N, C, H, W) to (N, C, size, size): the middle square, antialiased bilinear, as torchvision's Resize."""
    n, c, h, w = images.shape
    if size is None or (h, w) == (size, size):
        return images
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    small = images.new_empty(n, c, size, size)
    step = max(1, CHUNK // (c * max(side, size) ** 2))
    for source, target in zip(square.split(step), small.split(step), strict=True):
        target.copy_(torch.nn.functional.interpolate(source, (size, size), mode="bilinear", antialias=True))
    return small


def normalise(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float [-1, 1] to uint8 [0, 255], rounded."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).byte()


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
        self.resident = isinstance(self.images, Tensor) and self.images.nbytes <= IN_MEMORY_BYTES
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
        return _whole(_fetch(self.images, chosen)).cpu()

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
                yield index.to(self.device), _whole(images).to(self.device, non_blocking=True)
        finally:
            # An error's traceback holds this frame; left to the garbage collector, the workers end late.
            del fetched


def _fetch(images: Any, index: list[int]) -> "Tensor | GanzooError":
    """The images at `index`, uint8 (N, C, H, W); or what went wrong, in one line that survives a process border."""
    if isinstance(images, Tensor):
        return images[torch.tensor(index, device=images.device)]
    found = []
    for i in index:
        try:
            found.append(images[i])
        except GanzooError as error:
            return error
        except Exception as error:
            return GanzooError(f"image {i} of the data cannot be read: {one_line(error)}")
        if found[-1].shape != found[0].shape or found[-1].dtype != torch.uint8:
            return GanzooError(
                f"image {i} of the data is {found[-1].dtype} {tuple(found[-1].shape)}, "
                f"not uint8 {tuple(found[0].shape)} as the others"
            )
    return torch.stack(found)


def _whole(images: "Tensor | GanzooError") -> Tensor:
    if isinstance(images, GanzooError):
        raise images
    return images


class _Indexed(torch.utils.data.Dataset[Any]):
    """What a worker process reads batches from."""

    def __init__(self, images: Any):
        self.images = images

    def __getitems__(self, index: list[int]) -> "Tensor | GanzooError":
        return _fetch(self.images, index)


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
