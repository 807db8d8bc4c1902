"""Pictures in a folder or an archive by their names, before anything is known of what they are."""

import hashlib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from ganzoo.data.archives import LARGEST_MEMBER, TAR, Source
from ganzoo.data.imagefiles import ENDINGS
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import regular

TABLES = (".csv", ".tsv", ".jsonl")
BESIDE = (*TABLES, ".json", ".cls", ".parquet", *TAR)
"""What makes an archive's folder more than a folder of pictures."""
JUNK = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")
"""What systems leave in folders; like hidden files it is passed over without a word."""
FOLDER = "a folder"
NAMED = 3
"""So many are named, where many are wrong."""
KINDS = 5
"""So many kinds of files that are left out are told."""
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
    if all(re.fullmatch(r"[+-]?\d{1,18}", name, re.ASCII) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def distinct(titles: Sequence[str], where: str, notes: list[str]) -> list[str]:
    """Names of classes by their numbers; none, and a note, where several classes have one name."""
    count = Counter(normalize("NFC", title) for title in titles)
    if twice := [title for title, n in count.items() if n > 1]:
        line = f"names of classes in {where} are not used, for several are called {some(twice)}: numbers are"
        notes += [line] if line not in notes else []
        return []
    return [*count]


def held_out(name: str) -> float:
    """A number in [0, 1) that follows from a picture's name alone: those below a share of it are held out."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:6]) / 2**48


def tells(name: str) -> bool:
    """Whether a file's name says that it tells of pictures: a table, or StyleGAN's `dataset.json`."""
    return name.lower().endswith(TABLES) or PurePosixPath(name).name.lower() == "dataset.json"


def some(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(plain(name)[:80] for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


class Tree:
    """A folder's or an archive's files by their names, `/` between folders."""

    def __init__(self, kind: str, root: Path, files: dict[str, Source], folders: Iterable[str] = ()):
        """`kind` is what it is, in words; `folders` are those that are known, also without files."""
        self.kind, self.root, self.files, self.folders = kind, root, files, [*folders]
        self.pictures = [name for name in files if name.lower().endswith(ENDINGS)]
        self.used: set[str] = set()
        """Files besides pictures that were used, or told of."""
        self.outside: list[str] = []
        """Files in folders that lie beside those that are looked at."""

    @property
    def is_folder(self) -> bool:
        """Whether its folders lie on disk, not in archives."""
        return self.kind == FOLDER

    @property
    def tops(self) -> list[str]:
        """The folders at the top of a folder, also those without files: an empty `test` is a mistake, not none."""
        return [folder for folder in self.folders if "/" not in folder]

    def below(self, folder: str) -> "Tree":
        """What is in one of its folders; the other files are `outside`."""
        start = f"{folder}/"
        root = self.root / folder if self.is_folder else self.root
        files = {name.removeprefix(start): source for name, source in self.files.items() if name.startswith(start)}
        folders = [name.removeprefix(start) for name in self.folders if name.startswith(start)]
        found = Tree(self.kind, root, files, folders)
        found.outside = [*self.outside, *(name for name in self.files if not name.startswith(start))]
        return found

    def left_out(self) -> str:
        """The files that are neither pictures nor used, counted by their endings; empty where there are none."""
        others = [n for n in self.files if n not in self.used and not n.lower().endswith(ENDINGS)] + self.outside
        count = Counter(PurePosixPath(name).suffix.lower() or "without ending" for name in others)
        told = [f"{n:,} {plain(kind)[:20]}" for kind, n in count.most_common(KINDS)]
        return ", ".join(told) + (", ..." if len(count) > KINDS else "")

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
            marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
            if b"\0" in data and not marked:  # Of UTF-16 without its mark ASCII would be letters and zeros.
                raise UsageError(f"{source} cannot be read, for it holds zero bytes: save it as UTF-8")
            return data.decode("utf-16" if marked else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{source} cannot be read, for it is no UTF-8: save it as UTF-8") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{source} cannot be read: {one_line(error)}") from error


def walked(root: Path, as_before: bool = False) -> tuple[Tree, list[str]]:
    """The files below a folder, hidden ones left out, folders in order; links to folders are not followed.

    `as_before`: what only some systems hide is looked at, too, as version 0.1.0 did.
    """
    files: dict[str, Source] = {}
    folders: list[str] = []
    links: list[str] = []
    runs: list[str] = []
    junk = () if as_before else JUNK
    try:
        for folder, subfolders, names in os.walk(root, onerror=_raise):
            here = Path(folder)
            if here != root and not as_before and {"run.json", "status.json"} <= {*names}:
                runs.append(str(here))
                subfolders.clear()
                continue
            subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name not in junk)
            links += [name for name in subfolders if (here / name).is_symlink()]
            below = here.relative_to(root)
            folders += [(below / name).as_posix() for name in subfolders]
            for name in sorted(names):
                if not name.startswith(".") and name not in junk:
                    files[(below / name).as_posix()] = here / name
    except OSError as error:
        raise UsageError(f"cannot read folder {error.filename or root}: {error.strerror or error}") from error
    notes = [f"links to folders ({links[0]}, ...) are not followed"] if links else []
    notes += [f"run directories are passed over: {some(runs)}"] if runs else []
    return Tree(FOLDER, root, files, folders), notes


def _raise(error: OSError) -> None:
    raise error


def within(files: Any) -> tuple[dict[str, Source], str]:
    """An archive's files, hidden ones left out, and one folder around everything left away; and that folder."""
    names = sorted(
        (name for name in files if not any(p.startswith(".") or p in JUNK for p in name.split("/"))),
        key=lambda name: (PurePosixPath(name).parent.parts, name),
    )
    telling = [name for name in names if name.lower().endswith((*ENDINGS, *BESIDE))]
    around = posixpath.commonpath([str(PurePosixPath(name).parent) for name in telling]) if telling else ""
    start = f"{around}/" if around else ""
    return {name.removeprefix(start): files[name] for name in names}, around
