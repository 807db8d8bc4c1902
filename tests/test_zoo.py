"""Every shipped model: it builds for any size from 28 up, trains, resumes, and draws what it is asked for.

Widths and batches are as small as they can be; the recipes themselves are tested by training.
"""

import copy
import math
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.fields import as_recorded, validated
from ganzoo.nets import has_batch_statistics
from ganzoo.optim import Adam, RMSprop
from ganzoo.plugins import registry
from ganzoo.settings import Settings, resolve
from ganzoo.testing import check_gan
from ganzoo.training.ema import EMA
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer

CPU = Engine(torch.device("cpu"), "fp32")
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 29, 29)]
CONVOLUTIONAL = ["acgan", "biggan", "dcgan", "dragan", "infogan", "lsgan", "r3gan", "sagan", "sngan", "wgan", "wgan-gp"]
ZOO = ["cgan", "gan", "pacgan", "unrolled-gan", *CONVOLUTIONAL]
CONDITIONAL = ["acgan", "biggan", "cgan", "r3gan", "sagan", "sngan"]
TAGS = (Attribute("tilt"), Attribute("width", -1, 1))


@cache
def model(name: str) -> type[ganzoo.GAN]:
    return registry().get("models", name)


def images(shape=(1, 28, 28), classes: int = 3, attributes=(), n: int = 8) -> ImageSet:
    """Random images with classes in turn, and attributes if any."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=draw)
    labels = torch.arange(n) % classes if classes else None
    if attributes:
        columns = [nn.functional.one_hot(labels, classes).float()] if classes else []
        labels = torch.cat([*columns, torch.rand(n, len(attributes), generator=draw)], dim=1)
    return ImageSet(pixels, labels, tuple("abcdefgh"[:classes]), attributes)


def small(name: str, **options):
    """The model's options at their smallest."""
    cls = model(name)
    least = {"batch_size": 4, "latent_dim": 4}
    if "width" in cls.Options.model_fields:
        least["width"] = 2 if name in ("biggan", "sagan") else 4
    if "n_critic" in cls.Options.model_fields:
        least["n_critic"] = 2 if name.startswith("wgan") else 1
    return cls.Options(**least | options)


def build(name: str, data: ImageSet | None = None, **options) -> ganzoo.GAN:
    seed_everything(0)
    return model(name)((data or images()).spec("made-up"), small(name, **options))


def train(name: str, data: ImageSet | None = None, steps: int = 0, **options) -> Trainer:
    data = data or images()
    gan = build(name, data, **options)
    trainer = Trainer(gan, Loader(data, gan.options.batch_size, 0, CPU.device), CPU, steps=100)
    for _ in range(steps):
        trainer.advance()
    return trainer


def batch(gan: ganzoo.GAN, n: int = 4) -> Batch:
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1, gan.sample_labels(n))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "sagan",
            {"attention": (64,)},
            "--attention 64: no map of images of 28 x 28 has that size: choose from 16, 32,",
        ),
        ("biggan", {"attention": (4, 16)}, "--attention 4: no map of images of 28 x 28 has that size: choose from 16,"),
        ("biggan", {"attention_discriminator": (32,)}, "--attention-discriminator 32: no map of images of 28 x 28 has"),
        ("r3gan", {"cardinality": (3,)}, "--cardinality is of the published backbone, and the small one has none"),
        ("r3gan", {"embedding": 9}, "--embedding is of the published backbone, and the small one has none"),
        (
            "acgan",
            {"classifier": "adc", "classify_fakes": 1.0},
            "and --classifier adc has one of its own: leave it out",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_where_a_run_begins(name: str, options: dict, told: str):
    gan = build(name, **options)  # As a run of before is built.
    with pytest.raises(UsageError) as error:
        gan.refuse_idle()
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sagan", {}),
        ("sagan", {"attention": (16, 32)}),
        ("sagan", {"attention": ()}),
        ("biggan", {"attention": (32,), "attention_discriminator": (16,)}),
        ("r3gan", {}),
        ("acgan", {"classify_fakes": 1.0}),
        ("acgan", {"classifier": "contra", "classify_fakes": 1.0}),
    ],
)
def test_an_option_that_does_something_is_not_refused(name: str, options: dict):
    build(name, **options).refuse_idle()


@pytest.mark.parametrize("name", ["sagan", "biggan"])
def test_no_image_is_too_small_for_the_usual_attention(name: str):
    build(name, images((1, 8, 8))).refuse_idle()


