"""One evaluation: images in, a result out in which no number stands without what it depends on."""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.data import Dataset, normalise, normalised, to_uint8
from ganzoo.data.pixels import fit
from ganzoo.data.reading import fetch, whole
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.gan import GAN
from ganzoo.metrics.base import (
    NO_LABELS,
    Drawer,
    FeatureExtractor,
    Images,
    Measured,
    Metric,
    Recogniser,
    Setting,
    require,
)
from ganzoo.metrics.classifier import Trained, at_once, class_index, trained_files, training_command
from ganzoo.metrics.extractor import Coordinates
from ganzoo.metrics.labels import Accuracy
from ganzoo.metrics.reference import Reference, Split
from ganzoo.plugins import Registry
from ganzoo.sampling import defaults, used
from ganzoo.training.draws import own_draws
from ganzoo.training.engine import own_randomness

FORMAT = 1
Labels = Literal["reference", "uniform"]
"""How samples are asked for classes: each as often as among the reference images, or all in turn."""
LABELS = {"reference": "labels as the reference has them", "uniform": "classes in turn"}
LABELLED = {"accuracy", "intra-fid", "cas"}
"""Metrics that only images with labels have."""
POOR = 0.7
"""Share of its own test images, below which an extractor that classifies is not to be relied on."""
TESTED_ON = {"held-out": "the images held out from it", "train": "the images that it was trained on"}
SEEN_THROUGH = ("accuracy", "precision")
"""Numbers that are as good as the extractor is."""
DRAWN = {"labels", "sampling", "sampling_defaults"}
"""What a protocol says of how samples were drawn."""
SIZED = {"shape", "resize", "reference_sha256"}
"""What differs in a protocol where the same images are taken at another size."""
LABELS_SEED = 20140611
"""Of the order in which the labels of the reference images are taken: one for all evaluations."""


def choose_extractor(
    registry: Registry,
    dataset: str,
    name: str | None = None,
    weights: Path | None = None,
    root: Path | None = None,
    shape: tuple[int, ...] | None = None,
    data_options: Any = None,
) -> FeatureExtractor:
    """The extractor that a user names: a plugin, a data set that one was trained for, or a file of weights.

    Without a name: the one that is made for the data set, else the one that was trained for it. One that was trained on
    the files in `root` comes first, and of these the one whose size is nearest to `shape`, (C, H, W).

    Raises:
        UsageError: there is none.
        GanzooError: its weights cannot be had.
    """
    known = registry.names("features")
    trained = next(iter(trained_files(name or dataset, shape, root)), None)
    if name is None:
        made = [key for key in known if dataset in registry.get("features", key).datasets]
        if not made and trained is None:
            raise UsageError(
                f"no feature extractor is known for '{dataset}': train one with "
                f"`{training_command(dataset, shape, root, data_options)}`, or name one with --features "
                f"({', '.join(known)})"
            )
        name = made[0] if made else dataset
    if name in known:
        made_here: FeatureExtractor = registry.get("features", name)(weights)
        return made_here
    if weights is not None:
        raise UsageError("--inception-weights is for --features inception")
    if Path(name).suffix == ".safetensors":
        return Trained(Path(name))
    if trained is not None:
        return Trained(trained)
    raise UsageError(
        f"no feature extractor is named '{name}': {did_you_mean(name, known)}, or give a .safetensors file, "
        f"or train one with `{training_command(dataset, shape, root, data_options)}`"
    )


