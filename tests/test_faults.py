"""What goes wrong around a run: it resumes, or refuses in one line; nothing good is lost, and the end is the same."""

import errno
import gc
import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ganzoo as zoo
from conftest import PATIENCE, SUPPORT, TINY, run_here
from ganzoo import Logger
from ganzoo.data.loader import watched_no_more
from ganzoo.errors import GanzooError
from ganzoo.metrics.extractor import FeatureExtractor
from ganzoo.metrics.together import looking
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.training.signals import Stop
from ganzoo_test_plugins import Look, SmallDigits, Streamed, Tiny
from test_run import assert_equal, logged, state, wait_for

RUN = ("run", *TINY, "--steps", 90, "--checkpoint-interval", 30, "--sample-interval", 40, "--quiet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing went wrong in."""
    folder = tmp_path_factory.mktemp("faults")
    run_here(*RUN, "--out", "whole", cwd=folder)
    return folder / "whole"


def one_line(result, code=1):
    """The one line with which a command failed, whatever it noted before."""
    assert result.code == code, result.err
    lines = [line for line in result.err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, result.err
    return lines[0]


def assert_ends_the_same(ganzoo, whole, folder, log=True):
    assert ganzoo("resume", folder.name, "--quiet").code == 0
    assert_equal(state(whole), state(folder))
    if log:
        assert logged(whole) == logged(folder)
    assert not list(folder.rglob("*.part"))


# Ended at a bad moment


@pytest.mark.parametrize("moment", [7, 9, 11])
def test_killed_inside_a_write_nothing_is_lost(ganzoo, whole, tmp_path, moment):
    """SIGKILL while the N-th file is being forced to disk: the state, its manifest, the generator."""
    process = faulty(moment, tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / "r" / "run.json").exists()
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


def test_a_second_interrupt_ends_the_run_at_once(ganzoo, whole, tmp_path):
    process = faulty(13, tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first only asks"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


def faulty(moment, folder):
    """A run that hangs in its N-th write."""
    command = [sys.executable, SUPPORT / "faulty.py", moment, folder / "hangs", *RUN, "--out", "r"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=pipe, stderr=pipe, text=True)
    wait_for(folder / "hangs", process)
    return process


# Disks


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "skip"),
    [
        ("00000040.png", 0),
        ("00000090.png", 0),
        ("step-00000060.pt", 0),
        ("step-00000060.json", 0),
        ("step-00000090.pt", 0),
        ("generator.safetensors", 1),
        ("losses.png", 0),
        ("status.json", 0),
    ],
)
def test_a_disk_that_is_full_for_one_file_stops_the_run_and_loses_nothing(
    ganzoo, whole, tmp_path, monkeypatch, name, skip
):
    with one_file_full(monkeypatch, name, skip):
        result = ganzoo(*RUN, "--out", "r")
    assert "No space left on device" in one_line(result)
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


@contextmanager
def one_file_full(monkeypatch, name, skip):
    """No file of that name finds room, after it was written so often."""
    from ganzoo import files

    real, seen = files.whole, []

    def some(path):
        seen.extend([path.name] if path.name == name else [])
        return full() if path.name == name and len(seen) > skip else real(path)

    with monkeypatch.context() as patched:
        for module in ("files", "runs.run", "runs.checkpoint", "runs.pictures"):
            patched.setattr(f"ganzoo.{module}.whole", some)
        yield


@pytest.fixture
def small(tmp_path):
    """A disk of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root and Linux")
    yield place
    os.chdir(tmp_path)
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 4, 40, 150, 1024])
def test_a_disk_that_is_really_full_stops_the_run_and_loses_nothing(ganzoo, whole, tmp_path, small, left):
    """With so many KiB left, another of its files does not fit: log, events, grid, checkpoint, generator, plot."""
    loggers = ("--loggers", "tensorboard")
    assert ganzoo(*RUN[:-5], "--steps", 30, *RUN[-5:], *loggers, "--out", "small/r").code == 0
    fill(small, left)
    result = ganzoo("resume", "small/r", "--steps", 90, "--quiet")
    if left < 1024:
        assert "No space left on device" in one_line(result)
        before = left < 40  # Its run.json told of no new session yet: it stands as the one before left it.
        assert ended(small / "r") == ("finished" if before else "failed")
    assert not (small / "r" / ".spare").exists()
    assert not list(small.rglob("*.part"))
    (small / "ballast").unlink()
    assert ganzoo("resume", "small/r", "--steps", 90, "--quiet").code == 0
    assert_equal(state(whole), state(small / "r"))


MEASURED = (*RUN, "--eval-every", 1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The same, evaluated six times."""
    folder = tmp_path_factory.mktemp("measured")
    run_here(*MEASURED, "--out", "whole", cwd=folder)
    return folder / "whole"


def assert_measured_the_same(ganzoo, measured, folder):
    """It resumes where the disk has room again, and no score is missing, doubled or another."""
    assert ganzoo("resume", folder, "--steps", 90, "--quiet").code == 0
    assert_equal(state(measured), state(folder))
    assert logged(measured) == logged(folder)
    assert best(measured) == best(folder)


def best(run):
    return (run / "checkpoints" / "best.json").read_text()


@pytest.mark.parametrize("left", [0, 8, 60, 150])
def test_an_evaluated_run_on_a_full_disk_stops_and_keeps_its_scores_and_its_best(
    ganzoo, measured, tmp_path, small, monkeypatch, left
):
    """The cache, in which the reference's statistics are to be kept, is on the same disk: without it they are made."""
    monkeypatch.setenv("GANZOO_CACHE", str(small / "cache"))
    run = small / "r"
    assert ganzoo(*MEASURED, "--steps", 30, "--loggers", "tensorboard", "--out", run).code == 0
    shutil.rmtree(small / "cache", ignore_errors=True)
    lines, chosen = logged(run), best(run)
    fill(small, left)
    with silent_threads(monkeypatch):
        result = ganzoo("resume", run, "--steps", 90, "--quiet")
    assert "No space left on device" in one_line(result)
    assert logged(run)[: len(lines)] == lines
    assert (run / "checkpoints" / f"step-{json.loads(best(run))['step']:08d}.pt").exists()
    assert json.loads(best(run))["score"] <= json.loads(chosen)["score"]
    (small / "ballast").unlink()
    assert_measured_the_same(ganzoo, measured, run)


@pytest.mark.parametrize(
    ("name", "skip"), [("step-00000045.pt", 0), ("step-00000045.json", 0), ("best.json", 0), ("best.json", 1)]
)
def test_an_evaluation_that_finds_the_disk_full_is_made_again(ganzoo, measured, tmp_path, monkeypatch, name, skip):
    """The line with its scores is in the log, and the checkpoint that would hold them is not."""
    with one_file_full(monkeypatch, name, skip):
        assert "No space left on device" in one_line(ganzoo(*MEASURED, "--out", "r"))
    assert_measured_the_same(ganzoo, measured, tmp_path / "r")


def test_a_run_that_cannot_begin_on_a_full_disk_leaves_nothing_in_the_way(ganzoo, whole, tmp_path, small):
    for left in (0, 4):
        fill(small, left)
        assert "No space left on device" in one_line(ganzoo(*RUN, "--out", "small/r"), 2)
        assert not (small / "r").exists()
    (small / "ballast").unlink()
    assert ganzoo(*RUN, "--out", "small/r").code == 0
    assert_equal(state(whole), state(small / "r"))


WORK = {
    "picture": ("sample", "whole", "-n", 100, "-o", "small/a.png"),
    "arrays": ("sample", "whole", "-n", 2000, "-o", "small/a.npz"),
    "folder": ("sample", "whole", "-n", 100, "-o", "small/a"),
    "walk": ("sample", "whole", "--walk", "-o", "small/a.mp4"),
    "scores": ("eval", "small/whole", "--n", 20, "--features", "look"),
    "export": ("export", "whole", "-o", "small/a.safetensors"),
    "report": ("compare", "whole", "-o", "small/a.html"),
    "package": ("new", "mine"),
    "zip": ("data", "convert", "pictures", "small/a.zip"),
    "class folders": ("data", "convert", "pictures", "small/a"),
    "grid": ("data", "inspect", "pictures", "--image-size", 32, "-o", "small/a.png"),
    "snapshot": ("import", "snapshot.pkl", "-o", "small/a"),
}


@pytest.mark.parametrize("what", WORK)
def test_whatever_is_written_on_a_full_disk_is_told_in_one_line_and_can_be_done_again(
    ganzoo, whole, tmp_path, small, monkeypatch, what
):
    command = material(what, whole, tmp_path)
    had = set(small.rglob("*"))
    for left in (0, 4):
        fill(small, left)
        with silent_threads(monkeypatch):
            assert "No space left on device" in one_line(ganzoo(*command))
        (small / "ballast").unlink()
        if what != "scores":  # Which may be whole where their picture is not.
            assert set(small.rglob("*")) == had
    assert ganzoo(*command).code == 0


@pytest.mark.parametrize("size", [4096, 60_000])
@pytest.mark.parametrize("what", ["run", *WORK])
def test_files_that_cannot_grow_are_told_in_one_line_and_can_be_written_again(
    ganzoo, whole, tmp_path, monkeypatch, what, size
):
    """The same without root and a disk of its own: the system refuses bytes beyond a size, whatever the file."""
    (tmp_path / "small").mkdir()
    command = (*RUN, "--loggers", "tensorboard", "--out", "r") if what == "run" else material(what, whole, tmp_path)
    with no_file_beyond(size), silent_threads(monkeypatch):
        result = ganzoo(*command)
    if result.code:
        assert "File too large" in one_line(result, result.code)
    assert not list(tmp_path.rglob("*.part"))
    if what == "run" and (tmp_path / "r" / "run.json").exists():
        assert ended(tmp_path / "r") == ("failed" if result.code else "finished")
        assert_ends_the_same(ganzoo, whole, tmp_path / "r", log=False)
    elif result.code:
        assert ganzoo(*command).code == 0


def ended(run):
    return json.loads((run / "status.json").read_text())["status"]


def fill(disk, left):
    """Leave so many KiB."""
    (disk / "ballast").unlink(missing_ok=True)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - left * 1024))


