"""Tagging: word vectors against closed forms, the data set, precision of known tags, and a run from end to end."""

import json
import math
from pathlib import Path

import ganzoo_plugins.emoji as emoji
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ganzoo_plugins.emoji import make, make_tags, page

import ganzoo as zoo
from ganzoo.data import Attribute, DataRequest, ImageSet, Words, limited, open_dataset
from ganzoo.errors import GanzooError, UsageError
from ganzoo.metrics.base import Setting
from ganzoo.metrics.extractor import Coordinates
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import drawer
from ganzoo.metrics.tags import (
    SAMPLES,
    Pictures,
    TagPrecision,
    most_frequent,
    pictures_of,
    precision,
    retrieved,
    tags_of,
)

CPU = torch.device("cpu")
RUN = ("run", "cgan", "--dataset", "emoji-tags", "--style", "noto", "--loggers", "none", "--quiet", "--engine", "eager")


# Word vectors


def test_keywords_are_the_words_of_names_and_subgroup_once_each():
    e = {"name": "ONCOMING BUS (No. 7)", "short_names": ["oncoming_bus", "the-bus"], "subcategory": "transport-ground"}
    assert make.keywords(e) == ["oncoming", "bus", "transport", "ground"]
    assert make.keywords({"name": None, "short_names": ["ok"], "subcategory": "hand-fingers-open"}) == [
        "hand",
        "fingers",
        "open",
    ]


def test_the_vocabulary_holds_what_tags_enough_the_most_frequent_first():
    tagged = [["red", "heart"], ["red", "apple", "red"], ["green", "apple"], ["green", "heart"], ["red"]]
    assert make_tags.vocabulary(tagged, 2) == ["red", "apple", "green", "heart"]
    assert make_tags.vocabulary(tagged, 3) == ["red"]


def test_ppmi_of_a_tiny_table():
    """Two words that always come together, and a third that comes alone: log of p(a, b) / (p(a) p(b))."""
    counts = make_tags.together([["a", "b"], ["a", "b"], ["c"]], ["a", "b", "c"])
    assert counts.tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 1]]
    found = make_tags.ppmi(counts)
    pair, alone = math.log((2 / 9) / (4 / 9) ** 2), math.log((1 / 9) / (1 / 9) ** 2)
    assert np.allclose(found, [[pair, pair, 0], [pair, pair, 0], [0, 0, alone]])


def test_what_comes_together_less_often_than_by_chance_has_no_information():
    counts = np.array([[10.0, 1.0], [1.0, 10.0]])
    found = make_tags.ppmi(counts)
    assert found[0, 1] == found[1, 0] == 0
    assert found[0, 0] == pytest.approx(math.log((10 / 22) / 0.25))


