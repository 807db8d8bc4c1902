"""What follows a training from outside."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.training.trainer import Trainer


class Enough(Exception):
    """A watcher ended the training; everything is saved in `folder`."""

    together = True
    """Processes of one run raise it at the same step."""

    def __init__(self, folder: Path):
        super().__init__(f"{folder} was ended early; it is saved")
        self.folder = folder


class Watcher:
    """Something that follows a run and writes nothing into it: a progress bar."""

    enough = False
    """Set to end the training: what is due is done, the run is saved, and `Enough` is raised."""
    looks_at: int | None = None
    """A step beyond which no recording is replayed before `step` has been called for it."""

    def tell(self, line: str) -> None:
        """Something about the run that stays to be read: what begins, how its steps are run, where a picture is."""

    def begin(self, trainer: Trainer) -> None:
        """Training starts, or goes on, from where `trainer` stands."""

    def step(self, trainer: Trainer) -> None:
        """A step was taken; called at every step, so it must cost nothing."""

    def log(self, line: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl` was written."""

    def close(self) -> None:
        """Training ended."""


class Until(Watcher):
    """Ends the training, to be gone on with or not, once a share of its budget is spent."""

    def __init__(self, share: float):
        """`share` lies above 0 and below 1."""
        self.share = share

    def begin(self, trainer: Trainer) -> None:
        if trainer.steps:
            self.looks_at = math.ceil(self.share * trainer.steps - 1e-9)  # A third of 9 steps are 3.

    def step(self, trainer: Trainer) -> None:
        by_steps = self.looks_at is not None and trainer.step >= self.looks_at
        by_time = bool(trainer.seconds) and trainer.elapsed >= self.share * (trainer.seconds or 0.0)
        self.enough = by_steps or by_time
