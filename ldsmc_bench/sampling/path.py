"""The particles' history as moves and ancestors; a chosen particle is followed back once, at the end."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ldsmc_bench.sampling.smc import rows_of


@dataclass
class Path:
    """Latents (B*N,C,h,w) after each move k, and the rows of the move before that they came from."""

    latents: dict[int, Tensor] = field(default_factory=dict)
    parents: dict[int, Tensor] = field(default_factory=dict)

    def moved(self, k: int, z: Tensor, ancestors: Tensor) -> None:
        """Note move k: flat latents, and the ancestors (B,N) that they moved from. Moves come in falling order of k."""
        self.latents[k], self.parents[k] = z, rows_of(ancestors)

    def of(self, chosen: Tensor) -> dict[int, Tensor]:
        """z_k of the chosen flat rows (B,) of the last move, for every move."""
        path = {}
        for k in sorted(self.latents):
            path[k] = self.latents[k][chosen]
            chosen = self.parents[k][chosen]
        return path


def unmoved(images: int, particles: int, device: torch.device) -> Tensor:
    """The ancestors (B,N) of particles that were not resampled."""
    return torch.arange(particles, device=device).expand(images, -1)
