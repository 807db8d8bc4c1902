"""StyleGAN3: Karras et al., Alias-Free Generative Adversarial Networks, 2021.

The generator's layers stand for continuous signals: what one computes at its pixels is what it would compute between
them, so that details move with what they belong to and do not stick to places of the image. The mapping network and
the discriminator are StyleGAN2's.

    input    Fourier features sin(2 pi (f (R x + t) + p)): frequencies f in a disc and phases p are drawn once, a
             rotation R and a translation t of the image follow w (section 3.2, "Transformed Fourier features")
    layer    y_o = d_o sum_i W_oi * (s_i x_i / m),    d_o = (sum_ik (W_oik s_i)^2 + 1e-8)^(-1/2),    s = A w + b;
             m^2 is the running mean of x^2 (section 3.2)
    leaky    y goes up 2 times, or 4 where the sampling rate doubles, through a leaky ReLU, and down 2 times: what the
             ReLU makes of frequencies that the pixels cannot hold is filtered away (section 3.1)
    image    a quarter of a modulated 1 x 1 convolution

The signal behind each layer has a cutoff f_c, above which there shall be nothing, and a stopband f_t; both grow in a
geometric progression from layer to layer, and the last `critical` layers have those of the image. Low-pass filters are
sinc functions with a Kaiser window between the two, 6 pixels wide (appendix C). Maps are `margin` pixels larger on each
side than the image, so that nothing comes in from their borders.

`--equivariance translation` is the paper's configuration T: 3 x 3 convolutions, and filters by rows and columns.
`rotation` is R: 1 x 1 convolutions, downsampling filters that are round (jinc), and in the generator twice as many
channels. There D sees blurred images in the beginning, real and fake: by a Gaussian exp2(-(k / sigma)^2), whose sigma
falls from `blur` to 0 over `blur_kimg` thousands of images (appendix F.3).

A step has three phases, as the authors' program has them, the first two with latents of their own:

    G        E[softplus(-D(G(z)))]; the mean of w, at 0.998, and the m of all layers, with a half-life of 20,000 images,
             are tracked in this phase, and in D's in the authors' program
    D        E[softplus(D(G(z)))] + E[softplus(-D(x))]
    R1       every 16th step: gamma / 2 E|grad D(x)|^2; D's rate and betas are scaled by 16 / 17 for it

G maps z (N, latent_dim) and y to (N, C, S, S), S a power of two from 8 to 1024; nothing bounds its values in training,
and drawn images are clamped to [-1, 1]. D maps (N, C, S, S) and y to logits (N, 1). y is class indices (N,), condition
vectors (N, K), or None. Drawn images can be moved and turned: `--translate-x 0.25`, `--rotate 30`.

Published, and not reproduced here, for each needs days of a GPU: on FFHQ-U at 256 x 256 FID 4.62 for T and 4.50 for R,
`--preset t` and `--preset r` with `--mirror` for 25 million images (table 1).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import Foreign, UsageError, plain
from ganzoo.fields import BatchSize, Beta1, Beta2, LatentDim, LearningRate, LearningRateG
from ganzoo.gan import Network
from ganzoo.optim import Adam, Rule
from ganzoo.precision import exactly
from ganzoo.style_based import USUAL, StyleBased, unusual
from ganzoo.styles import (
    CLAMP,
    Dense,
    Discriminator,
    MappingNetwork,
    normalised,
    refuse_other_sizes,
    widths,
    within,
)

FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3
"""Frequencies of the first layer, per image; the last stopband over the last cutoff."""
TAPS = 6
"""Width of a filter in pixels of the lower of its two sampling rates."""
FINER = 2
"""How many times finer a signal is sampled while the leaky ReLU works on it."""
OUTPUT_SCALE = 0.25
"""Of the last layer, in the image."""
MAGNITUDE_KIMG = 20
"""Half-life of what layers know of the size of their input, in thousands of images."""

Equivariance = Literal["translation", "rotation"]


# Signals and filters


class Band(NamedTuple):
    """The signal behind a layer."""

    channels: int
    size: int
    """Pixels of a side, margins included."""
    rate: int
    """Pixels of the image's side without margins: frequencies up to half of it can be held."""
    cutoff: float
    """f_c: below this frequency all is kept."""
    half_width: float
    """f_h: of the transition between what is kept and what is not, around the cutoff."""


