"""The report itself: runs that may be compared, those set apart and why, the verdict; and all of it as plain values."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError, one_line, plain
from ganzoo.metrics.evaluation import comparable, describe
from ganzoo.report.benchmarks import Benchmarks, read_benchmarks
from ganzoo.report.lines import (
    MEASURES,
    MORE,
    Difference,
    Line,
    Measure,
    Value,
    difference,
    make_lines,
    mark_best,
    mark_options,
    rank,
    value_of,
)
from ganzoo.report.read import RunRecord, clean, last_logged, listed, number, read_run
from ganzoo.report.show import show, shown_number

FORMAT = 1
"""Of the JSON: raised when a field changes its meaning or goes."""
THRESHOLDS = 3
RULE = (
    "A value is marked best only when its mean over seeds leads every other line's by more than the spread over seeds "
    "explains: Welch's t-test against each, two-sided, p < 0.05. Spread is the standard deviation over seeds; with one "
    "seed it is unknown, and nothing is marked. A line that lacks the value of a seed is compared by those it has, and "
    "never marked."
)


@dataclass
class Group:
    """Lines that may be compared with each other."""

    protocol: dict[str, Any] | None
    """What their numbers depend on; None where nothing was measured."""
    apart: str
    """Why they stand apart from the first group; empty for that one."""
    lines: list[Line]
    thresholds: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return describe(self.protocol) if self.protocol else "not evaluated"

    @property
    def measures(self) -> list[Measure]:
        """The table's columns: time to FID thresholds stands after the speed."""
        times = [
            Measure(threshold_key(t), f"time to FID {t:g}", "lower", "seconds", f"training until FID is at most {t:g}")
            for t in self.thresholds
        ]
        return [*MEASURES[:5], *times, *MEASURES[5:]]

    @property
    def more(self) -> list[Measure]:
        """Columns of the second table: whatever else some line has, a stranger's metrics among it."""
        known = {m.key for m in (*self.measures, *MORE)}
        others = sorted({key for line in self.lines for key in line.values} - known)
        found = [*MORE, *(Measure(key, key, "", ".4g") for key in others)]
        return [m for m in found if any(m.key in line.values for line in self.lines)]

    @property
    def runs(self) -> list[RunRecord]:
        return [run for line in self.lines for run in line.runs]


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
    rule: str = RULE

    @property
    def lines(self) -> list[Line]:
        return [line for group in self.groups for line in group.lines]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        measures = dict.fromkeys(m for g in self.groups for m in (*g.measures, *g.more))
        told = {
            "kind": "ganzoo report",
            "format": FORMAT,
            "ganzoo": __version__,
            "created": self.created,
            "command": self.command,
            "verdict": {"sentences": self.verdict, "best": self.best, "by": "fid"},
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
    folders: Sequence[Path], benchmarks: Sequence[Path] = (), command: str | None = None, failed: Sequence[str] = ()
) -> Report:
    """Read everything and decide what may be compared. A damaged run among others is left out, with the reason.

    `failed` are what the caller knows to be missing.

    Raises:
        UsageError: nothing was given, a folder twice, or one that is no run.
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
            runs.append(read_run(folder))
        except UsageError:
            raise
        except GanzooError as error:
            faults.append(error)
    if faults and not runs:
        raise faults[0]
    failed = [*failed, *(f"left out: {one_line(fault)}" for fault in faults)]
    groups = make_groups(runs)
    for group in groups:
        time_to_thresholds(group)
        mark_best(group.lines, [*group.measures, *group.more])
    sentences, best = verdict(groups[0]) if groups else (["Benchmarks alone: no run was given."], None)
    said = command or shlex.join(["ganzoo", *sys.argv[1:]])
    files = read_benchmarks(benchmarks)
    return Report(groups, files, sentences, best, [*failed, *cautions(groups)], said, failed)


# Who may be compared


def make_groups(runs: Sequence[RunRecord]) -> list[Group]:
    """Runs measured alike on alike data; the largest group first, the others with the reason why they stand apart."""
    groups: list[list[RunRecord]] = []
    for run in [run for run in runs if run.result]:
        home = next((g for g in groups if all(why_apart(other, run) is None for other in g)), None)
        if home:
            home.append(run)
        else:
            groups.append([run])
    groups.sort(key=len, reverse=True)
    for run in [run for run in runs if not run.result]:
        home = next((g for g in groups if g[0].trained_on == run.trained_on), None)
        if home:
            home.append(run)
        else:
            groups.append([run])
    made = []
    for group in groups:
        apart = "" if group is groups[0] else why_apart(groups[0][0], group[0]) or "another run of its group differs"
        # Of models with labels and without, what is said of labels holds for those that have them.
        with_labels = (run.protocol for run in group if run.protocol and run.protocol.get("labels"))
        made.append(Group(next(with_labels, group[0].protocol), apart, make_lines(group)))
    name_apart(made)
    mark_options([line for group in made for line in group.lines])
    return made


def name_apart(groups: Sequence[Group]) -> None:
    """Names are told apart across groups too, so that a picture or a command belongs to one line."""
    taken: set[str] = set()
    for line in [line for group in groups for line in group.lines]:
        if line.name in taken:
            line.name += f" ({line.runs[0].folder})"
        taken.add(line.name)


def why_apart(a: RunRecord, b: RunRecord) -> str | None:
    """Why two runs cannot be set side by side; None if they can."""
    if a.trained_on != b.trained_on:
        return f"trained on {_data(b)}, not on {_data(a)}"
    if a.result and b.result:
        try:
            comparable(b.result, a.result)
        except UsageError as error:
            text = str(error).removeprefix("these results cannot be compared: ")
            return f"measured otherwise: {text} in the first group"
    return None


def _data(run: RunRecord) -> str:
    name, shape, count = run.trained_on
    if run.imported:
        return "what another program was given"
    sides = " x ".join(str(n) for n in shape)
    images = number(count)
    return f"{name} ({f'{images:,.0f}' if images is not None else '?'} images of {sides})"


# Time to thresholds


def threshold_key(threshold: float) -> str:
    return f"seconds_to_fid_{threshold:g}"


def fid_curve(run: RunRecord, group: Group, against: str) -> tuple[list[float], list[float]]:
    """The FIDs of a run while it trained, where they were measured as the group's were."""
    logged, measured = last_logged(run), next((other.result for other in group.runs if other.result), None)
    if logged is None or measured is None:
        return [], []
    try:
        comparable(logged, measured)
    except GanzooError:
        return [], []
    return run.curve("fid", against)


