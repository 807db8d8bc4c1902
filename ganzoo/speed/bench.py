"""Images per second of a model, beside the tutorial loop and the roofline, in turns of the same minute."""

import statistics
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ganzoo.gan import GAN
from ganzoo.plugins import Registry
from ganzoo.preparing import prepare
from ganzoo.settings import Plan
from ganzoo.speed.yardsticks import Discriminator, Generator, Roofline, TutorialProcess
from ganzoo.training.capture import GROUP
from ganzoo.training.engine import device_name, forget_peak_memory, peak_memory
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer

SEGMENTS, FEWEST = 10, 3
"""Short segments of each, taken in turn; what is reported are medians over them. Fewer where a step is long, and one
where all turns come round only in longer than there is."""
WARM_UP = 2
"""Steps of each side that are not counted."""


@dataclass(frozen=True)
class Result:
    """One line of `ganzoo bench`."""

    model: str
    preset: str | None
    dataset: str
    data_root: str | None
    image_size: int | None
    """As asked for; None: the data's own."""
    batch_size: int
    device: str
    device_name: str
    precision: str
    """Arithmetic of the networks: `fp32`, `tf32` or `bf16`."""
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
    """Time of the step's matrix products by themselves over that of the step: median over pairs of neighbours."""
    operations_per_image: float
    """Of those products; where turns are lazy, the mean over all steps, as of all else."""
    matrix_rate: float
    """Floating-point operations a second of those products."""
    setup_seconds: float
    """Opening the data, building the model and taking the first steps."""
    peak_memory_bytes: int
    """Of the device where it keeps count, else of the process."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class ProductsOfAStep:
    """The matrix products of a mean step: those of each set of turns that are due together, as often as they are."""

    def __init__(self, trainer: Trainer):
        """Take a step of each, and note its products. Before steps are recorded: a replay shows no operators."""
        schedule = trainer.schedule
        self.lines: list[tuple[float, Roofline]] = []
        """Each with the share of steps that are so."""
        for pattern, times in Counter(map(schedule.pattern, range(schedule.period))).items():
            trainer.step = schedule.step_with(pattern, trainer.step)
            self.lines.append((times / schedule.period, Roofline(trainer.advance)))
        self.operations = sum(share * line.operations for share, line in self.lines)

    def __call__(self, passes: int, device: torch.device) -> float:
        """All products, so many times over; the seconds that those of so many mean steps take."""
        return sum(share * line(passes, device) for share, line in self.lines)


class Contest:
    """A model beside the tutorials' loop and its own products: `theirs()` and `ours()` in turn, at last `result()`."""

    def __init__(self, plan: Plan, registry: Registry, seconds: float):
        self.plan = plan
        self._ours: list[float] = []
        self._tutorial: list[float] = []
        self._products: list[float] = []
        begun = time.perf_counter()
        self.trainer = prepare(plan, registry).trainer
        self.device, self.batch = self.trainer.engine.device, plan.options.batch_size
        prepared = time.perf_counter() - begun
        self.roofline = ProductsOfAStep(self.trainer)
        forget_peak_memory(self.device)
        begun = time.perf_counter()
        self.mode = settle(self.trainer, plan.settings.engine)
        self._take(WARM_UP)
        self.setup_seconds = prepared + time.perf_counter() - begun
        ours = self._take(1)
        self.peak = peak_memory(self.device) or 0
        self.loop = TutorialProcess(registry.get("datasets", "mnist").unpack(), self.batch, str(self.device))
        try:
            self._pace(ours, seconds)
        except BaseException:
            self.close()
            raise

    def _pace(self, ours: float, seconds: float) -> None:
        """Settle how many segments there will be, and of how many steps; `ours`: the seconds of a step."""
        self.loop(WARM_UP)
        theirs, products = self.loop(1), self.roofline(1, self.device)
        period = self.trainer.schedule.period
        fewest = FEWEST if ours * period * FEWEST < seconds else 1
        self.segments = min(SEGMENTS, max(fewest, int(seconds / (ours * period + theirs + products))))
        each = seconds / self.segments / 3
        self.our_steps, self.their_steps, self.passes = (max(1, round(each / one)) for one in (ours, theirs, products))
        if period > 1:  # Every turn as often as it is due.
            self.our_steps += -self.our_steps % period
        elif self.trainer.recorded is not None:
            self.our_steps += -self.our_steps % GROUP  # Whole groups, as in all but the last steps of a run.

    def ours(self) -> None:
        """A segment of the model's training."""
        self._ours.append(self._take(self.our_steps) / self.our_steps)

    def theirs(self) -> None:
        """A segment of the tutorials' loop, and one of the products of our step."""
        self._tutorial.append(self.loop(self.their_steps) / self.their_steps)
        self._products.append(self.roofline(self.passes, self.device) / self.passes)

    def _take(self, steps: int) -> float:
        begun = time.perf_counter()
        until = self.trainer.step + steps
        while self.trainer.step < until:
            self.trainer.advance(until - self.trainer.step)
        self.trainer.engine.synchronize()
        return time.perf_counter() - begun

    def close(self) -> None:
        """End what runs beside."""
        self.loop.close()
        self.trainer.feed(None)

    def result(self) -> Result:
        """Medians over the segments so far, of which each side must have had one."""
        images = self.batch * self.trainer.schedule.batches_per_step
        step, products = statistics.median(self._ours), statistics.median(self._products)
        ratios = [images / o / (self.batch / t) for o, t in zip(self._ours, self._tutorial, strict=False)]
        shares = [p / o for o, p in zip(self._ours, self._products, strict=False)]
        plan = self.plan
        return Result(
            model=plan.model.name,
            preset=plan.preset,
            dataset=plan.settings.dataset,
            data_root=str(plan.settings.data_root) if plan.settings.data_root else None,
            image_size=plan.settings.image_size,
            batch_size=self.batch,
            device=str(self.device),
            device_name=device_name(self.device),
            precision=self.trainer.engine.precision,
            mode=self.mode.used,
            mode_why=self.mode.why,
            images_per_second=images / step,
            ratio_to_tutorial_loop=statistics.median(ratios),
            tutorial_images_per_second=self.batch / statistics.median(self._tutorial),
            same_network=same_network(self.trainer.gan),
            roofline_share=statistics.median(shares),
            operations_per_image=self.roofline.operations / images,
            matrix_rate=self.roofline.operations / products,
            setup_seconds=self.setup_seconds,
            peak_memory_bytes=self.peak,
        )


def measure(plan: Plan, registry: Registry, seconds: float) -> Result:
    """Let the model and the tutorial loop take turns for about `seconds` in all.

    Raises:
        UsageError, GanzooError: as `ganzoo.preparing.prepare`.
    """
    contest = Contest(plan, registry, seconds)
    with closing(contest):
        for _ in range(contest.segments):
            contest.theirs()
            contest.ours()
        return contest.result()


def same_network(gan: GAN) -> bool:
    """Whether both networks have as many weights as the tutorial's, which no other pair has."""
    pairs = (gan.generator, Generator()), (gan.discriminator, Discriminator())
    return all(sum(p.numel() for p in a.parameters()) == sum(p.numel() for p in b.parameters()) for a, b in pairs)
