"""Conditions as the data has them: how fakes are asked for classes, in training and in evaluation."""

import json
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.mnist import MNIST
from torch import nn

import ganzoo as zoo
from conftest import TINY
from ganzoo import Attribute, DataRequest, DataSpec, ImageSet
from ganzoo.data import normalise
from ganzoo.errors import UsageError
from ganzoo.files import read_json
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.protocol import comparable, describe
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import drawn_as, generated
from ganzoo.plugins import Plugin, discover
from ganzoo.runs.folder import read_metrics
from ganzoo.settings import read_config, resolve
from ganzoo_test_plugins import Plain, SmallDigits, Tiny

CLASSES = tuple("abcd")
UNEQUAL = DataSpec("unequal", (1, 8, 8), 1000, CLASSES, counts=(600, 0, 300, 100))
COUNTS = SmallDigits().load(DataRequest()).spec("small-digits").counts
SVHN = torch.tensor([4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659])
"""Training images of each of its digits."""


def tiny(data: DataSpec) -> zoo.GAN:
    torch.manual_seed(0)
    return Tiny(data, Tiny.Options())


def drawn(gan: zoo.GAN, n: int) -> torch.Tensor:
    torch.manual_seed(1)
    return gan.sample_labels(n)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint's model."""
    newest = max((folder / "checkpoints").glob("*.pt"))
    return torch.load(newest, weights_only=True)["gan"]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# Training


def test_classes_are_drawn_as_often_as_the_data_has_them():
    labels = drawn(tiny(UNEQUAL), 100_000)
    assert labels.dtype == torch.int64
    share = labels.bincount(minlength=4) / 100_000
    torch.testing.assert_close(share, torch.tensor([0.6, 0, 0.3, 0.1]), atol=0.006, rtol=0)
    assert share[1] == 0


@pytest.mark.parametrize("counts", [(0, 0, 7, 0), (0, 0, 1, 999)])
def test_a_class_without_images_is_never_drawn(counts):
    labels = drawn(tiny(replace(UNEQUAL, count=sum(counts), counts=counts)), 50_000)
    assert {CLASSES[i] for i in labels.unique().tolist()} <= {
        name for name, n in zip(CLASSES, counts, strict=True) if n
    }


@pytest.mark.parametrize("counts", [(), (250, 250, 250, 250)])
def test_equal_counts_or_none_give_the_uniform_draw_of_before_bit_for_bit(counts):
    gan = tiny(replace(UNEQUAL, counts=counts))
    labels = drawn(gan, 500)
    torch.manual_seed(1)
    assert torch.equal(labels, torch.randint(4, (500,)))


def test_the_class_in_a_condition_vector_is_drawn_alike():
    gan = tiny(replace(UNEQUAL, attributes=(Attribute("slant", -1, 1),)))
    y = drawn(gan, 10_000)
    torch.testing.assert_close(y.mean(0)[:4], torch.tensor([0.6, 0, 0.3, 0.1]), atol=0.02, rtol=0)
    assert -1 <= y[:, 4].min() < -0.99


def test_how_classes_are_drawn_is_no_part_of_what_a_checkpoint_holds():
    assert tiny(UNEQUAL).state_dict().keys() == tiny(replace(UNEQUAL, counts=())).state_dict().keys()


def test_an_unconditional_model_is_told_no_counts():
    assert Plain(UNEQUAL, Plain.Options()).data.counts == ()


def test_a_run_records_the_counts_that_its_fakes_are_drawn_by(ganzoo, tmp_path):
    assert len(set(COUNTS)) > 1
    for name, options, counts in (("d", (), list(COUNTS)), ("u", ("--labels", "uniform"), [])):
        assert ganzoo("run", *TINY, "--steps", 3, "--out", name, *options).code == 0
        for file in ("run.json", "config.json"):
            assert read_json(tmp_path / name / file)["data"]["counts"] == counts
        assert zoo.load(tmp_path / name).gan.data.counts == tuple(counts)
    assert read_json(tmp_path / "u" / "run.json")["settings"]["labels"] == "uniform"
    assert ganzoo("run", "plain", *TINY[1:], "--steps", 1, "--out", "p").code == 0
    assert read_json(tmp_path / "p" / "config.json")["data"]["counts"] == []


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_labels_change_what_is_trained_and_recorded_steps_draw_the_same(ganzoo, tmp_path, engine):
    for labels in ("data", "uniform"):
        result = ganzoo("run", *TINY, "--steps", 20, "--labels", labels, "--engine", engine, "--out", labels)
        assert result.code == 0, result.err
    assert not torch.equal(
        weights(tmp_path / "data")["generator.layers.0.weight"],
        weights(tmp_path / "uniform")["generator.layers.0.weight"],
    )
    if engine == "graph":
        ganzoo("run", *TINY, "--steps", 20, "--engine", "eager", "--out", "eager")
        assert_equal(weights(tmp_path / "eager"), weights(tmp_path / "data"))


