"""The rules that augmentations and regularisers keep, each a small function of `Mixed` that returns a complaint or
None. Those of state, recording, host and device are the models' own: see `ganzoo.kit.checks`."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn

from ganzoo.data import Batch
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.fields import taken, validated
from ganzoo.gan import GAN
from ganzoo.ingredients import Augmentation, Regulariser
from ganzoo.kit.cases import AllAlike, NotApplicable, alone, difference, total, weights
from ganzoo.kit.mixed import Mixed
from ganzoo.plugins import check_ingredient, is_name
from ganzoo.training.engine import seed_everything
from ganzoo.training.turns import Schedule, is_count

CALLS = 20
"""How often something that happens by chance is tried."""


def explained(case: Mixed) -> str | None:
    """Name, summary, docstring; options with types, defaults and texts."""
    cls = case.author
    name = getattr(cls, "name", None)
    if not is_name(name):
        return f"name is {name!r}, not lower-case words joined by '-'"
    if not (isinstance(getattr(cls, "summary", None), str) and cls.summary.strip()):
        return "summary is not stated"
    if not (cls.__dict__.get("__doc__") or "").strip():
        return f"class {cls.__name__} has no docstring, which `ganzoo info {name}` shows"
    try:
        check_ingredient(cls)
    except GanzooError as error:
        return str(error)
    for option, field in cls.Options.model_fields.items():
        if taken(field).kind is Any:
            return f"option '{option}' has no type"
    return None


def builds(case: Mixed) -> str | None:
    """It can be made for some data, holds nothing that a player would have to train, and has a player and a pace."""
    try:
        gan = case.gan()
    except UsageError as error:
        raise NotApplicable(f"it refuses such data: {one_line(error)}") from error
    ingredient = case.ingredient(gan)
    for name, _ in ingredient.named_parameters():
        return f"{name} is a parameter, and no player trains it: register it as a buffer"
    if isinstance(ingredient, Regulariser):
        if not is_count(ingredient.every):
            return f"every is {ingredient.every!r}, not a whole number, 1 or more"
        if ingredient.player not in gan.players():
            return f"player is {ingredient.player!r}: 'discriminator' or 'generator', which every model has"
        if all(getattr(case.author, m) is getattr(Regulariser, m) for m in ("terms", "heed")):
            return "it overrides neither terms nor heed, so that it does nothing"
        Schedule(gan)
    return None


# Augmentations


def keeps_shape(case: Mixed) -> str | None:
    """Images of the same shape and kind, finite, whatever their number."""
    gan = case.gan()
    for n in (8, 1, 5):
        x = case.x(gan, n)
        kept = x.clone()
        seed_everything(n)
        made = case.ingredient(gan)(x)
        if not isinstance(made, Tensor):
            return f"forward returns {type(made).__name__}, not images"
        if made.shape != x.shape or made.dtype != x.dtype:
            return f"images {tuple(x.shape)} come back as {str(made.dtype).removeprefix('torch.')} {tuple(made.shape)}"
        if not made.isfinite().all():
            return "images come back with values that are not finite"
        if not torch.equal(x, kept):
            return "forward changes the images that it is given, which others look at too: make new ones"
    return None


def lets_gradients_through(case: Mixed) -> str | None:
    """First and second derivatives with respect to the images exist and are finite; not all of them zero."""
    gan = case.gan()
    x = case.x(gan).requires_grad_()
    reached = torch.zeros(())
    for seed in range(CALLS):
        seed_everything(seed)
        made = case.ingredient(gan)(x)
        if not made.requires_grad:
            return "no gradient goes back through it: something detached the images"
        try:
            (slope,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
            # Where it is flat, there is nothing to differentiate again.
            second = torch.autograd.grad(slope.square().sum(), x)[0] if slope.requires_grad else slope
        except RuntimeError as error:
            return f"no derivative of the images, as a gradient penalty takes it: {one_line(error)[:200]}"
        if not (slope.isfinite().all() and second.isfinite().all()):
            return "its derivatives with respect to the images are not finite"
        reached = reached + slope.detach().abs().sum()
    return None if reached > 0 else "its gradient is zero wherever one looks, so that the generator learns nothing"


def each_by_itself(case: Mixed) -> str | None:
    """No image depends on another of its batch, and each draws its own change."""
    gan = case.gan()
    change, x = case.ingredient(gan), case.x(gan)
    half = len(x) // 2

    def alike(part: Tensor) -> Tensor:
        seed_everything(1)
        with AllAlike():
            return copy.deepcopy(change)(part)  # Whatever it counts, it counts from the same.

    with torch.no_grad():
        whole, parts = alike(x), torch.cat([alike(x[:half]), alike(x[half:])])
        if not torch.allclose(whole, parts, rtol=1e-4, atol=1e-5) or _mixes(change, x):
            return "an image comes out otherwise when other images are beside it"
        same = x[:1].expand(half, *x.shape[1:]).contiguous()
        seed_everything(2)
        drawn = [change(same) for _ in range(CALLS)]
    by_chance = any(not torch.equal(made[:1], drawn[0][:1]) for made in drawn)
    if by_chance and all(torch.equal(made, made[:1].expand_as(made)) for made in drawn):
        return "all images of a batch are changed alike: draw a number for each, torch.rand(len(x), 1, 1, 1)"
    return None


def _mixes(change: nn.Module, x: Tensor) -> bool:
    """Whether what comes out first changes with the others, whatever chance says."""
    others = torch.cat([x[:1], -x[1:]])
    for seed in range(CALLS):
        made = []
        for images in (x, others):
            seed_everything(seed)
            made.append(copy.deepcopy(change)(images)[0])
        if not torch.allclose(made[0], made[1], rtol=1e-4, atol=1e-5):
            return True
    return False


def same_for_both_sides(case: Mixed) -> str | None:
    """What is looked at first, real images or fakes, makes no difference: forward leaves no trace."""
    gan = case.gan()
    change, x = case.ingredient(gan), case.x(gan)
    before = weights(change) | {name: buffer.clone() for name, buffer in change.named_buffers()}
    made = []
    with torch.no_grad():
        for _ in range(3):
            seed_everything(0)
            made.append(change(x))
    if name := difference(before, dict(change.named_buffers())):
        return f"{name} changes in forward, which sees real images and fakes in no fixed order"
    if not all(torch.equal(made[0], other) for other in made):
        return "the same images come out otherwise the second time, with the same random numbers"
    return None


# Regularisers


def terms(case: Mixed) -> str | None:
    """Named finite scalars, from which a gradient reaches the player; what is heeded has the logits' shape."""
    gan = case.gan()
    ingredient = case.ingredient(gan)
    real, fake = case.batches(gan)
    with _moving(gan, ingredient.player):
        before = {name: weights(module) for name, module in gan.players().items()}
        seen = [batch.x.detach().clone() for batch in (real, fake)]
        found = ingredient.terms(gan, real, fake)
        for batch, x, name in zip((real, fake), seen, ("real", "fake"), strict=True):
            if not torch.equal(batch.x, x):
                return f"terms changes {name}.x in place, which the losses after it are given too"
        if not isinstance(found, dict):
            return f"terms returns {type(found).__name__}, not a dict of named terms"
        for name, term in found.items():
            if not isinstance(term, Tensor) or term.dim() or not term.is_floating_point():
                kind = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                return f"term '{name}' is {kind}, not a 0-dimensional float tensor"
            if not term.isfinite():
                return f"term '{name}' is {term.item()}"
        parameters = list(gan.players()[ingredient.player].parameters())
        if any(p.grad is not None for p in gan.parameters()):
            return "terms computes gradients itself: the trainer does that"
        for name, module in gan.players().items():
            if changed := difference(before[name], module.state_dict()):
                return f"{changed} of the {name} changes in terms"
        if found and not total(found).requires_grad:
            return f"no term depends on a parameter of the {ingredient.player}"
        if found:
            slopes = [s for s in torch.autograd.grad(total(found), parameters, allow_unused=True) if s is not None]
            if not slopes:
                return f"no term depends on a parameter of the {ingredient.player}"
            if not all(slope.isfinite().all() for slope in slopes):
                return f"its gradient with respect to the {ingredient.player}'s parameters is not finite"
    for batch in (real, fake):
        logits = torch.linspace(-2, 2, len(batch.x))[:, None].requires_grad_()
        heeded = ingredient.heed(gan, logits, batch)
        if not isinstance(heeded, Tensor) or heeded.shape != logits.shape:
            kind = tuple(heeded.shape) if isinstance(heeded, Tensor) else type(heeded).__name__
            return f"heed makes {kind} of logits {tuple(logits.shape)}"
        if not (heeded.isfinite().all() and heeded.requires_grad):
            return "what heed gives is not finite, or carries no gradient"
    return None


