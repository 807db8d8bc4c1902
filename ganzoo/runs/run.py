"""The run directory: one run, complete in itself. Everything the user sees of training is written here."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import clean_parts, whole, write_json, write_text
from ganzoo.loggers import Logger, grouped
from ganzoo.runs import weights
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.grids import Grids
from ganzoo.runs.lock import Lock
from ganzoo.runs.overfitting import Overfitting
from ganzoo.runs.pictures import plot_losses, save_png
from ganzoo.runs.soundness import fits, keepable, sound
from ganzoo.terminal import argument
from ganzoo.training.cores import Cores
from ganzoo.training.distributed import ALONE, World
from ganzoo.training.engine import forget_peak_memory, peak_memory, untouched
from ganzoo.training.meter import Meter
from ganzoo.training.signals import Stop, Stopped, going_on
from ganzoo.training.trainer import Trainer
from ganzoo.training.watcher import Enough, Watcher

LOG_INTERVAL = 50
"""Steps between lines of `metrics.jsonl`: often enough to plot, rarely enough to cost nothing."""
FIRST_GRID_SECONDS = 15.0
"""Seconds of training after which a run that has no grid yet draws one: of steps that take this long, within 30."""
SPARE, SPARE_BYTES = ".spare", 2**14
"""A file that keeps room free, so that `status.json` can say how a run ended whose disk filled up."""


class Evaluation(Protocol):
    """What measures the averaged generator while it trains, if anything does: `ganzoo.metrics.training.Examiner`."""

    @property
    def text(self) -> str:
        """What the numbers depend on, to stand beside each."""

    @property
    def tag(self) -> str:
        """The same as part of a name."""

    def begin(self) -> None:
        """Open what is measured against."""

    def due(self, trainer: Trainer) -> bool:
        """Whether the step just taken is one after which to measure."""

    def until_due(self, trainer: Trainer) -> int:
        """Steps that can be taken for sure before that."""

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """The numbers, by name. Asked in all processes of a run at once."""


class Run:
    """A run directory that is being written.

    `run.json` (everything needed to repeat it), `metrics.jsonl`, `samples/`, `checkpoints/`, `generator.safetensors`
    with `config.json`, `losses.png`, `real.png`, at the end `status.json`; of a model that is slow to come to its first
    grid, `first.png`. Of several processes the first alone writes; the others take part in what all must agree on.
    """

    def __init__(self, folder: Path, sample_interval: int, checkpoint_interval: int, world: World = ALONE):
        self.folder, self.world = folder, world
        self._lock = Lock(folder, file=not world.rank)
        self.sample_interval, self.checkpoint_interval = sample_interval, checkpoint_interval
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.meter = Meter(world)
        self.loggers: list[Logger] = []
        self.watchers: list[Watcher] = []
        self.evaluation: Evaluation | None = None
        self.grids = Grids()
        self.overfitting: Overfitting | None = None
        self.cores: Cores | None = None
        """What decides how threads wait while others work beside them."""
        self._first_due: float | None = None
        """When a first grid is to be drawn, if none was by then."""

    # Opening

    def create(self, info: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Make the folder, `config.json` and then `run.json`: where that is, the run can be resumed and sampled.

        Raises:
            UsageError: the folder exists and is not empty, or cannot be made.
        """
        self.refuse_taken()
        there = self.folder.exists()
        try:
            (self.folder / "samples").mkdir(parents=True)
            write_json(self.folder / "config.json", config)
            write_json(self.folder / "run.json", info)
        except OSError as error:
            with suppress(OSError):  # What was begun would stand in the way of the next attempt.
                (self.folder / "config.json").unlink(missing_ok=True)
                (self.folder / "samples").rmdir()
                if not there:
                    self.folder.rmdir()
            raise UsageError(f"cannot write in {self.folder}: {error.strerror or error}") from error

    def refuse_taken(self) -> None:
        """Say that something is in the folder already, if so.

        Raises:
            UsageError: there is.
            GanzooError: another process writes in it.
        """
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            self._lock.refuse_held()
            begun = (self.folder / "run.json").exists()
            hint = f"`ganzoo resume {argument(self.folder)}` continues it, or " if begun else ""
            raise UsageError(f"{self.folder} exists already: {hint}choose another --out")

    def claim(self) -> AbstractContextManager[None]:
        """Keep other threads of this process out of this folder: see `Lock.claim`."""
        return self._lock.claim()

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes out too: see `Lock.hold`."""
        return self._lock.hold()

    def restore(self, trainer: Trainer, say: Callable[[str], None]) -> None:
        """Bring the trainer to the newest good checkpoint, and the log back to that step.

        Raises:
            GanzooError: no checkpoint is good, though there are some.
            OSError: it cannot be written in.
        """
        # All processes get what the first one read: sent from one to the other, it must be on the CPU.
        device = trainer.engine.device if self.world.size == 1 else torch.device("cpu")
        state = self.world.on_first(lambda: self._newest(device, say))
        if state is not None:
            try:
                trainer.load_state_dict(state)
                fits(trainer.optimizers)
                self.meter.load_state_dict(state["meter"])
                before = 1 + len(state.get("others", ()))
            except Exception as error:  # torch's optimizers take much for granted.
                reason, kind = one_line(error)[:200], type(trainer.gan)
                own = [name for name in ("state_dict", "load_state_dict") if name in vars(kind)]
                hint = f" (model '{kind.name}' has a {own[0]}() of its own: see what it leaves out)" if own else ""
                raise GanzooError(
                    f"the checkpoint in {self.folder} does not fit its run.json: {reason}{hint}"
                ) from error
            if before != self.world.size and not self.world.rank:
                say(
                    f"{self.folder} was run by {before} processes until now, and goes on with {self.world.size}: "
                    "other random numbers are drawn than if it had not changed"
                )
        if state is not None and not self.world.rank:  # Killed between the two, or damaged since: it is made good here.
            self.save_generator(trainer)
        if trainer.fraction >= 1 and self.world.on_first(lambda: self._logged(trainer.step)):
            self.meter.read()  # The last line stands in the log already, with the speed that was measured then.
        elif not self.world.rank:
            self._rewind(self.meter.first_step - 1 if self.meter.pending else trainer.step)

    def _newest(self, device: torch.device, say: Callable[[str], None]) -> dict[str, Any] | None:
        clean_parts(self.folder)
        clean_parts(self.folder / "samples")
        state = self.checkpoints.latest(device, say, sound)
        if state is None and self.checkpoints.steps():
            raise GanzooError(f"no checkpoint in {self.checkpoints.folder} is undamaged; start again with --config")
        return state

    def _logged(self, step: int) -> bool:
        """Whether the log reaches `step`."""
        return any(line["step"] >= step for line in read_metrics(self.folder))

    def _rewind(self, step: int) -> None:
        """Drop what was logged after `step`: it is about to be logged again."""
        path = self.folder / "metrics.jsonl"
        if path.exists():
            kept = [line for line in read_metrics(self.folder) if line["step"] <= step]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    # While training

    def begin(self, trainer: Trainer) -> None:
        """Look at the data and the untrained generator once, so that a broken plugin or disk shows at the start."""
        self.world.on_first(lambda: self._look(trainer))
        forget_peak_memory(trainer.engine.device)
        if not any((self.folder / "samples").glob("*.png")):
            self._first_due = time.monotonic() + FIRST_GRID_SECONDS
        for watcher in self.watchers:
            watcher.begin(trainer)
        self.meter.start(trainer.loader.waited)
        # What a signal, or what went wrong, left undone in the step: see `_kept`.
        goes_on = trainer.fraction < 1 or self.meter.pending
        undrawn = goes_on and self._shows(trainer) and not self._grid(trainer).exists()
        if undrawn and self.meter.pending and not self.meter.noted:
            self._look_for_overfitting(trainer)
        if self.meter.pending and self._due(trainer):
            scores = self.evaluate(trainer)
            self.log(trainer, scores)
            self.save(trainer, scores.get("fid"))
        elif self.meter.pending and trainer.step % LOG_INTERVAL == 0:
            self.log(trainer)
        if undrawn:
            self.sample(trainer)

    def _look(self, trainer: Trainer) -> None:
        if trainer.fraction < 1:  # How an earlier session ended is no longer how the run stands.
            (self.folder / "status.json").unlink(missing_ok=True)
            with whole(self.folder / SPARE) as file:
                file.write(bytes(SPARE_BYTES))
            if self.grids.shows_examples(trainer.gan):
                self.grids.picture(trainer)
        (self.folder / "samples").mkdir(exist_ok=True)  # Version control, for one, loses an empty folder.
        if not (self.folder / "real.png").exists():
            picture = self.grids.real(trainer)
            save_png(self.folder / "real.png", picture)
            with untouched(trainer.engine.device):
                for logger in self.loggers:
                    logger.image(0, "real", picture)
        if self.evaluation is not None:
            self.evaluation.begin()

    def until_due(self, trainer: Trainer) -> int:
        """How many steps may be taken before something is to be logged, looked at, saved or measured."""
        left = [n - trainer.step % n for n in (LOG_INTERVAL, self.sample_interval, self.checkpoint_interval)]
        if trainer.steps:
            left.append(trainer.steps - trainer.step)
        if self.evaluation is not None:
            left.append(self.evaluation.until_due(trainer))
        looked_at = (watcher.looks_at for watcher in self.watchers)
        left += [step - trainer.step for step in looked_at if step is not None and step > trainer.step]
        return max(1, min(left))

    def after_step(self, trainer: Trainer, values: Mapping[str, Tensor], stop: Stop) -> None:
        """Log, look and save where it is due. `values` are of one step, or (n,) of the last n."""
        self.look_around()
        step, taken = trainer.step, next(iter(values.values())).numel()
        self.meter.add(step, values, trainer.images() - trainer.images(step - taken))
        due = self._due(trainer)
        scores = self.evaluate(trainer) if due and stop.requested is None else {}
        if step % self.sample_interval == 0:
            self._look_for_overfitting(trainer)
        if scores or (step % LOG_INTERVAL == 0 and not due):  # One that a signal cancels is made up for: see `begin`.
            self.log(trainer, scores)
        with self._kept(trainer):
            for watcher in self.watchers:
                watcher.step(trainer)
        if self._shows(trainer):
            self.sample(trainer)
        elif self._first_due is not None and time.monotonic() >= self._first_due:
            self._first_grid(trainer)
        enough = stop.enough or (self.world.size == 1 and self.enough)  # Several processes end at the same step.
        if scores or stop.requested is not None or enough or step % self.checkpoint_interval == 0:
            self.save(trainer, scores.get("fid"))
        if stop.requested is not None:
            raise Stopped(stop.requested, f"step {step} is saved: {going_on(self.folder)} goes on from there")
        if enough:
            raise Enough(self.folder)

    @property
    def enough(self) -> bool:
        """Whether a watcher wants the training to end."""
        return any(watcher.enough for watcher in self.watchers)

    def look_around(self) -> None:
        """Wait as the work on the same cores makes it best; say so once."""
        if self.cores is not None and (told := self.cores.look()):
            self.tell(told)

    def _due(self, trainer: Trainer) -> bool:
        return self.evaluation is not None and self.evaluation.due(trainer)

    def evaluate(self, trainer: Trainer) -> dict[str, float]:
        """Scores by name, where evaluations are asked for. Training does not notice."""
        if self.evaluation is None:
            return {}
        with self.meter.aside():
            self.meter.check()
            with self._kept(trainer):
                return self.evaluation.measure(trainer)

    def _look_for_overfitting(self, trainer: Trainer) -> None:
        """Have numbers for the next line of the log, where they can be had. Training does not notice."""
        if self.overfitting is not None and not self.world.rank:
            with self.meter.aside(), self._kept(trainer):
                self.meter.noted = self.overfitting.measure(trainer)

    def log(self, trainer: Trainer, scores: Mapping[str, float] | None = None) -> None:
        """One line of `metrics.jsonl`: the means since the last, what was noted, and the scores of an evaluation."""
        values = self.meter.read(trainer.loader.waited)
        if self.world.rank:
            return
        line: dict[str, Any] = {"step": trainer.step, "epoch": round(trainer.epoch, 4)}
        line |= {"seconds": round(trainer.elapsed, 3), **values}
        if scores and self.evaluation is not None:
            line |= {**scores, "evaluation": self.evaluation.text}
            values |= {f"{name}/{self.evaluation.tag}": score for name, score in scores.items()}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        told = {grouped(name): value for name, value in values.items()}
        with self.meter.aside(), self._kept(trainer), untouched(trainer.engine.device):
            for logger in self.loggers:
                logger.scalars(trainer.step, told)
            for watcher in self.watchers:
                watcher.log(line)

    def sample(self, trainer: Trainer) -> Path:
        """A grid of the averaged networks, always of the same latents and examples. Training does not notice."""
        self._first_due = None
        with self.meter.aside(), self._kept(trainer), untouched(trainer.engine.device):
            picture = self.grids.picture(trainer)
            path = self._grid(trainer)
            save_png(path, picture)
            for logger in self.loggers:
                logger.image(trainer.step, "generated", picture)
        return path

    def _shows(self, trainer: Trainer) -> bool:
        """Whether this process draws a grid after the step just taken."""
        return trainer.step > 0 and trainer.step % self.sample_interval == 0 and not self.world.rank

    def _grid(self, trainer: Trainer) -> Path:
        return self.folder / "samples" / f"{trainer.step:08d}.png"

    def _first_grid(self, trainer: Trainer) -> None:
        """`first.png`, once: what is drawn early, when depends on the machine, stands apart from what equal runs share.

        So loggers are not given it, and it is none of `samples/`.
        """
        self._first_due = None
        if not self.world.rank:
            with self.meter.aside(), self._kept(trainer):
                path = self.folder / "first.png"
                save_png(path, self.grids.picture(trainer))
            self.tell(f"a first grid, after step {trainer.step:,}: {path}")

    @contextmanager
    def _kept(self, trainer: Trainer) -> Iterator[None]:
        """Whatever goes wrong inside, no step is lost to it. Several processes save only together, and do not here."""
        try:
            yield
        except Exception:
            if self.world.size == 1 and trainer.step not in self.checkpoints.steps():
                with suppress(Exception):  # Another error is on its way to the user.
                    self.save(trainer)
            raise

    def tell(self, line: str) -> None:
        """Let whoever watches know."""
        for watcher in self.watchers:
            watcher.tell(line)

    def save(self, trainer: Trainer, score: float | None = None) -> None:
        """A checkpoint, kept beyond the next two while its score (lower is better) is the best, and the generator.

        Raises:
            GanzooError: values or weights are not finite (nothing is written), or the disk would not take it.
        """
        with self.meter.aside():
            meter = self.meter.state_dict()
            trainer.check_weights()
            state = {**trainer.state_dict(), "meter": meter}
            keepable(state["optimizers"])
            if self.world.rank:
                return
            try:
                self.checkpoints.save(trainer.step, state, score)
                self.save_generator(trainer)
            except OSError as error:
                last = self.checkpoints.steps()
                kept = f"the checkpoint of step {last[-1]} is intact" if last else "no checkpoint was kept"
                reason = error.strerror or str(error)
                raise GanzooError(f"cannot save step {trainer.step} in {self.folder}: {reason}; {kept}") from error

    def save_generator(self, trainer: Trainer) -> None:
        """`generator.safetensors`, the averaged generator's weights, and a file for each other module of `saved`."""
        about = {"model": trainer.gan.name, "step": str(trainer.step)}
        for name, module in trainer.ema.modules.items():
            with whole(self.folder / f"{name}.safetensors") as file:
                file.write(weights.pack(module.state_dict(), about))

    def finish(self, trainer: Trainer) -> None:
        """What is left to log, draw and save; the plot is drawn by `close`."""
        if self.meter.pending:
            self.log(trainer)
        if trainer.step % self.sample_interval and not self.world.rank:
            self.sample(trainer)
        if self.world.on_first(lambda: trainer.step not in self.checkpoints.steps()):
            self.save(trainer)

    def close(self, status: str, trainer: Trainer) -> None:
        """Record how the run ended, draw the plot, close the loggers.

        Each is done whatever becomes of the others, and then the first that went wrong is raised.
        """
        if self.world.rank:
            return
        ended = {
            "status": status,
            "step": trainer.step,
            "epoch": trainer.epoch,
            "seconds": trainer.elapsed,
            "peak_memory_bytes": peak_memory(trainer.engine.device),
        }
        wrong: list[Exception] = []
        closing = [*(watcher.close for watcher in self.watchers), *(logger.close for logger in self.loggers)]
        # How the run ended comes first, for loggers tell it.
        for do in (lambda: self._record(ended), *closing, self._plot):
            try:
                do()
            except Exception as error:
                wrong.append(error)
        if wrong:
            raise wrong[0]

    def _plot(self) -> None:
        if history := read_metrics(self.folder):
            plot_losses(self.folder / "losses.png", history)

    def _record(self, ended: Mapping[str, Any]) -> None:
        """`status.json`, in the room that was kept for it."""
        (self.folder / SPARE).unlink(missing_ok=True)
        write_json(self.folder / "status.json", ended)
