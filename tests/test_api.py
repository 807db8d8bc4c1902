"""From Python: training, sampling, evaluating and comparing, in any thread, with classes and data of a program."""

import asyncio
import copy
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo as zoo
from conftest import PATIENCE, start
from ganzoo import launch
from ganzoo.data import DataRequest, ImageSet
from ganzoo.data.given import dataset_of
from ganzoo.runs.run import Run
from ganzoo_test_plugins import SmallDigits, Tiny

PLAIN = {"dataset": "small-digits", "loggers": (), "progress": False, "engine": "eager"}
SHORT = {**PLAIN, "batch_size": 32}
DIGITS = SmallDigits().load(DataRequest())


class Mine(Tiny):
    """A GAN that no package brings."""

    name = "mine"


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    monkeypatch.setattr("ganzoo.metrics.training.N", 100)


def weights(run: zoo.TrainedRun) -> list[torch.Tensor]:
    return list(run.sampler.gan.generator.state_dict().values())


def same(a: zoo.TrainedRun, b: zoo.TrainedRun) -> bool:
    return all(map(torch.equal, weights(a), weights(b)))


def test_a_run_of_python_is_that_of_the_command_line(ganzoo, tmp_path):
    run = zoo.train("tiny", out="a", steps=60, **SHORT)
    command = "run tiny --dataset small-digits --batch-size 32 --loggers none --engine eager --steps 60 --out b --quiet"
    assert ganzoo(*command.split()).code == 0
    assert same(run, zoo.TrainedRun("b"))
    assert run.folder == zoo.TrainedRun("a").folder
    assert [line["step"] for line in run.metrics()] == [50, 60]
    assert run.metrics()[0]["generator_loss"] == zoo.TrainedRun("b").metrics()[0]["generator_loss"]
    assert run.status["status"] == "finished"
    assert torch.equal(run.sample(5, seed=2), zoo.load("a").sample(5, seed=2))
    assert repr(run) == "<ganzoo run 'a': tiny on small-digits, finished at step 60>"
    assert run.device == torch.device("cpu")
    assert run.to("cpu") is run


@pytest.mark.parametrize("around", [nullcontext, lambda: torch.autocast("cpu", dtype=torch.bfloat16)])
def test_a_run_of_python_in_bf16_is_that_of_the_command_line(ganzoo, around):
    """What torch casts to bf16 is cast anew in each step, whatever autocast a program has around all of it."""
    arguments = ("--dataset", "small-digits", "--batch-size", 32, "--steps", 6, "--precision", "bf16")
    assert (
        ganzoo("run", "tiny", *arguments, "--engine", "eager", "--loggers", "none", "--out", "told", "--quiet").code
        == 0
    )
    with around():
        made = zoo.train("tiny", out="made", steps=6, precision="bf16", **SHORT)
    assert same(made, zoo.load("told"))


def test_presets_and_files_of_options_work_as_on_the_command_line(tmp_path):
    (tmp_path / "o.toml").write_text("batch_size = 24\nsteps = 3\n")
    run = zoo.train("tiny", preset="short", config="o.toml", seed=4, **PLAIN)
    info = json.loads((run.folder / "run.json").read_text())
    assert (info["preset"], info["options"]["batch_size"], info["settings"]["seed"]) == ("short", 24, 4)
    assert run.status["step"] == 3
    again = zoo.train("tiny", config=run.folder / "run.json", out="again", progress=False)
    assert same(run, again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "^model 'tiny' has no option 'stepz': did you mean 'steps'"),
        ({"steps": 0}, "--steps: input should be greater than or equal to 1, not 0"),
        ({"dataset": "small-digit"}, "did you mean 'small-digits'"),
        ({"preset": "shorter"}, "did you mean 'short'"),
        ({"dataset": 5}, "must be a name, an ImageSet, a tensor, an array or a map-style set, not int"),
        ({"dataset": "small-digits", "value_range": (0, 1)}, "for data in memory"),
        ({"device": "cuda:99"}, "cuda"),
    ],
)
def test_options_are_checked_as_on_the_command_line(options, message):
    with pytest.raises(zoo.UsageError, match=message):
        zoo.train("tiny", **{**SHORT, "steps": 2, "out": "x", **options})
    assert not Path("x").exists()


def test_models_that_cannot_be_are_told_in_one_line():
    with pytest.raises(zoo.UsageError, match="no model is named 'tinny': did you mean 'tiny'"):
        zoo.train("tinny")
    with pytest.raises(zoo.UsageError, match="given as its class, not as int"):
        zoo.train(3)
    with pytest.raises(zoo.UsageError, match=r"^int is not a subclass of ganzoo\.GAN$"):
        zoo.train(int)
    nameless = type("Nameless", (zoo.GAN,), {"paper": "none"})
    with pytest.raises(zoo.UsageError, match=r"Nameless\.name must be lower-case words"):
        zoo.train(nameless)
    taken = type("Taken", (Tiny,), {"name": "cgan"})
    with pytest.raises(zoo.UsageError, match=r"model 'cgan' is that of ganzoo .*: give .*Taken another name"):
        zoo.train(taken)


