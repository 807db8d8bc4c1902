"""The report itself: its groups, the verdict and what a reader must know, and all of it as plain values."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.report.benchmarks import Benchmarks, read_benchmarks
from ganzoo.report.groups import Group, best_while_training, make_groups, time_to_thresholds
from ganzoo.report.lines import Line, mark_best, put_in_order, ranked_by
from ganzoo.report.read import clean, read_run
from ganzoo.report.verdict import RULE, RULES, cautions, unmeasured, verdict

FORMAT = 1
"""Of the JSON: raised when a field changes its meaning or goes."""


@dataclass
class Report:
    """Everything that a page, a Markdown file or a JSON file is made from."""

    groups: list[Group]
    benchmarks: list[Benchmarks]
    """File by file."""
    verdict: list[str]
    best: str | None
    cautions: list[str]
    command: str
    failed: list[str] = field(default_factory=list)
    """What was asked for and is not in the report, or not whole, with the reason; among the cautions too."""
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M"))

    @property
    def lines(self) -> list[Line]:
        return [line for group in self.groups for line in group.lines]

    @property
    def by(self) -> str:
        """By what the models of the first group are put in order."""
        return self._ranked_by or "fid"

    @property
    def rule(self) -> str:
        """What is marked, and in which order models stand."""
        return RULES[self._ranked_by] if self.groups else RULE

    @property
    def _ranked_by(self) -> str:
        return ranked_by(self.groups[0].lines) if self.groups else ""

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        measures = dict.fromkeys(m for g in self.groups for m in (*g.measures, *g.more))
        told = {
            "kind": "ganzoo report",
            "format": FORMAT,
            "ganzoo": __version__,
            "created": self.created,
            "command": self.command,
            "verdict": {"sentences": self.verdict, "best": self.best, "by": self.by},
            "cautions": self.cautions,
            "failed": self.failed,
            "rule": self.rule,
            "measures": [m._asdict() for m in measures],
            "groups": [
                {
                    "protocol": group.protocol,
                    "protocol_text": group.text,
                    "set_apart_because": group.apart or None,
                    "lines": [_line(line) for line in group.lines],
                }
                for group in self.groups
            ],
            "benchmarks": [row._asdict() for file in self.benchmarks for row in file.rows],
            "benchmark_files": [
                {"path": file.path, "facts": file.facts, "command": file.command} for file in self.benchmarks
            ],
        }
        plain: dict[str, Any] = clean(told)
        return plain


def build(
    folders: Sequence[Path], benchmarks: Sequence[Path] = (), command: str | None = None, failed: Sequence[str] = (),
    notes: Sequence[str] = (), checkpoint: str | None = None,
) -> Report:  # fmt: skip
    """Read everything and decide what may be compared. A damaged run among others is left out, with the reason.

    `failed` are what the caller knows to be missing, `notes` what a reader must know besides. `checkpoint`: of which
    the generators are compared, `best`, `last` or a step; None: as they were last saved.

    Raises:
        UsageError: nothing was given, a folder twice, or one that is no run; or no run has the checkpoint.
        GanzooError: a benchmark file is damaged, or every run is.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is named twice")
        seen.add(folder.resolve())
    if not folders and not benchmarks:
        raise UsageError("name at least one run directory, model or benchmark file")
    runs, faults = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder, checkpoint))
        except UsageError:
            raise
        except GanzooError as error:
            faults.append(error)
    if faults and not runs:
        raise faults[0]
    if runs and all(run.lacks for run in runs):
        raise UsageError(f"no run here has checkpoint '{checkpoint}': {runs[0].lacks}")
    failed = [*failed, *(f"left out: {one_line(fault)}" for fault in faults)]
    groups = make_groups(runs)
    said = command or shlex.join(["ganzoo", *sys.argv[1:]])
    for group in groups:
        time_to_thresholds(group)
        best_while_training(group)
        mark_best(group.lines, [*group.measures, *group.more])
        group.lines = put_in_order(group.lines)
    sentences, best = verdict(groups[0]) if groups else (["Benchmarks alone: no run was given."], None)
    files = read_benchmarks(benchmarks)
    told = [*notes, *failed, *cautions(groups), *unmeasured(groups, failed)]
    if checkpoint is not None:
        of = f"The generators are of checkpoint '{checkpoint}'"
        told.insert(0, f"{of}; times, memory and curves are of the whole run.")
    return Report(groups, files, sentences, best, told, said, failed)


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "model": line.runs[0].model,
        "options": line.options,
        "differs": line.differs,
        "values": {
            key: {"mean": v.mean, "spread": v.spread, "n": len(v.values), "values": v.values, "best": v.best,
                  "note": v.note, "at_most": v.at_most, "interval": [v.low, v.high] if v.low is not None else None}
            for key, v in line.values.items()
        },
        "rank": line.rank,
        "behind": line.behind._asdict() if line.behind else None,
        "behind_by_images": line.standing,
        "runs": [
            {
                "folder": str(run.folder),
                "seed": run.seed,
                "preset": run.info.get("preset"),
                "status": run.status.get("status"),
                "created": run.info.get("created"),
                "repeat": run.command,
                "measure": run.measuring,
                "machine": run.machine,
                "versions": run.info.get("versions"),
                "notes": run.notes,
                "numbers": run.numbers(),
                "fid_interval": run.interval("fid"),
                "fid_by_seconds": run.curve("fid", "seconds"),
                "fid_by_images": run.curve("fid", "images"),
            }
            for run in line.runs
        ],
    }  # fmt: skip
