"""FID, KID and Inception Score by torchmetrics, over features that were extracted once for all of them.

torchmetrics takes seconds to import: it is, where it is used.
"""

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.metrics.base import MOST, Measured, Metric, Setting, needs_labels, require
from ganzoo.metrics.neighbours import Gathered
from ganzoo.metrics.reference import Moments

SUBSETS, SUBSET_SIZE = 100, 1000
"""Of KID, as its authors choose."""
SPLITS = 10
"""Of the Inception Score, as its authors choose."""
DRAWS = 1000
"""Of images, with repetition, from which an interval is read."""


class Through(nn.Module):
    """What torchmetrics takes for a feature extractor: the features are extracted already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors


def frechet(moments: Moments) -> Any:
    """A metric that knows its real side; `update(vectors, real=False)` with double (N, D) on the CPU."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Through(moments.total.shape[-1]), sync_on_compute=False)
    metric.real_features_sum = moments.total
    metric.real_features_cov_sum = moments.products
    metric.real_features_num_samples = moments.count
    return metric


def kernel(real: Tensor, fake: Tensor, subsets: int = SUBSETS) -> tuple[float, float | None]:
    """KID and its standard deviation over subsets: 1000 vectors each, or as many as the smaller side has.

    None for the deviation where every subset is all there is of both sides, and so the same.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, len(real), len(fake))
    metric = _quietly(
        KernelInceptionDistance, Through(real.shape[1]), subsets=subsets, subset_size=size, sync_on_compute=False
    )
    metric.update(real, real=True)
    metric.update(fake, real=False)
    mean, deviation = metric.compute()
    return mean.item(), None if size == len(real) == len(fake) else deviation.item()


def _quietly(kind: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():  # What it holds is bounded here.
        warnings.filterwarnings("ignore", "Metric `.*` will save all extracted features in buffer", UserWarning)
        return kind(*args, **options)


class FID(Metric):
    """Fréchet distance between Gaussians fitted to the features (Heusel et al., 2017)."""

    name = "fid"
    summary = "Fréchet distance of features: the lower, the better"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(setting.n >= 2, "fid needs at least 2 images")
        require(len(setting.reference.data) >= 2, "fid needs at least 2 reference images")
        self.metric = frechet(setting.reference.statistics.moments)
        self.vectors = Gathered(MOST if setting.intervals else 0)
        self.fid = math.nan

    def update(self, batch: Measured) -> None:
        assert batch.vectors is not None
        self.metric.update(batch.vectors.double().cpu(), real=False)
        self.vectors.add(batch.vectors)

    def compute(self) -> dict[str, float]:
        self.fid = self.metric.compute().clamp(min=0).item()  # Rounding may bring it below.
        return {"fid": self.fid}

    def intervals(self) -> dict[str, tuple[float, float]]:
        vectors = self.vectors.all().double().cpu()
        if self.setting.n <= vectors.shape[1]:  # The covariance lacks directions, which other images would fill.
            return {}
        drift = resampled(influence(vectors, self.setting.reference.statistics.moments), self.setting.seed)
        drift *= (len(vectors) / self.setting.n) ** 0.5  # Of more images than are kept.
        low, high = torch.quantile(drift, torch.tensor([0.025, 0.975], dtype=drift.dtype)).tolist()
        return {"fid": (max(0.0, self.fid + low), self.fid + high)}


def influence(vectors: Tensor, real: Moments) -> Tensor:
    """How much more of each image would move the FID: double (N,), with the mean 0.

    The derivative of the distance along a little more weight for one of `vectors`, double (N, D), the real side as it
    is. By the mean and the covariance of the vectors it is 2 (m - m_r) and I - S (S C S)^(-1/2) S, with S the root of
    the real covariance; directions in which the vectors do not vary are left alone.
    """
    count = int(real.count)
    mean = real.total / count
    covariance = (real.products - count * mean.outer(mean)) / (count - 1)
    centred = vectors - vectors.mean(0)
    own = centred.T @ centred / (len(vectors) - 1)
    values, axes = torch.linalg.eigh(covariance)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    values, axes = torch.linalg.eigh(root @ own @ root)
    kept = values > values.max().clamp(min=0) * 1e-12
    inverse = axes * torch.where(kept, values, math.inf).rsqrt() @ axes.T
    slope = torch.eye(len(root), dtype=root.dtype) - root @ inverse @ root
    moved = 2 * centred @ (vectors.mean(0) - mean) + (centred @ slope * centred).sum(1)
    return moved - moved.mean()


def resampled(influences: Tensor, seed: int) -> Tensor:
    """How far the number drifts by each of `DRAWS` drawings of as many images, with repetition: double (DRAWS,).

    To first order, which spares the covariance of each drawing; and the bias that repetition brings.
    """
    generator, n = torch.Generator().manual_seed(seed), len(influences)
    return torch.stack([influences[torch.randint(n, (n,), generator=generator)].mean() for _ in range(DRAWS)])


class IntraFID(Metric):
    """The mean over classes of the FID within the class (Miyato and Koyama, 2018)."""

    name = "intra-fid"
    summary = "mean over classes of the FID within the class; the images need labels"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        known = setting.reference.statistics
        self.metrics = [frechet(known.moments_of(label)) for label in range(len(known.class_count))]

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        reason = needs_labels(setting)
        if reason is None and len(setting.reference.statistics.class_count) == 0:
            reason = "there are too many classes for a covariance each"
        if reason is None and int(setting.reference.statistics.class_count.min()) < 2:
            reason = "a class has fewer than 2 reference images"
        return reason

    def update(self, batch: Measured) -> None:
        assert batch.vectors is not None
        assert batch.labels is not None
        vectors = batch.vectors.double().cpu()
        for label in batch.labels.unique().tolist():
            self.metrics[label].update(vectors[batch.labels == label], real=False)

    def compute(self) -> dict[str, float]:
        names = self.setting.reference.data.classes
        for name, metric in zip(names, self.metrics, strict=True):
            count = int(metric.fake_features_num_samples)
            require(count >= 2, f"intra-fid needs 2 images of each class, and class '{name}' has {count}")
        return {"intra-fid": torch.stack([metric.compute() for metric in self.metrics]).clamp(min=0).mean().item()}


class KID(Metric):
    """Squared maximum mean discrepancy with a cubic kernel, unbiased (Bińkowski et al., 2018)."""

    name = "kid"
    summary = "kernel distance of features, unbiased: the lower, the better; with its deviation over subsets"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(setting.n >= 2, "kid needs at least 2 images")
        require(len(setting.reference.data) >= 2, "kid needs at least 2 reference images")
        self.vectors = Gathered(MOST)

    def update(self, batch: Measured) -> None:
        assert batch.vectors is not None
        self.vectors.add(batch.vectors)

    def compute(self) -> dict[str, float]:
        fake = self.vectors.all()
        mean, deviation = kernel(self.setting.reference.statistics.vectors.to(fake), fake)
        return {"kid": mean} | ({} if deviation is None else {"kid_std": deviation})

    def settings(self) -> dict[str, float | str]:
        size = min(SUBSET_SIZE, self.setting.n, len(self.setting.reference.data))
        return {"subsets": SUBSETS, "subset_size": size, "images": min(self.setting.n, MOST)}


class Inception(Metric):
    """exp(E KL(p(y|x) || p(y))) (Salimans et al., 2016), with the extractor's classifier."""

    name = "is"
    summary = "Inception Score, by the extractor's own classifier: the higher, the better"

    def __init__(self, setting: Setting):
        from torchmetrics.image.inception import InceptionScore

        super().__init__(setting)
        require(setting.n >= 2 * SPLITS, f"is needs at least {2 * SPLITS} images: {SPLITS} splits of 2")
        self.metric = _quietly(InceptionScore, nn.Identity(), splits=SPLITS, sync_on_compute=False)
        self._left = self._images = setting.n - setting.n % SPLITS  # torchmetrics' splits are of one size only so.

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        return None if setting.extractor.classifies else f"the extractor '{setting.extractor.name}' has no classifier"

    def update(self, batch: Measured) -> None:
        assert batch.logits is not None
        if self._left > 0:
            self.metric.update(batch.logits[: self._left].double().cpu())
            self._left -= len(batch.logits)

    def compute(self) -> dict[str, float]:
        mean, deviation = self.metric.compute()
        return {"is": mean.item(), "is_std": deviation.item()}

    def settings(self) -> dict[str, float | str]:
        return {"splits": SPLITS, "images": self._images}
