"""What the grids of a run show: what the averaged networks make, and real samples to hold it against."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.data import Batch, ImageSet, examples_of, to_uint8
from ganzoo.errors import GanzooError
from ganzoo.gan import GAN
from ganzoo.runs.fields import field_of
from ganzoo.runs.parts import in_parts
from ganzoo.runs.pictures import below, column_classes, frame_of, headed, headed_table, scatter, table, tile, titles
from ganzoo.training.ema import averaged
from ganzoo.training.engine import at_rest, own_randomness
from ganzoo.training.trainer import Trainer

SHOWCASE_SEED = 20140611
"""The fixed latents of sample grids are drawn from this seed, in every run of every model."""
EXAMPLES, POINTS = 8, 1000
"""Held-out images that grids show, and vectors that a scatter picture does."""


class Grids:
    """The pictures of one run, uint8 (H, W, 3): always of the same latents and the same held-out examples."""

    def __init__(self) -> None:
        self.held_out: Callable[[], ImageSet] | None = None
        """Opens the samples that no training sees. Asked only if there is something to show of them."""
        self._showcase: tuple[Tensor, Tensor | None, int] | None = None
        self._examples: Batch | None = None

    def picture(self, trainer: Trainer) -> np.ndarray:
        """What the averaged networks make: a table of the examples where the model translates, vectors as points, else
        the grid of the fixed latents, and beneath it what the model shows of the examples."""
        gan = averaged(trainer.gan, trainer.ema)
        shown = self._shown(gan) if self.shows_examples(gan) else {}
        if gan.translates:
            return headed_table(shown)
        if not gan.data.is_images:
            examples = self._held_out(gan)
            with at_rest(gan, SHOWCASE_SEED, gan.device):
                samples = _beside(gan, examples)
            frame = frame_of(examples.x)
            field = field_of(gan, examples, frame) if gan.data.shape == (2,) else None
            return scatter({"data": examples.x, "samples": samples, **shown}, frame, field)
        z, y, columns = self._fixed(trainer.gan)
        with torch.no_grad(), own_randomness(SHOWCASE_SEED, trainer.engine.device):
            images = in_parts(gan, z, y)
        grid = headed(tile(to_uint8(images), columns), titles(self._columns(gan), gan.data.classes))
        return below(grid, table(shown, across=True)) if shown else grid

    def real(self, trainer: Trainer) -> np.ndarray:
        """Training images, drawn at random, laid out like the samples: of the classes that columns show.

        Of a model that translates, the held-out sources and targets of its grids, side by side; vectors as points.
        """
        gan = trainer.gan
        if gan.translates:
            examples = self._held_out(gan)
            assert examples.source is not None
            shown = {"source": to_uint8(examples.source)}
            return headed_table(shown if gan.own_sources else shown | {"target": to_uint8(examples.x)})
        if not gan.data.is_images:
            return scatter({"data": self._held_out(gan).x})
        z, _, columns = self._fixed(gan)
        classes = self._columns(gan)
        images = trainer.loader.examples(columns, -(-len(z) // columns), classes)
        return headed(tile(images, columns), titles(classes, gan.data.classes))

    @staticmethod
    def shows_examples(gan: GAN) -> bool:
        """Whether the model's pictures are of held-out samples."""
        return gan.translates or not gan.data.is_images or type(gan).pictures is not GAN.pictures

    def _shown(self, gan: GAN) -> dict[str, Tensor]:
        """What the model shows of the examples: images as uint8, vectors as they are.

        Raises:
            GanzooError: it is neither.
        """
        examples = self._held_out(gan)
        with at_rest(gan, SHOWCASE_SEED, gan.device):
            shown = gan.pictures(examples)
        if not isinstance(shown, dict):
            kind = type(shown).__name__
            raise GanzooError(f"model '{gan.name}': pictures() gives {kind}, not a dict of images by name")
        dims = 4 if gan.data.is_images else 2
        for name, images in shown.items():
            good = isinstance(images, Tensor) and images.is_floating_point() and images.dim() == dims
            if not (good and len(images) == len(examples.x) and (dims == 2 or images.shape[1] in (1, 3))):
                what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
                form = "images, float (N, C, H, W)" if dims == 4 else "vectors, float (N, D)"
                raise GanzooError(
                    f"model '{gan.name}': pictures() gives '{name}' as {what}, not one for each of "
                    f"{len(examples.x)} examples: {form}"
                )
        return {name: to_uint8(images) if dims == 4 else images for name, images in shown.items()}

    def _held_out(self, gan: GAN) -> Batch:
        """The samples that grids show, on the model's device: the same throughout a run."""
        if self._examples is None:
            if self.held_out is None:
                raise GanzooError("nobody said where held-out samples are")
            found = examples_of(self.held_out(), gan.data, EXAMPLES if gan.data.is_images else POINTS)
            there = {name: part.to(gan.device) for name, part in found._asdict().items() if part is not None}
            self._examples = Batch(**there)
        return self._examples

    def _fixed(self, gan: GAN) -> tuple[Tensor, Tensor | None, int]:
        """What `GAN.showcase` gives, drawn once."""
        if self._showcase is None:
            with torch.no_grad(), own_randomness(SHOWCASE_SEED, gan.device):
                shown: Any = gan.showcase()
            if not (isinstance(shown, tuple) and len(shown) == 3 and isinstance(shown[2], int) and shown[2] > 0):
                raise GanzooError(f"model '{gan.name}': showcase() gives no latents, conditions and number of columns")
            self._showcase = shown
        return self._showcase

    def _columns(self, gan: GAN) -> list[int]:
        """The class that each column of the grid shows; empty where columns show no classes."""
        _, y, columns = self._fixed(gan)
        classes = len(gan.data.classes)
        if y is None or not classes:
            return []
        return column_classes(y if y.dim() == 1 else y[:, :classes].argmax(1), columns)


def _beside(gan: GAN, examples: Batch) -> Tensor:
    """Samples to stand beside held-out vectors: of their conditions, where these are vectors, whose joint distribution
    is known from data alone; otherwise of conditions that are drawn."""
    if gan.conditional and gan.data.attributes:
        return gan.generate(gan.sample_latent(len(examples.x)), examples.y)
    z = gan.sample_latent(POINTS)
    return gan.generate(z, gan.sample_labels(POINTS))
