"""What the step reports, kept on the device until it is read: means, speed, and the first non-finite value."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.training.distributed import ALONE, World


class Meter:
    """Collects a row of numbers per step without waiting for the device; `read` fetches them all at once."""

    def __init__(self, world: World = ALONE) -> None:
        self.world = world
        self.names: list[str] = []
        self.first_step = 1
        self._rows: list[Tensor] = []
        self._images = 0
        self._before = 0.0
        """Seconds since the last read that were another session's."""
        self._since = time.perf_counter()
        self._aside = 0.0
        self.aside_seconds = 0.0
        """Seconds spent `aside` so far, since this meter was made."""
        self._waited = 0.0

    def add(self, step: int, values: Mapping[str, Tensor], images: int) -> None:
        """Take the numbers of the steps up to `step`, in which `images` real images were seen.

        Each value is a scalar, of one step, or (n,), of the last n.
        """
        rows = torch.stack([v.detach().float().reshape(-1) for v in values.values()], dim=1)
        if not self._rows:
            self.names, self.first_step = list(values), step - len(rows) + 1
        self._rows.append(rows)
        self._images += images

    @property
    def pending(self) -> bool:
        """Whether a step was taken since the last read."""
        return bool(self._rows)

    def start(self, waited: float = 0.0) -> None:
        """The clock starts now: what came before was setting up. `waited` as in `read`."""
        self._since, self._aside, self._waited = time.perf_counter(), 0.0, waited

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the time spent inside out of the speed: sampling, checkpoints, evaluation."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._aside += spent
            self.aside_seconds += spent

    def check(self) -> Tensor:
        """The rows so far, on the CPU: float (steps, names); means over the processes, where there are several.

        Raises:
            GanzooError: a value is not finite; the step and the term are named.
        """
        device = self._rows[-1].device if self._rows else None  # A checkpoint's rows may come from elsewhere.
        rows = (
            torch.cat([row.to(device) for row in self._rows]).cpu() if self._rows else torch.zeros(0, len(self.names))
        )
        rows = self.world.mean(rows)
        bad = (~rows.isfinite()).nonzero()
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise GanzooError(
                f"step {self.first_step + row}: {self.names[column]} is {rows[row, column].item()}; "
                "the run stops here (a lower --lr often helps)"
            )
        return rows

    def read(self, waited: float = 0.0) -> dict[str, float]:
        """Means by name since the last read, `images_per_second` and `wait`; then start afresh.

        `waited` is how many seconds training has waited for data since its start; `wait` the share of the time since
        the last read.
        """
        rows = self.check()
        now = time.perf_counter()
        seconds = max(now - self._since - self._aside, 1e-9)
        wait = min(max(waited - self._waited, 0.0) / seconds, 1.0)
        values = {"images_per_second": self._images / (self._before + seconds), "wait": round(wait, 4)}
        if len(rows):
            values |= dict(zip(self.names, rows.double().mean(0).tolist(), strict=True))
        self._rows, self._images, self._since, self._aside = [], 0, now, 0.0
        self._before, self._waited = 0.0, waited
        return values

    def state_dict(self) -> dict[str, Any]:
        """The unread rows, so that a resumed run logs the same means, and how fast they were."""
        seconds = self._before + time.perf_counter() - self._since - self._aside
        return {
            "names": self.names,
            "first_step": self.first_step,
            "rows": self.check(),
            "images": self._images,
            "seconds": seconds if self._rows else 0.0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; the clock starts now."""
        self.names, self.first_step = list(state["names"]), int(state["first_step"])
        self._rows = [state["rows"]] if len(state["rows"]) else []
        self._images, self._before = int(state.get("images", 0)), float(state.get("seconds", 0.0))
        self._since, self._aside = time.perf_counter(), 0.0
