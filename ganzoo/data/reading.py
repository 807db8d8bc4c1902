"""Single images out of whatever holds them."""

from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, one_line


def fetch(images: Any, index: list[int]) -> "Tensor | GanzooError":
    """The images at `index`, uint8 (N, C, H, W); or what went wrong, in one line that survives a process border."""
    if isinstance(images, Tensor):
        return images[torch.tensor(index, device=images.device)]
    found = []
    for i in index:
        try:
            found.append(images[i])
        except GanzooError as error:
            return error
        except Exception as error:
            return GanzooError(f"image {i} of the data cannot be read: {one_line(error)}")
        if found[-1].shape != found[0].shape or found[-1].dtype != torch.uint8:
            return GanzooError(
                f"image {i} of the data is {found[-1].dtype} {tuple(found[-1].shape)}, "
                f"not uint8 {tuple(found[0].shape)} as the others"
            )
    return torch.stack(found)


def whole(images: "Tensor | GanzooError") -> Tensor:
    if isinstance(images, GanzooError):
        raise images
    return images
