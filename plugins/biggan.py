"""BigGAN: Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.

SAGAN's networks (Zhang et al. 2019), wider and in large batches. z is cut into equal parts: the first makes the
smallest map, each other one goes to a block of G, joined to a shared embedding of the class. Gain and bias of that
block's batch normalisations are linear in the two (section 3.1, appendix B):

    c = [E y, z_l],    h -> (1 + U c) BN(h) + V c

The loss is the hinge, with two steps of D for each of G:

    D minimises  E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))],    G minimises  -E[D(G(z))]

In both networks each weight W is divided by its largest singular value. To G's loss comes orthogonal regularisation,
without the diagonal (equation 3), over all matrices of G but the shared embedding. Halved as here its gradient is what
the authors' program adds, 2 beta (W W' o (1 - I)) W:

    R(W) = beta / 2 |W W' o (1 - I)|^2

Samples are drawn from the averaged G. With `--truncation t` the numbers of z come from a normal distribution cut off at
t on both sides: better images, and fewer kinds. With `--standing n` batch normalisation uses means over n batches of
such samples, in place of training's running ones: section 4, appendix B.

Networks and tensors are those of the program github.com/ajbrock/BigGAN-PyTorch, whose state dicts `ganzoo import`
reads. Attention stands after blocks that make maps of the sizes asked for; other sides than powers of two are called by
the next one (14 is 16), and up to 32 x 32 all of D's blocks are called half of the image, as in that program.

G maps z (N, latents) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) and y to logits (N, 1). y is class indices
(N,), condition vectors (N, K), or None: then all samples are of one class. To go on with G's own forward pass, `c` for
each block is `gan.generator.features(z, y)`.
"""

import copy
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import ganzoo
from ganzoo import losses
from ganzoo.errors import Foreign, UsageError
from ganzoo.fields import (
    BatchSize,
    Beta1,
    Beta2,
    Hold,
    LatentDim,
    LearningRateD,
    LearningRateG,
    NCritic,
    Width,
    validated,
)
from ganzoo.gan import Imported, Network
from ganzoo.nets import pyramid
from ganzoo.precision import exactly
from ganzoo.residual import (
    Discriminator,
    Embedding,
    Initial,
    SelfAttention,
    SpectralConv2d,
    SpectralLinear,
    UpBlock,
    called,
    condition,
    conditions,
    discriminator_maps,
    discriminator_widths,
    generator_maps,
    generator_widths,
    initialise,
    refuse_unattended,
)
from ganzoo.training.draws import own_draws

WHOLE = 5.0
"""Normal numbers are never larger: this truncation is none."""
SHALLOWEST, DEEPEST, MOST_CLASSES = 3, 7, 100_000
"""Blocks of a generator that can be imported: of images of 32 and of 512 pixels; classes, at most."""
LARGEST_BATCH = 256
"""Samples of one batch for standing statistics, at most."""


class Norm(nn.Module):
    """Batch normalisation whose gain, beside 1, and bias are made of the condition by two layers."""

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        gain, bias = (layer(c)[:, :, None, None] for layer in (self.gain, self.bias))
        return torch.addcmul(bias, self.norm(x), 1 + gain)


class Generator(nn.Module):
    """z and y to images, as deep as the image is large.

    `latents` is how long z is: the option's number, rounded down to equal parts.
    """

    def __init__(
        self,
        data: ganzoo.DataSpec,
        latent_dim: int,
        width: int,
        attention: Collection[int],
        shared: int,
        hierarchical: bool,
    ):
        """`shared`: size of the shared embedding of conditions; 0: each normalisation has a table of its own."""
        super().__init__()
        self.first, *sizes = pyramid(data)
        widths = generator_widths(data, width)
        self.parts = 1 + len(sizes) if hierarchical else 1
        self.part = max(1, latent_dim // self.parts)
        self.latents = self.part * self.parts
        seen = shared + self.part * hierarchical

        def norm(channels: int) -> Norm:
            if not shared:
                return Norm(channels, Embedding(conditions(data), channels), Embedding(conditions(data), channels))
            gain, bias = (SpectralLinear(seen, channels, bias=False) for _ in range(2))
            return Norm(channels, gain, bias)

        self.shared = Embedding(conditions(data), shared) if shared else nn.Identity()
        self.linear = SpectralLinear(self.part, widths[0] * self.first[0] * self.first[1])
        blocks = []
        for inputs, outputs, size in zip(widths[:-1], widths[1:], sizes, strict=True):
            block: list[nn.Module] = [UpBlock(inputs, outputs, size, norm)]
            if called(size) in attention:
                block.append(SelfAttention(outputs))
            blocks.append(nn.ModuleList(block))
        self.blocks = nn.ModuleList(blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]), nn.ReLU(), SpectralConv2d(widths[-1], data.shape[0])
        )

    def features(self, z: Tensor, y: Tensor | None) -> list[Tensor]:
        """What each block's normalisations are given: (N, size), or the condition as it is, without an embedding."""
        c = self.shared(condition(z, y))
        if self.parts == 1:
            return [c] * len(self.blocks)
        return [torch.cat([c, part], dim=1) for part in z.split(self.part, dim=1)[1:]]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.linear(z[:, : self.part]).unflatten(1, (-1, *self.first))
        for block, c in zip(self.blocks, self.features(z, y), strict=True):
            for layer in block:
                h = layer(h, c)
        return self.output_layer(h).tanh()


