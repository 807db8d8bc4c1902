"""FastGAN against numbers of its authors' program, its parts against formulas, and the contract at small sizes."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.diffaugment import DiffAugment
from ganzoo_plugins.fastgan import (
    Excitation,
    FastGAN,
    NoiseLayer,
    Verdict,
    distance,
    excited_by,
    has_noise,
    quarter,
    resized,
    width_for,
)
from torch import Tensor, nn

from ganzoo.data import Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.ingredients import Augmentation, IngredientOptions
from ganzoo.sampling import drawing
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.building import refuse_giants
from ganzoo.training.capture import Recorded, Snapshot
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer

CPU = Engine(torch.device("cpu"), "fp32")
TINY = {"batch_size": 4, "latent_dim": 6, "width": 2}


def build(side: int = 32, colours: int = 3, **options) -> FastGAN:
    seed_everything(0)
    return FastGAN(DataSpec("made-up", (colours, side, side), 24), FastGAN.Options(**TINY | options)).train()


def batch(gan: FastGAN, n: int = 4) -> Batch:
    return Batch(torch.rand(n, *gan.data.shape) * 2 - 1)


# Equal to the published program

SIDE, WIDTH, LATENT = 256, 4, 8


def made(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers from -1 to 1 that look random and follow from a formula, so that no file need hold them."""
    places = np.arange(int(np.prod(shape)), dtype=np.float64)
    values = np.sin(places * 12.9898 + sum(name.encode())) * 43758.5453
    return torch.from_numpy(2 * (values - np.floor(values)) - 1).float().reshape(shape)


def made_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state of the authors' networks: weights as `made` has them, u and v by power iterations, no noise."""
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight_orig":
            w = state[name] = made(name, shape)
            matrix = (w.transpose(0, 1) if layer == "init.init.0" else w).flatten(1)
            u = torch.ones(len(matrix))
            for _ in range(30):
                v = F.normalize(matrix.t() @ u, dim=0)
                u = F.normalize(matrix @ v, dim=0)
            state[f"{layer}.weight_u"], state[f"{layer}.weight_v"] = u, v
        elif kind == "num_batches_tracked":
            state[name] = torch.tensor(0)
        elif kind == "running_var":
            state[name] = 0.1 + made(name, shape).abs() / 10
        elif kind == "weight" and shape == (1,):
            state[name] = torch.zeros(1)
        elif kind not in ("weight_u", "weight_v"):
            state[name] = made(name, shape) / 10 + (kind == "weight")
    return state


@cache
def published() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "fastgan_256px.npz") as file:
        return dict(file)


def theirs(name: str) -> dict[str, Tensor]:
    """The state of their generator, G, or discriminator, D, by our names."""
    shapes = {
        str(n): tuple(int(k) for k in shape if k)
        for n, shape in zip(published()[f"{name} names"], published()[f"{name} shapes"], strict=True)
    }
    return made_state(shapes)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of the authors' networks, as `Generator` and `Discriminator` take it: `g` and `d` of their files."""
    tensors = {"weight_orig": "parametrizations.weight.original"} | {
        f"weight_{letter}": f"parametrizations.weight.0._{letter}" for letter in "uv"
    }
    found = {}
    for name, value in state.items():
        layer, _, tensor = name.rpartition(".")
        found[f"{_ours(layer)}.{tensors.get(tensor, tensor)}"] = value
    return found


