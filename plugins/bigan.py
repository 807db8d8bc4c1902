"""BiGAN: Donahue et al., Adversarial Feature Learning, 2017; and ALI: Dumoulin et al., Adversarially Learned Inference.

Beside G, from latents to samples, an encoder E goes from samples to latents. D sees both, and tells the pairs apart
(BiGAN, equation 2):

    D minimises  -E[log D(x, E(x))] - E[log(1 - D(G(z), z))]
    G and E minimise  -E[log(1 - D(x, E(x)))] - E[log D(G(z), z)]

At the optimum E is G's inverse. In ALI what E says is a Gaussian, from which the latent is drawn (section 2.1).

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], E maps (N, C, H, W) to (N, latent_dim), D both to logits (N, 1).
"""

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LatentDim, LearningRate, Width
from ganzoo.nets import ConvEncoder, ConvFeatures, ConvGenerator, around


class Discriminator(nn.Module):
    """Images through convolutions, joined to latents, through 512 units to logits."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        self.features = ConvFeatures(data, width, batch_norm=True)
        self.head = nn.Sequential(
            nn.Linear(self.features.size + latent_dim, 512), nn.LeakyReLU(0.2, inplace=True), nn.Linear(512, 1)
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.head(torch.cat([self.features(x), z], dim=1))


class BiGAN(ganzoo.GAN):
    """GAN with an encoder, which a run keeps beside G; grids show what G makes of E's latents of held-out images.

    The preset `ali` has the encoder's noise; `paper` the rates of BiGAN's experiments on ImageNet.
    """

    name = "bigan"
    paper = "Donahue et al., Adversarial Feature Learning, 2017, https://arxiv.org/abs/1605.09782"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    saved = ("generator", "encoder")
    presets = {"ali": {"noise": True}, "paper": {"lr": 2e-4, "width": 64, "hidden": 0, "latent_dim": 200, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at a higher rate for shorter runs."""

        lr: LearningRate = 1e-3
        latent_dim: LatentDim = 50
        width: Width = 32
        hidden: Hidden = 256
        noise: bool = Field(False, description="Draw the encoder's latents from Gaussians, as ALI does.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        self.generator = ConvGenerator(self.data, o.latent_dim, o.width, o.hidden)
        self.encoder = ConvEncoder(self.data, o.latent_dim * (1 + o.noise), o.width, o.hidden)
        self.discriminator = Discriminator(self.data, o.latent_dim, o.width)

    def players(self) -> dict[str, nn.Module]:
        together = nn.ModuleList([self.generator, self.encoder])
        return {"discriminator": self.discriminator, "generator": together}

    def encode(self, x: Tensor) -> Tensor:
        """Latents (N, latent_dim) of images; with `noise`, in training, drawn."""
        mean, *log_variance = self.encoder(x).split(self.options.latent_dim, dim=1)
        return around(mean, *log_variance) if log_variance and self.training else mean

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        """Logits of samples with the latents that they were made from, or else with those that E has for them."""
        return self.discriminator(batch.x, self.encode(batch.x) if batch.z is None else batch.z)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(self.discriminate(real), self.discriminate(fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        # The same game with the sides exchanged: neither lets go where D is sure.
        return {"adversarial": losses.minimax_discriminator(self.discriminate(fake), self.discriminate(real))}

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        return {"image": examples.x, "made again": self.generator(self.encode(examples.x), None)}


@ganzoo.hookimpl
def register_models(register):
    register(BiGAN)
