"""From a plan to a trained run: resolve names to plugins, open data and directory, train."""

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import __version__
from ganzoo.data import DataRequest, DataSpec, ImageSet, Loader, open_dataset
from ganzoo.engine import Engine, choose, seed_everything
from ganzoo.errors import GanzooError, one_line
from ganzoo.files import write_json
from ganzoo.gan import GAN
from ganzoo.plugins import Registry
from ganzoo.run import Run, Watcher, default_folder, open_run
from ganzoo.settings import Plan, Settings, flatten, resolve
from ganzoo.signals import Stopped
from ganzoo.trainer import Trainer

if TYPE_CHECKING:
    from ganzoo.metrics.training import Examiner


@dataclass
class Prepared:
    """Everything a run needs, built but not started; nothing is on disk yet."""

    plan: Plan
    spec: DataSpec
    trainer: Trainer
    evaluation: "Examiner | None" = None

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
            "batches_per_epoch": trainer.loader.batches_per_epoch,
            "steps": trainer.steps,
            "parameters": {name: sum(p.numel() for p in parameters) for name, parameters in trainer.parameters.items()},
            "machine": trainer.engine.describe(),
            "evaluation": self.evaluation.protocol if self.evaluation else None,
            "versions": {"ganzoo": __version__, "python": platform.python_version()}
            | {name: metadata.version(name) for name in ("torch", "torchvision", "pluggy", "numpy")},
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv[:],
        }


def prepare(plan: Plan, registry: Registry) -> Prepared:
    """Open the data and build the model.

    Raises:
        UsageError: a name, device, precision or size that cannot be.
        GanzooError: the data cannot be had, or the model cannot be built.
    """
    settings = plan.settings
    for name in settings.loggers:
        registry.get("loggers", name)
    engine = choose(settings.device, settings.precision)
    data = load_data(settings, registry)
    spec = data.spec(settings.dataset)
    seed_everything(settings.seed)
    gan = build(plan.model, spec, plan.options)
    return Prepared(plan, spec, _trainer(plan, gan, data, engine), _examiner(settings, registry, gan, engine))


def build(model: type[GAN], spec: DataSpec, options: Any) -> GAN:
    """A model for the data, its plugin's faults told in one line.

    Raises:
        GanzooError: the plugin raised, or left out a network.
    """
    try:
        gan = model(spec, options)
    except GanzooError:
        raise
    except Exception as error:
        raise GanzooError(
            f"model '{model.name}' cannot be built for {spec.name} {spec.shape}: {one_line(error)}"
        ) from error
    for network in ("generator", "discriminator"):
        if not hasattr(gan, network):
            raise GanzooError(f"model '{model.name}' does not set self.{network} in __init__")
    return gan


def load_data(settings: Settings, registry: Registry, split: Any = "train") -> ImageSet:
    """The data set that the settings name, at the size they ask for."""
    dataset = registry.get("datasets", settings.dataset)()
    return open_dataset(dataset, DataRequest(split, settings.data_root, settings.image_size, settings.channels))


def start(plan: Plan, registry: Registry, out: Path | None = None, watchers: Sequence[Watcher] = ()) -> Run:
    """Train a new run to the end of its budget; returns its directory.

    Raises:
        UsageError, GanzooError: as `prepare`; or the directory exists; or the work failed (saved work is kept).
        Stopped: a signal came; everything is saved.
    """
    prepared = prepare(plan, registry)
    folder = out or default_folder(plan.model.name, plan.settings.dataset)
    run = Run(folder, plan.settings.sample_interval, plan.settings.checkpoint_interval)
    run.create(prepared.describe(registry))
    with run.lock():
        write_json(folder / "config.json", config_of(prepared))
        _train(run, prepared, registry, watchers)
    return run


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
    info = open_run(folder)
    model = registry.get("models", info["model"])
    plan = resolve(model, changes or {}, config=flatten(info, folder / "run.json"))
    plan.preset = info.get("preset")
    run = Run(folder, plan.settings.sample_interval, plan.settings.checkpoint_interval)
    with run.lock():
        prepared = prepare(plan, registry)
        trainer = prepared.trainer
        run.restore(trainer, say)
        if trainer.fraction >= 1:
            say(f"{folder} is finished at step {trainer.step}: a larger --epochs, --steps or --max-time goes on")
        if changes:
            settings = plan.settings.model_dump(mode="json")
            write_json(folder / "run.json", info | {"settings": settings, "steps": trainer.steps})
        _train(run, prepared, registry, watchers)
    return run


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


def _trainer(plan: Plan, gan: GAN, data: ImageSet, engine: Engine) -> Trainer:
    settings = plan.settings
    loader = Loader(data, plan.options.batch_size, settings.seed, engine.device, settings.workers)
    steps = settings.total_steps(loader.batches_per_epoch, plan.options.n_critic)
    return Trainer(gan, loader, engine, steps, settings.max_time)


def _examiner(settings: Settings, registry: Registry, gan: GAN, engine: Engine) -> "Examiner | None":
    if settings.eval_every is None:
        return None
    from ganzoo.metrics.training import Examiner

    return Examiner(registry, settings, gan, engine.device)


def _train(run: Run, prepared: Prepared, registry: Registry, watchers: Sequence[Watcher]) -> None:
    trainer, status = prepared.trainer, "failed"
    try:
        run.loggers = [registry.get("loggers", n)(run.folder, trainer.step) for n in prepared.plan.settings.loggers]
        run.watchers = list(watchers)
        run.evaluation = prepared.evaluation
        run.begin(trainer)
        trainer.fit(run)
        status = "finished"
    except Stopped:
        status = "stopped"
        raise
    except GanzooError:
        raise
    except OSError as error:
        raise GanzooError(f"cannot write in {run.folder}: {error.strerror or error}") from error
    except Exception as error:
        raise GanzooError(f"model '{trainer.gan.name}' failed in step {trainer.step + 1}: {one_line(error)}") from error
    finally:
        with suppress(*(() if status == "finished" else (OSError,))):
            run.close(status, trainer)
