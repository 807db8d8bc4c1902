"""What the arguments of a comparison are: runs, folders of runs, benchmark files, models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganzoo.errors import UsageError
from ganzoo.report.files import is_report, is_sweep
from ganzoo.runs.hub import local


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
    """Tell runs, folders of runs, benchmark files and models apart; ganzoo's own reports and records are passed over.

    Raises:
        UsageError: an argument is none of these.
        GanzooError: it is on the hub, which cannot be reached.
    """
    named = Named()
    if "" in what:  # It would be the current folder, and is that of a variable that the shell does not know.
        raise UsageError("an argument is empty: name a run, a folder of runs or a model")
    for name in what:
        path = local(name)
        if path.is_dir():
            _folder(named, name, path, models)
        elif path.is_file() and is_report(path):
            named.notes.append(f"{name} is a report of ganzoo's: passed over")
        elif path.is_file() and is_sweep(path):
            named.notes.append(f"{name} is a sweep's record of itself: passed over")
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
    different = len({folder.resolve() for folder in inside})
    named.notes.append(f"{name} is a folder of runs: its {different} are compared")
