"""Each adversarial loss against its paper's formula, on numbers worked out by hand."""

from math import exp, log
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from ganzoo import losses
from ganzoo.losses import ADVERSARIAL

REAL = torch.tensor([[2.0], [-1.0]])
FAKE = torch.tensor([[0.5], [-3.0]])


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def test_minimax_is_the_value_of_the_game():
    real = (log(sigmoid(2)) + log(sigmoid(-1))) / 2
    fake = (log(1 - sigmoid(0.5)) + log(1 - sigmoid(-3))) / 2
    assert losses.minimax_discriminator(REAL, FAKE).item() == pytest.approx(-(real + fake))
    assert losses.minimax_generator(FAKE).item() == pytest.approx(fake)


def test_the_non_saturating_generator_raises_log_d():
    assert losses.non_saturating_generator(FAKE).item() == pytest.approx(-(log(sigmoid(0.5)) + log(sigmoid(-3))) / 2)


def test_cross_entropy_is_what_tutorials_compute_with_bce():
    bce, ones, zeros = nn.BCELoss(), torch.ones(2, 1), torch.zeros(2, 1)
    taught = (bce(REAL.sigmoid(), ones) + bce(FAKE.sigmoid(), zeros)) / 2
    loss = ADVERSARIAL["cross-entropy"]
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), taught)
    torch.testing.assert_close(loss.generator(FAKE), bce(FAKE.sigmoid(), ones))


def test_least_squares_keeps_the_halves_of_the_paper():
    # ((2-1)^2 + (-1-1)^2) / 2 = 2.5; (0.5^2 + (-3)^2) / 2 = 4.625; ((0.5-1)^2 + (-3-1)^2) / 2 = 8.125
    assert losses.least_squares_discriminator(REAL, FAKE).item() == pytest.approx((2.5 + 4.625) / 2)
    assert losses.least_squares_generator(FAKE).item() == pytest.approx(8.125 / 2)


def test_least_squares_takes_the_papers_other_targets():
    # a = -1, b = 1, c = 0: ((1.5)^2 + (-2)^2) / 2 = 3.125; (0.5^2 + 3^2) / 2 = 4.625
    assert losses.least_squares_discriminator(REAL, FAKE, a=-1, b=1).item() == pytest.approx((2.5 + 3.125) / 2)
    assert losses.least_squares_generator(FAKE, c=0).item() == pytest.approx(4.625 / 2)


def test_mean_squared_is_what_tutorials_compute_with_mse():
    mse, ones, zeros = nn.MSELoss(), torch.ones(2, 1), torch.zeros(2, 1)
    loss = ADVERSARIAL["mean-squared"]
    assert loss.discriminator(REAL, FAKE) == (mse(REAL, ones) + mse(FAKE, zeros)) / 2
    assert loss.generator(FAKE) == mse(FAKE, ones)


def test_hinge_stops_at_the_margin():
    # max(0, 1-2) = 0, max(0, 1+1) = 2; max(0, 1+0.5) = 1.5, max(0, 1-3) = 0
    assert losses.hinge_discriminator(REAL, FAKE).item() == pytest.approx(1.0 + 0.75)
    assert losses.hinge_generator(FAKE).item() == pytest.approx(1.25)


def test_the_table_and_the_type_of_options_hold_the_same_names():
    assert set(ADVERSARIAL) == set(get_args(losses.Name))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_score_is_a_probability_only_where_the_loss_reads_logits_as_odds(name: str):
    odds = name in ("minimax", "non-saturating", "cross-entropy")
    torch.testing.assert_close(ADVERSARIAL[name].score(REAL), REAL.sigmoid() if odds else REAL)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_loss_pulls_real_logits_up_and_fake_ones_down(name: str):
    real, fake = torch.zeros(3, 1, requires_grad=True), torch.full((3, 1), 0.25, requires_grad=True)
    up, down = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake), [real, fake])
    assert (up < 0).all()
    assert (down > 0).all()
    (back,) = torch.autograd.grad(ADVERSARIAL[name].generator(fake), fake)
    assert (back < 0).all()


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "cross-entropy"])
def test_extreme_logits_stay_finite(name: str):
    far: Tensor = torch.tensor([[200.0], [-200.0]])
    assert ADVERSARIAL[name].discriminator(far, far).isfinite()
    assert ADVERSARIAL[name].generator(far).isfinite()
