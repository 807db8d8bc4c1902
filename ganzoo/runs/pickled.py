"""Networks out of other programs' pickles, read without running anything: data is built, classes are kept as names.

A pickle is a program for a small stack machine, which may call whatever it names. The machine here has no calls: it
builds numbers, strings and containers, and keeps what would be made by a call as `Made`, name and arguments. Names that
no snapshot of networks needs are refused, and nothing is larger than the file that it comes from.
"""

import math
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import plain
from ganzoo.gan import Network

NAMES = re.compile(
    r"collections OrderedDict|torch_utils\.persistence _reconstruct_persistent_obj|dnnlib\.util EasyDict"
    r"|torch\._utils _rebuild_(parameter|tensor_v2)|torch\.storage _load_from_bytes|torch [A-Z][A-Za-z0-9]*Storage"
    r"|torch (device|Size|float16|float32|float64|int64|memory_format)|_codecs encode"
    r"|(__builtin__|builtins) (set|frozenset)"
    r"|numpy\._?core\.multiarray (scalar|_reconstruct)|numpy\._?core\.numeric _frombuffer"
    r"|numpy (dtype|ndarray)"
)
"""What the pickles of NVIDIA's programs name; sets by name before protocol 4, as Python 3.7 writes them."""
TENSORFLOW = "dnnlib.tflib.network Network"
DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""How torch begins what it writes in its older format: a file, or the bytes of a storage."""
MOST_STEPS, MOST_MODULES, DEEPEST, LONGEST = 1_000_000, 20_000, 32, 1_000
"""Operations of one pickle; modules of one network, and tensors too; how deep they lie in each other; characters of
their names. Whatever a pickle holds once may stand in it a million times, so that each is reckoned where it stands."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "SHORT_BINSTRING", "BINSTRING", "BYTEARRAY8",
}  # fmt: skip


class Unsafe(ValueError):
    """What a pickle holds and no snapshot needs; the message says what."""


@dataclass
class Made:
    """What a call would have made: the name, what it was given, and what was put into it since."""

    name: str
    arguments: Any = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


Storage = Callable[[Any], Tensor]
"""The numbers of a storage that a pickle refers to, in one row."""


def networks(stream: BytesIO) -> dict[str, Network]:
    """The networks that a snapshot holds, by name: `G`, `D`, `G_ema`. The stream is closed: what it held is let go.

    Raises:
        Unsafe: it is no such snapshot, or holds what none needs.
        ValueError and the like: it is damaged.
    """
    size = len(stream.getvalue())
    with stream:
        found = unpickled(stream)
    if not isinstance(found, dict):
        raise Unsafe("it holds no networks by name")
    left = 4 * size  # Two networks may share what is stored once.
    read = {}
    for name, value in found.items():
        if isinstance(value, Made) and _persistent(value):
            read[str(name)] = network = _network(value, left)
            left -= sum(t.nbytes for t in network.tensors.values())
    return read


