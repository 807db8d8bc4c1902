"""Pictures in a folder or an archive by their names, before anything is known of what they are."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.data.archives import LARGEST_MEMBER, TAR, Source, members
from ganzoo.data.imagefiles import ENDINGS
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import regular

TRAINING = ("train", "training")
TESTING = ("test", "testing", "val", "valid", "validation")
"""Names of folders that are splits, in any case; of several test splits the first in this order is taken."""
TABLES = (".csv", ".tsv")
BESIDE = (*TABLES, ".json", ".jsonl", ".cls", ".parquet", *TAR)
"""What is looked at besides pictures."""
NAMED = 3
"""So many are named, where many are wrong."""
TEXT_AT_LEAST, TEXT_PER_PICTURE = 2**23, 2**12
"""Bytes that a text beside pictures may take, at least, and for each of them: once parsed it takes many times more."""


@dataclass
class Pictures:
    """Pictures in order, and what is known of each."""

    format: str
    """In words: what was recognised."""
    names: list[str]
    """Below the root, `/` between folders; each only once."""
    sources: list[Source]
    labels: list[str] | None = None
    """The class of each; None where there are none."""
    splits: list[str] | None = None
    """`train` or `test`, where the pictures are told apart."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of how they were taken, a line each."""
    partners: list[Source] | None = None
    """Of pairs: what each is to be made from."""
    others: "Pictures | None" = None
    """Of two sets without pairs: the pictures that these are to be made from."""

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: Sequence[int]) -> "Pictures":
        """Some of them."""
        return Pictures(
            self.format,
            [self.names[i] for i in index],
            [self.sources[i] for i in index],
            None if self.labels is None else [self.labels[i] for i in index],
            None if self.splits is None else [self.splits[i] for i in index],
            self.notes,
            None if self.partners is None else [self.partners[i] for i in index],
            self.others,
        )

    def turned(self) -> "Pictures":
        """The other way round: what these are made from, to be made from these."""
        if self.others is not None:
            return replace(self.others, format=self.format, notes=self.notes, others=replace(self, others=None))
        assert self.partners is not None
        return replace(self, sources=self.partners, partners=self.sources)

    def all_of_them(self) -> "Pictures":
        """Both sides, one after the other; pictures that hold both once."""
        if self.partners is not None and self.partners != self.sources:
            twice = None if self.splits is None else self.splits * 2
            labels = None if self.labels is None else self.labels * 2
            names = [f"{side}/{name}" for side in "AB" for name in self.names]
            return Pictures(self.format, names, [*self.partners, *self.sources], labels, twice, self.notes)
        if self.others is not None:
            splits = None if self.splits is None else [*(self.others.splits or ()), *self.splits]
            names, sources = self.others.names + self.names, self.others.sources + self.sources
            return Pictures(self.format, names, sources, None, splits, self.notes)
        return self


def class_order(names: "set[str]") -> tuple[str, ...]:
    """Class names in order: as numbers where all are whole numbers, else as text."""
    if all(re.fullmatch(r"\d{1,18}", name, re.ASCII) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def held_out(name: str) -> float:
    """A number in [0, 1) that follows from a picture's name alone: those below a share of it are held out."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:6]) / 2**48


def some(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(plain(name)[:80] for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


class Tree:
    """A folder's or an archive's files by their names, `/` between folders."""

    def __init__(self, kind: str, root: Path, files: dict[str, Source]):
        """`kind` is what it is, in words."""
        self.kind, self.root, self.files = kind, root, files
        self.pictures = [name for name in files if name.lower().endswith(ENDINGS)]

    def text(self, name: str, most: int | None = None) -> str:
        """A text file in it, of at most so many bytes; of as many as texts about these pictures can need.

        Raises:
            UsageError: it is too large, or no UTF-8.
        """
        source = self.files[name]
        if most is None:
            most = min(LARGEST_MEMBER, TEXT_AT_LEAST + TEXT_PER_PICTURE * len(self.pictures))
        try:
            with regular(source) if isinstance(source, Path) else source.open() as file:
                data = file.read(most + 1)
            if len(data) > most:
                raise UsageError(f"{source} takes more than {most:,} bytes, which is too much for these pictures")
            return data.decode("utf-8-sig")
        except (OSError, ValueError) as error:
            raise UsageError(f"{source} cannot be read: {one_line(error)}") from error


def walked(root: Path) -> tuple[Tree, list[str]]:
    """The files below a folder, hidden ones left out, folders in order; links to folders are not followed."""
    files: dict[str, Source] = {}
    links: list[str] = []
    try:
        for folder, subfolders, names in os.walk(root, onerror=_raise):
            here = Path(folder)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            links += [name for name in subfolders if (here / name).is_symlink()]
            below = here.relative_to(root)
            for name in sorted(names):
                if not name.startswith(".") and name.lower().endswith((*ENDINGS, *BESIDE)):
                    files[(below / name).as_posix()] = here / name
    except OSError as error:
        raise UsageError(f"cannot read folder {error.filename or root}: {error.strerror or error}") from error
    return Tree("a folder", root, files), [f"links to folders ({links[0]}, ...) are not followed"] if links else []


def _raise(error: OSError) -> None:
    raise error


def within(files: Any) -> dict[str, Source]:
    """An archive's files: hidden ones left out, and one folder around everything left away."""
    names = sorted(
        (name for name in files if not any(p.startswith((".", "__MACOSX")) for p in name.split("/"))),
        key=lambda name: (PurePosixPath(name).parent.parts, name),
    )
    kept = [name for name in names if name.lower().endswith((*ENDINGS, *BESIDE))]
    around = 0
    while kept and len({tuple(name.split("/")[: around + 1]) for name in kept}) == 1 and "/" in kept[0]:
        if any(name.count("/") == around for name in kept):
            break
        around += 1
    return {"/".join(name.split("/")[around:]): files[name] for name in kept}


def by_beginning(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """How files are split whose names begin with their split, as Hugging Face's do: `train` or `test` of each.

    Empty where they are not split; and those that are of neither split, where others are.
    """
    of = {name: re.split(r"[-_.]", name.casefold(), maxsplit=1)[0] for name in names}
    training = next((part for part in TRAINING if part in of.values()), None)
    testing = next((part for part in TESTING if part in of.values()), None)
    if training is None or testing is None:
        return {}, []
    known = {training: "train", testing: "test"}
    return {n: known[part] for n, part in of.items() if part in known}, [n for n in of if of[n] not in known]


def shards(tree: Tree, notes: list[str]) -> Tree:
    """A folder that holds tars and no pictures: what is in the tars, each as a folder is."""
    tars = [name for name in tree.files if "/" not in name and name.lower().endswith(TAR)]
    files: dict[str, Source] = {}
    splits, unused = by_beginning(tars)
    if unused:
        notes.append(f"beside the tars of the two splits, {some(unused)} are left out")
    for name in splits or tars:
        held, _ = members(tree.root / name)
        for member, source in within(held).items():
            member = f"{splits[name]}/{member}" if splits else member
            if member in files:
                folder, _, base = member.rpartition("/")
                if folder in ("", *splits.values()):
                    member = f"{folder}/{name.split('.')[0]}-{base}".lstrip("/")
            if member in files:
                raise UsageError(f"{tree.root}: two tars hold '{plain(member)[:100]}': give one of them")
            files[member] = source
    return Tree(f"{len(tars)} tars", tree.root, files) if tars else tree
