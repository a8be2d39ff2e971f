"""The batch size: as asked for, or as many images as fit the device's free memory."""

from collections.abc import Callable

import torch

from ldsmc_bench.config import Settings
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import look_ahead

ON_CPU = 4  # images: more of them do not get done faster there
ROWS = 64  # images x particles that fill any card: past it, there is only more to lose when a job is stopped
SHARE = 0.8  # of the free memory: the rest is for labels, for images and for what is not foreseen


def most(settings: Settings) -> int:
    """The greatest answer of `images_at_once`."""
    if settings.batch_size != "auto":
        return settings.batch_size
    return max(1, ROWS // settings.labels.particles) if settings.device.type == "cuda" else ON_CPU


def images_at_once(settings: Settings, prior: Prior) -> int:
    """The batch size; for `auto`, on a GPU, by what one and two images take there. `prior` is on its device."""
    if settings.batch_size != "auto" or settings.device.type != "cuda":
        return most(settings)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(settings.device)
    return fitting(most(settings), free, lambda images: _taken(prior, images * settings.labels.particles, settings))


def fitting(most: int, free: float, taken: Callable[[int], float]) -> int:
    """The number of images, 1 to `most`, that fit a share of `free` bytes, where n take `taken(n)`, linear in n."""
    one, two = taken(1), taken(2)
    room = SHARE * free - one
    return 1 if two == float("inf") else max(1, min(most, 1 + int(room // max(two - one, 1.0))))


def _taken(prior: Prior, rows: int, settings: Settings) -> float:
    """The most bytes that a look ahead, its decode and their gradient have in use; infinite where it does not fit."""
    device, a = settings.device, float(prior.alpha_bar[0])
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        z = torch.zeros((rows, *prior.shape), dtype=settings.dtype, device=device)
        ahead = look_ahead(prior.conditioned([0]), z, Row(0, a, 1.0, 0.0))
        with torch.enable_grad():
            x = prior.decode(ahead.z0_hat)
        torch.autograd.grad(x.sum(), ahead.z)
    except torch.OutOfMemoryError:
        return float("inf")
    return float(torch.cuda.max_memory_allocated(device) - before)
