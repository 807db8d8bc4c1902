"""Files of pytest-benchmark, of several machines, as rows: throughput against batch size with its yardsticks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError
from ganzoo.files import read_json
from ganzoo.report.read import listed, mapping, number


class Benchmark(NamedTuple):
    """One measurement. What a file does not say is None."""

    file: str
    machine: str
    name: str
    model: str | None
    batch_size: float | None
    device: str | None
    images_per_second: float | None
    ratio_to_tutorial_loop: float | None
    roofline_share: float | None
    median_seconds: float | None
    when: str | None


def read_benchmarks(paths: Sequence[Path]) -> list[Benchmark]:
    """Every measurement of the files, in order.

    Raises:
        GanzooError: a file cannot be read, or is not pytest-benchmark's.
    """
    return [row for path in paths for row in read_benchmark(path)]


def read_benchmark(path: Path) -> list[Benchmark]:
    """The measurements of one file."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("benchmarks"), list):
        raise GanzooError(f"{path} is not a file of pytest-benchmark: it has no `benchmarks`")
    found = []
    for entry in map(mapping, listed(content["benchmarks"])):
        extra, params = mapping(entry.get("extra_info")), mapping(entry.get("params"))
        said: dict[str, Any] = {**params, **extra}
        name = text(entry.get("name")) or "?"
        found.append(
            Benchmark(
                str(path),
                machine_of(content, extra),
                name,
                text(said.get("model")),
                number(said.get("batch_size")),
                text(said.get("device")),
                number(said.get("images_per_second")),
                number(said.get("ratio_to_tutorial_loop")),
                number(said.get("roofline_share")),
                number(mapping(entry.get("stats")).get("median")),
                text(content.get("datetime")),
            )
        )
    return found


def machine_of(content: dict[str, Any], extra: dict[str, Any]) -> str:
    """What the measurement was made on: the device that it names, else the processor that the file names."""
    machine, info = mapping(extra.get("machine")), mapping(content.get("machine_info"))
    cpu = mapping(info.get("cpu"))
    name = text(machine.get("device_name")) or text(cpu.get("brand_raw")) or text(info.get("machine")) or "unknown"
    threads = number(machine.get("threads"))
    on_cpu = text(machine.get("device")) in (None, "cpu")
    return name + (f", {threads:.0f} thread{'s' if threads != 1 else ''}" if threads and on_cpu else "")


def text(value: Any) -> str | None:
    """The value if it is text, else None."""
    return value if isinstance(value, str) and value else None
