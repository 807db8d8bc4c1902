"""From a plan to a trained run: resolve names to plugins, open data and directory, train."""

import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.blame import blame
from ganzoo.data import LARGEST_SIDE, DataRequest, DataSpec, ImageSet, Loader, Views, limited, open_dataset
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line, warn
from ganzoo.files import read_json, write_json
from ganzoo.gan import GAN
from ganzoo.ingredients import parse
from ganzoo.nets import has_batch_statistics
from ganzoo.plugins import Registry
from ganzoo.runs.overfitting import Overfitting
from ganzoo.runs.run import Run, default_folder, default_folders, model_of, open_run, refuse_absent_data
from ganzoo.runs.transfer import begin_with, freeze, frozen_layers, refuse_unknown, tell, weights_of
from ganzoo.settings import BUDGET, ORIGIN, Plan, Settings, flatten, resolve, validated
from ganzoo.training.building import build, forewarning, refuse_giants
from ganzoo.training.cores import Cores
from ganzoo.training.distributed import ALONE, World, joined, restarted
from ganzoo.training.engine import Engine, choose, seed_everything
from ganzoo.training.gradients import treatments
from ganzoo.training.modes import Mode, refuse, settle
from ganzoo.training.signals import Stopped
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Schedule
from ganzoo.training.watcher import Enough, Watcher

if TYPE_CHECKING:
    from ganzoo.metrics.training import Examiner


OFTEN = 10
"""Times that an image is shown in an epoch, from which on it is said: it will be learnt by heart."""


