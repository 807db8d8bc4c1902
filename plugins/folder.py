"""A user's own images: a folder of them, or a folder with one subfolder for each class."""

import os
from itertools import chain
from pathlib import Path

import torch

import ganzoo
from ganzoo.errors import UsageError

OWN_SIZE_LIMIT = 128
"""Square images of one size up to this keep it by default; all else is brought to `DEFAULT_SIZE`."""
DEFAULT_SIZE = 64

FLAT = ""
"""Stands for the class of images that have none."""


class Folder(ganzoo.Dataset):
    """`--data-root DIR`: `DIR/CLASS/*.png` with labels, or `DIR/*.png` without.

    When DIR holds both `train` and `test`, each split is read from its own folder; otherwise both are all of DIR.
    """

    name = "folder"
    summary = "your own images in --data-root: one subfolder per class, or all in one folder without labels"

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        from ganzoo.data.imagefiles import load_files, survey

        train, chosen = _splits(_root(request.root), request.split)
        size, channels = request.image_size, request.channels
        if size is None or channels is None:
            # Always of the training images, so that both splits come out alike.
            seen = survey(list(chain.from_iterable(train.values())))
            channels = channels or (1 if seen.grey else 3)
            size = size or _natural_size(seen.sizes)
        images = load_files(list(chain.from_iterable(chosen.values())), size, channels)
        if FLAT in train:
            return ganzoo.ImageSet(images)
        classes = tuple(train)
        labels = [classes.index(name) for name, files in chosen.items() for _ in files]
        return ganzoo.ImageSet(images, torch.tensor(labels), classes)


def _root(root: Path | None) -> Path:
    if root is None:
        raise UsageError("data set 'folder' needs --data-root DIR, the folder with your images")
    if not root.is_dir():
        raise UsageError(f"--data-root {root} is not a folder" if root.exists() else f"there is no folder {root}")
    return root


def _splits(root: Path, split: str) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The training images, and those of the split that is asked for."""
    if not ((root / "train").is_dir() and (root / "test").is_dir()):
        train = find(root)
        return train, train
    train = find(root / "train")
    if split == "train":
        return train, train
    test = find(root / "test")
    if (FLAT in train) != (FLAT in test):
        raise UsageError(f"of {root / 'train'} and {root / 'test'}, one has a folder for each class, the other not")
    strange = [name for name in test if name not in train]
    if strange:
        raise UsageError(f"{root / 'test'} has classes that are not in {root / 'train'}: {', '.join(strange)}")
    return train, test


def _natural_size(sizes: set[tuple[int, int]]) -> int:
    if len(sizes) == 1:
        [(width, height)] = sizes
        if width == height <= OWN_SIZE_LIMIT:
            return width
    return DEFAULT_SIZE


def find(root: Path) -> dict[str, list[Path]]:
    """The images of each class below `root`, sorted by name; all under `FLAT` when they lie in `root` itself.

    Hidden files and folders, and folders without images, are left out.

    Raises:
        UsageError: there are none; or some lie beside the class folders, so that it is not clear what is meant.
    """
    from ganzoo.data.imagefiles import ENDINGS

    links: list[str] = []
    classes: dict[str, list[Path]] = {}
    try:
        # Links to folders are not followed: they may lead out of the folder, or in a circle.
        for folder, subfolders, names in os.walk(root, onerror=_raise):
            here = Path(folder)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            links += [name for name in subfolders if (here / name).is_symlink()]
            images = [here / n for n in sorted(names) if not n.startswith(".") and n.lower().endswith(ENDINGS)]
            if images:
                name = FLAT if here == root else here.relative_to(root).parts[0]
                classes.setdefault(name, []).extend(images)
    except OSError as error:
        raise UsageError(f"cannot read folder {error.filename or root}: {error.strerror or error}") from error
    if FLAT in classes and len(classes) > 1:
        raise UsageError(
            f"{root} holds images ({classes[FLAT][0].name}, ...) beside folders of images ({sorted(classes)[1]}, ...): "
            "leave only the folders, one for each class, or only the images, without classes"
        )
    if not classes:
        hint = f"; links to folders ({links[0]}, ...) are not followed" if links else ""
        raise UsageError(f"no images in {root} (looked for {' '.join(ENDINGS)}){hint}")
    return {name: classes[name] for name in sorted(classes)}


def _raise(error: OSError) -> None:
    raise error


@ganzoo.hookimpl
def register_datasets(register):
    register(Folder)
