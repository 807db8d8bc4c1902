"""Images per second of a model, beside the tutorial loop and the roofline, measured in the same process and minute."""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganzoo.gan import GAN
from ganzoo.launch import prepare
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
    """How steps were run; `eager`: one operator after the other."""
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
        _reset_peak_memory()
        begun = time.perf_counter()
        self.trainer = prepare(plan, registry).trainer
        self.engine, self.batch = self.trainer.engine, plan.options.batch_size
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

    def ours(self) -> None:
        """A segment of the model's training."""
        self._times[0].append(self._ours(self.our_steps) / self.our_steps)

    def theirs(self) -> None:
        """A segment of the tutorial loop."""
        self._times[1].append(self._theirs(self.their_steps) / self.their_steps)

    def _ours(self, steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            self.trainer.advance()
        self.engine.synchronize()
        return time.perf_counter() - begun

    def _theirs(self, steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            next(self._loop)
        return time.perf_counter() - begun

    def result(self) -> Result:
        """Medians over the segments so far, of which each side must have had one; ends the contest."""
        peak = _peak_memory(self.engine.device)
        ours, theirs = self._times
        images = self.batch * self.trainer.n_critic
        ratios = [images / o / (self.batch / t) for o, t in zip(ours, theirs, strict=False)]
        step = statistics.median(ours)
        line: Roofline = roofline(self.trainer.advance, self.engine.device)
        self._loop, self.trainer._batches = iter(()), None
        self._sink.close()
        plan = self.plan
        return Result(
            model=plan.model.name,
            preset=plan.preset,
            dataset=plan.settings.dataset,
            batch_size=self.batch,
            device=str(self.engine.device),
            mode=self.engine.describe()["engine"],
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


def _reset_peak_memory() -> None:
    """Start counting anew, where the platform lets a process do so."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is what is resident now.


def _peak_memory(device: torch.device) -> int:
    """Bytes held at most: of a GPU's memory, else of the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
