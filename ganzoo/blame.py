"""Whose fault an exception is: the plugin, and the method of it, in which it arose."""

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ganzoo.errors import GanzooError, one_line

BASES = {
    "model": ("ganzoo.gan", "GAN"),
    "data set": ("ganzoo.data", "Dataset"),
    "augmentation": ("ganzoo.ingredients", "Augmentation"),
    "regulariser": ("ganzoo.ingredients", "Regulariser"),
    "logger": ("ganzoo.loggers", "Logger"),
    "metric": ("ganzoo.metrics.base", "Metric"),
    "feature extractor": ("ganzoo.metrics.base", "FeatureExtractor"),
}
"""What a plugin brings, and the class that each is of. Looked up, not imported: this module costs nothing."""
CALLS = re.compile(
    r"(?P<name>[\w.<>]+)\.(?P<method>\w+)\(\) (takes|missing|got an unexpected|got multiple)"
    r"|Can't instantiate abstract class (?P<abstract>\w+)"
)
"""What Python says of a call that came to nothing."""


def blame(error: BaseException) -> str:
    """`model 'cgan' failed in generator_loss`, by the innermost method of the contract; empty when none was running.

    Of a method that takes other arguments than it is given, which was never entered, by what Python says of it.
    """
    if found := _of_call(error):
        return found
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self", frame.f_locals.get("cls"))
        for noun, (module, base) in BASES.items():
            kind: Any = getattr(sys.modules.get(module), base, None)
            if kind is None or not (isinstance(owner, kind) or (isinstance(owner, type) and issubclass(owner, kind))):
                continue
            method = frame.f_code.co_name
            if hasattr(kind, method) and method not in ("__getattr__", "__call__"):
                found = f"{noun} '{getattr(owner, 'name', type(owner).__name__)}' failed in {method}"
    return found


def _of_call(error: BaseException) -> str:
    told = CALLS.match(str(error))
    if not isinstance(error, TypeError) or told is None:
        return ""
    name, method = told["abstract"] or told["name"], told["method"] or "__init__"
    found = set()
    for noun, (module, base) in BASES.items():
        kind: type[Any] | None = getattr(sys.modules.get(module), base, None)
        if kind is None or not hasattr(kind, method):
            continue
        cls: type[Any]
        for cls in _below(kind):
            if name in (cls.__qualname__, cls.__name__ if told["abstract"] else ""):
                found.add(f"{noun} '{getattr(cls, 'name', name)}' failed in {method}")
    return found.pop() if len(found) == 1 else ""  # Of several of one name, nobody knows which.


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    """All that are derived from a class."""
    for cls in kind.__subclasses__():
        yield cls
        yield from _below(cls)


@contextmanager
def blamed() -> Iterator[None]:
    """Raise what a plugin raises inside as a GanzooError that names it, in one line."""
    try:
        yield
    except GanzooError:
        raise
    except Exception as error:
        if whose := blame(error):
            raise GanzooError(f"{whose}: {one_line(error)}") from error
        raise
