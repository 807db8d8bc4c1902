"""`ganzoo data inspect` and `ganzoo data convert`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import OfData, data_given, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError, plain, warn

SHOWN = 40
"""Classes, groups and files that are shown; JSON has more of them."""
COLUMNS, ROWS = 20, 8
MOST_ROWS = 50
"""Classes of which samples are shown."""
DECODING = ("channels", "background", "white")
"""Options that say how pictures are decoded."""
UNEVEN = 10
"""Times that the largest class is the smallest, from which on `--balance` is mentioned."""


class OfFolder(OfData):
    """A command on pictures, with the options of the data set that reads them."""

    def data_set(self, values: dict[str, Any]) -> str:
        return "folder"


@click.group(name="data", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Your own pictures: what is in a folder, zip, tar or .npz, and the same in another layout.

    \b
    ganzoo data inspect pets                what is there, and what a run would do with it
    ganzoo data inspect pets -o pets.png    samples by class
    ganzoo data convert pets pets.zip       a StyleGAN-style zip
    """


@command.command(name="inspect", cls=OfFolder)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--image-size", type=click.IntRange(8, 1024), help="As a run is to be told; default: the data's own.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="As a run is to be told; default: the data's own.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A .png to write: samples, a row for each class.")
@json_option
def inspect(
    path: Path, image_size: int | None, channels: str | None, out: Path | None, as_json: bool, **values: Any
) -> None:
    """Say what is there: format, sizes, colour, classes, duplicates, broken files; and what a run would do with it.

    Nothing is changed. The options are those of `--dataset folder`.
    """
    from ganzoo.data import choose_options
    from ganzoo.data.imagefiles import Rule
    from ganzoo.data.inspection import inspected
    from ganzoo.files import output

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: name a .png to write")
    out = output(out, inputs=[path]) if out is not None else None
    source, own = _folder(), data_given(values)
    options = choose_options(source, own)
    found = source.pictures(path, options)
    one_kind = found.partners is None and found.others is None
    try:
        splits = source.splits(found, options) if one_kind else None
    except UsageError:  # Such as a run is refused for.
        splits = None
    report = {"path": str(path), **inspected(found.all_of_them(), Rule(options.background, options.white), splits)}
    report["run"], data = _run(source, path, own, image_size, int(channels) if channels else None)
    if as_json:
        echo_json(report)
    else:
        _show(report)
    if out is not None:
        if data is None:
            raise UsageError(f"--out {out}: there are no samples to show: {report['run']['refused']}")
        _grid(data, out)
        if not as_json:
            click.echo(out)


