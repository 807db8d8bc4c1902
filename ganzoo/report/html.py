"""The page: one file that needs nothing else, and asks nothing of any network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ganzoo import __version__
from ganzoo.plugins import Registry
from ganzoo.report.build import Report
from ganzoo.report.charts import fid_charts, loss_charts, loss_table, series_name, throughput_charts
from ganzoo.report.groups import Group, fid_curve
from ganzoo.report.lines import MEASURES, Line, drawn
from ganzoo.report.pictures import TABLE, Samples, confusion, framed, growth, samples, share
from ganzoo.report.read import listed, mapping
from ganzoo.report.show import BETWEEN, DASH, behind, breaking, how_sure, partial, shown_number
from ganzoo.report.svg import Axis, drawings, marks, swatch, tick_text

HERE = files("ganzoo.report")
PICTURED = 100
"""Lines of which pictures are drawn, the first by rank: each takes its model to be built."""
DOTTED = 40
"""Lines whose seeds are drawn as dots, likewise."""
LISTED = 12
"""Options that differ which are all in one table; of more, those that one line alone has are folded."""
WIDE = 4
"""How many times the least value the largest is where a scale is logarithmic."""


def page(report: Report, plugins: Registry) -> str:
    """The report as HTML. Text from files is escaped; scripts run by their hash alone."""
    environment = Environment(
        loader=PackageLoader("ganzoo.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {
        "shown": shown_number,
        "DASH": DASH,
        "TABLE": TABLE,
        "series_name": series_name,
        "behind": behind,
        "how_sure": how_sure,
        "partial": partial,
        "drawings": drawings,
        "swatch": swatch,
        "marks": marks,
    }
    environment.filters |= {"text": _text, "marked": marked, "breaking": breaking}
    main = report.groups[0] if report.groups else None
    pictures: list[tuple[str, list[str], Samples]] = []
    most = share(len(report.lines))
    for line in report.lines[:PICTURED]:
        run = drawn(line)
        classes = [str(c) for c in listed(mapping(run.info.get("data")).get("classes"))][:10]
        pictures.append((line.name, classes, samples(run, plugins, most)))
    drawings_of = framed([one for _, _, one in pictures], most)
    pictures = [(name, classes, one) for (name, classes, _), one in zip(pictures, drawings_of, strict=True)]
    rows = [row for file in report.benchmarks for row in file.rows]
    charts = {
        "fid": fid_charts(main) if main else [],
        "loss": loss_charts(report),
        "throughput": throughput_charts(rows),
    }
    confusions = [(line.name, found) for line in report.lines[:PICTURED] if (found := confusion(line, most))]
    growing = growth(report.lines)
    keys, own, equal = options(report.lines)
    heading, note = about(pictures)
    scripts = [script("templates/page.js")]
    template = environment.get_template("report.html")
    made = template.render(
        report=report,
        rows=rows,
        losses=loss_table(report),
        main=main,
        pictures=pictures,
        unpictured=max(0, len(report.lines) - PICTURED),
        confusions=confusions,
        charts=charts,
        data={"charts": charts, "growth": growing},
        growth=growing,
        strip=dots(main) if main else None,
        keys=keys,
        own=own,
        equal=equal,
        heading=heading,
        note=note,
        contents=contents(report, bool(keys or own or equal), bool(confusions)),
        curves=[(line, run, fid_curve(run, main, "seconds")) for line in main.lines for run in line.runs]
        if main
        else [],
        environments=environments(report),
        styles=[Markup(text("templates/page.css"))],
        scripts=[Markup(s) for s in scripts],
        policy=policy(scripts),
        version=__version__,
    )
    return made.encode("utf-8", "replace").decode()  # A folder's name may hold what is no text.


def contents(report: Report, options: bool, confusions: bool) -> list[tuple[str, str]]:
    """Where in the page what is: identifiers and titles."""
    runs = bool(report.groups)
    places = [
        ("table", "The numbers", runs),
        ("options", "What differs", runs and options),
        ("samples", "Samples", runs),
        ("curves", "While training", runs),
        ("confusion", "What is taken for what", runs and confusions),
        ("throughput", "Throughput", bool(report.benchmarks)),
        ("made", "Repeat it", True),
    ]
    return [(place, title) for place, title, there in places if there]


def options(lines: Sequence[Line]) -> tuple[list[str], dict[str, dict[str, Any]], dict[str, Any]]:
    """The options in which lines differ; by line, where they are many, those that it alone has; and the equal ones."""
    keys = list(dict.fromkeys(key for line in lines for key in line.differs))
    having = {key: [line for line in lines if key in line.options or key in line.differs] for key in keys}
    alone = [key for key in keys if len(having[key]) == 1] if len(keys) > LISTED else []
    own = {
        line.name: {key: line.options.get(key, line.differs.get(key)) for key in alone if having[key][0] is line}
        for line in lines
    }
    equal = {key: value for key, value in (lines[0].options if lines else {}).items() if key not in keys}
    shared = [key for key in keys if key not in alone]
    return shared, {name: values for name, values in own.items() if values}, equal


LATENTS = (
    "One column for each latent, one row for each class where the model takes labels. Latents come from one seed, so "
    "models with latents of one size and kind draw from the same numbers."
)
HELD_OUT = (
    "The last grid that each run drew while it trained: held-out sources, what the model makes of them and, where "
    "there are some, the targets."
)
POINTS = "The first two numbers of each, all models in one frame. Latents come from one seed."
FIRST = "The first seed of each model that was measured."


def about(pictures: Sequence[tuple[str, list[str], Samples]]) -> tuple[str, str]:
    """The heading above the pictures of all lines, and what to know of them."""
    shown = [one for _, _, one in pictures if one.source]
    if shown and all(one.held_out for one in shown):
        return "Held-out images, and what is made of them", f"{HELD_OUT} {FIRST}"
    if shown and all(one.points is not None for one in shown):
        return "Samples", f"{POINTS} {FIRST}"
    of_others = " Of image-to-image models, the last grid of held-out images." if any(p.held_out for p in shown) else ""
    return "The same latents, the same labels", f"{LATENTS}{of_others} {FIRST}"


def dots(group: Group) -> dict[str, Any] | None:
    """Every seed's FID on one scale, in percent of its width, line by line in the order of rank; None without any."""
    fid = MEASURES[0]
    ranked = [line for line in group.lines if line.rank and "fid" in line.values]
    values = [line.values["fid"] for line in ranked[:DOTTED]]
    if not values:
        return None
    all_of_them = [
        number for value in values for number in (*value.values, value.low, value.high) if number is not None
    ]
    log = min(all_of_them) > 0 and max(all_of_them) > WIDE * min(all_of_them)
    axis = Axis(all_of_them, 0.0, 100.0, log, margin=0.05)
    rows = []
    for line, value in zip(ranked, values, strict=False):
        seeds = ", ".join(shown_number(number, fid.form) for number in value.values)
        bar = None
        if value.low is not None and value.high is not None:
            low, high = axis(value.low), axis(value.high)
            bar = round(low, 2), round(max(high - low, 0.3), 2)
        told = f"{line.name}: FID {seeds}"
        if bar:
            told += f"; interval {shown_number(value.low, fid.form)} to {shown_number(value.high, fid.form)}"
        rows.append({"name": line.name, "dots": [round(axis(n), 2) for n in value.values], "bar": bar, "told": told})
    ticks = [(round(axis(tick), 2), tick_text(tick)) for tick in axis.ticks(6)]
    return {"rows": rows, "ticks": ticks, "log": log, "left_out": len(ranked) - len(values)}


