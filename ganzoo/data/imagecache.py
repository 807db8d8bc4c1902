"""Images that were decoded and resized once, kept as one file of uint8 and mapped into memory ever after."""

import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.archives import Source, stamp_of
from ganzoo.errors import GanzooError, UsageError, aside
from ganzoo.files import cache_dir, whole

FORMAT = 5
"""Part of the key: to be raised whenever the same files would be decoded to other pixels, or laid out otherwise."""

BLOCK = 1024
"""Images that are brought to a device at once."""


class Mapped(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset over a file of uint8 (N, C, H, W), read by the page as images are asked for.

    The CRC-32 of every image stands behind the images, and is compared whenever one is read.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]):
        self.path, self.shape = path, shape
        self._images: Tensor | None = None
        self._sums = np.empty(0, "<u4")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all images take."""
        return _pixels(self.shape)

    def onto(self, device: torch.device) -> Tensor:
        """All images as one tensor there, each compared with its checksum.

        Raises:
            GanzooError: one is damaged.
        """
        images = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self), BLOCK):
            stop = min(start + BLOCK, len(self))
            images[start:stop] = torch.stack([self[i] for i in range(start, stop)])
        return images

    def file_mark(self) -> tuple[str, bytes]:
        """What tells these images from others: the checksums of all."""
        self._mapped()
        return "decoded", self._sums.tobytes()

    def _mapped(self) -> Tensor:
        if self._images is None:
            flat = torch.from_file(str(self.path), shared=False, size=_size(self.shape), dtype=torch.uint8)
            self._images = flat[: _pixels(self.shape)].view(self.shape)
            self._sums = np.frombuffer(flat[_pixels(self.shape) :].numpy().tobytes(), "<u4")
        return self._images

    def __getitem__(self, index: int) -> Tensor:
        image = self._mapped()[index]
        if zlib.crc32(image.numpy().data) != self._sums[index]:
            raise GanzooError(f"image {index} in {self.path} is damaged; delete that file, and it is made anew")
        return image

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping: another process makes its own."""
        return self.__dict__ | {"_images": None, "_sums": np.empty(0, "<u4")}


def kept(
    paths: Sequence[Source], shape: tuple[int, int, int, int], decode: Callable[[], Iterable[Tensor]], how: str = ""
) -> Mapped | None:
    """The images of `paths` from the cache, into which `decode` puts them the first time, whole or not at all.

    The key is every file's path, size and time of change, the shape asked for, and `how` they are decoded. None when
    the cache cannot take them (a line on stderr says why); then they have to be decoded whenever they are needed.

    Raises:
        UsageError: a file is not there; or as `decode`.
    """
    path = cache_dir() / "images" / f"{_key(paths, shape, how)}.u8"
    if not _complete(path, shape):
        reason = _write(path, shape, decode)
        if reason:
            aside(f"the images are decoded anew in every epoch, for {path.parent} cannot keep them: {reason}")
            return None
    return Mapped(path, shape)


def _write(path: Path, shape: tuple[int, int, int, int], decode: Callable[[], Iterable[Tensor]]) -> str:
    """Fill the cache; what stood in the way, if anything."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < 1.05 * _size(shape):
            return f"they take {_size(shape) / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
        sums = []
        with whole(path) as file:
            for image in decode():
                pixels = image.numpy().tobytes()
                file.write(pixels)
                sums.append(zlib.crc32(pixels))
            file.write(np.array(sums, "<u4").tobytes())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _key(paths: Sequence[Source], shape: tuple[int, int, int, int], how: str) -> str:
    digest = hashlib.sha256(f"{FORMAT} {shape} {how}\n".encode())
    for path in paths:
        try:
            stamp = stamp_of(path) if isinstance(path, Path) else path.stamp()
        except OSError as error:
            raise UsageError(f"image {path} cannot be read: {error.strerror or error}") from error
        digest.update(f"{stamp}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _complete(path: Path, shape: tuple[int, int, int, int]) -> bool:
    try:
        return path.stat().st_size == _size(shape)
    except OSError:
        return False


def _pixels(shape: tuple[int, int, int, int]) -> int:
    n, c, h, w = shape
    return n * c * h * w


def _size(shape: tuple[int, int, int, int]) -> int:
    """Bytes of the file: the pixels, and four for the CRC-32 of each image."""
    return _pixels(shape) + 4 * shape[0]