def material(what, whole, folder):
    """What a command of `WORK` works on, made; and the command."""
    from PIL import Image

    from test_import import SNAPSHOT

    if what in ("zip", "class folders", "grid"):
        draws = np.random.default_rng(0)
        for i in range(40):
            path = folder / "pictures" / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    elif what == "snapshot":
        shutil.copy(SNAPSHOT, folder / "snapshot.pkl")
    elif what == "package":  # It is written where one stands.
        os.chdir(folder / "small")
    else:
        shutil.copytree(whole, folder / "small" / "whole" if what == "scores" else folder / "whole")
    return WORK[what]


@contextmanager
def no_file_beyond(size):
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def silent_threads(monkeypatch):
    """No thread, and nothing that is cleared away, prints a traceback of its own."""
    said = []
    with monkeypatch.context() as patched:
        patched.setattr(threading, "excepthook", said.append)
        patched.setattr(sys, "unraisablehook", said.append)
        yield
        gc.collect()
    assert not said, [entry.exc_value for entry in said]


def test_a_log_cut_short_by_a_full_disk_is_made_whole(ganzoo, whole, tmp_path, monkeypatch):
    real, opened = Path.open, []

    def open_(self, mode="r", *arguments, **options):
        file = real(self, mode, *arguments, **options)
        if self.name == "metrics.jsonl" and "a" in mode:
            opened.append(self)
            if len(opened) == 2:
                write = file.write
                file.write = lambda text: (write(text[: len(text) // 2]), full())
        return file

    monkeypatch.setattr(Path, "open", open_)
    result = ganzoo(*RUN, "--out", "r")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if not opened[1:]:
        pytest.skip("files here cannot be made to fail")
    assert "No space left on device" in one_line(result)
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


def test_a_folder_that_cannot_be_written_is_refused(ganzoo, whole, tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    shutil.copytree(whole, tmp_path / "r")
    with monkeypatch.context() as patched:
        patched.setattr("ganzoo.runs.run.Path.mkdir", read_only)
        assert "cannot write in new: Read-only file system" in one_line(ganzoo(*RUN, "--out", "new"), 2)
    real = Path.open
    with monkeypatch.context() as patched:
        patched.setattr(
            Path, "open", lambda p, mode="r", *a, **k: read_only() if "a" in mode else real(p, mode, *a, **k)
        )
        assert "cannot write in r: Read-only file system" in one_line(ganzoo("resume", "r", "--steps", 100, "--quiet"))
    assert_equal(state(whole), state(tmp_path / "r"))


FILES = ["run.json", "config.json", "metrics.jsonl", "status.json", "generator.safetensors", "losses.png", "real.png",
         "samples/00000040.png", "checkpoints/step-00000090.pt", "checkpoints/step-00000090.json"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_survived_or_refused(ganzoo, whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "r")
    path = tmp_path / "r" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    result = ganzoo("resume", "r", "--quiet")
    if result.code:
        one_line(result, result.code)
        assert name == "run.json"
    else:
        assert_equal(state(whole), state(tmp_path / "r"))


def test_a_run_whose_every_checkpoint_is_damaged_is_refused(ganzoo, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "r")
    for path in (tmp_path / "r" / "checkpoints").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    result = ganzoo("resume", "r", "--quiet")
    assert result.code == 1
    assert "no checkpoint" in result.err.splitlines()[-1]


# Clocks


def test_a_clock_that_is_set_back_changes_nothing(ganzoo, whole, tmp_path, monkeypatch):
    hours = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1.7e9 - 3600.0 * next(hours))
    monkeypatch.setattr(time, "strftime", lambda *_: "19700101-000000")
    assert ganzoo(*RUN[:-1], "--steps", 60, "--out", "r").code == 0
    assert ganzoo("resume", "r", "--steps", 90, "--quiet").code == 0
    monkeypatch.undo()
    assert_equal(state(whole), state(tmp_path / "r"))


# Plugins


def raising(name):
    """A function of that name that raises."""
    names = {}
    exec(f"def {name}(*arguments, **options):\n    self = arguments[0]\n    raise ZeroDivisionError('boom')", names)
    return names[name]


LOSSES = ["discriminator_loss", "generator_loss", "after_discriminator_step"]
DRAWS = ["sample_latent", "sample_labels", "fake_labels", "generate", "fake", "showcase", "score", "watched"]


@pytest.mark.parametrize("method", [*LOSSES, *DRAWS, "players", "optimizer"])
def test_a_model_that_raises_is_named_with_its_method(ganzoo, monkeypatch, method):
    monkeypatch.setattr(Tiny, method, raising(method))
    line = one_line(ganzoo(*RUN, "--out", "r"))
    assert f"model 'tiny' failed in {method}" in line
    assert "boom" in line


@pytest.mark.parametrize("method", ["__init__", "uses_labels"])
def test_a_model_that_cannot_be_built_is_named(ganzoo, monkeypatch, method):
    monkeypatch.setattr(Tiny, method, raising(method))
    line = one_line(ganzoo(*RUN, "--out", "r"))
    assert "model 'tiny' cannot be built" in line
    assert "boom" in line


def test_a_model_that_raises_late_keeps_what_was_saved(ganzoo, whole, tmp_path, monkeypatch):
    real, calls = Tiny.generator_loss, itertools.count(1)

    def generator_loss(self, real_batch, fake):
        if next(calls) == 73:
            raise ZeroDivisionError("boom")
        return real(self, real_batch, fake)

    monkeypatch.setattr(Tiny, "generator_loss", generator_loss)
    line = one_line(ganzoo(*RUN, "--engine", "eager", "--out", "r"))  # A recorded step runs no method again.
    assert "model 'tiny' failed in generator_loss, step 73" in line
    assert state(tmp_path / "r")["step"] == 60
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


def test_a_grid_that_cannot_be_drawn_loses_no_step(ganzoo, whole, tmp_path, monkeypatch):
    real = Tiny.generate

    def generate(self, z, y):
        if Path("r/checkpoints/step-00000030.pt").exists():
            raise torch.OutOfMemoryError("no memory for a grid")
        return real(self, z, y)

    with monkeypatch.context() as patched:
        patched.setattr(Tiny, "generate", generate)
        line = one_line(ganzoo(*RUN, "--out", "r"))
    assert "model 'tiny' failed in generate" in line
    assert "no memory for a grid" in line
    assert state(tmp_path / "r")["step"] == 40
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")
    assert (tmp_path / "r" / "samples" / "00000040.png").exists()


def test_a_model_that_ends_the_program_is_named_too(ganzoo, monkeypatch):
    monkeypatch.setattr(Tiny, "generator_loss", lambda *_: sys.exit(7))
    line = one_line(ganzoo(*RUN, "--engine", "eager", "--out", "r"))
    assert "model 'tiny' failed" in line
    assert "step 1: SystemExit: 7" in line


@pytest.mark.parametrize("method", ["__init__", "scalars", "image", "close"])
def test_a_logger_that_raises_is_named_with_its_method(ganzoo, monkeypatch, method):
    from ganzoo.plugins import registry

    monkeypatch.setattr(registry().get("loggers", "tensorboard"), method, raising(method))
    line = one_line(ganzoo(*RUN, "--loggers", "tensorboard", "--out", "r"))
    assert f"logger 'tensorboard' failed in {method}" in line


def test_a_data_set_that_raises_is_named_with_its_method(ganzoo, monkeypatch):
    monkeypatch.setattr(SmallDigits, "load", raising("load"))
    assert "data set 'small-digits' failed in load" in one_line(ganzoo(*RUN, "--out", "r"))


@pytest.mark.parametrize("method", ["__init__", "update", "compute", "settings"])
def test_a_metric_that_raises_is_named_with_its_method(ganzoo, whole, monkeypatch, method):
    from ganzoo.plugins import registry

    monkeypatch.setattr(registry().get("metrics", "accuracy"), method, raising(method))
    line = one_line(ganzoo("eval", whole, "--n", 20, "--metrics", "accuracy"))
    assert f"metric 'accuracy' failed in {method}" in line


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "compute() gives NoneType, not a dict of named numbers"),
        ({}, "compute() gives nothing, not a dict of named numbers"),
        ({"odd": "high"}, "compute() gives str by the name of 'odd', not a number"),
        ({"odd": torch.zeros(2)}, "compute() gives Tensor by the name of 'odd', not a number"),
        ({"accuracy": 3.0}, "compute() gives 'accuracy', which another metric gives: name it otherwise"),
    ],
)
def test_what_a_metric_gives_is_looked_at(ganzoo, whole, monkeypatch, made, told):
    from ganzoo.plugins import registry

    monkeypatch.setattr(registry().get("metrics", "is"), "compute", lambda self: made)
    line = one_line(ganzoo("eval", whole, "--n", 20, "--metrics", "accuracy,is"))
    assert line == f"error: metric 'is': {told}"
    with pytest.raises(GanzooError, match=re.escape(told)):
        zoo.evaluate(whole, n=20, metrics=["accuracy", "is"])


def test_a_metric_by_itself_gives_no_number_of_another_metrics_name(ganzoo, whole, monkeypatch):
    from ganzoo.plugins import registry

    monkeypatch.setattr(registry().get("metrics", "is"), "compute", lambda self: {"fid": 1.0})
    line = one_line(ganzoo("eval", whole, "--n", 20, "--metrics", "is"))
    assert line == "error: metric 'is': compute() gives 'fid', which another metric gives: name it otherwise"


@pytest.mark.parametrize(
    ("method", "made", "told"),
    [
        ("settings", 3, "settings() gives int, not a dict"),
        ("settings", {"of": torch.float32}, "settings() gives what JSON cannot hold: TypeError: "),
        ("intervals", 3, "intervals() gives 3, not two ends by the name of each number"),
        ("intervals", {"is": 3.0}, "intervals() gives {'is': 3.0}, not two ends by the name of each number"),
        (
            "update",
            lambda batch: batch.images.zero_(),
            "changes what it is given in place: let update() work on a copy",
        ),
    ],
)
def test_what_else_a_metric_gives_or_does_is_looked_at(ganzoo, whole, monkeypatch, method, made, told):
    from ganzoo.plugins import registry

    called = (lambda self, batch: made(batch)) if callable(made) else (lambda self: made)
    monkeypatch.setattr(registry().get("metrics", "is"), method, called)
    line = one_line(ganzoo("eval", whole, "--n", 20, "--metrics", "is,accuracy"))
    assert line.startswith("error: metric 'is'")
    assert told in line


FEATURES = 5


class Odd(FeatureExtractor):
    """One that says whatever a test lets it say."""

    name, summary, num_features, sha256 = "odd", "says odd things", FEATURES, "0"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda n: None, "extract() gives NoneType, not ganzoo.Features(vectors, logits)"),
        (lambda n: (torch.zeros(n, 3), None), f"extract() gives vectors (2, 3) for 2 images, not (2, {FEATURES})"),
        (lambda n: (torch.zeros(1, FEATURES), None), f"extract() gives vectors (1, {FEATURES}) for 2 images, not"),
        (
            lambda n: (torch.zeros(n, FEATURES).long(), None),
            "extract() gives vectors of torch.int64, not a float tensor",
        ),
        (lambda n: (torch.zeros(n, FEATURES), "no"), "extract() gives logits of str, not a float tensor (2, K)"),
    ],
)
def test_what_an_extractor_says_is_looked_at(made, told):
    extractor = Odd()
    extractor.extract = lambda images: made(len(images))
    with pytest.raises(GanzooError, match=re.escape(f"feature extractor 'odd': {told}")):
        looking(extractor)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "does not state num_features: int is meant"),
        ({"num_features": 5}, "does not state sha256: str is meant"),
        ({"num_features": "five", "sha256": "0"}, "states num_features 'five': int is meant"),
    ],
)
def test_an_extractor_that_lacks_a_member_is_named_and_no_metric_blamed(members, told):
    from ganzoo.metrics.evaluation import choose_extractor
    from ganzoo.plugins import Registry

    kind = type("Bare", (FeatureExtractor,), {"name": "bare", "summary": "says little", **members})
    with pytest.raises(GanzooError, match=re.escape(f"feature extractor 'bare' {told}")):
        choose_extractor(Registry().having("features", kind), "mnist", "bare")


