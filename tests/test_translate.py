"""Images made from images: by `translate` from tensors, by `sample --from` from files and the test split."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ganzoo as zoo
from ganzoo.data import DataRequest, DataSpec, imagefiles, normalise, to_uint8
from ganzoo.errors import UsageError
from ganzoo.runs import sources
from ganzoo.runs.pictures import tile
from ganzoo.runs.sampler import Sampler
from ganzoo_test_plugins import Pairs, Tiny


class Scaled(nn.Module):
    """The source, times a number for each class, in as many channels as asked for; of any size."""

    def __init__(self, channels, classes):
        super().__init__()
        self.channels = channels
        self.scale = nn.Embedding(max(classes, 1), 1)
        nn.init.ones_(self.scale.weight)
        with torch.no_grad():
            self.scale.weight.copy_(torch.arange(1, max(classes, 1) + 1).view(-1, 1) / 10)

    def forward(self, source, y):
        x = source.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        return x if y is None else x * self.scale(y).view(-1, 1, 1, 1)


class Translate(Tiny):
    """Makes images from images."""

    name = "translate"
    conditional = False
    translates = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Scaled(self.data.shape[0], len(self.data.classes))


class Classed(Translate):
    """The same with classes."""

    conditional = True


class Noisy(Translate):
    """Draws within the generator."""

    def generate(self, z, y, source=None):
        return source + torch.randn_like(source)


def sampler(model=Translate, source=(1, 8, 8), channels=1):
    spec = DataSpec("pairs", (channels, 8, 8), 10, tuple("abc"), source_shape=source)
    return Sampler(model(spec, Tiny.Options()))


GREY = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)


def test_whole_numbers_and_floats_of_the_same_pixels_give_the_same_images():
    made = sampler(channels=3).translate(GREY)
    assert made.dtype == torch.float32
    assert torch.equal(made, normalise(GREY).expand(-1, 3, -1, -1))
    assert torch.equal(sampler(channels=3).translate(normalise(GREY)), made)


def test_a_generator_that_takes_any_size_gets_larger_images_as_they_are():
    large = torch.zeros(1, 1, 12, 20, dtype=torch.uint8)
    assert sampler().translate(large).shape == (1, 1, 12, 20)


def test_what_another_size_breaks_is_told_in_one_line():
    class Flat(Translate):
        def generate(self, z, y, source=None):
            return (source.flatten(1) @ torch.eye(64)).view(-1, 1, 8, 8)

    assert sampler(Flat).translate(GREY).shape == (2, 1, 8, 8)
    with pytest.raises(UsageError, match="trained on images of 8 x 8 pixels and takes none of 20 x 12: resize them"):
        sampler(Flat).translate(torch.zeros(1, 1, 12, 20, dtype=torch.uint8))


def test_grey_becomes_colour_and_colour_grey_with_a_note(capsys):
    assert torch.allclose(sampler(source=(3, 8, 8)).translate(GREY), normalise(GREY), atol=1e-6)
    assert "note: grey images are taken as colour" in capsys.readouterr().err
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    made = sampler().translate(red)
    assert "note: colour images are taken as grey" in capsys.readouterr().err
    assert torch.allclose(made, normalise(torch.full((1, 1, 8, 8), 76, dtype=torch.uint8)))
    assert torch.allclose(sampler().translate(normalise(red)), torch.full((1, 1, 8, 8), 2 * 0.299 - 1), atol=1e-6)


def test_labels_are_one_for_all_or_one_for_each_and_in_turn_by_default():
    ones, s = torch.ones(4, 1, 8, 8), sampler(Classed)
    assert s.translate(ones, ["b"])[:, 0, 0, 0].tolist() == pytest.approx([0.2] * 4)
    assert s.translate(ones, [0, 2, 2, 1])[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.3, 0.3, 0.2])
    assert s.translate(ones)[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.1])
    with pytest.raises(UsageError, match="4 images, but 3 labels"):
        s.translate(ones, [0, 1, 2])
    with pytest.raises(UsageError, match="takes no label"):
        sampler().translate(ones, [0])


def test_a_seed_gives_the_same_images_and_parts_do_not_repeat_each_other():
    images = torch.zeros(1001, 1, 8, 8, dtype=torch.uint8)
    made = sampler(Noisy).translate(images, seed=3)
    assert torch.equal(made, sampler(Noisy).translate(images, seed=3))
    assert not torch.equal(made, sampler(Noisy).translate(images, seed=4))
    assert len(made.flatten(1)[:, 0].unique()) > 990


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY[:0], r"\(N, C, H, W\) with 1 or 3 channels, not \(0, 1, 8, 8\)"),
        (GREY[0], r"not \(1, 8, 8\)"),
        (GREY.expand(-1, 2, -1, -1), r"not \(2, 2, 8, 8\)"),
        (GREY.numpy(), "not ndarray"),
        (GREY.long(), "uint8, or float in .* not int64"),
        (GREY.float(), r"must lie in \[-1, 1\]"),
        (torch.full((1, 1, 8, 8), float("nan")), r"must lie in \[-1, 1\]"),
        (GREY[:, :, :7], "images of 8 x 7 pixels are too small: model 'translate' was trained on 8 x 8"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(images, message):
    with pytest.raises(UsageError, match=message):
        sampler().translate(images)


def test_each_way_of_drawing_names_the_other():
    with pytest.raises(UsageError, match="makes images from images: translate some"):
        sampler().sample(2)
    plain = Sampler(Tiny(DataSpec("digits", (1, 8, 8), 10, tuple("abc")), Tiny.Options()))
    with pytest.raises(UsageError, match="does not make images from images: draw from it with sample"):
        plain.translate(GREY)


# From files and the test split


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a translator of 8 x 8 grey images, and one of a model with classes."""
    folder = tmp_path_factory.mktemp("translators")
    options = {"steps": 2, "batch_size": 32, "loggers": (), "progress": False, "engine": "eager"}
    zoo.train("tiny-translator", dataset="small-pairs", out=folder / "t", **options)
    zoo.train("tiny-labelled-translator", dataset="small-pairs", out=folder / "labelled", **options)
    zoo.train("tiny", dataset="small-digits", out=folder / "plain", **options)
    return folder


