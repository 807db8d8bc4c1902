"""The Parzen-window log-likelihood by which the first GAN papers were compared."""

import math

import torch
from torch import Tensor

from ganzoo.data import ImageSet
from ganzoo.metrics.base import MOST, Measured, Metric, Setting, needs_room, needs_test_split, require
from ganzoo.metrics.classifier import read
from ganzoo.metrics.neighbours import Gathered

GRID = tuple(10 ** (-1 + i / 9) for i in range(10))
"""Bandwidths tried: ten from 0.1 to 1, evenly spaced in the logarithm, as in the authors' code."""
CELLS = 2**23
"""Distances held at once."""


def log_likelihood(points: Tensor, samples: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """log of the density, in nats, of a mixture of Gaussians N(sample, sigma^2 I): double (sigmas, P).

    Args:
        points: where to evaluate, (P, D).
        samples: the centres, (N, D).
        sigmas: the bandwidths.
    """
    points, samples = points.double(), samples.double()
    size = points.shape[1]
    norms = samples.square().sum(1)
    columns = []
    for part in points.split(max(1, CELLS // len(samples))):
        squares = (part.square().sum(1, keepdim=True) - 2 * part @ samples.T + norms).clamp_(min=0)
        columns.append(torch.stack([torch.logsumexp(squares / (-2 * sigma**2), 1) for sigma in sigmas]))
    constants = [math.log(len(samples)) + size * math.log(sigma * math.sqrt(2 * math.pi)) for sigma in sigmas]
    return torch.cat(columns, 1) - samples.new_tensor(constants)[:, None]


class Parzen(Metric):
    """Mean log-likelihood of the test split, in nats, under a Parzen window on the samples (Breuleux et al., 2011).

    The bandwidth is the one of `GRID` under which held-out images are likeliest: the last of the training split, or
    evenly spaced ones where it comes class by class.
    """

    name = "parzen"
    summary = "Parzen-window log-likelihood of test images, in nats, as in the papers of 2014"
    default = False
    features = False

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(setting.n >= 2, "parzen needs at least 2 images")
        self.samples = Gathered(MOST)

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        train, test = setting.reference.training, setting.reference.testing
        held = min(setting.n, MOST) + max(_held_out(train), _tested(test))
        return needs_test_split(setting) or needs_room(setting, held, 8)

    def update(self, batch: Measured) -> None:
        self.samples.add(batch.images)

    def compute(self) -> dict[str, float]:
        train, test = self.setting.reference.training, self.setting.reference.testing
        samples = self._points(self.samples.all())
        held_out = self._points(read(train, self._held_out_places()))
        by_sigma = log_likelihood(held_out, samples, GRID).mean(1)
        best = int(by_sigma.argmax())
        tested = self._points(read(test, _spread(len(test), _tested(test))))
        found = log_likelihood(tested, samples, GRID[best : best + 1])[0]
        error = found.std().item() / math.sqrt(len(found)) if len(found) > 1 else 0.0
        return {
            "parzen": found.mean().item(),
            "parzen_standard_error": error,
            "parzen_sigma": GRID[best],
            "parzen_at_grid_edge": float(best in (0, len(GRID) - 1)),
        }

    def settings(self) -> dict[str, float | str]:
        reference = self.setting.reference
        return {
            "space": "pixels in [0, 1]",
            "split": "test",
            "samples": min(self.setting.n, MOST),
            "held_out": _held_out(reference.training),
            "tested": _tested(reference.testing),
            "train": reference.training_fingerprint[:16],
            "test": reference.testing_fingerprint[:16],
        }

    def _held_out_places(self) -> list[int]:
        train = self.setting.reference.training
        count = _held_out(train)
        index = train.class_of()
        if index is not None and (index.diff() >= 0).all():  # Class by class.
            return _spread(len(train), count)
        return list(range(len(train) - count, len(train)))

    def _points(self, images: Tensor) -> Tensor:
        return images.flatten(1).to(self.setting.device).double() / 255


def _held_out(train: ImageSet) -> int:
    """Training images by which the bandwidth is chosen."""
    return min(MOST, max(1, len(train) // 6))


def _tested(test: ImageSet) -> int:
    """Test images whose likelihood is taken."""
    return min(MOST, len(test))


def _spread(length: int, count: int) -> list[int]:
    """`count` of the places 0 to `length` - 1, evenly spaced."""
    return [i * length // count for i in range(count)]
