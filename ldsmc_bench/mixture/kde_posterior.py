"""The posterior of a mixture of Gaussians of one variance tau^2 I at M images, measured once.

In the singular basis of the operator, y_i = s_i x_i + n_i, all components have the same covariance, which is diagonal.
With tau = 0 the images themselves are all that x can be, and the operator may be any.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ldsmc_bench.mixture.posterior import Known, log_likelihood
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import spectral
from ldsmc_bench.problem.spectral import Spectral, of_mask
from ldsmc_bench.sampling.twist import noise_variance

LEAST = 1e-8  # variance in place of 0: of a hundredth of a grey level
BLOCK = 256  # images at a time


@dataclass(frozen=True, eq=False)
class ImagePosterior:
    """Log-weights (M,) of the components; the prior's means (M,C,H,W), each of which the measurement moves along V by
    `gain` times what it has of y; and the variances (1,C,H,W) that are left along V. All float64."""

    log_weights: Tensor
    means: Tensor
    tau: float
    measurement: Measurement
    log_evidence: float
    view: Spectral
    gain: Tensor
    variances: Tensor

    @property
    def weights(self) -> Tensor:
        """(M,)."""
        return self.log_weights.exp()

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Independent draws (n,d)."""
        component = torch.multinomial(self.weights, draws, replacement=True, generator=generator)
        normal = torch.randn(draws, *self.means.shape[1:], dtype=torch.float64, generator=generator)
        parts = zip(component.split(BLOCK), normal.split(BLOCK), strict=True)
        return torch.cat(
            [(self.centres(self.means[k]) + self.view.v(self.variances.sqrt() * n)).flatten(1) for k, n in parts]
        )

    def centres(self, means: Tensor) -> Tensor:
        """The posterior means of components (n,C,H,W), from those of the prior."""
        missed = self.view.ut(self.measurement.y) - self.view.s * self.view.vt(means)
        return means + self.view.v(self.gain * missed)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each entry, (d,) and (d,), the latter at least 1e-8."""
        return self._moments

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Within components, the variance is the diagonal of V diag(variances) V^T, for which it takes as many columns
        of V as have another variance than the most common one; between them it is that of their means."""
        variances = self.variances.flatten()
        usual = variances.mode().values
        within = torch.full_like(variances, float(usual))
        for columns in (variances != usual).nonzero()[:, 0].split(BLOCK):
            units = torch.zeros(len(columns), len(variances), dtype=torch.float64)
            units[torch.arange(len(columns)), columns] = 1
            squares = self.view.v(units.reshape(-1, *self.means.shape[1:])).flatten(1).square()
            within += (variances[columns] - usual) @ squares
        centres = torch.cat([self.centres(some).flatten(1) for some in self.means.split(BLOCK)])
        mean = self.weights @ centres
        return mean, (within + self.weights @ (centres - mean).square()).clamp(min=LEAST)

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) at the points x (n,d), by Bayes' rule. Where tau is 0, the log-weight of the nearest image, without a
        score."""
        squares = self._squares(x)
        if self.tau == 0:
            return self.log_weights[squares.argmin(dim=1)]
        apart = torch.logsumexp(-0.5 * squares / self.tau**2, dim=1) - math.log(len(self.means))
        log_prior = apart - 0.5 * x.shape[1] * math.log(2 * math.pi * self.tau**2)
        return log_prior + log_likelihood(self.measurement, x.reshape(-1, *self.means.shape[1:])) - self.log_evidence

    def responsibilities(self, x: Tensor) -> Tensor:
        """(n,M), the probability of each component given x (n,d); where tau is 0, that of the nearest image is 1."""
        return torch.softmax(-0.5 * self._squares(x) / max(self.tau**2, LEAST), dim=1)

    def _squares(self, x: Tensor) -> Tensor:
        """|x - mu_k|^2 (n,M)."""
        flat = self.means.flatten(1)
        return x.square().sum(dim=1, keepdim=True) - 2 * x @ flat.T + flat.square().sum(dim=1)


def given(means: Tensor, tau: float, measurement: Measurement) -> Known:
    """The posterior of the mixture at `means` (M,C,H,W) under one row of a measurement, both float64 on the CPU, and
    the log-evidence. As for samplers, all entries of y count as measured with noise, those in a hole too.

    Raises Unsupported, where tau is not 0, for an operator without singular vectors.
    """
    noise = noise_variance(measurement)
    if tau == 0:
        view = of_mask(means.new_zeros(1, 1, 1, 1), means.shape[1:])
        log_likelihoods = torch.cat([log_likelihood(measurement, some) for some in means.split(BLOCK)])
    else:
        view = spectral(measurement.operator, means[:1], method="dataset=kde_faces (unlike dataset=empirical)")
        log_likelihoods = torch.cat([_marginal(measurement, some, tau, view) for some in means.split(BLOCK)])
    log_joint = log_likelihoods - math.log(len(means))
    log_evidence = float(torch.logsumexp(log_joint, dim=0))
    explained = view.s.square() * tau**2 + noise  # of an entry of y
    gain, variances = view.s * tau**2 / explained, tau**2 * noise / explained
    law = ImagePosterior(log_joint - log_evidence, means, tau, measurement, log_evidence, view, gain, variances)
    return Known(law, log_evidence)


def _marginal(measurement: Measurement, means: Tensor, tau: float, view: Spectral) -> Tensor:
    """log N(y; A mu_k, tau^2 A A^T + noise) (n,) of means (n,C,H,W), in the singular basis."""
    y, noise = measurement.y, noise_variance(measurement)
    seen, explained = view.s > 0, view.s.square() * tau**2 + noise
    in_basis = view.ut(y)
    missed = torch.where(seen, (in_basis - view.s * view.vt(means)).square() / explained, 0.0).flatten(1).sum(dim=1)
    # what is left of y is noise alone
    rest = (y.square().sum() - torch.where(seen, in_basis.square(), 0.0).sum()).clamp(min=0) / noise
    log_scales = torch.where(seen, torch.log(explained), 0.0).sum() + (y.numel() - seen.sum()) * torch.log(noise)
    return -0.5 * (missed + rest + log_scales + y.numel() * math.log(2 * math.pi))
