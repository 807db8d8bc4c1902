"""The machine: precision, determinism, and what the process on a CPU asks of the C library."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from conftest import TINY
from ganzoo.errors import UsageError
from ganzoo.metrics.evaluation import exact
from ganzoo.report.lines import make_lines
from ganzoo.report.read import read_run
from ganzoo.training.engine import choose

CUDNN = torch.backends.cudnn

MEASURE = """
import resource, torch
from ganzoo.training.engine import choose

def faults():
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**22)  # 16 MB: 4096 pages.
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun

before = faults()
choose("cpu")
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_a_tensor_gave_back_is_not_asked_of_the_system_again():
    environment = {"MALLOC_MMAP_THRESHOLD_": "4194304", "PATH": "/usr/bin"}  # As a process starts; it would adapt.
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=True
    ).stdout
    before, after = map(int, printed.split())
    assert after < 4096 < before / 2


@pytest.fixture
def flags(monkeypatch):
    """What `choose` sets, put back afterwards; as a function, what it is now."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def now():
        return {
            "products": torch.get_float32_matmul_precision(),
            "tf32": CUDNN.allow_tf32,
            "autotuner": CUDNN.benchmark,
            "fixed": CUDNN.deterministic,
            "algorithms": torch.are_deterministic_algorithms_enabled(),
        }

    before, fill = now(), torch.utils.deterministic.fill_uninitialized_memory
    yield now
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    torch.set_float32_matmul_precision(before["products"])
    CUDNN.allow_tf32, CUDNN.benchmark, CUDNN.deterministic = before["tf32"], before["autotuner"], before["fixed"]
    torch.use_deterministic_algorithms(before["algorithms"])
    torch.utils.deterministic.fill_uninitialized_memory = fill


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of this compute capability, as far as `choose` can see."""

    def pretend(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)

    return pretend


def test_a_gpu_takes_tf32_and_tries_its_convolutions_unless_told_otherwise(flags, gpu):
    gpu((9, 0))
    engine = choose()
    assert (engine.device.type, engine.precision, engine.deterministic) == ("cuda", "tf32", False)
    assert flags() == {"products": "high", "tf32": True, "autotuner": True, "fixed": False, "algorithms": False}
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_fp32_is_exact_on_request_and_where_there_is_no_tf32(flags, gpu):
    gpu((9, 0))
    assert choose("cuda", "fp32").precision == "fp32"
    assert (flags()["products"], flags()["tf32"]) == ("highest", False)
    gpu((7, 0))
    assert choose("cuda", "auto").precision == "fp32"
    assert (flags()["products"], flags()["tf32"]) == ("highest", False)
    with pytest.raises(UsageError, match=r"compute capability 8\.0"):
        choose("cuda", "tf32")


def test_deterministic_is_all_that_torch_has_and_ends_with_the_run(flags, gpu):
    gpu((9, 0))
    engine = choose("cuda", "auto", deterministic=True)
    assert engine.deterministic
    assert flags() == {"products": "high", "tf32": True, "autotuner": False, "fixed": True, "algorithms": True}
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    choose("cuda")
    assert not flags()["fixed"]
    assert not flags()["algorithms"]


def test_a_cpu_is_exact_whatever_auto_means_elsewhere(flags):
    assert choose("cpu").precision == "fp32"
    assert flags()["products"] == "highest"


def test_a_score_does_not_depend_on_how_the_run_computes(flags, gpu):
    gpu((9, 0))
    choose()
    during = flags()
    with exact():
        assert (flags()["products"], flags()["tf32"]) == ("highest", False)
        assert (flags()["autotuner"], flags()["fixed"]) == (False, True)
    assert flags() == during


def test_a_run_records_what_auto_came_to_and_whether_it_is_deterministic(ganzoo, tmp_path, flags):
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "a").code == 0
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "b", "--precision", "fp32", "--seed", 1).code == 0
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "c", "--deterministic").code == 0
    made = {name: json.loads((tmp_path / name / "run.json").read_text()) for name in "abc"}
    assert made["a"]["settings"]["precision"] == "auto"
    assert [made[name]["machine"]["precision"] for name in "abc"] == ["fp32"] * 3
    assert [made[name]["machine"]["deterministic"] for name in "abc"] == [False, False, True]
    records = {name: read_run(tmp_path / name) for name in "abc"}
    assert len(make_lines([records["a"], records["b"]])) == 1  # Two seeds of one line: the arithmetic is one.
    assert len(make_lines([records["a"], records["c"]])) == 2
    assert "--precision auto" in records["a"].command
    assert "--deterministic" in records["c"].command


def test_a_run_made_before_goes_on_in_the_precision_that_it_recorded(ganzoo, tmp_path, flags, monkeypatch):
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "a", "--precision", "fp32").code == 0
    path = tmp_path / "a" / "run.json"
    info = json.loads(path.read_text())
    del info["settings"]["deterministic"]  # Which version 0.1.0 did not know.
    path.write_text(json.dumps(info))
    asked = []
    monkeypatch.setattr("ganzoo.preparing.choose", lambda *given: asked.append(given) or choose(*given))
    assert ganzoo("resume", "a", "--steps", 3).code == 0
    assert asked == [("auto", "fp32", False)]
    assert ganzoo("resume", "a", "--steps", 4, "--deterministic").code == 0
    assert json.loads(path.read_text())["sessions"][-1]["machine"]["deterministic"]


def test_what_cannot_be_deterministic_is_told_in_one_line(ganzoo, flags, monkeypatch):
    def refuse(*args):
        raise RuntimeError("grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set x")

    monkeypatch.setattr("ganzoo.training.trainer.Trainer.play", refuse)
    result = ganzoo("run", *TINY, "--steps", 2, "--out", "a", "--deterministic", "--engine", "eager")
    assert result.code == 2
    assert result.err.strip().splitlines()[-1] == (
        "error: --deterministic: grid_sampler_2d_backward_cuda does not have a deterministic implementation; leave it "
        "out"
    )
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "b", "--engine", "eager").code == 1
