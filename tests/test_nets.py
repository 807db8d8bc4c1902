"""The shared building blocks, each against a plain restatement."""

import pytest
import torch
from torch import nn

from ganzoo.data import Attribute, DataSpec
from ganzoo.nets import (
    Condition,
    ConvGenerator,
    Dropout,
    JoinedLinear,
    Linear,
    Maxout,
    channels,
    has_batch_statistics,
    init_uniform,
    mlp,
    networks,
    pyramid,
    vector,
)

PLAIN = DataSpec("plain", (1, 4, 4), 10)
CLASSES = DataSpec("classes", (1, 4, 4), 10, tuple("abc"))
TAGS = DataSpec("tags", (1, 4, 4), 10, tuple("abc"), (Attribute("tilt"), Attribute("width", -1, 1)))


# Dropout


@pytest.mark.parametrize("p", [0.2, 0.4, 0.5, 0.75])
def test_dropout_keeps_the_mean_and_has_the_variance_of_a_bernoulli_mask(p: float):
    torch.manual_seed(0)
    keep = round(256 * (1 - p)) / 256
    x = Dropout(p)(torch.ones(2000, 100))
    assert set(x.unique().tolist()) == {0.0, torch.tensor(1 / keep).item()}
    deviation = ((1 - keep) / keep) ** 0.5
    assert x.mean().item() == pytest.approx(1, abs=5 * deviation / 200_000**0.5)
    assert x.var().item() == pytest.approx(deviation**2, rel=0.02)


def test_dropout_masks_neighbours_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(200_000)) > 0).float()
    for lag in (1, 2, 8, 64):
        assert torch.corrcoef(torch.stack([kept[:-lag], kept[lag:]]))[0, 1].abs() < 0.015


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 5, 7), (8,), (0, 4)])
def test_dropout_takes_any_shape(shape: tuple[int, ...]):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_dropout_follows_the_seed():
    layer, x = Dropout(0.5), torch.ones(50)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_dropout_is_the_identity_and_draws_nothing_in_eval_or_at_zero():
    x = torch.randn(5, 3)
    before = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_passes_gradients_through_what_it_kept():
    x = torch.ones(4, 8, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        Dropout(1.0)


# Maxout


def test_maxout_is_the_largest_of_its_linear_maps():
    torch.manual_seed(0)
    layer, x = Maxout(3, 4, pieces=5), torch.randn(6, 3)
    weight, bias = layer.linear.weight, layer.linear.bias
    expected = torch.empty(6, 4)
    for n in range(6):
        for unit in range(4):
            maps = [weight[unit * 5 + piece] @ x[n] + bias[unit * 5 + piece] for piece in range(5)]
            expected[n, unit] = max(maps)
    torch.testing.assert_close(layer(x), expected)


# Conditions


def test_classes_are_embedded():
    condition = Condition(CLASSES, 5)
    y = torch.tensor([2, 0])
    assert condition.size == 5
    assert torch.equal(condition(torch.zeros(2, 1), y), condition.embed.weight[y])


def test_vectors_go_through_a_linear_map():
    condition = Condition(TAGS, 4)
    y = torch.rand(2, TAGS.condition_size)
    assert condition.size == 4
    torch.testing.assert_close(condition(torch.zeros(2, 1), y), y @ condition.embed.weight.T + condition.embed.bias)


def test_without_a_condition_there_are_no_features_and_no_parameters():
    condition = Condition(PLAIN, 4)
    assert condition.size == 0
    assert not list(condition.parameters())
    assert condition(torch.zeros(3, 7), None).shape == (3, 0)


def test_a_condition_as_a_vector_is_one_hot_for_classes_and_itself_otherwise():
    assert vector(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    y = torch.rand(2, 5)
    assert vector(y, 5) is y


# Others


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2)])
def test_batch_norm_means_batch_statistics_however_deep(norm: nn.Module):
    assert has_batch_statistics(nn.Sequential(nn.Linear(2, 2), nn.Sequential(norm)))


def test_a_module_may_say_that_it_has_batch_statistics():
    layer = nn.Identity()
    assert not has_batch_statistics(nn.Sequential(layer, nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm2d(2)))
    layer.batch_statistics = True
    assert has_batch_statistics(nn.Sequential(layer))


