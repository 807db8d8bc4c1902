"""Images as numbers: sizes, channels, and the range that networks see."""

import torch
from torch import Tensor

from ganzoo.errors import UsageError

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are: ITU-R BT.601."""
CHUNK = 2**24
"""Numbers to convert at a time: few enough for little memory, many enough for all cores."""


def to_channels(images: Tensor, channels: int | None) -> Tensor:
    """uint8 (N, C, H, W), C 1 or 3, in grey (1; by `LUMA`) or colour (3), where they are."""
    n, have, h, w = images.shape
    if channels is None or channels == have:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1).contiguous()
    grey = images.new_empty(n, 1, h, w)
    step = max(1, CHUNK // (have * h * w))
    for source, target in zip(images.split(step), grey.split(step), strict=True):
        target.copy_(luma(source.float()).round_())
    return grey


def luma(images: Tensor) -> Tensor:
    """The brightness of float images in colour, (N, 3, H, W): (N, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)  # No weights in a tensor: they would have to be sent to the device.
    return red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]


def resize(images: Tensor, size: int | None, grid: int = 1) -> Tensor:
    """uint8 (N, C, H, W) to (N, C, size, size): the middle square, antialiased bilinear, as torchvision's Resize.

    The square's corner is a multiple of `grid` pixels: of images that are `grid` times as large as their counterparts,
    the same part is taken.
    """
    n, c, h, w = images.shape
    if size is None or (h, w) == (size, size):
        return images
    side = min(h, w)
    top, left = ((length - side) // (2 * grid) * grid for length in (h, w))
    square = images[:, :, top : top + side, left : left + side]
    small = images.new_empty(n, c, size, size)
    step = max(1, CHUNK // (c * max(side, size) ** 2))
    for source, target in zip(square.split(step), small.split(step), strict=True):
        target.copy_(torch.nn.functional.interpolate(source, (size, size), mode="bilinear", antialias=True))
    return small


def fit(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """uint8 (N, C, H, W) in another shape, (C, H, W): grey or colour first, then the size.

    Raises:
        UsageError: the size differs, and the wanted one is not square.
    """
    c, h, w = shape
    if h != w and images.shape[2:] != (h, w):
        height, width = images.shape[2:]
        raise UsageError(f"images of {width} x {height} pixels cannot be brought to {w} x {h}: only to squares")
    return resize(to_channels(images, c), h if h == w else None)


def normalise(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float [-1, 1] to uint8 [0, 255], rounded."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).byte()
