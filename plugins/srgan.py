"""SRGAN: Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, 2017.

G enlarges an image s to x (section 2.2):

    D minimises  -E[log D(x)] - E[log(1 - D(G(s)))]
    G minimises  content(G(s), x) - 10^-3 E[log D(G(s))]

The content term is the mean squared difference of VGG's features (equation 5, conv5_4, both divided by 12.75 as
section 3.2 says), where `--vgg-weights` names the file with its weights; **by default it is that of pixels** (equation
4), for which nothing has to be had. `--content digits` compares the maps of an extractor of ganzoo's instead, each
divided by its size in the real image. G is trained by pixels first, then with D.

G, SRResNet, maps s (N, C', h, w) to (N, C, 2h, 2w) or (N, C, 4h, 4w), as the data has it, of any size; D maps
(N, C, H, W) to logits (N, 1).
"""

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.nets import Residual
from ganzoo.super_resolution import Discriminator, Options, SuperResolution

VGG_SCALE = 12.75
"""What features are divided by, so that they are of the size of pixels."""


class SRResNet(nn.Module):
    """Ledig et al. 2017, figure 4: residual blocks on the small image, and a pixel shuffle for each doubling."""

    def __init__(self, inputs: int, outputs: int, times: int, width: int = 64, blocks: int = 16):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inputs, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(
            *[Residual(width, nn.PReLU()) for _ in range(blocks)],
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        doublings: list[nn.Module] = []
        for _ in range(times.bit_length() - 1):
            doublings += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.last = nn.Sequential(*doublings, nn.Conv2d(width, outputs, 9, padding=4), nn.Tanh())

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.first(source)
        return self.last(x + self.blocks(x))


class SRGAN(SuperResolution):
    """Images made 2 or 4 times as large.

    The preset `paper` has SRResNet with 16 blocks; with `--vgg-weights`, it is the paper's SRGAN-VGG54, without it
    SRGAN-MSE.
    """

    name = "srgan"
    paper = (
        "Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, 2017, "
        "https://arxiv.org/abs/1609.04802"
    )
    presets = {"paper": {"image_size": 96, "width": 64, "blocks": 16, "ema": 0.0, "pretrain": 0.8}}

    class Options(Options):
        """Networks for two cores."""

        blocks: int = Field(4, ge=0, le=64, description="Residual blocks; the paper has 16.")
        adversarial: float = Field(1e-3, ge=0, le=1e4, description="Weight of the adversarial term.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        assert self.data.source_shape is not None
        sources, images = self.data.source_shape[0], self.data.shape[0]
        self.generator = SRResNet(sources, images, self.times, options.width, options.blocks)
        self.discriminator = Discriminator(self.data, options.width)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": self.begun() * losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        begun = self.begun()
        adversarial = losses.non_saturating_generator(self.discriminate(fake))
        pixels = (fake.x - real.x).square().mean()
        terms = {"adversarial": self.options.adversarial * begun * adversarial, "pixels": pixels}
        ours, theirs = self.features(fake.x), self.features(real.x)
        if ours is not None and theirs is not None:
            terms["pixels"] = (1 - begun) * pixels
            terms["features"] = begun * ((ours - theirs) / self.size(theirs, VGG_SCALE)).square().mean()
        return terms


@ganzoo.hookimpl
def register_models(register):
    register(SRGAN)