def _ours(layer: str) -> str:
    """What a layer of the authors' is called here: theirs are numbered within their blocks."""
    names = {"init.init.0": "project", "init.init.1": "norm", "to_128": "to_small", "to_big": "to_image"}
    names |= {"down_from_big.0": "stem.0.0", "down_from_big.2": "stem.1.0", "down_from_big.3": "stem.1.1"}
    names |= {"rf_small": "small_head", "down_from_small.0": "small.0.0"}
    if layer in names:
        return names[layer]
    block, number = layer.rsplit(".", 1)
    single = {"1": "first.conv", "2": "first.norm"}
    double = {"1": "first.conv", "2": "first.noise", "3": "first.norm"}
    double |= {"5": "second.conv", "6": "second.noise", "7": "second.norm"}
    exciting = {"1": "squeeze", "3": "weigh"}
    if found := re.fullmatch(r"feat_(\d+)", block):
        side = int(found[1])
        return f"grow.{side}.{(double if has_noise(side) else single)[number]}"
    if found := re.fullmatch(r"se_(\d+)\.main", block):
        return f"excite.{found[1]}.{exciting[number]}"
    if found := re.fullmatch(r"se_(\d+)_\d+\.main", block):  # 2, 4 and 8.
        return f"excite.{int(found[1]).bit_length() - 2}.{exciting[number]}"
    if found := re.fullmatch(r"down_(\d+)\.main", block):  # 4 to 64.
        inside = {"0": "down.0", "1": "down.1", "3": "conv", "4": "norm"}
        return f"shrink.{int(found[1]).bit_length() - 3}.{inside[number]}"
    if found := re.fullmatch(r"down_(\d+)\.direct", block):
        return f"shrink.{int(found[1]).bit_length() - 3}.{ {'1': 'direct', '2': 'direct_norm'}[number] }"
    if found := re.fullmatch(r"down_from_small\.(\d)\.main", block):
        return f"small.{int(found[1]) - 1}.{number}"
    if block == "rf_big":
        return f"head.{number}"
    if found := re.fullmatch(r"decoder_(big|part|small)\.main(?:\.(\d))?", block):
        decoder = {"big": "decode_whole", "part": "decode_part", "small": "decode_small"}[found[1]]
        return f"{decoder}.image" if found[2] is None else f"{decoder}.grow.{int(found[2]) - 1}.{single[number]}"
    raise KeyError(layer)


@cache
def ours() -> FastGAN:
    """Our networks with the weights of theirs."""
    gan = build(SIDE, width=WIDTH, latent_dim=LATENT).eval()
    gan.generator.load_state_dict(from_published(theirs("G")))
    gan.discriminator.load_state_dict(from_published(theirs("D")))
    return gan


def same(found: Tensor, name: str):
    torch.testing.assert_close(found.detach(), torch.from_numpy(published()[name]), atol=1e-4, rtol=1e-4)


def norms(network: nn.Module, loss: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Of the gradients of all weights but noise's, in the order of their names there."""
    names = sorted(n for n, v in state.items() if n.rpartition(".")[2] in ("weight_orig", "weight", "bias"))
    places = dict(network.named_parameters())
    weights = [places[next(iter(from_published({n: state[n]})))] for n in names if state[n].shape != (1,)]
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, weights)])


def test_images_and_what_is_said_of_them_are_those_of_the_authors_program():
    gan = ours()
    x, small = gan.generator(made("z", (2, LATENT)), noise=True)
    same(x[:, :, 3::16, 5::16], "img")
    same(small[:, :, 3::16, 5::16], "small")
    logits = gan.discriminator(x, small).logits
    same(logits, "logits_fake")
    same(norms(gan.generator, -logits.mean(), theirs("G")), "G norms")


def test_real_images_are_judged_and_decoded_as_by_the_authors_program():
    gan = ours()
    seen = gan.judge(Batch(made("x", (2, 3, SIDE, SIDE))))
    same(seen.logits, "logits_real")
    decoded = gan.discriminator.decoded(seen, torch.from_numpy(published()["part"]).view(1))
    for name, images in zip(("whole", "small", "part"), decoded, strict=True):
        same(images[:, :, 3::16, 5::16], f"decoded {name}")
    loss = F.relu(1 - seen.logits).mean() + torch.stack([images.square().mean() for images in decoded]).sum()
    same(norms(gan.discriminator, loss, theirs("D")), "D norms")


@pytest.mark.parametrize(
    ("preset", "discriminator", "generator"),
    [("paper", 11_526_160, 29_127_846), ("paper1024", 11_528_192, 29_176_512)],
)
def test_presets_have_as_many_parameters_as_the_authors_networks(preset: str, discriminator: int, generator: int):
    plan = resolve(FastGAN, {}, preset)
    side = plan.settings.image_size
    gan = refuse_giants(FastGAN, DataSpec("made-up", (3, side, side), 24), plan.options)
    counts = {name: sum(p.numel() for p in player.parameters()) for name, player in gan.players().items()}
    assert counts == {"discriminator": discriminator, "generator": generator}
    assert plan.settings.mirror
    assert plan.settings.augment == ("diffaugment:cutout=false",)


# Its parts


def test_skip_layer_excitation_is_its_formula():
    layer, small, large = Excitation(3, 5).eval(), torch.randn(2, 3, 8, 8), torch.randn(2, 5, 32, 32)
    means = small.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    first = torch.einsum("nchw,ochw->no", means, layer.squeeze.weight)
    weights = torch.sigmoid((first * torch.sigmoid(first)) @ layer.weigh.weight[:, :, 0, 0].t())
    torch.testing.assert_close(layer(small, large), large * weights[:, :, None, None])


