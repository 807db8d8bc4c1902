"""FastGAN: Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.

For few images, down to some dozens, of 256 to 1024 pixels on one GPU. Two things are its own:

    skip-layer excitation   y = F(x_low) * x_high: a small map says which channels of a far larger one count, the mean
                            of 4 x 4 pixels through a 4 x 4 convolution, SiLU, a 1 x 1 convolution and a sigmoid
                            (section 3.1, equations 1 and 2). Only channels are weighted, so that the two may differ in
                            size, and gradients take the short way
    self-supervision        D's features of real images, decoded by small networks, must give back the image, the image
                            as the small branch saw it, and a quarter of it from a map cut alike (section 3.2). So D
                            cannot look at a few details alone

D sees the image, and beside it a small one: of fakes what G makes of an earlier map, of real images every second pixel
or so. It answers with several logits for places of either (patches). The losses are a hinge whose borders are drawn
from 0.8 to 1 for each logit, and the reconstruction (section 3.3):

    D   E[max(0, b - D(x))] + E[max(0, b + D(G(z)))] + reconstruction,    G   -E[D(G(z))]

Both networks have spectral normalisation and BatchNorm in nearly all layers; maps in G are gated (GLU), and every other
block adds noise, weighted by a number that is learned.

Networks and the adversarial loss are equal in numbers to the authors' program. Other things differ: that program
compares images by LPIPS, whose trained network cannot be had here; its samples always have noise, for which there is
`--noise` here; its average leaves out BatchNorm's running statistics, and begins at its full decay; and it shifts the
small image of a fake by itself. Here images are compared by their mean distance |a - b|, at full size, at half of it
and so on to 8 x 8 pixels, the mean over these sizes times `reconstruction`. So D is held to coarse and fine shapes
alike, and not to what a trained network looks at.

Published are 256, 512 and 1024 pixels. For 32, 64 and 128 there are fewer of the same blocks: D ends at 4 x 4 pixels,
the small image is half the size, and of 32 pixels the last map is excited by the first.

What D sees is augmented in the paper, DiffAugment without cutout: `--augment diffaugment:cutout=false --mirror`, which
the presets have; each of a fake's two images is changed by itself. Labels are no business of it: where data has some,
they are left aside.

G maps z (N, latent_dim) to (N, C, S, S) and the small image, S a power of two from 32 to 1024; D maps these to logits
(N, K) and to the features that are decoded. At 1024 pixels tanh bounds what G makes, at others nothing does, and drawn
images are clamped to [-1, 1].

Published, and not reproduced here, for each needs hours of a GPU: FID 41.05, 10.03 and 26.65 of the 100 images of
Obama, panda and grumpy cat, 50.66 and 35.11 of the animal faces, dogs and cats (table 2, 256 x 256), after 50,000
steps of `--preset paper`.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, LatentDim
from ganzoo.precision import single
from ganzoo.styles import LARGEST, refuse_other_sizes, sides_to

SMALLEST = 32
"""Side of images, at least."""
GENERATOR = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}
"""Channels of G's maps by their side, as multiples of the width."""
DECODER = (128, 64, 64, 32)
"""Channels of a decoder's maps, the last one's next to the image; the same whatever the width."""
WHOLE, SMALL = 256, 128
"""Sides, at most, of D's first map and of the small image."""
DEEPEST = 5
"""Blocks of D, at most: as many as are published."""
FAR = 3
"""Blocks of D that an excitation skips."""
NEAR = 16
"""How many times larger the map is that is excited in G."""
START = 0.02
"""Deviation of what weights start from."""
COARSEST = 8
"""Side down to which images are compared."""

Noise = Literal["none", "random"]


def critic(side: int) -> float:
    """Channels of D's maps, as multiples of the width."""
    return min(64 / side, 8)


def small_critic(side: int) -> float:
    """The same where it looks at the small image."""
    return min(32 / side, 4)


