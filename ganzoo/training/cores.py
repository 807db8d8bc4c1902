"""Cores that are shared with other work: how the threads of a step wait for each other there.

OpenMP's threads wait by spinning, for milliseconds, since sleeping and waking costs more than most operators take.
Alone that is right: a small model loses a quarter of its speed by sleeping. Beside other work it is ruinous: a thread
spins away the time that the one it waits for needs to get its core back, in every operator.

GCC's OpenMP spins for moments only once it has more threads than there are cores. So where others work on the cores, a
thread is parked here that holds some of OpenMP's own, asleep; where they are gone, it ends. How many threads compute
stays what it is, and so does every result.
"""

import ctypes
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch

LOOK_SECONDS = 1.0
"""Between two looks at what others do."""
CROWDED, FREE = 0.25, 0.1
"""Cores that are asked for beyond those there are: from the first on threads sleep, below the second they spin."""
MOST = 64
"""Threads that are parked at most. One that cannot be made would end the process: OpenMP gives no error back."""
RECENT = 60.0
"""Seconds for which the first look goes back to when this module was loaded."""
DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables by which the user has said how threads wait."""


def available() -> int:
    """Cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cores:
    """Looks now and then at what other processes do on this one's cores, and has OpenMP's threads wait accordingly.

    It does nothing where there is nothing to do: on other devices and systems, with one thread, with another OpenMP,
    and where the user has set a variable of `DECIDED`; nor where it took more than `MOST` threads.
    """

    def __init__(self, device: torch.device):
        self.threads = torch.get_num_threads()
        self._parked: tuple[threading.Event, threading.Thread] | None = None
        self._told = False
        self._openmp = None
        if device.type == "cpu" and self.threads > 1 and not any(name in os.environ for name in DECIDED):
            self._openmp = _gomp()
        self._next = 0.0
        # A notebook may train hours after it was started: what others did meanwhile says nothing.
        self._since = _START if _START is not None and time.monotonic() - _START[0] < RECENT else None

    @property
    def asleep(self) -> bool:
        """Whether threads wait asleep."""
        return self._parked is not None

    def look(self) -> str | None:
        """After a step: look around if it is time to. What is to be told, once in a run."""
        now = time.monotonic()
        if self._openmp is None or now < self._next:
            return None
        self._next = now + LOOK_SECONDS
        before, used = self._since, _used()
        if before is None or used is None:
            self._since = used
            return None
        if used[0] - before[0] < LOOK_SECONDS / 2:
            return None
        self._since = used
        wall, all_of_it, ours = (b - a for a, b in zip(before, used, strict=True))
        return self.heed(max(all_of_it - ours, 0.0) / wall)

    def heed(self, others: float) -> str | None:
        """Choose how to wait where other work keeps so many cores busy. What is to be told, once in a run."""
        count = available()
        beyond = others + self.threads - count
        if beyond >= CROWDED and self._parked is None:
            self._park(count)
            if self.asleep and not self._told:
                self._told = True
                return (
                    f"other work keeps {others:.1f} of {count} cores busy: threads wait asleep while it does "
                    f"(OMP_NUM_THREADS={max(1, count // 2)} leaves it some, and saves waiting)"
                )
        elif beyond < FREE:
            self.close()
        return None

    def close(self) -> None:
        """Let threads spin again. Whatever held them has ended then: nothing is left to Python's end or a fork."""
        if self._parked is not None:
            leave, thread = self._parked
            self._parked = None
            leave.set()
            thread.join()

    def _park(self, count: int) -> None:
        """Hold as many of OpenMP's threads as make them more than there are cores, unless these are too many."""
        leave, ready, openmp = threading.Event(), threading.Event(), self._openmp
        number = max(2, count - self.threads + 2)
        if number > MOST:
            self._openmp = None  # Nor will they be fewer later.
            return

        def hold() -> None:
            assert openmp is not None
            openmp.GOMP_parallel(ctypes.CDLL(None).free, None, ctypes.c_uint(number), ctypes.c_uint(0))  # free(NULL).
            ready.set()
            leave.wait()

        thread = threading.Thread(target=hold, name="ganzoo-cores", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The machine has no more threads to give; training goes on without.
            self._openmp = None
            return
        self._parked = leave, thread  # Before anything is waited for: Ctrl-C there leaves nothing behind.
        ready.wait()


def _gomp() -> ctypes.CDLL | None:
    """GCC's OpenMP, if that is what torch has loaded."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
            if len(paths) == 1:
                library = ctypes.CDLL(paths.pop())
                library.GOMP_parallel  # noqa: B018  Whether it has it.
                return library
    return None


def _used() -> tuple[float, float, float] | None:
    """The time, seconds that all processes worked on this one's cores, and that this one did; None: nobody tells."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, ValueError, IndexError):
        mine, ticks = {f"cpu{i}" for i in os.sched_getaffinity(0)}, 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *numbers = line.split()
            if name in mine:
                user, nice, system, _idle, _waiting, hard, soft = map(int, numbers[:7])
                ticks += user + nice + system + hard + soft
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()
    return None


_START = _used()
"""As it was when this module was loaded."""
