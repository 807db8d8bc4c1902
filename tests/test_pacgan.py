"""PacGAN and Unrolled GAN: packs and unrolled steps against closed forms."""

import pytest
import torch
from ganzoo_plugins.gan import GAN
from ganzoo_plugins.pacgan import PacGAN, Packed
from ganzoo_plugins.unrolled_gan import UnrolledGAN
from torch import nn

from ganzoo import losses
from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.preparing import refuse_parts

POINTS = DataSpec("points", (2,), 100)
IMAGES = DataSpec("images", (3, 8, 8), 100)


def pacgan(data=POINTS, **options):
    torch.manual_seed(0)
    return PacGAN(data, PacGAN.Options(batch_size=8, latent_dim=4, **options))


# PacGAN


def test_a_pack_is_samples_one_after_the_other_joined_along_the_channels():
    seen = []

    class Look(nn.Module):
        def forward(self, x, y):
            seen.append(x)
            return x.flatten(1).sum(1, keepdim=True)

    x = torch.arange(5 * 3 * 2 * 2.0).view(5, 3, 2, 2)
    logits = Packed(Look(), 2)(x)
    assert torch.equal(seen[0], torch.stack([torch.cat([x[0], x[1]]), torch.cat([x[2], x[3]])]))
    assert torch.equal(logits, torch.stack([x[:2].sum(), x[2:4].sum()]).view(2, 1))
    points = torch.arange(6.0).view(3, 2)
    Packed(Look(), 3)(points)
    assert torch.equal(seen[1], torch.arange(6.0).view(1, 6))


@pytest.mark.parametrize(
    ("data", "network"), [(POINTS, "mlp"), (IMAGES, "mlp"), (IMAGES, "conv")], ids=["points", "mlp", "conv"]
)
def test_losses_are_those_of_gan_over_packs(data, network):
    gan = pacgan(data, network=network, pack=4)
    real, fake = Batch(torch.rand(8, *data.shape)), gan.fake(Batch(torch.rand(8, *data.shape)))
    d_real, d_fake = gan.discriminator(real.x), gan.discriminator(fake.x)
    assert d_real.shape == (2, 1)
    expected = -torch.sigmoid(d_real).log().mean() - torch.sigmoid(-d_fake).log().mean()
    assert torch.allclose(gan.discriminator_loss(real, fake)["adversarial"], expected, atol=1e-6)
    expected = -torch.sigmoid(gan.discriminator(fake.x)).log().mean()
    assert torch.allclose(gan.generator_loss(real, fake)["adversarial"], expected, atol=1e-6)


@pytest.mark.parametrize("data", [DataSpec("grey", (1, 28, 28), 100), IMAGES], ids=lambda data: data.name)
def test_a_pack_is_judged_by_the_layers_that_judge_one_sample(data):
    def layers(pack):
        gan = pacgan(data, network="conv", hidden=16, pack=pack)
        return [type(layer) for layer in gan.discriminator.judge.features.layers]

    assert layers(2) == layers(4) == layers(1)


def test_no_pack_has_real_and_fake_in_it():
    gan, seen = pacgan(pack=4), []
    gan.discriminator.judge.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    real, fake = Batch(torch.zeros(8, 2)), Batch(torch.ones(8, 2), z=torch.zeros(8, 4))
    gan.discriminator_loss(real, fake)
    assert [x.unique().tolist() for x in seen] == [[0.0], [1.0]]


def test_the_surface_is_of_packs_of_one_point():
    gan = pacgan(pack=2)
    x = torch.rand(5, 2)
    expected = torch.sigmoid(gan.discriminator(torch.cat([x, x], 1).view(10, 2))).flatten()
    assert torch.allclose(gan.surface(x, None), expected)


def test_a_batch_that_makes_no_whole_packs_is_refused():
    with pytest.raises(UsageError, match="judges 3 samples together: --batch-size must be a multiple of that, not 8"):
        pacgan(pack=3)


def test_one_pack_is_judged_too():
    gan = pacgan(IMAGES, pack=8, network="conv")
    assert gan.discriminator(torch.rand(8, *IMAGES.shape), None).shape[0] == 1


# Unrolled GAN


