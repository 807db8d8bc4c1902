"""The rules that a model keeps, each a small function of a `Case` that returns a complaint or None."""

import copy
import io
import random
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ganzoo.data import Batch
from ganzoo.errors import GanzooError, NotRecorded, Unsteady, UsageError, one_line
from ganzoo.fields import validated
from ganzoo.gan import GAN, Clock
from ganzoo.kit.cases import (
    STEPS,
    AllAlike,
    Case,
    NotApplicable,
    OnHost,
    after,
    alone,
    at,
    difference,
    everything,
    named_parameters,
    total,
    turns,
    weights,
)
from ganzoo.nets import Dropout
from ganzoo.plugins import clashing, is_name
from ganzoo.sampling import sampling_fields
from ganzoo.settings import resolve
from ganzoo.training.capture import Recorded, Snapshot, moving, roots
from ganzoo.training.ema import with_modules
from ganzoo.training.engine import seed_everything
from ganzoo.training.state import PythonState
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Schedule

GROWN = 20
"""What first weights are multiplied by: those from N(0, 0.02) make images near 0, whatever the generator ends in."""
ALONE = 1e-3
"""Of a range of 2, what a sample may differ by from itself beside others."""


class Fault(str):
    """A complaint with advice of its own, where that of its rule would say more than this fault needs."""

    fix: str

    def __new__(cls, says: str, fix: str) -> "Fault":
        made = super().__new__(cls, says)
        made.fix = fix
        return made


def explained(case: Case) -> str | None:
    """Name, paper, docstring, option texts, presets."""
    cls = case.cls
    name = getattr(cls, "name", None)
    if not is_name(name):
        return Fault(
            f"name is {name!r}, not lower-case words joined by '-'", "state name, lower-case words joined by '-'"
        )
    if not (isinstance(getattr(cls, "paper", None), str) and cls.paper.strip()):
        return Fault("paper is not stated", "state paper: authors, title, year, and where to find it")
    if not (cls.__dict__.get("__doc__") or "").strip():
        return Fault(
            f"class {cls.__name__} has no docstring, which `ganzoo info {name}` shows",
            "give the class a docstring: what the model minimises",
        )
    for option, field in cls.Options.model_fields.items():
        if not field.description:
            return Fault(f"option '{option}' has no description", "write Field(..., description=...)")
    defaults = {
        option: field.get_default(call_default_factory=True) for option, field in cls.Options.model_fields.items()
    }
    try:
        validated(cls.Options, defaults)
    except UsageError as error:
        return Fault(
            f"a default is none that its option takes: {error}", "let the default keep the option's own bounds"
        )
    for option, field in sampling_fields(cls).items():
        if not field.description:
            return Fault(f"option '{option}' of Sampling has no description", "write Field(..., description=...)")
        if field.is_required():
            return Fault(
                f"option of drawing '{option}' has no default, with which training would draw",
                "give the field a default",
            )
    drawing = {name: field.get_default(call_default_factory=True) for name, field in sampling_fields(cls).items()}
    try:
        validated(cls.Sampling, drawing)
    except UsageError as error:
        return Fault(
            f"a default of Sampling is none that its option takes: {error}",
            "let the default keep the option's own bounds",
        )
    for preset in cls.presets:
        resolve(cls, {}, preset)
    return None


def own_names(case: Case) -> str | None:
    """No option has the name of one that a command, or a method, has already."""
    return clashing(case.cls)


