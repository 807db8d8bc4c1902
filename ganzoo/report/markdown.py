"""The report as Markdown, for a README or a pull request."""

import re
from collections.abc import Iterable, Sequence

from ganzoo.report.build import Report
from ganzoo.report.charts import series_name
from ganzoo.report.groups import Group
from ganzoo.report.lines import Measure
from ganzoo.report.show import BETWEEN, DASH, behind, partial, show, shown_number


def markdown(report: Report) -> str:
    """Verdict, tables, what stands apart, throughput, commands. Text from files is escaped."""
    first, *more = report.verdict
    parts = [f"**{prose(first)}**" + "".join(f" {prose(sentence)}" for sentence in more)]
    for number, group in enumerate(report.groups):
        if number:
            parts.append(f"Set apart: {escaped(group.apart)}.")
        parts.append(f"Measured on {escaped(group.text)}." if group.protocol else "Not evaluated.")
        parts.append(numbers(group, group.columns, any(line.behind for line in group.lines)))
        if group.more:
            parts += ["Every other number:", numbers(group, group.more, False)]
    if report.groups:
        parts.append(f"Mean ± spread over seeds; – where nothing was measured. {prose(report.rule)}")
    if report.cautions:
        parts.append("\n".join(f"- {prose(caution)}" for caution in report.cautions))
    if report.benchmarks:
        rows = [
            [b.machine, series_name(b), shown_number(b.batch_size, ",.0f"), shown_number(b.images_per_second, ",.0f"),
             shown_number(b.ratio_to_tutorial_loop, ".2f"), shown_number(b.roofline_share, ".1%")]
            for file in report.benchmarks for b in file.rows
        ]  # fmt: skip
        parts.append(table(["machine", "what", "batch size", "images/s", "× tutorial loop", "of the roofline"], rows))
        for file in report.benchmarks:
            parts.append(escaped(f"{file.path}: {'; '.join(f'{k} {v}' for k, v in file.facts.items())}."))
    runs = [run for line in report.lines for run in line.runs]
    told = [c for run in runs for c in (run.command, run.measuring)] + [f.command for f in report.benchmarks]
    commands = [command for command in told if command]
    if commands:
        fence = "`" * max([3, *(len(run) + 1 for c in commands for run in re.findall("`+", c))])
        parts.append(f"{fence}console\n" + "\n".join(f"$ {' '.join(c.splitlines())}" for c in commands) + f"\n{fence}")
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace").decode()


def numbers(group: Group, measures: Sequence[Measure], ranked: bool) -> str:
    """A table of a group, the best in bold; columns that nobody has are left out.

    `ranked`: whether it says how far behind the first each line is.
    """
    measures, rows = [m for m in measures if any(m.key in line.values for line in group.lines)], []
    for line in group.lines:
        cells = [str(line.rank or DASH), escaped(line.name), str(len(line.runs)), *([behind(line)] if ranked else [])]
        for m in measures:
            value = line.values.get(m.key)
            cell = show(m, value) + (f" ({value.note})" if value and value.note and not partial(m, value) else "")
            cells.append(f"**{cell}**" if value and value.best else cell)
        rows.append(cells)
    head = ["", "model", "seeds", *(["behind the first"] if ranked else []), *map(heading, measures)]
    return table(head, rows, escape=False)


def heading(measure: Measure) -> str:
    return measure.title + {"lower": " ↓", "higher": " ↑"}.get(measure.better, "")


def table(head: list[str], rows: Iterable[list[str]], escape: bool = True) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:" for _ in head[1:]]]]
    lines += [[escaped(cell) for cell in row] if escape else row for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def prose(text: str) -> str:
    """Sentences of ganzoo's own, in which commands stand between backticks, as Markdown has them too."""
    return "".join(
        f"`{' '.join(part.split())}`" if i % 2 else escaped(part) for i, part in enumerate(BETWEEN.split(text))
    )


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    text = re.sub(r"\s+", " ", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
