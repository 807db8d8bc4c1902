"""Image files (PNG, JPEG and the like) as uint8 tensors: the way from a user's folder to a data set."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, features
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.archives import Source, size_of
from ganzoo.data.imagecache import Mapped, kept
from ganzoo.data.sixteen_bits import check, is_deep, see_through, sixteen, white_is_zero
from ganzoo.errors import UsageError, one_line, plain, watched
from ganzoo.files import regular

ENDINGS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
"""Files with these endings, in either case, are taken for images."""

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may hold, whatever its name says: PIL knows formats that start other programs (EPS: Ghostscript)."""
EXTRA = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"}
"""Formats that not every installation of Pillow reads."""

SURVEYED = 256
"""Files stored in colour that are decoded to tell whether any shows some; of all others the headers tell."""

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The tag of EXIF that says how a picture is turned, and its values for a quarter turn."""
AHEAD = 1024
"""Images that are decoded before the first of them is taken, when all are wanted in order."""


class Rule(NamedTuple):
    """How pictures become 8 bits a channel, where they do not say it themselves."""

    background: str = "white"
    """What transparent pixels are laid on."""
    white: float | None = None
    """The value that is white in pictures of more than 8 bits; None: 65,535, and only 16 bits are taken."""


USUAL = Rule()
Half = Literal["", "left", "right"]
"""Which half of a picture is taken; empty: all of it."""


class ImageFiles(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset that decodes a file whenever it is asked for: uint8 (C, size, size).

    The longer side is cropped in the middle, then the square is resized with antialiasing. The camera's orientation
    (EXIF) is honoured, transparent pixels are laid on white, 16 bits are scaled to 8, and of an animation the
    first frame is taken; `rule` says otherwise of the two that can be had otherwise.
    """

    def __init__(
        self, paths: Sequence[Source], size: int, channels: int, rule: Rule = USUAL, half: Half = "", grid: int = 1
    ):
        """`paths` are files, or members of archives.

        With `half`, that half of each picture. The square's corner is a multiple of `grid` pixels: see `resize`.
        """
        self.paths = paths
        self.size = size
        self.channels = channels
        self.rule = rule
        self.half: Half = half
        self.grid = grid

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
            if not self.half and self.grid == 1:
                picture.draft(None, (2 * self.size, 2 * self.size))
            square = _middle(_half(eight_bits(picture, self.channels, self.rule), self.half), self.grid)
            square = square.resize((self.size, self.size), Image.Resampling.BILINEAR)
            pixels = np.array(square).reshape(self.size, self.size, self.channels)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def decoded(self, what: str = "decoding") -> Iterator[Tensor]:
        """Every image in order, several being decoded at a time; progress shows at a terminal, when it takes long.

        Raises:
            UsageError: as for one file; the first broken one is named.
        """
        from tqdm import tqdm

        bar = tqdm(desc=what, total=len(self), unit=" images", leave=False, disable=not watched(), delay=2)
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

    def file_mark(self) -> tuple[str, bytes]:
        """What tells these pictures from others: the sizes of all files, which stay when files are copied.

        Raises:
            UsageError: one is not there.
        """
        return "sizes", " ".join(str(size_of(path)) for path in self.paths).encode()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all images together: (N, C, size, size)."""
        return len(self), self.channels, self.size, self.size

    @property
    def nbytes(self) -> int:
        """What all images take, decoded."""
        return len(self) * self.channels * self.size**2


class WholePictures(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset of pictures in their own sizes, decoded as `ImageFiles` does: uint8 (C, H, W)."""

    def __init__(self, paths: Sequence[Source], channels: int):
        self.paths, self.channels = paths, channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """Decode one file.

        Raises:
            UsageError: it is broken, not an image, or a decompression bomb; it is named.
        """
        with _strict(), _opened(self.paths[index]) as picture:
            pixels = np.array(eight_bits(picture, self.channels))
        return torch.from_numpy(pixels).view(*pixels.shape[:2], self.channels).permute(2, 0, 1).contiguous()


def load_files(
    paths: Sequence[Source], size: int, channels: int, rule: Rule = USUAL, half: Half = "", grid: int = 1
) -> "Tensor | Mapped | ImageFiles":
    """The images of `paths`: decoded at once when they are few enough, else as `decoded_once`.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    files = ImageFiles(paths, size, channels, rule, half, grid)
    at_once = files.nbytes <= min(memory.AT_ONCE_BYTES, memory.room())
    return files.read_all() if at_once else decoded_once(files)


def decoded_once(files: ImageFiles) -> "Mapped | ImageFiles":
    """The images from ganzoo's cache, made the first time; the files themselves when the cache cannot take them.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    how = str(tuple(files.rule)) + (f" {files.half} {files.grid}" if files.half or files.grid > 1 else "")
    mapped = kept(files.paths, files.shape, lambda: files.decoded("decoding, once"), how)
    return files if mapped is None else mapped


