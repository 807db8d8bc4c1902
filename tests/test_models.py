"""The shipped models: their presets against restatements of the tutorial's code and the papers' tables."""

import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from ganzoo_plugins.gan import GAN
from torch import nn

import ganzoo
from ganzoo.data import Attribute, Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.nets import Dropout, Maxout
from ganzoo.optim import SGD, Adam
from ganzoo.settings import Settings
from test_tutorial import weights

DIGITS = tuple("0123456789")
MNIST = DataSpec("mnist", (1, 28, 28), 60000, DIGITS)
TUTORIAL = DataSpec("mnist", (1, 32, 32), 60000, DIGITS)
COLOUR = DataSpec("colour", (3, 64, 64), 100, ("cat", "dog"))
TAGS = DataSpec("tags", (1, 6, 10), 100, (), (Attribute("tilt"), Attribute("width", -1, 1)))
BOTH = DataSpec("both", (1, 8, 8), 100, tuple("abc"), (Attribute("tilt"),))
UNLABELLED = DataSpec("photos", (1, 8, 8), 100)

EVERY_PRESET = [(model, preset) for model in (GAN, CGAN) for preset in (None, *model.presets)]


def build(model: type[ganzoo.GAN], data: DataSpec, preset: str | None = None, **options):
    torch.manual_seed(0)
    bundle = {k: v for k, v in model.presets.get(preset, {}).items() if k in model.Options.model_fields}
    return model(data, model.Options(**bundle | options))


def batch(gan: ganzoo.GAN, n: int = 6) -> Batch:
    """Random samples with conditions."""
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1, gan.sample_labels(n))


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Parameters in order: equal shapes in equal order are part of the claim."""
    pairs = list(zip(weights(source), target.parameters(), strict=True))
    assert [s.shape for s, _ in pairs] == [t.shape for _, t in pairs]
    for s, t in pairs:
        t.data.copy_(s.data)


def layers(module: nn.Module) -> list[str]:
    """The kinds of its layers, in order."""
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


def taught_generator(inputs: int, pixels: int) -> nn.Sequential:
    """The tutorials' generator, as they write it: the second argument of BatchNorm1d is eps."""
    return nn.Sequential(
        nn.Linear(inputs, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256, 0.8),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 512),
        nn.BatchNorm1d(512, 0.8),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 1024),
        nn.BatchNorm1d(1024, 0.8),
        nn.LeakyReLU(0.2),
        nn.Linear(1024, pixels),
        nn.Tanh(),
    )


# The tutorials' networks and losses


def test_the_tutorial_cgan_generator_is_the_taught_one():
    gan = build(CGAN, TUTORIAL, "tutorial")
    embedding, network = nn.Embedding(10, 10), taught_generator(10 + 100, 1024)
    copy_weights(gan.generator, nn.ModuleList([embedding, network]))
    z, y = torch.randn(5, 100), torch.tensor([0, 3, 3, 7, 9])
    taught = network(torch.cat([embedding(y), z], -1)).view(5, 1, 32, 32)
    torch.testing.assert_close(gan.generate(z, y), taught)
    assert layers(gan.generator)[1:-1] == [type(m).__name__ for m in network]


def test_the_tutorial_cgan_discriminator_is_the_taught_one():
    gan = build(CGAN, TUTORIAL, "tutorial")
    network = nn.Sequential(
        nn.Linear(10 + 1024, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 512),
        nn.Dropout(0.4),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 512),
        nn.Dropout(0.4),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 1),
    )
    embedding = nn.Embedding(10, 10)
    copy_weights(gan.discriminator, nn.ModuleList([embedding, network]))
    gan.eval()
    network.eval()
    real = batch(gan)
    taught = network(torch.cat([real.x.view(6, -1), embedding(real.y)], -1))
    torch.testing.assert_close(gan.discriminator(real.x, real.y), taught)
    assert layers(gan.discriminator)[1:] == ["JoinedLinear", *(type(m).__name__ for m in network[1:])]
    assert {m.keep for m in gan.modules() if isinstance(m, Dropout)} == {round(256 * 0.6)}


