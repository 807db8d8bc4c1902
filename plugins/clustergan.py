"""ClusterGAN: Mukherjee et al., ClusterGAN: Latent Space Clustering in Generative Adversarial Networks, 2019.

Latents are one-hot clusters z_c joined to noise z_n that is too small to bridge them, and an encoder E goes back from
samples to both, so that clusters of latents are clusters of samples (section 3, equation 2). With the critic f of
WGAN-GP:

    f minimises  E[f(G(z))] - E[f(x)] + lambda E[(|grad f(x^)| - 1)^2]
    G and E minimise  -E[f(G(z))] + beta_n E[|z_n - E_n(G(z))|^2] + beta_c E[H(z_c, E_c(G(z)))]

H is the cross-entropy; E_c of a real image is its cluster. (The paper runs k-means on E's output; here the largest of
E_c decides.)

G maps latents (N, latent_dim + clusters) to (N, C, H, W) in [-1, 1], E maps (N, C, H, W) to as many numbers, logits at
the clusters, f maps (N, C, H, W) to scores (N, 1).
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta2, Hidden, LatentDim, LearningRate, NCritic, Penalty, Width
from ganzoo.nets import ConvDiscriminator, ConvEncoder, ConvGenerator, vector


class ClusterGAN(ganzoo.GAN):
    """The GAN that clusters images, without labels. Metric `clustering`: how well these fit the classes.

    Sample grids have a column for each cluster. The preset `paper` has the paper's numbers for digits.
    """

    name = "clustergan"
    paper = "Mukherjee et al., ClusterGAN, 2019, https://arxiv.org/abs/1809.03627"
    channels_last = ("cuda", "cpu")
    saved = ("generator", "encoder")
    clusters = True
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 1e-4, "width": 64, "hidden": 1024, "n_critic": 5, "spread": 0.1, "ema": 0.0}}

    class Options(ganzoo.Options):
        """As in the paper, with a rate, a critic and noise for short runs: with less noise a cluster is one image."""

        lr: LearningRate = 1e-3
        b2: Beta2 = 0.9
        latent_dim: LatentDim = Field(30, description="Size of the noise, to which the cluster is joined.")
        n_critic: NCritic = 1
        width: Width = 32
        hidden: Hidden = 256
        clusters: int = Field(10, ge=2, le=10_000, description="Number of clusters.")
        spread: float = Field(0.5, gt=0, le=10, description="Deviation of the noise, sigma.")
        penalty: Penalty = 10.0
        beta_noise: float = Field(10.0, ge=0, le=1e4, description="Weight of finding the noise again, beta_n.")
        beta_cluster: float = Field(10.0, ge=0, le=1e4, description="Weight of finding the cluster again, beta_c.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        size = options.latent_dim + options.clusters
        self.generator = ConvGenerator(self.data, size, options.width, options.hidden)
        self.encoder = ConvEncoder(self.data, size, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, batch_norm=False, hidden=options.hidden)

    def players(self) -> dict[str, nn.Module]:
        together = nn.ModuleList([self.generator, self.encoder])
        return {"discriminator": self.discriminator, "generator": together}

    def sample_latent(self, n: int) -> Tensor:
        return self.latent(torch.randint(self.options.clusters, (n,), device=self.device))

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Clusters are mixed: turned, they would be more than one in all."""
        size = self.options.latent_dim
        return torch.cat([super().between(a[:, :size], b[:, :size], t), a[:, size:].lerp(b[:, size:], t)], dim=1)

    def latent(self, cluster: Tensor) -> Tensor:
        """Latents of clusters, int64 (n,), with noise."""
        noise = self.options.spread * super().sample_latent(len(cluster))
        return torch.cat([noise, vector(cluster, self.options.clusters)], dim=1)

    def showcase(self) -> tuple[Tensor, None, int]:
        columns = min(self.options.clusters, 100)
        return self.latent(torch.arange(columns, device=self.device).repeat(10)), None, columns

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        penalty = losses.interpolation_penalty(lambda x: self.discriminator(x, real.y), real.x, fake.x)
        return {
            "wasserstein": losses.wasserstein_critic(*self.discriminate(real, fake)),
            "penalty": self.options.penalty * penalty,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o = self.options
        found, wanted = (of.split([o.latent_dim, o.clusters], dim=1) for of in (self.encoder(fake.x), fake.z))
        return {
            "wasserstein": losses.wasserstein_generator(self.discriminate(fake)),
            "noise": o.beta_noise * (found[0] - wanted[0]).square().mean(),
            "cluster": o.beta_cluster * F.cross_entropy(found[1].float(), wanted[1]),
        }

    def recognise(self, x: Tensor) -> dict[str, Tensor]:
        return {"cluster": self.encoder(x)[:, self.options.latent_dim :]}

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        noise, cluster = self.encoder(examples.x).split([self.options.latent_dim, self.options.clusters], dim=1)
        return {"image": examples.x, "made again": self.generator(torch.cat([noise, cluster.softmax(1)], dim=1), None)}


@ganzoo.hookimpl
def register_models(register):
    register(ClusterGAN)
