"""Runs to lines: runs that differ in the seed alone are one line, with a mean and a spread."""

import json
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ganzoo.fields import value_in_words
from ganzoo.report.read import RunRecord

SURE = 0.05
"""A difference counts when seeds alone would give it less often than this (Welch's t-test, two-sided)."""
FAR = 2
"""How many times the best value another one is, at the nearest, that is far behind."""


class Measure(NamedTuple):
    """A column: what is measured, how it is called and shown, and which direction is better."""

    key: str
    title: str
    better: str = ""
    """`lower`, `higher`, or empty where neither is."""
    form: str = ".2f"
    about: str = ""


MEASURES = (
    Measure("fid", "FID", "lower", ".2f", "distance to the real images, by the extractor's features"),
    Measure("kid", "KID", "lower", ".4f", "the same question without assuming Gaussians; near 0 is as good as real"),
    Measure("recall", "recall", "higher", ".1%", "share of the real images that the samples reach"),
    Measure("accuracy", "label accuracy", "higher", ".1%", "share of samples of the class they were asked to be of"),
    Measure("images_per_second", "images/s", "higher", ",.0f", "training speed: median over the run's log"),
    Measure("parameters", "weights of G", "", ",.0f", "parameters of the generator"),
    Measure("memory", "memory", "lower", "bytes", "peak while training, of the device; of the process on a CPU"),
)
MORE = (
    # Not marked: of many evaluations chance chooses one that is low.
    Measure("best_fid", "best FID in training", "", ".2f", "the lowest that was found, kept as --checkpoint best"),
    Measure("best_fid_step", "step of the best FID", "", ",.0f"),
    Measure("modes", "modes captured", "higher", ".1f", "of which there is a good sample at least"),
    Measure("good_samples", "good samples", "higher", ".1%", "share of samples near some mode"),
    Measure("reverse_kl", "reverse KL", "lower", ".3f", "nats: how unlike the data's shares those of the modes are"),
    Measure("psnr", "PSNR", "higher", ".2f", "dB, by the mean square error of translations against their targets"),
    Measure("ssim", "SSIM", "higher", ".4f", "structural similarity of translations to their targets"),
    Measure("ssim_inner", "SSIM without border", "higher", ".4f", "the same without a border of 5 pixels"),
    Measure("ms-ssim", "multi-scale SSIM", "higher", ".4f", "the same at five sizes"),
    Measure("l1", "L1", "lower", ".4f", "mean difference of translations from their targets, pixels in [0, 1]"),
    Measure("lpips", "LPIPS", "lower", ".4f", "distance of AlexNet's features of translations and targets"),
    Measure("cycle", "cycle error", "lower", ".4f", "mean difference of sources from what comes back of them"),
    Measure("recognition", "recognition", "higher", ".1%", "share of real images whose class the model itself names"),
    Measure("precision", "precision", "higher", ".1%", "share of samples that look like some real image"),
    Measure("density", "density", "higher", ".3f", "how many real images' neighbourhoods a sample lies in"),
    Measure("coverage", "coverage", "higher", ".1%", "share of real images with a sample near"),
    Measure("is", "Inception Score", "higher", ".2f", "sharp and varied, as a classifier sees it"),
    Measure("is_std", "Inception Score, deviation", "", ".3f", "standard deviation over its splits"),
    Measure("kid_std", "KID, deviation", "", ".4f", "standard deviation over its subsets"),
    Measure("tags", "precision of tags", "higher", ".1%", "share of the ten tags of a picture that are its own words"),
    Measure("tags_at_1", "precision of the first tag", "higher", ".1%"),
    Measure("tags_frequent", "the same of the most frequent words", "", ".1%", "given to every picture"),
    Measure("tags_retrieved", "the same of the nearest picture's words", "", ".1%", "and of the next nearest's"),
    Measure("intra-fid", "intra-FID", "lower", ".2f", "FID within each class, averaged"),
    Measure("cas", "CAS", "higher", ".1%", "accuracy of a classifier trained on the samples"),
    Measure("cas_real", "CAS of real images", "", ".1%", "the same of a classifier trained on as many real images"),
    Measure("nearest", "distance to training images", "", ".3f", "mean, from each sample to the nearest"),
    Measure("nearest_test", "the same of test images", "", ".3f", "what to hope for: far smaller means copies"),
    Measure("nearest_least", "smallest distance to a training image", "", ".3f", "0 is a copy"),
    Measure("parzen", "Parzen", "higher", ".1f", "log-likelihood in nats, as the papers of 2014 report it"),
    Measure("parzen_standard_error", "Parzen, standard error", "", ".1f"),
    Measure("parzen_sigma", "Parzen, width", "", ".3f", "of its windows"),
    Measure("seconds", "training time", "", "seconds"),
    Measure("epochs", "epochs", "", ".1f"),
    Measure("parameters_all", "all parameters", "", ",.0f"),
)