def test_an_extractor_without_its_methods_says_which():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(GanzooError, match="feature extractor 'odd' does not state extract"):
        looking(Odd())(images)
    with pytest.raises(GanzooError, match="feature extractor 'odd' does not state resizing"):
        Odd().resizing(8, 8)


def test_an_extractor_that_changes_images_in_place_is_refused():
    extractor = Odd()
    extractor.extract = lambda images: (images.zero_().flatten(1)[:, :FEATURES].float(), None)
    with pytest.raises(GanzooError, match=r"feature extractor 'odd': extract\(\) changes the images in place"):
        looking(extractor)(torch.ones(2, 1, 8, 8, dtype=torch.uint8))


def test_a_logger_that_raises_late_loses_no_step(ganzoo, whole, tmp_path, monkeypatch):
    from ganzoo.plugins import registry

    kind = registry().get("loggers", "tensorboard")
    real = kind.scalars

    def scalars(self, step, values):
        if step == 50:
            raise OSError("the server is away")
        real(self, step, values)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "scalars", scalars)
        line = one_line(ganzoo(*RUN, "--loggers", "tensorboard", "--out", "r"))
    assert "logger 'tensorboard' failed in scalars" in line
    assert state(tmp_path / "r")["step"] == 50
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


class Halfway(Logger):
    """Lacks `image`."""

    name, summary = "halfway", "half a logger"

    def scalars(self, step, values):
        pass