class Evaluator:
    """A reference, an extractor and a choice of metrics: measures any number of image sets alike."""

    def __init__(
        self,
        registry: Registry,
        dataset: str,
        *,
        metrics: Sequence[str] | None = None,
        features: str | None = None,
        weights: Path | None = None,
        split: Split = "test",
        shape: tuple[int, ...] | None = None,
        root: Path | None = None,
        data_options: Any = MappingProxyType({}),
        source: str | None = None,
        device: torch.device | None = None,
    ):
        """Open everything.

        Args:
            registry: where names are looked up.
            dataset: the data set that images are measured against.
            metrics: names; None: the default ones, as far as the images allow.
            features: the extractor, as `choose_extractor` takes it.
            weights: a file for the extractor.
            split: the part of the data set that images are measured against.
            shape: (C, H, W) of the images, or (D,) of vectors; None: the data's own, of images.
            root: the data set's files.
            data_options: the data set's own options, as `DataRequest` takes them.
            source: how sources are made of its images, likewise.
            device: where to compute.

        Raises:
            UsageError, GanzooError: a name is unknown, the data or the weights cannot be had.
        """
        self.device = device or torch.device("cpu")
        with own_randomness(0, self.device):  # Networks draw weights before they load any.
            self._open(registry, dataset, metrics, features, weights, split, shape, root, data_options, source)

    def _open(
        self, registry: Registry, dataset: str, metrics: Sequence[str] | None, features: str | None,
        weights: Path | None, split: Split, shape: tuple[int, ...] | None, root: Path | None,
        data_options: Any, source: str | None,
    ) -> None:  # fmt: skip
        self.chosen: dict[str, type[Metric]] = {}
        vectors = shape is not None and len(shape) == 1
        for name in metrics if metrics is not None else registry.names("metrics"):
            metric = registry.get("metrics", name)
            if metrics is not None and vectors and not metric.of_vectors:
                raise UsageError(f"metric '{name}' is of images, and '{dataset}' holds vectors: leave it out")
            if metrics is not None or (metric.default and (metric.of_vectors or not vectors)):
                self.chosen[name] = metric
        if not self.chosen:
            raise UsageError("no metric was named")
        self.named = metrics is not None
        kind: type[Dataset] = registry.get("datasets", dataset)
        extractor: FeatureExtractor | None = None
        if vectors:
            if features is not None or weights is not None:
                raise UsageError(f"--features is for images, and '{dataset}' holds vectors: leave it out")
            assert shape is not None
            extractor = Coordinates(shape[0])
        elif features is not None or any(metric.features for metric in self.chosen.values()):
            extractor = choose_extractor(registry, dataset, features, weights, root, shape, data_options)
        self.extractor = extractor.to(self._statistics_device).eval() if extractor else None
        device = self._statistics_device
        self.reference = Reference(kind(), self.extractor, split, shape, root, device, data_options, source)

    @property
    def _statistics_device(self) -> torch.device:
        """Where features are computed: Apple's GPUs lack the double precision that their sums need."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def protocol(self, n: int, drawn: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What every number of an evaluation with `n` images depends on. Results that differ in it are not compared.

        `drawn` is what `drawn_as` says of samples; given images were not drawn.
        """
        reference, extractor = self.reference, self.extractor
        return {
            "format": FORMAT,
            "dataset": reference.name,
            "split": reference.data.split or reference.split,
            "reference_images": len(reference.data),
            "reference_sha256": reference.fingerprint,
            "shape": list(reference.spec.shape),
            "n": n,
            "labels": None,
            **(drawn or {}),
            "extractor": extractor.name if extractor else None,
            "extractor_sha256": extractor.sha256 if extractor else None,
            "resize": extractor.resizing(*reference.spec.shape[1:]) if extractor else None,
        }

    def measure(
        self,
        batches: Iterable[Images],
        n: int,
        labelled: bool,
        seed: int = 0,
        drawn: Mapping[str, Any] | None = None,
        paired: bool = False,
        cycled: bool = False,
        recognise: Recogniser | None = None,
        clusters: bool = False,
        draw: Drawer | None = None,
        intervals: bool = True,
    ) -> dict[str, Any]:
        """Measure `n` images that come in batches, drawn as `drawn` says, if they were drawn.

        `labelled`, `paired` and `cycled`: whether they come with labels, targets and cycle errors; `recognise`: as
        `recogniser` gives it, and whether these are `clusters`; `draw`: as `drawer` gives it.
        `intervals`: whether it is reckoned how far other
        images would move the numbers.

        Random numbers are the evaluation's own: whoever trains meanwhile does not notice.

        Returns:
            A result for `eval.json`: `protocol`, `metrics` (numbers by name), `intervals` (of some of them, two
            ends: 95 % of drawings of as many images, by bootstrap), `settings` (of each metric),
            `left_out` (why default metrics were not measured), `cautions` (why numbers mean less than they seem to),
            `confusion` where there is one.

        Raises:
            UsageError: a metric that was named cannot be measured.
            GanzooError: the images cannot be made, or what was named comes out as no number.
        """
        started = time.perf_counter()
        with exact(), torch.no_grad(), own_randomness(seed, self.device):
            setting = Setting(
                reference=self.reference,
                n=n,
                labelled=labelled,
                seed=seed,
                device=self._statistics_device,
                paired=paired,
                cycled=cycled,
                recognise=recognise,
                clusters=clusters,
                draw=draw,
                intervals=intervals,
            )
            left_out: dict[str, str] = {}
            metrics: list[Metric] = []
            for name, kind in self.chosen.items():
                if not (self.named or kind.concerns(setting)):
                    continue
                with self._leaving_out(name, left_out):
                    reason = kind.missing(setting)
                    require(
                        reason is None, f"metric '{name}' cannot be measured: {reason}" if self.named else f"{reason}"
                    )
                    metrics.append(kind(setting))
            looked = self.extractor if any(m.features for m in metrics) else None
            for images, labels, targets, cycle in batches:
                found = looked.extract(images) if looked else None
                vectors, logits = (found.vectors, found.logits) if found else (None, None)
                batch = Measured(images, labels, vectors, logits, targets, cycle)
                for metric in metrics:
                    metric.update(batch)
            # Some metrics train or draw: each from the seed, whichever others are measured.
            numbers: dict[str, float] = {}
            settings: dict[str, Any] = {}
            around: dict[str, list[float]] = {}
            for metric in metrics:
                with self._leaving_out(metric.name, left_out), own_randomness(seed, self.device), torch.enable_grad():
                    numbers |= _finite(metric.compute())
                    if intervals:
                        around |= {key: list(ends) for key, ends in metric.intervals().items() if _all_finite(ends)}
                    settings[metric.name] = metric.settings()
        result = {
            "protocol": self.protocol(n, drawn),
            "metrics": numbers,
            "intervals": around,
            "settings": settings,
            "left_out": left_out,
            "cautions": self.cautions(numbers, n),
            "seed": seed,
            "seconds": round(time.perf_counter() - started, 3),
            "device": str(self.device),
            "versions": {"ganzoo": __version__, "torch": torch.__version__},
        }
        for metric in metrics:
            if isinstance(metric, Accuracy) and metric.name in settings:
                result["confusion"] = metric.confusion().tolist()
        return result

    def cautions(self, measured: Collection[str], n: int) -> list[str]:
        """What to bear in mind with these numbers of `n` images, by name, a line each."""
        found, extractor = [], self.extractor
        if "fid" in measured and extractor is not None:
            features, real = extractor.num_features, len(self.reference.data)
            if min(n, real) < features:
                found.append(
                    f"FID of {n:,} images against {real:,} with {features:,} features: with fewer images than features "
                    "it is biased upwards and says little"
                )
        if self.reference.data.split == "train" and self.reference.split == "test":
            found.append(f"'{self.reference.name}' has no test split here: the reference is the training images")
        reached = extractor.accuracy if extractor is not None else None
        spoilt = [name for name in SEEN_THROUGH if name in measured]
        if extractor is not None and reached is not None and reached < POOR and spoilt:
            found.append(
                f"the extractor '{extractor.name}' is itself right about {reached:.0%} of "
                f"{TESTED_ON.get(extractor.tested_on, 'its test images')}: "
                f"{' and '.join(spoilt)} say little"
            )
        return found

    @contextmanager
    def _leaving_out(self, name: str, left_out: dict[str, str]) -> Iterator[None]:
        """Where nobody named the metrics, one that cannot be measured does not cost the others."""
        try:
            yield
        except (UsageError, NotFinite) as error:
            if self.named:
                raise
            left_out[name] = str(error)