def test_a_directory_that_exists_is_refused(tmp_path):
    run = zoo.train("tiny", out="a", steps=2, **SHORT)
    with pytest.raises(zoo.UsageError, match="a exists already: `ganzoo resume a` continues it"):
        zoo.train("tiny", out=run.folder, steps=2, **SHORT)


# Who ends a training


def test_a_callback_is_told_what_is_logged_and_ends_the_training_where_it_says_so():
    seen = []

    def enough(step, values):
        seen.append((step, values["generator_loss"]))
        return step < 100

    run = zoo.train("tiny", out="a", steps=250, callback=enough, **SHORT)
    assert seen == [(line["step"], line["generator_loss"]) for line in run.metrics()]
    assert [step for step, _ in seen] == [50, 100]
    assert (run.status["status"], run.status["step"]) == ("stopped", 100)
    assert same(zoo.resume(run, progress=False), zoo.train("tiny", out="b", steps=250, **SHORT))


def test_an_exception_in_a_callback_is_raised_and_the_run_saved():
    def broken(step, values):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        zoo.train("tiny", out="a", steps=120, callback=broken, **SHORT)
    assert "the run is saved: ganzoo.resume('a') goes on from there" in raised.value.__notes__
    assert zoo.TrainedRun("a").status["step"] == 50
    assert same(zoo.resume("a", progress=False), zoo.train("tiny", out="b", steps=120, **SHORT))


def interrupt(number):
    def callback(step, values):
        if step == 50:
            os.kill(os.getpid(), number)

    return callback


def test_an_interrupt_is_a_keyboard_interrupt_with_the_run_saved():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"step 51 is saved"):
        zoo.train("tiny", out="a", steps=120, callback=interrupt(signal.SIGINT), **SHORT)
    assert signal.getsignal(signal.SIGINT) is before
    assert same(zoo.resume("a", progress=False), zoo.train("tiny", out="b", steps=120, **SHORT))


def test_a_second_interrupt_ends_the_call_and_not_the_process():
    def twice(step, values):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        zoo.train("tiny", out="a", steps=120, callback=twice, **SHORT)
    assert zoo.TrainedRun("a").status["status"] == "stopped"


@pytest.mark.parametrize(("answer", "ends"), [(np.False_, True), (np.float64(1), False), (0, False)])
def test_what_numpy_calls_false_ends_a_training_and_numbers_do_not(answer, ends):
    run = zoo.train("tiny", out="a", steps=120, callback=lambda *_: answer, **SHORT)
    assert run.status["step"] == (50 if ends else 120)


def test_what_a_callback_draws_at_random_is_no_part_of_the_training():
    def shows(step, values):
        torch.manual_seed(step)
        torch.randn(3)

    plain = zoo.train("tiny", out="a", steps=110, **SHORT)
    assert same(plain, zoo.train("tiny", out="b", steps=110, callback=shows, **SHORT))

    def trains(step, values):
        zoo.train("tiny", out=f"inner{step}", steps=2, **SHORT)

    assert same(plain, zoo.train("tiny", out="c", steps=110, callback=trains, **SHORT))


