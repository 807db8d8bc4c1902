"""One model on one kind of data, and the ways in which the conformance kit looks at it."""

import inspect
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ganzoo
from ganzoo.data import Batch, DataSpec, ImageSet, Loader, examples_of
from ganzoo.fields import validated
from ganzoo.gan import GAN, Turn
from ganzoo.ingredients import Augmentation, added
from ganzoo.training.building import build
from ganzoo.training.engine import choose, seed_everything
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Schedule, constant

BATCH = 8
IMAGES = 24
STEPS = 1000
"""The budget of a trainer."""
EXAMPLES = 5
"""Held-out samples that a model is asked to show."""
CLASSES = ("a", "b", "c")


class NotApplicable(Exception):
    """The rule has nothing to say about this model; the message says why."""


class Case:
    """One model on one kind of data, and the ways a rule looks at it."""

    def __init__(self, cls: type[GAN], spec: DataSpec, options: Mapping[str, Any]):
        self.cls, self.spec = cls, spec
        self.author: type[Any] = cls
        """The class that is checked."""
        self.options = validated(cls.Options, {"batch_size": BATCH, **options})
        self.images = made_up(spec)
        self.engine = choose("cpu")
        self._traced: Exception | None = None
        self._was_traced = False

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.spec.shape)) if self.spec.is_images else f"vectors of {self.spec.pixels}"
        condition = f"{self.spec.condition_size} conditions" if self.spec.conditional else "no labels"
        sources = ""
        if self.spec.source_shape is not None:
            kind = "its own source" if self.spec.paired else "unpaired sources"
            sources = f", {kind} {' x '.join(map(str, self.spec.source_shape))}"
        return f"{self.spec.name}: {shape}, {condition}{sources}"

    def gan(self, seed: int = 0) -> GAN:
        """A new model in training mode, all generators seeded before."""
        seed_everything(seed)
        return self.build().train()

    def build(self) -> GAN:
        """A new model, random numbers as they are."""
        return build(self.cls, self.spec, self.options)

    def trainer(self, gan: GAN | None = None, steps: int = 0) -> Trainer:
        """A trainer of `gan`, or of a new one, that has made some steps."""
        gan = self.gan() if gan is None else gan
        trainer = Trainer(gan, self._loader(gan), self.engine, steps=STEPS)
        for _ in range(steps):
            trainer.advance()
        return trainer

    def reals(self, gan: GAN) -> Iterator[Batch]:
        """Batches without end, as the trainer hands them to losses."""
        return (real if gan.sees_labels else real._replace(y=None) for real in self._loader(gan).batches())

    def real(self, gan: GAN) -> Batch:
        """The first of them."""
        return next(self.reals(gan))

    def examples(self, gan: GAN) -> Batch:
        """Held-out samples, as a run hands them to `pictures`."""
        return examples_of(gan.sourced(self.images), gan.data, EXAMPLES)

    def _loader(self, gan: GAN) -> Loader:
        images, size, device = self.cls.sourced(self.images), self.options.batch_size, self.engine.device
        return Loader(images, size, 0, device, sources=self.cls.translates, labelled=gan.labelled())

    def traced(self) -> Exception | None:
        """What stopped a step without values, if anything did. Traced once."""
        if not self._was_traced:
            self._traced, self._was_traced = trace(self), True
        return self._traced


def made_up(spec: DataSpec) -> ImageSet:
    """`IMAGES` random samples with every class in turn, or as `counts` has it, attributes within their ranges, and
    sources where there are some."""
    draw = torch.Generator().manual_seed(0)
    if spec.is_images:
        images = torch.randint(256, (IMAGES, *spec.shape), dtype=torch.uint8, generator=draw)
    else:
        images = torch.randn(IMAGES, *spec.shape, generator=draw)
    labels = torch.arange(IMAGES) % len(spec.classes) if spec.classes else None
    if spec.counts:
        labels = torch.arange(len(spec.classes)).repeat_interleave(torch.tensor(spec.counts))
    if spec.attributes:
        columns = [] if labels is None else [nn.functional.one_hot(labels, len(spec.classes)).float()]
        for a in spec.attributes:
            columns.append(a.low + (a.high - a.low) * torch.rand(IMAGES, 1, generator=draw))
        labels = torch.cat(columns, dim=1)
    sources, source_labels = None, None
    if spec.source_shape is not None:
        count = IMAGES if spec.paired else IMAGES + 3
        sources = torch.randint(256, (count, *spec.source_shape), dtype=torch.uint8, generator=draw)
        source_labels = torch.arange(count) % len(spec.classes) if spec.source_labels else None
    return ImageSet(images, labels, spec.classes, spec.attributes, sources, spec.paired, source_labels)


