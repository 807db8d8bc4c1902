"""DCGAN: Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs, 2016.

The game of GAN, played by convolutional networks that train stably (section 3): strides in place of pooling, batch
normalisation in both players but at G's output and D's input, ReLU in G, leaky ReLU of slope 0.2 in D, no hidden
fully connected layers, weights from N(0, 0.02). G maximises log D(G(z)):

    D minimises  -E[log D(x)] - E[log(1 - D(G(z)))],    G minimises  -E[log D(G(z))]

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to logits (N, 1). Depth follows from the
image: maps are halved until their shorter side is at most 7.
"""

from typing import Any, Literal

from pydantic import Field, field_validator
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import R1, Beta1, Beta2, Hidden, Hold, LearningRate, Width
from ganzoo.lazy_r1 import LazyR1
from ganzoo.nets import ConvDiscriminator, ConvGenerator


class DCGAN(LazyR1):
    """The convolutional GAN that others start from.

    With `--conditional yes` both players are told the class or condition vector: G beside its latent, D as one more
    channel of the image. The preset `pictures`, for pictures in colour, tells them where there is one. The penalty R1
    keeps D from learning some thousands of pictures by heart, and from winning before G draws anything: without it
    two of six runs on digits collapse. The preset `paper` has the widths, batch and
    learning rate of section 4 (64 x 64 images), latents from the uniform distribution, and no averaging of G's weights.
    """

    name = "dcgan"
    paper = "Radford et al., Unsupervised Representation Learning with DCGANs, 2016, https://arxiv.org/abs/1511.06434"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {
        "pictures": {"conditional": "auto"},
        "paper": {
            "image_size": 64, "width": 128, "hidden": 0, "batch_size": 128, "latent": "uniform",
            "lr": 2e-4, "lr_hold": 1.0, "b1": 0.5, "b2": 0.999, "ema": 0.0, "r1": 0.0,
        },
    }  # fmt: skip

    class Options(ganzoo.Options):
        """Found by search for three minutes of digits on two cores; the paper's are a preset."""

        lr: LearningRate = 4e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        width: Width = 32
        hidden: Hidden = 256
        r1: R1 = 1.0
        latent: Literal["normal", "uniform"] = Field(
            "normal", description="Latents from the normal distribution, or uniform in [-1, 1) as in the paper."
        )
        conditional: Literal["no", "yes", "auto"] = Field(
            "no", description="Whether both players are told the condition; auto: where there is one."
        )

        @field_validator("conditional", mode="before")
        @classmethod
        def _once_a_switch(cls, value: object) -> object:
            """As earlier runs recorded it."""
            known = {None: "auto", True: "yes", False: "no"}
            return known[value] if value is None or isinstance(value, bool) else value

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvDiscriminator(self.data, options.width, hidden=options.hidden)

    def sample_latent(self, n: int) -> Tensor:
        z = super().sample_latent(n)
        return z.uniform_(-1, 1) if self.options.latent == "uniform" else z

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        return a.lerp(b, t) if self.options.latent == "uniform" else super().between(a, b, t)

    @classmethod
    def uses_labels(cls, data: ganzoo.DataSpec, options: Any) -> bool:
        return data.conditional if options.conditional == "auto" else bool(options.conditional == "yes")

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(DCGAN)