@pytest.mark.parametrize("place", ["prepare", "settle", "Run.begin", "Run.close"])
def test_a_signal_before_the_first_step_or_after_the_last_is_told_and_nothing_is_lost(monkeypatch, place):
    """They ended the process where it stood, without a word, and a finished run was listed as killed."""
    owner, real = (Run, getattr(Run, place[4:])) if place.startswith("Run") else (launch, getattr(launch, place))

    def ends(*given):
        monkeypatch.setattr(owner, place.rpartition(".")[2], real)
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    monkeypatch.setattr(owner, place.rpartition(".")[2], ends)
    saved = {"prepare": "nothing was saved", "Run.close": "a is finished, and saved"}
    with pytest.raises(zoo.Stopped, match=saved.get(place, re.escape("no step is saved yet: ganzoo.resume('a') goes"))):
        zoo.train("tiny", out="a", steps=20, **SHORT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if place == "Run.close":
        assert zoo.TrainedRun("a").status["status"] == "finished"
    elif place != "prepare":
        assert zoo.TrainedRun("a").status["status"] == "stopped"
        assert same(zoo.resume("a", progress=False), zoo.train("tiny", out="b", steps=20, **SHORT))


def test_a_signal_while_a_training_closes_that_its_callback_ended_is_heard(monkeypatch):
    real = Run.close

    def ends(*given):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(Run, "close", ends)
    with pytest.raises(KeyboardInterrupt, match="step 50 is saved"):
        zoo.train("tiny", out="a", steps=110, callback=lambda *_: False, **SHORT)


def test_a_signal_to_a_finished_run_that_is_opened_leaves_it_finished(monkeypatch):
    zoo.train("tiny", out="a", steps=4, **SHORT)

    def ends(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "begin", ends)
    with pytest.raises(zoo.Stopped, match="a is finished, and saved"):
        zoo.resume("a", progress=False)
    assert zoo.TrainedRun("a").status["status"] == "finished"


def test_time_in_a_callback_is_no_training():
    run = zoo.train("tiny", out="a", steps=60, callback=lambda *_: time.sleep(2), **SHORT)
    assert run.status["seconds"] < 2


def test_an_interrupt_when_all_is_done_is_still_told_and_the_run_is_finished():
    def last(step, values):
        if step == 60:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="a is finished, and saved"):
        zoo.train("tiny", out="a", steps=60, callback=last, **SHORT)
    assert zoo.TrainedRun("a").status["status"] == "finished"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dataset": "emoji"}, "a is of dataset 'small-digits', not 'emoji'"),
        ({"dataset": torch.zeros(40, 1, 8, 8).byte()}, "a is of dataset 'small-digits', not"),
        ({"model": Mine}, "a is of model 'tiny', not 'mine'"),
    ],
)
def test_a_run_does_not_go_on_with_another_model_or_other_data(other, message):
    run = zoo.train("tiny", out="a", steps=2, **SHORT)
    with pytest.raises(zoo.UsageError, match=message):
        zoo.resume(run, steps=4, progress=False, **other)


def test_sigterm_is_stopped():
    with pytest.raises(zoo.Stopped, match="stopped by SIGTERM; step 51 is saved"):
        zoo.train("tiny", out="a", steps=120, callback=interrupt(signal.SIGTERM), **SHORT)


# Where it trains


def test_a_thread_trains_and_leaves_signals_alone():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(
            zoo.train, "tiny", out="a", steps=60,
            callback=lambda *_: seen.append([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]), **SHORT,
        )  # fmt: skip
        run = job.result()
    assert seen[0] == before
    assert same(run, zoo.train("tiny", out="b", steps=60, **SHORT))


def test_a_running_event_loop_trains():
    async def main():
        here = zoo.train("tiny", out="a", steps=60, **SHORT)
        there = await asyncio.to_thread(zoo.train, "tiny", out="b", steps=60, **SHORT)
        return here, there

    assert same(*asyncio.run(main()))


def test_of_two_threads_on_one_folder_the_second_is_told_who_writes():
    begun, go_on = threading.Event(), threading.Event()

    def wait(step, values):
        begun.set()
        go_on.wait(PATIENCE)

    with ThreadPoolExecutor(1, thread_name_prefix="first") as pool:
        job = pool.submit(zoo.train, "tiny", out="a", steps=60, callback=wait, **SHORT)
        assert begun.wait(PATIENCE)
        try:
            for second in (zoo.train, lambda *_, **__: zoo.resume("a", progress=False)):
                with pytest.raises(
                    zoo.GanzooError, match=r"a is being written by this very process, in thread first_0"
                ):
                    second("tiny", out="a", steps=60, **SHORT)
        finally:
            go_on.set()
        assert job.result().status["status"] == "finished"
    with Run(job.result().folder, 1, 1).lock():  # Nothing is left behind.
        pass


def test_of_two_processes_on_one_folder_the_second_is_told_who_writes(tmp_path):
    command = "run tiny --dataset small-digits --batch-size 32 --loggers none --steps 1000000 --out a --quiet"
    process = start(*command.split(), cwd=tmp_path)
    while not (tmp_path / "a" / "metrics.jsonl").exists():
        assert process.poll() is None
    with pytest.raises(zoo.GanzooError, match=f"a is being written by process {process.pid}$"):
        zoo.train("tiny", out="a", steps=2, **SHORT)


# Classes and data of a program


def test_a_class_that_no_package_brings_is_trained_sampled_and_resumed_with_it(ganzoo):
    run = zoo.train(Mine, out="a", steps=4, **SHORT)
    assert run.sample(3).shape == (3, 1, 8, 8)
    info = json.loads((run.folder / "run.json").read_text())
    assert info["plugin"] == {"package": "(not installed)", "version": "-", "module": "test_api.Mine"}
    for command in ("sample", "resume"):
        result = ganzoo(command, run.folder)
        assert result.code == 2
        assert "a was trained with the class test_api.Mine, which no package brings" in result.err
    with pytest.raises(zoo.UsageError, match=r"as model=Mine of ganzoo\.load or ganzoo\.resume"):
        zoo.resume("a", progress=False)
    assert torch.equal(zoo.load("a", model=Mine).sample(3), run.sample(3))
    assert zoo.resume("a", model=Mine, steps=8, progress=False).status["step"] == 8


