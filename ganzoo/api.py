"""From Python: train, sample, evaluate and compare as the command line does, with the same options and errors."""

import inspect
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganzoo.blame import blamed
from ganzoo.data import Dataset
from ganzoo.data.given import dataset_of
from ganzoo.errors import GanzooError, UsageError, aside, did_you_mean, warn
from ganzoo.files import read_json
from ganzoo.gan import GAN
from ganzoo.launch import resume as resume_run
from ganzoo.launch import start
from ganzoo.marks import marks
from ganzoo.plugins import GIVEN, NOT_INSTALLED, Registry, registry
from ganzoo.precision import as_usual
from ganzoo.preparing import refuse_idle_root
from ganzoo.runs.folder import open_run, read_metrics
from ganzoo.runs.hub import is_address, local
from ganzoo.runs.sampler import Drawing, Sampler
from ganzoo.runs.sampler import load as load_sampler
from ganzoo.settings import BUDGET, read_config, resolve
from ganzoo.training.engine import own_settings
from ganzoo.training.progress import Progress
from ganzoo.training.signals import Stopped, lasting
from ganzoo.training.watcher import Enough, Watcher

if TYPE_CHECKING:
    import PIL.Image

    from ganzoo.report.build import Report

CHANGES = (
    *BUDGET, "device", "precision", "deterministic", "engine", "workers", "sync_batchnorm", "sample_interval",
    "checkpoint_interval", "loggers",
)  # fmt: skip
"""What may change when a run goes on."""
FEWEST = 2
"""Images that are measured, at least."""
TRAINING = ("dataset", "data_root", "data_options", "source", "eval_every", "device", *BUDGET)
"""What `compare` trains with."""
Callback = Callable[[int, Mapping[str, Any]], Any]
"""Takes the step and a line of the log, as `TrainedRun.metrics` gives them; False ends the training, which is saved."""


