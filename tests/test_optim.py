"""Update rules against torch's plain loops, schedules against numbers by hand."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ganzoo.optim import SGD, Adam, RMSprop, at, cosine, exponential, late, linear_decay, ramp


@dataclass
class Now:
    """A moment of training."""

    step: int = 0
    epoch: float = 0.0
    fraction: float = 0.0


def follow(optimizer: torch.optim.Optimizer, network: nn.Module, settings=lambda step: {}) -> torch.Tensor:
    """The weights after ten steps on a fixed problem."""
    x = torch.linspace(-1, 1, 12).view(4, 3)
    for step in range(10):
        for group in optimizer.param_groups:
            group |= settings(step)
        optimizer.zero_grad()
        (network(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


@pytest.mark.parametrize("steps", [40, 41, 1000])
def test_adam_that_rested_goes_on_as_one_that_begins_there(steps: int):
    begin, gradients = 0.3, torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    first = next(step for step in range(steps) if step / steps >= begin)
    ends = []
    for rests in (True, False):
        weight = nn.Parameter(torch.ones(4))
        rule = Adam(late(0.1, begin, 0.9, 0.999) if rests else 0.1, 0.9, 0.999)
        optimizer = rule.build([weight])
        for step in range(0 if rests else first, min(first + 20, steps)):
            optimizer.param_groups[0] |= rule.settings(Now(step=step, fraction=step / steps))
            weight.grad = gradients[step - first] if step >= first else torch.zeros(4)
            optimizer.step()
            assert step >= first or torch.equal(weight, torch.ones(4))
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


def test_adam_that_never_rested_keeps_its_rate():
    assert late(0.1, 0.0, 0.9, 0.999) == 0.1


def test_adam_equals_torchs_plain_adam():
    ours, plain = network(), network()
    rule = Adam(1e-2, b1=0.5, b2=0.9)
    reference = torch.optim.Adam(plain.parameters(), lr=1e-2, betas=(0.5, 0.9), foreach=False, fused=False)
    followed = follow(rule.build(ours.parameters()), ours, lambda step: rule.settings(Now(step)))
    torch.testing.assert_close(followed, follow(reference, plain))


def test_adam_equals_torchs_fused_adam_bit_for_bit_and_shares_its_state():
    ours, fused = network(), network()
    optimizer = Adam(1e-2, b1=0.5, b2=0.9).build(ours.parameters())
    reference = torch.optim.Adam(fused.parameters(), lr=1e-2, betas=(0.5, 0.9), fused=True)
    falling = lambda step: {"lr": 1e-2 / (1 + step)}  # noqa: E731
    assert torch.equal(follow(optimizer, ours, falling), follow(reference, fused, falling))
    state = reference.state_dict()
    assert optimizer.state_dict()["param_groups"] == state["param_groups"]
    torch.testing.assert_close(optimizer.state_dict()["state"], state["state"], rtol=0, atol=0)
    # Either takes up where the other stands.
    optimizer.load_state_dict(copy.deepcopy(state))
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(follow(optimizer, ours), follow(reference, fused))


def test_adam_leaves_a_parameter_without_a_gradient_as_it_is():
    unused = nn.Parameter(torch.ones(3))
    parts = network()
    optimizer = Adam(1e-2).build([*parts.parameters(), unused])
    follow(optimizer, parts, lambda step: {"lr": 1e-2})
    assert torch.equal(unused, torch.ones(3))
    unused.sum().backward()
    optimizer.step()
    assert torch.allclose(unused, torch.full((3,), 0.99))


def test_adam_keeps_its_state_in_place_where_a_loss_reaches_only_some_parameters():
    """As a penalty on gradients: what is replaced, a recorded step would not follow."""
    ours, fused = network(), network()
    optimizer = Adam(1e-2).build(ours.parameters())
    reference = torch.optim.Adam(fused.parameters(), lr=1e-2, betas=(0.5, 0.999), fused=True)
    follow(optimizer, ours, lambda step: {"lr": 1e-2})
    follow(reference, fused)
    places = [state["step"].data_ptr() for state in optimizer.state.values()]
    for module, rule in ((ours, optimizer), (fused, reference)):
        for reached in (1, 2, 0, 4):
            rule.zero_grad()
            sum(
                (p.square().sum() for p in list(module.parameters())[:reached]), torch.zeros((), requires_grad=True)
            ).backward()
            rule.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), fused.parameters(), strict=True))
    assert [int(state["step"]) for state in optimizer.state.values()] == [13, 12, 11, 11]
    assert [int(state["step"]) for state in reference.state.values()] == [13, 12, 11, 11]
    assert [state["step"].data_ptr() for state in optimizer.state.values()] == places


def test_adam_with_a_moving_second_decay_equals_torchs_plain_adam():
    ours, plain = network(), network()
    rule = Adam(cosine(1e-2, 1e-3, 8), b1=0.5, b2=cosine(0.9, 0.99, 8))
    reference = torch.optim.Adam(plain.parameters(), foreach=False, fused=False)
    settings = [rule.settings(Now(step)) for step in range(10)]
    assert len({now["b2"] for now in settings}) == 9
    followed = follow(rule.build(ours.parameters()), ours, lambda step: settings[step])
    torchs = lambda step: {"lr": settings[step]["lr"], "betas": (0.5, settings[step]["b2"])}  # noqa: E731
    torch.testing.assert_close(followed, follow(reference, plain, torchs))


def test_adam_with_a_moving_second_decay_leaves_what_has_no_gradient_and_goes_on_from_its_state():
    ours, other = network(), network()
    rule = Adam(1e-2, b2=cosine(0.9, 0.99, 8))
    unused = nn.Parameter(torch.ones(3))
    optimizer = rule.build([*ours.parameters(), unused])
    follow(optimizer, ours, lambda step: rule.settings(Now(step)))
    assert torch.equal(unused, torch.ones(3))
    assert len(optimizer.state) == 4
    other.load_state_dict(ours.state_dict())
    again = rule.build([*other.parameters(), nn.Parameter(torch.ones(3))])
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    settings = lambda step: rule.settings(Now(step + 10))  # noqa: E731
    assert torch.equal(follow(optimizer, ours, settings), follow(again, other, settings))


def test_rmsprop_equals_torchs_plain_rmsprop():
    ours, plain = network(), network()
    rule = RMSprop(1e-2)
    reference = torch.optim.RMSprop(plain.parameters(), lr=1e-2, alpha=0.99, foreach=False)
    followed = follow(rule.build(ours.parameters()), ours, lambda step: rule.settings(Now(step)))
    torch.testing.assert_close(followed, follow(reference, plain))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_rmsprop_with_a_falling_rate_equals_torchs_at_each_of_its_rates(as_tensor):
    ours, plain = network(), network()
    rule = RMSprop(linear_decay(1e-2))
    reference = torch.optim.RMSprop(plain.parameters(), lr=1e-2, alpha=0.99, foreach=False)

    def settings(step):
        now = rule.settings(Now(step, fraction=step / 10))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in now.items()} if as_tensor else now

    followed = follow(rule.build(ours.parameters()), ours, settings)
    expected = follow(reference, plain, lambda step: {"lr": 1e-2 * (1 - step / 10)})
    torch.testing.assert_close(followed, expected)


def test_sgd_with_schedules_equals_the_update_written_out():
    ours, plain = network(), network()
    rule = SGD(exponential(0.1, 1.5, floor=0.02), momentum=ramp(0.5, 0.7, epochs=8))
    followed = follow(rule.build(ours.parameters()), ours, lambda step: rule.settings(Now(step, epoch=step)))

    x = torch.linspace(-1, 1, 12).view(4, 3)
    velocity = [torch.zeros_like(p) for p in plain.parameters()]
    for step in range(10):
        lr, momentum = max(0.1 / 1.5**step, 0.02), 0.5 + 0.2 * min(step / 8, 1)
        loss = (plain(x) - x.sum(1, keepdim=True)).square().mean()
        for p, v, g in zip(plain.parameters(), velocity, torch.autograd.grad(loss, plain.parameters()), strict=True):
            v.mul_(momentum).add_(g)
            p.data.sub_(lr * v)
    torch.testing.assert_close(followed, nn.utils.parameters_to_vector(plain.parameters()).detach())


def test_sgd_without_momentum_keeps_no_buffers():
    ours = network()
    rule = SGD(0.1)
    optimizer = rule.build(ours.parameters())
    follow(optimizer, ours, lambda step: rule.settings(Now(step)))
    assert all(state.get("momentum_buffer") is None for state in optimizer.state.values())


def test_a_number_is_a_schedule_too():
    assert at(0.3, Now()) == 0.3


def test_the_exponential_schedule_divides_every_step_and_stops_at_its_floor():
    rate = exponential(0.1, 1.00004, floor=1e-6)
    assert rate(Now(step=0)) == 0.1
    assert rate(Now(step=1)) == pytest.approx(0.1 / 1.00004)
    assert rate(Now(step=100_000)) == pytest.approx(0.1 / 1.00004**100_000)
    assert rate(Now(step=10**6)) == 1e-6


def test_the_ramp_rises_by_epochs_and_stays():
    momentum = ramp(0.5, 0.7, epochs=250)
    assert momentum(Now(epoch=0)) == 0.5
    assert momentum(Now(epoch=125)) == pytest.approx(0.6)
    assert momentum(Now(epoch=250)) == pytest.approx(0.7)
    assert momentum(Now(epoch=900)) == pytest.approx(0.7)


@pytest.mark.parametrize(("fraction", "value"), [(0, 1.0), (0.4, 1.0), (0.5, 1.0), (0.75, 0.55), (1, 0.1), (1.2, 0.1)])
def test_linear_decay_waits_for_its_share_of_the_budget(fraction: float, value: float):
    assert linear_decay(1.0, begin=0.5, end=0.1)(Now(fraction=fraction)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("step", "value"), [(0, 2.0), (25, 2 - 0.5 * (1 - 0.5**0.5)), (50, 1.5), (100, 1.0), (999, 1.0)]
)
def test_the_cosine_is_flat_at_its_ends_and_stays(step: int, value: float):
    assert cosine(2.0, 1.0, steps=100)(Now(step=step)) == pytest.approx(value)


def test_linear_decay_starts_at_once_unless_told():
    assert linear_decay(2.0)(Now(fraction=0.25)) == pytest.approx(1.5)
