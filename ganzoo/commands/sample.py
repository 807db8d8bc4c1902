"""`ganzoo sample RUN`."""

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.choices import parse_labels, parse_seeds, parse_values
from ganzoo.commands.options import Number, OfRun, RunPath, checkpoint_option, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ganzoo.runs.sampler import Sampler

MOST = 1_000_000
PLACES = 4
"""By which a walk leads, where nobody names seeds."""
SECONDS = 8.0
"""That a walk takes, unless asked."""


@click.command(name="sample", cls=OfRun, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=RunPath())
@click.option("--label", help="Classes, by number or name: 7, 0-9, or 3,7. Samples take them in turn.  [default: all]")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="An attribute of the condition.")
@click.option(
    "--from",
    "start",
    metavar="PICTURE|FOLDER|test",
    help="What to make images from, of a model that translates; test: the test split of its data set.",
)
@click.option(
    "-n", "n", type=click.IntRange(1, MOST), help="Number of images, in total.  [default: 64; all of a folder]"
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of the latents.  [default: 0]")
@click.option("--seeds", metavar="0-15", help="Several seeds: each draws each of the classes, a row of the grid.")
@click.option("--walk", is_flag=True, help="A film along a closed way through latents and classes, as --out names it.")
@click.option("--seconds", type=Number(0.1, 600), help="With --walk: how long it takes.  [default: 8]")
@click.option("--scale", type=click.IntRange(1, 16), help="Enlarge a grid or a film, pixel by pixel.")
@click.option("--grid", is_flag=True, help="Also write all images as one grid, beside an .npz or a folder.")
@checkpoint_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help=(
        "A .png (one grid); an .npz with `images`, uint8 (N, C, H, W), and `labels`; or a new folder of PNGs."
        "  [default: RUN/sample.png]"
    ),
)
@json_option
def command(
    run: Path, label: str | None, sets: tuple[str, ...], start: str | None, n: int | None, seed: int | None,
    seeds: str | None, walk: bool, seconds: float | None, scale: int | None, grid: bool, checkpoint: str | None,
    device: str, out: Path | None, as_json: bool, **sampling: Any,
) -> None:  # fmt: skip
    """Draw images from the averaged generator of RUN.

    An image-to-image model takes pictures of any size that its networks take, and gives them back in
    their own sizes, under their names; pictures of more than 512 x 512 pixels go through in overlapping tiles.

    A model may have options of drawing, such as a truncation: `ganzoo sample RUN --help` lists them.

    A walk leads through --seeds (by default four) and back, so that the film has no seam; with --label it leads through
    those classes too, without it each column stays in its class.

    \b
    ganzoo sample runs/mine                          a grid, one column per class
    ganzoo sample runs/mine --label 7 -n 16 -o sevens.png
    ganzoo sample runs/mine --label 3,7 -n 10000 -o digits.npz
    ganzoo sample runs/mine --label 0-9 -n 100 -o pictures/
    ganzoo sample runs/mine --label 4 --seeds 0-15 --scale 4 -o fours.png
    ganzoo sample runs/mine --walk -o walk.mp4
    ganzoo sample runs/edges --from drawings/ -o made/
    """
    from ganzoo.data import to_uint8
    from ganzoo.plugins import registry
    from ganzoo.runs.film import check_size
    from ganzoo.runs.hub import beside
    from ganzoo.runs.pictures import tiled
    from ganzoo.runs.sampler import load

    chosen = {name: value for name, value in sampling.items() if value is not None}
    several = parse_seeds(seeds) if seeds is not None else None
    _refuse_pairs(start, n, seed, several, walk, seconds, scale, grid, out)
    seed = seed or 0
    if start is not None:
        from ganzoo.runs.sources import TEST

        target = out or beside(run, "translated" if start == TEST or Path(start).is_dir() else "sample.png")
        _translate(run, start, target, label, sets, n, seed, grid, device, as_json, chosen, checkpoint)
        return
    if walk:
        from ganzoo.commands.walking import film
        from ganzoo.files import output

        target = output(out or beside(run, "walk.webp"))
        _tell(film(run, target, label, parse_values(sets), n, several or range(seed, seed + PLACES), seconds or SECONDS,
                   scale, checkpoint, device, chosen), as_json)  # fmt: skip
        return
    n, target = n or 64, out or beside(run, "sample.png")
    target = check_target(target, grid)
    sampler = load(run, device, registry().check(), checkpoint=checkpoint)
    if sampler.gan.translates:
        raise UsageError(f"model '{sampler.gan.name}' makes images from images: say --from PICTURE, FOLDER or test")
    for given, flag in ((grid, "--grid"), (scale is not None, "--scale")):
        if given and not sampler.data.is_images:
            raise UsageError(f"model '{sampler.gan.name}' makes vectors, and {flag} is for pictures: leave it out")
    labels = parse_labels(label, sampler.data.classes) if label is not None else None
    each = len(labels or sampler.data.classes or "1") if sampler.gan.conditional else 1
    count = n if several is None else each * len(several)
    classes = sampler.classes(count, labels)
    different = len(set(classes.tolist())) if classes is not None else 1
    columns = min(different if different > 1 else max(1, round(count**0.5)), 100)
    if sampler.data.is_images and (grid or target.suffix.lower() == ".png"):
        size = tiled(count, columns, *sampler.data.shape[1:])
        check_size(*size, scale or 1, "-n" if several is None else "--seeds")
    drawn = _drawn(sampler, classes, count, several or [seed], several is not None, parse_values(sets), chosen)
    told = {"seed": seed} if several is None else {"seeds": list(several)}
    if not sampler.data.is_images:
        written = write_vectors(drawn, classes, target)
        _tell(
            {"vectors": len(drawn), "shape": list(drawn.shape[1:]), **told, "files": list(map(str, written))}, as_json
        )
        return
    images = to_uint8(drawn)
    written = write(images, classes, target, columns, grid, sampler.data.classes, scale or 1)
    _tell({"images": len(images), "shape": list(images.shape[1:]), **told, "files": list(map(str, written))}, as_json)


