"""Whether the discriminator knows its images by heart is measured, told once, and changes nothing."""

import json

import pytest
import torch

from ganzoo.data import DataRequest, ImageSet, Loader
from ganzoo.runs.overfitting import Overfitting
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import SmallDigits, Tiny

CPU = Engine(torch.device("cpu"), "fp32")


def images(seed, count=40):
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=draw)
    return ImageSet(pixels, torch.arange(count) % 10, tuple("0123456789"))


class ByHeart(Tiny):
    """Says 2 of the images that it learned, `others` of real ones, and -2 of fakes."""

    others = -2.0

    def judge(self, batch):
        if batch.z is not None:
            return torch.full((len(batch.x), 1), -2.0)
        known = images(1).images.float().div(127.5).sub(1)
        learned = (batch.x[:, None] - known[None]).abs().flatten(2).amax(2).amin(1) < 1e-4
        return torch.where(learned, 2.0, self.others)[:, None]


def made(model, held_out):
    seed_everything(0)
    data = images(1)
    gan = model(data.spec("noise"), model.Options(batch_size=8))
    return Trainer(gan, Loader(data, 8, 0, CPU.device), CPU, 10), Overfitting(lambda: held_out)


@pytest.mark.parametrize(("others", "expected"), [(-2.0, 1.0), (2.0, 0.0), (0.0, 0.5)])
def test_r_v_is_1_where_new_images_pass_for_fakes_and_0_where_they_pass_for_known_ones(others, expected, capsys):
    model = type("Some", (ByHeart,), {"others": others})
    trainer, overfitting = made(model, images(2))
    found = overfitting.measure(trainer)
    assert found["r_v"] == pytest.approx(expected)
    assert found["D(x) held out"] == pytest.approx(torch.tensor(others).sigmoid().item())
    overfitting.measure(trainer)
    told = capsys.readouterr().err
    assert told.count("knows its images by heart (r_v 1.00") == (expected == 1)
    assert told.count("more images help, or --augment ada") == (expected == 1)


def test_scores_that_scatter_are_not_told_for_images_known_by_heart(capsys):
    class Unsure(Tiny):
        """Its scores of single images are far more apart than those of the three kinds; known ones get 0.2 more."""

        def judge(self, batch):
            scattered = torch.linspace(-10, 10, len(batch.x))[torch.randperm(len(batch.x))][:, None]
            known = images(1).images.float().div(127.5).sub(1)
            learned = (batch.x[:, None] - known[None]).abs().flatten(2).amax(2).amin(1) < 1e-4
            return scattered + 0.2 * learned[:, None]

    trainer, overfitting = made(Unsure, images(2))
    assert overfitting.measure(trainer)["r_v"] == pytest.approx(1.0, abs=1e-3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("room", "looked_at"), [(500, 40), (9, 9), (1, 8)])
def test_of_large_images_only_as_many_are_looked_at_as_memory_holds(monkeypatch, room, looked_at):
    seen = []

    class Seen(Tiny):
        def judge(self, batch):
            seen.append(len(batch.x))
            return super().judge(batch)

    monkeypatch.setattr("ganzoo.runs.overfitting.at_once", lambda height, width: room)
    trainer, overfitting = made(Seen, images(2))
    assert overfitting.measure(trainer)
    assert seen == [looked_at] * 3


def test_what_augments_already_is_not_told_to(capsys):
    trainer, overfitting = made(ByHeart, images(2))
    trainer.gan.augmentations.append(torch.nn.Identity())
    overfitting.measure(trainer)
    assert capsys.readouterr().err.endswith("more images help\n")


def test_where_nothing_is_held_out_nothing_is_told():
    trainer, overfitting = made(ByHeart, images(1))
    assert overfitting.measure(trainer) == {}


def test_a_model_that_cannot_judge_such_images_goes_on_without():
    class Joint(Tiny):
        def judge(self, batch):
            return batch.z.mean(1)  # Of real images there is none.

    trainer, overfitting = made(Joint, images(2))
    assert overfitting.measure(trainer) == {}
    assert overfitting.measure(trainer) == {}


def test_looking_changes_no_weight_no_mode_and_no_random_number():
    trainer, overfitting = made(Tiny, SmallDigits().load(DataRequest("test")))
    trainer.advance()
    before = {name: value.clone() for name, value in trainer.gan.state_dict().items()}
    random, modes = torch.get_rng_state(), [module.training for module in trainer.gan.modules()]
    assert overfitting.measure(trainer).keys() >= {"D(x) held out"}
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [module.training for module in trainer.gan.modules()]
    for name, value in trainer.gan.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_run_logs_it_with_its_grids(ganzoo, tmp_path):
    run = ("run", "tiny", "--dataset", "small-digits", "--steps", 100, "--batch-size", 32, "--loggers", "none")
    assert ganzoo(*run, "--sample-interval", 50, "--quiet", "--out", "r").code == 0
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "D(x) held out" in line] == [50, 100]
