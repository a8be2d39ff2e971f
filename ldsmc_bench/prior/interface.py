"""The interface of a prior to samplers: latent, pixel and Gaussian-mixture priors look alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.problem.pictures import sides


class Prior(Protocol):
    """Anything with a noise schedule, a denoiser and a codec; a pixel prior's codec is the identity."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a latent, (C,h,w)."""

    @property
    def image_size(self) -> Any:
        """The side of an image, or its height and width."""

    @property
    def alpha_bar(self) -> Tensor:
        """(T,) float64, of the training steps."""

    @property
    def digest(self) -> str:
        """A hash of everything learned; part of a run's identity."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same prior with its networks on `device`, computing in `dtype`."""

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        """The same prior for a batch of images with these classes; latents are then grouped by image: of R rows of z,
        R / len(labels) in a row belong to each. A prior without classes is left as it is."""

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """Predicted noise for latents (R,C,h,w) at training steps t (R,)."""

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """`eps`, and the learned variance v in [0,1] of each entry where the network has one: log sigma^2 is
        v log beta_t + (1 - v) log beta~_t (Nichol & Dhariwal 2021, Eq. 15). From one call of the network."""

    def encode(self, x: Tensor) -> Tensor:
        """Images (B,C,H,W) in [-1,1] to latents, before any quantisation."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents to images (B,C,H,W), about [-1,1], not clipped; differentiable. A VQ codec quantises first."""


@runtime_checkable
class Calibrated(Protocol):
    """A prior that can estimate the error of A(D(z0_hat)), the measurement of its predicted clean latents."""

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        """The mean square of A(D(z_0)) - A(D(z0_hat(z))) for latents z at alpha_bar `a`, float64: that of an entry,
        (1,), or its covariance, (G,d,d), for G groups of the operator's rows, which follow each other."""


def image_shape(prior: Prior) -> tuple[int, int, int]:
    """(C,H,W) of images. C is the prior's `channels` where it has such an attribute, else that of its latents where
    these are as large as images, else 3."""
    size = sides(prior.image_size)
    return getattr(prior, "channels", prior.shape[0] if tuple(prior.shape[1:]) == size else 3), *size


PASSED_ON = {name for protocol in (Prior, Calibrated) for name in vars(protocol) if name[0] != "_"} | {"channels"}


@dataclass(frozen=True)
class PriorWrapper:
    """Looks like `prior` to a sampler, and computes the same, but for the methods that a subclass replaces."""

    prior: Any  # a Prior

    def __getattr__(self, name: str) -> Any:
        if name not in PASSED_ON:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        return getattr(self.prior, name)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, prior=self.prior.to(device, dtype))

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return replace(self, prior=self.prior.conditioned(labels))
