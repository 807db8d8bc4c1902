"""Checkpoints: written whole or not at all, verified by checksum, the last two kept and the best."""

import errno
import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import clean_parts, memory, read_json, regular, whole, write_json

FORMAT = 1
KEEP = 2
GLOBALS = re.compile(
    r"collections OrderedDict|torch Size|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Z][A-Za-z0-9]*Storage"
)
"""All that the pickle in a checkpoint of ganzoo's names. torch would let more pass, `bytearray` of any size too."""
LARGEST_PICKLE = 2**24
"""Bytes: tensors are beside it, and the random numbers' states of a thousand processes take a fifth of this."""
MOST_VALUES = 10**7
"""Values in a checkpoint beyond which nobody walks through it: lists that share lists hold any number."""


class Damaged(GanzooError):
    """A checkpoint that is not what was written, and never will be again: one before it stands in for it."""


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
        # The view is let go whatever happens: a buffer that goes before it complains, from Python 3.13 on.
        with buffer.getbuffer() as data:
            with whole(self.state_file(step)) as file:
                file.write(data)
            size, checksum = len(data), hashlib.sha256(data).hexdigest()
        best = self.best()
        if score is not None and (best is None or score < best[1]):  # First: what is finished is not scored again.
            write_json(self.folder / "best.json", {"step": step, "score": score})
        write_json(self._manifest(step), {"step": step, "bytes": size, "sha256": checksum})
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
        except (GanzooError, KeyError, TypeError, ValueError, OverflowError):
            return None

    def named(self, which: str) -> int:
        """The step that `best`, `last` or a number names.

        Raises:
            UsageError: there is no checkpoint of it; those that there are, are given.
        """
        if which not in ("best", "last") and not re.fullmatch(r"[0-9]{1,18}", which):
            raise UsageError(f"--checkpoint {which}: say best, last or the number of a step")
        steps, best = self.steps(), self.best()
        if which == "best" and (best is None or best[0] not in steps):
            raise UsageError(f"{self.folder.parent} has no best checkpoint: none was scored, as --eval-every does")
        if not steps:
            raise UsageError(f"{self.folder.parent} has no checkpoint")
        step = best[0] if which == "best" and best else steps[-1] if which == "last" else None
        if step is None:
            step = int(which)
        if step not in steps:
            there = ", ".join(f"{step:,}" + (" (best)" if best and best[0] == step else "") for step in steps)
            raise UsageError(f"{self.folder.parent} has no checkpoint of step {step:,}; it has {there}")
        return step

    def load(self, step: int, device: torch.device) -> dict[str, Any]:
        """The state of `step`, verified.

        Raises:
            Damaged: the message says how.
            GanzooError: it cannot be read here and now, for want of memory, say.
        """
        path = self.state_file(step)
        try:
            manifest = read_json(self._manifest(step), limit=4096)
        except GanzooError as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise Damaged(str(error)) from error
        if not isinstance(manifest, dict):
            raise Damaged(f"checkpoint {path} is damaged: its manifest is none")
        try:
            with regular(path) as file:
                size = file.seek(0, 2)
                if size != manifest.get("bytes"):
                    raise Damaged(f"checkpoint {path} is damaged: its size differs from its manifest's")
                if size > memory() // 2:  # It is held twice, as a file and as tensors.
                    raise GanzooError(f"checkpoint {path} takes {size:,} bytes, more than this machine's memory holds")
                file.seek(0)
                # Summed up before it is held.
                if manifest.get("sha256") != hashlib.file_digest(file, "sha256").hexdigest():
                    raise Damaged(f"checkpoint {path} is damaged: its checksum differs from its manifest's")
                file.seek(0)
                data = file.read(size)
        except OSError as error:
            lost = error.errno in (errno.ENOENT, errno.EINVAL)  # It is not there, or something else is.
            kind = Damaged if lost else GanzooError
            raise kind(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
        except MemoryError as error:
            raise GanzooError(f"checkpoint {path} is larger than this machine's memory holds") from error
        try:
            # Only tensors and plain values are accepted: a checkpoint is data, never code.
            _innocent(data)
            _backed(torch.load(io.BytesIO(data), map_location="meta", weights_only=True), len(data))
            state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        except Exception as error:
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise GanzooError(f"checkpoint {path} needs more memory than there is on {device}") from error
            raise Damaged(f"checkpoint {path} is not one of ganzoo's: {type(error).__name__}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            later = isinstance(state, dict) and isinstance(number := state.get("format"), int) and number > FORMAT
            kind = GanzooError if later else Damaged
            raise kind(f"checkpoint {path} has a format that this version of ganzoo does not read")
        return state

    def latest(
        self,
        device: torch.device,
        say: Callable[[str], None],
        check: Callable[[dict[str, Any], int], None] = lambda state, step: None,
    ) -> dict[str, Any] | None:
        """The newest good state; each damaged one passed over is reported through `say`. None: there is none.

        `check` gets a state and the step it must be of, and raises ValueError where it is not good.

        A damaged one that a good one stands in for is given up: it is written again when training comes there, and
        takes no good one's place until then.

        Raises:
            GanzooError: the newest that is not damaged cannot be read here and now.
        """
        clean_parts(self.folder)
        damaged = []
        for step in reversed(self.steps()):
            try:
                state = self.load(step, device)
                check(state, step)
            except Damaged as error:
                say(f"{error}; trying the one before")
                damaged.append(step)
                continue
            except ValueError as error:
                say(f"checkpoint {self.state_file(step)} is damaged: {one_line(error)[:200]}; trying the one before")
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

    def state_file(self, step: int) -> Path:
        """Where the state of `step` is."""
        return self.folder / f"step-{step:08d}.pt"

    def _manifest(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.json"


def _innocent(data: bytes) -> None:
    """Raise ValueError unless the archive is what torch writes: nothing swells, counts twice, or names code."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("its parts overlap")
        if len({entry.header_offset for entry in entries}) < len(entries) or archive.comment:
            raise ValueError("not as torch writes it")  # Other readers of such archives might see something else.
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE:
            raise ValueError("its pickle is not one of ganzoo's")
        content = archive.read(pickles[0])
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and GLOBALS.fullmatch(str(argument)):
            continue
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"it names {argument or operation.name}")


def _backed(state: Any, size: int) -> None:
    """Raise ValueError where tensors claim more than the file of `size` bytes holds, or lists more than anybody reads.

    The tensors have no memory yet. A stride of 0 lets one claim more than its storage; a view, more than its file.
    """
    storages: dict[int, int] = {}
    rest, seen = [state], 0
    while rest:
        value = rest.pop()
        inner: Any = ()
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
            if value.numel() * value.element_size() > storage.nbytes():
                raise ValueError(f"a tensor of {tuple(value.shape)}")
        elif isinstance(value, dict):
            inner = value.values()
        elif isinstance(value, list | tuple):
            inner = value
        seen += len(inner)
        if seen > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        rest.extend(inner)
    if sum(storages.values()) > size:
        raise ValueError("tensors larger than the file")
