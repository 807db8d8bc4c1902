"""Feature matching: Salimans et al., Improved Techniques for Training GANs, 2016, section 3.1.

The generator wants its samples to have the mean features f of real ones, f being what D's last layer sees:

    |E[f(x)] - E[f(G(z))]|^2

Here it is a term beside the generator's own loss, of any model; alone it is `improved-gan --generator matching`.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.ingredients import unreached


class FeatureMatching(ganzoo.Regulariser):
    """G's samples have the mean features of real ones, as D's last layer sees them: one forward pass of D more."""

    name = "feature-matching"
    summary = "G's samples have real ones' mean features before D's last layer (Salimans et al. 2016)"
    player = "generator"
    whole_batches = True  # The means are those of a batch.

    class Options(ganzoo.IngredientOptions):
        """How strong."""

        weight: float = Field(1.0, ge=0, le=1e6, description="Weight of the squared distance, a mean over features.")

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        if not any(map(_weighs, gan.discriminator.modules())):
            return "has a discriminator without layers of weights, before which features could be matched"
        return unreached(gan)

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        fakes = seen(gan, fake)
        last = next(layer for layer in reversed(fakes) if fakes[layer].requires_grad)  # Not one of conditions alone.
        with torch.no_grad():
            wanted = seen(gan, real)[last]
        return {self.name: self.options.weight * losses.feature_matching(wanted, fakes[last])}


def _weighs(layer: nn.Module) -> bool:
    """Whether it is linear or convolutional: torch's, also reparametrised, or a model's own with such weights."""
    own = any(weight.dim() > 1 for weight in layer.parameters(recurse=False))
    return own or isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)


def seen(gan: ganzoo.GAN, batch: ganzoo.Batch) -> dict[nn.Module, Tensor]:
    """What each layer with weights of D sees of a batch, in the order of their work: float32 (N, F)."""
    inputs: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, given: tuple[Any, ...]) -> None:
        x = given[0] if given else None
        if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1:  # No class, nor a weight's own norm.
            inputs.pop(layer, None)  # The order is that of the last time.
            inputs[layer] = x.float().flatten(1)

    hooks = [layer.register_forward_pre_hook(keep) for layer in filter(_weighs, gan.discriminator.modules())]
    try:
        gan.judge(gan.augmented(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return inputs