@command.command(name="convert", cls=OfFolder)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--image-size", type=click.IntRange(8, 1024), help="Side of square PNGs to make; default: files as they are."
)
@click.option("--channels", type=click.Choice(["1", "3"]), help="With --image-size: grey or colour.  [default: 3]")
@json_option
def convert(path: Path, out: Path, image_size: int | None, channels: str | None, as_json: bool, **values: Any) -> None:
    """Write pictures in another layout: OUT.zip as StyleGAN has it, or a new folder OUT, a folder for each class.

    Files are copied as they are stored, unless --image-size asks for another size: programs of StyleGAN's kind take
    square pictures of one size. The options are those of `--dataset folder`.
    """
    from ganzoo.data import choose_options
    from ganzoo.data.imagefiles import ImageFiles, Rule, broken_files
    from ganzoo.data.inspection import class_folders, counts
    from ganzoo.data.inspection import convert as write
    from ganzoo.data.tree import some
    from ganzoo.errors import note_once
    from ganzoo.files import refuse_within

    source, own = _folder(), data_given(values)
    decoding = [f"--{name}" for name, value in (("channels", channels), *own.items()) if name in DECODING and value]
    if decoding and image_size is None:
        raise UsageError(f"{decoding[0]} goes with --image-size: without it, files are copied as they are stored")
    if "test_share" in own:
        raise UsageError("--test-share is for runs: convert keeps the splits that there are, and makes none")
    options = choose_options(source, own)
    refuse_within(path, out)
    found = source.pictures(path, options)
    if found.partners is not None or found.others is not None:
        raise UsageError(f"{path} holds {found.format}: convert takes one kind of pictures")
    # What only lacks --white is not broken.
    broken = broken_files(found.sources, Rule(options.background, options.white or 1))
    if broken and not options.skip_broken:
        raise UsageError(
            f"{len(broken):,} of {len(found):,} pictures cannot be read: {next(iter(broken.values()))}; "
            "mend them, or leave them out with --skip-broken"
        )
    notes = list(found.notes)
    left_out = [found.names[i] for i in broken]
    found = found.at([i for i in range(len(found)) if i not in broken])
    if not len(found):
        raise UsageError(f"none of the pictures in {path} can be read")
    images = None
    if image_size:
        images = ImageFiles(found.sources, image_size, int(channels or 3), source.rule(found, options, notes))
    if other := [f"'{name}' as '{folder}'" for name, folder in class_folders(found).items() if folder != name]:
        notes.append(f"names of classes that cannot be those of folders ({len(other):,}): {some(other)}")
    for told in notes:
        note_once(told if str(path) in told else f"{path}: {told}")
    write(found, out, images)
    kinds = counts(found)
    result = {"out": str(out), "pictures": len(found), "left_out": len(left_out), "broken": left_out, "classes": kinds}
    if as_json:
        echo_json(result)
        return
    classes = f" in {len(kinds):,} classes" if kinds else ""
    click.echo(f"{out}: {len(found):,} pictures{classes}")
    if left_out:
        click.echo(f"left out, for they cannot be read ({len(left_out):,}): {plain(', '.join(left_out))}")


def _folder() -> Any:
    from ganzoo.plugins import registry

    return registry().check().get("datasets", "folder")


def _run(
    source: Any, path: Path, own: dict[str, Any], size: int | None, channels: int | None
) -> tuple[dict[str, Any], Any]:
    """What a run would make of them, and the training images; or why it would refuse them, and None."""
    from ganzoo.data import DataRequest, open_dataset

    try:
        train = open_dataset(source(), DataRequest("train", path, size, channels, own))
        test = open_dataset(source(), DataRequest("test", path, size, channels, own))
    except GanzooError as error:
        return {"refused": str(error)}, None
    spec = train.spec("folder")
    return {
        "shape": list(spec.shape),
        "training": len(train),
        "test": 0 if test.split == "train" else len(test),
        "test_is": {"": "a split of its own", "held-out": "held out by name", "train": None}[test.split],
        "classes": len(spec.classes),
        "sources": _sources(train),
    }, train


def _sources(data: Any) -> dict[str, Any] | None:
    """What the images are to be made from, where there is such."""
    if data.sources is None:
        return None
    return {"shape": list(data.sources[0].shape), "count": len(data.sources), "paired": data.paired}


