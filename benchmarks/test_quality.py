"""FID against wall-clock: what the default `cgan` reaches in a fraction of the time that the tutorials' loop takes.

    pytest benchmarks/test_quality.py --benchmark-only --time-to-quality 10

For each seed the tutorial loop trains for so many epochs and is measured; then the default recipe is given a twelfth
of that time, and a thirtieth. Training alone is timed, on both sides.

Both are measured at the 28 x 28 of the data, by one protocol: the tutorial draws 32 x 32, which is scaled down.
"""

import os
import time
from pathlib import Path

import pytest
import torch
from ganzoo_plugins.mnist import MNIST

from ganzoo.data import resize, to_uint8
from ganzoo.files import read_json
from ganzoo.launch import start
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.protocol import comparable, describe
from ganzoo.metrics.samples import given
from ganzoo.metrics.training import METRICS, N
from ganzoo.plugins import registry
from ganzoo.runs.folder import read_metrics
from ganzoo.settings import resolve
from ganzoo.speed.yardsticks import LATENT_DIM, tutorial_loop

SIDE = 28

TUTORIAL = {}
"""By seed, what the tutorial loop reached: trained once, for every share of its time."""


def tutorial(seed, epochs):
    """The result of measuring the tutorial loop's samples, and the seconds it trained."""
    if seed not in TUTORIAL:
        with Path(os.devnull).open("w") as sink:
            begun = time.perf_counter()
            steps = tutorial_loop(MNIST.unpack(), seed=seed, progress=sink)
            network = next(generator for seen, generator in steps if seen >= 60_000 * epochs)
            seconds = time.perf_counter() - begun
        labels = torch.arange(10).repeat(N // 10)
        with torch.no_grad():
            images = resize(to_uint8(network.eval()(torch.randn(N, LATENT_DIM), labels)), SIDE)
        evaluator = Evaluator(registry(), "mnist", metrics=METRICS, shape=(1, SIDE, SIDE), device=torch.device("cpu"))
        TUTORIAL[seed] = evaluator.measure(given(images, labels, N, seed), N, True, seed), seconds
    return TUTORIAL[seed]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("share", [12, 30])
def test_quality_in_a_share_of_the_tutorials_time(benchmark, request, tmp_path, share, seed):
    epochs = request.config.getoption("--time-to-quality")
    if epochs is None:
        pytest.skip("long: ask for it with --time-to-quality 10")
    theirs, seconds = tutorial(seed, epochs)
    options = {"max_time": seconds / share, "eval_every": 1e6, "seed": seed, "loggers": (), "device": "cpu"}
    plan = resolve(registry().get("models", "cgan"), options)
    finished = benchmark.pedantic(lambda: start(plan, registry(), tmp_path / "run"))
    ours = [line for line in read_metrics(finished.folder) if "fid" in line][-1]
    protocol = read_json(finished.folder / "run.json")["evaluation"]
    comparable(theirs, {**theirs, "protocol": protocol})
    benchmark.extra_info |= {
        "model": "cgan",
        "batch_size": plan.options.batch_size,
        "device": "cpu",
        "tutorial_epochs": epochs,
        "tutorial": {"seconds": seconds, "protocol": describe(theirs["protocol"]), **theirs["metrics"]},
        "share_of_its_time": 1 / share,
        "seconds": ours["seconds"],
        "fid": ours["fid"],
        "accuracy": ours["accuracy"],
        "protocol": ours["evaluation"],
        "reached": ours["fid"] <= theirs["metrics"]["fid"] and ours["accuracy"] >= theirs["metrics"]["accuracy"],
    }