def builds(case: Case) -> str | None:
    """The model can be made, has both networks, and each parameter belongs to exactly one player."""
    sourceless = case.cls.translates and not case.cls.own_sources and case.spec.source_shape is None
    try:
        gan = case.gan()
    except UsageError as error:
        if case.spec.classes and not case.spec.attributes and not case.cls.translates:
            raise
        raise NotApplicable(f"the model refuses such data: {one_line(error)}") from error
    if sourceless:
        return Fault(
            "the model translates, and builds for data without sources, which super().__init__ refuses",
            "call super().__init__(data, options) first",
        )
    if case.spec.attributes and not gan.conditional:
        raise NotApplicable("the model is unconditional, and attributes are nothing to it")
    if not isinstance(gan.clock, Clock):
        return Fault(
            f"self.clock is {gan.clock!r}: it is where the trainer says how far training is",
            "give your attribute another name",
        )
    owners: dict[int, str] = {}
    for player, parameters in named_parameters(gan).items():
        if not parameters:
            return Fault(
                f"the {player} has no parameters",
                "set self.generator and self.discriminator in __init__, networks with parameters, sized from self.data",
            )
        for name, parameter in parameters.items():
            if owners.setdefault(id(parameter), player) != player:
                return Fault(
                    f"{name} belongs to the {owners[id(parameter)]} and to the {player}",
                    "let one player hold each module: see players()",
                )
            if not parameter.requires_grad:
                return Fault(
                    f"{name} of the {player} has requires_grad False: register it as a buffer",
                    "use register_buffer for what is not trained",
                )
    for name, parameter in gan.named_parameters():
        if id(parameter) not in owners:
            return Fault(
                f"{name} belongs to no player, so nothing would train it",
                "put its module into a player's, or name it in players() and give it a Turn in turns()",
            )
    return None


def playable(case: Case) -> str | None:
    """Every player has a turn, every turn a player; what is saved is there."""
    gan = case.gan()
    if not gan.saved or gan.saved[0] != "generator":
        return Fault(
            f"saved is {gan.saved!r}: 'generator' comes first, and samples are drawn from it",
            "begin saved with 'generator'",
        )
    for name in gan.saved:
        if not isinstance(getattr(gan, name, None), nn.Module):
            return Fault(
                f"saved names '{name}', and __init__ sets no module self.{name}",
                "let saved name modules that __init__ sets",
            )
    try:
        Schedule(gan)
    except GanzooError as error:
        return str(error).removeprefix(f"model '{gan.name}': ")
    return None


def samples(case: Case) -> str | None:
    """Fakes and showcase: shape, range, latents and conditions that fit."""
    gan = case.gan()
    real = case.real(gan)
    fake = gan.fake(real)
    n = len(real.x)
    if not isinstance(fake.z, Tensor) or len(fake.z) != n:
        return Fault(
            f"fake(real) gives no latent z with {n} rows",
            "return Batch(x, y, z) from fake(), with one latent for each sample of real",
        )
    if gan.supervised and not gan.conditional:
        real = real._replace(y=fake.y)  # Its labels are for losses; fakes have them where their sources do.
    if (fake.y is None) != (real.y is None):
        return Fault(
            f"fakes have {'no ' if fake.y is None else ''}conditions, and real samples have {_some(real.y)}",
            "return conditions from sample_labels() as self.data has them: class indices (N,), or vectors (N, K)",
        )
    if fake.y is not None and real.y is not None and (fake.y.shape, fake.y.dtype) != (real.y.shape, real.y.dtype):
        return Fault(
            f"conditions of fakes are {_of(fake.y)}, and those of real samples {_of(real.y)}",
            "return conditions from sample_labels() as self.data has them: class indices (N,), or vectors (N, K)",
        )
    if not fake.x.requires_grad:
        return Fault(
            "fakes carry no gradient to the generator: something detached them",
            "no detach() and no torch.no_grad() in fake() and generate(): the trainer does that",
        )
    if complaint := _not_samples(fake.x, n, case, bounded=False):  # A generator may be cut off where it is drawn from.
        return complaint
    gan.eval()
    with torch.no_grad():
        if complaint := _drawn(gan, fake, real.source, case):
            return complaint
        if gan.translates or not case.spec.is_images:  # Grids are of examples, or of points.
            return None
        z, y, columns = gan.showcase()
        shown = gan.generate(z, y)
    if columns < 1:
        return Fault(
            f"showcase() asks for {columns} columns",
            "return latents, conditions and a number of columns, 1 or more, from showcase()",
        )
    return _not_samples(shown, len(z), case)