def time_to_thresholds(group: Group) -> None:
    """Seconds of training until the FID first was at most a round number, for the lowest ones that a run reached."""
    curves = {id(run): fid_curve(run, group, "seconds") for run in group.runs}
    reached = [min(fids) for _, fids in curves.values() if fids]
    if not reached:
        return
    first = max(fids[0] for _, fids in curves.values() if fids)
    rounds = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
    group.thresholds = [t for t in rounds if min(reached) <= t < first][:THRESHOLDS]
    for threshold in group.thresholds:
        for line in group.lines:
            times = []
            for run in line.runs:
                seconds, fids = curves[id(run)]
                times += [s for s, fid in zip(seconds, fids, strict=True) if fid <= threshold][:1]
            if times:
                line.values[threshold_key(threshold)] = value_of(times, len(line.runs))


# The verdict


def verdict(group: Group) -> tuple[list[str], str | None]:
    """Which line is best by FID, by how much, and how sure; and its name, if it is sure."""
    fid = MEASURES[0]
    ranked = rank(group.lines, fid)
    if not ranked:
        return ["No run here has a FID, so nothing can be said about which is better: run `ganzoo eval` on each."], None
    best = ranked[0]
    value = best.values["fid"]
    if len(ranked) == 1:
        return [f"{best.name} reaches FID {told(fid, value)}; no other line has a FID to compare it with."], None
    rival, theirs = ranked[1], ranked[1].values["fid"]
    lead = difference(value, theirs)
    others = f"against {told(fid, theirs)} for {rival.name}, the next best of {len(ranked)}"
    amount = shown_number(lead.amount, fid.form)
    if value.best:
        how_sure = f"The lead of {amount} ({interval(lead)}) is more than the spread over seeds explains."
        return [f"{best.name} is best: FID {told(fid, value)}, {others}.", how_sure], best.name
    if not lead.amount:
        return [f"No line is best: {best.name} and {rival.name} have the same FID, {told(fid, value)}."], None
    first = f"No line is surely best: {best.name} has the lowest FID, {told(fid, value)}, {others}."
    if lead.sure is None:
        few = [line.name for line in (best, rival) if line.values["fid"].spread is None]
        who = "Each of the two has a FID on one seed" if len(few) == 2 else f"{few[0]} has a FID on one seed"
        return [
            first,
            f"The lead is {amount}. {who}, so how far another seed would move these numbers is unknown: nothing is "
            "marked best.",
        ], None
    if value.note:
        return [
            first,
            f"The lead is {amount}, but {best.name} has a FID on {value.note} only, and what the others would show is "
            "unknown: nothing is marked best.",
        ], None
    if lead.sure:
        doubtful = [line.name for line in ranked[2:] if not difference(value, line.values["fid"]).sure]
        return [
            first,
            f"The lead of {amount} ({interval(lead)}) is more than the spread over seeds explains, but whether the one "
            f"over {', '.join(doubtful[:3])} is cannot be told from its seeds.",
        ], None
    return [
        first,
        f"The lead of {amount} ({interval(lead)}) is no more than the spread over seeds explains: more seeds or "
        "longer training would have to tell.",
    ], None


