"""Whole steps on a CPU as one straight list of torch's operators: recorded once, run again without what led to them.

A step of small networks spends a quarter of its time outside of its kernels: in modules, in autograd, in Python. Of all
that a tape keeps the calls alone. They are the same kernels on the same tensors in the same order, so that nothing is
rounded otherwise, and random numbers are drawn anew. What holds for a CUDA graph holds here: a number that Python
computed, an attribute that it counted up and a branch that it took are what they were in the recording.
"""

import math
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ganzoo.errors import NotRecorded, Unsteady

ALIASES = {torch.ops.aten.detach.default, torch.ops.aten.alias.default}
"""Operators that give their argument once more: autograd asks for it, and memory does not change."""


def on_tape(take: Callable[[], None]) -> Callable[[], None]:
    """A `ganzoo.training.capture.Record`: runs `take` three times, twice on a tape, and gives what plays it.

    Raises:
        Unsteady: the second recording is not as the first, or a step reads what no operator of torch has made.
        NotRecorded: Python reads a value from a tensor, or processes talk to each other.
    """
    take()  # Optimizers make their state.
    return torch.inference_mode()(watch(take).program())


def watch(take: Callable[[], None], talking: bool = False) -> "_Tape":
    """Run `take` twice on a tape, and hold the two against each other: the second tape.

    Raises:
        Unsteady: the second recording is not as the first, a step reads what no operator of torch has made, or a shape
            follows from values.
        NotRecorded: Python reads a value from a tensor, or, unless they may be `talking`, processes talk to each other.
    """
    first, second = _Tape(talking), _Tape(talking)
    for tape in (first, second):
        with tape, _NoReading():
            take()
    second.compare(first)
    return second


class _NoReading(TorchFunctionMode):
    """Refuses what gives Python a tensor's values, and is no operator."""

    NAMES = frozenset({"numpy", "tolist", "__array__"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            raise NotRecorded(
                f"Python reads values from a tensor (.{name}()), and a recording would not read them again"
            )
        return func(*args, **(kwargs or {}))


def _shape_follows_from_values(func: Any, args: Any) -> bool:
    """Whether an operator's result is as large as its arguments' values say: `x[mask]`, `nonzero`, `unique`."""
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if func is torch.ops.aten.index.Tensor:  # By indices the shape is theirs; by a mask, that of what it lets through.
        return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return True


class _Call(NamedTuple):
    """A line of the program."""

    code: str
    reads: frozenset[str]
    makes: tuple[str, ...]


class _Tape(TorchDispatchMode):
    """Notes each operator as a line of Python, and what it needs that no other line made as something held."""

    def __init__(self, talking: bool) -> None:
        super().__init__()
        self.talking = talking
        self.once: list[_Call] = []
        """Views of what is held, which are the same in every replay."""
        self.calls: list[_Call] = []
        self.held: dict[str, Any] = {}
        self._places: dict[str, int] = {}
        # Weak: autograd takes over a gradient that nobody else holds, and copies any other.
        self._names = WeakIdKeyDictionary()
        self._made = 0
        self._passing: set[str] = set()
        """Names of tensors that every replay makes anew."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Torch would import its compiler, to keep it out of what follows.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "profiler":
            return func(*args, **kwargs)
        if func.namespace == "c10d" and not self.talking:
            raise NotRecorded("processes that talk to each other are not recorded on a CPU")
        if _shape_follows_from_values(func, args):
            raise Unsteady(f"the shape of what {func} gives follows from values, and would be fixed in a recording")
        if torch.Tag.inplace_view in func.tags:
            raise NotRecorded(f"{func} changes the shape of a tensor in place")
        reads: set[str] = set()
        given = [self._code(value, reads) for value in args]
        given += [f"{name}={self._code(value, reads)}" for name, value in kwargs.items()]
        result = func(*args, **kwargs)
        if func in ALIASES:
            self._names[result] = given[0]
            return result
        results = result if isinstance(result, list | tuple) else [result]
        if any(value is not None and not isinstance(value, Tensor) for value in results):
            raise NotRecorded(f"Python reads a value from a tensor ({func}), and a recording would not read it again")
        once = func.is_view and not reads & self._passing
        names = [self._name(value) for value in results]
        makes = tuple(name for name in names if name != "_")
        if not once:
            self._passing |= set(makes)
        operator = re.sub(r"\W", "_", str(func))
        self.held[operator] = func
        code = f"{operator}({', '.join(given)})"
        if makes:
            code = f"{', '.join(names)}{'' if isinstance(result, Tensor) else ','} = {code}"
        (self.once if once else self.calls).append(_Call(code, frozenset(reads), makes))
        return result

    def _code(self, value: Any, reads: set[str]) -> str:
        """The argument as it is written in the program; `reads` is told the tensors in it."""
        if isinstance(value, list | tuple):
            return f"[{', '.join(self._code(v, reads) for v in value)}]"
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else f"float('{value}')"
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if not isinstance(value, Tensor):
            return self._hold(value)
        if value not in self._names:
            held = self._names[value] = self._hold(value)
            self._places[held] = value.data_ptr()
        name: str = self._names[value]
        reads.add(name)
        return name

    def _hold(self, value: Any) -> str:
        name = f"held_{len(self.held)}"
        self.held[name] = value
        return name

    def _name(self, value: Tensor | None) -> str:
        """A name for what an operator gave; an underscore for what has one, as what was changed in place."""
        if value is None or value in self._names:
            return "_"
        self._made += 1
        name = self._names[value] = f"made_{self._made}"
        return name

    def compare(self, before: "_Tape") -> None:
        """Refuse a step that is not the same every time.

        Raises:
            Unsteady: it differs from `before`, or reads a tensor that Python made or moved meanwhile.
        """
        for mine, theirs in zip_longest(self.once + self.calls, before.once + before.calls):
            if mine != theirs:
                lines = [call.code if call else "nothing" for call in (theirs, mine)]
                raise Unsteady(f"a step is not as the one before: {lines[0]}, then {lines[1]}")
        for name, value in self.held.items():
            other = before.held.get(name)
            if isinstance(value, Tensor) and before._names.get(value, "").startswith("made_"):
                raise Unsteady("a step reads what the step before made: keep it in a buffer, and change it in place")
            if isinstance(value, Tensor) and value.dim():
                same = value is other and self._places[name] == before._places.get(name)
                what = f"a tensor of shape {tuple(value.shape)}"
            else:  # Numbers may be made anew, in a tensor or without.
                same = value is other or (type(value) is type(other) and bool(value == other))
                what = f"{value}"
            if not same:
                raise Unsteady(f"a step reads {what}, which no operator of torch has made")

    def program(self) -> Callable[[], None]:
        """All lines as a function. It lets go of a tensor after the last line that reads it, as Python does."""
        last = {name: i for i, call in enumerate(self.calls) for name in (*call.makes, *call.reads)}
        lines = [f"def make({', '.join(self.held)}):", *(f" {call.code}" for call in self.once), " def play():"]
        for i, call in enumerate(self.calls):
            done = sorted(name for name in {*call.makes, *call.reads} & self._passing if last[name] == i)
            lines.append(f"  {call.code}" + (f"; del {', '.join(done)}" if done else ""))
        space: dict[str, Any] = {}
        exec("\n".join([*lines, " return play"]), space)
        # Detached, a view does not hold on to the step that it was recorded in.
        held = {k: v.detach() if isinstance(v, Tensor) else v for k, v in self.held.items()}
        play: Callable[[], None] = space["make"](**held)
        return play
