"""Is all of the data made? Modes captured, samples near one, and how unequally they come."""

import torch
from torch import Tensor

from ganzoo.metrics.base import Measured, Metric, Setting

NEAR = 3.0
"""Standard deviations from a mode's centre within which a sample is a good one (Srivastava et al. 2017, section 5)."""


def reverse_kl(counts: Tensor, shares: Tensor) -> float:
    """KL(samples || data) over modes, in nats, of `counts` (K,) of samples and `shares` (K,) of data.

    Infinite where samples are of a mode that the data lacks.
    """
    found = counts.double() / counts.sum()
    return float(torch.special.xlogy(found, found).sum() - torch.special.xlogy(found, shares.double()).sum())


class ModeCoverage(Metric):
    """Modes with samples, as Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN) count them.

    A vector belongs to the nearest centre, and is a good sample within three standard deviations of it; a mode is
    captured that has a good one. An image belongs to the class that the extractor's classifier takes it for; a mode is
    captured that has any. The divergence counts all samples, each for the mode that it belongs to.
    """

    name = "modes"
    summary = "modes captured, share of good samples, reverse KL over modes; for data whose modes are known"
    of_vectors = True

    def __init__(self, setting: Setting):
        super().__init__(setting)
        assert setting.reference.data.modes is not None
        self.modes = setting.reference.data.modes
        self.counts, self.captured = torch.zeros(2, len(self.modes.shares), dtype=torch.int64)

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        reference = setting.reference
        if reference.data.modes is None:
            return f"data set '{reference.name}' does not say what its modes are"
        if reference.spec.is_images and len(setting.extractor.classes) != len(reference.data.modes.shares):
            return f"the extractor '{setting.extractor.name}' does not tell the modes of '{reference.name}' apart"
        return None

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        return setting.reference.data.modes is not None

    def update(self, batch: Measured) -> None:
        size = len(self.counts)
        if self.modes.centres is None:
            assert batch.logits is not None
            nearest = batch.logits.argmax(1).cpu()
            good = nearest
        else:
            distances = (batch.images.double()[:, None] - self.modes.centres.double()).square().sum(2).sqrt()
            least, nearest = distances.min(1)
            good = nearest[least <= NEAR * self.modes.deviation]
        self.counts += nearest.bincount(minlength=size)
        self.captured += good.bincount(minlength=size)

    def compute(self) -> dict[str, float]:
        numbers = {"modes": float((self.captured > 0).sum())}
        if self.modes.centres is not None:
            numbers["good_samples"] = int(self.captured.sum()) / int(self.counts.sum())
        return numbers | {"reverse_kl": reverse_kl(self.counts, self.modes.shares)}

    def settings(self) -> dict[str, float | str]:
        return {"of": len(self.counts)}
