"""Images per second of training, every model beside the tutorial loop, measured in one process and hour.

    make bench
    pytest benchmarks --benchmark-only --benchmark-json results.json

Each result's `extra_info` holds images per second and the machine.
"""

import pytest
import torch
from tutorial_loop import BATCH_SIZE, train

from ganzoo.engine import choose
from ganzoo.launch import prepare
from ganzoo.plugins import registry
from ganzoo.settings import resolve

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
ROUNDS, WARM_UP = 20, 5


def record(benchmark, images):
    """Put images per second, from the median, beside the times."""
    benchmark.extra_info["images_per_second"] = images / benchmark.stats.stats.median


def test_tutorial_loop(benchmark):
    """The yardstick: ten steps of the tutorials' own loop."""
    steps = train()
    benchmark.extra_info["machine"] = choose("cpu").describe()
    benchmark.pedantic(lambda: [next(steps) for _ in range(10)], rounds=ROUNDS, warmup_rounds=WARM_UP)
    record(benchmark, 10 * BATCH_SIZE)


@pytest.mark.parametrize("batch_size", [64, 256, 1024])
@pytest.mark.parametrize("preset", [None, "tutorial"])
@pytest.mark.parametrize("model", ["gan", "cgan"])
@pytest.mark.parametrize("device", DEVICES)
def test_training_steps(benchmark, device, model, preset, batch_size):
    """Ten steps of a model on the embedded digits."""
    plugins = registry()
    options = {"device": device, "batch_size": batch_size, "loggers": ()}
    trainer = prepare(resolve(plugins.get("models", model), options, preset), plugins).trainer
    benchmark.extra_info["machine"] = trainer.engine.describe()

    def steps():
        for _ in range(10):
            trainer.advance()
        trainer.engine.synchronize()

    benchmark.pedantic(steps, rounds=ROUNDS, warmup_rounds=WARM_UP)
    record(benchmark, 10 * batch_size)
