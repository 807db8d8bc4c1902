"""Numbers as people read them."""

from ganzoo.report.lines import Measure, Value

DASH = "–"


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


def show(measure: Measure, value: Value | None) -> str:
    """`4.10 ± 0.21`, `4.10` for one seed, a dash for none."""
    if value is None or value.mean is None:
        return DASH
    mean = shown_number(value.mean, measure.form)
    if value.spread is None:
        return mean
    spread = shown_number(value.spread, measure.form)
    number, space, unit = mean.partition(" ")
    other, _, other_unit = spread.partition(" ")
    if space and unit == other_unit:
        return f"{number} ± {other} {unit}"
    return f"{mean} ± {spread}"
