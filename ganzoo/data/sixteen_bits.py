"""Pictures of 16 bits in several channels, of which Pillow keeps the upper 8 alone."""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image

SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The order of bytes in which the lower 8 bits stand where the upper ones are looked for."""


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture that is not decoded yet has 16 bits in each of several channels."""
    return _way(picture) in ("LA;16", "RGB;16", "RGBA;16")


def _way(picture: Image.Image) -> str:
    """How its numbers are stored, without the order of bytes; empty where nobody says."""
    return _raw(picture)[:-1]


def _raw(picture: Image.Image) -> str:
    tiles = getattr(picture, "tile", None)
    told = tiles[0][3] if tiles else ""
    told = told[0] if isinstance(told, tuple) and told else told
    return told if isinstance(told, str) else ""


def sixteen(picture: Image.Image) -> Any:
    """All its 16 bits, uint16 (H, W, C), of a picture for which `is_deep` holds; it is decoded then."""
    raw, stream, kind = _raw(picture), picture.fp, str(picture.format)  # type: ignore[attr-defined]
    again = Image.open(_whole(stream), formats=[kind])
    if _way(picture) == "LA;16":  # Taken for four channels of 8 bits, its bytes are all there.
        again._mode = "RGBA"
        _set(again, "RGBA")
        picture.load()
        upper, lower = np.asarray(again)[..., ::2], np.asarray(again)[..., 1::2]
        return upper.astype(np.uint16) << 8 | lower
    _set(again, raw[:-1] + SWAPPED[raw[-1]])
    picture.load()
    return np.asarray(picture).astype(np.uint16) << 8 | np.asarray(again)


def _whole(stream: Any) -> Any:
    """The same file from its start, for a second reader."""
    place = stream.tell()
    stream.seek(0)
    data = stream.read()
    stream.seek(place)
    return io.BytesIO(data)


def _set(picture: Image.Image, raw: str) -> None:
    """Have it decoded as if its numbers were stored so."""
    tiles: Any = picture.tile  # type: ignore[attr-defined]
    told = [(raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw for tile in tiles]
    picture.tile = [  # type: ignore[attr-defined]
        tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)  # Older Pillow has plain tuples.
        for tile, args in zip(tiles, told, strict=True)
    ]