def test_maps_are_excited_by_those_a_sixteenth_as_large_as_published():
    assert excited_by(1024) == excited_by(512) == {64: 4, 128: 8, 256: 16, 512: 32}
    assert excited_by(256) == {64: 4, 128: 8, 256: 16}
    assert excited_by(64) == {64: 4}
    assert excited_by(32) == {32: 4}
    assert [side for side in (8, 16, 32, 64, 128, 256, 512, 1024) if has_noise(side)] == [8, 32, 128, 512]


def test_noise_is_the_same_in_all_channels_and_weighted_by_a_number():
    layer, x = NoiseLayer(), torch.randn(3, 4, 5, 5)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.weight, 0.3)
    seed_everything(1)
    added = layer(x) - x
    seed_everything(1)
    torch.testing.assert_close(added, (0.3 * torch.randn(3, 1, 5, 5)).expand(3, 4, 5, 5))


@pytest.mark.parametrize(("part", "rows", "columns"), [(0, 0, 0), (1, 0, 3), (2, 2, 0), (3, 2, 3)])
def test_quarters_are_counted_from_left_to_right_and_down(part: int, rows: int, columns: int):
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(quarter(x, torch.tensor([part])), x[:, :, rows : rows + 2, columns : columns + 3])


def test_images_are_compared_at_every_size_down_to_eight():
    a, b = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    halves = [F.adaptive_avg_pool2d(a - b, side).abs().mean() for side in (32, 16, 8)]
    torch.testing.assert_close(distance(a, b), torch.stack(halves).mean())
    assert distance(a, a) == 0
    # What is wrong everywhere counts in full, and what averages out only where it can be seen.
    board = (-1.0) ** torch.arange(32)
    checkers = (board[:, None] * board).expand(1, 1, 32, 32)
    zero = torch.zeros_like(checkers)
    assert distance(zero + 1, zero) == 1
    assert distance(checkers, zero) == pytest.approx(1 / 3)


# The losses


def test_the_hinge_has_its_borders_drawn_from_four_fifths_to_one():
    gan = build(reconstruction=0.0)
    real, fake = batch(gan), Batch(torch.zeros(4, 3, 32, 32), None, torch.zeros(4, 6), torch.zeros(4, 3, 16, 16))
    said = {True: 0.25, False: -0.5}  # Within the borders: their mean is 0.9.
    gan.judge = lambda b: Verdict(torch.full((4, 500), said[b.z is None]), b.x, b.x, b.x, b.x)
    terms = gan.discriminator_loss(real, fake)
    assert set(terms) == {"adversarial"}
    assert terms["adversarial"].item() == pytest.approx((0.9 - 0.25) + (0.9 - 0.5), abs=0.01)
    said.update({True: 0.9, False: -0.9})  # In the middle of them half of the logits count, by 0.05 in the mean.
    assert gan.discriminator_loss(real, fake)["adversarial"].item() == pytest.approx(2 * 0.025, abs=0.005)
    assert gan.generator_loss(real, fake)["adversarial"].item() == pytest.approx(0.9)


def test_real_images_are_reconstructed_as_they_were_seen():
    gan = build(reconstruction=3.0).eval()
    gan.augmentations.append(Darker(gan.data, IngredientOptions()))
    real, fake = batch(gan), gan.fake(batch(gan)).detach()
    seed_everything(1)
    found = gan.discriminator_loss(real, fake)["reconstruction"]
    seen = gan.judge(Batch(real.x - 0.5))
    seed_everything(1)
    torch.rand_like(seen.logits), torch.rand_like(seen.logits)
    part = torch.randint(4, (1,))
    whole, small, piece = gan.discriminator.decoded(seen, part)
    image = (real.x - 0.5)[:, :, ::2, ::2]
    expected = distance(whole, image) + distance(small, image) + distance(piece, quarter(real.x - 0.5, part))
    torch.testing.assert_close(found, 3 * expected)


class Darker(Augmentation):
    """Half a shade less, as often as it is asked."""

    name = "darker"
    summary = "For tests"
    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == self.data.shape
        self.asked += 1
        return x - 0.5


def test_both_images_of_a_fake_are_augmented_each_by_itself():
    gan = build()
    fake = gan.fake(batch(gan))
    gan.augmentations.append(darker := Darker(gan.data, IngredientOptions()))
    seen = gan.augmented(fake)
    torch.testing.assert_close(seen.x, fake.x - 0.5)
    torch.testing.assert_close(seen.source, fake.source - 0.5)
    assert darker.asked == 2


