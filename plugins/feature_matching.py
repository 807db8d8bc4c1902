"""Feature matching: Salimans et al., Improved Techniques for Training GANs, 2016, section 3.1.

The generator wants its samples to have the mean features f of real ones, f being what D's last layer sees, or each of
its last layers where it judges several times:

    |E[f(x)] - E[f(G(z))]|^2

Here it is a term beside the generator's own loss, of any model; alone it is `improved-gan --generator matching`.
"""

from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import GanzooError
from ganzoo.ingredients import unreached


class FeatureMatching(ganzoo.Regulariser):
    """G's samples have the mean features of real ones, as D's last layers see them: one forward pass of D more."""

    name = "feature-matching"
    summary = "G's samples have real ones' mean features before D's last layer (Salimans et al. 2016)"
    player = "generator"
    whole_batches = True  # The means are those of a batch.

    class Options(ganzoo.IngredientOptions):
        """How strong."""

        weight: float = Field(1.0, ge=0, le=1e6, description="Weight of the squared distance, a mean over features.")

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        if not any(map(_weighs, _layers(gan))):
            return "has a discriminator without layers of weights, before which features could be matched"
        return unreached(gan)

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        fakes = passed(gan, fake)
        heads = last(fakes, fake.x)
        if not heads:
            raise GanzooError(
                "regulariser 'feature-matching' finds no layer of the discriminator that works on fakes, as under "
                "--engine compile: choose --engine auto, or leave it out"
            )
        with torch.no_grad():
            wanted = passed(gan, real)
        terms = [losses.feature_matching(_features(wanted, head), _features(fakes, head)) for head in heads]
        return {self.name: self.options.weight * torch.stack(terms).mean()}


class Passed(NamedTuple):
    """What went through D."""

    inputs: dict[nn.Module, Tensor]
    """What its layers with weights were given, in the order of their work."""
    outputs: dict[nn.Module, Tensor]
    logits: list[Tensor]
    """As D gave them, before they were made float32."""


def passed(gan: ganzoo.GAN, batch: ganzoo.Batch) -> Passed:
    """Have D judge a batch, as the run's augmentations let it, and look on."""
    found = Passed({}, {}, [])

    def keep(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], made: Any) -> None:
        x = next(iter([*given, *named.values()]), None)
        if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1 and isinstance(made, Tensor):  # No class.
            found.inputs.pop(layer, None)  # The order is that of the last time.
            found.inputs[layer], found.outputs[layer] = x, made

    def tell(discriminator: nn.Module, given: tuple[Any, ...], said: Any) -> None:
        found.logits.extend(one for one in gan.verdicts(said) if isinstance(one, Tensor))

    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in filter(_weighs, _layers(gan))]
    hooks.append(gan.discriminator.register_forward_hook(tell, prepend=True))
    try:
        gan.judge(gan.augmented(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def last(fakes: Passed, x: Tensor) -> list[nn.Module]:
    """The layers whose outputs the logits are; where these are more, the last layer that saw what was made of `x`."""
    made = {out.grad_fn: layer for layer, out in fakes.outputs.items() if out.grad_fn is not None}
    sources = [node for said in fakes.logits for node in _sources(said.grad_fn)]
    if sources and all(node in made for node in sources):
        return [made[node] for node in dict.fromkeys(sources)]
    reached = [layer for layer, seen in fakes.inputs.items() if _comes_from(seen, x)]
    return reached[-1:]


SHAPING = ("Cat", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Stack", "Mean", "ToCopy", "Clone")
"""What may be done to a layer's output on its way to be logits, as autograd calls it."""


def _sources(node: Any) -> list[Any]:
    """The nodes of autograd's graph that a tensor is of, but for its shape and precision."""
    if node is None or not type(node).__name__.startswith(SHAPING):
        return [node]
    return [source for before, _ in node.next_functions for source in _sources(before)]


def _comes_from(made: Tensor, x: Tensor) -> bool:
    """Whether there is a way from `x` to what was made."""
    target, ways, known = x.grad_fn, [made.grad_fn], set()
    while ways:
        node = ways.pop()
        if node is None or node in known:
            continue
        if node is target or getattr(node, "variable", None) is x:
            return True
        known.add(node)
        ways += [before for before, _ in node.next_functions]
    return False


def _features(seen: Passed, layer: nn.Module) -> Tensor:
    return seen.inputs[layer].float().flatten(1)


def _layers(gan: ganzoo.GAN) -> list[nn.Module]:
    """The discriminator's modules, without itself: what that is given is no feature."""
    return [module for module in gan.discriminator.modules() if module is not gan.discriminator]


def _weighs(layer: nn.Module) -> bool:
    """Whether it is linear or convolutional: torch's, also reparametrised, or a model's own with such weights."""
    own = any(weight.dim() > 1 for weight in layer.parameters(recurse=False))
    return own or isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)


@ganzoo.hookimpl
def register_regularisers(register):
    register(FeatureMatching)
