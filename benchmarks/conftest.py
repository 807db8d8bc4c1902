"""What all benchmarks share: their options, the models and devices they run over, and where results go."""

import pytest
import torch

from ganzoo.plugins import registry
from ganzoo.training.engine import choose

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def pytest_addoption(parser):
    group = parser.getgroup("ganzoo")
    group.addoption("--seconds", type=float, default=10.0, help="time for each measurement of speed")
    group.addoption("--models", default="", help="models to measure, comma-separated (default: all)")
    group.addoption("--batch-sizes", default="64,256,1024", help="batch sizes, comma-separated")
    group.addoption(
        "--time-to-quality",
        type=float,
        metavar="EPOCHS",
        help="long: train to the tutorials' FID after so many epochs",
    )


def recipes(config):
    """(model, preset) of everything that is measured: each model's defaults, and the tutorials' recipes."""
    models = registry().check()
    names = list(filter(None, config.getoption("--models").split(","))) or models.names("models")
    return [
        (name, preset)
        for name in names
        for preset in (None, "tutorial")
        if preset is None or preset in models.get("models", name).presets
    ]


def pytest_generate_tests(metafunc):
    if "recipe" in metafunc.fixturenames:
        metafunc.parametrize("recipe", recipes(metafunc.config), ids=lambda r: "-".join(filter(None, r)))
    if "batch_size" in metafunc.fixturenames:
        sizes = [int(size) for size in metafunc.config.getoption("--batch-sizes").split(",")]
        metafunc.parametrize("batch_size", sizes)
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", DEVICES)


def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Say what the figures were measured on."""
    output_json["ganzoo"] = [choose(device).describe() for device in DEVICES]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """Below pytest-benchmark's table, which has times alone, what else was measured."""
    lines = [(bench.name, ", ".join(numbers(bench.extra_info))) for bench in config._benchmarksession.benchmarks]
    terminalreporter.section("what else was measured")
    for name, measured in filter(all, lines):
        terminalreporter.line(f"{name}: {measured}")


def numbers(info, prefix=""):
    """The numbers in `info` as text; those of a mapping within it after its name."""
    for name, value in info.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{name} ")
        elif isinstance(value, int | float):
            shown = value if isinstance(value, bool | int) else f"{value:.4g}"
            yield f"{prefix}{name} {shown}"


@pytest.fixture
def seconds(request):
    return request.config.getoption("--seconds")
