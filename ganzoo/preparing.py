"""From a plan to what a run needs: names become plugins, data are opened, the model is built; and it is described."""

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.data import LARGEST_SIDE, DataRequest, DataSpec, ImageSet, Loader, Views, limited, open_dataset
from ganzoo.data.making import Maker
from ganzoo.data.opening import refuse_root
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line, warn
from ganzoo.fields import validated
from ganzoo.gan import GAN
from ganzoo.ingredients import Regulariser, added, parse
from ganzoo.nets import has_batch_statistics
from ganzoo.plugins import BUILT_IN, NOT_INSTALLED, NOUNS, Registry
from ganzoo.runs.folder import FORMAT
from ganzoo.runs.transfer import begin_with, freeze, frozen_layers, refuse_unknown, tell, weights_of
from ganzoo.settings import ORIGIN, Plan, Settings
from ganzoo.training.building import build, check_networks, forewarning, refuse_giants
from ganzoo.training.distributed import ALONE, World
from ganzoo.training.engine import Engine, choose, seed_everything
from ganzoo.training.gradients import treatments
from ganzoo.training.modes import refuse
from ganzoo.training.trainer import Trainer

if TYPE_CHECKING:
    from ganzoo.metrics.training import Examiner


OFTEN = 10
"""Times that an image is shown in an epoch, from which on it is said: it will be learnt by heart."""


def packages(settings: Settings, registry: Registry) -> list[dict[str, str]]:
    """What comes with other packages of what the settings name: each its kind, its name, and where it is from."""
    chosen = {
        "datasets": [settings.dataset],
        "augmentations": [parse(text)[0] for text in settings.augment],
        "regularisers": [parse(text)[0] for text in settings.regularise],
        "loggers": settings.loggers,
    }
    found = ((kind, name, registry.provider(kind, name)) for kind, names in chosen.items() for name in names)
    return [
        {"kind": kind, "name": name, "package": plugin.package, "version": plugin.version}
        for kind, name, plugin in found
        if plugin.package not in (BUILT_IN, NOT_INSTALLED)
    ]


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
            "format": FORMAT,
            "model": plan.model.name,
            "paper": plan.model.paper,
            "plugin": {"package": plugin.package, "version": plugin.version, "module": plugin.module},
            "packages": packages(plan.settings, registry),
            "preset": plan.preset,
            "settings": plan.settings.model_dump(mode="json"),
            "options": plan.options.model_dump(mode="json"),
            "data": self.spec.to_json(),
            "checksum": trainer.loader.checksum(),
            "marks": trainer.loader.marks(),
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


def refuse_sources(plan: Plan) -> None:
    """See that a model which is to be given sources takes some.

    Raises:
        UsageError: it does not.
    """
    source, model = plan.settings.source, plan.model
    if source is not None and (model.own_sources or not model.translates):
        does = "starts from the images themselves" if model.own_sources else "does not make images from images"
        raise UsageError(f"--source {source}: model '{model.name}' {does}: leave it out")


def refuse_unwanted(plan: Plan) -> None:
    """See that a model which wants sources made in one way gets such: see `GAN.wanted_source`.

    Raises:
        UsageError: `--source` makes others.
    """
    source, wanted = plan.settings.source, plan.model.wanted_source(plan.options)
    if source is not None and wanted is not None and Maker.named(source) != Maker.named(wanted):
        raise UsageError(
            f"--source {source}: model '{plan.model.name}' as it is asked for wants --source {wanted}: give that, or "
            "other options of the model"
        )


def refuse_idle_root(plan: Plan, given: Mapping[str, Any], registry: Registry) -> None:
    """Refuse a folder that was `given`, not recorded, for a data set that does not look into it.

    Raises:
        UsageError: it was.
    """
    if given.get("data_root") is not None:
        refuse_root(registry.get("datasets", plan.settings.dataset), plan.settings.data_root)


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
        registry.get("loggers", name).check()
    engine = choose(world.device(settings.device), settings.precision, settings.deterministic)
    refuse(settings.engine, engine.device, world.size)
    refuse_sources(plan)
    if begins:
        refuse_unwanted(plan)
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
    check_networks(gan)
    if begins:
        gan.refuse_idle()
    spec = replace(spec, counts=gan.data.counts)  # As it draws: what uses no classes has none, and is recorded so.
    if settings.sync_batchnorm:
        gan = synchronised(gan, engine.device, world)
    mix(gan, spec, settings, registry, plan.options.batch_size, begins)
    refuse_parts(gan, plan.options.batch_size, settings.accumulate, world.size)
    examiner = world.first_before_others(lambda: _examiner(settings, registry, gan, engine, measured))
    frozen = _frozen(gan, settings)
    trainer = _trainer(plan, gan, data, engine, world)
    initial = _begin(trainer, plan, frozen, world) if begins else None
    freeze(frozen)  # Once more: the trainer has put all of the model into training mode.
    if world.rank:  # The weights are the same in all processes; latents, labels and dropout are each one's own.
        seed_everything(world.own_seed(settings.seed, 0))
    return Prepared(plan, spec, trainer, examiner, initial, lambda: to_show(settings, registry, gan))