def bands(
    side: int, colours: int, channel_base: int, channel_max: int, layers: int, critical: int, margin: int
) -> list[Band]:
    """The signals behind the layers, the last of which makes the image: `layers` + 1. Section 3.2, appendix C."""
    last = side / 2
    exponents = np.minimum(np.arange(layers + 1) / (layers - critical), 1)
    cutoffs = FIRST_CUTOFF * (last / FIRST_CUTOFF) ** exponents
    stopbands = FIRST_STOPBAND * (last * LAST_STOPBAND / FIRST_STOPBAND) ** exponents
    rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, side))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * margin
    sizes[-2:] = side
    channels = np.maximum(np.rint(np.minimum(channel_base / 2 / cutoffs, channel_max)), 1)
    channels[-1] = colours
    return [
        Band(int(c), int(size), int(rate), float(cutoff), float(half_width))
        for c, size, rate, cutoff, half_width in zip(channels, sizes, rates, cutoffs, half_widths, strict=True)
    ]


def kaiser_beta(taps: int, width: float) -> float:
    """The window's shape for a transition of this width, a share of half the sampling rate. Kaiser 1974."""
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    above = max(attenuation - 21, 0.0)
    return float(0.5842 * above**0.4 + 0.07886 * above)


def lowpass(taps: int, band: Band, rate: int) -> Tensor:
    """The filter that keeps what is below the band's cutoff, of a signal with this sampling rate: (taps,), sum 1."""
    window = np.kaiser(taps, kaiser_beta(taps, 4 * band.half_width / rate))
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    f = np.sinc(2 * band.cutoff * places) * window
    return torch.from_numpy(f / f.sum()).float()


def round_lowpass(taps: int, band: Band, rate: int) -> Tensor:
    """The same in two dimensions, alike in all directions: (taps, taps), `taps` even. Appendix C.1."""
    window = np.kaiser(taps, kaiser_beta(taps, 4 * band.half_width / rate))
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radii = np.hypot(*np.meshgrid(places, places))
    f = torch.special.bessel_j1(torch.from_numpy(2 * math.pi * band.cutoff * radii)).numpy() / radii
    f = f * np.outer(window, window)
    return torch.from_numpy(f / f.sum()).float()


def raised(x: Tensor, f: Tensor, factor: int, padding: int) -> Tensor:
    """(N, C, H, W) sampled `factor` times finer through the filter (taps,), `padding` pixels off on each side."""
    channels = x.shape[1]
    rows = (factor * f).to(x.dtype).view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv_transpose2d(x, rows, stride=(factor, 1), padding=(padding, 0), groups=channels)
    return F.conv_transpose2d(x, rows.transpose(2, 3), stride=(1, factor), padding=(0, padding), groups=channels)


