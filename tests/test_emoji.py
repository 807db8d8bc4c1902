"""The emoji: what is embedded, how it is divided, that the sides of a pair belong together, and how it was made."""

import csv
import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path

import ganzoo_plugins.emoji as emoji
import numpy as np
import pytest
import torch
from ganzoo_plugins.emoji import make
from PIL import Image

import ganzoo as ganzoo_api
from ganzoo.data import DataRequest, open_dataset
from ganzoo.errors import GanzooError
from ganzoo.metrics.classifier import accuracy
from ganzoo.plugins import registry

SPLITS = {"train": 1687, "test": 184}
COUNTS = {"train": [148, 327, 144, 122, 198, 77, 241, 195, 235], "test": [21, 33, 15, 9, 20, 8, 23, 29, 26]}
CLASSES = ("smileys", "people", "animals", "food", "travel", "activities", "objects", "symbols", "flags")
NAMES = ("emoji", "emoji-noto", "emoji-twemoji", "emoji-styles", "emoji-styles-unpaired")


def opened(name, split="train", **request):
    return open_dataset(registry().get("datasets", name)(), DataRequest(split, **request))


def distinct(images):
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("name", "styles"), [("emoji", 2), ("emoji-noto", 1), ("emoji-twemoji", 1)])
def test_each_style_has_the_same_emoji_of_nine_classes(name, styles, split):
    data = opened(name, split)
    assert (data.images.shape, data.images.dtype) == ((styles * SPLITS[split], 3, 32, 32), torch.uint8)
    assert (data.classes, data.labels.dtype) == (CLASSES, torch.int64)
    assert data.labels.bincount().tolist() == [styles * count for count in COUNTS[split]]
    assert len(distinct(data.images)) == len(data)  # No picture comes twice.
    assert data.sources is None


@pytest.mark.parametrize("split", SPLITS)
def test_both_styles_are_one_after_the_other(split):
    both, noto, twemoji = (opened(name, split) for name in ("emoji", "emoji-noto", "emoji-twemoji"))
    assert torch.equal(both.images, torch.cat([noto.images, twemoji.images]))
    assert torch.equal(both.labels, torch.cat([noto.labels, twemoji.labels]))
    assert not distinct(noto.images) & distinct(twemoji.images)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("style", emoji.STYLES)
def test_a_style_is_the_set_of_its_own_name(style, split):
    chosen, named = opened("emoji", split, options={"style": style}), opened(f"emoji-{style}", split)
    assert torch.equal(chosen.images, named.images)
    assert torch.equal(chosen.labels, named.labels)
    assert torch.equal(opened("emoji", split, options={"style": "both"}).images, opened("emoji", split).images)


def test_the_style_goes_with_a_run_into_its_record_resume_and_evaluation(ganzoo, tmp_path):
    train = ("--style", "twemoji", "--batch-size", "8", "--loggers", "none", "--quiet")
    assert ganzoo("run", "tiny", "--dataset", "emoji", *train, "--steps", "2", "--out", "runs/a").code == 0
    info = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    assert info["settings"]["data_options"] == {"style": "twemoji"}
    assert info["data"]["count"] == SPLITS["train"]
    assert ganzoo("resume", "runs/a", "--steps", "4").code == 0
    told = ganzoo("eval", "runs/a", "--metrics", "fid", "--n", "50")
    assert told.code == 0, told.err
    assert f"emoji test ({SPLITS['test']})" in told.out


def test_the_style_from_python(tmp_path):
    few = {"batch_size": 8, "steps": 1, "loggers": ()}
    ganzoo_api.train("tiny", dataset="emoji", data_options={"style": "noto"}, out=tmp_path / "run", **few)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["settings"]["data_options"], info["data"]["count"]) == ({"style": "noto"}, SPLITS["train"])
    with pytest.raises(GanzooError, match="data set 'emoji-noto' has no option --style: it has none"):
        ganzoo_api.train("tiny", dataset="emoji-noto", data_options={"style": "noto"}, steps=1, out=tmp_path / "other")


