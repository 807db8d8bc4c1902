"""Networks of models that make images from images: U-Net, residual translator, PatchGAN, a pool of fakes.

They are convolutional and take images of any size. Feature maps are normalised image by image (Ulyanov et al. 2016,
Instance Normalization), as the papers do that train on one image at a time: a sample does not depend on its batch.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo import losses
from ganzoo.data import DataSpec
from ganzoo.errors import UsageError


def large_enough(name: str, data: DataSpec, least: int) -> None:
    """See that images have as many pixels a side as a model's networks need.

    Raises:
        UsageError: they have fewer than `least`.
    """
    h, w = data.shape[1:]
    if min(h, w) < least:
        raise UsageError(
            f"model '{name}' takes images of {least} x {least} pixels or more, and those of '{data.name}' have "
            f"{w} x {h}: --image-size {least} or more"
        )


def same_size(name: str, data: DataSpec, least: int = 1) -> tuple[int, int]:
    """Channels of the sources and of the images, for a model that leaves the size of an image as it is.

    Raises:
        UsageError: sources and images differ in size, or have fewer than `least` pixels a side.
    """
    source = data.source_shape
    assert source is not None, "the model translates"
    if source[1:] != data.shape[1:]:
        (h, w), (height, width) = source[1:], data.shape[1:]
        raise UsageError(
            f"model '{name}' makes images of their source's size, and data set '{data.name}' has sources of {w} x {h} "
            f"pixels and images of {width} x {height}: choose srgan to enlarge images"
        )
    large_enough(name, data, least)
    return source[0], data.shape[0]


exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Whether a program is being made of what is called. torch 2.6 says no more than that something is."""


def padded(x: Tensor, multiple: int) -> Tensor:
    """Images (N, C, H, W), continued at the right and below by their last pixels to multiples of a number."""
    height, width = ((side + multiple - 1) // multiple * multiple for side in x.shape[2:])
    if exporting():
        return _taken(x, height, width)
    down, across = height - x.shape[2], width - x.shape[3]
    return F.pad(x, (0, across, 0, down), mode="replicate") if down or across else x


def cut(x: Tensor, like: Tensor) -> Tensor:
    """What `padded` added, left out again: the upper left part of images (N, C, H, W), of the size of others."""
    height, width = like.shape[2:]
    return _taken(x, height, width) if exporting() else x[:, :, :height, :width]


def _taken(x: Tensor, height: int, width: int) -> Tensor:
    """Images cut, or continued by their last pixels, to a size, in operators that ask nothing of its numbers: an
    exported program is to hold for all."""
    for axis, side in ((2, height), (3, width)):
        x = x.index_select(axis, torch.arange(side, device=x.device).clamp(max=x.shape[axis] - 1))
    return x


def init_small(module: nn.Module) -> None:
    """Weights of convolutions from N(0, 0.02), biases 0, as Isola et al. 2017 and Zhu et al. 2017 start networks."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class UNet(nn.Module):
    """Isola et al. 2017, section 6.1.1: an encoder, a decoder, and each level of the one joined to the other's.

    Images (N, `inputs`, H, W) to (N, `outputs`, H, W) in [-1, 1]. Sides that are no multiples of 2**`halvings` are
    continued by their last pixels and cut again. `width` channels after the first halving; they double up to 8 times.
    The three levels of the decoder after the innermost have dropout, the outermost two none, as in the authors' code
    for 256 pixels (for 128 that has it in one level fewer): a source of noise in training, and where `noise` says so in
    evaluation mode too (section 3.2.1). With a `latent_dim`, each level of the encoder sees a latent z
    (N, `latent_dim`) too, at every pixel (Zhu et al. 2017, Toward Multimodal Image-to-Image Translation, figure 3).
    `resized`: the last level doubles the map by nearest neighbours and convolves it, which leaves no checkerboard
    (Odena et al. 2016), where the paper's convolution is transposed.
    """

    def __init__(
        self, inputs: int, outputs: int, halvings: int, width: int = 64, dropout: float = 0.5, latent_dim: int = 0,
        resized: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.halvings = halvings
        self.dropout = dropout
        widths = [width * min(2**level, 8) for level in range(halvings)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(pairwise([inputs, *widths])):
            # Neither the first nor the innermost map is normalised: of that, one pixel may be all there is.
            normed = 0 < level < halvings - 1
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            layers.append(nn.Conv2d(before + latent_dim, after, 4, 2, 1, bias=False))
            self.down.append(nn.Sequential(*layers, *([nn.InstanceNorm2d(after, affine=True)] if normed else [])))
        for level in reversed(range(halvings)):
            joined = widths[level] * (1 if level == halvings - 1 else 2)
            after = widths[level - 1] if level else outputs
            layers = [nn.ReLU(), nn.ConvTranspose2d(joined, after, 4, 2, 1, bias=not level)]
            if resized and not level:
                layers[1:] = [nn.Upsample(scale_factor=2), nn.Conv2d(joined, after, 3, padding=1)]
            if level:
                layers.append(nn.InstanceNorm2d(after, affine=True))
            self.up.append(nn.Sequential(*layers))
        init_small(self)

    def forward(self, source: Tensor, y: Tensor | None = None, z: Tensor | None = None, noise: bool = False) -> Tensor:
        drops = self.dropout > 0 and (self.training or noise)
        x, skips = padded(source, 2**self.halvings), []
        for down in self.down:
            if z is not None:
                x = torch.cat([x, z.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
            x = down(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for place, up in enumerate(list(self.up)[1:], 1):
            x = up(torch.cat([skips.pop(), x], 1))
            if drops and place < min(4, self.halvings - 2):
                x = F.dropout(x, self.dropout)
        return cut(x, source).tanh()


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around which the map goes on as it is. Johnson et al. 2016; Zhu et al. 2017, 7.2."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResidualTranslator(nn.Module):
    """Zhu et al. 2017, section 7.2: c7s1-k, d2k, d4k, residual blocks, u2k, uk, c7s1-3.

    Images (N, `inputs`, H, W) to (N, `outputs`, H, W) in [-1, 1]. Sides that are no multiples of 4 are continued by
    their last pixels and cut again.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, width: int = 64, halvings: int = 2):
        super().__init__()
        self.multiple = 2**halvings

        def normed(layer: nn.Module, after: int) -> list[nn.Module]:
            return [layer, nn.InstanceNorm2d(after), nn.ReLU()]

        widths = [width * 2**level for level in range(halvings + 1)]
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *normed(nn.Conv2d(inputs, width, 7), width)]
        for before, after in pairwise(widths):
            layers += normed(nn.Conv2d(before, after, 3, 2, 1), after)
        layers += [ResidualBlock(widths[-1]) for _ in range(blocks)]
        for before, after in pairwise(reversed(widths)):
            layers += normed(nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1), after)
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh())
        init_small(self)

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        return cut(self.layers(padded(source, self.multiple)), source)


class PatchDiscriminator(nn.Module):
    """Isola et al. 2017, section 6.1.2: a logit for each patch of an image.

    Images (N, `inputs`, H, W) to logits (N, 1, h, w). With three halvings, a patch is 70 x 70 pixels (C64-C128-C256-
    C512); with two 34 x 34, with one 16 x 16.
    """

    def __init__(self, inputs: int, halvings: int = 3, width: int = 64, affine: bool = False):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(halvings + 1)]
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise([inputs, *widths])):
            stride = 2 if level < halvings else 1
            layers.append(nn.Conv2d(before, after, 4, stride, 1, bias=not level or not affine))
            if level:
                layers.append(nn.InstanceNorm2d(after, affine=affine))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        init_small(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(x)


def patch_halvings(data: DataSpec) -> int:
    """How often `PatchDiscriminator` halves an image: 3 from 128 pixels on, as the paper does; 2 from 64, 1 below."""
    side = min(data.shape[1:])
    return 3 if side >= 128 else 2 if side >= 64 else 1


class MultiScale(nn.Module):
    """Discriminators of an image in several sizes, each half of the one before: a tuple of what they say, (N, ...).

    Wang et al. 2018, pix2pixHD, section 3.2; pixels beyond the border do not count.
    """

    def __init__(self, scales: Iterable[nn.Module]):
        super().__init__()
        self.scales = nn.ModuleList(scales)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        said = []
        for i, scale in enumerate(self.scales):
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if i else x
            said.append(scale(x))
        return tuple(said)


def discriminator_of_scales(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """E[(D(x) - 1)^2] + E[D(G)^2], summed over what `MultiScale` says: a scalar."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([2 * losses.least_squares_discriminator(*pair) for pair in pairs]).sum()


def generator_of_scales(fake: Sequence[Tensor]) -> Tensor:
    """E[(D(G) - 1)^2], summed likewise."""
    return torch.stack([losses.mean_squared_generator(said) for said in fake]).sum()


class Pool(nn.Module):
    """Past fakes, `size` or a few more: the discriminator sees one of them in place of a new one, half of the time.

    Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4. The new one is kept in its stead. Each process of
    a run has a pool of its own.
    """

    own = True
    """Its buffers are this process's: not shared, and kept for each process."""
    held: Tensor
    """The images, float bits as int32 (size, C, H, W)."""
    count: Tensor
    """How many have come, int64, up to `size`."""

    def __init__(self, shape: tuple[int, ...], size: int = 50, batch_size: int = 1):
        super().__init__()
        size = -(-size // batch_size) * batch_size  # Filled batch by batch.
        # As whole numbers, for processes take the mean of what is held in floating-point buffers.
        self.register_buffer("held", torch.zeros(size, *shape, dtype=torch.int32))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, fakes: Tensor) -> Tensor:
        """Fakes (N, C, H, W) to as many, some of them older."""
        held, n = self.held.view(torch.float32), len(fakes)
        full = self.count + n > len(held)
        new = fakes.detach().float()
        drawn = torch.rand(len(held), device=fakes.device).argsort()[:n]
        place = torch.where(full, drawn, (self.count + torch.arange(n, device=fakes.device)) % len(held))
        shown = full & (torch.rand(n, device=fakes.device) < 0.5)
        older = held[place]
        swapped = shown.view(-1, 1, 1, 1)
        # While it fills, all are kept; later, only those that an older one stands in for.
        kept = (shown | ~full).view(-1, 1, 1, 1)
        held.index_copy_(0, place, torch.where(kept, new, older))
        self.count.copy_(torch.where(full, self.count, self.count + n))
        return torch.where(swapped, older, new).to(fakes.dtype)
