"""The machine: what the process on a CPU asks of the C library."""

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource, torch
from ganzoo.training.engine import choose

def faults():
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**22)  # 16 MB: 4096 pages.
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun

before = faults()
choose("cpu")
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_a_tensor_gave_back_is_not_asked_of_the_system_again():
    environment = {"MALLOC_MMAP_THRESHOLD_": "4194304", "PATH": "/usr/bin"}  # As a process starts; it would adapt.
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=True
    ).stdout
    before, after = map(int, printed.split())
    assert after < 4096 < before / 2
