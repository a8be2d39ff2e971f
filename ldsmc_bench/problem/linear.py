"""A few random linear measurements of a whole image or vector, by their matrix."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.operators import SharedOperator
from ldsmc_bench.problem.spectral import Spectral, of_matrices


@dataclass(frozen=True, eq=False)
class Linear(SharedOperator):
    """y = A x, of shape (R,1,1,dy), for x (R,C,H,W) of dx entries. Rows that share a matrix in a row are one product.

    `noise_level` is a row's own scale of the noise: the task's `noise_std` multiplies it.
    """

    matrices: Tensor  # (P,dy,dx)
    noise_levels: Tensor  # (P,)
    labels: Tensor  # (R,), the matrix of each row
    shape: tuple[int, int, int]  # (C,H,W) of x

    def __call__(self, x: Tensor) -> Tensor:
        return self._product(x, self.grouped().mT, (1, 1, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._product(y, self.grouped(), self.shape)

    def pinv(self, y: Tensor, delta: float | Tensor = 0.0) -> Tensor:
        """A^T (A A^T + delta)^-1 y, which is (A^T A + delta)^-1 A^T y. `delta`: a number, or one a row (R,1,1,1)."""
        matrices = self.grouped().double()
        groups, dy, _ = matrices.shape
        deltas = torch.as_tensor(delta, dtype=torch.float64, device=y.device).expand(len(y), 1, 1, 1)
        identity = torch.eye(dy, dtype=torch.float64, device=y.device)
        gram = matrices @ matrices.mT + deltas.reshape(groups, -1)[:, :1, None] * identity
        return self._product(y, torch.linalg.solve(gram, matrices).to(y.dtype), self.shape)

    def spectral(self, like: Tensor) -> Spectral:
        matrices = self.grouped()
        return of_matrices(matrices, len(self.labels), like, (1, 1, matrices.shape[1]))

    @property
    def noise_level(self) -> Tensor:
        """(R,1,1,1)."""
        return self.noise_levels[self.labels].reshape(-1, 1, 1, 1)

    def grouped(self) -> Tensor:
        """The matrices (G,dy,dx) of consecutive rows, R / G each."""
        return self.matrices[runs(self.labels)]

    def select(self, index: Tensor) -> Self:
        return replace(self, labels=self.labels[index])

    def _product(self, rows: Tensor, matrices: Tensor, shape: tuple[int, ...]) -> Tensor:
        product = rows.reshape(len(matrices), -1, matrices.shape[1]) @ matrices.to(rows.dtype)
        return product.reshape(len(rows), *shape)


def runs(labels: Tensor) -> Tensor:
    """Labels (G,) of the largest groups of R / G consecutive rows with the same label; `labels` is (R,)."""
    found, lengths = torch.unique_consecutive(labels, return_counts=True)
    return found if bool((lengths == lengths[0]).all()) else labels


def random_matrices(noise: Noise, dy: int, dx: int) -> Tensor:
    """(B,dy,dx), one an image: the singular vectors of a Gaussian matrix, with singular values uniform in [0,1), as in
    the Gaussian-mixture experiment of MCGdiff (Cardoso et al. 2024)."""
    u, _, v = torch.linalg.svd(noise.normal("operator", (dy, dx)).double(), full_matrices=False)
    values = noise.uniform("singular values", (dy,)).sort(dim=1, descending=True).values
    return ((u * values[:, None]) @ v).float()