@dataclass
class Prepared:
    """Everything a run needs, built but not started; nothing is on disk yet."""

    plan: Plan
    spec: DataSpec
    trainer: Trainer
    evaluation: "Examiner | None" = None
    initial: dict[str, Any] | None = None
    """Where the weights come from, of a run that begins with another's."""
    held_out: Callable[[], ImageSet] | None = None
    """Opens the samples that no training sees, for grids."""

    def describe(self, registry: Registry) -> dict[str, Any]:
        """The resolved plan: what `--dry-run` prints and `run.json` keeps."""
        plan, trainer = self.plan, self.trainer
        plugin = registry.provider("models", plan.model.name)
        return {
            "format": 1,
            "model": plan.model.name,
            "paper": plan.model.paper,
            "plugin": {"package": plugin.package, "version": plugin.version, "module": plugin.module},
            "preset": plan.preset,
            "settings": plan.settings.model_dump(mode="json"),
            "options": plan.options.model_dump(mode="json"),
            "data": self.spec.to_json(),
            "checksum": trainer.loader.checksum(),
            "batches_per_epoch": trainer.loader.batches_per_epoch,
            "steps": trainer.steps,
            "parameters": {name: sum(p.numel() for p in m.parameters()) for name, m in trainer.gan.players().items()},
            "machine": trainer.describe(),
            "evaluation": self.evaluation.protocol if self.evaluation else None,
            "initial": self.initial,
            "versions": versions(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv[:],
        }


def prepare(
    plan: Plan, registry: Registry, world: World = ALONE, measured: Any = None, begins: bool = True
) -> Prepared:
    """Open the data and build the model, in each of the processes that train it.

    `measured` is the protocol by which a run that goes on was evaluated before. One that `begins` takes the weights
    that it is to begin with; any other has a checkpoint of its own.

    Raises:
        UsageError: a name, device, precision or size that cannot be, or weights that do not fit.
        GanzooError: the data cannot be had, or the model cannot be built.
    """
    settings = plan.settings
    for name in settings.loggers:
        registry.get("loggers", name)
    engine = choose(world.device(settings.device), settings.precision, settings.deterministic)
    refuse(settings.engine, engine.device, world.size)
    if settings.source is not None and not plan.model.translates:
        raise UsageError(
            f"--source {settings.source}: model '{plan.model.name}' does not make images from images: leave it out"
        )
    if settings.source is not None and plan.model.own_sources:
        raise UsageError(
            f"--source {settings.source}: model '{plan.model.name}' starts from the images themselves: leave it out"
        )
    world.use(engine.device)
    data = world.first_before_others(lambda: load_data(settings, registry))
    spec = data.spec(settings.dataset)
    if settings.balance or settings.labels == "uniform":  # Fakes are of each class as often as what they face.
        spec = replace(spec, counts=())
    if isinstance(data.images, Tensor) and not data.is_images and not world.rank:
        low, high = (value.item() for value in data.images.aminmax())
        if low < -1 or high > 1:
            warn(
                f"vectors of '{settings.dataset}' run from {low:.3g} to {high:.3g}: a generator that ends in tanh, as "
                "most do, never leaves [-1, 1]"
            )
    for what, shape in (("images", spec.shape), ("sources", spec.source_shape or ())):
        if max(shape[1:], default=0) > LARGEST_SIDE:
            raise UsageError(f"{what} of {spec.name} are {shape}: say --image-size, at most {LARGEST_SIDE}")
    outline = refuse_giants(plan.model, spec, plan.options)
    if outline is not None and not world.rank and (told := forewarning(outline, spec, plan.options)):
        warn(told)
    seed_everything(settings.seed)
    gan = build(plan.model, spec, plan.options)
    spec = replace(spec, counts=gan.data.counts)  # As it draws: what uses no classes has none, and is recorded so.
    if settings.sync_batchnorm:
        gan = synchronised(gan, engine.device, world)
    mix(gan, spec, settings, registry, plan.options.batch_size)
    if settings.accumulate > 1 and plan.options.batch_size % (world.size * settings.accumulate):
        among = f" in each of {world.size} processes" if world.size > 1 else ""
        raise UsageError(
            f"--accumulate {settings.accumulate}: a batch of {plan.options.batch_size} cannot be looked at in so many "
            f"equal parts{among}: see --batch-size"
        )
    examiner = world.first_before_others(lambda: _examiner(settings, registry, gan, engine, measured))
    frozen = _frozen(gan, settings)
    trainer = _trainer(plan, gan, data, engine, world)
    initial = _begin(trainer, plan, frozen, world) if begins else None
    freeze(frozen)
    least = world.size * settings.accumulate
    if plan.options.batch_size == least and any(map(has_batch_statistics, gan.players().values())):
        raise UsageError(
            f"model '{plan.model.name}' normalises over the batch, and one image has no statistics: "
            f"--batch-size must be at least {2 * least}"
        )
    if world.rank:  # The weights are the same in all processes; latents, labels and dropout are each one's own.
        seed_everything(world.own_seed(settings.seed, 0))
    return Prepared(plan, spec, trainer, examiner, initial, lambda: to_show(settings, registry, gan))


def _frozen(gan: GAN, settings: Settings) -> list[nn.Module]:
    """What `--freeze-discriminator` names, without gradients from now on.

    Raises:
        UsageError: there is nothing to begin with, or there are too few layers.
    """
    if settings.freeze_discriminator is None:
        return []
    if settings.init_from is None:
        raise UsageError("--freeze-discriminator keeps layers as another run left them: say which run by --init-from")
    frozen = frozen_layers(gan, settings.freeze_discriminator)
    freeze(frozen)
    return frozen


def _begin(trainer: Trainer, plan: Plan, frozen: Sequence[nn.Module], world: World) -> dict[str, Any] | None:
    """Take the weights that a run is to begin with; what `run.json` keeps of them, None where there are none.

    Raises:
        UsageError, GanzooError: as `weights_of`, `begin_with` and `refuse_unknown`.
    """
    origin, gan = plan.settings.init_from, trainer.gan
    if origin is None:
        return None
    report = begin_with(gan, trainer.ema, world.on_first(lambda: weights_of(origin, gan.saved)))
    refuse_unknown(gan, frozen, report)
    if not world.rank:
        tell(report, {name: value for name, value in plan.chosen.items() if plan.sources.get(name) == ORIGIN})
    return report


def mix(gan: GAN, spec: DataSpec, settings: Settings, registry: Registry, batch_size: int) -> None:
    """Add the augmentations and regularisers that the settings name to a model.

    Raises:
        UsageError: one is unknown, named twice, or cannot be had with such options or data.
    """
    places: dict[str, tuple[str, Any, tuple[str, ...]]] = {
        "augmentations": ("--augment", gan.augmentations, settings.augment),
        "regularisers": ("--regularise", gan.regularisers, settings.regularise),
    }
    for kind, (flag, place, texts) in places.items():
        names = []
        for text in texts:
            try:
                name, values = parse(text)
                cls = registry.get(kind, name)
                for key in values:
                    if key not in cls.Options.model_fields:
                        raise UsageError(
                            f"'{name}' has no option '{key}': {did_you_mean(key, [*cls.Options.model_fields])}"
                        )
                ingredient = cls(gan.data if kind == "regularisers" else spec, validated(cls.Options, values))
            except UsageError as error:
                raise UsageError(f"{flag} {text}: {str(error).removeprefix('--')}") from None
            if name in names:
                raise UsageError(f"{flag} names '{name}' twice: give it once, with all its options")
            names.append(name)
            ingredient.batch_size = batch_size
            place.append(ingredient)


def synchronised(gan: GAN, device: torch.device, world: World) -> GAN:
    """The model with BatchNorm over the global batch, as `--sync-batchnorm` asks for.

    Raises:
        UsageError: there is one process, or no GPU: torch synchronises BatchNorm between GPUs alone.
    """
    if world.size == 1 or device.type != "cuda":
        raise UsageError("--sync-batchnorm is for several processes, each with a GPU of its own")
    return nn.SyncBatchNorm.convert_sync_batchnorm(gan, world.group)


def load_data(settings: Settings, registry: Registry, split: Any = "train") -> ImageSet:
    """The data set that the settings name, at the size they ask for."""
    dataset = registry.get("datasets", settings.dataset)()
    size, channels = settings.image_size, settings.channels
    options, source = settings.data_options, settings.source
    data = open_dataset(dataset, DataRequest(split, settings.data_root, size, channels, options, source))
    return limited(data, settings.limit) if settings.limit is not None and split == "train" else data


def held_out(settings: Settings, registry: Registry, gan: GAN) -> ImageSet:
    """The test split, as a model takes it.

    Raises:
        UsageError, GanzooError: it cannot be had, or has no sources where the model takes them.
    """
    data = gan.sourced(load_data(settings, registry, "test"))
    if gan.data.source_shape is not None and data.sources is None:
        raise UsageError("it has no sources")
    return data


def to_show(settings: Settings, registry: Registry, gan: GAN) -> ImageSet:
    """The same for grids; the training split, with a line that says so, where there is none.

    Raises:
        UsageError, GanzooError: the training split cannot be had.
    """
    try:
        return held_out(settings, registry, gan)
    except GanzooError as error:
        warn(f"grids show training images, as the test split of '{settings.dataset}' cannot be had: {one_line(error)}")
        return gan.sourced(load_data(settings, registry))


def start(plan: Plan, registry: Registry, out: Path | None = None, watchers: Sequence[Watcher] = ()) -> Run:
    """Train a new run to the end of its budget; returns its directory.

    Raises:
        UsageError, GanzooError: as `prepare`; or the directory exists; or the work failed (saved work is kept).
        Stopped: a signal came; everything is saved.
    """
    with joined() as world:
        with interruptible():
            prepared = prepare(plan, registry, world)
            folder, known = world.on_first(lambda: _where(plan, out))
        run = Run(folder, plan.settings.sample_interval, plan.settings.checkpoint_interval, world)
        with interruptible(run), run.claim():
            if not known:
                told = prepared.describe(registry) | {"sessions": [session(prepared, 0)]}
                world.on_first(lambda: run.create(told, config_of(prepared)))
            with run.lock():
                if known:
                    _restore(run, prepared.trainer, warn)
                    world.on_first(lambda: _record(folder, prepared, {}))
                _train(run, prepared, registry, watchers)
    return run


@contextmanager
def interruptible(run: Run | None = None) -> Iterator[None]:
    """Say what is saved when Ctrl-C comes where training does not listen: before its first step, or after its last.

    Raises:
        Stopped: it came.
    """
    try:
        yield
    except KeyboardInterrupt:
        saved = "nothing was saved, for training had not begun"
        if run is not None and (run.folder / "run.json").is_file():
            steps = run.checkpoints.steps()
            what = f"step {steps[-1]} is saved" if steps else "no step is saved yet"
            saved = f"{what}: `ganzoo resume {run.folder}` goes on from there"
        raise Stopped(signal.SIGINT, saved) from None


def _where(plan: Plan, out: Path | None) -> tuple[Path, bool]:
    """The run directory, and whether a launcher's earlier attempt at this very run has begun it.

    Raises:
        UsageError: an earlier attempt was another run.
    """
    names = plan.model.name, plan.settings.dataset
    if not restarted():
        return out or default_folder(*names), False
    # Its name holds the time at which the first attempt began.
    folder = out or next(reversed(default_folders(*names)), None) or default_folder(*names)
    if not (folder / "run.json").is_file():
        return folder, False
    info = open_run(folder)
    settings, options = plan.settings.model_dump(mode="json"), plan.options.model_dump(mode="json")
    if (info["model"], info.get("settings"), info.get("options")) != (plan.model.name, settings, options):
        raise UsageError(f"{folder} is another run: its settings differ from this one's; choose another --out")
    return folder, True


def session(prepared: Prepared, step: int) -> dict[str, Any]:
    """Where, and with what, a run goes on after `step`: kept in `run.json` for each time it was started."""
    trainer = prepared.trainer
    return {
        "from_step": step,
        "machine": trainer.describe(),
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def versions() -> dict[str, str]:
    """Of whatever the numbers of a run may depend on."""
    return {"ganzoo": __version__, "python": platform.python_version()} | {
        name: metadata.version(name) for name in ("torch", "torchvision", "pluggy", "numpy")
    }


def _restore(run: Run, trainer: Trainer, say: Callable[[str], None]) -> None:
    try:
        run.restore(trainer, say)
    except OSError as error:
        raise GanzooError(f"cannot write in {run.folder}: {error.strerror or error}") from error


def _record(folder: Path, prepared: Prepared, changes: Mapping[str, Any]) -> None:
    """Bring `run.json` up to date: another session begins, and perhaps with another budget.

    Raises:
        GanzooError: it cannot be written.
    """
    info, trainer = open_run(folder), prepared.trainer
    if changes:
        settings = prepared.plan.settings.model_dump(mode="json")
        info |= {"settings": settings, "steps": trainer.steps}
    if trainer.fraction < 1:
        before = info.get("sessions")
        info["sessions"] = [*(before if isinstance(before, list) else []), session(prepared, trainer.step)]
    try:
        write_json(folder / "run.json", info)
    except OSError as error:
        raise GanzooError(f"cannot write in {folder}: {error.strerror or error}") from error


def resume(
    folder: Path,
    registry: Registry,
    changes: Mapping[str, Any] | None = None,
    watchers: Sequence[Watcher] = (),
    say: Callable[[str], None] = print,
) -> Run:
    """Continue a run from its newest good checkpoint; `changes` may set a new budget, device or interval.

    Raises:
        UsageError: not a run directory, or a change that does not fit.
        GanzooError: another process holds it, no checkpoint is good, or the work failed.
        Stopped: a signal came; everything is saved.
    """
    with joined() as world:
        info = world.on_first(lambda: open_run(folder))
        if info.get("imported"):
            raise UsageError(
                f"{folder} was imported, and has no training to go on with: `ganzoo run {info['model']} --init-from "
                f"{folder}` begins one with its weights"
            )
        model = model_of(folder, info, registry)
        refuse_absent_data(folder, info, registry)
        plan = resolve(model, changes or {}, config=flatten(info, folder / "run.json"))
        run = Run(folder, plan.settings.sample_interval, plan.settings.checkpoint_interval, world)
        with interruptible(run), run.lock():
            begins = world.on_first(lambda: not run.checkpoints.steps())
            prepared = prepare(plan, registry, world, info.get("evaluation"), begins)
            _same_beginning(folder, info, prepared)
            trainer = prepared.trainer
            world.on_first(lambda: _same_data(folder, info, prepared, say))
            if not (folder / "config.json").exists() and not world.rank:
                write_json(folder / "config.json", config_of(prepared))
            _restore(run, trainer, say)
            if (changes or {}).keys() & set(BUDGET) and trainer.step > (trainer.steps or trainer.step):
                raise UsageError(f"{folder} is at step {trainer.step} already, beyond the new budget: {trainer.steps}")
            if trainer.fraction >= 1 and not world.rank:
                say(f"{folder} is finished at step {trainer.step}: a larger --epochs, --steps or --max-time goes on")
            world.on_first(lambda: _record(folder, prepared, changes or {}))
            _train(run, prepared, registry, watchers)
    return run


def _same_beginning(folder: Path, info: Mapping[str, Any], prepared: Prepared) -> None:
    """Compare the weights that a run begins with, once more, with those of its first attempt.

    Raises:
        GanzooError: they are others.
    """
    then, now = info.get("initial"), prepared.initial
    if now is not None and isinstance(then, dict) and then.get("sha256") != now["sha256"]:
        raise GanzooError(f"{folder} began with other weights than {now['run']} holds now, and has no checkpoint yet")


def _same_data(folder: Path, info: Mapping[str, Any], prepared: Prepared, say: Callable[[str], None]) -> None:
    """Compare the data with what the run began with.

    Other pixels alone are told, not refused: another version or machine may decode or resize to other roundings.

    Raises:
        UsageError: there are more or fewer images, or other shapes or classes.
    """
    now, then = prepared.spec.to_json(), info.get("data")
    if not isinstance(then, dict):
        return
    for key in ("count", "shape", "classes", "attributes", "source_shape", "paired"):
        if key in then and then[key] != now[key]:
            told = "" if key in ("classes", "attributes") else f" ({then[key]} then, {now[key]} now)"
            raise UsageError(f"{folder} began with other data than '{prepared.spec.name}' is now: {key} differ{told}")
    if "checksum" in info and info["checksum"] != prepared.trainer.loader.checksum():
        say(f"{folder} began with other pixels or labels in '{prepared.spec.name}': what follows is another training")


def config_of(prepared: Prepared) -> dict[str, Any]:
    """`config.json`: what it takes to rebuild the generator around its weights."""
    plan = prepared.plan
    return {
        "format": 1,
        "model": plan.model.name,
        "options": plan.options.model_dump(mode="json"),
        "data": prepared.spec.to_json(),
        "ganzoo": __version__,
    }


def _trainer(plan: Plan, gan: GAN, data: ImageSet, engine: Engine, world: World) -> Trainer:
    settings, share = plan.settings, (world.rank, world.size)
    loader = Loader(
        gan.sourced(data), plan.options.batch_size, settings.seed, engine.device, settings.workers, share,
        sources=gan.translates, views=Views(settings.mirror, settings.jitter), balance=settings.balance,
    )  # fmt: skip
    if loader.balanced is not None and not world.rank:
        times = loader.balanced.times(loader.batches_per_epoch * loader.batch_size)
        most = max(range(len(times)), key=times.__getitem__)
        if times[most] >= OFTEN:
            images = len(loader.balanced.members[most])
            warn(
                f"--balance: class '{data.classes[most]}' has {images:,} training image{'s' * (images > 1)}, and each "
                f"is shown {times[most]:,.0f} times an epoch"
            )
    steps = settings.total_steps(loader.batches_per_epoch, Schedule(gan).batches_per_step)
    owned = {id(p) for module in gan.players().values() for p in module.parameters()}
    idle = [name for name, p in gan.named_parameters() if id(p) not in owned and p.requires_grad]
    if idle:
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        warn(f"{idle[0]}{more} of model '{gan.name}' belong to no player, so that nothing trains them: see players()")
    treated = treatments(settings.nonfinite_gradients, settings.clip_gradients)
    trainer = Trainer(gan, loader, engine, steps, settings.max_time, world, treated, settings.accumulate)
    trainer.ema.begun = settings.init_from is not None
    return trainer


def _examiner(settings: Settings, registry: Registry, gan: GAN, engine: Engine, measured: Any) -> "Examiner | None":
    if settings.eval_every is None:
        return None
    from ganzoo.metrics.training import Examiner

    # A run that version 0.1.0 began goes on to be measured as it was: its best checkpoint is that of one curve.
    in_turn = isinstance(measured, dict) and "labels" not in measured and not gan.data.attributes
    return Examiner(registry, settings, gan, engine.device, "uniform" if in_turn else "reference")


def _note_mode(folder: Path, mode: Mode) -> None:
    """Write in `run.json` how steps are run and why; say so where a fast mode failed."""
    info = read_json(folder / "run.json")
    sessions = info.get("sessions") or [{}]
    for made in (info, sessions[-1]):
        made["machine"] = {**made.get("machine", {}), "engine": mode.used}
    write_json(folder / "run.json", {**info, "engine": mode.to_json()})
    if mode.failed:
        warn(f"steps run operator by operator: {mode.why}")


def beginning(prepared: Prepared, folder: Path) -> str:
    """What begins, or goes on, in one line: model, data, weights, device, budget, folder."""
    trainer, spec, settings = prepared.trainer, prepared.spec, prepared.plan.settings
    kind = f"images of {' x '.join(map(str, spec.shape))}" if spec.is_images else f"vectors of {spec.pixels}"
    count = sum(p.numel() for parameters in trainer.parameters.values() for p in parameters)
    where = str(trainer.engine.device)
    if trainer.world.size > 1:
        where += f", {trainer.world.size} processes"
    elif where == "cpu":
        threads = torch.get_num_threads()
        where += f", {threads} thread{'s' if threads > 1 else ''}"
    budget = [f"{trainer.steps:,} steps"] if trainer.steps else []
    budget += [f"{settings.max_time:,.0f} s"] if settings.max_time else []
    since = f" from step {trainer.step:,} on" if trainer.step else ""
    return (
        f"{trainer.gan.name} on {spec.name} ({spec.count:,} {kind}): {count:,} weights, on {where}; "
        f"{' or '.join(budget)}{since}; in {folder}"
    )


def _way(mode: Mode) -> str:
    """How steps are run, in words."""
    if mode.used == "eager":
        return f"steps run operator by operator: {mode.why}"
    how = "steps are recorded and replayed" if mode.used == "graph" else "both networks are compiled"
    return how + (f": {mode.speedup:.2g} times as fast as plain ones" if mode.speedup else "")


def _train(run: Run, prepared: Prepared, registry: Registry, watchers: Sequence[Watcher]) -> None:
    trainer, status = prepared.trainer, "failed"
    try:
        if not run.world.rank:
            run.loggers = [registry.get("loggers", n)(run.folder, trainer.step) for n in prepared.plan.settings.loggers]
            run.watchers = list(watchers)
        run.evaluation, run.held_out = prepared.evaluation, prepared.held_out
        settings, gan = prepared.plan.settings, trainer.gan
        run.overfitting = Overfitting(lambda: held_out(settings, registry, gan))
        run.cores = Cores(trainer.engine.device)
        if trainer.fraction < 1:
            run.tell(beginning(prepared, run.folder))
            run.look_around()
            mode = settle(trainer, prepared.plan.settings.engine)
            run.world.on_first(lambda: _note_mode(run.folder, mode))
            if not mode.failed:  # Which was told.
                run.tell(_way(mode))
        run.begin(trainer)
        if prepared.initial is not None:  # From here on nothing needs the other run.
            run.save(trainer)
        trainer.fit(run)
        status = "finished"
    except (Stopped, Enough, KeyboardInterrupt):
        status = "stopped"
        raise
    except GanzooError:
        raise
    except Exception as error:
        whose = blame(error)
        if isinstance(error, OSError) and not whose:
            raise GanzooError(f"cannot write in {run.folder}: {error.strerror or error}") from error
        whose = whose or f"model '{trainer.gan.name}' failed"
        raise GanzooError(f"{whose}, step {trainer.step + 1}: {one_line(error)}") from error
    finally:
        if run.cores is not None:
            run.cores.close()
        try:
            run.close(status, trainer)
        except Exception as error:
            if status == "finished":  # Otherwise something else is on its way to the user.
                whose = blame(error) or f"cannot write in {run.folder}"
                raise GanzooError(f"{whose}: {one_line(error)}") from error
