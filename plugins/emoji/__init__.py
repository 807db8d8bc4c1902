"""Emoji: the same 1,871 in two styles of drawing, in colour, embedded; README.md says whose they are."""

import csv
import hashlib
import io
from collections.abc import Sequence
from importlib import resources
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo.data import Attribute, DatasetOptions, choose_options
from ganzoo.errors import GanzooError, one_line
from ganzoo.metrics.classifier import Embedded

STYLES = ("noto", "twemoji")
CLASSES = ("smileys", "people", "animals", "food", "travel", "activities", "objects", "symbols", "flags")
"""Unicode's groups, in its order."""
SHA256 = {
    "emoji.csv": "3ed9e9960539fb474e94b7ec669c2970ba735cbabebe6bf6d0f2fe8d647b0a41",
    "keywords.csv": "99f7a2fe5a64eeeb020ce21a2e3edd538e201319d06b271330ca6902f0408a1b",
    "noto.png": "7719087548acccd9081cb1bee1ee4fb5511abcaec958c2f464e755d82fbc2329",
    "tags.npz": "9190080d340146a0e604280421279b1f6b290d694dbe39c6de51aeffa2a54444",
    "twemoji.png": "dbd202297ee7605431f8c1536e15ef20b1a96b262455814c1a46795727be0afd",
}
"""Of the bytes of a file, and of the pixels of the sheets."""
STEPS = 16
"""Into which a feature's unit is divided: in the file of tags features are whole numbers of them, up to 255."""
SEEN = tuple(Attribute(f"feature {i}", 0.0, 255 / STEPS, "what the extractor sees in the picture") for i in range(128))
"""What the condition of a word vector is made of."""


class Emoji(NamedTuple):
    """A row of the table."""

    place: int
    """In the sheets of both styles, row by row."""
    code_points: str
    """Such as `1F3C3-200D-2640-FE0F`."""
    label: int
    split: str
    half: int
    """0 or 1: of the training emoji, each half serves as one side of the unpaired set."""
    name: str


class Options(DatasetOptions):
    """Which of them to take."""

    style: Literal["noto", "twemoji", "both"] = Field(
        "both", description="Whose drawings: Google's (noto), those that Twitter had made (twemoji), or both."
    )


BOTH = (
    "Noto Emoji by Google, Apache License 2.0, and Twemoji by Twitter, Inc. and other contributors, CC BY 4.0; "
    "resized, on white."
)
"""Whose the pictures of both styles are."""


class EmojiPictures(ganzoo.Dataset):
    """The emoji in one style, or in both, one after the other; `--data-root` has no say."""

    name = "emoji"
    attribution = BOTH
    summary = "emoji of two styles, 32 x 32 colour, 9 classes, 3,374 + 368 images; embedded"
    takes_root = False
    Options = Options

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        style = choose_options(self, request.options).style
        return drawn(STYLES if style == "both" else (style,), request.split)


class EmojiNoto(ganzoo.Dataset):
    """Those that Google drew: `--dataset emoji --style noto` by a name of its own."""

    name = "emoji-noto"
    attribution = "Noto Emoji by Google, Apache License 2.0; resized, on white."
    summary = "the emoji of Noto, 32 x 32 colour, 9 classes, 1,687 + 184 images; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        return drawn(("noto",), request.split)


class EmojiTwemoji(ganzoo.Dataset):
    """Those that Twitter had drawn: `--dataset emoji --style twemoji` by a name of its own."""

    name = "emoji-twemoji"
    attribution = "Twemoji by Twitter, Inc. and other contributors, CC BY 4.0; resized, on white."
    summary = "the emoji of Twemoji, 32 x 32 colour, 9 classes, 1,687 + 184 images; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        return drawn(("twemoji",), request.split)


class EmojiStyles(ganzoo.Dataset):
    """Each emoji of Noto, to be made from the one of Twemoji."""

    name = "emoji-styles"
    attribution = BOTH
    summary = "the emoji of Noto, each with the one of Twemoji as the source to make it from; 9 classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        emoji = [e for e in table() if e.split == request.split]
        images, sources = (pictures(style, emoji) for style in STYLES)
        return ganzoo.ImageSet(images, labels(emoji), CLASSES, sources=sources)


class EmojiStylesUnpaired(ganzoo.Dataset):
    """Noto's emoji, and Twemoji's as another set: in training no emoji is in both.

    The test split has all held-out emoji on both sides, in the same order, so that a translation can be held against
    what was drawn.
    """

    name = "emoji-styles-unpaired"
    attribution = BOTH
    summary = "half the emoji of Noto, to be made from the other half of Twemoji: no pairs; 9 classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        emoji = [e for e in table() if e.split == request.split]
        ours, theirs = ([e for e in emoji if request.split == "test" or e.half == side] for side in (0, 1))
        images, sources = pictures("noto", ours), pictures("twemoji", theirs)
        return ganzoo.ImageSet(images, labels(ours), CLASSES, sources=sources, paired=False)


