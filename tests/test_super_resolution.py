"""Super-resolution: networks against the authors' program, terms, phases, VGG's features."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from ganzoo_plugins.digits import Digits
from ganzoo_plugins.esrgan import ESRGAN, Dense, RRDBNet
from ganzoo_plugins.srgan import SRGAN, SRResNet
from PIL import Image
from torch import nn

from ganzoo import losses
from ganzoo.data import Batch, DataSpec, ImageSet, Loader
from ganzoo.errors import UsageError
from ganzoo.metrics.extractor import Coordinates
from ganzoo.optim import Progress
from ganzoo.perceptual import VGG
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer
from published import check_numbers, waves

CPU = Engine(torch.device("cpu"), "fp32")
FOUR = DataSpec("small", (3, 32, 32), 16, source_shape=(3, 8, 8))
SMALL = {"width": 4, "blocks": 1, "batch_size": 4}
MODELS = (SRGAN, ESRGAN)


def made(model, data=FOUR, **options):
    torch.manual_seed(0)
    return model(data, model.Options(**(SMALL | options)))


def batches(gan) -> tuple[Batch, Batch]:
    x, source = torch.rand(4, 3, 32, 32) * 2 - 1, torch.rand(4, 3, 8, 8) * 2 - 1
    real = Batch(x, source=source)
    return real, gan.fake(real)


# Networks


def test_dense_blocks_are_those_of_the_authors_program():
    # Of xinntao/ESRGAN, RRDBNet_arch.py, as `PUBLISHED` of test_translation.py.
    spread, first = (-0.0407788493, 0.041037403), (-0.0422785133, -0.0456117988, -0.0493120849, -0.0521264821)
    check_numbers(RRDBNet(3, 3, 4, 8, 2, 4), [waves(3, 8)], spread, first, 228.973267)


def test_dense_blocks_start_a_tenth_as_large_as_rectified_layers_do():
    torch.manual_seed(0)
    for layer in Dense(64, 32).layers:
        assert layer.weight.std().item() == pytest.approx(0.1 * math.sqrt(2 / (9 * layer.in_channels)), rel=0.02)
        assert not layer.bias.any()


def test_the_papers_networks_have_the_published_number_of_parameters():
    with torch.device("meta"):
        dense, residual = RRDBNet(3, 3, 4), SRResNet(3, 3, 4)
    assert sum(p.numel() for p in dense.parameters()) == 16_697_987
    # Layer by layer from figure 4: a weight for each tap, a bias where nothing normalises, one slope for a PReLU.
    first, last = 9 * 9 * 3 * 64 + 64 + 1, 9 * 9 * 64 * 3 + 3
    block = 2 * (3 * 3 * 64 * 64 + 2 * 64) + 1
    after, doubling = 3 * 3 * 64 * 64 + 2 * 64, 3 * 3 * 64 * 256 + 256 + 1
    assert sum(p.numel() for p in residual.parameters()) == first + 16 * block + after + 2 * doubling + last


def test_the_discriminator_is_that_of_figure_4():
    with torch.device("meta"):
        net = made(SRGAN, DataSpec("photos", (3, 96, 96), 9, source_shape=(3, 24, 24)), width=64).discriminator
    convolutions = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.stride[0]) for c in convolutions] == [
        (64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2),
    ]  # fmt: skip
    dense = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(512 * 6 * 6, 1024), (1024, 1)]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.layers) == 7


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("times", [2, 4])
def test_any_size_in_gives_that_many_times_the_size_out(model, times):
    side = 32 // times
    gan = made(model, DataSpec("small", (3, 32, 32), 16, source_shape=(1, side, side))).eval()
    out = gan.generate(torch.empty(2, 0), None, torch.rand(2, 1, 11, 20) * 2 - 1)
    assert out.shape == (2, 3, 11 * times, 20 * times)
    assert out.abs().max() <= 1


# Terms and phases


def test_srgan_terms_are_those_of_the_paper():
    gan = made(SRGAN)
    gan.clock.fraction.fill_(1)
    real, fake = batches(gan)
    terms = gan.generator_loss(real, fake)
    torch.testing.assert_close(terms["pixels"], nn.MSELoss()(fake.x, real.x))
    torch.testing.assert_close(terms["adversarial"], -1e-3 * gan.discriminator(fake.x).sigmoid().log().mean())


def test_the_relativistic_average_is_that_of_the_paper():
    real, fake = torch.randn(5, 1), torch.randn(5, 1)
    ours, theirs = (real - fake.mean()).sigmoid(), (fake - real.mean()).sigmoid()
    expected = -ours.log().mean() - (1 - theirs).log().mean()
    torch.testing.assert_close(losses.relativistic_average(real, fake), expected)
    other = -theirs.log().mean() - (1 - ours).log().mean()
    torch.testing.assert_close(losses.relativistic_average(fake, real), other)


def test_esrgan_terms_are_those_of_the_paper():
    gan = made(ESRGAN, pixels=0.01)
    gan.clock.fraction.fill_(1)
    real, fake = batches(gan)
    terms = gan.generator_loss(real, fake)
    ours, theirs = gan.discriminator(real.x), gan.discriminator(fake.x)
    torch.testing.assert_close(terms["pixels"], 0.01 * nn.L1Loss()(fake.x, real.x))
    torch.testing.assert_close(terms["adversarial"], 5e-3 * losses.relativistic_average(theirs, ours))
    gan.clock.fraction.fill_(0)
    torch.testing.assert_close(gan.generator_loss(real, fake)["pixels"], nn.L1Loss()(fake.x, real.x))


@pytest.mark.parametrize("model", MODELS)
def test_the_discriminator_rests_until_its_phase_begins(model):
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8, generator=draw)
    data = ImageSet(x, sources=F.avg_pool2d(x.float(), 4).byte())
    seed_everything(0)
    gan = model(data.spec("made-up"), model.Options(**SMALL, pretrain=0.5))
    trainer = Trainer(gan, Loader(data, 4, 0, CPU.device, sources=True), CPU, steps=4)
    moved, adversarial = [], []
    for _ in range(4):
        before = copy.deepcopy(list(gan.discriminator.parameters()))
        terms = trainer.advance()
        adversarial += [v.item() for name, v in terms.items() if name == "generator/adversarial"]
        moved.append(any(not torch.equal(a, b) for a, b in zip(before, gan.discriminator.parameters(), strict=True)))
    assert moved == [False, False, True, True]
    assert [value != 0 for value in adversarial] == moved


@pytest.mark.parametrize("model", MODELS)
def test_the_discriminators_first_step_is_as_long_as_its_rate(model):
    now = Progress(step=5000, epoch=1.0, fraction=0.5)
    weight = nn.Parameter(torch.zeros(3))
    rule = made(model, lr=1e-2).optimizer("discriminator")
    optimizer = rule.build([weight])
    weight.grad = torch.tensor([1.0, -2.0, 5.0])
    optimizer.step()
    state = optimizer.state[weight]  # As after 5000 steps of rest.
    state["step"].fill_(5000)
    state["exp_avg"].zero_()
    state["exp_avg_sq"].zero_()
    before = weight.detach().clone()
    optimizer.param_groups[0] |= rule.settings(now)
    optimizer.step()
    torch.testing.assert_close(weight.detach() - before, -1e-2 * weight.grad.sign(), rtol=1e-3, atol=0)


def test_what_is_shown_has_the_bicubic_answer_beside_ours():
    gan = made(SRGAN).eval()
    real, _ = batches(gan)
    shown = gan.pictures(real)
    assert list(shown) == ["source", "bicubic", "output", "target"]
    expected = F.interpolate(real.source, (32, 32), mode="bicubic", align_corners=False).clamp(-1, 1)
    torch.testing.assert_close(shown["bicubic"], expected)


# VGG


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """VGG-19's convolutions of torchvision with random weights, and the file of them."""
    torch.manual_seed(0)
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["E"])
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in layers.state_dict().items()}, path)
    return layers, path


