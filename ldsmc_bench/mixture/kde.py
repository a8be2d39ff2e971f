"""Faces whose posterior is known: a Gaussian at each of some training faces, at the size of an image.

The law is the kernel density estimate of these faces; with kernels of width 0 it is the faces themselves. Its denoiser
is a softmax over the faces.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench import files
from ldsmc_bench.errors import UserError, notify
from ldsmc_bench.mixture.exact import ExactPrior
from ldsmc_bench.mixture.kde_posterior import given
from ldsmc_bench.mixture.law import PROBLEMS, generator_of, name_of
from ldsmc_bench.mixture.posterior import Known
from ldsmc_bench.mixture.schedule import karras
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.prior.schedule import alpha_bar_at
from ldsmc_bench.problem import pictures
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.records.pictures import npy
from ldsmc_bench.toyfaces import SPLITS, VERSION, array, ids

SAMPLES = 64  # noisy images that the error of the denoiser is a mean over
ENTRIES = 256  # of y, up to which that error has a covariance, and not a number alone


@dataclass(frozen=True, eq=False)
class ImageMixture(ExactPrior):
    """The law sum_k N(x; mu_k, tau^2 I) / M of images, with means mu (M,C,H,W)."""

    means: Tensor
    tau: float
    alpha_bar: Tensor
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.means.shape[1:]
        return channels, height, width

    @property
    def image_size(self) -> int:
        return self.means.shape[-1]

    @cached_property
    def products(self) -> Tensor:
        """mu_j . mu_k (M,M), float64."""
        flat = self.means.flatten(1).double()
        return flat @ flat.T

    @cached_property
    def exact_means(self) -> Tensor:
        """mu in float64 on the CPU, shared by the posteriors of all problems."""
        return self.means.double().cpu()

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, means=self.means.to(device, torch.promote_types(dtype, torch.float32)))

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """-sqrt(1 - a) times the score of sum_k N(sqrt(a) mu_k, v I) / M, v = a tau^2 + 1 - a, the law of z at level a:
        that of a Gaussian about the mean of mu given z."""
        rows, a = z.flatten(1), alpha_bar_at(self.alpha_bar, t)[:, None]
        mean = torch.softmax(self.log_weights(rows, a), dim=1).to(z.dtype) @ self.means.flatten(1)
        scale = (1 - a).sqrt() / (a * self.tau**2 + 1 - a)
        return (scale.to(z.dtype) * (rows - a.sqrt().to(z.dtype) * mean)).reshape(z.shape)

    def log_weights(self, rows: Tensor, a: Tensor) -> Tensor:
        """log p(k|z) (R,M), float64, up to a constant a row, for z (R,d) at levels a (R,1): -|z - sqrt(a) mu_k|^2 / 2v.

        These squares would lose all digits of their differences where noise is low. They are taken about a mean mu_j,
        there the nearest: r = z - sqrt(a) mu_j, |r|^2 - 2 sqrt(a) r . (mu_k - mu_j) + a |mu_k - mu_j|^2.
        """
        flat, root, squares = self.means.flatten(1), a.sqrt(), self.products.diagonal()
        with torch.no_grad():  # every 16th entry suffices to find it
            few = flat[:, ::16]
            nearest = (rows[:, ::16] @ few.T - 0.5 * root.to(rows) * few.square().sum(dim=1)).argmax(dim=1)
        along = ((rows - root.to(rows) * flat[nearest]) @ flat.T).double()
        apart = 0.5 * squares - self.products[nearest]  # |mu_k - mu_j|^2 / 2, less |mu_j|^2 / 2
        return (root * along - a * apart) / (a * self.tau**2 + 1 - a)

    def posterior(self, measurement: Measurement, label: int = 0) -> Known:
        """In closed form, the measurement being one row, float64. Raises Unsupported, where tau is not 0, for an
        operator without singular vectors."""
        return given(self.exact_means, self.tau, measurement)

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        """The covariance (G,n,n) of A z_0 - A z0_hat(z) at level a, for the G groups of rows of `Linear`, and for the
        first row of another operator, (1,n,n); of more than 256 entries of y, the mean square of those seen, (1,)."""
        rows, groups = 1, 1
        if isinstance(operator, Linear):
            rows, groups = len(operator.labels), len(operator.grouped())
        firsts = torch.arange(0, rows, rows // groups, device=self.means.device)
        return torch.stack([self._error(operator.select(first[None]), a) for first in firsts])

    def _error(self, operator: Operator, a: float) -> Tensor:
        """The error for an operator of one row: A's covariance given z, a mean over draws of z. Within components it is
        of a linear A alone, which is all that matters where tau is 0."""
        seen = operator.select(torch.zeros(len(self.means), dtype=torch.long, device=self.means.device))(self.means)
        weights, images = self.posteriors_at(a), seen.flatten(1).double()
        middles, mean_weights = weights @ images, weights.mean(dim=0)
        kept = self.tau**2 * (1 - a) / (a * self.tau**2 + 1 - a)  # of the variance within a component
        if images.shape[1] > ENTRIES:
            spread = mean_weights @ images.square() - middles.square().mean(dim=0)
            return spread.sum() / (spread > 0).sum().clamp(min=1) + kept  # none in a hole
        found = (mean_weights[:, None] * images).T @ images - middles.T @ middles / len(middles)
        if operator.linear:
            units = torch.eye(images.shape[1], dtype=self.means.dtype, device=self.means.device)
            found += kept * operator(operator.adjoint(units.reshape(-1, *seen.shape[1:]))).flatten(1).double()
        return found

    def posteriors_at(self, a: float) -> Tensor:
        """p(k|z) (64,M), float64, of draws z at level a, the same ones whenever it is asked."""
        generator = torch.Generator().manual_seed(0)
        component = torch.randint(len(self.means), (SAMPLES,), generator=generator)
        normal = torch.randn(SAMPLES, *self.shape, generator=generator).to(self.means)
        z = a**0.5 * self.means[component] + (a * self.tau**2 + 1 - a) ** 0.5 * normal
        level = torch.full((SAMPLES, 1), a, dtype=torch.float64, device=z.device)
        return torch.softmax(self.log_weights(z.flatten(1), level), dim=1)


def prior(faces: int, tau: float, steps: int, sigma_min: float, sigma_max: float) -> ImageMixture:
    """The law that the problems are drawn from, with the schedule `karras` for `steps` steps."""
    made_of = {"faces": _ids(faces), "tau": tau, "steps": steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
    digest = digest_of("kde_faces", drawing=VERSION, **made_of)
    return ImageMixture(training_faces(faces), tau, karras(steps, sigma_min, sigma_max), digest)


def problems(name: str, faces: int, tau: float, seed: int) -> Dataset:
    """Problems as a data set: the image of problem-0003 is a training face plus noise of standard deviation `tau`, so a
    draw of the prior. Raises UserError for a wrong argument."""
    if not isinstance(tau, int | float) or not 0 <= tau < float("inf"):
        raise UserError(f"dataset.tau={tau}: must be a number of at least 0")
    shown, numbers = _ids(faces), {name_of(number): number for number in range(PROBLEMS)}

    def load(problem: str) -> Tensor:
        generator = generator_of(f"{seed} {faces} {tau} {problem}")
        face = pictures.tensor(array(shown[int(torch.randint(faces, (), generator=generator))]))
        return face + tau * torch.randn(face.shape, generator=generator)

    meaning = f"{VERSION} {shown} tau={tau} seed={seed}"
    return Dataset(name, list(numbers), load, hashlib.sha256(meaning.encode()).hexdigest(), numbers)


@lru_cache(maxsize=1)
def training_faces(count: int) -> Tensor:
    """The first toyfaces of the train split, (n,3,64,64) float32 in [-1,1]. They are drawn once, and cached."""
    path = files.cache_folder() / "faces" / f"train-{VERSION}-{count}.npy"
    drawn = None
    with suppress(OSError, ValueError):  # absent or damaged: drawn again
        drawn = np.load(path)
    if drawn is None:
        notify(f"drawing {count} faces, once")
        drawn = np.stack([array(image_id) for image_id in _ids(count)])
        with suppress(OSError):  # of a cache to read only
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, npy(drawn))
    return torch.stack([pictures.tensor(face) for face in drawn])


def _ids(count: int) -> Sequence[str]:
    most = SPLITS["train"]
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise UserError(f"dataset.faces={count}: must be a whole number of 1 to {most}")
    return list(ids("train")[:count])