class Survey(NamedTuple):
    """What image files have in common."""

    sizes: set[tuple[int, int]]
    """(width, height) of each, as stored."""
    grey: bool
    """Whether none of them shows any colour, as far as they were decoded."""
    wide: bool = False
    """Whether any has more than 8 bits in a channel."""
    transparent: bool = False
    """Whether any has transparency."""
    unseen: int = 0
    """Files stored in colour that were not decoded, where all others are grey."""
    several: int = 0
    """Files with more pictures than one: animations, pages."""


def survey(paths: Sequence[Source], most: int = SURVEYED) -> Survey:
    """Look at the headers of all files, and decode up to `most` of those stored in colour, evenly spread.

    Raises:
        UsageError: one of them is broken; it is named.
    """
    sizes, wide, transparent, several = set(), False, False, 0
    coloured: list[Source] = []
    with _strict():
        for path in paths:
            with _opened(path) as picture:
                sizes.add(picture.size)
                wide = wide or is_wide(picture)
                transparent = transparent or picture.has_transparency_data
                # The others of an MPO are what a camera keeps besides its picture.
                several += picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
                if not (picture.mode in GREY or is_wide_grey(picture.mode)):
                    coloured.append(path)
        chosen = coloured[:: -(-len(coloured) // most)] if coloured else []
        grey = all(map(_is_grey, chosen))
    return Survey(sizes, grey, wide, transparent, len(coloured) - len(chosen) if grey else 0, several)


def any_wide(paths: Sequence[Source]) -> bool:
    """Whether any has more than 8 bits in a channel, as headers say; broken ones are passed over."""
    with _strict():
        for path in paths:
            with suppress(UsageError), _opened(path) as picture:
                if is_wide(picture):
                    return True
    return False


def sizes_of(paths: Sequence[Source]) -> list[tuple[int, int]]:
    """Width and height of each picture, upright, as its header says.

    Raises:
        UsageError: one of them is broken; it is named.
    """

    def size(path: Source) -> tuple[int, int]:
        with _opened(path) as picture:
            width, height = picture.size
            with suppress(Exception):  # Many good pictures carry damaged EXIF data.
                # Newer versions of Pillow have turned the size of a TIFF already.
                tags = getattr(picture, "tag_v2", {})
                stored = tags.get(256, width), tags.get(257, height)
                if picture.getexif().get(ORIENTATION) in SIDEWAYS and stored == (width, height):
                    return height, width
            return width, height

    with _strict(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(size, paths))


def brightest(paths: Sequence[Source]) -> list[int] | None:
    """The largest value in each picture of 16 bits, transparency aside; broken ones are passed over.

    None where one holds other numbers than those.
    """
    found = []
    with _strict():
        for path in paths:
            with suppress(UsageError), _opened(path) as picture:
                if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
                    return None
                if is_deep(picture):
                    values = sixteen(picture)
                    found.append(int(values[..., : values.shape[2] - 1 | 1].max()))
                elif is_wide(picture):
                    found.append(int(np.asarray(picture).max()))
    return found


def broken_files(paths: Sequence[Source], rule: Rule = USUAL) -> dict[int, str]:
    """What is wrong with each picture that cannot be decoded, by its index."""

    def fault(path: Source) -> str | None:
        try:
            with _opened(path) as picture:
                eight_bits(picture, 3, rule)
        except UsageError as error:
            return str(error)
        return None

    with _strict(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return {i: text for i, text in enumerate(pool.map(fault, paths)) if text is not None}


GREY = ("1", "L", "LA", "F")
"""Modes of Pillow's that hold no colour."""


def is_wide_grey(mode: str) -> bool:
    """Whether a mode of Pillow's is of one channel with more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def is_wide(picture: Image.Image) -> bool:
    """Whether it has more than 8 bits in a channel; of a picture in colour, as long as it is not decoded."""
    return is_wide_grey(picture.mode) or is_deep(picture)


def _is_grey(path: Source) -> bool:
    with _opened(path) as picture:
        if is_deep(picture):  # Dark ones may differ in their lower bits alone.
            values = sixteen(picture)
            return values.shape[2] < 3 or bool((values[..., :3] == values[..., :1]).all())
        picture.draft(None, (64, 64))
        red, green, blue = np.array(eight_bits(picture, 3)).reshape(-1, 3).T
        return bool((red == green).all() and (green == blue).all())


def eight_bits(picture: Image.Image, channels: int, rule: Rule = USUAL) -> Image.Image:
    """The picture upright, opaque, with 8 bits in each channel: mode L or RGB.

    Raises:
        UsageError: its pixels are numbers of which nobody knows the range.
    """
    kind, key, inverse = picture.format, see_through(picture), white_is_zero(picture)
    if is_deep(picture) and (rule.white is not None or key is not None):
        picture = _deep(picture, rule.white or 65535)
    elif key is not None:
        picture.info["transparency"] = key
    picture.load()
    with suppress(Exception):  # Many good pictures carry damaged EXIF data.
        picture = ImageOps.exif_transpose(picture)
    mode = "L" if channels == 1 else "RGB"
    if picture.mode == "F" or (picture.mode == "I" and kind != "PPM"):
        if rule.white is None:
            numbers = "floating-point numbers" if picture.mode == "F" else "signed or 32-bit integers"
            low, high = picture.getextrema()
            told = "" if rule is USUAL else "say it with --white (255, say), or "  # Which not every command has.
            raise UsageError(
                f"its pixels are {numbers} ({low:g} to {high:g}), and nobody says which is white: {told}"
                "save it with 8 bits, or 16 without a sign"
            )
        picture = _scaled(picture, rule.white, inverse)
    elif is_wide_grey(picture.mode):
        values = np.asarray(picture)
        picture = _scaled(picture, rule.white or 65535, inverse)  # PIL would cut off above 255.
        if key is not None:
            picture.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, rule.background), picture)
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _scaled(picture: Image.Image, white: float, inverse: bool = False) -> Image.Image:
    """8 bits, of which 255 is `white`, or 0 if `inverse`; what is not finite is black, or white."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(0, white)
    eight = (values * 255 / white + 0.5).astype(np.uint8)
    return Image.fromarray(255 - eight if inverse else eight)


def _deep(picture: Image.Image, white: float) -> Image.Image:
    """A picture of 16 bits in several channels with 8, of which 255 is `white`; as it is stored, not upright."""
    values = sixteen(picture).astype(np.float32)
    colours = values.shape[2] - 1 | 1
    scale = np.full(values.shape[2], 255 / white, np.float32)
    if values.shape[2] > colours and values[..., -1].max() > white:  # Of transparency all 16 bits are used.
        scale[-1] = 255 / 65535
    eight = (values * scale + 0.5).clip(0, 255).astype(np.uint8)
    found = Image.fromarray(eight if colours > 1 else np.concatenate([eight[..., :1].repeat(3, 2), eight[..., 1:]], 2))
    with suppress(Exception):
        found.getexif()[ORIENTATION] = picture.getexif()[ORIENTATION]
    return found


def _half(picture: Image.Image, half: Half) -> Image.Image:
    """The left or right half of a picture, or all of it."""
    if not half:
        return picture
    width, height = picture.size
    return picture.crop((0, 0, width // 2, height) if half == "left" else (width // 2, 0, width // 2 * 2, height))


def _middle(picture: Image.Image, grid: int = 1) -> Image.Image:
    width, height = picture.size
    side = min(width, height)
    left, top = ((length - side) // (2 * grid) * grid for length in (width, height))
    return picture.crop((left, top, left + side, top + side))


@contextmanager
def _strict() -> Iterator[None]:
    """PIL's warnings: silence, except that a suspiciously large picture is an error. Not to be entered by threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Source) -> Iterator[Image.Image]:
    """The picture in a file or archive; whatever goes wrong with it is a UsageError that names it."""
    try:
        stream = regular(path) if isinstance(path, Path) else path.open()
        with stream as file, Image.open(file, formats=_readable()) as picture:
            check(picture)
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise UsageError(f"image {path} is refused: it has more than {limit} pixels (a decompression bomb?)") from error
    except FileNotFoundError as error:
        raise UsageError(f"image {path} is not there, or a link that leads nowhere") from error
    except Image.UnidentifiedImageError as error:
        told = "its format cannot be told"
        kind = EXTRA.get(Path(str(getattr(path, "name", path))).suffix.lower())
        if kind is not None and kind not in _readable():
            more = " (`pip install pillow-heif`)" if kind == "HEIF" else ""
            told = f"the installed Pillow reads no {kind}{more}"
        raise UsageError(f"image {path} is broken, or not an image: {told}") from error
    except UsageError as error:
        raise UsageError(f"image {path} cannot be read: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise whatever they please: OSError, SyntaxError, struct.error, ...
        told = error.strerror or plain(str(error)) if isinstance(error, OSError) else ""
        raise UsageError(f"image {path} cannot be read: {told or one_line(error)}") from error


@cache
def _readable() -> tuple[str, ...]:
    """Those of `FORMATS` that this installation reads: HEIC with the package pillow-heif alone."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN and (name != "AVIF" or features.check("avif")))
