"""Labels, seeds and attributes, as commands are given them."""

import re

from ganzoo.errors import UsageError

MOST_SEEDS = 10_000
"""Drawn one by one."""


def parse_seeds(text: str, most: int = MOST_SEEDS) -> list[int]:
    """`0-15`, `3,7` or `0-3,9`.

    Raises:
        UsageError: not of that form, or more than `most`.
    """
    found: list[int] = []
    for part in (p.strip() for p in text.split(",")):
        seeds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not seeds:
            raise UsageError(f"--seeds {text}: write 0-15, or 3,7")
        # Of very many digits Python makes no number, and of eleven none is a seed.
        low, high = (int(number.lstrip("0")[:11] or 0) for number in (seeds[1], seeds[2] or seeds[1]))
        if not low <= high < 2**31 or len(found) + high - low >= most:
            raise UsageError(f"--seeds {text}: give {most:,} at most, in order, each below {2**31:,}")
        found += range(low, high + 1)
    return found


def parse_labels(text: str, names: tuple[str, ...]) -> list[int | str]:
    """`7`, `0-9`, `3,7`, `0-3,7`, or names of classes; a range between two names takes the classes in between too.

    What is the name of a class as a whole is that name, commas and spaces included. Where all names are whole numbers,
    numbers are names.

    Raises:
        UsageError: a range that runs backwards or far beyond the classes, or a number that is no name where all are.
    """
    if text in names:
        return [text]
    labels: list[int | str] = []
    numbered = bool(names) and all(name.isdecimal() for name in names)
    for part in (p.strip() for p in text.split(",")):
        first, dash, last = part.partition("-")
        if part not in names and first in names and last in names:
            between = range(names.index(first), names.index(last) + 1)
            if not between:
                raise UsageError(f"--label {part}: class '{last}' comes before class '{first}'")
            labels += between
        elif numbered and part and part not in names:
            raise UsageError(f"--label {part}: classes are {names[0]} to {names[-1]}")
        elif part not in names and dash and first.isdecimal() and last.isdecimal():
            if int(first) > int(last) or int(last) >= max(len(names), 1):
                raise UsageError(
                    f"--label {part}: classes are 0 to {len(names) - 1}" if names else f"--label {part}: no classes"
                )
            labels += range(int(first), int(last) + 1)
        elif part:
            labels.append(part)
    return labels


def parse_values(sets: tuple[str, ...]) -> dict[str, float]:
    """`name=value` pairs.

    Raises:
        UsageError: not of that form.
    """
    values = {}
    for text in sets:
        name, equals, value = text.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"--set {text}: write NAME=NUMBER")
    return values
