"""What a report says of its runs in sentences: which line is best, how sure that is, and what a reader must know."""

from collections.abc import Mapping, Sequence
from typing import Any

from ganzoo.errors import plain
from ganzoo.metrics.protocol import UNSEEN
from ganzoo.report.groups import Group
from ganzoo.report.lines import MEASURES, Difference, Line, Measure, Standing, Value, difference, rank, ranked_by
from ganzoo.report.read import RunRecord, clean, listed, mapping, number
from ganzoo.report.show import show, shown_number
from ganzoo.terminal import argument

MOST = 6
"""Runs that a sentence names."""
SEEDS = 3
"""With how many a lead can be told from chance, as a rule."""
EVAL = "The same command with `--eval` measures them first"
MARKED = (
    "A value is marked best only when its mean over seeds leads every other model's by more than the spread over seeds "
    "explains: Welch's t-test against each, two-sided, p < 0.05. Spread is the standard deviation over seeds; with one "
    "seed it is unknown, and nothing is marked."
)
LACKING = "A model that lacks the value of a seed is compared by those it has, and never marked."
RULE = (
    f"Models stand in the order of their FID. {MARKED} What other images of the same generator would show is known of "
    "one seed too (95 %, bootstrap): a model is ahead where these intervals do not meet, far ahead where the other's "
    f"begins at twice the end of its own. {LACKING}"
)
RULES = {
    "fid": RULE,
    "modes": f"Models stand in the order of the modes they reach, and then of their reverse KL. {MARKED} {LACKING}",
    "": f"{MARKED} {LACKING}",
}
"""By what a report is put in order, and what is marked in it."""


def verdict(group: Group) -> tuple[list[str], str | None]:
    """Which line is best by FID, by how much, and how sure; and its name, if it is sure. Without FIDs: the modes."""
    by = ranked_by(group.lines)
    if by == "modes":
        return by_modes(group), None
    if not by:
        shapes = [((run.result or {}).get("protocol") or {}).get("shape") for run in group.runs]
        if all(isinstance(shape, list) and len(shape) == 1 for shape in shapes):
            return ["Vectors have no FID: the numbers in the table say what each model is better at."], None
        return ["No run here has a FID, so nothing can be said about which is better.", way_to_fid(group.runs)], None
    fid = MEASURES[0]
    ranked = rank(group.lines, fid)
    best = ranked[0]
    value = best.values["fid"]
    if len(ranked) == 1:
        return [f"{best.name} reaches FID {told(fid, value)}; no other model has a FID to compare it with."], None
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
        return [f"None is best: {best.name} and {rival.name} have the same FID, {told(fid, value)}."], None
    first = f"None is surely best: {best.name} has the lowest FID, {told(fid, value)}, {others}."
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
    return shared(ranked), None


def shared(ranked: Sequence[Line]) -> list[str]:
    """Who share first place, since seeds explain what lies between them, and who is surely behind."""
    fid = MEASURES[0]
    value = ranked[0].values["fid"]
    leads = [difference(value, line.values["fid"]) for line in ranked[1:]]
    beyond = next((i for i, lead in enumerate(leads) if lead.sure), len(leads))
    # One whose lead is unknown, for lack of seeds, shares nothing.
    first = [ranked[0], *(line for line, lead in zip(ranked[1:], leads[:beyond], strict=False) if lead.sure is False)]
    after = [(line, lead) for line, lead in zip(ranked[1:], leads, strict=True) if line not in first]
    values = [line.values["fid"] for line in first[:MOST]]
    each = {v.note or f"{len(v.values)} seed{'s' if len(v.values) != 1 else ''}" for v in values}
    shown = [show(fid, v) if len(each) == 1 else told(fid, v) for v in values]
    seeds = f" ({each.pop()})" if len(each) == 1 else ""
    lead = leads[0]
    said = [
        f"{in_a_row([line.name for line in first])} share first place: FID {in_a_row(shown, len(first))}{seeds}; the "
        "difference is within chance.",
        f"The lead of {shown_number(lead.amount, fid.form)} ({interval(lead)}) is no more than the spread over seeds "
        "explains: more seeds or longer training would have to tell.",
    ]
    if surely := next(((line.name, lead) for line, lead in after if lead.sure), None):
        name, behind = surely
        said.append(f"The next, {name}, is {shown_number(behind.amount, fid.form)} behind ({interval(behind)}).")
    if doubtful := [line.name for line, lead in after if not lead.sure]:
        its = "its" if len(doubtful) == 1 else "their"
        said.append(f"Whether {in_a_row(doubtful, word='or')} is behind cannot be told from {its} seeds.")
    return said


def in_a_row(names: Sequence[str], count: int | None = None, word: str = "and") -> str:
    """`a, b and c`; of more than a sentence names, the first, and how many more of `count` there are."""
    more = (count or len(names)) - MOST
    if more > 0:
        return f"{', '.join(names[:MOST])} {word} {more} more"
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else names[0]


def by_modes(group: Group) -> list[str]:
    """How many modes each model reaches, the most first."""
    ranked = [line for line in group.lines if "modes" in line.values]
    settings = [mapping(mapping((run.result or {}).get("settings")).get("modes")).get("of") for run in group.runs]
    of = next((known for n in settings if (known := number(n))), None)
    reached: dict[str, list[str]] = {}
    for line in ranked:
        mean = line.values["modes"].mean or 0.0
        count = "all" if of and mean >= of else shown_number(mean, ".1f").removesuffix(".0")
        reached.setdefault(count, []).append(line.name)
    parts: list[str] = []
    for count, names in reached.items():
        many = f"all {of:.0f}" if count == "all" and of else count
        if not parts:
            many += " modes" if count == "all" or not of else f" of {of:.0f} modes"
        elif of and count != "all":
            many += f" of {of:.0f}"
        parts.append(f"{in_a_row(names)} {'reaches' if len(names) == 1 else 'reach'} {many}")
    more = f"; {len(parts) - MOST} other counts are in the table" if len(parts) > MOST else ""
    said = ["; ".join(parts[:MOST]) + more + "."]
    if all(len(line.values["modes"].values) == 1 for line in ranked):
        said.append("Each has one seed: another may end otherwise, so nothing is marked best.")
    return said


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
        first = f"None is ahead: {names[0]} has the lowest FID, {mine}, {against}{sure}."
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
            said.append(f"The models did not have the same budget: {'; '.join(budgets)}.")
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
