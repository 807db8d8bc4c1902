"""Single images out of whatever holds them."""

import zlib
from typing import Any

import torch
from torch import Tensor

from ganzoo.data.making import Made
from ganzoo.errors import GanzooError, one_line


def fetch(images: Any, index: list[int]) -> "Tensor | GanzooError":
    """The images at `index`, uint8 (N, C, H, W); or what went wrong, in one line that survives a process border."""
    if isinstance(images, Made):
        found = fetch(images.images, index)
        return found if isinstance(found, GanzooError) else images.maker(found)
    if isinstance(images, Tensor):
        return images[torch.tensor(index, device=images.device)]
    read: list[Tensor] = []
    for i in index:
        try:
            read.append(images[i])
        except GanzooError as error:
            return error
        except Exception as error:
            return GanzooError(f"image {i} of the data cannot be read: {one_line(error)}")
        if not isinstance(read[-1], Tensor):
            return GanzooError(f"image {i} of the data is {type(read[-1]).__name__}, not a tensor, uint8 (C, H, W)")
        if read[-1].shape != read[0].shape or read[-1].dtype != torch.uint8:
            return GanzooError(
                f"image {i} of the data is {read[-1].dtype} {tuple(read[-1].shape)}, "
                f"not uint8 {tuple(read[0].shape)} as the others"
            )
    return torch.stack(read)


def whole(images: "Tensor | GanzooError") -> Tensor:
    if isinstance(images, GanzooError):
        raise images
    return images


def marks_of(*parts: Any) -> dict[str, str]:
    """A CRC-32 of what tells pictures that lie in files from others, by what it is of; tensors have none."""
    found: dict[str, int] = {}
    for part in parts:
        subset = isinstance(part, torch.utils.data.Subset)  # Of which all pictures are marked.
        mark = getattr(part.dataset if subset else part, "file_mark", None)
        if mark is not None:
            kind, data = mark()
            found[kind] = zlib.crc32(data, found.get(kind, 0))
    return {kind: f"{value:08x}" for kind, value in found.items()}
