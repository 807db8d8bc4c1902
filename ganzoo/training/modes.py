"""How steps are run: operator by operator, recorded and replayed, or compiled; and how that is chosen.

A fast mode is never taken on trust. It takes a few steps beside plain ones, from the same state, seeds and images; what
it moves and what it reports must be the same, and it must be the faster.
"""

import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, cycle
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganzoo.data.loader import death_of_reader
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.training.capture import GROUP, Record, Recorded, Snapshot, cuda_graph, moving, roots
from ganzoo.training.state import PythonState
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Pattern

Name = Literal["auto", "eager", "graph", "compile"]
TOLERANCE, MOVE_TOLERANCE = 1e-3, 0.05
"""A fast mode's values may differ from plain ones by 1e-3 (absolute, or of the value); its weights by a twentieth of
the way that they move in the probe. Fused kernels round differently, and Adam's first steps magnify it."""
UNCOUNTED = 3
"""Plain steps before those that are timed."""
LONG = 0.15
"""Seconds of a step on a CPU that is not worth a probe of twenty more: recording gains a few thousandths of each."""


@dataclass(frozen=True)
class Mode:
    """What was chosen, and why."""

    asked: Name
    used: Literal["eager", "graph", "compile"]
    why: str
    setup_seconds: float = 0.0
    """Recording or compiling and comparing; not part of any speed."""
    speedup: float | None = None
    """Times as fast as plain steps in the probe; None: nothing was probed."""
    failed: bool = False
    """Whether a fast mode failed, or did not do what plain steps do."""

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `run.json`."""
        return asdict(self)


def refuse(asked: Name, device: torch.device, processes: int = 1) -> None:
    """Say before anything is built that a mode cannot be had.

    Raises:
        UsageError: `graph` on a device whose steps cannot be recorded, or in several processes on a CPU.
    """
    if asked == "graph" and device.type == "cpu" and processes > 1:
        raise UsageError("--engine graph: steps of several processes are not recorded on a CPU; use auto")
    if asked == "graph" and device.type not in ("cpu", "cuda"):
        raise UsageError(f"--engine graph needs a CUDA device or the CPU, not {device}; use auto")


FAILING = "plain steps fail"
"""Begins the reason of plain steps where training itself is at fault, and says so in its place."""


def settle(trainer: Trainer, asked: Name = "auto", record: Record | None = None) -> Mode:
    """Choose, and set the trainer to it. Training stands where it stood, down to the random numbers.

    `auto` takes recorded steps, on CUDA devices and on the CPU, where they pass the probe and are faster. On the CPU
    they must be equal bit for bit: what is faster may change from one session of a run to the next.
    `record` stands in for the device's way to record.

    Raises:
        UsageError: as `refuse`.
        GanzooError: a mode asked for by name failed, or did not do what plain steps do. Where plain steps fail, nothing
            else is tried: training is left to say why in its place.
    """
    device = trainer.engine.device
    if record is None:
        refuse(asked, device, trainer.world.size)
    if why := _plain_because(trainer, asked):
        return Mode(asked, "eager", why)
    if (loose := PythonState(roots(trainer)).unfollowable) and asked != "compile":
        # Not even probed: what cannot be put back would end elsewhere than plain steps.
        why = f"{loose}, so that a recording cannot follow it"
        if asked != "auto":
            raise GanzooError(f"--engine {asked}: {why}; --engine eager always works")
        return Mode(asked, "eager", f"graph: {why}", failed=True)
    begun = time.perf_counter()
    name: Literal["graph", "compile"] = "compile" if asked == "compile" else "graph"
    make = _compile if asked == "compile" else lambda trainer: _record(trainer, record or _recorder(device))
    limit = LONG if asked == "auto" and device.type == "cpu" else math.inf
    probe = _Probe(trainer, make, steady=name == "graph")
    try:
        why, failed, speedup = probe.verdict(limit, exact=name == "graph" and device.type == "cpu")
    finally:
        probe.close()
    if why is None and asked == "auto" and speedup <= 1:
        why = "recorded steps are no faster here"
    if agreed := probe.agreed(why):
        why, failed = agreed, failed or why is None
    seconds = time.perf_counter() - begun
    if why is None:
        equal = "equal to plain steps bit for bit" if device.type == "cpu" else "equal to plain steps"
        return Mode(asked, name, f"{equal}, and faster" if asked == "auto" else "asked for", seconds, speedup)
    probe.undo()
    probe.close()
    if failed and asked != "auto":
        raise GanzooError(f"--engine {asked}: {why}; --engine eager always works")
    return Mode(asked, "eager", f"graph: {why}" if failed else why, seconds, speedup or None, failed)


def _plain_because(trainer: Trainer, asked: Name) -> str | None:
    """Why there is nothing to probe."""
    if asked == "eager":
        return "asked for"
    kind = trainer.engine.device.type
    if asked == "auto" and kind not in ("cpu", "cuda"):
        return "steps are recorded on CUDA devices and on the CPU"
    if asked == "auto" and kind == "cpu" and trainer.world.size > 1:
        return "steps of several processes are not recorded on a CPU"
    return None


def _told(error: Exception) -> str:
    """What is said of steps that failed. The death of a process that reads images, which strikes anywhere, goes on."""
    if death_of_reader(error):
        raise error
    return one_line(error)


class _Probe:
    """Plain steps and fast ones of a trainer, from one state. At last it stands where it stood: see `close`."""

    def __init__(self, trainer: Trainer, make: Callable[[Trainer], Callable[[], None]], steady: bool):
        self.trainer, self.make, self.steady = trainer, make, steady
        self.undo: Callable[[], None] = lambda: None
        """Make steps plain again."""
        self._before = Snapshot(trainer)
        self._parts = [trainer.next_parts(), trainer.next_parts()]
        self._rest = trainer.feed(None)

    def verdict(self, limit: float, exact: bool) -> tuple[str | None, bool, float]:
        """Why fast steps may not be taken, or None; whether they failed; how many times as fast they are, or 0.

        Where a plain step takes more seconds than `limit`, or training itself fails, they are not tried.
        """
        plain: _Taken | None = None
        fast: _Taken | None = None
        why: str | None = None
        moved: str | None = None
        try:
            why = self._warm_up(limit)
            moved = None if why or not self.steady else self._moved()
            plain = None if why or moved else self._take()
        except Exception as error:  # Training will say so in its place.
            why = f"{FAILING}: {_told(error)}"
        if plain and not all(value.isfinite().all() for value in plain.values.values()):
            why = "plain steps report what is not finite"
        if (why := self.agreed(moved or why)) or plain is None:
            return why, bool(moved), 0.0
        try:
            self._rewind()
            self.undo = self.make(self.trainer)
        except Exception as error:  # Whatever torch, the driver or a compiler may say.
            why = _told(error)
        if why := self.agreed(why):
            return why, True, 0.0
        try:
            if self.trainer.recorded is None:  # Compiled on the first use.
                self._rewind()
                self.trainer.advance()
            fast = self._take()
            why = _difference(plain, fast, exact)
        except Exception as error:
            why = _told(error)
        return why, why is not None, plain.seconds / fast.seconds if fast else 0.0

    def agreed(self, why: str | None) -> str | None:
        """Stop in all processes or in none: one that goes on alone waits for the others' gradients for ever."""
        failed = self.trainer.world.mean(torch.tensor([float(why is not None)])).item()
        return why or ("it failed in another process" if failed else None)

    def _warm_up(self, limit: float) -> str | None:
        """Plain steps, until one takes longer, which is told. The first, in which libraries start, may take ten times
        as long: of a model of long steps it is the only one before training.
        """
        self._rewind()
        for i in range(UNCOUNTED):
            begun = time.perf_counter()
            self.trainer.advance()
            self.trainer.engine.synchronize()
            seconds = time.perf_counter() - begun
            if seconds > (limit if i else 10 * limit):
                return f"a step takes {seconds:.2g} s, hardly any of it outside of kernels"
        return None

    def _moved(self) -> str | None:
        """What changes in Python from step to step, if anything."""
        if way := moving(self.trainer):
            return (
                f"{way} changes from step to step in Python, where a recording would hold it still "
                "(Turn(every=...), self.clock or a buffer changed in place would go on)"
            )
        return None

    def _at(self, pattern: Pattern) -> None:
        """Let the next step be one of this pattern."""
        self.trainer.step = self.trainer.schedule.step_with(pattern, self._before.step)

    def _take(self) -> "_Taken":
        """Steps from the beginning, then one or two of each pattern that did not come up; and what they did."""
        self._rewind()
        trainer = self.trainer
        trainer.engine.synchronize()
        begun, until = time.perf_counter(), trainer.step + GROUP
        rows, each = [], []
        while trainer.step < until:
            began = time.perf_counter()
            rows.append({name: value.detach().float().reshape(-1) for name, value in trainer.advance(GROUP).items()})
            each.append(time.perf_counter() - began)
        trainer.engine.synchronize()
        # A GPU is told of steps ahead of time; on a CPU each has its own, and one that was disturbed does not count.
        seconds = (time.perf_counter() - begun) / GROUP
        if trainer.engine.device.type == "cpu" and len(each) == GROUP:
            seconds = statistics.median(each)
        taken = {trainer.schedule.pattern(step) for step in range(self._before.step, until)}
        for pattern in [p for p in trainer.schedule.moves if p not in taken] * 2:
            self._at(pattern)
            told = trainer.advance()
            rows.append({name: value.detach().float().reshape(-1) for name, value in told.items()})
        names = dict.fromkeys(name for row in rows for name in row)
        values = {name: torch.cat([row[name] for row in rows if name in row]).cpu() for name in names}
        parameters = {name: [p.detach().clone() for p in ps] for name, ps in trainer.parameters.items()}
        tensors = {
            f"{prefix}{name}": value.detach().clone()
            for prefix, module in [
                ("", trainer.gan),
                *((f"the averaged {n}'s ", m) for n, m in trainer.ema.modules.items()),
            ]
            for name, value in (*module.named_parameters(), *module.named_buffers())
        }
        return _Taken(values, parameters, tensors, dict(self._before.moved()), seconds)

    def _rewind(self) -> None:
        """To the beginning, with the same images for both, which change from step to step, and no waiting for them."""
        self._before.restore()
        self.trainer.feed(cycle(self._parts))

    def close(self) -> None:
        """Go on from where training stood, with the images that would have been next."""
        self._before.restore()
        self.trainer.feed(chain(self._parts, self._rest))


