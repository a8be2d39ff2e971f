"""Memory of large tensors that stays with the process, for the next operation.

By default glibc asks the system for each large block, and returns it once it is free. The system then clears the pages
of the next one, which on a CPU takes a good part of an operation's time.
"""

import ctypes
import os
import sys
from collections.abc import Mapping

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the parameters of mallopt, from glibc's malloc.h
LARGEST = 2**30  # bytes of a block that is kept


def set_up() -> None:
    """Keep freed memory in this process, where glibc is its allocator and nobody has tuned that."""
    if sys.platform != "linux" or tuned(os.environ):
        return
    if hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)


def tuned(environment: Mapping[str, str]) -> bool:
    """True if the user has chosen an allocator, or its parameters."""
    return any(name.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")) for name in environment)
