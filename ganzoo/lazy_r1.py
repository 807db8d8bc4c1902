"""R1 as a turn of its own, for models whose discriminators would learn their images by heart, or win at once."""

from torch import Tensor

from ganzoo import losses
from ganzoo.data import Batch
from ganzoo.fields import R1_EVERY
from ganzoo.gan import GAN, Turn


class LazyR1(GAN):
    """A GAN whose options have `r1` (`ganzoo.fields.R1`), the weight of R1 in every `R1_EVERY`th step."""

    def turns(self) -> list[Turn]:
        """Between those of the two players R1, lazily as Karras et al. 2020 have it."""
        discriminator, *others = super().turns()
        lazy = [Turn("discriminator", self.penalty, every=R1_EVERY)] if self.options.r1 else []
        return [discriminator, *lazy, *others]

    def penalty(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """gamma / 2 E[|grad D(x)|^2] (Mescheder et al. 2018, equation 9), as strong as if it were in D's every turn."""
        scale = R1_EVERY * self.options.n_critic * self.options.r1 / 2
        return {"penalty": scale * losses.zero_centred_penalty(self.discriminate, real)}
