"""Checkpoints: written whole or not at all, verified by checksum, the last two kept and the best."""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import GanzooError
from ganzoo.files import clean_parts, read_bytes, read_json, whole, write_json

FORMAT = 1
KEEP = 2


class Checkpoints:
    """The `checkpoints/` folder of a run.

    `step-N.pt` holds the state, `step-N.json` its size and SHA-256. The latter is written last: a state without it
    was never finished and is not looked at. `best.json` names the step with the best score.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, state: dict[str, Any], score: float | None = None) -> None:
        """Write the state of `step`; with a `score` (lower is better) that beats the best, keep it as the best.

        Raises:
            OSError: it could not be written; everything that was there before still is.
        """
        self.folder.mkdir(exist_ok=True)
        # Through memory: torch's own writer turns a full disk into an error of its file format.
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        data = buffer.getbuffer()
        with whole(self._state(step)) as file:
            file.write(data)
        checksum = hashlib.sha256(data).hexdigest()
        write_json(self._manifest(step), {"step": step, "bytes": len(data), "sha256": checksum})
        best = self.best()
        if score is not None and (best is None or score < best[1]):
            write_json(self.folder / "best.json", {"step": step, "score": score})
        self._prune()

    def steps(self) -> list[int]:
        """The steps that have a finished checkpoint, ascending."""
        found = (re.fullmatch(r"step-([0-9]{8,18})", p.stem) for p in self.folder.glob("step-*.json"))
        return sorted(int(m[1]) for m in found if m)

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint, if any was scored."""
        try:
            value = read_json(self.folder / "best.json", limit=4096)
            return int(value["step"]), float(value["score"])
        except (GanzooError, KeyError, TypeError, ValueError):
            return None

    def load(self, step: int, device: torch.device) -> dict[str, Any]:
        """The state of `step`, verified.

        Raises:
            GanzooError: it is damaged; the message says how.
        """
        path = self._state(step)
        manifest = read_json(self._manifest(step), limit=4096)
        try:
            size = path.stat().st_size
            data = read_bytes(path, size) if size == manifest["bytes"] else b""
        except (OSError, TypeError, KeyError) as error:
            raise GanzooError(f"checkpoint {path} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
            raise GanzooError(f"checkpoint {path} is damaged: its checksum differs from its manifest's")
        try:
            # Only tensors and plain values are accepted: a checkpoint is data, never code.
            _plain(data)
            state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            _backed(state)
        except Exception as error:
            raise GanzooError(f"checkpoint {path} is not one of ganzoo's: {type(error).__name__}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise GanzooError(f"checkpoint {path} has a format that this version of ganzoo does not read")
        return state

    def latest(self, device: torch.device, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest good state; each damaged one passed over is reported through `say`. None: there is none.

        A damaged one that a good one stands in for is given up: it is written again when training comes there, and
        takes no good one's place until then.
        """
        clean_parts(self.folder)
        damaged = []
        for step in reversed(self.steps()):
            try:
                state = self.load(step, device)
            except GanzooError as error:
                say(f"{error}; trying the one before")
                damaged.append(step)
                continue
            for lost in damaged:
                self._manifest(lost).unlink(missing_ok=True)
            return state
        return None

    def _prune(self) -> None:
        best = self.best()
        kept = set(self.steps()[-KEEP:]) | ({best[0]} if best else set())
        for path in self.folder.glob("step-*"):
            number = path.stem.removeprefix("step-")
            if number.isdecimal() and int(number) not in kept:
                path.unlink(missing_ok=True)

    def _state(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def _manifest(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.json"


def _plain(data: bytes) -> None:
    """Raise ValueError unless the archive is what torch writes: nothing in it is compressed, so nothing swells."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed")


def _backed(value: Any) -> None:
    """Raise ValueError where a tensor claims more numbers than the file holds for it, as a stride of 0 lets it."""
    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"a tensor of {tuple(value.shape)}")
    elif isinstance(value, dict):
        for item in value.values():
            _backed(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _backed(item)
