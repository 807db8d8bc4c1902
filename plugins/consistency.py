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
from ganzoo.errors import UsageError, note_once
from ganzoo.ingredients import unreached
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

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        if not data.is_images:
            raise UsageError(
                f"regulariser 'consistency' flips and shifts images, and data set '{data.name}' has vectors: leave it "
                "out"
            )

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        if not (self.options.real or self.options.fake):
            note_once("regulariser 'consistency' does nothing: real and fake are both 0")
        return unreached(gan) if self.options.fake else None

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        sides = {"consistency of real": (self.options.real, real), "consistency of fake": (self.options.fake, fake)}
        return {name: weight * self.distance(gan, batch) for name, (weight, batch) in sides.items() if weight}

    def distance(self, gan: ganzoo.GAN, batch: ganzoo.Batch) -> Tensor:
        """E[(D(x) - D(T(x)))^2] over a batch."""
        same, moved = (single(gan.judge(b)) for b in (batch, self.along(batch)))
        pairs = zip(gan.verdicts(same), gan.verdicts(moved), strict=True)
        return torch.stack([(one - other).square().mean() for one, other in pairs]).sum()

    def along(self, batch: ganzoo.Batch) -> ganzoo.Batch:
        """The batch with its images moved, and with each its source, where this is of the same size: they are judged
        together."""
        x, source = batch.x, batch.source
        if source is None or source.shape[2:] != x.shape[2:]:
            return batch._replace(x=self.moved(x))
        both = self.moved(torch.cat([x, source.to(x.dtype)], dim=1))
        x, source = both.split([x.shape[1], source.shape[1]], dim=1)
        return batch._replace(x=x, source=source)

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