@pytest.mark.parametrize("other", ["mnist", "emoji-noto", "emoji-styles", "folder"])
def test_the_style_of_another_data_set_is_one_line_that_says_whose_it_is(ganzoo, other):
    result = ganzoo("run", "tiny", "--dataset", other, "--style", "noto")
    assert result.code == 2
    assert f"--style belongs to data sets 'emoji', 'emoji-tags', and the data set is '{other}'" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_test_split_is_in_the_training_split(name):
    train, test = opened(name), opened(name, "test")
    assert not distinct(train.images) & distinct(test.images)
    if train.sources is not None:
        assert not distinct(train.sources) & distinct(test.sources)


def test_a_code_point_is_in_one_split_and_with_it_all_that_look_like_it():
    table = emoji.table()
    assert len({e.code_points for e in table}) == len({e.name for e in table}) == len(table) == sum(SPLITS.values())
    kin = {}
    for e in table:
        kin.setdefault(tuple(make.kin(e.code_points)), set()).add((e.split, e.half))
    assert {len(places) for places in kin.values()} == {1}
    assert len(kin) < len(table) - 150  # Some are kin.


def test_a_sheet_has_the_pictures_at_the_places_that_the_table_says():
    """Hearts and flags whose colours are known."""
    named = {e.name: e for e in emoji.table()}
    for style in emoji.STYLES:

        def middle(name, style=style):
            return emoji.pictures(style, [named[name]])[0, :, 12:20, 12:20].float().mean((1, 2)).tolist()

        red, green, blue = middle("heart"), middle("green_heart"), middle("blue_heart")
        assert red[0] > 2 * max(red[1:])
        assert green[1] > 1.3 * max(green[0], green[2])
        assert blue[2] > 1.3 * blue[1] > 1.3 * blue[0]
        assert middle("jp")[0] > 2 * max(middle("jp")[1:])
        assert max(middle("black_heart")) < 100 < 180 < min(middle("white_heart"))


def test_pictures_stand_on_white():
    for style in emoji.STYLES:
        data = opened(f"emoji-{style}")
        round_ones = data.images[data.labels == CLASSES.index("smileys")]
        corners = round_ones[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 255).double().mean() > 0.9  # Of most, since a few fill their square.


@pytest.mark.parametrize("split", SPLITS)
def test_the_sides_of_a_pair_belong_together(split):
    pairs = opened("emoji-styles", split)
    spec = pairs.spec("emoji-styles")
    assert (spec.shape, spec.source_shape, spec.paired, spec.count) == ((3, 32, 32), (3, 32, 32), True, SPLITS[split])
    assert torch.equal(pairs.images, opened("emoji-noto", split).images)
    assert torch.equal(pairs.sources, opened("emoji-twemoji", split).images)
    ours, theirs = (
        x.flatten(1).double() - x.flatten(1).double().mean(1, keepdim=True) for x in (pairs.images, pairs.sources)
    )
    alike = torch.nn.functional.normalize(ours) @ torch.nn.functional.normalize(theirs).T
    own, others = alike.diagonal(), (alike.sum() - alike.trace()) / (len(pairs) * (len(pairs) - 1))
    assert own.mean() > others + 0.3
    # Of all the other style's emoji, at most a twentieth look more like it in the median.
    assert (alike > own[:, None]).double().mean(1).median() < 0.05


def test_unpaired_sides_have_no_emoji_in_common_and_leave_none_out():
    unpaired, pairs = opened("emoji-styles-unpaired"), opened("emoji-styles")
    assert not unpaired.paired
    assert (len(unpaired.images), len(unpaired.sources)) == (852, 835)
    places = {image.numpy().tobytes(): i for i, image in enumerate(pairs.images)}
    of_sources = {image.numpy().tobytes(): i for i, image in enumerate(pairs.sources)}
    ours = [places[image.numpy().tobytes()] for image in unpaired.images]
    theirs = [of_sources[image.numpy().tobytes()] for image in unpaired.sources]
    assert sorted(ours + theirs) == list(range(len(pairs)))
    assert torch.equal(unpaired.labels, pairs.labels[ours])
    assert pairs.labels[ours].bincount().min() > 30
    assert pairs.labels[theirs].bincount().min() > 30


