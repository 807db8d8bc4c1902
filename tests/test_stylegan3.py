"""StyleGAN3: equal to the authors' program in numbers, alias-free as it claims, and its phases, state and drawing."""

import copy
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.stylegan3 import (
    Band,
    StyleGAN3,
    bands,
    blurred,
    from_published,
    kaiser_beta,
    lowered,
    lowpass,
    raised,
    round_lowpass,
)
from torch import Tensor

from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.optim import Adam
from ganzoo.sampling import drawing
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer

CPU = Engine(torch.device("cpu"), "fp32")
DATA = Path(__file__).parent / "data"
CLASSES = tuple("abc")
TINY = {
    "batch_size": 4, "latent_dim": 6, "channel_base": 64, "channel_max": 8, "layers": 4, "margin": 2,
}  # fmt: skip
CONFIGURATIONS = {"t": "translation", "r": "rotation"}


def build(shape=(3, 8, 8), classes=CLASSES, **options) -> StyleGAN3:
    seed_everything(0)
    return StyleGAN3(DataSpec("made-up", shape, 24, classes), StyleGAN3.Options(**TINY | options)).train()


def batch(gan: StyleGAN3, n: int = 4) -> Batch:
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1, gan.sample_labels(n))


# Equal to the published program


@cache
def published() -> dict[str, np.ndarray]:
    with np.load(DATA / "stylegan3_32px.npz") as file:
        return {name: file[name] for name in file}


