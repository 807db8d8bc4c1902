"""Charts as SVG that stands in the page: they show without a script, print, and keep the page's own colours.

Colours are the page's `--c0` to `--c7`; with dash and mark they tell 256 curves apart, also in grey.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT, LOW = 500, 310, 210
"""Of a chart's own coordinates, and the height of a small one."""
COLOURS = 8
DASHES = ("", "7 4", "2 3", "9 3 2 3")
MARKS = ("circle", "square", "triangle", "diamond", "wedge", "plus", "cross", "bar")
SHAPES = {
    "circle": "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0Z",
    "square": "M-3-3H3V3H-3Z",
    "triangle": "M0-4L3.8 3H-3.8Z",
    "diamond": "M0-4.4L3.6 0L0 4.4L-3.6 0Z",
    "wedge": "M0 4L3.8-3H-3.8Z",
    "plus": "M-1.2-4H1.2V-1.2H4V1.2H1.2V4H-1.2V1.2H-4V-1.2H-1.2Z",
    "cross": "M-3.8-2.4L-2.4-3.8L0-1.4L2.4-3.8L3.8-2.4L1.4 0L3.8 2.4L2.4 3.8L0 1.4L-2.4 3.8L-3.8 2.4L-1.4 0Z",
    "bar": "M-1.6-4.4H1.6V4.4H-1.6Z",
}
MARKED = 8
"""Points of a long curve that bear its mark: each a measured one."""
TINY = 1e-200
"""What is nearer to nothing is nothing: steps between such values could not be reckoned with."""
ALL_MARKED = 25
"""The most points of a curve that are all marked."""
LETTERS, LETTER, GAP = 18, 6.4, 13
"""Of a curve's name at its end: the most letters, the width of one, and the least distance between two names."""

NAMED, FIRST = 12, 10
"""With up to so many curves all have a name at their ends; of more, so many."""


