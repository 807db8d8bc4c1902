"""Points in the plane: what a GAN does with data whose whole distribution can be seen.

`ring` and `grid` are mixtures of Gaussians with known modes, as Srivastava et al. 2017 (VEEGAN, section 5) and
Lin et al. 2018 (PacGAN, section 4.1) train on them; the ring is also that of Metz et al. 2017 (Unrolled GAN, section
3.1). `swiss-roll` is the noisy spiral that Gulrajani et al. 2017 (WGAN-GP, figure 1) show beside the mixtures, `moons`
two half circles that interlock. All are divided by a constant, so that a generator that ends in tanh reaches them.
"""

import math

import torch
from torch import Tensor

import ganzoo

COUNT = {"train": 50_000, "test": 10_000}
SEEDS = {"train": 20170206, "test": 20170207}


class Mixture(ganzoo.Dataset):
    """Points of Gaussians that come equally often; the class of a point is the Gaussian that it was drawn from."""

    means: Tensor
    """double (K, 2), as the papers state them."""
    deviation: float
    extent: float
    """What all is divided by."""

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        n, draw = COUNT[request.split], torch.Generator().manual_seed(SEEDS[request.split])
        labels = torch.arange(n) % len(self.means)
        points = self.means[labels] + self.deviation * torch.randn(n, 2, dtype=torch.float64, generator=draw)
        shares = torch.bincount(labels).double() / n
        modes = ganzoo.Modes(shares, (self.means / self.extent).float(), self.deviation / self.extent)
        classes = tuple(str(k) for k in range(len(self.means)))
        return ganzoo.ImageSet((points / self.extent).float(), labels, classes, modes=modes)


class Ring(Mixture):
    """Eight Gaussians on a circle of radius 2 (Metz et al. 2017, section 3.1), counted from the right, leftwards."""

    name = "ring"
    attribution = "Drawn from a formula."
    summary = "points in the plane: 8 Gaussians on a circle of radius 2, deviation 0.02, divided by 2.5; 8 classes"
    takes_root = False
    means = 2 * torch.stack([f(torch.arange(8).double() * math.pi / 4) for f in (torch.cos, torch.sin)], 1)
    deviation, extent = 0.02, 2.5


class Grid(Mixture):
    """Twenty-five Gaussians at even numbers from -4 to 4 (Lin et al. 2018, section 4.1), row by row from below."""

    name = "grid"
    attribution = "Drawn from a formula."
    summary = "points in the plane: 5 x 5 Gaussians from -4 to 4, deviation 0.05, divided by 5; 25 classes"
    means = torch.cartesian_prod(*[torch.arange(-4.0, 5, 2, dtype=torch.float64)] * 2).flip(1)
    deviation, extent = 0.05, 5.0


class SwissRoll(ganzoo.Dataset):
    """A spiral of one and a half turns, from radius 1.5 pi to 4.5 pi, with noise of 0.25 (Gulrajani et al. 2017)."""

    name = "swiss-roll"
    attribution = "Drawn from a formula."
    summary = "points in the plane: a spiral of one and a half turns with noise of 0.25, divided by 16; no classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        n, draw = COUNT[request.split], torch.Generator().manual_seed(SEEDS[request.split])
        t = 1.5 * math.pi * (1 + 2 * torch.rand(n, dtype=torch.float64, generator=draw))
        points = torch.stack([t * t.cos(), t * t.sin()], 1)
        points += 0.25 * torch.randn(n, 2, dtype=torch.float64, generator=draw)
        return ganzoo.ImageSet((points / 16).float())


class Moons(ganzoo.Dataset):
    """Two half circles of radius 1, the lower one shifted by (1, 0.5), with noise of 0.05; each is a class."""

    name = "moons"
    attribution = "Drawn from a formula."
    summary = "points in the plane: two half circles that interlock, with noise of 0.05, around 0; 2 classes"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        n, draw = COUNT[request.split], torch.Generator().manual_seed(SEEDS[request.split])
        labels, angle = torch.arange(n) % 2, math.pi * torch.rand(n, dtype=torch.float64, generator=draw)
        upper = torch.stack([angle.cos(), angle.sin()], 1)
        points = torch.where(labels[:, None] == 0, upper, torch.tensor([1.0, 0.5]) - upper)
        points += 0.05 * torch.randn(n, 2, dtype=torch.float64, generator=draw)
        return ganzoo.ImageSet(((points - torch.tensor([0.5, 0.25])) / 2).float(), labels, ("upper", "lower"))


@ganzoo.hookimpl
def register_datasets(register):
    for dataset in (Ring, Grid, SwissRoll, Moons):
        register(dataset)