class Taken(NamedTuple):
    """A turn as it is about to be taken, and the batches that its loss gets."""

    turn: Turn
    real: Batch
    fake: Batch

    @property
    def player(self) -> str:
        """Who moves."""
        return self.turn.player

    @property
    def loss_name(self) -> str:
        """What the author calls its loss: `generator_loss`; of what has no name, the turn's."""
        name = str(getattr(self.turn.loss, "__name__", "<lambda>"))
        return f"the loss of turn '{self.turn.name}'" if name == "<lambda>" else name

    def loss(self) -> Mapping[str, Tensor]:
        """Its terms."""
        return self.turn.loss(self.real, self.fake)


def turns(gan: GAN, reals: Iterator[Batch], step: int = 0, schedule: Schedule | None = None) -> Iterable[Taken]:
    """The turns of a step one by one, as `Trainer.play` lays them out; in step 0 all of them are due.

    While one is looked at, gradients are recorded for its player alone.
    """
    schedule = schedule or Schedule(gan)
    for move in schedule.moves[schedule.pattern(step)]:
        if move.draws:
            real = next(reals)
        if move.draws or move.remakes:
            with torch.set_grad_enabled(move.graph):
                fake = gan.fake(real)
        gan.moving = move.turn.player
        with alone(gan, move.turn.player):
            yield Taken(move.turn, real, fake if move.attached else fake.detach())
        gan.moving = None


def steps_of_each_kind(gan: GAN) -> list[int]:
    """The first step of each set of turns that are due together."""
    schedule = Schedule(gan)
    return [schedule.step_with(pattern, 0) for pattern in schedule.moves]


def after(gan: GAN, player: str) -> None:
    """What the trainer lets a model, and its augmentations, do after a player's step."""
    said = gan.real_logits()
    if player == "discriminator":
        with torch.no_grad():
            gan.after_discriminator_step()
            if said is not None:
                for augmentation in added(gan.augmentations, Augmentation):
                    augmentation.after_discriminator_step(said)
                    augmentation.watched()


def alone(gan: GAN, player: str) -> AbstractContextManager[None]:
    """Inside, no gradient is recorded for the other players' parameters, as in `Trainer.alone`."""
    others = (module for name, module in gan.players().items() if name != player)
    return constant(p for module in others for p in module.parameters())


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """What is minimised."""
    return torch.stack(list(terms.values())).sum()


def named_parameters(gan: GAN) -> dict[str, dict[str, nn.Parameter]]:
    """Each player's parameters by name."""
    return {player: dict(module.named_parameters()) for player, module in gan.players().items()}


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that `state_dict` holds, as far as it is tensors."""
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """A copy of all tensors of the model, the clock's included, and of its averaged networks."""
    gan = trainer.gan
    found = weights(gan) | {name: buffer.clone() for name, buffer in gan.named_buffers()}
    for name, module in trainer.ema.modules.items():
        found |= {f"the averaged {name}'s {key}": value for key, value in weights(module).items()}
    return found


