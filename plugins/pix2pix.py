"""pix2pix: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017.

G makes the image x from its source s, pair by pair; D sees both and judges each patch (section 3):

    D minimises  (-E[log D(s, x)] - E[log(1 - D(s, G(s)))]) / 2
    G minimises  -E[log D(s, G(s))] + lambda E[|x - G(s)|_1],    lambda = 100

The halving slows D down relative to G (section 3.3). G is a U-Net: what source and image share goes round the
bottleneck. What noise there is comes from dropout in its decoder (section 3.2.1), in training and, with the option of
drawing `noise`, in samples too.

The paper's networks are for 256 x 256; here they have as many halvings as the image allows, at most 8, and patches of
70, 34 or 16 pixels. G maps s (N, C', H, W) to (N, C, H, W) in [-1, 1], D maps both to logits (N, 1, h, w).
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, Hold, Width
from ganzoo.translation import PatchDiscriminator, UNet, patch_halvings, same_size


class Pix2Pix(ganzoo.GAN):
    """Images from images, learnt from pairs.

    The preset `paper` is the facades' recipe of section 6.2: width 64, no averaging of G's weights, a rate that stays.
    By default the rate falls to 0 in the second half, as the authors' code has it. Images come one by one in either.
    """

    name = "pix2pix"
    paper = (
        "Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, "
        "https://arxiv.org/abs/1611.07004"
    )
    channels_last = ("cuda",)
    translates = True
    real_entropy = 0.5
    presets = {
        "paper": {
            "image_size": 256, "batch_size": 1, "width": 64, "resize_conv": False, "lr_hold": 1.0, "ema": 0.0,
            "epochs": 200,
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as in the paper."""

        batch_size: BatchSize = Field(
            1, description="Images in a batch, over all processes; at 32 x 32 pixels 16 is as good, and faster."
        )
        width: Width = 32
        resize_conv: bool = Field(
            True,
            description="Double the last map by nearest neighbours and convolve it: no checkerboard, which the paper's "
            "transposed convolution leaves.",
            json_schema_extra={"absent": False},
        )
        l1: float = Field(100.0, ge=0, le=1e6, description="Weight of the distance to the target (lambda).")
        dropout: float = Field(0.5, ge=0, lt=1, description="Share of the decoder's channels that are dropped.")
        lr_hold: Hold = 0.5

    class Sampling(ganzoo.Sampling):
        """What a sample is made with."""

        noise: bool = Field(False, description="Draw with dropout, the model's noise: another answer for each seed.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=6)
        halvings = min((min(self.data.shape[1:]) - 1).bit_length(), 8)
        self.generator = UNet(sources, images, halvings, options.width, options.dropout, resized=options.resize_conv)
        self.discriminator = PatchDiscriminator(sources + images, patch_halvings(self.data), options.width, affine=True)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        return self.generator(source, y, noise=self.sampling.noise)

    def judge(self, batch: ganzoo.Batch) -> Any:
        assert batch.source is not None
        return self.discriminator(torch.cat([batch.source, batch.x], 1))

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.cross_entropy_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {
            "adversarial": losses.non_saturating_generator(self.discriminate(fake)),
            "l1": self.options.l1 * (fake.x - real.x).abs().mean(),
        }


@ganzoo.hookimpl
def register_models(register):
    register(Pix2Pix)
