"""What every model draws of the same latents and labels, and what is taken for what."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganzoo.data import to_uint8
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import number, regular
from ganzoo.plugins import Registry
from ganzoo.report.lines import Line, drawn
from ganzoo.report.read import RunRecord, listed, step_at
from ganzoo.runs.folder import grids_of
from ganzoo.runs.grids import SHOWCASE_SEED
from ganzoo.runs.parts import in_parts
from ganzoo.runs.pictures import Frame, frame_of, scatter, tile
from ganzoo.runs.sampler import load
from ganzoo.sampling import drawing
from ganzoo.training.draws import own_draws

COLUMNS, ROWS = 6, 10
LOSSLESS = 48
"""Images with sides up to this are kept as PNG; larger ones as WebP, a tenth of the size."""
WIDEST = 1020
"""Pixels of a grid's width: three for each that a page shows."""
ALL_PICTURES, LARGEST_PICTURE = 5_000_000, 800_000
"""Characters of all pictures of one kind in a page, and of one: a page of fifty lines can still be sent by mail."""

FRAMES, GROWING, GROWTH = 8, 40, 1_000_000
"""Steps and lines of which grids are shown as they grew, and characters of all of them."""
LARGEST_GRID, MOST_PIXELS = 2**23, 2**24
"""Bytes and pixels of a grid beyond which it is not looked at."""


class Samples(NamedTuple):
    """A grid, or the reason why there is none."""

    source: str
    width: int
    height: int
    alt: str
    error: str = ""
    classes: bool = False
    """Whether its rows are classes."""
    held_out: bool = False
    """Whether it is of held-out images and what is made of them."""
    points: Tensor | None = None
    """Vectors of which a picture is to be drawn, in one frame with those of others: `framed`."""


def share(lines: int) -> int:
    """How many characters each of so many lines may take for its picture."""
    return min(LARGEST_PICTURE, ALL_PICTURES // max(lines, 1))


def samples(run: RunRecord, plugins: Registry, most: int = LARGEST_PICTURE) -> Samples:
    """One row for each class (at most ten), one column for each latent: the same latents in every row and model.

    Latents come from one seed, so that models with latents of one size and kind get the same numbers. The picture
    takes at most `most` characters.
    """
    try:
        refuse_another(run, plugins)
        if plugins.get("models", run.model).translates:
            return translated(run, most)
        sampler = load(run.folder, "cpu", plugins, checkpoint=run.checkpoint)
        gan = drawing(sampler.gan, (run.protocol or {}).get("sampling") or {})  # As it was measured.
        data = sampler.data
        classes = list(data.classes[:ROWS]) if gan.conditional else []
        with torch.no_grad(), own_draws(gan, SHOWCASE_SEED):
            if classes:
                z = gan.sample_latent(COLUMNS)
                z = z.repeat(len(classes), *[1] * (z.ndim - 1))
                y = data.condition(torch.arange(len(classes)).repeat_interleave(COLUMNS))
            else:
                z = gan.sample_latent(COLUMNS * ROWS)
                y = gan.sample_labels(COLUMNS * ROWS)
            images = in_parts(gan, z, y)
    except GanzooError as error:
        return Samples("", 0, 0, "", one_line(error))
    except Exception as error:  # A plugin's own.
        return Samples("", 0, 0, "", f"model '{run.model}' could not draw: {one_line(error)}")
    if not data.is_images:
        alt = f"the first two numbers of {len(images)} samples of {run.model}, seed {run.seed}"
        return Samples("", 0, 0, alt, points=images.float().cpu())
    picture = tile(to_uint8(images), COLUMNS)
    of = f"rows are the classes {', '.join(classes)}" if classes else "drawn without labels"
    alt = f"{len(images)} samples of {run.model}, seed {run.seed}; {of}"
    small = max(images.shape[-2:]) <= LOSSLESS
    return Samples(data_uri(picture, small, most), picture.shape[1], picture.shape[0], alt, classes=bool(classes))


def translated(run: RunRecord, most: int) -> Samples:
    """The last grid of held-out images and what the model made of them while it trained.

    Raises:
        UsageError: there is none, or none of the checkpoint that is shown.
    """
    grids = grids_of(run.folder)
    step = max(grids, default=None)
    if run.checkpoint not in (None, "last"):
        step = step_at(run.folder, run.checkpoint)
    picture = pixels(grids.get(step)) if step is not None else None
    if picture is None:
        at = "" if run.checkpoint is None else f" at checkpoint '{run.checkpoint}'"
        raise UsageError(f"there is no grid of what it made of held-out images{at} in its samples/")
    alt = f"held-out images and what {run.model}, seed {run.seed}, makes of them at step {step:,}"
    source = data_uri(picture, max(picture.shape[:2]) <= WIDEST, most)
    return Samples(source, picture.shape[1], picture.shape[0], alt, held_out=True)


def framed(pictures: Sequence[Samples], most: int) -> list[Samples]:
    """The same with pictures of all points, those of vectors of one length in one frame."""
    drawn: list[Samples] = []
    frames: dict[int, Frame] = {}
    points = [p.points for p in pictures if p.points is not None]
    for size in {vectors.shape[1] for vectors in points}:
        frames[size] = frame_of(torch.cat([vectors for vectors in points if vectors.shape[1] == size]))
    for one in pictures:
        if one.points is not None:
            picture = scatter({"samples": one.points}, frames[one.points.shape[1]])
            height, width = picture.shape[:2]
            one = one._replace(source=data_uri(picture, True, most), width=width, height=height)
        drawn.append(one)
    return drawn


def refuse_another(run: RunRecord, plugins: Registry) -> None:
    """Say so where another package has a model of that name here: its pictures would be another's.

    Raises:
        UsageError: it has.
    """
    if run.model in plugins.names("models"):
        here = plugins.provider("models", run.model).package
        if run.package is not None and run.package != here:
            raise UsageError(f"its model is of package '{run.package}', and '{run.model}' is one of '{here}' here")


def data_uri(picture: np.ndarray, lossless: bool, most: int) -> str:
    """A picture as text of at most `most` characters that a page can hold: as it is, or worse, or smaller."""
    image = Image.fromarray(picture)
    if picture.ndim == 3 and bool((picture[..., :1] == picture).all()):
        image = image.convert("L")
    if lossless and len(text := _encoded(image, "PNG")) <= most:
        return text
    image.thumbnail((WIDEST, 4 * WIDEST))
    quality = 88
    while len(text := _encoded(image, "WEBP", quality=quality)) > most and min(image.size) > 1:
        if quality > 70:
            quality = 70
        else:
            by = min(0.9, 0.95 * (most / len(text)) ** 0.5)
            image = image.resize((max(1, int(image.width * by)), max(1, int(image.height * by))))
    return text


def _encoded(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def growth(lines: Sequence[Line]) -> dict[str, Any] | None:
    """The grids that runs drew while they trained, at steps at which all of them did, or else half.

    Returns `steps`, the place of the last one at which the most lines drew (`begin`) and, by line, `name`, `sources`,
    text or None for each step, and the step at which it `ended`; None where there are no two steps.
    """
    grids = [(line, grids_of(drawn(line).folder)) for line in lines]
    grids = [(line, found) for line, found in grids if found][:GROWING]
    steps = sorted({step for _, found in grids for step in found})
    drew = {step: sum(step in found for _, found in grids) for step in steps}
    shared = ([step for step in steps if drew[step] >= fewest] for fewest in (len(grids), len(grids) / 2))
    steps = spread_out(next((some for some in shared if len(some) > 1), steps))
    if len(steps) < 2:
        return None
    most = min(LARGEST_PICTURE, GROWTH // (len(steps) * len(grids)))
    told: list[dict[str, Any]] = [
        {
            "name": line.name,
            "sources": [frame(found.get(s), most) for s in steps],
            "ended": number(drawn(line).status.get("step")),
        }
        for line, found in grids
    ]
    have = [sum(line["sources"][i] is not None for line in told) for i in range(len(steps))]
    return {"steps": steps, "lines": told, "begin": max(i for i, count in enumerate(have) if count == max(have))}


def spread_out(steps: Sequence[int]) -> list[int]:
    """At most `FRAMES` of the steps, the first and the last among them."""
    if len(steps) <= FRAMES:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (FRAMES - 1))] for i in range(FRAMES)]


