"""Run directories below a folder, and how each stands: what `ganzoo list runs` shows. Nothing in them is written."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError, UsageError, plain
from ganzoo.files import number, read_json
from ganzoo.marks import marks_of
from ganzoo.metrics.protocol import comparable
from ganzoo.runs.folder import open_run, read_metrics
from ganzoo.runs.lock import being_written

LARGEST = 1e15


class Listed(NamedTuple):
    """One run, as a line of a table."""

    path: Path
    model: str
    data: str
    status: str
    """running, finished, stopped, failed, imported, killed (it ended without a word) or damaged."""
    step: int
    steps: int | None
    """Those that it is to take; None where time is its budget."""
    seconds: float
    """Of training."""
    left: float | None
    """Seconds that a running one still needs, about."""
    best_fid: float | None
    """The lowest of those that were measured while it trained, and after in the same way."""
    last_fid: float | None
    """That of the last step, or of the last one that was measured."""
    name: str | None = None
    tags: tuple[str, ...] = ()


def runs_in(folder: Path) -> Iterator[Path]:
    """The run directories in a folder and the folders below it, by name; links to folders are not followed.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """

    def stop(error: OSError) -> None:
        raise UsageError(f"cannot read folder {error.filename or folder}: {error.strerror or error}") from error

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    for here, below, names in os.walk(folder, onerror=stop):
        below[:] = [] if "run.json" in names else sorted(name for name in below if not name.startswith("."))
        if "run.json" in names:
            yield Path(here)


def listed(folder: Path) -> Listed:
    """How the run in a directory stands. One that is damaged says so as its status."""
    try:
        info, lines = open_run(folder), read_metrics(folder)
        ended = read_json(folder / "status.json") if (folder / "status.json").is_file() else {}
    except GanzooError:
        return Listed(folder, "?", "?", "damaged", 0, None, 0.0, None, None, None)
    settings, last = info.get("settings"), lines[-1] if lines else {}
    known = settings if isinstance(settings, dict) else {}
    told = ended if isinstance(ended, dict) else {}
    steps = None if (most := _number(info, "steps")) is None else int(most)
    running = being_written(folder)
    # A run that was stopped saves steps which no line of the log tells of.
    step, seconds = (max(_number(line, name) or 0.0 for line in (last, told)) for name in ("step", "seconds"))
    scores = [score for line in lines if (score := _number(line, "fid")) is not None]
    evaluated = _evaluated(folder, int(step), info.get("evaluation") if scores else None)
    return Listed(
        folder,
        info["model"],
        plain(str(known.get("dataset", "?"))),
        "running" if running else plain(str(told.get("status", "killed"))),
        int(step),
        steps,
        seconds,
        _left(step, seconds, steps, _number(known, "max_time")) if running else None,
        min([*scores, *([evaluated] if evaluated is not None else [])], default=None),
        evaluated if evaluated is not None else scores[-1] if scores else None,
        *marks_of(info),
    )


def _evaluated(folder: Path, step: int, measured: Any) -> float | None:
    """The FID in `eval.json`, where that is of the run's last step.

    `measured` is the protocol of those in its log, from which it may not differ; without one it is of any.
    """
    try:
        result = read_json(folder / "eval.json") if (folder / "eval.json").is_file() else None
        if isinstance(result, dict) and isinstance(measured, dict):
            comparable(result, {"protocol": measured, "metrics": {}, "settings": {}})
    except (GanzooError, KeyError, TypeError):
        return None
    metrics = result.get("metrics") if isinstance(result, dict) and result.get("step") == step else None
    return _number(metrics, "fid") if isinstance(metrics, dict) else None


def _left(step: float, seconds: float, steps: int | None, most: float | None) -> float | None:
    ends = [most - seconds] if most is not None else []
    if steps and step >= 1:
        ends.append((steps - step) * seconds / step)
    return max(min(ends), 0.0) if ends else None


def _number(values: Mapping[str, Any], name: str) -> float | None:
    """A number of a size that a run has, or None."""
    value = number(values.get(name))
    return value if value is not None and abs(value) < LARGEST else None
