"""A run trained in a process of its own: its peak of memory is its own, whatever was trained before it.

The process saves and ends when a signal comes to the one that began it, and when that one is no more.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ganzoo.blame import blame
from ganzoo.errors import GanzooError, UsageError, aside, one_line
from ganzoo.settings import Plan
from ganzoo.streams import prepare
from ganzoo.training.signals import HANGUP, Stopped, handled, stopping
from ganzoo.training.watcher import Enough, Until, Watcher


def train_apart(plan: Plan, folder: Path, begun: bool, progress: bool, share: float = 1.0) -> None:
    """Train the run of a plan in a folder, or go on with it where it was `begun`, to a share of its budget.

    Raises:
        UsageError, GanzooError: as `ganzoo.launch.start` and `resume`; or the process ended without a word.
        Stopped: a signal came, which was handed on; what was trained is saved. Even if all of it was: whoever trains
            one run after the other is not to go on.
    """
    seen = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ganzoo.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": seen},
        start_new_session=True,  # A terminal's Ctrl-C would reach it twice, and the second ends it at once.
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, _handing_on(process) as heard:
        try:
            pickle.dump((plan, folder, begun, progress, share, sys.argv), process.stdin)
            process.stdin.flush()  # It stays open: its end tells the process that nobody waits any more.
        except BrokenPipeError:
            with suppress(BrokenPipeError):  # What is left in the buffer is written once more.
                process.stdin.close()
        said = process.stdout.read()
    answer = _answer(said)
    if heard:
        kept = f"what was saved of {folder} is kept"  # It had not begun, or a second signal ended it at once.
        raise Stopped(heard[0], kept if answer is None else answer.get("saved", answer.get("error", kept)))
    if answer is None:
        code = process.returncode
        why = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise GanzooError(f"the process that trained it {why}, and did not say why: is there enough memory?")
    if "stopped" in answer:
        raise Stopped(answer["stopped"], answer["saved"])
    if "error" in answer:
        raise (UsageError if answer["usage"] else GanzooError)(answer["error"])


def _answer(said: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(said)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


@contextmanager
def _handing_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Inside, signals that ask to stop go to the process, which saves; here they are noted, and do nothing else.

    Each goes on as SIGTERM: of SIGINT a Python that still imports what it needs would print a traceback.
    """
    heard: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if heard and number == HANGUP:  # It comes twice, and a second signal would end the process at once.
            return
        heard.append(number)
        process.send_signal(signal.SIGTERM)

    with handled(stopping(), hand_on):
        yield heard


def main() -> None:
    """Train what stands on the standard input, and say on the standard output how it ended."""
    prepare()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a plugin prints is no answer.
    sys.stdout = sys.stderr
    answer: dict[str, Any] = {}
    over = threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # As Ctrl-C, until the trainer listens.
    try:
        with told("cannot be trained"):
            plan, folder, begun, progress, share, sys.argv = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_the_other, args=(over,), daemon=True).start()
        train(plan, folder, begun, progress, share)
    except Stopped as stopped:
        answer = {"stopped": stopped.exit_code - 128, "saved": stopped.saved}
    except KeyboardInterrupt:
        answer = {"stopped": signal.SIGTERM, "saved": "nothing was saved, for training had not begun"}
    except GanzooError as error:
        answer = {"error": one_line(error), "usage": isinstance(error, UsageError)}
    over.set()
    with suppress(BrokenPipeError), out:  # Whoever waited for the answer may be no more.
        json.dump(answer, out)


@contextmanager
def told(what: str) -> Iterator[None]:
    """An exception of a plugin's own inside, as one line: the other runs go on."""
    try:
        yield
    except (GanzooError, Stopped, Enough):
        raise
    except Exception as error:
        whose = blame(error)
        raise GanzooError(f"{what}: {whose + ': ' if whose else ''}{one_line(error)}") from error


def train(plan: Plan, folder: Path, begun: bool, progress: bool, share: float = 1.0) -> None:
    """As `train_apart`, in this process.

    Raises:
        UsageError, GanzooError, Stopped: as `train_apart`.
    """
    from ganzoo.launch import resume, start
    from ganzoo.plugins import registry
    from ganzoo.training.progress import Progress

    def say(line: str) -> None:
        if progress:
            aside(line)

    watchers: list[Watcher] = [Progress()] if progress else []
    watchers += [Until(share)] if share < 1 else []
    with suppress(Enough), told("cannot be trained"):
        if begun:
            resume(folder, registry().check(), None, watchers, say)
        else:
            start(plan, registry().check(), folder, watchers)


def _end_with_the_other(over: threading.Event) -> None:
    """Save and end when whoever waits for the answer has gone before it is over: its end of the pipe is closed then."""
    os.read(sys.stdin.fileno(), 1)  # Not by `sys.stdin`, whose lock the end of this process would wait for.
    if not over.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