@pytest.mark.parametrize(
    ("data", "value_range"),
    [
        (ImageSet(DIGITS.images, DIGITS.labels, DIGITS.classes), None),
        ((DIGITS.images, DIGITS.labels), None),
        ((DIGITS.images.squeeze(1), DIGITS.labels), None),
        ((DIGITS.images, DIGITS.labels.tolist()), None),
        ((DIGITS.images / 255, DIGITS.labels), (0, 1)),
        ((DIGITS.images / 127.5 - 1, DIGITS.labels), (-1, 1)),
        (torch.utils.data.TensorDataset(DIGITS.images, DIGITS.labels), None),
    ],
)
def test_data_in_memory_trains_as_the_same_data_by_name(data, value_range):
    named = zoo.train("tiny", out="a", steps=5, **SHORT)
    held = zoo.train("tiny", out="b", steps=5, **{**SHORT, "dataset": data, "value_range": value_range})
    assert same(named, held)
    with pytest.raises(zoo.UsageError, match="trained on data that a program handed over"):
        zoo.resume("b", steps=9, progress=False)
    with pytest.raises(zoo.UsageError, match=r"with dataset= of ganzoo.evaluate, or name"):
        zoo.evaluate("b")
    again = zoo.resume("b", dataset=data, value_range=value_range, steps=9, progress=False)
    assert same(again, zoo.resume("a", steps=9, progress=False))


class Photos(torch.utils.data.Dataset):
    """As torchvision's data sets are: pictures of PIL's, targets and classes."""

    classes = ("dark", "light")

    def __init__(self, mode):
        self.mode, self.targets = mode, [i % 2 for i in range(40)]

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return Image.new(self.mode, (8, 8), 200 if index % 2 else 10), self.targets[index]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3)])
def test_a_data_set_of_pictures_is_taken_with_its_classes(mode, channels):
    run = zoo.train("tiny", out="a", steps=2, **{**SHORT, "dataset": Photos(mode)})
    data = run.sampler.data
    assert (data.shape, data.count, data.classes) == ((channels, 8, 8), 40, ("dark", "light"))


class Numbered(Photos):
    """Pictures of a kind, all of one value, with targets that are no classes."""

    def __init__(self, mode, value, targets):
        self.mode, self.value, self.targets = mode, value, targets

    def __getitem__(self, index):
        return Image.new(self.mode, (8, 8), self.value), self.targets[index]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 0x8000, [128]), ("RGBA", (9, 9, 9, 0), [255] * 3), ("LA", (9, 255), [9] * 3)],
)
def test_pictures_in_memory_are_taken_as_those_in_files_are(mode, value, expected):
    held = dataset_of(Numbered(mode, value, [0, 1] * 20), "given")().load(zoo.DataRequest())
    assert held.images[0, :, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("targets", "told"),
    [([0.5] * 40, "targets are floating-point numbers"), (torch.zeros(40, 3).long(), r"targets are of shape (40, 3)")],
)
def test_targets_that_are_no_classes_are_said_to_be_left_out(capsys, targets, told):
    assert dataset_of(Numbered("L", 9, targets), "given")().load(zoo.DataRequest()).labels is None
    assert told in capsys.readouterr().err


def test_a_picture_in_memory_whose_white_nobody_knows_is_refused():
    with pytest.raises(zoo.UsageError, match=r"item 0 is a picture of mode F, and nobody says .* white"):
        dataset_of(Numbered("F", 0.5, [0] * 40), "given")


X = torch.zeros(40, 1, 8, 8)


