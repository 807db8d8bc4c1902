"""A module's weights as one file with a checksum inside: a bit that flips on a disk is noticed.

Equal weights make equal files, byte for byte: safetensors writes its metadata in any order, so there is one key, which
holds JSON.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, one_line

CHECKSUM = "sha256"
"""Where it stands in what a file says of itself."""
KEY = "ganzoo"
"""The one key of the metadata."""


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: of a layer that stands in two places of a network, two copies.

    The file format refuses what shares memory.
    """
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """A safetensors file of the tensors, what is said about them, and the checksum of both."""
    from safetensors.torch import save

    kept = apart(tensors)
    told = {**about, CHECKSUM: checksum(kept, about)}
    return save(kept, {KEY: json.dumps(told, sort_keys=True)})


def told(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """What a file says of itself; one of version 0.1.0 has it in keys of its own."""
    metadata = dict(metadata or {})
    if not metadata.get(KEY, "").startswith("{"):
        return metadata
    found: Any = json.loads(metadata[KEY])
    if not (isinstance(found, dict) and all(isinstance(value, str) for value in found.values())):
        raise ValueError("its metadata is not one of ganzoo's")
    return found


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by name; none of them is read.

    Raises:
        GanzooError: it is damaged, or not there.
    """
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name, as they were packed.

    Raises:
        GanzooError: it is damaged, or not there.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = told(file.metadata())
        # One of an older ganzoo has no checksum.
        if CHECKSUM in about and about[CHECKSUM] != checksum(tensors, about):
            raise ValueError("its checksum is not the one it was saved with (`ganzoo resume` writes it anew)")
        return tensors


def about(path: Path) -> dict[str, str]:
    """What a file says of itself.

    Raises:
        GanzooError: it is damaged, or not there.
    """
    with _opened(path) as file:
        return told(file.metadata())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, RuntimeError, OSError, ValueError, RecursionError) as error:
        raise GanzooError(f"{path} is damaged: {one_line(error)[:200]}") from error


def checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of names, types, shapes, numbers and what is said about them, in whatever order they come."""
    digest = hashlib.sha256()
    for key in sorted(about.keys() - {CHECKSUM}):
        digest.update(f"{key}\0{about[key]}\0".encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