def test_features_are_those_of_torchvisions_network(vgg):
    layers, path = vgg
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    seen = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))((x + 1) / 2)
    with torch.no_grad():
        torch.testing.assert_close(VGG(path, activated=True)(x), layers[:36](seen))
        torch.testing.assert_close(VGG(path, activated=False)(x), layers[:35](seen))


@pytest.mark.parametrize("model", MODELS)
def test_with_vggs_weights_the_content_term_is_of_features(vgg, model):
    gan = made(model, vgg_weights=str(vgg[1]))
    assert gan.perceptual is None, "only training takes them"
    gan.turns()
    real, fake = batches(gan)
    assert gan.generator_loss(real, fake)["features"] == 0
    gan.clock.fraction.fill_(1)
    terms, (ours, theirs) = gan.generator_loss(real, fake), (gan.perceptual(fake.x), gan.perceptual(real.x))
    expected = ((ours - theirs) / 12.75).square().mean() if model is SRGAN else (ours - theirs).abs().mean()
    torch.testing.assert_close(terms["features"], expected)
    if model is SRGAN:
        assert terms["pixels"] == 0
    assert not any("perceptual" in name for name in gan.state_dict()), "and no run saves them"
    assert not any("perceptual" in name for name, _ in gan.named_parameters())


def test_weights_that_are_none_are_one_line(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    for name, message in (
        ("absent.pth", "No such file"),
        ("broken.pth", "the file is damaged, or holds more than weights"),
        ("other.pth", "these are not torchvision's weights of vgg19"),
    ):
        with pytest.raises(UsageError, match=f"--vgg-weights .*{name}: {message}"):
            made(SRGAN, vgg_weights=str(tmp_path / name)).turns()


# Extractors of ganzoo's in its place

DIGITS = DataSpec("small", (1, 28, 28), 16, source_shape=(1, 7, 7))


@pytest.mark.parametrize("model", MODELS)
def test_an_extractors_maps_can_be_the_content_term(model):
    gan = made(model, DIGITS, content="digits")
    gan.turns()
    real = Batch(torch.rand(4, 1, 28, 28) * 2 - 1, source=torch.rand(4, 1, 7, 7) * 2 - 1)
    fake = gan.fake(real)
    assert gan.generator_loss(real, fake)["features"] == 0, "pixels come first"
    gan.clock.fraction.fill_(1)
    terms = gan.generator_loss(real, fake)
    net = Digits().net
    ours, theirs = net.body[:-2](fake.x), net.body[:-2](real.x)
    apart = (ours - theirs) / theirs.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(terms["features"], apart.square().mean() if model is SRGAN else apart.abs().mean())
    terms["features"].backward()
    assert all(p.grad is not None for p in gan.generator.parameters()), "G learns from it"
    assert not any("perceptual" in name for name in gan.state_dict()), "and no run saves it"
    assert not any("perceptual" in name for name, _ in gan.named_parameters())


def test_making_the_content_term_draws_no_random_numbers():
    gan = made(SRGAN, DIGITS, content="digits")
    before = torch.get_rng_state()
    gan.turns()
    assert torch.equal(torch.get_rng_state(), before)


def test_maps_of_an_extractor_take_grey_and_colour_of_any_size():
    digits, x = Digits(), torch.rand(2, 3, 20, 40) * 2 - 1
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    torch.testing.assert_close(digits.maps(x), digits.maps(grey))
    assert digits.maps(x).shape == (2, 96, 5, 10)  # Halved twice, as 28 x 28 is.


def test_content_terms_that_cannot_be_are_one_line():
    for name, message in (
        ("digit", "--content digit: no feature extractor is named 'digit': did you mean 'digits'"),
        ("absent.safetensors", "--content absent.safetensors: cannot read absent.safetensors: No such file"),
    ):
        with pytest.raises(UsageError, match=message):
            made(SRGAN, DIGITS, content=name).turns()
    with pytest.raises(UsageError, match="--vgg-weights and --content are two content terms: give one"):
        made(SRGAN, content="digits", vgg_weights="any")


def test_an_extractor_without_maps_says_so():
    with pytest.raises(UsageError, match="feature extractor 'coordinates' has no feature maps"):
        Coordinates(2).maps(torch.zeros(1, 1, 8, 8))


# What does not fit


@pytest.mark.parametrize("source", [(3, 32, 32), (3, 8, 16), (3, 4, 4), (3, 64, 64), (3, 9, 9)])
def test_other_proportions_are_refused(source):
    with pytest.raises(UsageError, match="2 or 4 times as large as their sources, and data set 'odd' has sources of"):
        SRGAN(DataSpec("odd", (3, 32, 32), 10, source_shape=source), SRGAN.Options())


def test_sources_that_are_no_pairs_are_refused():
    with pytest.raises(UsageError, match="'srgan' learns from pairs, and sources of 'odd' are another set of images"):
        SRGAN(DataSpec("odd", (3, 32, 32), 10, source_shape=(3, 8, 8), paired=False), SRGAN.Options())


def test_vgg_needs_images_that_it_can_halve_four_times():
    with pytest.raises(UsageError, match="needs 16 pixels or more"):
        SRGAN(DataSpec("tiny", (3, 8, 8), 10, source_shape=(3, 4, 4)), SRGAN.Options(vgg_weights="any"))


@pytest.mark.parametrize("content", [(), ("--content", "digits")])
def test_a_run_enlarges_pictures(ganzoo, tmp_path, content):
    arguments = "run srgan --dataset small-halves --width 4 --blocks 1 --batch-size 32 --steps 2 --engine eager"
    done = ganzoo(*arguments.split(), *content, "--out", "large", "--loggers", "none", "--quiet")
    assert done.code == 0, done.err
    Image.new("L", (4, 4), 90).save(tmp_path / "grey.png")
    result = ganzoo("sample", "large", "--from", "grey.png", "-o", "out.png")
    assert result.code == 0, result.err
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (8, 8)
