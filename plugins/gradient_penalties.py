"""R1 and R2: Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018.

Zero-centred penalties on the discriminator's gradient, where the data is (R1, equation 9) or the model (R2, 10):

    gamma / 2 E[|grad D(x)|^2]

Lazily, as Karras et al. 2020 (Analyzing and Improving the Image Quality of StyleGAN, section 3.1) compute them: in
every 16th step, 16 times as strong.
"""

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.ingredients import unreached


class Options(ganzoo.IngredientOptions):
    """How strong, and how often."""

    gamma: float = Field(10.0, ge=0, le=1e6, description="Weight: gamma / 2 times the squared norm.")
    every: int = Field(16, ge=1, le=1000, description="Steps from one to the next; it is scaled to make up for it.")


class R1(ganzoo.Regulariser):
    """The discriminator is flat around real images."""

    name = "r1"
    summary = "zero-centred gradient penalty on real images, lazily (Mescheder et al. 2018)"
    Options = Options

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {self.name: self.penalty(gan, real)}

    def penalty(self, gan: ganzoo.GAN, batch: ganzoo.Batch) -> Tensor:
        """The weighted penalty at a batch, through the run's augmentations as the discriminator sees it."""
        return self.every * self.options.gamma / 2 * losses.zero_centred_penalty(gan.discriminate, batch, gan.judges)


class R2(R1):
    """The discriminator is flat around made-up images."""

    name = "r2"
    summary = "zero-centred gradient penalty on fakes, lazily (Mescheder et al. 2018)"

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        return unreached(gan)

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {self.name: self.penalty(gan, fake)}


@ganzoo.hookimpl
def register_regularisers(register):
    register(R1)
    register(R2)
