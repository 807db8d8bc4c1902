"""What a report says of its runs in sentences: which line is best, how sure that is, and what a reader must know."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ganzoo.errors import plain
from ganzoo.files import number
from ganzoo.metrics.protocol import UNSEEN
from ganzoo.report.groups import Group
from ganzoo.report.lines import CLEAR, MEASURES, Difference, Line, Measure, Value, rank, ranked_by
from ganzoo.report.read import RunRecord, clean, listed, mapping
from ganzoo.report.show import few_seeds, show, shown_number, telling
from ganzoo.runs.hub import spoken
from ganzoo.terminal import argument

MOST = 6
"""Runs that a sentence names."""
SEEDS = 3
"""With how many a lead can be told from chance, as a rule."""
LARGEST_SEED = 2**31 - 1
"""That a run may have."""
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
    ranked = rank(group.lines, MEASURES[0])
    best = ranked[0]
    value = best.values["fid"]
    if len(ranked) == 1:
        only = f"{best.name} reaches FID {told(MEASURES[0], value)}; no other model has a FID to compare it with."
        return [only], None
    said = of_several(ranked)
    if lacking := [line.name for line in ranked[2:] if line.values["fid"].note]:
        said.append(f"{in_a_row(lacking)} {'has' if len(lacking) == 1 else 'have'} a FID on some seeds only.")
    return said, best.name if value.best else None


def of_several(ranked: Sequence[Line]) -> list[str]:
    """What can be said of the first by FID, against each of the others: the surest of what is true of all."""
    best, rival = ranked[:2]
    value = best.values["fid"]
    if len(same := [line for line in ranked if line.values["fid"].mean == value.mean]) > 1:
        return [alike(same)]
    near = itertools.takewhile(lambda line: line.lead not in CLEAR, ranked[1:])
    if not value.note and any(line.lead == "shared" for line in near):
        return shared(ranked)
    # A model of which seeds failed is never said to be ahead by the others.
    if not value.note and rival.lead in ("far ahead", "ahead", "level"):
        return by_images(ranked)
    return by_seeds(ranked)


def alike(lines: Sequence[Line]) -> str:
    """That lines have the same FID, however many seeds each has."""
    values = [line.values["fid"] for line in lines]
    said = {told(MEASURES[0], value) for value in values}
    fid = said.pop() if len(said) == 1 else shown_number(values[0].mean, MEASURES[0].form)
    return f"None is best: {in_a_row([line.name for line in lines])} have the same FID, {fid}."


def by_seeds(ranked: Sequence[Line]) -> list[str]:
    """What the seeds say of the first line's lead over the next."""
    best, rival = ranked[:2]
    value, theirs = best.values["fid"], rival.values["fid"]
    fid = telling(MEASURES[0], (value.mean, theirs.mean))
    others = f"against {told(fid, theirs)} for {rival.name}, the next best of {len(ranked)}"
    if value.best:
        return [f"{best.name} is best: FID {told(fid, value)}, {others}.", f"{beyond_seeds(rival)}."]
    unsure = [line for line in ranked[2:] if line.lead != "sure"]
    if rival.lead == "sure" and not value.note and all(line.lead in CLEAR for line in unsure):
        are = f"{in_a_row([line.name for line in unsure])} {'is' if len(unsure) == 1 else 'are'}"
        return [
            f"{best.name} is ahead: FID {told(fid, value)}, {others}.",
            f"{beyond_seeds(rival)}. {are} behind by the images that were drawn, with too few seeds to be sure, so "
            f"nothing is marked best.{for_certainty(best, *unsure)}",
        ]
    first = f"None is surely best: {best.name} has the lowest FID, {told(fid, value)}, {others}."
    return [first, why_unsure(ranked)]


def beyond_seeds(rival: Line) -> str:
    """That a lead over another line is sure."""
    lead = lead_over(rival)
    amount = shown_number(lead.amount, MEASURES[0].form)
    return f"The lead of {amount} ({interval(lead)}) is more than the spread over seeds explains"


