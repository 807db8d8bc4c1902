"""Parts of residual networks: each against its formula, written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.residual import (
    Discriminator,
    DownBlock,
    Embedding,
    SelfAttention,
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    UpBlock,
    called,
    discriminator_maps,
    initialise,
    spectral,
)
from ganzoo.training.engine import seed_everything


@pytest.fixture(autouse=True)
def _seeded():
    seed_everything(0)


def largest(weight: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(weight.flatten(1), 2)


def test_power_iterations_find_the_largest_singular_value():
    weight, u = torch.randn(4, 3, 3, 3), torch.randn(4)
    before = u.clone()
    spectral(weight, u, update=False)
    assert torch.equal(u, before)
    for _ in range(60):
        found = spectral(weight, u, update=True)
    torch.testing.assert_close(found, weight / largest(weight))
    torch.testing.assert_close(u.norm(), torch.tensor(1.0))


def test_the_singular_value_has_its_own_gradient():
    weight, u = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    for _ in range(200):
        spectral(weight, u, update=True)
    weight.requires_grad_()
    direction = torch.randn(4, 5, dtype=torch.float64)
    (found,) = torch.autograd.grad((spectral(weight, u, update=False) * direction).sum(), weight)
    (expected,) = torch.autograd.grad((weight / largest(weight) * direction).sum(), weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layer", [SpectralConv2d(3, 4), SpectralLinear(3, 4), SpectralEmbedding(4, 3)], ids=repr)
def test_nothing_moves_in_evaluation_mode(layer: nn.Module):
    x = {SpectralConv2d: torch.randn(2, 3, 4, 4), SpectralLinear: torch.randn(2, 3)}.get(type(layer), torch.arange(2))
    before = layer.u.clone()
    layer.eval()(x)
    assert torch.equal(layer.u, before)
    layer.train()(x)
    assert not torch.equal(layer.u, before)


def test_a_singular_value_is_exact_in_half_precision():
    layer = SpectralLinear(30, 20).eval()
    expected = layer.normalised()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.normalised(), expected)
        assert layer(torch.randn(2, 30)).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)], ids=str)
def test_convolutions_next_to_a_change_of_size_are_those_of_two_steps(size: tuple[int, int]):
    layer, x = SpectralConv2d(3, 5).eval(), torch.randn(2, 3, *size)
    torch.testing.assert_close(layer.doubling(x), layer(F.interpolate(x, scale_factor=2)))
    if min(size) > 1:
        torch.testing.assert_close(layer.halving(x), F.avg_pool2d(layer(x), 2))


def test_attention_is_a_softmax_over_all_positions_of_half_the_size():
    layer, x = SelfAttention(8).eval(), torch.randn(2, 8, 4, 6)
    assert torch.equal(layer(x), x)  # Gamma starts at 0.
    nn.init.constant_(layer.gamma, 0.3)
    with torch.no_grad():
        theta, phi, g = layer.theta(x), F.max_pool2d(layer.phi(x), 2), F.max_pool2d(layer.g(x), 2)
        seen = torch.zeros(2, 4, 4, 6)
        for n in range(2):
            for i in range(4):
                for j in range(6):
                    asked = theta[n, :, i, j]
                    scores = [(asked @ phi[n, :, a, b]).exp() for a in range(2) for b in range(3)]
                    told = [g[n, :, a, b] for a in range(2) for b in range(3)]
                    seen[n, :, i, j] = sum(s * t for s, t in zip(scores, told, strict=True)) / sum(scores)
        torch.testing.assert_close(layer(x), x + 0.3 * layer.o(seen))


def test_attention_goes_with_gradient_penalties():
    layer, x = SelfAttention(8), torch.randn(1, 8, 4, 4, requires_grad=True)
    nn.init.ones_(layer.gamma)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("size", [(8, 8), (7, 9)], ids=str)
def test_an_up_block_is_its_layers_beside_an_upsampled_convolution(size: tuple[int, int]):
    class Plain(nn.BatchNorm2d):
        def forward(self, x, y):
            return super().forward(x)

    block, x = UpBlock(3, 4, size, Plain).eval(), torch.randn(2, 3, 4, 4)
    h = F.interpolate(F.relu(block.bn1(x, None)), size)
    h = block.conv2(F.relu(block.bn2(block.conv1(h), None)))
    torch.testing.assert_close(block(x, None), h + block.conv_sc(F.interpolate(x, size)))


@pytest.mark.parametrize(("down", "first", "wide"), [(True, True, True), (True, False, False), (False, False, True)])
def test_a_down_block_is_its_layers_beside_a_pooled_convolution(down: bool, first: bool, wide: bool):
    block, x = DownBlock(3, 4, down, first, wide).eval(), torch.randn(2, 3, 6, 6)
    assert block.conv1.out_channels == (4 if wide else 3)
    pool = (lambda x: F.avg_pool2d(x, 2)) if down else (lambda x: x)
    h = block.conv2(F.relu(block.conv1(x if first else F.relu(x))))
    torch.testing.assert_close(block(x), pool(h) + pool(block.conv_sc(x)))


def test_a_block_that_changes_nothing_has_a_free_way_around():
    block, x = DownBlock(3, 3, down=False), torch.randn(2, 3, 4, 4)
    assert not hasattr(block, "conv_sc")
    torch.testing.assert_close(block.eval()(x) - x, block.conv2(F.relu(block.conv1(F.relu(x)))))


@pytest.mark.parametrize("kind", [Embedding, SpectralEmbedding])
def test_vectors_are_looked_up_as_the_classes_that_they_name(kind: type[nn.Module]):
    layer, y = kind(4, 3).eval(), torch.tensor([2, 0, 2])
    torch.testing.assert_close(layer(y), layer(F.one_hot(y, 4).float()))


def test_the_discriminator_is_a_sum_over_positions_and_a_projection():
    critic = Discriminator(DataSpec("x", (3, 8, 8), 1, tuple("abc")), 1, ()).eval()
    x, y = torch.randn(2, 3, 8, 8), torch.tensor([2, 1])
    h = x
    for block in critic.blocks:
        h = block[0](h)
    h = F.relu(h).sum((2, 3))
    expected = critic.linear(h) + (critic.embed(y) * h).sum(1, keepdim=True)
    torch.testing.assert_close(critic(x, y), expected)


def test_samples_without_a_condition_are_all_of_one_class():
    critic = Discriminator(DataSpec("x", (1, 8, 8), 1), 1, ()).eval()
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(critic(x), critic(x, torch.zeros(2, dtype=torch.int64)))


@pytest.mark.parametrize(("size", "name"), [((14, 28), 16), ((16, 16), 16), ((29, 29), 32), ((1, 1), 1), ((4, 7), 4)])
def test_maps_are_called_by_the_next_power_of_two(size: tuple[int, int], name: int):
    assert called(size) == name


def test_attention_stands_where_it_was_asked_for():
    def places(side: int, attention: tuple[int, ...]) -> list[int]:
        critic = Discriminator(DataSpec("x", (3, side, side), 1), 1, attention)
        return [i for i, block in enumerate(critic.blocks) if len(block) > 1]

    assert discriminator_maps(DataSpec("x", (3, 64, 64), 1)) == [32, 16, 8, 4, 4]
    assert places(64, (16, 4)) == [1, 3, 4]
    assert places(64, ()) == []
    assert places(32, (16,)) == [0, 1, 2, 3]  # As in the program of Brock et al.
    assert places(32, (8, 32)) == []


def test_weights_start_as_they_are_said_to():
    network = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Linear(30, 20), Embedding(5, 9))
    initialise(network, "orthogonal")
    for layer in network:
        rows = layer.weight.flatten(1)
        torch.testing.assert_close(rows @ rows.t(), torch.eye(len(rows)))
    assert network[0].bias.abs().max() > 0
    initialise(network, "normal", clear=True)
    assert network[1].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network[0].bias.abs().max() == 0
    initialise(network, "xavier")
    assert network[1].weight.abs().max().item() == pytest.approx((6 / 50) ** 0.5, rel=0.02)