def style(number: int) -> tuple[int, str, str]:
    """Colour, dash and mark of the curve of that number: no two of 256 have all three alike."""
    colour, turn = number % COLOURS, number // COLOURS
    return colour, DASHES[turn % len(DASHES)], MARKS[(colour + turn // len(DASHES)) % len(MARKS)]


def marks() -> Markup:
    """The marks, once in a page, for its charts to show."""
    shapes = "".join(f'<path id="m-{name}" d="{d}"/>' for name, d in SHAPES.items())
    return Markup(f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{shapes}</defs></svg>')


def swatch(number: int, dash: Sequence[int] | None = None) -> Markup:
    """How a curve is drawn, in a list of their names."""
    colour, own, mark = style(number)
    dashes = " ".join(map(str, dash)) if dash else own
    return Markup(
        f'<svg class="swatch c{colour}" viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">'
        f'<path class="line" d="M0 6H34"{_dashed(dashes)}/><use href="#m-{mark}" x="17" y="6"/></svg>'
    )


def drawings(chart: dict[str, Any], small: bool = False) -> list[tuple[str, Markup]]:
    """The chart on each of its scales: `log` and `linear` where it has both, else `linear`."""
    kinds = ("log", "linear") if chart["yLog"] else ("linear",)
    return [(kind, draw(chart, kind == "log", small)) for kind in kinds]


def draw(chart: dict[str, Any], log: bool, small: bool = False) -> Markup:
    """One chart on one scale. What cannot stand on a logarithmic one is left out."""
    series = chart["series"]
    top, bottom, left = 22, (LOW if small else HEIGHT) - 40, 54
    names = [_short(s["label"]) for s in series if s["named"]]
    right = WIDTH - 42 - LETTER * max(map(len, names), default=0)
    across = Axis([x for s in series for x in s["points"][0]], left, right, bool(chart["xLog"]))
    values = [y for s in series for y in s["points"][1]]
    values += [y for s in series if s["band"] for ends in s["band"][1:] for y in ends]
    if not log and chart["zero"]:
        values.append(0.0)
    up = Axis([y for y in values if _stands(y, log)] or [1.0], bottom, top, log, margin=0.04)
    parts = [_frame(chart, across, up, left, right, top, bottom)]
    ends: list[tuple[float, str, int]] = []
    for number, one in enumerate(series):
        points = [(x, y) for x, y in zip(*one["points"], strict=True) if _stands(y, log)]
        if not points:
            continue
        colour, dash, mark = style(one["style"])
        dashes = " ".join(map(str, one["dash"])) if one["dash"] else dash
        drawn = [(across(x), up(y)) for x, y in points]
        inside = _band(one["band"], across, up, log) if one["band"] else ""
        inside += f'<path class="line" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)}"{_dashed(dashes)}/>'
        if one["marked"]:
            every = 1 if len(drawn) <= ALL_MARKED else -(-len(drawn) // MARKED)
            shown = [*drawn[::every], *([drawn[-1]] if (len(drawn) - 1) % every else [])]
            inside += "".join(f'<use href="#m-{mark}" x="{x:.1f}" y="{y:.1f}"/>' for x, y in shown)
        thin = "" if one["named"] else " thin"
        parts.append(f'<g class="curve c{colour}{thin}" data-line="{one["line"]}">{inside}</g>')
        if one["named"]:
            ends.append((drawn[-1][1], one["label"], number))
    parts += _names(ends, series, right + 12, top, bottom)
    scales = f"{across.told()};{up.told()}"
    height = LOW if small else HEIGHT
    return Markup(
        f'<svg class="drawing" viewBox="0 0 {WIDTH} {height}" data-scales="{scales}" aria-hidden="true" '
        f'focusable="false">{"".join(parts)}</svg>'
    )


class Axis:
    """From values to coordinates, on a plain or a logarithmic scale."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool, margin: float = 0.0):
        self.start, self.end, self.log = start, end, log
        low, high = (math.log10(v) if log else v for v in (min(values), max(values)))
        if high - low <= 1e-9 * max(abs(low), abs(high), 1.0 if log else TINY):
            half = 0.5 if log else abs(low) / 2 if abs(low) > TINY else 1.0
            low, high = low - half, high + half
        room = margin * (high - low)
        self.low, self.high = low - (0 if not log and low == 0 else room), high + room

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (at - self.low) / (self.high - self.low)

    def told(self) -> str:
        """As the page's script reads it: where the values lie, and how they are spread."""
        return f"{self.low:.8g},{self.high:.8g},{self.start:.6g},{self.end:.6g},{int(self.log)}"

    def ticks(self, most: int) -> list[float]:
        """Round values on the axis: 3 at least, where its room allows, and about `most`."""
        if not self.log:
            return _even(self.low, self.high, most)
        low, high = 10**self.low, 10**self.high
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**e for e in decades for m in steps if low <= m * 10.0**e <= high]
            if len(found) <= most:
                break
        found = found[:: max(1, -(-len(found) // most))]
        return found if len(found) > 2 else [v for v in _even(low, high, most) if v > 0]


def _even(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """A tick's number: `1.5k`, `20M`, `0.002`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{value:.4g}"


def _stands(value: float, log: bool) -> bool:
    """Whether a value has a place on an axis."""
    return not log or value > TINY


def _frame(chart: dict[str, Any], across: Axis, up: Axis, left: float, right: float, top: float, bottom: float) -> str:
    """Grid, ticks and the names of both axes."""
    parts = []
    for value in up.ticks(7):
        y = up(value)
        parts.append(f'<path class="rule" d="M{left} {y:.1f}H{right:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>')
    wanted = sorted({x for s in chart["series"] for x in s["points"][0]}) if chart["xLog"] else across.ticks(6)
    last = -math.inf
    for value in wanted:
        x = across(value)
        if x - last < 34:
            continue
        last = x
        parts.append(f'<path class="rule" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick_text(value)}</text>')
    scale = ", logarithmic" if up.log else ""
    parts.append(f'<text class="axis" x="{left}" y="12">{escape(chart["y"])}{scale}</text>')
    middle = (left + right) / 2
    parts.append(
        f'<text class="axis" x="{middle:.1f}" y="{bottom + 34}" text-anchor="middle">{escape(chart["x"])}</text>'
    )
    return "".join(parts)


def _band(band: Sequence[Sequence[float]], across: Axis, up: Axis, log: bool) -> str:
    """From the lowest to the highest seed, where all were measured."""
    kept = [(x, low, high) for x, low, high in zip(*band, strict=True) if _stands(low, log)]
    if len(kept) < 2:
        return ""
    lower = [f"{across(x):.1f} {up(low):.1f}" for x, low, _ in kept]
    upper = [f"{across(x):.1f} {up(high):.1f}" for x, _, high in reversed(kept)]
    return f'<path class="band" d="M{"L".join([*lower, *upper])}Z"/>'


def _names(
    ends: list[tuple[float, str, int]], series: Sequence[dict[str, Any]], x: float, top: float, bottom: float
) -> list[str]:
    """Names with lines and marks as their curves have them, each as near to its curve's end as the others leave it.

    Of many, the first stand there; another one's shows at its curve's end while it is picked in the legend.
    """
    room = min(int((bottom - top) // GAP) + 1, NAMED if len(ends) <= NAMED else FIRST)
    kept = sorted(sorted(ends, key=lambda end: end[2])[:room])
    extra = sorted(end for end in ends if end not in kept)
    places: list[float] = []
    for y, _, _ in kept:
        places.append(max(y, places[-1] + GAP) if places else max(y, top))
    limit = bottom
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - GAP
    told = []
    placed = [*zip(places, kept, strict=True), *((max(end[0], top), end) for end in extra)]
    for place, (_, name, number) in placed:
        one = series[number]
        colour, own, mark = style(one["style"])
        dashes = " ".join(map(str, one["dash"])) if one["dash"] else own
        more = " extra" if number in {end[2] for end in extra} else ""
        told.append(
            f'<g class="curve c{colour}{more}" data-line="{one["line"]}">'
            f'<path class="line sign" d="M{x - 6:.1f} {place:.1f}h26"{_dashed(dashes)}/>'
            f'<use href="#m-{mark}" x="{x + 7:.1f}" y="{place:.1f}"/>'
            f'<text class="name" x="{x + 24:.1f}" y="{place + 4:.1f}">{escape(_short(name))}</text></g>'
        )
    return told


def _short(name: str) -> str:
    """With its beginning and its end: names of one family differ in what was added."""
    half = LETTERS // 2
    return name if len(name) <= LETTERS else f"{name[:half].rstrip()}…{name[half - LETTERS + 1 :].lstrip()}"


def _dashed(dashes: str) -> str:
    return f' stroke-dasharray="{dashes}"' if dashes else ""
