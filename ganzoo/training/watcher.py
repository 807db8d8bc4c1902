"""What follows a training from outside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.training.trainer import Trainer


class Enough(Exception):
    """A watcher ended the training; everything is saved in `folder`."""

    def __init__(self, folder: Path):
        super().__init__(f"{folder} was ended early; it is saved")
        self.folder = folder


class Watcher:
    """Something that follows a run and writes nothing into it: a progress bar."""

    enough = False
    """Set to end the training: what is due is done, the run is saved, and `Enough` is raised."""

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
