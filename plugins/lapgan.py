"""LAPGAN: Denton et al., Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks, 2015.

The smallest image is made of noise; each larger one by adding details, made of noise and of the image so far, l, which
is made larger first (section 3.2). Each level k is a game of its own, with a real image's own l:

    Dk minimises  -E[log Dk(h, l)] - E[log(1 - Dk(Gk(z, l), l))],    Gk minimises  -E[log Dk(Gk(z, l), l)]
    l = u(d(x)),  h = x - l,    d: half as large, u: twice as large

In drawing what one level makes is where the next begins.

z is (N, latent_dim + one number for each pixel of each level): noise for the smallest image, and a map for each of the
others. G maps it to (N, C, H, W), cut off at [-1, 1] where samples are drawn; D maps (N, C, H, W) to logits (N, 1), one
tensor for each level, the largest first.
"""

import math
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import LearningRate, Width
from ganzoo.nets import MLPDiscriminator, mlp, pyramid
from ganzoo.scales import at_sizes, larger, packed, unpacked


class Details(nn.Module):
    """Noise (N, 1, h, w) and the image so far (N, C, h, w) to details (N, C, h, w)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, width, 5, padding=2), nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, channels, 5, padding=2),
        )  # fmt: skip

    def forward(self, noise: Tensor, low: Tensor) -> Tensor:
        return self.layers(torch.cat([noise, low], dim=1))


class Judge(nn.Module):
    """Details and the image so far, both (N, C, h, w), to logits (N, 1)."""

    def __init__(self, channels: int, size: tuple[int, int], width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(),
            nn.Linear(2 * width * math.ceil(size[0] // 2 / 2) * math.ceil(size[1] // 2 / 2), 1),
        )  # fmt: skip

    def forward(self, details: Tensor, low: Tensor) -> Tensor:
        return self.layers(torch.cat([details, low], dim=1))


class Generator(nn.Module):
    """The smallest image by fully connected layers, and the details of each level."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        self.latent_dim, self.sizes = latent_dim, pyramid(data)
        shape = (data.shape[0], *self.sizes[0])
        hidden = [latent_dim, 8 * width, 16 * width, math.prod(shape)]
        self.smallest = nn.Sequential(mlp(hidden, nn.ReLU()), nn.Tanh(), nn.Unflatten(1, shape))
        self.details = nn.ModuleList(Details(data.shape[0], width) for _ in self.sizes[1:])

    def noise(self, z: Tensor) -> list[Tensor]:
        """The parts of a latent: (N, latent_dim), and a map (N, 1, h, w) for each level."""
        return unpacked(z, [(self.latent_dim,), *((1, *size) for size in self.sizes[1:])])

    def forward(self, z: Tensor, y: None = None) -> Tensor:
        first, *maps = self.noise(z)
        x = self.smallest(first)
        for level, noise in zip(self.details, maps, strict=True):
            low = larger(x, noise.shape[2:])
            x = low + level(noise, low)
        return x if self.training else x.clamp(-1, 1)


class LAPGAN(ganzoo.GAN):
    """A pyramid of games, all of which are played in each step."""

    name = "lapgan"
    paper = (
        "Denton et al., Deep Generative Image Models using a Laplacian Pyramid, 2015, https://arxiv.org/abs/1506.05751"
    )
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    judged = "parts"

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999) for the paper's SGD, which takes many times as long."""

        lr: LearningRate = 5e-4
        width: Width = Field(32, description="Channels of a level's maps.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = Generator(self.data, options.latent_dim, options.width)
        self.sizes = self.generator.sizes
        self.judges = len(self.sizes)
        channels, width = self.data.shape[0], options.width
        smallest = ganzoo.DataSpec("smallest", (channels, *self.sizes[0]), 0)
        self.discriminator = nn.ModuleList(
            [MLPDiscriminator(smallest, (16 * width, 8 * width)), *(Judge(channels, s, width) for s in self.sizes[1:])]
        )

    def sample_latent(self, n: int) -> Tensor:
        maps = sum(h * w for h, w in self.sizes[1:])
        return torch.randn(n, self.options.latent_dim + maps, device=self.device)

    def levels(self, x: Tensor) -> list[Tensor]:
        """The smallest image, and for each level its details and its l: what the discriminators see of images."""
        images = at_sizes(x, self.sizes)
        seen = images[:1]
        for below, image in pairwise(images):
            low = larger(below, image.shape[2:])
            seen += [image - low, low]
        return seen

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """What each level makes of the real image's own l, as `levels` has it, in `source`; `x` is the last of it."""
        z = self.sample_latent(len(real.x))
        first, *maps = self.generator.noise(z)
        made, seen = [self.generator.smallest(first)], self.levels(real.x)
        for level, noise, low in zip(self.generator.details, maps, seen[2::2], strict=True):
            made += [level(noise, low), low]
        return ganzoo.Batch(made[-1] + made[-2], z=z, source=packed(made))

    def judge(self, batch: ganzoo.Batch) -> tuple[Tensor, ...]:
        seen = self.levels(batch.x)
        if batch.source is not None:
            seen = unpacked(batch.source, [part.shape[1:] for part in seen])
        smallest, *others = self.discriminator
        logits = [judge(*both) for judge, both in zip(others, zip(seen[1::2], seen[2::2], strict=True), strict=True)]
        return tuple([smallest(seen[0], None), *logits][::-1])

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        pairs = zip(self.discriminate(real), self.discriminate(fake), strict=True)
        return {f"level {k}": losses.minimax_discriminator(*pair) for k, pair in enumerate(pairs)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        logits = enumerate(self.discriminate(fake))
        return {f"level {k}": losses.non_saturating_generator(of_level) for k, of_level in logits}


@ganzoo.hookimpl
def register_models(register):
    register(LAPGAN)
