"""SIGINT, SIGTERM, SIGHUP: the first asks the loop to save and stop; a second ends the process, or call, at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

from ganzoo.terminal import argument

STOPPING = (signal.SIGINT, signal.SIGTERM)
HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""What comes when a terminal is closed; a terminal and its shell send it each. None: the platform has no such."""


def stopping() -> tuple[int, ...]:
    """The signals to stop for: none in a thread, which they do not reach; not SIGHUP where nohup has it ignored."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    if HANGUP is None or signal.getsignal(HANGUP) == signal.SIG_IGN:
        return STOPPING
    return (*STOPPING, HANGUP)


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, these signals go to the handler."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, signal.SIG_DFL if own is None else own)  # None: one that is not Python's.


_lasting = ContextVar("_lasting", default=False)


@contextmanager
def lasting() -> Iterator[None]:
    """Inside, a second signal ends the training alone, by KeyboardInterrupt: the process is not ganzoo's to end."""
    token = _lasting.set(True)
    try:
        yield
    finally:
        _lasting.reset(token)


def going_on(folder: Path) -> str:
    """What goes on with a run that a signal stopped, to be typed: in a shell, or in Python where it was called."""
    return f"ganzoo.resume({str(folder)!r})" if _lasting.get() else f"`ganzoo resume {argument(folder)}`"


class Stopped(Exception):
    """The run was stopped by a signal, after saving: exit code 129, 130 or 143."""

    def __init__(self, number: int, saved: str):
        super().__init__(f"stopped by {signal.Signals(number).name}; {saved}")
        self.saved = saved
        self.exit_code = 128 + number


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came where nothing is trained."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def number_of(error: KeyboardInterrupt) -> int:
    """The signal that came."""
    return error.number if isinstance(error, Ended) else signal.SIGINT


@contextmanager
def ending() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the work as Ctrl-C does, by `Ended`: what is half written is removed."""
    numbers = [number for number in stopping() if number != signal.SIGINT]

    def end(number: int, _frame: FrameType | None) -> None:
        for other in numbers:  # A second ends the process, but that a hangup comes twice.
            signal.signal(other, signal.SIG_IGN if other == HANGUP else signal.SIG_DFL)
        raise Ended(number)

    with handled(numbers, end):
        yield


class Stop:
    """While it is entered, `heard` tells which signal came to this process, if any; `requested`, whether to stop.

    The trainer sets the latter from the former, after every step: several processes must stop at the same. Signals
    reach the main thread alone: in another one they are left to whoever has them.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self.requested: int | None = None
        self.enough = False
        """Whether a watcher of any process has ended the training."""

    def __enter__(self) -> "Stop":
        self._lasting = _lasting.get()
        self._handled = handled(stopping(), self._handle)
        self._handled.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handled.__exit__(*error)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.heard is not None:
            if number == HANGUP:  # Nobody insists by it.
                return
            if self._lasting:
                raise KeyboardInterrupt
            os._exit(128 + number)
        self.heard = number
