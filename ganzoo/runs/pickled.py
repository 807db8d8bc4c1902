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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, one_line, plain
from ganzoo.files import memory
from ganzoo.gan import Network

NAMES = re.compile(
    r"collections OrderedDict|torch_utils\.persistence _reconstruct_persistent_obj|dnnlib\.util EasyDict"
    r"|torch\._utils _rebuild_(parameter|tensor_v2)|torch\.storage _load_from_bytes|torch [A-Z][A-Za-z0-9]*Storage"
    r"|torch (device|Size|float16|float32|float64|int64|memory_format)|_codecs encode"
    r"|(__builtin__|builtins) (set|frozenset)"
    r"|numpy\._?core\.multiarray (scalar|_reconstruct)"
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
MOST_STEPS, MOST_MODULES, DEEPEST = 5_000_000, 20_000, 32
"""Operations of one pickle; modules of one network, and tensors too; how deep they lie in each other."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "SHORT_BINSTRING", "BINSTRING",
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


def networks(path: Path) -> dict[str, Network]:
    """The networks that a snapshot holds, by name: `G`, `D`, `G_ema`.

    Raises:
        GanzooError: it cannot be read, is no such snapshot, is damaged, or names what no snapshot needs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of pickletools, where it meets damaged text.
            return _networks(path)
    except OSError as error:
        raise GanzooError(f"cannot read {path}: {error.strerror or error}") from error
    except Unsafe as error:
        raise GanzooError(f"{path}: {error}; nothing in it was run") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
        raise GanzooError(f"{path} is damaged, or no pickle of networks: {one_line(error)[:200]}") from error


def _networks(path: Path) -> dict[str, Network]:
    size = path.stat().st_size
    if size > memory():
        raise Unsafe(f"it is larger than this machine's memory ({size / 1e9:,.0f} GB)")
    found = unpickled(BytesIO(path.read_bytes()))
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
    state = _state(made)
    tensors: dict[str, Tensor] = {}
    for prefix, inner in _modules(state, "", 0, [0]):
        for held in ("_parameters", "_buffers"):
            for name, value in inner[held].items():
                if value is not None:
                    tensors[f"{prefix}{name}"] = found = tensor(value)
                    most -= found.nbytes
                if most < 0 or len(tensors) > MOST_MODULES:
                    raise Unsafe("its tensors are more than the file could hold")
    return Network(str(made.arguments[0]["class_name"]), state, tensors)


def _state(made: Any) -> dict[str, Any]:
    if not (isinstance(made, Made) and _persistent(made)):
        raise ValueError("a module is of no class that is known")
    state = made.arguments[0]["state"]
    if not isinstance(state, dict):
        raise ValueError("a module has no state")
    return state


def _modules(state: dict[str, Any], prefix: str, depth: int, seen: list[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A module and those in it, each with the beginning of its tensors' names."""
    seen[0] += 1
    if depth > DEEPEST or seen[0] > MOST_MODULES:
        raise Unsafe("its modules are too many, or lie too deep in each other")
    yield prefix, state
    for name, inner in state["_modules"].items():
        if inner is not None:
            yield from _modules(_state(inner), f"{prefix}{name}.", depth + 1, seen)


def tensor(made: Any, storage: Storage | None = None) -> Tensor:
    """The tensor that a call of torch's would have rebuilt, on the CPU.

    `storage` gives the numbers of what it refers to in one row, where they do not stand in the pickle.

    Raises:
        Unsafe: it is larger than what the file holds of it.
        ValueError and the like: it is damaged.
    """
    if isinstance(made, Made) and made.name == "torch._utils _rebuild_parameter":
        made = made.arguments[0]
    if not (isinstance(made, Made) and made.name == "torch._utils _rebuild_tensor_v2"):
        raise ValueError("a parameter is no tensor")
    stored, offset, size, stride = made.arguments[:4]
    values = (storage or _storage)(stored)
    numbers = [offset, *size, *stride]
    if not (len(size) == len(stride) <= 8 and all(type(n) is int and 0 <= n < 2**40 for n in numbers)):
        raise ValueError(f"a tensor has the shape {plain(str(size))[:80]}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(values) or (math.prod(size) and last >= len(values)):
        raise Unsafe(f"a tensor claims the shape {plain(str(size))[:80]}, and {len(values):,} numbers are there")
    return values.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _storage(made: Any) -> Tensor:
    """The numbers of a storage that torch has written, in one row: a file of its older format, within the pickle."""
    if not (isinstance(made, Made) and made.name == "torch.storage _load_from_bytes"):
        raise ValueError("a tensor has no storage")
    content = made.arguments[0]
    stream = BytesIO(content)
    if unpickled(stream) != MAGIC:
        raise ValueError("a storage does not begin as torch's do")
    found, storage = streamed(content, stream)
    return storage(found)


def legacy(content: bytes, stream: BytesIO) -> bool:
    """Whether the file begins as torch's did before version 1.6; the stream stands behind that."""
    beginning = content[:16]
    if MAGIC.to_bytes(10, "little") not in beginning:
        return False
    return bool(unpickled(stream) == MAGIC)


def streamed(content: bytes, stream: BytesIO) -> tuple[Any, Storage]:
    """What a file of torch's older format holds, and where its numbers are."""
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
        count = int.from_bytes(content[at : at + 8], "little", signed=True)
        length = count * sizes[key].itemsize
        if not 0 <= length <= len(content) - at - 8:
            raise Unsafe(f"a storage claims {count:,} numbers, and is shorter")
        places[key] = (at + 8, length)
        at += 8 + length

    def storage(made: Any) -> Tensor:
        dtype, key = reference(made)
        start, length = places[key]
        return row(content[start : start + length], dtype)

    return found, storage


def _sizes(found: Any) -> dict[str, torch.dtype]:
    """The type of each storage that is referred to, by its key."""
    sizes: dict[str, torch.dtype] = {}
    rest: list[Any] = [found]
    seen = 0
    while rest:
        value = rest.pop()
        seen += 1
        if seen > 100 * MOST_MODULES:
            raise Unsafe("it holds more than any network has")
        if isinstance(value, Made):
            if value.name == "persistent":
                dtype, key = reference(value)
                sizes[key] = dtype
            else:
                rest.extend(value.arguments if isinstance(value.arguments, tuple) else ())
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
    return sizes


def reference(made: Any) -> tuple[torch.dtype, str]:
    """The type and the key of a storage that stands outside of the pickle."""
    if not (isinstance(made, Made) and made.name == "persistent" and made.arguments[0] == "storage"):
        raise ValueError("a tensor has no storage")
    kind, key = made.arguments[1], made.arguments[2]
    if not (isinstance(key, str) and isinstance(kind, Made)):
        raise ValueError("a tensor has no storage")
    return DTYPES[kind.name.removeprefix("torch ").removesuffix("Storage")], key


def row(content: bytes, dtype: torch.dtype) -> Tensor:
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)