class Short(Logger):
    """Is not given what it takes."""

    name, summary = "short", "a logger of no arguments"

    def __init__(self):
        pass

    def scalars(self, step, values):
        pass

    def image(self, step, name, image):
        pass


@pytest.mark.parametrize(("kind", "told"), [(Halfway, "abstract method"), (Short, "takes 1 positional")])
def test_a_logger_that_cannot_be_made_is_named_and_not_the_model(ganzoo, monkeypatch, kind, told):
    from ganzoo.plugins import registry

    loggers = registry()._items["loggers"]
    monkeypatch.setitem(loggers, "short", (kind, loggers["tensorboard"][1]))
    line = one_line(ganzoo(*RUN, "--loggers", "short", "--out", "r"))
    assert line.startswith(f"error: logger '{kind.name}' failed in __init__, step 1: TypeError: ")
    assert told in line


@pytest.mark.parametrize("method", ["__init__", "extract", "resizing"])
def test_an_extractor_that_raises_is_named_with_its_method(ganzoo, whole, monkeypatch, method):
    monkeypatch.setattr(Look, method, raising(method))
    line = one_line(ganzoo("eval", whole, "--n", 20, "--metrics", "accuracy"))
    assert f"feature extractor 'look' failed in {method}" in line


# Workers


class Deadly(torch.utils.data.Dataset):
    """Images that are read by processes, which are killed as soon as a file is there."""

    def __init__(self, images, sign):
        self.images, self.sign, self.home = images, sign, os.getpid()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if os.getpid() != self.home and self.sign.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images[index]


