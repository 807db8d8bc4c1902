"""Each adversarial loss against its paper's formula, on numbers worked out by hand."""

from math import exp, log, pi
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from ganzoo import losses
from ganzoo.data import Batch
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


# Wasserstein and relativistic losses


def test_wasserstein_is_the_difference_of_the_means():
    # E f(x) = 0.5, E f(G(z)) = -1.25
    assert losses.wasserstein_critic(REAL, FAKE).item() == pytest.approx(-1.25 - 0.5)
    assert losses.wasserstein_generator(FAKE).item() == pytest.approx(1.25)


def test_relativistic_pairs_each_fake_with_its_real_sample():
    # D(x) - D(G(z)): 2 - 0.5 = 1.5 and -1 + 3 = 2
    assert losses.relativistic(REAL, FAKE).item() == pytest.approx(-(log(sigmoid(1.5)) + log(sigmoid(2))) / 2)
    assert losses.relativistic(FAKE, REAL).item() == pytest.approx(-(log(sigmoid(-1.5)) + log(sigmoid(-2))) / 2)


# Gradient penalties, against critics whose gradient is known


def linear(x: Tensor) -> Tensor:
    """f(x) = 3 x_1 + 4 x_2 for x (N, 1, 1, 2): its gradient has norm 5 everywhere."""
    return x.flatten(1) @ torch.tensor([[3.0], [4.0]])


def quadratic(x: Tensor) -> Tensor:
    """f(x) = |x|^2 / 2: its gradient at x is x."""
    return x.flatten(1).square().sum(1, keepdim=True) / 2


X = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).view(2, 1, 1, 2)
OTHER = torch.tensor([[6.0, 8.0], [0.0, -2.0]]).view(2, 1, 1, 2)


def test_the_gradients_norm_is_that_of_each_sample():
    assert losses.gradient_norm(linear, X).tolist() == pytest.approx([5, 5])
    assert losses.gradient_norm(quadratic, X).tolist() == pytest.approx([5, 2])


def test_the_interpolation_penalty_of_a_linear_critic():
    assert losses.interpolation_penalty(linear, X, OTHER).item() == pytest.approx((5 - 1) ** 2)


def test_the_interpolation_penalty_lies_on_the_line_between_the_pair():
    # From (3, 4) to (6, 8): |grad| = |x^| = 5 + 5 u.
    torch.manual_seed(0)
    real, fake = X[:1].expand(4000, 1, 1, 2), OTHER[:1].expand(4000, 1, 1, 2)
    seen = []
    penalty = losses.interpolation_penalty(lambda x: seen.append(x) or quadratic(x), real, fake)
    share = seen[0].flatten(1)[:, 0] / 3 - 1
    assert 0 <= share.min() < 0.01
    assert 0.99 < share.max() <= 1
    torch.testing.assert_close(seen[0].flatten(1)[:, 1], 4 + 4 * share)
    # E[(5 + 5 u - 1)^2] = 16 + 20 + 25 / 3
    assert penalty.item() == pytest.approx(16 + 20 + 25 / 3, rel=0.03)


def test_the_local_penalty_asks_for_the_target_around_real_data():
    assert losses.local_penalty(linear, X).item() == pytest.approx(16)
    assert losses.local_penalty(linear, X, target=5).item() == pytest.approx(0)
    assert losses.local_penalty(quadratic, X, spread=0).item() == pytest.approx(((5 - 1) ** 2 + (2 - 1) ** 2) / 2)


def test_the_local_penalty_strays_by_the_spread_at_most():
    torch.manual_seed(0)
    real, seen = torch.randn(500, 1, 4, 4), []
    losses.local_penalty(lambda x: seen.append(x) or quadratic(x), real, spread=0.5)
    delta = (seen[0] - real).detach()
    assert delta.min() >= 0
    assert 0.4 * real.std() < delta.max() <= 0.5 * real.std()


def test_zero_centred_penalties_are_mean_squared_gradients():
    real, fake = X.clone().requires_grad_(), OTHER.clone().requires_grad_()
    joined = quadratic(torch.cat([real, fake]))
    r1, r2 = losses.zero_centred_penalties((real, joined[:2]), (fake, joined[2:]))
    assert r1.item() == pytest.approx((25 + 4) / 2)
    assert r2.item() == pytest.approx((100 + 4) / 2)


@pytest.mark.parametrize("penalty", ["interpolation", "local", "zero-centred"])
def test_penalties_can_be_descended(penalty: str):
    # f(x) = w . x has |grad f| = |w|: d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|, d/dw |w|^2 = 2 w.
    w = torch.tensor([[3.0], [4.0]], requires_grad=True)
    x = X.clone().requires_grad_()
    critic = lambda x: x.flatten(1) @ w  # noqa: E731
    value = {
        "interpolation": lambda: losses.interpolation_penalty(critic, X, OTHER),
        "local": lambda: losses.local_penalty(critic, X),
        "zero-centred": lambda: losses.zero_centred_penalties((x, critic(x)))[0],
    }[penalty]()
    (gradient,) = torch.autograd.grad(value, w)
    expected = [[6.0], [8.0]] if penalty == "zero-centred" else [[8 * 0.6], [8 * 0.8]]
    torch.testing.assert_close(gradient, torch.tensor(expected))


# Predicting conditions and codes


def test_predicting_a_class_is_cross_entropy_of_logits():
    output = torch.tensor([[log(1.0), log(3.0)], [log(2.0), log(2.0)]])
    assert losses.prediction(output, torch.tensor([1, 0]), 2).item() == pytest.approx(-(log(0.75) + log(0.5)) / 2)


def test_predicting_a_vector_is_cross_entropy_of_its_class_and_squared_error_of_the_rest():
    output = torch.tensor([[log(1.0), log(3.0), 0.5, 1.0]])
    y = torch.tensor([[0.0, 1.0, 0.0, 3.0]])
    assert losses.prediction(output, y, 2).item() == pytest.approx(-log(0.75) + 0.25 + 4)
    assert losses.prediction(output[:, 2:], y[:, 2:], 0).item() == pytest.approx(4.25)


def test_the_gaussian_codes_likelihood_is_that_of_torch():
    mean, log_variance, value = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.0, log(4.0)]]), torch.tensor([[1.0, 1.0]])
    # ((1 - 0.5)^2 / 1 + log 1) / 2 + ((1 + 1)^2 / 4 + log 4) / 2
    ours = losses.gaussian_nll(mean, log_variance, value)
    assert ours.item() == pytest.approx(0.125 + (1 + log(4)) / 2)
    theirs = -torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(value).sum()
    assert ours.item() == pytest.approx(theirs.item() - log(2 * pi))


def test_the_penalty_at_a_batch_is_the_mean_squared_norm_of_the_gradient_also_of_the_first_of_several_outputs():
    weight = torch.tensor([[3.0], [4.0]])
    batch = Batch(torch.tensor([[1.0, 0.0], [0.5, 2.0]]), y=torch.tensor([0, 1]))

    def judge(batch):
        return batch.x @ weight * batch.y[:, None], batch.x  # Of class 0 the logit is flat; of class 1 |grad|^2 is 25.

    penalty = losses.zero_centred_penalty(judge, batch)
    torch.testing.assert_close(penalty, torch.tensor(12.5))
    torch.testing.assert_close(losses.zero_centred_penalty(lambda b: judge(b)[0], batch), penalty)
    assert not batch.x.requires_grad
