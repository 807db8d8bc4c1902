"""The report as CSV, for a spreadsheet or a data frame: a row for each run, a column for each number."""

import csv
import io
from typing import Any

from ganzoo.report.build import Report

FIXED = ("group", "rank", "line", "model", "preset", "seed", "status", "folder", "set_apart_because")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a spreadsheet begins to compute."""


def table(report: Report) -> str:
    """Numbers as they were measured, in full; empty where nobody did. Options that differ come last."""
    runs = [run for line in report.lines for run in line.runs]
    numbers = list(dict.fromkeys(name for run in runs for name in run.numbers()))
    options = list(dict.fromkeys(key for line in report.lines for key in line.differs))
    ends = [f"fid_{end}" for end in ("low", "high")] if any(run.interval("fid") for run in runs) else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*FIXED, *(cell(name) for name in numbers), *ends, *(cell(f"option {key}") for key in options)])
    for place, group in enumerate(report.groups, 1):
        for line in group.lines:
            for run in line.runs:
                found = run.numbers()
                about = [place, line.rank, line.name, run.model, run.info.get("preset"), run.seed]
                about += [run.status.get("status"), str(run.folder), group.apart or None]
                writer.writerow(
                    [
                        *map(cell, about),
                        *(found.get(name) for name in numbers),
                        *(run.interval("fid") or [None, None] if ends else []),
                        *(cell(line.options.get(key, line.differs.get(key))) for key in options),
                    ]
                )
    return file.getvalue().encode("utf-8", "replace").decode()


def cell(value: Any) -> Any:
    """A value that a spreadsheet shows as it is, whoever wrote it: text that would be a formula is quoted."""
    if value is None or isinstance(value, int | float):
        return value
    text = " ".join(str(value).split())
    return f"'{text}" if text.startswith(FORMULA) else text
