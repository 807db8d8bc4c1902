"""Residual networks with spectral normalisation and self-attention, as SAGAN and BigGAN have them.

Blocks take features (N, C, H, W). Convolutions next to a change of size are joined with it into one of stride 2, which
gives the same numbers for fewer than half of the products.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.errors import UsageError
from ganzoo.nets import pyramid
from ganzoo.precision import exactly

_EPS = 1e-12
"""What the norm of a singular vector is at least."""

Initial = Literal["orthogonal", "normal", "xavier"]
"""How weights start: orthogonal (Saxe et al. 2014), N(0, 0.02), or uniform as Glorot & Bengio 2010 have it."""


# Spectral normalisation


def spectral(weight: Tensor, u: Tensor, update: bool) -> Tensor:
    """`weight` over its largest singular value, as one power iteration from `u` finds it. Miyato et al. 2018, 2.

    Args:
        weight: (outputs, ...), taken as a matrix of so many rows.
        u: the left singular vector found so far, (outputs,).
        update: whether `u` takes the iteration's result.
    """
    with exactly(weight.device.type):  # Half precision would give three digits of a singular value.
        matrix = weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=_EPS)
            better = F.normalize(torch.mv(matrix, v), dim=0, eps=_EPS)
            if update:
                u.copy_(better)
        return weight / torch.dot(better, torch.mv(matrix, v))


class _Spectral(nn.Module):
    """A layer whose weight is divided by its largest singular value. In evaluation mode nothing moves."""

    weight: Tensor
    u: Tensor

    def keep_vector(self) -> None:
        """Begin with a random singular vector."""
        self.register_buffer("u", F.normalize(torch.randn(self.weight.shape[0]), dim=0))

    def normalised(self) -> Tensor:
        """The weight as the layer uses it."""
        return spectral(self.weight, self.u, self.training)


class SpectralConv2d(nn.Conv2d, _Spectral):
    """A convolution of odd `size` that keeps height and width, spectrally normalised."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, bias: bool = True):
        super().__init__(inputs, outputs, size, padding=size // 2, bias=bias)
        self.keep_vector()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalised(), self.bias, padding=self.padding)

    def doubling(self, x: Tensor) -> Tensor:
        """The convolution of the image with each pixel doubled both ways: (N, C, 2H, 2W). For a `size` of 3."""
        kernel = _widened(self.normalised()).flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)

    def halving(self, x: Tensor) -> Tensor:
        """The convolution, and of it the means of 2 x 2 pixels: (N, C, H // 2, W // 2). For a `size` of 3."""
        return F.conv2d(x, _widened(self.normalised()) / 4, self.bias, stride=2, padding=1)


def _widened(kernel: Tensor) -> Tensor:
    """3 x 3 kernels, each number spread over 2 x 2 places: (..., 4, 4)."""
    right, down = F.pad(kernel, (1, 0)) + F.pad(kernel, (0, 1)), (0, 0, 1, 0)
    return F.pad(right, down) + F.pad(right, (0, 0, 0, 1))


