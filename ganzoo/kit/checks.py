"""The rules that a model keeps, each a small function of a `Case` that returns a complaint or None."""

import copy
import io
import random

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ganzoo.data import Batch
from ganzoo.errors import NotRecorded, Unsteady, UsageError, one_line
from ganzoo.gan import GAN
from ganzoo.kit.cases import (
    AllAlike,
    Case,
    NotApplicable,
    OnHost,
    difference,
    named_parameters,
    total,
    turns,
    weights,
    where,
)
from ganzoo.nets import Dropout
from ganzoo.sampling import sampling_fields
from ganzoo.settings import resolve
from ganzoo.training.building import build
from ganzoo.training.capture import Recorded, Snapshot
from ganzoo.training.ema import with_modules
from ganzoo.training.engine import seed_everything
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer


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
    for option, field in sampling_fields(cls).items():
        if not field.description:
            return f"option of drawing '{option}' has no description"
        if field.is_required():
            return f"option of drawing '{option}' has no default, with which training would draw"
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
        for view in (gan, with_modules(gan, {"generator": blank})):
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
        with AllAlike():
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


def recorded(case: Case) -> str | None:
    """Steps recorded once, on a tape that fixes what a CUDA graph fixes, end where plain steps end."""

    def end(trainer: Trainer) -> dict[str, Tensor]:
        seed_everything(1)
        while trainer.step < 3:
            trainer.advance()
        return weights(trainer.gan)

    trainer = case.trainer()
    before = Snapshot(trainer)
    try:
        trainer.recorded = Recorded(trainer, on_tape, sizes=(1,))
    except Unsteady as error:
        return str(error)
    except NotRecorded as error:
        raise NotApplicable(str(error)) from error
    before.restore()
    trainer.feed(None)
    if name := difference(end(case.trainer()), end(trainer)):
        return f"after three steps that were recorded once and replayed, {name} is not what plain steps make it"
    return None
