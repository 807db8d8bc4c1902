"""Runs of a comparison, each trained in a process of its own: what they need is theirs, what goes wrong is told."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from conftest import PATIENCE, start
from ganzoo import apart
from ganzoo.errors import GanzooError
from ganzoo.plugins import registry
from ganzoo.runs.lock import being_written
from ganzoo.settings import resolve
from ganzoo.training.engine import peak_memory
from ganzoo.training.signals import Stopped


def test_a_runs_memory_is_its_own_whatever_was_trained_before_it(ganzoo, monkeypatch):
    ballast = torch.ones(2**28)  # 1 GiB that this process needs, and a run does not.
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    result = ganzoo("compare", "tiny", "--dataset", "small-digits", "--steps", 3, "--quiet")
    assert (result.code, result.err) == (0, "")
    status = json.loads(Path("runs/compare/tiny-small-digits-3steps-seed0/status.json").read_text())
    assert 2**26 < status["peak_memory_bytes"] < peak_memory(torch.device("cpu")) - ballast.nbytes / 2


def plan_of(**options):
    return resolve(registry().get("models", "tiny"), {"dataset": "small-digits", "loggers": (), **options})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the process that trained it ended by SIGKILL"),
        ("import os; os._exit(3)", "the process that trained it ended with code 3"),
        ("print('[1]')", "ended with code 0, and did not say why"),
    ],
)
def test_a_process_that_dies_without_a_word_is_told_in_one_line(tmp_path, monkeypatch, said, message):
    (tmp_path / "sitecustomize.py").write_text(said)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GanzooError, match=message) as raised:
        apart.train_apart(plan_of(steps=1), tmp_path / "run", False, False)
    assert "\n" not in str(raised.value)


def test_a_signal_that_comes_while_the_process_is_still_beginning_stops_whoever_began_it(tmp_path, monkeypatch, capfd):
    began = tmp_path / "began"
    (tmp_path / "sitecustomize.py").write_text(f"open({str(began)!r}, 'w').close(); import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)

    def interrupt():
        while not began.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Stopped, match=r"stopped by SIGINT; what was saved of .*run is kept") as raised:
        apart.train_apart(plan_of(steps=1), tmp_path / "run", False, False)
    assert raised.value.exit_code == 130
    assert "Traceback" not in capfd.readouterr().err


def test_what_goes_wrong_apart_is_the_same_error_here(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(GanzooError) as here:
        apart.train(plan_of(steps=1), tmp_path / "run", False, False)
    with pytest.raises(type(here.value), match=re.escape(str(here.value))):
        apart.train_apart(plan_of(steps=1), tmp_path / "run", False, False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_signal_stops_the_run_apart_and_the_same_command_goes_on(tmp_path):
    first = start("compare", "tiny", "--dataset", "small-digits", "--max-time", "60s", "--out", "runs", cwd=tmp_path)
    log = tmp_path / "runs" / "tiny-small-digits-60s-seed0" / "metrics.jsonl"
    while not (log.exists() and log.read_bytes()):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 130
    assert "saved" in err
    status = json.loads((log.parent / "status.json").read_text())
    assert status["status"] == "stopped"
    assert not being_written(log.parent)
