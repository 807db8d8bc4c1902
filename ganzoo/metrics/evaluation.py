"""One evaluation: images in, a result out in which no number stands without what it depends on."""

import json
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ganzoo import __version__
from ganzoo.blame import blame
from ganzoo.data import Dataset
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line, plain
from ganzoo.metrics.base import (
    Drawer,
    FeatureExtractor,
    Images,
    Measured,
    Metric,
    Recogniser,
    Setting,
    require,
)
from ganzoo.metrics.classifier import Trained, trained_file, trained_files, training_command
from ganzoo.metrics.extractor import Coordinates
from ganzoo.metrics.labels import Accuracy
from ganzoo.metrics.protocol import FORMAT, UNSEEN
from ganzoo.metrics.reference import Reference, Split
from ganzoo.metrics.together import looking
from ganzoo.plugins import Registry
from ganzoo.training.distributed import ALONE, World
from ganzoo.training.engine import own_randomness, settings_kept

POOR = 0.7
"""Share of its own test images, below which an extractor that classifies is not to be relied on."""
TESTED_ON = {"held-out": "the images held out from it", "train": "the images that it was trained on"}
SEEN_THROUGH = ("accuracy", "precision")
"""Numbers that are as good as the extractor is."""


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
                f"`{training_command(dataset, shape, root, data_options)}`, or look through another with "
                f"`ganzoo eval --features` ({', '.join(known)})"
            )
        name = made[0] if made else dataset
    if name in known:
        return _stated(registry.get("features", name)(weights))
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


def _stated(extractor: FeatureExtractor) -> FeatureExtractor:
    """One that a plugin brings, which says of itself what every metric asks."""
    for member, kind, word in (("num_features", Integral, "int"), ("sha256", str, "str")):
        if not isinstance(given := getattr(extractor, member, None), kind):
            said = f"does not state {member}" if given is None else f"states {member} {given!r:.40}"
            raise GanzooError(f"feature extractor '{extractor.name}' {said}: {word} is meant")
    return extractor


