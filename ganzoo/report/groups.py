"""Runs that may be compared with each other, those that stand apart, and what a group's runs have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import number
from ganzoo.metrics.protocol import at_their_sizes, comparable, describe
from ganzoo.report.lines import LIFTED, MEASURES, MORE, TIMES, Line, Measure, make_lines, mark_options, value_of
from ganzoo.report.read import RunRecord, last_logged

THRESHOLDS = 3
"""Of the FID, with the time that each line took to them."""


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
        """The first table's measures: time to FID thresholds stands after the speed."""
        about = "training until an evaluation found at most {:g}; at most that long, where the first one did"
        times = [
            Measure(threshold_key(t), f"time to FID {t:g}", "lower", "seconds", about.format(t))
            for t in self.thresholds
        ]
        lifted = [m for m in MORE if m.key in LIFTED and any(m.key in line.values for line in self.lines)]
        return [*MEASURES[:4], *lifted, MEASURES[4], *times, *MEASURES[5:]]

    @property
    def columns(self) -> list[Measure]:
        """The first table's columns: measures of which some line has a number."""
        return [m for m in self.measures if any(m.key in line.values for line in self.lines)]

    @property
    def more(self) -> list[Measure]:
        """Columns of the second table: whatever else some line has, a stranger's metrics among it."""
        known = {m.key for m in (*self.measures, *MORE)}
        others = sorted({key for line in self.lines for key in line.values} - known)
        found = [
            *(m for m in MORE if m.key not in LIFTED),
            *(Measure(key, key.replace("_", " "), "", ".4g") for key in others),
        ]
        return [m for m in found if any(m.key in line.values for line in self.lines)]

    @property
    def runs(self) -> list[RunRecord]:
        return [run for line in self.lines for run in line.runs]


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


def threshold_key(threshold: float) -> str:
    return f"{TIMES}{threshold:g}"


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
