"""Translation both ways: what CycleGAN and its kin have in common."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field
from torch import Tensor, nn

from ganzoo import gan
from ganzoo.data import Batch
from ganzoo.nets import side_by_side
from ganzoo.precision import single


class TwoWay(gan.GAN):
    """Two generators, from sources to images and back, and a discriminator for each side.

    A subclass sets `generator`, `back`, `discriminator` and `source_discriminator`, and states the losses. Fakes have
    both: `fake.x` is G(s), `fake.source` is F(x).
    """

    channels_last = ("cuda",)
    translates = True
    saved = ("generator", "back")

    back: nn.Module
    source_discriminator: nn.Module

    class Sampling(gan.Sampling):
        """Which way to go."""

        output: Literal["target", "source"] = Field("target", description="What to make: targets, or sources of them.")

    @property
    def makes_sources(self) -> bool:
        """Whether it draws sources of images, not images of sources."""
        return makes_sources(type(self), self.sampling)

    def players(self) -> dict[str, nn.Module]:
        return {
            "generator": nn.ModuleList([self.generator, self.back]),
            "discriminator": nn.ModuleList([self.discriminator, self.source_discriminator]),
        }

    def discriminator_layers(self) -> Sequence[nn.Module | Sequence[nn.Module]]:
        """Those of both discriminators, side by side."""
        return side_by_side(self.discriminator, self.source_discriminator)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        assert source is not None
        return self.to_source(source) if self.makes_sources else self.to_image(source)

    def returned(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.to_image(x) if self.makes_sources else self.to_source(x)

    def to_image(self, source: Tensor) -> Tensor:
        """G(s), of sources."""
        return self.generator(source)

    def to_source(self, x: Tensor) -> Tensor:
        """F(x), of images."""
        return self.back(x)

    def fake(self, real: Batch) -> Batch:
        """G(s), with F(x) as its source."""
        made = super().fake(real)
        return made._replace(source=self.to_source(real.x))

    def discriminate(self, *batches: Batch) -> Any:
        """As usual, of images alone: their sources have a discriminator of their own."""
        return super().discriminate(*(batch._replace(source=None) for batch in batches))

    def judge_source(self, source: Tensor) -> Any:
        """What the discriminator of sources says, in float32, of images as the run's augmentations change them."""
        return single(self.source_discriminator(self.augmented(Batch(source)).x))

    def pictures(self, examples: Batch) -> dict[str, Tensor]:
        shown = super().pictures(examples)
        assert examples.source is not None
        return shown | {"there and back": self.to_source(self.to_image(examples.source))}


def makes_sources(model: type[gan.GAN], sampling: BaseModel) -> bool:
    """Whether a model draws sources, not images, by these options of drawing."""
    return issubclass(model, TwoWay) and getattr(sampling, "output", None) == "source"


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance of pixels, a scalar."""
    return (a - b).abs().mean()
