"""Image sets that others made: an `.npz` file or a folder of pictures, neither of them trusted."""

import re
from pathlib import Path

import torch
from torch import Tensor

from ganzoo.data.arrays import LARGEST, SIDES, read_npz
from ganzoo.data.imagefiles import ENDINGS, ImageFiles, survey
from ganzoo.errors import UsageError, note_once
from ganzoo.files import memory


def read_images(path: Path) -> tuple[Tensor, Tensor | None]:
    """The images, uint8 (N, C, H, W) with C 1 or 3, and the labels, int64 (N,), of an `.npz` or a folder.

    An `.npz` holds `images`: (N, C, H, W), (N, H, W, C) or (N, H, W); integers 0 to 255, or floats in [0, 1] or, when
    any is below 0 by more than rounding, in [-1, 1]. It may hold `labels`: integers (N,). In a folder, names that end
    in `-LABEL`, as `ganzoo sample` writes them, are taken for labels.

    Raises:
        UsageError: no such thing, or something else.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such run, file or folder")
    if path.suffix != ".npz":
        raise UsageError(f"{path}: give a run directory, an .npz file with `images`, or a folder of pictures")
    notes: list[str] = []
    found = read_npz(path, notes)
    for line in notes:
        note_once(line)
    return found


def _folder(path: Path) -> tuple[Tensor, Tensor | None]:
    paths = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not paths:
        hint = " (and no run: it has no run.json)"
        raise UsageError(f"{path} holds no pictures{hint}")
    look = survey(paths, len(paths))
    if len(look.sizes) > 1:
        some = ", ".join(f"{w} x {h}" for w, h in sorted(look.sizes)[:3])
        raise UsageError(f"{path}: pictures of different sizes ({some}) are not one set")
    width, height = look.sizes.pop()
    if width != height or not SIDES[0] <= width <= SIDES[1]:
        raise UsageError(f"{path}: pictures of {width} x {height} pixels; squares of {SIDES[0]} to {SIDES[1]} are read")
    channels = 1 if look.grey else 3
    largest = min(LARGEST, memory() // 4)
    if len(paths) * channels * width**2 > largest:
        raise UsageError(f"{path}: {len(paths):,} pictures of {width} x {height} take more than {largest:,} bytes")
    images = ImageFiles(paths, width, channels).read_all()
    found = [re.fullmatch(r"\d+-(\d{1,6})", p.stem) for p in paths]
    labels = [int(m.group(1)) for m in found if m]
    return images, torch.tensor(labels) if len(labels) == len(paths) else None