def test_points_are_played_for_by_the_same_networks_whatever_the_game():
    games = (GAN, PacGAN, UnrolledGAN)
    one, *others = [[p.shape for p in game(POINTS, game.Options()).generator.parameters()] for game in games]
    assert others == [one, one]
    one, packed, other = [[p.shape for p in game(POINTS, game.Options()).discriminator.parameters()] for game in games]
    assert (other, packed[1:], packed[0]) == (one, one[1:], (one[0][0], 4 * one[0][1]))


class Linear(nn.Module):
    """A discriminator of one number: x to w x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))

    def forward(self, x, y):
        return self.weight * x


def unrolled(**options):
    torch.manual_seed(0)
    gan = UnrolledGAN(DataSpec("line", (1,), 100), UnrolledGAN.Options(latent_dim=4, **options))
    gan.discriminator = Linear()
    return gan


@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_generator_faces_the_discriminator_after_k_steps_and_sees_through_them(k):
    gan = unrolled(unroll=k, unrolled_lr=0.5)
    real, x = torch.tensor([[0.7], [-0.2]]), torch.tensor([[0.4], [0.1]], requires_grad=True)
    found = gan.generator_loss(Batch(real), Batch(x, z=torch.zeros(2, 4)))["adversarial"]
    (gradient,) = torch.autograd.grad(found, x)
    # The same by hand: the derivative of softplus is the sigmoid, of minus its argument minus that.
    v = x.detach().clone().requires_grad_()
    w = torch.tensor(0.3)
    for _ in range(k):
        w = w - 0.5 * ((-real * torch.sigmoid(-w * real)).mean() + (v * torch.sigmoid(w * v)).mean())
    expected = -losses.minimax_discriminator(w * real, w * v)
    assert torch.allclose(found, expected)
    assert torch.allclose(gradient, torch.autograd.grad(expected, v)[0], atol=1e-6)
    assert gan.discriminator.weight.item() == pytest.approx(0.3)
    assert gan.discriminator.weight.grad is None


def test_the_gradient_is_not_that_of_a_discriminator_that_was_merely_stepped():
    gan = unrolled(unroll=3, unrolled_lr=2.0)
    real, x = torch.tensor([[0.7], [-0.2]]), torch.tensor([[0.4], [0.1]], requires_grad=True)
    batch = Batch(x, z=torch.zeros(2, 4))
    ahead = gan._unrolled(Batch(real), batch)["weight"].detach()
    (through,) = torch.autograd.grad(gan.generator_loss(Batch(real), batch)["adversarial"], x)
    (stepped,) = torch.autograd.grad(-losses.minimax_discriminator(ahead * real, ahead * x), x)
    assert not torch.allclose(through, stepped, atol=1e-3)


def test_the_discriminator_itself_plays_as_in_gan():
    gan = unrolled(unroll=5)
    real, fake = Batch(torch.rand(4, 1)), Batch(torch.rand(4, 1), z=torch.zeros(4, 4))
    expected = losses.minimax_discriminator(gan.discriminator(real.x, None), gan.discriminator(fake.x, None))
    assert torch.allclose(gan.discriminator_loss(real, fake)["adversarial"], expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--accumulate", 32), "each of 32 parts of a batch of 64 has 2: --batch-size must be a multiple of 128"),
        (
            ("--accumulate", 4, "--batch-size", 24),  # Two of six would not be looked at.
            "each of 4 parts of a batch of 24 has 6: --batch-size must be a multiple of 16",
        ),
    ],
)
def test_parts_of_a_batch_that_hold_no_packs_are_refused_before_anything_is_made(ganzoo, tmp_path, options, says):
    result = ganzoo("run", "pacgan", "--dataset", "mnist", "--steps", 1, "--out", "r", *options)
    assert result.code == 2
    assert says in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_processes_share_whole_packs():
    gan = pacgan(pack=4)
    for accumulate, processes in ((1, 1), (2, 1), (1, 8), (4, 2)):
        refuse_parts(gan, 32, accumulate, processes)
    with pytest.raises(UsageError, match="each of 16 parts of a batch of 32 has 2"):
        refuse_parts(gan, 32, 1, 16)
