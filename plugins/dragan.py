"""DRAGAN: Kodali et al., On Convergence and Stability of GANs, 2017.

The game of GAN with a penalty on D's gradient around real data, where sharp gradients herald mode collapse (section
2.4 and algorithm 1):

    D minimises  -E[log D(x)] - E[log(1 - D(G(z)))] + lambda E[(|grad D(x + delta)| - k)^2],
    G minimises  -E[log D(G(z))]

delta is noise of the scale of the data. The gradient is that of the logit, since a saturated sigmoid has none. D has no
batch normalisation: the penalty asks for the gradient of each sample by itself.

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1] and is that of DCGAN, D maps (N, C, H, W) to logits (N, 1).
"""

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hidden, Hold, LearningRate, NCritic, Penalty, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator


class DRAGAN(ganzoo.GAN):
    """GAN with a gradient penalty around real data. The preset `paper` has one D step for each of G."""

    name = "dragan"
    paper = "Kodali et al., On Convergence and Stability of GANs, 2017, https://arxiv.org/abs/1705.07215"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {"paper": {"n_critic": 1, "hidden": 0, "lr": 2e-4, "lr_hold": 1.0, "b1": 0.5, "b2": 0.999}}

    batch_statistics = True
    """The scale of the noise is the standard deviation of the batch."""

    class Options(ganzoo.Options):
        """lambda, k and noise of up to half a batch's deviation, as in the authors' code; rates by search."""

        lr: LearningRate = 1e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        n_critic: NCritic = 2
        width: Width = 32
        hidden: Hidden = 256
        penalty: Penalty = 10.0
        target: float = Field(1.0, ge=0, le=100, description="Norm that the gradient should have, k.")
        spread: float = Field(0.5, ge=0, le=10, description="Most noise around real data, in its standard deviations.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, batch_norm=False, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o = self.options
        penalty = losses.local_penalty(lambda x: self.discriminator(x, real.y), real.x, o.spread, o.target)
        return {
            "adversarial": losses.minimax_discriminator(*self.discriminate(real, fake)),
            "penalty": o.penalty * penalty,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(DRAGAN)
