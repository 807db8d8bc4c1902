"""SAGAN: Zhang et al., Self-Attention Generative Adversarial Networks, 2019.

In both networks some layer lets every position see all others, where a convolution sees its neighbours (section 3):

    y_j = x_j + gamma o(sum_i b_ji g(x_i)),    b_ji = softmax_i(<theta(x_j), phi(x_i)>),    gamma = 0 at the start

Theta and phi have an eighth of the channels, g half of them; phi and g are max-pooled to half the size, as in the
authors' program. Each weight of both networks is divided by its largest singular value (section 4.1), but for the gains
and biases that y gives to G's batch normalisations, and D learns four times as fast as G, one step each (TTUR, section
4.2). The loss is the hinge (equation 4):

    D minimises  E[max(0, 1 - D(x, y))] + E[max(0, 1 + D(G(z), y))],    G minimises  -E[D(G(z), y)]

Both are residual. y enters G by the gain and bias of its batch normalisations, a pair for each class, and D by
projection.

G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) and y to logits (N, 1). y is class
indices (N,), condition vectors (N, K), or None. Attention stands after blocks that make maps of the sizes asked for;
other sides than powers of two are called by the next one (14 is 16), and up to 32 x 32 all of D's blocks are called
half of the image.
"""

from collections.abc import Collection

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, Beta1, Beta2, Hold, LatentDim, LearningRateD, LearningRateG, Width
from ganzoo.nets import ConditionalBatchNorm2d, pyramid
from ganzoo.residual import (
    Discriminator,
    SelfAttention,
    SpectralConv2d,
    SpectralLinear,
    UpBlock,
    called,
    discriminator_maps,
    generator_maps,
    generator_widths,
    initialise,
    refuse_unattended,
)


class Generator(nn.Module):
    """z and y to images, as deep as the image is large."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int, attention: Collection[int]):
        super().__init__()
        self.first, *sizes = pyramid(data)
        widths = generator_widths(data, width)
        self.linear = SpectralLinear(latent_dim, widths[0] * self.first[0] * self.first[1])
        self.blocks = nn.ModuleList()
        for inputs, outputs, size in zip(widths[:-1], widths[1:], sizes, strict=True):
            self.blocks.append(UpBlock(inputs, outputs, size, lambda n: ConditionalBatchNorm2d(data, n)))
            if called(size) in attention:
                self.blocks.append(SelfAttention(outputs))
        self.output = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), SpectralConv2d(widths[-1], data.shape[0]))
        initialise(self.linear, "xavier", clear=True)
        for layer in self.modules():
            if isinstance(layer, SpectralConv2d):
                initialise(layer, "xavier", clear=True)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.linear(z).unflatten(1, (-1, *self.first))
        for block in self.blocks:
            h = block(h, y)
        return self.output(h).tanh()


class SAGAN(ganzoo.GAN):
    """Self-attention in both networks, spectral normalisation in both, two rates; conditional where the data is."""

    name = "sagan"
    paper = "Zhang et al., Self-Attention Generative Adversarial Networks, 2019, https://arxiv.org/abs/1805.08318"
    channels_last = ("cuda", "cpu")
    conditional = "auto"
    score = staticmethod(losses.raw)
    presets = {
        # ImageNet at 128 x 128. The paper's FID is 18.65, its Inception score 52.52, after a million steps.
        "paper": {
            "image_size": 128, "batch_size": 256, "steps": 1_000_000, "width": 64, "latent_dim": 128,
            "attention": (32,), "lr": 4e-4, "lr_generator": 1e-4, "lr_hold": 1.0, "b2": 0.9, "ema": 0.0,
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """The paper's recipe with few channels, an average and high rates, for images of 32 pixels on two cores."""

        batch_size: BatchSize = 32
        lr: LearningRateD = 4e-3
        lr_generator: LearningRateG = 1e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 64
        width: Width = Field(8, description="Channels are multiples of it: four times it at 32 x 32.")
        attention: tuple[int, ...] = Field(
            (16,), description="Sizes of maps after which both networks have self-attention; none: nowhere."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        o = options
        self.generator = Generator(self.data, o.latent_dim, o.width, o.attention)
        self.discriminator = Discriminator(self.data, o.width, o.attention)
        initialise(self.discriminator, "xavier", clear=True)

    def refuse_idle(self) -> None:
        if self.options.attention != self.Options.model_fields["attention"].default:
            maps = generator_maps(self.data) + discriminator_maps(self.data)
            refuse_unattended("--attention", self.options.attention, maps, self.data)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(SAGAN)
