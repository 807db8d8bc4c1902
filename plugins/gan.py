"""GAN: Goodfellow et al., Generative Adversarial Nets, 2014.

Two players, one value:

    min over G, max over D:  E[log D(x)] + E[log(1 - D(G(z)))]

D(x) is the probability that x is real, G(z) a sample made from noise z. Networks are fully connected and take any
image shape: G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to logits (N, 1).
"""

from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import R1, Beta1, Beta2, Hold, LatentDim, LearningRate
from ganzoo.lazy_r1 import LazyR1
from ganzoo.nets import Dropout, Maxout, MLPDiscriminator, MLPGenerator, init_uniform, mlp, networks
from ganzoo.optim import SGD, Rule, exponential, ramp


class PaperGenerator(nn.Module):
    """z to 1200 and 1200 rectified units, to sigmoid pixels, which are in [0, 1] and rescaled here."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            mlp([latent_dim, 1200, 1200, data.pixels], nn.ReLU(inplace=True)),
            nn.Sigmoid(),
            nn.Unflatten(1, data.shape),
        )
        init_uniform(self, 0.05)

    def forward(self, z: Tensor, y: None = None) -> Tensor:
        return 2 * self.layers(z) - 1


class PaperDiscriminator(nn.Module):
    """Pixels in [0, 1] to 240 and 240 maxout units of 5 pieces, to one logit, with dropout before every layer."""

    def __init__(self, data: ganzoo.DataSpec):
        super().__init__()
        self.layers = nn.Sequential(
            Dropout(0.2),
            Maxout(data.pixels, 240, pieces=5),
            Dropout(0.5),
            Maxout(240, 240, pieces=5),
            Dropout(0.5),
            nn.Linear(240, 1),
        )
        init_uniform(self, 0.005)

    def forward(self, x: Tensor, y: None = None) -> Tensor:
        return self.layers((x.flatten(1) + 1) / 2)


NETWORKS = {
    "tutorial": (
        partial(MLPGenerator, sizes=(128, 256, 512, 1024), first_normalised=False, eps=0.8),
        MLPDiscriminator,
    ),
    "paper": (PaperGenerator, PaperDiscriminator),
}


class GAN(LazyR1):
    """The first adversarial network.

    The preset `tutorial` is the one that PyTorch courses teach. `paper` follows the code its authors published for
    MNIST: Gaussian noise, dropout in D alone, the non-saturating loss of section 3, and no averaging of G's weights.
    (That code also sets G's last biases from the mean image, which a model here is not told.)
    """

    name = "gan"
    paper = "Goodfellow et al., Generative Adversarial Nets, 2014, https://arxiv.org/abs/1406.2661"
    presets = {
        "tutorial": {
            "image_size": 28,
            "network": "tutorial",
            "loss": "cross-entropy",
            "r1": 0.0,
            "lr": 2e-4,
            "lr_hold": 1.0,
            "latent_dim": 100,
            "b1": 0.5,
            "b2": 0.999,
        },
        "paper": {
            "image_size": 28,
            "network": "paper",
            "loss": "cross-entropy",
            "optimizer": "sgd",
            "r1": 0.0,
            "lr": 0.1,
            "latent_dim": 100,
            "batch_size": 100,
            "ema": 0.0,
        },
    }

    class Options(ganzoo.Options):
        """The default recipe is the one that this family trains best with."""

        lr: LearningRate = 1e-3
        lr_hold: Hold = Field(
            0.5, description="Share of the run after which Adam's rate falls in a line to 0; 1: it stays."
        )
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 64
        network: Literal["mlp", "tutorial", "paper"] = Field("mlp", description="The pair of networks.")
        loss: losses.Name = Field("non-saturating", description="The adversarial loss.")
        r1: R1 = 1.0
        optimizer: Literal["adam", "sgd"] = Field(
            "adam", description="Adam, or the paper's SGD: decaying rate, rising momentum."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        if options.network == "mlp":
            self.generator, self.discriminator = networks("mlp", self.data, options.latent_dim)
        else:
            generator, discriminator = NETWORKS[options.network]
            self.generator, self.discriminator = generator(self.data, options.latent_dim), discriminator(self.data)
        self.loss = losses.ADVERSARIAL[options.loss]
        self.real_entropy = self.loss.entropy

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.loss.discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.loss.generator(self.discriminate(fake))}

    def score(self, logits: Tensor) -> Tensor:
        return self.loss.score(logits)

    def optimizer(self, player: str) -> Rule:
        if self.options.optimizer == "sgd":
            return SGD(exponential(self.options.lr, 1.000004, floor=1e-6), momentum=ramp(0.5, 0.7, epochs=250))
        return super().optimizer(player)


@ganzoo.hookimpl
def register_models(register):
    register(GAN)
