"""What a step can touch in Python, beside torch's tensors: seen, compared, and put back.

A recording runs no Python, and a few steps of it show no more than a few steps can: a counter that brings a penalty in
step 64, or a list of past fakes, changes what later steps are. So whatever can be reached from the model (attributes of
it and of its modules, its classes, the files they stand in, containers and objects in these) is compared from step to
step.
"""

import io
import json
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST = 100_000
"""Things to look at, beyond which nobody would: a data set's list of files, held by a model."""
PLAIN = (
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), torch.dtype, torch.device, torch.Size,
    torch.layout, torch.memory_format,
)  # fmt: skip
OPAQUE = (types.ModuleType, types.BuiltinFunctionType, io.IOBase, torch.storage.UntypedStorage)
"""Not looked into."""
TENSORS = ("_parameters", "_buffers", "_modules")
"""What a module holds that is looked at as what it is."""
OWN = ("_watched", "forward")
"""What the contract itself keeps between a loss and the trainer's question, and what is compiled."""
FOREIGN = ("torch", "ganzoo", "pydantic", "numpy", "builtins", "abc", "typing", "functools", "collections")
"""Packages whose classes and files hold no state of a model."""


class PythonState:
    """All that can be reached from some roots, as it is now."""

    def __init__(self, roots: Mapping[str, Any]):
        self.leaves: dict[str, Any] = {}
        """What cannot be looked into, by the way to it: a value, or which object it is."""
        self.unfollowable: str | None = None
        """The way to something that moves when it is used, and cannot be put back: an iterator."""
        self._undo: list[Callable[[], None]] = []
        self._held: list[Any] = []  # Else another object might come to have the same number.
        self._seen: set[int] = set()
        self._file: str | None = None
        """The file whose names are looked at. What else lies about in a notebook is no model's."""
        for name, root in roots.items():
            self._look(name, root, inside=False)
        self.leaves["Python's random"] = random.getstate()
        self.leaves["numpy's random"] = _numpy_state(np.random.get_state())

    def restore(self) -> None:
        """Put everything back that can be reached, but what `ganzoo.training.engine.random_state` is for."""
        for undo in self._undo:
            undo()

    def moved(self, later: "PythonState") -> str | None:
        """The way to the first thing that is not as it was; None where all is."""
        for way in [*self.leaves, *(way for way in later.leaves if way not in self.leaves)]:
            if way not in self.leaves or way not in later.leaves or not _same(self.leaves[way], later.leaves[way]):
                return way
        return None

    def _look(self, way: str, value: Any, inside: bool) -> None:
        """Note a value, and what it holds. `inside` a container a tensor counts as the one that it is."""
        if isinstance(value, PLAIN):
            self.leaves[way] = value
            return
        if isinstance(value, Tensor):
            if inside:
                self.leaves[way] = self._which(value)
            if not isinstance(value, nn.Parameter) and id(value) not in self._seen:
                self._seen.add(id(value))
                self._keep_tensor(value)
            return
        if isinstance(value, OPAQUE) or (self._file is not None and not self._concerns(value)):
            return
        if id(value) in self._seen or len(self._seen) > MOST:
            self.leaves[way] = self._which(value)
            if len(self._seen) > MOST and self.unfollowable is None:
                self.unfollowable = f"{way} and what else the model holds are too many things to look at"
            return
        self._seen.add(id(value))
        self._held.append(value)
        self._enter(way, value)

    def _enter(self, way: str, value: Any) -> None:
        if state := _generator_state(value):
            self.leaves[way] = state[0]()
            self._undo.append(partial(state[1], state[0]()))
        elif isinstance(value, np.ndarray):
            self.leaves[way] = (value.dtype.str, value.shape, value.tobytes())
            self._undo.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, bytearray):
            self.leaves[way] = bytes(value)
            self._undo.append(partial(value.__setitem__, slice(None), bytes(value)))
        elif isinstance(value, tuple):
            self._items(way, enumerate(value))
            self.leaves[way] = len(value)
        elif isinstance(value, list | deque):
            self._undo.append(partial(_refill, value, list(value)))
            self._items(way, enumerate(value))
            self.leaves[way] = len(value)
        elif isinstance(value, dict):
            self._undo.append(partial(_refill, value, dict(value)))
            self._items(way, value.items())
            self.leaves[way] = len(value)
        elif isinstance(value, set | frozenset):
            if isinstance(value, set):
                self._undo.append(partial(_refill, value, set(value)))
            self.leaves[way] = frozenset(v if isinstance(v, PLAIN) else self._which(v) for v in value)
        elif isinstance(value, types.FunctionType | types.MethodType):
            self._function(way, value)
        elif isinstance(value, type):
            self._class(way, value)
        elif hasattr(type(value), "__next__"):
            self.unfollowable = self.unfollowable or f"{way} is {_article(type(value).__name__)}, which moves when used"
        else:
            self._object(way, value)

    def _items(self, way: str, items: Any) -> None:
        for key, value in list(items):
            self._look(f"{way}[{key!r}]"[:200], value, inside=True)

    def _object(self, way: str, value: Any) -> None:
        """An object's attributes, those of its class, and what the class's file holds."""
        held: dict[str, Any] = getattr(value, "__dict__", {})
        hidden = TENSORS + OWN if isinstance(value, nn.Module) else ()
        if held:
            self._undo.append(partial(_put_back, held, dict(held), hidden))
        for name, attribute in list(held.items()):
            if name not in hidden:
                self._look(f"{way}.{name}", attribute, inside=False)
        for name in _slots(type(value)):
            attribute = getattr(value, name, None)
            self._undo.append(partial(object.__setattr__, value, name, attribute))
            self._look(f"{way}.{name}", attribute, inside=False)
        for name in ("func", "args", "keywords"):  # Of functools.partial.
            if type(value).__name__ == "partial" and hasattr(value, name):
                self._look(f"{way}.{name}", getattr(value, name), inside=True)
        if isinstance(value, nn.Module):
            for name, tensor in (*value._parameters.items(), *value._buffers.items()):
                if tensor is not None:  # Changed in place is as it should be; another in its place is not.
                    self.leaves[f"{way}.{name}"] = (*self._which(tensor), tensor.data_ptr())
            for name, module in value._modules.items():
                if module is not None:
                    self._look(f"{way}.{name}", module, inside=False)
        self._look(f"class {type(value).__name__}", type(value), inside=False)

    def _class(self, way: str, cls: type) -> None:
        for base in cls.__mro__:
            if _foreign(base.__module__):
                continue
            kept = {name: v for name, v in vars(base).items() if _is_data(name, v)}
            self._undo.append(partial(_put_back_class, base, kept))
            for name, value in kept.items():
                self._look(f"{base.__name__}.{name}", value, inside=False)
            module = sys.modules.get(base.__module__)
            if module is not None and id(module) not in self._seen:
                self._seen.add(id(module))
                self._names(base.__module__, vars(module))

    def _function(self, way: str, function: Any) -> None:
        if isinstance(function, types.MethodType):
            self._look(way, function.__self__, inside=False)
            function = function.__func__
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # Not filled yet.
                continue
            if name != "__class__":
                self._undo.append(partial(setattr, cell, "cell_contents", value))
                self._look(f"{way}.{name}", value, inside=False)
        if not _foreign(function.__module__ or "") and id(function.__globals__) not in self._seen:
            self._seen.add(id(function.__globals__))
            self._names(str(function.__module__), function.__globals__)

    def _names(self, module: str, held: dict[str, Any]) -> None:
        """What a plugin's file holds at its top level."""
        kept = {name: value for name, value in held.items() if _is_data(name, value)}
        self._undo.append(partial(held.update, kept))
        before, self._file = self._file, module
        for name, value in kept.items():
            self._look(f"{name} of {module}", value, inside=False)
        self._file = before

    def _concerns(self, value: Any) -> bool:
        """Whether a thing that a file holds is data, or of a class of that file."""
        kinds = (list, deque, dict, set, frozenset, tuple, bytearray, np.ndarray)
        moves = hasattr(type(value), "__next__") or _generator_state(value) is not None
        return isinstance(value, kinds) or moves or type(value).__module__ == self._file

    def _which(self, value: Any) -> tuple[str, int]:
        self._held.append(value)
        return type(value).__name__, id(value)

    def _keep_tensor(self, tensor: Tensor) -> None:
        kept = tensor.detach().clone()

        def undo() -> None:
            with torch.no_grad():
                if tensor.shape == kept.shape and not tensor.is_inference():
                    tensor.detach().copy_(kept)

        self._undo.append(undo)


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _foreign(module: str) -> bool:
    root = module.partition(".")[0]
    return root in FOREIGN or (root in sys.stdlib_module_names and root != "__main__")


