"""Numbers as people read them."""

import re

from markupsafe import Markup

from ganzoo.report.lines import MEASURES, TIMES, Line, Measure, Value

DASH = "–"
HUGE = 1e6
"""From which on a number is shown by its power of ten."""
FINER = (*(f".{decimals}f" for decimals in range(3, 7)), *(f".{digits}g" for digits in range(4, 18)))
"""Forms that show more and more of a number; the last shows all of it."""
BETWEEN = re.compile("`([^`]+)`")
"""What stands between backticks in a sentence of ganzoo's own: a command."""


def shown_number(value: float | None, form: str) -> str:
    """A number in the form of its measure; a dash when there is none."""
    if value is None:
        return DASH
    if form == "seconds":
        return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
    if form == "bytes":
        return f"{value / 2**20:,.0f} MiB" if value < 10 * 2**30 else f"{value / 2**30:,.1f} GiB"
    if form.endswith("%"):
        return f"{value:{form}}".replace("%", " %")
    decimals = re.fullmatch(r"\.([0-9]+)f", form)
    if decimals and value and not 10 ** (1 - int(decimals[1])) <= abs(value) < HUGE:
        return f"{value:.3g}"  # `0.00` would be all that is seen of a small one, and a large one is a line of digits.
    return f"{value:{form}}"


def telling(measure: Measure, *pairs: tuple[float | None, float | None]) -> Measure:
    """The measure with as many digits as show the numbers of each pair apart, where they differ."""

    def apart(form: str) -> bool:
        return all(a == b or shown_number(a, form) != shown_number(b, form) for a, b in pairs)

    return measure._replace(form=next(filter(apart, (measure.form, *FINER)), FINER[-1]))


def partial(measure: Measure, value: Value | None) -> bool:
    """Whether it is a time that only some seeds reached: their mean would look better than it is."""
    return bool(value and value.note and measure.key.startswith(TIMES))


def show(measure: Measure, value: Value | None) -> str:
    """`4.10 ± 0.21`, `4.10` for one seed, a dash for none; of a time that only some seeds reached, which share did."""
    if value is None or value.mean is None:
        return DASH
    if partial(measure, value):
        return value.note
    mean = ("at most " if value.at_most else "") + shown_number(value.mean, measure.form)
    if value.spread is None:
        return mean
    spread = shown_spread(value.spread, measure.form)
    number, space, unit = mean.rpartition(" ")
    other, _, other_unit = spread.rpartition(" ")
    if space and unit == other_unit:
        return f"{number} ± {other} {unit}"
    return f"{mean} ± {spread}"


def shown_spread(spread: float, form: str) -> str:
    """A spread to as many places as its mean, unless nothing would be seen of it."""
    return (
        f"{spread:{form}}" if form.endswith("f") and 10 * spread >= 0.1 ** int(form[-2]) else shown_number(spread, form)
    )


def behind(line: Line) -> str:
    """How far behind the first a line is by FID: `+3.95 (8.9 times)`; a dash for the first, and for one without."""
    if line.behind is None:
        return DASH
    amount, value = line.behind.amount, line.values["fid"].mean or 0.0
    first = value - amount
    times = ""
    if first > 0 and value >= 1.5 * first:
        times = f" ({shown_number(value / first, '.1f' if value < 100 * first else '.0f')} times)"
    return f"+{shown_number(amount, MEASURES[0].form)}{times}"


def how_sure(line: Line) -> str:
    """How sure it is that a line is behind the first, in a few words; empty where there is nothing to say."""
    if line.behind is None or line.first is None:
        return ""
    if line.lead in WORDS:
        return f"{WORDS[line.lead]} ({few_seeds(line.first, line)})"
    if line.behind.sure is None:
        return "too few seeds to tell"
    low, high = (shown_number(end, MEASURES[0].form) for end in (line.behind.low, line.behind.high))
    return f"{low} to {high}, {'sure' if line.behind.sure else 'not sure'}"


WORDS = {"far ahead": "far behind", "ahead": "behind", "level": "level"}
"""What a line is, of which the images alone tell."""


def few_seeds(*lines: Line) -> str:
    """Why one cannot be sure of a difference of two lines."""
    return "one seed" if all(len(line.values["fid"].values) == 1 for line in lines) else "too few seeds"


BREAKS = re.compile("(?<=[:-])(?=[^:-])")


def breaking(name: str) -> Markup:
    """A name that a page may break behind a colon or a hyphen, and nowhere else."""
    return Markup("<wbr>").join(BREAKS.split(name))
