"""The run directory: what is in it, that looking changes nothing, that stopping loses nothing."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import PATIENCE, TINY, arrays, run_here, start
from ganzoo.commands.choices import parse_labels
from ganzoo.errors import UsageError
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.pictures import headed


def state(folder):
    """The last checkpoint of a run, without clock readings."""
    loaded = Checkpoints(folder / "checkpoints").latest(torch.device("cpu"), say=pytest.fail)
    loaded.pop("elapsed")
    loaded["meter"].pop("seconds")
    return loaded


def assert_equal(one, other, path="state"):
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{path}[{i}]")
    else:
        assert one == other, path


def logged(folder):
    """The log without its clock readings."""
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "images_per_second", "wait")}
        for line in read_metrics(folder)
    ]


def test_a_run_directory_is_complete(ganzoo, tmp_path):
    result = ganzoo("run", "tiny", "--dataset", "small-digits", "--steps", 120, "--sample-interval", 50, "--out", "r")
    assert result.code == 0, result.err
    folder = tmp_path / "r"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {
        "run.json", "config.json", "status.json", "metrics.jsonl", "generator.safetensors", "losses.png", "real.png",
        "samples/00000050.png", "samples/00000100.png", "samples/00000120.png",
        "checkpoints/step-00000120.pt", "checkpoints/step-00000120.json",
    } <= names  # fmt: skip
    assert any(name.startswith("events.out.tfevents.") for name in names)
    assert not any(name.endswith(".part") for name in names)
    assert "samples/00000120.png" in result.out
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [50, 100, 120]
    assert {"epoch", "images_per_second", "wait", "discriminator_loss", "generator_loss", "D(x)", "D(G(z))"} <= set(
        lines[0]
    )
    info = json.loads((folder / "run.json").read_text())
    assert info["options"]["batch_size"] == 64
    assert info["settings"]["steps"] == 120
    assert info["machine"]["device"]
    assert info["versions"]["torch"]


def head(columns):
    """Height of the names above so many columns of 8 pixels: the font's, which is Pillow's own."""
    grid = np.zeros((12, columns * 10 + 2, 3), np.uint8)
    return len(headed(grid, list("0123456789")[:columns])) - len(grid)


def test_sample_grids_have_one_column_per_class(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    for name in ("samples/00000002.png", "real.png"):
        assert size(tmp_path / "r" / name) == (10 * (8 + 2) + 2, head(10) + 10 * (8 + 2) + 2), name


def test_tensorboard_holds_scalars_and_both_kinds_of_images(ganzoo, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ganzoo("run", "tiny", "--dataset", "small-digits", "--steps", 50, "--out", "r")
    events = EventAccumulator(str(tmp_path / "r"))
    events.Reload()
    assert set(events.Tags()["images"]) == {"real", "generated"}
    assert {"loss/discriminator", "loss/generator", "speed/images_per_second"} <= set(events.Tags()["scalars"])


def test_looking_never_changes_the_run(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 60, "--out", "often", "--sample-interval", 1)
    ganzoo("run", *TINY, "--steps", 60, "--out", "never", "--sample-interval", 1000, "--checkpoint-interval", 7)
    assert_equal(state(tmp_path / "often"), state(tmp_path / "never"))
    noted = {"D(x) held out", "r_v"}  # What a look itself finds.
    often, never = (
        [{k: v for k, v in line.items() if k not in noted} for line in logged(tmp_path / name)]
        for name in ("often", "never")
    )
    assert often == never


def test_the_seed_decides(ganzoo, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ganzoo("run", *TINY, "--steps", 5, "--out", name, "--seed", seed)
    a, b, c = (state(tmp_path / name)["gan"] for name in "abc")
    assert_equal(a, b)
    assert any(not torch.equal(a[key], c[key]) for key in a)


def test_a_larger_budget_continues_a_finished_run_exactly(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 130, "--out", "whole")
    ganzoo("run", *TINY, "--steps", 70, "--out", "parts")
    assert ganzoo("resume", "parts", "--steps", 130).code == 0
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_resuming_a_finished_run_says_so_and_changes_nothing(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 10, "--out", "r")
    before = state(tmp_path / "r")
    result = ganzoo("resume", "r")
    assert result.code == 0
    assert "finished" in result.err
    assert_equal(before, state(tmp_path / "r"))


def test_resuming_a_finished_run_leaves_its_log_as_it_is(ganzoo, tmp_path):
    """Also where the last step has a checkpoint from before its line was logged."""
    for name, interval in (("a", 20), ("b", 1000)):
        ganzoo("run", *TINY, "--steps", 120, "--checkpoint-interval", interval, "--out", name)
        before = (tmp_path / name / "metrics.jsonl").read_bytes()
        assert ganzoo("resume", name).code == 0
        assert (tmp_path / name / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_that_was_ended_before_its_last_line_logs_it_when_resumed(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 120, "--checkpoint-interval", 20, "--out", "r")
    before, path = logged(tmp_path / "r"), tmp_path / "r" / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert ganzoo("resume", "r").code == 0
    assert logged(tmp_path / "r") == before


def test_a_run_ended_before_its_first_step_can_be_resumed_and_sampled(ganzoo, tmp_path, monkeypatch):
    def end(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ganzoo.runs.run.Run.lock", end)
        ended = ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    assert ended.err == "stopped by SIGINT; no step is saved yet: `ganzoo resume r` goes on from there\n"
    assert ganzoo("resume", "r").code == 0
    assert ganzoo("sample", "r").code == 0


@pytest.mark.parametrize("place", ["ganzoo.launch.prepare", "ganzoo.commands.run.resolve"])
def test_an_interrupt_before_there_is_a_folder_says_that_nothing_was_saved(ganzoo, tmp_path, monkeypatch, place):
    def end(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, end)
    ended = ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    assert ended.code == 130
    assert ended.err.endswith("stopped by SIGINT; nothing was saved, for training had not begun\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_the_plot_of_a_finished_run_is_drawn_says_that_it_is_finished(ganzoo, monkeypatch):
    def end(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ganzoo.runs.run.plot_losses", end)
    ended = ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    assert (ended.code, ended.err.splitlines()[-1]) == (130, "stopped by SIGINT; r is finished, and saved")


def test_resume_makes_what_it_takes_to_sample_where_it_is_missing(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    generator = load_file(tmp_path / "r" / "generator.safetensors")
    for name, damage in [("config.json", None), ("generator.safetensors", None), ("generator.safetensors", b"x")]:
        path = tmp_path / "r" / name
        path.unlink() if damage is None else path.write_bytes(damage)
        assert ganzoo("sample", "r").code != 0
        assert ganzoo("resume", "r").code == 0
        assert ganzoo("sample", "r").code == 0
    assert_equal(load_file(tmp_path / "r" / "generator.safetensors"), generator)


def test_a_generator_of_an_older_step_is_replaced_when_a_finished_run_is_resumed(ganzoo, tmp_path):
    from ganzoo.runs.sampler import step_of

    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    old = (tmp_path / "r" / "generator.safetensors").read_bytes()
    ganzoo("resume", "r", "--steps", 9)
    (tmp_path / "r" / "generator.safetensors").write_bytes(old)
    assert ganzoo("resume", "r").code == 0
    assert step_of(tmp_path / "r") == 9


def test_a_damaged_last_checkpoint_is_written_again(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 60, "--checkpoint-interval", 30, "--out", "r")
    whole = state(tmp_path / "r")
    path = tmp_path / "r" / "checkpoints" / "step-00000060.pt"
    path.write_bytes(path.read_bytes()[:100])
    assert "step-00000060.pt is damaged" in ganzoo("resume", "r").err
    assert_equal(whole, state(tmp_path / "r"))
    assert "damaged" not in ganzoo("resume", "r").err


def test_a_run_is_not_resumed_with_other_data(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    path = tmp_path / "r" / "run.json"
    info = json.loads(path.read_text())
    for key, value, hint in [
        ("count", 400, "count differ (400 then, 500 now)"),
        ("shape", [1, 9, 9], "shape differ ([1, 9, 9] then, [1, 8, 8] now)"),
        ("classes", ["a"], "classes differ"),
    ]:
        path.write_text(json.dumps(info | {"data": info["data"] | {key: value}}))
        result = ganzoo("resume", "r", "--steps", 9)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert hint in result.err
    path.write_text(json.dumps(info | {"checksum": "00000000"}))
    assert "began with other pixels or labels" in ganzoo("resume", "r", "--steps", 9).err


def test_a_budget_that_is_spent_already_is_refused_and_changes_nothing(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 20, "--out", "r")
    rewritten = (".lock", "generator.safetensors")  # The latter with the same tensors, in whatever order.
    files = [p for p in sorted((tmp_path / "r").rglob("*")) if p.is_file() and p.name not in rewritten]
    before = [p.read_bytes() for p in files]
    result = ganzoo("resume", "r", "--steps", 5)
    assert result.code == 2
    assert "at step 20 already, beyond the new budget: 5" in result.err
    assert [p.read_bytes() for p in files] == before


def test_a_run_json_keeps_the_name_of_the_preset_and_takes_no_other(ganzoo, tmp_path):
    ganzoo("run", "tiny", "--dataset", "small-digits", "--loggers", "none", "--preset", "short", "--out", "a")
    again = ("run", "tiny", "--config", "a/run.json", "--dry-run", "--json")
    plan = json.loads(ganzoo(*again, "--lr", "0.01").out)
    assert (plan["preset"], plan["options"]["batch_size"], plan["options"]["lr"]) == ("short", 16, 0.01)
    result = ganzoo(*again, "--preset", "short")
    assert result.code == 2
    assert "--preset short would change nothing" in result.err


def test_each_session_is_recorded_with_its_machine_and_versions(ganzoo, tmp_path, monkeypatch):
    assert ganzoo("run", *TINY, "--engine", "eager", "--steps", 3, "--quiet", "--out", "r").code == 0
    monkeypatch.setattr("ganzoo.preparing.__version__", "99")
    assert ganzoo("resume", "r", "--steps", 5, "--quiet").code == 0
    info = json.loads((tmp_path / "r" / "run.json").read_text())
    first, second = info["sessions"]
    assert (first["from_step"], second["from_step"]) == (0, 3)
    assert first["machine"] == second["machine"] == info["machine"]
    assert second["versions"] == info["versions"] | {"ganzoo": "99"}


def test_runs_begun_in_one_second_take_folders_of_their_own(ganzoo, tmp_path, monkeypatch):
    from ganzoo.runs.folder import default_folder, default_folders

    monkeypatch.setattr(time, "strftime", lambda *_: "20200101-000000")
    for _ in range(2):
        assert ganzoo("run", *TINY, "--steps", 1, "--quiet").code == 0
    assert default_folder("tiny", "small-digits-too").is_dir()
    names = [path.name for path in default_folders("tiny", "small-digits")]
    assert names == ["tiny-small-digits-20200101-000000", "tiny-small-digits-20200101-000000-2"]


def test_a_launcher_that_starts_a_run_anew_finds_its_folder(ganzoo, tmp_path, monkeypatch):
    assert ganzoo("run", *TINY, "--steps", 3, "--quiet").code == 0
    (tmp_path / "runs" / "tiny-small-digits-too-20990101-000000").mkdir()
    monkeypatch.setattr("ganzoo.launch.restarted", lambda: True)
    assert ganzoo("run", *TINY, "--steps", 3, "--quiet").code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_what_a_model_prints_is_no_part_of_the_json(ganzoo, monkeypatch):
    from ganzoo.plugins import registry

    model = registry().get("models", "tiny")
    real = model.generator_loss
    monkeypatch.setattr(model, "generator_loss", lambda self, *given: print("in the step") or real(self, *given))
    data = ("--dataset", "small-digits", "--batch-size", 32, "--loggers", "none")
    result = ganzoo("run", "tiny", *data, "--steps", 2, "--engine", "eager", "--out", "r", "--json")
    assert json.loads(result.out)["step"] == 2
    assert "in the step" in result.err


def test_a_run_json_repeats_the_run(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 20, "--out", "first", "--lr", "0.001", "--seed", 3)
    assert ganzoo("run", "--config", "first/run.json", "--out", "second").code == 0
    assert_equal(state(tmp_path / "first"), state(tmp_path / "second"))


def test_a_toml_file_gives_options_and_the_command_line_overrides_them(ganzoo, tmp_path):
    (tmp_path / "run.toml").write_text(
        'model = "tiny"\ndataset = "small-digits"\nsteps = 5\nbatch-size = 16\nlr = 1e-3\n'
    )
    result = ganzoo("run", "tiny", "--config", "run.toml", "--lr", "0.002", "--dry-run", "--json")
    plan = json.loads(result.out)
    assert (plan["options"]["batch_size"], plan["options"]["lr"], plan["steps"]) == (16, 0.002, 5)
    assert not (tmp_path / "runs").exists()


def test_max_time_stops_the_run(ganzoo, tmp_path):
    assert ganzoo("run", *TINY, "--max-time", "1s", "--out", "r").code == 0
    ended = json.loads((tmp_path / "r" / "status.json").read_text())
    assert ended["status"] == "finished"
    assert ended["seconds"] >= 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(ganzoo, tmp_path):
    result = ganzoo("run", *TINY, "--steps", 200, "--checkpoint-interval", 20, "--explode-at", 73, "--out", "r")
    assert result.code == 1
    assert len(result.err.strip().splitlines()[-1:]) == 1
    assert "step 73" in result.err
    assert "generator" in result.err
    kept = state(tmp_path / "r")
    assert kept["step"] == 60
    assert all(value.isfinite().all() for value in kept["gan"].values() if value.is_floating_point())


def test_a_damaged_checkpoint_falls_back_and_the_run_still_ends_the_same(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 90, "--out", "whole", "--checkpoint-interval", 30)
    ganzoo("run", *TINY, "--steps", 60, "--out", "r", "--checkpoint-interval", 30)
    path = tmp_path / "r" / "checkpoints" / "step-00000060.pt"
    path.write_bytes(path.read_bytes()[:100])
    result = ganzoo("resume", "r", "--steps", 90)
    assert result.code == 0
    assert "step-00000060.pt is damaged" in result.err
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "r"))


def test_a_full_disk_stops_the_run_and_keeps_the_last_good_checkpoint(ganzoo, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr("ganzoo.files.os.fsync", full)
    result = ganzoo("run", *TINY, "--steps", 900, "--checkpoint-interval", 30, "--out", "r", "--quiet")
    monkeypatch.undo()
    assert result.code == 1
    assert "No space left on device" in result.err
    assert "is intact" in result.err
    assert len(result.err.splitlines()) == 1
    kept = state(tmp_path / "r")["step"]
    assert 0 < kept < 900
    monkeypatch.chdir(tmp_path)
    ganzoo("run", *TINY, "--steps", 900, "--checkpoint-interval", 30, "--out", "whole")
    assert ganzoo("resume", "r").code == 0
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "r"))


def test_a_second_process_on_one_run_directory_is_refused_by_number(ganzoo, tmp_path):
    from ganzoo.runs.run import Run

    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    run = Run(tmp_path / "r", 1, 1)
    with run.lock():
        process = start("resume", "r", "--steps", 10, cwd=tmp_path)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"process {os.getpid()}" in err


HOLDER = """
import os, signal, sys, time
from pathlib import Path
from ganzoo.runs.run import Run