class NotFinite(GanzooError):
    """A metric that came out as no number."""


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NotFinite(f"{name} comes out as {value}")
    return numbers


def _all_finite(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) for value in values)


@contextmanager
def exact() -> Iterator[None]:
    """Inside, float32 is float32, and cudnn tries nothing out: a run in tf32 is measured as any other."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[1:]


def drawn_as(gan: GAN, labels: Labels = "reference") -> dict[str, Any]:
    """What a protocol says of how `generated` draws the samples of a model.

    `labels`: as asked for; None of a model that takes none. `made_from`: sources, of a model that translates, and not
    there where samples are drawn from noise. `sampling` and `sampling_defaults`, of a model that has
    options of drawing: their values, and what they are by default.
    """
    told: dict[str, Any] = {"labels": labels if gan.conditional else None}
    if gan.translates:
        told["made_from"] = "sources"
    options = used(gan)
    return told | ({"sampling": options, "sampling_defaults": defaults(type(gan))} if options else {})


def generated(gan: GAN, n: int, seed: int, reference: Reference, labels: Labels = "reference") -> Iterator[Images]:
    """`n` samples of a model whose generator is in evaluation mode, images rounded to uint8, batch by batch.

    Conditions are those of the reference images: classes in a random order, always the same, and from the start again
    where `n` is larger; with attributes, in the order of the images. Where `labels` is "uniform", classes in turn.

    Raises:
        UsageError: the reference has no such conditions, or a model with attributes is to be asked uniformly.
        GanzooError: a sample is not finite.
    """
    asked = conditions(gan, reference, labels)
    classes = len(gan.data.classes) if gan.conditional else 0
    meant = counterpart_labels(gan, reference) if asked is None else None
    step = at_once(*gan.data.shape[1:])
    for number, start in enumerate(range(0, n, step)):
        size = min(step, n - start)
        with torch.no_grad(), own_draws(gan, (seed * 1_000_003 + number) % 2**31):
            z = gan.sample_latent(size)
            here = torch.arange(start, start + size)
            y = gan.sample_labels(size) if asked is None else asked[here % len(asked)]
            y = None if y is None else y.to(gan.device)
            source = _sources(gan, reference, here) if gan.translates else None
            x = gan.generate(z, y) if source is None else gan.generate(z, y, source)
            returned = gan.returned(x, y) if source is not None else None
        measured = _finished(gan, x)
        known = class_index(y, classes) if y is not None and classes else None
        if meant is not None:
            known = meant[here % len(meant)]
        cycle = None if source is None or returned is None else (returned - source).abs().flatten(1).mean(1).cpu() / 2
        yield Images(measured, known, _targets(gan, reference, here), cycle)


def count_of(gan: GAN, reference: Reference, most: int) -> int:
    """How many samples are measured unless told otherwise: `most`, and of a translator one of each source at most."""
    sources = gan.sourced(reference.data).sources if gan.translates else None
    return most if sources is None else min(most, len(sources))  # type: ignore[arg-type]


def comes_with(gan: GAN, reference: Reference) -> dict[str, Any]:
    """What `generated` gives beside images, as `Evaluator.measure` takes it: `labelled`, `paired`, `cycled`."""
    labelled = bool(gan.conditional and gan.data.classes) or counterpart_labels(gan, reference) is not None
    return {"labelled": labelled, "paired": _has_targets(gan, reference), "cycled": goes_both_ways(gan)}


def recogniser(gan: GAN, reference: Reference) -> Recogniser | None:
    """What a model itself sees in images; None where that is neither classes of the reference nor clusters."""
    theirs = gan.clusters or gan.data.classes == reference.data.classes
    if type(gan).recognise == GAN.recognise or not theirs:
        return None

    def recognise(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = gan.recognise(normalise(fit(images, gan.data.shape)).to(gan.device))
        return {name: logits.argmax(1).cpu() for name, logits in seen.items()}

    return recognise


def drawer(gan: GAN) -> Drawer | None:
    """Draws samples of a model under given conditions, as `generated` would; None where it takes no condition alone.

    Raises:
        GanzooError: when it draws, a sample is not finite.
    """
    if gan.translates or not gan.conditional:
        return None

    def draw(conditions: Tensor, seed: int) -> Tensor:
        made = []
        for number, y in enumerate(conditions.split(at_once(*gan.data.shape[1:]))):
            with torch.no_grad(), own_draws(gan, (seed * 1_000_003 + number) % 2**31):
                made.append(_finished(gan, gan.generate(gan.sample_latent(len(y)), y.to(gan.device))))
        return torch.cat(made)

    return draw


def _finished(gan: GAN, x: Tensor) -> Tensor:
    """Samples as they are measured, on the CPU: images rounded to uint8, vectors float.

    Raises:
        GanzooError: one is not finite.
    """
    if not x.isfinite().all():
        raise GanzooError(f"model '{gan.name}' generates values that are not finite")
    return (to_uint8(x) if gan.data.is_images else x.float()).cpu()


def goes_both_ways(gan: GAN) -> bool:
    """Whether what a model makes of sources can be made back."""
    return gan.translates and (isinstance(getattr(gan, "back", None), nn.Module) or type(gan).returned != GAN.returned)


def counterpart_labels(gan: GAN, reference: Reference) -> Tensor | None:
    """The classes of what a model without labels makes of the reference's sources, in the order in which they come.

    None where nobody knows them, or it draws from noise.
    """
    if not gan.translates or gan.conditional:
        return None
    known = reference.labels if _has_targets(gan, reference) else gan.sourced(reference.data).source_labels
    return None if known is None else known[_order(len(known))]


def _has_targets(gan: GAN, reference: Reference) -> bool:
    data = gan.sourced(reference.data)
    return gan.translates and data.paired and data.sources is not None


def _targets(gan: GAN, reference: Reference, index: Tensor) -> Tensor | None:
    """The counterparts of the sources that `_sources` gives, uint8 (N, C, H, W), where there are some."""
    if not _has_targets(gan, reference):
        return None
    order = _order(len(reference.data))
    chosen = order[index % len(order)].tolist()
    return fit(whole(fetch(reference.data.images, chosen)), gan.data.shape).cpu()


def conditions(gan: GAN, reference: Reference, labels: Labels) -> Tensor | None:
    """The conditions that samples are asked for, from the first on and then again; None of an unconditional model.

    Raises:
        UsageError: as `generated`.
    """
    if not gan.conditional:
        return None
    classes, known = len(gan.data.classes), reference.data.labels
    if gan.data.attributes:
        if labels == "uniform":
            raise UsageError(f"model '{gan.name}' takes attributes, which are known from the reference images alone")
        if known is None or known.shape[1:] != (gan.data.condition_size,):
            raise UsageError(f"model '{gan.name}' needs attributes that '{reference.name}' does not have")
        return known[_order(len(known))] if gan.translates else known  # A source's are its own.
    if labels == "uniform":
        return torch.arange(classes)
    theirs = gan.sourced(reference.data).source_labels
    if gan.translates and theirs is not None and reference.data.classes == gan.data.classes:
        return theirs[_order(len(theirs))]  # What is made of a source is of its class.
    if reference.labels is None or reference.data.classes != gan.data.classes:
        raise UsageError(f"model '{gan.name}' needs the labels of its classes, which '{reference.name}' does not have")
    return reference.labels[_order(len(reference.labels))]


def _order(count: int) -> Tensor:
    """The order in which a reference's labels and sources are asked for: int64 (count,), always the same.

    A folder has its classes one after the other, and not all may be asked for.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(LABELS_SEED))


