"""The core: one loop for every model. It fits on a page; what a model is stands in `gan.py`."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ganzoo.data import Batch, Loader
from ganzoo.distributed import ALONE, World
from ganzoo.ema import EMA
from ganzoo.engine import Engine, random_state, seed_everything, set_random_state
from ganzoo.errors import GanzooError
from ganzoo.gan import GAN
from ganzoo.run import Run
from ganzoo.signals import Stop


class Trainer:
    """Two (or more) players, their optimizers, the averaged generator, and where training stands."""

    def __init__(
        self, gan: GAN, loader: Loader, engine: Engine, steps: int | None = None, seconds: float | None = None,
        world: World = ALONE,
    ):  # fmt: skip
        self.gan, self.world = gan.to(engine.device).train(), world
        world.broadcast(self.gan)
        self.loader, self.engine = loader, engine
        self.steps, self.seconds = steps, seconds
        self.parameters = {name: list(module.parameters()) for name, module in gan.players().items()}
        self.rules = {name: gan.optimizer(name) for name in self.parameters}
        self.optimizers = {name: rule.build(self.parameters[name]) for name, rule in self.rules.items()}
        self.ema = EMA(gan.generator, gan.options.ema)
        self.step: int = 0
        self.elapsed = 0.0
        """Seconds of training so far, earlier sessions included."""
        self._batches: Iterator[Batch] | None = None

    @property
    def n_critic(self) -> int:
        """Discriminator steps, hence real batches, for each generator step."""
        return self.gan.options.n_critic

    @property
    def epoch(self) -> float:
        """Epochs done: every real batch counts, whichever player it served."""
        return self.step * self.n_critic / self.loader.batches_per_epoch

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        by_steps = self.step / self.steps if self.steps else 0.0
        by_time = self.elapsed / self.seconds if self.seconds else 0.0
        return min(max(by_steps, by_time), 1.0)

    def fit(self, run: Run) -> None:
        """Train until the budget is spent, a signal comes, or a value is not finite; the run directory looks on."""
        begun = time.perf_counter() - self.elapsed
        with Stop() as stop:
            try:
                while self.fraction < 1:
                    values = self.advance()
                    clock = time.perf_counter() - begun
                    self.elapsed, stop.requested = self.world.agree(self.step, clock, stop.heard)
                    run.after_step(self, values, stop)
                run.finish(self)
            finally:
                self._batches = None  # Lets the workers of a streaming loader go.

    def advance(self) -> dict[str, Tensor]:
        """One generator step and the discriminator steps before it. What it returns is still on the device."""
        if self._batches is None:
            self._batches = self.loader.batches(self.step * self.n_critic)
        gan, values = self.gan, dict[str, Tensor]()
        for k in range(self.n_critic):
            real = next(self._batches)
            if not gan.conditional:
                real = real._replace(y=None)
            with self.engine.autocast():
                with torch.set_grad_enabled(k == self.n_critic - 1):  # The generator's turn reuses the last graph.
                    fake = gan.fake(real)
                terms = gan.discriminator_loss(real, fake.detach())
            values |= self.descend("discriminator", terms)
            with torch.no_grad():
                gan.after_discriminator_step()
        with self.engine.autocast():
            terms = gan.generator_loss(real, fake)
        for name, value in self.descend("generator", terms).items():
            values[f"{name} after" if name in values else name] = value
        self.world.average_buffers(gan)
        self.step += 1
        self.ema.update(self.step)
        return values

    def descend(self, player: str, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move one player down the sum of its terms; gradients are computed for it alone."""
        optimizer = self.optimizers[player]
        for name, value in self.rules[player].settings(self).items():
            for group in optimizer.param_groups:
                group[name] = value
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        for parameter in self.parameters[player]:
            parameter.grad = None
        loss.backward(inputs=self.parameters[player])
        self.world.average_gradients(self.parameters[player])
        optimizer.step()
        named = {f"{player}/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        return {f"{player}_loss": loss, **named, **self.gan.watched()}

    def check_weights(self) -> None:
        """Refuse to go on, or to save, with weights that are not finite.

        Raises:
            GanzooError: a weight is not finite; the player is named.
        """
        for player, parameters in self.parameters.items():
            if not torch.stack([p.detach().isfinite().all() for p in parameters]).all():
                raise GanzooError(f"step {self.step}: the {player}'s weights are no longer finite; the run stops here")

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        random = random_state(self.engine.device)
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "gan": self.gan.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "random": random,
            "others": self.world.others(random),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; the data order follows from the step."""
        self.gan.load_state_dict(state["gan"])
        self.ema.module.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
        self._batches = None
        drawn = [state["random"], *state.get("others", ())]  # By process; one that was not there before begins anew.
        if self.world.rank < len(drawn):
            set_random_state({k: _cpu(v) for k, v in drawn[self.world.rank].items()}, self.engine.device)
        else:
            seed_everything(self.world.own_seed(self.loader.seed, self.step))


def _cpu(value: Any) -> Any:
    """Generator states are CPU tensors, wherever a checkpoint was mapped to."""
    if isinstance(value, Tensor):
        return value.cpu()
    return type(value)(_cpu(v) for v in value) if isinstance(value, list | tuple) else value
