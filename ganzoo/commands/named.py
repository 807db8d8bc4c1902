"""What the arguments of `ganzoo compare` are, and which files it may write."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganzoo.errors import UsageError

KINDS = (".html", ".md", ".json")


@dataclass
class Named:
    """Arguments, sorted by what they are."""

    runs: list[Path] = field(default_factory=list)
    within: list[Path] = field(default_factory=list)
    """Runs in a folder that was named."""
    benchmarks: list[Path] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    """MODEL or MODEL:PRESET."""
    notes: list[str] = field(default_factory=list)
    """What was understood otherwise than it looks."""

    def folders(self, trained: Sequence[Path]) -> list[Path]:
        """All runs: those named, and those found or trained that were not named as well."""
        found = list(self.runs)
        known = {path.resolve() for path in found}
        for path in (*self.within, *trained):
            if path.resolve() not in known:
                known.add(path.resolve())
                found.append(path)
        return found


def sort_out(what: Sequence[str], models: Sequence[str]) -> Named:
    """Tell runs, folders of runs, benchmark files and models apart; ganzoo's own reports are passed over.

    Raises:
        UsageError: an argument is none of these.
    """
    named = Named()
    for name in what:
        path = Path(name)
        if path.is_dir():
            _folder(named, name, path, models)
        elif path.is_file() and is_report(path):
            named.notes.append(f"{name} is a report of ganzoo's: passed over")
        elif path.suffix == ".json":
            named.benchmarks.append(path)
        elif path.exists() or "/" in name:
            reason = "it is a file" if path.exists() else "there is no such folder"
            raise UsageError(f"{name} is not a run directory: {reason}")
        else:
            named.models.append(name)
    return named


def _folder(named: Named, name: str, path: Path, models: Sequence[str]) -> None:
    if (path / "run.json").is_file():
        named.runs.append(path)
        return
    if name.partition(":")[0] in models:  # `cgan`, where a folder happens to be called so too; `cgan/` is the folder.
        named.models.append(name)
        return
    inside = sorted(folder for folder in path.iterdir() if (folder / "run.json").is_file())
    if not inside:
        raise UsageError(f"{name} is not a run directory: it has no run.json")
    named.within += inside
    named.notes.append(f"{name} is a folder of runs: its {len(inside)} are compared")


def check_targets(reports: Sequence[Path], default: Path) -> tuple[Path, ...]:
    """The files to write, none of which is anything that must be kept.

    Raises:
        UsageError: a name of another kind, a folder, a file of a run; or the default is there and is no report.
    """
    if not reports and default.exists() and not is_report(default):
        raise UsageError(f"{default} is there and is no report of ganzoo's: name the file to write by -o")
    for target in reports:
        if target.suffix not in KINDS:
            raise UsageError(f"{target}: end the name in {', '.join(KINDS)}")
        if target.is_dir():
            raise UsageError(f"{target} is a folder: name the file to write")
        of_a_run = target.exists() and target.suffix != ".md" and (target.parent / "run.json").exists()
        if of_a_run and not is_report(target):
            raise UsageError(f"{target} is a file of the run in {target.parent}: choose another name")
    return tuple(reports) or (default,)


def is_report(path: Path) -> bool:
    """Whether a file is a report that ganzoo wrote, .html or .json, by what it begins with."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return b'name="generator" content="ganzoo' in head or b'"kind": "ganzoo report"' in head
