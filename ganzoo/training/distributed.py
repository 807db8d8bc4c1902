"""Several processes, one run: torch.distributed behind a few verbs. In a run of one process, each does nothing.

Gradients travel by nccl between GPUs and by gloo between CPUs; whatever the processes say to each other besides goes
through gloo, so that no device is waited for.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.training.signals import HANGUP, Stopped

T = TypeVar("T")

SILENCE = 300.0
"""Seconds without an answer after which a process is given up; `GANZOO_TIMEOUT` sets another number."""
PATIENCE = 2 * 3600.0
"""The same where the first process works alone: it reads data, evaluates, writes. Its death shows at once."""
CLOSING = 5.0
"""How long a process that ends because of an error waits for the first to close the run."""
CLOSING_SECONDS = 600
"""How long processes that were told to end may save and close before they are killed, where torch lets us say so."""
KEPT = "what it saved is kept: `ganzoo resume` goes on from its last checkpoint, where it has one"
"""What is left of the work of processes of which one ends, in words."""
AGREE_SECONDS = 0.5
"""Between agreements on time and signals, about."""


class World:
    """The processes of a run, and which of them this is. Made by `joined`; by itself, a run of one process."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, kept: str = KEPT):
        self.rank, self.size, self.local_rank, self.kept = rank, size, local_rank, kept
        self.silence = SILENCE
        self._group: Any = None
        self._parent = os.getppid()
        self._due, self._last, self._elapsed = 0, (0, time.perf_counter()), 0.0

    # Devices, weights and gradients

    @property
    def group(self) -> Any:
        """The processes as torch knows them where the tensors are; None: those of the whole run, over gloo."""
        return self._group

    def device(self, name: str) -> str:
        """The device of this process, where the run was told `name`: each takes the GPU of its number.

        Raises:
            UsageError: one device was named for several processes.
        """
        if self.size == 1:
            return name
        if name == "auto":
            return f"cuda:{self.local_rank}" if torch.cuda.is_available() else "cpu"
        if ":" in name or name == "mps":
            raise UsageError(f"--device {name} is one device, and this run has {self.size} processes: name cuda or cpu")
        return f"cuda:{self.local_rank}" if name == "cuda" else name

    def use(self, device: torch.device) -> None:
        """Say where the tensors will be that `average` and `broadcast` get."""
        if self.size > 1 and device.type == "cuda":
            torch.cuda.set_device(device)
            self._group = dist.new_group(backend="nccl", timeout=timedelta(seconds=self.silence))

    def broadcast(self, module: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.size > 1:
            with self._talk():
                for tensor in [*module.parameters(), *module.buffers()]:
                    dist.broadcast(tensor.detach(), 0, group=self._group)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes: one flattened all-reduce."""
        if self.size > 1:
            self._average([p.grad for p in parameters if p.grad is not None])

    def average_buffers(self, module: nn.Module) -> None:
        """The same for what the networks count in float buffers: the statistics of BatchNorm.

        After every step, so that all processes hold the same model at every moment it may be looked at or saved. What
        no checkpoint holds is the same in all: low-pass filters, or VGG's weights, which are 80 MB.
        """
        if self.size > 1:
            parts = ((part, part._non_persistent_buffers_set) for part in module.modules())
            counted = [b for part, aside in parts for name, b in part._buffers.items() if name not in aside]
            self._average([b for b in counted if b is not None and b.is_floating_point()])

    def _average(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        with self._talk():
            dist.all_reduce(flat, group=self._group)
        parts = flat.div_(self.size).split([t.numel() for t in tensors])
        torch._foreach_copy_([t.detach() for t in tensors], [p.view_as(t) for p, t in zip(parts, tensors, strict=True)])

    # What the processes say to each other

    def mean(self, rows: Tensor) -> Tensor:
        """The mean over the processes of a CPU tensor that has the same shape in each."""
        if self.size == 1 or not rows.numel():
            return rows
        total = rows.clone()
        with self._talk():
            dist.all_reduce(total)
        return total.div_(self.size)

    def agree(self, step: int, elapsed: float, heard: int | None, enough: bool) -> tuple[float, int | None, bool]:
        """The first process's clock, the signal that any process heard, and whether any has `enough`: the same answer
        for all at one step.

        Alone, what was given. Together they speak every half a second or so; in between, the clock stands still. A
        process whose launcher is gone behaves as if it had been told to stop.
        """
        if self.size == 1:
            return elapsed, heard, enough
        if step < self._due:
            return self._elapsed, None, False
        if os.getppid() != self._parent:
            heard = heard or signal.SIGTERM
        now = time.perf_counter()
        pace = (step - self._last[0]) / max(now - self._last[1], 1e-9)
        ahead = min(max(1, int(AGREE_SECONDS * pace)), 100) if self._due else 1
        self._last = step, now
        first = self.rank == 0
        told = [heard or 0, elapsed if first else 0.0, ahead if first else 0, enough]
        said = torch.tensor(told, dtype=torch.float64)
        with self._talk():
            dist.all_reduce(said, dist.ReduceOp.MAX)
        signalled, self._elapsed, self._due = int(said[0]), float(said[1]), step + int(said[2])
        return self._elapsed, signalled or None, bool(said[3])

    def on_first(self, work: Callable[[], T]) -> T:
        """Do something in the first process alone; every process gets what it returned."""
        if self.size == 1:
            return work()
        result: list[Any] = [work() if self.rank == 0 else None]
        self._wait(PATIENCE)
        with self._talk():
            dist.broadcast_object_list(result, 0)
        answer: T = result[0]
        return answer

    def first_before_others(self, work: Callable[[], T]) -> T:
        """Do something in every process, but first in the first: it downloads, the others find the file there."""
        if self.size == 1:
            return work()
        if self.rank == 0:
            answer = work()
            self._wait(PATIENCE)
            return answer
        self._wait(PATIENCE)
        return work()

    def others(self, value: T) -> list[T]:
        """In the first process: the values that the others gave, in order. In the others: nothing."""
        if self.size == 1:
            return []
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        with self._talk():
            dist.gather_object(value, values, 0)
        return values[1:] if values else []

    def in_turn(self, share: Iterable[T]) -> Iterator[T]:
        """In the first process: what all give, in the order in which one would: a thing of each in turn, the first's
        first. In the others: nothing, once they have given theirs, which are every `size`-th from their rank on.
        """
        if self.size == 1:
            yield from share
            return
        mine, left = iter(share), True
        while left:
            given = list(islice(mine, 1))
            self._wait(PATIENCE)
            all_gave = torch.tensor(len(given))
            with self._talk():
                dist.all_reduce(all_gave, dist.ReduceOp.MIN)
            left = bool(all_gave)
            for part in (given, *self.others(given)):
                if not self.rank:
                    yield from part

    def own_seed(self, seed: int, step: int) -> int:
        """The seed from which this process draws after `step`, when no state of its generators was kept."""
        return ((seed * 1_000_003 + step) * 1_000_003 + self.rank) % 2**63

    def _wait(self, seconds: float) -> None:
        with self._talk(seconds):
            dist.monitored_barrier(timeout=timedelta(seconds=seconds))

    @contextmanager
    def _talk(self, seconds: float | None = None) -> Iterator[None]:
        """Whatever goes wrong between processes, in one line."""
        try:
            yield
        except RuntimeError as error:
            text = str(error).lower()
            late = "timed out" in text or "timeout" in text
            limit = self.silence if seconds is None else seconds
            what = f"did not answer within {limit:g} seconds" if late else "has ended"
            raise GanzooError(f"another of the {self.size} processes {what}; all stop, and {self.kept}") from error


ALONE = World()
"""A run of one process."""


def is_worker() -> bool:
    """Whether a launcher (torchrun, `--nproc`) started this process as one of several."""
    return all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def restarted() -> bool:
    """Whether a launcher started this process anew, after one had died."""
    return is_worker() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


@contextmanager
def joined(kept: str = KEPT) -> Iterator[World]:
    """Meet the other processes that the launcher started, if there are any; part from them at the end.

    `kept` says what is left when one of them does not come to its end.
    When a process fails, it says why and ends; the others notice and end with the same exit code, saying nothing. An
    exception that is `together` is no failure: all raise it at the same step.

    Raises:
        UsageError: the launcher's environment variables make no sense.
        GanzooError: the others cannot be reached.
    """
    if not is_worker() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    world, store = _meet(kept)
    try:
        yield world
        world._wait(PATIENCE)  # The launcher ends all when one has ended: let the first write to the end.
    except Exception as error:
        if getattr(error, "together", False):
            world._wait(PATIENCE)
            raise
        told = f"{world.rank} {getattr(error, 'exit_code', 1)}"
        with suppress(RuntimeError):  # The store dies with the process that keeps it.
            told = store.compare_set("end", "", told).decode()
            _part()
            # The launcher ends all when one has ended: let the first close its files, if it lives.
            if world.rank:
                store.wait(["closed"], timedelta(seconds=CLOSING))
            else:
                store.set("closed", "")
        rank, code = map(int, told.split())
        if rank != world.rank:
            raise SystemExit(code) from error
        raise
    except KeyboardInterrupt as error:
        if world.rank:  # Ctrl-C in a terminal reaches all of them: the first tells it.
            raise SystemExit(128 + signal.SIGINT) from error
        raise
    finally:
        _part()


def _part() -> None:
    """Leave: those who wait for this process notice."""
    with suppress(RuntimeError):
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet(kept: str) -> tuple[World, Any]:
    # What its functions have as a default is the group of the moment in which they are first imported. Later, that were
    # ours, which then outlived `_part`; and a thread of gloo's that lets go of a tensor while Python ends aborts it.
    import torch.distributed.nn.functional  # noqa: F401
    from torch.distributed.rendezvous import rendezvous

    try:
        silence = float(os.environ.get("GANZOO_TIMEOUT") or SILENCE)
        if not 1 <= silence <= 86400:
            raise ValueError
    except ValueError:
        raise UsageError("GANZOO_TIMEOUT must be a number of seconds, 1 to 86400") from None
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(seconds=silence))))
        world = World(rank, size, int(os.environ.get("LOCAL_RANK", rank)), kept)
        world.silence = silence
        # The launcher's store outlives a restart, and with it what the dead said of themselves.
        store = dist.PrefixStore(f"ganzoo/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{size}", store)
        store.set(f"come/{rank}", "")
        _all_come(store, size, silence)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=silence))
    except (RuntimeError, ValueError) as error:
        raise GanzooError(f"the processes of this run cannot meet: {one_line(error)[:200]}") from error
    return world, store


def _all_come(store: Any, size: int, seconds: float) -> None:
    """Wait for all processes in Python, where a signal is heard: gloo would wait for a dead one, deaf, to the end.

    Raises:
        RuntimeError: they did not come.
    """
    late = time.monotonic() + seconds
    while not store.check([f"come/{rank}" for rank in range(size)]):
        if time.monotonic() > late:
            raise RuntimeError(f"not all {size} have come within {seconds:g} seconds")
        time.sleep(0.02)


def launch(count: int, arguments: Sequence[str], kept: str = KEPT) -> int:
    """Run `ganzoo ARGUMENTS` in `count` processes on this machine, and wait: the exit code. `kept` as for `joined`.

    Raises:
        GanzooError: a process was killed.
        Stopped: one was told to end where it does not train.
    """
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # The processes speak for themselves.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # Gloo has a line for each that fails.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        1, 1, count, run_id=f"ganzoo-{os.getpid()}", rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0
    )
    if hasattr(config, "shutdown_timeout"):  # The first process may take a while to save: torch grants 30 seconds.
        config.shutdown_timeout = CLOSING_SECONDS
    try:
        elastic_launch(config, sys.executable)("-m", "ganzoo", *arguments)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if -failure.exitcode in (signal.SIGINT, signal.SIGTERM, HANGUP):  # It listens while it trains.
            raise Stopped(-failure.exitcode, kept) from None
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise GanzooError(f"process {rank} of {count} was killed by {name}; {kept}") from None
        return int(failure.exitcode)
    return 0
