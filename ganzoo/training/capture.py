"""Whole steps recorded and replayed: what a step launches is fixed, so Python need not launch it again every time."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import NotRecorded, Unsteady
from ganzoo.optim import SGD, Adam, RMSprop
from ganzoo.training.engine import random_state, set_random_state
from ganzoo.training.state import PythonState
from ganzoo.training.tape import watch
from ganzoo.training.trainer import Settings, Trainer
from ganzoo.training.turns import Pattern

GROUP = 10
"""Steps in one recording: enough that starting it costs nothing, few enough that logging need not wait."""
ON_DEVICE = {"lr", "b2", "momentum", "weight"}
"""Settings that kernels can read from the device, so that schedules go on; others are fixed in the recording."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function, perhaps several times, and gives what does the same work again without Python."""


class Recorded:
    """A trainer's steps, recorded for each set of turns that are due together, in groups and one by one.

    A recording reads what changes from step to step (which images, which learning rate, the weight of the average,
    where training stands) from tensors that are filled before each replay. Latents, labels and dropout are drawn anew
    by each replay, as torch's generators take part in it.
    """

    def __init__(self, trainer: Trainer, record: Record, sizes: Sequence[int] = (GROUP, 1)):
        """Record. The trainer's weights have moved afterwards: take a `Snapshot` before, and restore it.

        Raises:
            NotRecorded: a schedule that recordings cannot follow, or what `record` refuses.
            RuntimeError: what the device's capture does not allow.
        """
        self.trainer = trainer
        self.names: dict[Pattern, list[str]] = {}
        now, schedule = trainer.settings(), trainer.schedule
        self._keys = [
            (who, name)
            for who, values in now.items()
            for name in values
            if name in ON_DEVICE and not _constant(trainer.rules.get(who), name)
        ]
        self._fixed = {
            (who, name): value for who, values in now.items() for name, value in values.items()
            if (who, name) not in self._keys and who != "clock"
        }  # fmt: skip
        if changed := self._changed(trainer.settings(ahead=1000)):
            raise NotRecorded(f"{changed} follows a schedule, which is fixed in a recording")
        device = trainer.engine.device
        # Groups are of steps that follow each other and are alike.
        self._sizes = {
            pattern: sorted({min(size, schedule.longest_run(pattern, size)) for size in sizes} | {1}, reverse=True)
            for pattern in schedule.moves
        }
        most = max(max(sizes) for sizes in self._sizes.values())
        # Fused kernels read a rate as float32 on a GPU, and as what it is on a CPU. Counts need every digit.
        kind = torch.float64 if device.type == "cpu" else torch.float32
        self._numbers = torch.zeros(most, len(self._keys), dtype=kind, device=device)
        self._clock = torch.zeros(most, len(now["clock"]), dtype=torch.float64, device=device)
        example = trainer.next_parts()
        self._parts = [torch.stack([part] * most * max(schedule.batches.values())) for part in example]
        self._fill([example] * len(self._parts[0]), [now] * most)
        self._rows: dict[tuple[Pattern, int], Tensor] = {}
        self._replay: dict[tuple[Pattern, int], Callable[[], None]] = {}
        try:
            for pattern, counts in self._sizes.items():
                for count in counts:
                    self._replay[pattern, count] = record(self._steps(pattern, count))
        finally:
            for player, optimizer in trainer.optimizers.items():
                for group in optimizer.param_groups:  # The recording has its own; what a checkpoint holds is a number.
                    group.update(now[player])
                for parameter in trainer.parameters[player]:
                    parameter.grad = None

    def _steps(self, pattern: Pattern, count: int) -> Callable[[], None]:
        """What is recorded: `count` steps that read from `_parts` and `_numbers` and leave their values in `_rows`."""
        trainer, batches = self.trainer, self.trainer.schedule.batches[pattern]

        def take() -> None:
            rows = []
            for i in range(count):
                indices = range(i * batches, (i + 1) * batches)
                reals = (trainer.loader.batch(*(part[k] for part in self._parts)) for k in indices)
                values = trainer.play(pattern, reals, self._settings(i))
                self._name(pattern, list(values))
                rows.append(torch.stack([value.detach().float() for value in values.values()]))
            kept = self._rows.get((pattern, count))
            if kept is None:
                self._rows[pattern, count] = torch.stack(rows)
            else:  # In place: where a replay writes is where `advance` reads.
                kept.copy_(torch.stack(rows))

        return take

    def _name(self, pattern: Pattern, names: list[str]) -> None:
        """Take down what steps of a pattern tell.

        Raises:
            Unsteady: it is not what they told before.
        """
        known = self.names.setdefault(pattern, names)
        if known != names:
            other = next(iter(set(known) ^ set(names)), "the order")
            raise Unsteady(f"the terms of a loss are not the same in every step: {other} is in some")

    def _settings(self, i: int) -> Settings:
        """The settings of the i-th step of a group, those that change as scalar tensors."""
        settings: dict[str, Any] = {who: dict(values) for who, values in self.trainer.settings().items()}
        for key, (who, name) in enumerate(self._keys):
            settings[who][name] = self._numbers[i, key]
        settings["clock"] = {name: self._clock[i, key] for key, name in enumerate(settings["clock"])}
        return settings

    def _fill(self, parts: Sequence[tuple[Tensor, ...]], settings: Sequence[Settings]) -> None:
        """Put in place what the next replay reads."""
        for kept, fresh in zip(self._parts, zip(*parts, strict=True), strict=True):
            torch.stack(fresh, out=kept[: len(parts)])
        rows = [[s[who][name] for who, name in self._keys] for s in settings]
        for kept, values in ((self._numbers, rows), (self._clock, [list(s["clock"].values()) for s in settings])):
            numbers = torch.tensor(values, dtype=kept.dtype)
            if kept.is_cuda:
                numbers = numbers.pin_memory()
            kept[: len(settings)].copy_(numbers, non_blocking=True)

    def advance(self, most: int) -> dict[str, Tensor]:
        """Replay the largest group of at most `most` steps that are alike; values (n,) of its n steps by name.

        Raises:
            NotRecorded: a setting that is fixed in the recording has changed.
        """
        trainer, schedule = self.trainer, self.trainer.schedule
        pattern = schedule.pattern(trainer.step)
        sizes = self._sizes[pattern]
        alike = schedule.run(trainer.step, min(max(most, 1), sizes[0]))
        count = next(size for size in sizes if size <= alike)
        settings = [trainer.settings(ahead) for ahead in range(count)]
        if changed := next(filter(None, map(self._changed, settings)), None):
            raise NotRecorded(f"{changed} has changed, and is fixed in the recording")
        parts = islice(iter(trainer.next_parts, None), count * schedule.batches[pattern])
        self._fill(list(parts), settings)
        self._replay[pattern, count]()
        trainer.step += count
        return dict(zip(self.names[pattern], self._rows[pattern, count].clone().unbind(1), strict=True))

    def _changed(self, settings: Settings) -> str:
        """The names of settings that the recording does not follow, and that are no longer what they were."""
        changed = [f"the {who}'s {name}" for (who, name), value in self._fixed.items() if settings[who][name] != value]
        return ", ".join(changed)


