"""Zip and tar files as they lie: what is in them, and one member at a time, without unpacking anything.

An archive is a stranger's. What it says of itself is looked at before anything is read: names that lead out of it,
encryption, sizes beyond reason. Links and devices in it are left out. Nothing is written to disk.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ganzoo.data.memory import available
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import memory, regular

MOST_MEMBERS = 2_000_000
DEEPEST = 100
"""Folders around a member."""
LARGEST_LISTING = 2**30
"""Bytes of a zip's list of members."""
SHORTEST_ENTRY = 46
"""Bytes of a member in that list, without its name."""
LARGEST_MEMBER = 2**28
"""Bytes of one file in an archive, unpacked."""
LARGEST_UNPACKED = 4 * 2**30
"""Bytes of a compressed tar, which is held in memory; no more than a quarter of it, and half of what is still free."""
LONGEST_TAR_HEADER = 2**20
BOMB = 200, 2**30
"""Files that together claim more than so many times the archive's size, and more than so many bytes."""
ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Entry(Protocol):
    """A picture that is no file of its own."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    def open(self) -> IO[bytes]:
        """Its bytes, as a stream that can seek.

        Raises:
            OSError, ValueError: they cannot be read.
        """

    def stamp(self) -> str:
        """Changes whenever the bytes may have changed."""


Source = Path | Entry
"""Where the bytes of a picture are: a file, or a part of one."""


def stamp_of(path: Path) -> str:
    """Changes whenever the file may have changed. Raises OSError where it is not there."""
    status = path.stat()
    return f"{path.absolute()}\0{status.st_size} {status.st_mtime_ns}"


def size_of(source: Source) -> int:
    """How many bytes a picture has.

    Raises:
        UsageError: its file is not there.
    """
    try:
        return source.stat().st_size if isinstance(source, Path) else source.size
    except OSError as error:
        raise UsageError(f"image {source} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Held:
    """Bytes in memory; `of` says of what."""

    of: str
    data: bytes | memoryview
    mark: str = ""

    def __str__(self) -> str:
        return self.of

    @property
    def name(self) -> str:
        """Of the file, where it was one in an archive."""
        return self.of.partition(" in ")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that reads images gets the bytes themselves, where it is not forked."""
        return type(self), (self.of, bytes(self.data), self.mark)

    @property
    def size(self) -> int:
        """How many bytes."""
        return len(self.data)

    def open(self) -> IO[bytes]:
        """The bytes."""
        return io.BytesIO(self.data)

    def stamp(self) -> str:
        """Where they came from, and their checksum."""
        return f"{self.mark} {self.of} {len(self.data)} {zlib.crc32(self.data)}"


class Pixels(Held):
    """An image that was in an array, as a PGM or PPM file."""


@dataclass(frozen=True)
class Slice:
    """A part of a file, as a member of a tar is."""

    archive: Path
    name: str
    offset: int
    size: int
    mark: str

    def __str__(self) -> str:
        return f"{self.name} in {self.archive}"

    def open(self) -> IO[bytes]:
        """The bytes. Each call opens the file anew: threads and processes do not move each other's place in it."""
        with regular(self.archive) as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise ValueError("the archive is truncated")
        return io.BytesIO(data)

    def stamp(self) -> str:
        """The archive's, and the member's place in it."""
        return f"{self.mark} {self.name} {self.offset} {self.size}"


@dataclass(frozen=True)
class Zipped:
    """A member of a zip, stored or deflated."""

    archive: Path
    name: str
    header: int
    """Where its local header is."""
    packed: int
    size: int
    """Bytes in the archive, and unpacked."""
    deflated: bool
    crc: int
    mark: str

    def __str__(self) -> str:
        return f"{self.name} in {self.archive}"

    def open(self) -> IO[bytes]:
        """The bytes, unpacked; never more of them than the archive's list says."""
        with regular(self.archive) as file:
            file.seek(self.header)
            local = file.read(30)
            if len(local) != 30 or local[:4] != b"PK\3\4":
                raise ValueError("the archive is damaged")
            file.seek(sum(struct.unpack("<HH", local[26:])), io.SEEK_CUR)  # Its name, and extra fields.
            data = file.read(self.packed)
        if self.deflated:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise ValueError("the archive is damaged: its bytes are not those that its list tells of")
        return io.BytesIO(data)

    def stamp(self) -> str:
        """The archive's, and the member's checksum."""
        return f"{self.mark} {self.name} {self.header} {self.size} {self.crc}"