def test_word_vectors_have_length_1_and_all_of_them_give_the_matrix_back():
    matrix = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 1.0]])  # Positive definite.
    vectors = make_tags.word_vectors(matrix, 3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    lengths = np.sqrt(np.diag(matrix))
    assert np.allclose(vectors @ vectors.T, matrix / np.outer(lengths, lengths))
    assert make_tags.word_vectors(matrix, 2).shape == (3, 2)


# The data set


@pytest.fixture(scope="module")
def data():
    return {split: open_dataset(emoji.EmojiTags(), DataRequest(split)) for split in ("train", "test")}


def test_each_picture_comes_once_for_each_of_its_words_with_its_features(data):
    words, vectors, features = emoji.tags()
    for split, held in data.items():
        pictures = emoji.tagged(emoji.STYLES, split)
        expected = [(p, word) for p in pictures for word in p.keywords if word in words]
        assert len(held) == len(expected)
        assert [held.words.names[i] for i in held.words.places.tolist()] == [word for _, word in expected]
        assert torch.equal(held.images, vectors[held.words.places])
        assert torch.equal(held.labels, torch.stack([features[p.style][p.emoji.place] for p, _ in expected]))
        with_words = {(p.style, p.emoji.place) for p, _ in expected}
        assert len(pictures) - len(with_words) == {"train": 2, "test": 0}[split]  # Those of one emoji are left out.
        assert len(pictures_of(held).conditions) == len(with_words)  # No two look alike.
    spec = data["train"].spec("emoji-tags")
    assert (spec.shape, spec.condition_size, spec.classes, spec.conditional) == ((100,), 128, (), True)
    assert data["train"].images.abs().max() <= 1
    assert all((held.labels <= emoji.SEEN[0].high).all() for held in data.values())


def test_words_are_made_of_training_emoji_alone(data):
    names, vectors, _ = emoji.tags()
    known = [p.keywords for p in emoji.tagged(("noto",), "train")]
    assert list(names) == make_tags.vocabulary(known, make_tags.LEAST)
    information = make_tags.ppmi(make_tags.together(known, names))
    again = torch.from_numpy(make_tags.word_vectors(information, make_tags.SIZE))
    # One word is out of the reach of the largest values: its vector is what rounding left, another on each machine.
    firm = [i for i, name in enumerate(names) if name != "zodiac"]
    stored, made = vectors.double()[firm], again[firm]
    assert torch.allclose(stored @ stored.T, made @ made.T, atol=2e-3)


def test_features_are_those_of_the_extractor_in_sixteenths():
    _, _, features = emoji.tags()
    some = emoji.table()[::400]
    extractor = emoji.EmojiFeatures()
    for style in emoji.STYLES:
        found = extractor.extract(emoji.pictures(style, some)).vectors
        held = features[style][[e.place for e in some]]
        assert (found - held).abs().max() <= 0.5 / emoji.STEPS + 1e-4
        assert make_tags.features(held).max() <= 255
    with pytest.raises(SystemExit, match="beyond what a byte holds"):
        make_tags.features(torch.tensor([16.1]))


def test_a_style_is_half_of_it(data):
    noto = open_dataset(emoji.EmojiTags(), DataRequest(options={"style": "noto"}))
    assert torch.equal(data["train"].images[: len(noto)], noto.images)
    assert 2 * len(noto) == len(data["train"])


def test_a_part_of_it_knows_its_words(data):
    part = limited(data["train"], 50)
    assert torch.equal(part.images, part.words.vectors[part.words.places])


@pytest.mark.parametrize(
    ("faulty", "told"),
    [
        ({"names": ("a",)}, r"vectors of its 1 words are float32 \(2, 3\), not float32 \(1, 3\)"),
        ({"vectors": torch.zeros(2, 3)}, "the vector of a word is zero, or not finite"),
        ({"places": torch.zeros(4)}, r"places of words are float32 \(4,\), not int64 \(4,\)"),
        ({"places": torch.tensor([0, 1, 2, 1])}, "places of words run from 0 to 2, of 2 words"),
        ({"places": torch.tensor([1, 1, 0, 1])}, "a sample is not the vector of its word"),
    ],
)
def test_words_that_cannot_be_are_refused(faulty, told):
    vectors = torch.eye(2, 3)
    places = torch.tensor([0, 1, 0, 1])

    class Faulty(zoo.Dataset):
        name, summary = "faulty", "words that cannot be"

        def load(self, request):
            return ImageSet(vectors[places], words=Words(("a", "b"), vectors, places)._replace(**faulty))

    with pytest.raises(GanzooError, match=f"data set 'faulty' is at fault: {told}"):
        open_dataset(Faulty(), DataRequest())


def test_words_of_images_are_refused():
    class Faulty(zoo.Dataset):
        name, summary = "faulty", "images that are to be words"

        def load(self, request):
            pictures = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
            return ImageSet(pictures, words=Words(("a",), torch.ones(1, 3), torch.zeros(2, dtype=torch.int64)))

    with pytest.raises(GanzooError, match="words are what vectors stand for, and it holds images"):
        open_dataset(Faulty(), DataRequest())


def test_a_damaged_file_of_tags_is_one_line(monkeypatch, tmp_path):
    for name in emoji.SHA256:
        (tmp_path / name).write_bytes(emoji.embedded(name))
    monkeypatch.setattr(emoji.resources, "files", lambda _: tmp_path)
    for name in ("tags.npz", "keywords.csv"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-100])
        with pytest.raises(GanzooError, match=rf"the embedded file {name} is damaged .*: reinstall"):
            open_dataset(emoji.EmojiTags(), DataRequest())
        (tmp_path / name).write_bytes(whole)


