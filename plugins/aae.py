"""AAE: Makhzani et al., Adversarial Autoencoders, 2016.

An autoencoder whose codes are made to follow the prior by a game: D tells latents drawn from it, z, from the codes of
images, E(x) (section 2):

    D minimises  -E[log D(z)] - E[log(1 - D(E(x)))]
    E and G minimise  lambda E[(G(E(x)) - x)^2] - E[log D(E(x))]

so that G, the decoder, makes samples of what is drawn. G sees no adversary.

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], E maps (N, C, H, W) to (N, latent_dim), D latents to logits (N, 1).
"""

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import LatentDim, LearningRate, Width
from ganzoo.nets import ConvEncoder, ConvGenerator, mlp


class AAE(ganzoo.GAN):
    """The adversarial autoencoder. What it logs as D(x) is of codes of images, D(G(z)) of latents drawn."""

    name = "aae"
    paper = "Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644"
    channels_last = ("cuda", "cpu")
    judged = "latents"
    saved = ("generator", "encoder")

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), and the 8 latents that the paper takes for the likelihood of digits."""

        lr: LearningRate = 1e-3
        latent_dim: LatentDim = 8
        width: Width = 32
        hidden: int = Field(1000, ge=1, le=65536, description="Units in both layers of the discriminator.")
        reconstruction: float = Field(20.0, gt=0, le=1e6, description="Weight of giving an image back, lambda.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        self.generator = ConvGenerator(self.data, o.latent_dim, o.width)
        self.encoder = ConvEncoder(self.data, o.latent_dim, o.width)
        self.discriminator = mlp([o.latent_dim, o.hidden, o.hidden, 1], nn.LeakyReLU(0.2))

    def players(self) -> dict[str, nn.Module]:
        together = nn.ModuleList([self.generator, self.encoder])
        return {"discriminator": self.discriminator, "generator": together}

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        """Logits of the latents that samples were made from, or else of their codes."""
        return self.discriminator(self.encoder(batch.x) if batch.z is None else batch.z)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(self.discriminate(fake), self.discriminate(real))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        code = self.encoder(real.x)
        apart = (self.generator(code, None) - real.x).square().mean()
        return {
            "reconstruction": self.options.reconstruction * apart,
            "adversarial": losses.non_saturating_generator(self.discriminator(code)),
        }

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        return {"image": examples.x, "made again": self.generator(self.encoder(examples.x), None)}


@ganzoo.hookimpl
def register_models(register):
    register(AAE)