def means(case: Mixed) -> str | None:
    """A batch in which every sample is there twice has the terms of the batch: they are means, not sums.

    What is drawn differs between the two, so that both are averaged over some draws, and need not be equal.
    """
    found: list[dict[str, float]] = []
    for times in (1, 2):
        gan = case.gan()
        real, fake = (_again(batch, times) for batch in case.batches(gan))
        sums: dict[str, float] = {}
        with _moving(gan, case.ingredient(gan).player):
            for seed in range(CALLS):
                seed_everything(seed)
                for name, term in case.ingredient(gan).terms(gan, real, fake).items():
                    sums[name] = sums.get(name, 0.0) + term.item() / CALLS
        found.append(sums)
    once, twice = found
    if once.keys() != twice.keys():
        return f"terms are {', '.join(once) or 'none'} of 8 samples, and {', '.join(twice) or 'none'} of 16"
    for name, term in once.items():
        if abs(twice[name] - term) > 0.5 * abs(term) + 1e-6:
            return f"term '{name}' is {term:.4g}, and {twice[name]:.4g} where every sample is there twice"
    return None


def lazy(case: Mixed) -> str | None:
    """What is due in every fourth step is four times as heavy."""
    if case.author.terms is Regulariser.terms:
        raise NotApplicable("it adds no terms")
    found = []
    for every in (1, 4):
        gan = case.gan()
        ingredient = case.ingredient(gan)
        if ingredient.every == 1 and "every" not in case.author.Options.model_fields:
            raise NotApplicable("it is due in every step")
        ingredient.every = every
        real, fake = case.batches(gan)
        seed_everything(1)
        with _moving(gan, ingredient.player):
            found.append(total(ingredient.terms(gan, real, fake)).detach())
    once, lazily = found
    if not torch.allclose(4 * once, lazily, rtol=1e-3, atol=1e-7):
        return (
            f"its terms are {once.item():.4g} with every=1, and {lazily.item():.4g} with every=4: multiply them by it"
        )
    return None