def is_archive(path: Path) -> bool:
    """Whether its name says that it is a zip or a tar."""
    return path.name.lower().endswith(ZIP + TAR)


def members(path: Path) -> tuple[dict[str, Entry], int]:
    """The files in a zip or tar by their names, in order, and how many links and devices were left out.

    Raises:
        UsageError: it is none, encrypted, truncated, or nothing that one would unpack; in one line.
    """
    with _told(path):
        return _zipped(path) if path.name.lower().endswith(ZIP) else _tarred(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except (EOFError, tarfile.ReadError) as error:
        raise UsageError(f"{path} is truncated, or no tar: {one_line(error)[:200]}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or one_line(error)[:200]}") from error
    except Exception as error:  # An archive may be damaged in as many ways as there are modules that read it.
        raise UsageError(f"{path} is damaged, truncated or no archive: {one_line(error)[:200]}") from error


def _name(path: Path, name: str, known: dict[str, Entry]) -> str:
    """The name of a member, if it is one that stays within the archive and is there once."""
    shown = plain(name)[:100]
    name = name.replace("\\", "/")  # Some programs write archives so.
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or name[1:2] == ":":
        raise UsageError(f"{path} is refused: the name of a member leads out of it ({shown})")
    kept = [part for part in parts if part not in ("", ".")]
    if len(kept) > DEEPEST:  # Each folder above a picture is looked at: of a name of slashes there would be millions.
        raise UsageError(f"{path} is refused: a member lies more than {DEEPEST} folders deep ({shown})")
    clean = "/".join(kept)
    if clean in known:
        raise UsageError(f"{path} is refused: it holds '{shown}' twice")
    return clean


def _size(path: Path, name: str, size: int) -> None:
    if size > LARGEST_MEMBER:
        raise UsageError(
            f"{path} is refused: {plain(name)[:100]} claims {size:,} bytes unpacked, more than {LARGEST_MEMBER:,} "
            "(a zip bomb?)"
        )


def _many(path: Path, count: int) -> None:
    if count > MOST_MEMBERS:
        raise UsageError(f"{path} is refused: it holds more than {MOST_MEMBERS:,} files")


def _zipped(path: Path) -> tuple[dict[str, Entry], int]:
    found: dict[str, Entry] = {}
    mark, left_out, claimed = stamp_of(path), 0, 0
    with regular(path) as file:
        size = listing(path, file)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    _many(path, len(infos))
    for info in infos:
        name = _name(path, _as_written(info), found)
        if info.is_dir():
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            left_out += 1
            continue
        if info.flag_bits & 0x1:
            raise UsageError(f"{path} is encrypted: unpack it with its password and give the folder")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UsageError(f"{path} is packed by a method that is not read here: pack it with plain `zip`")
        _size(path, name, info.file_size)
        claimed += info.file_size
        found[name] = Zipped(
            path, name, info.header_offset, info.compress_size, info.file_size,
            info.compress_type == zipfile.ZIP_DEFLATED, info.CRC, mark,
        )  # fmt: skip
    times, least = BOMB
    if claimed > max(least, times * size):
        raise UsageError(f"{path} is refused: {size:,} bytes claim to hold {claimed:,} (a zip bomb?)")
    return found, left_out


def _as_written(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS and others write UTF-8 and do not say so, as a zip should."""
    with suppress(UnicodeError):
        if not info.flag_bits & 0x800:
            return info.filename.encode("cp437").decode()
    return info.filename


def listing(path: Path, file: IO[bytes]) -> int:
    """The size of a zip, whose list of members is no larger than may be read, and holds no more than may be held.

    What the zip says of their number is not believed: the module that reads it goes by the list's length.

    Raises:
        UsageError: it is none, or larger.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 2**16 - 128))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise UsageError(f"{path} is truncated, or no zip: its list of members is not there")
    count, length = struct.unpack("<HL", tail[at + 10 : at + 16])
    end = size - len(tail) + at
    long = at - 20 - 56  # The zip64 record, before its locator.
    if long >= 0 and tail[at - 20 : at - 16] == b"PK\6\7" and tail[long : long + 4] == b"PK\6\6":
        count, length = struct.unpack("<QQ", tail[long + 32 : long + 48])
        end -= 20 + 56
    _many(path, count)
    if length > min(LARGEST_LISTING, size):
        raise UsageError(f"{path} is refused: its list of members takes {length:,} bytes")
    if length > SHORTEST_ENTRY * MOST_MEMBERS:  # Shorter ones cannot hold more.
        _many(path, _counted(file, end - length, end))
    return size


