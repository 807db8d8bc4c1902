"""Evaluation of a run while it trains, which does not notice."""

from typing import Any

import torch

from ganzoo.errors import warn
from ganzoo.gan import GAN
from ganzoo.metrics.base import Setting
from ganzoo.metrics.evaluation import Evaluator, exact
from ganzoo.metrics.protocol import Labels, describe
from ganzoo.metrics.samples import comes_with, conditions, count_of, drawer, drawn_as, generated, refuse_without_sources
from ganzoo.plugins import Registry
from ganzoo.settings import Settings
from ganzoo.training.ema import averaged
from ganzoo.training.engine import own_randomness
from ganzoo.training.trainer import Trainer

N, SEED = 10_000, 0
"""As `ganzoo eval` takes them, so that it finds the same numbers."""
METRICS = ("fid", "accuracy")
"""The quick ones: one by which the best checkpoint is chosen, one for what it does not see."""
OF_VECTORS = ("modes", "tags", "prdc")
"""Of vectors: what is measured where modes, or words and pictures, are known, else the last. No checkpoint is the best
by them."""


class Examiner:
    """FID of the averaged generator, and label accuracy where it can be had, every so many epochs."""

    def __init__(
        self, registry: Registry, settings: Settings, gan: GAN, device: torch.device, labels: Labels = "reference"
    ):
        """Open the reference. `labels` is how conditions are drawn, as for `generated`.

        Raises:
            UsageError, GanzooError: as `Evaluator`.
        """
        assert settings.eval_every is not None
        self.every = settings.eval_every
        shape, root = gan.data.shape, settings.data_root
        self.evaluator = Evaluator(
            registry, settings.dataset, metrics=METRICS if gan.data.is_images else OF_VECTORS, shape=shape, root=root,
            data_options=settings.data_options, source=settings.source, device=device,
        )  # fmt: skip
        refuse_without_sources(gan, self.evaluator.reference)
        self.labels, self.drawn = labels, drawn_as(gan, labels)
        conditions(gan, self.evaluator.reference, labels)  # What is not there is told before training.
        self.comes_with = comes_with(gan, self.evaluator.reference)
        self.n = count_of(gan, self.evaluator.reference, N)
        labelled = self.comes_with["labelled"]
        setting = Setting(self.evaluator.reference, self.n, labelled, SEED, device, draw=drawer(gan))
        for name, metric in list(self.evaluator.chosen.items()):
            if name not in ("fid", "prdc") and metric.missing(setting):
                del self.evaluator.chosen[name]
        if {"modes", "tags"} & self.evaluator.chosen.keys():
            self.evaluator.chosen.pop("prdc", None)

    @property
    def protocol(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return self.evaluator.protocol(self.n, self.drawn)

    @property
    def text(self) -> str:
        """The same, to stand beside every number."""
        return describe(self.protocol)

    @property
    def tag(self) -> str:
        """The same as part of a name, so that a logger draws only what is comparable in one plot."""
        p = self.protocol
        resize = "".join(c if c.isalnum() else "-" for c in p["resize"])
        drawn = f"/labels-{p['labels']}" if p["labels"] else ""
        drawn += "".join(f"/{name}-{value}" for name, value in p.get("sampling", {}).items())
        extractor = f"{p['extractor']}-{p['extractor_sha256'][:8]}"
        return f"{p['dataset']}-{p['split']}-{p['n']}{drawn}/{extractor}/resize-{resize}"

    def begin(self) -> None:
        """Have the statistics of the reference before training starts."""
        with exact(), torch.no_grad(), own_randomness(SEED, self.evaluator.device):
            _ = self.evaluator.reference.statistics
        for caution in self.evaluator.cautions(self.evaluator.chosen, self.n):
            warn(f"--eval-every: {caution}")

    def due(self, trainer: Trainer) -> bool:
        """Whether the step just taken ended so many epochs, or the training."""
        before = trainer.progress(-1).epoch
        return int(trainer.epoch / self.every) > int(before / self.every) or trainer.fraction >= 1

    def until_due(self, trainer: Trainer) -> int:
        """Steps that can be taken for sure before the next evaluation; 1 when it may be due after the next."""
        ends = (trainer.epoch // self.every + 1) * self.every
        return max(1, trainer.schedule.steps_for(ends * trainer.loader.batches_per_epoch) - trainer.step)

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """The numbers, by name: `fid` and perhaps `accuracy`. All processes of a run share the work, and get them."""
        gan, world = averaged(trainer.gan, trainer.ema), trainer.world
        batches = generated(gan, self.n, SEED, self.evaluator.reference, self.labels, world)
        measured = self.evaluator.measure(
            batches, self.n, seed=SEED, drawn=self.drawn, draw=drawer(gan), intervals=False, world=world,
            **self.comes_with,
        )  # fmt: skip
        numbers: dict[str, float] = world.on_first(lambda: measured["metrics"])
        return numbers