def normalised(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with spectral normalisation. How large its weights start says how fast they turn."""
    nn.init.normal_(layer.weight, std=START)
    return spectral_norm(layer)


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, padding: int = 0) -> nn.Module:
    """With spectral normalisation, without a bias."""
    return normalised(nn.Conv2d(inputs, outputs, size, stride, padding, bias=False))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Its gains start around 1."""
    layer = nn.BatchNorm2d(channels)
    nn.init.normal_(layer.weight, 1.0, START)
    return layer


def halving(inputs: int, outputs: int, normed: bool = True) -> nn.Sequential:
    """To half the side by a 4 x 4 convolution; leaky ReLU."""
    norm = [batch_norm(outputs)] if normed else []
    return nn.Sequential(convolution(inputs, outputs, 4, 2, 1), *norm, nn.LeakyReLU(0.2))


class Excitation(nn.Module):
    """Channels of a large map, weighted by what a small one says: equation 2."""

    def __init__(self, small: int, large: int):
        super().__init__()
        self.squeeze = convolution(small, large, 4)
        self.weigh = convolution(large, large, 1)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        means = F.avg_pool2d(small, small.shape[2] // 4)
        return large * torch.sigmoid(self.weigh(F.silu(self.squeeze(means))))


class NoiseLayer(nn.Module):
    """Adds noise, the same in all channels, times a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        return x + self.weight * torch.randn(n, 1, height, width, device=x.device, dtype=x.dtype)


class Gated(nn.Module):
    """A 3 x 3 convolution, noise where asked for, BatchNorm, and half of the channels gating the others."""

    def __init__(self, inputs: int, outputs: int, noisy: bool = False):
        super().__init__()
        self.conv = convolution(inputs, 2 * outputs, 3, padding=1)
        self.noise = NoiseLayer() if noisy else None
        self.norm = batch_norm(2 * outputs)

    def forward(self, x: Tensor, noise: bool = False) -> Tensor:
        x = self.conv(x)
        if self.noise is not None and noise:
            x = self.noise(x)
        return F.glu(self.norm(x), dim=1)


class Growing(nn.Module):
    """To twice the side: one gated layer, or two that add noise."""

    def __init__(self, inputs: int, outputs: int, double: bool = False):
        super().__init__()
        self.first = Gated(inputs, outputs, noisy=double)
        self.second = Gated(outputs, outputs, noisy=True) if double else None

    def forward(self, x: Tensor, noise: bool = False) -> Tensor:
        x = self.first(F.interpolate(x, scale_factor=2.0, mode="nearest"), noise)
        return x if self.second is None else self.second(x, noise)


class Generator(nn.Module):
    """z to the image and the small image. With `noise`, as in training, the layers that can add some do."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        colours, side, _ = data.shape
        self.sides, self.small = sides_to(side), min(SMALL, side // 2)
        n = {s: max(1, int(GENERATOR[s] * width)) for s in self.sides}
        self.project = normalised(nn.ConvTranspose2d(latent_dim, 2 * n[4], 4, bias=False))
        self.norm = batch_norm(2 * n[4])
        self.grow = nn.ModuleDict({str(s): Growing(n[s // 2], n[s], has_noise(s)) for s in self.sides[1:]})
        self.by = excited_by(side)
        self.excite = nn.ModuleDict({str(s): Excitation(n[small], n[s]) for s, small in self.by.items()})
        self.to_small = convolution(n[self.small], colours, 1)
        self.to_image = convolution(n[side], colours, 3, padding=1)
        self.bounded = side == LARGEST

    def forward(self, z: Tensor, noise: bool = True) -> tuple[Tensor, Tensor]:
        maps = {4: F.glu(self.norm(self.project(z[:, :, None, None])), dim=1)}
        for s in self.sides[1:]:
            x = self.grow[str(s)](maps[s // 2], noise)
            maps[s] = self.excite[str(s)](maps[self.by[s]], x) if s in self.by else x
        x, small = self.to_image(maps[self.sides[-1]]), self.to_small(maps[self.small])
        return (x.tanh(), small.tanh()) if self.bounded else (x, small)


class Shrinking(nn.Module):
    """To half the side on two ways, whose mean is taken: two convolutions, or one of the means of 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.down = halving(inputs, outputs)
        self.conv = convolution(outputs, outputs, 3, padding=1)
        self.norm = batch_norm(outputs)
        self.direct = convolution(inputs, outputs, 1)
        self.direct_norm = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        direct = self.direct_norm(self.direct(F.avg_pool2d(x, 2)))
        x = self.norm(self.conv(self.down(x)))
        return (F.leaky_relu(x, 0.2) + F.leaky_relu(direct, 0.2)) / 2


class Decoder(nn.Module):
    """Features to an image of `side`, in [-1, 1]."""

    def __init__(self, inputs: int, begin: int, side: int, colours: int):
        super().__init__()
        widths = [inputs, *DECODER[-(side // begin).bit_length() + 1 :]]
        self.grow = nn.Sequential(*[Growing(a, b) for a, b in pairwise(widths)])
        self.image = convolution(widths[-1], colours, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.image(self.grow(x)).tanh()


class Verdict(NamedTuple):
    """What D says of images, and what it kept of them."""

    logits: Tensor
    """(N, K): one for each place of the image, and of the small image."""
    x: Tensor
    """The images, as they were seen."""
    last: Tensor
    """Its last map of the image."""
    before: Tensor
    """The map before that, of twice the side."""
    small: Tensor
    """Its last map of the small image."""


class Discriminator(nn.Module):
    """The image and the small image to logits, one for each place of either, and to what decoders make images of."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        colours, side, _ = data.shape
        small = min(SMALL, side // 2)
        whole = min(WHOLE, side)
        depth = min(DEEPEST, whole.bit_length() - 3)
        self.last = whole >> depth
        n = {s: max(1, int(critic(s) * width)) for s in [*sides_to(side), 2 * self.last]}
        self.stem = nn.Sequential()
        if side > 2 * WHOLE:
            self.stem.append(halving(colours, n[side // 2], normed=False))
            self.stem.append(halving(n[side // 2], n[whole]))
        elif side > WHOLE:
            self.stem.append(halving(colours, n[whole], normed=False))
        else:
            self.stem.append(nn.Sequential(convolution(colours, n[whole], 3, padding=1), nn.LeakyReLU(0.2)))
        sides = [whole >> i for i in range(depth + 1)]
        self.shrink = nn.ModuleList(Shrinking(n[a], n[b]) for a, b in pairwise(sides))
        self.excite = nn.ModuleList(Excitation(n[a], n[b]) for a, b in zip(sides[:-FAR], sides[FAR:], strict=True))
        top, wide = n[self.last], 2 * n[self.last]
        self.head = nn.Sequential(
            convolution(top, wide, 1), batch_norm(wide), nn.LeakyReLU(0.2), convolution(wide, 1, 4)
        )
        m = {s: max(1, int(small_critic(s) * width)) for s in sides_to(small)}
        halves = [s for s in sides_to(small)[::-1] if self.last <= s < small]
        self.small = nn.Sequential(halving(colours, m[halves[0]], normed=False))
        for s in halves[1:]:
            self.small.append(halving(m[2 * s], m[s]))
        self.small_head = convolution(m[self.last], 1, 4)
        self.decode_whole = Decoder(top, self.last, small, colours)
        self.decode_part = Decoder(n[2 * self.last], self.last, small, colours)
        self.decode_small = Decoder(m[self.last], self.last, small, colours)

    def forward(self, x: Tensor, small: Tensor) -> Verdict:
        maps = [self.stem(x)]
        for i, shrink in enumerate(self.shrink):
            h = shrink(maps[-1])
            maps.append(h if i + 1 < FAR else self.excite[i + 1 - FAR](maps[i + 1 - FAR], h))
        h = self.small(small)
        logits = torch.cat([self.head(maps[-1]).flatten(1), self.small_head(h).flatten(1)], dim=1)
        return Verdict(logits, x, maps[-1], maps[-2], h)

    def decoded(self, seen: Verdict, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The image, the small image, and the quarter `part`, int64 (1,), as decoders make them: of the small side."""
        return self.decode_whole(seen.last), self.decode_small(seen.small), self.decode_part(quarter(seen.before, part))


def width_for(side: int) -> int:
    """The networks' width unless told: as published from 256 pixels on."""
    return min(max(side // 4, 16), 64)


def has_noise(side: int) -> bool:
    """Whether G grows to this side, 8, 32, 128 or 512, by two layers, which add noise."""
    return side.bit_length() % 2 == 0


def excited_by(side: int) -> dict[int, int]:
    """For maps of G, the side of the one that weighs its channels."""
    return {s: max(s // NEAR, 4) for s in sides_to(side) if 64 <= s <= 512 or s == side == SMALLEST}


def quarter(x: Tensor, part: Tensor) -> Tensor:
    """A quarter of maps (N, C, H, W): `part`, int64 (1,), is 0 to 3, from left to right and then down."""
    n, channels, height, width = x.shape
    quarters = x.view(n, channels, 2, height // 2, 2, width // 2).permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
    return quarters.index_select(0, part).squeeze(0)


def resized(x: Tensor, side: int) -> Tensor:
    """Pixels left out or repeated, as the authors' program resizes."""
    return x if x.shape[2] == side else F.interpolate(x, (side, side), mode="nearest")


def distance(made: Tensor, image: Tensor) -> Tensor:
    """The mean of |made - image|, at full size, at half of it and so on to 8 x 8 pixels, and over these sizes."""
    found = [(made - image).abs().mean()]
    difference = made - image
    while difference.shape[2] > COARSEST:
        difference = F.avg_pool2d(difference, 2)
        found.append(difference.abs().mean())
    return torch.stack(found).mean()


class FastGAN(ganzoo.GAN):
    """Skip-layer excitation, and a discriminator that gives back what it saw; for few images of 256 pixels and more."""

    name = "fastgan"
    paper = (
        "Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021, "
        "https://arxiv.org/abs/2101.04775"
    )
    channels_last = ("cuda",)
    score = staticmethod(losses.raw)
    presets = {
        # The authors' program, at its sizes for sets of dozens to thousands of images.
        "paper": {
            "image_size": 256, "batch_size": 8, "width": 64, "steps": 50_000, "mirror": True,
            "augment": ["diffaugment:cutout=false"],
        },
        "paper1024": {
            "image_size": 1024, "batch_size": 8, "width": 64, "steps": 50_000, "mirror": True,
            "augment": ["diffaugment:cutout=false"],
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The published numbers; as wide as published from 256 pixels on."""

        batch_size: BatchSize = 16
        latent_dim: LatentDim = 256
        width: int | None = Field(
            None, ge=1, le=1024,
            description="Channels of G's map of 128 pixels and D's of 64; default: a quarter of the side, 16 to 64.",
        )  # fmt: skip
        reconstruction: float = Field(
            8.0, ge=0, le=1e4, description="Weight of the distance of real images to what D's decoders make of them."
        )

    class Sampling(ganzoo.Sampling):
        """Training always adds noise."""

        noise: Noise = Field("none", description="What is added to G's layers: nothing, its mean, or random noise.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        refuse_other_sizes(self.name, data, SMALLEST)
        width = options.width or width_for(data.shape[1])
        self.generator = Generator(self.data, options.latent_dim, width)
        self.discriminator = Discriminator(self.data, width)

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """As many fakes as `real` has samples; the small images, from which D judges too, stand as their sources."""
        z = self.sample_latent(len(real.x))
        x, small = self.generator(z)
        return ganzoo.Batch(x, None, z, small)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """Images for latents; in [-1, 1] in evaluation mode, and with noise there if `self.sampling` says so."""
        x, _ = self.generator(z, self.generator.training or self.sampling.noise == "random")
        return x if self.generator.training else x.clamp(-1, 1)

    def augmented(self, batch: ganzoo.Batch) -> ganzoo.Batch:
        """Image and small image, each changed by itself: the latter at the size that augmentations are made for."""
        if batch.source is None or not len(self.augmentations):
            return super().augmented(batch)
        large = super().augmented(batch._replace(x=resized(batch.source, batch.x.shape[2])))
        return super().augmented(batch)._replace(source=resized(large.x, batch.source.shape[2]))

    def judge(self, batch: ganzoo.Batch) -> Verdict:
        small = resized(batch.x, self.generator.small) if batch.source is None else batch.source
        return self.discriminator(batch.x, small)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        seen, fooled = self.discriminate(real, fake)
        border, other = (0.8 + 0.2 * torch.rand_like(logits) for logits in (seen.logits, fooled.logits))
        hinge = F.relu(border - seen.logits).mean() + F.relu(other + fooled.logits).mean()
        if not self.options.reconstruction:
            return {"adversarial": hinge}
        return {
            "adversarial": hinge,
            "reconstruction": self.options.reconstruction * self.reconstruction(seen),
        }

    def reconstruction(self, seen: Verdict) -> Tensor:
        """The distances of images to what is decoded, summed over the image, the small image and a random quarter."""
        part = torch.randint(4, (1,), device=seen.x.device)
        whole, small, piece = single(self.discriminator.decoded(seen, part))
        image = resized(seen.x, whole.shape[2])
        cut = resized(quarter(seen.x, part), whole.shape[2])
        return torch.stack([distance(whole, image), distance(small, image), distance(piece, cut)]).sum()

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_generator(self.discriminate(fake).logits)}


@ganzoo.hookimpl
def register_models(register):
    register(FastGAN)
