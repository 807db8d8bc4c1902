"""StyleGAN2: equal to the authors' program in numbers, and its phases, state and options of drawing."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.stylegan2 import StyleGAN2, from_published, upsampled
from torch import Tensor, nn

from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.optim import Adam
from ganzoo.sampling import drawing
from ganzoo.settings import resolve
from ganzoo.styles import MinibatchDeviation, filtered, low_pass
from ganzoo.testing import check_gan
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer

CPU = Engine(torch.device("cpu"), "fp32")
CLASSES = tuple("abcd")
TINY = {"batch_size": 8, "latent_dim": 6, "depth": 2, "channel_base": 64, "channel_max": 8}


def build(shape=(3, 8, 8), classes=CLASSES, **options) -> StyleGAN2:
    seed_everything(0)
    return StyleGAN2(DataSpec("made-up", shape, 24, classes), StyleGAN2.Options(**TINY | options)).train()


def batch(gan: StyleGAN2, n: int = 8) -> Batch:
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1, gan.sample_labels(n))


# Equal to the published program


@cache
def published() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "stylegan2_16px.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@cache
def theirs() -> StyleGAN2:
    """Our networks with the weights of theirs."""
    gan = build((3, 16, 16), latent_dim=32, channel_base=256, channel_max=32)
    for mine, prefix in ((gan.generator, "G/"), (gan.discriminator, "D/")):
        state = {name.removeprefix(prefix): v for name, v in published().items() if name.startswith(prefix)}
        mine.load_state_dict(from_published(state))
    return gan.requires_grad_(False)


def inputs() -> tuple[Tensor, Tensor]:
    """Latents and classes."""
    return published()["z"], published()["c"].argmax(1)


def same(found: Tensor, name: str):
    torch.testing.assert_close(found, published()[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("psi", [1.0, 0.5])
def test_w_and_images_are_those_of_the_authors_program(psi: float):
    generator = theirs().generator
    ws = generator.mapping(*inputs(), psi)
    same(ws, f"ws_psi{psi}")
    same(generator.synthesis(ws, "const"), f"img_const_psi{psi}")
    same(generator(*inputs(), psi, "const"), f"img_const_psi{psi}")


def test_images_without_noise_are_those_of_the_authors_program():
    same(theirs().generator(*inputs(), noise="none"), "img_none")


def test_logits_and_r1_are_those_of_the_authors_program():
    x = published()["img_const_psi1.0"].clone().requires_grad_()
    logits = theirs().discriminator(x, inputs()[1])
    same(logits.detach(), "logits")
    (slope,) = torch.autograd.grad(logits.sum(), x)
    same(slope.square().sum((1, 2, 3)), "r1_per_sample")


def test_path_lengths_are_those_of_the_authors_program():
    gan = theirs()
    ws = gan.generator.mapping(*inputs()).requires_grad_()
    same(gan.path_lengths(ws, published()["pl_noise"], "const").detach(), "pl_lengths")


def test_conditions_may_be_given_as_vectors():
    z, _ = inputs()
    assert torch.equal(theirs().generator.mapping(z, published()["c"]), theirs().generator.mapping(*inputs()))


def test_configuration_f_has_as_many_parameters_as_the_paper_says():
    options = StyleGAN2.Options(latent_dim=512, depth=8, channel_base=32768, channel_max=512)
    with torch.device("meta"):
        gan = StyleGAN2(DataSpec("faces", (3, 1024, 1024), 24), options)
    counts = {name: sum(p.numel() for p in player.parameters()) for name, player in gan.players().items()}
    assert counts == {"generator": 30_370_060, "discriminator": 29_012_513}


@pytest.mark.parametrize("preset", StyleGAN2.presets)
def test_presets_build(preset: str):
    plan = resolve(StyleGAN2, {}, preset)
    side = plan.settings.image_size
    with torch.device("meta"):
        gan = StyleGAN2(DataSpec("made-up", (3, side, side), 24, CLASSES), plan.options)
    assert gan.generator.synthesis.layers == 2 * (side.bit_length() - 2)
    assert any("skip" in name for name, _ in gan.discriminator.named_parameters()) == plan.options.residual


# The contract


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (DataSpec("colour", (3, 8, 8), 24, CLASSES, counts=(12, 6, 4, 2)), {}),
        (DataSpec("tags", (1, 8, 8), 24, ("a", "b"), (Attribute("tilt"),)), {"style_dim": 5, "gamma": 1.0}),
        (DataSpec("unlabelled", (3, 8, 8), 24), {"path": 0.0, "mixing": 0.0, "gamma": 0.0, "residual": False}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_keeps_the_rules_of_the_contract(data: DataSpec, options: dict):
    verdicts = check_gan(StyleGAN2, data, TINY | options)
    skipped = {v.rule for v in verdicts if v.status == "skipped"}
    assert skipped == {"halves", "pictures", "source"} | ({"condition"} if not data.conditional else set())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (3, 4, 4), (3, 32, 64), (2,)], ids=str)
def test_other_sizes_than_powers_of_two_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"powers of two.*--image-size 32"):
        build(shape, classes=())


# The step


def test_lazy_phases_are_due_when_they_are_and_rates_are_scaled_for_them():
    gan = build(lr=0.01, b1=0.5)
    assert [(turn.name, turn.player, turn.every) for turn in gan.turns()] == [
        ("generator", "generator", 1),
        ("path", "generator", 4),
        ("discriminator", "discriminator", 1),
        ("r1", "discriminator", 16),
    ]
    assert gan.optimizer("generator") == Adam(0.01 * 4 / 5, 0.5 ** (4 / 5), 0.99 ** (4 / 5))
    assert gan.optimizer("discriminator") == Adam(0.01 * 16 / 17, 0.5 ** (16 / 17), 0.99 ** (16 / 17))
    assert [turn.name for turn in build(path=0.0, gamma=0.0).turns()] == ["generator", "discriminator"]


def test_rates_stay_as_published_unless_told_to_fall():
    from ganzoo.optim import Progress

    def rates(**options: object) -> list[float]:
        rule = build(**options).optimizer("discriminator")
        return [rule.settings(Progress(0, 0.0, share))["lr"] for share in (0.0, 0.5, 0.75, 1.0)]

    share = 16 / 17
    assert rates(lr=2.5e-3) == [2.5e-3 * share] * 4
    assert rates(lr=2.5e-3, lr_hold=0.5) == pytest.approx([2.5e-3 * share, 2.5e-3 * share, 1.25e-3 * share, 0])


def test_gamma_follows_the_size_of_images_and_batches_unless_given():
    assert build((3, 16, 16), batch_size=4).gamma == pytest.approx(0.0002 * 256 / 4)
    assert build(gamma=3.0).gamma == 3.0


def test_each_phase_takes_one_batch_of_real_images_together():
    data = ImageSet(torch.zeros(16, 3, 8, 8, dtype=torch.uint8), torch.arange(16) % 4, CLASSES)
    trainer = Trainer(build(), Loader(data, 8, 0, CPU.device), CPU, steps=100)
    assert set(trainer.schedule.batches.values()) == {1}


def test_the_discriminator_sees_other_fakes_than_the_generator_was_judged_on():
    gan = build()
    real, seen = batch(gan), []
    gan.judge = lambda b: seen.append(b) or gan.discriminator(b.x, b.y)
    fake = gan.fake(real)
    gan.discriminator_loss(real, fake)
    assert len(seen) == 2
    assert torch.equal(seen[0].x, real.x)
    assert not torch.isclose(seen[1].x, fake.x).flatten(1).all(1).any()
    assert not seen[1].x.requires_grad


def test_the_mean_of_w_follows_the_generators_latents_and_is_copied_into_the_average():
    data = ImageSet(torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8), torch.arange(16) % 4, CLASSES)
    trainer = Trainer(build(), Loader(data, 8, 0, CPU.device), CPU, steps=100)
    gan = trainer.gan
    fake = gan.fake(batch(gan))
    w = gan.generator.mapping(fake.z, fake.y)[:, 0]
    gan.generator_loss(batch(gan), fake)
    torch.testing.assert_close(gan.generator.mapping.w_avg, 0.002 * w.mean(0).detach())
    before = gan.generator.mapping.w_avg.clone()
    gan.discriminator_loss(batch(gan), fake)
    assert torch.equal(gan.generator.mapping.w_avg, before)
    trainer.advance()
    assert not torch.equal(gan.generator.mapping.w_avg, before)
    assert torch.equal(trainer.ema.module.mapping.w_avg, gan.generator.mapping.w_avg)


def test_path_lengths_are_held_to_their_running_mean():
    gan = build(mixing=0.0, classes=())
    real = batch(gan)
    gan.path_mean.fill_(0.2)
    seed_everything(1)
    lengths = gan.path_lengths(gan.generator.mapping(gan.sample_latent(4)))
    seed_everything(1)
    loss = gan.path_loss(real, real)["penalty"]  # Of latents of its own: what fakes there are is not looked at.
    mean = 0.99 * 0.2 + 0.01 * lengths.mean()
    assert gan.path_mean == pytest.approx(mean.item())
    assert loss.item() == pytest.approx(4 * 2 * (lengths - mean).square().mean().item(), rel=1e-4)


def test_r1_is_half_gamma_times_the_squared_slope_at_real_images_as_often_as_it_is_rare():
    gan = build(gamma=3.0)
    real = batch(gan)
    x = real.x.requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(x, real.y).sum(), x)
    expected = 16 * 1.5 * slope.square().sum((1, 2, 3)).mean()
    assert gan.r1_loss(real, gan.fake(real))["penalty"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_a_penalty_does_not_reach_has_a_gradient_of_0_in_its_turn():
    """So Adam's second moments of it decay there, as in the authors' program."""
    gan = build()
    real = batch(gan)
    for loss, network in ((gan.r1_loss, gan.discriminator), (gan.path_loss, gan.generator)):
        gan.zero_grad()
        loss(real, real)["penalty"].backward()
        grads = {name: p.grad for name, p in network.named_parameters()}
        assert all(grad is not None for grad in grads.values())
        unreached = [name for name, grad in grads.items() if not grad.any()]
        assert unreached
        assert all("bias" in name or "strength" in name or "to_rgb" in name for name in unreached), unreached


def test_styles_are_mixed_from_a_random_layer_on():
    gan = build((3, 16, 16), classes=(), mixing=1.0)
    z = gan.sample_latent(5)
    plain, firsts = gan.generator.mapping(z), set()
    for seed in range(30):
        seed_everything(seed)
        same = (gan.mixed(z, None) == plain).all(2)
        assert torch.equal(same, same[:1].expand_as(same))
        first = int(same[0].sum())
        assert same[0].tolist() == [True] * first + [False] * (plain.shape[1] - first)
        firsts.add(first)
    assert firsts == set(range(1, plain.shape[1]))
    assert torch.equal(build(classes=(), mixing=0.0).mixed(z, None), build(classes=()).generator.mapping(z))


def test_a_share_of_the_batches_is_not_mixed():
    gan = build(classes=(), mixing=0.5)
    z = gan.sample_latent(2)
    whole = sum(torch.equal(gan.mixed(z, None), gan.generator.mapping(z)) for _ in range(60))
    assert 15 < whole < 45


# Drawing


def test_truncation_draws_towards_the_mean_of_w():
    gan = build().eval()
    gan.generator.mapping.w_avg.normal_()
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    with torch.no_grad():
        mean = drawing(gan, {"truncation": 0}).generate(z, y)
        torch.testing.assert_close(mean, mean[:1].expand_as(mean))
        ws = gan.generator.mapping(z, y)
        half = gan.generator.synthesis((gan.generator.mapping.w_avg + ws) / 2, "const").clamp(-1, 1)
        torch.testing.assert_close(drawing(gan, {"truncation": 0.5}).generate(z, y), half)


def test_noise_is_the_same_for_all_or_random_or_none():
    gan = build(classes=()).eval()
    for module in gan.generator.modules():
        if hasattr(module, "noise_strength"):
            nn.init.constant_(module.noise_strength, 0.3)
    z = gan.sample_latent(1).repeat(2, 1)
    with torch.no_grad():
        drawn = {how: drawing(gan, {"noise": how}).generate(z, None) for how in ("const", "random", "none")}
    torch.testing.assert_close(drawn["const"][0], drawn["const"][1])
    torch.testing.assert_close(drawn["none"][0], drawn["none"][1])
    assert not torch.allclose(drawn["random"][0], drawn["random"][1])
    assert not torch.allclose(drawn["const"], drawn["none"])
    assert torch.equal(drawing(gan, {}).generate(z, None), drawn["const"])


def test_images_are_clamped_where_they_are_drawn_and_not_in_training():
    gan = build()
    z, y = gan.sample_latent(16), gan.sample_labels(16)
    with torch.no_grad():
        free = gan.generate(z, y)
        assert free.abs().max() > 1
        assert torch.equal(copy.copy(gan).eval().generate(z, y), free.clamp(-1, 1))


# Parts


def test_the_filters_keep_a_flat_image_flat_within_its_borders():
    x = torch.full((2, 3, 6, 6), 0.7)
    assert low_pass().sum() == 1
    torch.testing.assert_close(upsampled(x, low_pass())[:, :, 1:-1, 1:-1], torch.full((2, 3, 10, 10), 0.7))
    torch.testing.assert_close(filtered(x, low_pass(), 0), torch.full((2, 3, 3, 3), 0.7))


def test_groups_of_samples_are_told_how_much_they_differ():
    layer = MinibatchDeviation(4)
    x = torch.zeros(8, 2, 3, 3)
    x[0::4], x[2::4] = 1.0, -1.0  # Groups are 0 2 4 6 and 1 3 5 7.
    found = layer(x)
    assert torch.equal(found[:, :2], x)
    torch.testing.assert_close(found[0::2, 2], torch.full((4, 3, 3), (1 + 1e-8) ** 0.5))
    torch.testing.assert_close(found[1::2, 2], torch.full((4, 3, 3), 1e-4))
    for n, size in ((6, 3), (7, 1), (2, 2), (1, 1)):
        noise = torch.randn(n, 2, 3, 3)
        groups = noise.view(size, n // size, -1)
        deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean(1).repeat(size)
        torch.testing.assert_close(layer(noise)[:, 2, 0, 0], deviation)


def test_real_and_fake_are_never_in_one_group():
    gan = build(classes=())
    real, fake = batch(gan), gan.fake(batch(gan))
    found = gan.discriminate(real, fake)
    assert torch.equal(found[0], gan.discriminator(real.x))
    assert torch.equal(found[1], gan.discriminator(fake.x))


def test_styles_can_be_mixed_by_hand_in_w_space():
    generator = theirs().generator
    w = generator.mapping(*inputs(), psi=0.7)
    swapped = w.clone()
    swapped[0, 2:] = w[1, 2:]
    x, plain = generator.synthesis(swapped, noise="const"), generator.synthesis(w, noise="const")
    assert torch.equal(x[1:], plain[1:])
    assert not torch.allclose(x[0], plain[0])