def test_idle_options_are_refused_before_anything_is_made_and_not_when_a_run_goes_on(ganzoo, tmp_path, monkeypatch):
    run = ("run", "r3gan", "--dataset", "small-digits", "--width", 2, "--batch-size", 4, "--embedding", 9, "--quiet")
    result = ganzoo(*run, "--steps", 1, "--out", "r")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert not (tmp_path / "r").exists()
    with monkeypatch.context() as before:
        before.setattr(model("r3gan"), "refuse_idle", lambda gan: None)
        assert ganzoo(*run, "--steps", 1, "--out", "r").code == 0
    assert ganzoo("resume", "r", "--steps", 2, "--quiet").code == 0


# What holds for every model


def test_the_zoo_is_complete():
    assert set(ZOO) <= set(registry().names("models"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ZOO)
def test_it_trains_on_any_shape(name: str, shape: tuple[int, int, int]):
    trainer = train(name, images(shape))
    gan = trainer.gan
    before = {player: weights(module) for player, module in gan.players().items()}
    values = [trainer.advance() for _ in range(2)]
    assert all(v.shape == () and v.isfinite() for value in values for v in value.values())
    trainer.check_weights()
    for player, module in gan.players().items():
        after = module.state_dict()
        # A bias may rest: the head's cancels in a difference of means.
        assert all(not torch.equal(before[player][n], after[n]) for n, p in module.named_parameters() if p.ndim > 1)
    with torch.no_grad():
        x = gan.generate(gan.sample_latent(3), gan.sample_labels(3))
    assert x.shape == (3, *shape)
    assert -1 <= x.min() <= x.max() <= 1


@pytest.mark.parametrize("name", ZOO)
def test_a_resumed_run_takes_the_same_steps(name: str):
    first = train(name, steps=2)
    state = copy.deepcopy(first.state_dict())
    expected = first.advance()
    second = train(name)
    second.load_state_dict(state)
    assert {k: v.item() for k, v in second.advance().items()} == {k: v.item() for k, v in expected.items()}
    ours, theirs = second.gan.state_dict(), first.gan.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("name", ZOO)
def test_options_explain_themselves_and_presets_hold_known_ones(name: str):
    cls = model(name)
    assert all(field.description for field in cls.Options.model_fields.values())
    assert cls.paper
    assert cls.__doc__
    for preset in cls.presets.values():
        bundle = dict(preset)
        Settings(**{k: bundle.pop(k) for k in list(bundle) if k in Settings.model_fields})
        cls.Options(**bundle)


@pytest.mark.parametrize("name", ZOO)
def test_samples_to_show_fill_their_grid(name: str):
    gan = build(name).eval()
    z, y, columns = gan.showcase()
    assert len(z) % columns == 0
    assert (y is None) == (not gan.conditional)
    with torch.no_grad():
        assert gan.generate(z[:4], None if y is None else y[:4]).isfinite().all()


@pytest.mark.parametrize("name", ["gan", "cgan", *CONVOLUTIONAL])
def test_the_averaged_generator_draws_the_same_with_the_same_weights(name: str):
    gan = build(name, ema=0.0).eval()
    ema = EMA({"generator": gan.generator}, 0.0)
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    torch.testing.assert_close(ema.module(z, y), gan.generator(z, y))


LOOKED_AT = [DataSpec("grey", (1, 12, 12), 24, tuple("abc")), DataSpec("tags", (3, 9, 14), 24, tuple("ab"), TAGS)]


@pytest.mark.parametrize("name", ZOO)
def test_every_model_keeps_the_rules_of_the_contract(name: str):
    few = {"width": 4, "latent_dim": 4}
    verdicts = check_gan(
        model(name), LOOKED_AT, {k: v for k, v in few.items() if k in model(name).Options.model_fields}
    )
    skipped = {v.rule: v.reason for v in verdicts if v.status == "skipped"}
    expected = {"condition", "pictures", "source"} | (
        {"halves"} if name in {"dragan", "pacgan", "unrolled-gan"} else set()
    )
    assert set(skipped) <= expected, skipped


# Conditions


@pytest.mark.parametrize("name", [*CONDITIONAL, "dcgan"])
@pytest.mark.parametrize(("classes", "attributes"), [(3, ()), (3, TAGS), (0, TAGS)], ids=["classes", "both", "tags"])
def test_conditions_matter_to_both_players(name: str, classes: int, attributes: tuple[Attribute, ...]):
    data = images(classes=classes, attributes=attributes)
    options = {"conditional": True} if name == "dcgan" else {}
    gan = train(name, data, steps=2, **options).gan.eval()
    assert gan.conditional
    if attributes:
        one, two = gan.data.condition(torch.zeros(4).long(), {"tilt": 0}), gan.data.condition(torch.zeros(4).long())
    else:
        one, two = torch.zeros(4).long(), torch.ones(4).long()
    z = gan.sample_latent(4)
    with torch.no_grad():
        x = gan.generate(z, one)
        assert not torch.equal(x, gan.generate(z, two))
        if name != "acgan":  # Its discriminator names the condition instead of being told.
            assert not torch.equal(gan.discriminator(x, one), gan.discriminator(x, two))


@pytest.mark.parametrize("name", ["biggan", "r3gan", "sagan", "sngan"])
def test_data_without_labels_makes_it_unconditional(name: str):
    trainer = train(name, images(classes=0), steps=1)
    assert not trainer.gan.conditional
    assert trainer.gan.sample_labels(3) is None


@pytest.mark.parametrize("name", ["dcgan", "gan", "lsgan", "wgan", "wgan-gp", "dragan", "infogan"])
def test_an_unconditional_model_does_not_see_labels(name: str):
    gan = build(name)
    assert not gan.conditional
    assert not gan.data.conditional
    assert gan.sample_labels(2) is None


def test_dcgan_takes_labels_when_asked_to_and_misses_them_where_there_are_none():
    assert build("dcgan", conditional="yes").data.classes == tuple("abc")
    with pytest.raises(UsageError, match="needs labels"):
        build("dcgan", images(classes=0), conditional="yes")


def test_dcgan_for_pictures_takes_labels_where_there_are_any():
    assert build("dcgan", conditional="auto").data.classes == tuple("abc")
    assert not build("dcgan", images(classes=0), conditional="auto").data.conditional
    assert model("dcgan").presets["pictures"]["conditional"] == "auto"


# What each paper makes its own


def test_wgan_keeps_the_critics_weights_within_the_clip():
    trainer = train("wgan", clip=0.02, lr=1e-2, lr_hold=1.0)
    for _ in range(2):
        assert max(p.abs().max().item() for p in trainer.gan.discriminator.parameters()) <= 0.02 + 1e-7
        trainer.advance()
    assert trainer.gan.optimizer("discriminator") == RMSprop(1e-2)
    assert model("wgan").Options().n_critic == 5


@pytest.mark.parametrize("name", ["biggan", "dragan", "r3gan", "sagan", "sngan", "wgan-gp"])
def test_each_sample_is_judged_by_itself(name: str):
    gan = build(name)
    assert not has_batch_statistics(gan.discriminator)
    real = batch(gan)
    logits = gan.discriminator.eval()(real.x, real.y)
    torch.testing.assert_close(logits[:1], gan.discriminator(real.x[:1], None if real.y is None else real.y[:1]))


def test_lsgan_follows_its_coding():
    gan = build("lsgan", a=-1, b=1, c=0).eval()
    real, fake = batch(gan), batch(gan)._replace(z=torch.zeros(4, 4))
    on_real, on_fake = gan.discriminator(real.x, None), gan.discriminator(fake.x, None)
    expected = ((on_real - 1).square().mean() + (on_fake + 1).square().mean()) / 2
    torch.testing.assert_close(gan.discriminator_loss(real, fake), {"adversarial": expected})
    torch.testing.assert_close(gan.generator_loss(real, fake), {"adversarial": on_fake.square().mean() / 2})


def recipe(name: str) -> tuple[Settings, ganzoo.Options]:
    """The preset `paper`, resolved as a run resolves it."""
    plan = resolve(model(name), {}, "paper")
    return plan.settings, plan.options


def test_the_papers_wgan_and_lsgan_train_at_the_datas_own_size():
    settings, wgan = recipe("wgan")
    assert settings.image_size is None
    assert (wgan.lr, wgan.clip, wgan.n_critic, wgan.optimizer, wgan.ema) == (5e-5, 0.01, 5, "rmsprop", 0)
    settings, lsgan = recipe("lsgan")
    assert settings.image_size is None
    assert (lsgan.lr, lsgan.b1, lsgan.a, lsgan.b, lsgan.c, lsgan.ema) == (2e-4, 0.5, 0, 1, 1, 0)


@pytest.mark.parametrize("name", ["gan", "cgan", "dcgan"])
def test_the_slope_of_d_at_real_images_is_punished_in_every_16th_step_but_in_the_papers_recipe(name):
    gan = build(name, r1=0.5).eval()
    real = batch(gan)
    x = real.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(x, real.y if gan.conditional else None).sum(), x)
    expected = 16 * 0.5 / 2 * slope.square().flatten(1).sum(1).mean()
    lazy = gan.turns()[1]
    assert (lazy.player, lazy.every) == ("discriminator", 16)
    torch.testing.assert_close(lazy.loss(real, gan.fake(real)), {"penalty": expected})
    assert [turn.every for turn in build(name, r1=0.0).turns()] == [1, 1]
    assert (model(name).Options().r1, recipe(name)[1].r1) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["acgan", "dcgan", "dragan", "infogan", "lsgan", "wgan", "wgan-gp"])
