"""A prior in closed form: latents are N(0, I), the codec is linear or bent, nothing is learned."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask


@dataclass(frozen=True)
class GaussianPrior:
    """eps(z, t) = sqrt(1 - alpha_bar) z is the exact noise prediction for z_0 ~ N(0, I)."""

    bend: float = 0.0
    shape: tuple[int, int, int] = (3, 8, 8)
    image_size: int = 8
    alpha_bar: Tensor = field(default_factory=scaled_linear)
    digest: str = "closed form"

    def to(self, device: torch.device, dtype: torch.dtype) -> "GaussianPrior":
        return self

    def conditioned(self, labels: object) -> "GaussianPrior":
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        a = self.alpha_bar.to(z)[t.round().long().clamp(max=len(self.alpha_bar) - 1)].reshape(-1, 1, 1, 1)
        return torch.sqrt(1 - a) * z

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return 2 * x

    def decode(self, z: Tensor) -> Tensor:
        return 0.5 * z + self.bend * torch.sin(z)


def masked(images: int, seed: int = 0, noise_std: float = 0.05) -> Measurement:
    """A measurement in float64 of random images with random masks."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((images, 3, 8, 8), generator=generator, dtype=torch.float64) * 2 - 1
    mask = (torch.rand((images, 1, 8, 8), generator=generator) < 0.5).double()
    noise = torch.randn((images, 3, 8, 8), generator=generator, dtype=torch.float64)
    return Measurement(mask * (x + noise_std * noise), Mask(mask), noise_std)
