"""BicycleGAN: Zhu et al., Toward Multimodal Image-to-Image Translation, 2017.

Many answers to one source: G makes the image x from its source s and a latent z, which an encoder E finds in x. Two
cycles keep z from being ignored (section 3): x to z and back to x (cVAE-GAN), z to an image and back to z (cLR-GAN):

    D' minimises  E[(D'(x) - 1)^2] + E[D'(G(s, E(x)))^2],    D likewise with G(s, z), z from N(0, 1)
    G and E minimise  E[(D'(G(s, E(x))) - 1)^2] + E[(D(G(s, z)) - 1)^2] + lambda E[|x - G(s, E(x))|_1]
                      + lambda_KL E[KL(E(x), N(0, 1))] + lambda_latent E[|z - E(G(s, z))|_1]

with lambda = 10, lambda_KL = 0.01, lambda_latent = 0.5. E(x) is drawn from a Gaussian whose mean and variance E says;
the last term takes its mean, and moves G alone: G must not hide z where E would look for it. As in the authors' program
D and D' look at x without s, each in two sizes, and the rate falls to 0 in the second half. There one half of a batch
goes through each cycle; here all of it goes through both.

G is a U-Net that sees z in each level of its encoder: s (N, C', H, W) and z (N, latent_dim) to (N, C, H, W) in [-1, 1];
E maps (N, C, H, W) to means and logarithms of variances (N, latent_dim). Seeds give other answers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, Hold, LatentDim, Width
from ganzoo.nets import ConvFeatures, around, side_by_side
from ganzoo.precision import single
from ganzoo.translation import (
    MultiScale,
    PatchDiscriminator,
    UNet,
    discriminator_of_scales,
    generator_of_scales,
    patch_halvings,
    same_size,
)

ANSWERS = 4
"""To each source, in grids."""
LEAST = 12
"""Pixels of the shorter side: of half of it, a patch discriminator still says something."""


class Encoder(nn.Module):
    """Images (N, C, H, W) to means and logarithms of variances, both (N, `latent_dim`)."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        self.features = ConvFeatures(data, width)
        self.mean = nn.Linear(self.features.size, latent_dim)
        self.log_variance = nn.Linear(self.features.size, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(x)
        return self.mean(h), self.log_variance(h)


class BicycleGAN(ganzoo.GAN):
    """Images from images, learnt from pairs, with more than one answer.

    Grids show several answers to each source, and what is made back of its target. `ganzoo sample RUN --from PICTURES
    --seed 1` gives others than seed 0. The preset `paper` is the authors' program's.
    """

    name = "bicyclegan"
    paper = "Zhu et al., Toward Multimodal Image-to-Image Translation, 2017, https://arxiv.org/abs/1711.11586"
    channels_last = ("cuda",)
    judges = 2  # Sizes of an image.
    translates = True
    saved = ("generator", "encoder")
    score = staticmethod(losses.raw)
    presets = {"paper": {"image_size": 256, "batch_size": 2, "width": 64, "ema": 0.0, "epochs": 60}}

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as in the authors' program."""

        batch_size: BatchSize = 16
        latent_dim: LatentDim = 8
        width: Width = 32
        l1: float = Field(10.0, ge=0, le=1e6, description="Weight of the distance to the target (lambda).")
        latent: float = Field(0.5, ge=0, le=1e6, description="Weight of finding the latent again.")
        kl: float = Field(0.01, ge=0, le=1e6, description="Weight of the codes' distance to the normal distribution.")
        lr_hold: Hold = 0.5

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data)
        if not self.data.paired:
            raise UsageError(
                f"model '{self.name}' learns from pairs, and sources of '{data.name}' are another set of images: "
                "choose munit"
            )
        side = min(self.data.shape[1:])
        if side < LEAST:
            raise UsageError(
                f"model '{self.name}' judges images in half of their size too, and takes none of fewer than {LEAST} "
                f"pixels a side: those of '{data.name}' have {side}: --image-size"
            )
        halvings = min((side - 1).bit_length(), 8)
        self.generator = UNet(sources, images, halvings, options.width, 0.0, options.latent_dim)
        self.encoder = Encoder(self.data, options.latent_dim, options.width)
        self.discriminator, self.encoded_discriminator = (
            MultiScale(
                PatchDiscriminator(images, patch_halvings(self.data), width)
                for width in (options.width, max(options.width // 2, 1))
            )
            for _ in range(2)
        )

    def players(self) -> dict[str, nn.Module]:
        return {
            "discriminator": nn.ModuleList([self.discriminator, self.encoded_discriminator]),
            "generator": nn.ModuleList([self.generator, self.encoder]),
        }

    def discriminator_layers(self) -> Sequence[nn.Module | Sequence[nn.Module]]:
        """Those of both discriminators, side by side."""
        return side_by_side(self.discriminator, self.encoded_discriminator)

    def sample_latent(self, n: int) -> Tensor:
        return torch.randn(n, self.options.latent_dim, device=self.device)

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        return self.generator(source, z=z)

    def judge(self, batch: ganzoo.Batch) -> Any:
        return self.discriminator(batch.x)

    def judge_encoded(self, x: Tensor) -> tuple[Tensor, ...]:
        """What D' says, in float32, of images as the run's augmentations change them."""
        said: tuple[Tensor, ...] = single(self.encoded_discriminator(self.augmented(ganzoo.Batch(x)).x))
        return said

    def encoded(self, real: ganzoo.Batch) -> tuple[Tensor, Tensor, Tensor]:
        """G(s, E(x)), and the means and logarithms of variances that the codes were drawn by; all in float32."""
        mean, log_variance = single(self.encoder(real.x))
        return single(self.generator(real.source, z=around(mean, log_variance))), mean, log_variance

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        source, x = examples.source, examples.x
        assert source is not None
        mean, _ = self.encoder(x)
        shown = {"source": source, "target": x, "by its own code": self.generator(source, z=mean)}
        for i in range(ANSWERS):
            shown[f"answer {i + 1}"] = self.generator(source, z=self.sample_latent(len(x)))
        return shown

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            encoded, *_ = self.encoded(real)
        return {
            "random": discriminator_of_scales(*self.discriminate(real, fake)),
            "encoded": discriminator_of_scales(self.judge_encoded(real.x), self.judge_encoded(encoded)),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o = self.options
        encoded, mean, log_variance = self.encoded(real)
        assert fake.z is not None
        # E as it is: its weights get no gradient from here.
        found, _ = single(functional_call(self.encoder, _held(self.encoder), (fake.x,)))
        return {
            "random": generator_of_scales(self.discriminate(fake)),
            "encoded": generator_of_scales(self.judge_encoded(encoded)),
            "l1": o.l1 * (encoded - real.x).abs().mean(),
            "kl": o.kl * losses.gaussian_divergence(mean, log_variance),
            "latent": o.latent * (found - fake.z).abs().mean(),
        }


def _held(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters by name, as constants."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


@ganzoo.hookimpl
def register_models(register):
    register(BicycleGAN)
