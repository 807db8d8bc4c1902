"""Images that were decoded and resized once, kept as one file of uint8 and mapped into memory ever after."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.files import cache_dir, whole

FORMAT = 1
"""Part of the key: to be raised whenever the same files would be decoded to other pixels."""


class Mapped(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset over a file of uint8 (N, C, H, W), read by the page as images are asked for."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]):
        self.path, self.shape = path, shape
        self._images: Tensor | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        if self._images is None:
            flat = torch.from_file(str(self.path), shared=False, size=_bytes(self.shape), dtype=torch.uint8)
            self._images = flat.view(self.shape)
        return self._images[index]

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping: another process makes its own."""
        return self.__dict__ | {"_images": None}


def kept(
    paths: Sequence[Path], shape: tuple[int, int, int, int], decode: Callable[[], Iterable[Tensor]]
) -> Mapped | None:
    """The images of `paths` from the cache, into which `decode` puts them the first time, whole or not at all.

    The key is every file's path, size and time of change, and the shape asked for. None when the cache cannot take
    them (a line on stderr says why); then they have to be decoded whenever they are needed.

    Raises:
        UsageError: a file is not there; or as `decode`.
    """
    path = cache_dir() / "images" / f"{_key(paths, shape)}.u8"
    if not _complete(path, shape):
        reason = _write(path, shape, decode)
        if reason:
            print(
                f"the images are decoded anew in every epoch, for {path.parent} cannot keep them: {reason}",
                file=sys.stderr,
            )
            return None
    return Mapped(path, shape)


def _write(path: Path, shape: tuple[int, int, int, int], decode: Callable[[], Iterable[Tensor]]) -> str:
    """Fill the cache; what stood in the way, if anything."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < 1.05 * _bytes(shape):
            return f"they take {_bytes(shape) / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
        with whole(path) as file:
            for image in decode():
                file.write(image.numpy().tobytes())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _key(paths: Sequence[Path], shape: tuple[int, int, int, int]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {shape}\n".encode())
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise UsageError(f"image {path} cannot be read: {error.strerror or error}") from error
        digest.update(f"{path.absolute()}\0{stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _complete(path: Path, shape: tuple[int, int, int, int]) -> bool:
    try:
        return path.stat().st_size == _bytes(shape)
    except OSError:
        return False


def _bytes(shape: tuple[int, int, int, int]) -> int:
    n, c, h, w = shape
    return n * c * h * w