@pytest.mark.parametrize(
    ("data", "value_range", "message"),
    [
        (X, None, r"images are float32: say value_range=\(0, 1\) or value_range=\(-1, 1\)"),
        (X - 0.5, (0, 1), r"must lie in \[0, 1\], as value_range says: they run from -0.5 to -0.5"),
        (X + float("nan"), (0, 1), r"must lie in \[0, 1\]"),
        (X, (0, 255), r"value_range must be \(0, 1\) or \(-1, 1\), not \(0, 255\)"),
        (X.int(), None, "must be uint8, or floats with value_range=, not int32"),
        ((X.byte(), torch.zeros(39, dtype=torch.int64)), None, "there are 40 images, but 39 labels"),
        (X.byte()[:0], None, "it has no images"),
        (torch.zeros(40, 2), (0, 1), "vectors are taken as they are: leave out value_range"),
        ([3, 4], None, "item 0 of the data is no image"),
        (torch.zeros(40, 2).int(), None, r"vectors \(N, D\) must be floats, not int32"),
        (X.byte().to_sparse(), None, "the data is a sparse tensor: bring a dense one"),
        (X.byte().to("meta"), None, "the data is a meta tensor"),
        (np.ma.masked_array(X.numpy(), mask=True), None, "the data is a masked array"),
        ((X.byte(), ["a"] * 40), None, "labels must be whole numbers, one for each image, not <U1"),
    ],
)
def test_data_that_does_not_fit_is_refused_in_one_line(data, value_range, message):
    with pytest.raises(zoo.UsageError, match=message):
        zoo.train("tiny", out="a", **{**SHORT, "dataset": data, "value_range": value_range})
    assert not Path("a").exists()


# Measuring


def test_a_run_and_images_are_measured_as_by_the_command_line(ganzoo):
    run = zoo.train("tiny", out="a", steps=4, **SHORT)
    found = zoo.evaluate(run, n=64, metrics=["fid"])
    assert json.loads((run.folder / "eval.json").read_text()) == found
    assert ganzoo("eval", "a", "--n", 64, "--metrics", "fid").code == 0
    assert found["metrics"] == json.loads((run.folder / "eval.json").read_text())["metrics"]
    assert zoo.evaluate("a", n=64, metrics=["fid"])["metrics"] == found["metrics"]
    images = zoo.evaluate(DIGITS.images, labels=DIGITS.labels, dataset="small-digits", metrics=["fid"])
    assert images["metrics"]["fid"] < found["metrics"]["fid"]
    uniform = zoo.evaluate(run, n=64, metrics=["fid"], labels="uniform")
    assert uniform["protocol"]["labels"] != found["protocol"]["labels"]
    for options, message in [
        ({"labels": "unifrom"}, "'reference' or 'uniform', not 'unifrom'"),
        ({"labels": DIGITS.labels}, "labels of a run are 'reference' or 'uniform'"),
        ({"truncation": 0.7}, "truncation"),
    ]:
        with pytest.raises(zoo.UsageError, match=message):
            zoo.evaluate(run, n=64, **options)
    for options, message in [({"labels": "uniform"}, "others have the labels"), ({"truncation": 0.7}, "drawn already")]:
        with pytest.raises(zoo.UsageError, match=message):
            zoo.evaluate(DIGITS.images, **options)
    with pytest.raises(zoo.UsageError, match=r"uint8 .* not float32"):
        zoo.evaluate(X)
    with pytest.raises(zoo.UsageError, match=r"labels must be int64 \(40,\)"):
        zoo.evaluate(X.byte(), labels=torch.zeros(3, dtype=torch.int64))


def test_runs_models_and_classes_are_compared():
    run = zoo.train(Mine, out="a", steps=4, **SHORT)
    options = {"dataset": "small-digits", "steps": 4, "progress": False}
    found = zoo.compare([run, "tiny", Mine], seeds=[0, 1], **options)
    assert len(found.runs) == 5
    assert not found.report.failed
    assert repr(found).splitlines() == found.verdict
    assert found._repr_html_().startswith("<iframe")
    assert found.verdict[0] in found.save("r.md").read_text()
    assert found.to_json()["kind"] == "ganzoo report"
    assert not (run.folder / "eval.json").exists()
    zoo.compare([run], evaluate=True, progress=False)
    assert (run.folder / "eval.json").exists()
    with pytest.raises(zoo.UsageError, match="compare has no option 'step': did you mean 'steps'"):
        zoo.compare(["tiny"], step=3)
    with pytest.raises(zoo.UsageError, match=r"takes a list"):
        zoo.compare("tiny")


def test_a_comparison_that_a_callback_ends_goes_on_when_it_is_repeated():
    options = {"dataset": "small-digits", "steps": 120, "progress": False}
    with pytest.raises(zoo.GanzooError, match="the callback ended the comparison; the same call goes on from there"):
        zoo.compare(["tiny"], callback=lambda *_: False, **options)
    with pytest.raises(ZeroDivisionError):
        zoo.compare(["tiny"], callback=lambda *_: 1 / 0, **options)
    found = zoo.compare(["tiny"], **options)
    assert [run.status["step"] for run in found.runs] == [120]


def test_a_callback_that_raises_at_the_very_end_is_heard():
    def late(step, values):
        if step == 60:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        zoo.train("tiny", out="a", steps=60, callback=late, **SHORT)
    assert zoo.TrainedRun("a").status["status"] == "finished"