def frame(path: Path | None, most: int) -> str | None:
    """A grid as text of at most `most` characters; None where there is none, or no picture that can be believed."""
    picture = pixels(path)
    return None if picture is None else data_uri(picture, max(picture.shape[:2]) <= WIDEST, most)


def pixels(path: Path | None) -> np.ndarray | None:
    """A grid, uint8 (H, W, 3); None where there is none, or no picture that can be believed."""
    if path is None:
        return None
    try:
        with regular(path) as file:
            content = file.read(LARGEST_GRID + 1)
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        if len(content) > LARGEST_GRID or image.width * image.height > MOST_PIXELS:
            return None
        return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


class Confusion(NamedTuple):
    """Shares in percent, row the class that was meant, column the class that is seen; the worst of them in words."""

    names: list[str]
    shares: list[list[float]]
    worst: str
    picture: str
    """For more classes than a table can show."""


TABLE = 20


def confusion(line: Line, most: int = LARGEST_PICTURE) -> Confusion | None:
    """The confusion of a line's runs together, if they were measured with labels; a picture takes `most` characters."""
    tables = [t for run in line.runs if (t := counts(run)) is not None]
    if not tables or any(t.shape != tables[0].shape for t in tables):
        return None
    total = np.sum(tables, axis=0)
    shares = 100 * total / np.maximum(total.sum(1, keepdims=True), 1)
    names = class_names(line.runs[0], len(shares))
    wrong = shares - np.diag(np.diag(shares))
    order = np.argsort(-wrong, axis=None)[:3]
    pairs = [divmod(int(i), len(shares)) for i in order]
    worst = ", ".join(f"{names[r]} taken for {names[c]} ({wrong[r, c]:.1f} %)" for r, c in pairs if wrong[r, c] > 0)
    picture = ""
    if len(names) > TABLE:
        scale = max(1, 400 // len(names))
        grey = (255 - 2.55 * shares).round().astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        picture = data_uri(grey, True, most)
    return Confusion(names, shares.round(1).tolist(), worst or "nothing is taken for anything else", picture)


def counts(run: RunRecord) -> np.ndarray | None:
    """The confusion that was counted, (K, K); None if there is none or it is no such thing."""
    rows: Sequence[Any] = listed((run.result or {}).get("confusion"))
    if not rows or any(not isinstance(r, list) or len(r) != len(rows) for r in rows):
        return None
    values = [[number(v) for v in row] for row in rows]
    if any(v is None or v < 0 for row in values for v in row):
        return None
    return np.array(values, dtype=float)


def class_names(run: RunRecord, n: int) -> list[str]:
    """The names of the classes, or their numbers."""
    data = run.info.get("data")
    names = listed(data.get("classes")) if isinstance(data, dict) else []
    return [str(name) for name in names] if len(names) == n else [str(i) for i in range(n)]