# torch tells of the death from a signal handler, which may strike while an object is let go of, where errors are only
# warned of; the next batch tells of it again.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_dies_ends_the_run_in_one_line_and_loses_nothing(ganzoo, whole, tmp_path, monkeypatch):
    load, save, sign = SmallDigits.load, Checkpoints.save, tmp_path / "die"

    def streamed(self, request):
        data = load(self, request)
        data.images = Deadly(data.images, sign)
        return data

    def saved(self, *arguments):
        save(self, *arguments)
        sign.touch()

    monkeypatch.setattr(SmallDigits, "load", streamed)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", saved)
        assert "a process that reads images died" in one_line(ganzoo(*RUN, "--workers", 2, "--out", "r"))
    assert state(tmp_path / "r")["step"] == 30
    sign.unlink()
    assert_ends_the_same(ganzoo, whole, tmp_path / "r")


@pytest.mark.parametrize("told", [True, False])
def test_a_death_that_a_broken_pipe_told_of_is_not_told_of_again(told):
    """Where the system tells of it later, while the error is printed, say, torch's handler raised another one there."""
    before = set(multiprocessing.active_children())
    fetched = iter(torch.utils.data.DataLoader(Streamed(torch.zeros(64, 4)), 4, num_workers=1))
    next(fetched)
    (reader,) = set(multiprocessing.active_children()) - before
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        os.kill(reader.pid, signal.SIGKILL)
        os.waitid(os.P_PID, reader.pid, os.WEXITED | os.WNOWAIT)  # It is dead, and nobody has asked.
        if told:
            watched_no_more(fetched)
        with nullcontext() if told else pytest.raises(RuntimeError, match="is killed by signal"):
            handler(signal.SIGCHLD, None)
    finally:
        signal.signal(signal.SIGCHLD, handler)