def made(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers from -1 to 1 that look random and follow from a formula, so that no file need hold them."""
    places = np.arange(int(np.prod(shape)), dtype=np.float64)
    values = np.sin(places * 12.9898 + sum(name.encode())) * 43758.5453
    return torch.from_numpy(2 * (values - np.floor(values)) - 1).float().reshape(shape)


def given(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of that name in the network whose numbers are in the file."""
    x = made(name, shape)
    if name.startswith("mapping.fc") and name.endswith("weight"):
        return 100 * x
    if name.endswith("input.affine.bias"):
        return torch.tensor([1.0, 0, 0, 0]) + 0.3 * x
    if name.endswith("magnitude_ema"):
        return 1 + x.abs()
    return {"freqs": 2.0, "phases": 0.5}.get(name.rpartition(".")[2], 10.0 if "L14_32_3.weight" in name else 1.0) * x


def theirs(configuration: str) -> StyleGAN3:
    """Our networks with the weights of theirs."""
    gan = build(
        (3, 32, 32), latent_dim=8, style_dim=10, channel_base=512, channel_max=16, layers=14, margin=10, batch_size=32,
        equivariance=CONFIGURATIONS[configuration],
    )  # fmt: skip
    own = gan.generator.state_dict()
    assert sorted(own) == list(published()[f"{configuration}/names"])
    gan.generator.load_state_dict({name: given(name, tuple(value.shape)) for name, value in own.items()})
    return gan.eval()


Z, Y = made("z", (2, 8)), torch.tensor([2, 0])


def same(found: Tensor, name: str):
    torch.testing.assert_close(found.detach(), torch.from_numpy(published()[name]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_images_and_gradients_are_those_of_the_authors_program(configuration: str):
    generator = theirs(configuration).generator
    images = generator(Z, Y)
    same(images, f"{configuration}/img")
    (images * made("direction", tuple(images.shape))).sum().backward()
    wanted = dict(
        zip(*(published()[f"{configuration}/{name}"] for name in ("parameters", "gradient_norms")), strict=True)
    )
    found = {name: p.grad.norm().item() for name, p in generator.named_parameters()}
    assert found == pytest.approx({str(name): float(norm) for name, norm in wanted.items()}, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@torch.no_grad()
def test_images_are_moved_turned_and_truncated_as_by_the_authors_program(configuration: str):
    gan = theirs(configuration)
    options = {"truncation": 0.5, "translate_x": 0.2, "translate_y": -0.1, "rotate": 25}
    found = drawing(gan, options).generate(Z, Y)[:, :, ::2, ::2]
    same(found, f"{configuration}/img_moved_psi05")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@torch.no_grad()
def test_magnitudes_and_the_mean_of_w_are_tracked_as_by_the_authors_program(configuration: str):
    gan = theirs(configuration).train()
    gan.sample_latent, gan.fake_labels = lambda n: Z, lambda real: Y
    images = gan.fake(Batch(torch.zeros(2, 3, 32, 32))).x
    same(images[:, :, ::2, ::2], f"{configuration}/img_tracked")
    state = gan.generator.state_dict()
    same(state["mapping.w_avg"], f"{configuration}/w_avg")
    same(torch.stack([v for name, v in state.items() if name.endswith("magnitude_ema")]), f"{configuration}/magnitudes")


@pytest.mark.parametrize("sigma", [10.0, 3.7, 0.4, 0.3])
def test_the_blur_is_that_of_the_authors_program(sigma: float):
    found = blurred(made("x", (1, 3, 32, 32)), torch.tensor(sigma), 10.0)
    same(found[:, :, ::2, ::2], f"blur@{sigma}")


@pytest.mark.parametrize(("preset", "parameters"), [("t", 23_320_443), ("r", 15_779_565)])
def test_published_configurations_have_as_many_parameters_as_in_the_authors_program(preset: str, parameters: int):
    plan = resolve(StyleGAN3, {}, preset)
    with torch.device("meta"):
        gan = StyleGAN3(DataSpec("faces", (3, 256, 256), 24), plan.options)
    counts = {name: sum(p.numel() for p in player.parameters()) for name, player in gan.players().items()}
    assert counts == {"generator": parameters, "discriminator": 24_001_089}
    assert (gan.gamma, gan.blur, gan.blur_kimg) == (1.0, 10.0 if preset == "r" else 0.0, 400)


@pytest.mark.parametrize(
    ("channel_base", "channel_max", "names"),
    [
        (
            32768, 512,
            "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_148_512 L6_148_512 L7_276_323 L8_276_203 L9_532_128 "
            "L10_1044_81 L11_1044_51 L12_1044_32 L13_1024_32 L14_1024_3",
        ),
        (
            65536, 1024,
            "L0_36_1024 L1_36_1024 L2_52_1024 L3_52_1024 L4_84_1024 L5_148_1024 L6_148_1024 L7_276_645 L8_276_406 "
            "L9_532_256 L10_1044_161 L11_1044_102 L12_1044_64 L13_1024_64 L14_1024_3",
        ),
    ],
)  # fmt: skip
def test_layers_are_those_of_the_published_networks(channel_base: int, channel_max: int, names: str):
    signals = bands(1024, 3, channel_base, channel_max, layers=14, critical=2, margin=10)
    assert [f"L{i}_{band.size}_{band.channels}" for i, band in enumerate(signals)] == names.split()
    assert (signals[0].cutoff, signals[-1].cutoff) == (2, 512)


# Signals


def test_a_wave_below_the_cutoff_passes_a_filter_and_one_above_the_stopband_does_not():
    band = Band(1, 64, 64, 8.0, 8.0)
    for f in (lowpass(12, band, 64), round_lowpass(12, band, 64).sum(0)):
        assert f.sum().item() == pytest.approx(1, abs=1e-5)
        places = torch.arange(12) - 5.5
        response = [(f * torch.cos(2 * math.pi * cycles * places / 64)).sum().item() for cycles in (0, 2, 24, 30)]
        assert response[:2] == pytest.approx([1, 1], abs=0.05)
        assert response[2:] == pytest.approx([0, 0], abs=0.05)


def test_windows_are_kaisers():
    from scipy.signal import firwin, kaiser_atten
    from scipy.signal import kaiser_beta as beta

    for taps, width in ((12, 0.1), (12, 0.5), (24, 0.3), (48, 0.9)):
        assert kaiser_beta(taps, width) == pytest.approx(float(beta(kaiser_atten(taps, width))))
    wanted = firwin(24, cutoff=3.0, width=2 * 2.5, fs=64)
    torch.testing.assert_close(
        lowpass(24, Band(1, 1, 1, 3.0, 2.5), 64).double(), torch.from_numpy(wanted), atol=1e-6, rtol=0
    )


def test_raising_and_lowering_again_leaves_a_smooth_signal_as_it_was():
    places = torch.arange(40.0)
    wave = torch.cos(2 * math.pi * places / 20)
    x = (wave[:, None] * wave).expand(1, 2, 40, 40)
    f = lowpass(12, Band(1, 40, 40, 12.0, 8.0), 80)
    fine = raised(x, f, 2, 0)
    assert fine.shape == (1, 2, 90, 90)
    again = lowered(fine, f, 2)
    torch.testing.assert_close(again[:, :, 5:-5, 5:-5], x[:, :, 5:-5, 5:-5], atol=0.02, rtol=0)


@torch.no_grad()
def test_an_image_that_is_moved_by_whole_pixels_is_the_image_moved():
    gan = build((3, 32, 32), layers=6, margin=10, channel_max=16).eval()
    z, y = gan.sample_latent(2), gan.sample_labels(2)
    plain = drawing(gan, {}).generate(z, y)
    right = drawing(gan, {"translate_x": 4 / 32}).generate(z, y)
    down = drawing(gan, {"translate_y": 4 / 32}).generate(z, y)
    inner = slice(8, -8)
    for moved, there in ((right[:, :, inner, 12:-4], plain), (down[:, :, 12:-4, inner], plain)):
        error = (moved - there[:, :, inner, inner]).square().mean()
        assert error < 1e-3 * plain.var()


@torch.no_grad()
def test_an_image_of_the_rotation_configuration_turns_counterclockwise():
    gan = build((3, 32, 32), layers=6, margin=10, channel_max=16, equivariance="rotation").eval()
    z, y = gan.sample_latent(2), gan.sample_labels(2)
    plain, turned = (drawing(gan, {"rotate": degrees}).generate(z, y) for degrees in (0, 90))
    inner = slice(8, -8)
    error = (turned - plain.rot90(1, (2, 3)))[:, :, inner, inner].square().mean()
    assert error < 1e-3 * plain.var()


# The contract


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (DataSpec("colour", (3, 8, 8), 24, CLASSES, counts=(12, 8, 4)), {}),
        (DataSpec("tags", (1, 8, 8), 24, ("a", "b"), (Attribute("tilt"),)), {"equivariance": "rotation"}),
        (DataSpec("unlabelled", (3, 8, 8), 24), {"gamma": 0.0, "style_dim": 5}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_keeps_the_rules_of_the_contract(data: DataSpec, options: dict):
    verdicts = check_gan(StyleGAN3, data, TINY | options)
    skipped = {v.rule for v in verdicts if v.status == "skipped"}
    assert skipped == {"halves", "pictures", "source"} | ({"condition"} if not data.conditional else set())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (3, 4, 4), (3, 32, 64), (2,)], ids=str)
def test_other_sizes_than_powers_of_two_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"powers of two.*--image-size 32"):
        build(shape, classes=())


def test_more_critical_layers_than_there_are_layers_are_refused():
    with pytest.raises(UsageError, match="--critical 4: there must be fewer than --layers 4"):
        build(critical=4)


@pytest.mark.parametrize("preset", StyleGAN3.presets)
def test_presets_build(preset: str):
    plan = resolve(StyleGAN3, {}, preset)
    side = plan.settings.image_size
    with torch.device("meta"):
        gan = StyleGAN3(DataSpec("made-up", (3, side, side), 24, CLASSES), plan.options)
    assert gan.generator.synthesis.layers == plan.options.layers + 2
    kernels = {layer.kernel for name, layer in gan.generator.synthesis.named_children() if name.startswith("L")}
    assert kernels == ({1} if plan.options.equivariance == "rotation" else {1, 3})


# The step


def test_r1_is_lazy_and_the_discriminators_rate_is_scaled_for_it():
    gan = build(lr=0.01, lr_generator=0.02, b1=0.5)
    assert [(turn.name, turn.player, turn.every) for turn in gan.turns()] == [
        ("generator", "generator", 1),
        ("discriminator", "discriminator", 1),
        ("r1", "discriminator", 16),
    ]
    assert gan.optimizer("generator") == Adam(0.02, 0.5, 0.99)
    assert gan.optimizer("discriminator") == Adam(0.01 * 16 / 17, 0.5 ** (16 / 17), 0.99 ** (16 / 17))
    assert [turn.name for turn in build(gamma=0.0).turns()] == ["generator", "discriminator"]
    assert build((3, 16, 16), batch_size=32).gamma == pytest.approx(2 * (16 / 256) ** 2)


def test_r1_is_half_gamma_times_the_squared_slope_at_real_images_as_often_as_it_is_rare():
    gan = build(gamma=3.0)
    real = batch(gan)
    x = real.x.requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(x, real.y).sum(), x)
    expected = 16 * 1.5 * slope.square().sum((1, 2, 3)).mean()
    assert gan.r1_loss(real, gan.fake(real))["penalty"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_tracked_follows_the_generators_fakes_and_is_copied_into_the_average():
    data = ImageSet(torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8), torch.arange(16) % 3, CLASSES)
    trainer = Trainer(build(), Loader(data, 4, 0, CPU.device), CPU, steps=100)
    gan = trainer.gan

    def tracked(module) -> dict[str, Tensor]:
        return {k: v.clone() for k, v in module.state_dict().items() if k.endswith(("magnitude_ema", "w_avg"))}

    before, real = tracked(gan.generator), batch(gan)
    assert len(before) == 6
    fake = gan.fake(real)
    w = gan.generator.mapping(fake.z, fake.y)[:, 0]
    torch.testing.assert_close(gan.generator.mapping.w_avg, 0.002 * w.mean(0).detach())
    after = tracked(gan.generator)
    assert not any(torch.equal(value, before[name]) for name, value in after.items())
    gan.discriminator_loss(real, fake)
    gan.eval()
    gan.fake(real)
    gan.generate(fake.z, fake.y)
    gan.train()
    assert all(torch.equal(value, after[name]) for name, value in tracked(gan.generator).items())
    trainer.advance()
    assert not any(torch.equal(value, after[name]) for name, value in tracked(gan.generator).items())
    now = tracked(gan.generator)
    assert all(torch.equal(value, now[name]) for name, value in tracked(trainer.ema.module).items())


def test_a_resumed_run_takes_the_same_steps():
    def train(steps: int) -> Trainer:
        data = ImageSet(
            torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
            torch.arange(16) % 3,
            CLASSES,
        )
        gan = build(equivariance="rotation", blur_kimg=0.05)
        trainer = Trainer(gan, Loader(data, 4, 0, CPU.device), CPU, steps=100)
        for _ in range(steps):
            trainer.advance()
        return trainer

    first = train(3)
    state = copy.deepcopy(first.state_dict())
    expected = [first.advance() for _ in range(2)]
    second = train(0)
    second.load_state_dict(state)
    assert [{k: v.item() for k, v in second.advance().items()} for _ in range(2)] == [
        {k: v.item() for k, v in values.items()} for values in expected
    ]
    ours, others = second.gan.state_dict(), first.gan.state_dict()
    assert all(torch.equal(ours[k], others[k]) for k in others)


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


def test_what_the_discriminator_sees_is_blurred_until_so_many_images_were_seen():
    gan = build(blur=2.0, blur_kimg=1.0)
    seen = batch(gan)
    for images, sigma in ((0, 2.0), (500, 1.0), (900, 0.2), (1000, 0.0), (5000, 0.0)):
        gan.clock.images.fill_(images)
        found = gan.augmented(seen).x
        torch.testing.assert_close(found, blurred(seen.x, torch.tensor(sigma), 2.0))
        assert torch.equal(found, seen.x) == (sigma < 1 / 3)
    assert build().augmented(seen).x is seen.x


# Drawing


@torch.no_grad()
def test_truncation_draws_towards_the_mean_of_w():
    gan = build().eval()
    gan.generator.mapping.w_avg.normal_()
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    mean = drawing(gan, {"truncation": 0}).generate(z, y)
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))
    ws = gan.generator.mapping(z, y)
    half = gan.generator.synthesis((gan.generator.mapping.w_avg + ws) / 2).clamp(-1, 1)
    torch.testing.assert_close(drawing(gan, {"truncation": 0.5}).generate(z, y), half)


@torch.no_grad()
def test_a_sample_does_not_depend_on_those_beside_it():
    gan = build().eval()
    z, y = gan.sample_latent(3), gan.sample_labels(3)
    torch.testing.assert_close(gan.generate(z, y)[:1], gan.generate(z[:1], y[:1]))


def test_what_is_published_and_not_ours_is_left_out():
    names = ["synthesis.input.transform", "synthesis.L0_36_16.up_filter", "mapping.w_avg", "b8.conv1.resample_filter"]
    assert list(from_published(dict.fromkeys(names, torch.zeros(1)))) == ["mapping.w_avg"]
