"""Several processes, one run: the same gradients, the same weights everywhere, one line when something goes wrong."""

import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from conftest import PATIENCE, SUPPORT, TINY, run_here, start
from ganzoo.data import DataRequest, DataSpec, Loader
from ganzoo.errors import UsageError
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import generated, given
from ganzoo.nets import has_batch_statistics
from ganzoo.runs.folder import read_metrics
from ganzoo.training import distributed
from ganzoo.training.building import build
from ganzoo.training.distributed import ALONE, World, joined
from ganzoo_test_plugins import SmallDigits, Tiny
from test_run import assert_equal, logged, saved, state, wait_for

CLEAN = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}


def torchrun(*arguments, count=2, **options):
    """Start torch's launcher."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=pipe, stderr=pipe, text=True, **{"env": CLEAN, **options}
    )


def rank_of(process: int) -> str | None:
    with_zeros = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next((e[5:].decode() for e in with_zeros if e.startswith(b"RANK=")), None)


def child(launcher: subprocess.Popen, rank: int) -> int:
    """The number of the process of a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return next(int(c) for c in children if rank_of(int(c)) == str(rank))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes found, and what one found."""
    results = {}
    folders = {count: tmp_path_factory.mktemp(f"by-{count}") for count in (1, 2)}
    started = {count: torchrun(SUPPORT / "together.py", folder, count=count) for count, folder in folders.items()}
    for count, folder in folders.items():
        out, err = started[count].communicate(timeout=PATIENCE)
        assert started[count].returncode == 0, out + err
        results[count] = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]
        for rank, result in enumerate(results[count]):
            result["threads"] = json.loads((folder / f"{rank}.json").read_text())
    return results


def test_two_halves_of_a_batch_give_the_gradients_of_the_whole(found):
    (one,), (first, second) = found[1], found[2]
    assert len(one["gradients"]) == len(first["gradients"]) > 8
    for mine, theirs, also in zip(one["gradients"], first["gradients"], second["gradients"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert torch.equal(theirs, also)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in Linux's /proc")
def test_no_thread_outlives_the_processes_parting(found):
    """One that lets go of a tensor while Python ends would abort the process, once in a hundred times."""
    for result in [*found[1], *found[2]]:
        assert result["threads"], "this one at least"
        assert not [name for name in result["threads"] if "gloo" in name]


def test_the_order_of_the_data_is_the_same_however_many_share_it(found):
    (one,), (first, second) = found[1], found[2]
    assert torch.equal(one["labels"], torch.cat([first["labels"], second["labels"]], dim=1))


def test_after_two_hundred_steps_all_hold_the_same_model_bit_for_bit(found):
    first, second = found[2]
    assert_equal(first["gan"], second["gan"])
    assert_equal(first["ema"], second["ema"])
    assert any("running_mean" in name for name in first["gan"])


def test_each_draws_its_own_numbers_and_the_first_collects_where_all_stand(found):
    first, second = found[2]
    assert not torch.equal(first["random"], second["random"])
    assert len(first["others"]) == 1
    assert torch.equal(first["others"][0]["torch"], second["random"])
    assert second["others"] == []


def test_all_agree_on_the_clock_and_stop_at_one_step(found):
    first, second = found[2]
    assert first["said"] == second["said"]
    assert first["said"][-1][1] == signal.SIGTERM
    assert all(clock < 1000 for clock, *_ in second["said"])
    assert first["mean"].tolist() == second["mean"].tolist() == [0.5, 4.0]
    assert first["first"] == second["first"] == '{"rank": 0}'


def test_what_all_share_comes_to_the_first_in_the_order_of_one(found):
    (one,), (first, second) = found[1], found[2]
    counts = (7, 6, 1, 0)
    assert one["in turn"] == [[(number, 0) for number in range(count)] for count in counts]
    assert first["in turn"] == [[(number, number % 2) for number in range(count)] for count in counts]
    assert second["in turn"] == [[]] * 4


def test_alone_nothing_is_said():
    assert ALONE.agree(7, 3.25, 15, True) == (3.25, 15, True)
    assert ALONE.others("x") == []
    assert list(ALONE.in_turn("abc")) == ["a", "b", "c"]
    assert ALONE.on_first(lambda: 4) == ALONE.first_before_others(lambda: 4) == 4
    assert ALONE.device("cuda:1") == "cuda:1"


def test_seeds_differ_by_run_step_and_process():
    seeds = {World(rank, 4).own_seed(seed, step) for rank in range(4) for seed in (0, 1) for step in (0, 1, 2)}
    assert len(seeds) == 24


def test_a_batch_is_shared_in_equal_parts():
    digits = SmallDigits().load(DataRequest())
    parts = [next(Loader(digits, 12, 5, torch.device("cpu"), share=(rank, 3)).batches(2)).x for rank in range(3)]
    assert torch.equal(torch.cat(parts), next(Loader(digits, 12, 5, torch.device("cpu")).batches(2)).x)
    with pytest.raises(UsageError, match="cannot be divided among 5"):
        Loader(digits, 12, 5, torch.device("cpu"), share=(0, 5))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--batch-size", 15), "--batch-size 15 cannot be divided among 2 processes"),
        (("--device", "cuda:1"), "is one device, and this run has 2 processes"),
        (("--lr", "-1"), "--lr"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_is_started(ganzoo, options, says):
    result = ganzoo("run", "tiny", "--dataset", "small-digits", "--out", "r", "--nproc", 2, *options)
    assert result.code == 2
    assert says in result.err
    assert len(result.err.splitlines()) == 1


TOGETHER = ("run", *TINY, "--steps", 400, "--quiet", "--checkpoint-interval", 30)
"""A run that takes two a second or so once they have met."""


@contextmanager
def launching():
    """Inside, this process may be the launcher: one less to start. What a launcher changes is put back."""
    before = {number: signal.getsignal(number) for number in LAUNCHERS}
    silenced = logging.root.manager.disable
    try:
        yield
    finally:
        logging.disable(silenced)
        for number, handler in before.items():
            signal.signal(number, handler)


LAUNCHERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""The signals that torch's launcher takes over."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """That run by two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    with launching():
        run_here(*TOGETHER, "--nproc", 2, "--out", "whole", cwd=folder)
    return folder / "whole"


