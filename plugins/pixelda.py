"""PixelDA: Bousmalis et al., Unsupervised Pixel-Level Domain Adaptation with Generative Adversarial Networks, 2017.

A classifier is to name the class of images x of which nobody told it one. It has images s of another kind with their
classes c: G makes them look like x, by s and noise z, and the classifier T learns from what comes out (section 3):

    D minimises  -E[log D(x)] - E[log(1 - D(G(s, z)))]
    T minimises  -E[log T(c | s)] - E[log T(c | G(s, z))]
    G minimises  -E[log D(G(s, z))] - lambda E[log T(c | G(s, z))]

The last keeps G from making another digit of a digit; lambda = 0.9 is the ratio of the weights that the authors had for
MNIST-M (0.0101 and 0.0113). In their program, too, T learns beside D, and holds still while G moves. What the paper
adds for objects before a background, whose depth is known, is left out.

z is uniform in [-1, 1]; one linear layer makes a channel of it, beside s. T has a first layer for s and one for x and
G(s, z), and shares the others. D has dropout and noise in every layer. G maps s (N, C', H, W) and z (N, latent_dim) to
(N, C, H, W) in [-1, 1], D maps that to logits (N, 1), T images of either kind to logits (N, classes).

Beside it stands `baseline`, the same classifier trained on s alone. The metric `recognition` gives the averaged T's
share of test images that are named rightly, and `recognition_source_only` that of the baseline.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, LatentDim, LearningRate, Width
from ganzoo.nets import GaussianNoise, Residual, channels, init_normal, pyramid
from ganzoo.precision import single
from ganzoo.translation import same_size


class Generator(nn.Module):
    """Sources (N, C', H, W) and noise (N, `latent_dim`) to images (N, C, H, W) in [-1, 1], in full size throughout."""

    def __init__(self, sources: int, data: ganzoo.DataSpec, latent_dim: int, width: int, blocks: int):
        super().__init__()
        images, h, w = data.shape
        self.noise = nn.Sequential(nn.Linear(latent_dim, h * w), nn.ReLU(), nn.Unflatten(1, (1, h, w)))
        self.layers = nn.Sequential(
            nn.Conv2d(sources + 1, width, 3, padding=1), nn.ReLU(),
            *[Residual(width, nn.ReLU()) for _ in range(blocks)],
            nn.Conv2d(width, images, 1), nn.Tanh(),
        )  # fmt: skip
        init_normal(self.layers)

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        return self.layers(torch.cat([source, self.noise(z).to(source.dtype)], 1))


class Discriminator(nn.Module):
    """Images (N, C, H, W) to logits (N, 1): halvings, each followed by dropout and noise."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        widths, smallest = channels(data, width)[::-1], pyramid(data)[0]
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise([data.shape[0], *widths])):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not level))
            layers += [
                *([nn.BatchNorm2d(after)] if level else []),
                nn.LeakyReLU(0.2),
                nn.Dropout(0.1),
                GaussianNoise(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * smallest[0] * smallest[1], 1))
        init_normal(self.layers)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(x)


class Classifier(nn.Module):
    """The network of Ganin & Lempitsky 2015 for digits, with a first layer for each of so many kinds of images.

    Images (N, C, H, W) of kind i, of `kinds[i]` channels, to logits (N, `classes`).
    """

    def __init__(self, kinds: tuple[int, ...], size: tuple[int, int], classes: int):
        super().__init__()
        self.first = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)) for inputs in kinds
        )
        self.rest = nn.Sequential(
            nn.Conv2d(32, 48, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(48 * (size[0] // 4) * (size[1] // 4), 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(),
            nn.Linear(100, classes),
        )  # fmt: skip

    def forward(self, x: Tensor, kind: int = 0) -> Tensor:
        return self.rest(self.first[kind](x))


SOURCE, IMAGE = 0, 1
"""The kinds of images that the classifier knows."""


class PixelDA(ganzoo.GAN):
    """Images with classes made to look like others without, by which a classifier learns to name those.

    `ganzoo run pixelda --dataset mnist-m-unpaired`, then `ganzoo eval RUN --metrics recognition`. The classes of the
    images are not seen in training, if the data set has any.
    """

    name = "pixelda"
    paper = (
        "Bousmalis et al., Unsupervised Pixel-Level Domain Adaptation with Generative Adversarial Networks, 2017, "
        "https://arxiv.org/abs/1612.05424"
    )
    channels_last = ("cuda",)
    real_entropy = 1.0
    translates = True
    supervised = True
    saved = ("generator", "classifier", "baseline")
    makers = ("generator",)

    class Options(ganzoo.Options):
        """Those of the authors' program: Adam 1e-3 (0.5, 0.999), and six blocks of 64 channels."""

        batch_size: BatchSize = 32
        lr: LearningRate = 1e-3
        latent_dim: LatentDim = 10
        width: Width = Field(64, description="Channels of the generator; of the discriminator's first map.")
        blocks: int = Field(6, ge=0, le=64, description="Residual blocks of the generator.")
        task: float = Field(0.9, ge=0, le=1e4, description="Weight of the class loss in the generator, lambda.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=8)
        if self.data.paired or not self.data.source_labels:
            raise UsageError(
                f"model '{self.name}' learns classes from unpaired sources that have some, and data set '{data.name}' "
                "has no such sources: choose mnist-m-unpaired, or a data set that gives source_labels"
            )
        c, h, w = self.data.shape
        self.generator = Generator(sources, self.data, options.latent_dim, options.width, options.blocks)
        self.discriminator = Discriminator(self.data, options.width)
        classes = len(self.data.classes)
        self.classifier = Classifier((sources, images), (h, w), classes)
        self.baseline = Classifier((c,), (h, w), classes)

    def labelled(self) -> int:
        return 0

    def recognise(self, x: Tensor) -> dict[str, Tensor]:
        return {"adapted": self.classifier(x, IMAGE), "source_only": self.baseline(x)}

    def players(self) -> dict[str, nn.Module]:
        return {**super().players(), "classifier": self.classifier, "baseline": self.baseline}

    def turns(self) -> list[ganzoo.Turn]:
        discriminator, generator = super().turns()
        classifier = ganzoo.Turn("classifier", self.classifier_loss)
        return [discriminator, classifier, ganzoo.Turn("baseline", self.baseline_loss), generator]

    def sample_latent(self, n: int) -> Tensor:
        """Uniform in [-1, 1]: float (n, latent_dim)."""
        return torch.rand(n, self.options.latent_dim, device=self.device) * 2 - 1

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        assert source is not None
        return self.generator(z, source)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def classifier_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        """T's: of sources, and of what is made of them."""
        assert fake.source is not None
        return {
            "source": _named(self.classifier(fake.source, SOURCE), fake),
            "adapted": _named(self.classifier(fake.x, IMAGE), fake),
        }

    def baseline_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        """That of a classifier which sees sources alone, in the channels of images."""
        assert fake.source is not None
        return {"source": _named(self.baseline(in_channels(fake.source, self.data.shape[0])), fake)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {
            "adversarial": losses.non_saturating_generator(self.discriminate(fake)),
            "class": self.options.task * _named(self.classifier(fake.x, IMAGE), fake),
        }


def _named(logits: Tensor, fake: ganzoo.Batch) -> Tensor:
    """Cross-entropy of what is said of images made from sources, or of the sources, against the sources' classes."""
    assert fake.source_y is not None
    return F.cross_entropy(single(logits), fake.source_y)


def in_channels(x: Tensor, count: int) -> Tensor:
    """Grey images in colour, (N, 1, H, W) to (N, `count`, H, W), or the mean of colours; or as they are."""
    return x if x.shape[1] == count else x.mean(1, keepdim=True).expand(-1, count, -1, -1)


@ganzoo.hookimpl
def register_models(register):
    register(PixelDA)
