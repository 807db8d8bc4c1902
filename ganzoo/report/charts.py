"""Curves as plain values, for the page's script to draw."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ganzoo.report.benchmarks import Benchmark
from ganzoo.report.build import Group, Report, fid_curve
from ganzoo.report.lines import drawn
from ganzoo.report.read import Curve

POINTS = 300
"""The most points of a curve: more than a chart has pixels to show."""
LOSSES = ("discriminator_loss", "D loss"), ("generator_loss", "G loss")
CURVES = 4
"""The most models, presets and devices in one chart of throughput: each brings its roofline."""
GREY = 7
"""The page's colour for what is no model."""
SEED, LEVEL, ROOFLINE = [6, 4], [8, 5], [2, 4]
"""Dashes, drawn and blank: of a line's further seeds, of the tutorials' loop, of a roofline."""


def fid_charts(group: Group) -> list[dict[str, Any]]:
    """FID against wall-clock and against images seen, a curve for each run, a colour for each line."""
    charts = []
    for against, label in (("seconds", "seconds of training"), ("images", "real images seen")):
        series = []
        for number, line in enumerate(group.lines):
            for i, run in enumerate(line.runs):
                points = fid_curve(run, group, against)
                if points[0]:
                    name = line.name + (f", seed {run.seed}" if len(line.runs) > 1 else "")
                    series.append(curve(name, points, number, SEED if i else None))
        if series:
            charts.append(chart(f"FID against {label}", label, "FID", series, y_log=True))
    return charts


def loss_charts(report: Report) -> list[dict[str, Any]]:
    """The losses of one run of each line, each in its own scale: losses of different games do not compare."""
    charts = []
    for line in report.lines:
        run = drawn(line)
        series = []
        for colour, (key, name) in enumerate(LOSSES):
            points = run.curve(key, "step")
            if points[0]:
                series.append(curve(name, points, colour))
        if series:
            charts.append(chart(f"{line.name}, seed {run.seed}", "step", "loss", series))
    return charts


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
            measured.append(curve(f"{key} at batch size {points[0][0]:g}", (flat, points[1] * 2), number, LEVEL))
        else:
            measured.append(curve(key, points, number))
        above = by_size((b.batch_size, b.roofline) for b in mine)
        if above[0]:
            rooflines.append(curve(f"{key}: roofline", above, number, ROOFLINE))
    loops = []
    devices = dict.fromkeys(b.device for b in rows if b.tutorial_images_per_second)
    for device in devices:
        points = by_size((b.batch_size, b.tutorial_images_per_second) for b in rows if b.device == device)
        name = "the tutorials' loop" + (f" {device}" if len(devices) > 1 and device else "")
        loops.append(curve(name, points, GREY, LEVEL))
    return [*measured, *rooflines, *loops]


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
    return " ".join(filter(None, [b.model, b.preset or variant(b.name, b), b.device]))


def variant(name: str, b: Benchmark) -> str:
    """The parts of a test's parameters that are neither model, device nor batch size: a preset, an engine."""
    inside = name.partition("[")[2].removesuffix("]").split("-")
    known = {b.model, b.device, "cpu", "cuda", "mps", "None", "" if b.batch_size is None else f"{b.batch_size:g}"}
    words = {part for value in known for part in str(value).split("-")}
    return " ".join(part for part in inside if part and part not in words)


def chart(
    title: str, x: str, y: str, series: list[dict[str, Any]], x_log: int = 0, y_log: bool = False, points: bool = False
) -> dict[str, Any]:
    """One chart."""
    return {
        "title": title,
        "x": x,
        "y": y,
        "xLog": x_log,
        "yLog": 10 if y_log else 0,
        "points": points,
        "series": series,
    }


def curve(name: str, points: Curve, colour: int, dash: Sequence[int] | None = None) -> dict[str, Any]:
    """One curve, thinned to what can be seen; its last point is kept."""
    xs, ys = points
    every = -(-len(xs) // POINTS)
    keep = sorted({*range(0, len(xs), every), len(xs) - 1})
    shown = [[_short(xs[i]) for i in keep], [_short(ys[i]) for i in keep]]
    return {"name": name, "colour": colour, "dash": dash, "points": shown}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
