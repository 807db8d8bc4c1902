"""What is in a set of pictures, before anything is trained on it; and the same pictures in another layout."""

import hashlib
import io
import json
import math
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ganzoo.data.archives import Pixels, Source
from ganzoo.data.imagefiles import ImageFiles, Rule, broken_files, survey
from ganzoo.data.splits import TESTING, TRAINING, folders_of
from ganzoo.data.tree import JUNK, Pictures, class_order
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import regular, whole

LISTED = 1000
"""So many broken files and groups of duplicates are listed by name."""


def inspected(found: Pictures, rule: Rule, splits: list[str] | None = None) -> dict[str, Any]:
    """What is there: format, counts, sizes, colour, classes, duplicates by content, broken pictures by name.

    `splits` are those of a run, where the pictures have none of their own.

    Every picture is read and decoded, and read once more to be compared byte by byte.
    """
    broken = broken_files(found.sources, rule)
    good = found.at([i for i in range(len(found)) if i not in broken])
    look = survey(good.sources, len(good)) if len(good) else None
    sizes = sorted(look.sizes) if look else []
    copies = duplicates(good)
    kinds = [splits[i] for i in range(len(found)) if i not in broken] if splits is not None else good.splits
    return {
        "format": found.format,
        "pictures": len(found),
        "splits": dict(Counter(found.splits)) if found.splits is not None else None,
        "sizes": {
            "count": len(sizes),
            "smallest": list(min(sizes, key=math.prod)) if sizes else None,
            "largest": list(max(sizes, key=math.prod)) if sizes else None,
            "square": all(w == h for w, h in sizes),
        },
        "colour": not look.grey if look else None,
        "transparent": look.transparent if look else None,
        "more_than_8_bits": look.wide if look else None,
        "several_frames": look.several if look else 0,
        "classes": counts(good),
        "duplicates": {
            "groups": len(copies),
            "superfluous": sum(len(group) - 1 for group in copies),
            # Of these, one at least is wrong.
            "in_several_classes": _mixed(copies, good.labels),
            "in_both_splits": _mixed(copies, kinds),
            "names": [[good.names[i] for i in group] for group in copies[:LISTED]],
        },
        "broken": {
            "count": len(broken),
            "names": {found.names[i]: told for i, told in list(broken.items())[:LISTED]},
        },
        "notes": found.notes,
    }


def _mixed(groups: list[list[int]], kinds: list[str] | None) -> int:
    """In how many groups pictures are of several kinds."""
    return 0 if kinds is None else sum(len({kinds[i] for i in group}) > 1 for group in groups)


def counts(found: Pictures) -> dict[str, int] | None:
    """Pictures of each class, classes in order."""
    if found.labels is None:
        return None
    count = Counter(found.labels)
    return {name: count[name] for name in class_order(set(found.labels))}


def content(source: Source) -> bytes:
    """A picture's bytes, as they are stored.

    Raises:
        UsageError: they cannot be read.
    """
    try:
        with regular(source) if isinstance(source, Path) else source.open() as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"image {source} cannot be read: {one_line(error)}") from error