@pytest.fixture
def runs(made, ganzoo, tmp_path):
    for name in ("t", "labelled", "plain"):
        shutil.copytree(made / name, tmp_path / name)


def paint(path, size=(8, 8), value=100, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)
    return path


def read(path):
    return torch.from_numpy(np.array(Image.open(path)))


def test_a_picture_becomes_a_picture(ganzoo, runs, tmp_path):
    paint(tmp_path / "a.png", value=40)
    result = ganzoo("sample", "t", "--from", "a.png", "-o", "out.png")
    assert (result.code, result.out.strip(), result.err) == (0, "out.png", "")
    source = torch.full((1, 1, 8, 8), 40, dtype=torch.uint8)
    assert torch.equal(read(tmp_path / "out.png"), to_uint8(zoo.load("t").translate(source))[0, 0])


def test_a_folder_keeps_its_names_and_its_folders(ganzoo, runs, tmp_path):
    for name in ("in/b.jpg", "in/a.png", "in/deep/c.png", "in/.hidden.png"):
        paint(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "out").mkdir()
    result = ganzoo("sample", "t", "--from", "in", "-o", "out", "--json")
    told = json.loads(result.out)
    assert told["files"] == ["out/a.png", "out/b.png", "out/deep/c.png"]
    assert (told["images"], told["shape"]) == (3, [1, 8, 8])
    assert sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*.png")) == told["files"]
    assert ganzoo("sample", "t", "--from", "in", "-n", 2, "-o", "two").code == 0
    assert len(list((tmp_path / "two").iterdir())) == 2
    assert "out exists already and is not an empty folder" in ganzoo("sample", "t", "--from", "in", "-o", "out").err


def test_what_stands_in_a_chunk_does_not_matter(ganzoo, runs, tmp_path, monkeypatch):
    for i in range(7):
        paint(tmp_path / "in" / f"{i}.png", value=30 * i)
    assert ganzoo("sample", "t", "--from", "in", "-o", "whole").code == 0
    read_at_once = []
    monkeypatch.setattr(sources.ImageFiles, "read_all", lambda files: read_at_once.append(len(files)) or ALL(files))
    monkeypatch.setattr("ganzoo.metrics.classifier.LOOKED_AT", 3)
    assert ganzoo("sample", "t", "--from", "in", "-o", "parts").code == 0
    assert read_at_once == [3, 3, 1]
    for i in range(7):
        assert torch.equal(read(tmp_path / "whole" / f"{i}.png"), read(tmp_path / "parts" / f"{i}.png"))


ALL = sources.ImageFiles.read_all


