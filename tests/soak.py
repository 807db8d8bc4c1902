"""The long forms of what tests/ does briefly: `make soak`, an hour or two on two cores.

`GANZOO_SOAK_ROUNDS` (100), `GANZOO_SOAK_MOMENTS` (50), `GANZOO_SOAK_KILLS` (100) and `GANZOO_SOAK_MINUTES` (30) set
how long.
"""

import multiprocessing
import os
import random
import shutil
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PATIENCE, TINY, start
from lives import live
from test_distributed import children
from test_run import assert_equal, kill, logged, saved, state, wait_for

ROUNDS, MOMENTS, KILLS, MINUTES = (
    int(os.environ.get(f"GANZOO_SOAK_{name}", default))
    for name, default in (("ROUNDS", 100), ("MOMENTS", 50), ("KILLS", 100), ("MINUTES", 30))
)
ENDLESS = 10**8
"""Steps: more than all the lives of a run together can take."""


@pytest.fixture
def say(request):
    """Tell what was counted, whatever is captured."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def line(text):
        with capture.global_and_fixture_disabled():
            print(f"\n{text}")

    return line


def test_a_hundred_runs_killed_and_resumed_all_end_alike(ganzoo, tmp_path, say):
    """Each is killed once, at a random moment, resumed, and compared with one that was not."""
    arguments = (*TINY, "--steps", 300, "--checkpoint-interval", 7, "--sample-interval", 50, "--quiet")
    assert ganzoo("run", *arguments, "--out", "whole").code == 0
    moments, completed, different = random.Random(), 0, 0
    for i in range(ROUNDS):
        folder = tmp_path / f"r{i}"
        process = start("run", *arguments, "--out", folder, cwd=tmp_path)
        wait_for(saved(folder, 7), process)
        time.sleep(moments.uniform(0, 1))
        kill(process)
        completed += ganzoo("resume", folder, "--quiet").code == 0
        mine, theirs = state(folder), state(tmp_path / "whole")
        different += sum(not mine["gan"][k].equal(theirs["gan"][k]) for k in theirs["gan"])
        assert_equal(theirs, mine)
    say(f"{ROUNDS} rounds: {completed} completed, {different} tensors differ")
    assert (completed, different) == (ROUNDS, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_run_is_ended_at_many_random_moments(ganzoo, tmp_path, number, say):
    """From the first import to the last write: some moments fall before there is a run, some after its end."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # As of jobs in the background, whose children inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    endless = (*TINY, "--steps", ENDLESS, "--checkpoint-interval", 5, "--sample-interval", 40, "--quiet")
    begun = time.monotonic()
    process = start("run", *endless, "--out", "first", cwd=tmp_path)
    wait_for(saved(tmp_path / "first", 5), process)
    youth = time.monotonic() - begun
    kill(process)
    moments, ended = random.Random(), 0
    while ended < MOMENTS:
        process = start(*(("resume", "r", "--quiet") if (tmp_path / "r" / "run.json").exists() else
                          ("run", *endless, "--out", "r")), cwd=tmp_path)  # fmt: skip
        time.sleep(moments.uniform(0, 2 * youth))
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
        ended += 1
        assert "Traceback" not in err
        # 0 would be a run that was finished before it could be ended.
        assert process.returncode in (1, -number, 128 + number), err
        if (tmp_path / "r").exists() and not (tmp_path / "r" / "run.json").exists():
            for path in (tmp_path / "r").rglob("*.part"):
                path.unlink()
    done = state(tmp_path / "r")["step"]
    assert done < ENDLESS
    assert ganzoo("resume", "r", "--steps", done + 50, "--quiet").code == 0
    assert ganzoo("run", *endless, "--steps", done + 50, "--out", "whole").code == 0
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "r"))
    assert logged(tmp_path / "whole") == logged(tmp_path / "r")
    say(f"{signal.Signals(number).name}: ended at {ended} moments, the last after step {done}, no tensor differs")


