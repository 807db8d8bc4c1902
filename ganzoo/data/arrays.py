"""Images and labels in `.npz` files, which are not trusted."""

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.archives import listing
from ganzoo.data.pixels import to_uint8
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import memory, regular

LARGEST = 8 * 2**30
"""Bytes of an array beyond which it is not read; on a small machine, a quarter of its memory."""
LONGEST_HEADER = 2**16
"""Bytes of an array's header: its shape and type take a hundred."""
SIDES = (8, 4096)
ROUNDING = 1e-3
"""By how much floats may miss their range: what was normalised and brought back seldom ends at 0 exactly."""


LABELS = ("labels", "label", "y", "targets", "target")
"""Names of the array with the labels; of several the first is taken."""


def read_npz(path: Path, notes: list[str] | None = None, unlabelled: bool = False) -> tuple[Tensor, Tensor | None]:
    """The images, uint8 (N, C, H, W) with C 1 or 3, and the labels, int64 (N,).

    `images` is (N, C, H, W), (N, H, W, C) or (N, H, W); integers 0 to 255, or floats in [0, 1] or, when any is below 0
    by more than rounding, in [-1, 1]. `labels`, where there are any, are integers (N,); they may also be called
    `label`, `y` or `targets`. `notes` is added to where that is so, or arrays are not used. With `unlabelled`, -1
    stands for none; without, labels are 0 or more.

    Raises:
        UsageError: it is damaged, or holds something else.
    """
    try:
        with regular(path) as file:
            listing(path, file)
            with zipfile.ZipFile(file) as archive:
                arrays, labels, others = _arrays(path, archive)
    except UsageError as error:
        raise UsageError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # A file may be damaged in as many ways as zip and numpy have.
        raise UsageError(f"{path} is damaged, or not an .npz: {one_line(error)[:200]}") from error
    try:
        images = _layout(_pixels(arrays["images"]))
        found = _labels(arrays[labels], len(images), unlabelled) if labels else None
        if notes is not None and labels and labels != LABELS[0]:
            notes.append(f"labels of {path} are those of its array `{plain(labels)}`")
        if notes is not None and others:
            told = plain(", ".join(others))[:200]
            notes.append(
                f"arrays of {path} that are not used ({len(others):,}): {told} (read are `images` and `labels`)"
            )
        return images, found
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _arrays(path: Path, archive: zipfile.ZipFile) -> tuple[dict[str, Any], str | None, list[str]]:
    """Images and labels, the name of the labels, if there are any, and the names of all other arrays."""
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    if "images" not in names:
        raise UsageError(f"{path} holds no `images` (it holds: {plain(', '.join(sorted(names)))[:200] or 'nothing'})")
    images = _array(archive, "images")
    for name in LABELS:
        if name in names and (name == LABELS[0] or _may_label(archive, name, len(images))):
            used = {"images": images, name: _array(archive, name)}
            return used, name, sorted(names - {*used})
    return {"images": images}, None, sorted(names - {"images"})


def _may_label(archive: zipfile.ZipFile, name: str, count: int) -> bool:
    """Whether an array that is not called `labels` may hold them: it may be of anything."""
    with archive.open(f"{name}.npy") as file:
        shape, dtype = _header(file)
    return dtype.kind in "ui" and shape == (count,)


def _array(archive: zipfile.ZipFile, name: str) -> Any:
    """An array whose header was looked at before memory was taken for it."""
    with archive.open(f"{name}.npy") as file:
        shape, dtype = _header(file)
        if dtype.hasobject or dtype.kind not in "uifb":
            raise UsageError(f"`{name}` holds {dtype}, not numbers")
        size = dtype.itemsize
        for length in shape:
            size *= length
        if size > archive.getinfo(f"{name}.npy").file_size:
            raise UsageError(f"`{name}` claims {size:,} bytes, more than the archive says it holds")
        largest = min(LARGEST, memory() // 4)
        if size > largest:
            raise UsageError(f"`{name}` takes {size:,} bytes, more than {largest:,}")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    """Shape and type; numpy itself would take memory for a header of any length before it looks at it."""
    version = np.lib.format.read_magic(file)
    width = 2 if version == (1, 0) else 4
    length = file.read(width)
    if int.from_bytes(length, "little") > LONGEST_HEADER:
        raise UsageError(f"the header of an array takes more than {LONGEST_HEADER:,} bytes")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(header)
    return shape, dtype


def _pixels(array: Any) -> Tensor:
    """uint8, whatever numbers they were."""
    if array.size == 0:
        raise UsageError("there are no images")
    if array.dtype == np.uint8:
        _scaled(int(array.max()))
        return torch.from_numpy(array)
    if array.dtype.kind in "ui":
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise UsageError(f"integer pixels must lie in 0 to 255, not {low} to {high}")
        _scaled(high)
        return torch.from_numpy(array.astype(np.uint8))
    if array.dtype.kind != "f":
        raise UsageError(f"pixels must be integers or floats, not {array.dtype}")
    least, most = float(array.min()), float(array.max())
    if not (least >= -1 - ROUNDING and most <= 1 + ROUNDING):  # NaN is refused, too.
        raise UsageError(f"float pixels must lie in [0, 1] or [-1, 1], not {least:g} to {most:g}")
    values = torch.from_numpy(array.astype(np.float32))
    return to_uint8(values if least < -ROUNDING else values * 2 - 1)


def _scaled(high: int) -> None:
    if high == 1:
        raise UsageError("integer pixels are all 0 or 1: scale them to 0 to 255, or save them as floats")


def _layout(images: Tensor) -> Tensor:
    """(N, C, H, W)."""
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.dim() == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        shape = tuple(images.shape)
        raise UsageError(f"images are {shape}, not (N, C, H, W), (N, H, W, C) or (N, H, W) with 1 or 3 channels")
    low, high = SIDES
    if not all(low <= side <= high for side in images.shape[2:]):
        raise UsageError(f"images are {images.shape[3]} x {images.shape[2]} pixels; sides of {low} to {high} are read")
    return images.contiguous()


def _labels(array: Any, count: int, unlabelled: bool) -> Tensor:
    if array.dtype.kind not in "ui" or array.shape != (count,):
        raise UsageError(
            f"labels must be integers, one for each of the {count:,} images, not {array.dtype} {array.shape}"
        )
    if int(array.min()) < -unlabelled or int(array.max()) > 2**31:
        raise UsageError(f"labels run from {array.min()} to {array.max()}")
    return torch.from_numpy(array.astype(np.int64))
