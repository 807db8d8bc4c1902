"""DualGAN: Yi et al., Unsupervised Dual Learning for Image-to-Image Translation, 2017.

Two sets of images without pairs, as CycleGAN has it, by Wasserstein's distance (section 3.1, equations 1 to 4):

    D minimises  E[D(G(s))] - E[D(x)],    D' likewise of s and F(x)
    G and F minimise  -E[D(G(s))] - E[D'(F(x))] + lambda (E[|F(G(s)) - s|_1] + E[|G(F(x)) - x|_1])

with lambda = 100 to 1,000; the critics' weights are clipped, and they take several steps for each of the generators
(algorithm 1). What noise there is comes from dropout in the generators, U-Nets (section 3.2).

G maps s (N, C', H, W) to (N, C, H, W) in [-1, 1], F back; the critics score patches.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, LearningRate, NCritic, Width
from ganzoo.optim import RMSprop, Rule
from ganzoo.translation import PatchDiscriminator, UNet, patch_halvings, same_size
from ganzoo.two_way import TwoWay, distance


class DualGAN(TwoWay):
    """Images from images, learnt without pairs, both ways, by critics with clipped weights.

    `--output source`, an option of drawing, makes sources from images. The preset `paper` is section 3.3's: one image
    at a time, RMSProp 5e-5, no averaging.
    """

    name = "dualgan"
    paper = (
        "Yi et al., DualGAN: Unsupervised Dual Learning for Image-to-Image Translation, 2017, "
        "https://arxiv.org/abs/1704.02510"
    )
    score = staticmethod(losses.raw)
    presets = {
        "paper": {"image_size": 256, "batch_size": 1, "width": 64, "lr": 5e-5, "reconstruction": 500, "ema": 0.0}
    }

    class Options(ganzoo.Options):
        """The recipe of section 3.3, with a learning rate for shorter runs."""

        batch_size: BatchSize = 8
        lr: LearningRate = 2e-4
        n_critic: NCritic = 3
        width: Width = 16
        reconstruction: float = Field(100.0, ge=0, le=1e6, description="Weight of coming back to the same image.")
        dropout: float = Field(0.5, ge=0, lt=1, description="Share of the decoders' channels that are dropped.")
        clip: float = Field(0.01, gt=0, le=10, description="Bound of the critics' weights, c.")
        optimizer: Literal["rmsprop", "adam"] = Field("rmsprop", description="RMSProp as in the paper, or Adam.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=6)
        depth = min((min(self.data.shape[1:]) - 1).bit_length(), 8)
        self.generator = UNet(sources, images, depth, options.width, options.dropout)
        self.back = UNet(images, sources, depth, options.width, options.dropout)
        halvings = patch_halvings(self.data)
        self.discriminator = PatchDiscriminator(images, halvings, max(options.width, 32))
        self.source_discriminator = PatchDiscriminator(sources, halvings, max(options.width, 32))
        self.after_discriminator_step()  # The constraint holds from the first step on.

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.source is not None
        assert fake.source is not None
        seen = self.discriminate(real, fake)
        sources = map(self.judge_source, (real.source, fake.source))
        return {"wasserstein": losses.wasserstein_critic(*seen), "source": losses.wasserstein_critic(*sources)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        s, x = real.source, real.x
        assert s is not None
        assert fake.source is not None
        scores = self.discriminate(fake), self.judge_source(fake.source)
        return {
            "wasserstein": losses.wasserstein_generator(scores[0]) + losses.wasserstein_generator(scores[1]),
            "reconstruction": self.options.reconstruction
            * (distance(self.back(fake.x), s) + distance(self.generator(fake.source), x)),
        }

    @torch.no_grad()
    def after_discriminator_step(self) -> None:
        for critic in (self.discriminator, self.source_discriminator):
            for weight in (p for p in critic.parameters() if p.requires_grad):  # All that are not frozen.
                weight.clamp_(-self.options.clip, self.options.clip)

    def optimizer(self, player: str) -> Rule:
        return RMSprop(self.options.lr) if self.options.optimizer == "rmsprop" else super().optimizer(player)


@ganzoo.hookimpl
def register_models(register):
    register(DualGAN)
