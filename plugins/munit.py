"""MUNIT: Huang et al., Multimodal Unsupervised Image-to-Image Translation, 2018.

Two sets of images without pairs. Each image has a content, which both sides share, and a style, which is its side's
own: encoders find the two, a decoder makes the image of them, and any style, from N(0, 1), gives another answer to one
source (section 3). With c and r the content and style that are found, G(s, z) an image of content c(s) and style z,
F(x, z) likewise a source, for each side:

    D minimises  E[(D(x) - 1)^2] + E[D(G(s, z))^2]
    the others minimise  E[(D(G(s, z)) - 1)^2] + 10 E[|x' - x|_1],    x' of c(x) and r(x)
                         + E[|c(G(s, z)) - c(s)|_1] + E[|r(G(s, z)) - z|_1]
                         + cycle E[|s' - s|_1],    s' of c(G(s, z)) and r(s); 0 unless asked for (section 5.1)

The style enters the decoder's residual blocks by adaptive instance normalisation (Huang & Belongie 2017): a small
network makes the means and deviations of their maps of it. D looks at an image in three sizes.

G maps s (N, C', H, W) and z (N, 2 x style: an image's, and a source's for the other way) to (N, C, H, W) in [-1, 1];
sizes are free.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, Width
from ganzoo.precision import single
from ganzoo.translation import (
    MultiScale,
    ResidualBlock,
    cut,
    discriminator_of_scales,
    generator_of_scales,
    init_small,
    padded,
    patch_halvings,
    same_size,
)
from ganzoo.two_way import TwoWay, distance

ANSWERS = 4
"""To each source, in grids."""
HALVINGS, SCALES = 2, 3
"""Of the content; sizes in which discriminators look at an image."""
LEAST = 13
"""Pixels of the shorter side: of a quarter of it, a discriminator still says something."""


class ContentEncoder(nn.Module):
    """Images (N, C, H, W) to maps (N, 4 `width`, H/4, W/4), normalised image by image: without their style."""

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7)]
        layers += [nn.InstanceNorm2d(width), nn.ReLU()]
        for before, after in pairwise(width << level for level in range(HALVINGS + 1)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.InstanceNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, *[ResidualBlock(width << HALVINGS) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class StyleEncoder(nn.Module):
    """Images (N, C, H, W) to styles (N, `style`): means over all pixels of maps that are not normalised."""

    def __init__(self, channels: int, width: int, style: int, halvings: int):
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), nn.ReLU()]
        for before, after in pairwise(width << min(level, HALVINGS) for level in range(halvings + 1)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width << min(halvings, HALVINGS), style)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def adaptive(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Maps (N, K, H, W) brought to means and deviations, both (N, K): Huang & Belongie 2017, equation 8."""
    return F.instance_norm(x) * deviation[:, :, None, None].to(x.dtype) + mean[:, :, None, None].to(x.dtype)


class StyledBlock(nn.Module):
    """Two 3 x 3 convolutions, their maps in a given style, around which the map goes on as it is."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3)) for _ in range(2))

    def forward(self, x: Tensor, style: Sequence[Tensor]) -> Tensor:
        """`style`: mean and deviation of the first convolution's maps, and of the second's."""
        h = adaptive(self.first(x), *style[:2]).relu()
        return x + adaptive(self.second(h), *style[2:])


class Decoder(nn.Module):
    """Contents (N, 4 `width`, h, w) and styles (N, `style`) to images (N, C, 4h, 4w) in [-1, 1]."""

    def __init__(self, channels: int, width: int, blocks: int, style: int, hidden: int):
        super().__init__()
        inner = width << HALVINGS
        self.blocks = nn.ModuleList(StyledBlock(inner) for _ in range(blocks))
        self.style = nn.Sequential(
            nn.Linear(style, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 4 * inner * blocks),
        )  # fmt: skip
        layers: list[nn.Module] = []
        for before, after in pairwise(width << level for level in reversed(range(HALVINGS + 1))):
            layers += [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(2), nn.Conv2d(before, after, 5)]
            layers += [nn.GroupNorm(1, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh())

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        parts = self.style(style).chunk(4 * len(self.blocks), 1)
        for i, block in enumerate(self.blocks):
            content = block(content, parts[4 * i : 4 * i + 4])
        return self.layers(content)


class Side(nn.Module):
    """One side's autoencoder."""

    def __init__(self, channels: int, width: int, blocks: int, style: int, hidden: int, halvings: int):
        super().__init__()
        self.content_encoder = ContentEncoder(channels, width, blocks)
        self.style_encoder = StyleEncoder(channels, width, style, halvings)
        self.decoder = Decoder(channels, width, blocks, style, hidden)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # As the authors' program starts them.
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def content(self, x: Tensor) -> Tensor:
        """Contents of images (N, C, H, W), in float32."""
        found: Tensor = single(self.content_encoder(padded(x, 1 << HALVINGS)))
        return found

    def style(self, x: Tensor) -> Tensor:
        """Styles of images, (N, style), in float32."""
        found: Tensor = single(self.style_encoder(x))
        return found

    def decode(self, content: Tensor, style: Tensor, like: Tensor) -> Tensor:
        """Images of contents and styles, in the size of `like`, in float32."""
        made: Tensor = single(self.decoder(content, style))
        return cut(made, like)


def critic(channels: int, halvings: int, width: int) -> nn.Sequential:
    """Images (N, C, H, W) to logits (N, 1, h, w): halvings without normalisation."""
    layers: list[nn.Module] = []
    for before, after in pairwise([channels, *(width << level for level in range(halvings))]):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width << (halvings - 1), 1, 1))


