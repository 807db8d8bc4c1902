"""CC-GAN: Denton et al., Semi-Supervised Learning with Context-Conditional Generative Adversarial Networks, 2016.

G fills the hole in the middle of an image: it sees what is around it, s, and what it makes there is put into the image,
G(s). D sees the whole image and, besides telling real from filled, names the class c of the few images that have a
label: that is what it is for, and filling holes teaches it of the many that have none (section 3.3):

    D minimises  -E[log D(x)] - E[log(1 - D(G(s)))] - lambda E[log D(c | x)],    the last of labelled x alone
    G minimises  -E[log D(G(s))]

The source is the picture with its hole, as `--source hole` makes it; whatever fills the hole, the networks see an even
grey. The paper puts holes at random places; here the hole is in the middle, in training as in what is made later.

Of `known` training images the class is told, as many of each class. Few batches hold one, so they are kept as they
come by, and in each step a batch is drawn of those. G is a U-Net, D a convolutional body with two heads: G maps s
(N, C, H, W) to (N, C, H, W) in [-1, 1], D maps that to logits (N, 1) and (N, classes). How often the averaged D names
the class of test images is the metric `recognition`.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.data.making import Maker, hole_in
from ganzoo.errors import UsageError
from ganzoo.fields import Width
from ganzoo.known import MOST, Known
from ganzoo.nets import ConvFeatures
from ganzoo.precision import single
from ganzoo.translation import UNet, same_size


class Discriminator(nn.Module):
    """One convolutional body, two linear heads: whether an image is real, and what it shows."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        self.features = ConvFeatures(data, width)
        self.adversarial = nn.Linear(self.features.size, 1)
        self.auxiliary = nn.Linear(self.features.size, len(data.classes))

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.adversarial(features), self.auxiliary(features)


class CCGAN(ganzoo.GAN):
    """Pictures with a hole in their middle, filled, by which a classifier learns from few labels.

    `ganzoo run ccgan --source hole --known 100`, then `ganzoo eval RUN --metrics recognition`.
    """

    name = "ccgan"
    paper = (
        "Denton et al., Semi-Supervised Learning with Context-Conditional Generative Adversarial Networks, 2016, "
        "https://arxiv.org/abs/1611.06430"
    )
    channels_last = ("cuda",)
    real_entropy = 1.0
    translates = True
    supervised = True
    saved = ("generator", "discriminator")
    makers = ("generator",)

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as is usual for such networks."""

        width: Width = 32
        hole: float = Field(0.5, gt=0, lt=1, description="Share of each side that the hole takes.")
        known: int = Field(
            1000, ge=1, le=10**9, description="Training images whose class is told, as many of each class."
        )
        auxiliary: float = Field(1.0, ge=0, le=1e4, description="Weight of the class loss, lambda.")

    @classmethod
    def wanted_source(cls, options: Options) -> str:
        return Maker("hole", options.hole).text

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=2)
        if sources != images or not self.data.paired:
            raise UsageError(
                f"model '{self.name}' fills holes, and sources of '{data.name}' are not its images with a hole in "
                "them: make some with --source hole"
            )
        h, w = self.data.shape[1:]
        halvings = min((min(h, w) - 1).bit_length(), 8)
        self.generator = UNet(sources, images, halvings, options.width, dropout=0.0)
        self.discriminator = Discriminator(self.data, options.width)
        size = max(min(options.known, MOST), options.batch_size)
        self.seen = Known(self.data.shape, size)
        top, left, height, width = hole_in(h, w, options.hole)
        hole = torch.zeros(1, 1, h, w, dtype=torch.bool)
        hole[:, :, top : top + height, left : left + width] = True
        self.register_buffer("hole", hole, persistent=False)

    def labelled(self) -> int:
        return self.options.known

    def recognise(self, x: Tensor) -> dict[str, Tensor]:
        return {"class": self.discriminator(x)[1]}

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """The source with its hole filled."""
        assert source is not None
        made = self.generator(source.masked_fill(self.hole, 0))
        return torch.where(self.hole, made.to(source.dtype), source)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.y is not None
        (real_logits, _), (fake_logits, _) = self.discriminate(real, fake)
        self.seen.keep(real.x, real.y)
        x, y, some = self.seen.draw(len(real.x))
        said = single(self.discriminator(self.augmented(ganzoo.Batch(x)).x))[1]
        return {
            "adversarial": losses.minimax_discriminator(real_logits, fake_logits),
            "class": self.options.auxiliary * some * F.cross_entropy(said, y),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        logits, _ = self.discriminate(fake)
        return {"adversarial": losses.non_saturating_generator(logits)}


@ganzoo.hookimpl
def register_models(register):
    register(CCGAN)