def marked(text: str) -> Markup:
    """A sentence of ganzoo's own, escaped, what stands between backticks as a command."""
    parts = (
        Markup('<code class="said">{}</code>').format(part) if i % 2 else escape(part)
        for i, part in enumerate(BETWEEN.split(text))
    )
    return Markup("").join(parts)


def policy(scripts: list[str]) -> str:
    """Nothing is fetched from anywhere, and no script runs but those that were put in."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def text(name: str) -> str:
    """A file of this package."""
    return HERE.joinpath(name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """A script of this package, fit to stand in a page.

    Raises:
        ValueError: it would end its own element.
    """
    content = text(name)
    if "</script" in content.lower():
        raise ValueError(f"{name} holds </script")
    return content


def environments(report: Report) -> list[tuple[dict[str, str], list[str]]]:
    """Hardware and versions, each with the lines that were made there."""
    found: dict[str, list[str]] = {}
    for line in report.lines:
        for run in line.runs:
            machine, versions = run.machine, mapping(run.info.get("versions"))
            facts = {k.replace("_", " "): _text(v) for k, v in machine.items()}
            facts |= {f"{k} version": _text(v) for k, v in versions.items() if k not in machine}
            names = found.setdefault(json.dumps(facts), [])
            if line.name not in names:
                names.append(line.name)
    return [(json.loads(facts), names) for facts, names in found.items()]


def _text(value: Any) -> str:
    """A value of a JSON file as text."""
    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
