"""R3GAN: Huang et al., The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024.

The relativistic pairing loss judges each fake against a real sample of the same condition, and zero-centred gradient
penalties on both sides make the game converge locally (equations 2 and 3, f(t) = -log(1 + exp(-t))):

    D maximises  E[f(D(x) - D(G(z)))] - gamma / 2 (R1 + R2),    G maximises  E[f(D(G(z)) - D(x))]

    R1 = E|grad D(x)|^2 over real x,    R2 = E|grad D(x)|^2 over fakes

The backbone (section 4) has no normalisation: residual blocks of an inverted bottleneck around a grouped convolution,
started as Zhang et al. 2019 (Fixup) have it, with bilinear resampling between stages. It is sized down here: the paper
has blocks at the full resolution of the image, this has them from half of it on, behind a 2 x 2 stem.

G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) and y to logits (N, 1). y is class
indices (N,), condition vectors (N, K), or None.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.nets import Condition, Projection, channels, pyramid

SLOPE = 0.2
"""Of the leaky ReLU."""


def convolution(inputs: int, outputs: int, size: int, scale: float = 1.0, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the variance of its input (He et al. 2015), times `scale`; same padding."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)
    nn.init.normal_(layer.weight, std=scale * (layer.weight[0].numel()) ** -0.5)
    nn.init.zeros_(layer.bias)
    return layer


def groups_of(channels: int, group: int) -> int:
    """How many groups of at least `group` channels: as many as divide them evenly, and one if there are fewer."""
    return next(n for n in range(max(1, channels // group), 0, -1) if channels % n == 0)


class Block(nn.Module):
    """x + W3 act(W2 act(W1 x)): 1 x 1 to twice the channels, grouped 3 x 3, 1 x 1 back.

    With L blocks in all, the first two weights are scaled by L^(-1/4) and the last starts at zero (Fixup, section 3),
    so that the network starts as the identity and a step changes it by as much, however deep it is.
    """

    def __init__(self, channels: int, group: int, blocks: int):
        super().__init__()
        wide, gain = 2 * channels, (2 / (1 + SLOPE**2)) ** 0.5 * blocks**-0.25
        self.layers = nn.Sequential(
            convolution(channels, wide, 1, gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            convolution(wide, wide, 3, gain, groups=groups_of(wide, group)),
            nn.LeakyReLU(SLOPE, inplace=True),
            convolution(wide, channels, 1, 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def stage(channels: int, blocks: int, group: int, total: int) -> nn.Sequential:
    """The blocks of one resolution."""
    return nn.Sequential(*[Block(channels, group, total) for _ in range(blocks)])


class Generator(nn.Module):
    """A learned basis, weighted by z and y, grown stage by stage; 2 x 2 pixels at once at the end."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int, blocks: int, group: int):
        super().__init__()
        self.sizes, widths = pyramid(data)[1:], channels(data, width)
        self.shape = data.shape
        self.condition = Condition(data, data.condition_size)
        self.weigh = nn.Linear(latent_dim + self.condition.size, widths[0])
        self.basis = nn.Parameter(torch.randn(widths[0], *pyramid(data)[0]))
        total = blocks * len(widths)
        self.stages = nn.ModuleList(stage(n, blocks, group, total) for n in widths)
        self.grow = nn.ModuleList(convolution(inputs, outputs, 1) for inputs, outputs in pairwise(widths))
        self.image = nn.Sequential(nn.LeakyReLU(SLOPE), convolution(widths[-1], 4 * data.shape[0], 3))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        x = self.basis * self.weigh(torch.cat([z, self.condition(z, y)], dim=1))[:, :, None, None]
        x = self.stages[0](x)
        for size, grow, stage in zip(self.sizes[:-1], self.grow, self.stages[1:], strict=True):
            x = stage(F.interpolate(grow(x), size, mode="bilinear"))
        x = F.pixel_shuffle(self.image(x), 2)
        return resized(x, self.sizes[-1]).tanh()


class Discriminator(nn.Module):
    """The generator's mirror: 2 x 2 pixels at once, stages that shrink, a basis to read off, a projection head."""

    def __init__(self, data: ganzoo.DataSpec, width: int, blocks: int, group: int):
        super().__init__()
        self.sizes, widths = pyramid(data)[-2::-1], channels(data, width)[::-1]
        total = blocks * len(widths)
        self.stem = convolution(4 * data.shape[0], widths[0], 3)
        self.stages = nn.ModuleList(stage(n, blocks, group, total) for n in widths)
        self.shrink = nn.ModuleList(convolution(inputs, outputs, 1) for inputs, outputs in pairwise(widths))
        self.basis = nn.Parameter(
            torch.randn(widths[-1], *self.sizes[-1]) * (self.sizes[-1][0] * self.sizes[-1][1]) ** -0.5
        )
        self.head = Projection(data, widths[-1])

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h, w = self.sizes[0]
        x = self.stem(F.pixel_unshuffle(resized(x, (2 * h, 2 * w)), 2))
        x = self.stages[0](x)
        for size, shrink, stage in zip(self.sizes[1:], self.shrink, self.stages[1:], strict=True):
            x = stage(shrink(resized(x, size)))
        return self.head((x * self.basis).sum((2, 3)), y)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear to `size`; halving averages 2 x 2 pixels."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear")


class R3GAN(ganzoo.GAN):
    """The modern baseline: relativistic pairing, R1 and R2, no normalisation. Conditional where the data is."""

    name = "r3gan"
    paper = "Huang et al., The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024, https://arxiv.org/abs/2501.05441"
    conditional = True

    class Options(ganzoo.Options):
        """The paper's recipe without its schedules, narrow, and at a rate for runs of minutes."""

        lr: float = Field(2e-3, gt=0, le=10, description="Learning rate.")
        b1: float = Field(0.0, ge=0, lt=1, description="Adam's decay of the first moment.")
        b2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the second moment.")
        latent_dim: int = Field(64, ge=1, le=65536, description="Size of the latent vector z.")
        width: int = Field(16, ge=1, le=1024, description="Channels next to the image; they double at each halving.")
        blocks: int = Field(1, ge=1, le=16, description="Residual blocks of each stage.")
        group: int = Field(16, ge=1, le=1024, description="Channels of one group of the 3 x 3 convolutions, at least.")
        gamma: float = Field(1.0, ge=0, le=1e4, description="Weight of R1 and R2, each gamma / 2.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        self.generator = Generator(self.data, o.latent_dim, o.width, o.blocks, o.group)
        self.discriminator = Discriminator(self.data, o.width, o.blocks, o.group)

    @classmethod
    def uses_labels(cls, data: ganzoo.DataSpec, options: Any) -> bool:
        return data.conditional

    def fake_labels(self, real: ganzoo.Batch) -> Tensor | None:
        """Those of the real samples: each pair shares its condition."""
        return real.y

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        real, fake = (b._replace(x=b.x.detach().requires_grad_()) for b in (real, fake))
        real_logits, fake_logits = self.discriminate(real, fake)
        r1, r2 = losses.zero_centred_penalties((real.x, real_logits), (fake.x, fake_logits))
        return {
            "relativistic": losses.relativistic(real_logits, fake_logits),
            "r1": self.options.gamma / 2 * r1,
            "r2": self.options.gamma / 2 * r2,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        with torch.no_grad():  # Nothing that moves depends on what D says of real samples.
            real_logits = self.discriminate(real)
        return {"relativistic": losses.relativistic(self.discriminate(fake), real_logits)}

    def score(self, logits: Tensor) -> Tensor:
        return losses.raw(logits)


@ganzoo.hookimpl
def register_models(register):
    register(R3GAN)
