"""MSG-GAN: Karnewar & Wang, MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks, 2020.

G makes an image of each of its maps, from small to large, by one 1 x 1 convolution each; D sees all of them, each where
its own maps have that size (section 2). So gradients reach every layer of G at once, where supports overlap. The game
is that of WGAN-GP, over all sizes together (section 2.1): with X an image at all its sizes as one vector,

    D minimises  E[f(G(z))] - E[f(X)] + lambda E[(|grad f(X^)| - 1)^2],    G minimises  -E[f(G(z))]

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], D maps images at all sizes to scores (N, 1).
"""

import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, LearningRate, Penalty, Width
from ganzoo.nets import channels, pyramid, upsampling
from ganzoo.scales import at_sizes, packed, unpacked


class Generator(nn.Module):
    """Latents to images at all sizes, small to large: those of DCGAN, with an image of each map."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        first, *sizes = pyramid(data)
        widths = [*channels(data, width), width]
        start = [
            nn.Linear(latent_dim, widths[0] * first[0] * first[1], bias=False),
            nn.Unflatten(1, (widths[0], *first)),
        ]
        self.stages = nn.ModuleList([nn.Sequential(*start, nn.BatchNorm2d(widths[0]), nn.ReLU())])
        for inputs, outputs, size in zip(widths, widths[1:], sizes, strict=False):
            self.stages.append(nn.Sequential(upsampling(inputs, outputs, size), nn.BatchNorm2d(outputs), nn.ReLU()))
        self.images = nn.ModuleList(nn.Sequential(nn.Conv2d(c, data.shape[0], 1), nn.Tanh()) for c in widths)

    def forward(self, z: Tensor, y: None = None) -> list[Tensor]:
        found = []
        for stage, image in zip(self.stages, self.images, strict=True):
            z = stage(z)
            found.append(image(z))
        return found


class Discriminator(nn.Module):
    """Images at all sizes, small to large, to scores (N, 1): each is joined to the maps of its size."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        c, sizes, widths = data.shape[0], pyramid(data), channels(data, width)[::-1]
        self.stages = nn.ModuleList()
        maps = 0
        for outputs in widths:
            self.stages.append(nn.Sequential(nn.Conv2d(maps + c, outputs, 4, 2, 1), nn.LeakyReLU(0.2)))
            maps = outputs
        h, w = sizes[0]
        self.head = nn.Sequential(
            nn.Conv2d(maps + c, maps, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(maps * h * w, 1)
        )

    def forward(self, images: list[Tensor]) -> Tensor:
        h = images[-1]
        for stage, smaller in zip(self.stages, images[-2::-1], strict=True):
            h = torch.cat([stage(h), smaller], dim=1)
        return self.head(h)


class MSGGAN(ganzoo.GAN):
    """The GAN whose discriminator sees images at all sizes at once."""

    name = "msggan"
    paper = "Karnewar & Wang, MSG-GAN: Multi-Scale Gradients for GANs, 2020, https://arxiv.org/abs/1903.06048"
    channels_last = ("cuda", "cpu")
    judged = "parts"
    score = staticmethod(losses.raw)

    class Options(ganzoo.Options):
        """One critic step for each of G's, as in the paper, whose RMSprop is Adam (0, 0.99) here."""

        lr: LearningRate = 1e-3
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        width: Width = 32
        penalty: Penalty = 10.0

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = Generator(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminator(self.data, options.width)
        self.sizes = pyramid(self.data)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        return self.generator(z)[-1]

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """Images, and in `source` the smaller ones."""
        z = self.sample_latent(len(real.x))
        *others, x = self.generator(z)
        return ganzoo.Batch(x, z=z, source=packed(others))

    def vector(self, batch: ganzoo.Batch) -> Tensor:
        """Images at all sizes, as G made them or else made smaller, as one tensor (N, K)."""
        others = packed(at_sizes(batch.x, self.sizes)[:-1]) if batch.source is None else batch.source
        return packed([others, batch.x])

    def critic(self, x: Tensor) -> Tensor:
        return self.discriminator(unpacked(x, [(self.data.shape[0], *size) for size in self.sizes]))

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        return self.critic(self.vector(batch))

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        penalty = losses.interpolation_penalty(self.critic, self.vector(real), self.vector(fake))
        return {
            "wasserstein": losses.wasserstein_critic(self.discriminate(real), self.discriminate(fake)),
            "penalty": self.options.penalty * penalty,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"wasserstein": losses.wasserstein_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(MSGGAN)
