"""Pictures: image grids and the loss plot."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganzoo.files import whole


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


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) or (H, W) as PNG, whole or not at all."""
    with whole(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def picture_of(image: Tensor) -> np.ndarray:
    """One uint8 image (C, H, W) as (H, W) when grey, (H, W, 3) when in colour."""
    return image[0].cpu().numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).cpu().numpy()


def plot_losses(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Losses above, scores below, against the step: a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(2, 1, sharex=True)
    steps = [line["step"] for line in history]
    names = dict.fromkeys(name for line in history for name in line)
    for name in names:
        axis = losses if name.endswith("_loss") else scores if name.startswith("D(") else None
        if axis is not None:
            found = [line.get(name) for line in history]
            values = [value if isinstance(value, int | float) else float("nan") for value in found]
            axis.plot(steps, values, label=LABELS.get(name, name), linewidth=1.2)
    for axis, title in ((losses, "loss"), (scores, "mean score")):
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(loc="best", fontsize="small")
    scores.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with whole(path) as file:
        file.write(buffer.getvalue())


LABELS = {
    "discriminator_loss": "D loss",
    "generator_loss": "G loss",
    "D(G(z)) after": "D(G(z)) after D's step",
}
"""What people call the logged values."""