READS = """
import time
from multiprocessing import active_children
from torch.utils.data import DataLoader
from functools import partial
from ganzoo.data.loader import _begin_reading, _mortal_parent

fetched = iter(DataLoader(range(100), num_workers=1, worker_init_fn=partial(_begin_reading, _mortal_parent())))
next(fetched)
print(active_children()[0].pid, flush=True)
time.sleep(PATIENCE)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_readers_die_with_a_process_that_is_killed():
    """They hold its connections: by themselves they look for it every five seconds only."""
    script = READS.replace("PATIENCE", str(PATIENCE))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as main:
        reader = int(main.stdout.readline())
        main.kill()
    died, state = time.monotonic(), Path(f"/proc/{reader}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        while state.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() - died < 3
            time.sleep(0.02)


@pytest.mark.parametrize(("engine", "call"), [("eager", 3), ("graph", 18)])  # In training, and in a recording.
def test_a_worker_that_dies_amid_a_step_is_told_like_one_that_is_waited_for(ganzoo, monkeypatch, engine, call):
    load, real = SmallDigits.load, Tiny.generator_loss

    def streamed(self, request):
        data = load(self, request)
        data.images = Streamed(data.images)
        return data

    def generator_loss(self, real_batch, fake):
        calls = Path("calls")  # A counter would keep steps from being recorded.
        calls.write_text(f"{calls.read_text() if calls.exists() else ''}.")
        if calls.stat().st_size == call:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            time.sleep(PATIENCE)  # torch's handler of SIGCHLD raises amid this.
        return real(self, real_batch, fake)

    monkeypatch.setattr(SmallDigits, "load", streamed)
    monkeypatch.setattr(Tiny, "generator_loss", generator_loss)
    line = one_line(ganzoo(*RUN, "--engine", engine, "--workers", 1, "--out", "r"))
    assert "a process that reads images died" in line
    assert "--workers 0" in line


# Nobody reads what is told


SHORT = ("run", *TINY, "--steps", "300", "--out", "r")


def told_to(redirected, folder, *command):
    """A command whose streams are redirected by a shell."""
    line = f'exec "{sys.executable}" -m ganzoo "$@" {redirected}'
    words = ["sh", "-c", line, "sh", *map(str, command)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def status_of(folder):
    return json.loads((folder / "status.json").read_text())["status"]


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
def test_a_run_whose_progress_cannot_be_written_goes_on_to_its_end(tmp_path, redirected):
    result = told_to(redirected, tmp_path, *SHORT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("run: ")
    assert status_of(tmp_path / "r") == "finished"


def test_a_run_whose_reader_hangs_up_goes_on_to_its_end(tmp_path):
    reader, writer = os.pipe()
    words = [sys.executable, "-m", "ganzoo", *SHORT]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)
    assert process.wait(PATIENCE) == 0
    assert status_of(tmp_path / "r") == "finished"


def test_a_run_trained_apart_goes_on_without_a_standard_error(tmp_path):
    given = ("--dataset", "small-digits", "--steps", 5, "--eval-every", 100, "-o", "a.json")
    result = told_to("2>&-", tmp_path, "compare", "tiny", *given)
    assert (tmp_path / "a.json").exists(), result.stdout


def test_an_output_that_cannot_be_written_is_told_in_one_line(tmp_path):
    for command in (("list", "loggers"), ("--help",)):
        result = told_to(">/dev/full", tmp_path, *command)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "error: cannot write the output: No space left on device" in result.stderr
        assert told_to(">&-", tmp_path, *command).returncode == 0


def test_a_reader_of_ascii_that_goes_away_ends_no_run(tmp_path):
    line = f'PYTHONIOENCODING=ascii "{sys.executable}" -m ganzoo "$@" 2>&1 | true'
    words = ["bash", "-o", "pipefail", "-c", line, "sh", *map(str, SHORT)]
    assert subprocess.run(words, cwd=tmp_path, timeout=PATIENCE, check=False).returncode == 0
    assert status_of(tmp_path / "r") == "finished"


def test_without_a_standard_input_no_file_takes_its_number(tmp_path):
    line = f'exec "{sys.executable}" -c "$1" 0<&-'
    program = "import os; from ganzoo.streams import prepare; prepare(); print(os.open(os.devnull, os.O_RDONLY))"
    result = subprocess.run(["sh", "-c", line, "sh", program], capture_output=True, text=True, check=True)
    assert int(result.stdout) > 2


def test_in_a_folder_that_was_deleted_a_command_says_so(tmp_path):
    line = f'mkdir g; cd g; rmdir ../g; exec "{sys.executable}" -P -m ganzoo list runs'
    words = ["sh", "-c", line]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    told = one_line(SimpleNamespace(code=result.returncode, err=result.stderr))
    assert "the folder that you are in was deleted" in told


def test_a_second_hangup_does_not_end_what_the_first_asked_for():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.heard == signal.SIGHUP


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.heard is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
