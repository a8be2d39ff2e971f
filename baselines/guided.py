"""Guided denoisers: the mean of z_0 given z and y, by a Gaussian guess of z_0 given z, in the place of the denoiser's
own mean on a chain of DDIM.

With h = A(D(.)), B its Jacobian at z0_hat and C the guess of Cov[z_0 | z]:
    E[z_0 | z, y] = z0_hat + C B^T (noise_std^2 + B C B^T)^-1 (y - h(z0_hat))

References: Daras et al. 2024, "A survey on diffusion models for inverse problems", arXiv 2410.00083 (the common form).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import TINY, look_ahead, residual
from ldsmc_bench.sampling.trace import Trace

Linear = Callable[[Tensor], Tensor]
Guide = Callable[[Prior, Measurement, Tensor, Row], Tensor]  # E[z_0 | z, y] of latents z (R,C,h,w), which are at `row`
# Images (B,3,H,W) restored by a guide on a chain's rising rows
Run = Callable[[Prior, Measurement, Noise, Trace, Sequence[Row], Guide], Tensor]


def run_path(
    prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, rows: Sequence[Row], guide: Guide
) -> Tensor:
    """Images (B,3,H,W), each at the end of one path of DDIM with the guide's posterior mean."""

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    z = draw()
    for k, row in reversed(list(enumerate(rows))):
        z0 = guide(prior, measurement, z, row)
        z = row.mean(z, z0) + row.sigma * draw()
        trace(k, z=z, z0=z0)
    return prior.decode(z)


def weight_of_z0(row: Row) -> float:
    """The weight of z_0 in the mean of DDIM's move, by which a shift of the move is one of z_0."""
    kept = (max(0.0, 1 - row.a_prev - row.sigma**2) / (1 - row.a)) ** 0.5
    return float(row.a_prev**0.5 - kept * row.a**0.5)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction z0_hat (R,C,h,w) from latents z, and the measurement to first order about it."""

    prior: Prior
    measurement: Measurement
    z: Tensor
    z0_hat: Tensor  # joined to z by its graph, if the denoiser is to be differentiated
    scale: float  # (1 - a) / sqrt(a): `scale` times the Jacobian of z0_hat is Tweedie's Cov[z_0 | z]

    @cached_property
    def error(self) -> Tensor:
        """y - h(z0_hat), joined to z0_hat by its graph."""
        return residual(self.prior, self.measurement, self.z0_hat)

    def pull(self, v: Tensor) -> Tensor:
        """B^T v, for v of the shape of y."""
        return torch.autograd.grad(self.error, self.z0_hat, -v, retain_graph=True)[0]

    def pull_through(self, v: Tensor) -> Tensor:
        """C B^T v with Tweedie's C, whose Jacobian is taken to be symmetric, as the mean's true one is."""
        return self.scale * torch.autograd.grad(self.error, self.z, -v, retain_graph=True)[0]

    def push(self, w: Tensor) -> Tensor:
        """B w, for w of the shape of z, in forward mode: it costs a call of the decoder."""
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():  # other kernels lack that mode
            error = self.measurement.operator(self.prior.decode(forward_ad.make_dual(self.z0_hat.detach(), w)))
            tangent = forward_ad.unpack_dual(error).tangent
        return torch.zeros_like(error) if tangent is None else tangent


def predict(prior: Prior, measurement: Measurement, z: Tensor, row: Row, *, through: bool = True) -> Prediction:
    """The prediction at `row`; without `through` the denoiser's graph is left out, and `pull_through` impossible."""
    ahead = look_ahead(prior, z, row, gradient=through)
    z0_hat = ahead.z0_hat if through else ahead.z0_hat.detach().requires_grad_(True)
    return Prediction(prior, measurement, ahead.z, z0_hat, (1 - row.a) / row.a**0.5)


def gmres(apply: Linear, b: Tensor, iterations: int) -> Tensor:
    """The x of span(b, M b, ...), of so many dimensions, with the least |M x - b|, row by row, for any M (`apply`).

    The Jacobian of a network is not symmetric, so conjugate gradients drift (Saad & Schultz 1986).
    """
    basis: list[Tensor] = []
    images: list[Tensor] = []
    v = b
    for _ in range(iterations):
        for u in basis:
            v = v - dot(u, v) * u
        basis.append(v / dot(v, v).sqrt().clamp(min=TINY))
        images.append(v := apply(basis[-1]))
    space, image = (torch.stack(one, dim=1).flatten(2).double() for one in (basis, images))  # (R,m,d)
    gram, right = image @ image.mT, image @ b.flatten(1).double()[..., None]
    ridge = 1e-12 * gram.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None].clamp(min=TINY)
    identity = torch.eye(len(basis), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve_ex(gram + ridge * identity, right).result  # a row that is not finite fails alone
    return (weights.mT @ space).reshape(b.shape).to(b.dtype)


def in_pixels(prior: Prior, z: Tensor) -> bool:
    """True for a prior of images themselves; `z` is one of its latents. Costs a decoded row."""
    return prior.decode(one := z[:1]) is one


def require_pixels(prior: Prior, z: Tensor, method: str) -> None:
    """Raise Unsupported, in the name of `method`, for a prior of latents such as `z`."""
    if not in_pixels(prior, z):
        raise Unsupported(f"{method}: needs a linear measurement of the prior's variable, and a decoder is none")


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the rows, shaped to multiply them."""
    return (a * b).flatten(1).sum(dim=1).reshape(-1, *[1] * (a.ndim - 1))