def _counted(file: IO[bytes], start: int, end: int) -> int:
    """The members in a zip's list, without holding them."""
    count = 0
    while start < end and count <= MOST_MEMBERS:
        file.seek(start)
        head = file.read(SHORTEST_ENTRY)
        if len(head) < SHORTEST_ENTRY:
            break
        start += SHORTEST_ENTRY + sum(struct.unpack("<HHH", head[28:34]))
        count += 1
    return count


class _Headers:
    """A file of which only headers are to be read, so that one that claims to be long takes no memory."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.seek, self.tell = file.seek, file.tell
        self.left = LONGEST_TAR_HEADER
        """Bytes that may still be read of the headers of one member; of a sparse file's, a chain without an end."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.left:
            raise ValueError("a header claims to be longer than headers are")
        self.left -= size
        return self.file.read(size)


def _tarred(path: Path) -> tuple[dict[str, Entry], int]:
    mark = stamp_of(path)
    with regular(path) as file:
        packed = _decompressor(file.read(6))
        file.seek(0)
        if packed is None:
            return _listed(path, file, file.seek(0, io.SEEK_END), mark, None)
        most = min(LARGEST_UNPACKED, memory() // 4, available() // 2)
        with packed(file) as stream:
            data = stream.read(most + 1)
    if len(data) > most:
        raise UsageError(f"{path} takes more than {most:,} bytes unpacked: decompress it and give the .tar")
    return _listed(path, io.BytesIO(data), len(data), mark, memoryview(data))


def _decompressor(start: bytes) -> Any:
    if start.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File
    return lzma.LZMAFile if start.startswith(b"\xfd7zXZ\0") else None


def _listed(path: Path, file: IO[bytes], size: int, mark: str, data: memoryview | None) -> tuple[dict[str, Entry], int]:
    found: dict[str, Entry] = {}
    left_out, claimed = 0, 0
    file.seek(0)
    reader: Any = _Headers(file)
    with tarfile.open(fileobj=reader, mode="r:", encoding="utf-8", errors="replace") as archive:
        kept: list[Any] = vars(archive)["members"]
        for count, info in enumerate(archive):
            _many(path, count)
            reader.left = LONGEST_TAR_HEADER
            kept.clear()  # They are much larger than what is kept of them.
            if info.isdir():
                continue
            name = _name(path, info.name, found)
            if info.islnk() and (
                same := found.get("/".join(p for p in info.linkname.split("/") if p not in ("", ".")))
            ):
                found[name] = same  # A file of several names: tar keeps its bytes once.
                claimed += same.size
                if claimed > max(BOMB[1], BOMB[0] * size):
                    raise UsageError(f"{path} is refused: {size:,} bytes claim to hold {claimed:,} (a tar bomb?)")
                continue
            if not info.isreg() or info.issparse():
                left_out += 1
                continue
            _size(path, name, info.size)
            end = info.offset_data + info.size
            if end > size:
                raise UsageError(f"{path} is truncated: {plain(name)[:100]} ends beyond its end")
            if data is None:
                found[name] = Slice(path, name, info.offset_data, info.size, mark)
            else:
                found[name] = Held(f"{name} in {path}", data[info.offset_data : end], mark)
    return found, left_out
