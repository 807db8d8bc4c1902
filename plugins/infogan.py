"""InfoGAN: Chen et al., InfoGAN: Interpretable Representation Learning by Information Maximizing GANs, 2016.

The latent is noise z and codes c. G must keep the codes readable, so that they come to mean something, without labels
(equation 6):

    min over G and Q, max over D:  V(D, G) - lambda L_I(G, Q),    L_I = E[log Q(c | G(z, c))] + H(c) <= I(c; G(z, c))

Q, a network that shares D's body, predicts the codes: a softmax for the category, a Gaussian of diagonal covariance for
the continuous ones. H(c) is constant and left out.

G maps latents (N, latent_dim + categories + continuous), namely noise, one-hot category, continuous codes in [-1, 1],
to (N, C, H, W) in [-1, 1]. D maps (N, C, H, W) to logits (N, 1) and features (N, F); Q maps these to the codes.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hidden, Hold, LatentDim, LearningRateD, LearningRateG, Width
from ganzoo.nets import ConvGenerator, FeatureDiscriminator, vector

LOG_VARIANCE = (-6.0, 2.0)
"""Range of what Q says of its uncertainty: without a floor, a code that is read well makes the likelihood, and with it
the gradients, grow without bound. Codes are in (-1, 1): a deviation of 0.05 is as good as certain, 2.7 as none."""


class Recognition(nn.Module):
    """Q: features to the category's logits (N, categories), means and log variances (N, continuous)."""

    def __init__(self, features: int, categories: int, continuous: int):
        super().__init__()
        self.sizes = [categories, continuous, continuous]
        self.layers = nn.Sequential(
            nn.Linear(features, 128), nn.LeakyReLU(0.2, inplace=True), nn.Linear(128, sum(self.sizes))
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        category, mean, log_variance = self.layers(features).split(self.sizes, dim=1)
        return category, mean, log_variance.clamp(*LOG_VARIANCE)


class InfoGAN(ganzoo.GAN):
    """The GAN that finds codes by itself.

    Sample grids are traversals: in the first rows the category changes from column to column, in the others one
    continuous code runs from -2 to 2, which is beyond what was trained on. The rest is fixed along each row.
    """

    name = "infogan"
    paper = "Chen et al., InfoGAN, 2016, https://arxiv.org/abs/1606.03657"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {
        "paper": {
            "width": 64, "hidden": 1024, "lr": 2e-4, "lr_generator": 1e-3, "lr_hold": 1.0, "b1": 0.5, "b2": 0.999,
        }
    }  # fmt: skip

    class Options(ganzoo.Options):
        """62 noise variables, 10 categories and 2 codes, as in appendix C.1, whose networks and rates are a preset."""

        lr: LearningRateD = 2e-3
        lr_generator: LearningRateG = Field(4e-3, description="Learning rate of the generator and of Q.")
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = Field(62, description="Size of the noise, to which the codes are joined.")
        width: Width = 32
        hidden: Hidden = 256
        categories: int = Field(10, ge=2, le=1000, description="Values of the categorical code.")
        continuous: int = Field(2, ge=1, le=100, description="Number of continuous codes.")
        information: float = Field(1.0, ge=0, le=100, description="Weight of the category's term, lambda.")
        information_continuous: float = Field(0.1, ge=0, le=100, description="Weight of the continuous codes' term.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        self.generator = ConvGenerator(self.data, o.latent_dim + o.categories + o.continuous, o.width, o.hidden)
        self.discriminator = FeatureDiscriminator(self.data, o.width, o.hidden)
        self.recognition = Recognition(self.discriminator.features.size, o.categories, o.continuous)

    def players(self) -> dict[str, nn.Module]:
        """Q's head moves with G: both maximise the information."""
        return {
            "discriminator": self.discriminator,
            "generator": nn.ModuleList([self.generator, self.recognition]),
        }

    # Latents with codes

    def sample_latent(self, n: int) -> Tensor:
        """Noise N(0, 1), a uniform category, continuous codes U(-1, 1)."""
        category = torch.randint(self.options.categories, (n,), device=self.device)
        continuous = torch.empty(n, self.options.continuous, device=self.device).uniform_(-1, 1)
        return self.latent(torch.randn(n, self.options.latent_dim, device=self.device), category, continuous)

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Codes are mixed: turned, they would leave what training draws."""
        size = self.options.latent_dim
        return torch.cat([super().between(a[:, :size], b[:, :size], t), a[:, size:].lerp(b[:, size:], t)], dim=1)

    def latent(self, noise: Tensor, category: Tensor, continuous: Tensor) -> Tensor:
        """Noise (n, latent_dim), categories (n,) and continuous codes (n, continuous), joined."""
        return torch.cat([noise, vector(category, self.options.categories), continuous], dim=1)

    def codes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The one-hot category and the continuous codes in latents: (n, categories), (n, continuous)."""
        _, category, continuous = z.split(
            [self.options.latent_dim, self.options.categories, self.options.continuous], dim=1
        )
        return category, continuous

    def showcase(self) -> tuple[Tensor, None, int]:
        """Four rows over the categories, then three for each of the first two continuous codes, from -2 to 2."""
        o, columns = self.options, self.options.categories
        swept = min(o.continuous, 2)
        rows = 4 + 3 * swept
        noise = torch.randn(rows, 1, o.latent_dim, device=self.device).repeat(1, columns, 1)
        category = torch.randint(o.categories, (rows, 1), device=self.device).repeat(1, columns)
        category[:4] = torch.arange(columns, device=self.device)
        continuous = torch.zeros(rows, columns, o.continuous, device=self.device)
        for code in range(swept):
            continuous[4 + 3 * code : 7 + 3 * code, :, code] = torch.linspace(-2, 2, columns, device=self.device)
        return self.latent(noise.flatten(0, 1), category.flatten(), continuous.flatten(0, 1)), None, columns

    # The game

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (real_logits, _), (fake_logits, features) = self.discriminate(real, fake)
        # The body is Q's as much as D's: here it learns to read the codes, as in the code of the authors.
        return {"adversarial": losses.minimax_discriminator(real_logits, fake_logits), **self.readable(features, fake)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        logits, features = self.discriminate(fake)
        return {"adversarial": losses.non_saturating_generator(logits), **self.readable(features, fake)}

    def readable(self, features: Tensor, fake: ganzoo.Batch) -> dict[str, Tensor]:
        """Minus lambda L_I: how badly Q reads the codes of the fakes from their features."""
        category, continuous = self.codes(fake.z)
        logits, mean, log_variance = self.recognition(features)
        return {
            "category": self.options.information * F.cross_entropy(logits, category),
            "continuous": self.options.information_continuous * losses.gaussian_nll(mean, log_variance, continuous),
        }


@ganzoo.hookimpl
def register_models(register):
    register(InfoGAN)