def test_the_tutorial_cgan_has_the_taught_number_of_parameters():
    gan = build(CGAN, TUTORIAL, "tutorial")
    generator = 100 + 110 * 128 + 128 + 128 * 256 + 256 + 256 * 512 + 512 + 512 * 1024 + 1024 + 1024 * 1024 + 1024
    norms = 2 * (256 + 512 + 1024)
    discriminator = 100 + (1034 * 512 + 512) + 2 * (512 * 512 + 512) + 513
    assert sum(p.numel() for p in gan.generator.parameters()) == generator + norms
    assert sum(p.numel() for p in gan.discriminator.parameters()) == discriminator


def test_the_tutorial_cgan_losses_are_the_taught_ones():
    gan = build(CGAN, TUTORIAL, "tutorial").eval()
    real, fake = batch(gan), batch(gan)._replace(z=torch.zeros(6, 100))
    mse, ones, zeros = nn.MSELoss(), torch.ones(6, 1), torch.zeros(6, 1)
    on_real, on_fake = gan.discriminator(real.x, real.y), gan.discriminator(fake.x, fake.y)
    taught = (mse(on_real, ones) + mse(on_fake, zeros)) / 2
    torch.testing.assert_close(gan.discriminator_loss(real, fake), {"adversarial": taught})
    torch.testing.assert_close(gan.generator_loss(real, fake), {"adversarial": mse(on_fake, ones)})
    torch.testing.assert_close(gan.watched()["D(x)"], on_real.mean())


def test_the_tutorial_gan_is_the_taught_one():
    gan = build(GAN, MNIST, "tutorial")
    generator = taught_generator(100, 784)
    discriminator = nn.Sequential(
        nn.Linear(784, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1), nn.Sigmoid()
    )
    copy_weights(gan.generator, generator)
    copy_weights(gan.discriminator, discriminator)
    z, real = torch.randn(6, 100), batch(gan)
    fake = Batch(gan.generate(z, None), None, z)
    torch.testing.assert_close(fake.x, generator(z).view(6, 1, 28, 28))

    bce, ones, zeros = nn.BCELoss(), torch.ones(6, 1), torch.zeros(6, 1)
    on_real, on_fake = discriminator(real.x.view(6, -1)), discriminator(fake.x.view(6, -1))
    taught = (bce(on_real, ones) + bce(on_fake, zeros)) / 2
    torch.testing.assert_close(gan.discriminator_loss(real, fake.detach()), {"adversarial": taught})
    torch.testing.assert_close(gan.watched()["D(x)"], on_real.mean())
    torch.testing.assert_close(gan.generator_loss(real, fake), {"adversarial": bce(on_fake, ones)})


@pytest.mark.parametrize("model", [GAN, CGAN])
def test_tutorial_recipes_are_the_taught_ones(model: type[ganzoo.GAN]):
    gan = build(model, MNIST, "tutorial")
    assert gan.optimizer("generator") == gan.optimizer("discriminator") == Adam(2e-4, 0.5, 0.999)
    assert (gan.options.batch_size, gan.options.latent_dim, gan.options.n_critic) == (64, 100, 1)


# The papers' networks


