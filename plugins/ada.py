"""ADA: Karras et al., Training Generative Adversarial Networks with Limited Data, 2020.

With few images the discriminator learns them by heart. ADA shows it changed images only, real and fakes alike, each
change with probability p (section 2). While p is below 0.8 or so the changes do not leak into what G makes (section
2.2). p follows how far D overfits (section 3): every few steps it rises or falls by a little,

    p += sign(r_t - target) images / speed,    r_t = E[sign(D(x))] over real x,    target 0.6

so that it can go from 0 to 1 in 500 thousand real images, and is never below 0.

The changes are the paper's pixel blitting, geometric and colour transformations, "bgc" (appendix B). An image is moved
by one affine map, from where a pixel of the result is to where it is taken from, about the centre of the image:

    Flip^-1 . Rotate90^-1 . Translate^-1 . Scale^-1 . Rotate^-1 . Stretch^-1 . Rotate^-1 . Translate^-1

so that it is read once: continued by reflection, upsampled by 2 with the orthogonal low-pass filter of the wavelet
sym6, read bilinearly at every half pixel, and brought back by the same filter. Its colours are changed by one affine
map, too.

Two more are off unless asked for, as R3GAN (Huang et al. 2024) has them: `cutout`, which puts zero in a rectangle of
half the sides, and `ramp`, with which a given p is reached along half a cosine, whatever D says.

Everything is made of tensors of fixed shapes, p too. So a step can be recorded, and has derivatives of any order. On a
CPU the images that stay where they are, most of them while p is small, are not moved at all.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo.errors import UsageError, note_once
from ganzoo.ingredients import Augmentation, IngredientOptions
from ganzoo.precision import exactly

SHIFT, SCALE, STRETCH, DRIFT = 0.125, 0.2, 0.2, 0.125
"""How far images move: whole pixels up to a share of the side; deviation of log2 of size and of aspect; deviation of
the last translation in sides. Figures of appendix B."""
HOLE = 0.5
"""Sides of what is cut out, as a share of the image's."""
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""How far colours move: deviation of what is added; of log2 of the factors. Figures of appendix B."""

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""The scaling filter of Daubechies' least asymmetric wavelet with 6 vanishing moments. Its squares sum to 1."""
BORDER = len(SYM6) // 4
"""Pixels around the image that the filter reads on the way back."""
PIECE = 2**19
"""Numbers that a CPU makes at once at twice the density: as many as stay in its cache cost a quarter less."""


class Draws:
    """Where random numbers come from: a row for each image of `x`. A test puts quantiles in its place."""

    def uniform(self, x: Tensor, columns: int = 1) -> Tensor:
        """Float (N, columns), from 0 to 1."""
        return torch.rand(len(x), columns, device=x.device, dtype=x.dtype)

    def normal(self, x: Tensor, columns: int = 1) -> Tensor:
        """Float (N, columns), of mean 0 and variance 1."""
        return torch.randn(len(x), columns, device=x.device, dtype=x.dtype)


def _each(what: str) -> Any:
    return Field(1.0, ge=0, le=1, description=f"Probability of {what}, as a multiple of p; 0: never.")