def lowered(x: Tensor, f: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) through the filter, (taps,) or (taps, taps), as far as it has all its pixels; every `factor`-th."""
    channels = x.shape[1]
    f = f.to(x.dtype)
    if f.dim() == 2:
        return F.conv2d(x, f.expand(channels, 1, -1, -1), stride=factor, groups=channels)
    rows = f.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv2d(x, rows, stride=(factor, 1), groups=channels)
    return F.conv2d(x, rows.transpose(2, 3), stride=(1, factor), groups=channels)


def blurred(x: Tensor, sigma: Tensor, most: float) -> Tensor:
    """Images through a Gaussian of 3 `sigma` pixels on each side, dark beyond their borders: as it is below 1 / 3.

    `sigma` is a scalar on the device, at most `most`. The convolution is a product with a matrix from each side, whose
    shape does not depend on `sigma`.
    """
    with exactly(x.device.type):
        narrow, reach = sigma.float().clamp(min=1e-6), torch.floor(3 * sigma)

        def weight(distance: Tensor) -> Tensor:
            return torch.exp2(-((distance / narrow) ** 2)) * (distance <= reach)

        places = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)
        steps = torch.arange(1, math.floor(3 * most) + 1, device=x.device, dtype=torch.float32)
        kernel = weight((places[:, None] - places).abs()) / (1 + 2 * weight(steps).sum())
        return (kernel @ x.float() @ kernel).to(x.dtype)


# Generator


class FourierInput(nn.Module):
    """w to the first map: (N, style) to (N, C, size, size). Section 3.2, "Fourier features"."""

    freqs: Tensor
    phases: Tensor
    places: Tensor
    """Of pixels' centres, along a side: 0 is the middle of the image, and 1 its side."""

    def __init__(self, style: int, band: Band):
        super().__init__()
        self.cutoff, self.nyquist = band.cutoff, band.rate / 2
        freqs = torch.randn(band.channels, 2)
        radii = torch.linalg.vector_norm(freqs, dim=1, keepdim=True)
        # So that points lie in the disc alike.
        freqs = freqs / (radii * (radii.square() / 4).exp()) * band.cutoff
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = Dense(style, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias[:1].fill_(1.0)
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)
        places = (np.arange(band.size) + 0.5 - band.size / 2) / band.rate
        self.register_buffer("places", torch.from_numpy(places).float(), persistent=False)

    def forward(self, w: Tensor, move: Tensor | None = None) -> Tensor:
        """`move` (2, 3) maps places of the image to places of what was there before: none moves nothing."""
        with exactly(w.device.type):
            learned = self.affine(w.float())
            cos, sin, x, y = (learned / torch.linalg.vector_norm(learned[:, :2], dim=1, keepdim=True)).unbind(1)
            turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
            shift = -turn @ torch.stack([x, y], 1).unsqueeze(2)
            if move is not None:
                turn, shift = turn @ move[:, :2], turn @ move[:, 2:] + shift
            phases = self.phases + (self.freqs @ shift).squeeze(2)
            freqs = self.freqs @ turn
            # A user's transform may ask for what the pixels cannot hold.
            over = torch.linalg.vector_norm(freqs, dim=2) - self.cutoff
            amplitudes = (1 - over / (self.nyquist - self.cutoff)).clamp(0, 1)
            across = self.places[:, None] * freqs[:, None, :, 0]
            along = self.places[:, None] * freqs[:, None, :, 1] + phases[:, None]
            waves = torch.sin(2 * math.pi * (across[:, None] + along[:, :, None])) * amplitudes[:, None, None]
        return (waves @ (self.weight / math.sqrt(len(self.phases))).t()).permute(0, 3, 1, 2)


