"""One evaluation: images in, a result out in which no number stands without what it depends on."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo import __version__
from ganzoo.data import Dataset, normalised, to_uint8
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.gan import GAN
from ganzoo.metrics.base import FeatureExtractor, Images, Measured, Metric, Setting, require
from ganzoo.metrics.classifier import Trained, at_once, class_index, trained_file
from ganzoo.metrics.labels import Accuracy
from ganzoo.metrics.reference import Reference, Split
from ganzoo.plugins import Registry
from ganzoo.training.engine import own_randomness

FORMAT = 1


def choose_extractor(
    registry: Registry,
    dataset: str,
    name: str | None = None,
    weights: Path | None = None,
    root: Path | None = None,
) -> FeatureExtractor:
    """The extractor that a user names: a plugin, a data set that one was trained for, or a file of weights.

    Without a name: the one that is made for the data set, else the one that was trained for it. One that was trained on
    the files in `root` comes first.

    Raises:
        UsageError: there is none.
        GanzooError: its weights cannot be had.
    """
    known = registry.names("features")
    places = [trained_file(name or dataset, root), trained_file(name or dataset)]
    trained = next((place for place in places if place.is_file()), None)
    if name is None:
        made = [key for key in known if dataset in registry.get("features", key).datasets]
        if not made and trained is None:
            raise UsageError(
                f"no feature extractor is known for '{dataset}': train one with `ganzoo features train --dataset "
                f"{dataset}`, or name one with --features ({', '.join(known)})"
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
        f"or train one with `ganzoo features train --dataset {name}`"
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
            shape: (C, H, W) of the images; None: the data's own.
            root: the data set's files.
            device: where to compute.

        Raises:
            UsageError, GanzooError: a name is unknown, the data or the weights cannot be had.
        """
        self.device = device or torch.device("cpu")
        if shape is not None and len(shape) != 3:
            raise UsageError(f"no metric measures vectors yet, and '{dataset}' holds some: choose a set of images")
        with own_randomness(0, self.device):  # Networks draw weights before they load any.
            self._open(registry, dataset, metrics, features, weights, split, shape, root)

    def _open(
        self, registry: Registry, dataset: str, metrics: Sequence[str] | None, features: str | None,
        weights: Path | None, split: Split, shape: tuple[int, ...] | None, root: Path | None,
    ) -> None:  # fmt: skip
        self.chosen: dict[str, type[Metric]] = {}
        for name in metrics if metrics is not None else registry.names("metrics"):
            metric = registry.get("metrics", name)
            if metrics is not None or metric.default:
                self.chosen[name] = metric
        if not self.chosen:
            raise UsageError("no metric was named")
        self.named = metrics is not None
        source: type[Dataset] = registry.get("datasets", dataset)
        extractor = None
        if features is not None or any(metric.features for metric in self.chosen.values()):
            extractor = choose_extractor(registry, dataset, features, weights, root)
        self.extractor = extractor.to(self._statistics_device).eval() if extractor else None
        self.reference = Reference(source(), self.extractor, split, shape, root, self._statistics_device)

    @property
    def _statistics_device(self) -> torch.device:
        """Where features are computed: Apple's GPUs lack the double precision that their sums need."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def protocol(self, n: int) -> dict[str, Any]:
        """What every number of an evaluation with `n` images depends on. Results that differ in it are not compared."""
        reference, extractor = self.reference, self.extractor
        c, h, w = reference.spec.shape
        return {
            "format": FORMAT,
            "dataset": reference.name,
            "split": reference.split,
            "reference_images": len(reference.data),
            "reference_sha256": reference.fingerprint,
            "shape": [c, h, w],
            "n": n,
            "extractor": extractor.name if extractor else None,
            "extractor_sha256": extractor.sha256 if extractor else None,
            "resize": extractor.resizing(h, w) if extractor else None,
        }

    def measure(self, batches: Iterable[Images], n: int, labelled: bool, seed: int = 0) -> dict[str, Any]:
        """Measure `n` images that come in batches.

        Random numbers are the evaluation's own: whoever trains meanwhile does not notice.

        Returns:
            A result for `eval.json`: `protocol`, `metrics` (numbers by name), `settings` (of each metric),
            `left_out` (why default metrics were not measured), `confusion` where there is one.

        Raises:
            UsageError: a metric that was named cannot be measured.
            GanzooError: the images cannot be made, or what was named comes out as no number.
        """
        started = time.perf_counter()
        with exact(), torch.no_grad(), own_randomness(seed, self.device):
            setting = Setting(self.reference, n, labelled, seed, self._statistics_device)
            left_out: dict[str, str] = {}
            metrics: list[Metric] = []
            for name, kind in self.chosen.items():
                with self._leaving_out(name, left_out):
                    reason = kind.missing(setting)
                    require(
                        reason is None, f"metric '{name}' cannot be measured: {reason}" if self.named else f"{reason}"
                    )
                    metrics.append(kind(setting))
            looked = self.extractor if any(m.features for m in metrics) else None
            for images, labels in batches:
                found = looked.extract(images) if looked else None
                vectors, logits = (found.vectors, found.logits) if found else (None, None)
                batch = Measured(images, labels, vectors, logits)
                for metric in metrics:
                    metric.update(batch)
            # Some metrics train or draw: each from the seed, whichever others are measured.
            numbers: dict[str, float] = {}
            settings: dict[str, Any] = {}
            for metric in metrics:
                with self._leaving_out(metric.name, left_out), own_randomness(seed, self.device), torch.enable_grad():
                    numbers |= _finite(metric.compute())
                    settings[metric.name] = metric.settings()
        result = {
            "protocol": self.protocol(n),
            "metrics": numbers,
            "settings": settings,
            "left_out": left_out,
            "seed": seed,
            "seconds": round(time.perf_counter() - started, 3),
            "device": str(self.device),
            "versions": {"ganzoo": __version__, "torch": torch.__version__},
        }
        for metric in metrics:
            if isinstance(metric, Accuracy) and metric.name in settings:
                result["confusion"] = metric.confusion().tolist()
        return result

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


@contextmanager
def exact() -> Iterator[None]:
    """Inside, float32 is float32: a run in tf32 is measured as any other."""
    matrix, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matrix)
        torch.backends.cudnn.allow_tf32 = convolution


def generated(gan: GAN, n: int, seed: int, reference: Reference) -> Iterator[Images]:
    """`n` samples of a model whose generator is in evaluation mode, rounded to uint8, batch by batch.

    Classes come in turn; conditions with attributes are those of the reference images, in turn.

    Raises:
        GanzooError: a sample is not finite.
    """
    classes = len(gan.data.classes) if gan.conditional else 0
    step = at_once(*gan.data.shape[1:])
    for number, start in enumerate(range(0, n, step)):
        size = min(step, n - start)
        index = torch.arange(start, start + size)
        labels = None
        with torch.no_grad(), own_randomness((seed * 1_000_003 + number) % 2**31, gan.device):
            z = gan.sample_latent(size)
            if gan.conditional and gan.data.attributes:
                known = reference.data.labels
                if known is None or known.shape[1:] != (gan.data.condition_size,):
                    raise UsageError(f"model '{gan.name}' needs attributes that '{reference.name}' does not have")
                y: Tensor | None = known[index % len(known)]
                labels = class_index(known[index % len(known)], classes) if classes else None
            elif classes and gan.translates and gan.data.paired and reference.labels is not None:
                y = labels = reference.labels[index % len(reference.labels)]  # What a source shows is of its class.
            elif classes:
                y = labels = index % classes
            else:
                y = gan.sample_labels(size)
            y = None if y is None else y.to(gan.device)
            x = gan.generate(z, y, _sources(gan, reference, index)) if gan.translates else gan.generate(z, y)
        if not x.isfinite().all():
            raise GanzooError(f"model '{gan.name}' generates values that are not finite")
        yield Images(to_uint8(x).cpu(), labels)


def refuse_without_sources(gan: GAN, reference: Reference) -> None:
    """Say before anything is measured that a model that translates has nothing to start from.

    Raises:
        UsageError: the reference has no sources.
    """
    if gan.translates and reference.data.sources is None:
        raise UsageError(
            f"model '{gan.name}' makes images from images, and the {reference.split} split of '{reference.name}' has "
            "no sources"
        )


def _sources(gan: GAN, reference: Reference, index: Tensor) -> Tensor:
    """What a model that translates starts from: the reference's sources, in turn, as the model takes them.

    Raises:
        UsageError: the reference has none.
    """
    refuse_without_sources(gan, reference)
    sources, shape = reference.data.sources, gan.data.source_shape
    assert sources is not None
    assert shape is not None
    chosen = (index % len(sources)).tolist()  # type: ignore[arg-type]
    return normalised(sources, chosen, shape).to(gan.device)


def given(images: Tensor, labels: Tensor | None, n: int, seed: int) -> Iterator[Images]:
    """`n` of the images, uint8 (N, C, H, W), and labels, drawn at random without repetition, batch by batch."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]
    for index in order.split(at_once(*images.shape[2:])):
        yield Images(images[index], None if labels is None else labels[index])


def comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse to set two results side by side unless they were measured alike.

    Raises:
        UsageError: they differ in data, size, split, extractor, number of images, resizing, or a metric's settings;
            the field and both values are named.
        GanzooError: one of them is not a result.
    """
    for result in (a, b):
        if not all(isinstance(result.get(key), dict) for key in ("protocol", "metrics", "settings")):
            raise GanzooError("not a result of `ganzoo eval`: it has no protocol, metrics and settings")
    _same("", a["protocol"], b["protocol"])
    for metric in a["settings"].keys() & b["settings"].keys():
        _same(f"{metric}: ", a["settings"][metric], b["settings"][metric])


def _same(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    for key in [*a, *(key for key in b if key not in a)]:
        if a.get(key) != b.get(key):
            raise UsageError(f"these results cannot be compared: {prefix}{key} is {a.get(key)} and {b.get(key)}")


def describe(protocol: Mapping[str, Any]) -> str:
    """`mnist test (10,000), 10,000 images of 28x28x1, extractor digits 0123abcd, resize none`."""
    c, h, w = protocol["shape"]
    parts = [
        f"{protocol['dataset']} {protocol['split']} ({protocol['reference_images']:,})",
        f"{protocol['n']:,} images of {h}x{w}x{c}",
    ]
    if protocol["extractor"]:
        parts += [
            f"extractor {protocol['extractor']} {protocol['extractor_sha256'][:8]}",
            f"resize {protocol['resize']}",
        ]
    return ", ".join(parts)
