"""`ganzoo eval RUN` and `ganzoo eval IMAGES`."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.options import Names, OfData, OfRun, data_given, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.metrics.evaluation import Evaluator, Labels
    from ganzoo.plugins import Registry

N = 10_000


class Measures(OfRun, OfData):
    """A command on a run, with its model's options of drawing and those of the data that it is measured against."""

    def data_set(self, values: dict[str, Any]) -> str:
        """The run's own by default, else the one that images are measured against."""
        from ganzoo.files import read_json

        name = values.get("dataset")
        for place in [values.get("what"), *values.get("others", [])] if name is None else []:
            with suppress(GanzooError, KeyError, TypeError, ValueError):
                name = name or read_json(Path(place) / "config.json")["data"]["name"]
        return name if isinstance(name, str) else "mnist"


@click.command(name="eval", cls=Measures, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", metavar="RUN|IMAGES", type=click.Path(path_type=Path))
@click.option("--dataset", help="The data set to measure against.  [default: the run's own, else mnist]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data set's files are.")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Its part.")
@click.option("--metrics", type=Names(), help="By name (`ganzoo list metrics`).  [default: those listed as default]")
@click.option("--features", help="Extractor: a name (`ganzoo list features`), a data set one was trained for, a file.")
@click.option("--inception-weights", type=click.Path(path_type=Path), help="The file for --features inception.")
@click.option("--n", "n", type=click.IntRange(2, 10_000_000), help=f"Number of images.  [default: {N:,}, or all]")
@click.option(
    "--labels",
    type=click.Choice(["reference", "uniform"]),
    help="Classes that RUN is asked for: as often as the reference has them, or in turn.  [default: reference]",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the samples.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The JSON file to write, a confusion picture beside it.  [default: RUN/eval.json; none for IMAGES]",
)
@json_option
def command(
    what: Path, dataset: str | None, data_root: Path | None, split: Any, metrics: tuple[str, ...] | None,
    features: str | None, inception_weights: Path | None, n: int | None, labels: Any, seed: int, device: str,
    out: Path | None, as_json: bool, **sampling: Any,
) -> None:  # fmt: skip
    """Measure a run's generator, or images that anybody made.

    IMAGES is an .npz with `images` and perhaps `labels`, or a folder of pictures. A run is measured with its averaged
    generator, which is asked for each class as often as the real images show it: asked for all alike, even a perfect
    generator would be far from data whose classes are not equally frequent. How it was asked is part of the result, and
    results that differ in it are not compared. So are the model's options of drawing: `ganzoo eval RUN --help` lists
    them.

    \b
    ganzoo eval runs/mine                            FID and its company into runs/mine/eval.json
    ganzoo eval digits.npz --json                    images from another program
    ganzoo eval runs/mine --metrics fid,parzen --n 10000
    """
    from ganzoo.metrics.images import read_images
    from ganzoo.plugins import registry
    from ganzoo.training.engine import choose_device

    if out is not None and out.is_dir():
        raise UsageError(f"--out {out} is a folder: name the JSON file to write")
    plugins, chosen = registry().check(), choose_device(device)
    options: dict[str, Any] = {
        "metrics": metrics, "features": features, "weights": inception_weights, "split": split, "device": chosen,
        "data_options": data_given(sampling),
    }  # fmt: skip
    if (what / "run.json").is_file() or (what / "config.json").is_file():
        evaluator, result = measure_run(what, plugins, dataset, data_root, n or N, seed, options, labels, sampling)
        out = out or what / "eval.json"
    else:
        if labels is not None:
            raise UsageError(f"--labels is for a run: the images in {what} have the labels they have")
        images, found = read_images(what)
        evaluator, result = measure_images(str(what), images, found, plugins, dataset, data_root, n, seed, options)
    if as_json:
        echo_json(result)
    else:
        show(result)
    if out is not None:  # Last, so that a place that cannot be written costs no numbers.
        write(out, result, evaluator)
        if not as_json:
            click.echo(out)


def measure_run(
    run: Path, plugins: "Registry", dataset: str | None, data_root: Path | None, n: int, seed: int,
    options: dict[str, Any], labels: "Labels | None" = None, sampling: Mapping[str, Any] | None = None,
) -> tuple["Evaluator", dict[str, Any]]:  # fmt: skip
    """Measure a run's averaged generator: what measured it, and the result.

    Raises:
        UsageError: the run's classes are not those of the data set, `labels` are given for a model that takes none, or
            an option of drawing in `sampling` cannot be; or as `load` and `Evaluator`.
        GanzooError: as `load` and `Evaluator`.
    """
    from ganzoo.metrics.evaluation import Evaluator, drawn_as, generated
    from ganzoo.runs.run import open_run
    from ganzoo.runs.sampler import load, step_of
    from ganzoo.sampling import drawing

    sampler, settings = load(run, str(options["device"]), plugins), open_run(run).get("settings", {})
    gan = drawing(sampler.gan, {key: value for key, value in (sampling or {}).items() if value is not None})
    if labels is not None and not gan.conditional:
        raise UsageError(f"--labels: model '{gan.name}' was trained without labels")
    name = dataset or sampler.data.name
    root = data_root or (Path(settings["data_root"]) if not dataset and settings.get("data_root") else None)
    if not dataset:
        given, recorded = options.get("data_options") or {}, settings.get("data_options")
        if recorded is None and given:
            recorded = plugins.get("datasets", name).before
        options = {**options, "data_options": {**recorded, **given} if recorded is not None else None}
    evaluator = Evaluator(plugins, name, shape=sampler.data.shape, root=root, **options)
    asked = labels or "reference"
    batches = generated(gan, n, seed, evaluator.reference, asked)
    labelled = bool(sampler.gan.conditional and sampler.data.classes)
    if labelled and sampler.data.classes != evaluator.reference.data.classes:
        raise UsageError(f"the classes of {run} are not those of '{name}': metrics of labels would mean nothing")
    about: dict[str, Any] = {"run": str(run), "model": sampler.gan.name, "step": step_of(run)}
    return evaluator, {**about, **evaluator.measure(batches, n, labelled, seed, drawn_as(gan, asked))}


def measure_images(
    what: str, images: "Tensor", labels: "Tensor | None", plugins: "Registry", dataset: str | None,
    data_root: Path | None, n: int | None, seed: int, options: dict[str, Any],
) -> tuple["Evaluator", dict[str, Any]]:  # fmt: skip
    """Measure images, uint8 (N, C, H, W), that are called `what`: what measured them, and the result.

    Raises:
        UsageError: there are fewer than `n`, or labels beyond the classes; or as `Evaluator`.
        GanzooError: as `Evaluator`.
    """
    from ganzoo.metrics.evaluation import Evaluator, given

    c, h, w = images.shape[1:]
    evaluator = Evaluator(plugins, dataset or "mnist", shape=(c, h, w), root=data_root, **options)
    if n is not None and n > len(images):
        raise UsageError(f"{what} holds {len(images):,} images, fewer than --n {n}")
    count = n or min(N, len(images))
    classes = evaluator.reference.data.classes
    if labels is not None and classes and int(labels.max()) >= len(classes):
        raise UsageError(
            f"{what}: labels reach {int(labels.max())}, but '{evaluator.reference.name}' has {len(classes)} classes"
        )
    batches, labelled = given(images, labels, count, seed), labels is not None
    return evaluator, {"images": what, **evaluator.measure(batches, count, labelled, seed)}


def write(path: Path, result: dict[str, Any], evaluator: "Evaluator") -> None:
    """Write the result and, where there is one, the picture of the confusion.

    Raises:
        GanzooError: the place cannot be written.
    """
    from ganzoo.files import write_json
    from ganzoo.metrics.evaluation import describe
    from ganzoo.metrics.labels import plot_confusion

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
        if "confusion" in result:
            names = evaluator.reference.data.classes
            picture = path.with_name("confusion.png" if path.name == "eval.json" else f"{path.stem}-confusion.png")
            plot_confusion(picture, result["confusion"], names, describe(result["protocol"]))
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error


def show(result: dict[str, Any]) -> None:
    """The numbers, and above them what they depend on."""
    from ganzoo.metrics.evaluation import describe

    click.echo(describe(result["protocol"]))
    for name, value in result["metrics"].items():
        click.echo(f"  {name:24} {value:>12.4f}")
    for name, reason in result["left_out"].items():
        click.echo(f"  {name:24} {'-':>12}  {reason}")
    for name, settings in result["settings"].items():
        if settings:
            click.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items()))
    for caution in result.get("cautions", []):
        click.echo(f"caution: {caution}", err=True)
    if result["metrics"].get("parzen_at_grid_edge"):
        click.echo("warning: the Parzen bandwidth is at an edge of its grid: the likelihood is a lower bound", err=True)
