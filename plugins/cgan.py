"""CGAN: Mirza & Osindero, Conditional Generative Adversarial Nets, 2014.

The game of GAN with a condition y, here the class, given to both players:

    min over G, max over D:  E[log D(x|y)] + E[log(1 - D(G(z|y)|y))]

D must learn not only whether x is real but whether it goes with y, so G(z|y) learns to draw what it is asked for.
Networks are fully connected and take any image shape: G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1],
D maps (N, C, H, W) and y to logits (N, 1). y is class indices (N,) or condition vectors (N, K).
"""

from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import R1, Beta1, Beta2, Hold, LatentDim, LearningRate
from ganzoo.lazy_r1 import LazyR1
from ganzoo.nets import (
    Condition,
    Dropout,
    JoinedLinear,
    Linear,
    Maxout,
    MLPDiscriminator,
    MLPGenerator,
    init_uniform,
    vector,
)
from ganzoo.optim import SGD, Rule, exponential, ramp


class TutorialDiscriminator(nn.Module):
    """The pixels joined to the embedded condition, to three times 512 units, to one logit; dropout in the middle."""

    def __init__(self, data: ganzoo.DataSpec):
        super().__init__()
        self.condition = Condition(data, data.condition_size)
        self.first = JoinedLinear(data.pixels, self.condition.size, 512)
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.2, inplace=True),
            Linear(512, 512),
            Dropout(0.4),
            nn.LeakyReLU(0.2, inplace=True),
            Linear(512, 512),
            Dropout(0.4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 1),
        )

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.layers(self.first(x.flatten(1), self.condition(x, y)))


class PaperGenerator(nn.Module):
    """z to 200 units and y to 1000, joined to 1200, all rectified, to sigmoid pixels; dropout on hidden units.

    The dropout is noise that G draws with, in sampling as in training: without it every sample of a class is nearly the
    same. Its masks are part of the latent (N, latent_dim + `noise`), uniform numbers that keep a unit where they are
    below a half, so that a latent and a condition make one image.
    """

    hidden = 1200
    noise = 2 * hidden

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int):
        super().__init__()
        self.from_z = nn.Sequential(Linear(latent_dim, 200), nn.ReLU(inplace=True))
        self.from_y = nn.Sequential(Linear(data.condition_size, 1000), nn.ReLU(inplace=True))
        self.joint = nn.Sequential(Linear(self.hidden, self.hidden), nn.ReLU(inplace=True))
        self.pixels = nn.Sequential(Linear(self.hidden, data.pixels), nn.Sigmoid(), nn.Unflatten(1, data.shape))
        init_uniform(self, 0.05)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        latent_dim, y = self.from_z[0].in_features, vector(y, self.from_y[0].in_features)
        kept = 2 * (z[:, latent_dim:] < 0.5).to(z.dtype)
        first, second = kept[:, : self.hidden], kept[:, self.hidden :]
        h = torch.cat([self.from_z(z[:, :latent_dim]), self.from_y(y)], dim=1)
        return 2 * self.pixels(self.joint(h * first) * second) - 1


class PaperDiscriminator(nn.Module):
    """x in [0, 1] to 240 maxout units of 5 pieces and y to 50 of 5, joined to 240 of 4, to one logit; dropout again."""

    def __init__(self, data: ganzoo.DataSpec):
        super().__init__()
        self.condition_size = data.condition_size
        self.from_x = Maxout(data.pixels, 240, pieces=5)
        self.from_y = Maxout(data.condition_size, 50, pieces=5)
        self.joint = nn.Sequential(
            Dropout(0.5),
            Maxout(290, 240, pieces=4),
            Dropout(0.5),
            nn.Linear(240, 1),
        )
        init_uniform(self, 0.005)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = (x.flatten(1) + 1) / 2, vector(y, self.condition_size)
        return self.joint(torch.cat([self.from_x(x), self.from_y(y)], dim=1))


NETWORKS = {
    "mlp": (MLPGenerator, MLPDiscriminator),
    "tutorial": (
        partial(MLPGenerator, sizes=(128, 256, 512, 1024), first_normalised=False, eps=0.8),
        TutorialDiscriminator,
    ),
    "paper": (PaperGenerator, PaperDiscriminator),
}

LATENTS = {"normal": torch.randn, "uniform": torch.rand}


class CGAN(LazyR1):
    """The GAN that draws what it is asked for.

    The preset `tutorial` is the one that PyTorch courses teach: least squares, dropout in D, and 0.8 where they mean
    BatchNorm's momentum but set its epsilon. `paper` is the network and recipe of section 4.1. How weights start is
    not printed there and is taken from the code of Goodfellow et al. 2014; so are the half before D's loss, without
    which a rate of 0.1 is one of 0.2 for D, and G's non-saturating turn, for the printed value (`--loss minimax`)
    saturates: D(G(z)) is 0.000 after a hundred steps, and G learns nothing. Nothing is averaged: `--ema 0`. G's
    dropout draws when it samples too: it is the noise that G learned to use, and without it a class is one image.
    """

    name = "cgan"
    paper = "Mirza & Osindero, Conditional Generative Adversarial Nets, 2014, https://arxiv.org/abs/1411.1784"
    conditional = True
    presets = {
        "tutorial": {
            "image_size": 32,
            "labels": "uniform",
            "network": "tutorial",
            "loss": "mean-squared",
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
            "latent": "uniform",
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
        latent: Literal["normal", "uniform"] = Field(
            "normal", description="Latents from the normal distribution, or uniform in [0, 1) as in the paper."
        )
        optimizer: Literal["adam", "sgd"] = Field(
            "adam", description="Adam, or the paper's SGD: decaying rate, rising momentum."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        generator, discriminator = NETWORKS[options.network]
        self.generator = generator(self.data, options.latent_dim)
        self.discriminator = discriminator(self.data)
        self.loss = losses.ADVERSARIAL[options.loss]
        self.real_entropy = self.loss.entropy

    def sample_latent(self, n: int) -> Tensor:
        z = LATENTS[self.options.latent](n, self.options.latent_dim, device=self.device)
        if isinstance(self.generator, PaperGenerator):
            z = torch.cat([z, torch.rand(n, self.generator.noise, device=self.device)], dim=1)
        return z

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Normal latents turn; uniform ones, and the uniform noise of the paper's generator, go along a line."""
        line, size = a.lerp(b, t), self.options.latent_dim
        if self.options.latent == "uniform":
            return line
        return torch.cat([super().between(a[:, :size], b[:, :size], t), line[:, size:]], dim=1)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.loss.discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.loss.generator(self.discriminate(fake))}

    def score(self, logits: Tensor) -> Tensor:
        return self.loss.score(logits)

    def optimizer(self, player: str) -> Rule:
        if self.options.optimizer == "sgd":
            return SGD(exponential(self.options.lr, 1.00004, floor=1e-6), momentum=ramp(0.5, 0.7, epochs=250))
        return super().optimizer(player)


@ganzoo.hookimpl
def register_models(register):
    register(CGAN)