def refuse_parts(gan: GAN, batch: int, accumulate: int, processes: int) -> None:
    """See that a batch of so many can be looked at in `accumulate` equal parts in each of the processes.

    Raises:
        UsageError: it cannot be divided, a part is too small for the model, or a regulariser takes no parts.
    """
    parts, judged = processes * accumulate, gan.judged_together
    if accumulate > 1 and batch % parts:
        among = f" in each of {processes} processes" if processes > 1 else ""
        raise UsageError(
            f"--accumulate {accumulate}: a batch of {batch} cannot be looked at in so many equal parts{among}: see "
            "--batch-size"
        )
    if accumulate > 1 and (whole := [r.name for r in added(gan.regularisers, Regulariser) if r.whole_batches]):
        raise UsageError(f"--accumulate {accumulate}: regulariser '{whole[0]}' takes whole batches; leave one out")
    part = batch // parts
    if part % judged:
        raise UsageError(
            f"model '{gan.name}' judges {judged} samples together, and each of {parts} parts of a batch of {batch} has "
            f"{part}: --batch-size must be a multiple of {parts * judged}"
        )
    fewer = ", or lower --accumulate" if accumulate > 1 else ""
    if batch == parts and gan.own_sources and gan.conditional:
        raise UsageError(
            f"model '{gan.name}' takes the class that an image is to have from others of its part of a batch, and a "
            f"part of one has none: --batch-size must be at least {2 * parts}{fewer}"
        )
    if batch == parts and any(map(has_batch_statistics, gan.players().values())):
        raise UsageError(
            f"model '{gan.name}' normalises over the batch, and one image has no statistics: --batch-size must be at "
            f"least {2 * parts}{fewer}"
        )


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


def mix(gan: GAN, spec: DataSpec, settings: Settings, registry: Registry, batch_size: int, begins: bool = True) -> None:
    """Add the augmentations and regularisers that the settings name to a model.

    Raises:
        UsageError: one is unknown, named twice, or cannot be had with such options or data; or, where a run `begins`,
            with such a model.
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
                if "_modules" not in vars(ingredient):
                    raise GanzooError(
                        f"{NOUNS[kind]} '{name}': its __init__ does not call super().__init__(data, options)"
                    )
                if begins and (why := ingredient.unfit(gan)):
                    raise UsageError(f"model '{gan.name}' {why}: leave it out")
            except UsageError as error:
                raise UsageError(f"{flag} {text}: {str(error).removeprefix('--')}") from None
            if name in names:
                raise UsageError(f"{flag} names '{name}' twice: give it once, with all its options")
            names.append(name)
            ingredient.batch_size = batch_size
            if kind == "regularisers":
                ingredient.attach(gan)
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


def _trainer(plan: Plan, gan: GAN, data: ImageSet, engine: Engine, world: World) -> Trainer:
    settings, share = plan.settings, (world.rank, world.size)
    loader = Loader(
        gan.sourced(data), plan.options.batch_size, settings.seed, engine.device, settings.workers, share,
        sources=gan.translates, views=Views(settings.mirror, settings.jitter), balance=settings.balance,
        labelled=gan.labelled(),
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
    owned = {id(p) for module in gan.players().values() for p in module.parameters()}
    idle = [name for name, p in gan.named_parameters() if id(p) not in owned and p.requires_grad]
    if idle:
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        warn(f"{idle[0]}{more} of model '{gan.name}' belong to no player, so that nothing trains them: see players()")
    treated = treatments(settings.nonfinite_gradients, settings.clip_gradients)
    trainer = Trainer(gan, loader, engine, None, settings.max_time, world, treated, settings.accumulate)
    trainer.steps = settings.total_steps(loader.batches_per_epoch, trainer.schedule.batches_per_step)
    trainer.ema.begun = settings.init_from is not None
    return trainer


def _examiner(settings: Settings, registry: Registry, gan: GAN, engine: Engine, measured: Any) -> "Examiner | None":
    if settings.eval_every is None:
        return None
    from ganzoo.metrics.training import Examiner

    # A run that version 0.1.0 began goes on to be measured as it was: its best checkpoint is that of one curve.
    in_turn = isinstance(measured, dict) and "labels" not in measured and not gan.data.attributes
    return Examiner(registry, settings, gan, engine.device, "uniform" if in_turn else "reference")


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


def config_of(prepared: Prepared) -> dict[str, Any]:
    """`config.json`: what it takes to rebuild the generator around its weights."""
    plan = prepared.plan
    return {
        "format": FORMAT,
        "model": plan.model.name,
        "options": plan.options.model_dump(mode="json"),
        "data": prepared.spec.to_json(),
        "ganzoo": __version__,
    }


FEW = 1000
"""Steps below which little is learnt, as a rule."""


def few_steps(prepared: Prepared) -> str | None:
    """A line for a run whose budget nobody chose and which is too short to learn much: of few images."""
    settings, steps = prepared.plan.settings, prepared.trainer.steps
    chosen = settings.epochs is not None or settings.steps is not None or settings.max_time is not None
    if chosen or steps is None or steps >= FEW:
        return None
    return f"{steps:,} step{'s are' if steps != 1 else ' is'} few: --max-time 30m or --epochs N trains longer"


def beginning(prepared: Prepared, folder: Path) -> str:
    """What begins, or goes on, in one line: model, data, weights, device, budget, folder."""
    trainer, spec, settings = prepared.trainer, prepared.spec, prepared.plan.settings
    kind = f"images of {' x '.join(map(str, spec.shape))}" if spec.is_images else f"vectors of {spec.pixels}"
    counts = [f"{sum(p.numel() for p in parameters):,} in {name}" for name, parameters in trainer.parameters.items()]
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
        f"{trainer.gan.name} on {spec.name} ({spec.count:,} {kind}): weights: {', '.join(counts)}; on {where}; "
        f"{' or '.join(budget)}{since}; in {folder}"
    )
