"""Images per second of a model, beside the tutorial loop and the roofline, measured in the same process and minute."""

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ganzoo.capture import GROUP
from ganzoo.engine import forget_peak_memory, peak_memory
from ganzoo.gan import GAN
from ganzoo.launch import prepare
from ganzoo.modes import settle
from ganzoo.plugins import Registry
from ganzoo.settings import Plan
from ganzoo.yardsticks import Discriminator, Generator, Roofline, roofline, tutorial_loop

SEGMENTS, FEWEST = 10, 3
"""Short segments of each side, taken in turn; what is reported are medians over them. Fewer where a step is long."""
WARM_UP = 2
"""Steps of each side that are not counted."""


@dataclass(frozen=True)
class Result:
    """One line of `ganzoo bench`."""

    model: str
    preset: str | None
    dataset: str
    batch_size: int
    device: str
    mode: str
    """How steps were run: `eager` (one operator after the other), `graph` or `compile`."""
    mode_why: str
    """Why so: what was asked for, or what the probe found."""
    images_per_second: float
    ratio_to_tutorial_loop: float
    """Median over pairs of neighbouring segments, at the same batch size and on the same device."""
    tutorial_images_per_second: float
    same_network: bool
    """Whether the tutorial loop trains this very network; if not, the ratio compares two models."""
    roofline_share: float
    """Time of the step's matrix products by themselves over the time of the step."""
    operations_per_image: float
    matrix_rate: float
    """Floating-point operations a second of those products."""
    setup_seconds: float
    """Opening the data, building the model and taking the first steps."""
    peak_memory_bytes: int
    """Of the device where it keeps count, else of the process, both sides included."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Contest:
    """A model and the tutorial loop, ready to take turns: `theirs()`, `ours()`, and at the end `result()`."""

    def __init__(self, plan: Plan, registry: Registry, seconds: float):
        self.plan = plan
        self._times: tuple[list[float], list[float]] = [], []
        begun = time.perf_counter()
        self.trainer = prepare(plan, registry).trainer
        self.engine, self.batch = self.trainer.engine, plan.options.batch_size
        forget_peak_memory(self.engine.device)
        self.mode = settle(self.trainer, plan.settings.engine)
        self._ours(WARM_UP)
        self.setup_seconds = time.perf_counter() - begun
        self._sink = Path(os.devnull).open("w")  # noqa: SIM115  Closed with the contest.
        self._loop: Iterator[tuple[int, nn.Module]] = tutorial_loop(
            registry.get("datasets", "mnist").unpack(), self.batch, device=str(self.engine.device), progress=self._sink
        )
        self._theirs(WARM_UP)
        ours, theirs = self._ours(1), self._theirs(1)
        self.segments = min(SEGMENTS, max(FEWEST, int(seconds / (ours + theirs))))
        each = seconds / self.segments / 2
        self.our_steps, self.their_steps = max(1, round(each / ours)), max(1, round(each / theirs))
        if self.trainer.recorded is not None:
            self.our_steps += -self.our_steps % GROUP  # Whole groups, as in all but the last steps of a run.

    def ours(self) -> None:
        """A segment of the model's training."""
        self._times[0].append(self._ours(self.our_steps) / self.our_steps)

    def theirs(self) -> None:
        """A segment of the tutorial loop."""
        self._times[1].append(self._theirs(self.their_steps) / self.their_steps)

    def _ours(self, steps: int) -> float:
        begun = time.perf_counter()
        until = self.trainer.step + steps
        while self.trainer.step < until:
            self.trainer.advance(until - self.trainer.step)
        self.engine.synchronize()
        return time.perf_counter() - begun

    def _theirs(self, steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            next(self._loop)
        return time.perf_counter() - begun

    def result(self) -> Result:
        """Medians over the segments so far, of which each side must have had one; ends the contest."""
        peak = peak_memory(self.engine.device) or 0
        ours, theirs = self._times
        images = self.batch * self.trainer.n_critic
        ratios = [images / o / (self.batch / t) for o, t in zip(ours, theirs, strict=False)]
        step = statistics.median(ours)
        self.trainer.recorded = None  # A replay shows no operators to count.
        line: Roofline = roofline(self.trainer.advance, self.engine.device)
        self._loop = iter(())
        self.trainer.feed(None)
        self._sink.close()
        plan = self.plan
        return Result(
            model=plan.model.name,
            preset=plan.preset,
            dataset=plan.settings.dataset,
            batch_size=self.batch,
            device=str(self.engine.device),
            mode=self.mode.used,
            mode_why=self.mode.why,
            images_per_second=images / step,
            ratio_to_tutorial_loop=statistics.median(ratios),
            tutorial_images_per_second=self.batch / statistics.median(theirs),
            same_network=same_network(self.trainer.gan),
            roofline_share=line.share(step),
            operations_per_image=line.operations / images,
            matrix_rate=line.rate,
            setup_seconds=self.setup_seconds,
            peak_memory_bytes=peak,
        )


def measure(plan: Plan, registry: Registry, seconds: float) -> Result:
    """Let the model and the tutorial loop take turns for about `seconds` in all.

    Raises:
        UsageError, GanzooError: as `ganzoo.launch.prepare`.
    """
    contest = Contest(plan, registry, seconds)
    for _ in range(contest.segments):
        contest.theirs()
        contest.ours()
    return contest.result()


def same_network(gan: GAN) -> bool:
    """Whether both networks have the tutorial's parameters, one by one."""
    pairs = (gan.generator, Generator()), (gan.discriminator, Discriminator())
    return all([p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()] for ours, theirs in pairs)
