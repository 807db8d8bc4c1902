"""Softmax GAN: Lin, Softmax GAN, 2017.

The samples of a batch B, real and fake, share one softmax of D's logits, and with it a probability of one in all. D
wants it evenly on the real samples, G evenly on all of them (equations 3 to 6):

    p(x) = exp(D(x)) / Z,  Z = sum over B of exp(D(x))
    D minimises  -E over the real ones [log p(x)],    G minimises  -E over B [log p(x)]

These are the cross-entropies of the two targets, and of importance sampling at G's optimum.

The networks are those of DCGAN: z (N, latent_dim) to (N, C, H, W) in [-1, 1], (N, C, H, W) to (N, 1).
"""

import torch
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hidden, LearningRate, Width
from ganzoo.nets import ConvDiscriminator, ConvGenerator


def log_probabilities(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """log p of real and of fake samples, from their logits (N, 1) and (M, 1)."""
    together = torch.cat([real, fake]).log_softmax(0)
    return together[: len(real)], together[len(real) :]


class SoftmaxGAN(ganzoo.GAN):
    """GAN by one softmax over the batch. The preset `paper` has the rate of DCGAN, whose networks these are."""

    name = "softmax-gan"
    paper = "Lin, Softmax GAN, 2017, https://arxiv.org/abs/1704.06191"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {"paper": {"lr": 2e-4, "width": 64, "hidden": 0, "ema": 0.0}}

    batch_statistics = True  # Samples share one softmax.

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at a higher rate for shorter runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        hidden: Hidden = 256

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, hidden=options.hidden)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_real, _ = log_probabilities(*self.discriminate(real, fake))
        return {"cross-entropy": -on_real.mean()}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"cross-entropy": -torch.cat(log_probabilities(*self.discriminate(real, fake))).mean()}


@ganzoo.hookimpl
def register_models(register):
    register(SoftmaxGAN)
