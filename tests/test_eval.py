"""`ganzoo eval`, images from strangers, evaluation during training, and what may be compared."""

import io
import json
import os
import signal
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PATIENCE, TINY, arrays
from conftest import start as start_apart
from ganzoo import DataRequest
from ganzoo.errors import UsageError
from ganzoo.files import read_json
from ganzoo.metrics.base import FeatureExtractor, Metric
from ganzoo.metrics.classifier import Trained, pack, trained_file, trained_files, training_command, unpack
from ganzoo.metrics.distances import FID
from ganzoo.metrics.evaluation import Evaluator, choose_extractor
from ganzoo.metrics.images import read_images
from ganzoo.metrics.labels import plot_confusion
from ganzoo.metrics.protocol import NEAR, at_their_sizes, comparable, describe
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import generated, given
from ganzoo.plugins import Plugin, Registry, registry
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.run import Watcher
from ganzoo.training.signals import Stopped
from ganzoo_test_plugins import Look, SmallDigits, Tiny

QUICK = ("--dataset", "small-digits")
PIXELS = torch.randint(0, 256, (12, 3, 8, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An .npz of the small digits, their labels beside them."""
    data = SmallDigits().load(DataRequest("test"))
    path = tmp_path_factory.mktemp("images") / "digits.npz"
    np.savez(path, images=data.images.numpy(), labels=data.labels.numpy())
    return path


# Images from strangers


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PIXELS.numpy(), PIXELS),
        (PIXELS.numpy().astype(np.int64), PIXELS),
        (PIXELS.permute(0, 2, 3, 1).numpy(), PIXELS),
        (PIXELS[:, 0].numpy(), PIXELS[:, :1]),
        ((PIXELS / 255).numpy(), PIXELS),
        ((PIXELS / 255 - 3e-8).numpy(), PIXELS),
        ((PIXELS / 127.5 - 1).numpy(), PIXELS),
        ((PIXELS / 127.5 - 1).double().permute(0, 2, 3, 1).numpy(), PIXELS),
    ],
    ids=[
        "uint8",
        "int64",
        "channels last",
        "grey",
        "floats from 0",
        "and rounded below it",
        "floats from -1",
        "doubles, channels last",
    ],
)
def test_images_of_any_layout_and_range_are_the_same_images(tmp_path, array, expected):
    np.savez(tmp_path / "x.npz", images=array, labels=np.arange(12, dtype=np.int32))
    images, labels = read_images(tmp_path / "x.npz")
    assert torch.equal(images, expected)
    assert labels.tolist() == list(range(12))


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def bomb() -> bytes:
    """A header that promises more than any memory holds."""
    header, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 1, 28, 28)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    return file.getvalue()


GREY = np.full((4, 8, 8), 7, np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a zip", "truncated, or no zip"),
        (npz(images=GREY)[:-60], "truncated, or no zip"),
        (npz(pictures=GREY), "holds no `images` (it holds: pictures)"),
        (npz(images=np.array([None, {}], dtype=object)), "`images` holds object, not numbers"),
        (npz(images=np.array(["a"])), "`images` holds <U1, not numbers"),
        (bomb(), "`images` claims 862,017,116,176,384 bytes, more than the archive says it holds"),
        (npz(images=np.zeros((0, 8, 8), np.uint8)), "there are no images"),
        (npz(images=np.zeros((4, 8, 8, 4), np.uint8)), "images are (4, 8, 8, 4), not (N, C, H, W)"),
        (npz(images=np.zeros((4, 2, 2), np.uint8)), "images are 2 x 2 pixels; sides of 8 to 4096"),
        (npz(images=GREY * 300.0), "float pixels must lie in [0, 1] or [-1, 1], not 2100 to 2100"),
        (npz(images=GREY * np.nan), "float pixels must lie in [0, 1] or [-1, 1], not nan to nan"),
        (npz(images=GREY.astype(int) * 300), "integer pixels must lie in 0 to 255, not 2100 to 2100"),
        (npz(images=GREY // 7), "integer pixels are all 0 or 1"),
        (npz(images=GREY > 3), "pixels must be integers or floats, not bool"),
        (npz(images=GREY, labels=np.zeros(3, int)), "labels must be integers, one for each of the 4 images"),
        (npz(images=GREY, labels=np.zeros(4)), "labels must be integers"),
        (npz(images=GREY, labels=np.array([0, -1, 2, 3])), "labels run from -1 to 3"),
        (npz(images=GREY, labels=np.array([0, 1, 2, 30])), "labels reach 30, but 'small-digits' has 10 classes"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(ganzoo, tmp_path, content, message):
    (tmp_path / "x.npz").write_bytes(content)
    result = ganzoo("eval", "x.npz", *QUICK, "--metrics", "fid")
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_folder_of_pictures_is_measured_and_names_give_labels(tmp_path):
    for i in range(6):
        Image.fromarray(PIXELS[i, :, :, :8].permute(1, 2, 0).numpy()).save(tmp_path / f"{i:06d}-{i % 3}.png")
    images, labels = read_images(tmp_path)
    assert torch.equal(images, PIXELS[:6, :, :, :8])
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    (tmp_path / "000000-0.png").rename(tmp_path / "first.png")
    assert read_images(tmp_path)[1] is None


@pytest.mark.parametrize(
    ("sizes", "message"), [([], "holds no pictures"), ([(8, 8), (9, 9)], "different sizes"), ([(8, 9)], "8 x 9 pixels")]
)
def test_a_folder_that_is_no_set_of_images_is_refused(ganzoo, tmp_path, sizes, message):
    (tmp_path / "pictures").mkdir()
    for i, size in enumerate(sizes):
        Image.new("L", size).save(tmp_path / "pictures" / f"{i}.png")
    result = ganzoo("eval", "pictures", *QUICK)
    assert (result.code, message in result.err) == (2, True)


def test_what_is_not_there_is_refused(ganzoo, tmp_path):
    (tmp_path / "x.txt").write_text("")
    for what, message in (("nowhere", "no such run, file or folder"), ("x.txt", "give a run directory, an .npz")):
        result = ganzoo("eval", what)
        assert (result.code, message in result.err) == (2, True)


# The command


def test_no_number_is_shown_without_what_it_depends_on(ganzoo, digits):
    result = ganzoo("eval", digits, *QUICK)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == (
        "small-digits test (500), 500 images of 8x8x1, extractor look 10101010, resize none"
    )
    for name in ("FID", "KID", "Inception Score", "intra-FID", "label accuracy", "precision", "coverage"):
        assert f"\n  {name} " in result.out
    told = {line[2:41].strip(): line.split()[-3:] for line in result.out.splitlines() if line.startswith("  ")}
    assert told["FID"] == ["lower", "is", "better"]
    assert told["coverage"] == ["higher", "is", "better"]
    assert not {"is_std", "kid_std", "nearest_least"} & set(result.out.split())
    assert {"Inception Score, deviation", "smallest distance to a training image"} <= told.keys()
    assert "kid: subsets 100, subset_size 500, images 500" in result.out
    assert " cas " not in result.out


def test_the_result_as_json_holds_everything(ganzoo, digits, tmp_path):
    result = ganzoo("eval", digits, *QUICK, "--metrics", "fid,accuracy", "--n", 300, "--json", "-o", "out/mine.json")
    value = json.loads(result.out)
    assert value == read_json(tmp_path / "out" / "mine.json")
    protocol = value["protocol"]
    assert (protocol["dataset"], protocol["split"], protocol["reference_images"]) == ("small-digits", "test", 500)
    assert (protocol["n"], protocol["shape"], protocol["resize"]) == (300, [1, 8, 8], "none")
    assert (protocol["extractor"], protocol["extractor_sha256"]) == ("look", Look.sha256)
    assert set(value["metrics"]) == {"fid", "accuracy"}
    assert np.array(value["confusion"]).sum() == 300


def test_the_result_is_written_where_it_is_wanted(ganzoo, digits, tmp_path):
    assert ganzoo("eval", digits, *QUICK, "--metrics", "accuracy", "-o", "out/mine.json").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine-confusion.png", "mine.json"]
    (tmp_path / "file").write_text("")
    result = ganzoo("eval", digits, *QUICK, "--metrics", "fid", "-o", "file/x.json")
    assert (result.code, "cannot write" in result.err) == (1, True)


def test_without_labels_their_metrics_are_left_out_and_the_reason_given(ganzoo, digits, tmp_path):
    np.savez(tmp_path / "x.npz", images=arrays(digits)["images"])
    value = json.loads(ganzoo("eval", "x.npz", *QUICK, "--json").out)
    assert value["left_out"] == dict.fromkeys(("accuracy", "intra-fid"), "the images have no labels")
    result = ganzoo("eval", "x.npz", *QUICK, "--metrics", "intra-fid")
    assert result.code == 2
    assert "metric 'intra-fid' cannot be measured: the images have no labels" in result.err


@pytest.mark.parametrize(
    ("chosen", "missing"),
    [
        (slice(5), {"prdc": "more than 5 images, not 5", "is": "at least 20 images"}),
        (None, {"intra-fid": "2 images of each class, and class '0' has 0"}),
    ],
    ids=["five images", "one class"],
)
def test_a_default_metric_with_too_few_images_does_not_cost_the_others(ganzoo, digits, tmp_path, chosen, missing):
    images, labels = arrays(digits)["images"], arrays(digits)["labels"]
    chosen = labels == 7 if chosen is None else chosen
    np.savez(tmp_path / "x.npz", images=images[chosen], labels=labels[chosen])
    value = json.loads(ganzoo("eval", "x.npz", *QUICK, "--json").out)
    assert {"fid", "kid", "accuracy"} <= set(value["metrics"])
    for name, reason in missing.items():
        assert reason in value["left_out"][name]
        result = ganzoo("eval", "x.npz", *QUICK, "--metrics", name)
        assert (result.code, reason in result.err) == (2, True)


def test_what_comes_out_as_no_number_is_never_shown(ganzoo, digits, monkeypatch):
    monkeypatch.setattr(FID, "compute", lambda self: {"fid": float("nan")})
    value = json.loads(ganzoo("eval", digits, *QUICK, "--json").out)
    assert "fid" not in value["metrics"]
    assert value["left_out"]["fid"] == "fid comes out as nan"
    result = ganzoo("eval", digits, *QUICK, "--metrics", "fid")
    assert (result.code, "fid comes out as nan" in result.err) == (1, True)


@pytest.mark.parametrize("method", ["update", "compute"])
def test_a_default_metric_that_breaks_is_named_and_does_not_cost_the_others(ganzoo, digits, monkeypatch, method):
    monkeypatch.setattr(FID, method, lambda self, *images: [][1])
    value = json.loads(ganzoo("eval", digits, *QUICK, "--json").out)
    assert "accuracy" in value["metrics"]
    assert "fid" in value["left_out"]["fid"]
    assert "list index out of range" in value["left_out"]["fid"]
    assert ganzoo("eval", digits, *QUICK, "--metrics", "fid").code == 1


def test_a_reader_that_goes_away_costs_no_result(digits, tmp_path):
    command = start_apart("eval", digits, *QUICK, "--metrics", "accuracy", "-o", "x.json", cwd=tmp_path)
    command.stdout.close()
    with command.stderr:
        command.wait(PATIENCE)
    assert "accuracy" in json.loads((tmp_path / "x.json").read_text())["metrics"]


def test_a_place_that_cannot_be_written_costs_no_numbers(ganzoo, digits, tmp_path):
    (tmp_path / "file").write_text("")
    result = ganzoo("eval", digits, *QUICK, "--metrics", "fid", "-o", "file/x.json")
    assert (result.code, "cannot write" in result.err, "FID  " in result.out) == (1, True, True)
    result = ganzoo("eval", digits, *QUICK, "-o", tmp_path)
    assert (result.code, "is a folder" in result.err) == (2, True)


def test_a_class_may_be_named_like_a_formula(tmp_path):
    plot_confusion(tmp_path / "c.png", [[1, 0], [0, 1]], (r"$\x$", "$"), "of $1")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics", "fud"), "no metric is named 'fud': did you mean 'fid'?"),
        (("--metrics", ""), "no metric was named"),
        (("--features", "digit"), "no feature extractor is named 'digit': did you mean 'digits'?"),
        (("--features", "gone.safetensors"), "cannot read gone.safetensors: No such file"),
        (("--dataset", "small-digit"), "no data set is named 'small-digit'"),
        (("--n", "501"), "holds 500 images, fewer than --n 501"),
        (("--inception-weights", "w.pt", "--features", "digits"), "brings its own weights"),
    ],
)
def test_a_mistake_is_one_line(ganzoo, digits, options, message):
    result = ganzoo("eval", digits, *QUICK, *options)
    assert result.code == 2
    assert message in result.err


def test_a_data_set_without_an_extractor_says_how_to_get_one(ganzoo, digits, monkeypatch):
    monkeypatch.setattr(Look, "datasets", ())
    result = ganzoo("eval", digits, *QUICK)
    assert result.code == 2
    assert "`ganzoo features train --dataset small-digits --image-size 8 --channels 1`" in result.err
    result = ganzoo("eval", digits, *QUICK, "--data-root", "my digits")
    told = "`ganzoo features train --dataset small-digits --data-root 'my digits' --image-size 8 --channels 1`"
    assert told in result.err
    assert told in ganzoo("eval", digits, *QUICK, "--data-root", "my digits", "--features", "nosuch").err


def test_the_command_of_a_hint_repeats_the_options_of_the_data():
    told = training_command("folder", (3, 64, 64), Path("my pets"), {"label_column": "kind", "skip_broken": True})
    assert told == (
        "ganzoo features train --dataset folder --data-root 'my pets' --image-size 64 --channels 3 --label-column kind "
        "--skip-broken"
    )
    assert training_command("mnist", (3, 178, 218)) == "ganzoo features train --dataset mnist"


def test_trained_files_are_found_by_data_channels_and_size_and_by_their_old_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    root = tmp_path / "pets"
    made = [
        trained_file("folder", shape, place)
        for place in (root, None)
        for shape in ((3, 32, 32), (3, 64, 64), (1, 60, 60))
    ]
    assert made[3].name == "folder-32x32x3.safetensors"
    old = tmp_path / "features" / "folder.safetensors"
    other = trained_file("folder-of-cats", (3, 64, 64))
    assert trained_files("folder") == []
    for path in (*made, old, other):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert trained_files("folder", (3, 64, 64), root)[:3] == [made[1], made[0], made[2]]
    assert trained_files("folder", (3, 64, 64), root)[3] == made[4]
    assert trained_files("folder", (1, 32, 32))[0] == made[5]
    assert trained_files("folder", (3, 32, 32)) == [made[3], made[4], made[5], old]
    assert trained_files(made[1].stem)[0] == made[1]


def test_an_extractor_that_is_itself_poor_says_so_beside_what_it_measures(ganzoo, digits, tmp_path, monkeypatch):
    trained = ("features", "train", "--dataset", "small-digits", "--epochs", 1, "-o", "poor.safetensors")
    monkeypatch.setattr("ganzoo.metrics.classifier.accuracy", lambda *_: 0.59)
    assert ganzoo(*trained).code == 0
    named = (*QUICK, "--features", "poor.safetensors", "--metrics")
    told = (
        "caution: the extractor 'poor' is itself right about 59% of its test images: accuracy and precision say little"
    )
    assert told in ganzoo("eval", digits, *named, "fid,accuracy,prdc").err
    assert "itself right" not in ganzoo("eval", digits, *named, "fid").err
    facts = unpack((tmp_path / "poor.safetensors").read_bytes(), "it")[2]
    assert (facts["test_accuracy"], facts["tested_on"]) == (0.59, "test")
    net, shape, _ = unpack((tmp_path / "poor.safetensors").read_bytes(), "it")
    old = {key: value for key, value in facts.items() if key not in ("test_accuracy", "tested_on", "format", "shape")}
    (tmp_path / "old.safetensors").write_bytes(pack(net, shape, old))
    assert Trained(tmp_path / "old.safetensors").accuracy is None
    quiet = ganzoo("eval", digits, *QUICK, "--features", "old.safetensors", "--metrics", "accuracy")
    assert (quiet.code, "itself right" in quiet.err) == (0, False)


def test_evaluations_of_training_say_what_to_bear_in_mind_with_them(ganzoo, monkeypatch):
    monkeypatch.setattr(Look, "num_features", 501)
    monkeypatch.setattr(Evaluator, "measure", lambda *_, **__: {"metrics": {"fid": 1.0}})
    monkeypatch.setattr("ganzoo.metrics.reference.Reference.statistics", None)
    result = ganzoo("run", *TINY, "--steps", 2, "--eval-every", 1, "--out", "r")
    assert result.code == 0, result.err
    told = "note: --eval-every: FID of 10,000 images against 500 with 501 features: with fewer images than features"
    assert result.err.count(told) == 1


def test_inception_without_its_package_is_one_line(ganzoo, digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    result = ganzoo("eval", digits, *QUICK, "--features", "inception")
    assert result.code == 2
    assert "pip install 'ganzoo[inception]'" in result.err


def test_a_user_trains_an_extractor_and_eval_finds_it(ganzoo, digits, monkeypatch):
    monkeypatch.setattr(Look, "datasets", ())
    monkeypatch.setenv("GANZOO_CACHE", str(digits.parent / "cache"))
    trained = ganzoo("features", "train", "--dataset", "small-digits", "--epochs", 1, "--seed", 5, "--json")
    assert trained.code == 0, trained.err
    facts = json.loads(trained.out)
    value = json.loads(ganzoo("eval", digits, *QUICK, "--metrics", "fid,accuracy", "--json").out)
    assert value["protocol"]["extractor"] == "small-digits-8x8x1"
    assert value["protocol"]["extractor_sha256"] == facts["sha256"]
    assert value["metrics"]["accuracy"] == facts["test_accuracy"]
    assert value["metrics"]["fid"] == pytest.approx(0, abs=1e-4)
    by_file = choose_extractor(registry(), "small-digits", facts["file"])
    assert by_file.sha256 == facts["sha256"]


def test_an_extractor_may_be_trained_on_views_and_its_file_says_so(ganzoo, tmp_path):
    options = ("features", "train", "--dataset", "small-digits", "--epochs", 1, "--json")
    plain = json.loads(ganzoo(*options, "-o", "plain.safetensors").out)
    assert "mirror" not in plain
    one, two = (json.loads(ganzoo(*options, "--mirror", "--jitter", 2, "-o", f"{n}.safetensors").out) for n in "ab")
    assert (one["mirror"], one["jitter"]) == (True, 2)
    assert one["sha256"] == two["sha256"] != plain["sha256"]
    assert unpack((tmp_path / "a.safetensors").read_bytes(), "a")[2]["jitter"] == 2


def test_each_folder_has_an_extractor_of_its_own(ganzoo, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Look, "datasets", ())
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    found = set()
    for seed, root in enumerate(("one", "two")):
        (tmp_path / root).mkdir()
        options = ("--dataset", "small-digits", "--data-root", root)
        facts = json.loads(ganzoo("features", "train", *options, "--epochs", 1, "--seed", seed, "--json").out)
        value = json.loads(ganzoo("eval", digits, *options, "--metrics", "fid", "--json").out)
        assert value["protocol"]["extractor_sha256"] == facts["sha256"]
        found.add(facts["file"])
    assert len(found) == 2


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("x.pt", 2, "name a .safetensors file"),
        ("file/x.safetensors", 1, "cannot write"),
        ("folder.safetensors", 2, "a folder"),
    ],
)
def test_a_place_for_an_extractor_is_looked_at_before_it_is_trained(ganzoo, tmp_path, monkeypatch, out, code, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.setattr("ganzoo.metrics.classifier.fit", lambda *a, **k: pytest.fail("trained"))
    result = ganzoo("features", "train", "--dataset", "small-digits", "-o", out)
    assert (result.code, message in result.err) == (code, True)


def test_metrics_and_extractors_are_listed(ganzoo):
    metrics = {row["name"]: row["default"] for row in json.loads(ganzoo("list", "metrics", "--json").out)}
    assert metrics["fid"]
    assert not metrics["parzen"]
    assert {"digits", "inception", "look"} <= {
        row["name"] for row in json.loads(ganzoo("list", "features", "--json").out)
    }


# Runs


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run of two epochs that was evaluated after each, and the same without."""
    from ganzoo.launch import start
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("runs")
    options = {"dataset": "small-digits", "batch_size": 32, "epochs": 2, "seed": 3}
    for name, extra in (("with", {"eval_every": 1}), ("without", {"loggers": ()})):
        start(resolve(Tiny, {**options, **extra}), registry(), folder / name)
    return folder


def test_evaluation_leaves_training_as_it_was_to_the_bit(evaluated):
    states = []
    for name in ("with", "without"):
        path = max((evaluated / name / "checkpoints").glob("*.pt"))
        states.append(torch.load(path, weights_only=True))
    for part in ("gan", "ema"):
        assert all(torch.equal(a, b) for a, b in zip(*(s[part].values() for s in states), strict=True))
    assert torch.equal(states[0]["random"]["torch"], states[1]["random"]["torch"])
    names = [{p.name: p.read_bytes() for p in (evaluated / n / "samples").iterdir()} for n in ("with", "without")]
    assert names[0] == names[1]


def test_each_evaluation_is_a_full_line_of_the_log(evaluated):
    lines = [line for line in read_metrics(evaluated / "with") if "fid" in line]
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert line["evaluation"] == (
            "small-digits test (500), 10,000 images of 8x8x1, labels as the reference has them, "
            "extractor look 10101010, resize none"
        )
        assert {"generator_loss", "images_per_second", "accuracy"} <= set(line)
    assert not any("fid" in line for line in read_metrics(evaluated / "without"))
    assert read_json(evaluated / "with" / "run.json")["evaluation"]["extractor_sha256"] == Look.sha256
    assert read_json(evaluated / "without" / "run.json")["evaluation"] is None


class InterruptedBefore(Watcher):
    """A signal that arrives in the step before this one, so that the run stops after this one."""

    def __init__(self, at):
        self.at = at

    def step(self, trainer):
        if trainer.step == self.at - 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [0, 1], ids=["in the middle", "at the end"])
def test_an_evaluation_that_a_signal_cancels_is_made_up_for_when_the_run_goes_on(evaluated, tmp_path, number):
    from ganzoo.launch import resume, start
    from ganzoo.settings import resolve

    def told(folder):
        timed = {"seconds", "images_per_second", "wait"}
        return [{k: v for k, v in line.items() if k not in timed} for line in read_metrics(folder)]

    whole = evaluated / "with"
    at = [line["step"] for line in read_metrics(whole) if "fid" in line][number]
    options = {"dataset": "small-digits", "batch_size": 32, "epochs": 2, "seed": 3, "eval_every": 1}
    with pytest.raises(Stopped, match=f"step {at} is saved"):
        start(resolve(Tiny, options), registry(), tmp_path / "r", [InterruptedBefore(at)])
    assert not any("fid" in line for line in read_metrics(tmp_path / "r") if line["step"] == at)
    resume(tmp_path / "r", registry())
    assert told(tmp_path / "r") == told(whole)
    assert read_json(tmp_path / "r" / "checkpoints" / "best.json") == read_json(whole / "checkpoints" / "best.json")


def test_the_best_checkpoint_is_the_one_with_the_lowest_fid(evaluated):
    lines = [line for line in read_metrics(evaluated / "with") if "fid" in line]
    best = min(lines, key=lambda line: line["fid"])
    assert read_json(evaluated / "with" / "checkpoints" / "best.json") == {"step": best["step"], "score": best["fid"]}
    assert (evaluated / "with" / "checkpoints" / f"step-{best['step']:08d}.pt").is_file()


def test_tensorboard_shows_what_the_numbers_depend_on(evaluated):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(evaluated / "with"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("fid")]
    assert tags == ["fid/small-digits-test-10000/labels-reference/look-10101010/resize-none"]
    assert [event.step for event in events.Scalars(tags[0])] == [15, 30]


def test_eval_of_a_run_finds_the_number_that_training_logged(evaluated, ganzoo):
    result = ganzoo("eval", evaluated / "with", "--metrics", "fid,accuracy")
    assert result.code == 0, result.err
    value = read_json(evaluated / "with" / "eval.json")
    line = read_metrics(evaluated / "with")[-1]
    assert value["metrics"]["fid"] == pytest.approx(line["fid"], rel=1e-6)
    assert value["metrics"]["accuracy"] == line["accuracy"]
    assert (value["model"], value["step"]) == ("tiny", 30)
    assert (evaluated / "with" / "confusion.png").is_file()


def test_the_seed_alone_decides_the_result(evaluated, ganzoo):
    def found(seed: int) -> dict[str, float]:
        arguments = ("--metrics", "fid,kid,is,prdc", "--n", 700, "--seed", seed, "--json", "-o", "x.json")
        return json.loads(ganzoo("eval", evaluated / "with", *arguments).out)["metrics"]

    first = found(1)
    assert found(1) == first
    assert found(2) != first


def test_progress_shows_each_score_with_what_it_depends_on(ganzoo):
    result = ganzoo("run", *TINY, "--epochs", 1, "--eval-every", 1, "--out", "r")
    assert result.code == 0, result.err
    line = next(line for line in result.err.splitlines() if "FID" in line)
    assert line.startswith("epoch 1.00: FID ")
    assert line.endswith(
        "(small-digits test (500), 10,000 images of 8x8x1, labels as the reference has them, "
        "extractor look 10101010, resize none)"
    )


def test_a_run_that_cannot_be_evaluated_fails_before_it_starts(ganzoo, tmp_path, monkeypatch):
    monkeypatch.setattr(Look, "datasets", ())
    result = ganzoo("run", *TINY, "--steps", 5, "--eval-every", 1, "--out", "r")
    assert (result.code, (tmp_path / "r").exists()) == (2, False)
    assert "no feature extractor is known for 'small-digits'" in result.err


def test_samples_are_balanced_and_drawn_in_pieces():
    options = Tiny.Options()
    gan = Tiny(SmallDigits().load(DataRequest()).spec("small-digits"), options).eval()
    batches = list(generated(gan, 1203, 0, Reference(SmallDigits()), "uniform"))
    assert [len(batch.images) for batch in batches] == [500, 500, 203]
    assert torch.cat([batch.labels for batch in batches]).bincount().tolist() == [121] * 3 + [120] * 7
    assert all(batch.images.dtype == torch.uint8 for batch in batches)


def test_a_part_of_given_images_is_drawn_at_random_without_repetition():
    images = torch.arange(1000, dtype=torch.int64).view(-1, 1, 1, 1)
    chosen = torch.cat([batch.images for batch in given(images, None, 700, 0)]).flatten()
    assert len(chosen.unique()) == 700
    assert chosen.max() > 900


# What may be compared


@pytest.fixture
def result(digits):
    evaluator = Evaluator(registry(), "small-digits", metrics=("fid", "kid"))
    images, labels = read_images(digits)
    return evaluator.measure(given(images, labels, 100, 0), 100, True)


def test_equal_protocols_are_comparable_whatever_the_seed_and_the_numbers(result):
    comparable(result, {**result, "seed": 4, "metrics": {"fid": 1e9}, "settings": {}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("extractor_sha256", "20" * 32),
        ("extractor", "digits"),
        ("split", "train"),
        ("n", 200),
        ("resize", "9x9 to 8x8"),
        ("dataset", "mnist"),
        ("reference_sha256", "0"),
        ("shape", [3, 8, 8]),
        ("sampling", {"truncation": 0.5}),
    ],
)
def test_results_that_were_measured_differently_refuse_to_be_compared(result, field, value):
    other = {**result, "protocol": {**result["protocol"], field: value}}
    with pytest.raises(UsageError, match=rf"cannot be compared: {field} is .+ and .+"):
        comparable(result, other)


def test_a_difference_in_a_metrics_settings_counts_too(result):
    other = {**result, "settings": {**result["settings"], "kid": {**result["settings"]["kid"], "subset_size": 7}}}
    with pytest.raises(UsageError, match="kid: subset_size is 100 and 7"):
        comparable(result, other)


def other_size(result: dict, **protocol) -> dict:
    """A result of images twice as large, which the extractor brings to the same 8 x 8."""
    sized = {"shape": [1, 16, 16], "resize": "16x16 to 8x8, bilinear", "reference_sha256": "0"}
    return {**result, "protocol": result["protocol"] | sized | protocol}


def test_the_same_images_are_known_at_another_size_and_other_ones_are_not_taken_for_them(result):
    large = Evaluator(registry(), "small-digits", metrics=("fid",), shape=(1, 16, 16)).reference.glance
    assert large == pytest.approx(result["protocol"]["reference_glance"], abs=NEAR)
    comparable(result, other_size(result, reference_glance=large))
    others = Evaluator(registry(), "small-digits", metrics=("fid",), split="train").reference.glance
    with pytest.raises(UsageError, match="cannot be compared: the real images are other ones, whatever their size"):
        comparable(result, other_size(result, reference_glance=others))


def test_results_of_sources_that_were_made_otherwise_are_not_compared_at_any_size(result):
    hole = {**result, "protocol": {**result["protocol"], "made_from": "sources", "source": "hole"}}
    comparable(hole, other_size(hole))
    with pytest.raises(UsageError, match="source is hole and edges"):
        comparable(hole, other_size(hole, source="edges"))


def test_results_of_before_there_was_a_glance_or_a_source_are_compared_as_far_as_they_tell(result):
    older = {key: v for key, v in result["protocol"].items() if key not in ("reference_glance", "source")}
    comparable({**result, "protocol": older}, result)
    comparable(result, other_size({**result, "protocol": older}))


def test_metrics_of_pairs_are_at_their_own_size(result):
    kinds = {"psnr", "ssim", "ms-ssim", "l1", "lpips", "cycle"}
    pairs = {**result, "settings": {key: {} for key in [*kinds, "fid"]}}
    assert at_their_sizes(pairs, other_size(pairs)) == kinds
    assert at_their_sizes(pairs, pairs) == set()


def test_a_description_names_all_that_matters(result):
    assert describe(result["protocol"]) == (
        "small-digits test (500), 100 images of 8x8x1, extractor look 10101010, resize none"
    )


# Plugins


def test_one_hook_takes_metrics_and_extractors_and_nothing_else():
    class Mine(Metric):
        name, summary = "mine", "nothing"

        def update(self, batch): ...

        def compute(self):
            return {"mine": 0.0}

    class Eye(FeatureExtractor):
        name, summary = "eye", "nothing"

    import types

    import ganzoo

    def module(*classes: type) -> types.ModuleType:
        made = types.ModuleType("made")
        made.register_metrics = ganzoo.hookimpl(lambda register: [register(c) for c in classes])
        made.register_metrics.__name__ = "register_metrics"
        return made

    plugins = Registry()
    plugin = Plugin("good", "p", "1", "m")
    plugins.add(plugin, module(Mine, Eye))
    assert plugin.broken is None
    assert plugin.registered == {"metrics": ["mine"], "features": ["eye"]}
    bad = replace(plugin, name="bad", registered={})
    plugins.add(bad, module(Tiny))
    assert "is not a subclass of ganzoo.Metric or ganzoo.FeatureExtractor" in bad.broken
