"""R3GAN: Huang et al., The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024.

The relativistic pairing loss judges each fake against a real sample of the same condition, and zero-centred gradient
penalties on both sides make the game converge locally (equations 2 and 3, f(t) = -log(1 + exp(-t))):

    D maximises  E[f(D(x) - D(G(z)))] - gamma / 2 (R1 + R2),    G maximises  E[f(D(G(z)) - D(x))]

    R1 = E|grad D(x)|^2 over real x,    R2 = E|grad D(x)|^2 over fakes

The backbone (section 4) has no normalisation: residual blocks of an inverted bottleneck around a grouped convolution,
started as Zhang et al. 2019 (Fixup) have it, with bilinear resampling between stages. There are two:

- Unless told otherwise it is sized down: the paper has blocks at the full resolution of the image, this has them from
  half of it on, behind a 2 x 2 stem.
- With `--widths 768,768,768,768`, channels from 4 x 4 pixels on, it is the published one, equal in numbers to the
  authors' program: blocks at each resolution up to the image's, biases before activations alone, the low-pass filter
  [1, 3, 3, 1] between stages, and nothing that bounds G in training. There D and G move on real images and latents of
  their own, so that a step takes two batches.

G maps z (N, latent_dim) and y to (N, C, H, W), in [-1, 1] where it is drawn from; D maps (N, C, H, W) and y to logits
(N, 1). y is class indices (N,), condition vectors (N, K), or None.

With `decay_kimg`, four numbers follow half a cosine over that many thousands of the images that D moves on, as in the
authors' program: the rate from `lr` to `lr_end`, gamma to `gamma_end`, Adam's `b2` to `b2_end`, and the average's
half-life from 0 to `ema_kimg`. A fifth, how often images are changed, is ADA's own: `--augment ada:p=0.55,ramp=20000`.

Published, and not reproduced here, for each needs days of several GPUs: FID 1.96 of class-conditional CIFAR-10,
`--preset paper`; 1.95 and 2.75 of FFHQ at 64 x 64 and 256 x 256, `--preset ffhq64` and `ffhq256`; 1.27 and 2.09 of
ImageNet at 32 x 32 and 64 x 64, `--preset imagenet32` and `imagenet64` (tables 2 to 6). The authors' program computes
most stages in bfloat16; here `--precision` says what everything is computed in.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import Beta1, Beta2, Hold, LatentDim, LearningRate, Width
from ganzoo.nets import Condition, Projection, channels, pyramid, vector
from ganzoo.optim import Adam, Rule, Schedule, cosine, linear_decay
from ganzoo.styles import low_pass

SLOPE = 0.2
"""Of the leaky ReLU."""
GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""What the leaky ReLU takes from the deviation of a normal input."""

Channels = Annotated[int, Field(ge=1, le=8192)]


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
        wide, gain = 2 * channels, GAIN * blocks**-0.25
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


# The published backbone


class Stage(NamedTuple):
    """One resolution of the published backbone."""

    width: int
    cardinality: int
    """Groups of the 3 x 3 convolutions."""
    blocks: int


