"""The page: one file that needs nothing else, and asks nothing of any network."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ganzoo import __version__
from ganzoo.plugins import Registry
from ganzoo.report.build import Report, fid_curve
from ganzoo.report.charts import fid_charts, loss_charts, loss_table, series_name, throughput_charts
from ganzoo.report.lines import drawn
from ganzoo.report.pictures import TABLE, Samples, confusion, samples, share
from ganzoo.report.read import listed, mapping
from ganzoo.report.show import DASH, shown_number

HERE = files("ganzoo.report")


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
    }
    environment.filters["text"] = _text
    main = report.groups[0] if report.groups else None
    pictures: list[tuple[str, list[str], Samples]] = []
    most = share(len(report.lines))
    for line in report.lines:
        run = drawn(line)
        classes = [str(c) for c in listed(mapping(run.info.get("data")).get("classes"))][:10]
        pictures.append((line.name, classes, samples(run, plugins, most)))
    rows = [row for file in report.benchmarks for row in file.rows]
    charts = {
        "fid": fid_charts(main) if main else [],
        "loss": loss_charts(report),
        "throughput": throughput_charts(rows),
    }
    scripts = [script("uplot/uPlot.iife.min.js"), script("templates/page.js")]
    template = environment.get_template("report.html")
    made = template.render(
        report=report,
        rows=rows,
        losses=loss_table(report),
        main=main,
        pictures=pictures,
        confusions=[(line.name, found) for line in report.lines if (found := confusion(line, most))],
        charts=charts,
        curves=[(line, run, fid_curve(run, main, "seconds")) for line in main.lines for run in line.runs]
        if main
        else [],
        environments=environments(report),
        styles=[Markup(text("uplot/uPlot.min.css")), Markup(text("templates/page.css"))],
        scripts=[Markup(s) for s in scripts],
        policy=policy(scripts),
        version=__version__,
    )
    return made.encode("utf-8", "replace").decode()  # A folder's name may hold what is no text.


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