def _drawn(gan: GAN, fake: Batch, source: Tensor | None, case: Case) -> str | None:
    """What is wrong with samples of the latents of `fake` in evaluation mode."""
    n = len(fake.x)

    def drawn(k: int, seed: int) -> Tensor:
        some = slice(k)
        seed_everything(seed)
        return gan.generated(z[some], _part(fake.y, some), _part(source, some))

    assert fake.z is not None
    z = fake.z.clone()
    all_of_them, first = drawn(n, 0), drawn(1, 0)
    if not torch.equal(z, fake.z):
        return Fault(
            "generate() changes z in place, and others draw from it too", "write z * 0.7 for z.mul_(0.7), and so on"
        )
    for k, x in ((n, all_of_them), (1, first)):
        if complaint := _not_samples(x, k, case):
            return complaint
    draws_by_chance = difference({"x": all_of_them}, {"x": drawn(n, 1)})
    if not draws_by_chance and (first - all_of_them[:1]).abs().max() > ALONE:
        return Fault(
            "in evaluation mode a sample depends on those that are drawn beside it",
            "use nothing of the batch there, as BatchNorm does: `sample -n 1` and `-n 16` begin with the same image",
        )
    return _grown(fake, source, case)


def _grown(fake: Batch, source: Tensor | None, case: Case) -> str | None:
    """What is wrong with the range of samples, with weights far from where they begin; nothing else is asked there."""
    gan = case.gan().eval()
    assert fake.z is not None
    for parameter in gan.generator.parameters():
        parameter.mul_(GROWN)
    try:
        made = gan.generated(fake.z, fake.y, source)
    except Exception:  # Such weights may be none of a distribution's, say.
        return None
    if complaint := _not_in_range(made.nan_to_num(0.0, 0.0, 0.0), "samples", case.spec.is_images):
        return Fault(
            f"with weights as training may make them, {complaint}", "end with tanh, or clamp where evaluation draws"
        )
    return None


def pictures(case: Case) -> str | None:
    """What is shown of held-out examples: images or, of vectors, vectors, one for each."""
    trainer = case.trainer()
    examples = case.examples(trainer.gan)
    shown = _shown(with_modules(trainer.gan, trainer.ema.modules).eval(), examples)
    if not isinstance(shown, dict):
        return f"pictures() returns {type(shown).__name__}, not a dict of images by name"
    if not shown:
        if trainer.gan.translates:
            return "pictures() shows nothing, and the model translates"
        raise NotApplicable("the model shows nothing of held-out examples")
    n, dims = len(examples.x), 4 if case.spec.is_images else 2
    wanted = f"float ({n}, C, H, W)" if dims == 4 else f"float ({n}, D)"
    for name, found in shown.items():
        if not isinstance(found, Tensor):
            return f"'{name}' of pictures() is {type(found).__name__}, not {wanted}"
        channels = dims == 2 or (found.dim() == 4 and found.shape[1] in (1, 3))
        if not (found.is_floating_point() and found.dim() == dims and len(found) == n and channels):
            return f"'{name}' of pictures() is {_of(found)}, not {wanted}"
        if complaint := _not_in_range(found, f"'{name}' of pictures()", dims == 4):
            return complaint
    return None


def _shown(gan: GAN, examples: Batch) -> dict[str, Tensor]:
    """What a model shows, as a run asks for it."""
    with torch.no_grad():
        seed_everything(0)
        return gan.pictures(examples)


def _not_samples(x: Tensor, n: int, case: Case, bounded: bool = True) -> str | None:
    if tuple(x.shape) != (n, *case.spec.shape) or not x.is_floating_point():
        return f"samples are {_of(x)}, not float {(n, *case.spec.shape)}"
    return _not_in_range(x, "samples", bounded and case.spec.is_images)


def _not_in_range(x: Tensor, what: str, images: bool) -> str | None:
    """A complaint of values that are not finite or, of images, beyond -1 to 1."""
    are, run = ("are", "run") if what == "samples" else ("is", "runs")
    if not x.isfinite().all():
        return f"{what} {are} not finite"
    low, high = x.aminmax()
    if images and (low < -1 or high > 1):
        return f"{what} {run} from {low:.3g} to {high:.3g}, beyond -1 to 1"
    return None


