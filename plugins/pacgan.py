"""PacGAN: Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018.

The game of GAN, but D judges m samples at once, all real or all of G, joined into one (section 2):

    min over G, max over D:  E[log D(x_1, ..., x_m)] + E[log(1 - D(G(z_1), ..., G(z_m)))]

A generator that has lost modes makes packs that are too much alike, and D sees it: between packs the distance of two
distributions is larger the more of the modes are missing (theorem 3). Nothing else changes, G least of all.

G maps z (N, latent_dim) to samples in [-1, 1], D maps packs of m samples, joined along the channels, to logits
(N / m, 1). Networks are fully connected, and take points in the plane as well as images, or those of DCGAN.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import Beta1, Beta2, Hidden, Hold, LatentDim, LearningRate, Width
from ganzoo.nets import networks


class Packed(nn.Module):
    """A discriminator of packs: samples (N, C, ...) in order as (N / `size`, `size` C, ...), to logits (N / size, 1).

    What is left over where N is no multiple is not looked at.
    """

    batch_statistics = True
    """What it says of a sample depends on those beside it: real and fake are not to share a pass."""

    def __init__(self, judge: nn.Module, size: int):
        super().__init__()
        self.judge, self.size = judge, size

    def forward(self, x: Tensor, y: None = None) -> Tensor:
        packs = x.shape[0] // self.size
        joined = x[: packs * self.size].reshape(packs, self.size * x.shape[1], *x.shape[2:])
        return self.judge(joined, None)


class PacGAN(ganzoo.GAN):
    """The GAN whose discriminator sees several samples at once.

    The paper takes an architecture and packs it, m = 2, 3 or 4, with the batch and all else as they were. The preset
    `dcgan` packs that of DCGAN, with its recipe.
    """

    name = "pacgan"
    paper = (
        "Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018, "
        "https://arxiv.org/abs/1712.04086"
    )
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {
        "dcgan": {
            "network": "conv",
            "hidden": 0,
            "lr": 2e-4,
            "lr_hold": 1.0,
            "b1": 0.5,
            "b2": 0.999,
            "latent_dim": 100,
        },
    }

    class Options(ganzoo.Options):
        """The default recipe is that of `gan`."""

        lr: LearningRate = 1e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 64
        pack: int = Field(4, ge=1, le=64, description="Samples that D judges together, m.")
        network: Literal["mlp", "conv"] = Field("mlp", description="The pair of networks; mlp: fully connected.")
        width: Width = Field(32, description="Of conv: channels next to the image.")
        hidden: Hidden = 256

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        if options.batch_size % options.pack:
            raise UsageError(
                f"model 'pacgan' judges {options.pack} samples together: --batch-size must be a multiple of that, "
                f"not {options.batch_size}"
            )
        self.judged_together = options.pack
        kind, latent_dim, width = options.network, options.latent_dim, options.width
        self.generator, judge = networks(kind, self.data, latent_dim, width, hidden=options.hidden, pack=options.pack)
        self.discriminator = Packed(judge, options.pack)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}

    def surface(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Of packs that are one point, so many times over."""
        return self.score(self.judge(ganzoo.Batch(x.repeat_interleave(self.options.pack, 0)))).flatten()


@ganzoo.hookimpl
def register_models(register):
    register(PacGAN)
