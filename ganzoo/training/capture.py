"""Whole steps recorded and replayed: what a step launches is fixed, so Python need not launch it again every time."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import NotRecorded
from ganzoo.optim import SGD, Adam, RMSprop
from ganzoo.training.engine import random_state, set_random_state
from ganzoo.training.trainer import Settings, Trainer

GROUP = 10
"""Steps in one recording: enough that starting it costs nothing, few enough that logging need not wait."""
ON_DEVICE = {"lr", "momentum", "weight"}
"""Settings that kernels can read from the device, so that schedules go on; others are fixed in the recording."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function, perhaps several times, and gives what does the same work again without Python."""


class Recorded:
    """A trainer's steps, recorded in groups and one by one, for the last steps before something is due.

    A recording reads what changes from step to step (which images, which learning rate, the weight of the average)
    from tensors that are filled before each replay. Latents, labels and dropout are drawn anew by each replay, as
    torch's generators take part in it.
    """

    def __init__(self, trainer: Trainer, record: Record, sizes: Sequence[int] = (GROUP, 1)):
        """Record. The trainer's weights have moved afterwards: take a `Snapshot` before, and restore it.

        Raises:
            NotRecorded: a schedule that recordings cannot follow, or what `record` refuses.
            RuntimeError: what the device's capture does not allow.
        """
        self.trainer = trainer
        self.names: list[str] = []
        now = trainer.settings()
        self._keys = [
            (who, name)
            for who, values in now.items()
            for name in values
            if name in ON_DEVICE and not _constant(trainer.rules.get(who), name)
        ]
        self._fixed = {
            (who, name): value for who, values in now.items() for name, value in values.items()
            if (who, name) not in self._keys
        }  # fmt: skip
        if changed := self._changed(trainer.settings(ahead=1000)):
            raise NotRecorded(f"{changed} follows a schedule, which is fixed in a recording")
        device, most = trainer.engine.device, max(sizes)
        # Fused kernels read a rate as float32 on a GPU, and as what it is on a CPU.
        kind = torch.float64 if device.type == "cpu" else torch.float32
        self._numbers = torch.zeros(most, len(self._keys), dtype=kind, device=device)
        example = trainer.next_parts()
        self._parts = [torch.stack([part] * most * trainer.n_critic) for part in example]
        self._fill([example] * most * trainer.n_critic, [now] * most)
        self._rows: dict[int, Tensor] = {}
        try:
            self._replay = {size: record(self._steps(size)) for size in sorted(sizes, reverse=True)}
        finally:
            for player, optimizer in trainer.optimizers.items():
                for group in optimizer.param_groups:  # The recording has its own; what a checkpoint holds is a number.
                    group.update(now[player])
                for parameter in trainer.parameters[player]:
                    parameter.grad = None

    def _steps(self, count: int) -> Callable[[], None]:
        """What is recorded: `count` steps that read from `_parts` and `_numbers` and leave their values in `_rows`."""
        trainer, n_critic = self.trainer, self.trainer.n_critic

        def take() -> None:
            rows = []
            for i in range(count):
                indices = range(i * n_critic, (i + 1) * n_critic)
                batches = (trainer.loader.batch(*(part[k] for part in self._parts)) for k in indices)
                values = trainer.play(batches, self._settings(i))
                self.names = list(values)
                rows.append(torch.stack([value.detach().float() for value in values.values()]))
            if count in self._rows:  # In place: where a replay writes is where `advance` reads.
                self._rows[count].copy_(torch.stack(rows))
            else:
                self._rows[count] = torch.stack(rows)

        return take

    def _settings(self, i: int) -> Settings:
        """The settings of the i-th step of a group, those that change as scalar tensors."""
        settings: dict[str, Any] = {who: dict(values) for who, values in self.trainer.settings().items()}
        for key, (who, name) in enumerate(self._keys):
            settings[who][name] = self._numbers[i, key]
        return settings

    def _fill(self, parts: Sequence[tuple[Tensor, ...]], settings: Sequence[Settings]) -> None:
        """Put in place what the next replay reads."""
        for kept, fresh in zip(self._parts, zip(*parts, strict=True), strict=True):
            torch.stack(fresh, out=kept[: len(parts)])
        numbers = torch.tensor(
            [[s[who][name] for who, name in self._keys] for s in settings], dtype=self._numbers.dtype
        )
        if self._numbers.is_cuda:
            numbers = numbers.pin_memory()
        self._numbers[: len(settings)].copy_(numbers, non_blocking=True)

    def advance(self, most: int) -> dict[str, Tensor]:
        """Replay the largest group of at most `most` steps; values (n,) of its n steps by name, on the device.

        Raises:
            NotRecorded: a setting that is fixed in the recording has changed.
        """
        trainer = self.trainer
        count = max(size for size in self._replay if size <= max(most, 1))
        settings = [trainer.settings(ahead) for ahead in range(count)]
        if changed := next(filter(None, map(self._changed, settings)), None):
            raise NotRecorded(f"{changed} has changed, and is fixed in the recording")
        parts = islice(iter(trainer.next_parts, None), count * trainer.n_critic)
        self._fill(list(parts), settings)
        self._replay[count]()
        trainer.step += count
        return dict(zip(self.names, self._rows[count].clone().unbind(1), strict=True))

    def _changed(self, settings: Settings) -> str:
        """The names of settings that the recording does not follow, and that are no longer what they were."""
        changed = [f"the {who}'s {name}" for (who, name), value in self._fixed.items() if settings[who][name] != value]
        return ", ".join(changed)


