"""How threads wait beside other work: by sleeping, and only then; results stay what they are."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from ganzoo.training import cores
from ganzoo.training.cores import Cores

CPU = torch.device("cpu")
TWO = {k: v for k, v in os.environ.items() if k not in cores.DECIDED} | {"OMP_NUM_THREADS": "2"}
gomp = pytest.mark.skipif(cores._gomp() is None, reason="torch has another OpenMP here")


@pytest.fixture
def looking(monkeypatch):
    """Cores of a machine of two, with two threads, whose OpenMP only counts what it is asked for."""
    asked = []
    monkeypatch.setattr(cores, "_gomp", lambda: SimpleNamespace(GOMP_parallel=lambda *given: asked.append(given)))
    monkeypatch.setattr(cores.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1})
    for name in cores.DECIDED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "_START", (time.monotonic(), 0.0, 0.0))
    made = Cores(CPU)
    made.asked = asked
    yield made
    made.close()


def test_threads_sleep_while_others_work_and_spin_again_when_they_are_gone(looking):
    assert not looking.asleep
    assert looking.heed(0.2) is None
    assert not looking.asleep
    told = looking.heed(1.5)
    assert told == (
        "other work keeps 1.5 of 2 cores busy: threads wait asleep while it does "
        "(OMP_NUM_THREADS=1 leaves it some, and saves waiting)"
    )
    assert looking.asleep
    looking.heed(0.15)  # Between the two bounds it stays as it is.
    assert looking.asleep
    looking.heed(0.05)
    assert not looking.asleep
    assert looking.heed(1.5) is None  # It is told once.
    assert looking.asleep
    assert [given[2].value for given in looking.asked] == [2, 2]


def test_threads_beside_free_cores_spin(looking, monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)))
    looking.heed(6.0)
    assert not looking.asleep
    looking.heed(6.5)
    assert looking.asleep
    assert looking.asked[0][2].value == 8  # With the two that compute, one more than there are cores.


def test_others_are_what_the_cores_did_beside_this_process(looking, monkeypatch):
    times = iter([(100.0, 50.0, 10.0), (102.0, 53.5, 12.5), (104.0, 57.0, 13.0)])
    monkeypatch.setattr(cores, "_used", lambda: next(times))
    monkeypatch.setattr(looking, "_since", None)
    heard = []
    monkeypatch.setattr(looking, "heed", lambda others: heard.append(others))
    for _ in range(3):
        monkeypatch.setattr(looking, "_next", 0.0)
        looking.look()
    assert heard == [0.5, 1.5]


def test_a_first_look_does_not_go_back_to_a_start_long_ago(looking, monkeypatch):
    assert looking._since is not None
    monkeypatch.setattr(cores, "_START", (time.monotonic() - 3600.0, 0.0, 0.0))
    late = Cores(CPU)
    monkeypatch.setattr(late, "heed", lambda others: pytest.fail("an hour says nothing of now"))
    assert late.look() is None


def test_more_threads_than_a_machine_may_give_are_not_asked_for(looking, monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(cores.MOST + 1)))
    assert looking.heed(1000.0) is None
    assert not looking.asleep
    assert not looking.asked


def test_where_no_thread_can_be_had_training_goes_on_without(looking, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(cores.threading.Thread, "start", start)
    assert looking.heed(1.5) is None
    assert not looking.asleep
    assert looking.look() is None


@pytest.mark.parametrize("why", ["device", "thread", *cores.DECIDED])
def test_nothing_is_done_where_there_is_nothing_to_do_or_the_user_has_said_how(looking, monkeypatch, why):
    if why == "thread":
        monkeypatch.setattr(cores.torch, "get_num_threads", lambda: 1)
    elif why != "device":
        monkeypatch.setenv(why, "0")
    made = Cores(torch.device("meta") if why == "device" else CPU)
    monkeypatch.setattr(cores, "_used", lambda: pytest.fail("nobody needs to know"))
    assert made.look() is None
    assert not made.asleep


@gomp
def test_openmps_threads_are_held_asleep_and_let_go():
    code = """
import os, threading, torch
from ganzoo.training.cores import Cores
count = lambda: len(os.listdir("/proc/self/task"))
torch.ones(2**20).add_(1)
before, cores = count(), Cores(torch.device("cpu"))
cores.heed(100.0)
held = count() - before
parked = [t for t in threading.enumerate() if t.name == "ganzoo-cores"]
cores.close()
[t.join(600) for t in parked]
print(held > 1, len(parked), any(t.is_alive() for t in parked), cores.asleep)
"""
    done = subprocess.run([sys.executable, "-c", code], env=TWO, capture_output=True, text=True, check=False)
    assert done.stdout == "True 1 False False\n", done.stderr


@gomp
def test_a_run_whose_threads_sleep_ends_with_the_weights_of_one_whose_threads_spin(tmp_path):
    code = """
import sys
from ganzoo import train
from ganzoo.training import cores

def heed(self):
    told = self.heed(100.0)
    asleep.append(self.asleep)
    return told

for how, look in (("spinning", lambda self: asleep.append(self.asleep)), ("asleep", heed)):
    asleep = []
    cores.Cores.look = look
    train("dcgan", dataset="small-digits", image_size=16, width=4, batch_size=16, steps=5, loggers=(), out=how,
          engine="eager")
    print(how, any(asleep))
    print("end of", how, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=TWO, capture_output=True, text=True, check=False
    )
    assert done.stdout == "spinning False\nasleep True\n", done.stderr
    spinning, asleep = done.stderr.split("end of spinning")
    assert "threads wait asleep" not in spinning
    assert "threads wait asleep" in asleep
    weights = [(tmp_path / how / "generator.safetensors").read_bytes() for how in ("spinning", "asleep")]
    assert weights[0] == weights[1]
