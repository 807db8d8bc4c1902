"""From a plan to a trained run: open the directory, train, go on after a stop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ganzoo.blame import blame
from ganzoo.data import death_of_reader
from ganzoo.errors import GanzooError, UsageError, one_line, warn
from ganzoo.files import read_json, write_json
from ganzoo.marks import Marks
from ganzoo.plugins import NOUNS, Registry
from ganzoo.preparing import Prepared, beginning, config_of, few_steps, held_out, packages, prepare, session
from ganzoo.runs.folder import default_folder, default_folders, model_of, open_run, refuse_absent
from ganzoo.runs.hub import fetched, nothing_to_resume, spoken
from ganzoo.runs.overfitting import Overfitting
from ganzoo.runs.run import Run
from ganzoo.settings import BUDGET, Plan, flatten, resolve
from ganzoo.terminal import argument
from ganzoo.training.cores import Cores
from ganzoo.training.distributed import World, joined, restarted
from ganzoo.training.engine import untouched
from ganzoo.training.modes import FAILING, Mode, settle
from ganzoo.training.signals import Stop, Stopped, ending, going_on, number_of
from ganzoo.training.trainer import Trainer
from ganzoo.training.watcher import Enough, Watcher


def start(
    plan: Plan,
    registry: Registry,
    out: Path | None = None,
    watchers: Sequence[Watcher] = (),
    called: Marks = Marks(),  # noqa: B008  It cannot change.
) -> Run:
    """Train a new run to the end of its budget; returns its directory.

    Raises:
        UsageError, GanzooError: as `prepare`; or the directory exists; or the work failed (saved work is kept).
        Stopped: a signal came; everything is saved.
    """
    with joined() as world:
        intervals = plan.settings.sample_interval, plan.settings.checkpoint_interval
        with interruptible(world):
            if out is not None and not restarted():  # Before data are fetched and read for nothing.
                world.on_first(Run(out, *intervals, world).refuse_taken)
            prepared = prepare(plan, registry, world)
            folder, known = world.on_first(lambda: _where(plan, out))
        run = Run(folder, *intervals, world)
        with interruptible(world, run), run.claim():
            if not known:
                told = {**prepared.describe(registry), **called.to_json(), "sessions": [session(prepared, 0)]}
                world.on_first(lambda: run.create(told, config_of(prepared)))
            with run.lock():
                if known:
                    _restore(run, prepared.trainer, warn)
                    world.on_first(lambda: _record(folder, prepared, {}, registry))
                _train(run, prepared, registry, watchers)
    return run


@contextmanager
def interruptible(world: World, run: Run | None = None) -> Iterator[None]:
    """Say what is saved when a signal comes where training does not listen: before its first step, or after its last.

    Of several processes Ctrl-C alone: the others' launcher wants them gone, whatever they wait for.

    Raises:
        Stopped: it came.
    """
    try:
        with ending() if world.size == 1 else nullcontext():
            yield
    except KeyboardInterrupt as error:
        number = number_of(error)
        saved = "nothing was saved, for training had not begun"
        if run is not None and (run.folder / "run.json").is_file():
            steps = run.checkpoints.steps()
            what = f"step {steps[-1]} is saved" if steps else "no step is saved yet"
            saved = f"{what}: {going_on(run.folder)} goes on from there"
            status = read_json(run.folder / "status.json") if (run.folder / "status.json").is_file() else None
            if isinstance(status, dict) and status.get("status") == "finished":
                saved = f"{run.folder} is finished, and saved"
        raise Stopped(number, saved) from None


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


def _restore(run: Run, trainer: Trainer, say: Callable[[str], None]) -> None:
    try:
        run.restore(trainer, say)
    except OSError as error:
        raise GanzooError(f"cannot write in {run.folder}: {error.strerror or error}") from error


def _record(folder: Path, prepared: Prepared, changes: Mapping[str, Any], registry: Registry) -> None:
    """Bring `run.json` up to date: another session begins, and perhaps with another budget.

    Raises:
        GanzooError: it cannot be written.
    """
    info, trainer = open_run(folder), prepared.trainer
    if changes:
        settings = prepared.plan.settings.model_dump(mode="json")
        info |= {"settings": settings, "steps": trainer.steps}
        info["packages"] = packages(prepared.plan.settings, registry)
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
        if fetched(folder):
            raise nothing_to_resume(spoken(folder))
        info = world.on_first(lambda: open_run(folder))
        if info.get("imported"):
            raise UsageError(
                f"{folder} was imported, and has no training to go on with: `ganzoo run {info['model']} --init-from "
                f"{argument(folder)}` begins one with its weights"
            )
        model = model_of(folder, info, registry)
        refuse_absent(folder, info, registry, NOUNS.keys() - (changes or {}).keys())
        plan = resolve(model, changes or {}, config=flatten(info, folder / "run.json"))
        run = Run(folder, plan.settings.sample_interval, plan.settings.checkpoint_interval, world)
        with interruptible(world, run), run.lock():
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
            world.on_first(lambda: _record(folder, prepared, changes or {}, registry))
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
    loader, marks = prepared.trainer.loader, info.get("marks")
    others = "checksum" in info and info["checksum"] != loader.checksum()
    if not others and isinstance(marks, dict):  # Runs of before have none, nor has what lies in memory.
        others = any(marks.get(kind, mark) != mark for kind, mark in loader.marks().items())
    if others:
        say(f"{folder} began with other pixels or labels in '{prepared.spec.name}': what follows is another training")


def _note_mode(folder: Path, mode: Mode) -> None:
    """Write in `run.json` how steps are run and why; say so where a fast mode failed."""
    info = read_json(folder / "run.json")
    sessions = info.get("sessions") or [{}]
    for made in (info, sessions[-1]):
        before = made.get("machine")
        made["machine"] = {**(before if isinstance(before, dict) else {}), "engine": mode.used}
    write_json(folder / "run.json", {**info, "engine": mode.to_json()})
    if mode.failed:
        warn(f"steps run operator by operator: {mode.why}")


def _way(mode: Mode) -> str:
    """How steps are run, in words; none where training is about to fail, and tells of it."""
    if mode.used == "eager" and mode.why.startswith(FAILING):
        return ""
    if mode.used == "eager":
        return f"steps run operator by operator: {mode.why}"
    how = "steps are recorded and replayed" if mode.used == "graph" else "both networks are compiled"
    return how + (f": {mode.speedup:.1f} times as fast as plain ones" if mode.speedup else "")


def _close(run: Run, status: str, trainer: Trainer) -> None:
    try:
        run.close(status, trainer)
    except Exception as error:
        if status == "finished":  # Otherwise something else is on its way to the user.
            left = "cannot write in" if isinstance(error, OSError) else "something is left to do in"
            raise GanzooError(f"{blame(error) or f'{left} {run.folder}'}: {one_line(error)}") from error


def _train(run: Run, prepared: Prepared, registry: Registry, watchers: Sequence[Watcher]) -> None:
    trainer, settings, status = prepared.trainer, prepared.plan.settings, "failed"
    late: int | None = None
    enough: Enough | None = None
    try:
        if not run.world.rank:
            with untouched(trainer.engine.device):
                run.loggers = [
                    registry.get("loggers", name)(run.folder, trainer.step) for name in dict.fromkeys(settings.loggers)
                ]
            run.watchers = list(watchers)
        run.evaluation, run.grids.held_out = prepared.evaluation, prepared.held_out
        run.overfitting = Overfitting(lambda: held_out(settings, registry, trainer.gan))
        run.cores = Cores(trainer.engine.device)
        if trainer.fraction < 1:
            run.tell(beginning(prepared, run.folder))
            if told := few_steps(prepared):
                run.tell(told)
            run.look_around()
            mode = settle(trainer, settings.engine)
            run.world.on_first(lambda: _note_mode(run.folder, mode))
            if not mode.failed and (way := _way(mode)):  # What failed was told.
                run.tell(way)
        run.begin(trainer)
        if prepared.initial is not None:  # From here on nothing needs the other run.
            run.save(trainer)
        late = trainer.fit(run)
        status = "finished"
    except Enough as end:
        status, enough = "stopped", end
    except Stopped:
        status = "stopped"
        raise
    except KeyboardInterrupt:
        done = trainer.fraction >= 1 and trainer.step in run.checkpoints.steps()  # As it was when it was opened.
        status = "finished" if done else "stopped"
        raise
    except GanzooError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, Exception) and (died := death_of_reader(error)):
            raise died from error
        whose = blame(error)
        if isinstance(error, OSError) and not whose:
            raise GanzooError(f"cannot write in {run.folder}: {error.strerror or error}") from error
        whose = whose or f"model '{trainer.gan.name}' failed"
        raise GanzooError(f"{whose}, step {trainer.step + 1}: {one_line(error)}") from error
    finally:
        if run.cores is not None:
            run.cores.close()
        with Stop() as stop:  # What is there is to be closed first.
            _close(run, status, trainer)
        late = late or stop.heard
    if late is not None:  # Whoever trains one run after the other is not to go on.
        goes_on = f"step {trainer.step} is saved: {going_on(run.folder)} goes on from there"
        raise Stopped(late, f"{run.folder} is finished, and saved" if enough is None else goes_on)
    if enough is not None:
        raise enough
