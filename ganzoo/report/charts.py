"""Curves as plain values, for the page's script to draw."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ganzoo.report.benchmarks import Benchmark
from ganzoo.report.build import Report
from ganzoo.report.groups import Group, fid_curve
from ganzoo.report.lines import drawn
from ganzoo.report.read import Curve, RunRecord

POINTS, FEWEST, ALL = 200, 30, 12_000
"""The most points of a curve, and of one among so many that all in a chart have no more than `ALL`."""
LOSSES = ("discriminator_loss", "D loss"), ("generator_loss", "G loss")
CURVES = 4
"""The most models, presets and devices in one chart of throughput: each brings its roofline."""
LEVEL, ROOFLINE = [8, 5], [2, 4]
"""Dashes, drawn and blank: of the tutorials' loop, of a roofline."""


def fid_charts(group: Group) -> list[dict[str, Any]]:
    """FID against wall-clock and against images seen: a curve for each line, of several seeds the mean with a band.

    The band goes from the lowest seed to the highest at each step that all were measured at; each seed's own curve is
    drawn thin.
    """
    charts = []
    for against, label in (("seconds", "seconds of training"), ("images", "real images seen")):
        series = []
        for number, line in enumerate(group.lines):
            found = [(run, fid_curve(run, group, against)) for run in line.runs]
            curves = [(run, points) for run, points in found if points[0]]
            band = seeds_together([run for run, _ in curves], group, against) if len(curves) > 1 else None
            for i, (run, points) in enumerate(curves):
                name = line.name + (f", seed {run.seed}" if len(line.runs) > 1 else "")
                series.append(curve(name, points, number, named=band is None and not i, marked=band is None))
            if band is not None:
                xs, means, low, high = band
                name = f"{line.name}, mean of {len(curves)} seeds"
                series.append(curve(name, (xs, means), number, band=(xs, low, high), label=line.name))
        if series:
            charts.append(chart(f"FID against {label}", label, "FID", series, y_log=True))
    return charts


def seeds_together(
    runs: Sequence[RunRecord], group: Group, against: str
) -> tuple[list[float], list[float], list[float], list[float]] | None:
    """Where, mean, least and most FID of runs, at each step that all of them were measured at; None if they share none.

    Against seconds, a step stands at the mean time that they took to it.
    """
    places: dict[float, list[tuple[float, float]]] = {}
    for run in runs:
        steps, _ = fid_curve(run, group, "step")
        xs, fids = fid_curve(run, group, against)
        if len(steps) != len(xs):
            return None
        for step, x, fid in zip(steps, xs, fids, strict=True):
            places.setdefault(step, []).append((x, fid))
    shared = [found for _, found in sorted(places.items()) if len(found) == len(runs)]
    if not shared:
        return None
    together = [[fid for _, fid in found] for found in shared]
    where = [statistics.fmean(x for x, _ in found) for found in shared]
    return where, [statistics.fmean(f) for f in together], [min(f) for f in together], [max(f) for f in together]


def loss_charts(report: Report) -> list[dict[str, Any]]:
    """The losses of one run of each line, each in its own scale: losses of different games do not compare."""
    charts = []
    for line in report.lines:
        run = drawn(line)
        series = []
        for number, (key, name) in enumerate(LOSSES):
            points = run.curve(key, "step")
            if points[0]:
                series.append(curve(name, points, number))
        if series:
            charts.append(chart(f"{line.name}, seed {run.seed}", "step", "loss", series))
    return shared_out(charts)