class SpectralLinear(nn.Linear, _Spectral):
    """A linear layer, spectrally normalised."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, bias=bias)
        self.keep_vector()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised(), self.bias)


def looked_up(y: Tensor, table: Tensor) -> Tensor:
    """Rows of a table (K, D) for class indices (N,); for condition vectors (N, K), the sums weighted by them."""
    return y @ table if y.is_floating_point() else F.embedding(y, table)


class Embedding(nn.Embedding):
    """A vector for each condition: class indices (N,) or vectors (N, K) to (N, D)."""

    def forward(self, y: Tensor) -> Tensor:
        return looked_up(y, self.weight)


class SpectralEmbedding(nn.Embedding, _Spectral):
    """`Embedding`, spectrally normalised."""

    def __init__(self, conditions: int, size: int):
        super().__init__(conditions, size)
        self.keep_vector()

    def forward(self, y: Tensor) -> Tensor:
        return looked_up(y, self.normalised())


def conditions(data: DataSpec) -> int:
    """Rows of an embedding: without a condition all samples are of one class."""
    return max(1, data.condition_size)


def condition(x: Tensor, y: Tensor | None) -> Tensor:
    """`y`, or the one class that all of `x` are of."""
    return torch.zeros(x.shape[0], dtype=torch.int64, device=x.device) if y is None else y


# Blocks


class SelfAttention(nn.Module):
    """x + gamma o(a): every position sees those of the map at half its size. Zhang et al. 2019, section 3.

    a_j = sum_i softmax_i(<theta(x)_j, phi(x)_i>) g(x)_i, with phi and g max-pooled as in the authors' program; gamma
    starts at 0. Maps have at least 2 x 2 positions.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.theta = SpectralConv2d(channels, narrow, 1, bias=False)
        self.phi = SpectralConv2d(channels, narrow, 1, bias=False)
        self.g = SpectralConv2d(channels, half, 1, bias=False)
        self.o = SpectralConv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        query = self.theta(x).flatten(2)
        key, value = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.phi, self.g))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)
        a = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.o(a)


class UpBlock(nn.Module):
    """Twice the size: norm, ReLU, upsampling, convolution, norm, ReLU, convolution, beside an upsampled 1 x 1 one.

    `norm` makes the normalisation of so many channels, which is called with features and condition.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], norm: Callable[[int], nn.Module]):
        """`size` is height and width of what comes out."""
        super().__init__()
        self.size = size
        self.bn1, self.bn2 = norm(inputs), norm(outputs)
        self.conv1, self.conv2 = SpectralConv2d(inputs, outputs), SpectralConv2d(outputs, outputs)
        self.conv_sc = SpectralConv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = F.relu(self.bn1(x, y))
        if self.size == (2 * x.shape[2], 2 * x.shape[3]):
            h = self.conv1.doubling(h)
        else:
            h = self.conv1(F.interpolate(h, self.size))
        h = self.conv2(F.relu(self.bn2(h, y)))
        return h + F.interpolate(self.conv_sc(x), self.size)


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution and, with `down`, half the size, beside a 1 x 1 convolution if need be.

    The first block sees the image, without a ReLU (`first`). Inside it is as wide as it ends or, if not `wide`, begins.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool = False, wide: bool = True):
        super().__init__()
        hidden = outputs if wide else inputs
        self.down, self.first = down, first
        self.conv1, self.conv2 = SpectralConv2d(inputs, hidden), SpectralConv2d(hidden, outputs)
        if down or inputs != outputs:
            self.conv_sc = SpectralConv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x if self.first else F.relu(x)))
        h = self.conv2.halving(h) if self.down else self.conv2(h)
        if self.down:
            x = F.avg_pool2d(x, 2)  # Before the 1 x 1 convolution, which it can change places with.
        return h + (self.conv_sc(x) if hasattr(self, "conv_sc") else x)


# Networks sized from the data

_SHALLOW = 3
"""Doublings from the smallest map to the image up to which all maps are equally wide: those of 32 x 32 images."""
_WIDE = 4
"""How many times the width that is; of larger images the smallest map has 16 times."""
_GENERATOR = {
    4: (16, 8, 4, 2), 5: (16, 8, 4, 2, 1), 6: (16, 8, 8, 4, 2, 1), 7: (16, 8, 8, 4, 2, 1, 1),
    8: (16, 8, 8, 4, 2, 1, 1, 1),
}  # fmt: skip
"""By the number of doublings, how many times the width each of the generator's blocks has channels."""
_DISCRIMINATOR = {
    4: (1, 2, 4, 8, 16), 5: (1, 2, 4, 8, 16, 16), 6: (1, 2, 4, 8, 8, 16, 16), 7: (1, 1, 2, 4, 8, 8, 16, 16),
    8: (1, 1, 1, 2, 4, 8, 8, 16, 16),
}  # fmt: skip
"""The discriminator's likewise. All but the last halve the size."""


