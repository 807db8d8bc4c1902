"""What the demo's page may ask for: the numbers, names and options in a query, each within its bounds."""

from typing import Any
from urllib.parse import parse_qs

from ganzoo.demo.player import DIRECTIONS, LARGEST_SCALE, MOST, MOST_FRAMES
from ganzoo.errors import UsageError, plain
from ganzoo.files import from_json

LONGEST_VALUES = 8192
LARGEST_SEED = 2**31 - 1
LARGEST_STEP = 10**11
MOST_CLASSES = 10**6
MOST_LAYERS = 1000
LONGEST_NAME = 80


def place(query: str) -> tuple[int, int | None, str]:
    """Which of the runs that are shown a query is for, the step of its checkpoint, or None, and the rest of the query.

    Raises:
        UsageError: as `asked`.
    """
    found, rest = dict[str, str](), list[str]()
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in ("run", "checkpoint"):
            found[name] = value
        else:
            rest.append(part)
    step = bounded("checkpoint", found["checkpoint"], 0, LARGEST_STEP) if "checkpoint" in found else None
    return bounded("run", found.get("run", "0"), 0, 1), step, "&".join(rest)


def asked(query: str) -> dict[str, Any]:
    """The arguments of `Player.draw` in a query.

    Raises:
        UsageError: an unknown name, or a value that is no number or out of range.
    """
    given = _given(query, {"seed", "n", "columns", "label", "to", "t", "shifts", "values", "sampling", "scale"})
    n = bounded("n", given.get("n", "16"), 1, MOST)
    return {
        "n": n,
        "columns": min(bounded("columns", given.get("columns", "4"), 1, MOST), n),
        "to": bounded("to", given["to"], 0, MOST_CLASSES) if "to" in given else None,
        "t": real("t", given.get("t", "0"), 0, 1),
        **_drawing(given),
    }


def asked_of_mix(query: str) -> dict[str, Any]:
    """The arguments of `Player.mix` in a query.

    Raises:
        UsageError: as `asked`.
    """
    given = _given(
        query, {"seed", "n", "first", "second", "label", "t", "layer", "shifts", "values", "sampling", "scale"}
    )
    return {
        "n": bounded("n", given.get("n", "16"), 2, MOST),
        "first": bounded("first", given.get("first", "0"), 0, MOST - 1),
        "second": bounded("second", given.get("second", "1"), 0, MOST - 1),
        "t": real("t", given.get("t", "0.5"), 0, 1),
        "layer": bounded("layer", given.get("layer", "0"), 0, MOST_LAYERS),
        **_drawing(given),
    }


def asked_of_film(query: str) -> dict[str, Any]:
    """The arguments of `Player.film` in a query.

    Raises:
        UsageError: as `asked`.
    """
    given = _given(query, {"seed", "n", "frames", "label", "to", "shifts", "values", "sampling", "scale"})
    return {
        "n": bounded("n", given.get("n", "8"), 1, MOST),
        "frames": bounded("frames", given.get("frames", "60"), 2, MOST_FRAMES),
        "to": bounded("to", given.get("to", "0"), 0, MOST_CLASSES),
        **_drawing(given),
    }


def _drawing(given: dict[str, str]) -> dict[str, Any]:
    """What all of these take."""
    return {
        "seed": bounded("seed", given.get("seed", "0"), 0, LARGEST_SEED),
        "label": bounded("label", given.get("label", "0"), 0, MOST_CLASSES),
        "shifts": [real("shifts", s, -100, 100) for s in given.get("shifts", "").split(",") if s][:DIRECTIONS],
        "scale": bounded("scale", given.get("scale", "1"), 1, LARGEST_SCALE),
        **_conditions(given),
    }


def asked_of_translator(query: str) -> dict[str, Any]:
    """What a query says of a translation: which held-out picture, or how a dropped one is called, and how it is drawn.

    Raises:
        UsageError: as `asked`.
    """
    given = _given(query, {"of", "name", "shrink", "seed", "label", "values", "sampling"})
    return {
        "of": bounded("of", given.get("of", "0"), 0, 10**6),
        "name": plain(given.get("name", ""))[:LONGEST_NAME] or "that was dropped",
        "shrink": bounded("shrink", given.get("shrink", "0"), 0, 1) == 1,
        "seed": bounded("seed", given.get("seed", "0"), 0, LARGEST_SEED),
        "label": bounded("label", given.get("label", "0"), 0, MOST_CLASSES),
        **_conditions(given),
    }


def _given(query: str, known: set[str]) -> dict[str, str]:
    try:
        fields = parse_qs(query, max_num_fields=20, strict_parsing=bool(query))
    except ValueError as error:
        raise UsageError(f"what is asked for cannot be read: {error}") from None
    given = {name: values[-1] for name, values in fields.items()}
    if given.keys() - known:
        raise UsageError(f"unknown: {', '.join(sorted(given.keys() - known))}")
    return given


def _conditions(given: dict[str, str]) -> dict[str, Any]:
    values, sampling = (by_name(given.get(name, "{}")) for name in ("values", "sampling"))
    if values is None or not all(isinstance(v, int | float) for v in values.values()):
        raise UsageError("values must be numbers by name")
    if sampling is None or not all(isinstance(v, int | float | str) for v in sampling.values()):
        raise UsageError("sampling must be options of drawing by name")
    return {"values": values, "sampling": sampling}


def by_name(text: str) -> dict[str, Any] | None:
    """A JSON object, if it is one and no longer than a page would send."""
    try:
        value = from_json(text.encode()) if len(text) <= LONGEST_VALUES else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bounded(name: str, text: str, low: int, high: int) -> int:
    """An integer in a range.

    Raises:
        UsageError: it is none, or outside; its `name` is told.
    """
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"{name}: {text[:12]!r} is no whole number") from None
    if not low <= value <= high:
        raise UsageError(f"{name}: {text[:12]}{'...' * (len(text) > 12)} is outside {low} to {high}")
    return value


def real(name: str, text: str, low: float, high: float) -> float:
    """A number in a range.

    Raises:
        UsageError: as `bounded`.
    """
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{name}: {text[:32]!r} is no number") from None
    if not low <= value <= high:
        raise UsageError(f"{name}: {value} is outside {low:g} to {high:g}")
    return value
