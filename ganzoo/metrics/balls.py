"""Points and the balls around others: distances, radii, and what follows from who lies in whose ball."""

import torch
from torch import Tensor

K = 5
"""Neighbours, as Naeem et al. choose."""
CELLS = 2**22
"""Distances held at once."""
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