@pytest.fixture
def old(ganzoo, tmp_path) -> Path:
    """A run as version 0.1.0 left it after 10 steps: without a word of labels."""
    assert ganzoo("run", *TINY, "--steps", 10, "--labels", "uniform", "--eval-every", 0.5, "--out", "old").code == 0
    for file in ("run.json", "config.json"):
        value = read_json(tmp_path / "old" / file)
        del value["data"]["counts"]
        if file == "run.json":
            del value["settings"]["labels"], value["evaluation"]["labels"]
        (tmp_path / "old" / file).write_text(json.dumps(value))
    return tmp_path / "old"


def test_a_run_of_version_0_1_goes_on_as_it_began(ganzoo, old, tmp_path):
    assert ganzoo("resume", old, "--steps", 20).code == 0
    assert ganzoo("run", *TINY, "--steps", 20, "--labels", "uniform", "--eval-every", 0.5, "--out", "new").code == 0
    assert_equal(weights(old), weights(tmp_path / "new"))
    assert read_json(old / "run.json")["settings"]["labels"] == "uniform"
    told = {line["evaluation"] for line in read_metrics(old) if line["step"] > 10 and "fid" in line}
    assert len(told) == 1
    assert "classes in turn" in told.pop()


def test_a_run_of_version_0_1_is_repeated_as_it_was(ganzoo, old, tmp_path):
    assert read_config(old / "run.json")["labels"] == "uniform"
    assert ganzoo("run", "--config", old / "run.json", "--out", "again").code == 0
    assert_equal(weights(old), weights(tmp_path / "again"))
    assert ganzoo("run", "--config", old / "run.json", "--labels", "data", "--out", "other").code == 0
    assert read_json(tmp_path / "other" / "config.json")["data"]["counts"] == list(COUNTS)


def test_the_tutorials_labels_are_uniform():
    cgan = discover().get("models", "cgan")
    assert resolve(cgan, {}, "tutorial").settings.labels == "uniform"
    assert resolve(cgan, {}).settings.labels == "data"


def test_compare_does_not_take_a_run_with_other_labels_for_the_one_asked_for(ganzoo, old):
    from ganzoo.provide import same_plan

    asked = {**read_json(old / "run.json")["settings"], **read_json(old / "run.json")["options"], "loggers": ()}
    same_plan(resolve(Tiny, asked | {"labels": "uniform"}), old)
    with pytest.raises(UsageError, match="was trained with labels uniform, not data"):
        same_plan(resolve(Tiny, asked | {"labels": "data"}), old)
    info = read_json(old / "run.json")
    (old / "run.json").write_text(json.dumps(info | {"model": "plain"}))
    same_plan(resolve(Plain, asked | {"labels": "data"}), old)  # Labels are nothing to it.


# Evaluation


def asked(gan: zoo.GAN, n: int, *labels: str) -> torch.Tensor:
    """The labels of an evaluation's samples."""
    return torch.cat([batch.labels for batch in generated(gan.eval(), n, 0, Reference(SmallDigits()), *labels)])


def test_an_evaluation_asks_for_classes_as_its_reference_has_them():
    reference, gan = Reference(SmallDigits()), tiny(SmallDigits().load(DataRequest()).spec("small-digits"))
    known, labels = reference.labels.bincount(), asked(gan, 1200)
    assert torch.equal(labels[:500].bincount(), known)
    assert torch.equal(labels[500:1000], labels[:500])
    assert torch.equal(labels[:200], asked(gan, 200))
    assert not torch.equal(labels[:500], reference.labels)
    assert asked(gan, 25, "uniform").tolist() == [i % 10 for i in range(25)]


def test_conditions_with_attributes_are_those_of_the_reference_images():
    class Slanted(zoo.Dataset):
        name, summary = "slanted", "digits with a number"

        def load(self, request):
            digits = SmallDigits().load(request)
            y = torch.cat([nn.functional.one_hot(digits.labels, 10).float(), digits.labels.view(-1, 1) / 10], dim=1)
            return ImageSet(digits.images, y, digits.classes, (Attribute("slant"),))

    gan = tiny(Slanted().load(DataRequest()).spec("slanted")).eval()
    reference, seen = Reference(Slanted()), []
    gan.generate = lambda z, y: (seen.append(y), gan.generator(z, y))[1]
    labels = torch.cat([batch.labels for batch in generated(gan, 700, 0, reference)])
    asked = torch.cat(seen)[-700:]  # Before, the model was looked at once: does it draw by torch alone?
    assert torch.equal(asked[:500], reference.data.labels)
    assert torch.equal(labels[500:], reference.labels[:200])
    with pytest.raises(UsageError, match="known from the reference images alone"):
        next(generated(gan, 10, 0, reference, "uniform"))


class Uneven(zoo.Dataset):
    """Digits with SVHN's class counts as proportions."""

    name, summary = "uneven", "digits, their classes as unequal as SVHN's"
    sizes = {"train": 2500, "test": 1500}

    def load(self, request):
        digits = MNIST().load(request)
        share = (SVHN * self.sizes[request.split] / SVHN.sum()).round().long()
        places = torch.cat([(digits.labels == label).nonzero()[:n, 0] for label, n in enumerate(share.tolist())])
        return ImageSet(digits.images[places], digits.labels[places], digits.classes)