class EmojiTags(ganzoo.Dataset):
    """What Mirza & Osindero 2014 train on in section 4.2, of emoji: word vectors, each under the condition of what an
    extractor sees in a picture that the word tags. A picture comes once for each of its words.
    """

    name = "emoji-tags"
    attribution = BOTH
    summary = "word vectors of the keywords of emoji, each with the features of the picture as its condition; embedded"
    takes_root = False
    Options = Options

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        style = choose_options(self, request.options).style
        names, vectors, features = tags()
        place = {word: i for i, word in enumerate(names)}
        pictures, chosen = tagged(STYLES if style == "both" else (style,), request.split), []
        for i, picture in enumerate(pictures):
            chosen += [(i, place[word]) for word in picture.keywords if word in place]
        index, word = torch.tensor(chosen).T
        conditions = torch.stack([features[picture.style][picture.emoji.place] for picture in pictures])
        words = ganzoo.Words(names, vectors, word)
        return ganzoo.ImageSet(vectors[word], conditions[index], attributes=SEEN, words=words)


class EmojiFeatures(Embedded):
    """128 features of a convnet trained on `emoji`; docs/metrics.md has the command."""

    name = "emoji"
    summary = "128 features of a small convnet that classifies emoji of both styles; 32 x 32 colour; embedded"
    datasets = ("emoji", "emoji-noto", "emoji-twemoji", "emoji-styles", "emoji-styles-unpaired")


def table() -> list[Emoji]:
    """All emoji, in the order of the sheets: by class, then as keyboards have them.

    Raises:
        GanzooError: the embedded file is missing or damaged.
    """
    data = embedded("emoji.csv")
    check("emoji.csv", data)
    rows = csv.reader(io.StringIO(data.decode()))
    next(rows)  # The names of the columns.
    return [
        Emoji(place, codes, CLASSES.index(label), split, int(half), name)
        for place, (codes, label, split, half, name) in enumerate(rows)
    ]


class Tagged(NamedTuple):
    """A picture, and what it is tagged with."""

    style: str
    emoji: Emoji
    keywords: list[str]


def tagged(styles: Sequence[str], split: str) -> list[Tagged]:
    """The pictures of a split in these styles, one style after the other."""
    known = [(e, words) for e, words in zip(table(), keywords(), strict=True) if e.split == split]
    return [Tagged(style, e, words) for style in styles for e, words in known]


def keywords() -> list[list[str]]:
    """What each emoji is tagged with, in the order of the sheets.

    Raises:
        GanzooError: the embedded file is missing or damaged.
    """
    data = embedded("keywords.csv")
    check("keywords.csv", data)
    rows = csv.reader(io.StringIO(data.decode()))
    next(rows)  # The names of the columns.
    return [words.split() for _, words in rows]


def tags() -> tuple[tuple[str, ...], Tensor, dict[str, Tensor]]:
    """Words, their vectors, float (V, D), and of each style the features of all emoji, float (N, 128), as sheets go.

    Raises:
        GanzooError: the embedded file is missing or damaged.
    """
    data = embedded("tags.npz")
    check("tags.npz", data)
    with np.load(io.BytesIO(data)) as file:
        words, vectors = tuple(map(str, file["words"])), torch.from_numpy(file["vectors"]).float()
        features = torch.from_numpy(file["features"]).float() / STEPS
    return words, vectors, dict(zip(STYLES, features, strict=True))


def drawn(styles: Sequence[str], split: str) -> ganzoo.ImageSet:
    """The emoji of a split in these styles, one style after the other."""
    emoji = [e for e in table() if e.split == split]
    images = torch.cat([pictures(style, emoji) for style in styles])
    return ganzoo.ImageSet(images, labels(emoji).repeat(len(styles)), CLASSES)


def pictures(style: str, emoji: list[Emoji]) -> Tensor:
    """How these look in a style: uint8 (N, 3, 32, 32), on white.

    Raises:
        GanzooError: the embedded file is missing or damaged.
    """
    name = f"{style}.png"
    try:
        with Image.open(io.BytesIO(embedded(name))) as file:
            sheet = np.array(file)
    except (OSError, SyntaxError, ValueError) as error:  # A damaged PNG may be any of these to Pillow.
        raise GanzooError(f"the embedded file {name} is damaged ({one_line(error)}): reinstall ganzoo") from error
    check(name, sheet.tobytes())
    down, across = (side // 32 for side in sheet.shape[:2])
    cells = torch.from_numpy(sheet).view(down, 32, across, 32, 3).permute(0, 2, 4, 1, 3)
    return cells.reshape(down * across, 3, 32, 32)[[e.place for e in emoji]]


def labels(emoji: list[Emoji]) -> Tensor:
    """The classes of these, int64 (N,)."""
    return torch.tensor([e.label for e in emoji])


def embedded(name: str) -> bytes:
    """A file that lies beside this one.

    Raises:
        GanzooError: it is missing.
    """
    try:
        return resources.files(__name__).joinpath(name).read_bytes()
    except OSError as error:
        raise GanzooError(f"the embedded file {name} is missing: reinstall ganzoo") from error


def check(name: str, data: bytes) -> None:
    """Hold an embedded file against its hash.

    Raises:
        GanzooError: it is another.
    """
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise GanzooError(f"the embedded file {name} is damaged (its SHA-256 is wrong): reinstall ganzoo")


@ganzoo.hookimpl
def register_datasets(register):
    for dataset in (EmojiPictures, EmojiNoto, EmojiTwemoji, EmojiStyles, EmojiStylesUnpaired, EmojiTags):
        register(dataset)


@ganzoo.hookimpl
def register_metrics(register):
    register(EmojiFeatures)
