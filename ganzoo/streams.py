"""The standard streams of a command: there even where they were closed, and no end of the work where nobody reads."""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO

from ganzoo.errors import GanzooError


class Standard(io.TextIOWrapper):
    """A standard stream. What cannot be written goes nowhere from then on; the standard output says so first."""

    def __init__(self, stream: io.TextIOWrapper, needed: bool):
        # To one of ASCII click would write past this object, as UTF-8.
        encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else stream.encoding
        super().__init__(
            stream.buffer, encoding, "backslashreplace", line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )  # fmt: skip
        self._kept = stream  # It would close what both write to.
        self._needed = needed
        self._terminal = stream.isatty()
        self._fault: OSError | None = None

    def write(self, text: str) -> int:
        self.check()
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def check(self) -> None:
        """Whoever wrote may have swallowed the error, as click does when it looks at a stream: tell it again.

        Raises:
            GanzooError: something could not be written.
        """
        if self._fault is not None:
            why = self._fault.strerror or self._fault
            raise GanzooError(f"cannot write the output: {why} (what went to files is kept)") from self._fault

    def _give_up(self, error: OSError) -> None:
        """Write to nowhere from now on: what is buffered would fail again when Python ends.

        Raises:
            GanzooError: as `check`; not where the reader is gone, or the terminal: what `| head` does is no error.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        gone = isinstance(error, BrokenPipeError) or (error.errno == errno.EIO and self._terminal)
        self._fault = error if self._needed and not gone else None
        self.check()


def prepare() -> None:
    """Make the standard streams such that nothing else needs to think of a closed, a full or a dead one.

    A name that a terminal cannot show does not end a command either.
    """
    # The lowest first: each takes the number that is free, which no other file is to get.
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115  It stays open.
    sys.stdout = _prepared(sys.stdout, needed=True)
    sys.stderr = _prepared(sys.stderr, needed=False)


_results: list[IO[str]] = []
"""The standard output, while it is for results alone."""


@contextmanager
def results_alone() -> Iterator[None]:
    """Inside, what plugins print as they work goes where messages go: programs read the standard output."""
    _results.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()


def for_results() -> IO[str]:
    """Where a result is written, whatever the standard output is now."""
    return _results[-1] if _results else sys.stdout


def finish() -> None:
    """At the end of a command: all was written.

    Raises:
        GanzooError: the standard output could not be.
    """
    sys.stdout.flush()
    if isinstance(sys.stdout, Standard):
        sys.stdout.check()


def _prepared(stream: IO[str] | None, needed: bool) -> IO[str]:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  It stays open.
    if type(stream) is io.TextIOWrapper:
        return Standard(stream, needed)
    if isinstance(stream, io.TextIOWrapper):  # Somebody's own, such as a test's.
        stream.reconfigure(errors="backslashreplace")
    return stream