def difference(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensors are not equal, bit for bit."""
    for name in [*one, *(name for name in two if name not in one)]:
        if name not in one or name not in two or not _equal(one[name], two[name]):
            return name
    return None


def _equal(one: Tensor, two: Tensor) -> bool:
    """Bit for bit; and what is not a number in both is no difference."""
    if torch.equal(one, two):
        return True
    alike = one.shape == two.shape and one.dtype == two.dtype and one.is_floating_point()
    return alike and torch.allclose(one, two, rtol=0, atol=0, equal_nan=True)


def where(error: BaseException, cls: type[Any]) -> str:
    """The last line of the plugin that an error passed: `my_gan.py:41: x.item()`; empty when it passed none."""
    home = Path(inspect.getfile(cls))
    foreign = tuple(f"{Path(m.__file__).parent}{os.sep}" for m in (torch, ganzoo) if m.__file__)
    best, found = 0, ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith((*foreign, "<")):
            continue
        # A network may live in another file of the plugin, and a call go on into a library.
        rank = 2 if Path(frame.filename) == home else 1 if "site-packages" not in frame.filename else 0
        if rank and rank >= best:
            best, found = rank, f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}"
    return found


def at(error: BaseException, cls: type[Any]) -> str:
    """The same as the end of a sentence."""
    place = where(error, cls)
    return f" at {place}" if place else ""


class OnHost(RuntimeError):
    """Something passed between the host and the device."""


class _Watch(TorchFunctionMode):
    """Stops at the calls that bring a tensor to the host, or from it, and that a trace on fake tensors would let pass.

    A copy from the host is one that no captured step can make. A tensor that stays on the CPU is the rule `device`'s.
    """

    NAMES = frozenset({"cpu", "numpy", "tolist", "__array__"})
    MAKERS = frozenset({"tensor", "as_tensor", "asarray"})

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        targets = [a for a in (*args[1:2], (kwargs or {}).get("device")) if isinstance(a, str | torch.device)]
        to_cpu = any(torch.device(t).type == "cpu" for t in targets)
        moved = args[0] if args and name in ("to", "cuda", "type_as") else None
        if isinstance(moved, Tensor) and moved.device.type == "cpu":
            result = func(*args, **(kwargs or {}))
            if result.device.type != "cpu":
                raise OnHost(f".{name}() copies from the host")
            return result
        if name in self.NAMES or (name == "to" and to_cpu):
            raise OnHost(f".{name}()")
        if name in self.MAKERS and targets and not to_cpu and not _on_device(args[:1]):
            raise OnHost(f"torch.{name}() copies from the host")
        if name == "new_tensor" and not to_cpu:
            raise OnHost(".new_tensor() copies from the host")
        return func(*args, **(kwargs or {}))


def _on_device(values: Sequence[Any]) -> bool:
    return any(isinstance(v, Tensor) and v.device.type != "cpu" for v in values)


def trace(case: Case) -> Exception | None:
    """Take steps of each kind on tensors that have shapes, types and a device, but no values. What stops them is told.

    The device is neither the CPU nor there, so that a tensor made without `device=` shows as well.
    """
    gan = case.gan()
    real = case.real(gan)
    device = "meta"
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), _Watch():
            seen: dict[int, Tensor] = {}
            for module in gan.modules():
                for held in (module._parameters, module._buffers):
                    for name, tensor in held.items():
                        if tensor is not None:
                            held[name] = seen.setdefault(id(tensor), _hollow(tensor, device))  # type: ignore[assignment]
            real = Batch(*(None if t is None else _hollow(t, device) for t in real))  # type: ignore[arg-type]
            for step in steps_of_each_kind(gan):
                for taken in turns(gan, repeat(real), step):
                    taken.loss()
                    after(gan, taken.player)
    except Exception as error:
        return error
    return None


def _hollow(tensor: Tensor, device: str) -> Tensor:
    empty = torch.empty_like(tensor, device=device)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


class AllAlike(TorchDispatchMode):
    """Every sample draws the same: the rows of a draw are copies of its first, so a half draws what the whole does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if name == "randperm":
            return torch.arange(args[0], device=kwargs.get("device"))
        in_place = name.endswith("_")
        if sum(isinstance(a, Tensor) for a in args) > (in_place or name.endswith("_like")):
            raise NotApplicable(f"the step draws by {name}(), from a distribution of its own for each sample")
        row = func(*(_first(a) for a in args), **kwargs)
        if in_place:
            return args[0].copy_(row.clone().expand_as(args[0]))
        shape = next(a for a in args if isinstance(a, Tensor | Sequence))
        return row.expand(shape.shape if isinstance(shape, Tensor) else shape).clone()


def _first(argument: Any) -> Any:
    """The first row of a tensor, or of a shape."""
    if isinstance(argument, Tensor):
        return argument[:1] if argument.dim() else argument
    return [1, *argument[1:]] if isinstance(argument, Sequence) and argument else argument
