"""Models that make images from images: their networks against the authors' program, their pool, their turns."""

import copy

import pytest
import torch
from ganzoo_plugins.cyclegan import CycleGAN
from ganzoo_plugins.pix2pix import Pix2Pix
from PIL import Image
from torch import Tensor, nn

import ganzoo
from ganzoo.data import Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.fields import as_recorded, validated
from ganzoo.plugins import registry
from ganzoo.sampling import drawing
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer
from ganzoo.translation import PatchDiscriminator, Pool, ResidualTranslator, UNet, padded
from published import check_numbers, waves

CPU = Engine(torch.device("cpu"), "fp32")
PAIRS = DataSpec("pairs", (3, 32, 32), 100, source_shape=(1, 32, 32))
UNPAIRED = DataSpec("unpaired", (3, 32, 32), 100, source_shape=(3, 32, 32), paired=False)
SMALL = {"width": 4, "batch_size": 4}

# Of junyanz/pytorch-CycleGAN-and-pix2pix, models/networks.py, with the weights of `fill`, torch 2.14 on a CPU: mean and
# deviation of the output, its first four numbers, and the norm of the gradient of the sum of its squares. Its batch
# normalisation of one image is ours of each.
PUBLISHED = {
    "UnetGenerator(3, 1, 5, 8, BatchNorm2d)": (
        lambda: UNet(3, 1, 5, 8, dropout=0.0), (3, 32),
        (0.0927565247, 0.1434191763), (0.0125634167, -0.117145002, 0.0720129982, -0.0491322462), 343.569031,
    ),
    "ResnetGenerator(3, 3, 8, InstanceNorm2d, n_blocks=2)": (
        lambda: ResidualTranslator(3, 3, 2, 8), (3, 32),
        (-0.0148183024, 0.3127339482), (0.026467707, 0.0641879514, 0.208016023, 0.1562298238), 3830.307861,
    ),
    "NLayerDiscriminator(4, 8, 3, BatchNorm2d)": (
        lambda: PatchDiscriminator(4, 3, 8, affine=True), (4, 64),
        (0.0280976761, 0.0187266786), (0.0311350226, 0.0329975635, 0.0570811108, 0.0337012187), 3.188779116,
    ),
    "NLayerDiscriminator(3, 8, 2, InstanceNorm2d)": (
        lambda: PatchDiscriminator(3, 2, 8), (3, 32),
        (0.0695595518, 0.3359393477), (-0.0416106135, -0.445425928, -0.6348176, -0.0532071628), 136.875336,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_are_those_of_the_authors_program(name):
    make, (channels, side), spread, first, gradient = PUBLISHED[name]
    check_numbers(make(), [waves(channels, side)], spread, first, gradient)


@pytest.mark.parametrize(
    ("model", "data", "player", "million"),
    [
        # As its documentation prints them: "Total number of parameters".
        (Pix2Pix, DataSpec("facades", (3, 256, 256), 400, source_shape=(3, 256, 256)), "generator", "54.414"),
        (Pix2Pix, DataSpec("facades", (3, 256, 256), 400, source_shape=(3, 256, 256)), "discriminator", "2.769"),
        (CycleGAN, DataSpec("horses", (3, 256, 256), 400, source_shape=(3, 256, 256), paired=False), "back", "11.378"),
        (
            CycleGAN,
            DataSpec("horses", (3, 256, 256), 400, source_shape=(3, 256, 256), paired=False),
            "source_discriminator",
            "2.765",
        ),
    ],
)
def test_the_papers_networks_have_the_published_number_of_parameters(model, data, player, million):
    known = {k: v for k, v in model.presets["paper"].items() if k in model.Options.model_fields}
    with torch.device("meta"):
        gan = model(data, model.Options(**known))
    assert f"{sum(p.numel() for p in getattr(gan, player).parameters()) / 1e6:.3f}" == million


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (33, 50)])
def test_translators_take_any_size_and_keep_it(size):
    for net in (UNet(1, 3, 3, 4), UNet(1, 3, 3, 4, resized=True), ResidualTranslator(1, 3, 1, 4)):
        out = net(torch.rand(2, 1, *size))
        assert out.shape == (2, 3, *size)
        assert out.abs().max() <= 1


