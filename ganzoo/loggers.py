"""What a logger plugin implements: somewhere for scalars and pictures to go."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ganzoo.errors import GanzooError
from ganzoo.files import read_bytes, read_json
from ganzoo.marks import marks_of


class Logger(ABC):
    """One destination of a run's scalars and pictures. Subclass it, register the class through `register_loggers`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings."""

    @classmethod
    def check(cls) -> None:
        """Find out, before a run is begun, whether the destination can be had.

        Raises:
            UsageError: a package is not installed, say.
        """

    def __init__(self, folder: Path, step: int):
        """Open the destination for the run in `folder`, which stands at `step`: later entries there are obsolete.

        What there is to say of the run is `about(folder)`.
        """

    @abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record named numbers; a name is a group, '/', and the rest: `loss/generator`."""

    @abstractmethod
    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Record a picture, uint8 (H, W, 3)."""

    def close(self) -> None:
        """Write what is still held. How the run ended stands in its `status.json` by now, if that could be written."""


def grouped(name: str) -> str:
    """A logged name with its group before it, by which loggers lay out charts: `generator_loss` is `loss/generator`."""
    if "/" in name:
        return name
    if name.endswith("_loss"):
        return f"loss/{name.removesuffix('_loss')}"
    if name.startswith("D(") or name == "r_v":
        return f"score/{name}"
    return f"speed/{name}" if name in ("images_per_second", "wait") else f"term/{name}"


class About(NamedTuple):
    """What a destination may say of a run."""

    name: str
    """What its user calls it, else its folder."""
    tags: tuple[str, ...]
    config: dict[str, Any]
    """Model, preset, settings and options by name, as its `run.json` has them."""


def about(folder: Path) -> About:
    """What there is to say of the run in `folder`.

    Raises:
        GanzooError: its `run.json` cannot be read.
    """
    path = folder / "run.json"
    found = read_json(path) if path.is_file() else {}
    info: dict[str, Any] = found if isinstance(found, dict) else {}
    named = marks_of(info)
    config: dict[str, Any] = {key: info[key] for key in ("model", "preset") if key in info}
    for part in ("settings", "options"):
        config |= info[part] if isinstance(info.get(part), dict) else {}
    return About(named.name or folder.resolve().name, named.tags, config)


def ended(folder: Path) -> str:
    """How the run in `folder` ended: finished, stopped or failed; failed where nobody knows."""
    path = folder / "status.json"
    found = read_json(path) if path.is_file() else None
    status = found.get("status") if isinstance(found, dict) else None
    return status if isinstance(status, str) else "failed"


def kept_id(path: Path) -> str | None:
    """The name that a service knows a run by, as it was kept at `path`; None where there is none, or something else."""
    try:
        text = read_bytes(path, 100).decode("ascii").strip()
    except (OSError, UnicodeDecodeError, GanzooError):
        return None
    return text if re.fullmatch(r"[0-9a-f]{8,64}", text) else None
