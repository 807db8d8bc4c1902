"""Device, precision and random numbers: everything about the machine that the trainer need not know."""

import ctypes
import os
import platform
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ganzoo.errors import UsageError

KEPT_BYTES = 2**29
"""Free memory that a process on the CPU may hold on to."""


@dataclass(frozen=True)
class Engine:
    """Where and how steps run. Make one with `choose`."""

    device: torch.device
    precision: str
    """fp32, tf32 or bf16: what `--precision auto` came to."""
    deterministic: bool = False
    """Whether a device that could add in another order every time may not."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward passes and losses."""
        return self._halved() if self.precision == "bf16" else nullcontext()

    @contextmanager
    def _halved(self) -> Iterator[None]:
        """In bf16. What torch cast there is forgotten at its end, also where a program's own autocast is around all of
        it: kept, the weights of the first step would be those of every forward pass.
        """
        try:
            with torch.autocast(self.device.type, torch.bfloat16):
                yield
        finally:
            torch.clear_autocast_cache()

    def synchronize(self) -> None:
        """Wait for the device; for timing at the edges of a measurement, never inside a step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def describe(self) -> dict[str, Any]:
        """Hardware and versions, for `run.json` and reports."""
        return {
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.precision,
            "deterministic": self.deterministic,
            "threads": torch.get_num_threads(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }


def choose(device: str = "auto", precision: str = "auto", deterministic: bool = False) -> Engine:
    """Resolve `--device` and `--precision`, and set torch to match, to `--deterministic` too.

    Unless it has to be `deterministic`, cudnn tries its convolutions and takes the fastest for each shape, and may sum
    in another order in another session. A CPU always is.

    Raises:
        UsageError: the device does not exist here, or the precision is slower or wrong on it.
    """
    chosen = choose_device(device)
    if precision == "auto":
        precision = "tf32" if _has_tf32(chosen) else "fp32"
    _refuse_bad_precision(chosen, precision)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"  # By default it would be, whatever products are.
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Read when cublas starts, which it has not yet.
        # That finds mistakes, and takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if deterministic or torch.are_deterministic_algorithms_enabled():  # Torch's setter imports its compiler: a second.
        torch.use_deterministic_algorithms(deterministic)
    if chosen.type == "cpu":
        keep_freed_memory()
    elif chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # Where streams and graphs are made by default.
    return Engine(chosen, precision, deterministic)


def keep_freed_memory() -> None:
    """Have the C library keep what tensors give back, for the next step's: glibc's mallopt, where there is one.

    By itself it returns large blocks to the system at once, which then clears each page anew at every step: a fifth of
    the time of a small convolutional network's step.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h.
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 * 2**20)  # The largest that it takes.
        libc.mallopt(trim_threshold, KEPT_BYTES)


def choose_device(name: str) -> torch.device:
    """`auto` (CUDA, else MPS, else CPU), `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise UsageError(f"--device {name}: no CUDA device is available here; use --device cpu")
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: there are {count} CUDA devices here, cuda:0 to cuda:{count - 1}")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"--device {name}: no Apple GPU is available here; use --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda, cuda:N or mps")
    return torch.device(device.type)


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _refuse_bad_precision(device: torch.device, precision: str) -> None:
    if precision == "tf32" and not _has_tf32(device):
        raise UsageError(
            f"--precision tf32 needs a CUDA device of compute capability 8.0 or above, not {device}; use fp32"
        )
    if precision == "bf16":
        if device.type == "cpu" and not _cpu_has_bf16():
            raise UsageError(
                "--precision bf16 is many times slower on this CPU (it has neither avx512_bf16 nor amx_bf16); use fp32"
            )
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            raise UsageError("--precision bf16 needs a CUDA device of compute capability 8.0 or above; use fp32")
        if device.type == "mps":
            raise UsageError("--precision bf16 is not offered on Apple GPUs; use fp32")


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def device_name(device: torch.device) -> str:
    """What the vendor calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def forget_peak_memory(device: torch.device) -> None:
    """Begin to look for a new peak, where the system can: several runs in one process have a peak each."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # Linux; elsewhere the peak is of the whole process.
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the peak: tensors on a CUDA device, the whole process elsewhere; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def seed_everything(seed: int) -> None:
    """Seed every generator that a plugin may use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every generator, as tensors and plain values."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """Inside, others may draw from torch, from which training draws: afterwards it goes on as if they had not.

    Python's numbers and NumPy's go on, so that whoever draws those gets others each time.
    """
    before = random_state(device)
    try:
        yield
    finally:
        of_torch = {name: before[name] for name in ("torch", "cuda", "mps") if name in before}
        set_random_state(random_state(device) | of_torch, device)


@contextmanager
def at_rest(module: nn.Module, seed: int, device: torch.device) -> Iterator[None]:
    """Inside, all of the module is in evaluation mode, no gradient is kept, and random numbers start from `seed`."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad(), own_randomness(seed, device):
            yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, every generator starts from `seed`; afterwards each goes on as if nothing had been drawn."""
    before = random_state(device)
    try:
        seed_everything(seed)
        yield
    finally:
        set_random_state(before, device)


NEWER = ("", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn", "mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
"""Parts of `torch.backends` in which newer versions of torch keep a precision, `fp32_precision`, of each."""


@contextmanager
def settings_kept() -> Iterator[None]:
    """Inside, torch may be set as one needs it; afterwards its settings are what they were."""
    cudnn, deterministic = torch.backends.cudnn, torch.utils.deterministic
    try:
        products: Any = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    except RuntimeError:  # Whoever chose by the newer ones cannot ask the older ones.
        products = None
    newer = [(part, part.fp32_precision) for part in map(_backend, NEWER) if hasattr(part, "fp32_precision")]
    before = cudnn.benchmark, cudnn.deterministic
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if products is None:
            for part, precision in newer:
                part.fp32_precision = precision
        else:
            torch.set_float32_matmul_precision(products[0])
            cudnn.allow_tf32 = products[1]
        cudnn.benchmark, cudnn.deterministic = before
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if exact != now:
            torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])


def _backend(name: str) -> Any:
    part: Any = torch.backends
    for each in name.split(".") if name else ():
        part = getattr(part, each, None)
    return part


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside, gradients are recorded in float32 whatever a program around says, and torch may be set as training needs
    it; afterwards its settings are what they were.

    Raises:
        UsageError: torch makes new tensors of another kind than float32, or elsewhere than on the CPU.
    """
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise UsageError(f"torch makes new tensors {kind}: ganzoo trains in float32 (torch.set_default_dtype)")
    if (place := torch.empty(0).device).type != "cpu":  # Which torch 2.6 tells of a `with` in no other way.
        raise UsageError(
            f"torch makes new tensors on '{place}': leave torch.set_default_device out, and say device='{place}'"
        )
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    # Where no GPU is used yet, asking which one it is would begin to.
    card = torch.cuda.device(torch.cuda.current_device()) if torch.cuda.is_initialized() else nullcontext()
    with settings_kept(), card, torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield
