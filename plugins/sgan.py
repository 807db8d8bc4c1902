"""SGAN: Salimans et al., Improved Techniques for Training GANs, 2016; Odena, Semi-Supervised Learning with GANs, 2016.

D learns to name the class of a sample from few labels, and from all samples that what is real is of one of K classes.
It gives K logits l, and what is fake has the logit 0 (Salimans et al., section 5), so that

    D(x) = Z / (Z + 1),  Z = sum of exp(l),    p(class k | x, real) = exp(l_k) / Z
    D minimises  -E[log D(x)] - E[log(1 - D(G(z)))] - E over labelled samples [log p(y | x, real)]

G matches features f of D, |E[f(x)] - E[f(G(z))]|^2, or maximises log D(G(z)).

Of `known` training images the class is told, as many of each class. Few batches hold one, so they are kept as they
come by, and in each step a batch is drawn of those. How often the averaged D names the class of test images is the
metric `recognition`. G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to
log Z (N, 1), logits (N, K) and features (N, F).
"""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, Hold, LearningRate, Width
from ganzoo.known import MOST, Known
from ganzoo.nets import ConvGenerator, GaussianNoise, channels, pyramid
from ganzoo.precision import single


class Classifier(nn.Module):
    """Images through convolutions of stride 2 and 256 units, the features, to K logits: noise before each layer.

    Weights are normalised by their length, not over the batch (section 4, and appendix of Salimans et al.).
    """

    def __init__(self, data: ganzoo.DataSpec, classes: int, width: int, noise: float, hidden_noise: float):
        super().__init__()
        widths, (h, w) = channels(data, width)[::-1], pyramid(data)[0]
        layers: list[nn.Module] = [GaussianNoise(noise)]
        for inputs, outputs in pairwise([data.shape[0], *widths]):
            layers += [weight_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2), GaussianNoise(hidden_noise)]
        layers += [nn.Flatten(), weight_norm(nn.Linear(widths[-1] * h * w, 256)), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(GaussianNoise(hidden_noise), weight_norm(nn.Linear(256, classes)))

    def forward(self, x: Tensor, y: None = None) -> tuple[Tensor, Tensor, Tensor]:
        features = self.features(x)
        logits = self.head(features)
        return logits.logsumexp(1, keepdim=True), logits, features


class SGAN(ganzoo.GAN):
    """The GAN whose discriminator learns to name classes from few labels. Samples are drawn without a class.

    `ganzoo run sgan`, then `ganzoo eval RUN --metrics recognition,fid`.
    """

    name = "sgan"
    paper = "Salimans et al., Improved Techniques for Training GANs, 2016, https://arxiv.org/abs/1606.03498"
    supervised = True
    saved = ("generator", "discriminator")
    makers = ("generator",)
    channels_last = ("cuda",)
    real_entropy = 1.0

    batch_statistics = True  # Features are matched by their means over the batch.

    class Options(ganzoo.Options):
        """100 labels, as in the paper's table 1; Adam (0.5, 0.999) at the authors' rate, which falls."""

        batch_size: BatchSize = 100
        lr: LearningRate = 3e-3
        lr_hold: Hold = 0.5
        width: Width = 16
        known: int = Field(100, ge=1, le=10**9, description="Training images whose class is told, as many of each.")
        noise: float = Field(0.3, ge=0, le=10, description="Deviation of the noise on what the discriminator sees.")
        hidden_noise: float = Field(0.5, ge=0, le=10, description="Deviation of the noise between its layers.")
        generator: Literal["matching", "adversarial"] = Field("matching", description="What the generator goes down.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        classes = len(self.data.classes)
        if options.known < classes:
            raise UsageError(
                f"model 'sgan' learns {classes} classes of data set '{data.name}', from one image of each at least: "
                f"raise --known {options.known}"
            )
        self.generator = ConvGenerator(self.data.without_labels(), options.latent_dim, options.width)
        self.discriminator = Classifier(self.data, classes, options.width, options.noise, options.hidden_noise)
        self.by_logits = options.generator == "adversarial"
        self.seen = Known(self.data.shape, max(min(options.known, MOST), options.batch_size))

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.y is not None
        self.seen.keep(real.x, real.y)
        x, y, some = self.seen.draw(len(real.x))
        (on_real, *_), (on_fake, *_) = self.discriminate(real._replace(y=None), fake)
        _, logits, _ = single(self.discriminator(self.augmented(ganzoo.Batch(x)).x))
        return {
            "adversarial": losses.minimax_discriminator(on_real, on_fake),
            "class": some * F.cross_entropy(logits, y),
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        if self.options.generator == "adversarial":
            return {"adversarial": losses.non_saturating_generator(self.discriminate(fake)[0])}
        (*_, wanted), (*_, features) = self.discriminate(real._replace(y=None), fake)
        return {"matching": losses.feature_matching(wanted, features)}

    def labelled(self) -> int:
        return self.options.known

    def recognise(self, x: Tensor) -> dict[str, Tensor]:
        return {"class": self.discriminator(x)[1]}


@ganzoo.hookimpl
def register_models(register):
    register(SGAN)