def orthogonality(generator: nn.Module) -> Tensor:
    """Half the sum over G's matrices W of |W W' o (1 - I)|^2, but for the shared embedding: a scalar."""
    total = []
    for name, weight in generator.named_parameters():
        if weight.ndim > 1 and not name.startswith("shared."):
            rows = weight.flatten(1)
            products = rows @ rows.t()
            total.append((products - products.diagonal().diag()).square().sum())
    return torch.stack(total).sum() / 2


def truncated(z: Tensor, most: float) -> Tensor:
    """Normal numbers as ones that are normal within [-`most`, `most`], in the same order.

    Each keeps its place among those of its distribution, so that a sample changes smoothly with `most`.
    """
    share = math.erf(most / math.sqrt(2)) * torch.erf(z / math.sqrt(2))
    return (math.sqrt(2) * torch.erfinv(share)).clamp(-most, most)


def standing_generator(gan: ganzoo.GAN, batches: int) -> nn.Module:
    """A copy of the generator whose batch normalisations use statistics of batches that it draws now, in the mean.

    Each mean is that of the batches' means, each variance that of their variances. Weights and singular vectors stay as
    they are. The batches are as large as those of training, up to `LARGEST_BATCH`, and always the same.
    """
    drawing, totals = copy.copy(gan), dict[_BatchNorm, Tensor]()
    drawing._modules = {**gan._modules, "generator": copy.deepcopy(gan.generator)}
    norms = [module for module in drawing.generator.modules() if isinstance(module, _BatchNorm)]

    def add(norm: _BatchNorm, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        totals[norm] = totals.get(norm, 0) + torch.stack([mean, variance])

    hooks = [norm.train().register_forward_pre_hook(add) for norm in norms]
    n = min(gan.options.batch_size, LARGEST_BATCH)
    with torch.no_grad(), own_draws(gan, 0):
        for _ in range(batches):
            drawing.generate(drawing.sample_latent(n), drawing.sample_labels(n))
        for norm, hook in zip(norms, hooks, strict=True):
            hook.remove()
            mean, variance = totals[norm] / batches
            norm.eval().running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    return drawing.generator


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the program ajbrock/BigGAN-PyTorch as the networks here take it, G's and D's alike.

    Left out is what it keeps for its log (singular values) and second singular vectors, which it never divides by. Its
    three kinds of batch normalisation become one; standing statistics that it has summed up become means.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if re.search(r"(^|\.)(sv\d+|u[1-9]\d*|accumulation_counter|num_batches_tracked)$", name):
            continue
        if statistic := re.fullmatch(r"(.*?)(?:\.bn)?\.(?:stored|running)_(mean|var)", name):
            layer, what = statistic[1], statistic[2]
            inner = layer if layer == "output_layer.0" else f"{layer}.norm"
            count = state.get(key.rpartition(".")[0] + ".accumulation_counter")
            found[f"{inner}.running_{what}"] = value / count if count is not None and count.max() > 0 else value
            found[f"{inner}.num_batches_tracked"] = torch.tensor(0)
        elif name == "output_layer.0.gain":
            found["output_layer.0.weight"] = value
        elif name.endswith(".u0"):
            found[name[:-1]] = value.flatten()
        else:
            found[name] = value
    return found


def architecture(
    generator: Mapping[str, Tensor], critic: Mapping[str, Tensor] | None
) -> tuple[ganzoo.DataSpec, dict[str, Any]]:
    """The data and the options that the tensors of G, and of D if it is there, are of; both `from_published`.

    Raises:
        UsageError: they are of no network that can be built here.
    """

    def shape(state: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
        found = tuple(state[name].shape) if name in state else ()
        if len(found) != dimensions or 0 in found:
            raise UsageError(f"it has no {name} of {dimensions} dimensions, as BigGAN's networks do")
        return found

    def depth(state: Mapping[str, Tensor]) -> int:
        return len({name.split(".")[1] for name in state if re.fullmatch(r"blocks\.\d+\.0\.conv1\.weight", name)})

    def attended(state: Mapping[str, Tensor], names: list[int]) -> tuple[int, ...]:
        return tuple(sorted({name for i, name in enumerate(names) if f"blocks.{i}.1.gamma" in state}))

    if any(".conv3." in name for name in (*generator, *(critic or ()))):
        raise UsageError("its networks are those of BigGAN-deep, which are not here")
    if "linear.u" not in generator:
        raise UsageError("its generator has no spectral normalisation, without which there is none here")
    levels = depth(generator)
    if not SHALLOWEST <= levels <= DEEPEST:
        raise UsageError(f"its generator has {levels} blocks: those of images of 32 to 512 pixels are known, 3 to 7")
    side = 4 << levels
    colours = shape(generator, "output_layer.2.weight", 4)[0]
    if colours not in (1, 3):
        raise UsageError(f"its images have {colours} channels: grey and RGB ones can be imported")
    rows, part = shape(generator, "linear.weight", 2)
    gain = shape(generator, "blocks.0.0.bn1.gain.weight", 2)
    classes, shared = shape(generator, "shared.weight", 2) if "shared.weight" in generator else (gain[0], 0)
    if classes > MOST_CLASSES:
        raise UsageError(f"it has {classes:,} classes")
    hierarchical = bool(shared) and gain[1] > shared
    data = ganzoo.DataSpec("imported", (colours, side, side), 0, tuple(map(str, range(classes))) if classes > 1 else ())
    sizes = [4 << i for i in range(1, levels + 1)]
    options: dict[str, Any] = {
        "width": max(1, rows // 16 // generator_widths(data, 1)[0]),
        "latent_dim": part * (levels + 1) if hierarchical else part,
        "shared": shared,
        "hierarchical": hierarchical,
        "attention": attended(generator, sizes),
    }
    if critic is not None:
        outputs = shape(critic, "blocks.0.0.conv2.weight", 4)[0]
        inside = (shape(critic, f"blocks.{i}.0.conv2.weight", 4)[:2] for i in range(depth(critic)))
        options |= {
            "width_discriminator": max(1, outputs // discriminator_widths(data, 1)[0]),
            "wide": all(outputs == hidden for outputs, hidden in inside),
            "attention_discriminator": attended(critic, discriminator_maps(data)),
        }
    return data, options


class BigGAN(ganzoo.GAN):
    """SAGAN scaled up: a shared embedding, z in parts, large batches; conditional where the data is."""

    name = "biggan"
    paper = (
        "Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, "
        "https://arxiv.org/abs/1809.11096"
    )
    channels_last = ("cuda", "cpu")
    conditional = "auto"
    score = staticmethod(losses.raw)

    class Options(ganzoo.Options):
        """The paper's recipe with few channels, small batches and high rates, for images of 32 pixels on two cores."""

        batch_size: BatchSize = 32
        lr: LearningRateD = 1e-3
        lr_generator: LearningRateG = 1e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = Field(64, description="Size of z, rounded down to equal parts.")
        n_critic: NCritic = 2
        width: Width = Field(8, description="Channels are multiples of it: four times it at 32 x 32.")
        width_discriminator: int | None = Field(
            None, ge=1, le=1024, description="The same of the discriminator; default: as the generator's."
        )
        wide: bool = Field(
            True, description="Whether the discriminator's blocks are as wide inside as they end, not as they begin."
        )
        attention: tuple[int, ...] = Field(
            (16,), description="Sizes of maps after which the generator has self-attention; none: nowhere."
        )
        attention_discriminator: tuple[int, ...] | None = Field(
            None, description="The same of the discriminator; default: as the generator's."
        )
        shared: int = Field(
            32, ge=0, le=65536, description="Size of the shared embedding; 0: a table in each normalisation instead."
        )
        hierarchical: bool = Field(True, description="Whether each block of the generator is given a part of z.")
        ortho: float = Field(1e-4, ge=0, le=1e3, description="Weight of orthogonal regularisation in G, beta; 0: none.")
        init: Initial = Field("orthogonal", description="How weights start.")

    class Sampling(ganzoo.Sampling):
        """Training draws from the whole normal distribution."""

        truncation: float = Field(
            WHOLE,
            ge=0.01,
            le=WHOLE,
            description="Where normal latents are cut off: low, better and fewer kinds; 5: not.",
        )
        standing: int = Field(
            0, ge=0, le=1000, description="Batches whose statistics BatchNorm uses; 0: the running ones of training."
        )

    presets = {
        # What two cores can train at 32 x 32.
        "small": {"image_size": 32},
        # scripts/launch_cifar_ema.sh of the program. The paper's FID is 14.73, its Inception score 9.22.
        "cifar": {
            "image_size": 32, "batch_size": 50, "epochs": 500, "width": 64, "latent_dim": 128, "attention": (),
            "shared": 0, "hierarchical": False, "ortho": 0.0, "init": "normal", "lr": 2e-4, "lr_generator": 2e-4,
            "lr_hold": 1.0, "b2": 0.999, "n_critic": 4, "ema": 0.9999,
        },
        # ImageNet at 128 x 128: section 3 and appendix C of the paper. In parts of a batch: --accumulate 8, say.
        "paper": {
            "image_size": 128, "batch_size": 2048, "width": 96, "latent_dim": 120, "shared": 128, "attention": (64,),
            "lr": 2e-4, "lr_generator": 5e-5, "lr_hold": 1.0, "b2": 0.999, "ema": 0.9999,
        },
    }  # fmt: skip

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        if o.hierarchical and not o.shared:
            raise UsageError("--hierarchical joins parts of z to the shared embedding: give --shared, or leave it out")
        self.generator = Generator(self.data, o.latent_dim, o.width, o.attention, o.shared, o.hierarchical)
        self.discriminator = Discriminator(
            self.data,
            o.width_discriminator or o.width,
            o.attention if o.attention_discriminator is None else o.attention_discriminator,
            o.wide,
        )
        for network in (self.generator, self.discriminator):
            initialise(network, o.init)
        self._standing: dict[Any, nn.Module] = {}
        """The last generator with standing statistics, by what it depends on."""

    def refuse_idle(self) -> None:
        o, maps, critics = self.options, generator_maps(self.data), discriminator_maps(self.data)
        if o.attention != self.Options.model_fields["attention"].default:
            shared = critics if o.attention_discriminator is None else []
            refuse_unattended("--attention", o.attention, maps + shared, self.data)
        refuse_unattended("--attention-discriminator", o.attention_discriminator or (), critics, self.data)

    @classmethod
    def from_snapshot(cls, networks: Mapping[str, Network]) -> Imported:
        """State dicts of ajbrock/BigGAN-PyTorch: the averaged generator, and as training left them G and D.

        Which is which is told by their tensors, and the averaged G by `ema` in its name; G alone draws itself. The
        architecture follows from the shapes.

        Raises:
            UsageError: there is no generator, there are several, or it is of a kind that is not here.
        """
        states = {name: from_published(network.tensors) for name, network in networks.items() if not network.kind}
        generators = {name: state for name, state in states.items() if "output_layer.2.weight" in state}
        critics = {name: state for name, state in states.items() if "embed.weight" in state}
        if not (generators or critics):
            raise Foreign("its networks are no state dicts of the program ajbrock/BigGAN-PyTorch")
        averaged = [name for name in generators if "ema" in name.lower()] or list(generators)
        trained = [name for name in generators if name not in averaged]
        if not averaged:
            raise UsageError("there is no generator in it: name G_ema.pth, too")
        for what, names in (("averaged generator", averaged), ("generator", trained), ("discriminator", critics)):
            if len(names) > 1:
                raise UsageError(f"there is more than one {what}: {', '.join(names)}")
        generator, critic = generators[averaged[0]], next(iter(critics.values()), None)
        players = {"generator": generators[trained[0]]} if trained else {}
        if critic is not None:
            players["discriminator"] = critic
        data, options = architecture(generator, critic)
        return Imported(data, validated(cls.Options, options), {"generator": generator}, players)

    def sample_latent(self, n: int) -> Tensor:
        """Normal latents (n, latents); `generate` truncates them."""
        return torch.randn(n, self.generator.latents, device=self.device)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        most = self.sampling.truncation
        return self.generator(truncated(z, most) if most < WHOLE else z, y)

    def prepare_drawing(self) -> None:
        """Let the view's generator have standing statistics; they are worked out again once the weights change."""
        if not self.sampling.standing:
            return
        versions = tuple((id(p), p._version) for p in self.generator.parameters())
        key = (self.sampling.standing, self.sampling.truncation, versions)
        found = self._standing.get(key)
        if found is None:  # Views, and the threads that draw from them, share what was found.
            found = standing_generator(self, self.sampling.standing)
            self._standing.clear()
            self._standing[key] = found
        self.generator = found

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        terms = {"adversarial": losses.hinge_generator(self.discriminate(fake))}
        if self.options.ortho:
            with exactly(self.device.type):
                terms["orthogonality"] = self.options.ortho * orthogonality(self.generator)
        return terms


@ganzoo.hookimpl
def register_models(register):
    register(BigGAN)
