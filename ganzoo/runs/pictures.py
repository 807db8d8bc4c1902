"""Pictures: image grids and the loss plot."""

import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganzoo.errors import plain
from ganzoo.files import whole

SMALLEST, LARGEST = 10, 20
"""Pixels of the letters above a grid."""
MESH = 64
"""Places on each side of the plane at which the discriminator is asked."""
LONGEST = 8
"""Of a name that stands upright, in heights of its letters."""


def tiled(n: int, columns: int, height: int, width: int, gap: int = 2) -> tuple[int, int]:
    """Height and width of what `tile` makes of so many images of such sides."""
    return -(-n // columns) * (height + gap) + gap, columns * (width + gap) + gap


def tile(images: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """uint8 images (N, C, H, W), C 1 or 3, filled row by row into one picture: uint8 (height, width, 3)."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    sheet = torch.zeros(rows * columns, 3, h + gap, w + gap, dtype=torch.uint8)
    sheet[:n, :, :h, :w] = images.cpu().expand(n, 3, h, w) if c == 1 else images.cpu()
    picture = sheet.view(rows, columns, 3, h + gap, w + gap).permute(0, 3, 1, 4, 2).reshape(rows * (h + gap), -1, 3)
    framed = np.zeros((picture.shape[0] + gap, picture.shape[1] + gap, 3), np.uint8)
    framed[gap:, gap:] = picture.numpy()
    return framed


def table(columns: Mapping[str, Tensor], across: bool = False) -> np.ndarray:
    """uint8 images (N, C, H, W) by name as one picture: a row for each of the N, a column for each name, in order.

    `across` gives each name a row instead. Sizes may differ: smaller images are enlarged to the largest, pixel by
    pixel where it is a whole multiple.
    """
    height, width = (max(images.shape[side] for images in columns.values()) for side in (2, 3))
    cells = []
    for images in columns.values():
        if images.shape[2:] != (height, width):
            images = torch.nn.functional.interpolate(images, (height, width), mode="nearest")
        cells.append(images.cpu().expand(-1, 3, -1, -1))
    sheet = torch.stack(cells, dim=0 if across else 1)
    return tile(sheet.flatten(0, 1), sheet.shape[1])


def headed_table(columns: Mapping[str, Tensor]) -> np.ndarray:
    """A `table` with a column for each name, beneath the names; by number where the font has no such letters."""
    return headed(table(columns), [_spelt(name) or f"#{i}" for i, name in enumerate(columns)])


def below(above: np.ndarray, beneath: np.ndarray) -> np.ndarray:
    """One picture (height, width, 3) beneath the other, the narrower one black at its right."""
    width = max(above.shape[1], beneath.shape[1])
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in (above, beneath)])


def column_classes(classes: Tensor | None, columns: int) -> list[int]:
    """The class of each column of a grid of samples of `classes`, int64 (N,), filled row by row.

    Empty where there is none to say: a column shows several, or all show the same one.
    """
    if classes is None:
        return []
    kinds = [set(classes[column::columns].tolist()) for column in range(columns)]
    found = [kind.pop() for kind in kinds if len(kind) == 1]
    return found if len(found) == columns and len(set(found)) > 1 else []


def titles(classes: Sequence[int], names: Sequence[str]) -> list[str]:
    """What columns of these classes are called: by name, without accents, or by number where that is not ASCII, since
    Pillow's own font has no other letters."""
    return [_spelt(names[k]) or f"#{k}" for k in classes]


def _spelt(name: str) -> str:
    """A name without accents; empty where the font does not have its letters."""
    letters = unicodedata.normalize("NFKD", plain(name))
    found = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return found if found.isascii() else ""


def headed(grid: np.ndarray, names: Sequence[str], gap: int = 2) -> np.ndarray:
    """A grid of `tile` beneath the names of its columns.

    Where one is wider than a column, all are turned upright, and those that are still too long end in an ellipsis.
    Columns too narrow even for that have no names.
    """
    if not names:
        return grid
    width = (grid.shape[1] - gap) // len(names)
    size = min(max(SMALLEST, width // 6), LARGEST)
    font = ImageFont.load_default(size)
    turned = any(font.getlength(name) > width - gap for name in names)
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else size
    if turned and line > width:
        return grid
    texts = [_shortened(name, font, LONGEST * size) if turned else name for name in names]
    height = max(math.ceil(font.getlength(text)) for text in texts) if turned else line
    strip = Image.new("L", (grid.shape[1], height + 2 * gap))
    for i, text in enumerate(texts):
        length = math.ceil(font.getlength(text))
        word = Image.new("L", (max(length, 1), line))
        ImageDraw.Draw(word).text((0, 0), text, fill=255, font=font)
        if turned:
            word = word.transpose(Image.Transpose.ROTATE_90)
        left = gap + i * width + (width - gap - word.width) // 2
        strip.paste(word, (left, gap + height - word.height))
    return np.concatenate([np.asarray(strip)[..., None].repeat(3, axis=2), grid])


def _shortened(name: str, font: Any, most: float) -> str:
    """The name, or its beginning and an ellipsis, no wider than `most` pixels."""
    if font.getlength(name) <= most:
        return name
    kept = next(n for n in range(len(name), -1, -1) if font.getlength(f"{name[:n]}…") <= most)
    return f"{name[:kept].rstrip()}…"


class Frame(NamedTuple):
    """The part of the plane that a picture of points shows: its lower left corner, and its upper right one."""

    low: list[float]
    high: list[float]

    def mesh(self) -> Tensor:
        """Points that fill it row by row from below, float (MESH * MESH, 2)."""
        x, y = (torch.linspace(low, high, MESH) for low, high in zip(self.low[:2], self.high[:2], strict=True))
        return torch.cartesian_prod(y, x).flip(1)


class Field(NamedTuple):
    """What two players say of the plane."""

    surface: Tensor
    """The discriminator's scores at `Frame.mesh`, float (MESH * MESH,)."""
    at: Tensor
    """Samples, float (N, 2)."""
    pull: Tensor | None
    """Down which way the generator's loss pulls each of these, float (N, 2); None where nobody knows."""


def frame_of(points: Tensor) -> Frame:
    """The frame of a picture of vectors (N, D) and what is near them."""
    least, most = points.float().cpu().amin(0), points.float().cpu().amax(0)
    margin = (0.25 * (most - least)).clamp(min=0.1)
    return Frame((least - margin).tolist(), (most + margin).tolist())


def scatter(groups: Mapping[str, Tensor], frame: Frame | None = None, field: Field | None = None) -> np.ndarray:
    """The first two numbers of vectors (N, D) as points, the first group beneath: uint8 (height, width, 3).

    The first group, which is data, sets the frame unless there is one, so that pictures of one run can be compared.
    Vectors of one number are drawn as histograms. A `field` shades the plane, and points with arrows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axis = figure.subplots()
    low, high = frame or frame_of(next(iter(groups.values())))
    axis.set_xlim(low[0], high[0])
    flat = len(low) == 1
    if not flat:
        axis.set_ylim(low[1], high[1])
    for i, (name, vectors) in enumerate(groups.items()):
        columns = vectors.float().cpu().numpy().T
        if flat:
            axis.hist(columns[0], bins=50, range=(low[0], high[0]), density=True, alpha=0.6, label=name)
        else:
            axis.scatter(columns[0], columns[1], s=6, alpha=0.6, linewidths=0, label=name, zorder=i)
    if field is not None:
        extent = (low[0], high[0], low[1], high[1])
        values = field.surface.float().cpu().view(MESH, MESH).numpy()
        axis.imshow(values, origin="lower", extent=extent, aspect="auto", cmap="Greys", alpha=0.5, zorder=-1)
        if field.pull is not None:
            (x, y), (u, v) = field.at.float().cpu().numpy().T, _arrows(field.pull, high[0] - low[0]).numpy().T
            axis.quiver(x, y, u, v, angles="xy", scale_units="xy", scale=1, width=0.003, color="tab:red", zorder=9)
    axis.legend(loc="upper right", fontsize="small")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _arrows(pull: Tensor, width: float) -> Tensor:
    """Gradients as arrows: the median is a twentieth of the picture's width, none longer than three times that."""
    pull = pull.float().cpu()
    lengths = pull.norm(dim=1, keepdim=True)
    shown = 0.05 * width * (lengths / lengths.median().clamp(min=1e-12)).clamp(max=3)
    return pull / lengths.clamp(min=1e-12) * shown


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) or (H, W) as PNG, whole or not at all."""
    with whole(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def picture_of(image: Tensor) -> np.ndarray:
    """One uint8 image (C, H, W) as (H, W) when grey, (H, W, 3) when in colour."""
    return image[0].cpu().numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).cpu().numpy()


def plot_losses(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Losses above, scores below, against the step: a PNG."""
    names = dict.fromkeys(name for line in history for name in line)
    curves = []
    for name in names:
        if name.endswith("_loss") or name.startswith("D("):
            # What only some lines tell is joined over the others.
            told = [(line["step"], line[name]) for line in history if name in line]
            points = ((step, value if isinstance(value, int | float) else float("nan")) for step, value in told)
            curves.append((name, tuple(points)))
    picture = drawn(tuple(curves))
    with whole(path) as file:
        file.write(picture)


def drawn(curves: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]) -> bytes:
    """The PNG of curves: each the name of a loss or a score, and its points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    losses, scores = figure.subplots(2, 1, sharex=True)
    for name, points in curves:
        axis = losses if name.endswith("_loss") else scores
        axis.plot(*zip(*points, strict=True), label=LABELS.get(name, name), linewidth=1.2)
    for axis, title in ((losses, "loss"), (scores, "mean score")):
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(loc="best", fontsize="small")
    scores.set_xlabel("step")
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # `savefig` would draw it twice.
    return buffer.getvalue()


LABELS = {
    "discriminator_loss": "D loss",
    "generator_loss": "G loss",
    "D(G(z)) after": "D(G(z)) after D's step",
}
"""What people call the logged values."""
