"""Image files (PNG, JPEG and the like) as uint8 tensors: the way from a user's folder to a data set."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.imagecache import Mapped, kept
from ganzoo.errors import UsageError, one_line
from ganzoo.files import regular

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files with these endings, in either case, are taken for images."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may hold, whatever its name says: PIL knows formats that start other programs (EPS: Ghostscript)."""

SURVEYED = 256
"""Files that are looked at to tell size and colour; fewer when there are fewer."""


AHEAD = 1024
"""Images that are decoded before the first of them is taken, when all are wanted in order."""


class ImageFiles(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset that decodes a file whenever it is asked for: uint8 (C, size, size).

    The longer side is cropped in the middle, then the square is resized with antialiasing. The camera's orientation
    (EXIF) is honoured, transparent pixels are laid on white, 16-bit grey is scaled to 8, and of an animation the
    first frame is taken.
    """

    def __init__(self, paths: Sequence[Path], size: int, channels: int):
        self.paths = paths
        self.size = size
        self.channels = channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """Decode one file.

        Raises:
            UsageError: it is broken, not an image, or a decompression bomb; it is named.
        """
        with _strict():
            return self._decode(index)

    def _decode(self, index: int) -> Tensor:
        with _opened(self.paths[index]) as picture:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8: much faster for photos, and still twice the size wanted.
            picture.draft(None, (2 * self.size, 2 * self.size))
            square = _middle(_plain(picture, self.channels)).resize((self.size, self.size), Image.Resampling.BILINEAR)
            pixels = np.array(square).reshape(self.size, self.size, self.channels)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def decoded(self, what: str = "decoding") -> Iterator[Tensor]:
        """Every image in order, several being decoded at a time; progress shows at a terminal, when it takes long.

        Raises:
            UsageError: as for one file; the first broken one is named.
        """
        from tqdm import tqdm

        bar = tqdm(desc=what, total=len(self), unit=" images", leave=False, disable=None, delay=2)
        with _strict(), bar, ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            for first in range(0, len(self), AHEAD):
                images = pool.map(self._decode, range(first, min(first + AHEAD, len(self))))
                try:
                    for image in images:
                        yield image
                        bar.update()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def read_all(self) -> Tensor:
        """Decode every file: uint8 (N, C, size, size).

        Raises:
            UsageError: as for one file; the first broken one is named.
        """
        images = torch.empty(self.shape, dtype=torch.uint8)
        for i, image in enumerate(self.decoded()):
            images[i] = image
        return images

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all images together: (N, C, size, size)."""
        return len(self), self.channels, self.size, self.size

    @property
    def nbytes(self) -> int:
        """What all images take, decoded."""
        return len(self) * self.channels * self.size**2


def load_files(paths: Sequence[Path], size: int, channels: int) -> "Tensor | Mapped | ImageFiles":
    """The images of `paths`: decoded at once when they fit in memory, else as `decoded_once`.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    files = ImageFiles(paths, size, channels)
    return files.read_all() if files.nbytes <= memory.IN_MEMORY_BYTES else decoded_once(files)


def decoded_once(files: ImageFiles) -> "Mapped | ImageFiles":
    """The images from ganzoo's cache, made the first time; the files themselves when the cache cannot take them.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    mapped = kept(files.paths, files.shape, lambda: files.decoded("decoding, once"))
    return files if mapped is None else mapped


class Survey(NamedTuple):
    """What a sample of image files has in common."""

    sizes: set[tuple[int, int]]
    """(width, height) of each, as stored."""
    grey: bool
    """Whether none of them shows any colour."""


def survey(paths: Sequence[Path], most: int = SURVEYED) -> Survey:
    """Look at up to `most` files, evenly spread.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    sizes, grey = set(), True
    with _strict():
        for path in paths[:: -(-len(paths) // most)]:
            with _opened(path) as picture:
                sizes.add(picture.size)
                grey = grey and _is_grey(picture)
    return Survey(sizes, grey)


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ("1", "L", "LA", "I") or picture.mode.startswith("I;16"):
        return True
    picture.draft(None, (64, 64))
    red, green, blue = np.array(_plain(picture, 3)).reshape(-1, 3).T
    return bool((red == green).all() and (green == blue).all())


def _plain(picture: Image.Image, channels: int) -> Image.Image:
    """The picture upright, opaque, with 8 bits in each channel: mode L or RGB.

    Raises:
        ValueError: its pixels are floating-point numbers, of which nobody knows the range.
    """
    picture.load()
    with suppress(Exception):  # Many good pictures carry damaged EXIF data.
        picture = ImageOps.exif_transpose(picture)
    mode = "L" if channels == 1 else "RGB"
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        wide = np.asarray(picture).astype(np.int64).clip(0, 65535)  # PIL would cut off above 255.
        picture = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _middle(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


@contextmanager
def _strict() -> Iterator[None]:
    """PIL's warnings: silence, except that a suspiciously large picture is an error. Not to be entered by threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture in a file; whatever goes wrong with it is a UsageError that names the file."""
    try:
        with regular(path) as file, Image.open(file, formats=FORMATS) as picture:
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise UsageError(f"image {path} is refused: it has more than {limit} pixels (a decompression bomb?)") from error
    except Image.UnidentifiedImageError as error:
        raise UsageError(f"image {path} is broken, or not an image: its format cannot be told") from error
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise whatever they please: OSError, SyntaxError, struct.error, ...
        raise UsageError(f"image {path} cannot be read: {one_line(error)}") from error