def test_a_papers_rates_stay_and_those_of_the_default_fall(name):
    _, paper = recipe(name)
    default = model(name).Options()
    assert (paper.lr_hold, default.lr_hold) == (1.0, 0.5)
    assert paper.lr < default.lr


@pytest.mark.parametrize("name", ["acgan", "dcgan", "dragan", "infogan", "lsgan", "wgan", "wgan-gp"])
def test_a_run_recorded_before_rates_could_fall_keeps_its_rate(name):
    recorded = model(name).Options().model_dump(exclude={"lr_hold"})
    assert validated(model(name).Options, as_recorded(model(name).Options, recorded)).lr_hold == 1.0
    assert validated(model(name).Options, as_recorded(model(name).Options, {**recorded, "lr_hold": 0.2})).lr_hold == 0.2


def test_all_players_but_the_discriminator_move_at_the_generators_rate_if_there_is_one():
    gan = build("infogan", lr=1e-3, lr_generator=2e-3, lr_hold=0.5)
    at_the_end = SimpleNamespace(fraction=0.75)
    assert gan.optimizer("discriminator").settings(at_the_end)["lr"] == pytest.approx(5e-4)
    assert gan.optimizer("generator").settings(at_the_end)["lr"] == pytest.approx(1e-3)


def test_the_papers_dcgan_draws_uniform_latents():
    _, options = recipe("dcgan")
    assert (options.latent, options.lr, options.b1, options.batch_size, options.ema) == ("uniform", 2e-4, 0.5, 128, 0)
    z = build("dcgan", latent="uniform").sample_latent(500)
    assert (-1 <= z.min() < -0.99, 0.99 < z.max() < 1, z.shape) == (True, True, (500, 4))


