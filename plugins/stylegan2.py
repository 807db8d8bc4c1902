"""StyleGAN2: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020.

A mapping network turns z, normalised to a mean square of 1, and the embedded condition into w; one w for each layer,
ws, steers the synthesis network. Weights are normal with deviation 1 and scaled where they are used by 1 / sqrt(fan in)
(equalised rates: Adam moves all layers alike); the mapping network learns at a hundredth of the rate.

    style    s = A w + b, with b = 1 at the start: a factor for each input channel of a layer
    layer    y_o = d_o sum_i W_oi * (s_i x_i) + noise,    d_o = (sum_ik (W_oik s_i)^2 + 1e-8)^(-1/2)       (equation 3)
    image    the sum of what each resolution adds, upsampled (skip generator, figure 7)

Up- and downsampling go with the low-pass filter [1, 3, 3, 1]. D is residual (figure 7); before its last layers it sees
by how much groups of samples differ, real and fake apart. Conditions enter D by projection, <h(x), V(y)> / sqrt(size).

A step has four phases, as the program of the authors has them, each with latents of its own:

    G        E[softplus(-D(G(z)))]; here the mean of w is tracked, at 0.998, for truncation
    path     every 4th step: 2 E[(|J^T n| - a)^2], J = dG/dws, n normal; a runs after the mean length (section 3.2)
    D        E[softplus(D(G(z)))] + E[softplus(-D(x))]
    R1       every 16th step: gamma / 2 E|grad D(x)|^2

Lazy terms count as many times as they are rare, and Adam's rate and betas are scaled by k / (k + 1) (appendix B). In
nine of ten batches the ws of layers from a random one on come from another z (style mixing).

With --precision bf16 all layers are in half precision; with `half_resolutions`, as the authors' program has it, the
highest resolutions alone, and all activations are held within 256.

G maps z (N, latent_dim) and y to (N, C, S, S), S a power of two from 8 to 1024; nothing bounds its values in training,
and drawn images are clamped to [-1, 1]. D maps (N, C, S, S) and y to logits (N, 1). y is class indices (N,), condition
vectors (N, K), or None. In W space, with `gan = ganzoo.load(run).gan` and z of two images:

    w = gan.generator.mapping(z, y, psi=0.7)                     # (N, layers, w): truncated towards the mean
    w[0, 4:] = w[1, 4:]                                          # coarse styles of the first, fine ones of the second
    x = gan.generator.synthesis(w, noise="const")                # float (N, C, S, S)

Published, and not reproduced here, for each needs days of a GPU: FID 2.42 of class-conditional CIFAR-10 (Karras et al.,
Training Generative Adversarial Networks with Limited Data, 2020), `--preset cifar` for 100 million images; FID 2.84 of
FFHQ at 1024 x 1024 (table 1, configuration F), after 25 million images, `--image-size 1024 --channel-base 32768
--channel-max 512 --latent-dim 512 --depth 8 --lr 0.002 --gamma 10 --ema-rampup 0 --mirror`. `--preset paper256` is the
former paper's configuration for 256 x 256. The FIDs are of images with random noise: `--noise random`.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import Foreign, UsageError, plain
from ganzoo.fields import BatchSize, Beta1, Beta2, Hold, LatentDim, LearningRate
from ganzoo.gan import Network
from ganzoo.optim import Adam, Rule, linear_decay
from ganzoo.precision import exactly
from ganzoo.style_based import StyleBased, refuse_other_filters, unusual
from ganzoo.styles import (
    Arithmetic,
    Dense,
    Discriminator,
    MappingNetwork,
    activated,
    by_layer,
    filtered,
    low_pass,
    refuse_other_sizes,
    sides_to,
    widths,
)

PATH_DECAY, PATH_SHRINK = 0.01, 2
"""Share of a new path length in the running one; by how much its batch is smaller."""

Noise = Literal["const", "random", "none"]


def upsampled(x: Tensor, f: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W), zeros put between the pixels and filtered."""
    channels = x.shape[1]
    kernel = (4 * f).to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by the style and whose output channels have deviation 1 again.

    Instead of a weight for each sample, the image is scaled before and after: the same, and faster on a CPU.
    """

    noise_const: Tensor
    f: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, side: int, up: bool, arithmetic: Arithmetic):
        super().__init__()
        self.side, self.up, self.arithmetic = side, up, arithmetic
        self.affine = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("f", low_pass(), persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        arithmetic = self.arithmetic
        with arithmetic.exact(x):
            style = self.affine(w)
        with exactly(x.device.type):  # Half precision holds neither the squares nor their sum.
            power = self.weight.float().square().sum((2, 3))
            demodulation = (style.float().square() @ power.t() + 1e-8).rsqrt().to(x.dtype)
        x = x * arithmetic.like(style, x)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
            x = filtered(x, 4 * self.f, 1)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        x = x * demodulation[:, :, None, None]
        if noise == "const":
            x = x + arithmetic.like(self.noise_const * self.noise_strength, x)
        elif noise == "random":
            drawn = torch.randn(x.shape[0], 1, self.side, self.side, device=x.device)
            x = x + arithmetic.like(drawn * self.noise_strength, x)
        return activated(x, arithmetic.like(self.bias, x), bound=arithmetic.bound)


class ToImage(nn.Module):
    """Features to what they add to the image: a modulated 1 x 1 convolution whose outputs keep their deviation."""

    def __init__(self, inputs: int, outputs: int, style: int, arithmetic: Arithmetic):
        super().__init__()
        self.arithmetic = arithmetic
        self.affine = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        with self.arithmetic.exact(x):
            style = self.affine(w) * self.scale
        made = F.conv2d(x * self.arithmetic.like(style, x)[:, :, None, None], self.weight, self.bias)
        bound = self.arithmetic.bound
        return made if bound is None else made.clamp(-bound, bound).float()


class SynthesisBlock(nn.Module):
    """One resolution: two layers, at 4 x 4 one on a learned constant, and what they add to the image."""

    f: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, side: int, colours: int, arithmetic: Arithmetic):
        super().__init__()
        self.first, self.arithmetic = side == 4, arithmetic
        if self.first:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = Modulated(inputs, outputs, style, side, True, arithmetic)
        self.conv1 = Modulated(outputs, outputs, style, side, False, arithmetic)
        self.torgb = ToImage(outputs, colours, style, arithmetic)
        self.register_buffer("f", low_pass(), persistent=False)

    def forward(self, x: Tensor, image: Tensor, ws: list[Tensor], noise: Noise) -> tuple[Tensor, Tensor]:
        """Features and image of half the size, and a w for each layer, the last for the image."""
        with self.arithmetic.around(x):
            if self.first:
                x = self.const.expand(ws[0].shape[0], -1, -1, -1)
                x = self.conv1(x, ws[0], noise)
                return x, self.torgb(x, ws[1])
            x = self.conv0(self.arithmetic.entering(x), ws[0], noise)
            x = self.conv1(x, ws[1], noise)
            with self.arithmetic.exact(x):
                image = upsampled(image, self.f)
            return x, image + self.torgb(x, ws[2])


class Synthesis(nn.Module):
    """ws (N, `layers`, style) to images (N, C, side, side). `noise`: `const`, the same for all; `random`; or `none`."""

    def __init__(self, style: int, side: int, colours: int, widths: Mapping[int, int], half: int | None):
        super().__init__()
        self.sides = sides_to(side)
        self.layers = 2 * len(self.sides)
        for s in self.sides:
            arithmetic = by_layer(s, side, half)
            block = SynthesisBlock(widths.get(s // 2, 0), widths[s], style, s, colours, arithmetic)
            self.add_module(f"b{s}", block)

    def forward(self, ws: Tensor, noise: Noise = "random") -> Tensor:
        x = image = ws
        each, at = ws.unbind(1), 0
        for s in self.sides:
            taken = 1 if s == 4 else 2
            # What adds to the image shares its w with the next resolution's first layer.
            x, image = self.get_submodule(f"b{s}")(x, image, list(each[at : at + taken + 1]), noise)
            at += taken
        return image


class Generator(nn.Module):
    """z and y to w, w to images."""

    def __init__(
        self, data: ganzoo.DataSpec, latents: int, style: int, depth: int, widths: Mapping[int, int], half: int | None
    ):
        super().__init__()
        self.synthesis = Synthesis(style, data.shape[1], data.shape[0], widths, half)
        arithmetic = by_layer(4, data.shape[1], half)
        self.mapping = MappingNetwork(latents, data.condition_size, style, depth, self.synthesis.layers, arithmetic)

    def forward(self, z: Tensor, y: Tensor | None = None, psi: float = 1.0, noise: Noise = "random") -> Tensor:
        return self.synthesis(self.mapping(z, y, psi), noise)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of the authors' program in PyTorch, as the network here takes it: all but its low-pass filters.

    Their names are `mapping.fc0.weight`, `synthesis.b8.conv0.affine.weight`, `b4.out.bias`, and so are ours.
    """
    refuse_other_filters(state)
    return {name: value for name, value in state.items() if not name.endswith("resample_filter")}


