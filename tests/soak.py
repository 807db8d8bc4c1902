"""The long forms of what tests/ does briefly: `make soak`, an hour or so on two cores.

`GANZOO_SOAK_ROUNDS` (100), `GANZOO_SOAK_MOMENTS` (50) and `GANZOO_SOAK_MINUTES` (30) set how long.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from conftest import TINY, start
from test_run import assert_equal, kill, logged, saved, state, wait_for

ROUNDS, MOMENTS, MINUTES = (
    int(os.environ.get(f"GANZOO_SOAK_{name}", default))
    for name, default in (("ROUNDS", 100), ("MOMENTS", 50), ("MINUTES", 30))
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
        _, err = process.communicate(timeout=120)
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
    process.communicate(timeout=60)
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