def why_unsure(ranked: Sequence[Line]) -> str:
    """Why the first line's lead is not sure by its seeds, and what would tell."""
    best, rival = ranked[:2]
    note, lead = best.values["fid"].note, lead_over(rival)
    amount = shown_number(lead.amount, MEASURES[0].form)
    if note:
        return (
            f"The lead is {amount}, but {best.name} has a FID on {note} only, and what the others would show is "
            "unknown: nothing is marked best."
        )
    if rival.lead == "sure":
        doubtful = [line.name for line in ranked[2:] if line.lead not in CLEAR]
        return (
            f"{beyond_seeds(rival)}, but whether the one over {in_a_row(doubtful, word='or')} is cannot be told from "
            f"{'its' if len(doubtful) == 1 else 'their'} seeds."
        )
    if rival.lead == "apart":
        return (
            f"Each seed of {best.name} is below each of {rival.name}, but they are too few to be sure of the lead of "
            f"{amount} ({interval(lead)}): nothing is marked best.{for_certainty(best, rival)}"
        )
    few = [line.name for line in (best, rival) if line.values["fid"].spread is None]
    who = "Each of the two has a FID on one seed" if len(few) == 2 else f"{few[0]} has a FID on one seed"
    return (
        f"The lead is {amount}. {who}, so how far another seed would move these numbers is unknown: nothing is marked "
        f"best.{for_certainty(best, rival)}"
    )


def lead_over(line: Line) -> Difference:
    """The first's lead over a line."""
    assert line.behind is not None
    return line.behind


def shared(ranked: Sequence[Line]) -> list[str]:
    """Who share first place, since seeds explain what lies between them, and who is behind."""
    fid = MEASURES[0]
    near = list(itertools.takewhile(lambda line: line.lead not in CLEAR, ranked[1:]))
    # One whose lead is unknown, for lack of seeds, shares nothing.
    first = [ranked[0], *(line for line in near if line.lead == "shared")]
    after = [line for line in ranked if line not in first]
    values = [line.values["fid"] for line in first[:MOST]]
    each = {seeds_of(v) for v in values}
    shown = [show(fid, v) if len(each) == 1 else told(fid, v) for v in values]
    seeds = f" ({each.pop()})" if len(each) == 1 else ""
    lead = lead_over(first[1])
    said = [
        f"{in_a_row([line.name for line in first])} share first place: FID {in_a_row(shown, len(first))}{seeds}; seeds "
        "do not tell them apart.",
        f"The lead of {shown_number(lead.amount, fid.form)} ({interval(lead)}) is no more than the spread over seeds "
        "explains: more seeds or longer training would have to tell.",
    ]
    if surely := next((line for line in after if line.lead == "sure"), None):
        behind = lead_over(surely)
        said.append(f"The next, {surely.name}, is {shown_number(behind.amount, fid.form)} behind ({interval(behind)}).")
    if unsure := [line.name for line in after if line.lead in ("far ahead", "ahead")]:
        are = "is" if len(unsure) == 1 else "are"
        said.append(f"{in_a_row(unsure)} {are} behind by the images that were drawn, with too few seeds to be sure.")
    if doubtful := [line.name for line in after if line.lead not in CLEAR]:
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
    runs = [run for run in runs if not run.lacks] or runs
    if all(run.handed_over and run.result is None for run in runs):
        return by_python(runs)
    runs = [run for run in runs if not run.handed_over] or runs
    if any(run.result is None for run in runs):
        folders = " ".join(argument(spoken(run.folder)) for run in runs)
        command = f"ganzoo compare {folders} --eval{of_checkpoint(runs[0])}"
        return f"`{command}` measures them." if len(runs) <= MOST else f"{EVAL}."
    for run in runs:
        if reason := why_no_fid(run.result or {}):
            return f"It could not be measured of {run.folder}: {reason}."
    if (first := runs[0]).handed_over:
        return by_python(runs)
    usual = f"ganzoo eval {argument(spoken(first.folder))} --metrics fid{of_checkpoint(first)}"
    command = first.measures(first.folder, "fid") or usual
    return f"`{command}` measures that of the first, and so on."


def by_python(runs: Sequence[RunRecord]) -> str:
    """What measures runs of something that a program handed over."""
    calls = in_a_row([f"`{run.from_python}`" for run in runs])
    return f"In Python {calls} {'measures it' if len(runs) == 1 else 'measure them'}."


def of_checkpoint(run: RunRecord) -> str:
    """The option that names the checkpoint of which a run is shown, where it is of one."""
    return f" --checkpoint {run.checkpoint}" if run.checkpoint else ""


def why_no_fid(result: Mapping[str, Any]) -> str:
    """Why an evaluation that was to measure the FID did not, if it says so."""
    told = map(str, listed(result.get("cautions")))
    unseen = next((text.removeprefix(f"{UNSEEN}: ") for text in told if text.startswith(UNSEEN)), "")
    return plain(str(clean(mapping(result.get("left_out")).get("fid") or unseen)))


