"""What stands in a run directory, read: its `run.json`, its log; and how the default ones are called."""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError, UsageError, plain
from ganzoo.files import contained, from_json, read_json, regular
from ganzoo.gan import GAN
from ganzoo.plugins import GIVEN, NOT_INSTALLED, NOUNS, Registry

LONGEST_LINE, MOST_LINES, LONGEST_LOG = 2**16, 2_000_000, 2**28
"""Bytes of a line, number of lines, and bytes of `metrics.jsonl` beyond which nothing is read."""

FORMAT = 1
"""Of `run.json` and `config.json`."""


def open_run(folder: Path) -> dict[str, Any]:
    """The contents of `run.json`.

    Raises:
        UsageError: the folder is not a run directory.
        GanzooError: its `run.json` is damaged, or a link leads out of it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a run directory: there is no such folder")
    if not (folder / "run.json").is_file():
        raise UsageError(f"{folder} is not a run directory: it has no run.json")
    contained(folder)
    info = read_json(folder / "run.json")
    if not isinstance(info, dict) or not isinstance(info.get("model"), str):
        raise GanzooError(f"{folder / 'run.json'} is damaged: it names no model")
    refuse_later(folder / "run.json", info)
    return info | {"model": plain(info["model"])}


def refuse_later(path: Path, said: Mapping[str, Any]) -> None:
    """Refuse a `run.json` or `config.json` of a later ganzoo, whose fields may mean something else.

    Raises:
        GanzooError: it is one.
    """
    if (made := said.get("format", FORMAT)) != FORMAT:
        told = plain(str(made))[:40]
        raise GanzooError(f"{path} is of format {told}, and this ganzoo knows {FORMAT}: a later version reads it")


class DataSettings(NamedTuple):
    """Which data a run was trained on, as its `run.json` has it; None and empty where it does not say."""

    root: Path | None
    size: int | None
    channels: int | None
    options: dict[str, Any] | None
    """None: a run of version 0.1.0."""
    source: str | None
    """How sources were made of its images, where they were."""


def data_settings(folder: Path, info: Mapping[str, Any]) -> DataSettings:
    """What a `run.json` says of the data.

    Raises:
        GanzooError: it says what no run does.
    """
    settings = info.get("settings", {})
    known = settings if isinstance(settings, dict) else {"image_size": settings}
    root, size, channels = (known.get(key) for key in ("data_root", "image_size", "channels"))
    options, source = known.get("data_options"), known.get("source")
    good = [isinstance(text, str | None) and "\0" not in (text or "") for text in (root, source)]
    good += [value is None or (type(value) is int and 0 < value <= 2**16) for value in (size, channels)]
    if not (isinstance(options, dict | None) and all(good)):
        raise GanzooError(f"{folder / 'run.json'} is damaged: it does not say which data the run was trained on")
    return DataSettings(Path(root) if root else None, size, channels, options, source)


def model_of(folder: Path, info: Mapping[str, Any], registry: Registry) -> type[GAN]:
    """The class of the model that a `run.json` names.

    Raises:
        UsageError: there is none of that name, or the package is not installed; of a class that a program handed over,
            what it was.
    """
    plugin, name = info.get("plugin"), str(info["model"])
    if isinstance(plugin, dict) and plugin.get("package") == NOT_INSTALLED and name not in registry.names("models"):
        where = plain(str(plugin.get("module")))
        raise UsageError(
            f"{folder} was trained with the class {where}, which no package brings: hand it over from Python, as "
            f"model={where.rpartition('.')[2]} of ganzoo.load or ganzoo.resume, or make a package of it (ganzoo new)"
        )
    package = plain(str(plugin.get("package"))) if isinstance(plugin, dict) else ""
    if package and name not in registry.names("models") and package not in {p.package for p in registry.plugins}:
        raise UsageError(
            f"{folder} was trained with model '{name}' of the package '{package}', which is not installed here: "
            "whether to trust and install it is for you to say"
        )
    return registry.get("models", name)


def refuse_absent(folder: Path, info: Mapping[str, Any], registry: Registry, kinds: Collection[str] = NOUNS) -> None:
    """Say of a run which package is not installed that it takes something of, of these kinds: data, loggers, ...

    Raises:
        UsageError: one is not, or its data were handed over by a program, and are not now.
    """
    settings = info.get("settings")
    if isinstance(settings, dict) and settings.get("dataset") == GIVEN and GIVEN not in registry.names("datasets"):
        raise UsageError(
            f"{folder} was trained on data that a program handed over: do so again from Python, as dataset= of "
            "ganzoo.resume"
        )
    others = info.get("packages")
    for entry in others if isinstance(others, list) else ():
        found = [entry.get(key) for key in ("kind", "name", "package")] if isinstance(entry, dict) else []
        words = [plain(word)[:100] for word in found if isinstance(word, str)]
        if len(words) < 3:
            continue
        kind, name, package = words
        installed = any(plugin.package == package for plugin in registry.plugins)
        if kind in NOUNS and kind in kinds and name not in registry.names(kind) and not installed:
            raise UsageError(
                f"{folder} was trained with {NOUNS[kind]} '{name}' of the package '{package}', which is not installed "
                "here: whether to trust and install it is for you to say"
            )


def read_metrics(folder: Path) -> Sequence[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a line cut short by a crash is left out.

    Raises:
        GanzooError: it is there, and cannot be read.
    """
    lines: list[dict[str, Any]] = []
    left, path = LONGEST_LOG, folder / "metrics.jsonl"
    try:
        with suppress(FileNotFoundError), regular(path) as file:
            while len(lines) < MOST_LINES and left > 0 and (text := file.readline(LONGEST_LINE)):
                left -= len(text)
                with suppress(ValueError, RecursionError):
                    line = from_json(text)
                    flat = isinstance(line, dict) and isinstance(line.get("step"), int)
                    if flat and all(map(_logged, line.values())):
                        lines.append(line)
    except OSError as error:
        raise GanzooError(f"cannot read {path}: {error.strerror or error}") from error
    return lines


