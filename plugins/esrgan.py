"""ESRGAN: Wang et al., Enhanced Super-Resolution Generative Adversarial Networks, 2018.

SRGAN with residual-in-residual dense blocks in place of normalised ones, and a relativistic D: it says of an image
how much more real it is than the others are on average (section 3.2, equations 1 to 3). With C for D's logits:

    D minimises  -E[log s(C(x) - E[C(G)])] - E[log(1 - s(C(G) - E[C(x)]))],    s the logistic function, G = G(s)
    G minimises  content(G, x) + lambda (-E[log s(C(G) - E[C(x)])] - E[log(1 - s(C(x) - E[C(G)]))]) + eta E[|G - x|_1]

with lambda = 5 10^-3 and eta = 10^-2. The content term is the distance of VGG's features before their rectifier, where
`--vgg-weights` names the file with its weights; **by default there is none, and pixels count in full** (eta = 1).
`--content digits` compares the maps of an extractor of ganzoo's, each divided by its size in the real image. G is
trained by pixels first, then with D.

G maps s (N, C', h, w) to (N, C, 2h, 2w) or (N, C, 4h, 4w), as the data has it, of any size; D maps (N, C, H, W) to
logits (N, 1).
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.super_resolution import Discriminator, Options, SuperResolution

SHARE = 0.2
"""Of what a block finds, which it adds to what it got (section 3.1)."""
START = 0.1
"""Deviation of a block's first weights, as a multiple of He et al.'s (section 3.1, and the authors' program)."""


class Dense(nn.Module):
    """Five convolutions, each of which sees what all before it found."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth if i < 4 else width, 3, padding=1) for i in range(5)
        )
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=START * (2 / layer.weight[0].numel()) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in list(self.layers)[:-1]:
            found.append(F.leaky_relu(layer(torch.cat(found, 1)), 0.2))
        return x + SHARE * self.layers[-1](torch.cat(found, 1))


class DenseInDense(nn.Module):
    """RRDB: three dense blocks, around which the map goes on as it is. Wang et al. 2018, figure 4."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.layers = nn.Sequential(*[Dense(width, growth) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        return x + SHARE * self.layers(x)


class RRDBNet(nn.Module):
    """Dense blocks on the small image, and a doubling by nearest neighbours before each of the last convolutions."""

    def __init__(self, inputs: int, outputs: int, times: int, width: int = 64, blocks: int = 23, growth: int = 32):
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *[DenseInDense(width, growth) for _ in range(blocks)], nn.Conv2d(width, width, 3, padding=1)
        )
        self.doublings = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(times.bit_length() - 1))
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(width, outputs, 3, padding=1)
        )

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.first(source)
        x = x + self.blocks(x)
        for layer in self.doublings:
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(x)


class ESRGAN(SuperResolution):
    """Images made 2 or 4 times as large, by dense blocks and a relativistic discriminator.

    The preset `paper` has 23 blocks and is to be given `--vgg-weights`.
    """

    name = "esrgan"
    paper = (
        "Wang et al., ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, 2018, "
        "https://arxiv.org/abs/1809.00219"
    )
    activated = False
    batch_statistics = True  # An image is held against the batch's others.
    presets = {
        "paper": {
            "image_size": 128, "width": 64, "blocks": 23, "growth": 32, "pixels": 1e-2, "ema": 0.0, "pretrain": 0.7,
        }
    }  # fmt: skip

    class Options(Options):
        """Networks for two cores."""

        blocks: int = Field(2, ge=0, le=64, description="Blocks of three dense blocks; the paper has 23.")
        growth: int = Field(
            16, ge=1, le=1024, description="Channels that a layer of a dense block adds; the paper: 32."
        )
        adversarial: float = Field(5e-3, ge=0, le=1e4, description="Weight of the adversarial term, lambda.")
        pixels: float = Field(
            1.0, ge=0, le=1e4, description="Weight of the distance of pixels, eta; 1 in the first phase."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        assert self.data.source_shape is not None
        sources, images = self.data.source_shape[0], self.data.shape[0]
        self.generator = RRDBNet(sources, images, self.times, options.width, options.blocks, options.growth)
        self.discriminator = Discriminator(self.data, options.width)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        x = self.generator(source, y)
        return x if self.training else x.clamp(-1, 1)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.begun() * losses.relativistic_average(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o, begun = self.options, self.begun()
        ours, theirs = self.discriminate(real, fake)
        terms = {
            "adversarial": o.adversarial * begun * losses.relativistic_average(theirs, ours),
            "pixels": (1 + begun * (o.pixels - 1)) * (fake.x - real.x).abs().mean(),
        }
        seen, known = self.features(fake.x), self.features(real.x)
        if seen is not None and known is not None:
            terms["features"] = begun * ((seen - known) / self.size(known, 1.0)).abs().mean()
        return terms


@ganzoo.hookimpl
def register_models(register):
    register(ESRGAN)
