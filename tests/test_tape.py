"""What a tape records, and what it refuses. That all models are equal on it is in `test_modes.py`."""

import weakref

import numpy as np
import pytest
import torch
from torch import nn

from ganzoo.errors import NotRecorded
from ganzoo.training.tape import on_tape


def test_a_replay_computes_from_what_is_in_memory_now():
    x, total = torch.ones(3), torch.zeros(3)
    play = on_tape(lambda: total.add_(torch.exp(x.view(3)) * 2))
    total.zero_()
    x.fill_(0.0)
    play()
    play()
    assert total.tolist() == [4, 4, 4]


def train(tape, fused):
    """Seven steps, of which the first three are those that a tape needs; what they make of the network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2, inplace=True), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(network.parameters(), 0.01, fused=fused)

    def take():
        optimizer.zero_grad()
        x = torch.randn(16, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        (network(torch.rand(16, 4)).square().mean() + slope.square().sum()).backward()
        optimizer.step()

    play = tape(take)
    for _ in range(4):
        play()
    return network.state_dict()


def plainly(take):
    for _ in range(3):
        take()
    return take


def test_gradients_and_updates_are_replayed_bit_for_bit():
    recorded, plain = train(on_tape, fused=True), train(plainly, fused=True)
    for name, value in plain.items():
        assert torch.equal(recorded[name], value), name


def test_an_optimizer_that_counts_steps_in_python_is_refused():
    with pytest.raises(NotRecorded, match="Python reads a value from a tensor"):
        train(on_tape, fused=False)


def test_random_numbers_are_drawn_anew():
    x = torch.zeros(4)
    play = on_tape(lambda: x.copy_(torch.rand(4)))
    torch.manual_seed(3)
    play()
    torch.manual_seed(3)
    assert torch.equal(x, torch.rand(4))


def test_a_replay_keeps_nothing_and_a_recording_no_step():
    x = torch.ones(2**20, requires_grad=True)
    kept = []

    def take():
        loss = (x * 2).exp()
        kept.append(weakref.ref(loss))
        loss.sum().backward(inputs=[x])
        x.grad = None

    on_tape(take)()
    assert [ref() for ref in kept] == [None, None, None]


def test_a_number_read_from_a_tensor_is_refused():
    x = torch.ones(3)
    with pytest.raises(NotRecorded, match="Python reads a value from a tensor"):
        on_tape(lambda: x.mul_(float(x.sum())))


def test_a_number_that_python_counts_is_refused():
    x, calls = torch.ones(3), []

    def take():
        calls.append(0)
        x.mul_(len(calls))

    with pytest.raises(NotRecorded, match=r"a step is not as the one before: .*, 2\), then .*, 3\)"):
        on_tape(take)


def test_a_tensor_that_numpy_made_is_refused():
    x = torch.ones(3)
    with pytest.raises(
        NotRecorded, match=r"a step reads a tensor of shape \(3,\), which no operator of torch has made"
    ):
        on_tape(lambda: x.add_(torch.from_numpy(np.ones(3, np.float32))))


def test_a_number_made_into_a_tensor_is_recorded_while_it_stays_the_same():
    x, count = torch.zeros(()), []
    on_tape(lambda: x.add_(torch.tensor(2.0)))()
    assert x == 8

    def take():
        count.append(0.0)
        x.add_(torch.tensor(float(len(count))))

    with pytest.raises(NotRecorded, match=r"a step reads 3\.0, which"):
        on_tape(take)


def test_weights_that_are_given_other_memory_are_refused():
    weight = nn.Parameter(torch.ones(3))

    def take():
        weight.data = weight.data * 2

    with pytest.raises(NotRecorded, match="a step reads a tensor of shape"):
        on_tape(take)


def test_numbers_that_are_not_finite_are_recorded():
    x = torch.zeros(2)
    play = on_tape(lambda: x.copy_(torch.full((2,), float("-inf")).clamp(max=float("inf"))))
    x.zero_()
    play()
    assert x.tolist() == [float("-inf")] * 2


def test_operators_that_give_lists_are_recorded():
    x, parts = torch.arange(6.0), torch.zeros(2)
    play = on_tape(lambda: parts.copy_(torch.stack([p.sum() for p in (x * 2).split([2, 4])])))
    x.fill_(1.0)
    play()
    assert parts.tolist() == [4, 8]


@pytest.mark.parametrize(
    "read", [torch.Tensor.tolist, torch.Tensor.numpy, np.asarray], ids=["tolist", "numpy", "asarray"]
)
def test_values_that_python_reads_without_an_operator_are_refused(read):
    x = torch.ones(3)
    with pytest.raises(NotRecorded, match="Python reads values from a tensor"):
        on_tape(lambda: x.mul_(2.0 if read(x.detach())[0] > 0 else 3.0))


def test_what_a_step_hands_to_the_next_outside_of_memory_is_refused_though_it_did_not_move_yet():
    class Model:
        level = torch.zeros(())

    x, model = torch.zeros(3), Model()

    def take():
        x.add_(model.level)
        model.level = (model.level + x.sum()).clamp(0, 1)

    with pytest.raises(NotRecorded, match="a step reads what the step before made: keep it in a buffer, and change it"):
        on_tape(take)


def test_a_shape_that_changes_in_place_is_refused():
    x = torch.ones(3)

    def take():
        x.detach().unsqueeze_(0)

    with pytest.raises(NotRecorded, match=r"unsqueeze_.* changes the shape of a tensor in place"):
        on_tape(take)
