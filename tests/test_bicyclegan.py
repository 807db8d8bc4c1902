"""BicycleGAN: two cycles through a latent, by which one source has many answers."""

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.bicyclegan import BicycleGAN
from torch import nn
from torch.distributions import Normal, kl_divergence

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.testing import check_gan
from ganzoo.translation import MultiScale, UNet

PAIRS = DataSpec("pairs", (3, 32, 32), 100, source_shape=(1, 32, 32))


def made(data: DataSpec = PAIRS, **options) -> BicycleGAN:
    torch.manual_seed(0)
    return BicycleGAN(data, BicycleGAN.Options(width=4, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    real = Batch(torch.rand(4, 3, 32, 32) * 2 - 1, source=torch.rand(4, 1, 32, 32) * 2 - 1)
    return real, gan.fake(real)


def squares(said, value: float):
    """The mean square distance from `value`, summed over sizes."""
    return sum(F.mse_loss(logits, torch.full_like(logits, value)) for logits in said)


def test_terms_are_those_of_the_paper():
    gan = made(kl=0.02)
    real, fake = batches(gan)
    mean, log_variance = gan.encoder(real.x)
    torch.manual_seed(5)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    encoded = gan.generator(real.source, z=z)
    torch.manual_seed(5)
    terms = gan.generator_loss(real, fake)
    torch.manual_seed(5)
    judged = gan.discriminator_loss(real, fake.detach())
    d, d_encoded = gan.discriminator, gan.encoded_discriminator
    torch.testing.assert_close(terms["random"], squares(d(fake.x), 1))
    torch.testing.assert_close(terms["encoded"], squares(d_encoded(encoded), 1))
    torch.testing.assert_close(terms["l1"], 10 * nn.L1Loss()(encoded, real.x))
    torch.testing.assert_close(terms["latent"], 0.5 * nn.L1Loss()(gan.encoder(fake.x)[0], fake.z))
    own, prior = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(terms["kl"], 0.02 * kl_divergence(own, prior).sum(1).mean())
    torch.testing.assert_close(judged["random"], squares(d(real.x), 1) + squares(d(fake.x), 0))
    torch.testing.assert_close(judged["encoded"], squares(d_encoded(real.x), 1) + squares(d_encoded(encoded), 0))


def test_finding_the_latent_again_moves_the_generator_alone():
    gan = made()
    real, fake = batches(gan)
    gan.generator_loss(real, fake)["latent"].backward()
    assert all(p.grad is None for p in gan.encoder.parameters())
    assert all(p.grad is not None for p in gan.generator.parameters())
    # The discriminators move neither.
    gan.zero_grad()
    sum(gan.discriminator_loss(real, fake.detach()).values()).backward()
    moved = {name.split(".")[0] for name, p in gan.named_parameters() if p.grad is not None}
    assert moved == {"discriminator", "encoded_discriminator"}


def test_a_u_net_sees_the_latent_in_every_level_and_at_every_pixel():
    net = UNet(2, 3, 3, width=4, dropout=0.0, latent_dim=5)
    assert [m.in_channels for m in net.down.modules() if isinstance(m, nn.Conv2d)] == [7, 9, 13]
    z, source = torch.randn(2, 5, requires_grad=True), torch.rand(2, 2, 16, 24)
    seen = []
    for down in net.down:
        down.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, -5:]))
    assert net(source, z=z).shape == (2, 3, 16, 24)
    assert all(torch.equal(part, z[:, :, None, None].expand(-1, -1, *part.shape[2:])) for part in seen)
    assert len(seen) == 3


def test_scales_are_halves_without_a_border():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    said = MultiScale([Look(), Look(), Look()])(torch.full((2, 1, 8, 12), 3.0))
    assert [tuple(x.shape[2:]) for x in seen] == [(8, 12), (4, 6), (2, 3)]
    assert all((x == 3).all() for x in said)


def test_grids_show_several_answers_and_what_the_targets_code_gives_back():
    gan = made().eval()
    real, _ = batches(gan)
    with torch.no_grad():
        shown = gan.pictures(real)
    assert list(shown) == ["source", "target", "by its own code", *(f"answer {i}" for i in (1, 2, 3, 4))]
    assert torch.equal(shown["by its own code"], gan.generator(real.source, z=gan.encoder(real.x)[0]))
    assert not torch.equal(shown["answer 1"], shown["answer 2"])


def test_the_sources_size_is_free():
    gan = made().eval()
    assert gan.generate(gan.sample_latent(2), None, torch.rand(2, 1, 40, 28)).shape == (2, 3, 40, 28)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DataSpec("apart", (3, 32, 32), 9, source_shape=(1, 32, 32), paired=False), "'apart' are another set"),
        (DataSpec("tiny", (3, 8, 8), 9, source_shape=(1, 8, 8)), "those of 'tiny' have 8: --image-size"),
    ],
)
def test_data_from_which_it_cannot_learn_is_refused(data, told):
    with pytest.raises(UsageError, match=told):
        made(data)


def test_it_keeps_the_rules():
    verdicts = {v.rule: v.status for v in check_gan(BicycleGAN, PAIRS, {"width": 4})}
    assert {verdicts[rule] for rule in ("resume", "recorded", "host", "halves", "gradients")} == {"passed"}


def test_another_seed_gives_another_answer_and_the_same_seed_the_same(ganzoo, tmp_path):
    run = ("bicyclegan", "--dataset", "small-pairs", "--image-size", 16, "--width", 4, "--batch-size", 8, "--steps", 1)
    assert ganzoo("run", *run, "--loggers", "none", "--out", "r").code == 0
    for seed, out in ((0, "a"), (0, "b"), (1, "c")):
        asked = ganzoo("sample", "r", "--from", "test", "-n", 4, "--seed", seed, "-o", out)
        assert asked.code == 0, asked.err
    a, b, c = (sorted((tmp_path / out).glob("*.png")) for out in "abc")
    assert len(a) == 4
    assert [x.read_bytes() for x in a] == [x.read_bytes() for x in b]
    assert all(x.read_bytes() != y.read_bytes() for x, y in zip(a, c, strict=True))