def _logged(value: Any) -> bool:
    """Whether it can be a value of the log: JSON has whole numbers of any length."""
    return value.bit_length() < 64 if isinstance(value, int) else isinstance(value, float | str | None)


def default_folder(model: str, dataset: str) -> Path:
    """`runs/MODEL-DATASET-DATE-TIME`, made; of several runs begun in one second, the second ends in -2.

    Raises:
        UsageError: it cannot be made.
    """
    first = Path("runs") / f"{model}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    for folder in (first, *(first.with_name(f"{first.name}-{i}") for i in range(2, 1000))):
        with suppress(FileExistsError):
            try:
                folder.mkdir(parents=True)
                return folder
            except OSError as error:
                if isinstance(error, FileExistsError):
                    raise
                raise UsageError(f"cannot write in {folder}: {error.strerror or error}") from error
    raise UsageError(f"{first} exists already: choose another --out")


def default_folders(model: str, dataset: str) -> list[Path]:
    """Those that runs of the model on the data set took, oldest first; `cgan-mnist-strokes` is not `cgan-mnist`."""
    name = re.compile(rf"{re.escape(model)}-{re.escape(dataset)}-(\d{{8}}-\d{{6}})(?:-(\d+))?")
    found = [(m[1], int(m[2] or 1), path) for path in Path("runs").glob("*") if (m := name.fullmatch(path.name))]
    return [path for _, _, path in sorted(found)]


def grids_of(folder: Path) -> dict[int, Path]:
    """The grids that a run kept while it trained, by step, in order."""
    paths = (path for path in (folder / "samples").glob("*.png") if re.fullmatch("[0-9]{8,12}", path.stem))
    return dict(sorted((int(path.stem), path) for path in paths))