def test_other_sizes_and_colours_are_told_and_brought_to_what_the_model_takes(ganzoo, runs, tmp_path):
    picture = Image.new("L", (24, 16), 255)
    picture.paste(77, (4, 0, 20, 16))  # The middle square.
    picture.save(tmp_path / "wide.png")
    result = ganzoo("sample", "t", "--from", "wide.png", "-o", "out.png")
    assert result.err.splitlines() == [
        "note: the model takes no other size than it was trained on: pictures are cropped to the square in their "
        "middle and resized to 8 x 8 pixels"
    ]
    middle = torch.full((1, 1, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(read(tmp_path / "out.png"), to_uint8(zoo.load("t").translate(middle))[0, 0])
    paint(tmp_path / "red.png", mode="RGB", value=255)
    result = ganzoo("sample", "t", "--from", "red.png", "-o", "out.png")
    assert result.err.splitlines() == ["note: colour pictures are taken as grey, which the model was trained on"]


def test_the_test_split_is_translated_in_order(ganzoo, runs, tmp_path):
    assert ganzoo("sample", "t", "--from", "test", "-n", 5, "-o", "out").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i:06d}.png" for i in range(5)]
    images = Pairs().load(DataRequest("test")).sources[:5]
    expected = to_uint8(zoo.load("t").translate(images))
    for i in range(5):
        assert torch.equal(read(tmp_path / "out" / f"{i:06d}.png"), expected[i, 0])
    assert ganzoo("sample", "t", "--from", "test").code == 0
    assert len(list((tmp_path / "t" / "translated").iterdir())) == 64


def test_what_is_made_of_a_folder_is_written_in_every_form_that_samples_are(ganzoo, runs, tmp_path):
    for i in range(9):
        paint(tmp_path / "in" / f"{i}.png")
    expected = to_uint8(zoo.load("t").translate(torch.full((4, 1, 8, 8), 100, dtype=torch.uint8)))
    assert ganzoo("sample", "t", "--from", "in", "-n", 4, "-o", "out", "--grid").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i}.png" for i in range(4)]
    assert ganzoo("sample", "t", "--from", "in", "-n", 4, "-o", "out.npz").code == 0
    with np.load(tmp_path / "out.npz") as file:
        assert torch.equal(torch.from_numpy(file["images"]), expected)
    assert ganzoo("sample", "t", "--from", "in", "-n", 4, "-o", "grid.png").code == 0
    assert torch.equal(read(tmp_path / "grid.png"), torch.from_numpy(tile(expected, 2)))
    assert torch.equal(read(tmp_path / "out.png"), read(tmp_path / "grid.png"))


def test_classes_are_those_that_are_named_in_turn_or_those_of_the_test_split(ganzoo, runs, tmp_path):
    sampler, data = zoo.load("labelled"), Pairs().load(DataRequest("test"))
    for i in range(3):
        paint(tmp_path / "in" / f"{i}.png")
    assert ganzoo("sample", "labelled", "--from", "in", "--label", "2,5", "-o", "named").code == 0
    expected = to_uint8(sampler.translate(torch.full((3, 1, 8, 8), 100, dtype=torch.uint8), [2, 5, 2]))
    for i in range(3):
        assert torch.equal(read(tmp_path / "named" / f"{i}.png"), expected[i, 0])
    assert ganzoo("sample", "labelled", "--from", "test", "-n", 6, "-o", "test").code == 0
    expected = to_uint8(sampler.translate(data.sources[:6], data.labels[:6].tolist()))
    for i in range(6):
        assert torch.equal(read(tmp_path / "test" / f"{i:06d}.png"), expected[i, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("t", "makes images from images: say --from PICTURE, FOLDER or test"),
        ("plain --from in -o out", "does not make images from images: leave out --from"),
        ("t --from nowhere -o out", "--from nowhere: there is no such picture or folder"),
        ("t --from empty -o out", "no images in empty"),
        ("t --from broken -o out", "image broken/b.png is broken, or not an image"),
        ("t --from broken/b.png -o out.png", "image broken/b.png is broken, or not an image"),
        ("t --from twice -o out", "a.jpg and a.png would both become a.png: rename one"),
        ("t --from in -o out --label 3", "draws without classes: it takes no label"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(ganzoo, runs, tmp_path, arguments, message):
    for name in ("in/a.png", "in/b.png", "twice/a.png", "twice/a.jpg", "broken/a.png"):
        paint(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "b.png").write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    result = ganzoo("sample", *arguments.split())
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_picture_that_breaks_on_the_way_leaves_no_folder_behind(ganzoo, runs, tmp_path, monkeypatch):
    for i in range(4):
        paint(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "3.png").write_bytes((tmp_path / "in" / "3.png").read_bytes()[:40])
    monkeypatch.setattr(sources, "survey", lambda paths: imagefiles.Survey({(8, 8)}, grey=True))
    monkeypatch.setattr("ganzoo.metrics.classifier.LOOKED_AT", 2)
    result = ganzoo("sample", "t", "--from", "in", "-o", "out")
    assert result.code == 2
    assert "image in/3.png" in result.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "labelled", "plain", "t"]
