"""A run put on the Hugging Face hub, where `hf://owner/name` is its address: see `hub` for the way back."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError, UsageError, note_once, plain, warn
from ganzoo.files import from_json, memory, read_bytes, read_json
from ganzoo.runs.card import card, measured_at
from ganzoo.runs.hub import (
    GRID,
    JSON,
    LARGEST_GRID,
    SCHEME,
    SECONDS,
    SMALL,
    WEIGHTS,
    Address,
    client,
    download,
    parse,
    told,
)
from ganzoo.runs.sampler import load

CARD = "README.md"
LARGEST_CARD = 2**20
"""Bytes of a card beyond which it is none of ganzoo's."""


class Pushed(NamedTuple):
    """What a push did."""

    address: str
    url: str
    files: list[str]


def push(folder: Path, to: str, private: bool = False, message: str | None = None) -> Pushed:
    """Put a run on the hub: what `ganzoo.load` needs, its numbers, its last grid and a card. One commit.

    The repository is made where there is none. Paths of this machine are left out, and so is every checkpoint. What the
    push before left there and this one has not is removed: `run.json` names it. A README that is not as ganzoo wrote it
    stays, with a note.

    Args:
        folder: the run directory.
        to: owner/name.
        private: whether a repository that is made is seen by its owner alone.
        message: of the commit.

    Raises:
        UsageError: it is no run; or the hub knows no such owner, or does not let this user write; or files in the
            repository that are no run's would be replaced.
        GanzooError: the run is damaged, or the hub cannot be reached.
    """
    address = parse(to)
    if address.revision:
        raise UsageError(f"a run is pushed as owner/name, not to a revision: {plain(to)}")
    api = client()
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    if folder.is_file():
        raise UsageError(f"{folder} is not a run directory: it is a file")
    sampler = load(folder, "cpu")
    gan = sampler.gan  # What others could not load is not pushed.
    files = {name: _shared_json(folder / name) for name in JSON}
    files["metrics.jsonl"] = _shared(folder / "metrics.jsonl", SMALL["metrics.jsonl"])
    for name in gan.saved:
        files[f"{name}.safetensors"] = _shared(folder / f"{name}.safetensors", memory())
    grids = [path for path in (folder / "samples").glob("*.png") if GRID.fullmatch(f"samples/{path.name}")]
    if grids:
        files[f"samples/{max(grids).name}"] = _shared(max(grids), LARGEST_GRID)
    held = {name: data for name, data in files.items() if data is not None}
    if "eval.json" in held and not measured_at(json.loads(held["eval.json"]), sampler.step):
        note_once(f"the card shows no numbers: eval.json is not of step {sampler.step:,}; `ganzoo eval` measures anew")
    made = card(address.repo, gan, held, sampler.step).encode()
    with told(address):
        api.create_repo(address.repo, private=private or None, exist_ok=True)
        info = api.model_info(address.repo, files_metadata=True, timeout=SECONDS)
    there = _there(address, str(info.sha), {str(file.rfilename): file.size for file in info.siblings or ()})
    if not there.is_run and (others := sorted(there.names & held.keys())):
        raise UsageError(f"{address} is no run of ganzoo's, and its {others[0]} would be replaced: choose another name")
    left = sorted(there.names & there.pushed - held.keys())
    edited = CARD in there.names and (there.card is None or there.card not in (_sum(made), there.pushed_card))
    if not edited:
        held[CARD] = made
    pushed = {"files": sorted(held.keys() - {CARD}), "card": None if edited else _sum(made)}
    held["run.json"] = _json(json.loads(held["run.json"]) | {"pushed": pushed})
    with told(address):
        commit = api.create_commit(
            address.repo,
            [
                *(CommitOperationAdd(name, data) for name, data in held.items()),
                *(CommitOperationDelete(name) for name in left),
            ],
            commit_message=message or f"ganzoo push: {gan.name}",
        )
    if edited:
        warn(
            f"the {CARD} of {address} is not as ganzoo wrote it, and stays as it is: delete it there and push again "
            "for one with the numbers of this run"
        )
    return Pushed(f"{SCHEME}{address.repo}", str(commit.commit_url).partition("/commit/")[0], sorted(held))


class _There(NamedTuple):
    """What a repository holds."""

    names: set[str]
    is_run: bool
    pushed: set[str]
    """Files of a run that the push before left; none where its `run.json` does not say."""
    pushed_card: str | None
    """The checksum of the card that it wrote."""
    card: str | None
    """That of the README as it is now; None where there is none, or one of absurd size."""


def _there(address: Address, commit: str, sizes: Mapping[str, int | None]) -> _There:
    """What a repository holds at a commit, by what it says of the push before."""
    limits = {"run.json": SMALL["run.json"], CARD: LARGEST_CARD}
    read = {name: size for name, most in limits.items() if (size := sizes.get(name)) is not None and size <= most}
    texts: dict[str, bytes] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            if read:
                download(address, commit, read, Path(folder) / "there")
            texts = {name: (Path(folder) / "there" / name).read_bytes() for name in read}
        info = from_json(texts.get("run.json", b"null"))
    except OSError as error:
        raise GanzooError(f"{address} cannot be looked at: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        info = None
    if not (isinstance(info, dict) and isinstance(info.get("model"), str)):
        info = None
    record = info.get("pushed") if info else None
    names, before = (record.get("files"), record.get("card")) if isinstance(record, dict) else (None, None)
    ours = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    return _There(
        set(sizes),
        info is not None,
        {name for name in ours if name in SMALL or WEIGHTS.fullmatch(name) or GRID.fullmatch(name)},
        before if isinstance(before, str) else None,
        _sum(texts[CARD]) if CARD in texts else None,
    )


def _sum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _shared(path: Path, limit: int) -> bytes | None:
    """What a file holds; None where there is none."""
    return read_bytes(path, limit) if path.is_file() else None


def _shared_json(path: Path) -> bytes | None:
    """A JSON file without what others need not know: the command, sessions, and folders of this machine."""
    if not path.is_file():
        return None
    value = read_json(path)
    known = {k: v for k, v in value.items() if k not in ("command", "sessions")} if isinstance(value, dict) else value
    return _json(_placeless(known))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _placeless(value: Any) -> Any:
    """The value, with only the last part of each absolute path in it."""
    if isinstance(value, dict):
        return {key: _placeless(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placeless(inner) for inner in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name
    return value
