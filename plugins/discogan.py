"""DiscoGAN: Kim et al., Learning to Discover Cross-Domain Relations with Generative Adversarial Networks, 2017.

Two sets of images without pairs, as CycleGAN has it: G makes images x of sources s, F sources of images, and what is
made there and back should be what it was (section 2.3). Beside it, features in D should be alike on average (section
3.1, after Salimans et al. 2016). As in the authors' program, for each side:

    D minimises  (-E[log D(x)] - E[log(1 - D(G(s)))]) / 2
    G and F minimise  (1 - r) (0.1 adversarial + 0.9 features) + r E[(F(G(s)) - s)^2],    and the other way round,
    features = the sum over D's maps but the first of the mean of (E[map(x)] - E[map(G(s))])^2

with r = 0.01 at first, to find the other side, and 0.5 later. D moves once for two moves of the generators. From 64
pixels on, as in the paper, three maps count; from 32 two, from 16 one, and of fewer pixels none.

G maps s (N, C', H, W) to (N, C, H, W) in [-1, 1], F back, both through a bottleneck without a way around; the
discriminators map them to logits (N, 1, h, w), one for a whole image of 64, 32 or 16 pixels.
"""

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import Width
from ganzoo.translation import cut, padded, same_size
from ganzoo.two_way import TwoWay

FIRST_SHARE, SHARE = 0.01, 0.5
"""Of the reconstruction, r, in the first phase and later."""
ADVERSARIAL = 0.1
"""Share of the adversarial term in what is left; the others are features'."""


class Translator(nn.Module):
    """An encoder and a decoder. Kim et al. 2017, section 2.3."""

    def __init__(self, inputs: int, outputs: int, width: int, halvings: int = 4):
        super().__init__()
        self.multiple = 2**halvings
        widths = [width * 2**level for level in range(halvings)]
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise([inputs, *widths])):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
            layers += [*([nn.BatchNorm2d(after)] if level else []), nn.LeakyReLU(0.2)]
        for before, after in pairwise(reversed(widths)):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, outputs, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        return cut(self.layers(padded(source, self.multiple)), source)


class Discriminator(nn.Module):
    """Halvings, each of which gives a map but the first, and a logit for what is left: (logits, map, map, ...)."""

    def __init__(self, inputs: int, width: int, halvings: int):
        super().__init__()
        widths = [width * 2**level for level in range(halvings)]
        self.first = nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2))
            for before, after in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4, bias=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        h, maps = self.first(x), []
        for level in self.levels:
            h = level(h)
            maps.append(h)
        return (self.last(h), *maps)


class DiscoGAN(TwoWay):
    """Images from images, learnt without pairs, both ways, through a bottleneck.

    `--output source`, an option of drawing, makes sources from images. The preset `paper` is that of section 3: 64
    pixels, no averaging.
    """

    name = "discogan"
    paper = (
        "Kim et al., Learning to Discover Cross-Domain Relations with Generative Adversarial Networks, 2017, "
        "https://arxiv.org/abs/1703.05192"
    )
    batch_statistics = True  # Of features the mean over the batch is compared.
    real_entropy = 0.5
    presets = {"paper": {"image_size": 64, "batch_size": 200, "width": 64, "ema": 0.0}}

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as in the paper, without its weight decay of 1e-4."""

        width: Width = 32
        discover: float = Field(
            0.1, ge=0, le=1, description="Share of the budget in which coming back counts little: the first phase."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=8)
        self.generator = Translator(sources, images, options.width)
        self.back = Translator(images, sources, options.width)
        halvings = max(1, min(min(self.data.shape[1:]).bit_length() - 3, 4))
        self.discriminator = Discriminator(images, options.width, halvings)
        self.source_discriminator = Discriminator(sources, options.width, halvings)

    def turns(self) -> list[ganzoo.Turn]:
        return [
            ganzoo.Turn("discriminator", self.discriminator_loss, repeat=self.options.n_critic),
            ganzoo.Turn("generator", self.generator_loss, repeat=2),
        ]

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.source is not None
        assert fake.source is not None
        (ours, *_), (theirs, *_) = self.discriminate(real, fake)
        return {
            "adversarial": losses.cross_entropy_discriminator(ours, theirs),
            "source": losses.cross_entropy_discriminator(
                self.judge_source(real.source)[0], self.judge_source(fake.source)[0]
            ),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        s, x = real.source, real.x
        assert s is not None
        assert fake.source is not None
        (_, *known), (logits, *seen) = self.discriminate(real, fake)
        (_, *known_sources), (source_logits, *seen_sources) = map(self.judge_source, (s, fake.source))
        adversarial = losses.non_saturating_generator(logits) + losses.non_saturating_generator(source_logits)
        features = matching(known + known_sources, seen + seen_sources, logits.new_zeros(()))
        back = (self.back(fake.x) - s).square().mean() + (self.generator(fake.source) - x).square().mean()
        discovering = (self.clock.fraction < self.options.discover).to(back.dtype)
        share = SHARE + discovering * (FIRST_SHARE - SHARE)
        return {
            "adversarial": (1 - share) * ADVERSARIAL * adversarial,
            "features": (1 - share) * (1 - ADVERSARIAL) * features,
            "reconstruction": share * back,
        }


def matching(known: list[Tensor], seen: list[Tensor], nothing: Tensor) -> Tensor:
    """How far the means of a batch are apart, squared, summed over maps: a scalar; of small images there are none."""
    return sum(((a.mean(0) - b.mean(0)).square().mean() for a, b in zip(known, seen, strict=True)), nothing)


@ganzoo.hookimpl
def register_models(register):
    register(DiscoGAN)
