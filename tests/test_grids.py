"""What grids show of held-out examples: the right pixels in the right cells, the same ones throughout a run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.tensorboard import TensorBoard
from PIL import Image
from safetensors.torch import load_file

import ganzoo
import ganzoo_test_plugins as plugins
from conftest import TINY, arrays
from ganzoo import DataSpec
from ganzoo.data import DataRequest, Dataset, ImageSet, normalise, to_uint8
from ganzoo.errors import UsageError
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import LABELS_SEED, generated
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.pictures import below, column_classes, headed, scatter, table, tile, titles
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.walk import on_the_way, walk
from ganzoo.training.building import build

RUN = ("--batch-size", 32, "--loggers", "none", "--quiet", "--engine", "eager")
SHOWN = [i * 499 // 7 for i in range(8)]
"""The examples of a set of 500."""


def grey(*values, size=2, channels=1):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, size, size).contiguous()


def cell(picture, row, column, size, gap=2):
    top, left = (gap + i * (size + gap) for i in (row, column))
    return picture[top : top + size, left : left + size]


def colour(image):
    """A uint8 image (C, H, W) as it lies in a picture."""
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def read(path):
    return np.asarray(Image.open(path))


# Pictures


def test_a_table_has_a_row_for_each_example_and_a_column_for_each_name():
    shown = {"source": grey(10, 20, 30), "output": grey(11, 21, 31), "target": grey(12, 22, 32)}
    picture = table(shown)
    assert picture.shape == (3 * 4 + 2, 3 * 4 + 2, 3)
    values = [[cell(picture, i, j, 2).max() for j in range(3)] for i in range(3)]
    assert values == [[10, 11, 12], [20, 21, 22], [30, 31, 32]]
    across = table(dict(list(shown.items())[:2]), across=True)
    assert across.shape == (2 * 4 + 2, 3 * 4 + 2, 3)
    assert [[cell(across, i, j, 2).min() for j in range(3)] for i in range(2)] == [[10, 20, 30], [11, 21, 31]]


def test_a_table_enlarges_smaller_images_pixel_by_pixel_and_sets_grey_beside_colour():
    draw = torch.Generator().manual_seed(0)
    small = torch.randint(256, (2, 1, 2, 2), dtype=torch.uint8, generator=draw)
    large = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8, generator=draw)
    picture = table({"source": small, "output": large})
    for i in range(2):
        assert (cell(picture, i, 0, 4) == colour(small[i].repeat_interleave(2, 1).repeat_interleave(2, 2))).all()
        assert (cell(picture, i, 1, 4) == colour(large[i])).all()


def test_one_picture_beneath_another_keeps_both():
    wide, narrow = np.full((3, 5, 3), 7, np.uint8), np.full((2, 4, 3), 9, np.uint8)
    for above, beneath in ((wide, narrow), (narrow, wide)):
        joined = below(above, beneath)
        assert joined.shape == (5, 5, 3)
        assert (joined[: len(above), : above.shape[1]] == above).all()
        assert (joined[len(above) :, : beneath.shape[1]] == beneath).all()
    assert (below(wide, narrow)[3:, 4] == 0).all()


def test_names_stand_above_their_columns_and_leave_the_grid_as_it_is():
    grid = tile(grey(*range(50, 58), size=28), 4)
    named = headed(grid, ["0", "1", "", "9"])
    strip = named[: -len(grid)]
    assert (named[-len(grid) :] == grid).all()
    assert len(strip) < 24
    ink = [bool(strip[:, 2 + i * 30 : 30 + i * 30].any()) for i in range(4)]
    assert ink == [True, True, False, True]
    assert (headed(grid, []) == grid).all()


def test_names_wider_than_a_column_stand_upright_and_long_ones_are_shortened():
    grid = tile(grey(50, 51, size=28), 2)
    short, upright, long = (headed(grid, ["cat", name]) for name in ("dog", "crocodile", "crocodile " * 20))
    assert len(grid) < len(short) < len(upright) < len(long) <= len(grid) + 10 * 8 + 4
    assert (headed(grid, ["cat", "crocodile " * 20]) == headed(grid, ["cat", "crocodile " * 30])).all()
    narrow = tile(grey(50, 51, size=8), 2)
    assert (headed(narrow, ["crocodile", "cat"]) == narrow).all()
    assert len(headed(narrow, ["1", "2"])) > len(narrow)


def test_columns_are_called_by_name_or_by_number_where_the_font_has_no_such_letters():
    assert titles([0, 2, 1, 3, 4], ["cat", "Größe", "éléphant", "猫", "a\x1b\nb"]) == [
        "cat",
        "elephant",
        "#1",
        "#3",
        "#4",
    ]


def test_columns_have_classes_where_each_shows_one_and_not_all_the_same():
    assert column_classes(torch.tensor([3, 1, 2, 3, 1, 2, 3]), 3) == [3, 1, 2]
    assert column_classes(torch.tensor([3, 1, 2, 3, 1, 3]), 3) == []
    assert column_classes(torch.tensor([3, 3, 3, 3]), 2) == []
    assert column_classes(None, 2) == []


def test_grids_of_a_conditional_run_name_their_classes_and_those_of_others_do_not(ganzoo):
    for model in ("tiny", "plain"):
        assert ganzoo("run", model, "--dataset", "small-digits", *RUN, "--steps", 5, "--out", model).code == 0
    grid, real = read("tiny/samples/00000005.png"), read("tiny/real.png")
    assert grid.shape == real.shape
    strip = len(grid) - (10 * 10 + 2)
    assert strip > 10
    assert (grid[:strip] == real[:strip]).all()
    assert (grid[:strip] == headed(tile(grey(*[0] * 100, size=8), 10), list("0123456789"))[:strip]).all()
    train = plugins.SmallDigits().load(DataRequest())
    for column in range(10):
        shown = cell(real[strip:], 3, column, 8)
        (at,) = [i for i in range(500) if (shown == colour(train.images[i])).all()]
        assert train.labels[at] == column
    assert read("plain/samples/00000005.png").shape == read("plain/real.png").shape == (82, 82, 3)


def test_grids_of_sample_name_their_classes(ganzoo):
    assert ganzoo("run", "tiny", "--dataset", "small-digits", *RUN, "--steps", 5, "--out", "r").code == 0
    assert ganzoo("sample", "r", "--label", "3,7", "-n", 6, "-o", "two.png").code == 0
    assert ganzoo("sample", "r", "--label", "7", "-n", 4, "-o", "one.png").code == 0
    assert ganzoo("sample", "r", "--label", "3,7", "-n", 6, "-o", "two.npz", "--grid").code == 2  # two.png is there.
    assert ganzoo("sample", "r", "--label", "3,7", "-n", 6, "-o", "beside.npz", "--grid").code == 0
    two = read("two.png")
    plain = tile(torch.from_numpy(arrays("beside.npz")["images"]), 2)
    assert (two == headed(plain, ["3", "7"])).all()
    assert len(two) > len(plain)
    assert (read("beside.png") == two).all()
    assert read("one.png").shape == (22, 22, 3)


def test_points_are_drawn_in_the_frame_of_the_data():
    data = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    alone = scatter({"data": data})
    assert (alone.shape, alone.dtype) == ((450, 450, 3), np.uint8)
    assert (scatter({"data": data}) == alone).all()
    lower = slice(200, None)  # Beneath the legend.
    assert (scatter({"data": data, "samples": data + 100})[lower] == alone[lower]).all()
    assert (scatter({"data": data, "samples": data / 2})[lower] != alone[lower]).any()
    third = torch.cat([data[:, :2], data[:, :1]], dim=1)
    assert (scatter({"data": third}) == alone).all()  # The first two numbers alone.


def test_vectors_of_one_number_are_histograms():
    data = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    assert scatter({"data": data, "samples": data + 1}).shape == (450, 450, 3)
    assert scatter({"data": data[:1]}).shape == (450, 450, 3)


# Runs


def test_a_run_that_translates_shows_sources_outputs_and_targets(ganzoo):
    done = ganzoo("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 40, "--out", "r")
    assert done.code == 0, done.err
    test = plugins.Pairs().load(DataRequest("test"))
    picture, real = read("r/samples/00000040.png"), read("r/real.png")
    assert picture.shape == (8 * 10 + 2, 3 * 10 + 2, 3)
    assert real.shape == (8 * 10 + 2, 2 * 10 + 2, 3)
    net = plugins.Translated(test.spec("small-pairs"))
    net.load_state_dict(load_file("r/generator.safetensors"))
    with torch.no_grad():
        outputs = to_uint8(net(normalise(test.sources[SHOWN]), None))
    for row, i in enumerate(SHOWN):
        assert (cell(picture, row, 0, 8) == colour(test.sources[i])).all()
        assert (cell(picture, row, 1, 8) == colour(outputs[row])).all()
        assert (cell(picture, row, 2, 8) == colour(test.images[i])).all()
        assert (cell(real, row, 0, 8) == colour(test.sources[i])).all()
        assert (cell(real, row, 1, 8) == colour(test.images[i])).all()


def test_a_resumed_run_goes_on_with_the_same_examples(ganzoo):
    assert ganzoo("run", "tiny-translator", "--dataset", "small-unpaired", *RUN, "--steps", 5, "--out", "r").code == 0
    done = ganzoo("resume", "r", "--steps", 10, "--quiet")
    assert done.code == 0, done.err
    before, after = read("r/samples/00000005.png"), read("r/samples/00000010.png")
    assert before.shape == after.shape == (8 * 10 + 2, 2 * 10 + 2, 3)
    test = plugins.Unpaired().load(DataRequest("test"))
    for row in range(8):
        assert (cell(before, row, 0, 8) == colour(test.sources[row * 299 // 7])).all()
        assert (cell(before, row, 0, 8) == cell(after, row, 0, 8)).all()
        assert (cell(before, row, 1, 8) != cell(after, row, 1, 8)).any()
        assert (cell(read("r/real.png"), row, 1, 8) == colour(test.images[SHOWN[row]])).all()


def test_pictures_of_another_model_stand_beneath_its_grid(ganzoo):
    for model in ("plain", "tiny-autoencoder"):
        assert ganzoo("run", model, "--dataset", "small-digits", *RUN, "--steps", 5, "--out", model).code == 0
    usual, picture = read("plain/samples/00000005.png"), read("tiny-autoencoder/samples/00000005.png")
    assert usual.shape == (82, 82, 3)
    assert picture.shape == (82 + 22, 82, 3)
    assert (picture[:82] == usual).all()
    test = plugins.SmallDigits().load(DataRequest("test"))
    for column, i in enumerate(SHOWN):
        assert (cell(picture[82:], 0, column, 8) == colour(test.images[i])).all()
        assert (cell(picture[82:], 1, column, 8) == colour(255 - test.images[i])).all()
    assert (read("plain/real.png") == read("tiny-autoencoder/real.png")).all()


def test_vectors_are_shown_as_points(ganzoo):
    done = ganzoo("run", "plain", "--dataset", "small-points", *RUN, "--steps", 5, "--out", "r")
    assert done.code == 0, done.err
    test = plugins.Points().load(DataRequest("test"))
    assert (read("r/real.png") == scatter({"data": test.images})).all()
    assert read("r/samples/00000005.png").shape == (450, 450, 3)
    assert (read("r/samples/00000005.png") != read("r/real.png")).any()


def test_vectors_beyond_what_a_tanh_reaches_are_told(ganzoo, monkeypatch):
    load, run = plugins.Points.load, ("run", "plain", "--dataset", "small-points", *RUN, "--steps", 5, "--out")
    assert "vectors of" not in ganzoo(*run, "within").err
    monkeypatch.setattr(plugins.Points, "load", lambda *a: ImageSet(3 * load(*a).images.clamp(-0.7, 0.5)))
    done = ganzoo(*run, "beyond")
    assert done.code == 0
    told = (
        "note: vectors of 'small-points' run from -2.1 to 1.5: a generator that ends in tanh, as most do, never leaves"
    )
    assert done.err.count(told) == 1


@pytest.mark.parametrize(("side", "most"), [(8, 64), (256, 31), (1024, 1)])
def test_large_images_are_drawn_in_parts_that_memory_holds(monkeypatch, side, most):
    gan = build(plugins.Plain, DataSpec("large", (1, side, side), 5), plugins.Plain.Options())
    drawn: list[int] = []

    def generate(z, y, source=None):
        drawn.append(len(z))
        return torch.zeros(1, 1, 1, 1).expand(len(z), 1, side, side)

    monkeypatch.setattr(gan, "generate", generate)
    sampler = Sampler(gan)
    drawn.clear()
    assert sampler.sample(40 if side < 1024 else 3).shape[1:] == (1, side, side)
    assert max(drawn) <= most
    drawn.clear()
    assert next(walk(sampler, 4, [None], [0], 2)).shape == (4, 1, side, side)
    assert max(drawn) <= most
    drawn.clear()
    classes = torch.zeros(4, 3), torch.ones(4, 3)
    assert len(on_the_way(gan, gan.sample_latent(4), *classes, 0.5)) == 4
    assert max(drawn) <= most


def test_loggers_get_the_same_picture(ganzoo, monkeypatch):
    seen = {}
    monkeypatch.setattr(TensorBoard, "image", lambda self, step, name, picture: seen.update({name: picture}))
    run = ("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 5, "--loggers", "tensorboard")
    done = ganzoo(*run, "--out", "r")
    assert done.code == 0, done.err
    assert (seen["generated"] == read("r/samples/00000005.png")).all()
    assert (seen["real"] == read("r/real.png")).all()


def test_looking_at_examples_changes_no_step(ganzoo, monkeypatch):
    def pictures(self, examples):
        judged = self.discriminator(examples.x, None)  # In evaluation mode, its dropout does nothing.
        assert torch.equal(judged, self.discriminator(examples.x, None))
        assert not torch.is_grad_enabled()
        return {"noise": examples.x * torch.rand(1)}

    monkeypatch.setattr(plugins.Autoencoder, "pictures", pictures)
    for interval in (1, 1000):
        run = ("run", "tiny-autoencoder", "--dataset", "small-digits", *RUN, "--steps", 20)
        done = ganzoo(*run, "--sample-interval", interval, "--out", interval)
        assert done.code == 0, done.err
    one, other = load_file("1/generator.safetensors"), load_file("1000/generator.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (lambda x: x[:3], r"pictures\(\) gives 'z' as \(3, 1, 8, 8\), not one for each of 8 examples"),
        (lambda x: x.flatten(1), r"'z' as \(8, 64\)"),
        (to_uint8, "images, float"),
        (lambda x: x.expand(-1, 2, -1, -1), r"\(8, 2, 8, 8\)"),
        (lambda x: "abc", "'z' as str"),
    ],
)
def test_pictures_that_are_none_end_the_run_at_its_start(ganzoo, monkeypatch, given, fault):
    monkeypatch.setattr(plugins.Autoencoder, "pictures", lambda self, examples: {"z": given(examples.x)})
    done = ganzoo("run", "tiny-autoencoder", "--dataset", "small-digits", *RUN, "--steps", 5, "--out", "r")
    assert done.code == 1
    assert "model 'tiny-autoencoder': " in done.err
    assert re.search(fault, done.err)
    assert not list(Path("r/samples").iterdir())


def _no_test_split(load):
    def broken(self, request):
        if request.split == "test":
            raise UsageError("no test images here")
        return load(self, request)

    return broken


def test_without_a_test_split_training_images_are_shown_and_a_line_says_so(ganzoo, monkeypatch):
    monkeypatch.setattr(plugins.Pairs, "load", _no_test_split(plugins.Pairs.load))
    done = ganzoo("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 5, "--out", "r")
    assert done.code == 0, done.err
    assert "grids show training images" in done.err
    assert "no test images here" in done.err
    train = plugins.Pairs().load(DataRequest())
    assert (cell(read("r/samples/00000005.png"), 1, 2, 8) == colour(train.images[SHOWN[1]])).all()


def test_a_test_split_without_sources_is_none(ganzoo, monkeypatch):
    load = plugins.Pairs.load

    def bare(self, request):
        data = load(self, request)
        if request.split == "test":
            data.sources = None
        return data

    monkeypatch.setattr(plugins.Pairs, "load", bare)
    done = ganzoo("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 5, "--out", "r")
    assert done.code == 0, done.err
    assert "it has no sources" in done.err


def test_a_model_with_nothing_to_show_never_opens_the_test_split(ganzoo, monkeypatch):
    monkeypatch.setattr(plugins.Pairs, "load", _no_test_split(plugins.Pairs.load))
    done = ganzoo("run", "tiny", "--dataset", "small-pairs", *RUN, "--steps", 5, "--out", "r")
    assert (done.code, done.err) == (0, "")


def test_a_run_that_began_with_other_sources_is_not_resumed(ganzoo, monkeypatch):
    assert ganzoo("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 5, "--out", "r").code == 0
    load = plugins.Pairs.load

    def smaller(self, request):
        data = load(self, request)
        return ImageSet(data.images, data.labels, data.classes, sources=data.sources[:, :, ::2, ::2])

    monkeypatch.setattr(plugins.Pairs, "load", smaller)
    done = ganzoo("resume", "r", "--steps", 10, "--quiet")
    assert done.code == 2
    assert "source_shape differ ([1, 8, 8] then, [1, 4, 4] now)" in done.err


# Evaluation


class Echo(ganzoo.GAN):
    """Gives its source back."""

    name = "echo"
    paper = "none"
    translates = True
    conditional = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = plugins.Translated(self.data)

    def generate(self, z, y, source=None):
        return source


def made(dataset: type[Dataset]):
    spec = plugins.Pairs().load(DataRequest("test")).spec("small-pairs")
    return Echo(spec, Echo.Options()), Reference(dataset())


def test_an_evaluation_asks_for_all_sources_of_its_reference_then_again_each_with_its_label():
    gan, reference = made(plugins.Pairs)
    batches = list(generated(gan, 700, 0, reference))
    images, labels = (torch.cat([getattr(batch, part) for batch in batches]) for part in ("images", "labels"))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(LABELS_SEED))
    index = order[torch.arange(700) % 500]
    assert torch.equal(images, reference.data.sources[index])
    assert torch.equal(labels, reference.data.labels[index])


def test_a_reference_without_sources_cannot_measure_a_translator():
    with pytest.raises(UsageError, match="the test split of 'small-digits' has no sources"):
        next(generated(*made(plugins.SmallDigits)[:1], 10, 0, Reference(plugins.SmallDigits())))


def test_the_fingerprint_of_a_reference_covers_its_sources():
    pairs = Reference(plugins.Pairs())
    assert pairs.fingerprint != Reference(plugins.SmallDigits()).fingerprint


def test_a_translator_is_measured_by_the_command(ganzoo):
    run = ("run", "tiny-translator", "--dataset", "small-pairs", *RUN, "--steps", 5, "--out", "r")
    assert ganzoo(*run).code == 0
    done = ganzoo("eval", "r", "--features", "look", "--metrics", "fid", "--n", 100)
    assert done.code == 0, done.err
    assert "FID" in done.out


def test_vectors_are_measured_by_their_own_numbers_and_not_as_images(ganzoo):
    run = ("run", "plain", "--dataset", "small-points", *RUN, "--steps", 5)
    done = ganzoo(*run, "--eval-every", 1, "--out", "a")
    assert done.code == 0, done.err
    assert {"precision", "recall"} <= read_metrics(Path("a"))[-1].keys()
    done = ganzoo("eval", "a", "--n", 100, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert set(result["metrics"]) == {"precision", "recall", "density", "coverage"}
    assert (result["protocol"]["shape"], result["protocol"]["extractor"]) == ([2], "coordinates")
    for arguments, told in (
        (("--features", "look"), "--features is for images, and 'small-points' holds vectors"),
        (("--metrics", "fid"), "metric 'fid' is of images, and 'small-points' holds vectors"),
        (("--metrics", "modes"), "data set 'small-points' does not say what its modes are"),
        (("--dataset", "small-digits"), "vectors cannot be compared with 'small-digits', which holds images"),
    ):
        done = ganzoo("eval", "a", *arguments)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert told in done.err
    done = ganzoo("features", "train", "--dataset", "small-points")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "holds vectors" in done.err


# Elsewhere


def test_the_demo_is_of_images(ganzoo):
    assert ganzoo("run", "plain", "--dataset", "small-points", *RUN, "--steps", 5, "--out", "plain").code == 0
    done = ganzoo("demo", "plain", "--no-browser", "--port", 0)
    assert done.code == 2
    assert "model 'plain' makes vectors: the demo shows images" in done.err


def test_a_report_shows_vectors_as_points_and_says_where_translations_are(ganzoo):
    for model, dataset in (("plain", "small-points"), ("tiny-translator", "small-pairs")):
        assert ganzoo("run", model, "--dataset", dataset, *RUN, "--steps", 5, "--out", model).code == 0
        done = ganzoo("compare", model, "-o", f"{model}.html")
        assert done.code == 0, done.err
    assert "the first two numbers of 60 samples of plain" in Path("plain.html").read_text()
    assert (
        "held-out images and what tiny-translator, seed 0, makes of them at step 5"
        in Path("tiny-translator.html").read_text()
    )


def test_a_slow_run_draws_a_first_grid_by_time_and_nothing_else_changes(ganzoo, monkeypatch):
    arguments = ("run", *TINY, "--steps", 6, "--sample-interval", 4, "--checkpoint-interval", 6)
    assert ganzoo(*arguments, "--out", "quick").code == 0
    monkeypatch.setattr("ganzoo.runs.run.FIRST_GRID_SECONDS", 0.0)
    slow = ganzoo(*arguments, "--out", "slow")
    assert "a first grid, after step " in slow.err
    quick, early = Path("quick"), Path("slow")
    assert read(early / "first.png").shape == read(early / "samples" / "00000004.png").shape
    assert (early / "first.png").read_bytes() != (early / "samples" / "00000006.png").read_bytes()
    for name in ("generator.safetensors", "samples/00000004.png", "samples/00000006.png", "real.png"):
        assert (quick / name).read_bytes() == (early / name).read_bytes(), name
    timing = {"seconds", "images_per_second", "wait"}
    logs = [[{k: v for k, v in line.items() if k not in timing} for line in read_metrics(f)] for f in (quick, early)]
    assert logs[0] == logs[1]
    # A run that has a grid needs no first one.
    (early / "first.png").unlink()
    assert ganzoo("resume", "slow", "--steps", 8).code == 0
    assert not (early / "first.png").exists()


def test_a_run_that_comes_to_its_first_grid_in_time_draws_no_other(ganzoo, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.run.FIRST_GRID_SECONDS", 3600.0)
    assert ganzoo("run", *TINY, "--steps", 4, "--sample-interval", 2, "--out", "r").code == 0
    assert not Path("r/first.png").exists()
