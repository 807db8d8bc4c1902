"""Building blocks that several models share. Networks take `(z, y)` or `(x, y)`; `y` is None when unconditional."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from ganzoo.affine import affine
from ganzoo.data import DataSpec
from ganzoo.errors import UsageError


def weighted_layers(network: nn.Module) -> list[list[nn.Module]]:
    """The modules of a network that hold weights, in the order of registration, one list for each layer.

    A layer begins with a module that holds a matrix or a kernel; what holds vectors alone, a normalisation say, belongs
    to the layer before it.
    """
    layers: list[list[nn.Module]] = []
    for module in _holders(network):
        if layers and all(p.dim() < 2 for p in module.parameters()):
            layers[-1].append(module)
        else:
            layers.append([module])
    return layers


def side_by_side(one: nn.Module, other: nn.Module) -> list[list[nn.Module]]:
    """The `weighted_layers` of two networks that are built alike, those of one depth together."""
    return [[*ours, *theirs] for ours, theirs in zip(weighted_layers(one), weighted_layers(other), strict=True)]


def _holders(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules that hold parameters; a reparametrised one as a whole."""
    inner = [child for child in module.children() if any(True for _ in child.parameters())]
    if not inner or is_parametrized(module):
        if any(True for _ in module.parameters()):
            yield module
        return
    for child in inner:
        yield from _holders(child)


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether a sample's output depends on the rest of its batch: BatchNorm, or a module marked `batch_statistics`."""
    return any(isinstance(m, _BatchNorm) or getattr(m, "batch_statistics", False) for m in module.modules())


class Condition(nn.Module):
    """A condition as features: class indices (N,) through an embedding, vectors (N, K) through a linear map.

    Without a condition it gives zero features, so that no network branches on it. Output: (N, `size`), where `size`
    is `dim`, or 0 for data without a condition.
    """

    def __init__(self, data: DataSpec, dim: int):
        super().__init__()
        self.size = dim if data.conditional else 0
        self.embed: nn.Module | None = None
        if data.attributes:
            self.embed = nn.Linear(data.condition_size, dim)
        elif data.classes:
            self.embed = nn.Embedding(data.condition_size, dim)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The features of `y`; `x` says how many and where when there is none."""
        if self.embed is None or y is None:
            return x.new_zeros(x.shape[0], 0)  # Not len(x), which an exported program takes for a constant.
        return self.embed(y)


def vector(y: Tensor, size: int) -> Tensor:
    """A condition as float vectors (N, `size`): classes one-hot, vectors as they are.

    torch's `one_hot` reads the classes back to check them, and a step that reads a value cannot be recorded.
    """
    return y if y.is_floating_point() else (y.unsqueeze(1) == torch.arange(size, device=y.device)).float()


class Projection(nn.Module):
    """Features and condition to one logit: psi(h) + <V y, h>. Miyato & Koyama 2018, equation 3.

    The inner product is the log ratio of p(y|x) between data and model, for classes and for vectors alike; without a
    condition psi stays alone. Features (N, `features`) to logits (N, 1). `wrap` is applied to each layer that has
    weights: spectral normalisation, for one.
    """

    def __init__(self, data: DataSpec, features: int, wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer):
        super().__init__()
        self.psi = wrap(nn.Linear(features, 1))
        self.condition = Condition(data, features)
        if isinstance(self.condition.embed, nn.Embedding):
            # As a linear layer starts: unit normal entries would drown psi.
            nn.init.normal_(self.condition.embed.weight, std=features**-0.5)
        if self.condition.embed is not None:
            self.condition.embed = wrap(self.condition.embed)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        logits = self.psi(h)
        if self.condition.size:
            logits = logits + (self.condition(h, y) * h).sum(1, keepdim=True)
        return logits


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation whose gain and bias follow the condition (Dumoulin et al. 2017); ordinary without one.

    Features (N, C, H, W) and y to features of the same shape. It starts as ordinary batch normalisation.
    """

    def __init__(self, data: DataSpec, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.condition = Condition(data, 2 * channels)
        if self.condition.embed is not None:
            for parameter in self.condition.embed.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.condition.size:
            gain, bias = self.condition(x, y)[:, :, None, None].chunk(2, dim=1)
            x = x * (1 + gain) + bias
        return x


class Linear(nn.Linear):
    """torch's linear layer for features (N, in), whose large products are faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)


class JoinedLinear(nn.Module):
    """A linear layer over features (N, `inputs`) joined to an embedded condition (N, `size`), to (N, `outputs`).

    The weights for the two stand apart, and nothing is copied to join them. The product that the features' weights get
    their gradient from keeps an even size, twice as fast as one of ten columns more, and where no gradient for the
    features is asked, as for images in the discriminator's turn, none is computed.
    """

    def __init__(self, inputs: int, size: int, outputs: int):
        super().__init__()
        bound = (inputs + size) ** -0.5  # As torch starts the joined layer.
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.condition_weight = nn.Parameter(torch.empty(outputs, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return torch.addmm(affine(x, self.weight, self.bias), condition, self.condition_weight.t())


class Dropout(nn.Module):
    """Dropout whose mask is cut from random bytes: several times cheaper than a Bernoulli draw on a CPU.

    A GPU has one kernel for all of it, torch's own. Each element is kept with probability round(256 (1 - p)) / 256, and
    scaled by its inverse, so that the expectation is exact (Srivastava et al. 2014, inverted as everywhere).
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.keep = round(256 * (1 - p))
        if not 0 < self.keep <= 256:
            raise ValueError(f"dropout probability {p} leaves nothing")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 256:
            return x
        if x.is_cuda:
            return F.dropout(x, 1 - self.keep / 256)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        return x * bits.to(x.dtype).lt_(self.keep).mul_(256 / self.keep)  # A comparison of bytes takes longer.

    def extra_repr(self) -> str:
        return f"p={1 - self.keep / 256:.4g}"


class GaussianNoise(nn.Module):
    """Normal noise of a standard deviation on every number, in training alone."""

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training else x


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, around which the map (N, width, H, W) goes on as it is."""

    def __init__(self, width: int, activation: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation,
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Maxout(nn.Module):
    """Goodfellow et al. 2013, equation 1: the largest of `pieces` linear maps, per unit. (N, in) to (N, out)."""

    def __init__(self, inputs: int, outputs: int, pieces: int):
        super().__init__()
        self.pieces = pieces
        self.linear = Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


def mlp(sizes: Sequence[int], activation: nn.Module) -> nn.Sequential:
    """Linear layers of the given sizes with `activation` after each but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs), activation]
    return nn.Sequential(*layers[:-1])


