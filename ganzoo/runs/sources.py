"""What a model that translates starts from: a tensor, pictures in files, or the test split of the data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import (
    Batch,
    DataRequest,
    DataSpec,
    ImageSet,
    Made,
    Maker,
    examples_of,
    normalise,
    open_dataset,
    to_channels,
)
from ganzoo.data.archives import Source
from ganzoo.data.imagefiles import ENDINGS, ImageFiles, WholePictures, sizes_of, survey
from ganzoo.data.pixels import luma
from ganzoo.data.reading import fetch, whole
from ganzoo.data.tree import walked
from ganzoo.errors import UsageError, warn
from ganzoo.gan import GAN
from ganzoo.metrics.classifier import at_once
from ganzoo.plugins import Registry
from ganzoo.runs.folder import data_settings, model_of, open_run

TEST = "test"
"""What names the test split, among paths."""


@dataclass(frozen=True)
class Sources:
    """Images to start from, in order, of sizes and the number of channels that a model takes."""

    names: list[str]
    """What each is called, without an ending; folders in it are those that it lies in."""
    images: Any
    """uint8 (C, H, W) by index: a tensor, or a map-style dataset."""
    labels: Tensor | None = None
    """int64 (N,): the classes of what they are to become, where the data knows them."""
    alike: bool = True
    """Whether all are of one size."""

    def __len__(self) -> int:
        return len(self.names)

    def parts(self) -> Iterator[Tensor]:
        """All images, so many of one size at a time as memory is meant for: uint8 (N, C, H, W).

        Raises:
            UsageError, GanzooError: one of them cannot be read; it is named.
        """
        if not self.alike:
            yield from self._by_size()
            return
        size = at_once(*self.images[0].shape[1:])
        for start in range(0, len(self), size):
            index = list(range(start, min(start + size, len(self))))
            if isinstance(self.images, ImageFiles):
                files = self.images
                yield ImageFiles([files.paths[i] for i in index], files.size, files.channels).read_all()
            else:
                yield whole(fetch(self.images, index))

    def _by_size(self) -> Iterator[Tensor]:
        held: list[Tensor] = []
        for i in range(len(self)):
            image = self.images[i]
            if held and (image.shape != held[0].shape or len(held) >= at_once(*image.shape[1:])):
                yield torch.stack(held)
                held = []
            held.append(image)
        yield torch.stack(held)


def sources_of(
    given: str, run: Path, spec: DataSpec, plugins: Registry, most: int | None, any_size: Callable[[], bool]
) -> Sources:
    """What `--from` names, for a model trained on `spec`: up to `most` pictures of a file, a folder or the test split.

    Pictures keep their sizes where the model takes any, as `any_size` says; where it does not, their middle is brought
    to the size that it was trained on.

    Raises:
        UsageError: there is no such file or folder, no picture in it, two that would have one name, or no test split
            with sources; or a picture is smaller than those that the model was trained on.
        GanzooError: the data set cannot be had.
    """
    assert spec.source_shape is not None
    if given == TEST:
        return _of_test(run, spec, plugins, most)
    return _of_files(Path(given), spec, maker_of(run), most, any_size)


def maker_of(run: Path) -> Maker | None:
    """How the sources that a run was trained on were made of images, as its `--source` says; None where they were not.

    Raises:
        GanzooError: `run.json` is damaged.
    """
    named = data_settings(run, open_run(run)).source if (run / "run.json").is_file() else None
    return None if named is None else Maker.named(named)


def held_out(run: Path, spec: DataSpec, plugins: Registry, n: int) -> Batch:
    """Up to `n` samples of the test split with their sources, evenly spread over it, as `examples_of` has them.

    Raises:
        UsageError: there is no test split with sources of the shape that the model was trained on.
        GanzooError: the data set cannot be had.
    """
    return examples_of(_test_split(run, spec, plugins), spec, n)


def _test_split(run: Path, spec: DataSpec, plugins: Registry) -> ImageSet:
    known = data_settings(run, open_run(run))
    dataset = plugins.get("datasets", spec.name)()
    request = DataRequest("test", known.root, known.size, known.channels, known.options, known.source)
    data = model_of(run, open_run(run), plugins).sourced(open_dataset(dataset, request))
    sources: Any = data.sources
    if sources is None:
        raise UsageError(f"the test split of '{spec.name}' has no sources: say --from with a picture or a folder")
    if tuple(sources[0].shape) != spec.source_shape:
        raise UsageError(
            f"sources of '{spec.name}' are {tuple(sources[0].shape)} now, and were {spec.source_shape} in training"
        )
    return data


def _of_test(run: Path, spec: DataSpec, plugins: Registry, most: int | None) -> Sources:
    data = _test_split(run, spec, plugins)
    sources: Any = data.sources
    n = min(len(sources), most or len(sources))
    return Sources([f"{i:06d}" for i in range(n)], sources, _classes(data, n))


def _classes(data: ImageSet, n: int) -> Tensor | None:
    if data.source_labels is not None:
        return data.source_labels[:n]
    labels = data.labels
    return labels[:n] if data.paired and labels is not None and labels.dim() == 1 else None


def _of_files(
    path: Path, spec: DataSpec, maker: Maker | None, most: int | None, any_size: Callable[[], bool]
) -> Sources:
    paths: Sequence[Path]
    if path.is_dir():
        paths = pictures_in(path)[:most]
        names = [str(found.relative_to(path).with_suffix("")) for found in paths]
    elif path.exists():
        paths, names = [path], [path.stem]
    else:
        raise UsageError(f"--from {path}: there is no such picture or folder")
    first: dict[str, Path] = {}
    for name, found in zip(names, paths, strict=True):
        if name in first:
            raise UsageError(f"{first[name]} and {found.name} would both become {name}.png: rename one")
        first[name] = found
    return of_pictures(paths, names, spec, maker, any_size)


def of_pictures(
    paths: Sequence[Source], names: list[str], spec: DataSpec, maker: Maker | None, any_size: Callable[[], bool],
    tell: Callable[[str], None] = warn,
) -> Sources:  # fmt: skip
    """What a model trained on `spec` starts from, of pictures: as `sources_of` has it of files.

    `tell` is told, in a line each, what is done to pictures that nobody asked for.

    Raises:
        UsageError: one cannot be read, or is smaller than those that the model was trained on.
    """
    assert spec.source_shape is not None
    channels, height, width = spec.source_shape
    if maker is not None and maker.of_pictures:
        channels = spec.shape[0]
    seen, sizes = survey(paths), sizes_of(paths)
    own = set(sizes) == {(width, height)} or any_size()
    if own and (small := [i for i, (w, h) in enumerate(sizes) if w < width or h < height]):
        more = f" and {len(small) - 1} more" if len(small) > 1 else ""
        w, h = sizes[small[0]]
        raise UsageError(
            f"{paths[small[0]]}{more}: pictures of {w} x {h} pixels are too small: the model was trained on {width} x "
            f"{height}; enlarge them"
        )
    if not own and height != width:
        raise UsageError(
            f"the model takes images of {width} x {height} pixels alone, and pictures are brought to squares alone: "
            "bring them to that size"
        )
    if not own:
        tell(
            f"the model takes no other size than it was trained on: pictures are cropped to the square in their middle "
            f"and resized to {width} x {height} pixels"
        )
    if seen.grey != (channels == 1):
        have, take = ("grey", "colour") if seen.grey else ("colour", "grey")
        tell(f"{have} pictures are taken as {take}, which the model was trained on")
    alike = not own or len(set(sizes)) == 1
    keep = own and set(sizes) != {(height, height)}
    files: Any = WholePictures(paths, channels) if keep else ImageFiles(paths, height, channels)
    return Sources(names, Made(files, maker) if maker is not None and maker.of_pictures else files, None, alike)


def pictures_in(folder: Path) -> list[Path]:
    """All image files below a folder, as `walked` takes them.

    Raises:
        UsageError: there are none, or it cannot be read.
    """
    tree, notes = walked(folder)
    found = [folder / name for name in tree.pictures]
    for note in notes:
        warn(f"{folder}: {note}")
    if not found:
        raise UsageError(f"no images in {folder} (looked for {' '.join(ENDINGS)})")
    return found


def as_sources(gan: GAN, images: Any) -> Tensor:
    """Images as the generator of a model that translates takes them: float (N, C', H', W') in [-1, 1].

    Raises:
        UsageError: the model does not translate, or the images are none, of another kind, or too small.
    """
    shape = gan.data.source_shape
    if shape is None:
        raise UsageError(f"model '{gan.name}' does not make images from images: draw from it with sample")
    if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"images must be a tensor (N, C, H, W) with 1 or 3 channels, not {what}")
    if images.dtype == torch.uint8:
        floats = False
    elif images.is_floating_point():
        floats = True
        if not bool(((images >= -1) & (images <= 1)).all()):
            raise UsageError("images of floating-point numbers must lie in [-1, 1]; those in [0, 255] are uint8")
    else:
        raise UsageError(f"images must be uint8, or float in [-1, 1], not {str(images.dtype).removeprefix('torch.')}")
    channels, height, width = shape
    if images.shape[2] < height or images.shape[3] < width:
        raise UsageError(
            f"images of {images.shape[3]} x {images.shape[2]} pixels are too small: model '{gan.name}' was trained on "
            f"{width} x {height}"
        )
    if images.shape[1] != channels:
        have, take = ("grey", "colour") if images.shape[1] == 1 else ("colour", "grey")
        warn(f"{have} images are taken as {take}, which model '{gan.name}' was trained on")
        if floats:
            images = luma(images) if channels == 1 else images.expand(-1, 3, -1, -1)
        else:
            images = to_channels(images, channels)
    return images.float() if floats else normalise(images)