def test_acgan_takes_the_softmax_once_and_on_both_sides():
    gan = build("acgan", classifier="ac", classify_fakes=1.0).eval()
    real, fake = batch(gan), batch(gan)._replace(z=torch.zeros(4, 4))
    terms = gan.discriminator_loss(real, fake)
    for side, term in ((real, "class of real"), (fake, "class of fake")):
        _, said = gan.discriminator(side.x, None)
        right = said.log_softmax(1)[torch.arange(4), side.y]
        torch.testing.assert_close(terms[term], -right.mean())


def test_sngan_layers_have_largest_singular_value_one():
    gan = build("sngan", images(attributes=TAGS))
    real = batch(gan)
    for _ in range(50):
        gan.discriminator(real.x, real.y)
    gan.eval()
    layers = [m for m in gan.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_sngan_players_have_rates_of_their_own():
    gan = build("sngan", lr=8e-4, lr_generator=2e-4, lr_hold=1.0, b2=0.9)
    assert gan.optimizer("discriminator") == Adam(8e-4, 0.0, 0.9)
    assert gan.optimizer("generator") == Adam(2e-4, 0.0, 0.9)


def test_sngan_rates_fall_in_the_last_half():
    gan = build("sngan")
    for player in ("discriminator", "generator"):
        moments = [SimpleNamespace(fraction=fraction) for fraction in (0.0, 0.5, 0.75, 1.0)]
        rates = [gan.optimizer(player).settings(moment)["lr"] for moment in moments]
        assert rates == pytest.approx([4e-3, 4e-3, 2e-3, 0.0])


def test_r3gan_pairs_samples_of_one_condition_and_penalises_both_sides():
    gan = build("r3gan", gamma=3.0)
    real = batch(gan)
    fake = gan.fake(real).detach()
    assert fake.y is real.y
    terms = gan.discriminator_loss(real, fake)
    for side, term in ((real, "r1"), (fake, "r2")):
        x = side.x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(gan.discriminator(x, side.y).sum(), x)
        torch.testing.assert_close(terms[term], 1.5 * gradient.square().sum((1, 2, 3)).mean())
    margin = gan.discriminator(real.x, real.y) - gan.discriminator(fake.x, fake.y)
    torch.testing.assert_close(terms["relativistic"], nn.functional.softplus(-margin).mean())
    after = gan.generator_loss(real, fake)["relativistic"]
    torch.testing.assert_close(after, nn.functional.softplus(margin).mean())


def test_r3gan_blocks_start_as_the_identity_and_nothing_is_normalised():
    gan = build("r3gan", blocks=2)
    kinds = {type(m).__name__ for m in gan.modules()}
    assert not [kind for kind in kinds if "Norm" in kind]
    block = gan.discriminator.stages[0][0]
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("width", "group", "groups"), [(25, 16, 2), (4, 12, 1), (24, 12, 4), (16, 16, 2), (4, 1, 8)])
def test_r3gan_is_built_whatever_its_width_and_groups(width: int, group: int, groups: int):
    gan = build("r3gan", width=width, group=group)
    assert gan.generator.stages[-1][0].layers[2].groups == groups
    assert gan.generate(gan.sample_latent(2), gan.sample_labels(2)).shape == (2, 1, 28, 28)


