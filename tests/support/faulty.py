"""`ganzoo` in a process whose disk hangs: at the N-th file forced to disk, it says so by a file and waits to be killed.

python faulty.py N MARKER ganzoo-arguments...
"""

import os
import sys
import time
from pathlib import Path

count, marker = int(sys.argv[1]), Path(sys.argv[2])
fsync, calls = os.fsync, 0


def slow(handle):
    global calls
    calls += 1
    fsync(handle)
    if calls == count:
        marker.touch()
        while True:
            time.sleep(0.1)


os.fsync = slow
sys.argv[:] = ["ganzoo", *sys.argv[3:]]

from ganzoo.cli import main  # noqa: E402

main()