class MUNIT(TwoWay):
    """Images from images, learnt without pairs, both ways, with more than one answer.

    Grids show several answers to each source, what its own codes give back, and it in the style of an image.
    `ganzoo sample RUN --from PICTURES --seed 1` gives other answers than seed 0; `--output source`, an option of
    drawing, makes sources from images. What comes back, for the metric `cycle`, is in the style in the middle of all:
    that of the source is not known. The preset `paper` has the sizes and the rate of the authors' program.
    """

    name = "munit"
    paper = "Huang et al., Multimodal Unsupervised Image-to-Image Translation, 2018, https://arxiv.org/abs/1804.04732"
    judges = SCALES
    score = staticmethod(losses.raw)
    presets = {"paper": {"image_size": 256, "batch_size": 1, "lr": 1e-4, "width": 64, "blocks": 4, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at twice its rate, and without its weight decay of 1e-4."""

        batch_size: BatchSize = 8
        width: Width = Field(
            16, description="Channels next to the image; they double at each halving. Discriminators have at least 32."
        )
        blocks: int = Field(2, ge=1, le=64, description="Residual blocks of an encoder, and of a decoder.")
        style: int = Field(8, ge=1, le=65536, description="Numbers of a style.")
        hidden: int = Field(256, ge=1, le=65536, description="Units of the network that a style goes through.")
        reconstruction: float = Field(10.0, ge=0, le=1e6, description="Weight of giving an image back.")
        codes: float = Field(1.0, ge=0, le=1e6, description="Weight of finding contents and styles again.")
        cycle: float = Field(0.0, ge=0, le=1e6, description="Weight of coming back to the same image; 0: not asked.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data)
        side = min(self.data.shape[1:])
        if side < LEAST:
            raise UsageError(
                f"model '{self.name}' judges images in a quarter of their size too, and takes none of fewer than "
                f"{LEAST} pixels a side: those of '{data.name}' have {side}: --image-size"
            )
        halvings = min(side.bit_length() - 2, 4)
        size = options.width, options.blocks, options.style, options.hidden, halvings
        self.generator, self.back = Side(images, *size), Side(sources, *size)
        patch, width = patch_halvings(self.data) + 1, max(options.width, 32)
        self.discriminator, self.source_discriminator = (
            MultiScale(critic(channels, patch, width) for _ in range(SCALES)) for channels in (images, sources)
        )
        init_small(self.discriminator)
        init_small(self.source_discriminator)

    def sample_latent(self, n: int) -> Tensor:
        """Styles of images and of sources, one after the other: float (n, 2 style), standard normal."""
        return torch.randn(n, 2 * self.options.style, device=self.device)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        assert source is not None
        of_image, of_source = z.chunk(2, 1)
        return self.to_source(source, of_source) if self.makes_sources else self.to_image(source, of_image)

    def to_image(self, source: Tensor, style: Tensor | None = None) -> Tensor:
        """G(s, z), of sources and styles (N, style); by default the style in the middle of all."""
        return self.generator.decode(self.back.content(source), self._middle(source, style), source)

    def to_source(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """F(x, z), of images and styles (N, style); by default the style in the middle of all."""
        return self.back.decode(self.generator.content(x), self._middle(x, style), x)

    def _middle(self, x: Tensor, style: Tensor | None) -> Tensor:
        return x.new_zeros(x.shape[0], self.options.style) if style is None else style

    def fake(self, real: ganzoo.Batch) -> ganzoo.Batch:
        """G(s, z), with F(x, z') as its source."""
        assert real.source is not None
        z = self.sample_latent(len(real.x))
        of_image, of_source = z.chunk(2, 1)
        made, back = self.to_image(real.source, of_image), self.to_source(real.x, of_source)
        return ganzoo.Batch(made, self.fake_labels(real), z, back, real.source_y)

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        source, x = examples.source, examples.x
        assert source is not None
        own = self.back.decode(self.back.content(source), self.back.style(source), source)
        shown = {"source": source, "by its own codes": own, "an image": x}
        shown["in that one's style"] = self.to_image(source, self.generator.style(x))
        for i in range(ANSWERS):
            shown[f"answer {i + 1}"] = self.to_image(source, self.sample_latent(len(x)).chunk(2, 1)[0])
        return shown

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.source is not None
        assert fake.source is not None
        sources = self.judge_source(real.source), self.judge_source(fake.source)
        return {
            "adversarial": discriminator_of_scales(*self.discriminate(real, fake)),
            "source": discriminator_of_scales(*sources),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o, s, x, there, back = self.options, real.source, real.x, self.generator, self.back
        assert s is not None
        assert fake.source is not None
        assert fake.z is not None
        of_image, of_source = fake.z.chunk(2, 1)
        contents, styles = (back.content(s), there.content(x)), (back.style(s), there.style(x))
        again = there.content(fake.x), back.content(fake.source)
        terms = {
            "adversarial": generator_of_scales(self.discriminate(fake))
            + generator_of_scales(self.judge_source(fake.source)),
            "reconstruction": o.reconstruction
            * (
                distance(back.decode(contents[0], styles[0], s), s)
                + distance(there.decode(contents[1], styles[1], x), x)
            ),
            "content": o.codes * (distance(again[0], contents[0]) + distance(again[1], contents[1])),
            "style": o.codes * (distance(there.style(fake.x), of_image) + distance(back.style(fake.source), of_source)),
        }
        if o.cycle:
            terms["cycle"] = o.cycle * (
                distance(back.decode(again[0], styles[0], s), s) + distance(there.decode(again[1], styles[1], x), x)
            )
        return terms


@ganzoo.hookimpl
def register_models(register):
    register(MUNIT)
