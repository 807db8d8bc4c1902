"""Classics that share the networks of DCGAN: each against the formulas of its paper.

What every model must keep is asked of these as well: any size from 28 up, the rules of the contract.
"""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins import ebgan, improved_gan, ragan, softmax_gan
from ganzoo_plugins.feature_matching import FeatureMatching, last, passed
from torch import Tensor, nn

from ganzoo import losses
from ganzoo.data import Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import GanzooError, UsageError
from ganzoo.gan import GAN
from ganzoo.metrics.labels import Clustering, Recognition, matched
from ganzoo.metrics.samples import recogniser
from ganzoo.nets import ConvAutoencoder, around
from ganzoo.optim import RMSprop
from ganzoo.scales import at_sizes, larger, packed, smaller, unpacked
from ganzoo.settings import Settings
from ganzoo.testing import check_gan
from ganzoo.training.building import build as build_model
from ganzoo.training.trainer import Trainer
from test_modes import assert_go_on_alike, recorded
from test_precision import HALF
from test_zoo import CPU, batch, build, images, model, train

DISCRIMINATORS = ["ragan", "wgan-div", "softmax-gan", "bgan", "ggan", "improved-gan", "sgan"]
AUTOENCODERS = ["ebgan", "magan", "began"]
ENCODERS = ["bigan", "aae", "vaegan", "clustergan"]
CLASSICS = [*DISCRIMINATORS, *AUTOENCODERS, *ENCODERS, "cogan", "lapgan", "msggan"]
SMALL = {"width": 2, "latent_dim": 4, "code": 4, "hidden": 8, "kernels": 2, "known": 3, "clusters": 3}


def least(name: str) -> dict[str, int]:
    """The model's options at their smallest."""
    return {key: value for key, value in SMALL.items() if key in model(name).Options.model_fields}


def made(name: str, data=None, **options) -> GAN:
    return build(name, data, **least(name) | options)


def sides(gan: GAN, n: int = 4) -> tuple[Batch, Batch]:
    """Random real samples and fakes, without a graph."""
    real = batch(gan, n)
    return real, gan.fake(real).detach()


# What holds for every model


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 29, 31)], ids=str)
@pytest.mark.parametrize("name", CLASSICS)
def test_it_trains_on_any_shape(name: str, shape: tuple[int, int, int]):
    trainer = train(name, images(shape), **least(name))
    values = trainer.advance()
    assert all(v.shape == () and v.isfinite() for v in values.values())
    gan = trainer.gan.eval()
    with torch.no_grad():
        x = gan.generate(gan.sample_latent(3), gan.sample_labels(3))
    assert x.shape == (3, *shape)
    assert -1 <= x.min() <= x.max() <= 1


@pytest.mark.parametrize("name", CLASSICS)
def test_it_keeps_the_rules_of_the_contract(name: str):
    verdicts = check_gan(model(name), [DataSpec("grey", (1, 12, 12), 24, tuple("abc"))], least(name))
    skipped = {verdict.rule for verdict in verdicts if verdict.status == "skipped"}
    assert skipped <= {"condition", "pictures", "source", "halves"}
    assert ("halves" in skipped) == any(getattr(m, "batch_statistics", False) for m in made(name).modules())
    assert ("pictures" in skipped) == (name not in (*ENCODERS, "cogan"))


@pytest.mark.parametrize("name", CLASSICS)
def test_its_steps_can_be_recorded_and_equal_plain_ones(name: str):
    assert_go_on_alike(recorded(train(name, **least(name)), (2, 1)), train(name, **least(name)), 3)


@pytest.mark.parametrize("name", CLASSICS)
def test_a_resumed_run_takes_the_same_steps(name: str):
    first = train(name, steps=2, **least(name))
    state = copy.deepcopy(first.state_dict())
    expected = first.advance()
    second = train(name, **least(name))
    second.load_state_dict(state)
    assert {k: v.item() for k, v in second.advance().items()} == {k: v.item() for k, v in expected.items()}
    ours, theirs = second.gan.state_dict(), first.gan.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("name", CLASSICS)
def test_it_steps_in_bf16_on_float32_losses(name: str, monkeypatch):
    kinds = set()
    backward = Trainer.backward

    def watched(self, player, terms, turn, parts=1):
        kinds.update(term.dtype for term in terms.values())
        return backward(self, player, terms, turn, parts)

    monkeypatch.setattr(Trainer, "backward", watched)
    trainer = Trainer(made(name), Loader(images(), 4, 0, CPU.device), HALF, steps=10)
    assert all(value.isfinite() for value in trainer.advance().values())
    assert kinds == {torch.float32}


@pytest.mark.parametrize("name", CLASSICS)
def test_options_explain_themselves_and_presets_hold_known_ones(name: str):
    cls = model(name)
    assert all(field.description for field in cls.Options.model_fields.values())
    for preset in cls.presets.values():
        bundle = dict(preset)
        Settings(**{k: bundle.pop(k) for k in list(bundle) if k in Settings.model_fields})
        cls.Options(**bundle)


