"""Precision, recall, density and coverage; the distance to the nearest training image."""

import torch
from torch import Tensor

from ganzoo.data import memory
from ganzoo.metrics.balls import K, prdc
from ganzoo.metrics.base import MOST, Measured, Metric, Setting, needs_room, needs_test_split, require

PIXELS = 2**24
"""Pixels of each side held at once, as numbers."""


class PRDC(Metric):
    """Precision, recall, density and coverage in feature space."""

    name = "prdc"
    summary = "precision, recall, density, coverage: are samples real-looking, is all of the data reached (k = 5)"
    of_vectors = True

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(setting.n > K, f"prdc needs more than {K} images, not {setting.n}")
        require(len(setting.reference.data) > K, f"prdc needs more than {K} reference images")
        self.vectors = Gathered(MOST)

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        """Not of words: a vector comes as often as its word, and a ball that reaches to its equals has no radius."""
        return setting.reference.data.words is None

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
        if isinstance(images, Tensor) and images.nbytes <= memory.room():
            held = min(setting.n, cls.LOOKED_AT) + min(len(setting.reference.testing), cls.LOOKED_AT)
            return needs_test_split(setting) or needs_room(setting, 2 * held, 1)  # And once more when they are joined.
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
