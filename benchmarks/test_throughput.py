"""Training speed: every model at several batch sizes, in turn with the tutorial loop, and its share of the roofline.

    make bench
    pytest benchmarks --benchmark-only --seconds 2 --models cgan,dcgan --batch-sizes 64

A round is a segment of several steps (`steps_per_round`). `extra_info` holds what `ganzoo bench` reports.
"""

from contextlib import closing

from ganzoo.plugins import registry
from ganzoo.settings import resolve
from ganzoo.speed.bench import Contest


def test_training(benchmark, device, recipe, batch_size, seconds):
    model, preset = recipe
    options = {"device": device, "batch_size": batch_size, "loggers": ()}
    with closing(Contest(resolve(registry().get("models", model), options, preset), registry(), seconds)) as contest:
        benchmark.pedantic(contest.ours, setup=contest.theirs, rounds=contest.segments)
        benchmark.extra_info |= {"steps_per_round": contest.our_steps, **contest.result().to_json()}
