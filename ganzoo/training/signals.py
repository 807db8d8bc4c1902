"""SIGINT and SIGTERM: the first asks the loop to save and stop, a second ends the process at once."""

import os
import signal
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was stopped by a signal, after saving: exit code 130 or 143."""

    def __init__(self, number: int, saved: str):
        super().__init__(f"stopped by {signal.Signals(number).name}; {saved}")
        self.exit_code = 128 + number


class Stop:
    """While it is entered, `heard` tells which signal came to this process, if any; `requested`, whether to stop.

    The trainer sets the latter from the former, after every step: several processes must stop at the same.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self.requested: int | None = None

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._handle) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.heard is not None:
            os._exit(128 + number)
        self.heard = number