def test_stopped_and_resumed_by_two_a_run_ends_as_if_it_had_not_been(ganzoo, whole, tmp_path):
    process = start(*TOGETHER, "--nproc", 2, "--out", "r", cwd=tmp_path)
    wait_for(saved(tmp_path / "r", 60), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert len(err.splitlines()) == 1
    assert "stopped by SIGTERM" in err
    assert 60 <= state(tmp_path / "r")["step"] < 400
    second = start("resume", "r", "--quiet", "--nproc", 2, cwd=tmp_path)
    out, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, err
    assert out.count("run: ") == 1
    assert_equal(state(whole), state(tmp_path / "r"))
    assert logged(whole) == logged(tmp_path / "r")
    assert json.loads((tmp_path / "r" / "run.json").read_text())["machine"]["processes"] == 2
    # One process takes it from there.
    result = ganzoo("resume", "r", "--steps", 450)
    assert result.code == 0
    assert "was run by 2 processes until now, and goes on with 1" in result.err
    assert state(tmp_path / "r")["step"] == 450


def test_a_killed_process_is_replaced_by_the_launcher_and_nothing_differs(whole, tmp_path):
    patient = {**CLEAN, "GANZOO_TIMEOUT": "86400"}  # That it does not answer is not what tells.
    process = torchrun("--max-restarts=1", "-m", "ganzoo", *TOGETHER, "--out", "r", cwd=tmp_path, env=patient)
    wait_for(saved(tmp_path / "r", 60), process)
    victim = child(process, 1)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: any(rank_of_or_none(c) == "1" for c in children(process) if c != victim), process)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert_equal(state(whole), state(tmp_path / "r"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_a_process_that_does_not_train_yet_ends_all_with_its_code(tmp_path, rank):
    process = start("run", *TINY, "--steps", 100_000, "--quiet", "--nproc", 2, "--out", "r", cwd=tmp_path)
    wait_for(lambda: len(children(process)) == 2 and all(map(rank_of, children(process))), process)
    os.kill(child(process, rank), signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert "stopped by SIGTERM" in err
    assert "Traceback" not in err


def children(launcher: subprocess.Popen) -> list[int]:
    return list(map(int, Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()))


def rank_of_or_none(process: int) -> str | None:
    try:
        return rank_of(process)
    except OSError:  # It has just ended.
        return None


def test_a_process_that_is_killed_or_silent_ends_the_run_in_one_line(tmp_path):
    arguments = ("run", *TINY, "--steps", 100_000, "--quiet", "--checkpoint-interval", 30, "--nproc", 2)
    killed = start(*arguments, "--out", "killed", cwd=tmp_path)
    silent = start(*arguments, "--out", "silent", cwd=tmp_path, env={**CLEAN, "GANZOO_TIMEOUT": "8"})
    for name, process, number in (("killed", killed, signal.SIGKILL), ("silent", silent, signal.SIGSTOP)):
        wait_for(saved(tmp_path / name, 30), process)
        victim = child(process, 1)
        os.kill(victim, number)
    _, err = killed.communicate(timeout=PATIENCE)
    assert killed.returncode == 1
    assert "process 1 of 2 was killed by SIGKILL" in err
    wait_for(lambda: rank_zero_ended(silent), silent)
    os.kill(victim, signal.SIGKILL)
    _, err = silent.communicate(timeout=PATIENCE)
    assert silent.returncode == 1
    assert "did not answer within 8 seconds" in err
    for name in ("killed", "silent"):
        assert state(tmp_path / name)["step"] >= 30


def rank_zero_ended(launcher: subprocess.Popen) -> bool:
    alive = [rank_of_or_none(c) for c in children(launcher)]
    return "0" not in alive


def test_an_error_in_all_is_told_once(ganzoo, tmp_path):
    with launching():
        result = ganzoo(
            "run", *TINY, "--steps", 90, "--explode-at", 43, "--checkpoint-interval", 30, "--quiet", "--nproc", 2,
            "--out", "r",
        )  # fmt: skip
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert "step 43" in result.err
    assert state(tmp_path / "r")["step"] == 30
    assert json.loads((tmp_path / "r" / "status.json").read_text())["status"] == "failed"


def test_an_error_in_another_process_than_the_first_ends_all_in_one_line(tmp_path):
    """The second alone raises, at step 43."""
    process = torchrun(
        SUPPORT / "unequal.py", "run", *TINY, "--steps", 90, "--checkpoint-interval", 30, "--quiet", "--out", "r",
        cwd=tmp_path, env={**CLEAN, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, err
    assert "model 'tiny' failed in generator_loss, step 43: ZeroDivisionError: boom" in told[0]
    assert state(tmp_path / "r")["step"] == 30
    assert json.loads((tmp_path / "r" / "status.json").read_text())["status"] == "failed"


def test_a_callback_that_ends_training_ends_it_in_all_processes_and_the_run_is_saved(tmp_path):
    """Called in the first alone, it asks to end at step 50."""
    script = tmp_path / "ends.py"
    script.write_text(
        "import ganzoo\n"
        "ganzoo.train('tiny', dataset='small-digits', batch_size=32, loggers=(), engine='eager', progress=False,\n"
        "             steps=100_000, out='r', callback=lambda step, values: False)\n"
        "print('goes on\\n', end='')\n"  # In one piece: both write to one pipe.
    )
    process = torchrun(script, cwd=tmp_path, env={**CLEAN, "OMP_NUM_THREADS": "1"})
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "goes on\n" * 2), err
    assert json.loads((tmp_path / "r" / "status.json").read_text())["status"] == "stopped"
    assert 50 < state(tmp_path / "r")["step"] < 100_000


def test_the_scores_that_two_find_are_those_that_one_measures(ganzoo, tmp_path):
    """Each draws half of the samples, in training and in `ganzoo eval`: the numbers are the same, bit for bit."""
    with launching():
        trained = ganzoo("run", *TINY, "--steps", 30, "--eval-every", 1, "--quiet", "--nproc", 2, "--out", "r")
    assert trained.code == 0, trained.err
    line = [line for line in read_metrics(tmp_path / "r") if "fid" in line][-1]
    protocol = json.loads((tmp_path / "r" / "run.json").read_text())["evaluation"]
    by_one = ganzoo("eval", "r", "--n", protocol["n"], "--metrics", "fid,accuracy,prdc", "--json", "--out", "one.json")
    assert by_one.code == 0, by_one.err
    with launching():
        by_two = ganzoo(
            "eval", "r", "--n", protocol["n"], "--metrics", "fid,accuracy,prdc", "--json", "--nproc", 2, "--out",
            "two.json",
        )  # fmt: skip
    assert by_two.code == 0, by_two.err
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["step"] == line["step"] == 30
    assert one["metrics"]["fid"] == line["fid"]
    assert one["metrics"]["accuracy"] == line["accuracy"]
    for times in (one, two):
        times.pop("seconds")
    assert one == two


def test_shares_of_what_is_measured_are_the_batches_of_one(ganzoo):
    digits = SmallDigits()
    reference, images = Reference(digits, shape=(1, 8, 8)), torch.arange(1300 * 64).byte().view(1300, 1, 8, 8)
    gan = build(Tiny, digits.load(DataRequest()).spec("small-digits"), Tiny.Options()).eval()
    for batches in (
        lambda world: list(generated(gan, 1700, 5, reference, world=world)),
        lambda world: list(given(images, torch.arange(1300), 1200, 5, world)),
    ):
        one, shares = batches(ALONE), [batches(World(rank, 3)) for rank in range(3)]
        assert [len(share) for share in shares] == [len(one[rank::3]) for rank in range(3)]
        for number, batch in enumerate(one):
            theirs = shares[number % 3][number // 3]
            assert torch.equal(batch.images, theirs.images)
            assert torch.equal(batch.labels, theirs.labels)


def test_an_evaluation_that_cannot_be_shared_is_refused_and_a_fault_is_told_once(ganzoo, tmp_path):
    (tmp_path / "empty").mkdir()
    with launching():
        result = ganzoo("eval", "empty", "--nproc", 2)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "holds no pictures" in result.err
    result = ganzoo("eval", "empty", "--nproc", 2, "--device", "cuda:1")
    assert result.code == 2
    assert "is one device, and this run has 2 processes" in result.err


def test_a_fault_for_which_another_process_waits_is_told_in_one_line(ganzoo):
    """The first looks for the extractor by itself, and finds none."""
    assert ganzoo("run", *TINY, "--steps", 1, "--quiet", "--out", "r").code == 0
    with launching():
        result = ganzoo("eval", "r", "--features", "nowhere", "--nproc", 2)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert "no feature extractor is named 'nowhere'" in result.err


@pytest.mark.parametrize(("rank", "raised"), [(0, KeyboardInterrupt), (1, SystemExit)])
def test_ctrl_c_in_a_terminal_which_reaches_all_is_told_by_the_first(monkeypatch, rank, raised):
    for name, value in {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(distributed, "_meet", lambda kept: (World(rank, 2), None))
    with pytest.raises(raised) as found, joined():
        raise KeyboardInterrupt
    assert raised is KeyboardInterrupt or found.value.code == 130


def test_batchnorm_over_the_global_batch_is_for_gpus(ganzoo, tmp_path):
    arguments = ("run", *TINY, "--steps", 2, "--sync-batchnorm", "--out", "r")
    for more in ((), ("--nproc", 2)):
        with launching():
            result = ganzoo(*arguments, *more)
        assert result.code == 2
        assert result.err == "error: --sync-batchnorm is for several processes, each with a GPU of its own\n"
    assert not (tmp_path / "r").exists()


def test_batchnorm_over_the_global_batch_still_counts_as_batch_statistics():
    from ganzoo.preparing import synchronised

    gan = build(Tiny, DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789")), Tiny.Options())
    before = gan.state_dict()
    gan = synchronised(gan, torch.device("cuda"), World(0, 2))
    assert isinstance(gan.generator.layers[1], torch.nn.SyncBatchNorm)
    assert has_batch_statistics(gan.generator)
    assert_equal(before, gan.state_dict())
