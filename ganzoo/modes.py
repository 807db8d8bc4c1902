"""How steps are run: operator by operator, recorded as CUDA graphs, or compiled; and how that is chosen.

A fast mode is never taken on trust. It takes a few steps beside plain ones, from the same state, seeds and images; what
it moves and what it reports must be the same, and it must be the faster.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganzoo.capture import GROUP, Record, Recorded, Snapshot, cuda_graph
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.trainer import Trainer

Name = Literal["auto", "eager", "graph", "compile"]
TOLERANCE, MOVE_TOLERANCE = 1e-3, 0.05
"""A fast mode's values may differ from plain ones by 1e-3 (absolute, or of the value); its weights by a twentieth of
the way that they move in the probe. Fused kernels round differently, and Adam's first steps magnify it."""
UNCOUNTED = 3
"""Plain steps before those that are timed."""


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

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `run.json`."""
        return asdict(self)


def refuse(asked: Name, device: torch.device) -> None:
    """Say before anything is built that a mode cannot be had.

    Raises:
        UsageError: `graph` without a CUDA device.
    """
    if asked == "graph" and device.type != "cuda":
        raise UsageError(f"--engine graph needs a CUDA device, not {device}; use auto")


def settle(trainer: Trainer, asked: Name = "auto", record: Record | None = None) -> Mode:
    """Choose, and set the trainer to it. Training stands where it stood, down to the random numbers.

    `auto` takes graphs on a CUDA device, where they pass the probe and are faster, and plain steps elsewhere.
    `record` stands in for CUDA's graphs.

    Raises:
        UsageError: `graph` without a CUDA device.
        GanzooError: a mode asked for by name failed, or did not do what plain steps do.
    """
    device = trainer.engine.device
    if record is None:
        refuse(asked, device)
    begun = time.perf_counter()
    if asked == "eager":
        return Mode(asked, "eager", "asked for")
    if asked == "auto" and device.type != "cuda" and record is None:
        return Mode(asked, "eager", "graphs are CUDA's, and compiled steps are no faster here")
    name: Literal["graph", "compile"] = "compile" if asked == "compile" else "graph"
    make = _compile if asked == "compile" else lambda trainer: _record(trainer, record or cuda_graph(device))
    failure: str | None = None
    speedup: float | None = None
    undo: Callable[[], None] | None = None
    before = Snapshot(trainer)
    try:
        failure, speedup, undo = _probe(trainer, before, make)
    except GanzooError as error:
        failure = str(error)
    except Exception as error:  # Whatever torch, the driver or a compiler may say.
        failure = one_line(error)
    before.restore()
    trainer.feed(None)
    slower = asked == "auto" and speedup is not None and speedup <= 1
    refused = trainer.world.mean(torch.tensor([float(failure is not None or slower)])).item()
    if refused and failure is None and not slower:  # All processes take the same steps, or none does.
        failure = "it failed in another process"
    seconds = time.perf_counter() - begun
    if not refused:
        why = "equal to plain steps, and faster" if asked == "auto" else "asked for"
        return Mode(asked, name, why, seconds, speedup)
    if undo is not None:
        undo()
    if asked != "auto":
        raise GanzooError(f"--engine {asked}: {failure}; --engine eager always works")
    return Mode(asked, "eager", f"graph: {failure}" if failure else "graphs are no faster here", seconds, speedup)


def _probe(
    trainer: Trainer, before: Snapshot, make: Callable[[Trainer], Callable[[], None]]
) -> tuple[str | None, float, Callable[[], None]]:
    """Plain and fast steps from one state: what is wrong, if anything; how many times as fast; how to undo it."""
    parts = trainer.next_parts()
    trainer.feed(repeat(parts))  # The same images for both, and no waiting for them.
    for _ in range(UNCOUNTED):
        trainer.advance()
    before.restore()
    plain = _take(trainer, before)
    before.restore()
    undo = _made(trainer, make)
    try:
        before.restore()
        if trainer.recorded is None:  # Compiled on the first use.
            trainer.advance()
            before.restore()
        fast = _take(trainer, before)
    except BaseException:
        undo()
        raise
    return _difference(plain, fast), plain.seconds / fast.seconds, undo


def _made(trainer: Trainer, make: Callable[[Trainer], Callable[[], None]]) -> Callable[[], None]:
    """`make` it, in every process or in none: steps of some would wait for the others' gradients for ever."""
    failure: Exception | None = None
    undo: Callable[[], None] | None = None
    try:
        undo = make(trainer)
    except Exception as error:
        failure = error
    failed = trainer.world.mean(torch.tensor([float(failure is not None)])).item()
    if failed or undo is None:
        if undo is not None:
            undo()
        raise failure or GanzooError("it failed in another process")
    return undo


@dataclass
class _Taken:
    """What some steps did."""

    values: dict[str, Tensor]
    """(steps,) by name."""
    parameters: dict[str, list[Tensor]]
    moved: dict[str, float]
    seconds: float


def _take(trainer: Trainer, before: Snapshot) -> _Taken:
    trainer.engine.synchronize()
    begun, until = time.perf_counter(), trainer.step + GROUP
    rows = []
    while trainer.step < until:
        rows.append({name: value.detach().float().reshape(-1) for name, value in trainer.advance(GROUP).items()})
    trainer.engine.synchronize()
    seconds = time.perf_counter() - begun
    values = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0]}
    parameters = {name: [p.detach().clone() for p in ps] for name, ps in trainer.parameters.items()}
    return _Taken(values, parameters, dict(before.moved()), seconds)


def _difference(plain: _Taken, fast: _Taken) -> str | None:
    """What of the fast steps is not as the plain ones have it."""
    if plain.values.keys() != fast.values.keys():
        return f"it reports {', '.join(fast.values)}, and plain steps {', '.join(plain.values)}"
    for player, distance in fast.moved.items():
        if not distance > 0 and plain.moved[player] > 0:
            return f"the {player} does not move"
        apart = torch.stack(
            [(a - b).norm() for a, b in zip(plain.parameters[player], fast.parameters[player], strict=True)]
        ).norm()
        if not apart <= MOVE_TOLERANCE * plain.moved[player] + 1e-12:
            share = float(apart) / max(plain.moved[player], 1e-12)
            return f"the {player} ends {share:.0%} of its way from where plain steps take it"
    for name, value in plain.values.items():
        if not torch.allclose(value, fast.values[name], rtol=TOLERANCE, atol=TOLERANCE):
            return f"{name} is {_list(fast.values[name])}, and with plain steps {_list(value)}"
    return None


def _list(values: Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in values[:3].tolist())


def _record(trainer: Trainer, record: Record) -> Callable[[], None]:
    trainer.recorded = Recorded(trainer, record)

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
