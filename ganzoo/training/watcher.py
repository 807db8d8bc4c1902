"""What follows a training from outside."""

from collections.abc import Mapping
from typing import Any

from ganzoo.training.trainer import Trainer


class Watcher:
    """Something that follows a run and writes nothing into it: a progress bar."""

    def begin(self, trainer: Trainer) -> None:
        """Training starts, or goes on, from where `trainer` stands."""

    def step(self, trainer: Trainer) -> None:
        """A step was taken; called at every step, so it must cost nothing."""

    def log(self, line: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl` was written."""

    def close(self) -> None:
        """Training ended."""
