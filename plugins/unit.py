"""UNIT: Liu et al., Unsupervised Image-to-Image Translation Networks, 2017.

Two sets of images without pairs, each with a variational autoencoder; both share the layers about the latent space,
so that an image of the one side and its counterpart have one code (section 3, equations 3 to 11). With E the means of
codes, N(E, 1) of which is drawn, and the prior N(0, 1), for each side:

    D minimises  10 (-E[log D(x)] - E[log(1 - D(G(s)))])
    the others minimise  100 E[|x' - x|_1] + 0.1 KL(E(x)),    x' what the side's own code gives back
                         + 100 E[|x'' - x|_1] + 0.1 KL(E(F(x))),    x'' what comes back from the other side
                         - 10 E[log D(G(s))]

KL is |E|^2 / 2 on average over the code's numbers; the authors' program leaves out the half, as it is here. In
evaluation mode the mean is taken for the code.

G maps s (N, C', H, W) to (N, C, H, W) in [-1, 1], F back; the discriminators judge patches.
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, Width
from ganzoo.precision import single
from ganzoo.translation import PatchDiscriminator, ResidualBlock, cut, init_small, padded, patch_halvings, same_size
from ganzoo.two_way import TwoWay, distance

HALVINGS = 2


class Shared(nn.Module):
    """The last layer of both encoders, and the first of both decoders."""

    def __init__(self, width: int):
        super().__init__()
        self.encoder, self.decoder = ResidualBlock(width), ResidualBlock(width)


class Encoder(nn.Module):
    """Images (N, C, H, W) to maps (N, 4 `width`, H/4, W/4)."""

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 7, padding=3), nn.LeakyReLU()]
        for before, after in pairwise(width * 2**level for level in range(HALVINGS + 1)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, *[ResidualBlock(width << HALVINGS) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(padded(x, 1 << HALVINGS))


class Decoder(nn.Module):
    """Maps (N, 4 `width`, h, w) to images (N, C, 4h, 4w) in [-1, 1]."""

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(width << HALVINGS) for _ in range(blocks)]
        for before, after in pairwise(width * 2**level for level in reversed(range(HALVINGS + 1))):
            layers += [nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 1), nn.Tanh())

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h)


class Translator(nn.Module):
    """One side's encoder and the other's decoder; between them lie the layers that both ways share."""

    def __init__(self, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor, shared: Shared) -> Tensor:
        """The means of the codes of images, in float32."""
        return single(shared.encoder(self.encoder(x)))

    def decode(self, mean: Tensor, shared: Shared, like: Tensor) -> Tensor:
        """Images of codes, in training drawn about their means, in the size of `like`, in float32."""
        code = mean + torch.randn_like(mean) if self.training else mean
        return cut(single(self.decoder(shared.decoder(code))), like)


class UNIT(TwoWay):
    """Images from images, learnt without pairs, both ways, through a latent space that both sides share.

    `--output source`, an option of drawing, makes sources from images. The preset `paper` has the widths and the rate
    of the authors' program, one image at a time.
    """

    name = "unit"
    paper = "Liu et al., Unsupervised Image-to-Image Translation Networks, 2017, https://arxiv.org/abs/1703.00848"
    saved = ("generator", "back", "shared")
    presets = {"paper": {"image_size": 256, "batch_size": 1, "lr": 1e-4, "width": 64, "blocks": 3, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at twice its rate."""

        batch_size: BatchSize = 8
        width: Width = 16
        blocks: int = Field(2, ge=0, le=64, description="Residual blocks of a side's own, before and after the code.")
        adversarial: float = Field(10.0, ge=0, le=1e6, description="Weight of the adversarial terms.")
        reconstruction: float = Field(100.0, ge=0, le=1e6, description="Weight of giving an image back.")
        prior: float = Field(0.1, ge=0, le=1e6, description="Weight of the codes' distance to their prior.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.real_entropy = options.adversarial
        sources, images = same_size(self.name, self.data, least=6)
        size = options.width, options.blocks
        self.generator = Translator(Encoder(sources, *size), Decoder(images, *size))
        self.back = Translator(Encoder(images, *size), Decoder(sources, *size))
        self.shared = Shared(options.width << HALVINGS)
        halvings = patch_halvings(self.data)
        self.discriminator = PatchDiscriminator(images, halvings, max(options.width, 32))
        self.source_discriminator = PatchDiscriminator(sources, halvings, max(options.width, 32))
        init_small(self)

    def players(self) -> dict[str, nn.Module]:
        players = super().players()
        return players | {"generator": nn.ModuleList([players["generator"], self.shared])}

    def to_image(self, source: Tensor) -> Tensor:
        return self.generator.decode(self.generator.encode(source, self.shared), self.shared, source)

    def to_source(self, x: Tensor) -> Tensor:
        return self.back.decode(self.back.encode(x, self.shared), self.shared, x)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.source is not None
        assert fake.source is not None
        weight = self.options.adversarial
        seen = self.discriminate(real, fake)
        sources = map(self.judge_source, (real.source, fake.source))
        return {
            "adversarial": weight * losses.minimax_discriminator(*seen),
            "source": weight * losses.minimax_discriminator(*sources),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o, s, x = self.options, real.source, real.x
        assert s is not None
        assert fake.source is not None
        there, back, shared = self.generator, self.back, self.shared
        own_s, own_x = there.encode(s, shared), back.encode(x, shared)
        again_s, again_x = back.encode(fake.x, shared), there.encode(fake.source, shared)
        logits = self.discriminate(fake), self.judge_source(fake.source)
        return {
            "adversarial": o.adversarial
            * (losses.non_saturating_generator(logits[0]) + losses.non_saturating_generator(logits[1])),
            "reconstruction": o.reconstruction
            * (distance(back.decode(own_s, shared, s), s) + distance(there.decode(own_x, shared, x), x)),
            "cycle": o.reconstruction
            * (distance(back.decode(again_s, shared, s), s) + distance(there.decode(again_x, shared, x), x)),
            "prior": o.prior * sum(code.square().mean() for code in (own_s, own_x, again_s, again_x)),
        }


@ganzoo.hookimpl
def register_models(register):
    register(UNIT)
