"""R3GAN against numbers of its authors' program, and its schedules against closed forms."""

import copy
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.r3gan import R3GAN, PublishedDiscriminator, PublishedGenerator, Resample, Stage
from torch import Tensor, nn

from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.fields import validated
from ganzoo.ingredients import parse
from ganzoo.optim import Adam, Progress
from ganzoo.plugins import registry
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.building import refuse_giants
from ganzoo.training.capture import Recorded, Snapshot
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer

CPU = Engine(torch.device("cpu"), "fp32")
CLASSES = tuple("abcd")
TINY = {"batch_size": 4, "latent_dim": 6, "widths": (8, 4), "group": 4}
MOVING = {"decay_kimg": 0.02, "lr": 4e-3, "lr_end": 1e-3, "gamma_end": 0.1, "b2": 0.9, "b2_end": 0.99, "ema_kimg": 0.05}
"""All schedules, over the first five steps of four images."""


def build(shape=(3, 8, 8), classes=CLASSES, **options) -> R3GAN:
    seed_everything(0)
    return R3GAN(DataSpec("made-up", shape, 24, classes), R3GAN.Options(**TINY | options)).train()


def train(steps: int = 0, **options) -> Trainer:
    draw = torch.Generator().manual_seed(0)
    data = ImageSet(torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8, generator=draw), torch.arange(16) % 4, CLASSES)
    trainer = Trainer(build(**options), Loader(data, 4, 0, CPU.device), CPU, steps=100)
    for _ in range(steps):
        trainer.advance()
    return trainer


def now(step: int) -> Progress:
    return Progress(step, 0.0, 0.0)


# Equal to the published program