# The metric


def test_precision_is_the_share_of_the_first_tags_that_are_right():
    own = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]]).bool()
    tags = torch.tensor([[0, 2, 1, 3], [3, 0, 1, 2]])
    assert precision(tags, own, 1) == 1
    assert precision(tags, own, 2) == 0.5
    assert precision(tags, own, 3) == 0.5
    assert precision(tags, own) == 0.375


def test_tags_are_what_is_near_most_samples_and_of_as_many_the_nearer():
    """Of 30 directions in a half circle a sample has the 20 nearest; the middle of all samples comes first."""
    angles = torch.arange(30) * math.pi / 30
    words = torch.stack([angles.cos(), angles.sin()], 1)
    samples = words[[14, 14, 14, 17]] * torch.tensor([[1.0], [7.0], [7.0], [0.1]])  # Lengths do not matter.
    found = tags_of(samples, words).tolist()
    assert found[:3] == [15, 14, 16]
    assert sorted(found) == list(range(min(found), min(found) + 10))
    assert torch.equal(tags_of(words[:1], words[:4]), torch.tensor([0, 1, 2, 3]))  # Fewer words than tags.


def test_baselines_are_the_most_frequent_words_and_those_of_the_nearest_pictures():
    own = torch.zeros(4, 12, dtype=torch.bool)
    for picture, words in enumerate(([0, 5], [5, 7], [2, 5, 7], [9, 10, 11])):
        own[picture, words] = True
    known = Pictures(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), own)
    assert most_frequent(known).tolist() == [5, 7, 0, 2, 9, 10, 11, 1, 3, 4]
    # There are no more than seven.
    assert retrieved(torch.tensor([[1.9], [8.0]]), known).tolist() == [[5, 7, 2, 0, 9, 10, 11], [9, 10, 11, 5, 7, 2, 0]]


def measured(draw):
    """What `tags` says of Noto's held-out emoji."""
    reference = Reference(emoji.EmojiTags(), Coordinates(100), "test", (100,), data_options={"style": "noto"})
    return TagPrecision(Setting(reference, 10, False, 0, CPU, draw=draw)).compute()


def test_a_model_that_knows_the_words_has_a_first_tag_that_is_right_and_one_that_does_not_is_no_better_than_chance():
    held = open_dataset(emoji.EmojiTags(), DataRequest("test", options={"style": "noto"}))
    pictures = pictures_of(held)
    rarest = torch.stack([own.nonzero().max() for own in pictures.own])

    def knowing(conditions, seed):
        assert torch.equal(conditions, pictures.conditions.repeat_interleave(SAMPLES, dim=0))
        return held.words.vectors[rarest].repeat_interleave(SAMPLES, dim=0)

    def ignorant(conditions, seed):
        return torch.randn(len(conditions), 100, generator=torch.Generator().manual_seed(seed))

    good, bad = measured(knowing), measured(ignorant)
    assert good["tags_at_1"] > 0.85  # Some words have a twin that comes in the same company.
    assert bad["tags_at_1"] < 0.1 < good["tags_frequent_at_1"] < good["tags_retrieved_at_1"] < 1
    for first in ("", "_at_5", "_at_1"):
        assert max(good[f"{name}{first}"] for name in ("tags", "tags_retrieved")) <= good[f"tags_possible{first}"]
    assert good["tags_possible_at_1"] == 1  # Each has a word.
    assert good["tags_possible"] == pytest.approx(pictures.own.sum(1).clamp(max=10).double().mean().item() / 10)
    theirs = {key for key in good if key not in ("tags", "tags_at_5", "tags_at_1")}
    assert {key: good[key] for key in theirs} == {key: bad[key] for key in theirs}


def test_retrieval_of_training_pictures_finds_their_own_words(data):
    known = pictures_of(data["train"])
    found = retrieved(known.conditions[::50], known)
    assert precision(found, known.own[::50], 1) == 1


