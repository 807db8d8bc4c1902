"""What a step has at hand: a real batch with its fakes, and what its turns have told so far. Tensors alone are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ganzoo.data import Batch
from ganzoo.gan import Turn


@dataclass
class Look:
    """A real batch as the turns of a step look at it: in equal parts, each with its fakes."""

    parts: list[Batch]
    fakes: list[Batch]
    """Those of the last turn that made any."""
    heard: bool = False
    """Whether augmentations know how the discriminator scored it: once, though lazy turns look at the same batch."""


class Told:
    """What the turns of a step have to log, by names of which no two are the same."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self._turn: Turn | None = None
        self._names: dict[str, str] = {}

    def add(self, turn: Turn, given: Mapping[str, Tensor]) -> None:
        """What two turns tell by one name gets two; a turn that repeats itself tells of the last time."""
        if turn is not self._turn:
            self._turn, self._names = turn, {}
        self._names |= {name: self._free(name, turn.name) for name in given if name not in self._names}
        self.values |= {self._names[name]: value for name, value in given.items()}

    def _free(self, name: str, turn: str) -> str:
        others = (name, f"{name} after", f"{name} after {turn}", f"{name} in {turn}")
        return next((other for other in others if other not in self.values), others[-1])