def generator_widths(data: DataSpec, width: int) -> list[int]:
    """Channels of the smallest map, and of each that is twice as large."""
    levels = len(pyramid(data)) - 1
    times = (_WIDE,) * (levels + 1) if levels <= _SHALLOW else (16, *_GENERATOR[levels])
    return [width * n for n in times]


def discriminator_widths(data: DataSpec, width: int) -> list[int]:
    """Channels of what each of the discriminator's blocks makes."""
    levels = len(pyramid(data)) - 1
    return [width * n for n in ((_WIDE,) * 4 if levels <= _SHALLOW else _DISCRIMINATOR[levels])]


def discriminator_maps(data: DataSpec) -> list[int]:
    """What the map that each of the discriminator's blocks makes is `called`."""
    sizes = [called(size) for size in pyramid(data)[-2::-1]]
    if len(sizes) <= _SHALLOW:
        return sizes[:1] * 4  # As in the program of Brock et al., though there are smaller ones.
    return [*sizes, sizes[-1]]


def called(size: Iterable[int]) -> int:
    """What a map is called where attention is asked for: the power of two that is not below its shorter side."""
    return 1 << (min(size) - 1).bit_length()


def generator_maps(data: DataSpec) -> list[int]:
    """What the map that each of the generator's blocks makes is `called`."""
    return [called(size) for size in pyramid(data)[1:]]


def refuse_unattended(flag: str, attention: Iterable[int], maps: Iterable[int], data: DataSpec) -> None:
    """See that there is a map of each size that attention is asked for.

    Raises:
        UsageError: there is none.
    """
    there = sorted(set(maps))
    for size in set(attention).difference(there):
        raise UsageError(
            f"{flag} {size}: no map of images of {data.shape[2]} x {data.shape[1]} has that size: choose from "
            f"{', '.join(map(str, there))}, or none"
        )


class Discriminator(nn.Module):
    """Images and y to logits (N, 1): residual blocks, a sum over positions, and a projection (Miyato & Koyama 2018).

    Every layer is spectrally normalised.
    """

    def __init__(self, data: DataSpec, width: int, attention: Collection[int], wide: bool = True):
        """`attention`: the maps after which there is some, each by what it is `called`."""
        super().__init__()
        widths, names = discriminator_widths(data, width), discriminator_maps(data)
        levels = len(pyramid(data)) - 1
        halvings = min(2, levels) if levels <= _SHALLOW else levels
        blocks = []
        for i, (inputs, outputs) in enumerate(zip([data.shape[0], *widths], widths, strict=False)):
            block: list[nn.Module] = [DownBlock(inputs, outputs, i < halvings, first=i == 0, wide=wide)]
            if names[i] in attention:
                block.append(SelfAttention(outputs))
            blocks.append(nn.ModuleList(block))
        self.blocks = nn.ModuleList(blocks)
        self.linear = SpectralLinear(widths[-1], 1)
        self.embed = SpectralEmbedding(conditions(data), widths[-1])

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = x
        for block in self.blocks:
            for layer in block:  # type: ignore[attr-defined]
                h = layer(h)
        h = F.relu(h).sum((2, 3))
        return self.linear(h) + (self.embed(condition(x, y)) * h).sum(1, keepdim=True)


def initialise(module: nn.Module, how: Initial, clear: bool = False) -> None:
    """Start the weights of all convolutions, linear layers and embeddings anew; with `clear`, biases at zero too."""
    starts: dict[str, Callable[[Tensor], Tensor]] = {
        "orthogonal": nn.init.orthogonal_,
        "normal": _normal,
        "xavier": nn.init.xavier_uniform_,
    }
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            starts[how](layer.weight)
            if clear and getattr(layer, "bias", None) is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _normal(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=0.02)