def unpickled(stream: BytesIO) -> Any:
    """The data of the pickle that begins where the stream stands; the stream ends up behind it.

    Raises:
        Unsafe: it holds what no snapshot needs.
        ValueError, IndexError and the like: it is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = marks.pop()
        values = stack[at:]
        del stack[at:]
        return values

    argument: Any
    for steps, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        name = operation.name
        if steps > MOST_STEPS:
            raise Unsafe(f"it is a program of more than {MOST_STEPS:,} steps")
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in VALUES:
            stack.append(argument)
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}[name]())
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            values = since_mark()
            stack.append(tuple(values) if name == "TUPLE" else values)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("APPENDS", "ADDITEMS"):
            values = since_mark()
            stack[-1].extend(values)
        elif name == "APPEND":
            stack[-2].append(stack[-1])
            stack.pop()
        elif name in ("SETITEM", "SETITEMS"):
            values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            target = stack[-1].items if isinstance(stack[-1], Made) else stack[-1]
            for key, value in zip(values[::2], values[1::2], strict=True):
                if not isinstance(key, str | int | None):
                    raise Unsafe("it has a dictionary whose keys are neither names nor numbers")
                target[key] = value
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_named(argument))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_named(" ".join(stack[-2:]))]
        elif name in ("REDUCE", "NEWOBJ"):
            made, arguments = stack[-2:]
            if not (isinstance(made, Made) and made.arguments == () and isinstance(arguments, tuple)):
                raise Unsafe("it calls what it has not named")
            empty = made.name == "collections OrderedDict" and not arguments
            stack[-2:] = [{} if empty else Made(made.name, arguments)]
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Made):
                stack[-1].state = state
        elif name == "BINPERSID":
            stack.append(Made("persistent", stack.pop()))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise Unsafe(f"it holds the operation {name}, which no snapshot needs")
    raise ValueError("it ends too early")


def _named(name: str) -> Made:
    if name == TENSORFLOW:
        raise Unsafe(
            "it is a snapshot of the TensorFlow program, which is not read: convert it first (legacy.py of the "
            "authors' PyTorch program)"
        )
    if not NAMES.fullmatch(name):
        raise Unsafe(f"it names {plain(name)[:80].replace(' ', '.')}, which no snapshot of networks needs")
    return Made(name)


def _persistent(made: Made) -> bool:
    return made.name == "torch_utils.persistence _reconstruct_persistent_obj"


def _network(made: Made, most: int) -> Network:
    """The network, if its tensors take no more than so many bytes: what is stored once may be named a million times."""
    state, kind = _state(made), made.arguments[0]["class_name"]
    if not isinstance(kind, str):
        raise ValueError("a network's class has no name")
    tensors: dict[str, Tensor] = {}
    layers: dict[str, dict[str, Any]] = {}
    storage, named = _storages(), 0
    for prefix, inner in _modules(state, "", 0, [0]):
        kept = {k: v for k, v in inner.items() if isinstance(v, float | str | None) or _small(v)}
        layers[prefix.removesuffix(".")] = kept
        for name, value in chain(inner["_parameters"].items(), inner["_buffers"].items()):
            named += 1
            if named > MOST_MODULES or len(prefix) + len(str(name)) > LONGEST:
                raise Unsafe("its tensors, or their names, are more than any network has")
            if value is not None:
                tensors[f"{prefix}{name}"] = found = tensor(value, storage)
                most -= found.nbytes
            if most < 0:
                raise Unsafe("its tensors are more than the file could hold")
    return Network(kind, state, tensors, layers)


def _small(value: Any) -> bool:
    """Whether it is a whole number of a size that one can be shown."""
    return isinstance(value, int) and value.bit_length() <= 64


def _state(made: Any) -> dict[str, Any]:
    if not (isinstance(made, Made) and _persistent(made)):
        raise ValueError("a module is of no class that is known")
    state = made.arguments[0]["state"]
    if not isinstance(state, dict):
        raise ValueError("a module has no state")
    return state


def _modules(state: dict[str, Any], prefix: str, depth: int, seen: list[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A module and those in it, each with the beginning of its tensors' names."""
    yield prefix, state
    for name, inner in state["_modules"].items():
        seen[0] += 1
        if depth == DEEPEST or seen[0] > MOST_MODULES or len(prefix) > LONGEST:
            raise Unsafe("its modules are too many, or lie too deep in each other")
        if inner is not None:
            yield from _modules(_state(inner), f"{prefix}{name}.", depth + 1, seen)


