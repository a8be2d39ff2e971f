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
from ldsmc_bench.mixture.law import PROBLEMS, name_of
from ldsmc_bench.mixture.posterior import Known
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.prior.schedule import karras
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
        rows, a = z.flatten(1), self.level(t)[:, None]
        mean = torch.softmax(self.log_weights(rows, a), dim=1).to(z.dtype) @ self.means.flatten(1)
        scale = (1 - a).sqrt() / (a * self.tau**2 + 1 - a)
        return (scale.to(z.dtype) * (rows - a.sqrt().to(z.dtype) * mean)).reshape(z.shape)

    def log_weights(self, rows: Tensor, a: Tensor) -> Tensor:
        """log p(k|z) (R,M), float64, up to a constant a row, for z (R,d) at levels a (R,1): -|z - sqrt(a) mu_k|^2 / 2v.

        Where noise is low, these squares are taken about the nearest mean mu_j, or they would lose all digits of their
        differences: r = z - sqrt(a) mu_j, |r|^2 - 2 sqrt(a) r . (mu_k - mu_j) + a |mu_k - mu_j|^2.
        """
        flat, root, squares = self.means.flatten(1), a.sqrt(), self.products.diagonal()
        with torch.no_grad():
            nearest = ((rows @ flat.T).double() - 0.5 * root * squares).argmax(dim=1)
        along = ((rows - root.to(rows.dtype) * flat[nearest]) @ flat.T).double()
        apart = 0.5 * squares - self.products[nearest]  # |mu_k - mu_j|^2 / 2, less |mu_j|^2 / 2
        return (root * along - a * apart) / (a * self.tau**2 + 1 - a)

    def posterior(self, measurement: Measurement, label: int = 0) -> Known:
        """In closed form, the measurement being one row, float64. Raises Unsupported, where tau is not 0, for an
        operator without singular vectors."""
        return given(self.exact_means, self.tau, measurement)

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        """The covariance (G,n,n) of A z_0 - A z0_hat(z) at level a: that of A z_0 given z, a mean over 64 draws of z.
        Of y of more than 256 entries, the mean square of one, (1,). G is that of the groups of a `Linear` operator, of
        others 1, which is the first row's."""
        weights, means = self.posteriors_at(a), self.means
        kept = self.tau**2 * (1 - a) / (a * self.tau**2 + 1 - a)  # of a component's variance
        groups = len(operator.grouped()) if isinstance(operator, Linear) else 1
        rows = len(operator.labels) if isinstance(operator, Linear) else 1
        found = []
        for first in range(0, rows, rows // groups):
            one = operator.select(torch.tensor([first], device=means.device))
            seen = one.select(torch.zeros(len(means), dtype=torch.long, device=means.device))(means)
            images, middle = seen.flatten(1).double(), weights @ seen.flatten(1).double()
            if images.shape[1] > ENTRIES:
                spread = (weights.mean(dim=0) @ images.square() - middle.square().mean(dim=0)).mean()
                found.append(spread + kept * seen.new_ones(()).double())
                continue
            found.append((weights.mean(dim=0)[:, None] * images).T @ images - middle.T @ middle / len(middle))
            if one.linear:
                units = torch.eye(images.shape[1], dtype=means.dtype, device=means.device).reshape(-1, *seen.shape[1:])
                found[-1] += kept * one(one.adjoint(units)).flatten(1).double()
        return torch.stack(found)

    def posteriors_at(self, a: float) -> Tensor:
        """p(k|z) (64,M), float64, of draws z at level a, the same for all who ask."""
        generator = torch.Generator().manual_seed(0)
        component = torch.randint(len(self.means), (SAMPLES,), generator=generator)
        normal = torch.randn(SAMPLES, *self.shape, generator=generator).to(self.means)
        z = a**0.5 * self.means[component] + (a * self.tau**2 + 1 - a) ** 0.5 * normal
        return torch.softmax(self.log_weights(z.flatten(1), torch.full((SAMPLES, 1), a).to(z.device).double()), dim=1)


def prior(faces: int, tau: float, steps: int, sigma_min: float, sigma_max: float) -> ImageMixture:
    """The law that the problems are drawn from, with the schedule `karras` for `steps` steps."""
    made_of = {"faces": _ids(faces), "tau": tau, "steps": steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
    digest = digest_of("kde_faces", drawing=VERSION, **made_of)
    return ImageMixture(training_faces(faces), tau, karras(steps, sigma_min, sigma_max), digest)


def problems(faces: int, tau: float, seed: int) -> Dataset:
    """Problems as a data set: the image of problem-0003 is a training face plus noise of standard deviation `tau`, so a
    draw of the prior. Raises UserError for a wrong argument."""
    if not isinstance(tau, int | float) or not 0 <= tau < float("inf"):
        raise UserError(f"dataset.tau={tau}: must be a number of at least 0")
    shown, numbers = _ids(faces), {name_of(number): number for number in range(PROBLEMS)}

    def load(problem: str) -> Tensor:
        digest = hashlib.sha256(f"{seed} {faces} {tau} {problem}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        face = training_faces(faces)[int(torch.randint(faces, (), generator=generator))]
        return face + tau * torch.randn(face.shape, generator=generator)

    meaning = f"{VERSION} {shown} tau={tau} seed={seed}"
    return Dataset("kde_faces", list(numbers), load, hashlib.sha256(meaning.encode()).hexdigest(), numbers)


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