@cache
def published() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "r3gan.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of the authors' networks, as `PublishedGenerator` and `PublishedDiscriminator` take it.

    In theirs `MainLayers.I.Layers.J` are a stage's blocks and what leads into it or, in the discriminator, out of it.
    """
    state = {name.removeprefix("Model."): value for name, value in state.items()}
    generator = "AggregationLayer.Layer.weight" in state
    stages = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("MainLayers."))
    block = {
        "LinearLayer1.Layer.weight": "conv1.weight",
        "LinearLayer2.Layer.weight": "conv2.weight",
        "LinearLayer3.Layer.weight": "conv3.weight",
        "NonLinearity1.Bias": "act1.bias",
        "NonLinearity2.Bias": "act2.bias",
    }
    single = {
        "AggregationLayer.Layer.weight": "image.weight",
        "ExtractionLayer.Layer.weight": "extract.weight",
        "EmbeddingLayer.weight": "embed.weight",
    }
    found = {}
    for name, value in state.items():
        layer = re.fullmatch(r"MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)", name)
        if layer is None:
            found[single[name]] = value
            continue
        i, j, rest = int(layer[1]), int(layer[2]), layer[3]
        if rest in block:
            found[f"stages.{i}.{j - generator}.{block[rest]}"] = value
        elif rest == "LinearLayer.Layer.weight":
            found[f"grow.{i - 1}.mix.weight" if generator else f"shrink.{i}.mix.weight"] = value
        elif rest == "LinearLayer.weight":
            found["weigh.weight" if generator else "read.weight"] = value
        elif rest in ("Basis", "Basis.weight"):
            found["basis" if generator else "basis.weight"] = value
        elif rest != "Resampler.Kernel":
            raise KeyError(name)
    assert stages == len({name.split(".")[1] for name in found if name.startswith("stages.")})
    return found


@cache
def theirs() -> R3GAN:
    """Our networks with the weights of theirs."""
    gan = build((3, 16, 16), latent_dim=16, widths=(32, 32, 16), cardinality=(2, 2, 1), embedding=8)
    for mine, prefix in ((gan.generator, "G/"), (gan.discriminator, "D/")):
        state = {name.removeprefix(prefix): v for name, v in published().items() if name.startswith(prefix)}
        mine.load_state_dict(from_published(state))
    return gan.requires_grad_(False)


def same(found: Tensor, name: str):
    torch.testing.assert_close(found, published()[name], atol=1e-4, rtol=0)


def test_images_are_those_of_the_authors_program():
    classes = published()["c"].argmax(1)
    same(theirs().generator(published()["z"], classes), "img")
    assert torch.equal(
        theirs().generator(published()["z"], published()["c"]), theirs().generator(published()["z"], classes)
    )


def test_logits_and_r1_are_those_of_the_authors_program():
    x = published()["x"].clone().requires_grad_()
    logits = theirs().discriminator(x, published()["c"].argmax(1))
    same(logits.detach().squeeze(1), "logits_real")
    same(theirs().discriminator(published()["img"], published()["c"]).squeeze(1), "logits_fake")
    (slope,) = torch.autograd.grad(logits.sum(), x)
    squares = slope.square().sum((1, 2, 3))
    torch.testing.assert_close(squares, published()["r1_per_sample"], atol=1e-6, rtol=1e-4)


def test_the_losses_are_those_of_the_authors_program():
    """RpGAN, R1 and R2 from their logits and penalties: softplus of the margin, gamma / 2 of the squared slope."""
    gan, y = theirs(), published()["c"].argmax(1)
    real, fake = Batch(published()["x"], y), Batch(published()["img"], y, published()["z"])
    terms = gan.discriminator_loss(real, fake)
    margin = published()["logits_real"] - published()["logits_fake"]
    torch.testing.assert_close(terms["relativistic"], nn.functional.softplus(-margin).mean())
    torch.testing.assert_close(terms["r1"], published()["r1_per_sample"].mean() / 2, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(gan.generator_loss(real, fake)["relativistic"], nn.functional.softplus(margin).mean())


def test_blocks_and_expansion_may_differ_as_in_the_authors_networks():
    data = DataSpec("plain", (3, 8, 8), 24)
    stages = [Stage(6, 3, 2), Stage(4, 1, 1)]
    generator, critic = PublishedGenerator(data, 5, stages, expansion=3), PublishedDiscriminator(data, stages[::-1])
    assert [len(stage) for stage in generator.stages] == [2, 1]
    assert generator.stages[0][0].conv2.weight.shape == (18, 6, 3, 3)
    assert critic(generator(torch.randn(2, 5))).shape == (2, 1)


@pytest.mark.parametrize("preset", R3GAN.presets)
def test_presets_are_the_published_configurations(preset: str):
    plan = resolve(R3GAN, {}, preset)
    side = plan.settings.image_size
    gan = refuse_giants(R3GAN, DataSpec("made-up", (3, side, side), 24, CLASSES), plan.options)
    widest = 1536 if preset.startswith("imagenet") else 768
    assert [stage[0].conv2.groups for stage in gan.generator.stages][:4] == [96] * 4
    assert gan.generator.stages[-1][0].conv2.groups == 96 * plan.options.widths[-1] // widest
    assert [len(stage) for stage in gan.discriminator.stages] == [2] * (side.bit_length() - 2)
    assert gan.generator.embed.weight.shape == (64, 4)
    assert gan.discriminator.embed.weight.shape == (widest, 4)
    name, options = parse(plan.settings.augment[0])
    ada = validated(registry().get("augmentations", name).Options, options)
    assert (ada.ramp, ada.cutout, ada.hue, ada.xflip) == (plan.options.decay_kimg, 1, 0.5, 1)


# The schedules


def test_each_schedule_is_half_a_cosine_over_images_that_the_discriminator_moves_on():
    gan = build(decay_kimg=8.0, lr=4e-3, lr_end=1e-3, b2=0.9, b2_end=0.99, ema_kimg=5.0, batch_size=10, n_critic=2)
    rule, decay = gan.optimizer("generator"), gan.average_decay()
    for step, share in ((0, 0.0), (100, 0.25), (200, 0.5), (400, 1.0), (900, 1.0)):
        gone = (1 - math.cos(math.pi * share)) / 2
        settings = rule.settings(now(step))
        assert settings["lr"] == pytest.approx(4e-3 - 3e-3 * gone)
        assert settings["b2"] == pytest.approx(0.9 + 0.09 * gone)
        assert decay(now(step)) == pytest.approx(0.5 ** (20 / max(5000 * gone, 1e-8)))
    assert rule.b1 == 0


def test_gamma_follows_the_clock():
    gan = build(decay_kimg=8.0, gamma=2.0, gamma_end=0.2, batch_size=10)
    for step, expected in ((0, 2.0), (400, 1.1), (800, 0.2), (5000, 0.2)):
        gan.clock.step.fill_(step)
        assert gan.gamma().item() == pytest.approx(expected)


def test_without_decay_kimg_nothing_moves():
    gan = build(ema_kimg=5.0)
    assert gan.optimizer("generator") == Adam(2e-3, 0.0, 0.99)
    assert (gan.average_decay(), gan.gamma()) == (None, 1.0)


def test_without_decay_kimg_the_rate_falls_where_lr_hold_says_so_and_with_it_by_it_alone():
    def rate(fraction: float, **options: object) -> float:
        return build(**options).optimizer("generator").settings(now(0)._replace(fraction=fraction))["lr"]

    assert [rate(share, lr_hold=0.5) for share in (0.0, 0.5, 0.75, 1.0)] == pytest.approx([2e-3, 2e-3, 1e-3, 0.0])
    assert rate(0.75, lr_hold=0.5, decay_kimg=8.0, lr_end=1e-3) == 2e-3


def test_a_trainer_follows_the_schedules():
    trainer = train(**MOVING)
    gan, seen, gammas = trainer.gan, [], []
    for step in range(7):
        seen.append(dict(trainer.settings()["discriminator"], weight=trainer.settings()["ema"]["weight"]))
        trainer.advance()
        gammas.append(gan.gamma().item())
        assert int(gan.clock.step) == step
    assert seen[0] == {"lr": 4e-3, "b2": 0.9, "weight": 1.0}
    assert seen[5] == seen[6] == pytest.approx({"lr": 1e-3, "b2": 0.99, "weight": 1 - 0.5 ** (4 / 50)})
    assert gammas[0] == 1
    assert gammas[5] == pytest.approx(0.1)
    halves = [entry["lr"] for entry in seen]
    assert halves == sorted(halves, reverse=True)


def everything(trainer: Trainer) -> dict[str, Tensor]:
    optimizers = {
        f"{name} {i} {key}": value
        for name, optimizer in trainer.optimizers.items()
        for i, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    return {**trainer.gan.state_dict(), **trainer.ema.module.state_dict(prefix="average."), **optimizers}


def equal(one: Trainer, two: Trainer) -> bool:
    mine, yours = everything(one), everything(two)
    return mine.keys() == yours.keys() and all(torch.equal(mine[k], yours[k]) for k in mine)


def test_recorded_steps_follow_the_schedules_bit_for_bit():
    plain, recorded = train(**MOVING), train(**MOVING)
    before = Snapshot(recorded)
    recorded.recorded = Recorded(recorded, on_tape, sizes=(3, 1))
    before.restore()
    recorded.feed(None)
    seed_everything(1)
    for _ in range(7):
        plain.advance()
    seed_everything(1)
    while recorded.step < 7:
        recorded.advance(7 - recorded.step)
    assert equal(plain, recorded)


def test_resumed_steps_follow_the_schedules_bit_for_bit():
    straight, state = train(7, **MOVING), copy.deepcopy(train(3, **MOVING).state_dict())
    second = train(**MOVING)
    second.load_state_dict(state)
    for _ in range(4):
        second.advance()
    assert equal(straight, second)


# What is its own


def test_each_player_moves_on_images_of_its_own_as_the_authors_program_has_it():
    assert [turn.fresh for turn in build().turns()] == [False, True]
    assert [turn.fresh for turn in build(widths=None).turns()] == [False, False]


def test_a_linear_discriminator_is_penalised_by_the_square_of_its_slope():
    gan = build(classes=(), gamma=3.0)
    slope = torch.randn(3, 8, 8)
    gan.judge = lambda batch: (batch.x * slope).sum((1, 2, 3)).unsqueeze(1)
    real, fake = Batch(torch.randn(4, 3, 8, 8)), Batch(torch.randn(4, 3, 8, 8), None, torch.zeros(4, 6))
    terms = gan.discriminator_loss(real, fake)
    torch.testing.assert_close(terms["r1"], 1.5 * slope.square().sum())
    torch.testing.assert_close(terms["r2"], 1.5 * slope.square().sum())
    margin = ((real.x - fake.x) * slope).sum((1, 2, 3))
    torch.testing.assert_close(terms["relativistic"], (1 + (-margin).exp()).log().mean())


def test_resampling_keeps_a_flat_image_flat_within_its_borders():
    x = torch.full((2, 3, 6, 6), 0.7)
    up, down = Resample(3, 3, up=True), Resample(3, 3, up=False)
    torch.testing.assert_close(up(x)[:, :, 1:-1, 1:-1], torch.full((2, 3, 10, 10), 0.7))
    torch.testing.assert_close(down(x)[:, :, 1:-1, 1:-1], torch.full((2, 3, 1, 1), 0.7))
    assert Resample(3, 5, up=True)(x).shape == (2, 5, 12, 12)
    assert Resample(3, 5, up=False)(x).shape == (2, 5, 3, 3)


def test_published_blocks_start_as_the_identity_and_keep_the_deviation():
    gan = build()
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(gan.generator.stages[0](x), x)
    assert not [m for m in gan.modules() if "Norm" in type(m).__name__]


def test_images_are_clamped_where_they_are_drawn_and_not_in_training():
    gan = build()
    z, y = gan.sample_latent(64), gan.sample_labels(64)
    with torch.no_grad():
        free = gan.generate(z, y)
        assert free.abs().max() > 1
        assert torch.equal(gan.eval().generate(z, y), free.clamp(-1, 1))


@pytest.mark.parametrize(
    "data",
    [
        DataSpec("colour", (3, 8, 8), 24, CLASSES, counts=(12, 6, 4, 2)),
        DataSpec("tags", (1, 8, 8), 24, ("a", "b"), (Attribute("tilt"),)),
        DataSpec("unlabelled", (3, 8, 8), 24),
    ],
    ids=lambda data: data.name,
)
def test_the_published_backbone_keeps_the_rules_of_the_contract(data: DataSpec):
    check_gan(R3GAN, data, {**TINY, **MOVING})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8, 8, 8)}, r"3 stages, which make images of 16 x 16, and those of 'made-up' are 8 x 8"),
        ({"cardinality": (2,)}, r"--cardinality has 1 numbers and --widths 2"),
        ({"cardinality": (3, 2)}, r"--cardinality 3 does not divide the 16 channels"),
        ({"lr_end": 0.1}, r"--lr-end says where to, and not when: give --decay-kimg"),
        ({"b2_end": 0.1, "widths": None}, r"--b2-end says where to"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused_by_one_line(options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        build(**options)