def test_images_become_one_picture():
    assert zoo.picture(X[:4], columns=2).size == zoo.picture(X[:4].byte(), columns=2).size


STARTED = """
import multiprocessing
import sys

import torch

import ganzoo
from ganzoo.data import memory


class Photos(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.full((1, 8, 8), index, dtype=torch.uint8)


def main():
    multiprocessing.set_start_method(sys.argv[1])
    memory.IN_MEMORY_BYTES = 0  # Images are streamed.
    options = dict(batch_size=16, loggers=(), progress=False, workers=1, engine="eager")
    for out in ("a", "b"):
        run = ganzoo.train("plain", dataset=Photos(), out=out, steps=6, **options)
    print(run.sample(2).sum().item(), ganzoo.TrainedRun("a").sample(2).sum().item())

    class Local(Photos):
        pass

    try:
        ganzoo.train("plain", dataset=Local(), out="c", steps=6, **options)
    except ganzoo.GanzooError as error:
        print(error)
    print(ganzoo.train("plain", dataset=Local(), out="d", steps=6, **{**options, "workers": 0}).sample(2).sum().item())


if __name__ == "__main__":
    main()
"""


def test_processes_that_read_images_may_be_started_by_a_server_of_forks(tmp_path):
    (tmp_path / "script.py").write_text(STARTED)
    done = subprocess.run(
        [sys.executable, "script.py", "forkserver"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    sums, error, alone = done.stdout.splitlines()
    assert sums.split() == [alone, alone]
    assert error.startswith("the data set is at fault: ")
    assert "main.<locals>.Local" in error
    assert error.endswith("; --workers 0 reads them in this one")


def test_data_that_a_program_hands_over_have_no_test_split():
    from ganzoo.data.given import dataset_of

    given = dataset_of(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "mine")()
    assert [given.load(DataRequest(split)).split for split in ("train", "test")] == ["", "train"]


ARRAYS = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        ARRAYS,
        (ARRAYS, np.arange(64, dtype=np.uint8) % 3),
        np.ascontiguousarray(ARRAYS.transpose(0, 3, 1, 2)),
        [(array, i % 3) for i, array in enumerate(ARRAYS)],
    ],
    ids=["channels last", "with labels", "channels first", "items"],
)
def test_arrays_are_data_as_tensors_are(data):
    found = dataset_of(data, "given", None)().load(DataRequest())
    np.testing.assert_array_equal(np.asarray(found.images.permute(0, 2, 3, 1)), ARRAYS)
    assert (found.labels is None) == isinstance(data, np.ndarray)


def images_of(data) -> torch.Tensor:
    return dataset_of(data, "given", None)().load(DataRequest()).images


def test_grey_arrays_are_images_of_one_channel():
    grey = ARRAYS[..., 0]
    for data in (grey, list(grey), [(torch.from_numpy(image.copy()), 0) for image in grey]):
        np.testing.assert_array_equal(images_of(data)[:, 0], grey)
    narrow = np.random.default_rng(0).integers(0, 256, (6, 40, 3), np.uint8)
    assert images_of(narrow).shape == (6, 1, 40, 3)


def test_arrays_that_cannot_be_written_to_are_taken_without_a_word():
    fixed = ARRAYS.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(images_of(fixed).permute(0, 2, 3, 1), ARRAYS)


def test_labels_of_text_are_one_line():
    with pytest.raises(zoo.UsageError, match="labels must be whole numbers, one for each image, not <U1"):
        images_of((ARRAYS, np.array(["a"] * 64)))


class Crooked(Tiny):
    name = "crooked"

    def turns(self):
        raise ZeroDivisionError("boom")


class Listed(Tiny):
    name = "listed"

    def players(self):
        return super().players() | {"encoder": [self.generator]}


class Saving(Tiny):
    name = "saving"
    saved = ("generator", "mean")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("mean", torch.zeros(3))


class Still(Tiny):
    name = "still"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.requires_grad_(False)


class Bare(Tiny):
    name = "bare"
    saved = "generator"


class Idle(Tiny):
    name = "idle"

    def players(self):
        return super().players() | {"encoder": torch.nn.Identity()}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Crooked, "model 'crooked' failed in turns: ZeroDivisionError: boom"),
        (Listed, r"model 'listed': players\(\) gives 'encoder' as list, which is no module"),
        (Still, "model 'still': nothing of the generator asks for a gradient, so it cannot move"),
        (Bare, "model 'bare': saved is 'generator': write a tuple of names"),
        (Saving, "model 'saving': saved names 'mean', which is no module"),
        (Idle, "model 'idle': the encoder has no parameter that could move"),
    ],
)
def test_what_a_model_does_wrong_before_the_first_step_is_one_line_of_ganzoos(model, message):
    with pytest.raises(zoo.GanzooError, match=message):
        zoo.train(model, out="a", steps=2, **SHORT)