def by_images(ranked: Sequence[Line]) -> list[str]:
    """What can be said of a lead where seeds are too few to say it: how far other images would move the numbers."""
    best, rival = ranked[:2]
    (value, theirs), names = (line.values["fid"] for line in (best, rival)), (best.name, rival.name)
    ends = [v.drawn or (None, None) for v in (value, theirs)]
    fid = telling(MEASURES[0], (value.mean, theirs.mean), (ends[0][1], ends[1][0]))
    doubtful = [line for line in ranked[2:] if line.lead not in CLEAR]
    sure = f" ({few_seeds(best, rival)}{for_certainty(best, rival, *doubtful, begins='; for certainty: ')})"
    mine, others = (by_drawn(fid, v) for v in (value, theirs))
    against = f"against {others} for {names[1]}, the next best of {len(ranked)}"
    why = "The lead is more than the images that were drawn explain (95 % intervals, by bootstrap)"
    if rival.lead == "level":
        first = f"None is ahead: {names[0]} has the lowest FID, {mine}, {against}{sure}."
        why = "The intervals meet: as many other images of the same generators might show the opposite"
    elif doubtful:
        first = f"None is surely ahead: {names[0]} has the lowest FID, {mine}, {against}{sure}."
        why += f", but whether there is one over {in_a_row([line.name for line in doubtful], word='or')} cannot be told"
    else:
        stands = "far ahead" if all(line.standing == "far ahead" for line in ranked[1:]) else "ahead"
        first = f"{names[0]} is {stands}: FID {mine}, {against}{sure}."
    lead = lead_over(rival)
    seeds = "How far another seed would move these numbers is not known"
    if lead.sure is False:
        seeds = f"By its seeds alone the lead of {shown_number(lead.amount, fid.form)} ({interval(lead)}) is not sure"
    return [first, f"{why}. {seeds}, so nothing is marked best."]


def by_drawn(fid: Measure, value: Value) -> str:
    """A FID in a sentence, with from where to where other images would have brought it."""
    assert value.drawn is not None
    seeds = f"{seeds_of(value)}; " if value.note or len(value.values) > 1 else ""
    low, high = (shown_number(end, fid.form) for end in value.drawn)
    return f"{show(fid, value)} ({seeds}{low} to {high})"


def for_certainty(*lines: Line, begins: str = " For certainty: ") -> str:
    """How to train further seeds of lines; nothing where a run cannot be repeated."""
    runs = [run for line in lines for run in line.runs]
    seeds = [run.seed for run in runs if isinstance(run.seed, int) and not isinstance(run.seed, bool)]
    if len(seeds) < len(runs) or any(run.imported or run.handed_over or run.cut_short for run in runs):
        return ""
    fewest = min(len(line.runs) for line in lines)
    many = SEEDS if fewest < SEEDS else 2 * fewest
    first = max(0, min(*seeds, LARGEST_SEED + 1 - many))
    folders = " ".join(argument(spoken(line.runs[0].folder)) for line in lines[:MOST])
    said = f"ganzoo compare {folders} --seeds {first}-{first + many - 1}"
    said += f" --eval{of_checkpoint(lines[0].runs[0])}" if lines[0].runs[0].checkpoint else ""
    return f"{begins}`{said}`" + ("." if begins.startswith(" ") else "")


def interval(lead: Difference) -> str:
    """The interval of a lead, in a sentence."""
    low, high = (shown_number(end, MEASURES[0].form) for end in (lead.low, lead.high))
    return f"95 % interval {low} to {high}"


def told(measure: Measure, value: Value) -> str:
    """A value in a sentence."""
    return f"{show(measure, value)} ({seeds_of(value)})"


def seeds_of(value: Value) -> str:
    """On how many seeds it is known."""
    n = len(value.values)
    return value.note or f"{n} seed{'s' if n != 1 else ''}"


def unmeasured(groups: Sequence[Group], failed: Sequence[str] = ()) -> list[str]:
    """One note for all the runs that have no evaluation, with the command that makes it; of those that `failed` it is
    known why. A run without the checkpoint that is asked for has one of its own."""
    known = tuple(f"{run.folder}: " for group in groups for run in group.runs)
    told = {begin for begin in known if any(line.startswith(begin) for line in failed)}
    runs = [run for group in groups for run in group.runs if run.result is None and f"{run.folder}: " not in told]
    said = [run.lacks for run in runs if run.lacks]
    runs = [run for run in runs if not run.lacks]
    if not runs:
        return said
    handed_over = [run for run in runs if run.handed_over]
    for some in ([run for run in runs if not run.handed_over], handed_over):
        if some:
            names = ", ".join(str(run.folder) for run in some[:MOST])
            more = f" and {len(some) - MOST} more" * (len(some) > MOST)
            way = by_python(some) if some is handed_over else f"{EVAL}."
            said.append(f"not evaluated: {names}{more}. {way}")
    return said


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