class Layer(nn.Module):
    """A modulated convolution between two bands, and, but in the last, a leaky ReLU at a finer sampling rate.

    Instead of a weight for each sample, the map is scaled before and after.
    """

    magnitude_ema: Tensor
    """The running mean of the input's square."""
    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self, style: int, inputs: Band, outputs: Band, kernel: int, rounded: bool, decay: float, last: bool,
        bound: float | None,
    ):  # fmt: skip
        super().__init__()
        self.bound = bound
        self.kernel, self.decay, self.last = 1 if last else kernel, decay, last
        self.scale = 1 / math.sqrt(inputs.channels)
        self.affine = Dense(style, inputs.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs.channels, inputs.channels, self.kernel, self.kernel))
        self.bias = nn.Parameter(torch.zeros(outputs.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        if last:
            return
        fine = FINER * max(inputs.rate, outputs.rate)
        self.up, self.down = fine // inputs.rate, fine // outputs.rate
        up_taps, down_taps = TAPS * self.up, TAPS * self.down
        # What is there is as much larger than what the way down needs.
        there = (inputs.size + self.kernel - 2) * self.up + up_taps
        self.padding = (there - (outputs.size - 1) * self.down - down_taps) // 2
        self.register_buffer("up_filter", lowpass(up_taps, inputs, fine), persistent=False)
        way_down = (round_lowpass if rounded else lowpass)(down_taps, outputs, fine)
        self.register_buffer("down_filter", way_down, persistent=False)

    def forward(self, x: Tensor, w: Tensor, track: bool = False) -> Tensor:
        if track:
            with torch.no_grad():
                self.magnitude_ema.lerp_(x.float().square().mean(), 1 - self.decay)
        style = self.affine(w)
        gain = self.magnitude_ema.rsqrt()
        if self.last:
            x = x * (style * gain * self.scale)[:, :, None, None]
            return within(F.conv2d(x, self.weight, self.bias), self.bound)
        with exactly(x.device.type):  # Half precision holds neither the squares nor their sum.
            style = normalised(style.float())
            power = self.weight.float().square().sum((2, 3))
            least = 1e-8 / self.kernel**2 * power.mean(1)
            demodulation = (style.square() @ power.t() + least).rsqrt()
            scale = (style * gain).to(x.dtype)
        x = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.kernel - 1)
        x = x * demodulation.to(x.dtype)[:, :, None, None] + self.bias[:, None, None].to(x.dtype)
        x = raised(x, math.sqrt(math.sqrt(2)) * self.up_filter, self.up, self.padding)  # The leaky ReLU's gain in it.
        return lowered(within(F.leaky_relu(x, 0.2), self.bound), self.down_filter, self.down)


class Synthesis(nn.Module):
    """ws (N, layers, w) to images (N, C, H, W)."""

    def __init__(
        self, style: int, signals: list[Band], critical: int, rotation: bool, decay: float, bound: float | None
    ):
        super().__init__()
        self.input = FourierInput(style, signals[0])
        self.names: list[str] = []
        last = len(signals) - 1
        for i, outputs in enumerate(signals):
            self.names.append(f"L{i}_{outputs.size}_{outputs.channels}")  # As the authors' program has it.
            inputs, rounded = signals[max(i - 1, 0)], rotation and i < last - critical
            layer = Layer(style, inputs, outputs, 1 if rotation else 3, rounded, decay, i == last, bound)
            self.add_module(self.names[-1], layer)
        self.layers = len(signals) + 1
        """How many w it takes."""

    def forward(self, ws: Tensor, move: Tensor | None = None, track: bool = False) -> Tensor:
        first, *rest = ws.unbind(1)
        x = self.input(first, move)
        for name, w in zip(self.names, rest, strict=True):
            x = self.get_submodule(name)(x, w, track)
        return OUTPUT_SCALE * x


class Generator(nn.Module):
    """z and y to w, w to images."""

    def __init__(self, latents: int, conditions: int, style: int, depth: int, synthesis: Synthesis):
        super().__init__()
        self.synthesis = synthesis
        self.mapping = MappingNetwork(latents, conditions, style, depth, synthesis.layers)

    def forward(self, z: Tensor, y: Tensor | None = None, psi: float = 1.0, move: Tensor | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, y, psi), move)


def moved(x: float, y: float, degrees: float) -> list[list[float]]:
    """What an image that is turned counterclockwise, and then moved by shares of its side, has where: (2, 3)."""
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    return [[c, -s, s * y - c * x], [s, c, -s * x - c * y]]


# Of the authors' program

FIXED = {
    "first_cutoff": FIRST_CUTOFF,
    "first_stopband": FIRST_STOPBAND,
    "last_stopband_rel": LAST_STOPBAND,
    "output_scale": OUTPUT_SCALE,
    "filter_size": TAPS,
    "lrelu_upsampling": FINER,
}
"""Arguments of the authors' generator that have one value here."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of the authors' program, as the network here takes it: all but its filters and a user's last transform.

    Their names are `mapping.fc0.weight`, `synthesis.L3_52_128.affine.weight`, `synthesis.input.freqs`, and so are ours.
    """
    dropped = ("_filter", "input.transform")
    return {name: value for name, value in state.items() if not name.endswith(dropped)}


def _unlike(told: Mapping[str, Any]) -> Iterator[str]:
    """What a published generator was made with, and none is made with here."""
    yield from unusual(told, {**FIXED, **USUAL})
    kernel, rounded = told.get("conv_kernel", 3), told.get("use_radial_filters", False)
    if (kernel, rounded) not in ((3, False), (1, True)):
        yield f"conv_kernel {kernel} with use_radial_filters {rounded}"
    for name in ("channel_base", "channel_max"):
        channels = told.get(name, 2)
        if type(channels) is not int or (kernel == 1 and channels % 2):
            yield f"{name} {channels}"