# Losses of logits, against closed forms

REAL, FAKE = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])
"""Means 0.5 and -1.25: real samples are 3.25 and 0.25 above the fakes' mean, fakes 0 and -3.5 from the real ones'."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def saying(gan: GAN, real: Tensor, fake: Tensor, *more: Tensor) -> GAN:
    """The model, whose discriminator says this of real samples and of fakes."""

    def judge(seen: Batch):
        logits = real if seen.z is None else fake
        return (logits, *more) if more else logits

    gan.judge = judge
    gan.batch_statistics = True
    gan.discriminator.batch_statistics = True  # Each side is asked for by itself.
    return gan


def terms(name: str, real: Tensor = REAL, fake: Tensor = FAKE, **options) -> tuple[dict[str, float], dict[str, float]]:
    """What both players go down where the discriminator says this, by name."""
    gan = saying(made(name, **options), real, fake)
    one, other = (Batch(torch.zeros(2, *gan.data.shape)), Batch(torch.zeros(2, *gan.data.shape), z=torch.zeros(2, 4)))
    found = gan.discriminator_loss(one, other), gan.generator_loss(one, other)
    return tuple({name: term.item() for name, term in side.items()} for side in found)


def test_ragan_asks_each_side_to_be_above_the_others_mean():
    (discriminator, generator) = terms("ragan")
    above = -(math.log(sigmoid(3.25)) + math.log(sigmoid(0.25))) / 2
    below = -(math.log(1 - sigmoid(0)) + math.log(1 - sigmoid(-3.5))) / 2
    assert discriminator["adversarial"] == pytest.approx(above + below)
    above = -(math.log(sigmoid(0)) + math.log(sigmoid(-3.5))) / 2
    below = -(math.log(1 - sigmoid(3.25)) + math.log(1 - sigmoid(0.25))) / 2
    assert generator["adversarial"] == pytest.approx(above + below)


def test_ragan_by_least_squares_and_by_the_hinge():
    discriminator, generator = terms("ragan", loss="least-squares")
    assert discriminator["adversarial"] == pytest.approx((2.25**2 + 0.75**2) / 2 + (1 + 2.5**2) / 2)
    assert generator["adversarial"] == pytest.approx((1 + 4.5**2) / 2 + (4.25**2 + 1.25**2) / 2)
    discriminator, generator = terms("ragan", loss="hinge")
    assert discriminator["adversarial"] == pytest.approx((0 + 0.75) / 2 + (1 + 0) / 2)
    assert generator["adversarial"] == pytest.approx((1 + 4.5) / 2 + (4.25 + 1.25) / 2)
    assert set(ragan.LOSSES) == {"standard", "least-squares", "hinge"}


def test_softmax_gan_spreads_one_softmax_over_the_batch():
    total = math.log(sum(math.exp(v) for v in (2, -1, 0.5, -3)))
    discriminator, generator = terms("softmax-gan")
    assert discriminator["cross-entropy"] == pytest.approx(total - 0.5)
    assert generator["cross-entropy"] == pytest.approx(total - (2 - 1 + 0.5 - 3) / 4)
    real, fake = softmax_gan.log_probabilities(REAL, FAKE)
    assert (real.exp().sum() + fake.exp().sum()).item() == pytest.approx(1)


def test_bgan_draws_fakes_to_the_boundary_from_both_sides():
    discriminator, generator = terms("bgan")
    assert discriminator["adversarial"] == pytest.approx(losses.minimax_discriminator(REAL, FAKE).item())
    assert generator["boundary"] == pytest.approx((0.25 + 9) / 4)
    odds = [math.log(sigmoid(v)) - math.log(1 - sigmoid(v)) for v in (0.5, -3)]
    assert generator["boundary"] == pytest.approx(sum(v**2 for v in odds) / 2 / 2)


def test_ggan_keeps_the_margin_with_a_normal_of_small_norm():
    gan = saying(made("ggan", margin=0.5), REAL, FAKE)
    nn.init.constant_(gan.discriminator.head.weight, 2.0)
    real, fake = Batch(torch.zeros(2, 1, 28, 28)), Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    found = gan.discriminator_loss(real, fake)
    assert found["hinge"].item() == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)
    assert found["margin"].item() == pytest.approx(0.5 * 4 * gan.discriminator.head.weight.numel())
    assert gan.generator_loss(real, fake)["normal"].item() == pytest.approx(1.25)
    assert made("ggan", rmsprop=True, lr=3e-4).optimizer("generator") == RMSprop(3e-4)


def test_wgan_div_raises_the_gradients_norm_to_its_power():
    gan = made("wgan-div", k=3.0, p=4.0)
    gan.discriminator = nn.Module()
    gan.discriminator.forward = lambda x, y: 2 * x.flatten(1)[:, :1] - x.flatten(1)[:, 1:2]  # |grad| = sqrt(5)
    real, fake = batch(gan), batch(gan)._replace(z=torch.zeros(4, 4))
    found = gan.discriminator_loss(real, fake)
    assert found["divergence"].item() == pytest.approx(3 * 25, rel=1e-5)
    on_real, on_fake = (gan.discriminator(b.x, None).mean() for b in (real, fake))
    torch.testing.assert_close(found["wasserstein"], on_fake - on_real)
    torch.testing.assert_close(gan.generator_loss(real, fake)["wasserstein"], -on_fake)


def test_a_point_between_is_on_the_line_of_its_pair():
    torch.manual_seed(0)
    real, fake = torch.zeros(500, 1, 2, 2, requires_grad=True), torch.ones(500, 1, 2, 2, requires_grad=True)
    found = losses.between(real, fake)
    assert not found.requires_grad
    assert torch.equal(found, found[:, :1, :1, :1].expand_as(found))
    assert 0 <= found.min() < 0.02
    assert 0.98 < found.max() <= 1


# Discriminators by reconstruction


def test_the_autoencoders_energy_is_its_mean_squared_error():
    data = DataSpec("x", (3, 12, 12), 8)
    network = ConvAutoencoder(data, 5, 2)
    x = torch.rand(4, 3, 12, 12) * 2 - 1
    minus, code = network(x)
    assert code.shape == (4, 5)
    again = network.decoder(code, None)
    torch.testing.assert_close(minus[:, 0], -F.mse_loss(again, x, reduction="none").mean((1, 2, 3)))


def test_pulling_away_is_the_mean_squared_cosine_of_different_samples():
    codes = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]])
    # Cosines 0, sqrt(1/2), sqrt(1/2), each twice, of six pairs.
    assert ebgan.pulling_away(codes).item() == pytest.approx((0.5 + 0.5) * 2 / 6)
    assert ebgan.pulling_away(torch.ones(4, 7)).item() == pytest.approx(1)


def energies(real: float, fake: float) -> tuple[Tensor, Tensor]:
    return torch.full((2, 1), -real), torch.full((2, 1), -fake)


def test_ebgan_raises_fakes_up_to_the_margin():
    codes = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    gan = saying(made("ebgan", margin=0.5, pulling=0.1), *energies(0.2, 0.3), codes)
    real, fake = Batch(torch.zeros(2, 1, 28, 28)), Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    found = {name: term.item() for name, term in gan.discriminator_loss(real, fake).items()}
    assert found == {"real": pytest.approx(0.2), "fake": pytest.approx(0.2)}
    found = {name: term.item() for name, term in gan.generator_loss(real, fake).items()}
    assert found == {"energy": pytest.approx(0.3), "pulling away": pytest.approx(0.1 * 0.5)}
    saying(gan, *energies(0.2, 0.9), codes)
    assert gan.discriminator_loss(real, fake)["fake"].item() == 0


def play(gan: GAN, real: float, fake: float, *more: Tensor) -> dict[str, float]:
    """One step of D, which says this, as the trainer takes it: its terms."""
    saying(gan, *energies(real, fake), *more)
    found = gan.discriminator_loss(
        Batch(torch.zeros(2, 1, 28, 28)), Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    )
    with torch.no_grad():
        gan.after_discriminator_step()
    return {name: term.item() for name, term in found.items()}


def test_magan_lowers_its_margin_where_fakes_stand_still_above_real_samples():
    gan = made("magan", data=images(n=8), batch_size=4, period=1.0)  # Two steps in a period.
    assert gan.steps == 2
    codes = torch.zeros(2, 4)
    assert play(gan, 0.6, 1.0, codes)["fake"] == 0  # Real samples alone, at first.
    play(gan, 0.4, 1.0, codes)
    assert gan.margin.item() == pytest.approx(0.5)
    assert play(gan, 0.3, 0.4, codes) == {"real": pytest.approx(0.3), "fake": pytest.approx(0.1)}
    play(gan, 0.3, 0.4, codes)
    assert gan.margin.item() == pytest.approx(0.5)  # Fakes had come down from 1.0.
    for _ in range(2):
        play(gan, 0.3, 0.4, codes)
    assert gan.margin.item() == pytest.approx(0.3)
    for _ in range(2):
        play(gan, 0.2, 0.1, codes)
    assert gan.margin.item() == pytest.approx(0.3)  # Fakes were below real samples.
    assert gan.watched()["margin"].item() == pytest.approx(0.3)


def test_began_keeps_the_fakes_error_at_a_share_of_that_of_real_samples():
    gan = made("began", diversity=0.5, proportion=0.1)
    codes = torch.zeros(2, 4)
    assert play(gan, 0.8, 0.2, codes) == {"real": pytest.approx(0.8), "fake": 0}  # k is 0 at first.
    assert gan.k.item() == pytest.approx(0.1 * (0.5 * 0.8 - 0.2))
    assert gan.watched()["convergence"].item() == pytest.approx(0.8 + 0.2)
    assert play(gan, 0.8, 0.6, codes)["fake"] == pytest.approx(-0.02 * 0.6)
    assert gan.k.item() == pytest.approx(0.02 - 0.1 * 0.2)
    for _ in range(2):
        play(gan, 0.2, 0.9, codes)
    assert gan.k.item() == 0
    for _ in range(200):
        play(gan, 0.9, 0.0, codes)
    assert gan.k.item() == 1
    fake = Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    assert {name: term.item() for name, term in gan.generator_loss(fake, fake).items()} == {"error": 0}


def test_the_balance_of_began_follows_all_parts_of_a_batch():
    gan = made("began", diversity=0.5, proportion=0.1)
    real, fake = Batch(torch.zeros(2, 1, 28, 28)), Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    for errors in ((0.9, 0.1), (0.7, 0.3)):
        saying(gan, *energies(*errors), torch.zeros(2, 4)).discriminator_loss(real, fake)
    gan.after_discriminator_step()
    assert gan.k.item() == pytest.approx(0.1 * (0.5 * 0.8 - 0.2))


def test_the_margin_of_magan_follows_all_parts_of_a_batch_and_is_told_of_each():
    trainer = train("magan", data=images(n=8), batch_size=4, **least("magan"))
    trainer.accumulate = 2
    for _ in range(2):
        assert "margin" in trainer.advance()
    gan = made("magan", data=images(n=8), batch_size=4, period=1.0)
    real, fake = Batch(torch.zeros(2, 1, 28, 28)), Batch(torch.zeros(2, 1, 28, 28), z=torch.zeros(2, 4))
    for errors in ((0.9, 0.1), (0.7, 0.3)):
        saying(gan, *energies(*errors), torch.zeros(2, 4)).discriminator_loss(real, fake)
    gan.after_discriminator_step()
    torch.testing.assert_close(gan.energies, torch.tensor([0.8, 0.2, 1.0]))


@pytest.mark.parametrize("name", ["began", "magan"])
def test_a_lazy_penalty_moves_no_balance_and_no_margin(name):
    gan = made(name, data=images(n=8), batch_size=4)
    play(gan, 0.8, 0.2, torch.zeros(2, 4))
    before = {key: buffer.clone() for key, buffer in gan.named_buffers(recurse=False)}
    gan.after_discriminator_step()  # Of a turn in which no errors were seen.
    for key, buffer in gan.named_buffers(recurse=False):
        assert torch.equal(buffer, before[key]), key


# Encoders


def test_a_draw_around_means_has_their_deviations():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[1.0, -2.0]]).expand(8000, 2), torch.tensor([[0.0, math.log(9)]]).expand(8000, 2)
    found = around(mean, log_variance)
    torch.testing.assert_close(found.mean(0), torch.tensor([1.0, -2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(found.std(0), torch.tensor([1.0, 3.0]), atol=0.1, rtol=0)


def test_the_gaussians_divergence_is_that_of_torch():
    mean, log_variance = torch.tensor([[0.5, -1.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.5]])
    ours = losses.gaussian_divergence(mean, log_variance)
    q, p = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(ours, torch.distributions.kl_divergence(q, p).sum(1).mean())


def test_bigan_tells_pairs_apart_and_its_other_players_want_the_reverse():
    gan = made("bigan").eval()
    real, fake = sides(gan)
    with torch.no_grad():
        on_real = gan.discriminator(real.x, gan.encoder(real.x))
        on_fake = gan.discriminator(fake.x, fake.z)
        found = gan.discriminator_loss(real, fake)["adversarial"], gan.generator_loss(real, fake)["adversarial"]
    torch.testing.assert_close(found[0], losses.minimax_discriminator(on_real, on_fake))
    torch.testing.assert_close(found[1], F.softplus(on_real).mean() + F.softplus(-on_fake).mean())


def test_alis_encoder_draws_in_training_alone():
    gan = made("bigan", noise=True)
    x = batch(gan).x
    mean, log_variance = gan.eval().encoder(x).split(4, dim=1)
    torch.testing.assert_close(gan.encode(x), mean)
    gan.train()
    gan.encoder.eval()
    torch.manual_seed(1)
    drawn = gan.encode(x)
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, around(mean, log_variance))
    assert not torch.equal(drawn, mean)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_kept_and_moves_by_its_players_loss(name: str):
    trainer = train(name, **least(name))
    gan = trainer.gan
    assert gan.saved == ("generator", "encoder")
    before = [p.clone() for p in gan.encoder.parameters() if p.ndim > 1]
    trainer.advance()
    assert all(
        not torch.equal(a, b) for a, b in zip(before, (p for p in gan.encoder.parameters() if p.ndim > 1), strict=True)
    )


def test_aae_holds_codes_against_the_prior():
    gan = made("aae", reconstruction=3.0).eval()
    real, fake = sides(gan)
    with torch.no_grad():
        code = gan.encoder(real.x)
        of_codes, of_prior = gan.discriminator(code), gan.discriminator(fake.z)
        found, after = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake)
        apart = F.mse_loss(gan.generator(code, None), real.x)
    torch.testing.assert_close(found["adversarial"], losses.minimax_discriminator(of_prior, of_codes))
    torch.testing.assert_close(after["adversarial"], F.softplus(-of_codes).mean())
    torch.testing.assert_close(after["reconstruction"], 3 * apart)


def test_vaegan_measures_likeness_by_the_discriminators_features():
    gan = made("vaegan", gamma=0.25).eval()
    real = batch(gan)
    with torch.no_grad():
        fake = gan.fake(real)
        on_real, on_fake, on_again = (gan.discriminator(x)[0] for x in (real.x, fake.x, fake.source))
        wanted, found = gan.discriminator.features(real.x), gan.discriminator.features(fake.source)
        apart = (wanted - found).square().sum(1).mean() / 2
        d, g, e = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake), gan.encoder_loss(real, fake)
        code = gan.encoder(real.x).chunk(2, dim=1)
    torch.testing.assert_close(
        sum(d.values()), F.softplus(-on_real).mean() + F.softplus(on_fake).mean() + F.softplus(on_again).mean()
    )
    torch.testing.assert_close(g["likeness"], apart / 4)
    torch.testing.assert_close(g["adversarial"], F.softplus(-on_fake).mean() + F.softplus(-on_again).mean())
    torch.testing.assert_close(e, {"prior": losses.gaussian_divergence(*code), "likeness": apart})


def test_vaegan_tells_the_score_of_what_is_made_of_the_prior():
    gan = made("vaegan")
    real, fake = sides(gan)
    _, (on_fake, _), (on_again, _) = gan.sides(real, fake)
    assert gan.watched()["D(G(z))"] == torch.sigmoid(on_fake).mean()
    with torch.no_grad():
        assert torch.equal(on_fake, gan.discriminator(fake.x)[0])
        assert torch.equal(on_again, gan.discriminator(fake.source)[0])
        assert not torch.equal(on_fake, on_again)


def test_clustergan_finds_noise_and_cluster_again():
    gan = made("clustergan", beta_noise=2.0, beta_cluster=3.0, spread=0.5).eval()
    z = gan.sample_latent(3000)
    noise, cluster = z.split([4, 3], dim=1)
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert (cluster.sum(1) == 1).all()
    assert cluster.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    real, fake = sides(gan)
    with torch.no_grad():
        found, wanted = gan.encoder(fake.x).split([4, 3], dim=1), fake.z.split([4, 3], dim=1)
        terms = gan.generator_loss(real, fake)
        assert torch.equal(gan.recognise(fake.x)["cluster"], found[1])
    torch.testing.assert_close(terms["noise"], 2 * F.mse_loss(found[0], wanted[0]))
    torch.testing.assert_close(terms["cluster"], 3 * F.cross_entropy(found[1], wanted[1].argmax(1)))
    shown, _, columns = gan.showcase()
    assert torch.equal(shown[:, 4:].argmax(1).view(-1, columns)[0], torch.arange(3))


@pytest.mark.parametrize("name", ["clustergan", "msggan"])
def test_a_wasserstein_critics_terms_are_differences_of_means(name):
    gan = made(name).eval()
    real, fake = sides(gan)
    said = gan.judge(real).detach(), gan.judge(fake).detach()
    discriminator, generator = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake)
    torch.testing.assert_close(discriminator["wasserstein"], said[1].mean() - said[0].mean())
    torch.testing.assert_close(generator["wasserstein"], -said[1].mean())


def test_clustergans_penalty_is_of_slopes_between_real_images_and_fakes():
    gan = made("clustergan", penalty=3.0)
    real, fake = sides(gan)
    gan.discriminator.forward = lambda x, y: 0.5 * x.flatten(1).sum(1, keepdim=True)  # |grad| = sqrt(K) / 2
    expected = (math.sqrt(real.x[0].numel()) / 2 - 1) ** 2
    assert gan.discriminator_loss(real, fake)["penalty"].item() == pytest.approx(3 * expected, rel=1e-5)


# Semi-supervised


def test_sgans_logit_of_being_real_is_that_of_its_classes_against_the_fake_one():
    gan = made("sgan").eval()
    x = batch(gan).x
    with torch.no_grad():
        logit, classes, features = gan.discriminator(x)
        with_fake = torch.cat([classes, torch.zeros(4, 1)], dim=1).softmax(1)
    torch.testing.assert_close(logit.sigmoid(), 1 - with_fake[:, -1:])
    torch.testing.assert_close(classes, gan.discriminator.head(features))
    torch.testing.assert_close(gan.recognise(x)["class"], classes)


def test_sgan_makes_its_fakes_once_in_a_step():
    trainer, calls = train("sgan", **least("sgan")), []
    trainer.gan.generator.register_forward_hook(lambda *_: calls.append(1))
    trainer.advance()
    assert len(calls) == 1


def test_sgan_goes_down_the_cross_entropy_of_samples_with_a_class():
    gan = made("sgan", noise=0.0, hidden_noise=0.0)
    x = torch.randint(256, (4, 1, 28, 28)).float() / 127.5 - 1
    real, fake = Batch(x, torch.tensor([-1, 2, -1, -1])), gan.fake(Batch(x)).detach()
    found = gan.discriminator_loss(real, fake)
    torch.testing.assert_close(found["class"], F.cross_entropy(gan.discriminator(x[1:2])[1], torch.tensor([2])))
    on_real, on_fake = gan.discriminator(real.x)[0], gan.discriminator(fake.x)[0]
    torch.testing.assert_close(found["adversarial"], losses.minimax_discriminator(on_real, on_fake))
    features = gan.discriminator.features(real.x), gan.discriminator.features(fake.x)
    torch.testing.assert_close(gan.generator_loss(real, fake)["matching"], losses.feature_matching(*features))


def test_sgan_learns_no_class_before_one_is_told():
    gan = made("sgan")
    real = batch(gan)._replace(y=torch.full((4,), -1))
    assert gan.discriminator_loss(real, gan.fake(real).detach())["class"].item() == 0
    assert gan.labelled() == 3


def test_sgan_needs_classes_and_a_label_of_each():
    with pytest.raises(UsageError, match="has none: choose a data set with classes"):
        made("sgan", images(classes=0))
    with pytest.raises(UsageError, match="raise --known 2"):
        made("sgan", known=2)


def test_feature_matching_compares_means_and_moves_fakes_alone():
    real, fake = (
        torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True),
        torch.tensor([[0.0, 0.0]], requires_grad=True),
    )
    found = losses.feature_matching(real, fake)
    assert found.item() == pytest.approx((4 + 1) / 2)
    found.backward()
    assert real.grad is None
    torch.testing.assert_close(fake.grad, torch.tensor([[-2.0, -1.0]]))


def test_improved_gan_goes_down_the_cross_entropy_and_its_generator_both():
    gan = made("improved-gan").eval()
    real, fake = sides(gan)
    (on_real, wanted), (on_fake, features) = (gan.judge(side) for side in (real, fake))
    expected = -on_real.sigmoid().log().mean() - (1 - on_fake.sigmoid()).log().mean()
    torch.testing.assert_close(gan.discriminator_loss(real, fake)["adversarial"], expected)
    terms = gan.generator_loss(real, fake)
    torch.testing.assert_close(terms["adversarial"], -on_fake.sigmoid().log().mean())
    torch.testing.assert_close(terms["matching"], (wanted.mean(0) - features.mean(0)).square().mean())


# How well a model classifies


@pytest.mark.parametrize(("name", "metric"), [("sgan", "recognition"), ("clustergan", "clustering")])
def test_what_a_model_makes_of_classes_is_measured(ganzoo, name, metric):
    small = {**least(name), "known": 10} if name == "sgan" else least(name)
    small = [f"--{key.replace('_', '-')}={value}" for key, value in small.items()]
    common = ("--dataset", "small-digits", "--batch-size", 16, "--steps", 2, "--quiet", "--out", "r")
    assert ganzoo("run", name, *small, *common).code == 0
    found = json.loads(ganzoo("eval", "r", "--metrics", metric, "--json").out)["metrics"]
    assert found.keys() == {metric}
    assert 0 <= found[metric] <= 1
    other = ganzoo("eval", "r", "--metrics", "clustering" if metric == "recognition" else "recognition")
    assert (other.code, other.err.count("\n")) == (2, 1)


def test_clusters_are_matched_one_to_one():
    clusters, labels = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 1, 1, 0])
    assert matched(clusters, labels) == pytest.approx(3 / 6)  # 0 with 1 and 2 with 0, or 1 with 1 and 0 with 0.
    assert matched((torch.arange(30) + 1) % 3, torch.arange(30) % 3) == 1


def test_clustering_looks_at_all_real_images_through_the_model():
    class Reader(GAN):
        """Finds another name for each class, and takes one for another."""

        name, paper, clusters = "reader", "none", True

        def recognise(self, x):
            said = {"cluster": F.one_hot(table[((x[:, 0, 0, 0] + 1) * 127.5).round().long()], 9).float()}
            return said

    table = torch.tensor([7, 4, 4])
    pixels = torch.zeros(9, 1, 4, 4, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(9) % 3
    data = ImageSet(pixels, torch.arange(9) % 3, tuple("abc"))
    reference = SimpleNamespace(data=data, labels=data.labels, name="x", batches=lambda: [(pixels, data.labels)])
    gan = Reader(data.spec("x"), Reader.Options())
    gan.generator = nn.Linear(1, 1)
    setting = SimpleNamespace(reference=reference, recognise=recogniser(gan, reference), clusters=True)
    assert Clustering.missing(setting) is None
    assert Clustering.compute(SimpleNamespace(setting=setting, name="clustering")) == {"clustering": 6 / 9}
    assert "name the classes" in Recognition.missing(setting)


# Improved GAN and its regularisers


def test_minibatch_discrimination_sums_closeness_to_the_others():
    layer = improved_gan.MinibatchDiscrimination(2, kernels=2, size=1)
    layer.rows.weight = nn.Parameter(torch.eye(2))
    found = layer(torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]))
    e = math.exp
    torch.testing.assert_close(found[:, 0], torch.tensor([e(-1) + e(-3), e(-1) + e(-2), e(-3) + e(-2)]))
    torch.testing.assert_close(found[:, 1], torch.full((3,), 2.0))


@pytest.mark.parametrize(("generator", "expected"), [("matching", 1), ("adversarial", 1), ("both", 2)])
def test_improved_gans_generator_goes_down_what_was_chosen(generator: str, expected: int):
    gan = made("improved-gan", generator=generator)
    real, fake = sides(gan)
    found = gan.generator_loss(real, fake)
    assert len(found) == expected
    assert generator == "both" or set(found) == {generator}


def test_features_of_any_model_are_matched_before_the_last_layer():
    regulariser = FeatureMatching(None, FeatureMatching.Options(weight=2.0))
    gan = made("improved-gan", kernels=0)
    real = batch(gan, 4)
    fake = gan.fake(real)
    term = regulariser.terms(gan, real, fake)["feature-matching"]
    torch.testing.assert_close(term, 2 * gan.generator_loss(real, fake)["matching"])
    gan = made("sngan").eval()  # Spectral norms stay as they are.
    real = batch(gan, 4)
    fake = gan.fake(real)
    term = regulariser.terms(gan, real, fake)["feature-matching"]
    wanted, found = (gan.discriminator.features(side.x) for side in (real, fake))
    torch.testing.assert_close(term, 2 * losses.feature_matching(wanted, found))
    assert not any(layer._forward_hooks for layer in gan.discriminator.modules())


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("fastgan", ["head.3", "small_head"]),
        ("munit", ["scales.0.4", "scales.1.4", "scales.2.4"]),
        ("stylegan2", ["b4.out"]),
        ("sngan", ["head.psi"]),
    ],
)
def test_features_are_matched_before_each_layer_that_judges_the_samples(name, heads):
    kind = model(name)
    data = DataSpec("x", (3, 32, 32), 16, ("a", "b"), source_shape=(3, 32, 32) if kind.translates else None)
    gan = build_model(kind, data, kind.Options())
    real = Batch(torch.randn(8, 3, 32, 32), torch.arange(8) % 2 if gan.conditional else None)
    real = real._replace(source=torch.randn(8, 3, 32, 32)) if kind.translates else real
    fake = gan.fake(real)
    names = {module: name for name, module in gan.discriminator.named_modules()}
    assert [names[layer] for layer in last(passed(gan, fake), fake.x)] == heads
    FeatureMatching(None, FeatureMatching.Options()).terms(gan, real, fake)["feature-matching"].backward()
    assert any(p.grad is not None for p in gan.generator.parameters())


def test_features_that_no_layer_is_seen_to_make_are_told():
    gan = made("bgan")
    gan.discriminator.forward = lambda x, y=None: x.flatten(1)[:, :1]
    real = batch(gan, 4)
    with pytest.raises(GanzooError, match="finds no layer of the discriminator that works on fakes"):
        FeatureMatching(None, FeatureMatching.Options()).terms(gan, real, gan.fake(real))


def test_smoothed_labels_are_a_term_beside_the_cross_entropy():
    smoothing = improved_gan.LabelSmoothing(None, improved_gan.LabelSmoothing.Options(target=0.8))
    gan = saying(made("bgan"), REAL, FAKE)
    term = smoothing.terms(gan, Batch(torch.zeros(2, 1, 28, 28)), None)["label-smoothing"].item()
    smooth = -sum(0.8 * math.log(sigmoid(v)) + 0.2 * math.log(1 - sigmoid(v)) for v in (2, -1)) / 2
    assert term + losses.non_saturating_generator(REAL).item() == pytest.approx(smooth)


def test_weights_are_held_to_the_mean_of_their_history():
    gan = made("bgan")
    regulariser = improved_gan.Historical(gan.data, improved_gan.Historical.Options(weight=0.5))
    regulariser.attach(gan)
    for value, expected in ((1.0, 0.0), (3.0, 1.0), (8.0, 16.0)):  # Means 1, 2, 4.
        for p in gan.discriminator.parameters():
            nn.init.constant_(p, value)
        count = sum(p.numel() for p in gan.discriminator.parameters())
        assert regulariser.terms(gan, None, None)["historical"].item() == pytest.approx(0.5 * count * expected)
        gan.clock.part = 1  # Of `--accumulate`: the same weights once more are no step.
        assert regulariser.terms(gan, None, None)["historical"].item() == pytest.approx(0.5 * count * expected)
        gan.clock.part = 0


# Pyramids


def test_images_go_down_the_sizes_and_back_through_one_vector():
    x = torch.rand(2, 3, 8, 8)
    images = at_sizes(x, [(2, 2), (4, 4), (8, 8)])
    assert images[-1] is x
    torch.testing.assert_close(images[1], F.avg_pool2d(x, 2))
    torch.testing.assert_close(images[0], smaller(images[1], (2, 2)))
    again = unpacked(packed(images), [image.shape[1:] for image in images])
    assert all(torch.equal(a, b) for a, b in zip(again, images, strict=True))
    assert larger(images[0], (5, 4)).shape == (2, 3, 5, 4)


def test_lapgans_levels_make_an_image_up():
    gan = made("lapgan", images((3, 32, 32)))
    x = batch(gan).x
    smallest, *seen = gan.levels(x)
    for details, low in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(low, larger(smallest, low.shape[2:]))
        smallest = details + low
    torch.testing.assert_close(smallest, x)


def test_each_level_of_lapgan_adds_to_the_real_images_own_smaller_one():
    gan = made("lapgan", images((1, 32, 32))).eval()
    real, fake = sides(gan)
    seen = gan.levels(real.x)
    parts = unpacked(fake.source, [part.shape[1:] for part in seen])
    assert all(torch.equal(parts[i], seen[i]) for i in (2, 4, 6))
    with torch.no_grad():
        noise = gan.generator.noise(fake.z)
        torch.testing.assert_close(parts[0], gan.generator.smallest(noise[0]))
        torch.testing.assert_close(parts[5], gan.generator.details[2](noise[3], seen[6]))
        logits = gan.judge(fake)
        torch.testing.assert_close(logits[0], gan.discriminator[3](parts[5], parts[6]))
    assert [logit.shape for logit in logits] == [(4, 1)] * 4
    said = [logit.detach() for logit in gan.judge(real)]
    terms, wanted = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake)
    assert terms.keys() == wanted.keys() == {f"level {k}" for k in range(4)}
    for k, (on_real, on_fake) in enumerate(
        zip(said, logits, strict=True)
    ):  # -log D(x) - log(1 - D(G(z))), -log D(G(z))
        expected = -on_real.sigmoid().log().mean() - (1 - on_fake.sigmoid()).log().mean()
        torch.testing.assert_close(terms[f"level {k}"], expected)
        torch.testing.assert_close(wanted[f"level {k}"], -on_fake.sigmoid().log().mean())


def test_lapgan_draws_level_upon_level():
    gan = made("lapgan").eval()
    z = gan.sample_latent(2)
    first, *maps = gan.generator.noise(z)
    with torch.no_grad():
        x = gan.generator.smallest(first)
        for level, noise in zip(gan.generator.details, maps, strict=True):
            low = larger(x, noise.shape[2:])
            x = low + level(noise, low)
        torch.testing.assert_close(gan.generate(z, None), x.clamp(-1, 1))


def test_msggan_sees_images_at_all_sizes_and_penalises_all_gradients():
    gan = made("msggan").eval()
    real, fake = sides(gan)
    assert gan.vector(real).shape == gan.vector(fake).shape == (4, 7 * 7 + 14 * 14 + 28 * 28)
    with torch.no_grad():
        made_at = gan.generator(fake.z)
        assert torch.equal(gan.vector(fake), packed(made_at))
        torch.testing.assert_close(gan.judge(real), gan.discriminator(at_sizes(real.x, gan.sizes)))
    gan.critic = lambda x: 0.5 * x.sum(1, keepdim=True)  # |grad| = sqrt(K) / 2
    expected = (math.sqrt(1029) / 2 - 1) ** 2
    assert gan.discriminator_loss(real, fake)["penalty"].item() == pytest.approx(10 * expected, rel=1e-5)


# CoGAN


def test_cogans_second_kind_is_made_of_the_first():
    gan = made("cogan", other="negative")
    x = torch.rand(2, 1, 6, 6) * 2 - 1
    assert torch.equal(gan.second(x), -x)
    gan = made("cogan", other="edges")
    x = -torch.ones(1, 1, 6, 6)
    x[..., 3:] = 1
    edge = gan.second(x)
    assert edge[0, 0, 2].tolist() == [-1, -1, 1, 1, -1, -1]


def test_cogan_draws_either_of_a_pair_and_shares_all_but_one_layer():
    gan = made("cogan").eval()
    z = gan.sample_latent(3)
    with torch.no_grad():
        first, second = gan.generator(z)
        assert torch.equal(gan.generate(z, None), first)
        gan.sampling = gan.Sampling(kind="second")
        assert torch.equal(gan.generate(z, None), second)
    own = sum(p.numel() for p in gan.generator.last[0].parameters())
    assert sum(p.numel() for p in gan.generator.parameters()) == (
        sum(p.numel() for p in gan.generator.shared.parameters()) + 2 * own
    )


def test_cogan_plays_two_games():
    gan = made("cogan").eval()
    real, fake = sides(gan)
    with torch.no_grad():
        found, after = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake)
        logits = [gan.discriminator(x, 1) for x in (gan.second(real.x), fake.source)]
        first = [gan.discriminator(x, 0) for x in (real.x, fake.x)]
    torch.testing.assert_close(found["first"], losses.minimax_discriminator(*first))
    torch.testing.assert_close(found["second"], losses.minimax_discriminator(*logits))
    torch.testing.assert_close(after["second"], losses.non_saturating_generator(logits[1]))