def _constant(rule: Any, name: str) -> bool:
    """Whether a setting is a plain number of a rule that has no other, and not every kernel reads a tensor instead."""
    return type(rule) in (Adam, RMSprop, SGD) and not callable(getattr(rule, name))


def cuda_graph(device: torch.device) -> Record:
    """A `Record` by CUDA graphs.

    What is recorded runs three times before, on a stream of its own: libraries set themselves up, optimizers make their
    state, and two runs are held against each other on a tape, which finds what a graph would freeze.
    """

    def record(take: Callable[[], None]) -> Callable[[], None]:
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            take()
            watch(take, talking=True)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads (pinning memory, writing events) may go on meanwhile.
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"):
                take()
        except RuntimeError:
            _leave_capture(device)
            raise
        return graph.replay

    return record


def _leave_capture(device: torch.device) -> None:
    """After a capture that failed, torch's generator believes that it goes on, until another one ends well."""
    torch.cuda.synchronize(device)
    with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=torch.cuda.Stream(device)):
        torch.zeros(1, device=device)


class Snapshot:
    """A trainer as it was, to be put back: all that a checkpoint holds, in place where a recording holds on to it, and
    whatever a step can touch in Python."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.step = trainer.step
        self.random = random_state(trainer.engine.device)
        modules = [*trainer.gan.modules(), *(m for module in trainer.ema.modules.values() for m in module.modules())]
        self.places: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (held, dict(held)) for module in modules for held in (module._parameters, module._buffers)
        ]
        self.kept = {id(tensor): (tensor, tensor.detach().clone()) for tensor in _tensors(trainer)}
        self.optimizers = {
            name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in trainer.optimizers.items()
        }
        self.numbers = {
            name: {key: value for key, value in vars(optimizer).items() if isinstance(value, int | float)}
            for name, optimizer in trainer.optimizers.items()
        }
        self.python = PythonState(roots(trainer))

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back. State of an optimizer that a recording made, and that was not there, becomes zero."""
        for held, kept in self.places:  # A step may have put others in their place.
            if any(held[name] is not tensor for name, tensor in kept.items()):
                held.update(kept)
        for tensor, value in self.kept.values():
            tensor.copy_(value)
        for name, optimizer in self.trainer.optimizers.items():
            if self.trainer.recorded is None:
                optimizer.load_state_dict(copy.deepcopy(self.optimizers[name]))
            else:
                _fill_state(optimizer, self.optimizers[name]["state"])
            vars(optimizer).update(self.numbers[name])
        self.python.restore()
        self.trainer.step = self.step
        set_random_state(self.random, self.trainer.engine.device)

    def moved(self) -> Mapping[str, float]:
        """How far each player's parameters are from where they were: Euclidean distance."""
        return {
            player: float(torch.stack([(p.detach() - self.kept[id(p)][1]).norm() for p in parameters]).norm())
            for player, parameters in self.trainer.parameters.items()
        }