with Run(Path(sys.argv[1]), 1, 1).lock():
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    Path("child").write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_what_a_killed_run_leaves_running_does_not_hold_its_directory(tmp_path):
    from ganzoo.runs.run import Run

    killed = subprocess.run([sys.executable, "-c", HOLDER, tmp_path], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    child = int((tmp_path / "child").read_text())
    try:
        os.kill(child, 0)  # It lives.
        with Run(tmp_path, 1, 1).lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_while_a_run_goes_on_it_is_not_said_to_be_finished(ganzoo, tmp_path):
    from ganzoo.launch import resume
    from ganzoo.plugins import registry
    from ganzoo.runs.run import Watcher

    class Looks(Watcher):
        seen: ClassVar[list[bool]] = []

        def step(self, trainer):
            self.seen.append((tmp_path / "r" / "status.json").exists())

    ganzoo("run", *TINY, "--steps", 3, "--out", "r")
    resume(tmp_path / "r", registry(), {"steps": 5}, [Looks()])
    assert Looks.seen == [False, False]
    assert json.loads((tmp_path / "r" / "status.json").read_text())["step"] == 5


def test_a_resumed_run_takes_what_another_machine_asks_for(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 3, "--out", "r", "--workers", 2)
    options = ("--workers", 0, "--engine", "eager", "--precision", "fp32", "--no-sync-batchnorm")
    assert ganzoo("resume", "r", "--steps", 5, *options).code == 0
    settings = json.loads((tmp_path / "r" / "run.json").read_text())["settings"]
    assert [settings[name] for name in ("workers", "engine", "precision", "sync_batchnorm")] == [
        0,
        "eager",
        "fp32",
        False,
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    run_here("run", *TINY, "--steps", 2500, "--out", folder, cwd=folder.parent)
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_the_run_goes_on_exactly(ganzoo, whole, tmp_path, number, code):
    process = start("run", *TINY, "--steps", 2500, "--out", "r", cwd=tmp_path)
    wait_for(tmp_path / "r" / "metrics.jsonl", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "ganzoo resume r" in err
    assert 0 < state(tmp_path / "r")["step"] < 2500
    assert ganzoo("resume", "r").code == 0
    assert_equal(state(whole), state(tmp_path / "r"))
    assert logged(whole) == logged(tmp_path / "r")


def test_killed_at_random_moments_a_run_still_ends_with_the_same_tensors(ganzoo, tmp_path):
    """kill -9, wherever it falls: imports, steps, a checkpoint's write. `make soak` kills a hundred times."""
    arguments = (*TINY, "--steps", "3000", "--checkpoint-interval", "15", "--sample-interval", "40")
    ganzoo("run", *arguments, "--out", "whole")
    moments = random.Random(20140611)
    process = start("run", *arguments, "--out", "r", cwd=tmp_path)
    wait_for(saved(tmp_path / "r", 15), process)
    kills = 0
    while kills < 4:
        time.sleep(moments.uniform(0.0, 0.25))
        kill(process)
        kills += 1
        before = Checkpoints(tmp_path / "r" / "checkpoints").steps()[-1]
        if before == 3000:
            break
        process = start("resume", "r", cwd=tmp_path)
        wait_for(lambda b=before: Checkpoints(tmp_path / "r" / "checkpoints").steps()[-1] > b, process)
    kill(process)
    assert kills >= 2
    assert ganzoo("resume", "r").code == 0
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "r"))
    assert logged(tmp_path / "whole") == logged(tmp_path / "r")
    assert not list((tmp_path / "r").rglob("*.part"))


def kill(process):
    process.kill()
    process.communicate()


def wait_for(ready, process):
    """Wait until a file exists or a condition holds, while the process lives."""
    check = ready if callable(ready) else ready.exists
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert process.poll() is None or check(), process.communicate()[1]
        assert time.monotonic() < deadline, "the process never came so far"
        time.sleep(0.01)


def saved(folder, step):
    """A condition: there is a checkpoint of this step or a later one; earlier ones go soon."""
    return lambda: any(int(path.stem[5:]) >= step for path in (folder / "checkpoints").glob("step-*.json"))


def test_samples_come_out_as_png_npz_and_folder(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    assert ganzoo("sample", "r", "--label", "7", "-n", 4, "-o", "a.png").code == 0
    assert ganzoo("sample", "r", "--label", "3,7", "-n", 5, "-o", "b.npz", "--grid").code == 0
    assert ganzoo("sample", "r", "--label", "0-9", "-n", 20, "-o", "pictures", "--grid").code == 0
    held = arrays(tmp_path / "b.npz")
    assert held["images"].dtype == np.uint8
    assert held["images"].shape == (5, 1, 8, 8)
    assert held["labels"].tolist() == [3, 7, 3, 7, 3]
    assert size(tmp_path / "a.png") == (2 * 10 + 2, 2 * 10 + 2)
    assert size(tmp_path / "b.png") == (2 * 10 + 2, head(2) + 3 * 10 + 2)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 20
    assert size(tmp_path / "pictures" / "000013-3.png") == (8, 8)
    assert size(tmp_path / "pictures.png") == (10 * 10 + 2, head(10) + 2 * 10 + 2)
    result = ganzoo("eval", "pictures", "--dataset", "small-digits", "--metrics", "fid")
    assert result.code == 0, result.err


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_samples_from_python_equal_those_of_the_command(ganzoo, tmp_path):
    import ganzoo as package

    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    ganzoo("sample", "r", "--label", "7", "-n", 2, "--seed", 4, "-o", "a.npz")
    images = package.load(tmp_path / "r").sample(labels=[7, 7], seed=4)
    assert images.shape == (2, 1, 8, 8)
    assert images.abs().max() <= 1
    from ganzoo.data import to_uint8

    assert np.array_equal(to_uint8(images).numpy(), arrays(tmp_path / "a.npz")["images"])
    other = package.load(tmp_path / "r").sample(labels=[7, 7], seed=5)
    assert not torch.equal(images, other)


def test_samples_from_python_take_numbers_of_any_kind_and_refuse_the_rest(ganzoo, tmp_path):
    import ganzoo as package

    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    sampler = package.load(tmp_path / "r")
    plain = sampler.sample(labels=[7, 3])
    for labels in (torch.tensor([7, 3]), np.array([7, 3]), ("7", "3")):
        assert torch.equal(sampler.sample(labels=labels), plain)
    for arguments, hint in [
        ({"labels": 7}, "must be a sequence"),
        ({"labels": "73"}, "must be a sequence"),
        ({"labels": [7.5]}, "is not a class"),
        ({"labels": [-1]}, "is not a class"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"n": 2.5}, "n must be a whole number"),
    ]:
        with pytest.raises(UsageError, match=hint):
            sampler.sample(**arguments)


def test_where_samples_go_is_checked_before_they_are_drawn(ganzoo, tmp_path, monkeypatch):
    ganzoo("run", *TINY, "--steps", 5, "--out", "r")
    assert ganzoo("sample", "r", "-n", 4, "-o", "OUT.PNG").code == 0
    assert size(tmp_path / "OUT.PNG") == (4 * 10 + 2, head(4) + 10 + 2)
    (tmp_path / "a.png").write_text("mine")
    monkeypatch.setattr("ganzoo.runs.sampler.load", lambda *_: pytest.fail("it was drawn"))
    for arguments, hint in [
        (("-o", "v1.2"), "end the name in .png or .npz"),
        (("-o", "r"), "is not an empty folder"),
        (("-o", "a.npz", "--grid"), "a.png exists already"),
        (("-o", "a", "--grid"), "a.png exists already"),
        (("--from", "test", "-o", "a", "--grid"), "a.png exists already"),
    ]:
        result = ganzoo("sample", "r", *arguments)
        assert result.code == 2
        assert hint in result.err
    assert (tmp_path / "a.png").read_text() == "mine"


def test_a_range_of_labels_means_what_its_ends_mean():
    names = ("5", "3", "9", "cat", "a-dog")
    assert parse_labels("3-9", names) == [1, 2]
    assert parse_labels("5-cat", names) == [0, 1, 2, 3]
    assert parse_labels("0-2", names) == [0, 1, 2]
    assert parse_labels("a-dog,3", names) == ["a-dog", "3"]
    assert parse_labels("0-9", tuple("0123456789")) == list(range(10))
    with pytest.raises(UsageError, match="class '3' comes before class '9'"):
        parse_labels("9-3", names)


def test_an_unconditional_model_samples_without_labels(ganzoo, tmp_path):
    run = ("run", "plain", "--dataset", "unlabelled", "--loggers", "none", "--batch-size", 32, "--steps", 5)
    assert ganzoo(*run, "--out", "r").code == 0
    assert ganzoo("sample", "r", "-n", 3, "-o", "a.npz").code == 0
    assert "labels" not in arrays(tmp_path / "a.npz")
    result = ganzoo("sample", "r", "--label", "7")
    assert result.code == 2
    assert "takes no label" in result.err


def test_a_folder_that_is_taken_is_told_before_data_are_read(ganzoo, tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    monkeypatch.setattr("ganzoo.launch.prepare", lambda *given: pytest.fail("data were read for nothing"))
    result = ganzoo("run", *TINY, "--steps", 1, "--out", "r")
    assert result.code == 2
    assert result.err == "error: r exists already: choose another --out\n"


def test_a_missing_package_of_data_or_loggers_is_named(ganzoo, tmp_path):
    run = tmp_path / "run"
    ganzoo("run", *TINY, "--steps", "2", "--out", run)
    info = json.loads((run / "run.json").read_text())
    [entry] = info["packages"]
    assert (entry["kind"], entry["name"]) == ("datasets", "small-digits")
    assert entry["package"] != "ganzoo"

    def without(kind: str, name: str, **settings: object) -> None:
        gone = {"kind": kind, "name": name, "package": "zoo-of-pets", "version": "1"}
        changed = info | {"packages": [gone, "neither"], "settings": info["settings"] | settings}
        (run / "run.json").write_text(json.dumps(changed))

    without("datasets", "pets", dataset="pets")
    for command in ("resume", "eval"):
        refused = ganzoo(command, run)
        assert refused.code == 2
        assert refused.err.count("\n") == 1
        assert "was trained with data set 'pets' of the package 'zoo-of-pets', which is not installed" in refused.err
    without("loggers", "diary", loggers=["diary"])
    assert "with logger 'diary' of the package 'zoo-of-pets'" in ganzoo("resume", run).err
    assert ganzoo("resume", run, "--loggers", "none").code == 0
    assert json.loads((run / "run.json").read_text())["packages"] == [entry]
