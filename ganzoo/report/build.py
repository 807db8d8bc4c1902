"""The report itself: runs that may be compared, those set apart and why, the verdict; and all of it as plain values."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError, one_line, plain
from ganzoo.metrics.protocol import UNSEEN, at_their_sizes, comparable, describe
from ganzoo.report.benchmarks import Benchmarks, read_benchmarks
from ganzoo.report.lines import (
    MEASURES,
    MORE,
    Difference,
    Line,
    Measure,
    Standing,
    Value,
    difference,
    make_lines,
    mark_best,
    mark_options,
    put_in_order,
    rank,
    value_of,
)
from ganzoo.report.read import RunRecord, clean, last_logged, listed, mapping, number, read_run
from ganzoo.report.show import show, shown_number
from ganzoo.terminal import argument

MOST = 6
"""Runs that a sentence names."""
SEEDS = 3
"""With how many a lead can be told from chance, as a rule."""
EVAL = "The same command with `--eval` measures them first"
FORMAT = 1
"""Of the JSON: raised when a field changes its meaning or goes."""
THRESHOLDS = 3
RULE = (
    "Lines stand in the order of their FID. A value is marked best only when its mean over seeds leads every other "
    "line's by more than the spread over seeds explains: Welch's t-test against each, two-sided, p < 0.05. Spread is "
    "the standard deviation over seeds; with one seed it is unknown, and nothing is marked. What other images of the "
    "same generator would show is known of one seed too (95 %, bootstrap): a line is ahead where these intervals do "
    "not meet, far ahead where the other's begins at twice the end of its own. A line that lacks the value of a seed "
    "is compared by those it has, and never marked."
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
        about = "training until an evaluation found at most {:g}; at most that long, where the first one did"
        times = [
            Measure(threshold_key(t), f"time to FID {t:g}", "lower", "seconds", about.format(t))
            for t in self.thresholds
        ]
        return [*MEASURES[:5], *times, *MEASURES[5:]]

    @property
    def more(self) -> list[Measure]:
        """Columns of the second table: whatever else some line has, a stranger's metrics among it."""
        known = {m.key for m in (*self.measures, *MORE)}
        others = sorted({key for line in self.lines for key in line.values} - known)
        found = [*MORE, *(Measure(key, key.replace("_", " "), "", ".4g") for key in others)]
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
    folders: Sequence[Path], benchmarks: Sequence[Path] = (), command: str | None = None, failed: Sequence[str] = (),
    notes: Sequence[str] = (), checkpoint: str | None = None,
) -> Report:  # fmt: skip
    """Read everything and decide what may be compared. A damaged run among others is left out, with the reason.

    `failed` are what the caller knows to be missing, `notes` what a reader must know besides. `checkpoint`: of which
    the generators are compared, `best`, `last` or a step; None: as they were last saved.

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
            runs.append(read_run(folder, checkpoint))
        except UsageError:
            raise
        except GanzooError as error:
            faults.append(error)
    if faults and not runs:
        raise faults[0]
    failed = [*failed, *(f"left out: {one_line(fault)}" for fault in faults)]
    groups = make_groups(runs)
    said = command or shlex.join(["ganzoo", *sys.argv[1:]])
    for group in groups:
        time_to_thresholds(group)
        best_while_training(group)
        mark_best(group.lines, [*group.measures, *group.more])
        group.lines = put_in_order(group.lines, MEASURES[0])
    sentences, best = verdict(groups[0]) if groups else (["Benchmarks alone: no run was given."], None)
    files = read_benchmarks(benchmarks)
    told = [*notes, *failed, *cautions(groups), *unmeasured(groups, failed)]
    if checkpoint is not None:
        of = f"The generators are of checkpoint '{checkpoint}'"
        told.insert(0, f"{of}; times, memory and curves are of the whole run.")
    return Report(groups, files, sentences, best, told, said, failed)


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
        home = next((g for g in groups if same_images(g[0], run)), None)
        if home:
            home.append(run)
        else:
            groups.append([run])
    made = []
    for group in groups:
        apart = "" if group is groups[0] else why_apart(groups[0][0], group[0]) or "another run of its group differs"
        leave_out_sizes(group)
        # Of models with labels and without, what is said of labels holds for those that have them.
        with_labels = (run.protocol for run in group if run.protocol and run.protocol.get("labels"))
        made.append(Group(next(with_labels, group[0].protocol), apart, make_lines(group)))
    name_apart(made)
    mark_options([line for group in made for line in group.lines])
    return made


def leave_out_sizes(group: Sequence[RunRecord]) -> None:
    """Leave out of runs of another size than the first what was measured at their own size."""
    results = [run.result for run in group if run.result]
    for run in group:
        aside = at_their_sizes(results[0], run.result) if run.result else set()
        if run.result and aside:
            found = run.result["metrics"].items()
            kept = {k: v for k, v in found if not any(k == m or k.startswith(f"{m}_") for m in aside)}
            run.result = {**run.result, "metrics": kept}


def name_apart(groups: Sequence[Group]) -> None:
    """Names are told apart across groups too, so that a picture or a command belongs to one line."""
    taken: set[str] = set()
    for line in [line for group in groups for line in group.lines]:
        if line.name in taken:
            line.name += f" ({line.runs[0].folder})"
        taken.add(line.name)


def why_apart(a: RunRecord, b: RunRecord) -> str | None:
    """Why two runs cannot be set side by side; None if they can."""
    if not same_images(a, b):
        return f"trained on {_data(b)}, not on {_data(a)}"
    if a.result and b.result:
        try:
            comparable(b.result, a.result)
        except UsageError as error:
            text = str(error).removeprefix("these results cannot be compared: ")
            return f"measured otherwise: {text} in the first group"
    return None


def same_images(a: RunRecord, b: RunRecord) -> bool:
    """Whether two runs learnt from the same images, at whatever size, and from sources that were made of them alike:
    what is measured alike may be compared."""
    (name, shape, count), (other, theirs, number_of) = a.trained_on, b.trained_on
    return (name, count, len(shape), shape[:1], a.source) == (other, number_of, len(theirs), theirs[:1], b.source)


def _data(run: RunRecord) -> str:
    name, shape, count = run.trained_on
    if run.imported:
        return "what another program was given"
    sides = " x ".join(str(n) for n in shape)
    images = number(count)
    made = f", sources: {run.source}" if run.source else ""
    return f"{name} ({f'{images:,.0f}' if images is not None else '?'} images of {sides}{made})"


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
            times, at_most = [], False
            for run in line.runs:
                seconds, fids = curves[id(run)]
                times += [s for s, fid in zip(seconds, fids, strict=True) if fid <= threshold][:1]
                at_most |= bool(fids) and fids[0] <= threshold
            if times:
                line.values[threshold_key(threshold)] = value_of(times, len(line.runs))
                line.values[threshold_key(threshold)].at_most = at_most


def best_while_training(group: Group) -> None:
    """The lowest FID that `--eval-every` found of each run, and at which step: `--checkpoint best` has it."""
    for line in group.lines:
        curves = [fid_curve(run, group, "step") for run in line.runs]
        lowest = [min(zip(fids, steps, strict=True)) for steps, fids in curves if fids]
        if lowest:
            line.values["best_fid"] = value_of([fid for fid, _ in lowest], len(line.runs))
            line.values["best_fid_step"] = value_of([step for _, step in lowest], len(line.runs))


# The verdict


def verdict(group: Group) -> tuple[list[str], str | None]:
    """Which line is best by FID, by how much, and how sure; and its name, if it is sure."""
    fid = MEASURES[0]
    ranked = rank(group.lines, fid)
    if not ranked:
        shapes = [((run.result or {}).get("protocol") or {}).get("shape") for run in group.runs]
        if all(isinstance(shape, list) and len(shape) == 1 for shape in shapes):
            return ["Vectors have no FID: the numbers in the table say what each line is better at."], None
        return ["No run here has a FID, so nothing can be said about which is better.", way_to_fid(group.runs)], None
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
    if lead.sure is None and (stands := rival.standing):
        return by_images(best, rival, len(ranked), stands), None
    if not lead.amount:
        return [f"No line is best: {best.name} and {rival.name} have the same FID, {told(fid, value)}."], None
    first = f"No line is surely best: {best.name} has the lowest FID, {told(fid, value)}, {others}."
    if lead.sure is None:
        few = [line.name for line in (best, rival) if line.values["fid"].spread is None]
        who = "Each of the two has a FID on one seed" if len(few) == 2 else f"{few[0]} has a FID on one seed"
        return [
            first,
            f"The lead is {amount}. {who}, so how far another seed would move these numbers is unknown: nothing is "
            f"marked best.{for_certainty(best, rival)}",
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


def way_to_fid(runs: Sequence[RunRecord]) -> str:
    """What measures it where no run has it, or why it cannot be had."""
    if any(run.result is None for run in runs):
        folders = " ".join(argument(run.folder) for run in runs)
        command = f"ganzoo compare {folders} --eval{of_checkpoint(runs[0])}"
        return f"`{command}` measures them." if len(runs) <= MOST else f"{EVAL}."
    for run in runs:
        if reason := why_no_fid(run.result or {}):
            return f"It could not be measured of {run.folder}: {reason}."
    first = runs[0]
    usual = f"ganzoo eval {argument(first.folder)} --metrics fid{of_checkpoint(first)}"
    command = first.measures(first.folder, "fid") or usual
    return f"`{command}` measures that of the first, and so on."


def of_checkpoint(run: RunRecord) -> str:
    """The option that names the checkpoint of which a run is shown, where it is of one."""
    return f" --checkpoint {run.checkpoint}" if run.checkpoint else ""


def why_no_fid(result: Mapping[str, Any]) -> str:
    """Why an evaluation that was to measure the FID did not, if it says so."""
    told = map(str, listed(result.get("cautions")))
    unseen = next((text.removeprefix(f"{UNSEEN}: ") for text in told if text.startswith(UNSEEN)), "")
    return plain(str(clean(mapping(result.get("left_out")).get("fid") or unseen)))


def by_images(best: Line, rival: Line, count: int, stands: Standing) -> list[str]:
    """What can be said of a lead where one of the two has one seed: how far other images would move the numbers."""
    fid = MEASURES[0]
    (value, theirs), names = (line.values["fid"] for line in (best, rival)), (best.name, rival.name)
    one = "one seed" if len(value.values) == len(theirs.values) == 1 else "too few seeds"
    sure = f" ({one}{for_certainty(best, rival, '; for certainty: ')})"
    mine, others = (f"{show(fid, v)} ({within(v)})" for v in (value, theirs))
    against = f"against {others} for {names[1]}, the next best of {count}"
    if stands == "level":
        first = f"No line is ahead: {names[0]} has the lowest FID, {mine}, {against}{sure}."
        why = "The intervals meet: as many other images of the same generators might show the opposite."
    else:
        first = f"{names[0]} is {stands}: FID {mine}, {against}{sure}."
        why = "The lead is more than the images that were drawn explain (95 % intervals, by bootstrap)."
    return [first, f"{why} How far another seed would move these numbers is not known, so nothing is marked best."]


def within(value: Value) -> str:
    """From where to where other images would have brought the FID, in a sentence."""
    assert value.drawn is not None
    low, high = (shown_number(end, MEASURES[0].form) for end in value.drawn)
    return f"{low} to {high}"


def for_certainty(best: Line, rival: Line, begins: str = " For certainty: ") -> str:
    """How to train further seeds of the two; nothing where a run cannot be repeated."""
    runs = [run for line in (best, rival) for run in line.runs]
    seeds = [run.seed for run in runs if isinstance(run.seed, int) and not isinstance(run.seed, bool)]
    if len(seeds) < len(runs) or any(run.imported for run in runs):
        return ""
    folders = " ".join(argument(line.runs[0].folder) for line in (best, rival))
    said = f"ganzoo compare {folders} --seeds {min(seeds)}-{min(seeds) + SEEDS - 1}"
    said += f" --eval{of_checkpoint(best.runs[0])}" if best.runs[0].checkpoint else ""
    return f"{begins}`{said}`" + ("." if begins.endswith("y: ") and begins.startswith(" ") else "")


def interval(lead: Difference) -> str:
    """The interval of a lead, in a sentence."""
    low, high = (shown_number(end, MEASURES[0].form) for end in (lead.low, lead.high))
    return f"95 % interval {low} to {high}"


def told(measure: Measure, value: Value) -> str:
    """A value in a sentence."""
    n = len(value.values)
    return f"{show(measure, value)} ({value.note or f'{n} seed' + ('s' if n != 1 else '')})"


def unmeasured(groups: Sequence[Group], failed: Sequence[str] = ()) -> list[str]:
    """One note for all the runs that have no evaluation, with the command that makes it; of those that `failed` it is
    known why."""
    known = tuple(f"{run.folder}: " for group in groups for run in group.runs)
    told = {begin for begin in known if any(line.startswith(begin) for line in failed)}
    runs = [run for group in groups for run in group.runs if run.result is None and f"{run.folder}: " not in told]
    if not runs:
        return []
    names = ", ".join(str(run.folder) for run in runs[:MOST]) + (f" and {len(runs) - MOST} more" * (len(runs) > MOST))
    return [f"not evaluated: {names}. {EVAL}."]


def cautions(groups: Sequence[Group]) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = []
    if groups:
        lines = groups[0].lines
        budgets = {_budget(line): None for line in lines}
        if len(budgets) > 1:
            said.append(f"The lines did not have the same budget: {'; '.join(budgets)}.")
        sizes = {run.trained_on[1]: line.name for line in reversed(lines) for run in line.runs if run.trained_on[1]}
        if len(sizes) > 1 and any(run.result for line in lines for run in line.runs):
            told = "; ".join(f"{name} at {' x '.join(map(str, s[1:]))}" for s, name in reversed(sizes.items()))
            said.append(
                f"Not all were trained at one size ({told}). The extractor looks at all of them at one, each against "
                "the real images as they are at its own: where these are blurred, so may be what is asked for. What is "
                "measured in pixels is shown of one size alone."
            )
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
