"""The networks that other programs have saved, whatever the kind of file: pickles of networks, and torch's state dicts.

Both kinds of torch's own are read, archives and what it wrote before version 1.6, by the machine of `pickled`: nothing
in them is run, and no tensor is larger than what the file holds of it.
"""

import traceback
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from torch import Tensor

from ganzoo.errors import GanzooError, UsageError, plain
from ganzoo.files import memory
from ganzoo.gan import Network
from ganzoo.runs.pickled import (
    LONGEST,
    MOST_MODULES,
    Made,
    Storage,
    Unsafe,
    legacy,
    networks,
    reference,
    row,
    streamed,
    tensor,
    unpickled,
)

LARGEST_PICKLE = 2**26
"""Bytes of the pickle in an archive, beside which the numbers are."""


def networks_in(paths: Sequence[Path]) -> dict[str, Network]:
    """The networks in the files, by name: as the file has them, or else as it is called, `G_ema` of `G_ema.pth`.

    Raises:
        UsageError: two files hold networks of one name.
        GanzooError: a file cannot be read, holds no networks, is damaged, or names what no such file needs.
    """
    found: dict[str, Network] = {}
    for path in paths:
        read = _networks(path)
        if not read:
            raise GanzooError(f"{path} holds no networks")
        if twice := sorted(found.keys() & read.keys()):
            raise UsageError(f"{path} holds '{twice[0]}', and so does another file: rename one of them")
        found |= read
    return found


def _networks(path: Path) -> dict[str, Network]:
    try:
        size = path.stat().st_size
        if size > memory() // 3:  # It is held as a file, as what is read of it, and as tensors.
            raise GanzooError(f"{path} takes {size:,} bytes, more than this machine's memory holds")
        stream = BytesIO(path.read_bytes())
    except OSError as error:
        raise GanzooError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of pickletools, where it meets damaged text.
            if stream.getvalue().startswith(b"PK"):
                return _named(*_archived(stream), path, size)
            if legacy(stream):
                return _named(*streamed(stream), path, size)
            return networks(stream)
    except Unsafe as error:
        raise GanzooError(f"{path}: {error}; nothing in it was run") from error
    except (
        ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, RecursionError,
        MemoryError, zipfile.BadZipFile, NotImplementedError, EOFError,
    ) as error:  # fmt: skip
        # What Python says of a file that is something else, a KeyError of a number, say, helps nobody.
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        ours = isinstance(error, ValueError) and frame.f_globals.get("__name__", "").startswith("ganzoo.")
        why = f": {plain(str(error))[:200]}" if ours else ""
        raise GanzooError(f"{path} is damaged, or holds no networks{why}") from error


def _archived(stream: BytesIO) -> tuple[Any, Storage]:
    """What an archive of torch's holds, and where its numbers are."""
    archive = zipfile.ZipFile(stream)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise Unsafe("it is compressed, which torch's archives are not")
    if len(entries) < len(archive.infolist()) or sum(e.file_size for e in entries.values()) > len(stream.getvalue()):
        raise Unsafe("its parts overlap")
    pickles = [name for name in entries if name.endswith("data.pkl")]
    if len(pickles) != 1 or entries[pickles[0]].file_size > LARGEST_PICKLE:
        raise ValueError("it has no pickle as torch writes it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("it is of a machine with another order of bytes")

    @cache
    def part(key: str) -> bytes:
        return archive.read(f"{folder}data/{key}")

    def storage(made: Any) -> Tensor:
        dtype, key = reference(made)
        return row(part(key), dtype)

    return unpickled(BytesIO(archive.read(pickles[0]))), storage


def _named(found: Any, storage: Storage, path: Path, size: int) -> dict[str, Network]:
    """State dicts by name, or one, which is called as its file."""
    if not isinstance(found, dict):
        raise ValueError("it holds no tensors by name")
    if sum(len(part) for part in (found, *found.values()) if isinstance(part, dict)) > 100 * MOST_MODULES:
        raise Unsafe("it holds more than any network has")
    inner = {str(name): value for name, value in found.items() if isinstance(value, dict) and _holds_tensors(value)}
    states: Mapping[str, Any] = inner or ({path.stem: found} if _holds_tensors(found) else {})
    if sum(map(len, states.values())) > MOST_MODULES:
        raise Unsafe("its tensors are more than any network has")
    left, read = 4 * size, {}
    for name, state in states.items():
        tensors = {}
        for key, value in state.items():
            if not isinstance(key, str) or len(key) > LONGEST:
                raise ValueError("a tensor has no name")
            tensors[key] = made = tensor(value, storage)
            left -= made.nbytes
            if left < 0:
                raise Unsafe("its tensors are more than the file could hold")
        read[plain(name)[:80]] = Network("", {}, tensors)
    return read


def _holds_tensors(state: dict[Any, Any]) -> bool:
    """Whether it is a state dict: its values are tensors, all of them."""
    made = [isinstance(value, Made) and value.name.startswith("torch._utils _rebuild_") for value in state.values()]
    return bool(made) and all(made)
