"""Files of pytest-benchmark and of `ganzoo bench --json`, of several machines: rows, and what they were made on."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError
from ganzoo.files import number, read_json
from ganzoo.report.read import clean, listed, mapping


class Benchmark(NamedTuple):
    """One measurement. What a file does not say is None."""

    file: str
    machine: str
    name: str
    model: str | None
    preset: str | None
    batch_size: float | None
    device: str | None
    images_per_second: float | None
    tutorial_images_per_second: float | None
    """The tutorials' own loop, at this batch size, in the same minute."""
    ratio_to_tutorial_loop: float | None
    roofline_share: float | None
    operations_per_image: float | None
    matrix_rate: float | None
    """Floating-point operations a second of the matrix products by themselves."""
    median_seconds: float | None
    when: str | None
    dataset: str | None
    image_size: float | None
    """Where it is not the data's own."""
    precision: str | None
    mode: str | None
    """How steps were run."""

    @property
    def roofline(self) -> float | None:
        """Images per second if a step were its matrix products and nothing else."""
        return self.images_per_second / self.roofline_share if self.images_per_second and self.roofline_share else None


@dataclass
class Benchmarks:
    """One file."""

    path: str
    rows: list[Benchmark]
    facts: dict[str, str]
    """Hardware, versions, commit and date, as far as the file tells."""
    command: str | None
    """What measures the same again; times and rounds are as that command has them by default."""


def read_benchmarks(paths: Sequence[Path]) -> list[Benchmarks]:
    """The files, in order.

    Raises:
        GanzooError: a file cannot be read, or is neither pytest-benchmark's nor of `ganzoo bench --json`.
    """
    return [read_benchmark(path) for path in paths]


def read_benchmark(path: Path) -> Benchmarks:
    """One file."""
    try:
        content = clean(read_json(path))
    except RecursionError:
        raise GanzooError(f"{path} is nested too deeply to be a benchmark") from None
    if isinstance(content, list) and content and all(isinstance(e, dict) and "images_per_second" in e for e in content):
        rows = [_row(str(path), bench_machine(path, e), {}, e, None) for e in content]
        recorded = all(text(e.get("device_name")) for e in content)
        facts = {
            "made by": "ganzoo bench" + ("" if recorded else " of a version that does not record the hardware"),
            "devices": joined(r.device for r in rows),
        }
        return Benchmarks(str(path), rows, facts, bench_command(rows, content))
    if not isinstance(content, dict) or not isinstance(content.get("benchmarks"), list):
        raise GanzooError(f"{path} is not a file of pytest-benchmark: it has no `benchmarks`")
    entries, rows = [mapping(e) for e in content["benchmarks"]], []
    for entry in entries:
        extra, params = mapping(entry.get("extra_info")), mapping(entry.get("params"))
        machine = machine_of(content, extra)
        rows.append(_row(str(path), machine, entry, {**params, **extra}, text(content.get("datetime"))))
    return Benchmarks(str(path), rows, facts_of(content), pytest_command(entries, rows))


def _row(file: str, machine: str, entry: dict[str, Any], said: dict[str, Any], when: str | None) -> Benchmark:
    size = number(said.get("batch_size"))
    return Benchmark(
        file,
        machine,
        text(entry.get("name")) or "?",
        text(said.get("model")),
        text(said.get("preset")),
        size if size is None or size > 0 else None,
        text(said.get("device")),
        number(said.get("images_per_second")),
        number(said.get("tutorial_images_per_second")),
        number(said.get("ratio_to_tutorial_loop")),
        number(said.get("roofline_share")),
        number(said.get("operations_per_image")),
        number(said.get("matrix_rate")),
        number(mapping(entry.get("stats")).get("median")),
        when,
        text(said.get("dataset")),
        number(said.get("image_size")),
        text(said.get("precision")),
        text(said.get("mode")),
    )


# What they were measured on


def bench_machine(path: Path, entry: dict[str, Any]) -> str:
    """What a line of `ganzoo bench` was measured on: where only its device is told, that of whoever made the file."""
    device = text(entry.get("device")) or "unknown"
    return text(entry.get("device_name")) or f"{device} of {path}"