def interval(lead: Difference) -> str:
    """The interval of a lead, in a sentence."""
    low, high = (shown_number(end, MEASURES[0].form) for end in (lead.low, lead.high))
    return f"95 % interval {low} to {high}"


def told(measure: Measure, value: Value) -> str:
    """A value in a sentence."""
    n = len(value.values)
    return f"{show(measure, value)} ({value.note or f'{n} seed' + ('s' if n != 1 else '')})"


def cautions(groups: Sequence[Group]) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = []
    if groups:
        lines = groups[0].lines
        budgets = {_budget(line): None for line in lines}
        if len(budgets) > 1:
            said.append(f"The lines did not have the same budget: {'; '.join(budgets)}.")
        machines = dict.fromkeys(str(run.machine.get("device_name", "?")) for line in lines for run in line.runs)
        if len(machines) > 1:
            said.append(
                f"The runs were made on different hardware ({', '.join(machines)}): speeds and times compare it."
            )
    for group in groups:
        for line in group.lines:
            for run in line.runs:
                said += [f"{run.folder}: {note}" for note in run.notes]
                said += [
                    f"{run.folder}: {plain(str(clean(text)))}" for text in listed((run.result or {}).get("cautions"))
                ]
    return said


def _budget(line: Line) -> str:
    names = {"max_time": "{:g} s", "steps": "{:g} steps", "epochs": "{:g} epochs"}
    parts = [text.format(n) for key, text in names.items() if (n := number(line.options.get(key))) is not None]
    return " and ".join(parts) or "the default epochs"


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "model": line.runs[0].model,
        "options": line.options,
        "differs": line.differs,
        "values": {
            key: {"mean": v.mean, "spread": v.spread, "n": len(v.values), "values": v.values, "best": v.best,
                  "note": v.note}
            for key, v in line.values.items()
        },
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
                "fid_by_seconds": run.curve("fid", "seconds"),
                "fid_by_images": run.curve("fid", "images"),
            }
            for run in line.runs
        ],
    }  # fmt: skip
