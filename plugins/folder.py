"""A user's own images, in the layouts in which people keep them: a folder, a zip, a tar or an `.npz`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from PIL import ImageColor
from pydantic import AfterValidator, Field

import ganzoo
from ganzoo.data import DatasetOptions, choose_options
from ganzoo.data.formats import read_pictures
from ganzoo.data.sides import SIDE_BY_SIDE, halves, in_proportion
from ganzoo.data.tree import Pictures, class_order, held_out, some
from ganzoo.errors import UsageError, note_once

if TYPE_CHECKING:
    from ganzoo.data.archives import Source
    from ganzoo.data.imagefiles import Half, Rule

OWN_SIZE_LIMIT = 128
"""Square images of one size up to this keep it by default; all else is brought to `DEFAULT_SIZE`."""
DEFAULT_SIZE = 64
SMALLEST = 8
"""Sides of images, as `--image-size` has it."""
TEST_SHARE, FEWEST_TO_SHARE = 0.1, 100
"""The share that is held out for tests unless told otherwise, where there are so many pictures."""
TWELVE_BITS = 4095
NARROW = (255, 1023, TWELVE_BITS)
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
    layout: Literal["auto", "folders", "pairs", "side-by-side"] = Field(
        "auto",
        description="auto: classes and splits are found in files and folders; folders: subfolders are classes whatever "
        "their names, in the order of text; pairs: folders A and B hold pairs of equal names; side-by-side: each "
        "picture holds a pair, A at its left, B at its right.",
    )
    direction: Literal["AtoB", "BtoA"] | None = Field(
        None, description="Of pictures of two kinds, A and B, which are to be made from which.  [default: AtoB]"
    )


class Folder(ganzoo.Dataset):
    """`--data-root PATH`: `PATH/CLASS/*.png` with labels, `PATH/*.png` without, or one of the layouts in docs/data.md.

    Pictures of two kinds, A and B, are images and what they are to be made from, in pairs or in two sets.

    Where the files are not split, a share of them is held out by a hash of each one's name.
    """

    name = "folder"
    summary = "your own images in --data-root: folders, zip, tar or .npz, with classes where there are any"
    Options = Options
    before = {"layout": "folders", "test_share": 0}

    @staticmethod
    def pictures(root: Path, options: Options) -> Pictures:
        """As `pictures` finds them."""
        return pictures(root, options)

    @staticmethod
    def rule(found: Pictures, options: Options, notes: list[str]) -> "Rule":
        """As a run decodes them."""
        from ganzoo.data.imagefiles import any_wide

        return rule_of(found, any_wide(found.all_of_them().sources), options, notes)

    @staticmethod
    def splits(found: Pictures, options: Options) -> list[str]:
        """The split of each in a run, `train` or `test`; all are `train` where nothing is held out."""
        if found.splits is not None:
            return found.splits
        held = {*split(found, "test", options.test_share)[1].names}
        return ["test" if name in held and len(held) < len(found) else "train" for name in found.names]

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        from ganzoo.data.imagefiles import Rule, load_files

        options, root = choose_options(self, request.options), request.root
        if root is None:
            raise UsageError("data set 'folder' needs --data-root PATH: the folder, zip, tar or .npz with your images")
        found = pictures(root, options)
        if found.others is not None:
            return unpaired(found, request, options, root)
        train, chosen, told = split(found, request.split, options.test_share)
        whole = len(train) == len(found)
        notes = [*found.notes, *told]
        train, chosen = readable(train, chosen, options, notes, root)
        try:
            size, channels, rule = settled(train, found, request, options, notes)
            half = sides_of(options)
            up, down = proportion(train, options, root)
            if chosen is not train and proportion(chosen, options, root) != (up, down):
                raise UsageError(f"pairs of the test split in {root} are not in the proportion of the training pairs")
            images = load_files(chosen.sources, size, channels, rule, half[1], up)
            sources = None
            if chosen.partners is not None:
                side = times(size, up, down)
                depth = channels_of_sources(train, channels, request, options, notes)
                sources = load_files(chosen.partners, side, depth, rule, half[0], down)
        except UsageError as error:
            left = train if options.skip_broken else found
            raise all_broken(left, Rule(options.background, options.white), error) from error
        classes = class_order(set(train.labels or ()))
        if options.layout == "folders":
            classes = tuple(sorted(classes))
        elif alone := [name for name, count in Counter(train.labels or ()).items() if count == 1]:
            notes.append(f"classes with one picture in training ({len(alone):,}): {some(alone)}")
        for line in notes:
            note_once(line if str(root) in line else f"{root}: {line}")
        kind = "" if found.splits is not None or request.split == "train" else "train" if whole else "held-out"
        if chosen.labels is None:
            return ganzoo.ImageSet(images, sources=sources, split=kind)
        number = {name: i for i, name in enumerate(classes)}
        labels = torch.tensor([number[name] for name in chosen.labels])
        return ganzoo.ImageSet(images, labels, classes, sources=sources, split=kind)


def pictures(root: Path, options: Options) -> Pictures:
    """What is there, as the options say to take it; of two kinds of pictures, B to be made from A unless turned.

    Raises:
        UsageError: as `read_pictures`; or a direction is given where there are no two kinds.
    """
    layout = options.layout
    found = read_pictures(
        root, options.label_column, options.skip_unlabelled, layout == "folders", pairs=layout == "pairs"
    )
    if options.layout == SIDE_BY_SIDE:
        found.partners = found.sources
        found.format += ", each with A at its left and B at its right"
    elif layout == "pairs" and found.partners is None:
        raise UsageError(f"--layout pairs: {root} is no folder, zip or tar of pictures in folders A and B")
    if found.partners is None and found.others is None:
        if options.direction is not None:
            raise UsageError(
                f"--direction is for pictures of two kinds: {root} has no trainA and trainB; pairs in folders A and B "
                "are --layout pairs, pairs in one picture --layout side-by-side"
            )
        return found
    return found.turned() if options.direction == "BtoA" else found


def sides_of(options: Options) -> tuple["Half", "Half"]:
    """Which half of a picture is the source, and which the image."""
    if options.layout != SIDE_BY_SIDE:
        return "", ""
    return ("right", "left") if options.direction == "BtoA" else ("left", "right")


def proportion(found: Pictures, options: Options, root: Path) -> tuple[int, int]:
    """How many times images, and sources, are the larger of a pair.

    Raises:
        UsageError: some pairs are of unequal size.
    """
    from ganzoo.data.imagefiles import sizes_of

    if found.partners is None:
        return 1, 1
    sizes = sizes_of(found.sources)
    if options.layout == SIDE_BY_SIDE:
        halves(sizes, found.names, str(root))
        return 1, 1
    return in_proportion(sizes_of(found.partners), sizes, found.names, str(root))


def times(size: int, up: int, down: int) -> int:
    """The side of sources of images that are `size` square.

    Raises:
        UsageError: it is no whole number.
    """
    if size % up:
        raise UsageError(f"images are {up} times as large as their sources: --image-size must be a multiple of {up}")
    return size // up * down


def channels_of_sources(
    train: Pictures, channels: int, request: ganzoo.DataRequest, options: Options, notes: list[str]
) -> int:
    """Of their own, unless `--channels` says it of both sides."""
    from ganzoo.data.imagefiles import survey

    held = train.partners if train.others is None else train.others.sources
    if request.channels or options.layout == SIDE_BY_SIDE or held is None:
        return channels
    depth = 1 if survey(held).grey else 3
    if depth != channels:
        name = {1: "grey", 3: "in colour"}
        notes.append(f"sources are {name[depth]}, images {name[channels]}: --channels 1 or 3 brings both to one")
    return depth


def unpaired(found: Pictures, request: ganzoo.DataRequest, options: Options, root: Path) -> ganzoo.ImageSet:
    """Two sets without pairs, both at the size that suits the images.

    Raises:
        UsageError: as `Folder.load`.
    """
    from ganzoo.data.imagefiles import Rule, load_files

    notes, kinds, parts = list(found.notes), set[str](), []
    sides = replace(found, others=None), found.others
    trains = []
    for side in sides:
        assert side is not None
        train, chosen, told = split(side, request.split, options.test_share)
        train, chosen = readable(train, chosen, options, notes, root)
        notes += [line for line in told if line not in notes]
        if side.splits is None and request.split == "test":
            kinds.add("train" if len(train) == len(side) else "held-out")
        trains.append(train)
        parts.append(chosen)
    try:
        size, channels, rule = settled(trains[0], found, request, options, notes)
        depth = channels_of_sources(replace(trains[0], others=trains[1]), channels, request, options, notes)
        held = [load_files(part.sources, size, c, rule) for part, c in zip(parts, (channels, depth), strict=True)]
    except UsageError as error:
        raise all_broken(found, Rule(options.background, options.white), error) from error
    for line in notes:
        note_once(line if str(root) in line else f"{root}: {line}")
    return ganzoo.ImageSet(held[0], sources=held[1], paired=False, split=min(kinds, default=""))


def settled(
    train: Pictures, found: Pictures, request: ganzoo.DataRequest, options: Options, notes: list[str]
) -> tuple[int, int, "Rule"]:
    """Side, channels and rule of decoding, so that both splits come out alike.

    Side and channels are told of the training images, the rule of all.
    """
    from ganzoo.data.imagefiles import SURVEYED, any_wide, sizes_of, survey

    seen = survey(train.sources)
    if options.layout == "folders" and options.test_share == 0:  # As version 0.1.0, whose runs go on so.
        part = survey(train.sources[:: -(-len(train) // SURVEYED)])
        if (natural_size(part.sizes), part.grey) != (natural_size(seen.sizes), seen.grey):
            notes.append(
                f"size and colour are told of {SURVEYED} pictures or fewer, as in version 0.1.0, and others differ: "
                "say them with --image-size and --channels"
            )
        seen = seen._replace(sizes=part.sizes, grey=part.grey)
    if options.layout == SIDE_BY_SIDE:
        seen = seen._replace(sizes={(width // 2, height) for width, height in sizes_of(train.sources)})
    coloured = seen.transparent and len(set(ImageColor.getrgb(options.background)[:3])) > 1
    channels = request.channels or (1 if seen.grey and not coloured else 3)
    size = request.image_size or natural_size(seen.sizes)
    small = min(min(sides) for sides in seen.sizes)
    if small < size:
        notes.append(
            f"some pictures are smaller than {size} x {size} (the smallest side: {small} pixels) and are enlarged: "
            f"--image-size {max(SMALLEST, small)} would enlarge {'none' if small >= SMALLEST else 'fewer'}"
        )
    if seen.transparent:
        own = ", whose own transparency is dropped" if len(ImageColor.getrgb(options.background)) == 4 else ""
        notes.append(f"transparent pixels are laid on {options.background} (--background){own}")
    elif "background" in options.model_fields_set:
        notes.append(f"--background {options.background} is not used: no picture is transparent")
    if seen.unseen and not request.channels and channels == 1:
        notes.append(
            f"pictures are taken for grey after a look at {SURVEYED} or fewer of those stored in colour, and not at "
            f"{seen.unseen:,} others: --channels 3 if some of them show any"
        )
    if seen.several:
        notes.append(f"of {seen.several:,} pictures with several frames or pages the first is taken")
    looked_at = {*map(id, train.sources)}
    others = [source for source in found.all_of_them().sources if id(source) not in looked_at]
    return size, channels, rule_of(found, seen.wide or any_wide(others), options, notes)


def rule_of(found: Pictures, wide: bool, options: Options, notes: list[str]) -> "Rule":
    """How pixels become 8 bits; `wide` says whether some have more, `notes` are added to."""
    from ganzoo.data.imagefiles import Rule

    if options.white and not wide:
        notes.append(f"--white {options.white:g} is not used: no picture has more than 8 bits")
    return Rule(options.background, options.white or (narrow(found.all_of_them().sources, notes) if wide else None))


def split(found: Pictures, wanted: str, share: float | None) -> tuple[Pictures, Pictures, list[str]]:
    """The training pictures, those of the split that is wanted, and what to say of it."""
    if found.splits is not None:
        if share is not None and share > 0:
            raise UsageError("--test-share is for pictures that are not split: these have a test split of their own")
        parts = {s: found.at([i for i, of in enumerate(found.splits) if of == s]) for s in ("train", "test")}
        if found.labels is not None and (odd := set(parts["test"].labels or ()) - set(parts["train"].labels or ())):
            raise UsageError(f"the test split has classes that the training split has not: {some(class_order(odd))}")
        return parts["train"], parts[wanted], []
    asked = share is not None
    if share is None:
        share = TEST_SHARE if len(found) >= FEWEST_TO_SHARE else 0
    none = "there is no test split: what is measured is measured against training pictures"
    if not share:
        return found, found, [none]
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
        if not spare and asked:
            raise UsageError(
                f"--test-share {share:g}: no picture can be held out, for each is the only one of its class: "
                "--test-share 0 holds out none"
            )
        if not spare:
            return found, found, [none]
        test = {min(spare, key=places.__getitem__)}
    train = found.at([i for i in range(len(found)) if i not in test])
    held = found.at(sorted(test))
    told = f"{len(held):,} of {len(found):,} pictures are held out as the test split (--test-share {share:g})"
    return train, train if wanted == "train" else held, [told]


def narrow(sources: "Sequence[Source]", notes: list[str]) -> float | None:
    """The white of 16-bit pictures whose values never come near it."""
    from ganzoo.data.imagefiles import brightest

    found = brightest(sources)
    if not found:
        return None
    most = max(found)
    white = next((white for white in NARROW if most <= white), None)
    if white is not None:
        notes.append(
            f"values in 16-bit pictures go up to {most:,} alone: {white:,} is taken for white (--white 65535 leaves "
            "them as they are)"
        )
    elif dark := sum(0 < value <= TWELVE_BITS for value in found):
        notes.append(
            f"{dark:,} of {len(found):,} pictures of 16 bits hold no value above {TWELVE_BITS:,}, as those of 12 bits "
            "do: they are dark beside the others; if they are not meant to be, convert them apart "
            f"(ganzoo data convert ... --white {TWELVE_BITS} --image-size SIZE)"
        )
    return white


def natural_size(sizes: set[tuple[int, int]]) -> int:
    """The side that images get when none is asked for."""
    if len(sizes) == 1:
        [(width, height)] = sizes
        if width == height and SMALLEST <= width <= OWN_SIZE_LIMIT:
            return width
    return DEFAULT_SIZE


def readable(
    train: Pictures, chosen: Pictures, options: Options, notes: list[str], root: Path
) -> tuple[Pictures, Pictures]:
    """The training pictures and those of a split, which may be the same, without broken ones if these are left out."""
    if not options.skip_broken:
        return train, chosen
    left = without_broken(train, options, notes, root)
    if lost := class_order(set(train.labels or ()) - set(left.labels or ())):
        notes.append(f"classes of which no picture is left ({len(lost):,}): {some(lost)}")
    if chosen is train:
        return left, left
    held = without_broken(chosen, options, notes, root, " of the test split")
    if left.labels is not None and (odd := set(held.labels or ()) - set(left.labels)):
        raise UsageError(
            f"the training pictures of {some(class_order(odd))} in {root} are all broken, and those for tests are not: "
            "mend one, or leave the class out"
        )
    return left, held


def without_broken(part: Pictures, options: Options, notes: list[str], root: Path, of: str = "") -> Pictures:
    """Those that can be read; `of`: which they are. What only lacks `--white` is not broken, and is told later."""
    from ganzoo.data.imagefiles import Rule, broken_files

    rule = Rule(options.background, options.white or 1)
    broken, told = broken_files(part.sources, rule), "pictures cannot be read and are left out"
    if part.partners is not None and options.layout != SIDE_BY_SIDE:
        broken |= broken_files(part.partners, rule)
        told = "pairs are left out, for one of their pictures cannot be read"
    if not broken:
        return part
    names = [part.names[i] for i in sorted(broken)]
    if len(broken) == len(part):
        first = next(iter(broken.values()))
        raise UsageError(f"none of the {len(part):,} pictures{of} in {root} can be read: {first}")
    line = f"{len(broken):,} of {len(part):,} {told}: {', '.join(names)}"
    if line not in notes:
        notes.append(line)
    return part.at([i for i in range(len(part)) if i not in broken])


def all_broken(found: Pictures, rule: "Rule", first: UsageError) -> UsageError:
    """The error that counts all broken pictures, where one was found; else the first as it is."""
    from ganzoo.data.imagefiles import broken_files

    found = found.all_of_them()
    broken = broken_files(found.sources, rule)
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