class ADA(Augmentation):
    """Adaptive discriminator augmentation.

    r_t says something where D(x) = 0 is the border between real and fake: with the losses of GAN and the hinge. LSGAN's
    lies halfway between its targets, and a critic or a relativistic discriminator has none: give those a fixed `p`.

    On a CUDA device gradients of images are summed in no fixed order: two runs differ by rounding.
    """

    name = "ada"
    summary = "Flips, rotations, scaling, shifts and colours, as often as D overfits (Karras et al. 2020)"

    class Options(IngredientOptions):
        """The paper's figures."""

        target: float = Field(0.6, ge=0, le=1, description="The mean sign of D(x) that p is moved towards.")
        speed: float = Field(500.0, gt=0, le=1e6, description="Thousands of real images in which p can go from 0 to 1.")
        interval: int = Field(4, ge=1, le=10_000, description="Steps of the discriminator between two moves of p.")
        p: float | None = Field(None, ge=0, le=1, description="A fixed probability, instead of one that adapts.")
        ramp: float | None = Field(
            None, gt=0, le=1e7, description="Thousands of real images in which p is reached, from 0; needs p."
        )
        xflip: float = _each("a choice between the image and its mirror image")
        rotate90: float = _each("a rotation by 0, 90, 180 or 270 degrees")
        xint: float = _each("a translation by whole pixels")
        scale: float = _each("another size")
        rotate: float = _each("a rotation by any angle")
        aniso: float = _each("another aspect ratio")
        xfrac: float = _each("a translation by any distance")
        brightness: float = _each("another brightness")
        contrast: float = _each("another contrast")
        lumaflip: float = _each("a choice between the image and one with light for dark")
        hue: float = _each("a rotation of hues (RGB only)")
        saturation: float = _each("another saturation (RGB only)")
        cutout: float = Field(
            0.0,
            ge=0,
            le=1,
            description="Probability of a rectangle of zero, as a multiple of p; not among the paper's.",
        )

    p: Tensor
    """Probability of a change, a scalar."""
    r_t: Tensor
    """Mean sign of D(x) in the last whole interval, a scalar."""
    signs: Tensor
    """Sum of the mean signs of D(x) of the steps since then, a scalar."""
    gathered: Tensor
    """How many these are, int64."""
    steps: Tensor | None
    """Steps of the discriminator, int64; None without `ramp`."""
    up_x: Tensor
    up_y: Tensor
    down_x: Tensor
    down_y: Tensor

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        if data.shape[0] not in (1, 3):
            raise UsageError(
                f"augmentation 'ada' takes images of 1 or 3 channels, and data set '{data.name}' has "
                f"{data.shape[0]}: choose --augment diffaugment"
            )
        if options.ramp is not None and options.p is None:
            raise UsageError(
                "augmentation 'ada': ramp says how p is reached, and there is none: give ada:p=0.5,ramp=..."
            )
        idle = [name for name in ("target", "speed", "interval") if name in options.model_fields_set]
        if options.p is not None and idle:
            note_once(f"augmentation 'ada': {' and '.join(idle)} not used, for p is fixed at {options.p:g}")
        self.draws = Draws()
        self.register_buffer("p", torch.tensor(0.0 if options.ramp else float(options.p or 0)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64) if options.ramp else None)
        self.register_buffer("r_t", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("gathered", torch.zeros((), dtype=torch.int64))
        for axis, side in zip("yx", data.shape[1:], strict=True):
            self.register_buffer(f"up_{axis}", upsampling(side), persistent=False)
            self.register_buffer(f"down_{axis}", downsampling(side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images, float (N, C, H, W) in [-1, 1], to changed ones, of any range: geometry, then colour, then holes."""
        with exactly(x.device.type):
            x = x if x.dtype == torch.float64 else x.float()
            return self.cut(self.recoloured(self.moved(x)))

    def happening(self, x: Tensor, probability: Tensor, change: Tensor, none: float) -> Tensor:
        """`change` (N, k) for the images that it happens to, each by itself; `none`, which is no change, for others."""
        return torch.where(self.draws.uniform(x) < probability, change, torch.full_like(change, none))

    # Geometry

    def moved(self, x: Tensor) -> Tensor:
        """Images after one affine map each."""
        o, draws = self.options, self.draws
        if not any((o.xflip, o.rotate90, o.xint, o.scale, o.rotate, o.aniso, o.xfrac)):
            return x
        height, width = x.shape[2:]
        # A pixel of the result at q is taken from linear @ q + offset, in pixels from the centre. Each change is put
        # in at the right: what is done last to the image is done first to q.
        linear = torch.eye(2, device=x.device, dtype=x.dtype).expand(len(x), 2, 2)
        offset = x.new_zeros(len(x), 2)
        if o.xflip:
            flipped = self.happening(x, self.p * o.xflip, (draws.uniform(x) * 2).floor(), 0.0)
            linear = linear * torch.cat([1 - 2 * flipped, torch.ones_like(flipped)], 1)[:, None]
        if o.rotate90:
            quarters = self.happening(x, self.p * o.rotate90, (draws.uniform(x) * 4).floor(), 0.0)
            linear = linear @ rotation(quarters * (math.pi / 2))
        if o.xint:
            shares = self.happening(x, self.p * o.xint, (draws.uniform(x, 2) * 2 - 1) * SHIFT, 0.0)
            offset = offset - along(linear, pixels(shares, width, height).round())
        if o.scale:
            linear = linear / self.happening(x, self.p * o.scale, (draws.normal(x) * SCALE).exp2(), 1.0)[:, None]
        # The stretch lies between two rotations, one of which happens with the probability that is asked for.
        turning = 1 - (1 - self.p * o.rotate).clamp(min=0).sqrt()
        if o.rotate:
            linear = linear @ self.turn(x, turning)
        if o.aniso:
            wider = self.happening(x, self.p * o.aniso, (draws.normal(x) * STRETCH).exp2(), 1.0)
            linear = linear * torch.cat([1 / wider, wider], 1)[:, None]
        if o.rotate:
            linear = linear @ self.turn(x, turning)
        if o.xfrac:
            shares = self.happening(x, self.p * o.xfrac, draws.normal(x, 2) * DRIFT, 0.0)
            offset = offset - along(linear, pixels(shares, width, height))
        return self.resampled(x, linear, offset)

    def turn(self, x: Tensor, probability: Tensor) -> Tensor:
        """Rotations (N, 2, 2) by any angle."""
        return rotation(self.happening(x, probability, (self.draws.uniform(x) * 2 - 1) * math.pi, 0.0))

    def resampled(self, x: Tensor, linear: Tensor, offset: Tensor) -> Tensor:
        """Images whose pixel at q is x at `linear` (N, 2, 2) @ q + `offset` (N, 2), in pixels (x, y) from the centre.

        An image and its reflection repeat without end, so that one period is all that is made, whatever the maps of a
        batch ask for. The published program looks at them, reflects as far as they reach, but once at most, and has
        zero beyond: that shows where p = 1 in the corners of one square image in a hundred, and of one in ten whose
        sides differ.
        """
        maps = torch.cat([linear, offset[:, :, None]], 2)
        filters = [m.to(x.dtype) for m in (self.up_y, self.up_x, self.down_y, self.down_x)]
        return _Read.apply(x, maps, *filters)

    # Colour

    def recoloured(self, x: Tensor) -> Tensor:
        """Images after one affine map of colours each.

        All changes but that of brightness, which comes first, are the same whatever the order: each multiplies the mean
        of the channels (the luma of appendix B), the rest (hue and saturation), or turns the rest about the grey axis.
        So their product is known: with the factors `luma` and `chroma` and the angle of the turn, a circulant matrix.
        """
        o, draws, rgb = self.options, self.draws, x.shape[1] == 3
        added = x.new_zeros(len(x), 1)
        luma = chroma = x.new_ones(len(x), 1)
        angle = x.new_zeros(len(x), 1)
        if not any((o.brightness, o.contrast, o.lumaflip, rgb and o.hue, rgb and o.saturation)):
            return x
        if o.brightness:
            added = self.happening(x, self.p * o.brightness, draws.normal(x) * BRIGHTNESS, 0.0)
        if o.contrast:
            luma = chroma = self.happening(x, self.p * o.contrast, (draws.normal(x) * CONTRAST).exp2(), 1.0)
        if o.lumaflip:
            luma = luma * (1 - 2 * self.happening(x, self.p * o.lumaflip, (draws.uniform(x) * 2).floor(), 0.0))
        if not rgb:
            return (x + added[:, :, None, None]) * luma[:, :, None, None]
        if o.hue:
            angle = self.happening(x, self.p * o.hue, (draws.uniform(x) * 2 - 1) * math.pi, 0.0)
        if o.saturation:
            chroma = chroma * self.happening(x, self.p * o.saturation, (draws.normal(x) * SATURATION).exp2(), 1.0)
        kept, turned = chroma * angle.cos(), chroma * angle.sin() / math.sqrt(3)
        own, other = (luma + 2 * kept) / 3, (luma - kept) / 3
        after, before = other - turned, other + turned
        mixing = torch.cat([own, after, before, before, own, after, after, before, own], 1).unflatten(1, (3, 3))
        return torch.baddbmm((luma * added)[:, :, None], mixing, x.flatten(2)).view_as(x)

    def cut(self, x: Tensor) -> Tensor:
        """Images in each of which a rectangle may be zero. Its centre is anywhere: a part of it may lie outside."""
        if not self.options.cutout:
            return x
        centre = self.draws.uniform(x, 2)
        reach = self.happening(x, self.p * self.options.cutout, torch.full_like(centre[:, :1], HOLE / 2), 0.0)
        kept = []
        for side, middle in zip(x.shape[:1:-1], centre.unbind(1), strict=True):
            places = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) / side
            kept.append((places - middle[:, None]).abs() >= reach)
        columns, rows = kept
        return x * (columns[:, None, None, :] | rows[:, None, :, None])

    # How often

    def after_discriminator_step(self, real_logits: Tensor) -> None:
        """Gather the sign of D(x); p moves by what was gathered up to the step before.

        By then the mean over processes has been taken of all float buffers, and all move p by the same: had each moved
        it by its own part of the batch, p would be the mean of moves, not the move by the mean. (Where a step of
        training has several of the discriminator that do not divide the interval, they may differ until it ends.)
        """
        o = self.options
        full = self.gathered >= o.interval
        mean = self.signs / o.interval
        self.r_t.copy_(torch.where(full, mean, self.r_t))
        if o.p is None:
            move = self.batch_size * o.interval / (o.speed * 1000)
            self.p.copy_(torch.where(full, (self.p + (mean - o.target).sign() * move).clamp(min=0), self.p))
        elif self.steps is not None:
            self.steps.add_(1)
            share = (self.steps * (self.batch_size / (o.ramp * 1000))).clamp(max=1)
            self.p.copy_(o.p * (1 - (math.pi * share).cos()) / 2)
        going_on = ~full
        self.signs.mul_(going_on).add_(real_logits.float().sign().mean())
        self.gathered.mul_(going_on).add_(1)

    def watched(self) -> dict[str, Tensor]:
        return {"p": self.p.clone(), "r_t": self.r_t.clone()}


def rotation(angle: Tensor) -> Tensor:
    """Angles (N, 1) to matrices (N, 2, 2)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, -sin, sin, cos], 1).unflatten(1, (2, 2))


def pixels(shares: Tensor, width: int, height: int) -> Tensor:
    """Shares of width and height, (N, 2), in pixels."""
    return torch.stack([shares[:, 0] * width, shares[:, 1] * height], 1)


def along(linear: Tensor, shift: Tensor) -> Tensor:
    """`linear` (N, 2, 2) times `shift` (N, 2)."""
    return (linear @ shift[:, :, None]).squeeze(2)


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows (H', H) @ x (N, C, H, W) @ columns (W', W) transposed: (N, C, H', W')."""
    x = F.linear(x.transpose(2, 3), rows)
    return F.linear(x.transpose(2, 3), columns)


def upsampling(side: int) -> Tensor:
    """A line of pixels and its reflection at twice the density, from the first pixel to where it comes again.

    A matrix, float (4 side - 3, side): one product does what reflection, zeros between pixels and a filter do in four
    passes.
    """
    period = max(2 * (side - 1), 1)
    matrix = torch.zeros(2 * period + 1, side, dtype=torch.float64)
    for row in range(len(matrix)):
        for tap, weight in enumerate(_filter()):
            place, between = divmod(row + 5 - tap, 2)  # The sixth tap lies on the pixel.
            if not between:
                matrix[row, min(place % period, -place % period)] += 2 * weight
    return matrix.float()


def downsampling(side: int) -> Tensor:
    """Back from twice the density, with `BORDER` more pixels on either side: float (side, 2 * (side + 2 BORDER)).

    The transpose of the filter that `upsampling` has. Without a map in between, the two give back each pixel.
    """
    matrix = torch.zeros(side, 2 * (side + 2 * BORDER), dtype=torch.float64)
    for pixel in range(side):
        for tap, weight in enumerate(_filter()):
            matrix[pixel, 2 * (pixel + BORDER) + tap - 5] = weight
    return matrix.float()


def _filter() -> list[float]:
    """sym6, so that it keeps the mean of what it averages: its numbers sum to 1."""
    return [value / sum(SYM6) for value in SYM6]


def places(maps: Tensor, filters: Sequence[Tensor]) -> Tensor:
    """Where each half pixel of the results is read, (N, H', W', 2) in [-1, 1] as `F.grid_sample` has it.

    In periods first: the image is the first half of one, and its centre a quarter on.
    """
    up_y, up_x, down_y, down_x = filters
    across, down = maps[:, 0] * 2 / (len(up_x) - 1), maps[:, 1] * 2 / (len(up_y) - 1)
    maps = torch.stack([across, down], 1)[:, None, None]
    at = maps[..., 0] * half_pixels(down_x)[:, None]
    at = at + (maps[..., 1] * half_pixels(down_y)[:, None, None] + (maps[..., 2] + 0.25))
    return (at - at.floor()).mul_(2).sub_(1)


def half_pixels(down: Tensor) -> Tensor:
    """Those that a filter brings back, in pixels from the centre of the image: it begins `BORDER` after the first."""
    count = down.shape[1]
    return (torch.arange(count, device=down.device, dtype=down.dtype) + (1 - count / 2)) / 2


def read(x: Tensor, maps: Tensor, filters: Sequence[Tensor]) -> Tensor:
    """Images (N, C, H, W) read at affine `maps` (N, 2, 3): see `ADA.resampled`."""
    up_y, up_x, down_y, down_x = filters
    dense = separable(x, up_y, up_x)
    dense = torch.ops.aten.grid_sampler_2d(dense, places(maps, filters), 0, 0, True)
    return separable(dense, down_y, down_x)


def spread(x: Tensor, maps: Tensor, filters: Sequence[Tensor]) -> Tensor:
    """The transpose of `read`, which is linear in the images: its gradient."""
    up_y, up_x, down_y, down_x = filters
    dense = separable(x, down_y.t(), down_x.t())
    # Of the image it reads the shape alone, but where a gradient of the grid is asked for.
    image = x.new_zeros(()).expand(*x.shape[:2], len(up_y), len(up_x))
    grid = places(maps, filters)
    dense = torch.ops.aten.grid_sampler_2d_backward(dense, image, grid, 0, 0, True, [True, False])[0]
    return separable(dense, up_y.t(), up_x.t())


def of_those_that_move(work: Callable[..., Tensor], x: Tensor, maps: Tensor, filters: list[Tensor]) -> Tensor:
    """`read` or `spread` on a CPU: in pieces, and of the images alone whose map is not the identity.

    Of the others both give what they are given.
    """
    still = torch.eye(2, 3, dtype=maps.dtype)
    moving = (maps != still).flatten(1).any(1).nonzero().squeeze(1)
    done = x.clone(memory_format=torch.contiguous_format)
    for some in moving.split(max(1, PIECE // (x.shape[1] * len(filters[0]) * len(filters[1])))):
        if len(some):
            done[some] = work(x[some], maps[some], filters)
    return done


if not hasattr(torch.ops.ganzoo_ada, "spread"):  # A notebook may load this file once more.
    _operators = torch.library.Library("ganzoo_ada", "DEF")
    for _work in (read, spread):
        # An operator of its own: how many images move follows from values, and a recording asks for fixed shapes.
        _operators.define(f"{_work.__name__}(Tensor x, Tensor maps, Tensor[] filters) -> Tensor")
        _operators.impl(_work.__name__, partial(of_those_that_move, _work), "CPU")
        _operators.impl(_work.__name__, _work, "CompositeExplicitAutograd")


class _Read(torch.autograd.Function):
    """`read`, in which maps and filters are constant.

    Of torch's own `grid_sample` the second derivative is missing in some versions. All is linear in x: its gradient
    spreads what it read, and the gradient of that reads again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, *filters: Tensor) -> Tensor:
        ctx.save_for_backward(maps, *filters)
        with exactly(x.device.type):
            moved: Tensor = torch.ops.ganzoo_ada.read(x, maps, filters)
        return moved

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _Spread.apply(grads[0], *ctx.saved_tensors), None, None, None, None, None


class _Spread(torch.autograd.Function):
    """`spread`, likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, *filters: Tensor) -> Tensor:
        ctx.save_for_backward(maps, *filters)
        with exactly(x.device.type):  # A penalty asks for gradients of images inside the run's half precision.
            given_back: Tensor = torch.ops.ganzoo_ada.spread(x, maps, filters)
        return given_back

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _Read.apply(grads[0], *ctx.saved_tensors), None, None, None, None, None


@ganzoo.hookimpl
def register_augmentations(register):
    register(ADA)
