"""EBGAN: Zhao et al., Energy-based Generative Adversarial Networks, 2017.

D gives energy: how badly an autoencoder restores a sample. It lowers that of real samples, and raises that of fakes up
to a margin m (equations 1 and 2):

    D minimises  E[D(x)] + E[max(0, m - D(G(z)))],    G minimises  E[D(G(z))] + lambda PT

With the pulling-away term G keeps the codes S of a batch's fakes apart (equation 4), lest it make one sample only:

    PT = 1 / (N (N - 1)) sum over i and j != i of (S_i . S_j / (|S_i| |S_j|))^2

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1]; D maps (N, C, H, W) to minus the energies (N, 1), mean squared
errors, and to codes (N, code).
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import LearningRate, Width
from ganzoo.nets import ConvAutoencoder, ConvGenerator


def pulling_away(codes: Tensor) -> Tensor:
    """The mean squared cosine between the codes (N, K) of different samples of a batch; N is at least 2."""
    n, unit = codes.shape[0], F.normalize(codes, dim=1)
    return ((unit @ unit.t()).square().sum() - unit.square().sum(1).square().sum()) / (n * (n - 1))


class EBGAN(ganzoo.GAN):
    """GAN by energy. The preset `paper` has a wider network and no average of G; `plain` no pulling-away term."""

    name = "ebgan"
    paper = "Zhao et al., Energy-based Generative Adversarial Networks, 2017, https://arxiv.org/abs/1609.03126"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 1e-3, "width": 64, "ema": 0.0, "pulling": 0.1}, "plain": {"pulling": 0.0}}

    batch_statistics = True  # The codes of a batch are held apart.

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), and the pulling-away term with the weight of the paper."""

        batch_size: int = Field(64, ge=2, le=65536, description="Images in a batch, over all processes.")
        lr: LearningRate = 1e-3
        width: Width = 32
        code: int = Field(32, ge=1, le=65536, description="Numbers in the autoencoder's code.")
        margin: float = Field(0.1, gt=0, le=4, description="Energy from which on fakes are let be, m; at most 4.")
        pulling: float = Field(0.1, ge=0, le=1e4, description="Weight of the pulling-away term, lambda.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width)
        self.discriminator = ConvAutoencoder(self.data, options.code, options.width)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (on_real, _), (on_fake, _) = self.discriminate(real, fake)
        return {"real": -on_real.mean(), "fake": F.relu(self.options.margin + on_fake).mean()}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_fake, codes = self.discriminate(fake)
        return {"energy": -on_fake.mean(), "pulling away": self.options.pulling * pulling_away(codes)}


@ganzoo.hookimpl
def register_models(register):
    register(EBGAN)