def test_held_out_emoji_are_on_both_sides_of_the_unpaired_set_in_one_order():
    unpaired, pairs = opened("emoji-styles-unpaired", "test"), opened("emoji-styles", "test")
    assert not unpaired.paired
    assert torch.equal(unpaired.images, pairs.images)
    assert torch.equal(unpaired.sources, pairs.sources)
    assert torch.equal(unpaired.labels, pairs.labels)


@pytest.mark.parametrize("name", NAMES)
def test_loading_again_gives_the_same_wherever_the_data_root_is(name, tmp_path):
    one, two = opened(name), opened(name, root=tmp_path / "nowhere")
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)
    assert (one.sources is None and two.sources is None) or torch.equal(one.sources, two.sources)


def test_what_is_embedded_is_small():
    folder = Path(emoji.__file__).parent
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 8 * 2**20
    assert (folder / "emoji.safetensors").stat().st_size <= 2 * 2**20


@pytest.mark.parametrize("file", ["emoji.csv", "noto.png", "twemoji.png"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "another", "missing"])
def test_a_damaged_embedded_file_is_one_line(monkeypatch, tmp_path, file, damage):
    package = resources.files("ganzoo_plugins.emoji")
    for name in emoji.SHA256:
        (tmp_path / name).write_bytes(package.joinpath(name).read_bytes())
    whole = (tmp_path / file).read_bytes()
    another = tmp_path / "another.png"
    Image.new("RGB", (1920, 1024)).save(another)
    (tmp_path / file).unlink()
    wrong = {"truncated": whole[:-2000], "garbage": b"garbage", "another": another.read_bytes()}
    if damage in wrong:
        (tmp_path / file).write_bytes(wrong[damage])
    monkeypatch.setattr(emoji.resources, "files", lambda _: tmp_path)
    with pytest.raises(GanzooError, match=rf"the embedded file {file} is (damaged|missing).*: reinstall") as caught:
        opened("emoji")
    assert "\n" not in str(caught.value)


# The extractor


@pytest.fixture(scope="module")
def extractor():
    return emoji.EmojiFeatures().eval()


def test_the_extractor_names_the_groups_of_most_emoji_that_it_has_not_seen(extractor):
    assert (extractor.classes, extractor.shape[:2]) == (CLASSES, (3, 32))
    for name in ("emoji", "emoji-noto", "emoji-twemoji"):
        assert accuracy(extractor.net, opened(name, "test"), torch.device("cpu")) >= 0.68
    assert extractor.resizing(32, 32) == "none"


def test_its_hash_is_that_of_the_file(extractor):
    packed = resources.files("ganzoo_plugins.emoji").joinpath("emoji.safetensors").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == extractor.sha256


def test_it_is_the_default_of_all_sets_of_emoji_and_takes_no_other_weights(tmp_path):
    assert set(emoji.EmojiFeatures.datasets) == set(NAMES)
    with pytest.raises(GanzooError, match="--features FILE"):
        emoji.EmojiFeatures(tmp_path)


# How the files are made