def refuse_without_sources(gan: GAN, reference: Reference) -> None:
    """Say before anything is measured that a model that translates has nothing to start from.

    Raises:
        UsageError: the reference has no sources.
    """
    if gan.translates and gan.sourced(reference.data).sources is None:
        raise UsageError(
            f"model '{gan.name}' makes images from images, and the {reference.split} split of '{reference.name}' has "
            "no sources"
        )


def _sources(gan: GAN, reference: Reference, index: Tensor) -> Tensor:
    """What a model that translates starts from: the reference's sources, each with its label, as the model takes them.

    An image that is its own source gets the label of another.

    Raises:
        UsageError: the reference has none.
    """
    refuse_without_sources(gan, reference)
    data, shape = gan.sourced(reference.data), gan.data.source_shape
    sources = data.sources
    assert sources is not None
    assert shape is not None
    order = _order(len(sources))  # type: ignore[arg-type]
    chosen = order[(index + (len(order) // 2 if data.own else 0)) % len(order)].tolist()
    return normalised(sources, chosen, shape).to(gan.device)


def given(images: Tensor, labels: Tensor | None, n: int, seed: int) -> Iterator[Images]:
    """`n` of the images, uint8 (N, C, H, W), and labels, drawn at random without repetition, batch by batch."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]
    for index in order.split(at_once(*images.shape[2:])):
        yield Images(images[index], None if labels is None else labels[index])


def comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse to set two results side by side unless they were measured alike.

    A model that takes no labels may stand beside any: it, too, is to show what the reference shows. So may a model that
    lacks an option of drawing beside one that draws by that option's default. So may one that was trained at another
    size, where the extractor brings both, with the reference, to one and the same; but for `at_their_sizes`.

    Raises:
        UsageError: they differ in data, size, split, extractor, number of images, labels, options of drawing, resizing,
            or a metric's settings; the field and both values are named.
        GanzooError: one of them is not a result.
    """
    for result in (a, b):
        if not all(isinstance(result.get(key), dict) for key in ("protocol", "metrics", "settings")):
            raise GanzooError("not a result of `ganzoo eval`: it has no protocol, metrics and settings")
    made = [result["protocol"].get("made_from") for result in (a, b)]
    if made[0] != made[1]:
        raise UsageError(
            "these results cannot be compared: one is of images that are made from sources, the other of images that "
            "are drawn from noise"
        )
    aside = DRAWN | SIZED if seen_at_one_size(a["protocol"], b["protocol"]) else DRAWN
    _same("", *({k: v for k, v in result["protocol"].items() if k not in aside} for result in (a, b)))
    _same_labels(a, b)
    _same_sampling(a["protocol"], b["protocol"])
    for metric in (a["settings"].keys() & b["settings"].keys()) - at_their_sizes(a, b):
        _same(f"{metric}: ", a["settings"][metric], b["settings"][metric])


def at_their_sizes(a: Mapping[str, Any], b: Mapping[str, Any]) -> set[str]:
    """Metrics that look at images as large as they are, of two results of which the extractor sees both at one size.

    Their settings hold the hash of the training images. Numbers by them may not stand side by side.
    """
    if not seen_at_one_size(a["protocol"], b["protocol"]):
        return set()
    return {metric for result in (a, b) for metric, settings in result["settings"].items() if "train" in settings}


def seen_at_one_size(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two protocols of other shapes, with as many channels, have the extractor look at one size."""
    one, other = (protocol.get("shape") for protocol in (a, b))
    if one == other or not (isinstance(one, list) and isinstance(other, list)) or one[:1] != other[:1]:
        return False
    return seen_at(a) is not None and seen_at(a) == seen_at(b)


def seen_at(protocol: Mapping[str, Any]) -> str | None:
    """The size at which the extractor looks at the images, `28x28`, where the protocol tells it."""
    resize, shape = protocol.get("resize"), protocol.get("shape")
    if not (isinstance(resize, str) and isinstance(shape, list) and len(shape) == 3):
        return None
    if resize == "none":
        return f"{shape[1]}x{shape[2]}"
    return resize.partition(" to ")[2].partition(",")[0] or None


def labels_of(result: Mapping[str, Any]) -> str | None:
    """How the labels of a result's samples were drawn, as in `LABELS`; None where there were none.

    Version 0.1.0 drew classes in turn and did not say so, nor whether the model takes any: what was measured tells it
    of most results. "uniform, if any" is what is known of the others.
    """
    protocol, left_out = result["protocol"], result.get("left_out")
    if "labels" in protocol:
        return None if protocol["labels"] is None else str(protocol["labels"])
    if isinstance(left_out, dict) and NO_LABELS in left_out.values():
        return None
    return "uniform" if LABELLED & result["metrics"].keys() else "uniform, if any"


def _same_labels(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse results whose labels were drawn in different ways."""
    one, other = labels_of(a), labels_of(b)
    if None in (one, other) or one == other or {one, other} == {"uniform", "uniform, if any"}:
        return
    told = [LABELS.get(str(drawn), str(drawn)) for drawn in (one, other)]
    for i, result in enumerate((a, b)):
        if "labels" not in result["protocol"]:
            told[i] = f"{LABELS['uniform']} (as ganzoo 0.1.0 did it; `ganzoo eval` measures anew)"
    raise UsageError(f"these results cannot be compared: labels is {told[0]} and {told[1]}")


def _same_sampling(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse results of samples that were drawn by different values of an option, or by one that the other lacks."""
    for one, other in ((a, b), (b, a)):
        known, beside = one.get("sampling") or {}, other.get("sampling") or {}
        usual = one.get("sampling_defaults") or {}
        if any(value != (beside[key] if key in beside else usual.get(key)) for key, value in known.items()):
            told = [_told(protocol.get("sampling")) or "without options" for protocol in (a, b)]
            raise UsageError(f"these results cannot be compared: sampling is {told[0]} and {told[1]}")


def _told(sampling: Any) -> str:
    """`truncation 0.7, order 2`."""
    return ", ".join(f"{str(key).replace('_', '-')} {value}" for key, value in (sampling or {}).items())


def _same(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    for key in [*a, *(key for key in b if key not in a)]:
        if a.get(key) != b.get(key):
            raise UsageError(f"these results cannot be compared: {prefix}{key} is {a.get(key)} and {b.get(key)}")


def describe(protocol: Mapping[str, Any]) -> str:
    """`mnist test (10,000), 10,000 images of 28x28x1, labels as the reference has them, extractor digits 0123, ...`.

    What version 0.1.0 measured does not say whether there were labels, and that they came in turn is told of it.
    """
    channels, *sides = protocol["shape"]
    kind = f"images of {'x'.join(map(str, sides))}x{channels}" if sides else f"vectors of {channels}"
    parts = [
        f"{protocol['dataset']} {protocol['split']} ({protocol['reference_images']:,})",
        f"{protocol['n']:,} {kind}",
    ]
    labels = protocol.get("labels", "before")
    if labels is not None:
        parts.append("classes, if any, in turn" if labels == "before" else LABELS[labels])
    if protocol.get("sampling"):
        parts.append(_told(protocol["sampling"]))
    if protocol["extractor"]:
        parts += [
            f"extractor {protocol['extractor']} {protocol['extractor_sha256'][:8]}",
            f"resize {protocol['resize']}",
        ]
    return ", ".join(parts)
