"""What many tests share: a stranger's plugin package on the path, and the command line in and out of process."""

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))  # Its dist-info makes it an installed package, with an entry point of its own.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
os.environ["OMP_NUM_THREADS"] = "1"  # Tests run side by side.
os.environ.pop("GANZOO_PLUGINS", None)


PATIENCE = 900
"""Seconds after which a test no longer waits for what must come. No measure of speed: others may have the cores."""


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what lives as long as the tests do: modules, and the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _unforced() -> Iterator[None]:
    """Force nothing to disk in this process: the tests would wait thousands of times, and none cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _plotted_once() -> Iterator[None]:
    """Draw the curves of runs that went alike once: as many tests train the same steps, and a plot takes longer."""
    from ganzoo.runs import pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "drawn", lru_cache(1000)(pictures.drawn))
        yield


@pytest.fixture
def ganzoo(monkeypatch, capfd, tmp_path) -> Callable[..., Result]:
    """Run a command in this process, in an empty folder."""
    from ganzoo.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ganzoo", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Result(stop.value.code, captured.out, captured.err)

    return run


def run_here(*args: object, cwd: Path) -> None:
    """Run a command in this process, for a fixture of a module: a process of its own takes seconds to start."""
    from ganzoo.cli import main

    with chdir(cwd), mock.patch.object(sys, "argv", ["ganzoo", *map(str, args)]), pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0


def arrays(path: object) -> dict[str, np.ndarray]:
    """What an .npz file holds; the file is closed."""
    with np.load(path) as file:
        return {name: file[name] for name in file}


def start(*args: object, cwd: Path, **options: object) -> subprocess.Popen:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "ganzoo", *map(str, args)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, **options)
    STARTED.append(process)
    return process


STARTED: list[subprocess.Popen] = []


@pytest.fixture(scope="session", autouse=True)
def hangups_as_usual():
    """SIGHUP is not ignored, which processes inherit, where the tests themselves are run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def _end_what_was_started():
    """Leave no process behind a test that failed: it would take the others' time."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.terminate()  # A launcher ends those that it started.
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
    STARTED.clear()


TINY = ("tiny", "--dataset", "small-digits", "--batch-size", "32", "--loggers", "none")
"""A run that takes a millisecond a step."""


@pytest.fixture
def opened():
    """A server of the demo that shows what it is given, on a host, and answers."""
    from ganzoo.demo.server import bind

    begun = []

    def start(*shown, host: str = "127.0.0.1"):
        server = bind(0, host)
        server.show(*shown)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        begun.append((server, thread))
        return server

    yield start
    for server, thread in begun:
        server.shutdown()
        server.server_close()
        thread.join()
