"""Random numbers of one's own: what a thread draws from a seed without touching what anybody else draws."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.gan import GAN
from ganzoo.training.dispatch import ThreadMode
from ganzoo.training.engine import own_randomness

_lock = threading.RLock()
"""Held while a generator of the process is put into another state: by one thread at a time."""
_beyond: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()
"""What `_draws_beyond_torch` found, by generator: several models may be views of one."""


@contextmanager
def own_draws(gan: GAN, seed: int) -> Iterator[None]:
    """Inside, what this thread draws with `gan`, in evaluation mode, comes from generators that start from `seed`.

    The numbers are those that `own_randomness` gives, and other threads' go on as if nothing had been drawn. Two kinds
    of models share a generator with the process, and wait for each other: one that draws from `random` or
    `numpy.random`, and one that is in training mode, whose generators are the process's anyway.
    """
    if gan.training:
        with _lock, own_randomness(seed, gan.device):
            yield
    elif _draws_beyond_torch(gan):
        with _lock, _own_python(seed), OwnGenerators(seed):
            yield
    else:
        with OwnGenerators(seed):
            yield


class OwnGenerators(ThreadMode):
    """Hands every random operator of this thread a generator of its own, one for each device, started from `seed`.

    A few operators take none (attention with dropout): for them the process's generator is set to the state of the
    own one and back, under a lock. That is all that another thread could notice.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        way = _ways.get(function)
        if way is None:
            way = _ways[function] = _way(function)
        if not way.random:
            return function(*args, **kwargs)
        device = _device(args, kwargs)
        if device.type == "meta":
            return function(*args, **kwargs)
        generator = self._generator(device)
        if way.composite:  # In inference mode such an operator comes here whole; it is made of others.
            with self:
                result = function.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if way.served is None:
            return _lent(generator, function, args, kwargs)
        if way.position is not None and len(args) > way.position:
            given = args[way.position] or generator
            return way.served(*args[: way.position], given, *args[way.position + 1 :], **kwargs)
        return way.served(*args, **{**kwargs, "generator": kwargs.get("generator") or generator})

    def _generator(self, device: torch.device) -> torch.Generator:
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


class _Way(NamedTuple):
    """How an operator is served."""

    random: bool
    served: Any = None
    """The operator that takes a generator: itself, or its counterpart; None: there is none."""
    position: int | None = None
    """Where among the positional arguments the generator stands; None: by its name alone."""
    composite: bool = False


_ways: dict[Any, _Way] = {}


def _way(function: Any) -> _Way:
    if not isinstance(function, torch._ops.OpOverload):
        return _Way(random=False)
    names = [a.name for a in function._schema.arguments]
    if "generator" in names:
        at = names.index("generator")
        return _Way(True, function, None if function._schema.arguments[at].kwarg_only else at)
    if torch.Tag.nondeterministic_seeded not in function.tags:
        return _Way(random=False)
    if torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"):
        return _Way(True, composite=True)
    return _Way(True, _counterpart(function))


def _counterpart(function: Any) -> Any:
    """The overload of an operator that takes the same arguments and a generator; None: there is none."""

    def signature(overload: Any) -> list[tuple[str, str]]:
        return [(a.name, str(a.type)) for a in overload._schema.arguments if a.name != "generator"]

    packet = function.overloadpacket
    for name in packet.overloads():
        other = getattr(packet, name)
        if len(other._schema.arguments) == len(function._schema.arguments) + 1 and (
            signature(other) == signature(function)
        ):
            return other
    return None


def _device(args: Sequence[Any], kwargs: dict[str, Any]) -> torch.device:
    """Where an operator draws: on the device that it names, else that of its first tensor, else the CPU."""
    named = kwargs.get("device")
    if named is not None:
        return torch.device(named)
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value.device
    return torch.device("cpu")


def _lent(generator: torch.Generator, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What an operator gives that draws from the process's generator, which stands where `generator` does meanwhile."""
    device = generator.device
    if device.type == "cuda":
        default: Any = torch.cuda.default_generators[device.index]
    else:
        default = torch.mps._get_default_mps_generator() if device.type == "mps" else torch.default_generator
    with _lock:
        before = default.get_state()
        try:
            default.set_state(generator.get_state())
            result = function(*args, **kwargs)
            generator.set_state(default.get_state())
        finally:
            default.set_state(before)
    return result


def _draws_beyond_torch(gan: GAN) -> bool:
    """Whether a model in evaluation mode draws from `random` or `numpy.random` too.

    Looked at once: it does if two samples of one seed differ. Their state would not tell who moved it.
    """
    known = _beyond.get(gan.generator)
    if known is None:
        with _lock:
            before = _python_state()
            first, second = _look(gan), _look(gan)
            known = _beyond[gan.generator] = not all(map(_equal, first, second))
            if known:
                _set_python_state(before)
    return known


def _look(gan: GAN) -> list[Tensor]:
    shape = gan.data.source_shape
    source = None if shape is None else torch.zeros(1, *shape, device=gan.device)
    found: list[Any] = []
    with torch.no_grad(), OwnGenerators(0), suppress(Exception):  # Who asks for samples is told what is wrong.
        z, y = gan.sample_latent(1), gan.sample_labels(1)
        found += [z, y]
        found.append(gan.generated(z, y, source))
    return [value for value in found if isinstance(value, Tensor)]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))


def _python_state() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()


def _set_python_state(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])


@contextmanager
def _own_python(seed: int) -> Iterator[None]:
    """Inside, `random` and `numpy.random` start from `seed`; afterwards they go on as if nothing had been drawn."""
    before = _python_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        _set_python_state(before)
