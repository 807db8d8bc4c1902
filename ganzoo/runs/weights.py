"""A generator's weights as one file with a checksum inside: a bit that flips on a disk is noticed."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

CHECKSUM = "sha256"
"""Where it stands in the file's metadata."""


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: of a layer that stands in two places of a network, two copies.

    The file format refuses what shares memory.
    """
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """A safetensors file of the tensors, what is said about them, and the checksum of both."""
    from safetensors.torch import save

    kept = apart(tensors)
    return save(kept, {**about, CHECKSUM: checksum(kept, about)})


def damaged(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bool:
    """Whether the contents of such a file are not what was packed; one of an older ganzoo has no checksum."""
    return CHECKSUM in about and about[CHECKSUM] != checksum(tensors, about)


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