def test_mlp_puts_the_activation_between_layers_only():
    network = mlp([4, 3, 2, 1], nn.ReLU())
    assert [type(m) for m in network] == [Linear, nn.ReLU, Linear, nn.ReLU, Linear]
    assert [(m.in_features, m.out_features) for m in network if isinstance(m, nn.Linear)] == [(4, 3), (3, 2), (2, 1)]


def test_uniform_start_fills_its_range_and_clears_biases():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(50, 50), Maxout(50, 10, pieces=4))
    init_uniform(network, 0.05)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:
            assert 0.049 < value.abs().max() <= 0.05
            assert value.mean().abs() < 0.005


@pytest.mark.parametrize("of_features", [True, False])
def test_a_joined_linear_layer_is_a_plain_one_with_the_gradients_that_are_asked(of_features):
    joined = JoinedLinear(5, 3, 4)
    x, condition = torch.randn(6, 5, requires_grad=of_features), torch.randn(6, 3, requires_grad=True)
    wanted = [condition, *joined.parameters(), *([x] if of_features else [])]
    weight = torch.cat([joined.weight, joined.condition_weight], dim=1)
    plain = nn.functional.linear(torch.cat([x, condition], dim=1), weight, joined.bias)
    torch.testing.assert_close(joined(x, condition), plain)
    found = torch.autograd.grad(joined(x, condition).square().sum(), wanted)
    for mine, theirs in zip(found, torch.autograd.grad(plain.square().sum(), wanted), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 24)])
def test_hidden_units_stand_next_to_the_latent_and_to_the_logit(shape: tuple[int, int, int]):
    data = DataSpec("pictures", shape, 100)
    generator, discriminator = networks("conv", data, latent_dim=8, width=2, hidden=16)
    sizes = [(layer.in_features, layer.out_features) for layer in generator.modules() if isinstance(layer, nn.Linear)]
    smallest, channels_there = pyramid(data)[0], channels(data, 2)[0]
    units = channels_there * smallest[0] * smallest[1]
    assert sizes == [(8, 16), (16, units)]
    sizes = [
        (layer.in_features, layer.out_features) for layer in discriminator.modules() if isinstance(layer, nn.Linear)
    ]
    assert sizes == [(units, 16), (16, 1)]
    images = generator(torch.randn(4, 8), None)
    assert images.shape == (4, *shape)
    assert discriminator(images, None).shape == (4, 1)


@pytest.mark.parametrize("colours", [1, 3])
def test_hidden_units_before_the_logit_are_normalised_but_in_colour(colours: int):
    """In colour, generators made all samples alike against a discriminator that normalises them."""
    _, discriminator = networks("conv", DataSpec("pictures", (colours, 16, 16), 100), latent_dim=8, width=2, hidden=16)
    last = [type(layer) for layer in discriminator.features.layers[-3:]]
    assert last == ([Linear, nn.BatchNorm1d, nn.LeakyReLU] if colours == 1 else [nn.Flatten, Linear, nn.LeakyReLU])


def test_what_differs_between_latents_is_not_drowned_by_what_all_maps_share():
    """Each unit of the smallest map varies by 1 over the batch; channels normalised as a whole would hardly vary."""
    torch.manual_seed(0)
    generator = ConvGenerator(DataSpec("pictures", (1, 28, 28), 100), latent_dim=8, width=8, hidden=64)
    nn.init.ones_(generator.layers[4].weight)
    map_of_units = generator.layers[:6](torch.randn(256, 8))
    assert map_of_units.shape == (256, 16, 7, 7)
    torch.testing.assert_close(map_of_units.var(0, correction=0), torch.ones(16, 7, 7), atol=0.05, rtol=0)


def test_without_hidden_units_networks_are_those_of_the_paper():
    data = DataSpec("pictures", (1, 28, 28), 100)
    generator, discriminator = networks("conv", data, latent_dim=8, width=2)
    kinds = [type(layer) for layer in generator.layers]
    up = [nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d]
    assert kinds == [nn.Linear, nn.Unflatten, *up, *up, nn.Tanh]
    assert isinstance(discriminator.head, nn.Linear)
    assert discriminator.head.in_features == 4 * 7 * 7
