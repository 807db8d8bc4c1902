"""Files written whole or not at all, and the user's cache folder."""

import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from ganzoo.errors import GanzooError, UsageError

LARGEST_NUMBER = 1e100
"""Beyond which a number in a file means nothing."""


def number(value: Any) -> float | None:
    """A finite number that can be reckoned with, or None: JSON has whole ones of any length, and infinite ones."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST_NUMBER else None


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing so that it appears complete or stays as it was.

    The bytes go to a temporary file in the same folder, are forced to disk, and take the name at the end.
    An error inside the block, a full disk among them, removes the temporary file and is raised.

    Raises:
        OSError: it cannot be written; or there is something else than a file, such as a device, which stays.
    """
    _refuse_others(path)
    part = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _refuse_others(path: Path) -> None:
    """Raise OSError where there is something that a file must not replace: a pipe, or a device such as /dev/null."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):  # A folder refuses by itself.
            raise OSError(errno.EINVAL, "there is a device or a pipe")


OF_A_RUN = (
    "run.json", "config.json", "status.json", "metrics.jsonl", "*.safetensors", "real.png", "first.png", "losses.png",
    "eval*.json", "*confusion.png",
)  # fmt: skip
"""What a run directory holds that no other output may replace, as patterns; besides all that is in its folders."""


def output(path: Path, own: Iterable[str] = (), inputs: Iterable[Path] = ()) -> Path:
    """Check, before any work, that a file may be written where the user wants it.

    Args:
        path: what the user named.
        own: names in a run directory that the command itself writes, as patterns.
        inputs: files that the command reads, and folders of them.

    Returns:
        The file to write: a link is followed to what it leads to.

    Raises:
        UsageError: there is a folder, a device or a pipe; a file of a run; or one of the inputs.
        GanzooError: the place cannot be looked at.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name the file to write")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is a device or a pipe, which a file would replace: name a file to write")
        target = path.resolve() if path.is_symlink() else path
        place = path.resolve()
        for source in inputs:
            if place == source.resolve():
                raise UsageError(f"{path} is what is read, and would be lost: choose another name")
            refuse_within(source, path)
        mine = any(map(place.match, own))
        if place.exists() and not mine and any(map(place.match, OF_A_RUN)) and (place.parent / "run.json").is_file():
            raise UsageError(f"{path} is a file of the run in {path.parent}: choose another name")
        if place.parent.name in ("samples", "checkpoints") and (place.parents[1] / "run.json").is_file():
            raise UsageError(f"{path.parent} is a folder of a run, which keeps it: choose another place")
    except (OSError, RuntimeError) as error:  # The latter before Python 3.13, of a link that leads in a circle.
        raise GanzooError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    return target


def refuse_within(source: Path, path: Path) -> None:
    """Refuse to write into a folder that is read.

    Raises:
        UsageError: `path` lies in the folder `source`.
        GanzooError: the place cannot be looked at.
    """
    try:
        within = source.is_dir() and source.resolve() in path.resolve().parents
    except (OSError, RuntimeError) as error:  # The latter before Python 3.13, of a link that leads in a circle.
        raise GanzooError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    if within:
        raise UsageError(
            f"{path} lies in {source}, and would be read with its pictures the next time: choose another place"
        )


def check_place(path: Path) -> None:
    """Find out, before long work, whether a file can be written there.

    Raises:
        GanzooError: it cannot; why.
    """
    if path.is_dir():
        raise GanzooError(f"cannot write {path}: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole(path) as file:
        file.write(text.encode(errors="replace"))  # A name from elsewhere may hold half a character.


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def regular(path: Path) -> BufferedReader:
    """Open a file for reading that is one: a pipe would be waited for for ever, and a device may never end.

    Raises:
        OSError: it cannot be opened, or is something else than a file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return open(handle, "rb")  # noqa: PTH123  A path would be opened anew.
    except BaseException:
        os.close(handle)
        raise


def memory() -> int:
    """Bytes of this machine's memory: what is larger than a share of it is not read. 8 GiB where nobody tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


GROWTH = 2**20
"""Bytes that are asked for at once of a file that is longer than it was."""


def read_bytes(path: Path, limit: int) -> bytes:
    """The contents of a file of at most `limit` bytes; no more is ever held, whatever the file says of its size.

    Raises:
        GanzooError: the file is larger.
        OSError: it cannot be read.
    """
    with regular(path) as file:
        # Python makes room for all that is asked for: no more than the file has, and a little where it grows meanwhile.
        data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        while len(data) <= limit and (more := file.read(min(limit + 1 - len(data), GROWTH))):
            data += more
    if len(data) > limit:
        raise GanzooError(f"{path} is larger than {limit:,} bytes: not a file of ganzoo's")
    return data


def from_json(text: bytes) -> Any:
    """The value in a JSON text; NaN and Infinity, which Python would take, are not JSON.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path, limit: int = 16 * 2**20) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Raises:
        GanzooError: the file is missing, too large, or not JSON.
    """
    try:
        return from_json(read_bytes(path, limit))
    except OSError as error:
        raise GanzooError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise GanzooError(f"{path} is not valid JSON: {error}") from error


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The file's checksum in hexadecimal."""
    with regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def cache_dir() -> Path:
    """Where ganzoo keeps what it can make again: `$GANZOO_CACHE`, else the platform's user cache folder."""
    chosen = os.environ.get("GANZOO_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ganzoo", appauthor=False))


def contained(folder: Path) -> None:
    """Refuse a folder where a link leads out of it: who packed it would choose what is overwritten, or shown.

    Raises:
        GanzooError: there is one, or one that leads in a circle; it is named. Or the folder cannot be read.
    """
    try:
        root = folder.resolve()
        for path in filter(Path.is_symlink, [*folder.iterdir(), *folder.glob("*/*")]):
            if _circular(path):
                raise GanzooError(f"{path} is a link that leads in a circle: remove it")
            if not path.resolve().is_relative_to(root):
                raise GanzooError(f"{path} is a link that leads out of the folder: replace it by what it leads to")
    except OSError as error:
        raise GanzooError(f"cannot read {folder}: {error.strerror or error}") from error


def _circular(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def clean_parts(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the platform can open a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
