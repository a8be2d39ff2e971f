"""The machine: how fast it multiplies matrices, how much memory a pass takes, and what to call it."""

import ctypes
import platform
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

from ldsmc_bench.batch import allow_tf32
from ldsmc_bench.settings import PRECISIONS

REPEATS = 7
SIDES = {"cuda": (8192, 16384), "cpu": (1024, 2048)}  # of the matrices


def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a product of large square matrices: the fastest size's median."""
    allow_tf32(precision == "tf32")
    rates = []
    for side in SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
        times = [_timed(a, b) for _ in range(REPEATS + 1)]
        rates.append(2 * side**3 / median(times[1:]))  # the first warms up
    return max(rates)


def memory_begins(device: torch.device) -> float:
    """Start to watch memory: MB in use now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    with suppress(OSError, AttributeError):  # elsewhere than on Linux the mark of before stands
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return _resident()


def memory_peak(device: torch.device) -> float:
    """The most MB in use since `memory_begins`."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else _resident()


def memory_words(device: torch.device) -> str:
    """What these numbers are."""
    if device.type == "cuda":
        return "peak memory: the most that PyTorch had allocated, networks included"
    return "peak memory: what a pass added to the most that the process had resident, networks not included"


def described(device: torch.device) -> str:
    """The device, the versions and the threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{device.type} ({name}{threads}), torch {torch.__version__}, Python {platform.python_version()}"


def _resident() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _timed(a: torch.Tensor, b: torch.Tensor) -> float:
    begun = time.perf_counter()
    a @ b
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - begun
