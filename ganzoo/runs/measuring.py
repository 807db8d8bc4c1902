"""A run's generator, or images that anybody made, measured, and the result written."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from ganzoo.data.opening import refuse_root
from ganzoo.errors import GanzooError, UsageError, warn
from ganzoo.files import write_json
from ganzoo.gan import GAN
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.labels import plot_confusion
from ganzoo.metrics.protocol import Labels, describe
from ganzoo.metrics.samples import comes_with, count_of, drawer, drawn_as, generated, given, recogniser
from ganzoo.plugins import GIVEN, Registry
from ganzoo.runs.folder import data_settings, open_run, refuse_absent
from ganzoo.runs.hub import beside, fetched, measured_in
from ganzoo.runs.sampler import load
from ganzoo.sampling import drawing
from ganzoo.training.distributed import ALONE, World
from ganzoo.two_way import makes_sources

MEASURED = 10_000
"""Images that are measured, unless told otherwise."""


def measure_run(
    run: Path, plugins: Registry, dataset: str | None, data_root: Path | None, n: int | None, seed: int,
    options: dict[str, Any], labels: Labels | None = None, sampling: Mapping[str, Any] | None = None,
    checkpoint: str | int | None = None, world: World = ALONE,
) -> tuple[Evaluator, dict[str, Any]]:  # fmt: skip
    """Measure a run's averaged generator by `n` images: what measured it, and the result.

    By default there are `MEASURED`, and of a model that translates one for each source at most. Of several processes
    each draws its share, and the first has the result.

    Raises:
        UsageError: the run's classes are not those of the data set, `labels` are given for a model that takes none, or
            an option of drawing in `sampling` cannot be, or has it make sources; or as `load` and `Evaluator`.
        GanzooError: as `load` and `Evaluator`.
    """
    info = open_run(run)
    sampler = load(run, str(options["device"]), plugins, checkpoint=checkpoint)
    known = data_settings(run, info)
    gan = drawing(sampler.gan, {key: value for key, value in (sampling or {}).items() if value is not None})
    if labels is not None and not gan.conditional:
        raise UsageError(f"--labels: model '{gan.name}' was trained without labels")
    refuse_side(str(run), type(gan), gan.sampling)
    if not dataset and info.get("imported"):
        raise UsageError(
            f"{run} was imported, and does not say which images it was trained on: name those to measure it against "
            "by --dataset, such as --dataset folder --data-root PICTURES"
        )
    if not dataset and sampler.data.name == GIVEN and GIVEN not in plugins.names("datasets"):
        raise UsageError(
            f"{run} was trained on data that a program handed over: measure it from Python, with dataset= of "
            "ganzoo.evaluate, or name those to measure it against by --dataset"
        )
    if not dataset:
        refuse_absent(run, info, plugins, ("datasets",))
    about: dict[str, Any] = {"run": str(run), "model": sampler.gan.name, "step": sampler.step}
    about["asked"] = _asked(dataset, data_root, options)
    name = dataset or sampler.data.name
    if data_root is not None:
        refuse_root(plugins.get("datasets", name), data_root)
    root = data_root or (None if dataset else known.root)
    if not dataset:
        own, recorded = options.get("data_options") or {}, known.options
        if recorded is None and own:
            recorded = plugins.get("datasets", name).before
        options = {**options, "data_options": {**recorded, **own} if recorded is not None else None}
    source = known.source if gan.translates else None
    evaluator = world.first_before_others(
        lambda: Evaluator(
            plugins, name, shape=sampler.data.shape, root=root, source=source, without_features=gan.translates,
            **options,
        )
    )  # fmt: skip
    asked = labels or "reference"
    n = n or count_of(gan, evaluator.reference, MEASURED)
    batches = generated(gan, n, seed, evaluator.reference, asked, world)
    labelled = bool(sampler.gan.conditional and sampler.data.classes)
    ours, theirs = sampler.data.classes, evaluator.reference.data.classes
    strange = labelled and ours != theirs
    if strange and info.get("imported") and len(ours) == len(theirs):
        strange = False
        if not world.rank:
            warn(f"{run} knows its classes by number alone: they are taken for those of '{name}', in their order")
    if strange and labels != "uniform":
        raise UsageError(
            f"the classes of {run} are not those of '{name}': metrics of labels would mean nothing; "
            "`--labels uniform` measures what needs none, of images of all its own classes"
        )
    beside = comes_with(gan, evaluator.reference)
    beside["labelled"] = beside["labelled"] and not strange
    drawn, sees = drawn_as(gan, asked), recogniser(gan, evaluator.reference)
    draw = None if strange else drawer(gan)
    measured = evaluator.measure(
        batches, n, seed=seed, drawn=drawn, recognise=sees, clusters=gan.clusters, draw=draw, world=world, **beside
    )
    return evaluator, {**about, **measured}


def _asked(dataset: str | None, data_root: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen of that by which `asked_of` asks again, files by their whole paths."""
    features, weights = options.get("features"), options.get("weights")
    if features and Path(features).suffix == ".safetensors":
        features = Path(features).absolute()
    places = {"data_root": data_root and data_root.absolute(), "weights": weights and weights.absolute()}
    chosen = {"dataset": dataset, "split": options.get("split"), "features": features, **places}
    told: dict[str, Any] = {key: str(value) for key, value in chosen.items() if value}
    return told | ({"data_options": dict(own)} if (own := options.get("data_options")) else {})