class StyleGAN3(StyleBased):
    """Alias-free synthesis from Fourier features, R1 by turns; conditional where the data is."""

    name = "stylegan3"
    paper = "Karras et al., Alias-Free Generative Adversarial Networks, 2021, https://arxiv.org/abs/2106.12423"
    from_published = staticmethod(from_published)
    presets = {
        # What two cores can train at 32 x 32.
        "small": {
            "image_size": 32, "channel_base": 512, "channel_max": 32, "latent_dim": 64, "layers": 6, "margin": 4,
        },
        # FFHQ-U at 256 x 256, configurations T and R, table 1: after 25 million images.
        "t": {
            "image_size": 256, "batch_size": 64, "channel_base": 16384, "channel_max": 512, "latent_dim": 512,
            "lr": 2.5e-3, "gamma": 1.0, "ema_kimg": 20.0, "clamp": True,
        },
        "r": {
            "image_size": 256, "batch_size": 64, "channel_base": 16384, "channel_max": 512, "latent_dim": 512,
            "lr": 2.5e-3, "gamma": 1.0, "ema_kimg": 20.0, "clamp": True,
            "equivariance": "rotation",
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The published recipe with few channels, for images of 32 to 64 pixels on one device."""

        batch_size: BatchSize = 32
        lr: LearningRate = Field(
            2e-3, description="The discriminator's learning rate, before it is scaled for lazy R1."
        )
        lr_generator: LearningRateG = Field(2.5e-3, description="The generator's learning rate.")
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 128
        ema_kimg: float | None = Field(
            10.0, gt=0, le=1e6, description="Half-life of the average in thousands of real images, instead of --ema."
        )
        style_dim: int | None = Field(None, ge=1, le=65536, description="Size of w; default: as z.")
        depth: int = Field(2, ge=1, le=64, description="Layers of the mapping network.")
        equivariance: Equivariance = Field(
            "translation",
            description="What moves the image's details with it: the paper's configurations T (translation) and R "
            "(rotation too), with 1 x 1 convolutions, round filters and, in the generator, twice the channels.",
        )
        channel_base: int = Field(
            1024, ge=1, le=2**20, description="Channels of a resolution times its side: 1024 is 32 at 32 x 32."
        )
        channel_max: int = Field(64, ge=1, le=8192, description="Channels of a resolution, at most.")
        layers: int = Field(14, ge=2, le=64, description="Layers of the generator, without its input and its last.")
        critical: int = Field(
            2, ge=1, le=63, description="How many of them, the last, hold all frequencies that the image can."
        )
        margin: int = Field(
            10, ge=0, le=64, description="Pixels by which maps are larger than the image, on each side."
        )
        group: int = Field(4, ge=1, le=65536, description="Samples whose deviation the discriminator sees together.")
        gamma: float | None = Field(
            None, ge=0, le=1e6, description="Weight of R1, gamma / 2; default: side^2 / (1024 x batch size); 0: none."
        )
        r1_every: int = Field(16, ge=1, le=1000, description="R1 is taken in each step whose number this divides.")
        clamp: bool = Field(
            False, description="Outputs of all convolutions are held within 256, as published; on a CPU a fifth slower."
        )
        blur: float | None = Field(
            None,
            ge=0,
            le=100,
            description="Pixels by which images are blurred for D as training begins; 0: none; default: 10 with "
            "--equivariance rotation, else 0.",
        )
        blur_kimg: float | None = Field(
            None,
            gt=0,
            le=1e6,
            description="Thousands of images after which none is blurred; default: 6.25 x batch size.",
        )

    class Sampling(ganzoo.Sampling):
        """Training draws without truncation, and moves nothing."""

        truncation: float = Field(
            1.0, ge=0, le=2, description="psi: how far w goes from its mean; below 1 better images, and fewer kinds."
        )
        translate_x: float = Field(0.0, ge=-2, le=2, description="How far images move right, in widths of the image.")
        translate_y: float = Field(0.0, ge=-2, le=2, description="How far images move down, in heights of the image.")
        rotate: float = Field(0.0, ge=-360, le=360, description="Degrees by which images turn counterclockwise.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        refuse_other_sizes(self.name, data)
        o, (colours, side, _) = options, data.shape
        if o.critical >= o.layers:
            raise UsageError(f"--critical {o.critical}: there must be fewer than --layers {o.layers}")
        rotation = o.equivariance == "rotation"
        twice = 2 if rotation else 1
        signals = bands(side, colours, twice * o.channel_base, twice * o.channel_max, o.layers, o.critical, o.margin)
        style, decay = o.style_dim or o.latent_dim, 0.5 ** (o.batch_size / (MAGNITUDE_KIMG * 1000))
        bound = CLAMP if o.clamp else None
        synthesis = Synthesis(style, signals, o.critical, rotation, decay, bound)
        self.generator = Generator(o.latent_dim, self.data.condition_size, style, o.depth, synthesis)
        channels = widths(o.channel_base, o.channel_max, side)
        self.discriminator = Discriminator(self.data, channels, o.group, True, bound=bound)
        self.gamma = side**2 / (1024 * o.batch_size) if o.gamma is None else o.gamma
        self.blur = (10.0 if rotation else 0.0) if o.blur is None else o.blur
        self.blur_kimg = 200 / 32 * o.batch_size if o.blur_kimg is None else o.blur_kimg

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor], told: Mapping[str, Any], critic: Network | None) -> dict[str, Any]:
        if not {"synthesis.input.freqs", "mapping.fc0.weight"} <= state.keys():
            raise Foreign("G_ema is no StyleGAN3 generator")
        if unlike := list(_unlike(told)):
            raise UsageError(f"G_ema is of a configuration that is neither T nor R: {plain(', '.join(unlike))[:200]}")
        twice = 2 if told.get("conv_kernel") == 1 else 1
        return {
            "equivariance": "rotation" if twice == 2 else "translation",
            "channel_base": told.get("channel_base", 32768) // twice,
            "channel_max": told.get("channel_max", 512) // twice,
            "layers": told.get("num_layers", 14),
            "critical": told.get("num_critical", 2),
            "margin": told.get("margin_size", 10),
            "clamp": told["bound"] is not None,
        }

    def optimizer(self, player: str) -> Rule:
        """Adam; D's as far in `r1_every` + 1 steps as it would go in `r1_every`, whether or not R1 has a weight."""
        o = self.options
        if player == "generator":
            return Adam(o.lr_generator, o.b1, o.b2)
        share = o.r1_every / (o.r1_every + 1)
        return Adam(o.lr * share, o.b1**share, o.b2**share)

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """As training draws: nothing truncated, moved or clamped. There w and magnitudes are taken note of."""
        return self.drawn(real, track=self.generator.training)

    def drawn(self, real: ganzoo.Batch, track: bool = False) -> ganzoo.Batch:
        """As many fakes as `real` has samples."""
        z = self.sample_latent(len(real.x))
        y = self.fake_labels(real)
        if track:
            self.generator.mapping.track(z, y)
        return ganzoo.Batch(self.generator.synthesis(self.generator.mapping(z, y), track=track), y, z)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """Images for latents and conditions, as `self.sampling` says; in [-1, 1] in evaluation mode."""
        s, move = self.sampling, None
        if s.translate_x or s.translate_y or s.rotate:
            move = torch.tensor(moved(s.translate_x, s.translate_y, s.rotate), device=self.device)
        x = self.generator(z, y, s.truncation, move)
        return x if self.generator.training else x.clamp(-1, 1)

    def augmented(self, batch: ganzoo.Batch) -> ganzoo.Batch:
        """Blurred as far as training is still young, and then as the run's augmentations have it."""
        if self.blur:
            spent = self.clock.images / (1000 * self.blur_kimg)
            x = blurred(batch.x, self.blur * (1 - spent).clamp(min=0), self.blur)
            batch = batch._replace(x=x)
        return super().augmented(batch)

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(StyleGAN3)
