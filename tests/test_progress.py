"""What is shown while training."""

import io
import re
from types import SimpleNamespace

import pytest
import torch

from ganzoo import resume, train
from ganzoo.settings import duration
from ganzoo.training.meter import Meter
from ganzoo.training.progress import Progress, describe

LINE = {"step": 50, "epoch": 0.05, "images_per_second": 2013.4, "discriminator_loss": 0.69, "generator_loss": 0.72}


def test_the_line_says_what_the_tutorials_say():
    scores = {"D(x)": 0.53, "D(G(z))": 0.47, "D(G(z)) after": 0.45}
    assert describe(LINE | scores) == "D loss 0.690 | G loss 0.720 | D(x) 0.530 | D(G(z)) 0.470/0.450 | 2,013 img/s"


def test_what_a_model_does_not_log_is_left_out():
    assert describe(LINE) == "D loss 0.690 | G loss 0.720 | 2,013 img/s"


def test_waiting_for_data_is_shown_where_there_is_any():
    assert describe(LINE | {"wait": 0.0}) == describe(LINE)
    assert describe(LINE | {"wait": 0.123}).endswith("| 2,013 img/s | 12% waiting for data")


def test_setting_up_is_no_part_of_the_speed(monkeypatch):
    clock = iter([0.0, 100.0, 102.0])
    monkeypatch.setattr("ganzoo.training.meter.time.perf_counter", lambda: next(clock))
    meter = Meter()
    meter.start()
    meter.add(1, {"loss": torch.zeros(())}, 64)
    assert meter.read()["images_per_second"] == 32


def test_plain_lines_replace_the_bar_where_there_is_no_terminal(ganzoo):
    arguments = ("run", "tiny", "--dataset", "small-digits", "--loggers", "none", "--steps", 120)
    result = ganzoo(*arguments, "--out", "r")
    assert "step 50 epoch" in result.err
    assert "left" in result.err
    assert "\r" not in result.err
    assert ganzoo(*arguments, "--out", "s", "--quiet").err == ""


def test_the_bar_follows_the_budget_that_is_spent_first(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    trainer = SimpleNamespace(gan=SimpleNamespace(name="tiny"), steps=1000, seconds=60.0, fraction=0.25)
    trainer.images = lambda: 0
    progress = Progress()
    progress.begin(trainer)
    trainer.fraction = 0.5
    progress.step(trainer)
    progress.log(LINE)
    text = str(progress._bar)
    progress.close()
    assert "50%" in text
    assert "step 50 | D loss 0.690" in text


class Slow:
    """A trainer of ten-second steps of 8 images, and the time that it takes."""

    def __init__(self):
        self.gan, self.steps, self.seconds, self.now, self.step = SimpleNamespace(name="slow"), 100, None, 5000.0, 20

    def images(self):
        return 8 * self.step

    @property
    def fraction(self):
        return self.step / self.steps

    @property
    def epoch(self):
        return self.step / 10

    @property
    def elapsed(self):
        return 10.0 * self.step

    def advance(self, seconds):
        self.step, self.now = self.step + 1, self.now + seconds


@pytest.fixture
def slow(monkeypatch):
    trainer = Slow()
    monkeypatch.setattr("ganzoo.training.progress.time.monotonic", lambda: trainer.now)
    return trainer


def test_the_first_slow_step_is_told_at_once_and_then_one_in_ten_seconds(slow, capsys):
    progress = Progress()
    progress.begin(slow)
    for seconds in (10, 4, 4, 4, 10):
        slow.advance(seconds)
        progress.step(slow)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "step 21 epoch 2.10 21%, 13:10 left | 0.8 img/s",
        "step 24 epoch 2.40 24%, 12:40 left | 1.5 img/s",
        "step 25 epoch 2.50 25%, 12:30 left | 1.2 img/s",
    ]
    progress.log(LINE | {"step": 25, "seconds": 250.0})  # Losses, once there are any, are shown at once.
    assert "D loss 0.690" in capsys.readouterr().err


def test_fast_steps_are_told_of_when_they_are_logged(slow, capsys):
    progress = Progress()
    progress.begin(slow)
    for _ in range(50):
        slow.advance(0.01)
        progress.step(slow)
    assert capsys.readouterr().err == ""
    progress.log(LINE | {"seconds": 1.0})
    assert capsys.readouterr().err.startswith("step 50 epoch 0.05")
    for _ in range(50):
        slow.advance(0.01)
        progress.step(slow)
    progress.log(LINE | {"seconds": 2.0})
    assert capsys.readouterr().err == ""


def test_the_bar_says_how_fast_slow_steps_are_too(slow, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress()
    progress.begin(slow)
    slow.advance(10)
    progress.step(slow)
    assert "step 21 | 0.8 img/s" in str(progress._bar)
    progress.close()


def test_a_run_begins_with_what_it_does_and_how(ganzoo):
    arguments = ("run", "tiny", "--dataset", "small-digits", "--loggers", "none", "--batch-size", 32, "--out", "r")
    first, second, *_ = ganzoo(*arguments, "--steps", 3, "--engine", "eager").err.splitlines()
    assert re.fullmatch(
        r"tiny on small-digits \([\d,]+ images of 1 x 8 x 8\): weights: [\d,]+ in discriminator, [\d,]+ in generator; "
        r"on cpu, 1 thread; 3 steps; in r",
        first,
    )
    assert second == "steps run operator by operator: asked for"
    first, *_ = ganzoo("resume", "r", "--steps", 7).err.splitlines()
    assert first.endswith("7 steps from step 3 on; in r")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1h30m", 5400), ("1h2m3s", 3723), ("0.5s", 0.5)]
)
def test_durations_are_read(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 weeks", "m", "-5s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="90s, 2m or 1h30m"):
        duration(text)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_program_without_a_console_trains(monkeypatch, tmp_path, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    run = train("tiny", dataset="small-digits", batch_size=32, steps=2, loggers=(), out=tmp_path / "run")
    assert resume(run, steps=3).folder == run.folder