def weights(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> Any:
    """The layer, whose outputs start with a deviation of `gain` for inputs of 1."""
    nn.init.normal_(layer.weight, std=gain * layer.weight[0].numel() ** -0.5)
    return layer


def pointwise(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    return weights(nn.Conv2d(inputs, outputs, 1, bias=False), gain)


class Biased(nn.Module):
    """Leaky ReLU of what comes and a bias for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.view(-1, 1, 1), SLOPE)


class Residual(nn.Module):
    """x + W3 act(W2 act(W1 x)), as `Block`, with biases before the activations and nowhere else."""

    def __init__(self, width: int, cardinality: int, expansion: int, blocks: int):
        super().__init__()
        wide, gain = width * expansion, GAIN * blocks**-0.25
        self.conv1 = pointwise(width, wide, gain)
        self.act1 = Biased(wide)
        self.conv2 = weights(nn.Conv2d(wide, wide, 3, padding=1, groups=cardinality, bias=False), gain)
        self.act2 = Biased(wide)
        self.conv3 = pointwise(wide, width, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))


class Resample(nn.Module):
    """Twice or half the side through the low-pass filter, and other channels where these change."""

    f: Tensor

    def __init__(self, inputs: int, outputs: int, up: bool):
        super().__init__()
        self.up = up
        self.mix = pointwise(inputs, outputs) if inputs != outputs else None
        self.register_buffer("f", low_pass(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.up and self.mix is not None:
            x = self.mix(x)
        n, channels, height, width = x.shape
        x = x.reshape(n * channels, 1, height, width)  # All channels are filtered alike.
        f = self.f.to(x.dtype)[None, None]
        x = F.conv_transpose2d(x, 4 * f, stride=2, padding=1) if self.up else F.conv2d(x, f, stride=2, padding=1)
        x = x.reshape(n, channels, *x.shape[2:])
        return self.mix(x) if not self.up and self.mix is not None else x


def residuals(stage: Stage, expansion: int, total: int) -> nn.Sequential:
    return nn.Sequential(*[Residual(stage.width, stage.cardinality, expansion, total) for _ in range(stage.blocks)])


class PublishedGenerator(nn.Module):
    """z and y weigh a learned basis of 4 x 4 pixels; a stage for each resolution, from `stages[0]`; then the image."""

    def __init__(
        self, data: ganzoo.DataSpec, latent_dim: int, stages: Sequence[Stage], embedding: int = 0, expansion: int = 2
    ):
        super().__init__()
        self.conditions = data.condition_size
        if self.conditions:
            self.embed = weights(nn.Linear(self.conditions, embedding, bias=False))
        self.weigh = weights(nn.Linear(latent_dim + embedding * bool(self.conditions), stages[0].width, bias=False))
        self.basis = nn.Parameter(torch.randn(stages[0].width, 4, 4))
        total = sum(stage.blocks for stage in stages)
        self.stages = nn.ModuleList(residuals(stage, expansion, total) for stage in stages)
        self.grow = nn.ModuleList(Resample(a.width, b.width, up=True) for a, b in pairwise(stages))
        self.image = pointwise(stages[-1].width, data.shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.conditions:
            assert y is not None
            z = torch.cat([z, self.embed(vector(y, self.conditions))], dim=1)
        x = self.stages[0](self.basis * self.weigh(z)[:, :, None, None])
        for grow, stage in zip(self.grow, self.stages[1:], strict=True):
            x = stage(grow(x))
        return self.image(x)


class PublishedDiscriminator(nn.Module):
    """The generator's mirror, `stages` from the image to 4 x 4 pixels; the condition by projection, without a bias."""

    def __init__(self, data: ganzoo.DataSpec, stages: Sequence[Stage], embedding: int = 0, expansion: int = 2):
        super().__init__()
        self.conditions, last = data.condition_size, stages[-1].width
        self.extract = pointwise(data.shape[0], stages[0].width)
        total = sum(stage.blocks for stage in stages)
        self.stages = nn.ModuleList(residuals(stage, expansion, total) for stage in stages)
        self.shrink = nn.ModuleList(Resample(a.width, b.width, up=False) for a, b in pairwise(stages))
        self.basis = weights(nn.Conv2d(last, last, 4, groups=last, bias=False))
        self.read = weights(nn.Linear(last, embedding if self.conditions else 1, bias=False))
        if self.conditions:
            self.embed = weights(nn.Linear(self.conditions, embedding, bias=False), embedding**-0.5)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.stages[0](self.extract(x))
        for shrink, stage in zip(self.shrink, self.stages[1:], strict=True):
            x = stage(shrink(x))
        x = self.read(self.basis(x).flatten(1))
        if not self.conditions:
            return x
        assert y is not None
        return (x * self.embed(vector(y, self.conditions))).sum(1, keepdim=True)


def recipe(size: int, widths: Sequence[int], batch: int, **more: Any) -> dict[str, Any]:
    """What the published configurations share, and what is one's own."""
    return {
        "image_size": size, "batch_size": batch, "widths": tuple(widths), "blocks": 2, "latent_dim": 64, "mirror": True,
        "lr": 2e-4, "lr_end": 5e-5, "b2": 0.9, "b2_end": 0.99,
    } | more  # fmt: skip


def augmented(p: float, kimg: int) -> list[str]:
    """The published augmentation, which happens more and more often."""
    colours = ",".join(f"{name}=0.5" for name in ("brightness", "contrast", "lumaflip", "hue", "saturation"))
    return [f"ada:p={p},ramp={kimg},cutout=1,{colours}"]


class R3GAN(ganzoo.GAN):
    """The modern baseline: relativistic pairing, R1 and R2, no normalisation. Conditional where the data is."""

    name = "r3gan"
    paper = "Huang et al., The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024, https://arxiv.org/abs/2501.05441"
    channels_last = ("cuda", "cpu")
    conditional = "auto"
    score = staticmethod(losses.raw)
    presets = {
        # CIFAR-10; the others' names say what for. Numbers of the authors' train.py, batches of their README.
        "paper": recipe(
            32, [768] * 4, 512, ema_kimg=5e3, decay_kimg=2e4, gamma=0.05, gamma_end=0.005,
            augment=augmented(0.55, 20_000),
        ),
        "ffhq64": recipe(
            64, [768] * 4 + [384], 256, ema_kimg=5e2, decay_kimg=2e4, gamma=2.0, gamma_end=0.2,
            augment=augmented(0.3, 20_000),
        ),
        "ffhq256": recipe(
            256, [768] * 4 + [384, 192, 96], 256, ema_kimg=5e2, decay_kimg=2e4, gamma=150.0, gamma_end=15.0,
            augment=augmented(0.3, 20_000),
        ),
        "imagenet32": recipe(
            32, [1536] * 4, 4096, ema_kimg=5e4, decay_kimg=2e5, gamma=0.5, gamma_end=0.05, group=32,
            augment=augmented(0.5, 200_000),
        ),
        "imagenet64": recipe(
            64, [1536] * 5, 4096, ema_kimg=5e4, decay_kimg=2e5, gamma=1.0, gamma_end=0.1, group=32,
            augment=augmented(0.4, 200_000),
        ),
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The paper's recipe without its schedules, narrow, and at a rate for runs of minutes."""

        lr: LearningRate = 2e-3
        lr_hold: Hold = 1.0
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 64
        width: Width = 16
        blocks: int = Field(1, ge=1, le=16, description="Residual blocks of each stage.")
        group: int = Field(16, ge=1, le=1024, description="Channels of one group of the 3 x 3 convolutions, at least.")
        gamma: float = Field(1.0, ge=0, le=1e4, description="Weight of R1 and R2, each gamma / 2.")
        widths: tuple[Channels, ...] | None = Field(
            None,
            min_length=1,
            max_length=9,
            description="Channels of the published backbone at 4 x 4, 8 x 8 ... pixels, up to the image's size: "
            "768,768,768,768; default: the small backbone, of --width.",
        )
        cardinality: tuple[Channels, ...] | None = Field(
            None, description="With --widths: groups of the 3 x 3 convolutions of each stage; default: by --group."
        )
        embedding: int | None = Field(
            None,
            ge=1,
            le=8192,
            description="With --widths: size of the embedded condition; default: that of z in G, "
            "of the first stage in D.",
        )
        decay_kimg: float | None = Field(
            None,
            gt=0,
            le=1e7,
            description="Thousands of images over which the rate, gamma, b2 and the average's half-life follow half a "
            "cosine to their ends; default: they stay as they are.",
        )
        lr_end: float | None = Field(None, gt=0, le=10, description="With --decay-kimg: the rate's end.")
        gamma_end: float | None = Field(None, ge=0, le=1e4, description="With --decay-kimg: gamma's end.")
        b2_end: float | None = Field(None, ge=0, lt=1, description="With --decay-kimg: the end of b2.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        for name in ("lr_end", "gamma_end", "b2_end"):
            if getattr(o, name) is not None and o.decay_kimg is None:
                raise UsageError(f"--{name.replace('_', '-')} says where to, and not when: give --decay-kimg too")
        if o.widths is None:
            self.generator: nn.Module = Generator(self.data, o.latent_dim, o.width, o.blocks, o.group)
            self.discriminator: nn.Module = Discriminator(self.data, o.width, o.blocks, o.group)
        else:
            stages = self.stages(o.widths)
            in_g, in_d = o.embedding or o.latent_dim, o.embedding or o.widths[0]
            self.generator = PublishedGenerator(self.data, o.latent_dim, stages, in_g)
            self.discriminator = PublishedDiscriminator(self.data, stages[::-1], in_d)

    def refuse_idle(self) -> None:
        if self.options.decay_kimg is not None and self.options.lr_hold < 1:
            raise UsageError("--lr-hold: with --decay-kimg the rate goes to --lr-end; leave out one of the two")
        for name in ("cardinality", "embedding"):
            if getattr(self.options, name) is not None and self.options.widths is None:
                raise UsageError(
                    f"--{name} is of the published backbone, and the small one has none: give --widths too"
                )

    def stages(self, widths: Sequence[int]) -> list[Stage]:
        """The published backbone's, from 4 x 4 pixels on.

        Raises:
            UsageError: they do not end at the image's size, or channels cannot be divided into groups.
        """
        o, side, shape = self.options, 2 ** (len(widths) + 1), self.data.shape
        if shape[1:] != (side, side):
            found = " x ".join(map(str, shape[:0:-1])) if self.data.is_images else "vectors"
            raise UsageError(
                f"--widths has {len(widths)} stages, which make images of {side} x {side}, and those of "
                f"'{self.data.name}' are {found}: give --image-size {side}, or a width for 4 x 4, 8 x 8 and so on up "
                "to the image's size"
            )
        groups = o.cardinality or tuple(groups_of(2 * width, o.group) for width in widths)
        if len(groups) != len(widths):
            raise UsageError(f"--cardinality has {len(groups)} numbers and --widths {len(widths)}: give one for each")
        for width, n in zip(widths, groups, strict=True):
            if 2 * width % n:
                raise UsageError(
                    f"--cardinality {n} does not divide the {2 * width} channels inside a block of {width}"
                )
        return [Stage(width, n, o.blocks) for width, n in zip(widths, groups, strict=True)]

    def fake_labels(self, real: ganzoo.Batch) -> Tensor | None:
        """Those of the real samples: each pair shares its condition."""
        return real.y

    def turns(self) -> Sequence[ganzoo.Turn]:
        d, g = super().turns()
        return [d, g._replace(fresh=self.options.widths is not None)]

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """Images for latents and conditions; in [-1, 1] in evaluation mode."""
        x = self.generator(z, y)
        return x if self.generator.training or self.options.widths is None else x.clamp(-1, 1)

    # Schedules

    @property
    def images_in_step(self) -> int:
        """Those that D moves on, by which the schedules go."""
        return self.options.n_critic * self.options.batch_size

    def following(self, start: float, end: float | None) -> Schedule:
        """From `start` to `end` over the first `decay_kimg`; a plain number where nothing changes."""
        kimg = self.options.decay_kimg
        return start if kimg is None or end is None else cosine(start, end, kimg * 1000 / self.images_in_step)

    def optimizer(self, player: str) -> Rule:
        o = self.options
        rate = linear_decay(o.lr, begin=o.lr_hold) if o.decay_kimg is None else self.following(o.lr, o.lr_end)
        return Adam(rate, o.b1, self.following(o.b2, o.b2_end))

    def average_decay(self) -> Schedule | None:
        o = self.options
        if o.decay_kimg is None or o.ema_kimg is None:
            return None
        images = self.images_in_step
        half_life = cosine(0.0, o.ema_kimg * 1000, o.decay_kimg * 1000 / images)
        return lambda progress: 0.5 ** (images / max(half_life(progress), 1e-8))

    def gamma(self) -> float | Tensor:
        """The penalties' weight now, a scalar tensor where it changes."""
        o = self.options
        if o.decay_kimg is None or o.gamma_end is None:
            return float(o.gamma)
        share = (self.clock.step.float() * (self.images_in_step / (o.decay_kimg * 1000))).clamp(max=1)
        return o.gamma + (o.gamma_end - o.gamma) * (1 - (torch.pi * share).cos()) / 2

    # Losses

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        real, fake = (b._replace(x=b.x.detach().requires_grad_()) for b in (real, fake))
        real_logits, fake_logits = self.discriminate(real, fake)
        r1, r2 = losses.zero_centred_penalties((real.x, real_logits), (fake.x, fake_logits))
        half = self.gamma() / 2
        return {
            "relativistic": losses.relativistic(real_logits, fake_logits),
            "r1": half * r1,
            "r2": half * r2,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        with torch.no_grad():  # Nothing that moves depends on what D says of real samples.
            real_logits = self.discriminate(real)
        return {"relativistic": losses.relativistic(self.discriminate(fake), real_logits)}


@ganzoo.hookimpl
def register_models(register):
    register(R3GAN)
