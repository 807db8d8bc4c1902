"""The rules that a model keeps, each a small function of a `Case` that returns a complaint or None.

`RULES` lists them with what they say and how to mend what breaks them; `testing.py` runs them.
"""

import copy
import inspect
import io
import os
import random
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ganzoo
from ganzoo.data import Batch, DataSpec, ImageSet, Loader
from ganzoo.ema import with_generator
from ganzoo.engine import choose, seed_everything
from ganzoo.errors import UsageError, one_line
from ganzoo.gan import GAN
from ganzoo.launch import build
from ganzoo.nets import Dropout
from ganzoo.settings import resolve, validated
from ganzoo.trainer import Trainer

BATCH = 8
IMAGES = 24
CLASSES = ("a", "b", "c")

# What the rules work with


class NotApplicable(Exception):
    """The rule has nothing to say about this model; the message says why."""


class Case:
    """One model on one kind of data, and the ways a rule looks at it."""

    def __init__(self, cls: type[GAN], spec: DataSpec, options: Mapping[str, Any]):
        self.cls, self.spec = cls, spec
        self.options = validated(cls.Options, {"batch_size": BATCH, **options})
        self.images = made_up(spec)
        self.engine = choose("cpu")
        self._traced: Exception | None = None
        self._was_traced = False

    def __str__(self) -> str:
        c, h, w = self.spec.shape
        condition = f"{self.spec.condition_size} conditions" if self.spec.conditional else "no labels"
        return f"{self.spec.name}: {c} x {h} x {w}, {condition}"

    def gan(self, seed: int = 0) -> GAN:
        """A new model in training mode, all generators seeded before."""
        seed_everything(seed)
        return build(self.cls, self.spec, self.options).train()

    def trainer(self, gan: GAN | None = None, steps: int = 0) -> Trainer:
        """A trainer of `gan`, or of a new one, that has made some steps."""
        gan = self.gan() if gan is None else gan
        loader = Loader(self.images, self.options.batch_size, 0, self.engine.device)
        trainer = Trainer(gan, loader, self.engine, steps=1000)
        for _ in range(steps):
            trainer.advance()
        return trainer

    def real(self, gan: GAN) -> Batch:
        """The first batch, as the trainer hands it to a loss."""
        real = next(Loader(self.images, self.options.batch_size, 0, self.engine.device).batches())
        return real if gan.conditional else real._replace(y=None)

    def traced(self) -> Exception | None:
        """What stopped a step without values, if anything did. Traced once."""
        if not self._was_traced:
            self._traced, self._was_traced = trace(self), True
        return self._traced


def made_up(spec: DataSpec) -> ImageSet:
    """`IMAGES` random images with every class in turn and attributes within their ranges."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, *spec.shape), dtype=torch.uint8, generator=draw)
    labels = torch.arange(IMAGES) % len(spec.classes) if spec.classes else None
    if spec.attributes:
        columns = [] if labels is None else [nn.functional.one_hot(labels, len(spec.classes)).float()]
        for a in spec.attributes:
            columns.append(a.low + (a.high - a.low) * torch.rand(IMAGES, 1, generator=draw))
        labels = torch.cat(columns, dim=1)
    return ImageSet(images, labels, spec.classes, spec.attributes)


def turns(gan: GAN, real: Batch) -> Iterable[tuple[str, Callable[[], Mapping[str, Tensor]]]]:
    """Both turns of a step as the trainer takes them: the player's name, and its loss."""
    fake = gan.fake(real)
    yield "discriminator", lambda: gan.discriminator_loss(real, fake.detach())
    yield "generator", lambda: gan.generator_loss(real, fake)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """What is minimised."""
    return torch.stack(list(terms.values())).sum()


def named_parameters(gan: GAN) -> dict[str, dict[str, nn.Parameter]]:
    """Each player's parameters by name."""
    return {player: dict(module.named_parameters()) for player, module in gan.players().items()}


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that `state_dict` holds, as far as it is tensors."""
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def difference(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensors are not equal, bit for bit."""
    for name in [*one, *(name for name in two if name not in one)]:
        if name not in one or name not in two or not torch.equal(one[name], two[name]):
            return name
    return None


