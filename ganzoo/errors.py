"""The errors that a user meets, and notes. Each prints as one line; none ever prints a traceback."""

import os
import sys
import unicodedata


class GanzooError(Exception):
    """The work failed: exit code 1. The message says what, where and what to do."""

    exit_code = 1


class UsageError(GanzooError):
    """The user asked for something that cannot be: exit code 2."""

    exit_code = 2


class Foreign(UsageError):
    """Networks of a file are not those of a model's own program, which it has nothing else to say of."""


class NotRecorded(GanzooError):
    """Steps cannot be recorded; the message says why."""


class Unsteady(NotRecorded):
    """A step is not the same every time."""


def aside(line: str) -> None:
    """A line on stderr, beside what a program is about; none where nobody can read it, as in a service."""
    stream = sys.stderr
    if stream is not None and not getattr(stream, "closed", False):
        print(line, file=stream, flush=True)


def watched() -> bool:
    """Whether stderr is a terminal, where what moves can be shown."""
    stream = sys.stderr
    return not getattr(stream, "closed", False) and hasattr(stream, "isatty") and stream.isatty()


def warn(line: str) -> None:
    """Say something that nobody asked for."""
    aside(f"note: {plain(line)}")


_told: set[str] = set()


def note_once(line: str) -> None:
    """The same, once in a process and in the first of several: data are opened more than once."""
    if line not in _told and os.environ.get("RANK", "0") == "0":
        _told.add(line)
        warn(line)


def one_line(error: BaseException) -> str:
    """An exception as one line of text, its type named when the message alone would not do."""
    text = plain(str(error))
    if isinstance(error, GanzooError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plain(text: str) -> str:
    """Text from a file as it may be shown: one line, control characters and half characters replaced.

    A terminal obeys the escape sequences in a name, whoever wrote it.
    """
    return harmless(" ".join(text.split()))


def harmless(text: str) -> str:
    """The same with its spaces as they are, for paths and commands that are to be typed back."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)


def did_you_mean(name: str, known: "list[str]") -> str:
    """A hint for a mistyped name: the nearest known one, else the whole list."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(sorted(known))}" if known else "none is installed"