# InfoGAN


def test_infogan_latents_hold_noise_a_category_and_codes():
    gan = build("infogan", latent_dim=5, categories=3, continuous=2)
    z = gan.sample_latent(600)
    assert z.shape == (600, 5 + 3 + 2)
    category, continuous = gan.codes(z)
    assert (category.sum(1) == 1).all()
    assert category.sum(0).min() > 150
    assert -1 <= continuous.min() < -0.95
    assert 0.95 < continuous.max() <= 1


def test_infogan_moves_q_with_the_generator():
    gan = build("infogan")
    players = {name: {id(p) for p in module.parameters()} for name, module in gan.players().items()}
    assert players["generator"] == {id(p) for m in (gan.generator, gan.recognition) for p in m.parameters()}
    assert not players["generator"] & players["discriminator"]


def test_infogan_shows_traversals():
    gan = build("infogan", latent_dim=5, categories=4, continuous=2)
    z, _, columns = gan.showcase()
    rows = z.view(-1, columns, z.shape[1])
    assert rows.shape[:2] == (10, 4)
    assert (rows[:, :, :5] == rows[:, :1, :5]).all()
    category, continuous = gan.codes(z)
    category, continuous = category.view(10, 4, 4).argmax(2), continuous.view(10, 4, 2)
    assert (category[:4] == torch.arange(4)).all()
    assert (category[4:] == category[4:, :1]).all()
    assert (continuous[:4] == 0).all()
    run = torch.linspace(-2, 2, 4)
    for code in range(2):
        swept = continuous[4 + 3 * code : 7 + 3 * code]
        assert (swept[:, :, code] == run).all()
        assert (swept[:, :, 1 - code] == 0).all()


def test_infogan_rewards_codes_that_can_be_read():
    gan = build("infogan", information_continuous=0.5)
    fake = gan.fake(batch(gan))
    category, continuous = gan.codes(fake.z)
    perfect = lambda features: (20 * category, continuous, torch.zeros_like(continuous))  # noqa: E731
    gan.recognition = nn.Module()
    gan.recognition.forward = perfect
    terms = gan.readable(torch.zeros(4, 1), fake)
    assert terms["category"] < 1e-6
    assert terms["continuous"] == 0


def test_infogan_is_never_surer_of_a_code_than_is_good():
    gan = build("infogan")
    fake, last = gan.fake(batch(gan)), gan.recognition.layers[-1]
    features = torch.randn(4, gan.discriminator.features.size)
    for bias, deviation in ((-1e3, math.exp(-3)), (1e3, math.exp(1))):
        nn.init.constant_(last.bias[-2:], bias)
        _, _, log_variance = gan.recognition(features)
        torch.testing.assert_close((log_variance / 2).exp(), torch.full((4, 2), deviation))
        assert gan.readable(features, fake)["continuous"].isfinite()


# Networks sized from the data


@pytest.mark.parametrize(
    ("side", "sides"), [(28, [7, 14, 28]), (29, [7, 14, 29]), (32, [4, 8, 16, 32]), (36, [4, 9, 18, 36])]
)
def test_maps_are_halved_until_seven(side: int, sides: list[int]):
    from ganzoo.nets import channels, pyramid

    data = DataSpec("x", (1, side, side), 1)
    assert pyramid(data) == [(s, s) for s in sides]
    assert channels(data, 8) == [8 * 2**i for i in range(len(sides) - 1)][::-1]


def test_channels_double_eightfold_at_most():
    from ganzoo.nets import channels

    assert channels(DataSpec("x", (3, 256, 256), 1), 4) == [32, 32, 32, 16, 8, 4]
