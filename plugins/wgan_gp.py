"""WGAN-GP: Gulrajani et al., Improved Training of Wasserstein GANs, 2017.

The critic of WGAN, kept Lipschitz not by clipping but by a penalty on its gradient between data and model (equation 3):

    E[f(G(z))] - E[f(x)] + lambda E[(|grad f(x^)| - 1)^2],    x^ = u x + (1 - u) G(z),  u uniform for each pair

G minimises -E[f(G(z))]. The penalty asks for the gradient of each sample by itself: there is no batch normalisation in
the critic (section 4).

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1] and is that of DCGAN, the critic maps (N, C, H, W) to scores (N, 1).
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hidden, Hold, LearningRate, NCritic, Penalty, Width
from ganzoo.nets import networks


class WGANGP(ganzoo.GAN):
    """WGAN with gradient penalty. The preset `paper` has the rates of algorithm 1."""

    name = "wgan-gp"
    paper = "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, https://arxiv.org/abs/1704.00028"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 1e-4, "lr_hold": 1.0, "b1": 0.0, "b2": 0.9, "n_critic": 5, "width": 64, "hidden": 0}}

    class Options(ganzoo.Options):
        """Algorithm 1, with a learning rate for shorter runs."""

        lr: LearningRate = 2e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        n_critic: NCritic = 2
        network: Literal["conv", "mlp"] = Field("conv", description="The pair of networks; mlp: fully connected.")
        width: Width = 32
        hidden: Hidden = 256
        penalty: Penalty = 10.0

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        kind, latent_dim, width = options.network, options.latent_dim, options.width
        self.generator, self.discriminator = networks(
            kind, self.data, latent_dim, width, batch_norm=False, hidden=options.hidden
        )

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        penalty = losses.interpolation_penalty(lambda x: self.discriminator(x, real.y), real.x, fake.x)
        return {
            "wasserstein": losses.wasserstein_critic(*self.discriminate(real, fake)),
            "penalty": self.options.penalty * penalty,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"wasserstein": losses.wasserstein_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(WGANGP)
