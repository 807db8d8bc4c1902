"""What StyleGAN2 and StyleGAN3 share: the mapping network, layers at equalised rates, the discriminator.

Weights are normal with deviation 1 and scaled where they are used by 1 / sqrt(fan in) (equalised rates: Adam moves all
layers alike); the mapping networks learn at a hundredth of the rate. Names of modules are those of the authors'
programs in PyTorch, so that a state of theirs is one of ours.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.errors import UsageError
from ganzoo.nets import vector
from ganzoo.precision import computed, exactly

State = dict[str, Tensor]
"""Tensors of a network by name."""
LARGEST, SMALLEST = 1024, 8
"""Sides of images."""
MAPPING_RATE = 0.01
"""What the mapping networks' weights learn at, as a share of the others."""
CRITIC_DEPTH = 8
"""Layers of the discriminator's mapping network, as published whatever the generator's."""
W_DECAY = 0.998
"""Decay of the mean of w."""
LOW_PASS = (1.0, 3.0, 3.0, 1.0)
CLAMP = 256.0
"""What activations are held within where precision goes by layer, as published."""
WHOLE_BATCH = 65536
"""The group of a minibatch deviation that no batch is larger than."""


@dataclass(frozen=True)
class Arithmetic:
    """In which precision a block computes."""

    half: bool | None = None
    """In the run's half precision, where it has one, or in float32; None: as the run does, all layers alike."""
    bound: float | None = None
    """What the outputs of convolutions are held within."""

    def around(self, x: Tensor) -> AbstractContextManager[Any]:
        """The context for a block on the device of `x`."""
        return exactly(x.device.type) if self.half is False else nullcontext()

    def exact(self, x: Tensor) -> AbstractContextManager[Any]:
        """For what is float32 in a block of half precision, too: styles, and the image that blocks add to."""
        return nullcontext() if self.half is None else exactly(x.device.type)

    def entering(self, x: Tensor) -> Tensor:
        """The block's input in its own precision, within `around`."""
        return x if self.half is None else x.to(computed(x.device.type))

    def like(self, value: Tensor, x: Tensor) -> Tensor:
        """A value as it meets `x`: half and float32 would make float32."""
        return value if self.half is None else value.to(x.dtype)


AS_THE_RUN = Arithmetic()


def by_layer(side: int, largest: int, highest: int | None, bound: float | None = None) -> Arithmetic:
    """Of the block of a resolution, where the `highest` so many compute in half precision: never that at 4 x 4.

    They hold what they compute within `CLAMP`; where precision does not go by layer, within `bound`.
    """
    return Arithmetic(bound=bound) if highest is None else Arithmetic(side >= max(2 * largest >> highest, 8), CLAMP)


def sides_to(side: int) -> list[int]:
    """4, 8, ... `side`."""
    return [2**i for i in range(2, side.bit_length())]


def low_pass() -> Tensor:
    """The two-dimensional filter, with a sum of 1: (4, 4)."""
    f = torch.tensor(LOW_PASS)
    return f.outer(f) / f.sum() ** 2


