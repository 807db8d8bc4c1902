"""VAE/GAN: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016.

A variational autoencoder whose decoder is G, and whose likelihood is measured in D's features f: an image and what is
made of its code should look alike to D (algorithm 1). With z drawn from E's Gaussian, x' = G(z) and x'' = G(prior):

    D minimises  -E[log D(x)] - E[log(1 - D(x''))] - E[log(1 - D(x'))]
    E minimises  KL(E(x)) + |f(x') - f(x)|^2 / 2
    G minimises  gamma |f(x') - f(x)|^2 / 2 - E[log D(x'')] - E[log D(x')]

The squares are summed over features. G goes down the non-saturating form, as the authors' program.

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], E maps (N, C, H, W) to means and log variances (N, 2 latent_dim),
D maps (N, C, H, W) to logits (N, 1) and features (N, F).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LatentDim, LearningRate, Width
from ganzoo.nets import ConvEncoder, ConvGenerator, FeatureDiscriminator, around


class VAEGAN(ganzoo.GAN):
    """The variational autoencoder that D measures. Grids show what G makes of the codes of held-out images."""

    name = "vaegan"
    paper = "Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, https://arxiv.org/abs/1512.09300"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    saved = ("generator", "encoder")

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999) at a rate for short runs; the paper has RMSprop at 3e-4."""

        lr: LearningRate = 1e-3
        latent_dim: LatentDim = 32
        width: Width = 32
        hidden: Hidden = 256
        gamma: float = Field(1e-3, ge=0, le=1e6, description="Weight of likeness in G's loss.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.encoder = ConvEncoder(self.data, 2 * options.latent_dim, options.width, options.hidden)
        self.discriminator = FeatureDiscriminator(self.data, options.width, options.hidden)

    def players(self) -> dict[str, nn.Module]:
        return {**super().players(), "encoder": self.encoder}

    def turns(self) -> Sequence[ganzoo.Turn]:
        return [*super().turns(), ganzoo.Turn("encoder", self.encoder_loss)]

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """What is made of the prior and, as its `source`, what is made of the codes of `real`."""
        return super().fake(real)._replace(source=self.generator(around(*self.encoder(real.x).chunk(2, dim=1)), None))

    def sides(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> tuple[tuple[Tensor, Tensor], ...]:
        """What D says of real samples, of those made of the prior, and of those made again."""
        again = ganzoo.Batch(fake.x if fake.source is None else fake.source, z=fake.z)
        # The prior's last: their score is what is logged as D(G(z)).
        on_real, on_again, on_fake = self.discriminate(real, again, fake._replace(source=None))
        return on_real, on_fake, on_again

    def unlikeness(self, one: Tensor, other: Tensor) -> Tensor:
        """-log N(f(x); f(x'), 1), up to a constant, of features (N, F)."""
        return (one - other).square().sum(1).mean() / 2

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (on_real, _), (on_fake, _), (on_again, _) = self.sides(real, fake)
        # -log(1 - D(x')), of what is made again.
        return {"adversarial": losses.minimax_discriminator(on_real, on_fake), "again": F.softplus(on_again).mean()}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (_, wanted), (on_fake, _), (on_again, made) = self.sides(real, fake)
        return {
            "adversarial": losses.non_saturating_generator(on_fake) + losses.non_saturating_generator(on_again),
            "likeness": self.options.gamma * self.unlikeness(made, wanted.detach()),
        }

    def encoder_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (_, wanted), _, (_, made) = self.sides(real, fake)
        divergence = losses.gaussian_divergence(*self.encoder(real.x).chunk(2, dim=1))
        return {"prior": divergence, "likeness": self.unlikeness(made, wanted.detach())}

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        mean, _ = self.encoder(examples.x).chunk(2, dim=1)
        return {"image": examples.x, "made again": self.generator(mean, None)}


@ganzoo.hookimpl
def register_models(register):
    register(VAEGAN)
