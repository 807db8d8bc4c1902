"""Draws what the demo's page asks for."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ganzoo.data import to_uint8
from ganzoo.demo.about import UNKNOWN, About, side
from ganzoo.demo.controls import controls
from ganzoo.demo.queueing import Queue
from ganzoo.errors import UsageError
from ganzoo.gan import GAN
from ganzoo.metrics.classifier import at_once
from ganzoo.runs.film import LARGEST, enlarged, film
from ganzoo.runs.parts import in_parts
from ganzoo.runs.pictures import tile
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.walk import along, mixed_styles, on_the_way, style_layers
from ganzoo.sampling import drawing
from ganzoo.training.draws import own_draws
from ganzoo.training.products import Products

DIRECTIONS, POINTS, STEP = 6, 4, 0.05
REACH = 4.0
"""How far a slider moves the latents along a direction of unit length, either way."""
MOST = 64
LARGEST_SCALE = 8
FPS, MOST_FRAMES = 20, 120
"""Of a film of a walk: moments in a second, and in all."""
LARGEST_FILM = 2**24
"""Pixels of a film, over all its frames, which are held until the last."""
FILMS = ((8, 60), (4, 60), (2, 60), (1, 60), (1, 30), (1, 12))
"""Pictures in a row and moments of the film that the page asks for: the first that fits."""
LOOKED_AT, SEEN = 512, 64
"""Numbers of a latent, and pixels of a side, that directions are sought in: J'J grows with their squares."""
OPERATIONS = 2e11
"""Of the generator, on the search for directions, before the page opens: some seconds of a CPU."""


class Player:
    """Draws what the page asks for."""

    page = "demo.html"

    def __init__(
        self, sampler: Sampler, sampling: Mapping[str, Any] | None = None, about: About = UNKNOWN,
        lock: Queue | None = None, axes: Tensor | None = None,
    ):  # fmt: skip
        """`sampling` are the options of drawing from which the page starts, where they are not the model's defaults.

        Args:
            about: what is known of the run.
            lock: of those who draw one at a time with others; default: one of its own.
            axes: directions in latent space, float (any number, latent size), where they are not this one's own.

        Raises:
            UsageError: there are no latents to play with, or no images to show; or the model does not have such an
                option, or it is out of its range.
        """
        self.sampler, self.gan = sampler, drawing(sampler.gan, sampling or {})
        if self.gan.translates or not self.gan.data.is_images:
            does = "makes images from images" if self.gan.translates else "makes vectors"
            raise UsageError(f"model '{self.gan.name}' {does}: the demo shows images that are made of latents")
        self.about = about
        # One picture at a time: each takes all cores, and hooks are the module's.
        self.lock = Queue() if lock is None else lock
        with self.lock:
            self.directions = directions(self.gan) if axes is None else axes

    def facts(self) -> dict[str, Any]:
        """What the page needs to know of the model."""
        data = self.gan.data
        return {
            "sides": [side(self.gan, self.about) | {"film": self._film()}],
            "model": self.gan.name,
            "data": data.name,
            "classes": list(data.classes) if self.gan.conditional else [],
            "attributes": [a._asdict() for a in data.attributes] if self.gan.conditional else [],
            "directions": len(self.directions),
            "styles": style_layers(self.gan),
            "reach": REACH,
            "counts": [n**2 for n in (1, 2, 3, 4, 6, 8)],
            "largest": LARGEST,
            "sampling": controls(self.gan),
        }

    def _film(self) -> dict[str, int]:
        """What a film of a walk is to have so that it is not too large; empty where none fits."""
        _, height, width = self.gan.data.shape
        for n, frames in FILMS:
            for times in (4, 3, 2, 1):
                if _pixels(n, height, width, times) * frames <= LARGEST_FILM:
                    return {"n": n, "frames": frames, "scale": times}
        return {}

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
        self._check(n, scale)
        with self._drawn(sampling, seed) as gan:
            z = gan.sample_latent(n)
            if to is not None:
                z = gan.between(z, gan.sample_latent(n), t)
            z = z + self._shift(z, shifts)
            first = self._condition(label, n, values)
            if first is None or to is None:
                images = in_parts(gan, z, first if gan.conditional else gan.sample_labels(n))
            else:
                images = on_the_way(gan, z, first, self._condition(to, n, values), t)
        return _png(images, columns, scale)

    @torch.no_grad()
    def mix(
        self, seed: int, n: int, first: int, second: int, t: float, label: int = 0, shifts: Sequence[float] = (),
        values: dict[str, float] | None = None, sampling: Mapping[str, Any] | None = None, scale: int = 1,
        layer: int = 0,
    ) -> bytes:  # fmt: skip
        """A PNG of one sample whose latents are on the way between those of two of the `n` that `draw` shows.

        Or, with `layer`, one whose styles are those of the first up to that layer, and from it on those of the second.

        Args:
            seed: of the latents.
            n: how many there are to choose from.
            first: the number, from 0, of the one whose latents these are at `t` = 0.
            second: of the one at `t` = 1; between, latents turn on a sphere (see `between`).
            t: how far, 0 to 1.
            label, shifts, values, sampling, scale: as of `draw`.
            layer: from which layer on, counted from 0, styles are the second's; 0: latents are mixed instead, by `t`.

        Raises:
            UsageError: there is no such one, or both are the same; there is no such layer; or as `draw`.
        """
        layers = style_layers(self.gan)
        if layer and layer >= layers:
            has = f"styles in layers 0 to {layers - 1}" if layers else "no styles"
            raise UsageError(f"layer {layer}: model '{self.gan.name}' has {has}")
        for one in (first, second):
            if one >= n:
                raise UsageError(f"there is no picture {one}: there are {n}, counted from 0")
        if first == second:
            raise UsageError(f"picture {first} is not mixed with itself: choose two")
        self._check(1, scale)
        with self._drawn(sampling, seed) as gan:
            z = gan.sample_latent(n)
            near, far, moved = z[first : first + 1], z[second : second + 1], self._shift(z, shifts)
            y = self._condition(label, 1, values) if gan.conditional else gan.sample_labels(1)
            with mixed_styles(gan, far + moved, layer) if layer else nullcontext():
                images = gan.generate((near if layer else gan.between(near, far, t)) + moved, y)
        return _png(images, 1, scale)

    def film(
        self, seed: int, n: int, frames: int, label: int = 0, to: int = 0, shifts: Sequence[float] = (),
        values: dict[str, float] | None = None, sampling: Mapping[str, Any] | None = None, scale: int = 1,
    ) -> bytes:  # fmt: skip
        """A GIF without a seam of the way that `draw` goes from `label` at `t` = 0 to `to` at 1, and back.

        Others draw between its frames. Nothing of it is written to disk.

        Args:
            seed: of the latents.
            n: pictures of each moment, in a row.
            frames: how many moments.
            label: the class at which it begins, where the model takes classes.
            to: the class from which it turns back.
            shifts, values, sampling, scale: as of `draw`.

        Raises:
            UsageError: it would be too large; or as `draw`.
        """
        _, height, width = self.gan.data.shape
        if _pixels(n, height, width, scale) * frames > LARGEST_FILM:
            raise UsageError(
                f"a film of {frames} times {n} pictures of {width} x {height}, {scale} times as large, has more than "
                f"{LARGEST_FILM:,} pixels: take fewer"
            )
        with self._drawn(sampling, seed) as gan:
            latents = [gan.sample_latent(n), gan.sample_latent(n)]
            conditions = [self._condition(k, n, values) for k in (label, to)]
        way = along(gan, latents, conditions, frames, seed, self._shift(latents[0], shifts))

        def shown() -> Iterator[np.ndarray]:
            while True:
                with self.lock:
                    images = next(way, None)
                if images is None:
                    return
                yield enlarged(tile(images, n), scale)

        return film(".gif", shown(), FPS)

    @contextmanager
    def _drawn(self, sampling: Mapping[str, Any] | None, seed: int) -> Iterator[GAN]:
        """The model with options of drawing, prepared and drawn from while nobody else draws."""
        with self.lock:
            gan = drawing(self.gan, sampling or {})
            with own_draws(gan, seed):
                yield gan

    def _check(self, n: int, scale: int) -> None:
        """Refuse what would be too large, before any of it is drawn."""
        _, height, width = self.gan.data.shape
        if scale > 1 and n * height * width * scale**2 > LARGEST:
            raise UsageError(
                f"{n} pictures of {width} x {height}, {scale} times as large, are more than {LARGEST:,} pixels: "
                "take fewer"
            )

    def _shift(self, z: Tensor, shifts: Sequence[float]) -> Tensor:
        """What moves latents (n, ...) along the first directions: (1, ...)."""
        moved = torch.zeros_like(z[:1])
        for shift, direction in zip(shifts, self.directions, strict=False):
            moved = moved + (shift * direction).view(moved.shape)
        return moved

    def _condition(self, label: int, n: int, values: dict[str, float] | None) -> Tensor | None:
        if not self.gan.conditional:
            return None
        index = self.sampler.class_index(label) if self.gan.data.classes else 0
        return self.gan.data.condition(torch.full((n,), index, device=self.gan.device), values)


