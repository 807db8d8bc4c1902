"""ACGAN: Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017.

G is told the class; D is not, but must name it besides telling real from fake (equations 2 and 3):

    L_S = E[log P(real | x)] + E[log P(fake | G(z, c))],    L_C = E[log P(c | x)] + E[log P(c | G(z, c))]

D maximises L_S + L_C, G maximises L_C - L_S (here, as everywhere, by its non-saturating form). For condition vectors
"naming" is regression of the attributes, beside the class.

G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to logits (N, 1) and the condition's
logits or values (N, K). These are logits: the loss takes the softmax, and takes it once.
"""

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.nets import ConvFeatures, ConvGenerator


class Discriminator(nn.Module):
    """One convolutional body, two linear heads: whether x is real, and what it shows."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        self.features = ConvFeatures(data, width, batch_norm=True)
        self.adversarial = nn.Linear(self.features.size, 1)
        self.auxiliary = nn.Linear(self.features.size, data.condition_size)

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.adversarial(features), self.auxiliary(features)


class ACGAN(ganzoo.GAN):
    """The GAN whose discriminator also classifies."""

    name = "acgan"
    paper = "Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017, https://arxiv.org/abs/1610.09585"
    channels_last = ("cuda", "cpu")
    conditional = True

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at five times its rate: two epochs of digits end at half the FID."""

        lr: float = Field(1e-3, gt=0, le=10, description="Learning rate.")
        width: int = Field(32, ge=1, le=1024, description="Channels next to the image; they double at each halving.")
        auxiliary: float = Field(1.0, ge=0, le=100, description="Weight of the class loss, in both players.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminator(self.data, options.width)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (real_logits, real_said), (fake_logits, fake_said) = self.discriminate(real, fake)
        return {
            "adversarial": losses.minimax_discriminator(real_logits, fake_logits),
            "class of real": self.auxiliary(real_said, real),
            "class of fake": self.auxiliary(fake_said, fake),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        logits, said = self.discriminate(fake)
        return {"adversarial": losses.non_saturating_generator(logits), "class": self.auxiliary(said, fake)}

    def auxiliary(self, said: Tensor, batch: ganzoo.Batch) -> Tensor:
        """The weighted class loss: what D said (N, K) of a batch, against the batch's own conditions."""
        return self.options.auxiliary * losses.prediction(said, batch.y, len(self.data.classes))


@ganzoo.hookimpl
def register_models(register):
    register(ACGAN)