def duplicates(found: Pictures) -> list[list[int]]:
    """Groups of pictures whose stored bytes are equal, by their SHA-256."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        sums = list(pool.map(lambda source: hashlib.sha256(content(source)).digest(), found.sources))
    groups: dict[bytes, list[int]] = {}
    for i, value in enumerate(sums):
        groups.setdefault(value, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def convert(found: Pictures, out: Path, images: ImageFiles | None = None) -> None:
    """Write pictures as a zip in StyleGAN's layout or, by a name without an ending, as a new folder.

    They are copied as they are stored; with `images`, which are the same decoded, written as PNG at their size.

    In both, pictures lie in folders of their class, below `train` and `test` where they are split; the zip has a
    `dataset.json` with labels besides. Whole or not at all.

    Raises:
        UsageError: `out` is there already, or has another ending.
        GanzooError: it cannot be written.
    """
    if out.suffix.lower() not in (".zip", ""):
        raise UsageError(f"{out}: name a .zip to write, or a folder (a name without an ending)")
    if out.exists():
        raise UsageError(f"{out} is there already: name another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix:
            with whole(out) as file:
                _write_zip(found, images, file)
        else:
            part = out.with_name(f".{out.name}.{os.getpid()}.part")
            _write_folder(found, images, part)
            part.rename(out)
    except OSError as error:
        raise GanzooError(f"cannot write {out}: {error.strerror or error}") from error


def _write_zip(found: Pictures, images: ImageFiles | None, file: IO[bytes]) -> None:
    classes = class_order(set(found.labels or ()))
    labels: list[list[str | int]] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # Pictures are compressed already.
        for i, (name, data) in enumerate(_files(found, images)):
            archive.writestr(zipfile.ZipInfo(name), data)
            if found.labels is not None:
                labels.append([name, classes.index(found.labels[i])])
        told = {"labels": labels or None, "classes": list(classes)}
        archive.writestr(zipfile.ZipInfo("dataset.json"), json.dumps(told))


def _write_folder(found: Pictures, images: ImageFiles | None, out: Path) -> None:
    out.mkdir()
    try:
        for name, data in _files(found, images):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


ENDINGS_OF = {
    b"\x89PNG": ".png", b"P5": ".pgm", b"P6": ".ppm", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp",
    b"II*\0": ".tif", b"MM\0*": ".tif",
}  # fmt: skip
FOLDERS = (*TRAINING, *TESTING, *(f"{split}{side}" for split in (*TRAINING, *TESTING) for side in "ab"))
"""Names of folders that say of pictures what no class does, in lower case."""


def _ending(data: bytes) -> str | None:
    """By how a file begins, whatever it is called."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return ".avif" if data[8:12] in (b"avif", b"avis") else ".heic"
    return next((ending for start, ending in ENDINGS_OF.items() if data.startswith(start)), None)


def _files(found: Pictures, images: ImageFiles | None) -> Iterator[tuple[str, bytes]]:
    """The new name and the bytes of each picture."""
    safe = class_folders(found)
    stored = images is None and not isinstance(found.sources[0], Pixels)
    decoded = iter(()) if images is None else images.decoded("converting")
    for i, source in enumerate(found.sources):
        if images is not None:
            data = _png(next(decoded).permute(1, 2, 0).numpy())
        elif stored:
            data = content(source)
        else:
            with Image.open(io.BytesIO(content(source))) as picture:
                data = _png(np.asarray(picture))
        ending = _ending(data) or Path(found.names[i]).suffix
        parts = [] if found.splits is None else [found.splits[i]]
        parts += [] if found.labels is None else [safe[found.labels[i]]]
        yield "/".join([*parts, f"img{i:08d}{ending.lower()}"]), data


def class_folders(found: Pictures) -> dict[str, str]:
    """The folder of each class: its name, as far as it can be one and means nothing else there."""
    classes = class_order(set(found.labels or ()))
    safe = {name: _safe(name, i) for i, name in enumerate(classes)}
    if len(set(safe.values())) == len(safe) and not _splits_among(safe.values()):
        return safe
    return {name: f"{i:05d}" for i, name in enumerate(classes)}


def _splits_among(folders: Iterable[str]) -> bool:
    """Whether a reader would take some of these for splits, or could not tell which."""
    try:
        return bool(folders_of(folders))
    except ValueError:
        return True


def _png(pixels: Any) -> bytes:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) as a PNG file."""
    data = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels).save(data, "PNG")
    return data.getvalue()


def _safe(name: str, number: int) -> str:
    """A class's name as a folder's, what cannot be in one replaced, or its number where nothing is left of it."""
    plain = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).strip(". ")
    if plain.casefold() in FOLDERS or plain in JUNK:
        plain += "_"
    return plain if 0 < len(plain.encode(errors="replace")) <= 100 else f"{number:05d}"
