"""Three digits as one image: how they are drawn, and how the numbers are told apart and counted."""

import math

import pytest
import torch
from ganzoo_plugins.digits import Digits
from ganzoo_plugins.stacked_mnist import StackedDigits, StackedMNIST, chosen

from ganzoo.data import DataRequest, open_dataset
from ganzoo.metrics.base import Measured, Setting
from ganzoo.metrics.modes import ModeCoverage
from ganzoo.metrics.reference import Reference
from ganzoo.plugins import registry


@pytest.fixture(scope="module")
def stacked():
    return open_dataset(StackedMNIST(), DataRequest("test"))


@pytest.fixture(scope="module")
def digits():
    return registry().get("datasets", "mnist")().load(DataRequest("test"))


def test_each_channel_is_a_digit_drawn_by_a_fixed_seed(stacked, digits):
    assert (stacked.images.shape, stacked.labels, stacked.classes) == ((26_000, 3, 28, 28), None, ())
    drawn = chosen(10_000, "test")
    assert torch.equal(drawn, chosen(10_000, "test"))
    assert not torch.equal(drawn[:100], chosen(10_000, "train")[:100])
    for i in (0, 17, 25_999):
        assert torch.equal(stacked.images[i], digits.images[drawn[i]][:, 0])


def test_modes_come_as_often_as_their_digits_together(stacked, digits):
    shares = stacked.modes.shares
    assert len(shares) == 1000
    assert shares.sum().item() == pytest.approx(1)
    count = torch.bincount(digits.labels).tolist()
    assert shares[407].item() == pytest.approx(count[4] * count[0] * count[7] / 10_000**3)
    numbers = (digits.labels[chosen(10_000, "test")] * torch.tensor([100, 10, 1])).sum(1)
    found = torch.bincount(numbers, minlength=1000).double()
    statistic = ((found - 26_000 * shares) ** 2 / (26_000 * shares)).sum().item()
    assert abs(statistic - 999) < 4 * math.sqrt(2 * 999)  # Chi-squared of 999 degrees of freedom.


def test_numbers_are_told_apart_channel_by_channel(stacked, digits):
    extractor, one = StackedDigits(), Digits()
    images = stacked.images[:64]
    found = extractor.extract(images)
    assert (found.vectors.shape, found.logits.shape) == ((64, 384), (64, 1000))
    by_channel = [one.extract(images[:, c : c + 1]) for c in range(3)]
    assert torch.allclose(found.vectors, torch.cat([f.vectors for f in by_channel], 1), atol=1e-4)
    hundreds, tens, ones = (f.logits.argmax(1) for f in by_channel)
    assert torch.equal(found.logits.argmax(1), 100 * hundreds + 10 * tens + ones)
    assert torch.allclose(found.logits.exp().sum(1), torch.ones(64), atol=1e-4)
    truth = (digits.labels[chosen(10_000, "test")[:64]] * torch.tensor([100, 10, 1])).sum(1)
    assert (found.logits.argmax(1) == truth).double().mean() > 0.95


def test_modes_are_counted_over_samples(stacked):
    extractor = StackedDigits()
    reference = Reference(StackedMNIST(), extractor, "test")
    metric = ModeCoverage(Setting(reference, 8, False, 0, torch.device("cpu")))
    logits = torch.zeros(8, 1000)
    logits[torch.arange(8), torch.tensor([5, 5, 5, 5, 999, 999, 0, 1])] = 1
    for part in (slice(0, 3), slice(3, 8)):
        metric.update(Measured(stacked.images[:8][part], None, None, logits[part]))
    found = metric.compute()
    shares = reference.data.modes.shares
    parts = [(5, 0.5), (999, 0.25), (0, 0.125), (1, 0.125)]
    expected = sum(q * math.log(q / shares[k].item()) for k, q in parts)
    assert found == {"modes": 4, "reverse_kl": pytest.approx(expected)}
    assert metric.settings() == {"of": 1000}


def test_an_extractor_that_tells_other_classes_apart_counts_no_modes():
    reference = Reference(StackedMNIST(), Digits(), "test")
    setting = Setting(reference, 8, False, 0, torch.device("cpu"))
    assert ModeCoverage.missing(setting) == "the extractor 'digits' does not tell the modes of 'stacked-mnist' apart"
