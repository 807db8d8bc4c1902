"""Numbers as people read them."""

import re

from markupsafe import Markup

from ganzoo.report.lines import MEASURES, TIMES, Line, Measure, Value

DASH = "–"
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
    return f"{value:{form}}"


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
    spread = shown_number(value.spread, measure.form)
    number, space, unit = mean.rpartition(" ")
    other, _, other_unit = spread.rpartition(" ")
    if space and unit == other_unit:
        return f"{number} ± {other} {unit}"
    return f"{mean} ± {spread}"


def behind(line: Line) -> str:
    """How far behind the first a line is by FID: `+3.95 (8.9 times)`; a dash for the first, and for one without."""
    if line.behind is None:
        return DASH
    amount, value = line.behind.amount, line.values["fid"].mean or 0.0
    first = value - amount
    times = (
        f" ({value / first:.{1 if value < 100 * first else 0}f} times)" if first > 0 and value >= 1.5 * first else ""
    )
    return f"+{shown_number(amount, MEASURES[0].form)}{times}"


def how_sure(line: Line) -> str:
    """How sure it is that a line is behind the first, in a few words; empty where there is nothing to say."""
    if line.behind is None:
        return ""
    if line.behind.sure is not None:
        low, high = (shown_number(end, MEASURES[0].form) for end in (line.behind.low, line.behind.high))
        return f"{low} to {high}, {'sure' if line.behind.sure else 'not sure'}"
    told = {
        "far ahead": "far behind (one seed)",
        "ahead": "behind (one seed)",
        "level": "level (one seed)",
    }
    return told[line.standing] if line.standing else "too few seeds to tell"


BREAKS = re.compile("(?<=[:-])(?=[^:-])")


def breaking(name: str) -> Markup:
    """A name that a page may break behind a colon or a hyphen, and nowhere else."""
    return Markup("<wbr>").join(BREAKS.split(name))
