"""Large pictures through a generator in overlapping tiles, so that memory does not grow with the picture.

Where two tiles overlap, the one fades linearly into the other; what lies within `MARGIN` pixels of a tile's border, and
may be off because the tile ends there, is left to the other tile. A convolutional network that sees no farther than
that makes of the tiles what it makes of the whole.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ganzoo.data import normalise, to_uint8
from ganzoo.errors import GanzooError

TILE = 512
"""Pixels of a tile's side, and of a picture's, up to which it is taken whole."""
MARGIN, RAMP = 32, 64
"""Pixels beside a tile's inner border that do not count, and over which tiles fade."""
OVERLAP = RAMP + 2 * MARGIN
GRID = 64
"""Tiles begin at multiples of this, so that networks halve them as they halve the whole."""


def made_of(
    images: Tensor, classes: Tensor | None, translate: Callable[[Tensor, Tensor | None], Tensor], trained: int
) -> Tensor:
    """What a generator that was trained on sides of `trained` pixels makes of pictures, in tiles if they are large.

    Args:
        images: uint8 (N, C, H, W).
        classes: int64 (N,), or None.
        translate: float sources (n, C, h, w) and their classes to images, float (n, C', h', w').
        trained: pixels of the longer side.

    Returns:
        uint8 (N, C', H', W'), on the CPU.
    """
    tile = max(TILE, -(-trained // GRID) * GRID + GRID)
    if max(images.shape[2:]) <= tile:
        return to_uint8(translate(normalise(images), classes)).cpu()
    found = []
    for i, image in enumerate(images):
        mine = None if classes is None else classes[i : i + 1]
        found.append(in_tiles(image, partial(_with, translate, mine), tile))
    return torch.stack(found)


def _with(translate: Callable[[Tensor, Tensor | None], Tensor], classes: Tensor | None, x: Tensor) -> Tensor:
    return translate(x, classes)


def in_tiles(source: Tensor, translate: Callable[[Tensor], Tensor], tile: int = TILE) -> Tensor:
    """What a generator makes of a picture, uint8 (C, H, W): uint8 (C', H', W').

    Args:
        source: the picture.
        translate: float sources (1, C, h, w) in [-1, 1] to images (1, C', h', w') in one proportion, whatever the size.
        tile: the side of a tile, a multiple of `GRID`, more than twice `OVERLAP`.

    Raises:
        GanzooError: images are not all in one proportion to their sources.
    """
    height, width = source.shape[1:]
    rows, columns = spans(height, tile), spans(width, tile)
    made: Tensor | None = None
    kept = torch.empty(0)
    scale = 1.0
    for i, (top, bottom) in enumerate(rows):
        band = torch.empty(0)
        for k, (left, right) in enumerate(columns):
            x = translate(normalise(source[None, :, top:bottom, left:right]))[0].float().cpu()
            if made is None:
                scale = x.shape[1] / (bottom - top)
                made = torch.empty(x.shape[0], round(height * scale), round(width * scale), dtype=torch.uint8)
            if x.shape[1:] != (round((bottom - top) * scale), round((right - left) * scale)):
                raise GanzooError("the generator makes images in other proportions of sources of other sizes")
            if not k:
                band = torch.zeros(x.shape[0], x.shape[1], made.shape[2])
            first = round(left * scale)
            band[:, :, first : first + x.shape[2]] += x * weights(columns, k, x.shape[2], scale)
        assert made is not None
        band *= weights(rows, i, band.shape[1], scale)[:, None]
        band[:, : kept.shape[1] if i else 0] += kept if i else 0
        first = round(top * scale)
        until = round((rows[i + 1][0] if i + 1 < len(rows) else height) * scale)
        made[:, first:until] = to_uint8(band[:, : until - first])
        kept = band[:, until - first :].clone()
    assert made is not None
    return made


def spans(length: int, tile: int = TILE) -> list[tuple[int, int]]:
    """From where to where tiles reach along a side; each overlaps the next by `OVERLAP` or more."""
    found = [(0, min(tile, length))]
    while found[-1][1] < length:
        start = min(found[-1][0] + tile - OVERLAP, -(-(length - tile) // GRID) * GRID)
        found.append((start, min(start + tile, length)))
    return found


def weights(spans: list[tuple[int, int]], i: int, count: int, scale: float) -> Tensor:
    """How much each of the `count` pixels that the i-th tile makes counts, float (count,): over all tiles, 1."""
    places = spans[i][0] + (torch.arange(count) + 0.5) / scale

    def begun(k: int) -> Tensor:
        """How far tile k has taken over from the one before."""
        if k == 0:
            return torch.ones(count)
        if k == len(spans):
            return torch.zeros(count)
        middle = (spans[k][0] + spans[k - 1][1]) / 2
        return ((places - middle) / RAMP + 0.5).clamp(0, 1)

    return begun(i) * (1 - begun(i + 1))
