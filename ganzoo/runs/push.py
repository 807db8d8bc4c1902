"""A run put on the Hugging Face hub, where `hf://owner/name` is its address: see `hub` for the way back."""

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from ganzoo.errors import UsageError, plain
from ganzoo.files import memory, read_bytes, read_json
from ganzoo.runs.card import card
from ganzoo.runs.hub import GRID, JSON, LARGEST_GRID, SCHEME, SECONDS, SMALL, WEIGHTS, client, parse, told
from ganzoo.runs.sampler import load


class Pushed(NamedTuple):
    """What a push did."""

    address: str
    url: str
    files: list[str]


def push(folder: Path, to: str, private: bool = False, message: str | None = None) -> Pushed:
    """Put a run on the hub: what `ganzoo.load` needs, its numbers, its last grid and a card. One commit.

    The repository is made where there is none. Paths of this machine are left out, and so is every checkpoint. What an
    earlier push left there and this one has not is removed.

    Args:
        folder: the run directory.
        to: owner/name.
        private: whether a repository that is made is seen by its owner alone.
        message: of the commit.

    Raises:
        UsageError: it is no run, or the hub knows no such owner, or does not let this user write.
        GanzooError: the run is damaged, or the hub cannot be reached.
    """
    address = parse(to)
    if address.revision:
        raise UsageError(f"a run is pushed as owner/name, not to a revision: {plain(to)}")
    api = client()
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    gan = load(folder, "cpu").gan  # What others could not load is not pushed.
    files = {name: _shared_json(folder / name) for name in JSON}
    files["metrics.jsonl"] = _shared(folder / "metrics.jsonl", SMALL["metrics.jsonl"])
    for name in gan.saved:
        files[f"{name}.safetensors"] = _shared(folder / f"{name}.safetensors", memory())
    grids = [path for path in (folder / "samples").glob("*.png") if GRID.fullmatch(f"samples/{path.name}")]
    if grids:
        files[f"samples/{max(grids).name}"] = _shared(max(grids), LARGEST_GRID)
    held = {name: data for name, data in files.items() if data is not None}
    held["README.md"] = card(address.repo, gan, held).encode()
    with told(address):
        api.create_repo(address.repo, private=private or None, exist_ok=True)
        there = {str(file.rfilename) for file in api.model_info(address.repo, timeout=SECONDS).siblings or ()}
        old = sorted(n for n in there - held.keys() if n in SMALL or WEIGHTS.fullmatch(n) or GRID.fullmatch(n))
        made = api.create_commit(
            address.repo,
            [
                *(CommitOperationAdd(name, data) for name, data in held.items()),
                *(CommitOperationDelete(name) for name in old),
            ],
            commit_message=message or f"ganzoo push: {gan.name}",
        )
    return Pushed(f"{SCHEME}{address.repo}", str(made.commit_url).partition("/commit/")[0], sorted(held))


def _shared(path: Path, limit: int) -> bytes | None:
    """What a file holds; None where there is none."""
    return read_bytes(path, limit) if path.is_file() else None


def _shared_json(path: Path) -> bytes | None:
    """A JSON file without what others need not know: the command, sessions, and folders of this machine."""
    if not path.is_file():
        return None
    value = read_json(path)
    known = {k: v for k, v in value.items() if k not in ("command", "sessions")} if isinstance(value, dict) else value
    return (json.dumps(_placeless(known), indent=2) + "\n").encode()


def _placeless(value: Any) -> Any:
    """The value, with only the last part of each absolute path in it."""
    if isinstance(value, dict):
        return {key: _placeless(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placeless(inner) for inner in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name
    return value