MODES = tuple(next(m for m in MORE if m.key == key) for key in ("modes", "reverse_kl"))
LIFTED = ("modes", "good_samples", "reverse_kl", "psnr", "ssim", "recognition", "tags", "tags_at_1")
"""Of `MORE`, what stands in the first table where some line has it: it is what such data is measured by."""
TIMES = "seconds_to_fid_"
"""How keys of times to a FID begin."""


@dataclass
class Value:
    """One measure of a line: over its seeds."""

    values: list[float]
    mean: float | None
    spread: float | None
    """Standard deviation over seeds (n - 1); None with fewer than two."""
    best: bool = False
    note: str = ""
    at_most: bool = False
    """Whether it may be less: it was so already when first looked at."""
    low: float | None = None
    """The 95 % interval: of the mean over seeds; of one seed, what other images drawn of it would show."""
    high: float | None = None
    drawn: tuple[float, float] | None = None
    """From the least to the most that other images drawn of any of its seeds would show; None where nobody knows."""


@dataclass
class Line:
    """Runs that differ in the seed alone."""

    name: str
    model: str
    """With its preset, if it has one: MODEL:PRESET."""
    runs: list[RunRecord]
    options: dict[str, Any]
    differs: dict[str, Any] = field(default_factory=dict)
    """Options in which the lines of a report differ, or that other lines do not have."""
    values: dict[str, Value] = field(default_factory=dict)
    rank: int | None = None
    """By FID, or else by modes, among those it may be compared with, from 1; None where it has none."""
    behind: "Difference | None" = None
    """How far behind the first by FID; None of the first, and of a line without."""
    standing: "Standing | None" = None
    """How far the first is ahead of it by the images that were drawn, where that is known."""
    lead: "Lead | None" = None
    """What the first's lead over it is, by seeds and images; None of the first, and of a line without a FID."""
    first: "Line | None" = field(default=None, repr=False)
    """The line that it is behind."""

    @property
    def seeds(self) -> list[Any]:
        return [run.seed for run in self.runs]


def make_lines(runs: Sequence[RunRecord]) -> list[Line]:
    """Runs as lines, in the order of their first runs; a second run of one seed begins a line of its own."""
    lines: list[tuple[str, Line]] = []
    for run in runs:
        made_on = {k: run.machine.get(k) for k in ("device_name", "precision")}
        made_on["processes"] = run.processes
        key = json.dumps([run.model, run.package, run.settings, run.trained_on, made_on], sort_keys=True, default=str)
        home = next((line for k, line in lines if k == key and run.seed not in line.seeds), None)
        if home:
            home.runs.append(run)
        else:
            lines.append((key, Line("", run.label, [run], run.settings)))
    for _, line in lines:
        if any(run.label != line.model for run in line.runs):  # One was spelt out what the other's preset says.
            line.model = line.runs[0].model
        line.runs.sort(key=lambda run: run.seed if isinstance(run.seed, int) else -1)
        numbers = [run.numbers() for run in line.runs]
        for name in dict.fromkeys(name for n in numbers for name in n):
            having = [run for run, n in zip(line.runs, numbers, strict=True) if name in n]
            line.values[name] = value_of([n[name] for n in numbers if name in n], len(numbers))
            around(line.values[name], [run.interval(name) for run in having])
    made = [line for _, line in lines]
    name_lines(made)
    return made


