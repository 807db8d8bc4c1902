"""`ganzoo sample RUN --walk`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import UsageError

FPS = 24
ROWS, IMAGES, COLUMNS = 4, 16, 12
"""In a frame, unless asked: rows of a grid with a column for each class, images without classes, and most columns."""


def film(
    run: Path, target: Path, label: str | None, values: Mapping[str, float], n: int | None, seeds: Sequence[int],
    seconds: float, scale: int | None, checkpoint: str | None, device: str, sampling: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Write the film; returns what is told of it.

    Raises:
        UsageError, GanzooError: as `check_film`, `check_size`, `walk` and `write_film`.
    """
    from tqdm import tqdm

    from ganzoo.commands.choices import parse_labels
    from ganzoo.plugins import registry
    from ganzoo.runs.film import check_film, check_size, enlarged, enlarging, write_film
    from ganzoo.runs.pictures import column_classes, headed, tile, tiled, titles
    from ganzoo.runs.sampler import load
    from ganzoo.runs.walk import walk

    frames = max(2, round(seconds * FPS))
    check_film(target, frames, FPS)
    sampler = load(run, device, registry().check(), checkpoint=checkpoint)
    names = sampler.data.classes if sampler.gan.conditional else ()
    through = parse_labels(label, names) if label is not None else None
    if through is not None and not through:
        raise UsageError("no label was given")
    columns = min(len(names), COLUMNS) if names and through is None else 0
    n = n or (ROWS * columns if columns else IMAGES)
    if through is None:
        classes = [sampler.classes(n, list(range(columns)) if columns else None)]
    else:
        classes = [sampler.classes(n, [one]) for one in through]
    columns = min(columns, n) or max(1, round(n**0.5))
    if sampler.data.is_images:
        height, width = tiled(n, columns, *sampler.data.shape[1:])
        check_size(height, width, scale or enlarging(height), "-n")
    heads = titles(column_classes(classes[0], columns), names) if through is None else []

    def shown():  # type: ignore[no-untyped-def]
        for images in walk(sampler, n, classes, seeds, frames, values, sampling):
            grid = tile(images, columns)
            times = scale or enlarging(grid.shape[0])
            yield headed(enlarged(grid, times), heads, 2 * times)

    bar = tqdm(shown(), total=frames, unit=" frames", leave=False, disable=None, delay=2)
    written = write_film(target, bar, FPS)
    return {"images": n, "frames": written, "seconds": written / FPS, "seeds": list(seeds), "files": [str(target)]}