OFTEN = ("--checkpoint-interval", "5", "--sample-interval", "25", "--loggers", "none", "--quiet")
EDGES = ("--dataset", "mnist-edges", "--limit", "64", "--batch-size", "4", "--width", "4", *OFTEN)
DIGITS = ("--dataset", "small-digits", "--batch-size", "32", *OFTEN)
STYLES = ("--channel-base", "64", "--channel-max", "8", "--latent-dim", "16", "--depth", "2", "--path", "2")
ADA = ("--augment", "ada:speed=1,interval=2", "--r1-every", "4", "--path-every", "3")
LIVES = {
    "pix2pix": ("pix2pix", *EDGES, "--steps", "60"),
    "cyclegan and its pools": ("cyclegan", *EDGES, "--blocks", "1", "--pool", "9", "--steps", "40"),
    "stylegan2, lazy turns and ada": ("stylegan2", *DIGITS, *STYLES, *ADA, "--batch-size", "8", "--steps", "60"),
    "accumulation": ("tiny", *DIGITS, "--accumulate", "4", "--steps", "300"),
    "regularisers": ("tiny", *DIGITS, "--regularise", "r1:gamma=1,every=3", "--regularise", "lecam", "--steps", "300"),
    "streamed from a zip": ("plain", "--dataset", "folder", "--data-root", "pictures.zip", "--image-size", "16",
                            "--mirror", "--batch-size", "16", "--workers", "1", *OFTEN, "--steps", "150"),
}  # fmt: skip
"""Tiny runs with much beside the weights that a resume must restore: a second or two each."""


@pytest.fixture(scope="module")
def born():
    """Begin a life: a command in a process forked from one that has loaded torch; and what it said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lives"])

    def begin(folder, *arguments):
        told = folder / "told.txt"
        process = context.Process(target=live, args=(folder, arguments, "pictures.zip" in arguments, told))
        process.start()
        return process

    return begin


def pictures(folder):
    """A zip of noise."""
    draws = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for i in range(60):
            with archive.open(f"{i}.png", "w") as file:
                Image.fromarray(draws.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")


def through(folder, begin, moments, left, arguments):
    """A run in `folder / "r"`, killed at random moments and resumed until it ends; how often it was killed."""
    killed = 0
    while True:
        if (folder / "r").exists() and not (folder / "r" / "run.json").exists():  # It came to nothing yet.
            shutil.rmtree(folder / "r")
        again = (folder / "r").exists()
        process = begin(folder, *(("resume", "r", "--quiet") if again else ("run", *arguments, "--out", "r")))
        process.join(moments() if killed < left else PATIENCE)
        if process.exitcode is None and killed < left:
            process.kill()
            process.join()
            killed += 1
            continue
        assert process.exitcode == 0, (folder / "told.txt").read_text()
        return killed


def compared(one, other):
    """How many tensors two runs' last checkpoints hold, and how many of them differ; all else is equal."""
    first, second = state(one), state(other)
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    differ = sum(not a.equal(b) for a, b in pairs)
    if not differ:
        assert_equal(first, second)
        assert logged(one) == logged(other)
    return len(pairs), differ


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from tensors(inner)


@pytest.mark.parametrize("name", LIVES)
def test_runs_of_all_kinds_killed_at_many_random_moments_all_end_alike(tmp_path, born, name, say):
    """Each run is killed again and again until it is through, and compared with one that was not."""
    pictures(tmp_path)
    arguments = LIVES[name]
    whole = born(tmp_path, "run", *arguments, "--out", "whole")
    whole.join(PATIENCE)
    assert whole.exitcode == 0, (tmp_path / "told.txt").read_text()
    begun = time.monotonic()
    through(tmp_path, born, lambda: PATIENCE, 0, arguments)
    life = time.monotonic() - begun
    random_, killed, runs, differ = random.Random(), 0, 1, compared(tmp_path / "whole", tmp_path / "r")[1]
    while killed < KILLS:
        shutil.rmtree(tmp_path / "r")
        killed += through(tmp_path, born, lambda: random_.uniform(0, life), KILLS - killed, arguments)
        runs += 1
        differ += compared(tmp_path / "whole", tmp_path / "r")[1]
    say(f"{name}: {runs} runs, killed at {killed} moments, {differ} tensors differ")
    assert differ == 0


