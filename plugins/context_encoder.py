"""Context encoders: Pathak et al., Context Encoders: Feature Learning by Inpainting, 2016.

G fills the hole in the middle of an image: it sees what is around it, s, and makes what is in it and a margin of a few
pixels more, where it is held to what is there (sections 3.2 and 4.2):

    D minimises  -E[log D(x)] - E[log(1 - D(G(s)))],    of the hole and its margin alone
    G minimises  0.999 E[w (G(s) - x)^2] - 0.001 E[log D(G(s))],    w = 10 in the margin, 1 in the hole

The source is the picture with its hole, as `--source hole` makes it; whatever fills the hole, the networks see an even
grey, and of what is made the hole alone is put into the picture. G is an encoder to a bottleneck and a decoder, D that
of DCGAN; G maps s (N, C, H, W) to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to logits (N, 1).
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.data.making import Maker, hole_in
from ganzoo.errors import UsageError
from ganzoo.fields import Width
from ganzoo.nets import ConvDiscriminator, ConvFeatures, ConvGenerator
from ganzoo.translation import same_size


class Place(NamedTuple):
    """A rectangle in an image."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        """What of images (N, C, H, W) lies in it, (N, C, `height`, `width`), as a view of them."""
        return x[:, :, self.top : self.top + self.height, self.left : self.left + self.width]


class Filler(nn.Module):
    """Pictures (N, C, H, W), whatever is in their hole, to what is to be in `patch`."""

    def __init__(self, data: ganzoo.DataSpec, hole: Place, patch: Place, width: int, bottleneck: int):
        super().__init__()
        self.hole = hole
        self.encoder = ConvFeatures(data, width, batch_norm=True)
        self.bottleneck = nn.Sequential(
            nn.Linear(self.encoder.size, bottleneck, bias=False), nn.BatchNorm1d(bottleneck), nn.LeakyReLU(0.2)
        )
        inner = replace(data, shape=(data.shape[0], patch.height, patch.width))
        self.decoder = ConvGenerator(inner, bottleneck, width)

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        seen = source.clone()
        self.hole.of(seen).zero_()
        return self.decoder(self.bottleneck(self.encoder(seen)), None)


class ContextEncoder(ganzoo.GAN):
    """Pictures with a hole in their middle, filled.

    The preset `paper` is section 5's: 128 pixels, a hole of 64, a bottleneck of 4,000 numbers.
    """

    name = "context-encoder"
    paper = "Pathak et al., Context Encoders: Feature Learning by Inpainting, 2016, https://arxiv.org/abs/1604.07379"
    channels_last = ("cuda",)
    real_entropy = 1.0
    translates = True
    presets = {"paper": {"image_size": 128, "width": 64, "bottleneck": 4000, "overlap": 7, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as in the authors' program."""

        width: Width = 32
        bottleneck: int = Field(512, ge=1, le=65536, description="Numbers between encoder and decoder.")
        hole: float = Field(0.5, gt=0, lt=1, description="Share of each side that the hole takes.")
        overlap: int = Field(2, ge=0, le=512, description="Pixels of margin about the hole that are made as well.")
        margin: float = Field(10.0, ge=0, le=1e6, description="Weight of a pixel in the margin, as a multiple.")
        adversarial: float = Field(
            1e-3, ge=0, le=1, description="Weight of the adversarial term; what is left of 1 is that of pixels."
        )

    @classmethod
    def wanted_source(cls, options: Options) -> str:
        return Maker("hole", options.hole).text

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=3)
        if sources != images or not self.data.paired:
            raise UsageError(
                f"model '{self.name}' fills holes, and sources of '{data.name}' are not its images with a hole in "
                "them: make some with --source hole"
            )
        h, w = self.data.shape[1:]
        self.hole = Place(*hole_in(h, w, options.hole))
        margin = min(options.overlap, self.hole.top, self.hole.left)
        top, left, height, width = self.hole
        self.patch = Place(top - margin, left - margin, height + 2 * margin, width + 2 * margin)
        self.generator = Filler(self.data, self.hole, self.patch, options.width, options.bottleneck)
        inner = replace(self.data, shape=(images, self.patch.height, self.patch.width))
        self.discriminator = ConvDiscriminator(inner, options.width)
        weight = torch.full((1, 1, self.patch.height, self.patch.width), options.margin)
        Place(margin, margin, height, width).of(weight).fill_(1)
        self.register_buffer("weight", weight, persistent=False)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """The source with its hole filled; in training, with the margin as G makes it."""
        assert source is not None
        made, filled = self.generator(source), source.clone()
        if self.training:
            self.patch.of(filled).copy_(made)
        else:
            top, left = self.hole.top - self.patch.top, self.hole.left - self.patch.left
            self.hole.of(filled).copy_(Place(top, left, *self.hole[2:]).of(made))
        return filled

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        return self.discriminator(self.patch.of(batch.x), None)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        weight = self.options.adversarial
        apart = (self.patch.of(fake.x) - self.patch.of(real.x)).square()
        return {
            "adversarial": weight * losses.non_saturating_generator(self.discriminate(fake)),
            "pixels": (1 - weight) * (self.weight * apart).mean(),
        }


@ganzoo.hookimpl
def register_models(register):
    register(ContextEncoder)