def _show(report: dict[str, Any]) -> None:
    """The report as text."""

    def line(name: str, text: object) -> None:
        click.echo(f"{name:12} {plain(str(text))}")

    sizes, copies, broken, run = (report[key] for key in ("sizes", "duplicates", "broken", "run"))
    line("format", report["format"])
    splits = ", ".join(f"{name} {count:,}" for name, count in (report["splits"] or {}).items())
    line("pictures", f"{report['pictures']:,}" + (f" ({splits})" if splits else ""))
    if sizes["count"]:
        low, high = (f"{w} x {h}" for w, h in (sizes["smallest"], sizes["largest"]))
        told = low if sizes["count"] == 1 else f"{sizes['count']:,} different, {low} to {high}"
        line("sizes", told + ("" if sizes["square"] else ", not all square"))
        kinds = ["colour" if report["colour"] else "grey"]
        kinds += ["with transparency"] if report["transparent"] else []
        kinds += ["more than 8 bits"] if report["more_than_8_bits"] else []
        kinds += [f"{report['several_frames']:,} with several frames"] if report["several_frames"] else []
        line("pixels", ", ".join(kinds))
    classes = report["classes"]
    line("classes", "none" if classes is None else f"{len(classes):,}")
    for name, count in list((classes or {}).items())[:SHOWN]:
        click.echo(f"  {plain(name)[:40]:40} {count:>8,}")
    if classes and len(classes) > SHOWN:
        click.echo(f"  and {len(classes) - SHOWN:,} more (--json has them)")
    if classes and (times := max(classes.values()) / min(classes.values())) >= UNEVEN:
        click.echo(f"  the largest class is {times:,.0f} times the smallest: --balance shows each equally often")
    more = [f"{copies[key]:,} groups {key.replace('_', ' ')}" for key in ("in_several_classes", "in_both_splits")]
    more = [text for text in more if not text.startswith("0 ")]
    line("duplicates", ", ".join([f"{copies['superfluous']:,} in {copies['groups']:,} groups", *more]))
    for group in copies["names"][:3]:
        click.echo(f"  {plain(' = '.join(group[:3]))}")
    line("broken", f"{broken['count']:,}")
    for told in list(broken["names"].values())[:SHOWN]:
        click.echo(f"  {plain(told)}")
    if broken["count"] > SHOWN:
        click.echo(f"  and {broken['count'] - SHOWN:,} more (--json has them)")
    if "refused" in run:
        for note in report["notes"]:
            line("note", note)
        line("a run", f"would be refused: {run['refused']}")
        return
    c, h, w = run["shape"]
    test = f"{run['test']:,} for tests, {run['test_is']}" if run["test_is"] else "none for tests"
    line("a run", f"trains on {run['training']:,} images of {h}x{w}x{c}, {test}; {run['classes'] or 'no'} classes")
    if (sources := run["sources"]) is not None:
        c, h, w = sources["shape"]
        kind = "each made from its own source" if sources["paired"] else f"made from {sources['count']:,} others"
        line("sources", f"{kind}, {h}x{w}x{c}: for models that make images from images")


def _grid(data: Any, out: Path) -> None:
    """Up to `COLUMNS` samples of each of the first classes, a row each; of a set without classes, `ROWS` rows.

    Pairs stand side by side, source and image; of two sets without pairs, sources stand above images.
    """
    import torch

    from ganzoo.data.examples import spread
    from ganzoo.data.reading import fetch, whole
    from ganzoo.runs.pictures import below, table, tile

    if data.sources is not None:

        def some(images: Any) -> Any:
            return whole(fetch(images, spread(len(images), COLUMNS if data.paired else COLUMNS * ROWS // 2)))

        sides = [some(data.sources), some(data.images)]
        if data.paired:
            _write(out, table(dict(zip(("source", "image"), sides, strict=True))))
        else:
            _write(out, below(*(tile(side, COLUMNS) for side in sides)))
        return
    if len(data.classes) > MOST_ROWS:
        warn(f"{out} shows the first {MOST_ROWS} of {len(data.classes):,} classes")
    rows = [(data.labels == k).nonzero().flatten().tolist() for k in range(min(len(data.classes), MOST_ROWS))]
    chosen = [[row[i] for i in spread(len(row), COLUMNS)] for row in rows or [range(len(data))]]
    if not rows:
        index = spread(len(data), COLUMNS * ROWS)
        chosen = [index[i : i + COLUMNS] for i in range(0, len(index), COLUMNS)]
    width = max(map(len, chosen))
    found = whole(fetch(data.images, [i for row in chosen for i in row]))
    sheet = torch.zeros(len(chosen) * width, *found.shape[1:], dtype=torch.uint8)
    at = 0
    for number, row in enumerate(chosen):
        sheet[number * width : number * width + len(row)] = found[at : at + len(row)]
        at += len(row)
    _write(out, tile(sheet, width))


def _write(out: Path, picture: Any) -> None:
    from ganzoo.runs.pictures import save_png

    try:
        save_png(out, picture)
    except OSError as error:
        raise GanzooError(f"cannot write {out}: {error.strerror or error}") from error
