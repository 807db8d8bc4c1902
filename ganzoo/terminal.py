"""What a terminal shows: lines that fit its width, a little colour, and arguments that can be typed back."""

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

NARROWEST, LEAST = 20, 24
"""Columns that a terminal is taken to have at least, and those that a text beside a name needs."""


def width() -> int | None:
    """Columns of the terminal that the output goes to; None where it goes to a file or a pipe."""
    if not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def colours() -> bool | None:
    """False where nothing may be coloured (NO_COLOR, or a terminal that is dumb); None: as the output is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def beside(head: str, text: str, room: int | None) -> str:
    """A text beside its head, in lines of at most `room` columns; beneath the head where little would be left.

    Words, links among them, are never broken: one that is longer than a line stands out.
    """
    if room is None:
        return head + text
    if room - len(head) >= LEAST:
        return "\n".join(_wrapped(text, room, " " * len(head), head)) or head.rstrip()
    return "\n".join([head.rstrip(), *_wrapped(text, room, " " * 6)])


def prose(text: str, room: int | None) -> str:
    """Paragraphs in lines of at most `room` columns; lists and what is indented stay as they are."""
    if room is None:
        return text
    paragraphs = text.split("\n\n")
    kept = [any(line[:1] in (" ", "-", "\b") for line in paragraph.splitlines()) for paragraph in paragraphs]
    return "\n\n".join(p if k else "\n".join(_wrapped(p, room)) for p, k in zip(paragraphs, kept, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """Rows in columns beneath their head; where these do not fit, each row's first cell and the others beneath it."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    if room is None or max(map(len, lines)) <= room:
        return lines
    return [
        "\n".join([row[0], *_wrapped(", ".join(map(" ".join, zip(head[1:], row[1:], strict=True))), room, "  ")])
        for row in rows
    ]


def limits_in_words(
    low: float | None, high: float | None, above: bool | None = False, below: bool | None = False
) -> str:
    """`>= 0, < 1`; those bounds that there are, either of which may be open."""
    ends = ((low, ">" if above else ">="), (high, "<" if below else "<="))
    return ", ".join(f"{sign} {_short(end)}" for end, sign in ends if end is not None)


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def argument(path: Path | str) -> str:
    """A path as a shell takes it for an argument, whatever is in its name; one that begins with `-` is no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _wrapped(text: str, room: int, indent: str = "", first: str | None = None) -> list[str]:
    begins = indent if first is None else first
    return textwrap.wrap(
        text, room, initial_indent=begins, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