def drawn(line: Line) -> RunRecord:
    """The run that stands for a line in a picture: the first that was measured, else the first."""
    return next((run for run in line.runs if run.result), line.runs[0])


def value_of(values: list[float], runs: int) -> Value:
    """Mean and spread; says so when not every seed has a value."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    note = f"{len(values)} of {runs} seeds" if 0 < len(values) < runs else ""
    return Value(values, statistics.fmean(values) if values else None, spread, note=note)


def around(value: Value, drawn: Sequence[tuple[float, float] | None]) -> None:
    """Give a value its interval: of the mean by Student's t, of a single seed by the images that were drawn of it."""
    known = [ends for ends in drawn if ends is not None]
    if known and len(known) == len(drawn):
        value.drawn = min(low for low, _ in known), max(high for _, high in known)
    if value.spread is not None and value.mean is not None:
        from scipy.stats import t

        n = len(value.values)
        half = float(t.ppf(1 - SURE / 2, n - 1)) * value.spread / n**0.5
        value.low, value.high = value.mean - half, value.mean + half
    elif value.drawn:
        value.low, value.high = value.drawn


Standing = Literal["far ahead", "ahead", "level"]


def standing(better: Value, other: Value) -> Standing | None:
    """How far ahead one line is by the images that were drawn, whatever other seeds would show; None: unknown.

    Far: the least that the other would show is twice the most that the better one would.
    """
    if better.drawn is None or other.drawn is None:
        return None
    if other.drawn[0] <= better.drawn[1]:
        return "level"
    # Twice a number below 0 is less than it: such a FID is 0, but for rounding.
    return "far ahead" if other.drawn[0] >= FAR * better.drawn[1] > 0 else "ahead"


Lead = Literal["sure", "far ahead", "ahead", "apart", "shared", "level", "unknown"]
"""What is known of a lead, by seeds first and then by the images that were drawn of them.

`sure`: seeds do not explain it. `far ahead` and `ahead`: other images do not, and seeds are too few to say.
`apart`: nothing is known of other images, and each seed of the one is below each of the other. `shared`: seeds explain
it. `level`: of one seed, and other images would explain it. `unknown`: of one seed, and nothing is known of others.
"""
CLEAR = ("sure", "far ahead", "ahead")
"""Leads by which one may say that a line is ahead."""


def lead_of(better: Value, other: Value) -> Lead:
    """What is known of the lead of a line over another. That seeds are too few to be sure of one makes it no tie."""
    found, stands = difference(better, other).sure, standing(better, other)
    if found:
        return "sure"
    if stands in ("far ahead", "ahead") or found is None:
        return stands or "unknown"
    return "apart" if stands is None and max(better.values) < min(other.values) else "shared"


def name_lines(lines: Sequence[Line]) -> None:
    """The name that its user gave all runs of a line, else the model's.

    With the model's package where another has one of the same name; where two lines share the model's name, with the
    options that differ; where two are still called alike, with the folder's name.
    """
    for line in lines:
        packages = {other.runs[0].package for other in lines if other.runs[0].model == line.runs[0].model}
        if len(packages) > 1:
            line.differs["package"] = line.runs[0].package or "unknown"
    named = [(line, line.differs["package"]) for line in lines if "package" in line.differs]
    for line, package in named:
        line.model += f" of {package}"
    for line in lines:
        others = [other for other in lines if other is not line]
        twins = [o for o in others if o.model == line.model]
        apart = [k for k in line.options if any(o.options.get(k) != line.options[k] for o in twins)]
        line.name = line.model + "".join(f", {k.replace('_', '-')} {value_in_words(line.options[k])}" for k in apart)
        given = {run.name for run in line.runs}
        if len(given) == 1 and (name := given.pop()):
            line.name = f"{name} ({line.model})"
    names = [line.name for line in lines]
    for line in lines:
        if names.count(line.name) > 1:
            line.differs["folder"] = line.runs[0].folder.name
            line.name += f" ({line.differs['folder']})"
    for line in lines:  # Where a sentence has them, backticks would make a command.
        line.name = line.name.replace("`", "'")


