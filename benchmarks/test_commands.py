"""What a user waits for: the help, the first step of a run, an evaluation; and how much memory a run takes.

The commands are real processes, as after pressing enter.
"""

import os
import subprocess
import sys
import time

import pytest

from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.samples import generated
from ganzoo.metrics.training import METRICS, N
from ganzoo.plugins import registry
from ganzoo.preparing import prepare
from ganzoo.settings import resolve
from ganzoo.training.ema import averaged

GANZOO = [sys.executable, "-m", "ganzoo"]


def run(model, folder, *options):
    """A process that trains."""
    command = [*GANZOO, "run", model, "--out", str(folder), "--loggers", "none", "--quiet", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def test_help(benchmark):
    benchmark.pedantic(lambda: subprocess.run([*GANZOO, "--help"], check=True, capture_output=True), rounds=7)


def test_first_step(benchmark, device, tmp_path):
    """From pressing enter until the grid of step 1 is on disk."""
    benchmark.extra_info |= {"model": "cgan", "device": device}
    started = []

    def until_first_grid():
        folder = tmp_path / str(len(started))
        started.append(run("cgan", folder, "--device", device, "--sample-interval", "1"))
        while not (folder / "samples" / "00000001.png").exists():
            assert started[-1].poll() is None, "the run ended before its first step"
            time.sleep(0.002)
        started[-1].kill()

    benchmark.pedantic(until_first_grid, rounds=5)
    for process in started:
        process.wait()


def test_memory(benchmark, device, recipe, tmp_path):
    """The most that a short run, from start to finish, holds."""
    model, preset = recipe
    benchmark.extra_info |= {"model": model, "preset": preset, "device": device}

    def whole_run():
        options = ["--preset", preset] if preset else []
        process = run(model, tmp_path / "run", "--device", device, "--steps", "20", *options)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        benchmark.extra_info["peak_memory_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    benchmark.pedantic(whole_run)


@pytest.mark.parametrize("metrics", [METRICS, None], ids=["fid and accuracy", "all default metrics"])
def test_evaluation(benchmark, device, metrics):
    """10,000 samples: as `run --eval-every` measures them, and as `ganzoo eval` does; the reference is at hand."""
    options = {"device": device, "eval_every": 1.0, "loggers": ()}
    prepared = prepare(resolve(registry().get("models", "cgan"), options), registry())
    gan = averaged(prepared.trainer.gan, prepared.trainer.ema)
    evaluator = Evaluator(registry(), "mnist", metrics=metrics, device=prepared.trainer.engine.device)

    def measure():
        return evaluator.measure(generated(gan, N, 0, evaluator.reference), N, True)

    # The warm-up computes the reference's statistics, or reads them.
    benchmark.pedantic(measure, rounds=3, warmup_rounds=1)
    benchmark.extra_info |= {"model": "cgan", "device": device, "images": N, "metrics": list(evaluator.chosen)}