@pytest.mark.parametrize("name", ["cyclegan and its pools", "stylegan2, lazy turns and ada"])
def test_two_processes_killed_at_random_moments_end_alike_and_one_goes_on_from_there(tmp_path, born, name, say):
    """One of the two is killed, or both and who started them; resumed by two; at last by one, and by one twice."""
    arguments = LIVES[name]
    whole = start("run", *arguments, "--nproc", 2, "--out", "whole", cwd=tmp_path)
    begun = time.monotonic()
    assert whole.wait(PATIENCE) == 0
    life = time.monotonic() - begun
    moments, killed, differ, both = random.Random(), 0, 0, 0
    while killed < max(1, KILLS // 10):
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        while True:
            if (tmp_path / "r").exists() and not (tmp_path / "r" / "run.json").exists():
                shutil.rmtree(tmp_path / "r")
            again = (tmp_path / "r").exists()
            command = ("resume", "r", "--quiet") if again else ("run", *arguments, "--out", "r")
            process = start(*command, "--nproc", 2, cwd=tmp_path, start_new_session=True)
            time.sleep(moments.uniform(0, life))
            if process.poll() is None and killed < max(1, KILLS // 10):
                parts = children(process)
                if parts and moments.random() < 0.5:
                    os.kill(moments.choice(parts), signal.SIGKILL)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                    both += 1
                killed += 1
                process.communicate(timeout=PATIENCE)
                continue
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
            break
        differ += compared(tmp_path / "whole", tmp_path / "r")[1]
    assert differ == 0
    # One goes on with what two began, as it would undisturbed.
    process = start("run", *arguments, "--nproc", 2, "--out", "two", cwd=tmp_path)
    wait_for(saved(tmp_path / "two", 15), process)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    (tmp_path / "one").mkdir()
    shutil.copytree(tmp_path / "two", tmp_path / "one" / "r")
    alone = born(tmp_path, "resume", "two", "--quiet")
    alone.join(PATIENCE)
    assert alone.exitcode == 0, (tmp_path / "told.txt").read_text()
    later = through(tmp_path / "one", born, lambda: moments.uniform(0, life / 4), max(1, KILLS // 5), arguments)
    differ += compared(tmp_path / "two", tmp_path / "one" / "r")[1]
    say(
        f"{name}, two processes: killed at {killed} moments ({both} times both), and at {later} where one goes on; "
        f"{differ} tensors differ"
    )
    assert differ == 0


def test_memory_and_files_stay_flat(tmp_path, say):
    """A run that samples, saves and logs all the time holds no more at the end than after its first tenth."""
    process = start(
        "run", *TINY[:-2], "--max-time", f"{MINUTES}m", "--sample-interval", 50, "--checkpoint-interval", 200,
        "--out", "r", "--quiet", cwd=tmp_path,
    )  # fmt: skip
    wait_for(tmp_path / "r" / "metrics.jsonl", process)
    seen: list[tuple[int, int]] = []
    begun, pages = time.monotonic(), os.sysconf("SC_PAGE_SIZE")
    while process.poll() is None:
        try:
            memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * pages
            handles = len(os.listdir(f"/proc/{process.pid}/fd"))  # noqa: PTH208  It leaves nothing open.
        except (OSError, IndexError):
            break
        if time.monotonic() - begun < MINUTES * 60 - 5:  # At the end it draws its plot.
            seen.append((memory, handles))
        time.sleep(1)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    tenth = max(1, len(seen) // 10)
    early, late = seen[tenth : 2 * tenth], seen[-tenth:]
    first, last = max(m for m, _ in early), max(m for m, _ in late)
    say(
        f"{MINUTES} minutes: {first / 2**20:.1f} MiB, then {last / 2**20:.1f} MiB ({last / first - 1:+.2%}); "
        f"file handles {max(h for _, h in early)}, then {max(h for _, h in late)}"
    )
    assert last <= 1.02 * first
    assert max(h for _, h in late) <= max(h for _, h in early)
