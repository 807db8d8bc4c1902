"""How a data set is opened: its options, its images at the size and in the number of channels that a run asks for."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.data.faults import refuse_faulty
from ganzoo.data.making import Made, Maker
from ganzoo.data.pixels import resize, to_channels
from ganzoo.data.sets import DataRequest, Dataset, DatasetOptions, ImageSet
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.fields import validated


def choose_options(dataset: Dataset | type[Dataset], values: Any) -> Any:
    """An instance of the data set's `Options` from values by name; None stands for `before`.

    Raises:
        UsageError: it has no such option (the nearest is given), or a value is of the wrong type or out of range.
    """
    if isinstance(values, DatasetOptions):
        return values
    fields = dataset.Options.model_fields
    given = dataset.before if values is None else values
    for name in given:
        if name not in fields:
            flag, known = str(name).replace("_", "-"), [field.replace("_", "-") for field in fields]
            hint = did_you_mean(flag, known) if known else "it has none"
            raise UsageError(f"data set '{dataset.name}' has no option --{flag}: {hint}")
    return validated(dataset.Options, given)


def refuse_root(dataset: type[Dataset], root: Path | None) -> None:
    """Refuse a folder that a data set does not look into: somebody's own pictures, most likely.

    Raises:
        UsageError: it is one.
    """
    if root is not None and not dataset.takes_root:
        raise UsageError(
            f"--data-root {root}: data set '{dataset.name}' reads no files from there; for pictures of your own add "
            "--dataset folder"
        )


def open_dataset(dataset: Dataset, request: DataRequest) -> ImageSet:
    """Load a data set and bring its images to the requested size and number of channels.

    A set that fits in memory at that size is converted once; of a larger one, each image as it is read. Paired sources
    are cropped and resized with their counterparts: to the same size where they are as large, and in the same
    proportion where one is a whole multiple of the other. Unpaired ones are brought to the size that is asked for.
    Sources that are asked for are made of the images as they are then, whenever they are needed.

    Raises:
        UsageError, GanzooError: as `Dataset.load`; or the plugin handed over something else than it should, or what
            cannot be brought to that size; or sources are asked for that it has, or that cannot be made.
    """
    maker = None if request.source is None else Maker.named(request.source)
    request = request._replace(options=choose_options(dataset, request.options))
    data = dataset.load(request)
    refuse_faulty(data, dataset.name)
    size, channels = request.image_size, request.channels
    if not data.is_images:
        if size is not None or channels is not None:
            raise UsageError(
                f"data set '{dataset.name}' holds vectors of {data.images[0].numel()} numbers: "
                "--image-size and --channels are for images"
            )
        if maker is not None:
            maker.check(tuple(data.images[0].shape), dataset.name)
        return data
    if maker is not None and data.sources is not None:
        raise UsageError(
            f"data set '{dataset.name}' has sources of its own: leave out --source {maker.text}, or choose a data set "
            "without any"
        )
    source_size, grid, source_grid = size, 1, 1
    if size is not None and data.sources is not None and data.paired:
        source_size, grid, source_grid = _in_proportion(data, size, dataset.name)
    images = _fitted(data.images, size, channels, grid)
    if maker is not None:
        maker.check(tuple(images[0].shape), dataset.name)
        return replace(data, images=images, sources=Made(images, maker))
    return replace(
        data,
        images=images,
        sources=None if data.sources is None else _fitted(data.sources, source_size, None, source_grid),
    )


def limited(data: ImageSet, count: int) -> ImageSet:
    """`count` of the samples, drawn once and for all, in their order: what is in few is in more. Unpaired sources stay.

    Raises:
        UsageError: there are fewer.
    """
    if count > len(data):
        raise UsageError(f"--limit {count}: there are {len(data):,} training samples")
    generator = torch.Generator().manual_seed(0)
    index = torch.randperm(len(data), generator=generator)[:count].sort().values

    def some(held: Any) -> Any:
        return held[index] if isinstance(held, Tensor) else torch.utils.data.Subset(held, index.tolist())

    images, sources = some(data.images), data.sources
    if isinstance(sources, Made):
        sources = Made(images, sources.maker)
    elif sources is not None and data.paired:
        sources = some(sources)
    return replace(
        data,
        images=images,
        labels=None if data.labels is None else data.labels[index],
        sources=sources,
        words=None if data.words is None else data.words._replace(places=data.words.places[index]),
    )


def _in_proportion(data: ImageSet, size: int, name: str) -> tuple[int | None, int, int]:
    """Of paired sources when images become `size` square: their side, and what the corners of both are multiples of.

    Raises:
        UsageError: one is no whole multiple of the other, or `size` cannot be divided so.
    """
    assert data.sources is not None
    h, w = data.images[0].shape[1:]
    height, width = data.sources[0].shape[1:]
    if (h, w) == (size, size):  # Nothing is resized, as where no size is asked for.
        return None, 1, 1
    up, down = h // height, height // h  # How many times the images, or the sources, are the larger.
    if up and (h, w) == (up * height, up * width):
        if size % up:
            raise UsageError(
                f"images of '{name}' are {up} times as large as their sources: --image-size must be a multiple of {up}"
            )
        return size // up, up, 1
    if down and (height, width) == (down * h, down * w):
        return size * down, 1, down
    raise UsageError(
        f"images of '{name}' are {w} x {h} and their sources {width} x {height} pixels, neither a whole multiple of "
        "the other: a pair cannot be brought to another --image-size alike"
    )


def _fitted(images: Any, size: int | None, channels: int | None, grid: int) -> Any:
    """The images at that size and number of channels, now where they fit in memory so, or as they are read."""
    c, h, w = images[0].shape
    shape = (channels or c, size or h, size or w)
    if shape == (c, h, w):
        return images
    if isinstance(images, Tensor) and len(images) * math.prod(shape) <= memory.room():
        return resize(to_channels(images, channels), size, grid)
    return _Fitted(images, size, channels, grid)


class _Fitted(torch.utils.data.Dataset[Tensor]):
    """Images brought to a size and number of channels one by one, as they are read."""

    def __init__(self, images: Any, size: int | None, channels: int | None, grid: int):
        self.images, self.size, self.channels, self.grid = images, size, channels, grid

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return resize(to_channels(self.images[index].unsqueeze(0), self.channels), self.size, self.grid)[0]