# Both


def ends(case: Mixed) -> str | None:
    """With each option at either end of its range, and at each of its choices, what comes out is finite."""
    for name, value in _extremes(case):
        try:
            own = validated(case.author.Options, case.own.model_dump() | {name: value})
            seed_everything(0)
            gan = case.build(own).train()
        except UsageError:  # It may have good reasons, which it tells.
            continue
        complaint = _finite(case, gan)
        if complaint:
            return f"with {name}={value} {complaint}"
    return None


def _finite(case: Mixed, gan: GAN) -> str | None:
    ingredient = case.ingredient(gan)
    if isinstance(ingredient, Augmentation):
        x = case.x(gan).requires_grad_()
        for _ in range(3):
            made = ingredient(x)
            slopes = torch.autograd.grad(made.square().sum(), x, allow_unused=True)
            if not made.isfinite().all() or any(s is not None and not s.isfinite().all() for s in slopes):
                return "images or their gradients are not finite"
            ingredient.after_discriminator_step(torch.randn(len(x), 1))
        return None
    real, fake = case.batches(gan)
    with _moving(gan, ingredient.player):
        for name, term in ingredient.terms(gan, real, fake).items():
            if not term.isfinite():
                return f"term '{name}' is {term.item()}"
    return None


def _extremes(case: Mixed) -> Iterator[tuple[str, Any]]:
    for name, field in case.author.Options.model_fields.items():
        kind, bounds = taken(field)
        if kind is bool:
            yield from ((name, value) for value in (False, True))
        elif get_origin(kind) is Literal:
            yield from ((name, value) for value in get_args(kind))
        else:
            ends = [end for end in ("min", "max") if end in bounds and not bounds[f"{end}_open"]]
            yield from ((name, bounds[end]) for end in ends)


def _again(batch: Batch, times: int) -> Batch:
    rest = (None if part is None else torch.cat([part] * times) for part in batch[1:])
    return Batch(torch.cat([batch.x] * times), *rest)


@contextmanager
def _moving(gan: GAN, player: str) -> Iterator[None]:
    """Inside, it is a player's turn."""
    gan.moving = player
    try:
        with alone(gan, player):
            yield
    finally:
        gan.moving = None