def test_the_small_image_of_a_fake_is_the_generators_own_and_teaches_it():
    gan = build()
    fake = gan.fake(batch(gan))
    assert fake.source.shape == (4, 3, 16, 16)
    gan.generator_loss(batch(gan), fake)["adversarial"].backward()
    assert gan.generator.to_small.parametrizations.weight.original.grad.abs().sum() > 0
    gan.zero_grad()
    gan.discriminator_loss(batch(gan), gan.fake(batch(gan)).detach())["adversarial"].backward()
    assert all(p.grad is None for p in gan.generator.parameters())


def test_images_without_a_small_one_are_judged_by_every_other_pixel():
    gan = build().eval()
    real = batch(gan)
    seen = gan.judge(real)
    assert isinstance(seen, Verdict)
    assert torch.equal(seen.logits, gan.discriminator(real.x, real.x[:, :, ::2, ::2]).logits)
    assert torch.equal(resized(real.x, 16), real.x[:, :, ::2, ::2])


# Drawing, and the contract


def test_labels_are_left_aside():
    seed_everything(0)
    gan = FastGAN(DataSpec("made-up", (3, 32, 32), 24, tuple("ab")), FastGAN.Options(**TINY))
    assert not gan.conditional
    assert gan.fake(batch(gan)).y is None


def test_noise_is_added_where_it_is_asked_for_and_always_in_training():
    gan = build()
    for module in gan.modules():
        if isinstance(module, NoiseLayer):
            nn.init.constant_(module.weight, 0.3)
    z = gan.sample_latent(2)
    with torch.no_grad():
        assert not torch.equal(gan.generate(z, None), gan.generate(z, None))
        gan.eval()
        assert torch.equal(gan.generate(z, None), gan.generate(z, None))
        loud = drawing(gan, {"noise": "random"})
        assert not torch.equal(loud.generate(z, None), loud.generate(z, None))


def test_it_keeps_the_rules_of_the_contract():
    check_gan(FastGAN, DataSpec("grey", (1, 32, 32), 24), TINY)


@pytest.mark.parametrize(("side", "blocks"), [(32, 3), (64, 4), (128, 5)])
def test_smaller_images_have_fewer_of_the_same_blocks(side: int, blocks: int):
    gan = build(side)
    fake = gan.fake(batch(gan))
    assert fake.x.shape == (4, 3, side, side)
    assert fake.source.shape == (4, 3, side // 2, side // 2)
    assert gan.judge(fake).logits.shape == (4, 2)  # One place of either, for both end at 4 x 4.
    assert (gan.discriminator.last, len(gan.discriminator.shrink)) == (4, blocks)
    assert len(gan.discriminator.excite) == blocks - 2
    assert gan.discriminator.decoded(gan.judge(fake), torch.tensor([2]))[2].shape == fake.source.shape


def test_networks_are_as_wide_as_the_image_unless_told():
    assert [width_for(side) for side in (32, 64, 128, 256, 1024)] == [16, 16, 32, 64, 64]
    assert build(width=None).generator.grow["8"].first.conv.weight.shape[0] == 2 * 8 * 16


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (3, 16, 16), (3, 32, 64), (2,)], ids=str)
def test_other_sizes_than_powers_of_two_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"powers of two, 32 to 1024.*--image-size 32"):
        FastGAN(DataSpec("made-up", shape, 24), FastGAN.Options(**TINY))


def test_recorded_steps_with_its_augmentation_are_plain_ones():
    def begun() -> Trainer:
        draw = torch.Generator().manual_seed(0)
        data = ImageSet(torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8, generator=draw), None, ())
        gan = build()
        gan.augmentations.append(DiffAugment(gan.data, DiffAugment.Options(cutout=False)))
        return Trainer(gan, Loader(data, 4, 0, CPU.device), CPU, steps=100)

    plain, recorded = begun(), begun()
    before = Snapshot(recorded)
    recorded.recorded = Recorded(recorded, on_tape, sizes=(2, 1))
    before.restore()
    recorded.feed(None)
    for trainer in (plain, recorded):
        seed_everything(1)
        while trainer.step < 3:
            trainer.advance(3 - trainer.step)
    mine, yours = plain.gan.state_dict(), recorded.gan.state_dict()
    assert all(torch.equal(mine[name], yours[name]) for name in mine)