def machine_of(content: dict[str, Any], extra: dict[str, Any]) -> str:
    """What the measurement was made on: the device that it or the file's list names, else the file's processor."""
    machine, info = mapping(extra.get("machine")), mapping(content.get("machine_info"))
    if not machine:
        known = [mapping(m) for m in listed(content.get("ganzoo"))]
        machine = next((m for m in known if m.get("device") == extra.get("device")), {})
    cpu = mapping(info.get("cpu"))
    name = text(machine.get("device_name")) or text(cpu.get("brand_raw")) or text(info.get("machine")) or "unknown"
    threads = number(machine.get("threads"))
    on_cpu = text(machine.get("device")) in (None, "cpu")
    return name + (f", {threads:.0f} thread{'s' if threads != 1 else ''}" if threads and on_cpu else "")


def facts_of(content: dict[str, Any]) -> dict[str, str]:
    """Hardware, versions, commit and date of a file of pytest-benchmark."""
    info, commit = mapping(content.get("machine_info")), mapping(content.get("commit_info"))
    cpu = mapping(info.get("cpu"))
    facts: dict[str, Any] = {
        "cpu": cpu.get("brand_raw"),
        "cpus": cpu.get("count"),
        "system": " ".join(filter(None, (text(info.get(key)) for key in ("system", "release", "machine")))),
        "python": info.get("python_version"),
    }
    for machine in map(mapping, listed(content.get("ganzoo"))):
        device = text(machine.get("device")) or "device"
        facts |= {
            f"{device} {key.replace('_', ' ')}": v for key, v in machine.items() if key not in ("device", "python")
        }
    changed = ", with changes" if commit.get("dirty") is True else ""
    facts["commit"] = (text(commit.get("id")) or "")[:12] + changed if text(commit.get("id")) else None
    facts |= {"measured": content.get("datetime"), "pytest-benchmark": content.get("version")}
    return {str(key): str(value) for key, value in facts.items() if value not in (None, "")}


# How to measure again


def pytest_command(entries: Sequence[dict[str, Any]], rows: Sequence[Benchmark]) -> str | None:
    """The files that were run, with ganzoo's own choices of models and sizes where the measurements tell them."""
    files = dict.fromkeys(name.partition("::")[0] for e in entries if (name := text(e.get("fullname"))))
    if not files:
        return None
    words = ["pytest", *files, "--benchmark-only"]
    trained = [row for row in rows if row.images_per_second and row.model and row.batch_size]
    if trained:
        words += ["--models", joined((r.model for r in trained), ","), "--batch-sizes", sizes(trained)]
    return shlex.join([*words, "--benchmark-json", "again.json"])


def bench_command(rows: Sequence[Benchmark], content: Sequence[dict[str, Any]]) -> str | None:
    """The `ganzoo bench` that made the rows: it has one preset, data set, size and device for all. Precision and engine
    are what was used, where that was one for all."""
    if not all(row.model and row.batch_size for row in rows):
        return None
    words = ["ganzoo", "bench", *dict.fromkeys(str(row.model) for row in rows), "--batch-size", sizes(rows)]
    first = content[0]
    for flag, key in (("preset", "preset"), ("dataset", "dataset"), ("data-root", "data_root"), ("device", "device")):
        words += [f"--{flag}", value] if (value := text(first.get(key))) else []
    words += ["--image-size", f"{size:.0f}"] if (size := rows[0].image_size) else []
    for flag, used in (("precision", {row.precision for row in rows}), ("engine", {row.mode for row in rows})):
        words += [f"--{flag}", value] if len(used) == 1 and (value := used.pop()) else []
    return shlex.join([*words, "--json"])


def sizes(rows: Iterable[Benchmark]) -> str:
    """Every batch size once, as the commands take them."""
    return ",".join(dict.fromkeys(f"{row.batch_size:.0f}" for row in rows if row.batch_size))


def joined(values: Iterable[str | None], by: str = ", ") -> str:
    """Every name once."""
    return by.join(dict.fromkeys(filter(None, values)))


def text(value: Any) -> str | None:
    """The value if it is text, else None."""
    return value if isinstance(value, str) and value else None
