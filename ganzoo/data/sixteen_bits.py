"""Pictures of more than 8 bits whose numbers Pillow does not hand on as they are meant.

Of 16 bits in several channels it keeps the upper 8 alone; and it forgets which grey is transparent, or that 0 is white.
"""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image

from ganzoo.errors import UsageError

SEVERAL = ("LA;16", "RGB;16", "RGBA;16", "RGBX;16", "RGBa;16", "CMYK;16")
"""How 16 bits in each of several channels are stored; of RGBX the fourth is no transparency, but infrared, say."""
BITS, PHOTOMETRIC, SAMPLES, PLANES = 258, 262, 277, 284
"""Tags of TIFF."""
FEW_BITS = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies greys of 2 and of 4 bits."""
SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The order of bytes in which the lower 8 bits stand where the upper ones are looked for."""


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture that is not decoded yet has 16 bits in each of several channels."""
    return _way(picture) in SEVERAL


def check(picture: Image.Image) -> None:
    """Raises UsageError where a picture's numbers are stored in a way that Pillow reads wrongly."""
    tags = _tags(picture)
    if tags.get(PLANES) == 2 and tags.get(SAMPLES, 1) > 1 and max(tags.get(BITS, (8,))) > 8:
        raise UsageError(
            "its channels lie in planes of more than 8 bits, which are not read: save it with interleaved channels "
            "(planar configuration 1), or as PNG"
        )


def white_is_zero(picture: Image.Image) -> bool:
    """Whether 0 is white in a picture that is not decoded yet; of 8 bits Pillow turns that round itself."""
    return _tags(picture).get(PHOTOMETRIC) == 0


def see_through(picture: Image.Image) -> int | tuple[int, ...] | None:
    """The value that is transparent, of a PNG that has one, in the bits of its pixels once it is decoded."""
    key: Any = picture.info.get("transparency") if picture.format == "PNG" else None
    if isinstance(key, tuple):
        return key
    return key * FEW_BITS.get(_raw(picture), 1) if isinstance(key, int) and picture.mode != "P" else None


def _tags(picture: Image.Image) -> Any:
    return getattr(picture, "tag_v2", None) or {}


def _way(picture: Image.Image) -> str:
    """How its numbers are stored, without the order of bytes; empty where nobody says."""
    return _raw(picture)[:-1]


def _raw(picture: Image.Image) -> str:
    tiles = getattr(picture, "tile", None)
    told = tiles[0][3] if tiles else ""
    told = told[0] if isinstance(told, tuple) and told else told
    return told if isinstance(told, str) else ""


def sixteen(picture: Image.Image) -> Any:
    """All its 16 bits, uint16 (H, W, C), of a picture for which `is_deep` holds; it is decoded then.

    They are grey or red, green and blue; what is left of two or four channels is transparency.
    """
    way, key = _way(picture), see_through(picture)
    values = _stored(picture)
    if way == "RGBX;16":
        return values[..., :3]
    if way == "CMYK;16":
        light = 65535 - values.astype(np.uint32)
        return (light[..., :3] * light[..., 3:] // 65535).astype(np.uint16)
    if way == "RGBa;16":  # Its colours were multiplied by its transparency.
        clear = np.maximum(values[..., 3:], 1).astype(np.uint32)
        colours = np.minimum(values[..., :3].astype(np.uint32) * 65535 // clear, 65535)
        return np.concatenate([colours.astype(np.uint16), values[..., 3:]], 2)
    if key is not None:
        opaque = (values != np.array(key)).any(2, keepdims=True)
        return np.concatenate([values, opaque.astype(np.uint16) * 65535], 2)
    return values


def _stored(picture: Image.Image) -> Any:
    """Its numbers as they lie in the file."""
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