def _none_without_classes(dataset: str, registry: Registry) -> str:
    names = ", ".join(registry.names("features"))
    return (
        f"no feature extractor is known for '{dataset}', and it has no classes to train one by: name one with "
        f"--features ({names})"
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
        without_features: bool = False,
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
            without_features: where no extractor is known for the data, and neither one nor metrics were named, to
                measure what needs none, and to say so among the cautions.

        Raises:
            UsageError, GanzooError: a name is unknown, the data or the weights cannot be had.
        """
        self.device = device or torch.device("cpu")
        self.unseen: str | None = None
        """Why nothing was looked at through an extractor, though metrics would have."""
        self._may_lack = without_features and features is None and metrics is None
        with own_randomness(0, self.device):  # Networks draw weights before they load any.
            self._open(registry, dataset, metrics, features, weights, split, shape, root, data_options, source)

    def _open(
        self, registry: Registry, dataset: str, metrics: Sequence[str] | None, features: str | None,
        weights: Path | None, split: Split, shape: tuple[int, ...] | None, root: Path | None,
        data_options: Any, source: str | None,
    ) -> None:  # fmt: skip
        self.chosen: dict[str, type[Metric]] = {}
        vectors = shape is not None and len(shape) == 1
        self.known = set(registry.names("metrics"))
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
            try:
                extractor = choose_extractor(registry, dataset, features, weights, root, shape, data_options)
            except UsageError as error:
                if not self._may_lack:
                    untrainable = (
                        features is None
                        and not Reference(
                            kind(), None, split, shape, root, data_options=data_options, source=source
                        ).data.classes
                    )
                    raise UsageError(_none_without_classes(dataset, registry)) if untrainable else error from None
                self.unseen = str(error)
                self.chosen = {key: metric for key, metric in self.chosen.items() if not metric.features}
        if extractor is not None and not isinstance(getattr(extractor, "sha256", None), str):
            raise GanzooError(f"feature extractor '{extractor.name}' has no sha256, of its weights, as text")
        self.extractor = extractor.to(self._statistics_device).eval() if extractor else None
        device = self._statistics_device
        self.reference = Reference(kind(), self.extractor, split, shape, root, device, data_options, source)
        if self.unseen and not self.reference.data.classes:
            self.unseen = _none_without_classes(dataset, registry)

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
            "reference_glance": reference.glance,
            "shape": list(reference.spec.shape),
            "n": n,
            "labels": None,
            **(drawn or {}),
            **({"source": reference.source} if drawn and "made_from" in drawn else {}),
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
        world: World = ALONE,
    ) -> dict[str, Any]:
        """Measure `n` images that come in batches, drawn as `drawn` says, if they were drawn.

        Of several processes, those of `world`, each gives its share of the batches, as `generated` makes them, and
        looks at it; the first measures all, in their order: the same numbers as one process finds.

        `labelled`, `paired` and `cycled`: whether they come with labels, targets and cycle errors; `recognise`: as
        `recogniser` gives it, and whether these are `clusters`; `draw`: as `drawer` gives it.
        `intervals`: whether it is reckoned how far other images would move the numbers.

        Random numbers are the evaluation's own: whoever trains meanwhile does not notice.

        Returns:
            A result for `eval.json`: `protocol`, `metrics` (numbers by name), `intervals` (of some of them, two
            ends: 95 % of drawings of as many images, by bootstrap), `settings` (of each metric),
            `left_out` (why default metrics were not measured), `cautions` (why numbers mean less than they seem to),
            `seed`, `seconds`, `device`, `versions`, and `confusion` where there is one. In other processes than the
            first, nothing.

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
            metrics = [] if world.rank else self._metrics(setting, left_out)
            if not (world.rank or metrics) and self.unseen:
                raise UsageError(self.unseen)
            features = world.on_first(lambda: any(metric.features for metric in metrics))
            for batch in world.in_turn(self._looked_at(batches, features, world)):
                self._feed(metrics, batch.on(self._statistics_device), left_out)
            if world.rank:
                return {}
            found = self._found(metrics, setting, left_out)
        result = {
            "protocol": self.protocol(n, drawn),
            **found,
            "left_out": left_out,
            "cautions": self.cautions(found["metrics"], n),
            "seed": seed,
            "seconds": round(time.perf_counter() - started, 3),
            "device": str(self.device),
            "versions": {"ganzoo": __version__, "torch": torch.__version__},
        }
        for metric in metrics:
            if isinstance(metric, Accuracy) and metric.name in found["settings"]:
                result["confusion"] = metric.confusion().tolist()
        return result

    def _feed(self, metrics: Sequence[Metric], batch: Measured, left_out: dict[str, str]) -> None:
        """Show the metrics that are not left out a batch, which none of them may change."""
        for metric in metrics:
            if metric.name not in left_out:
                before = _versions(batch)
                with self._leaving_out(metric.name, left_out):
                    metric.update(batch)
                if _versions(batch) != before:  # And so what those after it see.
                    who = f"metric '{metric.name}'"
                    raise GanzooError(f"{who} changes what it is given in place: let update() work on a copy")

    def _found(self, metrics: Sequence[Metric], setting: Setting, left_out: dict[str, str]) -> dict[str, Any]:
        """What they say: some train or draw, each from the seed, whichever others are measured."""
        numbers: dict[str, float] = {}
        settings: dict[str, Any] = {}
        around: dict[str, list[float]] = {}
        for metric in [metric for metric in metrics if metric.name not in left_out]:
            with (
                self._leaving_out(metric.name, left_out),
                own_randomness(setting.seed, self.device),
                torch.enable_grad(),
            ):
                numbers |= _told(metric, numbers.keys() | (self.known - {metric.name}))
                if setting.intervals:
                    around |= _around(metric)
                settings[metric.name] = _settings(metric)
        return {"metrics": numbers, "intervals": around, "settings": settings}

    def _metrics(self, setting: Setting, left_out: dict[str, str]) -> list[Metric]:
        """What is measured; the others, with the reason, go to `left_out`.

        Raises:
            UsageError: a metric that was named cannot be measured.
        """
        metrics = []
        for name, kind in self.chosen.items():
            if not (self.named or kind.concerns(setting)):
                continue
            with self._leaving_out(name, left_out):
                reason = kind.missing(setting)
                require(reason is None, f"metric '{name}' cannot be measured: {reason}" if self.named else f"{reason}")
                metrics.append(kind(setting))
        return metrics

    def _looked_at(self, batches: Iterable[Images], features: bool, world: World) -> Iterator[Measured]:
        """The batches with what the extractor says of them, if it is to be asked; on the CPU, from where it can be
        sent, where there are several processes."""
        looked = looking(self.extractor, world.size) if features and self.extractor else None
        for images, labels, targets, cycle in batches:
            vectors, logits = looked(images) if looked else (None, None)
            batch = Measured(images, labels, vectors, logits, targets, cycle)
            yield batch if world.size == 1 else batch.on(torch.device("cpu"))

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
        if self.unseen:
            found.append(f"{UNSEEN}: {self.unseen}")
        if self.reference.data.split == "train" and self.reference.split == "test":
            found.append(f"'{self.reference.name}' has no test split here: the reference is the training images")
        if extractor is not None and self._is_stale(extractor):
            asked = self.reference.name, self.reference.spec.shape, self.reference.root, self.reference.data_options
            found.append(
                f"the extractor '{extractor.name}' was trained on other images, labels or classes than these: "
                f"`{training_command(*asked)}` makes it anew"
            )
        reached = extractor.accuracy if extractor is not None else None
        spoilt = [name for name in SEEN_THROUGH if name in measured]
        if extractor is not None and reached is not None and reached < POOR and spoilt:
            found.append(
                f"the extractor '{extractor.name}' is itself right about {reached:.0%} of "
                f"{TESTED_ON.get(extractor.tested_on, 'its test images')}: "
                f"{' and '.join(spoilt)} {'say' if len(spoilt) > 1 else 'says'} little"
            )
        return found

    def _is_stale(self, extractor: FeatureExtractor) -> bool:
        """Whether an extractor that was trained for these data, at any size, has learnt from others than they are now.

        Of another one, which somebody named, it is known.
        """
        if not (isinstance(extractor, Trained) and extractor.trained_on and self.reference.data.is_images):
            return False
        seen, reference = extractor.shape, self.reference
        shape = (seen.channels, seen.side, seen.side)
        own = trained_file(reference.name, shape, reference.root).stem == extractor.name
        return own and extractor.trained_on != reference.training_glimpse(shape)

    @contextmanager
    def _leaving_out(self, name: str, left_out: dict[str, str]) -> Iterator[None]:
        """Where nobody named the metrics, one that cannot be measured does not cost the others."""
        try:
            yield
        except Exception as error:  # A metric may be a stranger's.
            if self.named:
                raise
            told = isinstance(error, GanzooError)
            left_out[name] = str(error) if told else f"{blame(error) or f'metric {name} failed'}: {one_line(error)}"


def _versions(batch: Measured) -> list[int]:
    """How often each tensor of a batch was changed."""
    return [part._version for part in batch if isinstance(part, torch.Tensor) and not part.is_inference()]


def _told(metric: Metric, there: Collection[str]) -> dict[str, float]:
    """What a metric comes to, by other names than those that are `there`.

    Raises:
        GanzooError: that is no numbers by name, one is not finite, or has the name of another's.
    """
    found, who = metric.compute(), f"metric '{metric.name}'"
    if not isinstance(found, Mapping) or not found:
        kind = "nothing" if isinstance(found, Mapping) else type(found).__name__
        raise GanzooError(f"{who}: compute() gives {kind}, not a dict of named numbers")
    numbers = {}
    for given, value in found.items():
        name = plain(str(given))
        try:  # A scalar tensor, or NumPy's number, is one too.
            numbers[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            kind = type(value).__name__
            raise GanzooError(f"{who}: compute() gives {kind} by the name of '{name}', not a number") from None
        if name in there:
            raise GanzooError(f"{who}: compute() gives '{name}', which another metric gives: name it otherwise")
        if not math.isfinite(numbers[name]):
            raise GanzooError(f"{name} comes out as {value}")
    return numbers


def _around(metric: Metric) -> dict[str, list[float]]:
    """Its intervals, without those that have an end which is not finite.

    Raises:
        GanzooError: they are no pairs of numbers by name.
    """
    found = metric.intervals()
    try:
        ends = {plain(str(name)): [float(low), float(high)] for name, (low, high) in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        who, kind = f"metric '{metric.name}'", plain(repr(found))[:100]
        raise GanzooError(f"{who}: intervals() gives {kind}, not two ends by the name of each number") from error
    return {name: pair for name, pair in ends.items() if _all_finite(pair)}


def _settings(metric: Metric) -> Any:
    """Its settings.

    Raises:
        GanzooError: they are no dict that JSON can hold.
    """
    found, who = metric.settings(), f"metric '{metric.name}'"
    if not isinstance(found, dict):
        raise GanzooError(f"{who}: settings() gives {type(found).__name__}, not a dict")
    try:
        json.dumps(found)
    except (TypeError, ValueError, RecursionError) as error:
        raise GanzooError(f"{who}: settings() gives what JSON cannot hold: {one_line(error)}") from error
    return found


def _all_finite(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) for value in values)


@contextmanager
def exact() -> Iterator[None]:
    """Inside, float32 is float32, and cudnn tries nothing out: a run in tf32 is measured as any other."""
    cudnn = torch.backends.cudnn
    with settings_kept():
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, True
        yield