@dataclass
class _Taken:
    """What some steps did."""

    values: dict[str, Tensor]
    """(steps,) by name."""
    parameters: dict[str, list[Tensor]]
    """By player."""
    tensors: dict[str, Tensor]
    """Of both networks and the averaged generator, buffers included."""
    moved: dict[str, float]
    seconds: float
    """Of one step."""


def _difference(plain: _Taken, fast: _Taken, exact: bool) -> str | None:
    """What of the fast steps is not as the plain ones have it."""
    if plain.values.keys() != fast.values.keys():
        return f"it reports {', '.join(fast.values)}, and plain steps {', '.join(plain.values)}"
    for player, distance in fast.moved.items():
        if not distance > 0 and plain.moved[player] > 0:
            return f"the {player} does not move"
        pairs = list(zip(plain.parameters[player], fast.parameters[player], strict=True))
        apart = torch.stack([(a - b).norm() for a, b in pairs]).norm()
        if not apart <= MOVE_TOLERANCE * plain.moved[player] + 1e-12:
            share = float(apart) / max(plain.moved[player], 1e-12)
            return f"the {player} ends {share:.0%} of its way from where plain steps take it"
    for name, value in plain.tensors.items() if exact else ():
        if not torch.equal(value, fast.tensors[name]):
            return f"{name} is not bit for bit what plain steps make it"
    tolerance = 0.0 if exact else TOLERANCE
    for name, value in plain.values.items():
        if not torch.allclose(value, fast.values[name], rtol=tolerance, atol=tolerance):
            return f"{name} is {_list(fast.values[name])}, and with plain steps {_list(value)}"
    return None


def _list(values: Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in values[:3].tolist())


def _recorder(device: torch.device) -> Record:
    return on_tape if device.type == "cpu" else cuda_graph(device)


def _record(trainer: Trainer, record: Record) -> Callable[[], None]:
    # Replays on a CPU cost nothing to start, so that there is no need for groups.
    trainer.recorded = Recorded(trainer, record, (1,) if trainer.engine.device.type == "cpu" else (GROUP, 1))

    def undo() -> None:
        trainer.recorded = None

    return undo


def _compile(trainer: Trainer) -> Callable[[], None]:
    """Compile both networks' forward and backward passes, one each: whole steps with penalties cannot be.

    The backward of a backward, as gradient penalties take it, is refused by torch itself.
    """
    networks: list[nn.Module] = list(trainer.gan.players().values())
    for network in networks:
        network.forward = torch.compile(network.forward, dynamic=False)

    def undo() -> None:
        for network in networks:
            with suppress(AttributeError):
                del network.forward

    return undo
