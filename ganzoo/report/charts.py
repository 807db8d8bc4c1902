"""Curves as plain values, for the page's script to draw."""

from typing import Any

from ganzoo.report.benchmarks import Benchmark
from ganzoo.report.build import Group, Report, fid_curve
from ganzoo.report.read import Curve

POINTS = 300
"""The most points of a curve: more than a chart has pixels to show."""


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
                    series.append(curve(name, points, number, dash=i > 0))
        if series:
            charts.append(chart(f"FID against {label}", label, "FID", series, y_log=True))
    return charts


def loss_charts(report: Report) -> list[dict[str, Any]]:
    """The losses of each line's first run, each in its own scale: losses of different games do not compare."""
    charts = []
    for line in report.lines:
        run = line.runs[0]
        series = []
        for colour, (key, name) in enumerate((("discriminator_loss", "D loss"), ("generator_loss", "G loss"))):
            points = run.curve(key, "step")
            if points[0]:
                series.append(curve(name, points, colour))
        if series:
            charts.append(chart(f"{line.name}, seed {run.seed}", "step", "loss", series))
    return charts


def throughput_charts(benchmarks: list[Benchmark]) -> list[dict[str, Any]]:
    """Images per second against batch size: a chart for each machine, a curve for each model and device."""
    charts = []
    for machine in dict.fromkeys(b.machine for b in benchmarks):
        rows = [b for b in benchmarks if b.machine == machine and b.images_per_second]
        series = []
        sizes = sorted({b.batch_size for b in rows if b.batch_size})
        for number, key in enumerate(dict.fromkeys(series_name(b) for b in rows)):
            points = sorted(
                (b.batch_size, b.images_per_second)
                for b in rows
                if series_name(b) == key and b.batch_size and b.images_per_second
            )
            xs, ys = [p[0] for p in points], [p[1] for p in points]
            if len(xs) == 1 < len(sizes):  # A yardstick of one batch size: a level to compare with.
                flat = [sizes[0], sizes[-1]]
                series.append(curve(f"{key} at batch size {xs[0]:g}", (flat, ys * 2), number, dash=True))
            elif xs:
                series.append(curve(key, (xs, ys), number))
        if series:
            charts.append(chart(f"Throughput on {machine}", "batch size", "images/s", series, x_log=2, points=True))
    return charts


def series_name(b: Benchmark) -> str:
    """What is measured, less the batch size."""
    if b.model is None:
        return b.name
    return " ".join(filter(None, [b.model, variant(b.name, b), b.device]))


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


def curve(name: str, points: Curve, colour: int, dash: bool = False) -> dict[str, Any]:
    """One curve, thinned to what can be seen; its last point is kept."""
    xs, ys = points
    every = -(-len(xs) // POINTS)
    keep = sorted({*range(0, len(xs), every), len(xs) - 1})
    shown = [[_short(xs[i]) for i in keep], [_short(ys[i]) for i in keep]]
    return {"name": name, "colour": colour, "dash": dash, "points": shown}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
