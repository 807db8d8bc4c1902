"""What is shown while training."""

from types import SimpleNamespace

import pytest
import torch

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
    progress = Progress()
    progress.begin(trainer)
    trainer.fraction = 0.5
    progress.step(trainer)
    progress.log(LINE)
    text = str(progress._bar)
    progress.close()
    assert "50%" in text
    assert "step 50 | D loss 0.690" in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1h30m", 5400), ("1h2m3s", 3723), ("0.5s", 0.5)]
)
def test_durations_are_read(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 weeks", "m", "-5s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="90s, 2m or 1h30m"):
        duration(text)
