"""Named noise: every random number of a run comes from here, a generator for each image and name.

What an image draws depends on (seed, stream, image id, name) alone: never on batch, shard, order or device.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")


class Noise:
    """The random numbers of a batch of images.

    `stream` separates uses that must not share draws: measurements of one task, say, from a sampler's draws.
    Successive calls with one name continue that name's stream; different names are independent. B is the number of
    images times `rows`: where an image has several rows, which follow each other, it draws for all of them at once.
    All is drawn on the CPU, where every machine draws alike, and handed out on `device`, without waiting for it.
    """

    def __init__(
        self, seed: int, image_ids: Sequence[str], stream: str, rows: int = 1, device: torch.device = CPU
    ) -> None:
        self.seed, self.image_ids, self.stream, self.rows, self.device = seed, tuple(image_ids), stream, rows, device
        self._generators: dict[str, list[torch.Generator]] = {}

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, (B, *shape), float32, which runs of every precision share."""
        return self._drawn(torch.randn, name, shape, torch.float32)

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """Uniform draws in [0, 1), (B, *shape), float64."""
        return self._drawn(torch.rand, name, shape, torch.float64)

    def poisson(self, name: str, rates: Tensor) -> Tensor:
        """Poisson draws with these means, (B, ...) on the CPU, in their dtype."""
        drawn = [torch.poisson(row, generator) for row, generator in zip(rates, self._of(name), strict=True)]
        return torch.stack(drawn)

    def ancestors(self, weights: Tensor, scheme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Ancestors (B,N) by a resampling scheme; here, so that a recorded run can put its own in their place."""
        return scheme(weights, self.uniform("ancestors", weights.shape[1:]))

    def numpy(self, name: str) -> list[np.random.Generator]:
        """One NumPy generator an image, fresh at every call: for masks and kernels, which are drawn once."""
        return [np.random.default_rng(self._entropy(name, image_id)) for image_id in self.image_ids]

    def entropy(self, name: str) -> int:
        """A number of 128 bits for all images together: a seed for what cannot draw from here."""
        return self._entropy(name, "\x1f".join(self.image_ids))

    def _drawn(self, draw: Callable[..., Tensor], name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """From each image's generator, in one dtype whatever torch's defaults are."""
        size = (self.rows, *shape)
        together = torch.cat([draw(size, generator=one, dtype=dtype, device=CPU) for one in self._of(name)])
        if self.device.type != "cuda":
            return together.to(self.device)
        return together.pin_memory().to(self.device, non_blocking=True)  # from other memory, the copy is waited for

    def _of(self, name: str) -> list[torch.Generator]:
        if name not in self._generators:
            self._generators[name] = [
                torch.Generator(CPU).manual_seed(self._entropy(name, image_id) % 2**63) for image_id in self.image_ids
            ]
        return self._generators[name]

    def _entropy(self, name: str, image_id: str) -> int:
        words = "\x1f".join((str(self.seed), self.stream, image_id, name))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:16], "little")
