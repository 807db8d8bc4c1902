"""Who writes in a run directory: one process, and one thread of it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ganzoo.errors import GanzooError

_claiming = threading.Lock()
_claims: dict[Path, tuple[int, str]] = {}
"""Which lock, and which thread of this process, has a folder."""


class Lock:
    """What whoever writes in a folder holds; where it takes no `file`, among the threads of this process alone."""

    def __init__(self, folder: Path, file: bool = True):
        self.folder, self.file = folder, file

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Keep other threads of this process out of this folder: a file's lock is the whole process's.

        Raises:
            GanzooError: another thread writes in it; its name is given.
        """
        path, mine = self.folder.resolve(), (id(self), threading.current_thread().name)
        with _claiming:
            owner = _claims.setdefault(path, mine)
        if owner[0] != mine[0]:
            raise GanzooError(f"{self.folder} is being written by this very process, in thread {owner[1]}")
        again = owner is not mine
        try:
            yield
        finally:
            if not again:
                del _claims[path]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes, and other threads of this one, out of this folder.

        Raises:
            GanzooError: another process holds it; its number is given. Or another thread does.
        """
        with self.claim(), self._locked():
            yield

    def refuse_held(self) -> None:
        """Say who writes in the folder, if anybody does.

        Raises:
            GanzooError: as `hold`.
        """
        with self.claim():
            if (number := _holder(self.folder)) is not None:
                raise self._held(number)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        if not self.file:
            yield
            return
        try:
            file = _file(self.folder).open("a+")
        except OSError as error:
            raise GanzooError(f"cannot write in {self.folder}: {error.strerror or error}") from error
        with file:
            try:
                # Not flock, which processes that read images would inherit, and hold on to when this one is killed.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise self._held(_number(file)) from None
            file.truncate(0)
            with suppress(OSError):  # On a full disk: then who finds it locked is not told by which process.
                os.write(file.fileno(), str(os.getpid()).encode())
            yield

    def _held(self, number: str) -> GanzooError:
        return GanzooError(f"{self.folder} is being written by process {number}")


def being_written(folder: Path) -> bool:
    """Whether a run is being trained in this folder now, by this process or another."""
    with _claiming:  # Throughout, so that no thread begins to hold it meanwhile: see `_holder`.
        return folder.resolve() in _claims or _holder(folder) is not None


def _holder(folder: Path) -> str | None:
    """The number of the other process that holds a folder; None where none does.

    This one must not hold it: a lock is the whole process's, and to look at the file lets go of it.
    """
    try:
        import fcntl

        file = _file(folder).open("r+")
    except (ImportError, OSError):
        return None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return _number(file)
    return None


def _file(folder: Path) -> Path:
    return folder / ".lock"


def _number(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"