def tensor(made: Any, storage: Storage) -> Tensor:
    """The tensor that a call of torch's would have rebuilt, on the CPU.

    `storage` gives the numbers of what it refers to in one row.

    Raises:
        Unsafe: it is larger than what the file holds of it.
        ValueError and the like: it is damaged.
    """
    if isinstance(made, Made) and made.name == "torch._utils _rebuild_parameter":
        made = made.arguments[0]
    if not (isinstance(made, Made) and made.name == "torch._utils _rebuild_tensor_v2"):
        raise ValueError("a parameter is no tensor")
    stored, offset, size, stride = made.arguments[:4]
    values = storage(stored)
    numbers = [offset, *size, *stride]
    if not (len(size) == len(stride) <= 8 and all(type(n) is int and 0 <= n < 2**40 for n in numbers)):
        raise ValueError("a tensor has a shape that is none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(values) or (math.prod(size) and last >= len(values)):
        raise Unsafe(f"a tensor claims the shape {tuple(size)}, and {len(values):,} numbers are there")
    return values.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _storages() -> Storage:
    """Gives the numbers of storages that stand within the pickle as torch has written them: files of its older format.

    Each is read once, however many tensors refer to it.
    """
    read: dict[int, Tensor] = {}

    def storage(made: Any) -> Tensor:
        if not (isinstance(made, Made) and made.name == "torch.storage _load_from_bytes"):
            raise ValueError("a tensor has no storage")
        content = made.arguments[0]
        if id(content) not in read:
            stream = BytesIO(_bytes(content))
            if unpickled(stream) != MAGIC:
                raise ValueError("a storage does not begin as torch's do")
            found, inner = streamed(stream)
            read[id(content)] = inner(found)
        return read[id(content)]

    return storage


def _bytes(content: Any) -> bytes:
    """Bytes as they are, or as text, which they are before protocol 3."""
    if isinstance(content, Made) and content.name == "_codecs encode" and content.arguments[1:] == ("latin1",):
        return bytes(content.arguments[0], "latin1")
    return bytes(content) if isinstance(content, bytearray) else content


def legacy(stream: BytesIO) -> bool:
    """Whether the file begins as torch's did before version 1.6; if so, the stream stands behind that."""
    if MAGIC.to_bytes(10, "little") not in stream.getvalue()[:16]:
        return False
    return bool(unpickled(stream) == MAGIC)


def streamed(stream: BytesIO) -> tuple[Any, Storage]:
    """What a file of torch's older format holds from there on, and where its numbers are."""
    content = stream.getvalue()
    protocol, system = unpickled(stream), unpickled(stream)
    if protocol != PROTOCOL:
        raise ValueError("it is of a version of that format which is not known")
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise ValueError("it is of a machine with another order of bytes")
    found, keys = unpickled(stream), unpickled(stream)
    sizes = _sizes(found)
    places: dict[str, tuple[int, int]] = {}
    at = stream.tell()
    for key in keys:
        if not isinstance(key, str):
            raise ValueError("a storage has no name")
        count = int.from_bytes(content[at : at + 8], "little", signed=True)
        length = count * sizes[key].itemsize
        if not 0 <= length <= len(content) - at - 8:
            raise Unsafe(f"a storage claims {count:,} numbers, and is shorter")
        places[key] = (at + 8, length)
        at += 8 + length

    def storage(made: Any) -> Tensor:
        dtype, key = reference(made)
        return row(content, dtype, *places[key])

    return found, storage


def _sizes(found: Any) -> dict[str, torch.dtype]:
    """The type of each storage that is referred to, by its key."""
    sizes: dict[str, torch.dtype] = {}
    rest: list[Any] = [found]
    seen = 0
    while rest:
        value = rest.pop()
        inner: Any = ()
        if isinstance(value, Made) and value.name == "persistent":
            dtype, key = reference(value)
            sizes[key] = dtype
        elif isinstance(value, Made):
            inner = value.arguments if isinstance(value.arguments, tuple) else ()
        elif isinstance(value, dict):
            inner = value.values()
        elif isinstance(value, list | tuple):
            inner = value
        seen += len(inner)
        if seen > 100 * MOST_MODULES:
            raise Unsafe("it holds more than any network has")
        rest.extend(inner)
    return sizes


def reference(made: Any) -> tuple[torch.dtype, str]:
    """The type and the key of a storage that stands outside of the pickle."""
    if not (isinstance(made, Made) and made.name == "persistent" and made.arguments[0] == "storage"):
        raise ValueError("a tensor has no storage")
    kind, key = made.arguments[1], made.arguments[2]
    if not (isinstance(key, str) and isinstance(kind, Made)):
        raise ValueError("a tensor has no storage")
    return DTYPES[kind.name.removeprefix("torch ").removesuffix("Storage")], key


def row(content: bytes, dtype: torch.dtype, start: int = 0, length: int | None = None) -> Tensor:
    """The numbers that stand there, in one row that shares their memory: it is to be copied, not written to."""
    length = len(content) if length is None else length
    if not length:
        return torch.empty(0, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of torch, that nobody is to write to it.
        return torch.frombuffer(content, dtype=dtype, count=length // dtype.itemsize, offset=start)