def _of(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def _some(y: Tensor | None) -> str:
    return "none" if y is None else "some"


def terms(case: Case) -> str | None:
    """What the losses return."""
    gan = case.gan()
    for taken in turns(gan, case.reals(gan)):
        found, loss = taken.loss(), taken.loss_name
        if not isinstance(found, dict) or not found:
            return f"{loss} returns {type(found).__name__}, not a dict of named terms"
        for name, term in found.items():
            if not isinstance(term, Tensor) or term.dim() or not term.is_floating_point():
                kind = _of(term) if isinstance(term, Tensor) else type(term).__name__
                return f"term '{name}' of {loss} is {kind}, not a 0-dimensional float tensor"
            if not term.isfinite():
                return f"term '{name}' of {loss} is {term.item()}"
        if not total(found).requires_grad:
            return f"no term of {loss} depends on a parameter of the {taken.player}"
    return None


def one_moves(case: Case) -> str | None:
    """In a turn its player's parameters change and no others do; the generator's buffers only where it has a part.

    Three steps are taken: a rate may start at zero, and a hinge is flat once the made-up images are told apart. And one
    when the budget is all but spent: a player may rest at first.
    """
    trainer = case.trainer()
    gan, real = trainer.gan, case.real(trainer.gan)
    seen = real.x.clone()
    moved: set[str] = set()
    for step in (0, 1, 2, STEPS - 1):
        trainer.step = step
        for name, value in trainer.settings()["clock"].items():
            getattr(gan.clock, name).fill_(value)
        for taken in turns(gan, repeat(real), schedule=trainer.schedule):
            player = taken.player
            before = {name: weights(module) for name, module in gan.players().items()}
            buffers = {name: buffer.clone() for name, buffer in gan.generator.named_buffers()}
            for parameter in gan.parameters():
                parameter.grad = None
            found = taken.loss()
            if not torch.equal(real.x, seen):
                return Fault(
                    f"{taken.loss_name} changes real.x in place", "let losses work on a copy of what they are given"
                )
            if any(parameter.grad is not None for parameter in gan.parameters()):
                return Fault(
                    f"{taken.loss_name} computes gradients itself: the trainer does that",
                    "return terms alone; for a penalty use torch.autograd.grad(..., create_graph=True)",
                )
            trainer.descend(player, dict(found), turn=taken.turn.name)
            after(gan, player)
            changed = difference(buffers, dict(gan.generator.named_buffers()))
            if changed and player not in trainer.schedule.owners:
                return Fault(
                    f"{changed} of the generator, a buffer, changes in the {player}'s turn",
                    "in the discriminator's losses use fake.x instead of running the generator again",
                )
            for name, parameters in named_parameters(gan).items():
                changed = difference({n: before[name][n] for n in parameters}, parameters)
                if changed and name != player:
                    return Fault(
                        f"{changed} of the {name} changes in the {player}'s turn",
                        "leave weights alone in losses; after_discriminator_step() may change its own",
                    )
                if changed:
                    moved.add(player)
    for player in gan.players():
        if player not in moved:
            return Fault(
                f"the {player} does not move in its turn",
                "return terms that depend on its parameters, with a learning rate above zero",
            )
    return None


def gradients(case: Case) -> str | None:
    """Every parameter of a player is reached by one of its losses."""
    gan = case.gan()
    missed = named_parameters(gan)
    losses: dict[str, list[str]] = {}
    for taken in turns(gan, case.reals(gan)):
        player, parameters = taken.player, named_parameters(gan)[taken.player]
        losses.setdefault(player, []).append(taken.loss_name)
        found = torch.autograd.grad(total(taken.loss()), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is None:
                continue
            missed[player].pop(name, None)
            if not gradient.isfinite().all():
                return f"the gradient of {name} of the {player} in {taken.loss_name} is not finite"
    for player, names in missed.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            told = " or ".join(dict.fromkeys(losses[player]))
            return f"{next(iter(names))}{more} of the {player} gets no gradient from {told}"
    return None


def seeded(case: Case) -> str | None:
    """Two models from one seed, and two steps of each."""
    one, two = case.gan(), case.gan()
    if name := difference(weights(one), weights(two)):
        return f"two models built from one seed differ in {name}"
    drawn = []
    for seed in (0, 1):
        case.gan(seed)
        drawn.append(torch.get_rng_state())
    if torch.equal(*drawn):
        return Fault(
            "__init__ sets the seed of torch's random numbers, so that --seed decides nothing",
            "leave the seed of random numbers alone: no torch.manual_seed in a model",
        )
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
        trainer.step = trainer.schedule.period * (trainer.step // trainer.schedule.period + 1)  # All turns are due.
        trainer.advance()
        return everything(trainer)

    first = case.trainer(steps=2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    straight = end(first)
    second = case.trainer()
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    if name := difference(straight, end(second)):
        return f"some steps after a resume, {name} is not what it is without"
    return None


def averaged(case: Case) -> str | None:
    """`generate` uses whichever generator the model holds; it and `pictures`, whichever other modules it saves."""
    gan = case.gan().eval()
    examples = case.examples(gan)
    n = len(examples.x)
    z, y = gan.sample_latent(n), examples.y if gan.translates else gan.sample_labels(n)

    def looks(gan: GAN) -> dict[str, dict[str, Tensor]]:
        with torch.no_grad():
            seed_everything(0)
            drawn = gan.generated(z, y, examples.source)
        shown = _shown(gan, examples)
        return {"generate": {"samples": drawn}, "pictures": shown if isinstance(shown, dict) else {}}

    before = looks(gan)
    for name in gan.saved:
        module = getattr(gan, name)
        replaced = looks(with_modules(gan, {name: _blank(copy.deepcopy(module))}))
        kept = copy.deepcopy(module)
        _blank(module)
        changed = looks(gan)
        module.load_state_dict(kept.state_dict())
        for method, pictures in before.items():
            used = (name, method) == ("generator", "generate") or difference(pictures, changed[method])
            if used and not difference(pictures, replaced[method]):
                return f"{method}() draws the same when self.{name} is another network"
    kept = {id(value) for name in gan.saved for value in getattr(gan, name).parameters()}
    for name, parameter in gan.named_parameters():
        if id(parameter) in kept:
            continue
        learned = parameter.detach().clone()
        with torch.no_grad():
            parameter.zero_()
        if difference(before["generate"], looks(gan)["generate"]):
            return Fault(
                f"generate() uses self.{name}, and `saved` names nothing that holds it: a run's samples are drawn "
                "without what it learned",
                "put it into the generator, or name its module in `saved`",
            )
        with torch.no_grad():
            parameter.copy_(learned)
    return None


def _blank(module: nn.Module) -> nn.Module:
    """The network with all its parameters zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def conditioned(case: Case) -> str | None:
    """Both sides heed the condition, now or after a few steps: some start from a condition without weight."""
    trainer = case.trainer()
    gan = trainer.gan
    if not gan.conditional:
        raise NotApplicable("the model is unconditional")
    real = case.real(gan)
    assert real.y is not None
    # Of a class the next, as a batch may be of one alone.
    classes = len(gan.data.classes)
    other = real.y.roll(1, 0) if real.y.is_floating_point() else (real.y + 1) % classes
    z = gan.sample_latent(len(real.x))
    owners = trainer.schedule.owners
    judges = [turn for turn in trainer.schedule.turns if turn.player not in owners] or list(trainer.schedule.turns)
    names = " and the ".join(dict.fromkeys(turn.player for turn in judges))

    def drawn(y: Tensor | None) -> Tensor:
        seed_everything(0)
        return gan.generated(z, y, real.source).detach()

    def judged(x: Tensor, y: Tensor | None) -> Tensor:
        seed_everything(0)
        fake = Batch(x, y, z, real.source, real.source_y)
        return torch.stack([total(turn.loss(real._replace(y=y), fake)).detach() for turn in judges]).sum()

    deaf = {"the generator draws": True, f"the {names}'s loss is": True}
    generator, judge = deaf
    for _ in range(4):
        gan.eval()
        x = drawn(real.y)
        deaf[generator] &= torch.equal(x, drawn(other))
        deaf[judge] &= torch.equal(judged(x, real.y), judged(x, other))
        if not any(deaf.values()):
            return None
        gan.train()
        trainer.advance()
    who = next(player for player, always in deaf.items() if always)
    fix = "pass y on in the generator" if who == generator else "pass y on in the discriminator, or heed it in its loss"
    return Fault(f"{who} the same whatever the condition", f"{fix}: see ganzoo.nets.Condition")


def sourced(case: Case) -> str | None:
    """What is made follows from the source."""
    gan = case.gan()
    if not gan.translates:
        raise NotApplicable("the model does not translate")
    real = case.real(gan)
    assert real.source is not None
    gan.eval()
    made = []
    for source in (real.source, real.source.roll(1, 0)):
        seed_everything(0)
        with torch.no_grad():
            made.append(gan.generated(gan.sample_latent(len(real.x)), real.y, source))
    if torch.equal(*made):
        return "the generator makes the same whatever the source"
    return None


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
    schedule = Schedule(first)

    def gradient(turn: int, part: slice) -> Tensor:
        gan = case.gan()
        gan.load_state_dict(state)
        for module in gan.modules():
            if isinstance(module, _BatchNorm | _DropoutNd | Dropout | nn.RReLU):
                module.eval()
        seed_everything(0)
        some = Batch(*(_part(column, part) for column in real))  # type: ignore[arg-type]
        z, label = latent[part], _part(y, part)
        player, loss = (moving := Schedule(gan).turns[turn]).player, moving.loss
        with AllAlike():
            fake = Batch(gan.generated(z, label, some.source), label, z, some.source, some.source_y)
            with alone(gan, player):
                terms = loss(some, fake if player in schedule.owners else fake.detach())
                found = torch.autograd.grad(total(terms), list(gan.players()[player].parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    for i, turn in enumerate(schedule.turns):
        whole = gradient(i, slice(2 * half))
        mean = (gradient(i, slice(half)) + gradient(i, slice(half, 2 * half))) / 2
        if (whole - mean).norm() > 1e-3 * whole.norm() + 1e-7:
            apart = float((whole - mean).norm() / whole.norm().clamp_min(1e-12))
            where_in = "" if turn.name == turn.player else f" in turn '{turn.name}'"
            return (
                f"the {turn.player}'s gradient{where_in} differs by {apart:.1%} from the mean of the halves' gradients"
            )
    return None


def _part(held: Tensor | None, part: slice) -> Tensor | None:
    return None if held is None else held[part]


def stays_on_device(case: Case) -> str | None:
    """No value is read in a step, and none is brought from the host."""
    error = case.traced()
    if isinstance(error, OnHost | DataDependentOutputException):
        how = str(error) if isinstance(error, OnHost) else "the value of a tensor is needed in Python"
        return f"{how}{at(error, case.author)}"
    _refuse_untraceable(error)
    return None


def static_shapes(case: Case) -> str | None:
    """No shape follows from a value."""
    error = case.traced()
    if isinstance(error, DynamicOutputShapeException):
        return f"a shape that depends on values{at(error, case.author)}"
    _refuse_untraceable(error)
    return None


def own_device(case: Case) -> str | None:
    """Every tensor of a step is where the networks are."""
    error = case.traced()
    if error is not None and _elsewhere(error):
        return f"a tensor on the CPU meets the model's{at(error, case.author)}"
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
        return case.build().train()

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
    """Steps recorded once, on a tape that fixes what a CUDA graph fixes, end where plain steps end.

    And nothing moves in Python, where a few steps cannot show what a recording would miss.
    """

    def end(trainer: Trainer) -> dict[str, Tensor]:
        seed_everything(1)
        for step in [*range(3), *(trainer.schedule.step_with(pattern, 3) for pattern in trainer.schedule.moves)]:
            trainer.step = step
            trainer.advance()
        return everything(trainer)

    trainer = case.trainer()
    if loose := PythonState(roots(trainer)).unfollowable:
        return f"{loose}, so that a recording cannot follow it"
    before = Snapshot(trainer)
    try:
        way = moving(trainer)
    finally:
        before.restore()
        trainer.feed(None)
    if way:
        return f"{way} changes from step to step in Python, where a recording would hold it still"
    try:
        trainer.recorded = Recorded(trainer, on_tape, sizes=(1,))
    except Unsteady as error:
        return str(error)
    except NotRecorded as error:
        raise NotApplicable(str(error)) from error
    before.restore()
    trainer.feed(None)
    if name := difference(end(case.trainer()), end(trainer)):
        return f"after steps that were recorded once and replayed, {name} is not what plain steps make it"
    return None
