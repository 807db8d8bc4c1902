"""How much of a data set is held in memory: what is free decides, and both ways give the same batches."""

import math
from contextlib import suppress
from pathlib import Path

import torch

from ganzoo.files import memory

IN_MEMORY_BYTES: float = math.inf
"""Sets of more bytes of uint8 pixels stream, however much memory is free."""
AT_ONCE_BYTES = 2 * 2**30
"""Sets of files with more pixels are decoded into the cache, once, and not at the start of each run."""
SHARE = {"cpu": 0.25, "cuda": 0.5}
"""Of the memory that is free, what images, or what networks make of them, may take: others need the rest."""
CGROUP = Path("/sys/fs/cgroup")


def room(device: torch.device | None = None) -> int:
    """Bytes of pixels that may live on a device; in this machine's memory, where none is named."""
    return int(min(IN_MEMORY_BYTES, share(device)))


def share(device: torch.device | None = None) -> int:
    """Bytes that one use may take of the memory that is free on a device; of this machine's, where none is named."""
    if device is None or device.type != "cuda":
        return int(available() * SHARE["cpu"])
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # By torch, and given back.
    return int((torch.cuda.mem_get_info(device)[0] + kept) * SHARE["cuda"])


def available() -> int:
    """Bytes that this process could still take: of the machine, or of the container that it runs in."""
    found = [memory()]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError, ValueError):  # Where there is no limit, the file says "max".
        limit, taken = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        kept = [line.split() for line in (CGROUP / "memory.stat").read_text().splitlines()]
        files = sum(int(value) for name, value in kept if name == "inactive_file")  # Given up when asked for.
        found.append(max(limit - taken + files, 0))
    return min(found)
