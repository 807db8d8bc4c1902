"""WGAN: Arjovsky et al., Wasserstein GAN, 2017.

A critic f estimates the Wasserstein-1 distance between data and model, by the Kantorovich-Rubinstein duality
(equation 2), and G descends it (algorithm 1):

    max over f with |f|_Lipschitz <= K:  E[f(x)] - E[f(G(z))],    G minimises  -E[f(G(z))]

The constraint is kept by clipping every weight of f to [-c, c] after each of its steps; f takes n_critic steps for each
of G, so that its gradient is that of the distance. Minus f's loss is the estimate, up to the factor K.

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to scores (N, 1).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, Hold, LearningRate, NCritic, Width
from ganzoo.nets import networks
from ganzoo.optim import RMSprop, Rule, linear_decay


class WGAN(ganzoo.GAN):
    """The GAN that descends a distance.

    Momentum made the paper's training unstable at times (section 3), hence RMSProp and not Adam. The preset `paper`
    is algorithm 1 with its own numbers, at the data's own size (the paper's images are 64 x 64: `--image-size 64`).
    """

    name = "wgan"
    paper = "Arjovsky et al., Wasserstein GAN, 2017, https://arxiv.org/abs/1701.07875"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {
        "paper": {
            "width": 64, "hidden": 0, "optimizer": "rmsprop", "lr": 5e-5, "lr_hold": 1.0, "clip": 0.01, "n_critic": 5,
            "batch_size": 64, "ema": 0.0,
        }
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The recipe of algorithm 1, with a learning rate for shorter runs, found by search."""

        lr: LearningRate = 1e-3
        lr_hold: Hold = 0.5
        n_critic: NCritic = 5
        network: Literal["conv", "mlp"] = Field("conv", description="The pair of networks; mlp: fully connected.")
        width: Width = 32
        hidden: Hidden = 256
        clip: float = Field(0.01, gt=0, le=10, description="Bound of the critic's weights, c.")
        optimizer: Literal["rmsprop", "adam"] = Field("rmsprop", description="RMSProp as in the paper, or Adam.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        kind, latent_dim, width = options.network, options.latent_dim, options.width
        self.generator, self.discriminator = networks(kind, self.data, latent_dim, width, hidden=options.hidden)
        self.after_discriminator_step()  # The constraint holds from the first step on.

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"wasserstein": losses.wasserstein_critic(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"wasserstein": losses.wasserstein_generator(self.discriminate(fake))}

    @torch.no_grad()
    def after_discriminator_step(self) -> None:
        for weight in (p for p in self.discriminator.parameters() if p.requires_grad):  # All that are not frozen.
            weight.clamp_(-self.options.clip, self.options.clip)

    def optimizer(self, player: str) -> Rule:
        o = self.options
        return RMSprop(linear_decay(o.lr, o.lr_hold)) if o.optimizer == "rmsprop" else super().optimizer(player)


@ganzoo.hookimpl
def register_models(register):
    register(WGAN)
