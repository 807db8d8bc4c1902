"""CR and bCR: Zhang et al., Consistency Regularization for GANs, 2020; Zhao et al., Improved Consistency ..., 2021.

The discriminator should say the same of an image and of the image flipped and shifted (CR, equation 2; bCR, algorithm
1, adds the same for fakes):

    l_real E[(D(x) - D(T(x)))^2] + l_fake E[(D(G(z)) - D(T(G(z))))^2]
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

import ganzoo
from ganzoo.precision import single


class Consistency(ganzoo.Regulariser):
    """The discriminator says the same of an image whichever way it lies."""

    name = "consistency"
    summary = (
        "D(x) stays D(x flipped and shifted): CR, and with --regularise consistency:fake=10 bCR (Zhang et al. 2020)"
    )

    class Options(ganzoo.IngredientOptions):
        """The weights of the papers."""

        real: float = Field(10.0, ge=0, le=1e4, description="Weight of the term of real images.")
        fake: float = Field(0.0, ge=0, le=1e4, description="Weight of the term of fakes: 10 for bCR.")
        shift: float = Field(0.125, ge=0, le=0.5, description="Most that an image is shifted, as a share of its side.")
        flip: bool = Field(True, description="Whether images may be flipped left to right.")

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        sides = {"consistency of real": (self.options.real, real), "consistency of fake": (self.options.fake, fake)}
        return {name: weight * self.distance(gan, batch) for name, (weight, batch) in sides.items() if weight}

    def distance(self, gan: ganzoo.GAN, batch: ganzoo.Batch) -> Tensor:
        """E[(D(x) - D(T(x)))^2] over a batch."""
        same, moved = (single(gan.judge(b)) for b in (batch, batch._replace(x=self.moved(batch.x))))
        same, moved = (output[0] if isinstance(output, tuple) else output for output in (same, moved))
        return (same - moved).square().mean()

    def moved(self, x: Tensor) -> Tensor:
        """Each image flipped by chance and shifted by whole pixels, with its border reflected: (N, C, H, W)."""
        n, _, height, width = x.shape
        if self.options.flip:
            flipped = torch.rand(n, 1, 1, 1, device=x.device) < 0.5
            x = torch.where(flipped, x.flip(3), x)
        most = int(self.options.shift * min(height, width))
        if not most:
            return x
        padded = F.pad(x, (most, most, most, most), mode="reflect")
        top, left = torch.randint(2 * most + 1, (2, n, 1), device=x.device).unbind()
        rows = top + torch.arange(height, device=x.device)
        columns = left + torch.arange(width, device=x.device)
        image = torch.arange(n, device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@ganzoo.hookimpl
def register_regularisers(register):
    register(Consistency)
