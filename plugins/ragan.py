"""RaGAN: Jolicoeur-Martineau, The relativistic discriminator: a key element missing from standard GAN, 2018.

D says how much more real a sample is than the other side's samples are on average (section 4.2 and appendix A). With
R(a, b) = C(a) - E[C(b)], C the logits, D's ours are real and G's are fakes:

    standard       minimise  -E[log s(R(ours, theirs))] - E[log(1 - s(R(theirs, ours)))],    s the logistic function
    least-squares  minimise  E[(R(ours, theirs) - 1)^2] + E[(R(theirs, ours) + 1)^2]
    hinge          minimise  E[max(0, 1 - R(ours, theirs))] + E[max(0, 1 + R(theirs, ours))]

So G makes fakes more real and, by the same measure, real samples less so.

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to (N, 1).
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LearningRate, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator


def least_squares(ours: Tensor, theirs: Tensor) -> Tensor:
    """RaLSGAN."""
    return (ours - theirs.mean() - 1).square().mean() + (theirs - ours.mean() + 1).square().mean()


def hinge(ours: Tensor, theirs: Tensor) -> Tensor:
    """RaHingeGAN."""
    return F.relu(1 - (ours - theirs.mean())).mean() + F.relu(1 + (theirs - ours.mean())).mean()


LOSSES = {"standard": losses.relativistic_average, "least-squares": least_squares, "hinge": hinge}


class RaGAN(ganzoo.GAN):
    """The relativistic average GAN. The preset `paper` has the rates and the batch of section 5."""

    name = "ragan"
    paper = "Jolicoeur-Martineau, The relativistic discriminator, 2018, https://arxiv.org/abs/1807.00734"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 2e-4, "width": 64, "hidden": 0, "batch_size": 32, "latent_dim": 128, "ema": 0.0}}

    batch_statistics = True  # A sample is held against the other side's mean.

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at a higher rate for shorter runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        hidden: Hidden = 256
        loss: Literal["standard", "least-squares", "hinge"] = Field("standard", description="Which of the paper's.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, hidden=options.hidden)
        self.loss = LOSSES[options.loss]

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.loss(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_real, on_fake = self.discriminate(real, fake)
        return {"adversarial": self.loss(on_fake, on_real)}


@ganzoo.hookimpl
def register_models(register):
    register(RaGAN)
