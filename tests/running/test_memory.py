"""Freed memory is there for the next tensor, unless the user has tuned the allocator."""

import ctypes
import os
import resource
import sys

import pytest
import torch

from ldsmc_bench.running.memory import tuned

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not GLIBC or tuned(os.environ), reason="glibc's allocator is neither here nor as it was")
def test_large_tensors_take_no_new_pages_after_the_first() -> None:
    size = 2**24

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(size).add_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # The first blocks that were freed may be too small by an alignment.
    assert min(faults() for _ in range(20)) < size * 4 / resource.getpagesize() / 10


@pytest.mark.parametrize("own", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_an_allocator_that_the_user_has_chosen_stays(own: str) -> None:
    assert tuned({"PATH": "/bin", own: "1"})
    assert not tuned({"PATH": "/bin", "OMP_NUM_THREADS": "1"})