def mark_options(lines: Sequence[Line]) -> None:
    """Say of each line in which options it differs from any other, or what it has that another lacks."""
    for line in lines:
        differs = {k: v for k, v in line.options.items() if any(o.options.get(k) != v for o in lines)}
        line.differs = differs | line.differs


class Difference(NamedTuple):
    """How much better one line is than another, and how sure that is."""

    amount: float
    low: float | None
    """The 95 % interval of the difference; None when there are too few seeds."""
    high: float | None
    sure: bool | None
    """Whether it exceeds what seeds explain; None when that is unknown."""


def difference(better: Value, other: Value) -> Difference:
    """Welch's t-test of two lines' seeds."""
    assert better.mean is not None
    assert other.mean is not None
    amount = abs(other.mean - better.mean)
    if better.spread is None or other.spread is None:
        return Difference(amount, None, None, None)
    if better.spread == other.spread == 0:
        return Difference(amount, amount, amount, amount > 0)
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Nearly equal values lose precision: the test is then sure.
        test = ttest_ind(better.values, other.values, equal_var=False)
        ends = sorted(float(end) for end in test.confidence_interval(1 - SURE))
    if better.mean < other.mean:  # The interval is of `better - other`.
        ends = sorted(-end for end in ends)
    return Difference(amount, ends[0], ends[1], bool(test.pvalue < SURE))


def rank(lines: Sequence[Line], measure: Measure) -> list[Line]:
    """Lines that have a value on some seed, best first: one that lacks a seed's is still a rival of the others."""
    ready = [line for line in lines if (v := line.values.get(measure.key)) and v.mean is not None]
    sign = -1 if measure.better == "higher" else 1
    return sorted(ready, key=lambda line: sign * (line.values[measure.key].mean or 0.0))


def ranked_by(lines: Sequence[Line]) -> str:
    """By what lines are put in order: `fid`, where some line has it, else `modes`; empty where none has either."""
    return next((key for key in ("fid", "modes") if any(key in line.values for line in lines)), "")


def put_in_order(lines: Sequence[Line]) -> list[Line]:
    """The lines best first; those without a value follow as they came.

    By FID, each told how far behind the first it is; where no line has a FID by modes, and then by reverse KL.
    """
    by = ranked_by(lines)
    if by == "modes":
        evenly = rank(lines, MODES[1])
        ranked = rank([*evenly, *(line for line in lines if line not in evenly)], MODES[0])  # A stable order.
    else:
        ranked = rank(lines, MEASURES[0])
    for place, line in enumerate(ranked, 1):
        line.rank = place
        if place > 1 and by == "fid":
            best, value = ranked[0].values["fid"], line.values["fid"]
            line.first, line.lead = ranked[0], lead_of(best, value)
            line.behind, line.standing = difference(best, value), standing(best, value)
    return [*ranked, *(line for line in lines if line.rank is None)]


def mark_best(lines: Sequence[Line], measures: Sequence[Measure]) -> None:
    """Mark the best of each measure, where its lead over every other line exceeds what seeds explain.

    A line without a value on some seed is never it: what fails is seldom the better half.
    """
    for measure in measures:
        ranked = rank(lines, measure) if measure.better else []
        if len(ranked) > 1:
            best = ranked[0].values[measure.key]
            rivals = [line.values[measure.key] for line in ranked[1:]]
            known = not best.note and not any(rival.at_most for rival in rivals)
            best.best = known and all(difference(best, rival).sure for rival in rivals)
