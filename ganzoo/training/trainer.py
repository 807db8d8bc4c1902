"""The core: one loop for every model. What a model is stands in `gan.py`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from ganzoo.data import Batch, Loader
from ganzoo.errors import GanzooError, NotRecorded, UsageError, did_you_mean, warn
from ganzoo.gan import GAN
from ganzoo.ingredients import Augmentation, added
from ganzoo.optim import Progress, Rule, at
from ganzoo.precision import give_single, single
from ganzoo.training.distributed import ALONE, World
from ganzoo.training.ema import EMA
from ganzoo.training.engine import Engine, random_state, seed_everything, set_random_state
from ganzoo.training.gradients import Treatment
from ganzoo.training.layout import arranged, arranged_batch, lies_channels_last, match_layout
from ganzoo.training.looks import Look, Told
from ganzoo.training.meter import Meter
from ganzoo.training.signals import Stop
from ganzoo.training.turns import Move, Pattern, Schedule, check_terms, constant

Settings = Mapping[str, Mapping[str, Any]]
"""What is given for one step: by player, the numbers of its update rule; under `ema`, the average's weight; under
`clock`, where training stands."""


class Replay(Protocol):
    """Recorded steps: `ganzoo.training.capture.Recorded`."""

    def advance(self, most: int) -> dict[str, Tensor]:
        """Take up to `most` steps; their values by name, (n,) each.

        Raises:
            NotRecorded: before anything was done: the steps that come next are not as they were recorded.
        """


class Keeper(Protocol):
    """What keeps what training gives, and says when to look: `ganzoo.runs.run.Run`."""

    meter: Meter

    @property
    def enough(self) -> bool:
        """Whether somebody who follows this process's training wants it to end."""

    def until_due(self, trainer: "Trainer") -> int:
        """How many steps may be taken before something is to be logged, looked at, saved or measured."""

    def after_step(self, trainer: "Trainer", values: Mapping[str, Tensor], stop: Stop) -> None:
        """Log, look and save where it is due."""

    def finish(self, trainer: "Trainer") -> None:
        """The budget is spent."""