def shared_out(charts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The charts, their curves thinned once more where all of them together would make a heavy page."""
    most = max(FEWEST, 2 * ALL // max(1, sum(len(c["series"]) for c in charts)))
    return [c | {"series": [one | {"points": thinned(one["points"], most)} for one in c["series"]]} for c in charts]


def loss_table(report: Report) -> list[tuple[str, str, list[float]]]:
    """What the loss charts show, for who cannot see them: line, loss, and its value at five moments of training."""
    rows = []
    for line in report.lines:
        run = drawn(line)
        for key, name in LOSSES:
            values = run.curve(key, "step")[1]
            if values:
                rows.append(
                    (f"{line.name}, seed {run.seed}", name, [values[i * (len(values) - 1) // 4] for i in range(5)])
                )
    return rows


def throughput_charts(benchmarks: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """Images per second against batch size, a curve for each model, preset and device, its yardsticks dashed beside it.

    A machine with few curves has one chart; with more, one for each model.
    """
    charts = []
    for machine in dict.fromkeys(b.machine for b in benchmarks):
        rows = [b for b in benchmarks if b.machine == machine and b.images_per_second and b.batch_size]
        few = len({series_name(b) for b in rows}) <= CURVES
        for model in [None] if few else dict.fromkeys(b.model or b.name for b in rows):
            chosen = [b for b in rows if model in (None, b.model or b.name)]
            series = throughput_curves(chosen, sorted({b.batch_size or 0 for b in rows}))
            if series:
                title = f"Throughput on {machine}" + (f": {model}" if model else "")
                charts.append(chart(title, "batch size", "images/s", series, x_log=2, points=True))
    return charts


def throughput_curves(rows: Sequence[Benchmark], sizes: Sequence[float]) -> list[dict[str, Any]]:
    """The curves of one chart: what was measured, each with its roofline, then the tutorials' loop on each device."""
    measured, rooflines = [], []
    for number, key in enumerate(dict.fromkeys(series_name(b) for b in rows)):
        mine = [b for b in rows if series_name(b) == key]
        points = by_size((b.batch_size, b.images_per_second) for b in mine)
        if len(points[0]) == 1 < len(sizes) and mine[0].model is None:
            # A yardstick of one batch size: a level to compare with.
            flat = [sizes[0], sizes[-1]]
            measured.append(curve(f"{key} at batch size {points[0][0]:g}", (flat, points[1] * 2), number, dash=LEVEL))
        else:
            measured.append(curve(key, points, number))
        above = by_size((b.batch_size, b.roofline) for b in mine)
        if above[0]:
            rooflines.append(curve(f"{key}: roofline", above, number, dash=ROOFLINE, named=False))
    loops: list[dict[str, Any]] = []
    devices = dict.fromkeys(b.device for b in rows if b.tutorial_images_per_second)
    for device in devices:
        points = by_size((b.batch_size, b.tutorial_images_per_second) for b in rows if b.device == device)
        name = "the tutorials' loop" + (f" {device}" if len(devices) > 1 and device else "")
        loops.append(curve(name, points, len(measured) + len(loops), dash=LEVEL))
    together = [*measured, *rooflines, *loops]
    return [one | {"line": place} for place, one in enumerate(together)]


def by_size(points: Iterable[tuple[float | None, float | None]]) -> Curve:
    """Points in the order of their sizes, the median where one was measured more than once."""
    found: dict[float, list[float]] = {}
    for size, value in points:
        if size and value:
            found.setdefault(size, []).append(value)
    sizes = sorted(found)
    return sizes, [statistics.median(found[size]) for size in sizes]


def series_name(b: Benchmark) -> str:
    """What is measured, less the batch size."""
    if b.model is None:
        return b.name
    size = f"{b.image_size:g} x {b.image_size:g}" if b.image_size else None
    how = [b.dataset, size, b.precision, b.mode, b.device]
    return " ".join(filter(None, [b.model, b.preset or variant(b.name, b), *how]))


def variant(name: str, b: Benchmark) -> str:
    """The parts of a test's parameters that are neither model, device nor batch size: a preset, an engine."""
    inside = name.partition("[")[2].removesuffix("]").split("-")
    known = {b.model, b.device, b.dataset, b.precision, b.mode, "cpu", "cuda", "mps", "None"}
    known.add("" if b.batch_size is None else f"{b.batch_size:g}")
    words = {part for value in known for part in str(value).split("-")}
    return " ".join(part for part in inside if part and part not in words)


def chart(
    title: str, x: str, y: str, series: list[dict[str, Any]], x_log: int = 0, y_log: bool = False, points: bool = False
) -> dict[str, Any]:
    """One chart; `points`: its values are held against nothing."""
    most = max(FEWEST, min(POINTS, ALL // max(1, len(series))))
    return {
        "title": title,
        "x": x,
        "y": y,
        "xLog": x_log,
        "yLog": 10 if y_log else 0,
        "zero": points,
        "series": [one | {"points": thinned(one["points"], most)} for one in series],
    }


def curve(
    name: str,
    points: Curve,
    number: int,
    *,
    dash: Sequence[int] | None = None,
    band: tuple[list[float], list[float], list[float]] | None = None,
    named: bool = True,
    marked: bool = True,
    label: str = "",
) -> dict[str, Any]:
    """One curve, drawn in the style of its number, of which a name stands at its end if it is `named`."""
    return {
        "name": name,
        "label": label or name,
        "line": number,
        "style": number,
        "dash": dash,
        "band": [[_short(value) for value in part] for part in band] if band else None,
        "named": named,
        "marked": marked,
        "points": [[_short(value) for value in part] for part in points],
    }


def thinned(points: Sequence[list[float]], most: int) -> list[list[float]]:
    """At most about `most` points, all of them measured, the last among them."""
    count = len(points[0])
    every = -(-count // most)
    keep = sorted({*range(0, count, every), count - 1})
    return [[part[i] for i in keep] for part in points]


def _short(value: float) -> float:
    return float(f"{value:.6g}")