def test_training_leaves_torchs_settings_and_is_not_changed_by_those_around_it():
    def told():
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic

    before = told()
    torch.set_float32_matmul_precision("high")
    try:
        mine = told()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            inside = zoo.train("tiny", out="a", steps=5, deterministic=True, **SHORT)
        assert told() == mine
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert same(inside, zoo.train("tiny", out="b", steps=5, **SHORT))


def test_settings_by_torchs_newer_names_are_left_alone_too():
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has the older names alone")
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        run = zoo.train("tiny", out="a", steps=2, **SHORT)
        assert matmul.fp32_precision == "tf32"
        zoo.evaluate(run, n=50)
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_what_only_warns_of_operators_that_are_not_deterministic_goes_on_doing_so():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        zoo.train("tiny", out="a", steps=2, deterministic=True, **SHORT)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_another_default_device_is_refused_in_one_line():
    with torch.device("meta"), pytest.raises(zoo.UsageError, match="torch makes new tensors on 'meta'"):
        zoo.train("tiny", out="a", steps=2, **SHORT)


@contextmanager
def default_dtype(kind: torch.dtype):
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around",
    [
        lambda: default_dtype(torch.float64),
        lambda: torch.device("meta"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.inference_mode,
    ],
    ids=["float64", "another device", "autocast", "inference"],
)
def test_samples_and_scores_are_the_same_whatever_a_program_sets_around_them(around):
    run = zoo.train("tiny", out="a", steps=5, **SHORT)
    samples, scores = run.sample(4, seed=3), zoo.evaluate(run, n=50, out="b.json")["metrics"]
    with around():
        kind = torch.get_default_dtype()
        drawn, loaded = run.sample(4, seed=3), zoo.load("a").sample(4, seed=3)
        again = zoo.evaluate("a", n=50, out="b.json")["metrics"]
        assert torch.get_default_dtype() == kind
    assert torch.equal(drawn, samples)
    assert torch.equal(loaded, samples)
    assert again == scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "Train"}, "split must be 'train' or 'test', not 'Train'"),
        ({"n": 0}, "n must be a whole number, 2 to 2,147,483,647, not 0"),
        ({"n": -5}, "n must be a whole number, 2 to 2,147,483,647, not -5"),
        ({"n": 5.5}, "n must be a whole number, 2 to 2,147,483,647, not 5.5"),
        ({"metrics": "fid"}, "metrics must be names in a list: ['fid']"),
        ({"metrics": 5}, "metrics must be names in a list: ['5']"),
        ({"seed": "x"}, "seed must be a whole number, 0 to 2,147,483,647, not 'x'"),
        ({"seed": 2**70}, "seed must be a whole number, 0 to"),
        ({"n": torch.tensor(20.0)}, "n must be a whole number, 2 to"),
        ({"metrics": [3]}, "metrics must be names in a list, not [3]"),
        ({"features": 3}, "features must be a name or a path, not int"),
        ({"data_options": 3}, "data_options must be options by name, not int"),
        ({"data_root": 5}, "data_root must be a path, not int"),
        ({"out": 5}, "out must be a path, not int"),
        ({"dataset": 5}, "dataset must be a name, an ImageSet, a tensor, an array or a map-style set, not int"),
    ],
)
def test_what_is_measured_wrongly_from_python_is_refused(arguments, message):
    with pytest.raises(zoo.UsageError, match=re.escape(message)):
        zoo.evaluate(torch.zeros(60, 1, 28, 28, dtype=torch.uint8), **arguments)