def package(root, name, faces):
    """A package of pictures of one colour, by code points: (category, RGBA, age)."""
    folder = root / name / "img" / name / "64"
    folder.mkdir(parents=True)
    entries = []
    for order, (codes, (category, colour, age)) in enumerate(faces.items()):
        Image.new("RGBA", (64, 64), colour).save(folder / f"{codes}.png")
        entries.append(
            {
                "unified": codes, "category": category, "sort_order": order, "added_in": age, "image": f"{codes}.png",
                "short_name": f"name of {codes}", "short_names": ["smiling-face"], "name": f"{codes} SMILING WITH JOY",
                "subcategory": "face", "has_img_google": True, "has_img_twitter": codes != "1F605",
            }
        )  # fmt: skip
    (root / name / "emoji.json").write_text(json.dumps(entries))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What the script makes of two small packages: the rows of the table, and where the files are."""
    flags, smileys = "Flags", "Smileys & Emotion"
    google = {
        "1F1E8-1F1F5": (flags, (0, 0, 200, 255), "2.0"),  # The same flag as the next, which is older.
        "1F1EB-1F1F7": (flags, (0, 0, 200, 255), "0.6"),
        "1F600": (smileys, (200, 100, 0, 255), "1.0"),
        "1F604": (smileys, (9, 9, 9, 255), "1.0"),
        "1F605": (smileys, (8, 8, 8, 255), "1.0"),  # Not in the other package.
        "1F3FB": ("Component", (7, 7, 7, 255), "1.0"),
    }
    twitter = {codes: (category, (*colour[:3], 128), age) for codes, (category, colour, age) in google.items()}
    package(tmp_path, "google", google)
    package(tmp_path, "twitter", twitter)
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(make, "HERE", out)
    make.main(str(tmp_path / "google"), str(tmp_path / "twitter"))
    with (out / "emoji.csv").open(newline="") as file:
        return list(csv.reader(file)), out


def test_the_script_keeps_what_both_styles_have_once_in_the_order_of_the_classes(made):
    rows, _ = made
    assert rows[0] == ["code_points", "class", "split", "half", "name"]
    assert [row[:2] for row in rows[1:]] == [["1F600", "smileys"], ["1F604", "smileys"], ["1F1EB-1F1F7", "flags"]]
    assert rows[1][4] == "name of 1F600"


def test_the_script_says_what_each_is_tagged_with_in_the_same_order(made):
    rows, out = made
    with (out / "keywords.csv").open(newline="") as file:
        tagged = list(csv.reader(file))
    assert tagged == [["code_points", "keywords"], *([row[0], "smiling joy face"] for row in rows[1:])]


def test_the_embedded_keywords_are_those_of_the_table():
    with (Path(emoji.__file__).parent / "keywords.csv").open(newline="") as file:
        assert [row[0] for row in list(csv.reader(file))[1:]] == [e.code_points for e in emoji.table()]
    keywords = dict(zip([e.name for e in emoji.table()], emoji.keywords(), strict=True))
    assert keywords["raccoon"] == ["raccoon", "animal", "mammal"]


def test_the_script_lays_pictures_on_white(made):
    _, out = made
    noto, twemoji = (np.array(Image.open(out / f"{style}.png")) for style in emoji.STYLES)
    assert noto.shape == twemoji.shape == (32, make.COLUMNS * 32, 3)
    assert (noto[:, :32] == (200, 100, 0)).all()
    on_white = [round((value * 128 + 255 * 127) / 255) for value in (200, 100, 0)]
    assert (twemoji[:, :32] == on_white).all()
    assert (noto[:, 3 * 32 :] == 255).all()  # After the last.


def test_a_pixel_is_the_mean_of_four(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    rgb, alpha = pixels[..., :3] / 255, pixels[..., 3:] / 255
    expected = 255 * (rgb * alpha + 1 - alpha).reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(make.small(tmp_path / "x.png") - expected).max() <= 0.5 + 1e-9


def test_the_split_is_that_of_the_embedded_table():
    for e in emoji.table():
        entry = {"unified": e.code_points, "category": next(iter(make.CLASSES)), "short_name": e.name}
        assert make.row(entry) == (e.code_points, "smileys", e.split, e.half, e.name)


def test_all_that_lies_beside_the_code_is_installed(tmp_path):
    """What `package-data` names is all that there is."""
    import tomllib

    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "ganzoo_plugins.emoji" in settings["packages"]
    patterns = [*settings["package-data"]["ganzoo_plugins.emoji"], "*.py"]
    folder = tmp_path / "emoji"
    shutil.copytree(Path(emoji.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    named = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert named == {path.name for path in folder.iterdir()}
