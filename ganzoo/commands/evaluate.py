"""`ganzoo eval RUN` and `ganzoo eval IMAGES`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import (
    Names,
    OfData,
    OfRun,
    RunPath,
    check_spread,
    checkpoint_option,
    data_given,
    echo_json,
    here,
    json_option,
    nproc_option,
    spread,
)
from ganzoo.errors import GanzooError, UsageError

KEPT = "nothing is written"
"""What is left of an evaluation that does not come to its end."""


class Measures(OfRun, OfData):
    """A command on a run, with its model's options of drawing and those of the data that it is measured against."""

    def data_set(self, values: dict[str, Any]) -> str | None:
        """The run's own by default."""
        from ganzoo.files import read_json

        name = values.get("dataset")
        for place in [values.get("what"), *values.get("others", [])] if name is None else []:
            with suppress(GanzooError, KeyError, TypeError, ValueError):
                place = here(place)
                name = name or read_json(Path(place) / "config.json")["data"]["name"]
        return name if isinstance(name, str) else None


@click.command(name="eval", cls=Measures, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", metavar="RUN|IMAGES", type=RunPath())
@click.option("--dataset", help="The data set to measure against.  [default: the run's own, else mnist]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data set's files are.")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Its part.")
@click.option("--metrics", type=Names(), help="By name (`ganzoo list metrics`).  [default: those listed as default]")
@click.option("--features", help="Extractor: a name (`ganzoo list features`), a data set one was trained for, a file.")
@click.option("--inception-weights", type=click.Path(path_type=Path), help="The file for --features inception.")
@click.option("-n", "--n", "n", type=click.IntRange(2, 10_000_000), help="Number of images.  [default: 10,000, or all]")
@click.option(
    "--labels",
    type=click.Choice(["reference", "uniform"]),
    help="Classes that RUN is asked for: as often as the reference has them, or in turn.  [default: reference]",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the samples.")
@checkpoint_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The JSON file to write, a confusion picture beside it.  [default: RUN/eval.json, of a checkpoint "
    "RUN/eval-best.json or the like; none for IMAGES]",
)
@nproc_option(click.option, "the images")
@json_option
def command(
    what: Path, dataset: str | None, data_root: Path | None, split: Any, metrics: tuple[str, ...] | None,
    features: str | None, inception_weights: Path | None, n: int | None, labels: Any, seed: int,
    checkpoint: str | None, device: str, out: Path | None, nproc: int | None, as_json: bool, **sampling: Any,
) -> None:  # fmt: skip
    """Measure a run's generator, or images that anybody made.

    IMAGES is an .npz with `images` and perhaps `labels`, or a folder of pictures. A run is measured with its averaged
    generator, which is asked for each class as often as the real images show it: asked for all alike, even a perfect
    generator would be far from data whose classes are not equally frequent. How it was asked is part of the result, and
    results that differ in it are not compared. So are the model's options of drawing: `ganzoo eval RUN --help` lists
    them.

    \b
    ganzoo eval runs/mine                       FID and others, into eval.json
    ganzoo eval digits.npz --json               images from another program
    ganzoo eval runs/mine --metrics fid,parzen --n 10000
    ganzoo eval runs/mine --n 50000 --nproc 8   eight GPUs, the same samples
    """
    from ganzoo.files import output
    from ganzoo.metrics.images import read_images
    from ganzoo.plugins import registry
    from ganzoo.runs.folder import open_run
    from ganzoo.runs.measuring import keep_result, measure_images, measure_run, write_result
    from ganzoo.training.distributed import joined
    from ganzoo.training.engine import choose_device

    if out is not None:
        out = output(out, ["eval*.json"], [read for read in (what, inception_weights) if read and read.is_file()])
    check_spread(nproc, device)
    if (what / "run.json").is_file():  # Before processes are started for nothing.
        open_run(what)
    elif not what.exists():
        read_images(what)  # It says so.
    spread(nproc, KEPT)
    run: Path | None = None
    plugins = registry().check()
    with joined(KEPT) as world:
        options: dict[str, Any] = {
            "metrics": metrics, "features": features, "weights": inception_weights, "split": split,
            "device": choose_device(world.device(device)), "data_options": data_given(sampling),
        }  # fmt: skip
        if (what / "run.json").is_file() or (what / "config.json").is_file():
            evaluator, result = measure_run(
                what, plugins, dataset, data_root, n, seed, options, labels, sampling, checkpoint, world
            )
            run = what
        else:
            if labels is not None:
                raise UsageError(f"--labels is for a run: the images in {what} have the labels they have")
            if checkpoint is not None:
                raise UsageError(f"--checkpoint is for a run: {what} holds images")
            images, found = read_images(what)
            evaluator, result = measure_images(
                str(what), images, found, plugins, dataset, data_root, n, seed, options, world
            )
        if world.rank:
            return
        fault = None
        try:  # First, since whoever reads may hang up; a place that cannot be written costs no numbers.
            if run is not None:
                out = keep_result(run, checkpoint, out, result, evaluator)
            elif out is not None:
                write_result(out, result, evaluator)
        except GanzooError as error:
            fault = error
        if as_json:
            echo_json(result)
        else:
            show(result)
        if fault is not None:
            raise fault
        if out is not None and not as_json:
            click.echo(out)


def called(name: str) -> tuple[str, str]:
    """What reports call a number, and which way is better, if either."""
    from ganzoo.report.lines import MEASURES, MORE

    measure = next((m for m in (*MEASURES, *MORE) if m.key == name), None)
    return (measure.title, measure.better) if measure else (name.replace("_", " "), "")


def show(result: dict[str, Any]) -> None:
    """The numbers, and above them what they depend on."""
    from ganzoo.metrics.protocol import describe

    click.echo(describe(result["protocol"]))
    rows = [(*called(name), f"{value:.4f}") for name, value in result["metrics"].items()]
    wide = max([24, *(len(title) for title, _, _ in rows)])
    for title, better, value in rows:
        click.echo(f"  {title:{wide}} {value:>12}  {better and better + ' is better'}".rstrip())
    for name, reason in result["left_out"].items():
        click.echo(f"  {name:{wide}} {'-':>12}  {reason}")
    for name, settings in result["settings"].items():
        if settings:
            click.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items()))
    for caution in result.get("cautions", []):
        click.echo(f"caution: {caution}", err=True)
    if result["metrics"].get("parzen_at_grid_edge"):
        click.echo("warning: the Parzen bandwidth is at an edge of its grid: the likelihood is a lower bound", err=True)
