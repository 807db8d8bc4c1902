"""CoGAN: Liu & Tuzel, Coupled Generative Adversarial Networks, 2016.

Two games side by side, for two kinds of images, whose generators share all layers but the last and whose
discriminators share all but the first (section 3):

    D1 and D2 minimise  sum over i of  -E[log Di(xi)] - E[log(1 - Di(Gi(z)))],    G1 and G2  sum of  -E[log Di(Gi(z))]

No image of one kind is ever held against its counterpart; that what is made of one z belongs together follows from the
shared weights. The second kind is made here of any data set: outlines (dilated less eroded) or negatives, as in the
paper's experiments with digits (section 4).

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], of the first kind or of the second, D maps (N, C, H, W) of one of
them to logits (N, 1).
"""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import LearningRate, Width
from ganzoo.nets import channels, init_normal, pyramid, upsampling
from ganzoo.precision import single


class Generators(nn.Module):
    """The networks of DCGAN, with two last layers."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        (first, *sizes), widths = pyramid(data), channels(data, width)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * first[0] * first[1], bias=False), nn.Unflatten(1, (widths[0], *first)),
        ]  # fmt: skip
        for inputs, outputs, size in zip(widths, widths[1:], sizes, strict=False):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), upsampling(inputs, outputs, size)]
        self.shared = nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.last = nn.ModuleList(
            nn.Sequential(upsampling(widths[-1], data.shape[0], sizes[-1]), nn.Tanh()) for _ in range(2)
        )
        init_normal(self)

    def forward(self, z: Tensor, y: None = None) -> tuple[Tensor, Tensor]:
        h = self.shared(z)
        return self.last[0](h), self.last[1](h)


class Discriminators(nn.Module):
    """The networks of DCGAN, with two first layers."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        widths, (h, w) = channels(data, width)[::-1], pyramid(data)[0]
        self.first = nn.ModuleList(nn.Conv2d(data.shape[0], widths[0], 4, 2, 1) for _ in range(2))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.LeakyReLU(0.2), nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.shared = nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(widths[-1] * h * w, 1))
        init_normal(self)

    def forward(self, x: Tensor, which: int) -> Tensor:
        return self.shared(self.first[which](x))


class CoGAN(ganzoo.GAN):
    """Pairs of images learnt without pairs.

    `ganzoo sample RUN --kind second` draws the others, `ganzoo compare cogan --sampling kind=second` measures them.
    Grids show pairs as well.
    """

    name = "cogan"
    paper = "Liu & Tuzel, Coupled Generative Adversarial Networks, 2016, https://arxiv.org/abs/1606.07536"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {"paper": {"lr": 2e-4, "width": 64, "batch_size": 128, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at a higher rate for shorter runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        other: Literal["edges", "negative"] = Field("edges", description="What the second kind of images is.")

    class Sampling(ganzoo.Sampling):
        """Which kind."""

        kind: Literal["first", "second"] = Field("first", description="Which of each pair to draw.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = Generators(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminators(self.data, options.width)

    def second(self, x: Tensor) -> Tensor:
        """Images of the second kind, made of those of the first: all (N, C, H, W) in [-1, 1]."""
        if self.options.other == "negative":
            return -x
        return F.max_pool2d(x, 3, 1, 1) + F.max_pool2d(-x, 3, 1, 1) - 1

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        return self.generator(z)[self.sampling.kind == "second"]

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """Pairs: those of the second kind as `source`."""
        z = self.sample_latent(len(real.x))
        first, second = self.generator(z)
        return ganzoo.Batch(first, z=z, source=single(second))

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        return self.discriminator(batch.x, 0)

    def judge_second(self, x: Tensor) -> Tensor:
        """D2's logits, as the run's augmentations let it see its images."""
        return single(self.discriminator(self.augmented(ganzoo.Batch(x)).x, 1))

    def counterparts(self, fake: ganzoo.Batch) -> Tensor:
        """Of fakes the second kind; made of the first where these came alone."""
        return self.second(fake.x) if fake.source is None else fake.source

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        second = self.judge_second(self.second(real.x)), self.judge_second(self.counterparts(fake))
        return {
            "first": losses.minimax_discriminator(self.discriminate(real), self.discriminate(fake)),
            "second": losses.minimax_discriminator(*second),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {
            "first": losses.non_saturating_generator(self.discriminate(fake)),
            "second": losses.non_saturating_generator(self.judge_second(self.counterparts(fake))),
        }

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        first, second = self.generator(self.sample_latent(len(examples.x)))
        return {"first": first, "second": second}


@ganzoo.hookimpl
def register_models(register):
    register(CoGAN)