class StyleGAN2(StyleBased):
    """Styles by modulated convolutions, R1 and path length by turns; conditional where the data is."""

    name = "stylegan2"
    paper = (
        "Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, https://arxiv.org/abs/1912.04958"
    )
    from_published = staticmethod(from_published)
    presets = {
        # What two cores can train at 32 x 32 in minutes: docs/recipes.md has the search.
        "small": {
            "image_size": 32, "batch_size": 16, "channel_base": 512, "channel_max": 64, "latent_dim": 64, "depth": 2,
            "lr": 0.01, "lr_hold": 0.5, "gamma": 0.3, "mixing": 0.0, "path": 0.0,
        },
        # CIFAR-10 of Karras et al. 2020 (ADA): the paper's FID is 2.42 with classes, after 100 million images.
        "cifar": {
            "image_size": 32, "batch_size": 64, "channel_base": 32768, "channel_max": 512, "latent_dim": 512,
            "depth": 2, "lr": 2.5e-3, "gamma": 0.01, "ema_kimg": 500.0, "mixing": 0.0, "path": 0.0, "group": 32,
            "residual": False, "augment": ["ada"],
        },
        # FFHQ and LSUN at 256 x 256 of Karras et al. 2020 (ADA), without its augmentation: after 25 million images.
        "paper256": {
            "image_size": 256, "batch_size": 64, "channel_base": 16384, "channel_max": 512, "latent_dim": 512,
            "depth": 8, "lr": 2.5e-3, "gamma": 1.0, "ema_kimg": 20.0, "ema_rampup": 0.0, "group": 8,
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The published recipe with few channels, for images of 32 to 64 pixels on one device."""

        batch_size: BatchSize = 32
        lr: LearningRate = Field(2.5e-3, description="Learning rate, before it is scaled for the lazy terms.")
        lr_hold: Hold = 1.0
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 128
        ema_kimg: float | None = Field(
            10.0, gt=0, le=1e6, description="Half-life of the average in thousands of real images, instead of --ema."
        )
        style_dim: int | None = Field(None, ge=1, le=65536, description="Size of w; default: as z.")
        depth: int = Field(4, ge=1, le=64, description="Layers of the mapping network.")
        channel_base: int = Field(
            2048, ge=1, le=2**20, description="Channels of a resolution times its side: 2048 is 64 at 32 x 32."
        )
        channel_max: int = Field(128, ge=1, le=8192, description="Channels of a resolution, at most.")
        group: int = Field(4, ge=1, le=65536, description="Samples whose deviation the discriminator sees together.")
        residual: bool = Field(True, description="Whether the discriminator has ways around its layers.")
        gamma: float | None = Field(
            None, ge=0, le=1e6, description="Weight of R1, gamma / 2; default: 0.0002 x side^2 / batch size; 0: none."
        )
        r1_every: int = Field(16, ge=1, le=1000, description="R1 is taken in each step whose number this divides.")
        path: float = Field(2.0, ge=0, le=1e6, description="Weight of the path length's deviation; 0: none.")
        path_every: int = Field(4, ge=1, le=1000, description="The path length is taken every so many steps.")
        half_resolutions: int | None = Field(
            None,
            ge=1,
            le=8,
            description="With --precision bf16: so many resolutions, the highest, compute in bf16, and all else in "
            "float32; activations are held within 256, in any precision. Default: all layers in bf16, none held.",
        )
        mixing: float = Field(0.9, ge=0, le=1, description="Probability that a batch mixes the styles of two latents.")

    class Sampling(ganzoo.Sampling):
        """Training draws without truncation, and with random noise always."""

        truncation: float = Field(
            1.0, ge=0, le=2, description="psi: how far w goes from its mean; below 1 better images, and fewer kinds."
        )
        noise: Noise = Field(
            "const", description="The same noise in each image, random noise, as the papers' FIDs have it, or none."
        )

    path_mean: Tensor
    """The running mean of path lengths, a scalar."""

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        refuse_other_sizes(self.name, data)
        o, side = options, data.shape[1]
        channels = widths(o.channel_base, o.channel_max, side)
        style, half = o.style_dim or o.latent_dim, o.half_resolutions
        self.generator = Generator(self.data, o.latent_dim, style, o.depth, channels, half)
        self.discriminator = Discriminator(self.data, channels, o.group, o.residual, half)
        self.gamma = 0.0002 * side**2 / o.batch_size if o.gamma is None else o.gamma
        self.register_buffer("path_mean", torch.zeros(()))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor], told: Mapping[str, Any], critic: Network | None) -> dict[str, Any]:
        if not {"synthesis.b4.const", "mapping.fc0.weight"} <= state.keys():
            raise Foreign("G_ema is no StyleGAN2 generator")
        if "synthesis.b8.skip.weight" in state:
            raise UsageError("G_ema is no StyleGAN2 generator with skips, which alone can be imported")
        if unlike := list(unusual(told)):
            raise UsageError(f"G_ema is of a configuration that there is not here: {plain(', '.join(unlike))[:200]}")
        half = told["half"]
        return {
            # By it all layers hold their activations; in float32 they compute as without.
            "half_resolutions": None if told["bound"] is None else min(max(half, 1), 8) if type(half) is int else 1,
            "channel_base": told.get("channel_base", 32768),
            "channel_max": told.get("channel_max", 512),
            "residual": critic is None or any("skip" in name for name in critic.tensors),
        }

    def turns(self) -> list[ganzoo.Turn]:
        """Between the two players' turns the path length's."""
        o = self.options
        path = [ganzoo.Turn("generator", self.path_loss, every=o.path_every, fakes=False)] if o.path else []
        generator, *others = super().turns()
        return [generator, *path, *others]

    def optimizer(self, player: str) -> Rule:
        """Adam, as far in `every` + 1 steps as it would go in `every`, whether or not the lazy term has a weight."""
        o = self.options
        every = o.path_every if player == "generator" else o.r1_every
        share = every / (every + 1)
        return Adam(linear_decay(o.lr * share, begin=o.lr_hold), o.b1**share, o.b2**share)

    def mixed(self, z: Tensor, y: Tensor | None) -> Tensor:
        """ws (N, layers, w), from some random layer on those of other latents, in most batches."""
        ws = self.generator.mapping(z, y)
        if not self.options.mixing:
            return ws
        layers = ws.shape[1]
        first = torch.randint(1, layers, (), device=ws.device)
        mixes = torch.rand((), device=ws.device) < self.options.mixing
        other = self.generator.mapping(torch.randn_like(z), y)
        late = torch.arange(layers, device=ws.device) >= first
        return torch.where((late & mixes)[:, None], other, ws)

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """As training draws: styles mixed, random noise, nothing truncated, nothing clamped."""
        z = self.sample_latent(len(real.x))
        y = self.fake_labels(real)
        return ganzoo.Batch(self.generator.synthesis(self.mixed(z, y)), y, z)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """Images for latents and conditions, as `self.sampling` says; in [-1, 1] in evaluation mode."""
        x = self.generator(z, y, self.sampling.truncation, self.sampling.noise)
        return x if self.generator.training else x.clamp(-1, 1)

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        self.generator.mapping.track(fake.z, fake.y)
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}

    def path_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        n = max(1, len(real.x) // PATH_SHRINK)
        z, y = self.sample_latent(n), self.fake_labels(real)
        with exactly(self.device.type):
            lengths = self.path_lengths(self.mixed(z, None if y is None else y[:n]))
        mean = self.path_mean.lerp(lengths.mean(), PATH_DECAY)  # This batch has its share in what it is held to.
        penalty = (lengths - mean).square().mean() + nothing_of(self.generator)
        self.path_mean.copy_(mean.detach())
        self.watch("length", lengths)
        return {"penalty": self.options.path_every * self.options.path * penalty}

    def r1_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"penalty": super().r1_loss(real, fake)["penalty"] + nothing_of(self.discriminator)}

    def path_lengths(self, ws: Tensor, n: Tensor | None = None, noise: Noise = "random") -> Tensor:
        """|J^T n|, the mean over layers of its squares, for ws that have a graph: (N,), with a graph.

        `n` is normal image noise over the square root of height x width; drawn unless given.
        """
        x = self.generator.synthesis(ws, noise)
        if n is None:
            n = torch.randn_like(x) / math.sqrt(x.shape[2] * x.shape[3])
        (slope,) = torch.autograd.grad((x * n).sum(), ws, create_graph=True)
        return slope.square().sum(2).mean(1).sqrt()


def nothing_of(network: nn.Module) -> Tensor:
    """0, and a gradient of 0 for every parameter: what a penalty does not reach, most biases, takes part in its turn.

    Adam's second moments of these decay there, as in stylegan2-ada-pytorch (training/loss.py, `real_logits * 0`), and
    not in the program of StyleGAN3.
    """
    return 0 * torch.stack([p.sum() for p in network.parameters()]).sum()


@ganzoo.hookimpl
def register_models(register):
    register(StyleGAN2)
