"""Draws what the demo's page asks for."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ganzoo.data import to_uint8
from ganzoo.demo.about import UNKNOWN, About
from ganzoo.demo.controls import controls
from ganzoo.demo.queueing import Queue
from ganzoo.errors import UsageError
from ganzoo.gan import GAN
from ganzoo.runs.film import LARGEST, enlarged
from ganzoo.runs.pictures import tile
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.walk import between, on_the_way
from ganzoo.sampling import drawing
from ganzoo.training.draws import own_draws

DIRECTIONS, POINTS, STEP = 6, 4, 0.05
REACH = 4.0
"""How far a slider moves the latents along a direction of unit length, either way."""
MOST = 64
LARGEST_SCALE = 8
LOOKED_AT, SEEN = 512, 64
"""Numbers of a latent, and pixels of a side, that directions are sought in: J'J grows with their squares."""


class Player:
    """Draws what the page asks for."""

    page = "demo.html"

    def __init__(self, sampler: Sampler, sampling: Mapping[str, Any] | None = None, about: About = UNKNOWN):
        """`sampling` are the options of drawing from which the page starts, where they are not the model's defaults.

        Raises:
            UsageError: there are no latents to play with, or no images to show; or the model does not have such an
                option, or it is out of its range.
        """
        self.sampler, self.gan = sampler, drawing(sampler.gan, sampling or {})
        if self.gan.translates or not self.gan.data.is_images:
            does = "makes images from images" if self.gan.translates else "makes vectors"
            raise UsageError(f"model '{self.gan.name}' {does}: the demo shows images that are made of latents")
        self.about = about
        self.lock = Queue()  # One picture at a time: each takes all cores, and hooks are the module's.
        self.directions = directions(self.gan)

    def facts(self) -> dict[str, Any]:
        """What the page needs to know of the model."""
        data = self.gan.data
        return {
            **self.about.facts(),
            "model": self.gan.name,
            "data": data.name,
            "classes": list(data.classes) if self.gan.conditional else [],
            "attributes": [a._asdict() for a in data.attributes] if self.gan.conditional else [],
            "directions": len(self.directions),
            "reach": REACH,
            "counts": [n**2 for n in (1, 2, 3, 4, 6, 8)],
            "largest": LARGEST,
            "sampling": controls(self.gan),
        }

    @torch.no_grad()
    def draw(
        self, seed: int, n: int, columns: int, label: int = 0, to: int | None = None, t: float = 0.0,
        shifts: Sequence[float] = (), values: dict[str, float] | None = None,
        sampling: Mapping[str, Any] | None = None, scale: int = 1,
    ) -> bytes:  # fmt: skip
        """A PNG of `n` samples, `columns` in a row.

        Args:
            seed: of the latents.
            n: how many.
            columns: in a row.
            label: their class, where the model takes classes.
            to: the class towards which they are on their way, with latents of their own at its end.
            t: how far, 0 to 1.
            shifts: how far the latents are moved along each of the first directions.
            values: attributes by name.
            sampling: options of drawing by name.
            scale: how many times as large the picture is to be, pixel by pixel.

        Raises:
            UsageError: a class, attribute or option that is not there, or out of its range; or it would be too large.
        """
        _, height, width = self.gan.data.shape
        if scale > 1 and n * height * width * scale**2 > LARGEST:  # Before any of them is drawn.
            raise UsageError(
                f"{n} pictures of {width} x {height}, {scale} times as large, are more than {LARGEST:,} pixels: "
                "take fewer"
            )
        gan = drawing(self.gan, sampling or {})
        with self.lock, own_draws(gan, seed):
            z = gan.sample_latent(n)
            if to is not None:
                z = between(z, gan.sample_latent(n), t)
            for shift, direction in zip(shifts, self.directions, strict=False):
                z = z + (shift * direction).view(1, *z.shape[1:])
            first = self._condition(label, n, values)
            if first is None or to is None:
                images = gan.generate(z, first if gan.conditional else gan.sample_labels(n))
            else:
                images = on_the_way(gan, z, first, self._condition(to, n, values), t)
        buffer = io.BytesIO()
        picture = tile(to_uint8(images.float()), columns)
        Image.fromarray(enlarged(picture, scale) if scale > 1 else picture).save(buffer, "PNG")
        return buffer.getvalue()

    def _condition(self, label: int, n: int, values: dict[str, float] | None) -> Tensor | None:
        if not self.gan.conditional:
            return None
        index = self.sampler.class_index(label) if self.gan.data.classes else 0
        return self.gan.data.condition(torch.full((n,), index, device=self.gan.device), values)


@torch.no_grad()
def directions(gan: GAN) -> Tensor:
    """The directions in latent space along which the pixels move most: float (DIRECTIONS or fewer, latent size).

    Unit eigenvectors of the mean of J'J, J the generator's Jacobian at a few latents, by finite differences; its
    spectrum is that of Ramesh et al. 2018, A Spectral Regularizer for Unsupervised Disentanglement, section 3. Of
    latents longer than `LOOKED_AT`, the first numbers are looked at; large images are looked at smaller.
    """
    with own_draws(gan, 0):
        z, y = gan.sample_latent(POINTS), gan.sample_labels(POINTS)
    whole, size = z[0].numel(), min(z[0].numel(), LOOKED_AT)
    total = torch.zeros(size, size, device=z.device)
    for i in range(POINTS):
        here = _small(gan, z[i : i + 1], y, i)
        rows = []
        for part in torch.arange(size, device=z.device).split(MOST):
            moved = z[i].flatten().repeat(len(part), 1)
            moved[torch.arange(len(part)), part] += STEP
            rows.append(_small(gan, moved.view(len(part), *z.shape[1:]), y, i))
        jacobian = (torch.cat(rows) - here) / STEP
        total += jacobian @ jacobian.T
    found: Tensor = torch.linalg.eigh(total.cpu()).eigenvectors.T.flip(0)[:DIRECTIONS]
    # An eigenvector has no sign of its own: the largest entry is positive, so that a slider means the same next time.
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
    return nn.functional.pad(found * signs, (0, whole - size)).to(z.device)


def _small(gan: GAN, z: Tensor, y: Tensor | None, i: int) -> Tensor:
    """Images for latents and the `i`-th condition, at most `SEEN` pixels wide: float (n, pixels)."""
    labels = None if y is None else y[i : i + 1].expand(len(z), *y.shape[1:])
    images = gan.generate(z, labels).float()
    height, width = images.shape[2:]
    return nn.functional.adaptive_avg_pool2d(images, (min(height, SEEN), min(width, SEEN))).flatten(1)
