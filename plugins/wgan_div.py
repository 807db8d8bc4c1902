"""WGAN-div: Wu et al., Wasserstein Divergence for GANs, 2018.

The critic's gradient is held small instead of within a bound: with this term in the objective no Lipschitz constraint
is needed, and what is estimated is a divergence still (definition 1, equation 11, algorithm 1):

    E[f(G(z))] - E[f(x)] + k E[|grad f(x^)|^p],    x^ = u x + (1 - u) G(z),  u uniform for each pair

G minimises -E[f(G(z))]. The paper takes k = 2 and p = 6. The gradient is that of each sample by itself: there is no
batch normalisation in the critic.

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1] and is that of DCGAN, the critic maps (N, C, H, W) to scores (N, 1).
"""

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hidden, LearningRate, NCritic, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator


class WGANdiv(ganzoo.GAN):
    """WGAN by the Wasserstein divergence. The preset `paper` has the rates of section 5 and no average of G."""

    name = "wgan-div"
    paper = "Wu et al., Wasserstein Divergence for GANs, 2018, https://arxiv.org/abs/1712.01026"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 2e-4, "b1": 0.0, "width": 64, "hidden": 0, "n_critic": 4, "ema": 0.0}}

    class Options(ganzoo.Options):
        """k = 2 and p = 6 as in the paper, with a learning rate for shorter runs."""

        lr: LearningRate = 1e-3
        b1: Beta1 = 0.0
        b2: Beta2 = 0.9
        n_critic: NCritic = 2
        width: Width = 32
        hidden: Hidden = 256
        k: float = Field(2.0, ge=0, le=1e4, description="Weight of the gradient's power.")
        p: float = Field(6.0, gt=1, le=16, description="The power of the gradient's norm.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, batch_norm=False, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        norm = losses.gradient_norm(lambda x: self.discriminator(x, real.y), losses.between(real.x, fake.x))
        return {
            "wasserstein": losses.wasserstein_critic(*self.discriminate(real, fake)),
            "divergence": self.options.k * norm.pow(self.options.p).mean(),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"wasserstein": losses.wasserstein_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(WGANdiv)