def _is_data(name: str, value: Any) -> bool:
    """Whether a name of a class or a file stands for something that a step may change."""
    if name.startswith("__") and name.endswith("__"):
        return False
    kinds = (types.ModuleType, types.FunctionType, type, staticmethod, classmethod, property, types.BuiltinFunctionType)
    if isinstance(value, kinds) or type(value).__module__.partition(".")[0] in ("pydantic", "pydantic_core", "typing"):
        return False
    return not (hasattr(value, "__get__") and not isinstance(value, PLAIN))


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        if not _foreign(base.__module__):
            names = vars(base).get("__slots__", ())
            yield from (n for n in ((names,) if isinstance(names, str) else names) if not n.startswith("__"))


def _put_back(held: dict[str, Any], kept: dict[str, Any], hidden: tuple[str, ...]) -> None:
    for name in [name for name in held if name not in kept and name not in hidden]:
        del held[name]
    for name, value in kept.items():
        if name not in hidden and (name not in held or held[name] is not value):
            held[name] = value


def _put_back_class(cls: type, kept: dict[str, Any]) -> None:
    for name in [name for name, value in vars(cls).items() if _is_data(name, value) and name not in kept]:
        delattr(cls, name)
    for name, value in kept.items():
        if vars(cls).get(name) is not value:
            setattr(cls, name, value)


