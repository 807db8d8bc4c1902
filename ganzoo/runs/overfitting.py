"""Whether the discriminator knows its images by heart: its score of real images that it never saw."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import Batch, ImageSet
from ganzoo.data.examples import examples_of
from ganzoo.errors import UsageError, one_line, warn
from ganzoo.gan import GAN
from ganzoo.metrics.classifier import at_once
from ganzoo.training.engine import at_rest
from ganzoo.training.trainer import Trainer

LOOKED_AT, FEWEST = 256, 8
"""Images of each kind, the same at every look, and where they are large: one batch of them has to fit memory."""
SEED = 20200611
PARTED = 0.5
"""Of r_v: from here on the discriminator takes what it never saw for fakes rather than for what it has learned."""
SURE = 4.0
"""Standard errors. Where fakes score like real images r_v divides by little, and is then as large by chance alone."""


class Overfitting:
    """D of held-out real images, beside D(x) and D(G(z)), on fixed images and latents. Training does not notice.

    r_v is (E[D(x)] - E[D(held out)]) / (E[D(x)] - E[D(G(z))]) of logits: 0 where the discriminator tells images that it
    trains on from others no better than by chance, 1 where it takes the others for fakes. Karras et al. 2020, equation
    1 (Training Generative Adversarial Networks with Limited Data).
    """

    def __init__(self, held_out: Callable[[], ImageSet]):
        self._open = held_out
        self._sides: dict[str, Batch] | None = None
        self._cannot = False
        self._told = False

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """The numbers by name, for a line of the log; none where nothing is held out, or there is no such score."""
        gan = trainer.gan
        if self._cannot:
            return {}
        try:
            if self._sides is None:
                self._sides = self._opened(trainer)
        except UsageError as error:
            if not gan.translates:  # Of which grids have told.
                warn(f"what D says of held-out images is not told, for the test split cannot be had: {one_line(error)}")
            self._cannot = True
            return {}
        except Exception:
            self._cannot = True
            return {}
        try:
            if not self._sides:
                return {}
            with at_rest(gan, SEED, gan.device):
                fake = gan.fake(self._sides["held out"])
                logits = {name: _logits(gan, batch).float() for name, batch in {**self._sides, "fake": fake}.items()}
        except Exception:  # Whatever a model says to images that come without what its losses give them.
            self._cannot = True
            return {}
        of_images = {name: value.reshape(len(value), -1).mean(1) for name, value in logits.items()}
        mean = {name: value.mean().item() for name, value in of_images.items()}
        found = {"D(x) held out": gan.score(logits["held out"]).float().mean().item()}
        unseen = mean["train"] - mean["held out"]
        if mean["train"] > mean["fake"]:
            found["r_v"] = unseen / (mean["train"] - mean["fake"])
        chance = (
            SURE * sum(of_images[name].var(correction=0).item() / len(of_images[name]) for name in self._sides) ** 0.5
        )
        if found.get("r_v", 0.0) > PARTED and unseen > chance and not self._told:
            self._told = True
            remedy = "more images help" + ("" if len(gan.augmentations) else ", or --augment ada")
            warn(
                f"step {trainer.step}: the discriminator knows its images by heart (r_v {found['r_v']:.2f}: it tells "
                f"them from real ones that it never saw); {remedy}"
            )
        return {name: value for name, value in found.items() if value == value and abs(value) != float("inf")}

    def _opened(self, trainer: Trainer) -> dict[str, Batch]:
        """Images that were trained on and others; nothing where these are the same."""
        loader, gan = trainer.loader, trainer.gan
        if not gan.data.is_images:
            return {}
        train = gan.sourced(
            ImageSet(
                loader.images, loader.labels, sources=loader.sources, paired=loader.paired,
                source_labels=loader.source_labels,
            )
        )  # fmt: skip
        sides = {"train": train, "held out": self._open()}
        count = max(FEWEST, min(LOOKED_AT, at_once(*gan.data.shape[1:])))
        batches = {name: _on(gan.device, examples_of(data, gan.data, count)) for name, data in sides.items()}
        one, other = (batch.x for batch in batches.values())
        return {} if one.shape == other.shape and torch.equal(one, other) else batches


def _on(device: torch.device, batch: Batch) -> Batch:
    there: dict[str, Any] = {name: part.to(device) for name, part in batch._asdict().items() if part is not None}
    return Batch(**there)


def _logits(gan: GAN, batch: Batch) -> Tensor:
    output = gan.judge(batch)
    logits: Tensor = output[0] if isinstance(output, tuple) else output
    return logits