def where(error: BaseException, cls: type[GAN]) -> str:
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
    """Take a step on tensors that have shapes, types and a device, but no values. What stops it is the answer.

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
            for player, loss in turns(gan, real):
                loss()
                if player == "discriminator":
                    with torch.no_grad():
                        gan.after_discriminator_step()
    except Exception as error:
        return error
    return None


def _hollow(tensor: Tensor, device: str) -> Tensor:
    empty = torch.empty_like(tensor, device=device)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


# The rules


def explained(case: Case) -> str | None:
    """Name, paper, docstring, option texts, presets."""
    cls = case.cls
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and name == name.lower() and name.replace("-", "").isalnum()):
        return f"name is {name!r}, not lower-case words joined by '-'"
    if not (isinstance(getattr(cls, "paper", None), str) and cls.paper.strip()):
        return "paper is not stated"
    if not (cls.__dict__.get("__doc__") or "").strip():
        return f"class {cls.__name__} has no docstring, which `ganzoo info {name}` shows"
    for option, field in cls.Options.model_fields.items():
        if not field.description:
            return f"option '{option}' has no description"
    for preset in cls.presets:
        resolve(cls, {}, preset)
    return None


def builds(case: Case) -> str | None:
    """The model can be made, has both networks, and each parameter belongs to exactly one player."""
    try:
        gan = case.gan()
    except UsageError as error:
        if case.spec.classes and not case.spec.attributes:
            raise
        raise NotApplicable(f"the model refuses such data: {one_line(error)}") from error
    if case.spec.attributes and not gan.conditional:
        raise NotApplicable("the model is unconditional, and attributes are nothing to it")
    owners: dict[int, str] = {}
    for player, parameters in named_parameters(gan).items():
        if not parameters:
            return f"the {player} has no parameters"
        for name, parameter in parameters.items():
            if owners.setdefault(id(parameter), player) != player:
                return f"{name} belongs to the {owners[id(parameter)]} and to the {player}"
            if not parameter.requires_grad:
                return f"{name} of the {player} has requires_grad False: register it as a buffer"
    for name, parameter in gan.named_parameters():
        if id(parameter) not in owners:
            return f"{name} belongs to no player, so nothing would train it"
    return None


def samples(case: Case) -> str | None:
    """Fakes and showcase: shape, range, latents and conditions that fit."""
    gan = case.gan()
    real = case.real(gan)
    fake = gan.fake(real)
    n = len(real.x)
    if not isinstance(fake.z, Tensor) or len(fake.z) != n:
        return f"fake(real) gives no latent z with {n} rows"
    if (fake.y is None) != (real.y is None):
        return f"fakes have {'no ' if fake.y is None else ''}conditions, and real samples have {_some(real.y)}"
    if fake.y is not None and real.y is not None and (fake.y.shape, fake.y.dtype) != (real.y.shape, real.y.dtype):
        return f"conditions of fakes are {_of(fake.y)}, and those of real samples {_of(real.y)}"
    if not fake.x.requires_grad:
        return "fakes carry no gradient to the generator: something detached them"
    complaint = _not_images(fake.x, n, case)
    gan.eval()
    with torch.no_grad():
        one = gan.generate(fake.z[:1], None if fake.y is None else fake.y[:1])
        z, y, columns = gan.showcase()
        shown = gan.generate(z, y)
    if columns < 1:
        return f"showcase() asks for {columns} columns"
    return complaint or _not_images(one, 1, case) or _not_images(shown, len(z), case)


def _not_images(x: Tensor, n: int, case: Case) -> str | None:
    if tuple(x.shape) != (n, *case.spec.shape) or not x.is_floating_point():
        return f"samples are {_of(x)}, not float {(n, *case.spec.shape)}"
    if not x.isfinite().all():
        return "samples are not finite"
    low, high = x.aminmax()
    if low < -1 or high > 1:
        return f"samples run from {low:.3g} to {high:.3g}, beyond -1 to 1"
    return None


def _of(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def _some(y: Tensor | None) -> str:
    return "none" if y is None else "some"


def terms(case: Case) -> str | None:
    """What the losses return."""
    gan = case.gan()
    for player, loss in turns(gan, case.real(gan)):
        found = loss()
        if not isinstance(found, dict) or not found:
            return f"{player}_loss returns {type(found).__name__}, not a dict of named terms"
        for name, term in found.items():
            if not isinstance(term, Tensor) or term.dim() or not term.is_floating_point():
                kind = _of(term) if isinstance(term, Tensor) else type(term).__name__
                return f"term '{name}' of {player}_loss is {kind}, not a 0-dimensional float tensor"
            if not term.isfinite():
                return f"term '{name}' of {player}_loss is {term.item()}"
        if not total(found).requires_grad:
            return f"no term of {player}_loss depends on a parameter"
    return None


def one_moves(case: Case) -> str | None:
    """In each turn, the moving player's parameters change and no others do; in D's, the generator's buffers neither.

    Three steps are taken: a rate may start at zero, and a hinge is flat once the made-up images are told apart.
    """
    trainer = case.trainer()
    gan = trainer.gan
    moved: set[str] = set()
    for _ in range(3):
        for player, loss in turns(gan, case.real(gan)):
            before = {name: weights(module) for name, module in gan.players().items()}
            buffers = {name: buffer.clone() for name, buffer in gan.generator.named_buffers()}
            for parameter in gan.parameters():
                parameter.grad = None
            found = loss()
            if any(parameter.grad is not None for parameter in gan.parameters()):
                return f"{player}_loss computes gradients itself: the trainer does that"
            trainer.descend(player, dict(found))
            if player == "discriminator":
                with torch.no_grad():
                    gan.after_discriminator_step()
                if changed := difference(buffers, dict(gan.generator.named_buffers())):
                    return f"{changed} of the generator, a buffer, changes in the discriminator's turn"
            for name, parameters in named_parameters(gan).items():
                changed = difference({n: before[name][n] for n in parameters}, parameters)
                if changed and name != player:
                    return f"{changed} of the {name} changes in the {player}'s turn"
                if changed:
                    moved.add(player)
        trainer.step += 1
    for player in gan.players():
        if player not in moved:
            return f"the {player} does not move in its turn"
    return None


def gradients(case: Case) -> str | None:
    """Every parameter of the moving player is reached by its loss."""
    gan = case.gan()
    for player, loss in turns(gan, case.real(gan)):
        parameters = named_parameters(gan)[player]
        found = torch.autograd.grad(total(loss()), list(parameters.values()), allow_unused=True)
        missed = [name for name, gradient in zip(parameters, found, strict=True) if gradient is None]
        if missed:
            more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
            return f"{missed[0]}{more} of the {player} gets no gradient from {player}_loss"
        for name, gradient in zip(parameters, found, strict=True):
            if not gradient.isfinite().all():
                return f"the gradient of {name} of the {player} is not finite"
    return None


def seeded(case: Case) -> str | None:
    """Two models from one seed, and two steps of each."""
    one, two = case.gan(), case.gan()
    if name := difference(weights(one), weights(two)):
        return f"two models built from one seed differ in {name}"
    after = []
    for gan in (one, two):
        seed_everything(1)
        after.append(weights(case.trainer(gan, steps=2).gan))
    if name := difference(*after):
        return f"two trainings from one seed differ in {name}"
    return None


def round_trips(case: Case) -> str | None:
    """A model loaded from another's `state_dict` steps as the other does, though it was built from another seed."""
    one, two = case.gan(seed=0), case.gan(seed=1)
    two.load_state_dict(one.state_dict())
    after = []
    for gan in (one, two):
        seed_everything(2)
        after.append(weights(case.trainer(gan, steps=2).gan))
    if name := difference(*after):
        return f"after load_state_dict(state_dict()), the next steps differ in {name}"
    return None