# From end to end


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("tags") / "run"
    options = {"style": "noto"}
    zoo.train("cgan", dataset="emoji-tags", data_options=options, steps=6, batch_size=16, loggers=(), out=folder)
    return folder


def test_a_run_is_measured_by_its_tags_while_it_trains_and_after_and_goes_on_as_if_it_had_not_been_stopped(
    ganzoo, tmp_path
):
    assert ganzoo(*RUN, "--lr-hold", 1, "--steps", 2, "--out", "a").code == 0
    done = ganzoo(*RUN, "--lr-hold", 1, "--steps", 4, "--eval-every", 1, "--out", "b")
    assert done.code == 0, done.err
    log = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    done = ganzoo("eval", "b", "--n", 100)  # The pictures are the same, however many other samples are drawn.
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "b" / "eval.json").read_text())
    assert result["metrics"].keys() == {
        f"{name}{first}"
        for name in ("tags", "tags_frequent", "tags_retrieved", "tags_possible")
        for first in ("", "_at_5", "_at_1")
    }
    assert result["metrics"].items() <= log[-1].items()
    assert result["settings"]["tags"] == {"samples": 100, "nearest": 20, "tags": 10}
    assert (result["left_out"], result["protocol"]["shape"]) == ({}, [100])
    assert (tmp_path / "b" / "real.png").is_file()
    assert ganzoo("resume", "a", "--steps", 4).code == 0
    one, other = (zoo.load(tmp_path / name) for name in ("a", "b"))
    conditions = torch.rand(5, 128)
    assert torch.equal(one.sample(conditions=conditions), other.sample(conditions=conditions))


def test_samples_under_given_conditions(run):
    sampler = zoo.load(run)
    conditions = torch.stack([torch.zeros(128), torch.ones(128)])
    made = sampler.sample(4, conditions=conditions, seed=3)
    assert made.shape == (4, 100)
    assert torch.equal(made, sampler.sample(4, conditions=conditions, seed=3))
    assert torch.allclose(made[:2], sampler.sample(conditions=conditions, seed=3), atol=1e-5)
    assert not torch.equal(made[0], made[2])  # Another latent.
    draw = drawer(sampler.gan)
    assert torch.equal(draw(conditions, 1), draw(conditions, 1))
    assert not torch.equal(draw(conditions, 1), draw(conditions, 2))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"conditions": torch.zeros(2, 3)}, r"conditions must be floats \(M, 128\), not \(2, 3\)"),
        ({"conditions": [[0.0] * 128]}, r"conditions must be floats \(M, 128\), not list"),
        ({"conditions": torch.zeros(2, 128, dtype=torch.int64)}, "conditions must be floats"),
        ({"conditions": torch.zeros(0, 128)}, "conditions must be finite, and at least one"),
        ({"conditions": torch.full((1, 128), math.nan)}, "conditions must be finite"),
        ({"conditions": torch.zeros(1, 128), "values": {"feature 0": 1.0}}, "leave out labels and values"),
        ({"conditions": torch.zeros(1, 128), "n": 0}, "must be at least 1"),
    ],
)
def test_conditions_that_cannot_be_are_one_line(run, asked, told):
    with pytest.raises(UsageError, match=told):
        zoo.load(run).sample(**asked)


