"""Well-known data sets through torchvision: found in `--data-root`, else downloaded there."""

import gzip
import io
import math
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

import ganzoo
from ganzoo.data import Attribute
from ganzoo.errors import GanzooError, one_line, watched
from ganzoo.files import cache_dir


class Source(NamedTuple):
    """One set of torchvision's."""

    name: str
    cls: str
    """Its class in `torchvision.datasets`."""
    summary: str
    attribution: str
    files: str
    """What a user who has the files puts into the data root."""
    by_split: bool = False
    """Whether the class takes `split="train"`; the others take `train=True`."""
    classes: tuple[str, ...] = ()
    """Their names, where torchvision does not tell."""


LARGEST = 2**28
"""Bytes of a file of MNIST's format beyond which it is not read."""
GREY = "28 x 28 grey, 10 classes, 60,000 + 10,000 images"
COLOUR = "32 x 32 colour"
TINY = "CIFAR by A. Krizhevsky 2009, from the Tiny Images of the web; published without a licence."
SOURCES = (
    Source(
        "fashion-mnist",
        "FashionMNIST",
        f"pieces of clothing, {GREY}",
        "Fashion-MNIST by Zalando SE, MIT License.",
        "FashionMNIST/raw/*-ubyte",
    ),
    Source(
        "kmnist",
        "KMNIST",
        f"cursive Japanese characters, {GREY}",
        "KMNIST by the Center for Open Data in the Humanities, CC BY-SA 4.0.",
        "KMNIST/raw/*-ubyte",
    ),
    Source(
        "cifar10",
        "CIFAR10",
        f"animals and vehicles, {COLOUR}, 10 classes, 50,000 + 10,000 images",
        TINY,
        "cifar-10-batches-py/",
    ),
    Source(
        "cifar100",
        "CIFAR100",
        f"things of all kinds, {COLOUR}, 100 classes, 50,000 + 10,000 images",
        TINY,
        "cifar-100-python/",
    ),
    Source(
        "svhn",
        "SVHN",
        f"house numbers, {COLOUR}, 10 classes, 73,257 + 26,032 images",
        "The Street View House Numbers of Y. Netzer et al. 2011, for non-commercial use only.",
        "train_32x32.mat and test_32x32.mat",
        by_split=True,
        classes=tuple("0123456789"),
    ),
)
CELEBA = Source(
    "celeba",
    "CelebA",
    "faces, 178 x 218 colour (64 x 64 by default), 40 tags, 162,770 + 19,962 images; needs gdown to download",
    "CelebA by Z. Liu et al. 2015, for non-commercial research only.",
    "celeba/img_align_celeba/*.jpg and the .txt files of the set in celeba/",
    by_split=True,
)


class Torchvision(ganzoo.Dataset):
    """A set that torchvision decodes as a whole; one subclass for each of `SOURCES`."""

    source: ClassVar[Source]

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        packed = gzipped(self.source, request)
        if packed is not None:
            return packed
        data = fetch(self.source, request)
        images = torch.from_numpy(np.ascontiguousarray(data.data))
        if images.dim() == 3:
            images = images.unsqueeze(1)
        elif images.shape[1] != 3:
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(data.labels if hasattr(data, "labels") else data.targets).long()
        return ganzoo.ImageSet(images, labels, self.source.classes or tuple(data.classes))


def gzipped(source: Source, request: ganzoo.DataRequest) -> ganzoo.ImageSet | None:
    """The set from the `.gz` files of MNIST's kind, as they are published and as Debian ships them; None without them.

    They lie in the data root itself, or where torchvision keeps them.

    Raises:
        GanzooError: they are damaged.
    """
    if request.root is None or not source.files.endswith("-ubyte"):
        return None
    part = "train" if request.split == "train" else "t10k"
    names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    root = request.root.expanduser()
    folder = next((f for f in (root, root / source.cls / "raw") if all((f / n).is_file() for n in names)), None)
    if folder is None or (folder / names[0].removesuffix(".gz")).is_file():
        return None
    from torchvision import datasets

    images, labels = (_numbers(folder / name, dimensions) for name, dimensions in zip(names, (3, 1), strict=True))
    classes = tuple(getattr(datasets, source.cls).classes)
    if len(images) != len(labels) or int(labels.max()) >= len(classes):
        raise GanzooError(f"{folder / names[1]} does not belong to {names[0]}: fetch both again")
    return ganzoo.ImageSet(images.unsqueeze(1), labels.long(), classes)


def _numbers(path: Path, dimensions: int) -> torch.Tensor:
    """The bytes in a file of MNIST's format, uint8, in as many dimensions."""
    try:
        with gzip.open(path) as file:
            head = file.read(4 + 4 * dimensions)
            shape = struct.unpack(f">{dimensions}L", head[4:])
            count = math.prod(shape)
            if head[:4] != bytes([0, 0, 8, dimensions]) or not 0 < count <= LARGEST:
                raise ValueError("it is not of MNIST's format")
            data = file.read(count + 1)
        if len(data) != count:
            raise ValueError(f"it holds {len(data):,} bytes, and tells of {count:,}")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise GanzooError(f"{path} is damaged ({one_line(error)}): fetch it again") from error
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).view(shape)


class CelebA(ganzoo.Dataset):
    """Faces with their 40 tags as a condition vector, out of ganzoo's cache, which is made the first time."""

    name = CELEBA.name
    summary = CELEBA.summary
    attribution = CELEBA.attribution

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        from ganzoo.data.imagefiles import ImageFiles, decoded_once

        data = fetch(CELEBA, request)
        folder = Path(data.root) / data.base_folder / "img_align_celeba"
        paths = [folder / name for name in data.filename]
        tags = tuple(Attribute(name) for name in data.attr_names if name)  # A trailing space makes an empty one.
        images = decoded_once(ImageFiles(paths, request.image_size or 64, request.channels or 3))
        return ganzoo.ImageSet(images, data.attr.float(), attributes=tags)


def fetch(source: Source, request: ganzoo.DataRequest) -> Any:
    """The torchvision dataset, its files found in the data root or downloaded there.

    Raises:
        GanzooError: it is not there and cannot be downloaded, or it is there and cannot be read.
    """
    from torchvision import datasets

    root = (request.root or cache_dir() / "data").expanduser()
    split: dict[str, Any] = {"split": request.split} if source.by_split else {"train": request.split == "train"}
    cls = getattr(datasets, source.cls)
    there = f"put {source.files} into {root}, or say with --data-root where they are"
    try:
        return cls(root, **split)
    except Exception as error:
        if not (isinstance(error, RuntimeError) and "not found" in str(error)):
            raise GanzooError(
                f"data set '{source.name}' in {root} cannot be read ({one_line(error)}): "
                f"it seems damaged; remove {source.files} there to have it downloaded again"
            ) from error
    try:
        with _downloading():
            return cls(root, **split, download=True)
    except Exception as error:
        raise GanzooError(
            f"data set '{source.name}' is not in {root} and cannot be downloaded ({one_line(error)}): {there}"
        ) from error


@contextmanager
def _downloading() -> Iterator[None]:
    """No waiting for ever on a dead network, and nothing printed but the progress bar, at a terminal only."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(io.StringIO()))
            if not watched():
                stack.enter_context(redirect_stderr(io.StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(before)


@ganzoo.hookimpl
def register_datasets(register):
    for source in SOURCES:
        members = {
            "name": source.name,
            "summary": source.summary,
            "attribution": source.attribution,
            "source": source,
            "__module__": __name__,
        }
        register(type(source.cls, (Torchvision,), members))
    register(CelebA)