def resumes(case: Case) -> str | None:
    """A training that is saved, rebuilt and continued ends where one that goes on ends."""

    def end(trainer: Trainer) -> dict[str, Tensor]:
        for _ in range(2):
            trainer.advance()
        return weights(trainer.gan) | {f"averaged {n}": v for n, v in trainer.ema.module.state_dict().items()}

    first = case.trainer(steps=2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    straight = end(first)
    second = case.trainer()
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    if name := difference(straight, end(second)):
        return f"two steps after a resume, {name} is not what it is without"
    return None


def averaged(case: Case) -> str | None:
    """`generate` uses whichever generator the model holds."""
    gan = case.gan().eval()
    blank = copy.deepcopy(gan.generator)
    with torch.no_grad():
        for parameter in blank.parameters():
            parameter.zero_()
        z, y = gan.sample_latent(2), gan.sample_labels(2)
        images = []
        for view in (gan, with_generator(gan, blank)):
            seed_everything(0)
            images.append(view.generate(z, y))
    if torch.equal(*images):
        return "generate() draws the same when self.generator is another network"
    return None


def conditioned(case: Case) -> str | None:
    """Both players heed the condition, now or after a few steps: some start from a condition without weight."""
    trainer = case.trainer()
    gan = trainer.gan
    if not gan.conditional:
        raise NotApplicable("the model is unconditional")
    real = case.real(gan)
    assert real.y is not None
    other = real.y.roll(1, 0)
    z = gan.sample_latent(len(real.x))

    def drawn(y: Tensor | None) -> Tensor:
        seed_everything(0)
        return gan.generate(z, y).detach()

    def judged(x: Tensor, y: Tensor | None) -> Tensor:
        seed_everything(0)
        return total(gan.discriminator_loss(real._replace(y=y), Batch(x, y, z))).detach()

    deaf = {"the generator draws": True, "the discriminator's loss is": True}
    for _ in range(4):
        gan.eval()
        x = drawn(real.y)
        deaf["the generator draws"] &= torch.equal(x, drawn(other))
        deaf["the discriminator's loss is"] &= torch.equal(judged(x, real.y), judged(x, other))
        if not any(deaf.values()):
            return None
        gan.train()
        trainer.advance()
    who = next(player for player, always in deaf.items() if always)
    return f"{who} the same whatever the condition"


class _AllAlike(TorchDispatchMode):
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


def halves(case: Case) -> str | None:
    """The gradient of a batch is the mean of its halves' gradients.

    In training, as it is there that a batch's statistics are taken; but for the batch normalisation that the trainer
    knows of, and for dropout. Each gradient is that of a model as it was built, so that nothing carries over.
    """
    first = case.gan()
    if any(getattr(module, "batch_statistics", False) for module in first.modules()):
        raise NotApplicable("the model declares batch statistics")
    real = case.real(first)
    half = len(real.x) // 2
    if not half:
        raise NotApplicable("a batch of one has no halves")
    state = copy.deepcopy(first.state_dict())
    latent, y = first.sample_latent(len(real.x)), first.fake_labels(real)

    def gradient(player: str, part: slice) -> Tensor:
        gan = case.gan()
        gan.load_state_dict(state)
        for module in gan.modules():
            if isinstance(module, _BatchNorm | _DropoutNd | Dropout | nn.RReLU):
                module.eval()
        seed_everything(0)
        some = Batch(real.x[part], None if real.y is None else real.y[part])
        z, label = latent[part], None if y is None else y[part]
        with _AllAlike():
            fake = Batch(gan.generate(z, label), label, z)
            if player == "generator":
                loss = total(gan.generator_loss(some, fake))
            else:
                loss = total(gan.discriminator_loss(some, fake.detach()))
            found = torch.autograd.grad(loss, list(gan.players()[player].parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    for player in ("discriminator", "generator"):
        whole = gradient(player, slice(2 * half))
        mean = (gradient(player, slice(half)) + gradient(player, slice(half, 2 * half))) / 2
        if (whole - mean).norm() > 1e-3 * whole.norm() + 1e-7:
            apart = float((whole - mean).norm() / whole.norm().clamp_min(1e-12))
            return f"the {player}'s gradient differs by {apart:.1%} from the mean of the halves' gradients"
    return None


def stays_on_device(case: Case) -> str | None:
    """No value is read in a step, and none is brought from the host."""
    error = case.traced()
    if isinstance(error, OnHost | DataDependentOutputException):
        how = str(error) if isinstance(error, OnHost) else "the value of a tensor is needed in Python"
        return f"{how} at {where(error, case.cls)}"
    _refuse_untraceable(error)
    return None


def static_shapes(case: Case) -> str | None:
    """No shape follows from a value."""
    error = case.traced()
    if isinstance(error, DynamicOutputShapeException):
        return f"a shape that depends on values at {where(error, case.cls)}"
    _refuse_untraceable(error)
    return None


def own_device(case: Case) -> str | None:
    """Every tensor of a step is where the networks are."""
    error = case.traced()
    if error is not None and _elsewhere(error):
        return f"a tensor on the CPU meets the model's at {where(error, case.cls)}"
    _refuse_untraceable(error)
    return None


def _elsewhere(error: Exception) -> bool:
    text = str(error)
    return "same device" in text or "different devices" in text


def _refuse_untraceable(error: Exception | None) -> None:
    """Some operators cannot be traced; that is no fault of the model, but nothing can be said either."""
    known = (OnHost, DataDependentOutputException, DynamicOutputShapeException)
    if error is not None and not isinstance(error, known) and not _elsewhere(error):
        raise NotApplicable(f"the step cannot be traced: {one_line(error)[:200]}")


def torch_random(case: Case) -> str | None:
    """With torch alone seeded, building and stepping give the same again."""

    def seed(others: int) -> None:
        random.seed(others)
        np.random.seed(others)
        torch.manual_seed(0)

    def built(others: int) -> GAN:
        seed(others)
        return build(case.cls, case.spec, case.options).train()

    one, two = built(1), built(2)
    name = difference(weights(one), weights(two))
    if name and not difference(weights(one), weights(built(1))):
        return f"{name} starts from random numbers that are not torch's"
    two.load_state_dict(one.state_dict())
    after = []
    for others, gan in ((1, one), (2, two)):
        seed(others)
        after.append(weights(case.trainer(gan, steps=2).gan))
    if name := difference(*after):
        return f"steps draw random numbers that are not torch's: {name} differs with torch seeded alike"
    return None


@dataclass(frozen=True)
class Rule:
    """One rule: what it says, how to keep it, and the function that complains when it is broken."""

    name: str
    says: str
    fix: str
    check: Callable[[Case], str | None]
    gate: bool = False
    """Without this one, there is no sense in trying those after it."""


RULES = (
    Rule(
        "explained",
        "name, paper, docstring, option texts and presets are there",
        "state name and paper, give the class a docstring and every option a description; presets hold known options",
        explained,
    ),
    Rule(
        "builds",
        "the model builds for any image shape, and each parameter belongs to one player",
        "set self.generator and self.discriminator in __init__, sized from self.data; "
        "put extra modules into one of them, or override players()",
        builds,
        gate=True,
    ),
    Rule(
        "samples",
        "samples have the data's shape and lie in [-1, 1]",
        "end the generator in Tanh and Unflatten(1, self.data.shape), or in what does the same",
        samples,
        gate=True,
    ),
    Rule(
        "terms",
        "losses return finite scalars by name",
        "return a dict of 0-dimensional tensors, such as {'adversarial': loss.mean()}",
        terms,
        gate=True,
    ),
    Rule(
        "turns",
        "only the moving player changes in its turn, and both do move",
        "leave weights alone in losses; what must change them belongs in after_discriminator_step(), for that player; "
        "in discriminator_loss use fake.x instead of running the generator again",
        one_moves,
    ),
    Rule(
        "gradients",
        "every parameter of the moving player gets a finite gradient",
        "use the parameter in that player's loss, or remove it",
        gradients,
    ),
    Rule(
        "seed",
        "the same seed gives the same weights",
        "draw from torch's default generator only; no clock, no os.urandom, no order of a set",
        seeded,
    ),
    Rule(
        "state",
        "state_dict holds all that the model is",
        "keep what __init__ draws in parameters or buffers (register_buffer), not in attributes",
        round_trips,
    ),
    Rule(
        "resume",
        "a resumed training continues exactly",
        "keep counters and running values in buffers (register_buffer), not in attributes; no generator of your own",
        resumes,
    ),
    Rule(
        "average",
        "samples come from self.generator, so that the averaged one can stand in for it",
        "call self.generator in generate(), and keep no other reference to it or to its parts",
        averaged,
    ),
    Rule(
        "condition",
        "the condition matters to both players",
        "pass y on in the generator and in the discriminator or its loss: see ganzoo.nets.Condition",
        conditioned,
    ),
    Rule(
        "halves",
        "two halves of a batch agree with the whole, as two processes must with one",
        "take means, not sums, over the batch; "
        "set batch_statistics = True on a module (the GAN is one) in which a sample depends on the rest of the batch",
        halves,
    ),
    Rule(
        "host",
        "a step moves nothing between host and device",
        "use torch.where, masks and tensors instead of if, float(), item(), cpu() and numpy(); "
        "register constants as buffers, or make them by torch.full, instead of torch.tensor([...])",
        stays_on_device,
    ),
    Rule(
        "shapes",
        "shapes do not depend on values",
        "use torch.where or multiply by a mask instead of boolean indices, nonzero and unique",
        static_shapes,
    ),
    Rule(
        "device",
        "every tensor of a step is on the model's device",
        "pass device=self.device to what makes a tensor, or use zeros_like and the like; register constants as buffers",
        own_device,
    ),
    Rule(
        "random",
        "random numbers come from torch's default generator alone",
        "use torch.rand and its kind instead of Python's random and numpy's",
        torch_random,
    ),
)
"""All rules, in the order in which they are checked."""
