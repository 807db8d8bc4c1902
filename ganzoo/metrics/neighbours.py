"""Precision, recall, density and coverage; the distance to the nearest training image."""

import torch
from torch import Tensor

from ganzoo.data import IN_MEMORY_BYTES
from ganzoo.metrics.base import MOST, Measured, Metric, Setting, needs_test_split, require

K = 5
"""Neighbours, as Naeem et al. choose."""
CELLS = 2**22
"""Distances held at once."""
PIXELS = 2**24
"""Pixels of each side held at once, as numbers."""
ROUNDING = 1e-12
"""Squared distances that differ by less than this share of the largest squared norm count as equal."""


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances, double (N, M)."""
    a, b = a.double(), b.double()
    return (a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)).clamp_(min=0)


def radii(x: Tensor, k: int = K) -> Tensor:
    """The distance from each row of x (N, D) to its k-th nearest other row: double (N,); infinite with fewer rows."""
    if len(x) <= k:
        return torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float64)
    x = x.double() - x.double().mean(0)
    rows = x.split(max(1, CELLS // len(x)))
    # The nearest is the row itself, at distance 0.
    return torch.cat([squares(part, x).topk(k + 1, largest=False).values[:, -1] for part in rows]).sqrt()


def prdc(real: Tensor, fake: Tensor, real_radii: Tensor | None = None, k: int = K) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al., 2019), density and coverage (Naeem et al., 2020).

    A point is in a ball when its distance is strictly below the radius, by more than rounding could make it.

    Args:
        real, fake: feature vectors (N, D) and (M, D) on one device.
        real_radii: `radii(real, k)`, where it is known.
        k: neighbours.
    """
    # Distances do not depend on where the cloud lies, but their rounding does: features far from zero lose them.
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre
    largest = max(real.square().sum(1).max().item(), fake.square().sum(1).max().item())
    real_within = (radii(real, k) if real_radii is None else real_radii).square() - ROUNDING * largest
    fake_within = radii(fake, k).square() - ROUNDING * largest
    balls = torch.zeros(len(fake), dtype=torch.int64, device=real.device)  # Real balls around each fake.
    recalled, covered = [], []
    step = max(1, CELLS // len(fake))
    for part, within in zip(real.split(step), real_within.split(step), strict=True):
        d = squares(part, fake)
        inside = d < within[:, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((d < fake_within).any(1))
    return {
        "precision": (balls > 0).double().mean().item(),
        "recall": torch.cat(recalled).double().mean().item(),
        "density": balls.double().mean().item() / k,
        "coverage": torch.cat(covered).double().mean().item(),
    }


class PRDC(Metric):
    """Precision, recall, density and coverage in feature space."""

    name = "prdc"
    summary = "precision, recall, density, coverage: are samples real-looking, is all of the data reached (k = 5)"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(setting.n > K, f"prdc needs more than {K} images, not {setting.n}")
        require(len(setting.reference.data) > K, f"prdc needs more than {K} reference images")
        self.vectors = Gathered(MOST)

    def update(self, batch: Measured) -> None:
        assert batch.vectors is not None
        self.vectors.add(batch.vectors)

    def compute(self) -> dict[str, float]:
        fake, known = self.vectors.all(), self.setting.reference.statistics
        return prdc(known.vectors.to(fake), fake, known.radii.to(fake.device))

    def settings(self) -> dict[str, float | str]:
        return {
            "k": K,
            "images": min(self.setting.n, MOST),
            "reference_images": min(len(self.setting.reference.data), MOST),
        }


class Gathered:
    """The first `most` rows of what comes in batches."""

    def __init__(self, most: int):
        self.left = most
        self.parts: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Take in rows (n, ...), or as many as there is room for."""
        if self.left > 0:
            self.parts.append(rows[: self.left].clone())
            self.left -= len(self.parts[-1])

    def all(self) -> Tensor:
        """Everything: (N, ...)."""
        return torch.cat(self.parts)


def nearest(queries: Tensor, images: Tensor, device: torch.device) -> Tensor:
    """The Euclidean distance, in pixels of [0, 1], from each query to the nearest image: double (Q,).

    Args:
        queries: uint8 (Q, C, H, W).
        images: uint8 (N, C, H, W).
        device: where to compute.
    """
    step = max(1, PIXELS // queries[0].numel())
    return torch.cat([_nearest(part, images, device, step) for part in queries.split(step)])


def _nearest(queries: Tensor, images: Tensor, device: torch.device, step: int) -> Tensor:
    flat = queries.flatten(1).to(device).float() / 255
    best = torch.full((len(flat),), torch.inf, device=device)
    index = torch.zeros(len(flat), dtype=torch.int64, device=device)
    square = flat.square().sum(1, keepdim=True)
    for start in range(0, len(images), step):
        part = images[start : start + step].flatten(1).to(device).float() / 255
        d = square - 2 * flat @ part.T + part.square().sum(1)
        value, where = d.min(1)
        index = torch.where(value < best, where + start, index)
        best = torch.minimum(value, best)
    # The product finds the nearest; the distance itself is taken by differences, so that a copy is at 0.
    found = images[index.cpu()].flatten(1).double() / 255
    return (queries.flatten(1).double() / 255 - found).square().sum(1).sqrt()


class Nearest(Metric):
    """How far generated images are from the nearest training image, beside the same for images of the test split."""

    name = "nearest"
    summary = "memorisation: distance to the nearest training image, in pixels, beside that of test images"
    features = False
    LOOKED_AT = 1000

    def __init__(self, setting: Setting):
        super().__init__(setting)
        self.images = Gathered(self.LOOKED_AT)

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        images = setting.reference.training.images
        if isinstance(images, Tensor) and images.nbytes <= IN_MEMORY_BYTES:
            return needs_test_split(setting)
        return f"the training images of '{setting.reference.name}' do not fit in memory"

    def update(self, batch: Measured) -> None:
        self.images.add(batch.images)

    def compute(self) -> dict[str, float]:
        from ganzoo.metrics.classifier import read

        reference = self.setting.reference
        train, test = reference.training.images, reference.testing
        assert isinstance(train, Tensor)
        some = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: self.LOOKED_AT].tolist()
        fake = self.images.all()
        found = nearest(torch.cat([fake, read(test, some)]), train, self.setting.device)
        mine, theirs = found[: len(fake)], found[len(fake) :]
        return {"nearest": mine.mean().item(), "nearest_test": theirs.mean().item(), "nearest_least": mine.min().item()}

    def settings(self) -> dict[str, float | str]:
        reference = self.setting.reference
        return {
            "space": "pixels in [0, 1]",
            "split": "train",
            "images": min(self.setting.n, self.LOOKED_AT),
            "train": reference.training_fingerprint[:16],
            "test": reference.testing_fingerprint[:16],
        }