def test_images_are_continued_by_their_last_pixels():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert padded(x, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert padded(x, 1) is x


# The pool


def rows(images: Tensor) -> list[float]:
    return images.flatten(1)[:, 0].tolist()


def test_a_pool_shows_what_comes_until_it_is_full_then_old_fakes_half_of_the_time():
    torch.manual_seed(0)
    pool, shown, came = Pool((1, 1, 1), 6, 2), [], []
    for step in range(400):
        new = torch.tensor([2.0 * step, 2 * step + 1]).view(2, 1, 1, 1)
        came.append(rows(new))
        shown.append(rows(pool(new)))
    assert shown[:3] == came[:3]
    later = [s != c for old, new in zip(shown[3:], came[3:], strict=True) for s, c in zip(old, new, strict=True)]
    assert 0.4 < sum(later) / len(later) < 0.6
    flat = [value for pair in shown for value in pair]
    assert len(set(flat[6:])) == len(flat[6:]), "once it is full, a fake is shown once"
    assert set(flat) | set(rows(pool.held.view(torch.float32))) == set(range(800)), "and none is lost"


def test_a_pool_holds_whole_batches_and_keeps_floats_exactly():
    pool = Pool((1, 2, 2), 50, 8)
    assert len(pool.held) == 56
    assert all(not buffer.is_floating_point() for buffer in pool.buffers()), "processes would take their mean"
    x = torch.randn(8, 1, 2, 2)
    assert torch.equal(pool(x), x)
    assert torch.equal(pool.held[:8].view(torch.float32), x)


# pix2pix


def test_a_resized_last_level_leaves_no_checkerboard():
    """Of an even map, every pixel within gets the same number, where a transposed convolution has four kinds."""
    torch.manual_seed(0)

    def kinds(resized: bool) -> int:
        last = UNet(1, 1, 2, 4, resized=resized).up[-1]
        return len(last(torch.ones(1, 8, 6, 6))[0, 0, 2:-2, 2:-2].unique())

    assert (kinds(resized=True), kinds(resized=False)) == (1, 4)


def test_runs_of_pix2pix_recorded_before_keep_their_transposed_convolution():
    options = validated(Pix2Pix.Options, as_recorded(Pix2Pix.Options, {"width": 4}))
    assert not options.resize_conv
    assert Pix2Pix.Options().resize_conv


def test_pix2pix_shows_the_discriminator_the_source_beside_the_image():
    gan = Pix2Pix(PAIRS, Pix2Pix.Options(**SMALL))
    x, source = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    expected = gan.discriminator(torch.cat([source, x], 1))
    assert torch.equal(gan.judge(Batch(x, source=source)), expected)
    assert expected.shape == (2, 1, 14, 14)


def test_pix2pix_adds_a_hundred_times_the_distance():
    gan = Pix2Pix(PAIRS, Pix2Pix.Options(**SMALL))
    real = Batch(torch.zeros(2, 3, 32, 32), source=torch.zeros(2, 1, 32, 32))
    fake = Batch(torch.full((2, 3, 32, 32), 0.25), z=torch.empty(2, 0), source=real.source)
    assert gan.generator_loss(real, fake)["l1"].item() == pytest.approx(25)


def test_pix2pix_draws_with_dropout_where_it_is_asked_to():
    gan = Pix2Pix(PAIRS, Pix2Pix.Options(**SMALL)).eval()
    z, source = torch.empty(2, 0), torch.rand(2, 1, 32, 32)
    assert torch.equal(gan.generate(z, None, source), gan.generate(z, None, source))
    gan.sampling = gan.Sampling(noise=True)
    assert not torch.equal(gan.generate(z, None, source), gan.generate(z, None, source))


def test_one_view_of_pix2pix_draws_with_dropout_while_another_draws_without():
    gan = Pix2Pix(PAIRS, Pix2Pix.Options(**SMALL)).eval()
    noisy = drawing(gan, {"noise": True})
    z, source = torch.empty(2, 0), torch.rand(2, 1, 32, 32)
    expected, amid = gan.generate(z, None, source), []

    def as_another_thread_may(*_):
        hook.remove()
        amid.append(noisy.generate(z, None, source))

    hook = gan.generator.up[0].register_forward_hook(as_another_thread_may)
    assert torch.equal(gan.generate(z, None, source), expected)
    assert not torch.equal(amid[0], expected)


# CycleGAN


def cyclegan(**options) -> CycleGAN:
    return CycleGAN(UNPAIRED, CycleGAN.Options(**SMALL, blocks=1, **options))


def test_cyclegan_terms_are_those_of_the_paper():
    gan = cyclegan()
    x, s = torch.rand(2, 4, 3, 32, 32).unbind()
    real = Batch(x, source=s)
    fake = gan.fake(real)
    terms = gan.generator_loss(real, fake)
    go, back, l1 = gan.generator, gan.back, nn.L1Loss()
    adversarial = (gan.discriminator(go(s)) - 1).square().mean() + (
        gan.source_discriminator(back(x)) - 1
    ).square().mean()
    torch.testing.assert_close(terms["adversarial"], adversarial)
    torch.testing.assert_close(terms["cycle"], 10 * (l1(back(go(s)), s) + l1(go(back(x)), x)))
    torch.testing.assert_close(terms["identity"], 5 * (l1(go(x), x) + l1(back(s), s)))
    judged = gan.discriminator_loss(real, fake.detach())
    halves = ((gan.discriminator(x) - 1).square().mean() + gan.discriminator(go(s)).square().mean()) / 2
    torch.testing.assert_close(judged["adversarial"], halves)
    assert not fake.detach().source.requires_grad


def test_cyclegan_goes_both_ways():
    gan = cyclegan().eval()
    z, images = torch.empty(2, 0), torch.rand(2, 3, 32, 32)
    assert torch.equal(gan.generate(z, None, images), gan.generator(images))
    gan.sampling = gan.Sampling(output="source")
    assert torch.equal(gan.generate(z, None, images), gan.back(images))


def unpaired(n: int = 16) -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    x, sources = torch.randint(256, (2, n, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return ImageSet(x, sources=sources, paired=False)


def trainer() -> Trainer:
    seed_everything(0)
    data = unpaired()
    gan = CycleGAN(data.spec("made-up"), CycleGAN.Options(**SMALL, blocks=1, pool=8))
    return Trainer(gan, Loader(data, 4, 0, CPU.device, sources=True), CPU, steps=100)


def test_a_resumed_cyclegan_shows_the_same_past_fakes():
    one = trainer()
    for _ in range(4):
        one.advance()
    assert one.gan.pools[0].count == 8, "full"
    state = copy.deepcopy(one.state_dict())
    expected = one.advance()
    other = trainer()
    other.load_state_dict(state)
    assert {k: v.item() for k, v in other.advance().items()} == {k: v.item() for k, v in expected.items()}
    for name, tensor in one.gan.state_dict().items():
        assert torch.equal(tensor, other.gan.state_dict()[name]), name


# What does not fit


@pytest.mark.parametrize("model", [Pix2Pix, CycleGAN])
def test_sources_of_another_size_are_refused(model):
    data = DataSpec("small", (3, 32, 32), 100, source_shape=(3, 8, 8))
    with pytest.raises(UsageError, match=r"sources of 8 x 8 pixels and images of 32 x 32: choose srgan"):
        model(data, model.Options())


def test_cyclegan_says_what_to_do_about_grey_and_colour():
    data = DataSpec("mixed", (3, 32, 32), 100, source_shape=(1, 32, 32), paired=False)
    with pytest.raises(UsageError, match="say --identity 0, or --channels"):
        CycleGAN(data, CycleGAN.Options())
    gan = CycleGAN(data, CycleGAN.Options(identity=0, **SMALL, blocks=1))
    real = ganzoo.Batch(torch.rand(2, 3, 32, 32), source=torch.rand(2, 1, 32, 32))
    assert set(gan.generator_loss(real, gan.fake(real))) == {"adversarial", "cycle"}


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("pix2pix", 6), ("cyclegan", 6), ("discogan", 8), ("dualgan", 6), ("unit", 6), ("stargan", 5),
        ("context-encoder", 3), ("ccgan", 2), ("pixelda", 8),
    ],
)  # fmt: skip
def test_networks_take_images_of_the_least_size_that_is_told_and_refuse_smaller_ones(name, least):
    model = registry().get("models", name)
    small = {key: value for key, value in {"width": 4, "blocks": 1}.items() if key in model.Options.model_fields}
    paired = name not in ("cyclegan", "discogan", "dualgan", "unit", "pixelda")

    def made(side):
        shape = (3, side, side)
        data = DataSpec("d", shape, 100, ("a", "b"), source_shape=shape, paired=paired, source_labels=True)
        return model(data, model.Options(**small))

    with pytest.raises(UsageError, match=f"images of {least} x {least} pixels or more, and those of 'd' have"):
        made(least - 1)
    gan, x, y = made(least), torch.rand(2, 3, least, least), torch.tensor([0, 1])
    real = ganzoo.Batch(x, y if gan.sees_labels else None, None, x.flip(0), y)
    for turn in gan.turns():
        assert all(term.isfinite() for term in turn.loss(real, gan.fake(real)).values())


def picture(path, side: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = (len(path.name) * 37 + side) % 256
    Image.new(mode, (side, side), shade if mode == "L" else (shade, 0, 0)).save(path)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ((16, "RGB", 4), (16, "RGB", 1), "trainB holds one picture: a set without pairs takes 2 or more"),
        ((16, "RGB", 4), (16, "RGB", 0), "trainB holds no pictures"),
        ((16, "L", 4), (16, "RGB", 4), "sources of 1 channels and images of 3, which are never the same: say"),
    ],
)
def test_two_folders_that_cannot_be_learnt_from_are_told_in_one_line(ganzoo, tmp_path, first, second, told):
    for name, (side, mode, count) in (("trainA", first), ("trainB", second)):
        (tmp_path / "two" / name).mkdir(parents=True)
        for i in range(count):
            picture(tmp_path / "two" / name / f"{'x' * (i + 1)}.png", side, mode)
    data = ("--dataset", "folder", "--data-root", tmp_path / "two")
    result = ganzoo("run", "cyclegan", *data, "--steps", 1, "--batch-size", 2, "--quiet", "--out", tmp_path / "r")
    *notes, error = result.err.splitlines()
    assert result.code == 2
    assert told in error
    assert all(line.startswith("note: ") for line in notes)
    assert not (tmp_path / "r").exists()
