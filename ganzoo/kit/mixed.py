"""An augmentation or a regulariser within a small model of this kit: what the kit looks at when it checks one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganzoo import losses
from ganzoo.data import Batch, DataSpec
from ganzoo.fields import validated
from ganzoo.gan import GAN
from ganzoo.ingredients import Augmentation, Regulariser
from ganzoo.kit.cases import BATCH, CLASSES, IMAGES, Case
from ganzoo.nets import MLPDiscriminator, MLPGenerator

MIXED = (
    DataSpec("grey", (1, 28, 28), IMAGES, CLASSES),
    DataSpec("colour", (3, 32, 32), IMAGES),
)
"""What an ingredient is checked on unless told otherwise; it may refuse one of them with a `UsageError`."""


class Host(GAN):
    """A small model that tells classes apart where there are any."""

    name = "host"
    paper = "none"
    conditional = "auto"
    real_entropy = 1.0

    def __init__(self, data: DataSpec, options: Any):
        super().__init__(data, options)
        self.generator = MLPGenerator(self.data, options.latent_dim, [32])
        self.discriminator = MLPDiscriminator(self.data, [32])

    def discriminator_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}


class Mixed(Case):
    """An ingredient in `Host`, on one kind of data."""

    def __init__(self, author: type[Augmentation | Regulariser], spec: DataSpec, own: Mapping[str, Any]):
        super().__init__(Host, spec, {"latent_dim": 8, "lr": 1e-3})
        self.author = author
        self.own = validated(author.Options, own)

    def build(self, own: Any = None) -> GAN:
        gan = super().build()
        data = gan.data if issubclass(self.author, Regulariser) else self.spec
        ingredient: Any = self.author(data, self.own if own is None else own)
        ingredient.batch_size = BATCH
        if isinstance(ingredient, Regulariser):
            gan.regularisers.append(ingredient)
            ingredient.attach(gan)
        else:
            gan.augmentations.append(ingredient)
        return gan

    def ingredient(self, gan: GAN) -> Any:
        """The one that a model built here has."""
        (found,) = (*gan.augmentations, *gan.regularisers)
        return found

    def x(self, gan: GAN, n: int = BATCH) -> Tensor:
        """Images, float (n, C, H, W) in [-1, 1]."""
        return self.real(gan).x[:n]

    def batches(self, gan: GAN) -> tuple[Batch, Batch]:
        """A real batch, and fakes with their graph, as the player's turn gets them."""
        real = self.real(gan)
        with torch.set_grad_enabled(self.ingredient(gan).player != "discriminator"):
            return real, gan.fake(real)