class Perfect(zoo.GAN):
    """Shows real training images of the class that it is asked for."""

    name, paper, conditional = "perfect", "none", True

    def __init__(self, data, options):
        super().__init__(data, options)
        known = Uneven().load(DataRequest())
        self.generator = self.discriminator = nn.Linear(1, 1)
        self.images = normalise(known.images)
        self.places = [(known.labels == label).nonzero()[:, 0] for label in range(10)]

    def generate(self, z, y, source=None):
        chosen = [self.places[label][int(torch.randint(len(self.places[label]), ()))] for label in y.tolist()]
        return self.images[torch.stack(chosen)]


def test_a_perfect_sampler_of_unequal_classes_is_near_the_data_only_if_asked_as_the_data_is():
    plugins, module = discover(), types.ModuleType("uneven")
    module.register_datasets = zoo.hookimpl(lambda register: register(Uneven))
    module.register_datasets.__name__ = "register_datasets"
    plugins.add(Plugin("uneven", "p", "1", "m"), module)
    evaluator = Evaluator(plugins, "uneven", metrics=("fid",), features="digits", split="train")
    gan = Perfect(Uneven().load(DataRequest()).spec("uneven"), Perfect.Options()).eval()
    found = {}
    for labels in ("reference", "uniform"):
        batches = generated(gan, 2500, 0, evaluator.reference, labels)
        result = evaluator.measure(batches, 2500, True, 0, drawn_as(gan, labels))
        assert result["protocol"]["labels"] == labels
        found[labels] = result["metrics"]["fid"]
    assert found["uniform"] > 10 * found["reference"], found


def test_a_class_with_too_few_samples_costs_intra_fid_alone(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    result = ganzoo("eval", "r", "--n", 40, "--json")
    value = json.loads(result.out)
    assert value["left_out"]["intra-fid"].startswith("intra-fid needs 2 images of each class, and class '")
    assert {"fid", "accuracy", "is"} <= value["metrics"].keys()
    whole = json.loads(ganzoo("eval", "r", "--n", 500, "--json").out)
    assert "intra-fid" in whole["metrics"]
    counted = torch.tensor(whole["confusion"]).sum(1)
    assert torch.equal(counted, Reference(SmallDigits()).labels.bincount())


def test_how_labels_were_drawn_is_told_and_asked_for(ganzoo):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    ganzoo("run", "plain", *TINY[1:], "--steps", 2, "--out", "p")
    quick = ("--metrics", "fid", "--n", 100)
    assert ", labels as the reference has them, extractor" in ganzoo("eval", "r", *quick).out
    assert ", classes in turn, extractor" in ganzoo("eval", "r", *quick, "--labels", "uniform").out
    assert "100 images of 8x8x1, extractor" in ganzoo("eval", "p", *quick).out
    np.savez("x.npz", np.zeros((100, 8, 8), np.uint8))
    for name, reason in (("p", "model 'plain' was trained without labels"), ("x.npz", "--labels is for a run")):
        result = ganzoo("eval", name, *quick, "--labels", "uniform")
        assert (result.code, reason in result.err, result.err.count("\n")) == (2, True, 1)


# What may be compared

PROTOCOL = {"dataset": "d", "split": "test", "reference_images": 9, "shape": [1, 8, 8], "n": 9, "extractor": None}


def result_of(labels: str | None = None, *, old: bool = False, metrics=(), **more: object) -> dict[str, object]:
    protocol = PROTOCOL | ({} if old else {"labels": labels})
    return {"protocol": protocol, "metrics": dict.fromkeys(("fid", *metrics), 1.0), "settings": {}, **more}


UNLABELLED = {"left_out": {"accuracy": "the images have no labels"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (result_of("reference"), result_of("reference")),
        (result_of("reference"), result_of(None)),
        (result_of("uniform"), result_of(None)),
        (result_of("uniform"), result_of(old=True)),
        (result_of("uniform"), result_of(old=True, metrics=("accuracy",))),
        (result_of("reference"), result_of(old=True, **UNLABELLED)),
        (result_of(None), result_of(old=True)),
        (result_of(None), result_of(old=True, metrics=("accuracy",))),
        (result_of(old=True), result_of(old=True, metrics=("accuracy",))),
    ],
)
def test_what_was_asked_alike_or_takes_no_labels_is_comparable(one, other):
    comparable(one, other)
    comparable(other, one)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (result_of("uniform"), "classes in turn$"),
        (result_of(old=True), r"classes in turn \(as ganzoo 0.1.0 did it; `ganzoo eval` measures anew\)$"),
        (result_of(old=True, metrics=("accuracy",)), r"classes in turn \(as ganzoo 0.1.0 did it"),
    ],
)
def test_labels_drawn_otherwise_are_not_comparable(other, told):
    with pytest.raises(UsageError, match=f"labels is labels as the reference has them and {told}"):
        comparable(result_of("reference"), other)
    with pytest.raises(UsageError, match="labels is classes in turn"):
        comparable(other, result_of("reference"))


def test_an_old_result_is_described_as_what_it_was():
    assert describe(result_of(old=True)["protocol"]) == "d test (9), 9 images of 8x8x1, classes, if any, in turn"