def filtered(x: Tensor, f: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Each channel of (N, C, H, W) through the filter; zeros around the image."""
    channels = x.shape[1]
    return F.conv2d(x, f.to(x.dtype).expand(channels, 1, 4, 4), stride=stride, padding=padding, groups=channels)


def activated(x: Tensor, bias: Tensor, gain: float = math.sqrt(2), bound: float | None = None) -> Tensor:
    """Leaky ReLU of x + bias, which keeps the mean square of a normal input; at most `bound`, either way.

    Channels are the second dimension.
    """
    x = F.leaky_relu(x + bias.view(-1, *[1] * (x.dim() - 2)), 0.2) * gain
    return within(x, bound)


def within(x: Tensor, bound: float | None) -> Tensor:
    """At most `bound`, either way; None: as it is."""
    return x if bound is None else x.clamp(-bound, bound)


def normalised(x: Tensor) -> Tensor:
    """Rows (N, D) scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Dense(nn.Module):
    """A linear layer at an equalised rate: (N, `inputs`) to (N, `outputs`), with or without a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, active: bool = False, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.active, self.rate, self.scale = active, rate, rate / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.scale, self.bias * self.rate
        return activated(F.linear(x, weight), bias) if self.active else F.linear(x, weight, bias)


class Convolution(nn.Module):
    """A convolution at an equalised rate, of the same size or, with `down`, of half the size, low-passed before."""

    f: Tensor

    def __init__(
        self, inputs: int, outputs: int, size: int, active: bool = True, down: bool = False,
        arithmetic: Arithmetic = AS_THE_RUN,
    ):  # fmt: skip
        super().__init__()
        self.arithmetic = arithmetic
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.scale, self.down = 1 / math.sqrt(inputs * size**2), down
        self.register_buffer("f", low_pass(), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        size = self.weight.shape[2]
        weight = self.weight * (self.scale if self.bias is not None else self.scale * gain)
        if not self.down:
            x = F.conv2d(x, weight, padding=size // 2)
        elif size == 1:  # Only the pixels that stay are filtered.
            x = F.conv2d(filtered(x, self.f, 1, stride=2), weight)
        else:
            x = F.conv2d(filtered(x, self.f, 2), weight, stride=2)
        if self.bias is None:
            return x
        bound = self.arithmetic.bound
        bias = self.arithmetic.like(self.bias, x)
        return activated(x, bias, math.sqrt(2) * gain, None if bound is None else bound * gain)


class MappingNetwork(nn.Module):
    """z and condition to w; for the discriminator, the condition alone to its projection.

    `mapping(z, y, psi)` is (N, `layers`, `size`): w for each layer, at `psi` of its way from the mean of w. With
    `layers` None it is (N, `size`), and without latents z only says how many there are.
    """

    w_avg: Tensor
    """The mean of w, tracked in training."""

    def __init__(
        self, latents: int, conditions: int, size: int, depth: int, layers: int | None,
        arithmetic: Arithmetic = AS_THE_RUN,
    ):  # fmt: skip
        super().__init__()
        self.arithmetic = arithmetic
        self.latents, self.conditions, self.depth, self.layers = latents, conditions, depth, layers
        if conditions:
            self.embed = Dense(conditions, size)
        widths = [latents + size * bool(conditions), *[size] * depth]
        for i in range(depth):
            self.add_module(f"fc{i}", Dense(widths[i], widths[i + 1], active=True, rate=MAPPING_RATE))
        if layers is not None:
            self.register_buffer("w_avg", torch.zeros(size))

    def single(self, z: Tensor, y: Tensor | None) -> Tensor:
        """w (N, `size`), one for all layers, as it is."""
        parts = [normalised(z)] if self.latents else []
        if self.conditions:
            assert y is not None
            parts.append(normalised(self.embed(vector(y, self.conditions))))
        x = torch.cat(parts, dim=1)
        for i in range(self.depth):
            x = self.get_submodule(f"fc{i}")(x)
        return x

    def forward(self, z: Tensor, y: Tensor | None = None, psi: float = 1.0) -> Tensor:
        with self.arithmetic.around(z):
            w = self.single(z, y)
        if self.layers is None:
            return w
        ws = w.unsqueeze(1).repeat(1, self.layers, 1)
        return ws if psi == 1 else self.w_avg.lerp(ws, psi)

    @torch.no_grad()
    def track(self, z: Tensor, y: Tensor | None) -> None:
        """Let the mean of w follow these latents'."""
        with self.arithmetic.around(z):
            self.w_avg.lerp_(self.single(z, y).float().mean(0), 1 - W_DECAY)


class CriticBlock(nn.Module):
    """One resolution: two layers to half the size, beside a linear way around them in a residual network."""

    def __init__(self, colours: int, inputs: int, outputs: int, residual: bool, arithmetic: Arithmetic):
        """`colours` is 0 but for the first block, which sees the image."""
        super().__init__()
        if colours:
            self.fromrgb = Convolution(colours, inputs, 1, arithmetic=arithmetic)
        self.conv0 = Convolution(inputs, inputs, 3, arithmetic=arithmetic)
        self.conv1 = Convolution(inputs, outputs, 3, down=True, arithmetic=arithmetic)
        if residual:
            self.skip = Convolution(inputs, outputs, 1, active=False, down=True, arithmetic=arithmetic)
        self.sees, self.residual, self.arithmetic = bool(colours), residual, arithmetic

    def forward(self, x: Tensor) -> Tensor:
        with self.arithmetic.around(x):
            return self.judged(self.arithmetic.entering(x))

    def judged(self, x: Tensor) -> Tensor:
        """The same of what is in the block's precision."""
        if self.sees:
            x = self.fromrgb(x)
        if not self.residual:
            return self.conv1(self.conv0(x))
        gain = math.sqrt(0.5)
        return self.conv1(self.conv0(x), gain) + self.skip(x, gain)


class MinibatchDeviation(nn.Module):
    """One more channel: the mean deviation within a group of samples. (N, C, H, W) to (N, C + 1, H, W).

    Samples i, i + N / group, ... are a group. Where `group` does not divide the batch, the next smaller number that
    does is taken.
    """

    batch_statistics = True

    def __init__(self, group: int):
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        size = next(g for g in range(min(self.group, n), 0, -1) if n % g == 0)
        groups = x.float().reshape(size, n // size, -1)
        deviation = (groups - groups.mean(0)).square().mean(0).add(1e-8).sqrt().mean(1)
        channel = deviation.to(x.dtype).repeat(size).view(n, 1, 1, 1).expand(n, 1, height, width)
        return torch.cat([x, channel], dim=1)


class Epilogue(nn.Module):
    """Features at 4 x 4 to (N, `outputs`)."""

    def __init__(self, channels: int, outputs: int, group: int, arithmetic: Arithmetic):
        super().__init__()
        self.arithmetic = arithmetic
        self.deviation = MinibatchDeviation(group)
        self.conv = Convolution(channels + 1, channels, 3, arithmetic=arithmetic)
        self.fc = Dense(channels * 16, channels, active=True)
        self.out = Dense(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        with self.arithmetic.around(x):
            x = self.arithmetic.entering(x)
            return self.out(self.fc(self.conv(self.deviation(x)).flatten(1)))


class Discriminator(nn.Module):
    """Images and y to logits (N, 1)."""

    def __init__(
        self, data: DataSpec, widths: Mapping[int, int], group: int, residual: bool, half: int | None = None,
        bound: float | None = None,
    ):  # fmt: skip
        super().__init__()
        colours, side, _ = data.shape
        self.sides, self.size = sides_to(side)[:0:-1], widths[4]
        for s in self.sides:
            arithmetic = by_layer(s, side, half, bound)
            self.add_module(
                f"b{s}", CriticBlock(colours * (s == side), widths[s], widths[s // 2], residual, arithmetic)
            )
        arithmetic = by_layer(4, side, half, bound)
        self.conditional = data.conditional
        if data.conditional:
            self.mapping = MappingNetwork(0, data.condition_size, self.size, CRITIC_DEPTH, None, arithmetic)
        self.b4 = Epilogue(widths[4], self.size if data.conditional else 1, group, arithmetic)

    def blocks(self) -> list[nn.Module]:
        """The highest resolution first, which holds the layer from RGB; the last is that at 4 x 4."""
        return [self.get_submodule(f"b{side}") for side in (*self.sides, 4)]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = x
        for block in self.blocks():
            h = block(h)
        return (h * self.mapping(x, y)).sum(1, keepdim=True) / math.sqrt(self.size) if self.conditional else h


# Sizes


def widths(channel_base: int, channel_max: int, side: int) -> dict[int, int]:
    """Channels of the resolutions 4, 8, ... `side`."""
    return {s: max(1, min(channel_base // s, channel_max)) for s in sides_to(side)}


def refuse_other_sizes(model: str, data: DataSpec, smallest: int = SMALLEST) -> None:
    """Raises UsageError unless the data holds square images, their side a power of two from `smallest` to 1024."""
    sides = data.shape[1:]
    if data.is_images and sides[0] == sides[1] and smallest <= sides[0] and sides[0] in sides_to(LARGEST):
        return
    found = " x ".join(map(str, sides[::-1])) if data.is_images else "vectors"
    raise UsageError(
        f"model '{model}' makes square images with sides that are powers of two, {smallest} to {LARGEST}, "
        f"and those of '{data.name}' are {found}: choose a size with --image-size {max(smallest, 32)}, say"
    )