def test_what_is_no_run_and_no_image_is_refused_as_such():
    for wrong in (None, [1]):
        with pytest.raises(zoo.UsageError, match="a run, its folder, or images are measured, not "):
            zoo.evaluate(wrong)
        with pytest.raises(zoo.UsageError, match="a run is named by its folder or address, not by "):
            zoo.load(wrong)
    for images in (torch.zeros(3), torch.zeros(0, 3, 8, 8), torch.zeros(1, 2, 8, 8), None):
        with pytest.raises(zoo.UsageError, match="a picture is made of images"):
            zoo.picture(images)
    with pytest.raises(zoo.UsageError, match="columns must be a whole number, 1 to"):
        zoo.picture(X, columns=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zoo.train("tiny", out=5, **SHORT), "out must be a path, not int"),
        (lambda: zoo.train("tiny", config=5, **SHORT), "config must be a path, not int"),
        (lambda: zoo.train("tiny", tags=5, **SHORT), "tags are words in a list, not int"),
        (
            lambda: zoo.train("tiny", callback=5, **SHORT),
            "a callback is a function of the step and what is logged, not 5",
        ),
        (lambda: zoo.train("tiny", **{**SHORT, "dataset": [(X[0].byte(), None)] * 4}), "needs labels"),
        (
            lambda: zoo.train("tiny", **{**SHORT, "dataset": [(X[0].byte(), "a")] * 4}),
            "labels of the data must be numbers",
        ),
        (lambda: zoo.train("tiny", value_range=(None, 1), **{**SHORT, "dataset": X}), "value_range must be (0, 1) or"),
        (lambda: zoo.train("tiny", value_range="01", **{**SHORT, "dataset": X}), "value_range must be (0, 1) or"),
        (lambda: zoo.resume(5), "a run is its folder, or what `train` gave, not int"),
        (lambda: zoo.compare(["tiny"], seeds=3), "seeds are whole numbers in a list: [3]"),
        (lambda: zoo.push("a", 5), "a run is put on the hub as 'owner/name', not 5"),
    ],
)
def test_a_value_of_another_kind_is_a_mistake_of_one_line(call, message):
    with pytest.raises(zoo.UsageError, match=re.escape(message)):
        call()


def test_data_in_memory_measure_as_they_train():
    run = zoo.train("tiny", out="a", steps=4, **{**SHORT, "dataset": DIGITS})
    for dataset in (SmallDigits, "small-digits", DIGITS):
        found = zoo.evaluate(run, dataset=dataset, n=64, metrics=["fid"], features="digits")
        assert found["metrics"]["fid"] > 0
    unit = ImageSet(DIGITS.images.float() / 255, DIGITS.labels, DIGITS.classes)
    again = zoo.evaluate("a", dataset=unit, value_range=(0, 1), n=64, metrics=["fid"], features="digits")
    assert again["metrics"] == found["metrics"]


class Drawn(torch.utils.data.Dataset):
    """Images with labels that say how often one was asked for; each is another every time."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.asked += 1
        return torch.full((1, 8, 8), self.asked % 2, dtype=torch.uint8), self.asked % 2


def test_an_image_and_its_label_are_of_one_draw():
    data = Drawn()
    held = dataset_of(data, "drawn")().load(DataRequest())
    assert torch.equal(held.images[:, 0, 0, 0].long(), held.labels)
    assert data.asked <= 22


def test_classes_are_numbered_from_0():
    images, labels = torch.zeros(64, 1, 12, 12, dtype=torch.uint8), torch.arange(64) * 10**6
    with pytest.raises(zoo.UsageError, match="labels run to 63,000,000: number the classes from 0 on"):
        zoo.train("tiny", dataset=(images, labels), out="a", steps=2, progress=False)


class NAdam:
    """A rule of torch's that keeps more than the moments of each weight."""

    def build(self, parameters):
        return torch.optim.NAdam(parameters)

    def settings(self, progress):
        return {"lr": 0.001}


class Nesterov(Tiny):
    name = "nesterov"

    def optimizer(self, player):
        return NAdam()


class Hoarding(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["seen"] = [1, 2]


class Hoarder(Tiny):
    name = "hoarder"

    def optimizer(self, player):
        rule = NAdam()
        rule.build = Hoarding
        return rule


def test_a_rule_that_keeps_more_than_moments_is_resumed():
    whole = zoo.train(Nesterov, out="whole", steps=6, **SHORT)
    zoo.train(Nesterov, out="a", steps=3, **SHORT)
    assert same(whole, zoo.resume("a", steps=6, model=Nesterov, dataset=None, progress=False))


def test_what_an_optimizer_keeps_and_no_checkpoint_can_is_told_when_it_is_saved():
    with pytest.raises(zoo.GanzooError, match=r"what the optimizer of the .* keeps cannot be saved"):
        zoo.train(Hoarder, out="a", steps=3, **SHORT)


def test_another_default_dtype_is_refused_in_one_line():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(zoo.UsageError, match=r"torch makes new tensors torch\.float64: ganzoo trains in float32"):
            zoo.train("tiny", out="a", steps=2, **SHORT)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_run_can_be_sent_to_another_process_unless_its_class_was_handed_over():
    run = zoo.train("tiny", out="a", steps=2, **SHORT)
    again = pickle.loads(pickle.dumps(run))
    assert (again.folder, again.status) == (run.folder.absolute(), run.status)
    mine = zoo.train(Mine, out="b", steps=2, **SHORT)
    with pytest.raises(zoo.GanzooError, match="is of a class that was handed over"):
        pickle.dumps(mine)
    assert copy.copy(mine).sample(2).shape == (2, 1, 8, 8)
