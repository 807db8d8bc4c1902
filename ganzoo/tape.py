"""A CUDA graph's rules on the CPU: operators are recorded with their very tensors, and run again without Python.

What holds on the tape holds in a graph: a number that Python computed, an attribute that it counted up and a branch
that it took are what they were when the step was recorded. It is slow, and there to check models and tests.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def on_tape(take: Callable[[], None]) -> Callable[[], None]:
    """A `ganzoo.capture.Record`: runs `take` twice, the second time on the tape, and gives what plays it."""
    take()
    tape = _Tape()
    with tape:
        take()
    return tape.play


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, tree_leaves(out)))
        return out

    @torch.no_grad()
    def play(self) -> None:
        """Run every operator again, and put what it gives where it was: memory is as fixed as in a graph."""
        for func, args, kwargs, kept in self.calls:
            for old, new in zip(kept, tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)
