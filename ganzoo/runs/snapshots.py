"""The networks that other programs have saved, whatever the kind of file: pickles of networks, and torch's state dicts.

Both kinds of torch's own are read, archives and what it wrote before version 1.6, by the machine of `pickled`: nothing
in them is run, and no tensor is larger than what the file holds of it.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, UsageError, one_line, plain
from ganzoo.files import memory
from ganzoo.gan import Network
from ganzoo.runs import pickled
from ganzoo.runs.pickled import DTYPES, MAGIC, MOST_MODULES, Made, Unsafe, tensor, unpickled

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
        if size > memory() // 2:
            raise GanzooError(f"{path} takes {size:,} bytes, more than this machine's memory holds")
        content = path.read_bytes()
    except OSError as error:
        raise GanzooError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if content.startswith(b"PK"):
            return _named(*_archived(content), path, size)
        stream = BytesIO(content)
        if _legacy(content, stream):
            return _named(*_streamed(content, stream), path, size)
    except Unsafe as error:
        raise GanzooError(f"{path}: {error}; nothing in it was run") from error
    except (
        ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, RecursionError,
        zipfile.BadZipFile, NotImplementedError, EOFError,
    ) as error:  # fmt: skip
        raise GanzooError(f"{path} is damaged, or no state dict: {one_line(error)[:200]}") from error
    return pickled.networks(path)


Storage = Callable[[Any], Tensor]
"""The numbers of a storage that a pickle refers to, in one row."""


def _archived(content: bytes) -> tuple[Any, Storage]:
    """What an archive of torch's holds, and where its numbers are."""
    archive = zipfile.ZipFile(BytesIO(content))
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise Unsafe("it is compressed, which torch's archives are not")
    if len(entries) < len(archive.infolist()) or sum(e.file_size for e in entries.values()) > len(content):
        raise Unsafe("its parts overlap")
    pickles = [name for name in entries if name.endswith("data.pkl")]
    if len(pickles) != 1 or entries[pickles[0]].file_size > LARGEST_PICKLE:
        raise ValueError("it has no pickle as torch writes it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("it is of a machine with another order of bytes")

    def storage(made: Any) -> Tensor:
        dtype, key = _reference(made)
        return _row(archive.read(f"{folder}data/{key}"), dtype)

    return unpickled(BytesIO(archive.read(pickles[0]))), storage


def _legacy(content: bytes, stream: BytesIO) -> bool:
    """Whether the file begins as torch's did before version 1.6; the stream stands behind that."""
    beginning = content[:16]
    if MAGIC.to_bytes(10, "little") not in beginning:
        return False
    return bool(unpickled(stream) == MAGIC)


def _streamed(content: bytes, stream: BytesIO) -> tuple[Any, Storage]:
    """What a file of torch's older format holds, and where its numbers are."""
    _protocol, system = unpickled(stream), unpickled(stream)
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise ValueError("it is of a machine with another order of bytes")
    found, keys = unpickled(stream), unpickled(stream)
    sizes = _sizes(found)
    places: dict[str, tuple[int, int]] = {}
    at = stream.tell()
    for key in keys:
        count = int.from_bytes(content[at : at + 8], "little", signed=True)
        length = count * sizes[key].itemsize
        if not 0 <= length <= len(content) - at - 8:
            raise Unsafe(f"a storage claims {count:,} numbers, and is shorter")
        places[key] = (at + 8, length)
        at += 8 + length

    def storage(made: Any) -> Tensor:
        dtype, key = _reference(made)
        start, length = places[key]
        return _row(content[start : start + length], dtype)

    return found, storage


def _sizes(found: Any) -> dict[str, torch.dtype]:
    """The type of each storage that is referred to, by its key."""
    sizes: dict[str, torch.dtype] = {}
    rest: list[Any] = [found]
    seen = 0
    while rest:
        value = rest.pop()
        seen += 1
        if seen > 100 * MOST_MODULES:
            raise Unsafe("it holds more than any network has")
        if isinstance(value, Made):
            if value.name == "persistent":
                dtype, key = _reference(value)
                sizes[key] = dtype
            else:
                rest.extend(value.arguments if isinstance(value.arguments, tuple) else ())
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
    return sizes


def _reference(made: Any) -> tuple[torch.dtype, str]:
    """The type and the key of a storage that stands outside of the pickle."""
    if not (isinstance(made, Made) and made.name == "persistent" and made.arguments[0] == "storage"):
        raise ValueError("a tensor has no storage")
    kind, key = made.arguments[1], made.arguments[2]
    if not (isinstance(key, str) and isinstance(kind, Made)):
        raise ValueError("a tensor has no storage")
    return DTYPES[kind.name.removeprefix("torch ").removesuffix("Storage")], key


def _row(content: bytes, dtype: torch.dtype) -> Tensor:
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)


def _named(found: Any, storage: Storage, path: Path, size: int) -> dict[str, Network]:
    """State dicts by name, or one, which is called as its file."""
    if not isinstance(found, dict):
        raise ValueError("it holds no tensors by name")
    inner = {str(name): value for name, value in found.items() if isinstance(value, dict) and _holds_tensors(value)}
    states: Mapping[str, Any] = inner or ({path.stem: found} if _holds_tensors(found) else {})
    left, read = 4 * size, {}
    for name, state in states.items():
        if len(state) > MOST_MODULES:
            raise Unsafe("its tensors are more than any network has")
        tensors = {}
        for key, value in state.items():
            if not isinstance(key, str):
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
