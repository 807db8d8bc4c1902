"""Improved GAN: Salimans et al., Improved Techniques for Training GANs, 2016; what of it needs no labels.

Two of the techniques are the model's: feature matching (section 3.1), by which G wants its samples to have the mean
features f of real ones,

    D minimises  -E[log D(x)] - E[log(1 - D(G(z)))],    G minimises  |E[f(x)] - E[f(G(z))]|^2

and minibatch discrimination (3.2), by which D sees how close the samples of a batch are to each other. Others are
regularisers for any model: `--regularise label-smoothing` (3.4), `historical` and `historical-generator` (3.3) of this
file, and `feature-matching` (3.1 as one more term).

G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1] and is that of DCGAN, D maps (N, C, H, W) to logits (N, 1) and
features (N, F).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import LearningRate, Width
from ganzoo.nets import ConvFeatures, ConvGenerator


class MinibatchDiscrimination(nn.Module):
    """Features (N, F) to how close each sample is to the others of its batch, by each of `kernels` measures: (N, B).

    Of M = f T, B rows of C numbers for each sample, o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1).
    """

    batch_statistics = True

    def __init__(self, features: int, kernels: int, size: int = 5):
        super().__init__()
        self.size = size
        self.rows = nn.Linear(features, kernels * size, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        m = self.rows(features).unflatten(1, (-1, self.size)).float()
        return (-(m[:, None] - m[None]).abs().sum(3)).exp().sum(1) - 1


class Discriminator(nn.Module):
    """The convolutional body, whose features are matched, and a linear head over these and the closeness in a batch."""

    def __init__(self, data: ganzoo.DataSpec, width: int, kernels: int):
        super().__init__()
        self.features = ConvFeatures(data, width, batch_norm=True)
        self.closeness = MinibatchDiscrimination(self.features.size, kernels) if kernels else None
        self.head = nn.Linear(self.features.size + kernels, 1)

    def forward(self, x: Tensor, y: None = None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        seen = features if self.closeness is None else torch.cat([features, self.closeness(features)], dim=1)
        return self.head(seen), features


class ImprovedGAN(ganzoo.GAN):
    """DCGAN with feature matching, minibatch discrimination, or both.

    The preset `paper` adds the smoothed labels and the averages of the weights' history.
    """

    name = "improved-gan"
    paper = "Salimans et al., Improved Techniques for Training GANs, 2016, https://arxiv.org/abs/1606.03498"
    channels_last = ("cuda", "cpu")
    real_entropy = 1.0
    presets = {"paper": {"lr": 3e-4, "width": 64, "ema": 0.0, "regularise": ["label-smoothing", "historical"]}}

    batch_statistics = True  # Features are matched by their means over the batch.

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999)."""

        lr: LearningRate = 1e-3
        width: Width = 32
        kernels: int = Field(32, ge=0, le=10_000, description="Measures of closeness in a batch; 0: D sees none.")
        generator: Literal["matching", "adversarial", "both"] = Field(
            "both", description="What the generator goes down."
        )

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminator(self.data, options.width, options.kernels)
        self.by_logits = options.generator != "matching"

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (on_real, _), (on_fake, _) = self.discriminate(real, fake)
        return {"adversarial": losses.minimax_discriminator(on_real, on_fake)}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (_, wanted), (on_fake, features) = self.discriminate(real, fake)
        terms = {
            "adversarial": losses.non_saturating_generator(on_fake),
            "matching": losses.feature_matching(wanted, features),
        }
        return {name: term for name, term in terms.items() if self.options.generator in (name, "both")}


class LabelSmoothing(ganzoo.Regulariser):
    """What real samples are to be called is `target` instead of 1: section 3.4, with fakes still called 0.

    -t log D - (1 - t) log(1 - D) = -log D + (1 - t) logit: so it is a term beside the cross-entropy that a model has,
    as heavy as that.
    """

    name = "label-smoothing"
    summary = "D calls real images 0.9 instead of 1, of losses by cross-entropy (Salimans et al. 2016)"

    class Options(ganzoo.IngredientOptions):
        """The target."""

        target: float = Field(0.9, gt=0, le=1, description="Probability of being real that real images are to have.")

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        return None if gan.real_entropy else "does not say that its loss is a cross-entropy"

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        logits = torch.stack([said.mean() for said in gan.verdicts(gan.discriminate(real))]).sum()
        return {self.name: gan.real_entropy * (1 - self.options.target) * logits}


class Historical(ganzoo.Regulariser):
    """The discriminator's weights stay near the mean of all that they have been: |theta - mean|^2, section 3.3."""

    name = "historical"
    summary = "D's weights stay near the mean of their own history (Salimans et al. 2016)"

    class Options(ganzoo.IngredientOptions):
        """How strong."""

        weight: float = Field(1e-3, ge=0, le=1e6, description="Weight of the squared distance.")

    mean: Tensor
    """All parameters of the player one after the other, float32: their mean over the steps."""
    count: Tensor
    """Steps that it is the mean of."""

    def attach(self, gan: ganzoo.GAN) -> None:
        size = sum(p.numel() for p in gan.players()[self.player].parameters()) if self.player in gan.players() else 0
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("count", torch.zeros(()))

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        now = torch.cat([p.float().flatten() for p in gan.players()[self.player].parameters()])
        if not gan.clock.part:  # Once a turn: of `--accumulate` all parts see the same weights.
            self.count.add_(1)
            self.mean.lerp_(now.detach(), 1 / self.count)
        return {self.name: self.options.weight * (now - self.mean).square().sum()}


class HistoricalGenerator(Historical):
    """The same for the generator."""

    name = "historical-generator"
    summary = "G's weights stay near the mean of their own history (Salimans et al. 2016)"
    player = "generator"


@ganzoo.hookimpl
def register_models(register):
    register(ImprovedGAN)


@ganzoo.hookimpl
def register_regularisers(register):
    for regulariser in (LabelSmoothing, Historical, HistoricalGenerator):
        register(regulariser)
