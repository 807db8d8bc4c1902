"""Recorded steps in turn with plain ones of the same training: what `--engine auto` gains.

    pytest benchmarks/test_recorded.py --benchmark-only --seconds 6 --models cgan,gan

A round is a segment of several recorded steps; before each comes one of as many plain steps. `extra_info` has the
medians.
"""

import statistics
import time

from ganzoo.plugins import registry
from ganzoo.preparing import prepare
from ganzoo.settings import resolve
from ganzoo.training.modes import settle

SEGMENTS = 8


def test_recorded_steps(benchmark, device, recipe, seconds):
    model, preset = recipe
    plan = resolve(registry().get("models", model), {"device": device, "loggers": ()}, preset)
    trainer = prepare(plan, registry()).trainer
    assert settle(trainer, "graph").used == "graph"
    recording = trainer.recorded

    def take(steps):
        """Seconds of a step."""
        begun, until = time.perf_counter(), trainer.step + steps
        while trainer.step < until:
            trainer.advance(until - trainer.step)
        trainer.engine.synchronize()
        return (time.perf_counter() - begun) / steps

    trainer.recorded = None
    take(2)
    steps = 10 * max(1, round(seconds / SEGMENTS / 2 / take(3) / 10))
    plain, recorded = [], []

    def plain_segment():
        trainer.recorded = None
        plain.append(take(steps))

    def recorded_segment():
        trainer.recorded = recording
        recorded.append(take(steps))

    benchmark.pedantic(recorded_segment, setup=plain_segment, rounds=SEGMENTS)
    trainer.feed(None)
    benchmark.extra_info |= {
        "model": model,
        "device": device,
        "steps_per_round": steps,
        "plain_milliseconds": 1000 * statistics.median(plain),
        "recorded_milliseconds": 1000 * statistics.median(recorded),
        "times_as_fast": statistics.median(p / r for p, r in zip(plain, recorded, strict=True)),
    }
