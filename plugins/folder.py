"""A user's own images, in the layouts in which people keep them: a folder, a zip, a tar or an `.npz`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from PIL import ImageColor
from pydantic import AfterValidator, Field

import ganzoo
from ganzoo.data import DatasetOptions, choose_options
from ganzoo.data.formats import Pictures, class_order, held_out, read_pictures, some
from ganzoo.errors import UsageError, note_once

if TYPE_CHECKING:
    from ganzoo.data.imagefiles import Rule

OWN_SIZE_LIMIT = 128
"""Square images of one size up to this keep it by default; all else is brought to `DEFAULT_SIZE`."""
DEFAULT_SIZE = 64
TEST_SHARE, FEWEST_TO_SHARE = 0.1, 100
"""The share that is held out for tests unless told otherwise, where there are so many pictures."""
NARROW = (255, 1023, 4095)
"""The white of 8, 10 and 12 bits: values in 16 that never exceed one of them were never meant to fill 16."""


def colour(value: str) -> str:
    """Raises ValueError where it is no colour."""
    try:
        ImageColor.getrgb(value)
    except ValueError:
        raise ValueError("write white, black or #RRGGBB") from None
    return value


class Options(DatasetOptions):
    """How to take the pictures."""

    label_column: str | None = Field(
        None, description="The column with the classes, of a metadata or CSV file; none: no column has them."
    )
    skip_unlabelled: bool = Field(False, description="Leave out pictures without a label, where others have one.")
    skip_broken: bool = Field(False, description="Leave out pictures that cannot be read, and list them.")
    test_share: float | None = Field(
        None,
        ge=0,
        le=0.9,
        description="Share of the pictures that is held out as the test split where the files have none; default: "
        f"{TEST_SHARE} of {FEWEST_TO_SHARE} pictures or more.",
    )
    background: Annotated[str, AfterValidator(colour)] = Field(
        "white", description="What transparent pixels are laid on: white, black or #RRGGBB."
    )
    white: float | None = Field(
        None, gt=0, description="The value that is white in pictures of more than 8 bits; default: told of 16 bits."
    )
    layout: Literal["auto", "folders"] = Field(
        "auto",
        description="auto: classes and splits are found in files and folders; folders: subfolders are classes whatever "
        "their names, in the order of text.",
    )


class Folder(ganzoo.Dataset):
    """`--data-root PATH`: `PATH/CLASS/*.png` with labels, `PATH/*.png` without, or one of the layouts in docs/data.md.

    Where the files are not split, a share of them is held out by a hash of each one's name.
    """

    name = "folder"
    summary = "your own images in --data-root: folders, zip, tar or .npz, with classes where there are any"
    Options = Options
    before = {"layout": "folders", "test_share": 0}

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        from ganzoo.data.imagefiles import Rule, load_files

        options, root = choose_options(self, request.options), request.root
        if root is None:
            raise UsageError("data set 'folder' needs --data-root PATH: the folder, zip, tar or .npz with your images")
        found = read_pictures(root, options.label_column, options.skip_unlabelled, options.layout == "folders")
        train, chosen, told = split(found, request.split, options.test_share)
        whole = len(train) == len(found)
        notes = [*found.notes, *told]
        if options.skip_broken:
            same, train = chosen is train, without_broken(train, options, notes, root)
            chosen = train if same else without_broken(chosen, options, notes, root)
        try:
            size, channels, rule = settled(train, request, options, notes)
            images = load_files(chosen.sources, size, channels, rule)
        except UsageError as error:
            raise all_broken(found, Rule(options.background, options.white), error) from error
        classes = class_order(set(train.labels or ()))
        if options.layout == "folders":
            classes = tuple(sorted(classes))
        elif alone := [name for name, count in Counter(train.labels or ()).items() if count == 1]:
            notes.append(f"classes with one picture in training ({len(alone):,}): {some(alone)}")
        for line in notes:
            note_once(line if str(root) in line else f"{root}: {line}")
        kind = "" if found.splits is not None or request.split == "train" else "train" if whole else "held-out"
        if chosen.labels is None:
            return ganzoo.ImageSet(images, split=kind)
        number = {name: i for i, name in enumerate(classes)}
        return ganzoo.ImageSet(images, torch.tensor([number[name] for name in chosen.labels]), classes, split=kind)


def settled(
    train: Pictures, request: ganzoo.DataRequest, options: Options, notes: list[str]
) -> tuple[int, int, "Rule"]:
    """Side, channels and rule of decoding. Always told of the training images, so that both splits come out alike."""
    from ganzoo.data.imagefiles import Rule, survey

    seen = survey(train.sources)
    white = options.white or (narrow(train, notes) if seen.wide else None)
    channels = request.channels or (1 if seen.grey else 3)
    size = request.image_size or natural_size(seen.sizes)
    small = min(min(sides) for sides in seen.sizes)
    if small < size:
        notes.append(
            f"some pictures are smaller than {size} x {size} (the smallest side: {small} pixels) and are enlarged: "
            f"--image-size {max(8, small)} would enlarge {'none' if small >= 8 else 'fewer'}"
        )
    if seen.transparent:
        notes.append(f"transparent pixels are laid on {options.background} (--background)")
    return size, channels, Rule(options.background, white)


def split(found: Pictures, wanted: str, share: float | None) -> tuple[Pictures, Pictures, list[str]]:
    """The training pictures, those of the split that is wanted, and what to say of it."""
    if found.splits is not None:
        if share is not None and share > 0:
            raise UsageError("--test-share is for pictures that are not split: these have a test split of their own")
        parts = {s: found.at([i for i, of in enumerate(found.splits) if of == s]) for s in ("train", "test")}
        if found.labels is not None and (odd := set(parts["test"].labels or ()) - set(parts["train"].labels or ())):
            raise UsageError(f"the test split has classes that the training split has not: {some(class_order(odd))}")
        return parts["train"], parts[wanted], []
    if share is None:
        share = TEST_SHARE if len(found) >= FEWEST_TO_SHARE else 0
    if not share:
        return found, found, ["there is no test split: what is measured is measured against training pictures"]
    places = [held_out(name) for name in found.names]
    test = {i for i, place in enumerate(places) if place < share}
    by_class: dict[str, list[int]] = {}
    for i, name in enumerate(found.labels or [""] * len(found)):
        by_class.setdefault(name, []).append(i)
    for members in by_class.values():  # None may be missing from training.
        if all(i in test for i in members):
            test.discard(max(members, key=places.__getitem__))
    if not test:
        spare = [i for members in by_class.values() if len(members) > 1 for i in members]
        if not spare:
            raise UsageError(f"--test-share {share:g}: {len(found)} pictures cannot be split")
        test = {min(spare, key=places.__getitem__)}
    train = found.at([i for i in range(len(found)) if i not in test])
    held = found.at(sorted(test))
    told = f"{len(held):,} of {len(found):,} pictures are held out as the test split (--test-share {share:g})"
    return train, train if wanted == "train" else held, [told]


def narrow(train: Pictures, notes: list[str]) -> float | None:
    """The white of 16-bit pictures whose values never come near it."""
    from ganzoo.data.imagefiles import brightest

    most = brightest(train.sources)
    white = next((white for white in NARROW if most is not None and most <= white), None)
    if white is not None:
        notes.append(
            f"values in 16-bit pictures go up to {most:,} alone: {white:,} is taken for white (--white 65535 leaves "
            "them as they are)"
        )
    return white


def natural_size(sizes: set[tuple[int, int]]) -> int:
    """The side that images get when none is asked for."""
    if len(sizes) == 1:
        [(width, height)] = sizes
        if width == height <= OWN_SIZE_LIMIT:
            return width
    return DEFAULT_SIZE


def without_broken(part: Pictures, options: Options, notes: list[str], root: Path) -> Pictures:
    """Those of them that can be read. What only lacks `--white` is not broken, and is told later."""
    from ganzoo.data.imagefiles import Rule, faults

    broken = faults(part.sources, Rule(options.background, options.white or 1))
    if not broken:
        return part
    names = [part.names[i] for i in broken]
    if len(broken) == len(part):
        raise UsageError(f"none of the {len(part):,} pictures in {root} can be read: {next(iter(broken.values()))}")
    line = f"{len(broken):,} of {len(part):,} pictures cannot be read and are left out: {', '.join(names)}"
    if line not in notes:
        notes.append(line)
    return part.at([i for i in range(len(part)) if i not in broken])


def all_broken(found: Pictures, rule: "Rule", first: UsageError) -> UsageError:
    """The error that counts all broken pictures, where one was found; else the first as it is."""
    from ganzoo.data.imagefiles import faults

    broken = faults(found.sources, rule)
    if not broken:
        return first
    if len(broken) == 1:
        return UsageError(f"{next(iter(broken.values()))}; --skip-broken leaves it out")
    names = some([found.names[i] for i in broken])
    if len(broken) == len(found):
        return UsageError(f"none of the {len(found):,} pictures can be read ({names}): {next(iter(broken.values()))}")
    return UsageError(
        f"{len(broken):,} of {len(found):,} pictures cannot be read ({names}): {next(iter(broken.values()))}; mend "
        "them, or leave them out with --skip-broken"
    )


@ganzoo.hookimpl
def register_datasets(register):
    register(Folder)