class TrainedRun(Drawing):
    """A run directory, and the averaged generator in it. Made by `train` and `resume`."""

    def __init__(self, folder: str | Path, device: str = "auto", plugins: Registry | None = None):
        """Open a run directory that is there.

        Raises:
            UsageError: it is not a run directory.
            GanzooError: it is damaged.
        """
        self.folder = local(folder)
        self.plugins = plugins or registry().check()
        self._device = device
        self._sampler: Sampler | None = None
        self._info = open_run(self.folder)

    def __reduce__(self) -> tuple[type["TrainedRun"], tuple[Path, str]]:
        """As its folder, so that another process can have it.

        Raises:
            GanzooError: its model's class was handed over, and is known to this process alone.
        """
        model = self._info["model"]
        known = model in self.plugins.names("models")
        if known and self.plugins.provider("models", model).package == NOT_INSTALLED:
            raise GanzooError(
                f"{self.folder} is of a class that was handed over: give other processes the folder and the class"
            )
        return TrainedRun, (self.folder.absolute(), self._device)

    def __copy__(self) -> "TrainedRun":
        """The same in this process, where classes are known."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    @property
    def sampler(self) -> Sampler:
        """What draws, as `ganzoo.load` gives it; loaded when first asked for.

        Raises:
            UsageError, GanzooError: as `ganzoo.load`.
        """
        if self._sampler is None:
            self._sampler = load_sampler(self.folder, self._device, self.plugins)
        return self._sampler

    @property
    def device(self) -> torch.device:
        """Where samples are drawn."""
        return self.sampler.gan.device

    def to(self, device: str) -> "TrainedRun":
        """This run, drawn from on another device: `cpu`, `cuda`, `cuda:1`, `mps` or `auto`.

        Raises:
            UsageError: there is no such device here.
        """
        moved = load_sampler(self.folder, device, self.plugins)
        self._device, self._sampler = device, moved
        return self

    def metrics(self) -> list[dict[str, Any]]:
        """The log: `step`, `epoch`, `seconds`, losses and scores by name, one mapping for every 50 steps.

        Raises:
            GanzooError: it cannot be read.
        """
        return [dict(line) for line in read_metrics(self.folder)]

    @property
    def status(self) -> dict[str, Any]:
        """How training ended: `status` (finished, stopped or failed), `step`, `epoch`, `seconds`; empty before that."""
        path = self.folder / "status.json"
        value = read_json(path) if path.is_file() else {}
        return value if isinstance(value, dict) else {}

    def __repr__(self) -> str:
        status = self.status
        how = f"{status.get('status')} at step {status.get('step'):,}" if status else "not finished"
        how = "imported" if self._info.get("imported") else how
        dataset = (self._info.get("settings") or {}).get("dataset")
        return f"<ganzoo run {str(self.folder)!r}: {self._info['model']} on {dataset}, {how}>"


def train(
    model: str | type[GAN],
    *,
    dataset: Any = None,
    out: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    callback: Callback | None = None,
    value_range: tuple[float, float] | None = None,
    progress: bool = True,
    name: str | None = None,
    tags: Sequence[str] = (),
    **options: Any,
) -> TrainedRun:
    """Train a model, as `ganzoo run` does, and give its run.

    In the main thread the first SIGINT, SIGTERM or SIGHUP saves the run and ends the training; in any other thread
    signals are left alone. Random numbers are the process's, as torch's are: train one model at a time in a process.

    Args:
        model: its name, or a class, which no package needs to bring.
        dataset: a name; a `ganzoo.Dataset` class; or data in memory: a `ganzoo.ImageSet`, images (N, C, H, W) or
            (N, H, W), a pair of images and labels, or a map-style data set such as torchvision's. Default: mnist.
        out: the run directory to make; default: runs/MODEL-DATASET-DATE-TIME.
        preset: a named bundle of options.
        config: a TOML file of options, or the run.json of a run to repeat.
        callback: called with the step and the values logged, every 50 steps. Where it returns False training ends
            early; where it raises, the run is saved and the exception raised.
        value_range: (0, 1) or (-1, 1): where floating-point images of `dataset` lie.
        progress: whether progress is shown on stderr.
        name: what reports and lists call the run.
        tags: words to find it by.
        **options: those of `ganzoo run MODEL`, with '_' for '-': `max_time="1m"`, `batch_size=128`, `seed=0`.

    Raises:
        UsageError: something that cannot be: a name, an option, a value, a directory that exists.
        GanzooError: the work failed; what was saved is kept.
        KeyboardInterrupt: the user interrupted; the run is saved, and `resume` goes on.
        Stopped: SIGTERM or SIGHUP came; the run is saved.
    """
    if not isinstance(tags, Iterable):
        raise UsageError(f"tags are words in a list, not {type(tags).__name__}")
    called = marks(name, [tags] if isinstance(tags, str) else tags)
    place, settings_file = _path("out", out), _path("config", config)
    plugins, cls = _model(registry().check(), model)
    plugins, named = _data(plugins, dataset, value_range)
    if isinstance(options.get("init_from"), TrainedRun):
        options["init_from"] = options["init_from"].folder
    elif is_address(options.get("init_from")):
        options["init_from"] = local(options["init_from"])
    given = {**options, **({} if named is None else {"dataset": named})}
    file = read_config(settings_file) if settings_file is not None else None
    if file and file.get("model", cls.name) != cls.name:
        raise UsageError(f"{config} is for model '{file['model']}', not '{cls.name}'")
    with _in_python():
        plan = resolve(cls, given, preset, file)
        refuse_idle_root(plan, given, plugins)
    folder = _trained(lambda watchers: start(plan, plugins, place, watchers(), called).folder, progress, callback)
    return TrainedRun(folder, plan.settings.device, plugins)


def resume(
    run: str | Path | TrainedRun,
    *,
    model: type[GAN] | None = None,
    dataset: Any = None,
    callback: Callback | None = None,
    value_range: tuple[float, float] | None = None,
    progress: bool = True,
    **changes: Any,
) -> TrainedRun:
    """Continue a run from its last good checkpoint, as `ganzoo resume` does, and give it.

    Args:
        run: its directory, or what `train` gave.
        model: the model's class, where no package brings it.
        dataset: the data, where it was handed over.
        callback: as `train` takes it.
        value_range: as `train` takes it.
        progress: whether progress is shown on stderr.
        **changes: a larger budget (`epochs`, `steps`, `max_time`), or one of `device`, `precision`,
            `deterministic`, `engine`, `workers`, `sync_batchnorm`, `sample_interval`, `checkpoint_interval` and
            `loggers`.

    Raises:
        UsageError, GanzooError, KeyboardInterrupt, Stopped: as `train`.
    """
    plugins = run.plugins if isinstance(run, TrainedRun) else registry().check()
    folder = _folder(run)
    named: dict[str, str | None] = {}
    if model is not None:
        plugins, cls = _model(plugins, model)
        named["model"] = cls.name
    if dataset is not None:
        plugins, named["dataset"] = _data(plugins, dataset, value_range)
    for name in changes.keys() - set(CHANGES):
        raise UsageError(f"a run cannot be resumed with another '{name}': {did_you_mean(name, list(CHANGES))}")
    if named:
        info = open_run(folder)
        settings = info.get("settings")
        own_data = settings.get("dataset") if isinstance(settings, dict) else None
        for what, own in (("model", info["model"]), ("dataset", own_data)):
            if own is not None and named.get(what, own) != own:
                raise UsageError(f"{folder} is of {what} '{own}', not '{named[what]}': a run goes on with its own")
    with _in_python():
        _trained(lambda watchers: resume_run(folder, plugins, changes, watchers(), warn).folder, progress, callback)
    return TrainedRun(folder, str(changes.get("device", "auto")), plugins)


@blamed()
@as_usual()
def evaluate(
    what: str | Path | TrainedRun | Tensor,
    *,
    labels: Tensor | Literal["reference", "uniform"] | None = None,
    dataset: Any = None,
    data_root: str | Path | None = None,
    data_options: Mapping[str, Any] | None = None,
    value_range: tuple[float, float] | None = None,
    split: Literal["train", "test"] = "test",
    metrics: Sequence[str] | None = None,
    features: str | None = None,
    inception_weights: str | Path | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    checkpoint: str | int | None = None,
    **sampling: Any,
) -> dict[str, Any]:
    """Measure a run's generator, or images, as `ganzoo eval` does.

    Args:
        what: a run, its directory or its address on the hub, an .npz or a folder of pictures, or images, uint8
            (N, C, H, W).
        labels: the classes of images that are a tensor, int64 (N,); or which classes a run is asked for: as often as
            the reference has them ("reference", the default), or in turn ("uniform").
        dataset: the data set to measure against, as `train` takes it; default: the run's own, else mnist.
        data_root: where its files are.
        data_options: its own options, by name; default: those that the run was trained with.
        value_range: as `train` takes it.
        split: its part.
        metrics: by name; default: those that `ganzoo list metrics` marks as default.
        features: the extractor: a name, a data set that one was trained for, or a file.
        inception_weights: the file for `features="inception"`.
        n: number of images; default: 10,000, or all.
        seed: of the samples.
        device: where to compute.
        out: the JSON file to write; default: RUN/eval.json, where `compare` finds it, and none for images.
        checkpoint: of a run, `best`, `last` or a step; default: as it was last saved.
        **sampling: a run's options of drawing, where its model has any: `truncation=0.7`.

    Returns:
        What `ganzoo eval --json` prints: `metrics` by name, `protocol`, `settings`, `left_out`.

    Raises:
        UsageError: a name or an image set that cannot be.
        GanzooError: the work failed.
    """
    from ganzoo.metrics.images import read_images
    from ganzoo.runs.measuring import keep_result, measure_images, measure_run, write_result
    from ganzoo.training.engine import choose_device

    plugins, folder = registry().check(), None
    if split not in ("train", "test"):
        raise UsageError(f"split must be 'train' or 'test', not {split!r}")
    if n is not None:
        _whole_number("n", n, FEWEST)
    if isinstance(metrics, str) or not isinstance(metrics, Iterable | None):
        raise UsageError(f"metrics must be names in a list: [{str(metrics)!r}]")
    if metrics is not None and not all(isinstance(name, str) for name in metrics):
        raise UsageError(f"metrics must be names in a list, not {[*metrics]!r}")
    if not isinstance(features, str | PathLike | None):
        raise UsageError(f"features must be a name or a path, not {type(features).__name__}")
    if not isinstance(data_options, Mapping | None):
        raise UsageError(f"data_options must be options by name, not {type(data_options).__name__}")
    _whole_number("seed", seed, 0)
    if not isinstance(what, str | PathLike | TrainedRun | Tensor):
        raise UsageError(f"a run, its folder, or images are measured, not {type(what).__name__}")
    if isinstance(what, str) and is_address(what):
        what = local(what)
    if isinstance(what, TrainedRun):
        plugins, folder = what.plugins, what.folder
    elif not isinstance(what, Tensor) and any((Path(what) / name).is_file() for name in ("run.json", "config.json")):
        folder = Path(what)
    plugins, dataset = _data(plugins, dataset, value_range)
    options: dict[str, Any] = {
        "metrics": metrics, "features": features, "weights": _path("inception_weights", inception_weights),
        "split": split, "device": choose_device(device), "data_options": data_options or {},
    }  # fmt: skip
    root, target = _path("data_root", data_root), _path("out", out)
    if folder is not None:
        if isinstance(labels, Tensor):
            raise UsageError("labels of a run are 'reference' or 'uniform': which classes it is asked for")
        if labels not in (None, "reference", "uniform"):
            raise UsageError(f"labels must be 'reference' or 'uniform', not {labels!r}")
        evaluator, result = measure_run(folder, plugins, dataset, root, n, seed, options, labels, sampling, checkpoint)
        keep_result(folder, checkpoint, target, result, evaluator)
        return result
    elif checkpoint is not None:
        raise UsageError("checkpoint is for a run: these images are drawn already")
    elif sampling:
        raise UsageError(f"{next(iter(sampling))} is an option of drawing, for a run: these images are drawn already")
    elif labels is not None and not (isinstance(what, Tensor) and isinstance(labels, Tensor)):
        raise UsageError("labels are int64 (N,) beside images that are a tensor; others have the labels they have")
    elif isinstance(what, Tensor):
        assert labels is None or isinstance(labels, Tensor)
        if what.dtype != torch.uint8 or what.dim() != 4 or what.shape[1] not in (1, 3):
            kind = str(what.dtype).removeprefix("torch.")
            raise UsageError(f"images must be uint8 (N, C, H, W) with 1 or 3 channels, not {kind} {tuple(what.shape)}")
        if labels is not None and (labels.dtype != torch.int64 or labels.shape != what.shape[:1]):
            raise UsageError(f"labels must be int64 ({len(what)},), one for each image, not {tuple(labels.shape)}")
        evaluator, result = measure_images("images", what, labels, plugins, dataset, root, n, seed, options)
    else:
        images, found = read_images(Path(str(what)))
        evaluator, result = measure_images(str(what), images, found, plugins, dataset, root, n, seed, options)
    if target is not None:
        write_result(target, result, evaluator)
    return result


def push(run: str | Path | TrainedRun, to: str, *, private: bool = False, message: str | None = None) -> str:
    """Put a run on the Hugging Face hub, as `ganzoo push` does, and give its address there, `hf://owner/name`.

    Args:
        run: its directory, or what `train` gave.
        to: owner/name.
        private: whether a repository that is made is seen by its owner alone.
        message: of the commit.

    Raises:
        UsageError: it is no run, its model is in no package, or the hub does not let this user write.
        GanzooError: the run is damaged, or the hub cannot be reached.
    """
    from ganzoo.runs.push import push as push_run

    if not isinstance(to, str):
        raise UsageError(f"a run is put on the hub as 'owner/name', not {to!r}")
    return push_run(_folder(run), to, private, message).address


class Comparison:
    """Runs side by side, and what follows from their numbers. Made by `compare`."""

    def __init__(self, report: "Report", runs: list[TrainedRun], plugins: Registry):
        self.report, self.runs, self._plugins = report, runs, plugins

    @property
    def verdict(self) -> list[str]:
        """Who is best, by how much and how sure, in sentences."""
        return [*self.report.verdict, *(f"note: {caution}" for caution in self.report.cautions)]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return self.report.to_json()

    def save(self, path: str | Path) -> Path:
        """Write the report as .html, .md, .csv or .json; a report that is there is replaced, any other file is not.

        Raises:
            UsageError: the name says none of these, or is taken.
            GanzooError: the place cannot be written.
        """
        from ganzoo.report.files import check_targets, write

        (target,) = check_targets([Path(path)], Path(path))
        write(self.report, target, self._plugins)
        return target

    def __repr__(self) -> str:
        return "\n".join(self.verdict)

    def _repr_html_(self) -> str:
        """The page, in a frame of its own, as notebooks show it."""
        from html import escape

        from ganzoo.report.html import page

        frame = escape(page(self.report, self._plugins), quote=True)
        return f'<iframe srcdoc="{frame}" width="100%" height="800" style="border: 0"></iframe>'


@as_usual()
def compare(
    what: Sequence[str | Path | TrainedRun | type[GAN]],
    *,
    seeds: Sequence[int] = (0,),
    out: str | Path = "runs/compare",
    sampling: Mapping[str, Any] | None = None,
    evaluate: bool = False,
    callback: Callback | None = None,
    progress: bool = True,
    **training: Any,
) -> Comparison:
    """Set runs side by side, as `ganzoo compare` does; models are trained and measured first.

    Args:
        what: runs, their directories, folders of runs, names of models (`"cgan"`, `"cgan:tutorial"`) and classes.
        seeds: with which models are trained.
        out: the folder of trained runs. What is there and done is used as it is.
        sampling: options of drawing by name, for the models that have them.
        evaluate: whether runs that are not measured yet are measured first, as most of the others were.
        callback: as `train` takes it; where it returns False, the call ends with a GanzooError. Repeated, it goes on.
        progress: whether progress is shown on stderr.
        **training: options of training: `dataset`, `data_root`, `data_options`, `source`, `max_time`, `epochs`,
            `steps`, `eval_every`, `device`.

    Raises:
        UsageError: something that cannot be.
        GanzooError: everything failed; what else fails is in the report's `failed`.
        KeyboardInterrupt, Stopped: as `train`; the same call goes on from there.
    """
    from ganzoo.provide import check_sampling, measure_all, plans, provide_all
    from ganzoo.report.build import build
    from ganzoo.report.named import sort_out

    if isinstance(what, str | Path | TrainedRun):
        raise UsageError("compare takes a list: ganzoo.compare([...])")
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise UsageError(f"seeds are whole numbers in a list: [{seeds}]")
    plugins, names = registry().check(), list[str]()
    for item in what:
        if isinstance(item, TrainedRun):
            plugins = item.plugins.over(plugins)
            names.append(f"{item.folder}/")
        elif isinstance(item, type):
            plugins, cls = _model(plugins, item)
            names.append(cls.name)
        else:
            names.append(str(item))
    for name in training.keys() - set(TRAINING):
        raise UsageError(f"compare has no option '{name}': {did_you_mean(name, list(TRAINING))}")
    named = sort_out(names, plugins.names("models"))
    drawn = {name: str(value) for name, value in (sampling or {}).items()}
    if (training or drawn) and not named.models:
        raise UsageError(f"{next(iter(training), 'sampling')} is for models that are to be trained, and none is named")

    def say(line: str) -> None:
        if progress:
            aside(line)

    for note in named.notes:
        say(f"note: {note}")
    with _in_python():
        made = plans(named.models, list(seeds), {"eval_every": 1.0, "loggers": (), **training}, plugins)
        check_sampling(made, drawn)
    trained, failed = list[Path](), dict[Path, GanzooError]()
    apart = callback is None and not any(isinstance(item, type) for item in what)  # Neither could go there.

    def work(watchers: Callable[[], list[Watcher]]) -> Path:
        found = provide_all(made, Path(out), plugins, watchers, say, drawn, apart)
        trained.extend(found[0])
        failed.update(found[1])
        return Path(out)

    if made and _trained(work, progress, callback) != Path(out):
        raise GanzooError("the callback ended the comparison; the same call goes on from there")
    folders = named.folders(trained)
    if evaluate:
        failed |= measure_all([folder for folder in folders if folder not in failed], plugins, say)
    if failed and failed.keys() >= set(folders):
        raise next(iter(failed.values()))
    report = build(folders, named.benchmarks, failed=[str(error) for error in failed.values()])
    shown = [run.folder for line in report.lines for run in line.runs]
    return Comparison(report, [TrainedRun(folder, plugins=plugins) for folder in shown], plugins)


def picture(images: Tensor, columns: int = 8) -> "PIL.Image.Image":
    """Images, float (N, C, H, W) in [-1, 1] or uint8, as one picture, `columns` in a row: a notebook shows it.

    Raises:
        UsageError: they are no images, or there are none; or `columns` is not 1 or more.
    """
    from PIL import Image

    from ganzoo.data import to_uint8
    from ganzoo.runs.pictures import tile

    if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        told = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"a picture is made of images (N, C, H, W) with 1 or 3 channels, not of {told}")
    _whole_number("columns", columns)
    return Image.fromarray(tile(images if images.dtype == torch.uint8 else to_uint8(images), columns))


class _Told(Watcher):
    """Tells a callback what is logged, and ends the training as it says."""

    def __init__(self, callback: Callback):
        self.callback = callback
        self.error: BaseException | None = None

    def log(self, line: Mapping[str, Any]) -> None:
        if self.enough:
            return
        try:
            answer: Any = self.callback(int(line["step"]), dict(line))
            self.enough = isinstance(answer, bool | np.bool_) and not answer
        except BaseException as error:
            self.error, self.enough = error, True


def _trained(work: Callable[[Callable[[], list[Watcher]]], Path], progress: bool, callback: Callback | None) -> Path:
    """What `work` gives, or the folder of the run that the callback ended."""
    if callback is not None and (not callable(callback) or inspect.iscoroutinefunction(callback)):
        raise UsageError(f"a callback is a function of the step and what is logged, not {callback!r}")
    told = _Told(callback) if callback is not None else None

    def watchers() -> list[Watcher]:
        return [*([Progress()] if progress else []), *([told] if told else [])]

    try:
        with lasting(), own_settings(), blamed():
            folder = work(watchers)
    except Enough as end:
        if told is not None and told.error is not None:
            told.error.add_note(f"the run is saved: ganzoo.resume({str(end.folder)!r}) goes on from there")
            raise told.error from None
        return end.folder
    except Stopped as stopped:
        if stopped.exit_code == 128 + signal.SIGINT:
            raise KeyboardInterrupt(stopped.saved) from None
        raise
    if told is not None and told.error is not None:  # It came with the very last line of the log.
        raise told.error
    return folder


def _folder(run: Any) -> Path:
    """The directory of a run."""
    if isinstance(run, TrainedRun):
        return run.folder
    if not isinstance(run, str | PathLike):
        raise UsageError(f"a run is its folder, or what `train` gave, not {type(run).__name__}")
    return local(run) if isinstance(run, str) else Path(run)


def _path(name: str, value: Any) -> Path | None:
    if value is not None and not isinstance(value, str | PathLike):
        raise UsageError(f"{name} must be a path, not {type(value).__name__}")
    return None if value is None else Path(value)


def _whole_number(name: str, value: Any, least: int = 1) -> None:
    try:
        fits = least <= index(value) < 2**31
    except TypeError:
        fits = False
    if not fits:
        raise UsageError(f"{name} must be a whole number, {least:,} to {2**31 - 1:,}, not {value!r}")


def _model(plugins: Registry, model: Any) -> tuple[Registry, type[GAN]]:
    """The class of a model, and a registry that has it."""
    if isinstance(model, str):
        cls: type[GAN] = plugins.get("models", model)
        return plugins, cls
    if not isinstance(model, type):
        raise UsageError(f"a model is named, or given as its class, not as {type(model).__name__}")
    plugins, given = plugins.having("models", model), model
    return plugins, given


def _data(plugins: Registry, dataset: Any, value_range: tuple[float, float] | None) -> tuple[Registry, str | None]:
    """A registry that has the data set, and its name; None: the default."""
    if dataset is None or isinstance(dataset, str):
        if value_range is not None:
            raise UsageError("value_range is for data in memory, not for a data set that is named")
        return plugins, dataset
    if inspect.isclass(dataset) and issubclass(dataset, Dataset):
        return plugins.having("datasets", dataset), dataset.name
    return plugins.having("datasets", dataset_of(dataset, GIVEN, value_range)), GIVEN


@contextmanager
def _in_python() -> Iterator[None]:
    """Inside, an error does not speak of the command line."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).removeprefix("command line: ")) from None
