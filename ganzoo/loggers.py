"""What a logger plugin implements: somewhere for scalars and pictures to go."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np


class Logger(ABC):
    """One destination of a run's scalars and pictures. Subclass it, register the class through `register_loggers`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings."""

    def __init__(self, folder: Path, step: int):
        """Open the destination for the run in `folder`, which stands at `step`: later entries there are obsolete."""

    @abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record named numbers."""

    @abstractmethod
    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Record a picture, uint8 (H, W, 3)."""

    def close(self) -> None:
        """Write what is still held."""
