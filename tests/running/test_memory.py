"""Freed memory is there for the next tensor, unless the user has tuned the allocator."""

import ctypes
import os
import subprocess
import sys

import pytest

from ldsmc_bench.running.memory import tuned

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
BLOCKS, SIZE = 40, 2**26
# PyTorch asks for its blocks like this. A process of its own: no earlier test has left holes in its memory.
FAULTS = f"""
import ctypes, resource
import ldsmc_bench

libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]
block = ctypes.c_void_p()
for _ in range({BLOCKS}):
    assert libc.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), ctypes.c_size_t({SIZE})) == 0
    ctypes.memset(block.value, 1, {SIZE})
    libc.free(block.value)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize())
"""


def new_memory(**environment: str) -> int:
    """Bytes of new pages while a process fills `BLOCKS` blocks of `SIZE` bytes, one after the other."""
    clean = {name: value for name, value in os.environ.items() if not tuned({name: value})}
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not GLIBC, reason="another allocator than glibc's")
def test_large_blocks_take_the_memory_of_those_before() -> None:
    # Eleven here: a freed block is too small for the next one by an alignment, until the allocator joins the rests.
    assert new_memory() < BLOCKS * SIZE / 2


@pytest.mark.skipif(not GLIBC, reason="another allocator than glibc's")
def test_an_allocator_that_the_user_has_tuned_is_left_alone() -> None:
    assert new_memory(MALLOC_MMAP_THRESHOLD_=str(2**20)) > BLOCKS * SIZE * 0.9


@pytest.mark.parametrize("own", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_an_allocator_that_the_user_has_chosen_stays(own: str) -> None:
    assert tuned({"PATH": "/bin", own: "1"})
    assert not tuned({"PATH": "/bin", "OMP_NUM_THREADS": "1"})
