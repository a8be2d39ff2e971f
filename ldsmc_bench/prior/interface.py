"""What a sampler may ask of a prior: latent, pixel and Gaussian-mixture priors look alike."""

from typing import Protocol, Self

import torch
from torch import Tensor


class Prior(Protocol):
    """Anything with a noise schedule, a denoiser and a codec; a pixel prior's codec is the identity."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a latent, (C,h,w)."""

    @property
    def image_size(self) -> int:
        """The side of an image."""

    @property
    def alpha_bar(self) -> Tensor:
        """(T,) float64, of the training steps."""

    @property
    def digest(self) -> str:
        """A hash of everything learned; part of a run's identity."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same prior with its networks on `device`, computing in `dtype`."""

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """Predicted noise for latents (B,C,h,w) at training steps t (B,)."""

    def encode(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1,1] to latents, before any quantisation."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents to images (B,3,H,W), about [-1,1], not clipped; differentiable. A VQ codec quantises first."""
