"""Data that a program hands over: an image set, a tensor, or a data set of torchvision's kind."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.imagefiles import eight_bits, is_wide_grey
from ganzoo.data.opening import open_dataset
from ganzoo.data.sets import DataRequest, Dataset, ImageSet
from ganzoo.errors import GanzooError, UsageError, note_once, one_line

RANGES = ((0.0, 1.0), (-1.0, 1.0))
"""What floating-point pixels may lie in."""
MOST_CLASSES = 100_000
"""Each has a name, whether or not an image is of it."""


def dataset_of(data: Any, name: str, value_range: tuple[float, float] | None = None) -> type[Dataset]:
    """A data set class, called `name`, that holds `data`; both splits are all of it.

    Args:
        data: an `ImageSet`; images, uint8 or float, (N, C, H, W) or (N, H, W), a tensor or an array of NumPy's, which
            may be (N, H, W, C); vectors, float (N, D); a pair of such and labels, whole numbers (N,); or a map-style
            data set whose items are images (PIL's, tensors (C, H, W) or arrays), alone or before a label.
        name: what it is called in the run.
        value_range: (0, 1) or (-1, 1), in which floating-point pixels lie. They become uint8.

    Raises:
        UsageError: it is none of these, or its parts do not fit each other.
    """
    try:
        known = value_range is None or (not isinstance(value_range, str) and tuple(map(float, value_range)) in RANGES)
    except (TypeError, ValueError):
        known = False
    if not known:
        raise UsageError(f"value_range must be (0, 1) or (-1, 1), not {value_range!r}")
    try:
        held = _image_set(data, value_range)
    except GanzooError:
        raise
    except Exception as error:  # A data set's own.
        raise UsageError(f"the data cannot be read: {one_line(error)}") from error

    class Given(Dataset):
        summary = "handed over by a program"
        takes_root = False

        def load(self, request: DataRequest) -> ImageSet:
            found = ImageSet(**vars(held))
            if request.split == "test" and not found.split:
                found.split = "train"
            return found

    Given.name = name
    try:
        open_dataset(Given(), DataRequest())
    except GanzooError as error:
        raise UsageError(str(error)) from error
    return Given


def _image_set(data: Any, value_range: tuple[float, float] | None) -> ImageSet:
    if isinstance(data, ImageSet):
        if isinstance(data.images, Tensor) and data.images.dim() == 4:
            return ImageSet(**{**vars(data), "images": pixels(data.images, value_range)})
        return data
    labels = None
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], list):
        images, listed = data
        if isinstance(images, Tensor | np.ndarray) and images.ndim > 1 and len(images) == len(listed):
            data = images, np.asarray(listed)
    if (
        isinstance(data, tuple | list)
        and len(data) == 2
        and all(isinstance(part, Tensor | np.ndarray) for part in data)
    ):
        data, labels = data[0], _whole_numbers(data[1])
    data = _tensor(data)
    if isinstance(data, Tensor) and data.dim() == 2:
        if not data.is_floating_point():
            kind = str(data.dtype).removeprefix("torch.")
            raise UsageError(f"vectors (N, D) must be floats, not {kind}: convert them, or bring images (N, H, W)")
        if value_range is not None:
            raise UsageError("vectors are taken as they are: leave out value_range, which is for images")
        return ImageSet(data.detach().float(), labels, _names(labels))
    if isinstance(data, Tensor):
        images = data.unsqueeze(1) if data.dim() == 3 else data
        return ImageSet(pixels(images, value_range), labels, _names(labels))
    if isinstance(data, str | bytes) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UsageError(
            f"dataset must be a name, an ImageSet, a tensor, an array or a map-style set, not {type(data).__name__}"
        )
    return _map_style(data, value_range)


def _tensor(data: Any) -> Any:
    """NumPy's arrays as tensors, several pictures with their channels in front; everything else as it is."""
    if isinstance(data, Tensor) and (data.layout != torch.strided or data.is_meta):
        raise UsageError(f"the data is a {'meta' if data.is_meta else 'sparse'} tensor: bring a dense one, with values")
    if isinstance(data, np.ma.MaskedArray):
        raise UsageError("the data is a masked array: bring a plain one, with masked places filled")
    if not isinstance(data, np.ndarray):
        return data
    # Others may hold a read-only array too, which torch would warn of.
    tensor = torch.from_numpy(np.asarray(data, order="C") if data.flags.writeable else np.array(data, order="C"))
    last = tensor.dim() == 4 and tensor.shape[3] in (1, 3) and tensor.shape[1] not in (1, 3)
    return tensor.movedim(3, 1) if last else tensor


def _whole_numbers(labels: Any) -> Any:
    """Classes as int64, of whatever kind of whole numbers they are; what is none of these as it is."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "biuf":
        raise UsageError(f"labels must be whole numbers, one for each image, not {labels.dtype}")
    labels = _tensor(labels)
    if not (labels.is_floating_point() or labels.dtype == torch.bool):
        return labels.long()
    return labels


def _map_style(data: Any, value_range: tuple[float, float] | None) -> ImageSet:
    items = Items(data, value_range)
    if not len(items):
        raise UsageError("the data has no images")
    first, label = items.both(0)
    known = getattr(data, "targets", None)
    labelled = known is None and label is not None
    images: Any = items
    if len(items) * first.numel() <= memory.room():
        images, found = _read(items, first)
        known = found if labelled else known
    elif labelled:
        known = [data[i][1] for i in range(len(data))]
    labels = _labels(known)
    names = getattr(data, "classes", None)
    classes = tuple(map(str, names)) if isinstance(names, list | tuple) and labels is not None else _names(labels)
    return ImageSet(images, labels, classes)


def _read(items: "Items", first: Tensor) -> tuple[Tensor, list[Any]]:
    """All images, and what comes with each: read once, for a set may draw at random."""
    images, labels = torch.empty(len(items), *first.shape, dtype=torch.uint8), []
    for i in range(len(items)):
        image, label = items.both(i)
        if image.shape != first.shape:
            raise UsageError(
                f"image {i} of the data is {tuple(image.shape)}, not {tuple(first.shape)} as the first: "
                "bring them to one size (transforms.Resize)"
            )
        images[i] = image
        labels.append(label)
    return images, labels


class Items(torch.utils.data.Dataset[Tensor]):
    """The images of a map-style data set, as uint8 (C, H, W)."""

    def __init__(self, data: Any, value_range: tuple[float, float] | None):
        self.data, self.value_range = data, value_range

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        return self.both(index)[0]

    def both(self, index: int) -> tuple[Tensor, Any]:
        """An image, and what comes with it, if anything does."""
        item = self.data[index]
        image, label = (*item, None, None)[:2] if isinstance(item, tuple | list) else (item, None)
        if isinstance(image, Image.Image):
            array = np.array(image if image.mode in ("L", "RGB") else _eight_bits(image, index))
            image = torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)
        if isinstance(image, np.ndarray):
            image = _tensor(image[None])[0] if image.ndim == 3 else _tensor(image)
        if not isinstance(image, Tensor):
            kind = type(image).__name__
            raise UsageError(f"item {index} of the data is no image of PIL's, no tensor and no array, but {kind}")
        if image.dim() not in (2, 3):
            raise UsageError(f"item {index} of the data is of shape {tuple(image.shape)}: an image has (C, H, W)")
        return pixels(image if image.dim() == 3 else image.unsqueeze(0), self.value_range).contiguous(), label


def _eight_bits(image: Image.Image, index: int) -> Image.Image:
    """A picture of another kind as files of that kind are taken: 16 bits scaled, transparency laid on white."""
    try:
        return eight_bits(image, 1 if is_wide_grey(image.mode) else 3)
    except UsageError as error:
        raise UsageError(
            f"item {index} is a picture of mode {image.mode}, and nobody says which of its numbers is white: hand over "
            "tensors, uint8 or floats with value_range="
        ) from error


def pixels(images: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    """Images as uint8: as they are, or floats from `value_range`, rounded.

    Raises:
        UsageError: floats whose range is not said or that lie outside it, or numbers of another kind.
    """
    if images.dtype == torch.uint8:
        return images
    kind = str(images.dtype).removeprefix("torch.")
    if not images.is_floating_point():
        raise UsageError(f"images must be uint8, or floats with value_range=, not {kind}")
    if value_range is None:
        raise UsageError(f"images are {kind}: say value_range=(0, 1) or value_range=(-1, 1)")
    low, high = value_range
    if not bool(((images >= low) & (images <= high)).all()):
        where = f"they run from {images.min():g} to {images.max():g}" if images.numel() else "there are none"
        raise UsageError(f"images must lie in [{low:g}, {high:g}], as value_range says: {where}")
    return images.detach().float().sub(low).mul(255 / (high - low)).round().byte()


def _labels(known: Any) -> Tensor | None:
    """The classes of a map-style data set: its `targets`, as torchvision has them, else those of its items."""
    if known is None:
        return None
    try:
        labels = torch.as_tensor(known)
    except (TypeError, ValueError, RuntimeError) as error:  # torch says of what it makes none.
        raise UsageError(f"labels of the data must be numbers of classes: {one_line(error)}") from error
    if labels.dim() == 1 and not labels.is_floating_point():
        return labels.long()
    kind = "floating-point numbers" if labels.dim() == 1 else f"of shape {tuple(labels.shape)}"
    note_once(f"the data's targets are {kind}, no numbers of classes: its images are taken without")
    return None


def _names(labels: Tensor | None) -> tuple[str, ...]:
    if labels is None or labels.dim() != 1 or labels.is_floating_point() or not len(labels):
        return ()
    if (most := int(labels.max())) >= MOST_CLASSES:
        raise UsageError(f"labels run to {most:,}: number the classes from 0 on, {MOST_CLASSES:,} at most")
    return tuple(map(str, range(most + 1)))