def refuse_side(what: str, model: type[GAN], sampling: BaseModel) -> None:
    """See that `what` draws images, which the reference is of, by these options of drawing.

    Raises:
        UsageError: it draws sources.
    """
    if makes_sources(model, sampling):
        raise UsageError(
            f"--output source: {what} would be measured by the wrong side, since the reference is of images, and no "
            "metric is of sources yet: leave it out"
        )


def measure_images(
    what: str, images: Tensor, labels: Tensor | None, plugins: Registry, dataset: str | None,
    data_root: Path | None, n: int | None, seed: int, options: dict[str, Any], world: World = ALONE,
) -> tuple[Evaluator, dict[str, Any]]:  # fmt: skip
    """Measure images, uint8 (N, C, H, W), that are called `what`: what measured them, and the result.

    Of several processes each looks at its share, and the first has the result.

    Raises:
        UsageError: there are fewer than `n`, or labels beyond the classes; or as `Evaluator`.
        GanzooError: as `Evaluator`.
    """
    c, h, w = images.shape[1:]
    refuse_root(plugins.get("datasets", dataset or "mnist"), data_root)
    evaluator = world.first_before_others(
        lambda: Evaluator(plugins, dataset or "mnist", shape=(c, h, w), root=data_root, **options)
    )
    if n is not None and n > len(images):
        raise UsageError(f"{what} holds {len(images):,} images, fewer than --n {n}")
    count = n or min(MEASURED, len(images))
    classes = evaluator.reference.data.classes
    if labels is not None and classes and int(labels.max()) >= len(classes):
        raise UsageError(
            f"{what}: labels reach {int(labels.max())}, but '{evaluator.reference.name}' has {len(classes)} classes"
        )
    batches, labelled = given(images, labels, count, seed, world), labels is not None
    return evaluator, {"images": what, **evaluator.measure(batches, count, labelled, seed, world=world)}


def result_name(checkpoint: str | int | None) -> str:
    """The file in a run directory for a checkpoint's numbers: `eval.json`, where none was named."""
    return "eval.json" if checkpoint is None else f"eval-{checkpoint}.json"


def place_of_result(run: Path, checkpoint: str | int | None = None) -> Path:
    """Where a run's numbers are written that are measured here."""
    return measured_in(run, result_name(checkpoint))


def result_of(run: Path, checkpoint: str | int | None = None) -> Path:
    """The file with a run's numbers: measured here, or as they came with it."""
    here = place_of_result(run, checkpoint)
    return here if here.is_file() else run / result_name(checkpoint)


def keep_result(
    run: Path, checkpoint: str | int | None, out: Path | None, result: dict[str, Any], evaluator: Evaluator
) -> Path:
    """Write a run's numbers to `out`, by default to where its user looks; and of a fetched run for comparisons, too.

    Raises:
        GanzooError: the place cannot be written.
    """
    if fetched(run) and out is None:
        with suppress(GanzooError):  # A cache that cannot be written costs no numbers.
            write_result(place_of_result(run, checkpoint), result, evaluator)
    out = out or beside(run, result_name(checkpoint))
    write_result(out, result, evaluator)
    return out


def write_result(path: Path, result: dict[str, Any], evaluator: Evaluator) -> None:
    """Write the result and, where there is one, the picture of the confusion.

    Raises:
        GanzooError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
        if "confusion" in result:
            names = evaluator.reference.data.classes
            picture = path.with_name("confusion.png" if path.name == "eval.json" else f"{path.stem}-confusion.png")
            plot_confusion(picture, result["confusion"], names, describe(result["protocol"]))
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error
