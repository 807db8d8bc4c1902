"""LSGAN: Mao et al., Least Squares Generative Adversarial Networks, 2017.

D regresses instead of classifying, with a as the target of fakes and b of real samples; G wants c (equation 2):

    D minimises  E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2,    G minimises  E[(D(G(z)) - c)^2] / 2

A fake far on the right side of the boundary is still pulled towards the real ones, where cross-entropy lets go. With
b - c = 1 and b - a = 2 the game minimises the Pearson chi-squared divergence (section 3.2); a = 0, b = c = 1 is the
coding that the paper's experiments use as well (section 3.3).

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to (N, 1).
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hidden, Hold, LearningRate, Width
from ganzoo.nets import networks


class LSGAN(ganzoo.GAN):
    """GAN by least squares.

    The preset `paper` is the recipe of section 4 for characters, at the data's own size: the widths and rates of
    DCGAN, and no averaging of G's weights. `pearson` has the coding a = -1, b = 1, c = 0.
    """

    name = "lsgan"
    paper = "Mao et al., Least Squares Generative Adversarial Networks, 2017, https://arxiv.org/abs/1611.04076"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {
        "paper": {
            "width": 64, "hidden": 0, "lr": 2e-4, "lr_hold": 1.0, "b1": 0.5, "b2": 0.999, "batch_size": 64,
            "a": 0.0, "b": 1.0, "c": 1.0, "ema": 0.0,
        },
        "pearson": {"a": -1.0, "b": 1.0, "c": 0.0},
    }  # fmt: skip

    class Options(ganzoo.Options):
        """Found by search for three minutes of digits on two cores; the paper's are a preset."""

        lr: LearningRate = 2e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        network: Literal["conv", "mlp"] = Field("conv", description="The pair of networks; mlp: fully connected.")
        width: Width = 32
        hidden: Hidden = 256
        a: float = Field(0.0, ge=-10, le=10, description="What D should say of fakes.")
        b: float = Field(1.0, ge=-10, le=10, description="What D should say of real samples.")
        c: float = Field(1.0, ge=-10, le=10, description="What G wants D to say of fakes.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        kind, latent_dim, width = options.network, options.latent_dim, options.width
        self.generator, self.discriminator = networks(kind, self.data, latent_dim, width, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        a, b = self.options.a, self.options.b
        return {"adversarial": losses.least_squares_discriminator(*self.discriminate(real, fake), a, b)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.least_squares_generator(self.discriminate(fake), self.options.c)}


@ganzoo.hookimpl
def register_models(register):
    register(LSGAN)
