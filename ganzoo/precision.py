"""What stays float32 in a run whose networks compute in half precision."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

HALVES = (torch.bfloat16, torch.float16)


def single(value: Any) -> Any:
    """Float32 of what half precision made: a tensor, or a tuple or list of such. Anything else as the object it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALVES else value
    if isinstance(value, tuple | list):
        return like(value, [single(part) for part in value])
    return value


def like(value: Any, parts: Iterable[Any]) -> Any:
    """A tuple or list of other parts, of the type of `value`: named ones keep their names."""
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def exactly(device: str) -> AbstractContextManager[Any]:
    """Inside, a device of this kind computes in the precision that tensors have, whatever the run's is."""
    lowered = device != "meta" and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if lowered else nullcontext()


@contextmanager
def as_usual() -> Iterator[None]:
    """Inside, new tensors are float32 on the CPU, and none is autocast, whatever a program around says.

    The same seed then draws the same samples there, and scores are those that the command line finds.
    """
    kind = torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda"):
            stack.enter_context(exactly(device))
        if kind != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, kind)
        yield


def computed(device: str) -> torch.dtype:
    """What networks on a device of this kind compute in here: the run's half precision, or float32."""
    lowered = device != "meta" and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if lowered else torch.float32


def give_single(network: nn.Module) -> None:
    """Have a network's output be float32 from now on, whoever calls it: losses and penalties compute with that."""
    network.register_forward_hook(_single_output)


def _single_output(network: nn.Module, inputs: Any, output: Any) -> Any:
    return single(output)
