"""Pictures of two kinds: pairs in folders A and B or side by side, CycleGAN's folders, and what is wrong with some."""

import io
import json

import numpy as np
import pytest
import torch
from ganzoo_plugins.folder import Folder
from PIL import Image

import ganzoo as zoo
from ganzoo import errors
from ganzoo.data import DataRequest, Loader, Views, open_dataset
from ganzoo.errors import UsageError
from test_formats import CONTAINERS, packed, write


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    monkeypatch.setattr(errors, "_told", set())


@pytest.fixture(params=CONTAINERS[:3])
def keep(request, tmp_path):
    """Writes files into a folder or an archive."""
    path = tmp_path / request.param
    return lambda files: write(path, files) if request.param == "folder" else packed(path, files)


def load(root, split="train", size=None, channels=None, **options):
    return open_dataset(Folder(), DataRequest(split, root, size, channels, options))


def saved(picture: Image.Image, kind="PNG", **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def png(level, size=(16, 16), mode="L") -> bytes:
    return saved(Image.new(mode, size, level))


def noise(seed, size=(16, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def levels(images) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def pairs(count=3, a="A", b="B", place="{side}/{i}.png"):
    """Of A as many levels as there are, of B the same from 100 on."""
    files = {}
    for i in range(count):
        files[place.format(side=a, i=i)] = png(i)
        files[place.format(side=b, i=i)] = png(100 + i)
    return files


def test_equal_names_in_a_and_b_are_pairs(keep, capsys):
    data = load(keep(pairs()), layout="pairs")
    assert (levels(data.sources), levels(data.images)) == ([0, 1, 2], [100, 101, 102])
    assert data.paired
    assert data.labels is None
    assert "3 pairs by name: A is what B is to be made from" in capsys.readouterr().err


def test_a_direction_turns_every_kind_round(keep):
    data = load(keep(pairs()), layout="pairs", direction="BtoA")
    assert (levels(data.sources), levels(data.images)) == ([100, 101, 102], [0, 1, 2])


def test_names_are_equal_whatever_their_endings_and_folders(keep):
    files = {"a/deep/x.png": png(1), "a/y.png": png(2), "b/deep/x.bmp": saved(Image.new("L", (16, 16), 3), "BMP")}
    data = load(keep({**files, "b/y.png": png(4)}), layout="pairs")
    assert sorted(zip(levels(data.sources), levels(data.images), strict=True)) == [(1, 3), (2, 4)]


@pytest.mark.parametrize("place", ["{{side}}/{split}/{{i}}.png", "{split}/{{side}}/{{i}}.png"])
def test_splits_lie_below_the_sides_or_above_them(keep, place):
    files = {}
    for split, count in (("train", 3), ("val", 2)):
        files |= pairs(count, place=place.format(split=split))
    root = keep(files)
    for split, count in (("train", 3), ("test", 2)):
        data = load(root, split, layout="pairs")
        assert (levels(data.sources), len(data), data.split) == ([*range(count)], count, "")


def test_pairs_that_are_not_split_are_held_out_as_pairs(keep):
    root = keep(pairs(30))
    train, test = (load(root, split, layout="pairs", test_share=0.3) for split in ("train", "test"))
    assert len(train) + len(test) == 30
    assert test.split == "held-out"
    for data in (train, test):
        assert [n + 100 for n in levels(data.sources)] == levels(data.images)


def test_classes_called_a_and_b_stay_classes_and_what_else_they_may_be_is_told(keep, capsys):
    data = load(keep(pairs()))
    assert data.classes == ("A", "B")
    assert "A and B are taken for classes; their pictures have equal names" in capsys.readouterr().err
    load(keep({"A/1.png": png(1), "B/2.png": png(2)}))
    assert "taken for classes" not in capsys.readouterr().err


@pytest.mark.parametrize("names", [("trainA", "trainB", "testA", "testB"), ("TRAINa", "trainb", "vala", "ValB")])
def test_cyclegans_folders_are_two_sets_without_pairs(keep, names, capsys):
    files = {f"{name}/{i}.png": png(10 * k + i) for k, name in enumerate(names) for i in range(2 + k % 2)}
    root = keep(files)
    data = load(root)
    assert (levels(data.sources), levels(data.images), data.paired) == ([0, 1], [10, 11, 12], False)
    assert "two sets without pairs, as CycleGAN has them" in capsys.readouterr().err
    test = load(root, "test", direction="BtoA")
    assert (levels(test.sources), levels(test.images)) == ([30, 31, 32], [20, 21])


def test_sets_without_a_test_split_have_a_share_of_each_held_out(keep):
    root = keep({f"train{side}/{i}.png": png(i + 100 * k) for k, side in enumerate("AB") for i in range(20)})
    train, test = (load(root, split, test_share=0.25) for split in ("train", "test"))
    assert levels(train.images) + levels(test.images) != levels(train.images)
    for side in ("images", "sources"):
        assert len(set(levels(getattr(train, side))) & set(levels(getattr(test, side)))) == 0
        assert len(getattr(train, side)) + len(getattr(test, side)) == 20


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pictures_side_by_side_are_cut_in_the_middle(keep, direction):
    halves = [noise(0), noise(1)]
    sheet = Image.new("RGB", (32, 16))
    sheet.paste(halves[0], (0, 0))
    sheet.paste(halves[1], (16, 0))
    root = keep({f"{split}/x.png": saved(sheet) for split in ("train", "val")})
    data = load(root, layout="side-by-side", direction=direction)
    a, b = (data.sources, data.images) if direction == "AtoB" else (data.images, data.sources)
    assert torch.equal(a[0], tensor(halves[0]))
    assert torch.equal(b[0], tensor(halves[1]))


def test_a_pair_is_cropped_and_resized_alike(keep):
    wide = noise(3, (38, 16))
    data = load(keep({"A/x.png": saved(wide), "B/x.png": saved(wide)}), size=8, layout="pairs")
    assert torch.equal(data.images, data.sources)
    assert data.images.shape == (1, 3, 8, 8)


def test_sources_may_be_a_whole_number_of_times_smaller_or_larger(keep):
    small = noise(4, (19, 8))
    large = small.resize((38, 16), Image.Resampling.NEAREST)
    root = keep({"A/x.png": saved(small), "B/x.png": saved(large)})
    for direction in ("AtoB", "BtoA"):
        data = load(root, size=16 if direction == "AtoB" else 8, layout="pairs", direction=direction)
        one, other = (data.sources, data.images) if direction == "AtoB" else (data.images, data.sources)
        assert (one.shape[2:], other.shape[2:]) == ((8, 8), (16, 16))
        enlarged = one.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(enlarged, other)  # The same square of both: its corner is a whole pixel of the small one.
    with pytest.raises(UsageError, match="images are 2 times as large as their sources: --image-size must be a multi"):
        load(root, size=15, layout="pairs")


def test_random_views_treat_a_pair_alike_in_every_layout(tmp_path):
    picture = noise(5)
    sheet = Image.new("RGB", (32, 16))
    sheet.paste(picture, (0, 0))
    sheet.paste(picture, (16, 0))
    torch.manual_seed(0)
    for layout, places, held in (("pairs", ("A", "B"), picture), ("side-by-side", ("both",), sheet)):
        root = write(tmp_path / layout, {f"{place}/{i}.png": saved(held) for place in places for i in range(4)})
        batch = next(
            Loader(load(root, layout=layout), 4, 0, torch.device("cpu"), sources=True, views=Views(True, 6)).batches()
        )
        assert torch.equal(batch.x, batch.source)
        assert not torch.equal(batch.x[0], batch.x[1])


def test_a_picture_that_was_turned_is_a_pair_of_one_that_stands(keep):
    exif = Image.Exif()
    exif[0x0112] = 6
    standing = Image.fromarray(np.add.outer(np.arange(20) * 9, np.arange(12) * 5).astype(np.uint8))
    lying = saved(standing.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=100)
    data = load(keep({"A/x.jpg": lying, "B/x.png": saved(standing)}), size=12, layout="pairs")
    assert (data.images.int() - data.sources.int()).abs().max() <= 3  # But for JPEG's losses.


def test_grey_and_colour_stay_so_with_a_word_and_channels_brings_both_to_one(keep, capsys):
    root = keep({"A/x.png": png(9), "B/x.png": saved(noise(1))})
    assert load(root, layout="pairs").spec("x").source_shape == (1, 16, 16)
    assert "sources are grey, images in colour: --channels 1 or 3 brings both to one" in capsys.readouterr().err
    spec = load(root, channels=3, layout="pairs").spec("x")
    assert (spec.shape[0], spec.source_shape[0]) == (3, 3)


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        (
            {**pairs(5), "A/odd.png": png(1), "B/even.png": png(1), "B/last.png": png(1)},
            {"layout": "pairs"},
            "3 of 13 pictures have no counterpart of their name in the other of A and B (A/odd.png, B/even.png, "
            "B/last.png): add it",
        ),
        (
            {**pairs(3), "A/2.png": png(1, (15, 16))},
            {"layout": "pairs"},
            "1 of 3 pairs in {root} are of unequal size (2: 15 x 16 and 16 x 16 pixels): both sides are of one size",
        ),
        ({"cats/x.png": png(1), "dogs/x.png": png(1)}, {"layout": "pairs"}, "has no two folders A and B alone"),
        ({"A/x.png": png(1), "A/x.bmp": png(1), "B/x.png": png(1)}, {"layout": "pairs"}, "A/x.png have one name"),
        (
            {"trainA/x.png": png(1), "trainA/y.png": png(1), "other/x.png": png(1)},
            {},
            "has no folder trainB, and its other side is there",
        ),
        (
            {"trainA/x.png": png(1), "trainA/y.png": png(1), "trainB/x.png": png(1)},
            {},
            "trainB holds one picture: a set without pairs takes 2 or more",
        ),
        ({"a.png": png(1)}, {"direction": "AtoB"}, "--direction is for pictures of two kinds: {root} has no trainA"),
        (
            {"a.png": png(1, (15, 8))},
            {"layout": "side-by-side"},
            "{root} have an odd width (a.png: 15 x 8)",
        ),
        (
            {**pairs(2), "A/1.png": b"no picture"},
            {"layout": "pairs"},
            "is broken, or not an image: its format cannot be told; --skip-broken leaves it out",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(keep, files, options, told):
    root = keep(files)
    with pytest.raises(UsageError) as error:
        load(root, **options)
    assert told.replace("{root}", str(root)) in str(error.value)
    assert "\n" not in str(error.value)


def test_pairs_below_splits_that_are_taken_for_classes_are_told(tmp_path, capsys):
    files = {f"{s}/{side}/{i}.png": png(i) for s in ("train", "val") for side in "AB" for i in range(2)}
    assert load(write(tmp_path / "a", files)).classes == ("A", "B")
    assert "A and B are taken for classes; their pictures have equal names" in capsys.readouterr().err
    files = {f"{s}/{side}/{i}.png": png(i) for s in ("cat", "dog") for side in "AB" for i in range(2)}
    assert load(write(tmp_path / "b", files)).classes == ("cat", "dog")
    assert "taken for classes" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_turned_pictures_side_by_side_keep_their_own_size(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        Image.new("L", (16, 32), 90).save(tmp_path / f"{i}.{kind}", exif=exif)  # Upright 32 x 16, halves of 16 x 16.
    assert load(tmp_path, layout="side-by-side").images.shape == (2, 1, 16, 16)


def test_an_empty_side_is_told(tmp_path):
    root = write(tmp_path / "sets", {"trainA/x.png": png(1), "trainA/y.png": png(1)})
    (root / "trainB").mkdir()
    with pytest.raises(UsageError, match="trainB holds no pictures"):
        load(root)
    root = write(tmp_path / "pairs", {"A/x.png": png(1)})
    (root / "B").mkdir()
    with pytest.raises(UsageError, match="B holds no pictures"):
        load(root, layout="pairs")


def test_broken_pictures_are_left_out_with_their_counterparts(keep, capsys):
    data = load(keep({**pairs(4), "A/1.png": b"none", "B/2.png": b"none"}), layout="pairs", skip_broken=True)
    assert (levels(data.sources), levels(data.images)) == ([0, 3], [100, 103])
    assert "2 of 4 pairs are left out, for one of their pictures cannot be read: 1, 2" in capsys.readouterr().err


def test_inspect_tells_such_layouts_and_shows_pairs_side_by_side(ganzoo, tmp_path):
    write(tmp_path / "p", pairs(3))
    result = ganzoo("data", "inspect", "p", "--layout", "pairs", "--json", "-o", "p.png")
    report = json.loads(result.out)
    assert (report["format"], report["pictures"]) == ("a folder of pairs, A and B", 6)
    assert report["run"]["sources"] == {"shape": [1, 16, 16], "count": 3, "paired": True}
    shown = np.array(Image.open(tmp_path / "p.png"))
    assert (shown[3, 3, 0], shown[3, 21, 0], shown[21, 3, 0], shown[21, 21, 0]) == (0, 100, 1, 101)
    write(tmp_path / "u", {f"train{s}/{i}.png": png(50 * k) for k, s in enumerate("AB") for i in range(2 + k)})
    told = ganzoo("data", "inspect", "u", "-o", "u.png").out
    assert "a folder of two sets without pairs" in told
    assert "made from 2 others, 16x16x1: for models that make images from images" in told
    assert ganzoo("data", "convert", "u", "u.zip").code == 2


def test_two_folders_become_a_trained_translator(ganzoo, tmp_path):
    write(tmp_path / "p", pairs(12))
    options = ("--batch-size", 4, "--steps", 2, "--loggers", "none", "--image-size", 8)
    data = ("--dataset", "folder", "--data-root", "p", "--layout", "pairs", "--test-share", 0.3)
    assert ganzoo("run", "tiny-translator", *data, *options, "--out", "r").code == 0
    info = json.loads((tmp_path / "r" / "run.json").read_text())
    assert info["data"]["source_shape"] == [1, 8, 8]
    assert ganzoo("sample", "r", "--from", "test", "-n", 2, "-o", "out").code == 0
    assert ganzoo("resume", "r", "--steps", 4).code == 0
    assert zoo.load(tmp_path / "r").data.paired
