"""What translators are measured by: numbers of torchmetrics and scikit-image, and which model is measured by which."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ganzoo as zoo
from ganzoo import plugins
from ganzoo.data import DataRequest, DataSpec, ImageSet
from ganzoo.errors import UsageError
from ganzoo.metrics.base import Measured, Setting
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.pairs import L1, LPIPS, PSNR, SSIM, Cycle, MultiScaleSSIM, unit
from ganzoo.metrics.protocol import comparable
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import comes_with, drawn_as, generated
from ganzoo_test_plugins import Pairs, SmallDigits, Tiny, Unpaired

CPU = torch.device("cpu")
RUN = ("--batch-size", 32, "--loggers", "none", "--steps", 2, "--engine", "eager")


class Given(zoo.Dataset):
    """Images of one size, each its own source."""

    name = "given"
    summary = "what a test gives it"

    def __init__(self, images):
        self.images = images

    def load(self, request):
        return ImageSet(self.images, sources=self.images)


def pixels(n, c, h, w, shift):
    """Waves and something like noise, the same in every program: uint8 (n, c, h, w)."""
    i = np.arange(n * c * h * w, dtype=np.float64)
    noise = (np.sin(i * 12.9898 + shift) * 43758.5453) % 1
    waves = np.sin(i / 7) * 0.5 + 0.5
    return torch.from_numpy(np.round((0.7 * waves + 0.3 * noise) * 255).astype(np.uint8).reshape(n, c, h, w))


def setting(images, **more):
    return Setting(Reference(Given(images)), len(images), False, 0, CPU, **({"paired": True} | more))


def measured(kind, images, targets, parts=1, name=""):
    metric = kind(setting(images))
    for x, y in zip(images.chunk(parts), targets.chunk(parts), strict=True):
        metric.update(Measured(x, None, None, None, y))
    return metric.compute()[name or metric.name]


# scikit-image 0.26.0 on these pixels: peak_signal_noise_ratio(data_range=1), the mean of structural_similarity(
# data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=0), and numpy's mean.
SKIMAGE = {
    1: {PSNR: 18.438340470074724, SSIM: 0.8739588023740429, L1: 0.09795751633986928},
    3: {PSNR: 18.382326638350484, SSIM: 0.8783503057233815, L1: 0.09786946259985475},
}


@pytest.mark.parametrize("kind", [PSNR, SSIM, L1])
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_are_those_of_scikit_image(channels, kind):
    images, targets = (pixels(3, channels, 24, 20, shift) for shift in (0.0, 1.0))
    name = "ssim_inner" if kind is SSIM else kind.name
    assert measured(kind, images, targets, 1, name) == pytest.approx(SKIMAGE[channels][kind], abs=1e-4)


def test_numbers_are_those_of_torchmetrics_whatever_the_batches():
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    images, targets = (pixels(4, 1, 176, 180, shift) for shift in (0.0, 1.0))
    for kind, function, options in (
        (PSNR, peak_signal_noise_ratio, {}),
        (SSIM, structural_similarity_index_measure, {}),
        (MultiScaleSSIM, multiscale_structural_similarity_index_measure, {"normalize": "relu"}),
    ):
        expected = function(unit(images), unit(targets), data_range=1.0, **options).item()
        for parts in (1, 2, 4):
            assert measured(kind, images, targets, parts) == pytest.approx(expected, abs=1e-4)


def test_equal_images_are_as_near_as_can_be():
    images = pixels(2, 3, 16, 16, 0.0)
    assert measured(SSIM, images, images) == pytest.approx(1)
    assert measured(L1, images, images) == 0
    assert measured(L1, images, 255 - images) == pytest.approx((255 - 2 * images.double()).abs().mean().item() / 255)


def test_images_too_small_for_a_window_and_those_without_targets_are_told():
    small, large = (setting(pixels(2, 1, side, side, 0.0)) for side in (10, 176))
    assert "images of 10 x 10 pixels are smaller than the 11 x 11 that it needs" in str(SSIM.missing(small))
    assert "smaller than the 176 x 176" in str(MultiScaleSSIM.missing(small))
    assert MultiScaleSSIM.missing(large) is None
    alone = setting(pixels(2, 1, 16, 16, 0.0), paired=False)
    assert "no counterparts to be held against" in str(PSNR.missing(alone))
    assert "models that go both ways" in str(Cycle.missing(alone))
    assert not any(kind.concerns(alone) for kind in (PSNR, SSIM, MultiScaleSSIM, L1, Cycle))


# Models


class Darker(Tiny):
    """Half as bright, and back."""

    name = "darker"
    conditional = False
    translates = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = nn.Linear(1, 1)

    def generate(self, z, y, source=None):
        return (source - 1) / 2


class Back(nn.Module):
    """Twice as bright, and a tenth of the range too much."""

    def forward(self, x):
        return 2 * x + 1 + 0.2


class BothWays(Darker):
    name = "both-ways"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.back = Back()


def spec_of(dataset):
    return dataset().load(DataRequest("test")).spec(dataset.name)


def test_translations_come_with_targets_labels_and_what_comes_back():
    reference = Reference(Pairs())
    gan = BothWays(spec_of(Pairs), Tiny.Options()).eval()
    assert comes_with(gan, reference) == {"labelled": True, "paired": True, "cycled": True}
    label_of = dict(zip((x.numpy().tobytes() for x in reference.data.images), reference.labels.tolist(), strict=True))
    for batch in generated(gan, 100, 0, reference):
        assert torch.allclose(batch.cycle, torch.full((len(batch.images),), 0.1), atol=1e-6)
        assert [label_of[x.numpy().tobytes()] for x in batch.targets] == batch.labels.tolist()
        source = 255 - batch.targets.int()
        assert (batch.images.int() - source / 2).abs().max() <= 0.5


def test_models_without_pairs_or_a_way_back_come_with_none():
    plain = Tiny(spec_of(SmallDigits), Tiny.Options())
    assert comes_with(plain, Reference(SmallDigits())) == {"labelled": True, "paired": False, "cycled": False}
    one_way = Darker(spec_of(Unpaired), Tiny.Options())
    assert comes_with(one_way, Reference(Unpaired())) == {"labelled": False, "paired": False, "cycled": False}
    assert one_way.returned(torch.zeros(1)) is None


def test_a_translator_is_measured_by_pairs_over_each_source_once(ganzoo, tmp_path):
    data = ("--dataset", "small-pairs", "--image-size", 16)
    assert ganzoo("run", "tiny-translator", *data, *RUN, "--out", "r").code == 0
    told = ganzoo("eval", "r", "--features", "look", "--metrics", "psnr,ssim,l1,fid", "-o", "eval.json")
    assert told.code == 0, told.err
    result = json.loads((tmp_path / "eval.json").read_text())
    assert {"psnr", "ssim", "l1"} < result["metrics"].keys()
    assert [result["protocol"][key] for key in ("n", "made_from", "source")] == [500, "sources", None]
    sampler = zoo.load(tmp_path / "r")
    images = zoo.data.open_dataset(Pairs(), DataRequest("test", image_size=16))
    made = zoo.data.to_uint8(sampler.translate(images.sources)).double()
    assert result["metrics"]["l1"] == pytest.approx((made - images.images.double()).abs().mean().item() / 255)
    unasked = json.loads(ganzoo("eval", "r", "--features", "look", "--json").out)
    assert {"psnr", "ssim", "l1"} < unasked["metrics"].keys()
    assert not {"ms-ssim", "cycle"} & (unasked["metrics"].keys() | unasked["left_out"].keys())


def test_a_translator_is_measured_by_what_needs_no_extractor_where_none_is_known(ganzoo):
    data = ("--dataset", "small-pairs", "--image-size", 16)
    assert ganzoo("run", "tiny-translator", *data, *RUN, "--out", "r").code == 0
    told = ganzoo("eval", "r", "--json")
    assert told.code == 0, told.err
    result = json.loads(told.out)
    assert {"psnr", "ssim", "l1"} <= result["metrics"].keys()
    assert not {"fid", "accuracy"} & (result["metrics"].keys() | result["left_out"].keys())
    assert result["protocol"]["extractor"] is None
    (caution,) = result["cautions"]
    assert "was not measured: no feature extractor is known for 'small-pairs': train one with" in caution
    assert f"caution: {caution}" in ganzoo("eval", "r").err
    named = ganzoo("eval", "r", "--metrics", "fid")
    assert named.code == 2
    assert "no feature extractor is known for 'small-pairs'" in named.err


def test_data_without_classes_is_not_told_to_train_an_extractor():
    class Plain(Pairs):
        name = "plain-pairs"

        def load(self, request):
            pairs = super().load(request)
            return ImageSet(pairs.images, sources=pairs.sources)

    registry = plugins.Registry()
    registry._items["datasets"]["plain-pairs"] = (Plain, None)
    registry._items["metrics"]["l1"] = plugins.registry()._items["metrics"]["l1"]
    registry._items["metrics"]["fid"] = plugins.registry()._items["metrics"]["fid"]
    evaluator = Evaluator(registry, "plain-pairs", without_features=True)
    (caution,) = evaluator.cautions(["l1"], 10)
    assert "and it has no classes to train one by: name one with --features" in caution


# LPIPS, by a stand-in of its network


@pytest.fixture
def untrained(monkeypatch):
    """AlexNet without the weights that would be downloaded."""
    import torchvision

    def features(net, pretrained):
        assert (net, pretrained) == ("alexnet", True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torchvision.models.alexnet(weights=None).features

    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", features)
    return features("alexnet", True)


def lpips_by_hand(net, a, b):
    """Zhang et al. 2018, equation 1, for images in [0, 1], with the weights of the features that torchmetrics has."""
    import torchmetrics.functional.image.lpips as theirs

    held = torch.load(
        Path(theirs.__file__).with_name("lpips_models") / "alex.pth", map_location="cpu", weights_only=True
    )
    shift, scale = (torch.tensor(x).view(1, 3, 1, 1) for x in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    a, b = ((2 * x - 1 - shift) / scale for x in (a, b))
    total, taken = 0, [1, 4, 7, 9, 11]
    for i, layer in enumerate(net[:12]):
        a, b = layer(a), layer(b)
        if i in taken:
            unit_a, unit_b = (x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt() for x in (a, b))
            weights = held[f"lin{taken.index(i)}.model.1.weight"].view(1, -1, 1, 1)
            total = total + ((unit_a - unit_b).square() * weights).sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("parts", [[5], [1, 4]])
def test_lpips_is_that_of_the_paper_over_all_images(untrained, channels, parts, monkeypatch):
    monkeypatch.setattr("ganzoo.metrics.pairs.AT_ONCE", 2)
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randint(0, 256, (5, channels, 31, 40), generator=draw, dtype=torch.uint8) for _ in range(2))
    metric = LPIPS(setting(a))
    for images, targets in zip(a.split(parts), b.split(parts), strict=True):
        metric.update(Measured(images, None, None, None, targets))
    with torch.no_grad():
        expected = lpips_by_hand(untrained, *((x.float() / 255).expand(-1, 3, -1, -1) for x in (a, b)))
    assert metric.compute()["lpips"] == pytest.approx(float(expected.mean()), rel=1e-4)
    assert metric.settings() == {"network": "alex"}
    same = LPIPS(setting(a))
    same.update(Measured(a, None, None, None, a))
    assert same.compute() == {"lpips": 0.0}


def test_lpips_is_measured_when_it_is_named_alone(ganzoo, untrained, monkeypatch):
    data = ("--dataset", "small-pairs", "--image-size", 32)
    assert ganzoo("run", "tiny-translator", *data, *RUN, "--out", "r").code == 0
    found = json.loads(ganzoo("eval", "r", "--metrics", "lpips,l1", "--n", 40, "--json").out)
    assert 0 < found["metrics"]["lpips"] < 2
    unasked = json.loads(ganzoo("eval", "r", "--features", "look", "--n", 40, "--json").out)
    assert "lpips" not in unasked["metrics"].keys() | unasked["left_out"].keys()


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("Error in\nloading state_dict")])
def test_weights_that_cannot_be_had_are_told_in_one_line(ganzoo, monkeypatch, error):
    monkeypatch.setattr("torchvision.models.alexnet", lambda **_: (_ for _ in ()).throw(error))
    data = ("--dataset", "small-pairs", "--image-size", 32)
    assert ganzoo("run", "tiny-translator", *data, *RUN, "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "lpips", "--n", 40)
    assert (told.code, told.out, len(told.err.splitlines())) == (1, "", 1)
    assert "metric 'lpips' cannot be measured: AlexNet's weights cannot be had" in told.err
    assert "alexnet-owt" in told.err


def test_images_too_small_for_lpips_are_told(ganzoo):
    assert ganzoo("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "lpips")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "metric 'lpips' cannot be measured: images of 8 x 8 pixels are smaller than the 31 x 31" in told.err


def test_what_was_named_and_cannot_be_measured_is_an_error(ganzoo):
    assert ganzoo("run", "plain", "--dataset", "small-digits", *RUN, "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "psnr")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "metric 'psnr' cannot be measured: the images have no counterparts" in told.err
    unasked = json.loads(ganzoo("eval", "r", "--features", "look", "--json").out)
    assert not {"psnr", "ssim", "ms-ssim", "l1", "cycle"} & (unasked["metrics"].keys() | unasked["left_out"].keys())


def test_cyclegan_goes_both_ways(ganzoo):
    run = ("cyclegan", "--dataset", "small-pairs", "--width", 2, "--blocks", 0, "--batch-size", 8, "--steps", 1)
    assert ganzoo("run", *run, "--loggers", "none", "--out", "r").code == 0
    numbers = json.loads(ganzoo("eval", "r", "--metrics", "cycle,l1", "--json").out)["metrics"]
    assert 0 < numbers["cycle"] < 1
    told = ganzoo("eval", "r", "--metrics", "cycle", "--output", "source")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "--output source: r would be measured by the wrong side" in told.err


def test_translators_never_stand_beside_models_that_draw_from_noise(ganzoo, tmp_path):
    for name in ("tiny-translator", "plain"):
        assert ganzoo("run", name, "--dataset", "small-pairs", *RUN, "--out", name).code == 0
        assert ganzoo("eval", name, "--features", "look", "--metrics", "fid", "--n", 100).code == 0
    results = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("tiny-translator", "plain")]
    comparable(results[0], results[0])
    with pytest.raises(
        UsageError, match="one is of images that are made from sources, the other of images that are dr"
    ):
        comparable(*results)
    told = ganzoo("compare", "tiny-translator/", "plain/")
    assert told.code == 0, told.err
    assert re.search(r"measured otherwise: one is of images that are made from sources", told.out + told.err)


def test_a_protocol_of_samples_from_noise_is_as_it_was():
    assert "made_from" not in drawn_as(Tiny(DataSpec("x", (1, 8, 8), 4, ("a", "b")), Tiny.Options()))
