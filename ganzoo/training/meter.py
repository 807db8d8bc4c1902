"""What the step reports, kept on the device until it is read: means, speed, and the first non-finite value."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.training.distributed import ALONE, World


class Chunk(NamedTuple):
    """What some steps told."""

    names: tuple[str, ...]
    rows: Tensor
    """float (steps, names), on the device."""
    told: Tensor | None = None
    """bool (steps, names): which of them were; None: all."""


class Meter:
    """Collects a row of numbers per step without waiting for the device; `read` fetches them all at once.

    A name that only some steps tell of, as those of lazy turns, has the mean over these.
    """

    def __init__(self, world: World = ALONE) -> None:
        self.world = world
        self.first_step = 1
        self._chunks: list[Chunk] = []
        self.noted: dict[str, float] = {}
        """Numbers that were found beside the steps, to be read with the next means."""
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
        if not self._chunks:
            self.first_step = step - len(rows) + 1
        self._chunks.append(Chunk(tuple(values), rows))
        self._images += images

    @property
    def pending(self) -> bool:
        """Whether a step was taken since the last read."""
        return bool(self._chunks)

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

    def check(self) -> Chunk:
        """What was told so far, on the CPU; means over the processes, where there are several.

        Raises:
            GanzooError: a value is not finite; the step and the term are named.
        """
        found = self._joined()
        found = found._replace(rows=self.world.mean(found.rows))
        bad = (~found.rows.isfinite()).nonzero()  # What was not told is 0.
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise GanzooError(
                f"step {self.first_step + row}: {found.names[column]} is {found.rows[row, column].item()}; "
                "the run stops here (a lower --lr often helps)"
            )
        return found

    def _joined(self) -> Chunk:
        """All chunks in one, fetched from the device with one copy for each set of names."""
        names = tuple(dict.fromkeys(name for chunk in self._chunks for name in chunk.names))
        count = sum(len(chunk.rows) for chunk in self._chunks)
        rows, told = torch.zeros(count, len(names)), torch.zeros(count, len(names), dtype=torch.bool)
        places: dict[tuple[str, ...], list[tuple[int, Chunk]]] = {}
        start = 0
        for chunk in self._chunks:
            places.setdefault(chunk.names, []).append((start, chunk))
            start += len(chunk.rows)
        for some, chunks in places.items():
            columns = torch.tensor([names.index(name) for name in some])
            steps = torch.cat([torch.arange(at, at + len(chunk.rows)) for at, chunk in chunks])
            # A checkpoint's rows may come from elsewhere.
            device = chunks[-1][1].rows.device
            rows[steps[:, None], columns] = torch.cat([chunk.rows.to(device) for _, chunk in chunks]).cpu()
            marks = [
                torch.ones(chunk.rows.shape, dtype=torch.bool) if chunk.told is None else chunk.told
                for _, chunk in chunks
            ]
            told[steps[:, None], columns] = torch.cat(marks)
        return Chunk(names, rows, told)

    def read(self, waited: float = 0.0) -> dict[str, float]:
        """Means by name since the last read, `images_per_second` and `wait`; then start afresh.

        `waited` is how many seconds training has waited for data since its start; `wait` the share of the time since
        the last read.
        """
        found = self.check()
        now = time.perf_counter()
        seconds = max(now - self._since - self._aside, 1e-9)
        wait = min(max(waited - self._waited, 0.0) / seconds, 1.0)
        values = {"images_per_second": self._images / (self._before + seconds), "wait": round(wait, 4)}
        assert found.told is not None
        for name, column, told in zip(found.names, found.rows.double().unbind(1), found.told.unbind(1), strict=True):
            values[name] = column[told].mean().item()
        values |= self.noted
        self.noted = {}
        self._chunks, self._images, self._since, self._aside = [], 0, now, 0.0
        self._before, self._waited = 0.0, waited
        return values

    def state_dict(self) -> dict[str, Any]:
        """The unread rows, so that a resumed run logs the same means, and how fast they were."""
        seconds = self._before + time.perf_counter() - self._since - self._aside
        found = self.check()
        return {
            "names": list(found.names),
            "first_step": self.first_step,
            "rows": found.rows,
            "told": found.told,
            "noted": dict(self.noted),
            "images": self._images,
            "seconds": seconds if self._chunks else 0.0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; the clock starts now."""
        self.first_step, rows, told = int(state["first_step"]), state["rows"], state.get("told")
        told = None if told is None else told.cpu()
        self._chunks = [Chunk(tuple(state["names"]), rows, told)] if len(rows) else []
        self.noted = dict(state.get("noted", {}))
        self._images, self._before = int(state.get("images", 0)), float(state.get("seconds", 0.0))
        self._since, self._aside = time.perf_counter(), 0.0
