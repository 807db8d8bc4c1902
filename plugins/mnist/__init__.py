"""MNIST: 70,000 handwritten digits, embedded, so that the first run needs no network."""

import hashlib
import lzma
from importlib import resources
from pathlib import Path

import torch

import ganzoo
from ganzoo.errors import GanzooError, one_line
from ganzoo.files import cache_dir, whole

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Of each file, decompressed."""


class MNIST(ganzoo.Dataset):
    """The digits as LeCun, Cortes and Burges published them; `--data-root` has no say."""

    name = "mnist"
    attribution = "The MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "handwritten digits, 28 x 28 grey, 10 classes, 60,000 + 10,000 images; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        part = "train" if request.split == "train" else "t10k"
        # IDX: a header of 16 bytes for images, 8 for labels, then the bytes themselves.
        images = torch.frombuffer(content(f"{part}-images-idx3-ubyte"), dtype=torch.uint8, offset=16)
        labels = torch.frombuffer(content(f"{part}-labels-idx1-ubyte"), dtype=torch.uint8, offset=8)
        return ganzoo.ImageSet(images.view(-1, 1, 28, 28), labels.long(), tuple("0123456789"))

    @staticmethod
    def unpack() -> Path:
        """Have all four files in the cache; returns the folder to give torchvision's MNIST as its root.

        Raises:
            GanzooError: an embedded file is damaged, or the cache cannot be written.
        """
        for name in MD5:
            content(name)
            if not _cached(name).is_file():
                raise GanzooError(f"cannot write {_cached(name)}; set GANZOO_CACHE to a folder that can be written")
        return cache_dir()


def content(name: str) -> bytearray:
    """An IDX file from the cache, which is filled or mended first; from memory when it cannot be written.

    Raises:
        GanzooError: the embedded file is missing or damaged.
    """
    path = _cached(name)
    try:
        kept = bytearray(path.read_bytes())
        if _md5(kept) == MD5[name]:
            return kept
    except OSError:
        pass  # Not there yet, or not readable: either way it is made again.
    fresh = _decompress(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(fresh)
    except OSError:
        pass  # The cache only saves the second that this took.
    return fresh


def _cached(name: str) -> Path:
    return cache_dir() / "MNIST" / "raw" / name


def _decompress(name: str) -> bytearray:
    try:
        packed = resources.files(__name__).joinpath(f"{name}.xz").read_bytes()
        fresh = bytearray(lzma.decompress(packed))
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise GanzooError(f"the embedded file {name}.xz is damaged ({one_line(error)}): reinstall ganzoo") from error
    if _md5(fresh) != MD5[name]:
        raise GanzooError(f"the embedded file {name}.xz is damaged (its MD5 is wrong): reinstall ganzoo")
    return fresh


def _md5(data: bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@ganzoo.hookimpl
def register_datasets(register):
    register(MNIST)