def _refill(held: Any, kept: Any) -> None:
    """Give a container what it held, unless it still holds it."""
    if isinstance(held, dict):
        same = held.keys() == kept.keys() and all(held[key] is value for key, value in kept.items())
        if not same:
            held.clear()
            held.update(kept)
    elif isinstance(held, set):
        if held != kept:
            held.clear()
            held.update(kept)
    elif len(held) != len(kept) or any(a is not b for a, b in zip(held, kept, strict=True)):
        held.clear()
        held.extend(kept)


def _generator_state(value: Any) -> tuple[Callable[[], Any], Callable[[Any], None]] | None:
    """How to read and set the state of a generator of random numbers that a model has for itself."""
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, np.random.RandomState):
        return lambda: _numpy_state(value.get_state()), lambda s: value.set_state((s[0], np.array(s[1], "u4"), *s[2:]))
    if isinstance(value, np.random.Generator):
        bits: Any = value.bit_generator
        return lambda: json.dumps(bits.state, default=np.ndarray.tolist), lambda s: setattr(
            bits, "state", json.loads(s)
        )
    if isinstance(value, torch.Generator):
        return lambda: value.get_state().numpy().tobytes(), lambda s: _set_torch(value, s)
    return None


def _set_torch(generator: torch.Generator, state: bytes) -> None:
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _numpy_state(state: Any) -> tuple[Any, ...]:
    return (str(state[0]), tuple(np.asarray(state[1]).tolist()), *state[2:])


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(type(a) is type(b) and (a == b or (a != a and b != b)))  # Two that are no number are alike.
    except Exception:
        return a is b