def test_the_page_shows_pictures_and_marks_right_tags(run, tmp_path):
    out = tmp_path / "tags.html"
    done = CliRunner().invoke(page.main, [str(run), "-n", "3", "-o", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert text.count("<img ") == 3
    assert text.count("data:image/png;base64,") == 3
    assert "http" not in text  # Nothing is fetched.
    assert f"<p>cgan, run {run}" in text
    assert '<meta name="viewport"' in text
    picture = emoji.tagged(("noto",), "test")[0]
    row = page.Row(picture, ["heart", "red"], ["heart", "<b>"], ["sun", "red"])
    assert "<td><mark>heart</mark>, &lt;b&gt;</td><td>sun, <mark>red</mark></td><td>heart, red</td>" in page.page([row])


def test_the_page_says_how_good_the_tags_are_where_that_was_measured(tmp_path):
    assert page.about(tmp_path, "cgan") == f"cgan, run {tmp_path}."
    (tmp_path / "eval.json").write_text('{"metrics": {"tags_at_1": 0.413, "tags_retrieved_at_1": 0.557}}')
    assert page.about(tmp_path, "cgan") == (
        f"cgan, run {tmp_path}: the first tag is right for 41 % of the held-out emoji "
        "(a search for the nearest picture: 56 %)."
    )


def test_the_page_is_of_models_that_were_trained_on_tags(ganzoo, tmp_path):
    assert (
        ganzoo("run", "gan", "--dataset", "ring", "--steps", 1, "--loggers", "none", "--quiet", "--out", "r").code == 0
    )
    done = CliRunner().invoke(page.main, [str(tmp_path / "r"), "-o", str(tmp_path / "tags.html")])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "models that were trained on emoji-tags" in done.output
    assert not Path(tmp_path / "tags.html").exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            ("run", "dcgan", "--dataset", "emoji-tags"),
            "networks are convolutional, and data set 'emoji-tags' holds vectors",
        ),
        ((*RUN[:4], "--style", "apple"), "'apple'"),
        ((*RUN[:4], "--image-size", "16"), "--image-size and --channels are for images"),
        ((*RUN[:4], "--mirror"), "--mirror and --jitter are for images"),
    ],
)
def test_what_tags_are_not_for_is_one_line(ganzoo, args, told):
    done = ganzoo(*args, "--steps", 1, "--out", "r")
    assert done.code == 2, done.err
    assert told in done.err


def test_metrics_of_images_are_refused_of_tags_and_tags_of_others(ganzoo, run):
    for args, told in (
        (("--metrics", "fid"), "metric 'fid' is of images, and 'emoji-tags' holds vectors"),
        (("--features", "emoji"), "--features is for images, and 'emoji-tags' holds vectors"),
        (("--labels", "uniform"), "takes attributes, which are known from the reference images alone"),
    ):
        done = ganzoo("eval", run, *args, "--n", 20)
        assert (done.code, done.err.strip().count("\n")) == (2, 0), done.err
        assert told in done.err
    assert (
        ganzoo("run", "gan", "--dataset", "ring", "--steps", 1, "--loggers", "none", "--quiet", "--out", "r").code == 0
    )
    done = ganzoo("eval", "r", "--metrics", "tags", "--n", 20)
    assert done.code == 2
    assert (
        "metric 'tags' cannot be measured: data set 'ring' does not say which words its vectors stand for" in done.err
    )


def test_a_model_without_a_condition_cannot_be_asked_about_a_picture(ganzoo):
    run = ("run", "gan", "--dataset", "emoji-tags", "--steps", 1, "--loggers", "none", "--quiet", "--out", "r")
    assert ganzoo(*run).code == 0
    done = ganzoo("eval", "r", "--metrics", "tags", "--n", 20)
    assert done.code == 2
    assert "metric 'tags' cannot be measured: the model takes no condition" in done.err
    assert ganzoo("eval", "r", "--n", 20).code == 0


def test_any_set_of_word_vectors_with_features_is_measured():
    """Two words, and pictures that have one feature: nothing of it is about emoji."""

    class Toy(zoo.Dataset):
        name, summary = "toy", "two words"

        def load(self, request):
            vectors, places = torch.eye(2), torch.tensor([0, 1, 0])
            words, seen = Words(("left", "right"), vectors, places), (Attribute("place", -1, 1),)
            return ImageSet(vectors[places], torch.tensor([[-1.0], [1.0], [-0.5]]), attributes=seen, words=words)

    reference = Reference(Toy(), Coordinates(2), "test", (2,))
    setting = Setting(reference, 10, False, 0, CPU, draw=lambda y, seed: torch.cat([-y, y], 1))
    assert TagPrecision.missing(setting) is None
    found = TagPrecision(setting).compute()
    assert (found["tags_at_1"], found["tags_frequent_at_1"], found["tags_retrieved_at_1"]) == (
        1,
        pytest.approx(2 / 3),
        1,
    )