class Trainer:
    """The players, their optimizers, the averaged networks, and where training stands."""

    def __init__(
        self, gan: GAN, loader: Loader, engine: Engine, steps: int | None = None, seconds: float | None = None,
        world: World = ALONE, treatments: Sequence[Treatment] = (), accumulate: int = 1,
    ):  # fmt: skip
        """Take a model and what it is trained on. Each batch is looked at in `accumulate` equal parts.

        Raises:
            GanzooError: its turns make no sense: see `Schedule`.
        """
        self.schedule = Schedule(gan)
        self.gan, self.world = arranged(gan, engine.device).train(), world
        self.channels_last = lies_channels_last(gan, engine.device)
        world.broadcast(self.gan)
        self.loader, self.engine = loader, engine
        self.steps, self.seconds = steps, seconds
        self.parameters = {
            name: [p for p in module.parameters() if p.requires_grad] for name, module in gan.players().items()
        }
        """What moves, by player."""
        for name, parameters in self.parameters.items():
            if not parameters:
                raise GanzooError(f"model '{gan.name}': nothing of the {name} asks for a gradient, so it cannot move")
        self.rules = {name: _rule(gan, name) for name in self.parameters}
        self.optimizers = {name: rule.build(self.parameters[name]) for name, rule in self.rules.items()}
        for name, rule in self.rules.items():
            _check_rule(f"model '{gan.name}': the rule of optimizer('{name}')", rule, self.optimizers[name])
        self.treatments = treatments
        """What is done to gradients before they are followed."""
        self.accumulate = accumulate
        options = gan.options
        modules = {name: getattr(gan, name) for name in gan.saved}
        self.ema = EMA(modules, options.ema, options.ema_kimg, options.ema_rampup)
        if engine.precision == "bf16":
            for network in dict.fromkeys([*gan.players().values(), *(getattr(gan, name) for name in gan.saved)]):
                give_single(network)
        self.decay = gan.average_decay()
        """Of the average, where the model states it."""
        if isinstance(self.decay, int | float) and not 0 <= self.decay <= 1:
            raise GanzooError(f"model '{gan.name}': average_decay() gives {self.decay}, not a number from 0 to 1")
        self.step: int = 0
        self.elapsed = 0.0
        """Seconds of training so far, earlier sessions included; looking, measuring and saving are not training."""
        self.recorded: Replay | None = None
        """Steps that were recorded, which `advance` replays; None: Python takes each anew."""
        self._feed: Iterator[tuple[Tensor, ...]] | None = None

    @property
    def epoch(self) -> float:
        """Epochs done: every real batch counts, whichever player it served."""
        return self.progress().epoch

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return self.progress().fraction

    def progress(self, ahead: int = 0) -> Progress:
        """Where training stands, or will `ahead` steps from now."""
        step = self.step + ahead
        by_steps = step / self.steps if self.steps else 0.0
        by_time = self.elapsed / self.seconds if self.seconds else 0.0
        epoch = self.schedule.batches_before(step) / self.loader.batches_per_epoch
        return Progress(step, epoch, min(max(by_steps, by_time), 1.0))

    def images(self, step: int | None = None) -> int:
        """Real images seen before `step`, over all processes; so far, unless said."""
        return self.schedule.batches_before(self.step if step is None else step) * self.loader.batch_size

    def fit(self, run: Keeper) -> int | None:
        """Train until the budget is spent, a signal comes, or a value is not finite; the run directory looks on.

        Returns:
            The signal that came when nothing was left to stop, if one did.
        """
        begun = time.perf_counter() - self.elapsed - run.meter.aside_seconds
        with Stop() as stop:
            try:
                while self.fraction < 1:
                    values = self.advance(run.until_due(self))
                    clock = time.perf_counter() - begun - run.meter.aside_seconds
                    self.elapsed, stop.requested, stop.enough = self.world.agree(
                        self.step, clock, stop.heard, run.enough
                    )
                    run.after_step(self, values, stop)
                run.finish(self)
                return stop.heard
            except RuntimeError as error:
                if not (self.engine.deterministic and "deterministic" in str(error)):
                    raise
                raise UsageError(f"--deterministic: {str(error).split(',')[0]}; leave it out") from error
            finally:
                self.feed(None)
                self.recorded = None  # It holds on to the trainer, which would wait for the garbage collector.

    def advance(self, most: int = 1) -> dict[str, Tensor]:
        """Take a step, or up to `most` of them where steps are recorded. What is returned is still on the device."""
        if self.recorded is not None:
            try:
                return self.recorded.advance(most)
            except NotRecorded as error:  # Before anything was done.
                self.recorded = None
                warn(f"from step {self.step + 1} on, steps run operator by operator: {error}")
        pattern = self.schedule.pattern(self.step)
        batches = (self.loader.batch(*self.next_parts()) for _ in range(self.schedule.batches[pattern]))
        values = self.play(pattern, batches, self.settings())
        self.step += 1
        return values

    def play(self, pattern: Pattern, batches: Iterator[Batch], settings: Settings) -> dict[str, Tensor]:
        """One step, in which the turns of `pattern` are due: all that a model's training is.

        It touches nothing but tensors on the device, so that it can be recorded.
        """
        gan, told, heard = self.gan, Told(), not self.gan.augmentations
        gan.clock.set(settings["clock"])
        moves = self.schedule.moves[pattern]
        for move in moves:
            player = move.turn.player
            if move.draws:
                look = self._look(next(batches))
            self.clear(player)
            given, real_logits = self._gradients(move, look)
            self.follow(player, settings)
            if player == "discriminator":
                with torch.no_grad():
                    gan.after_discriminator_step()
                    if real_logits is not None and not look.heard:
                        given |= _heard(gan, real_logits)
                        heard = look.heard = True
            told.add(move.turn, given)
        if not heard and any(move.turn.player == "discriminator" for move in moves):
            raise GanzooError(
                f"model '{gan.name}' never calls self.discriminate with real samples in a turn of the discriminator: "
                f"augmentation '{next(added(gan.augmentations, Augmentation)).name}' enters there"
            )
        self.world.average_buffers(gan)
        self.ema.update(settings["ema"]["weight"])
        return told.values

    def _look(self, real: Batch) -> Look:
        """A real batch as the model wants it, in parts; there are no fakes for it yet."""
        if self.channels_last:
            real = arranged_batch(real)
        if not self.gan.sees_labels:
            real = real._replace(y=None)
        parts = real.parts(self.accumulate)
        return Look(parts, list(parts))

    def _gradients(self, move: Move, look: Look) -> tuple[dict[str, Tensor], Tensor | None]:
        """Take a turn's gradients, the mean over the parts of its batch, and make the fakes that it needs.

        Returns:
            What it has to log, by name; the discriminator's logits of real samples, if it looked at any.
        """
        gan, turn, parts = self.gan, move.turn, look.parts
        whole = len(parts) == 1
        # In parts, a turn that needs the fakes' graph makes them itself: it lives while one part is looked at.
        makes = move.draws or move.remakes or (move.attached and not whole)
        graph = move.graph if whole else move.attached
        given, logits = [], []
        for i, part in enumerate(parts):
            fake, gan.clock.part = look.fakes[i], i
            if makes:
                with self.engine.autocast(), torch.set_grad_enabled(graph):
                    fake = gan.fake(part)
                fake = fake._replace(x=single(fake.x))  # Not every model makes it by a call of its generator.
                look.fakes[i] = fake if whole else fake.detach()
            gan.moving = turn.player
            with self.alone(turn.player):
                with self.engine.autocast():
                    terms = turn.loss(part, fake if move.attached else fake.detach())
                given.append(self.backward(turn.player, terms, turn.name, len(parts)))
            gan.moving, of_real = None, gan.real_logits()
            if of_real is not None:
                logits.append(of_real)
        gan.clock.part = 0
        return given[0] if whole else _means(given), torch.cat(logits) if len(logits) > 1 else next(iter(logits), None)

    def alone(self, player: str) -> AbstractContextManager[None]:
        """Inside, no gradient is recorded for the other players' parameters: nothing is kept or computed for them."""
        return constant(p for name, parameters in self.parameters.items() if name != player for p in parameters)

    def descend(self, player: str, terms: dict[str, Tensor], turn: str | None = None) -> dict[str, Tensor]:
        """Move one player down the sum of its terms; gradients are computed for it alone.

        Returns:
            The sum, as the turn's loss, each of several terms, and what the model watched, by name.
        """
        self.clear(player)
        told = self.backward(player, terms, turn or player)
        self.follow(player, self.settings())
        return told

    def clear(self, player: str) -> None:
        """Let go of a player's gradients."""
        for parameter in self.parameters[player]:
            parameter.grad = None

    def backward(self, player: str, terms: dict[str, Tensor], turn: str, parts: int = 1) -> dict[str, Tensor]:
        """Add the gradients of the sum of the terms, of one of so many parts of a batch, to the player's.

        Returns:
            As `descend`.
        """
        model = f"model '{self.gan.name}'"
        check_terms(terms, f"{model}: the loss of turn '{turn}'")
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        if not loss.requires_grad:
            raise GanzooError(f"{model}: no term of turn '{turn}' depends on a parameter of the {player}")
        (loss if parts == 1 else loss / parts).backward(inputs=self.parameters[player])
        named = {f"{turn}/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        told, watched = {f"{turn}_loss": loss, **named}, self.gan.watched()
        for name in told.keys() & watched.keys():
            raise GanzooError(f"{model}: watch('{name}', ...) would hide the loss of that name: rename it")
        return told | watched

    def follow(self, player: str, settings: Settings) -> None:
        """Move a player down its gradients, taken together over the processes."""
        optimizer = self.optimizers[player]
        for group in optimizer.param_groups:
            group.update(settings[player])
        self.world.average_gradients(self.parameters[player])
        for treat in self.treatments:
            treat(self.parameters[player])
        optimizer.step()

    def settings(self, ahead: int = 0) -> Settings:
        """What the schedules give for the step that comes after `ahead` more, and where training stands then."""
        progress = self.progress(ahead)
        given = {name: rule.settings(progress) for name, rule in self.rules.items()}
        seen, after = self.images(progress.step), self.images(progress.step + 1)
        if self.decay is None:
            weight = self.ema.weight(progress.step + 1, seen, after - seen)
        else:
            weight = 1 - at(self.decay, progress)
        return given | {
            "ema": {"weight": weight},
            "clock": {"step": progress.step, "images": seen, "fraction": progress.fraction},
        }

    def next_parts(self) -> tuple[Tensor, ...]:
        """What the next real batch is made of: see `Loader.batch`."""
        if self._feed is None:
            self._feed = self.loader.parts(self.schedule.batches_before(self.step))
        return next(self._feed)

    def feed(self, parts: Iterator[tuple[Tensor, ...]] | None) -> Iterator[tuple[Tensor, ...]]:
        """Train on these instead of what the loader gives; None: on the loader's, from where training stands.

        What it was to train on next comes back. Unless that is kept, the workers of a streaming loader are let go.
        """
        before, self._feed = self._feed, parts
        return before or iter(())

    def check_weights(self) -> None:
        """Refuse to go on, or to save, with weights that are not finite.

        Raises:
            GanzooError: a weight is not finite; the player is named.
        """
        for player, parameters in self.parameters.items():
            if not torch.stack([p.detach().isfinite().all() for p in parameters]).all():
                raise GanzooError(f"step {self.step}: the {player}'s weights are no longer finite; the run stops here")

    def describe(self) -> dict[str, Any]:
        """Where and how steps are taken, for `run.json`."""
        made = self.engine.describe() | {"processes": self.world.size}
        return made | ({"channels_last": True} if self.channels_last else {})

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on.

        Rates and decays are those of the next step: a recording has its own, and what the optimizers hold then is of
        the step that was last taken plainly.
        """
        random, now = random_state(self.engine.device), self.settings()
        own = own_buffers(self.gan) if self.world.size > 1 else {}
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "gan": self.gan.state_dict(),
            "ema": self.ema.module.state_dict(),
            "averages": {name: module.state_dict() for name, module in list(self.ema.modules.items())[1:]},
            "optimizers": {name: _at(optimizer.state_dict(), now[name]) for name, optimizer in self.optimizers.items()},
            "random": random,
            "others": self.world.others(random),
            "own": self.world.others({name: buffer.cpu() for name, buffer in own.items()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; the data order follows from the step."""
        self.gan.load_state_dict(state["gan"])
        self.ema.module.load_state_dict(state["ema"])
        for name, module in list(self.ema.modules.items())[1:]:
            module.load_state_dict(state["averages"][name])
        for name, optimizer in self.optimizers.items():
            saved = state["optimizers"][name]
            # Whether a step can be recorded is this device's business, not that of the one it was saved on.
            here = {key: value for key, value in optimizer.param_groups[0].items() if key == "capturable"}
            optimizer.load_state_dict({**saved, "param_groups": [group | here for group in saved["param_groups"]]})
            match_layout(optimizer)
        self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
        self.feed(None)
        drawn = [state["random"], *state.get("others", ())]  # By process; one that was not there before begins anew.
        if self.world.rank < len(drawn):
            set_random_state({k: _cpu(v) for k, v in drawn[self.world.rank].items()}, self.engine.device)
        else:
            seed_everything(self.world.own_seed(self.loader.seed, self.step))
        own = state.get("own", ())
        if 0 < self.world.rank <= len(own):  # The first process's are among the model's.
            for name, buffer in own_buffers(self.gan).items():
                buffer.copy_(own[self.world.rank - 1][name])


def _at(state: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state with these numbers in its groups."""
    return {**state, "param_groups": [{**group, **now} for group in state["param_groups"]]}


def own_buffers(gan: GAN) -> dict[str, Tensor]:
    """By name, the buffers of modules that say `own = True`: each process of a run has its own, a pool of fakes say."""
    return {
        f"{name}.{key}": buffer
        for name, module in gan.named_modules()
        if getattr(module, "own", False)
        for key, buffer in module.named_buffers(recurse=False)
    }


def _check_rule(who: str, rule: Rule, optimizer: Any) -> None:
    """See that a rule, `who` in words, makes an optimizer, and sets what that has: of anything else nothing would come.

    Raises:
        GanzooError: it does not.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise GanzooError(f"{who} builds {type(optimizer).__name__}, not a torch.optim.Optimizer")
    given = rule.settings(Progress(0, 0.0, 0.0))
    if not isinstance(given, Mapping):
        raise GanzooError(f"{who} gives settings as {type(given).__name__}, not numbers by name")
    known = list(dict.fromkeys(key for group in optimizer.param_groups for key in group if key != "params"))
    for key in given:
        if key not in known:
            its = type(optimizer).__name__
            raise GanzooError(f"{who} sets '{key}', which its {its} does not have: {did_you_mean(key, known)}")


def _rule(gan: GAN, player: str) -> Rule:
    rule = gan.optimizer(player)
    if not (callable(getattr(rule, "build", None)) and callable(getattr(rule, "settings", None))):
        raise GanzooError(
            f"model '{gan.name}': optimizer('{player}') returns {type(rule).__name__}, not a rule of ganzoo.optim, "
            "such as Adam(lr, b1, b2)"
        )
    return rule


def _means(given: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean over a batch's parts of what each told."""
    return {name: torch.stack([part[name].detach() for part in given]).mean() for name in given[0]}


def _heard(gan: GAN, real_logits: Tensor) -> dict[str, Tensor]:
    """Let the augmentations hear what the discriminator said of real samples; what they have to log."""
    found = {}
    for augmentation in added(gan.augmentations, Augmentation):
        augmentation.after_discriminator_step(real_logits)
        watched = augmentation.watched()
        if not (isinstance(watched, dict) and all(isinstance(value, Tensor) for value in watched.values())):
            raise GanzooError(f"augmentation '{augmentation.name}': watched returns no dict of tensors by name")
        for name, value in watched.items():
            found[f"{augmentation.name}/{name}"] = value.detach().float().mean()
    return found


def _cpu(value: Any) -> Any:
    """Generator states are CPU tensors, wherever a checkpoint was mapped to."""
    if isinstance(value, Tensor):
        return value.cpu()
    return type(value)(_cpu(v) for v in value) if isinstance(value, list | tuple) else value
