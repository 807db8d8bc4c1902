"""The files of reports: which may be written, and in what form."""

from collections.abc import Sequence
from pathlib import Path

from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import output, write_json, write_text
from ganzoo.plugins import Registry
from ganzoo.report.build import Report
from ganzoo.report.html import page
from ganzoo.report.markdown import markdown
from ganzoo.report.table import table

KINDS = (".html", ".md", ".csv", ".json")


def write(report: Report, path: Path, plugins: Registry) -> None:
    """Write the report in the form that the file's name asks for.

    Raises:
        GanzooError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(path, report.to_json())
        elif path.suffix == ".html":
            write_text(path, page(report, plugins))
        else:
            write_text(path, table(report) if path.suffix == ".csv" else markdown(report))
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error


def check_targets(
    reports: Sequence[Path], default: Path, inputs: Sequence[Path] = (), instead: str = "name the file to write by -o"
) -> tuple[Path, ...]:
    """The files to write, none of which is anything that must be kept; links are followed to what they lead to.

    `instead` is what to do where the default is something else.

    Raises:
        UsageError, GanzooError: a name of another kind, a file of a run; or the default is there and is no report; or
            as `ganzoo.files.output`.
    """
    if not reports and default.exists() and not is_report(default):
        raise UsageError(f"{default} is there and is no report of ganzoo's: {instead}")
    for target in reports:
        if target.suffix not in KINDS:
            raise UsageError(f"{target}: end the name in {', '.join(KINDS)}")
        of_a_run = target.exists() and target.suffix not in (".md", ".csv") and (target.parent / "run.json").exists()
        if of_a_run and not is_report(target):
            raise UsageError(f"{target} is a file of the run in {target.parent}: choose another name")
    return tuple(output(target, [target.name], inputs) for target in reports) or (default,)


def is_sweep(path: Path) -> bool:
    """Whether a file is what a sweep keeps of itself."""
    return b'"kind": "ganzoo sweep"' in _head(path)


def is_report(path: Path) -> bool:
    """Whether a file is a report that ganzoo wrote, .html or .json, by what it begins with."""
    head = _head(path)
    return b'name="generator" content="ganzoo' in head or b'"kind": "ganzoo report"' in head


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""