def roots(trainer: Trainer) -> dict[str, Any]:
    """Where to begin to look for what a step can touch in Python."""
    rules = {f"the {name}'s update rule": rule for name, rule in trainer.rules.items()}
    return {"self": trainer.gan, **rules, **{f"the turn {t.name}": t.loss for t in trainer.schedule.turns}}


def moving(trainer: Trainer) -> str | None:
    """The way to what changes in Python from step to step, if anything does: a recording would hold it still.

    Every set of turns is taken once before, for what is made at its first use. Training has gone on afterwards: take a
    `Snapshot` before, and restore it.
    """
    begun, patterns = trainer.step, list(trainer.schedule.moves)

    def take(pattern: Pattern) -> None:
        trainer.step = trainer.schedule.step_with(pattern, begun)
        trainer.advance()

    for pattern in patterns:
        take(pattern)
    before, numbers = PythonState(roots(trainer)), counted(trainer)
    for pattern in patterns * 2:
        take(pattern)
        if way := before.moved(PythonState(roots(trainer))) or _another(numbers, counted(trainer)):
            return way
    return None


def counted(trainer: Trainer) -> dict[str, int | float]:
    """By where they are, the numbers that optimizers keep in Python, but for those that each step gives them."""
    found: dict[str, int | float] = {}
    for player, optimizer in trainer.optimizers.items():
        given = trainer.settings()[player]
        for i, held in enumerate((vars(optimizer), *optimizer.param_groups, *optimizer.state.values())):
            found |= {
                f"'{key}' of the {player}'s optimizer, place {i}": value
                for key, value in held.items()
                if isinstance(value, int | float) and key not in given
            }
    return found


def _another(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """The first place at which there is another number."""
    found = next((name for name in after if before.get(name) != after[name]), None)
    return found and found.rpartition(",")[0]


def _tensors(trainer: Trainer) -> Iterator[Tensor]:
    """The tensors of the networks, the averaged ones included."""
    for module in (trainer.gan, *trainer.ema.modules.values()):
        yield from module.parameters()
        yield from module.buffers()


def _fill_state(optimizer: torch.optim.Optimizer, saved: Mapping[int, Mapping[str, Any]]) -> None:
    """Give an optimizer's tensors the values that its `state_dict` had; zero where it had none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                before = saved.get(index, {}).get(key)
                value.zero_() if before is None else value.copy_(before)