def _pixels(n: int, height: int, width: int, times: int) -> int:
    """Of a row of `n` pictures as `tile` frames them, so many times as large."""
    return (n * (width + 2) + 2) * (height + 4) * times**2


def _png(images: Tensor, columns: int, scale: int) -> bytes:
    buffer = io.BytesIO()
    picture = tile(to_uint8(images.float()), columns)
    Image.fromarray(enlarged(picture, scale) if scale > 1 else picture).save(buffer, "PNG")
    return buffer.getvalue()


@torch.no_grad()
def directions(gan: GAN) -> Tensor:
    """The directions in latent space along which the pixels move most: float (DIRECTIONS or fewer, latent size).

    Unit eigenvectors of the mean of J'J, J the generator's Jacobian at a few latents, by finite differences; its
    spectrum is that of Ramesh et al. 2018, A Spectral Regularizer for Unsupervised Disentanglement, section 3. Of
    latents longer than `LOOKED_AT`, the first numbers are looked at, and images at most `SEEN` pixels wide. Within
    `OPERATIONS`: of a large generator fewer numbers at fewer latents, and where that is no longer a search, directions
    at random, the same each time.
    """
    with own_draws(gan, 0):
        z, y = gan.sample_latent(POINTS), gan.sample_labels(POINTS)
    with Products() as one:
        _small(gan, z[:1], y, 0)
    whole, pictures = z[0].numel(), int(OPERATIONS // max(1, one.operations))
    fewest = min(whole, 2 * DIRECTIONS)
    points = min(POINTS, pictures // (fewest + 1))
    if not points:
        drawn = torch.randn(whole, min(whole, DIRECTIONS), generator=torch.Generator().manual_seed(0))
        return torch.linalg.qr(drawn).Q.T.to(z.device)
    size = max(fewest, min(whole, LOOKED_AT, pictures // points - 1))
    step = min(MOST, at_once(*gan.data.shape[1:]))
    total = torch.zeros(size, size, device=z.device)
    for i in range(points):
        here = _small(gan, z[i : i + 1], y, i)
        rows = []
        for part in torch.arange(size, device=z.device).split(step):
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
