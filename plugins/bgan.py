"""BGAN: Hjelm et al., Boundary-Seeking Generative Adversarial Networks, 2018.

For an optimal D the odds D(x) / (1 - D(x)) are the ratio of data to model. G seeks the boundary, where they are one;
of continuous samples by (section 2.5, equation 17):

    D minimises  -E[log D(x)] - E[log(1 - D(G(z)))],    G minimises  E[(log D(G(z)) - log(1 - D(G(z))))^2] / 2

which of a logistic D is half the squared logit. A fake on the real side is drawn back as well.

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to (N, 1).
"""

from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LearningRate, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator


class BGAN(ganzoo.GAN):
    """GAN whose generator stops at D's boundary. The preset `paper` has the recipe of DCGAN, as section 4.3 has."""

    name = "bgan"
    paper = "Hjelm et al., Boundary-Seeking Generative Adversarial Networks, 2018, https://arxiv.org/abs/1702.08431"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {"paper": {"lr": 1e-4, "width": 64, "hidden": 0, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), at a higher rate for shorter runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        hidden: Hidden = 256

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"boundary": self.discriminate(fake).square().mean() / 2}


@ganzoo.hookimpl
def register_models(register):
    register(BGAN)
