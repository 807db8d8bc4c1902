"""`ganzoo` in a process that is forked from one which has loaded torch already: a life that begins at once.

Lives of `tests/soak.py`, which are ended by SIGKILL. All that streams streams here: no set is held in memory.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import torch

import ganzoo.launch  # noqa: F401  What a run imports.
from ganzoo.cli import main
from ganzoo.commands import resume, run  # noqa: F401
from ganzoo.data import memory
from ganzoo.plugins import registry

torch.set_num_threads(1)
registry().check()


def live(folder: Path, arguments: tuple[str, ...], streamed: bool, told: Path) -> None:
    """Run a command in `folder`; what it says goes to the file `told`."""
    handle = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    multiprocessing.set_start_method(None, force=True)  # Processes that read images are begun as in any run.
    os.chdir(folder)
    if streamed:
        memory.IN_MEMORY_BYTES = 0
    sys.argv[:] = ["ganzoo", *arguments]
    main()