class MLPGenerator(nn.Module):
    """z, joined to the embedded condition if there is one, through layers of `sizes` units to images.

    z (N, latent_dim) and y to (N, C, H, W) in [-1, 1]. Each layer is followed by BatchNorm and leaky ReLU; tutorials
    leave the first without normalisation and set the epsilon to 0.8.
    """

    def __init__(
        self,
        data: DataSpec,
        latent_dim: int,
        sizes: Sequence[int] = (256, 512),
        first_normalised: bool = True,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.condition = Condition(data, data.condition_size)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([self.condition.size + latent_dim, *sizes]):
            normalised = first_normalised or bool(layers)
            layers.append(Linear(inputs, outputs))
            if normalised:
                layers.append(nn.BatchNorm1d(outputs, eps))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(*layers, Linear(sizes[-1], data.pixels), nn.Tanh(), nn.Unflatten(1, data.shape))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.layers(torch.cat([self.condition(z, y), z], dim=1))


class MLPDiscriminator(nn.Module):
    """Images (N, C, H, W) through layers of `sizes` units to logits (N, 1); the condition enters by `Projection`."""

    def __init__(self, data: DataSpec, sizes: Sequence[int] = (512, 256)):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise([data.pixels, *sizes]):
            layers += [Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.head = Projection(data, sizes[-1])

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.head(self.layers(x), y)


def networks(
    kind: str, data: DataSpec, latent_dim: int, width: int = 32, batch_norm: bool = True, hidden: int = 0, pack: int = 1
) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator, as the option `network` names them: `conv`, those of DCGAN, or `mlp`.

    The fully connected ones take data of any shape, and have sizes of their own: as by default for images, and two
    layers of 128 for vectors, as Metz et al. 2017 take for points in the plane. The discriminator judges `pack` samples
    at once, joined along their first axis.

    Raises:
        UsageError: convolutions of data without pixels.
    """
    if kind == "mlp":
        judged = replace(data, shape=(pack * data.shape[0], *data.shape[1:]))
        if data.is_images:
            return MLPGenerator(data, latent_dim), MLPDiscriminator(judged)
        return MLPGenerator(data, latent_dim, (128, 128)), MLPDiscriminator(judged, (128, 128))
    if not data.is_images:
        raise UsageError(
            f"the model's networks are convolutional, and data set '{data.name}' holds vectors: choose --network mlp"
        )
    return ConvGenerator(data, latent_dim, width, hidden), ConvDiscriminator(data, width, batch_norm, hidden, pack)


def init_uniform(module: nn.Module, bound: float) -> None:
    """Draw every weight from U(-`bound`, `bound`) and set biases to zero, as Goodfellow et al. 2014 start networks."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.zeros_(parameter)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw weights from N(0, `std`), BatchNorm's gains from N(1, `std`), and clear biases: Radford et al. 2016, 4."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | _BatchNorm) and layer.weight is not None:
            nn.init.normal_(layer.weight, 1.0 if isinstance(layer, _BatchNorm) else 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# Convolutional networks sized from the data


def pyramid(data: DataSpec) -> list[tuple[int, int]]:
    """Height and width of the feature maps, smallest first, the image last.

    The sides are halved, rounding down, until the shorter one is at most 7: 7, 14, 28 for 28; 4, 8, 16, 32 for 32;
    4, 9, 18, 36 for 36.

    Raises:
        UsageError: the data holds vectors.
    """
    if not data.is_images:
        raise UsageError(f"the model's networks are convolutional, and data set '{data.name}' holds vectors: try `gan`")
    sizes = [(data.shape[1], data.shape[2])]
    while len(sizes) < 2 or min(sizes[0]) > 7:
        sizes.insert(0, (max(sizes[0][0] // 2, 1), max(sizes[0][1] // 2, 1)))
    return sizes


def channels(data: DataSpec, width: int) -> list[int]:
    """Channels of those maps but the image, smallest map first: `width` at the last, doubling inwards up to 8 times."""
    return [width * min(2**level, 8) for level in reversed(range(len(pyramid(data)) - 1))]


def upsampling(inputs: int, outputs: int, size: tuple[int, int], bias: bool = False) -> nn.ConvTranspose2d:
    """A transposed 4 x 4 convolution of stride 2 from half of `size`, rounded down, to `size`."""
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, output_padding=(size[0] % 2, size[1] % 2), bias=bias)


class ConvGenerator(nn.Module):
    """The generator of Radford et al. 2016 (figure 1), sized from the data: z (N, latent_dim) and y to images.

    z, joined to the embedded condition if there is one, is projected to the smallest feature map; transposed
    convolutions of stride 2, batch normalisation and ReLU double it; the last gives the image through tanh.

    The paper has no fully connected layers but that one. With `hidden` there is another before it, of so many units,
    as in the authors' program for digits (github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py): what is to be
    drawn is decided there, and without it digits run into each other. Each unit of the smallest map is then
    normalised by itself: rectified inputs give the map a pattern that all samples share, and in the statistics of
    whole channels that pattern would drown what differs.
    """

    def __init__(self, data: DataSpec, latent_dim: int, width: int, hidden: int = 0):
        super().__init__()
        self.condition = Condition(data, data.condition_size)
        (first, *sizes), widths = pyramid(data), channels(data, width)
        inputs, units = latent_dim + self.condition.size, widths[0] * first[0] * first[1]
        unflattened = nn.Unflatten(1, (widths[0], *first))
        if hidden:
            layers: list[nn.Module] = [Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            layers += [Linear(hidden, units, bias=False), nn.BatchNorm1d(units), unflattened]
        else:
            layers = [nn.Linear(inputs, units, bias=False), unflattened, nn.BatchNorm2d(widths[0])]
        for inputs, outputs, size in zip(widths, [*widths[1:], data.shape[0]], sizes, strict=True):
            layers += [nn.ReLU(inplace=True), upsampling(inputs, outputs, size), nn.BatchNorm2d(outputs)]
        layers[-1] = nn.Tanh()  # The image is not normalised.
        self.layers = nn.Sequential(*layers)
        init_normal(self.layers)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.layers(torch.cat([z, self.condition(z, y)], dim=1))


class ConvFeatures(nn.Module):
    """Images (N, `inputs`, H, W) to features (N, `size`): 4 x 4 convolutions of stride 2 and leaky ReLU.

    With `batch_norm`, every convolution but the first is followed by it, and weights start as in `init_normal`
    (Radford et al. 2016). `wrap` is applied to each convolution: spectral normalisation, for one. With `hidden`, a
    fully connected layer of so many units comes last, with the same activation.

    That layer is normalised too, but not in colour. Real images and fakes are normalised each by themselves, so fakes
    that are all alike look like nothing there: digits escape from that and are learnt faster, colour was not.
    """

    def __init__(
        self,
        data: DataSpec,
        width: int,
        inputs: int | None = None,
        batch_norm: bool = False,
        wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer,
        hidden: int = 0,
    ):
        super().__init__()
        widths, smallest = channels(data, width)[::-1], pyramid(data)[0]
        self.size = widths[-1] * smallest[0] * smallest[1]
        self.layers = nn.Sequential()
        for before, after in pairwise([inputs or data.shape[0], *widths]):
            normed = batch_norm and len(self.layers) > 0
            self.layers.append(wrap(nn.Conv2d(before, after, 4, 2, 1, bias=not normed)))
            if normed:
                self.layers.append(nn.BatchNorm2d(after))
            self.layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers.append(nn.Flatten())
        if hidden:
            normed = batch_norm and data.shape[0] == 1
            self.layers.append(wrap(Linear(self.size, hidden, bias=not normed)))
            if normed:
                self.layers.append(nn.BatchNorm1d(hidden))
            self.layers.append(nn.LeakyReLU(0.2, inplace=True))
            self.size = hidden
        if batch_norm:
            init_normal(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ConvDiscriminator(nn.Module):
    """The discriminator of Radford et al. 2016, sized from the data: images and y to logits (N, 1).

    A condition enters as one more channel of the image, into which it is mapped. Without `batch_norm` each sample is
    judged by itself, as gradient penalties ask (Gulrajani et al. 2017, section 4). `hidden`: see `ConvFeatures`. With
    `pack`, it judges so many images at once, joined along their channels.
    """

    def __init__(self, data: DataSpec, width: int, batch_norm: bool = True, hidden: int = 0, pack: int = 1):
        super().__init__()
        self.condition = Condition(data, data.shape[1] * data.shape[2])
        inputs = pack * data.shape[0] + (self.condition.size > 0)
        self.features = ConvFeatures(data, width, inputs, batch_norm, hidden=hidden)
        self.head = nn.Linear(self.features.size, 1)
        if batch_norm:
            init_normal(self.head)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        if self.condition.size:
            x = torch.cat([x, self.condition(x, y).unflatten(1, (1, *x.shape[2:]))], dim=1)
        return self.head(self.features(x))


class FeatureDiscriminator(nn.Module):
    """The same, without a condition, whose features are wanted too: images to logits (N, 1) and features (N, D)."""

    def __init__(self, data: DataSpec, width: int, hidden: int):
        super().__init__()
        self.features = ConvFeatures(data, width, batch_norm=True, hidden=hidden)
        self.head = nn.Linear(self.features.size, 1)

    def forward(self, x: Tensor, y: None = None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.head(features), features


class ConvEncoder(nn.Module):
    """Images (N, C, H, W) to `outputs` numbers each: `ConvFeatures` and a linear layer, with batch normalisation."""

    def __init__(self, data: DataSpec, outputs: int, width: int, hidden: int = 0):
        super().__init__()
        self.features = ConvFeatures(data, width, batch_norm=True, hidden=hidden)
        self.head = nn.Linear(self.features.size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class ConvAutoencoder(nn.Module):
    """A discriminator by reconstruction: images to minus their energies (N, 1), and their codes (N, `code`).

    An image's energy is the mean squared difference between it and what a `ConvEncoder` and a `ConvGenerator` give
    back of it: at most 4, since both lie in [-1, 1].
    """

    def __init__(self, data: DataSpec, code: int, width: int):
        super().__init__()
        self.encoder = ConvEncoder(data, code, width)
        self.decoder = ConvGenerator(data, code, width)

    def forward(self, x: Tensor, y: None = None) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return -(self.decoder(code, None) - x).square().flatten(1).mean(1, keepdim=True), code


def around(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from Gaussians of diagonal covariance, (N, K), differentiable in both: Kingma & Welling 2014, 2.4."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)