def _drawn(
    sampler: "Sampler", classes: "Tensor | None", n: int, seeds: Sequence[int], by_seed: bool,
    values: Mapping[str, float], sampling: Mapping[str, Any],
) -> "Tensor":  # fmt: skip
    """`n` samples of the classes, of the first seed; or of each seed as many, all of the same latents."""
    import torch

    if not by_seed:
        return sampler.draw(n, classes, seeds[0], values, sampling).cpu()
    ones = [None] * n if classes is None else classes.split(1)
    drawn = [sampler.draw(1, one, seeds[i * len(seeds) // n], values, sampling) for i, one in enumerate(ones)]
    return torch.cat(drawn).cpu()


def _refuse_pairs(
    start: str | None, n: int | None, seed: int | None, seeds: Sequence[int] | None, walk: bool, seconds: float | None,
    scale: int | None, grid: bool, out: Path | None,
) -> None:  # fmt: skip
    """Options that mean nothing together."""
    for given, name in ((walk, "--walk"), (seeds is not None, "--seeds"), (scale is not None, "--scale")):
        if given and start is not None:
            raise UsageError(f"{name} is for drawing without sources: leave it out beside --from")
    if seconds is not None and not walk:
        raise UsageError("--seconds is how long a walk takes: add --walk, or leave it out")
    if seed is not None and seeds is not None:
        raise UsageError("--seeds says which seeds: leave out --seed")
    if seeds is not None and n is not None and not walk:
        raise UsageError("--seeds draws each class once with each seed: leave out -n")
    if walk and grid:
        raise UsageError("a walk is a grid already: leave out --grid")
    if scale is not None and not walk and not grid and out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--scale enlarges a grid, and {out} is none: name a .png, or add --grid")


def _tell(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(result)
    else:
        for path in result["files"]:
            click.echo(path)


def _translate(
    run: Path, start: str, target: Path, label: str | None, sets: tuple[str, ...], n: int | None, seed: int,
    grid: bool, device: str, as_json: bool, sampling: Mapping[str, Any], checkpoint: str | None,
) -> None:  # fmt: skip
    """`--from`: as samples are written; in a folder, under the names that the pictures have."""
    from functools import partial

    import torch

    from ganzoo.plugins import registry
    from ganzoo.runs.sampler import load
    from ganzoo.runs.sources import TEST, sources_of
    from ganzoo.runs.tiles import made_of

    target = check_target(target, grid, [] if start == TEST else [Path(start)])
    plugins = registry().check()
    sampler = load(run, device, plugins, checkpoint=checkpoint)
    shape = sampler.data.source_shape
    if shape is None:
        raise UsageError(f"model '{sampler.gan.name}' does not make images from images: leave out --from")
    most = n or (64 if start == TEST else None)
    sources = sources_of(start, run, sampler.data, plugins, most, sampler.takes_any_size)
    together = bool(target.suffix and (len(sources) > 1 or target.suffix.lower() == ".npz"))
    if not sources.alike and (together or grid):
        raise UsageError(f"pictures of different sizes make no grid and no array: name a folder, not {target}")
    classes = sources.labels if label is None and sampler.gan.conditional else None
    if classes is None:
        chosen = parse_labels(label, sampler.data.classes) if label is not None else None
        classes = sampler.classes(len(sources), chosen)
    values, shapes = parse_values(sets), set[tuple[int, ...]]()

    def made() -> Iterator[torch.Tensor]:
        done = 0
        for number, images in enumerate(sources.parts()):
            c = None if classes is None else classes[done : done + len(images)]
            done += len(images)
            translate = partial(sampler.translate_part, seed=seed, number=number, values=values, sampling=sampling)
            found = made_of(images, c, translate, max(shape[1:]))
            shapes.add(tuple(found.shape[1:]))
            yield from found

    if together:
        files = write(torch.stack(list(made())), classes, target, max(1, round(len(sources) ** 0.5)), grid)
    else:
        kept: list[torch.Tensor] = []
        names = [f"{name}.png" for name in sources.names]
        files = write_each(made() if not grid else _keeping(made(), kept), names, target)
        if kept and not target.suffix:
            files += write(torch.stack(kept), None, _beside(target), max(1, round(len(kept) ** 0.5)), grid=False)
    shown = list(shapes.pop()) if len(shapes) == 1 else None
    result = {"images": len(sources), "shape": shown, "seed": seed, "files": [str(p) for p in files]}
    if as_json:
        echo_json(result)
    else:
        for path in [target] if len(files) >= len(sources) > 1 and not target.suffix else files:
            click.echo(path)


def _keeping(images: "Iterable[Tensor]", kept: "list[Tensor]") -> "Iterator[Tensor]":
    """The images, each of which is kept as well."""
    for image in images:
        kept.append(image)
        yield image


def write_each(images: "Iterable[Tensor]", names: list[str], target: Path) -> list[Path]:
    """Write uint8 images (C, H, W) one by one under `names` in a new folder, or the only one as the picture `target`.

    The folder takes its name when it is complete: nothing is left of one that could not be.

    Returns:
        The files.

    Raises:
        GanzooError: the disk would not take them.
    """
    from tqdm import tqdm

    from ganzoo.runs.pictures import picture_of, save_png

    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix:
            save_png(target, picture_of(next(iter(images))))
            return [target]
        part.mkdir()
        bar = tqdm(images, total=len(names), unit=" images", leave=False, disable=None, delay=2)
        for name, image in zip(names, bar, strict=True):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            save_png(part / name, picture_of(image))
        if target.is_dir():
            target.rmdir()
        part.replace(target)
    except OSError as error:
        raise GanzooError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [target / name for name in names]


def check_target(target: Path, grid: bool, sources: Sequence[Path] = ()) -> Path:
    """Check that images can go to `target`, before any is drawn.

    Returns:
        The place to write to, as `ganzoo.files.output`.

    Raises:
        UsageError, GanzooError: a name of no known form, a folder that is not empty, a grid in the place of another
            picture; or as `ganzoo.files.output`.
    """
    from ganzoo.files import output, refuse_within

    kind = target.suffix.lower()
    if kind not in (".png", ".npz", ""):
        raise UsageError(f"{target}: end the name in .png or .npz, or name a folder")
    if not kind and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already and is not an empty folder")
    if kind != ".png" and grid and (beside := _beside(target)).exists():
        raise UsageError(f"{beside} exists already, and the grid would replace it: remove it, or choose another --out")
    if kind:
        return output(target, inputs=sources)
    for source in sources:
        refuse_within(source, target)
    return target


def _beside(target: Path) -> Path:
    """Where the grid of an .npz or of a folder goes: not in it, for a folder holds images of one size."""
    named = target if target.name else target.absolute()  # `.` has no name of its own.
    return named.with_suffix(".png") if named.suffix else named.with_name(f"{named.name}.png")


def write(images, classes, target: Path, columns: int, grid: bool, known=(), scale=1) -> list[Path]:  # type: ignore[no-untyped-def]
    """Write uint8 images (N, C, H, W) in the form that the target's name asks for; returns what was written.

    `scale` enlarges a grid.

    A grid whose columns show a class each has their names, of those that are `known`.
    """

    from ganzoo.runs.film import enlarged
    from ganzoo.runs.pictures import column_classes, headed, picture_of, save_png, tile, titles

    def sheet() -> "np.ndarray":
        shown = column_classes(classes, columns) if known else []
        return headed(enlarged(tile(images, columns), scale), titles(shown, known), 2 * scale)

    names = classes.tolist() if classes is not None else None
    kind = target.suffix.lower()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            save_png(target, sheet())
            return [target]
        if kind == ".npz":
            arrays = {"images": images.numpy()} | ({"labels": classes.numpy()} if classes is not None else {})
            _save_arrays(target, arrays)
        else:
            target.mkdir(exist_ok=True)
            paths = [
                target / (f"{i:06d}.png" if names is None else f"{i:06d}-{names[i]}.png") for i in range(len(images))
            ]
            try:
                for path, image in zip(paths, images, strict=True):
                    save_png(path, picture_of(image))
            except BaseException:  # It was empty: what was begun would stand in the way of the next attempt.
                for path in paths:
                    path.unlink(missing_ok=True)
                target.rmdir()
                raise
        if not grid:
            return [target]
        save_png(_beside(target), sheet())
        return [target, _beside(target)]
    except OSError as error:
        raise GanzooError(f"cannot write {target}: {error.strerror or error}") from error


def write_vectors(vectors, classes, target: Path) -> list[Path]:  # type: ignore[no-untyped-def]
    """Write float vectors (N, D): a .png shows the first two numbers of each, an .npz holds all as `vectors`.

    Raises:
        UsageError: a folder is asked for.
    """
    import torch

    from ganzoo.runs.pictures import frame_of, save_png, scatter

    kind = target.suffix.lower()
    if not kind:
        raise UsageError(
            f"{target}: the model makes vectors, not pictures: end the name in .npz, or in .png for a plot"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            corners = torch.ones(2, vectors.shape[1]) * torch.tensor([[-1.0], [1.0]])  # Where data is to lie.
            save_png(target, scatter({"samples": vectors}, frame_of(torch.cat([vectors.cpu(), corners]))))
        else:
            labels = {"labels": classes.numpy()} if classes is not None else {}
            _save_arrays(target, {"vectors": vectors.numpy(), **labels})
        return [target]
    except OSError as error:
        raise GanzooError(f"cannot write {target}: {error.strerror or error}") from error


def _save_arrays(target: Path, arrays: Mapping[str, "np.ndarray"]) -> None:
    """As `numpy.savez`. Before numpy 2, that left an archive open where the disk was full, which prints a traceback."""
    import numpy as np

    from ganzoo.files import whole

    with whole(target) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
