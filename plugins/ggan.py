"""Geometric GAN: Lim & Ye, Geometric GAN, 2017.

D is a support vector machine in the space of its own features: it maximises the margin between real and fake, and G
moves fakes along the normal of the separating hyperplane (section 4, equations 22 to 24):

    D minimises  E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] + |w|^2 / (2 C),    G minimises  -E[D(G(z))]

with D(x) = <w, features(x)> + b. Only samples within the margin, the support vectors, pull at it.

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to (N, 1).
"""

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LearningRate, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator
from ganzoo.optim import RMSprop, Rule


class GeometricGAN(ganzoo.GAN):
    """GAN by the hinge. The preset `paper` trains as section 5 does: RMSprop, and no average of G."""

    name = "ggan"
    paper = "Lim & Ye, Geometric GAN, 2017, https://arxiv.org/abs/1705.02894"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"rmsprop": True, "lr": 2e-4, "width": 64, "hidden": 0, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), at a rate for short runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        hidden: Hidden = 256
        margin: float = Field(1e-3, ge=0, le=1e4, description="Weight of the hyperplane's squared normal, 1 / (2 C).")
        rmsprop: bool = Field(False, description="RMSprop in place of Adam.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {
            "hinge": losses.hinge_discriminator(*self.discriminate(real, fake)),
            "margin": self.options.margin * self.discriminator.head.weight.square().sum(),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"normal": losses.hinge_generator(self.discriminate(fake))}

    def optimizer(self, player: str) -> Rule:
        return RMSprop(self.options.lr) if self.options.rmsprop else super().optimizer(player)


@ganzoo.hookimpl
def register_models(register):
    register(GeometricGAN)