def _constant(rule: Any, name: str) -> bool:
    """Whether a setting is a plain number of a rule that has no other, and not every kernel reads a tensor instead."""
    return type(rule) in (Adam, RMSprop, SGD) and not callable(getattr(rule, name))


def cuda_graph(device: torch.device) -> Record:
    """A `Record` by CUDA graphs.

    What is recorded runs once before, on a stream of its own: libraries set themselves up, optimizers make their state.
    """

    def record(take: Callable[[], None]) -> Callable[[], None]:
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            take()
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
    """A trainer as it was, to be put back: all that a checkpoint holds, in place where a recording holds on to it."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.step = trainer.step
        self.random = random_state(trainer.engine.device)
        modules = [*trainer.gan.modules(), *trainer.ema.module.modules()]
        self.buffers = [(module._buffers, dict(module._buffers)) for module in modules]
        self.kept = {id(tensor): (tensor, tensor.detach().clone()) for tensor in _tensors(trainer)}
        self.optimizers = {
            name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in trainer.optimizers.items()
        }
        self.extra = [
            (module, copy.deepcopy(module.get_extra_state()))
            for module in trainer.gan.modules()
            if type(module).get_extra_state is not nn.Module.get_extra_state
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back. State of an optimizer that a recording made, and that was not there, becomes zero."""
        for buffers, kept in self.buffers:  # A step may have put others in their place.
            buffers.update(kept)
        for tensor, value in self.kept.values():
            tensor.copy_(value)
        for name, optimizer in self.trainer.optimizers.items():
            if self.trainer.recorded is None:
                optimizer.load_state_dict(copy.deepcopy(self.optimizers[name]))
            else:
                _fill_state(optimizer, self.optimizers[name]["state"])
        for module, state in self.extra:
            module.set_extra_state(copy.deepcopy(state))
        self.trainer.step = self.step
        set_random_state(self.random, self.trainer.engine.device)

    def moved(self) -> Mapping[str, float]:
        """How far each player's parameters are from where they were: Euclidean distance."""
        return {
            player: float(torch.stack([(p.detach() - self.kept[id(p)][1]).norm() for p in parameters]).norm())
            for player, parameters in self.trainer.parameters.items()
        }


def _tensors(trainer: Trainer) -> Iterator[Tensor]:
    """The tensors of the networks, the averaged generator's included."""
    for module in (trainer.gan, trainer.ema.module):
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