def sizes(module: nn.Module) -> list[tuple[int, ...]]:
    """Inputs, outputs and, for maxout, pieces of each layer."""
    found = []
    for m in module.modules():
        if isinstance(m, Maxout):
            found.append((m.linear.in_features, m.linear.out_features // m.pieces, m.pieces))
        elif isinstance(m, nn.Linear):
            found.append((m.in_features, m.out_features))
    inner = {(i, o * p) for i, o, p in (s for s in found if len(s) == 3)}
    return [s for s in found if s not in inner]


def test_the_paper_cgan_has_the_sizes_of_section_4_1():
    gan = build(CGAN, MNIST, "paper")
    assert sizes(gan.generator) == [(100, 200), (10, 1000), (1200, 1200), (1200, 784)]
    assert sizes(gan.discriminator) == [(784, 240, 5), (10, 50, 5), (290, 240, 4), (240, 1)]
    assert [m.keep for m in gan.discriminator.modules() if isinstance(m, Dropout)] == [128, 128]


def test_the_paper_gan_has_the_sizes_of_its_published_code():
    gan = build(GAN, MNIST, "paper")
    assert sizes(gan.generator) == [(100, 1200), (1200, 1200), (1200, 784)]
    assert sizes(gan.discriminator) == [(784, 240, 5), (240, 240, 5), (240, 1)]
    assert not [m for m in gan.generator.modules() if isinstance(m, Dropout)]
    assert [m.keep for m in gan.discriminator.modules() if isinstance(m, Dropout)] == [round(256 * 0.8), 128, 128]
    weights = [p for p in gan.discriminator.parameters() if p.ndim > 1]
    assert max(p.abs().max() for p in weights) <= 0.005


@pytest.mark.parametrize("model", [GAN, CGAN])
def test_the_papers_discriminators_descend_half_the_value_of_the_game(model: type[ganzoo.GAN]):
    gan = build(model, MNIST, "paper").eval()
    real, fake = batch(gan), batch(gan)._replace(z=torch.zeros(6, 100))
    on_real, on_fake = (torch.sigmoid(gan.discriminator(b.x, b.y)) for b in (real, fake))
    value = on_real.log().mean() + (1 - on_fake).log().mean()
    torch.testing.assert_close(gan.discriminator_loss(real, fake), {"adversarial": -value / 2})
    torch.testing.assert_close(gan.generator_loss(real, fake), {"adversarial": -on_fake.log().mean()})


@pytest.mark.parametrize("model", [GAN, CGAN])
def test_the_papers_average_no_weights(model: type[ganzoo.GAN]):
    assert build(model, MNIST, "paper").options.ema == 0


def test_the_paper_cgan_draws_latents_from_the_unit_hypercube():
    z = build(CGAN, MNIST, "paper").sample_latent(200)
    assert z.shape == (200, 100 + 2 * 1200)
    assert 0 <= z.min() < 0.01
    assert 0.99 < z.max() < 1


def test_the_dropout_of_the_paper_cgans_generator_is_part_of_its_latent():
    gan = build(CGAN, MNIST, "paper").eval()
    z, y = gan.sample_latent(3), torch.tensor([1, 2, 3])
    other = torch.cat([z[:, :100], gan.sample_latent(3)[:, 100:]], dim=1)
    assert torch.equal(gan.generate(z, y), gan.generate(z, y))
    assert not torch.equal(gan.generate(z, y), gan.generate(other, y))
    z[:, 100:] = 0.5  # Nothing is kept: what is left is the bias of the last layer, zero at the start.
    assert torch.equal(gan.generate(z, y), torch.zeros(3, 1, 28, 28))
    z[:, 100:] = 0.0  # All is kept, at twice its value.
    hidden = 2 * torch.cat([gan.generator.from_z(z[:, :100]), gan.generator.from_y(torch.eye(10)[y])], dim=1)
    images = 2 * gan.generator.pixels(2 * gan.generator.joint(hidden)) - 1
    torch.testing.assert_close(gan.generate(z, y), images)


@pytest.mark.parametrize(("model", "factor"), [(GAN, 1.000004), (CGAN, 1.00004)])
def test_the_papers_sgd_decays_and_gathers_momentum(model: type[ganzoo.GAN], factor: float):
    rule = build(model, MNIST, "paper").optimizer("generator")
    assert isinstance(rule, SGD)
    now = type("Now", (), {"step": 1000, "epoch": 125.0, "fraction": 0.0})
    assert rule.settings(now) == pytest.approx({"lr": 0.1 / factor**1000, "momentum": 0.6})
    now.step = 10**8
    assert rule.settings(now)["lr"] == 1e-6


def test_the_paper_discriminators_see_pixels_between_0_and_1():
    gan = build(CGAN, MNIST, "paper").eval()
    seen = []
    gan.discriminator.from_x.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    gan.discriminator(torch.linspace(-1, 1, 784).view(1, 1, 28, 28), torch.tensor([1]))
    torch.testing.assert_close(seen[0], torch.linspace(0, 1, 784).view(1, 784))


# What holds for every preset


@pytest.mark.parametrize(("model", "preset"), EVERY_PRESET)
def test_presets_hold_known_options_with_valid_values(model: type[ganzoo.GAN], preset: str | None):
    bundle = dict(model.presets.get(preset, {}))
    Settings(**{k: bundle.pop(k) for k in list(bundle) if k in Settings.model_fields})
    model.Options(**bundle)


@pytest.mark.parametrize("model", [GAN, CGAN])
def test_every_option_explains_itself(model: type[ganzoo.GAN]):
    assert all(field.description for field in model.Options.model_fields.values())


@pytest.mark.parametrize("data", [COLOUR, TAGS, BOTH], ids=lambda d: d.name)
@pytest.mark.parametrize(("model", "preset"), EVERY_PRESET)
def test_any_image_shape_and_condition_make_a_whole_step(model: type[ganzoo.GAN], preset: str | None, data: DataSpec):
    gan = build(model, data, preset, latent_dim=3)
    real = batch(gan)
    fake = gan.fake(real)
    assert fake.x.shape == real.x.shape
    assert fake.x.abs().max() <= 1
    turns = {
        "discriminator": lambda: gan.discriminator_loss(real, fake.detach()),
        "generator": lambda: gan.generator_loss(real, fake),
    }
    for player, turn in turns.items():
        loss = sum(turn().values())
        assert loss.shape == ()
        assert loss.isfinite()
        gradients = torch.autograd.grad(loss, list(gan.players()[player].parameters()))
        assert any(g.any() for g in gradients)
        assert "D(G(z))" in gan.watched()


@pytest.mark.parametrize("preset", [None, *CGAN.presets])
def test_the_condition_changes_what_both_players_say(preset: str | None):
    gan = build(CGAN, MNIST, preset).eval()
    z, one, two = gan.sample_latent(4), torch.full((4,), 1), torch.full((4,), 2)
    x = gan.generate(z, one)
    assert not torch.equal(x, gan.generate(z, two))
    assert not torch.equal(gan.discriminator(x, one), gan.discriminator(x, two))


def test_fakes_have_uniform_labels_of_their_own():
    gan = build(CGAN, MNIST)
    labels = gan.fake(Batch(torch.zeros(4000, 1, 28, 28), torch.zeros(4000, dtype=torch.int64))).y
    assert labels.bincount(minlength=10).min() > 300


def test_condition_vectors_of_fakes_come_from_the_data():
    gan = build(CGAN, TAGS)
    real = batch(gan)
    assert gan.fake(real).y is real.y


def test_cgan_refuses_unlabelled_data_in_one_line():
    with pytest.raises(UsageError, match=r"^model 'cgan' needs labels, and data set 'photos' has none: .+$") as error:
        build(CGAN, UNLABELLED)
    assert "\n" not in str(error.value)


def test_gan_takes_unlabelled_data():
    gan = build(GAN, UNLABELLED)
    assert gan.sample_labels(3) is None
    assert gan.fake(batch(gan)).y is None


@pytest.mark.parametrize(("model", "preset"), EVERY_PRESET)
def test_the_seed_decides_the_weights(model: type[ganzoo.GAN], preset: str | None):
    one, two = build(model, COLOUR, preset), build(model, COLOUR, preset)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


# The contract's helper


def test_one_joined_pass_equals_two():
    gan = build(CGAN, MNIST)
    real, fake = batch(gan, 4), batch(gan, 4)
    calls = []
    gan.discriminator.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    on_real, on_fake = gan.discriminate(real, fake)
    assert calls == [8]
    torch.testing.assert_close(on_real, gan.discriminator(real.x, real.y))
    torch.testing.assert_close(on_fake, gan.discriminator(fake.x, fake.y))


def test_a_discriminator_with_batch_statistics_sees_each_side_by_itself():
    gan = build(CGAN, MNIST)
    gan.discriminator.layers.insert(2, nn.BatchNorm1d(512))
    real, fake = batch(gan, 4), batch(gan, 4)
    calls = []
    gan.discriminator.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    on_real, on_fake = gan.discriminate(real, fake)
    assert calls == [4, 4]
    torch.testing.assert_close(on_real, gan.discriminator(real.x, real.y))
    torch.testing.assert_close(on_fake, gan.discriminator(fake.x, fake.y))


def test_scores_are_logged_as_the_loss_reads_them():
    real = batch(build(CGAN, MNIST))
    for loss, read in [("hinge", torch.Tensor.clone), ("minimax", torch.sigmoid)]:
        gan = build(CGAN, MNIST, loss=loss)
        logits = gan.discriminate(real)
        torch.testing.assert_close(gan.watched(), {"D(x)": read(logits).mean().detach()})
        assert gan.watched() == {}


def test_a_grid_of_thousands_of_classes_shows_a_hundred_from_the_first_to_the_last():
    for count, columns in ((2, 2), (100, 100), (5000, 100)):
        data = DataSpec("many", (1, 8, 8), 1, tuple(map(str, range(count))))
        z, y, shown = CGAN(data, CGAN.Options()).showcase()
        assert (len(z), len(y), shown) == (10 * columns, 10 * columns, columns)
        assert (y[0], y[columns - 1], len(y.unique())) == (0, count - 1, columns)
