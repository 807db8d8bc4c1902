"""An evaluation takes the memory that is free, and its numbers do not depend on how much that is."""

import pytest
import torch
from torch import nn

from ganzoo.data import DataRequest, memory
from ganzoo.metrics.base import Setting
from ganzoo.metrics.cas import CAS
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.neighbours import Nearest
from ganzoo.metrics.parzen import Parzen
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import drawer, generated
from ganzoo.metrics.together import Held, Together
from ganzoo.plugins import registry
from ganzoo.training.building import build
from ganzoo_test_plugins import SmallDigits, Tiny

CPU = torch.device("cpu")
LITTLE = 1_000_000
"""Bytes in which some of the 500 samples fit that are drawn from one seed."""


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes of memory one use may take."""
    return lambda count: monkeypatch.setattr(memory, "share", lambda device=None: count)


class Counting:
    """Work that doubles its rows twice, and notes how many it was given: 8 bytes more a number in a row."""

    def __init__(self):
        self.rows = []

    def __call__(self, x):
        self.rows.append(len(x))
        return (x * 2 * 2, None)


def test_what_lives_is_counted_and_what_is_gone_is_not():
    x = torch.zeros(10, 5)
    with Held() as held:
        y = x + 1
        assert held.now == 200
        y.mul_(2)
        z = y.view(50) * 3
        assert held.now == 400
        del z
        assert held.now == 200
        y = torch.zeros(5)
    assert (held.now, held.most) == (20, 400)


def test_as_many_rows_are_done_together_as_fit(free):
    x = torch.randn(103, 6)
    for room, most in ((10**9, 103), (480, 10), (479, 9), (1, 1), (0, 1)):
        free(room)
        work = Counting()
        together = Together(work, CPU)
        made, nothing = together(x)
        assert torch.equal(made, x * 4)
        assert nothing is None
        assert work.rows[:2] == [3, 2]
        assert max(work.rows[2:]) == most
        assert sum(work.rows[2:]) == 103


def test_processes_on_a_cpu_have_its_memory_among_them(free):
    free(480)
    for processes, most in ((1, 10), (2, 5), (40, 1)):
        together = Together(Counting(), CPU, processes)
        together.look(torch.zeros(3, 6))
        assert together.most == most


def test_what_is_made_once_and_kept_makes_no_row_seem_small(free):
    kept = []

    def work(x):
        if not kept:
            kept.append(torch.zeros(1000))
        return (x * 2 * 2,)

    free(10_000)
    together = Together(work, CPU)
    together.look(torch.zeros(3, 6))
    assert together.most is not None
    assert 1 <= together.most <= 10_000 // (8 * 6)


def test_a_few_rows_are_done_without_a_look():
    work = Counting()
    together = Together(work, CPU)
    for rows in (1, 2):
        assert torch.equal(together(torch.ones(rows, 6))[0], torch.full((rows, 6), 4.0))
    assert work.rows == [1, 2]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x - x.mean(0),
        lambda x: x + torch.randn(len(x), 1),
        lambda x: x + torch.randn(()),
        nn.BatchNorm1d(6),
    ],
)
def test_rows_that_are_not_by_themselves_stay_together(work, free):
    free(1)
    given = []

    def noted(x):
        given.append(len(x))
        return (work(x),)

    torch.manual_seed(0)
    Together(noted, CPU)(torch.randn(50, 6))
    assert given == [3, 2, 50]


def test_a_gpus_free_memory_counts_what_torch_keeps_for_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 8000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert memory.share(torch.device("cuda", 0)) == 500


class Noisy(Tiny):
    """Draws while it generates: what a sample gets depends on how many are drawn with it."""

    def generate(self, z, y, source=None):
        x = self.generator(z, y)
        return (x + 0.3 * torch.randn_like(x)).clamp(-1, 1)


class Wide(Tiny):
    """Takes far more memory than its samples do."""

    def generate(self, z, y, source=None):
        return (2 * self.generator(z, y).repeat(1, 64, 1, 1)).mean(1, keepdim=True) / 2


def model(kind=Tiny):
    torch.manual_seed(2)
    data = SmallDigits().load(DataRequest())
    return build(kind, data.spec("small-digits"), kind.Options()).eval()


@pytest.mark.parametrize("kind", [Wide, Noisy])
def test_samples_are_the_same_whatever_memory_is_free(kind, free):
    gan, reference, found, peaks = model(kind), Reference(SmallDigits(), shape=(1, 8, 8)), [], []
    for room in (2**30, LITTLE):
        free(room)
        with Held() as held:
            found.append(torch.cat([batch.images for batch in generated(gan, 1100, 3, reference)]))
        peaks.append(held.most)
    assert found[0].shape == (1100, 1, 8, 8)
    if kind is Noisy:
        assert torch.equal(*found)
    else:
        assert (found[0].int() - found[1].int()).abs().max() <= 1
        assert peaks[0] > 16_000_000
        assert peaks[1] < LITTLE + 500_000  # And the samples of one seed, in single precision and as pixels.


def test_what_a_model_draws_for_a_metric_is_the_same_whatever_memory_is_free(free):
    draw, found = drawer(model()), []
    assert draw is not None
    for room in (2**30, LITTLE):
        free(room)
        found.append(draw(torch.arange(700) % 10, 4))
    assert (found[0].int() - found[1].int()).abs().max() <= 1


def test_numbers_are_the_same_whatever_memory_is_free(free):
    gan, numbers = model(Wide), []
    for room in (2**30, LITTLE):
        free(room)
        evaluator = Evaluator(registry(), "small-digits", metrics=["fid", "prdc"], shape=(1, 8, 8))
        evaluator.reference.file().unlink(missing_ok=True)
        batches = generated(gan, 600, 0, evaluator.reference)
        numbers.append(evaluator.measure(batches, 600, True)["metrics"])
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)


def test_metrics_that_hold_images_say_so_where_these_do_not_fit(monkeypatch):
    reference = Reference(SmallDigits(), shape=(1, 8, 8))
    setting = Setting(reference, 100, True, 0, CPU)
    assert [metric.missing(setting) for metric in (Nearest, Parzen, CAS)] == [None] * 3
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    for metric in (Parzen, CAS):
        assert "images of 8 x 8 pixels that it holds do not fit in memory" in metric.missing(setting)
