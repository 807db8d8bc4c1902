"""Super-resolution: what the models that enlarge images have in common.

A sample is two or four times as large as its source, in pairs. Training has two phases (Ledig et al. 2017, section
3.2): first by pixels alone, then against a discriminator, which rests until then.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo import gan
from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, Beta1, LearningRate, Width
from ganzoo.optim import Adam, Rule, late
from ganzoo.perceptual import VGG, Maps
from ganzoo.precision import single

TIMES = (2, 4)
"""How many times a model enlarges an image."""
TINY = 1e-6
"""Added to a size that may be 0."""


def times(name: str, data: DataSpec) -> int:
    """How many times as large as their sources the images are.

    Raises:
        UsageError: another number than those of `TIMES`, or the data is not paired.
    """
    assert data.source_shape is not None
    (h, w), (height, width) = data.source_shape[1:], data.shape[1:]
    if not data.paired:
        raise UsageError(f"model '{name}' learns from pairs, and sources of '{data.name}' are another set of images")
    found = height // h
    if found not in TIMES or (height, width) != (found * h, found * w):
        raise UsageError(
            f"model '{name}' makes images 2 or 4 times as large as their sources, and data set '{data.name}' has "
            f"sources of {w} x {h} pixels and images of {width} x {height}: make some with --source smaller:4"
        )
    return found


class Discriminator(nn.Module):
    """Ledig et al. 2017, figure 4: convolutions, of which every other halves the image, and two dense layers.

    (N, C, H, W) to logits (N, 1). Four halvings, as in the paper, from 32 pixels on; fewer below.
    """

    def __init__(self, data: DataSpec, width: int):
        super().__init__()
        channels, h, w = data.shape
        halvings = max(1, min(min(h, w).bit_length() - 2, 4))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        before = width
        for level in range(halvings):
            after = width * 2**level
            for stride in (1, 2) if level else (2,):
                layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
                before = after
            h, w = -(-h // 2), -(-w // 2)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(before * h * w, 16 * width), nn.LeakyReLU(0.2), nn.Linear(16 * width, 1)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(x)


class Options(gan.Options):
    """Of all models that enlarge images. Adam 1e-4 (0.9, 0.999), as the papers have it."""

    batch_size: BatchSize = 16
    lr: LearningRate = 1e-4
    b1: Beta1 = 0.9
    width: Width = Field(32, description="Channels of both networks next to the image; the papers: 64.")
    pretrain: float = Field(
        0.5, ge=0, le=1, description="Share of the budget that is trained by pixels alone, before the discriminator."
    )
    vgg_weights: str | None = Field(
        None,
        description="torchvision's file of VGG-19's weights (vgg19-dcbb9e9d.pth), for the papers' content term; "
        "default: pixels.",
    )
    content: str | None = Field(
        None,
        description="The content term where VGG's weights cannot be had: an extractor of ganzoo's, by name (digits, "
        "emoji) or as a file of ganzoo features train; default: pixels.",
        json_schema_extra={"absent": None},
    )


class SuperResolution(gan.GAN):
    """A model whose samples are 2 or 4 times as large as their sources."""

    channels_last = ("cuda",)
    translates = True
    activated: ClassVar[bool] = True
    """Whether features of VGG are taken after their rectifier."""

    def __init__(self, data: DataSpec, options: Options):
        super().__init__(data, options)
        self.times = times(self.name, self.data)
        self.perceptual: VGG | Maps | None = None
        if options.vgg_weights is not None and options.content is not None:
            raise UsageError("--vgg-weights and --content are two content terms: give one")
        if options.vgg_weights is not None and min(self.data.shape[1:]) < 16:
            raise UsageError("--vgg-weights: VGG halves an image four times, and needs 16 pixels or more")

    def turns(self) -> Any:
        """As usual. They are asked for before training: drawing samples takes no content term."""
        if self.perceptual is None and self.options.vgg_weights is not None:
            self.perceptual = VGG(Path(self.options.vgg_weights), self.activated).to(self.device)
        if self.perceptual is None and self.options.content is not None:
            self.perceptual = Maps(self.options.content, self.data.name, self.data.shape, self.device)
        return super().turns()

    def optimizer(self, player: str) -> Rule:
        """As usual. The discriminator's Adam begins with its phase: its averages are 0 until then."""
        o = self.options
        if player != "discriminator":
            return super().optimizer(player)
        return Adam(late(o.lr, o.pretrain, o.b1, o.b2, o.n_critic), o.b1, o.b2)

    def begun(self) -> Tensor:
        """1 once the first phase is over, 0 before: a scalar on the device."""
        return (self.clock.fraction >= self.options.pretrain).to(self.clock.fraction.dtype)

    def features(self, x: Tensor) -> Tensor | None:
        """What VGG, or an extractor, sees in images (N, C, H, W) in [-1, 1], in float32; None where pixels count."""
        return None if self.perceptual is None else single(self.perceptual(x))

    def size(self, features: Tensor, of_vgg: float) -> Tensor | float:
        """What features of real images are divided by: VGG's by what a paper says, others by their own size.

        (N, 1, 1, 1), the root mean square of each image's; of extractors no paper says anything.
        """
        return of_vgg if isinstance(self.perceptual, VGG) else features.square().mean((1, 2, 3), True).sqrt() + TINY

    def pictures(self, examples: Batch) -> dict[str, Tensor]:
        """Source and output; between them, what bicubic interpolation makes of the source."""
        source = examples.source
        assert source is not None
        shown = super().pictures(examples)
        plain = F.interpolate(source, scale_factor=self.times, mode="bicubic", align_corners=False).clamp(-1, 1)
        return {"source": shown.pop("source"), "bicubic": plain} | shown
