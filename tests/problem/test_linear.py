"""Random linear measurements against dense algebra, and their noise, whose level belongs to the problem."""

import pytest
import torch
from every_task import white

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.linear import Linear, runs
from ldsmc_bench.problem.measurement import measure

IDS = [f"problem-{i}" for i in range(400)]


def vectors(problems: int, dy: int = 3, dx: int = 6) -> Linear:
    made = tasks.linear(1, Noise(0, IDS[:problems], "test"), dy=dy, channels=dx)
    return made.to("cpu", torch.float64)


def test_singular_values_are_uniform_and_vectors_orthogonal() -> None:
    operator = vectors(400)
    values = torch.linalg.svdvals(operator.matrices).flatten()
    assert values.min() >= 0 and values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.04) and values.var() == pytest.approx(1 / 12, abs=0.01)
    share = operator.noise_levels / torch.linalg.matrix_norm(operator.matrices, ord=2)
    assert share.min() >= 0 and share.max() < 1 and share.mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("index", [[0, 1, 2], [0, 0, 1, 1, 2, 2], [2, 2, 2], [0, 1, 1, 2]])
def test_each_row_has_the_matrix_of_its_own_problem(index: list[int]) -> None:
    operator, x, y = vectors(3).select(torch.tensor(index)), white((len(index), 6, 1, 1)), white((len(index), 1, 1, 3))
    delta = torch.linspace(0.1, 0.3, 3, dtype=torch.float64)[index].reshape(-1, 1, 1, 1)
    for row, problem in enumerate(index):
        matrix = operator.matrices[problem]
        assert torch.allclose(operator(x)[row].flatten(), matrix @ x[row].flatten())
        assert torch.allclose(operator.adjoint(y)[row].flatten(), matrix.T @ y[row].flatten())
        regular = matrix.T @ matrix + delta[row].item() * torch.eye(6, dtype=torch.float64)
        inverse = torch.linalg.solve(regular, matrix.T @ y[row].flatten())
        assert torch.allclose(operator.pinv(y, delta)[row].flatten(), inverse)


def test_runs_are_as_long_as_they_come() -> None:
    assert runs(torch.tensor([4, 4, 1, 1])).tolist() == [4, 1]
    assert runs(torch.tensor([4, 4, 1])).tolist() == [4, 4, 1]
    assert runs(torch.tensor([1, 1, 4, 4, 1, 1])).tolist() == [1, 4, 1]


def test_the_noise_has_the_level_of_each_problem() -> None:
    x = white((400, 6, 1, 1)).float()
    taken = measure(
        x,
        lambda side, noise: tasks.linear(side, noise, dy=3, channels=6),
        Noise(0, IDS, "test"),
        noise_std=2.0,
        noise_in_hole=False,
    )
    assert isinstance(taken.operator, Linear)
    assert torch.equal(taken.noise_std, 2 * taken.operator.noise_level)  # type: ignore[arg-type]
    error = (taken.y - taken.operator(x)) / taken.noise_std
    assert error.mean().abs() < 0.15 and error.std() == pytest.approx(1, abs=0.08)
    rows = torch.tensor([3, 3, 7])
    some = taken.select(rows)
    assert torch.equal(some.noise_std, taken.noise_std[rows])  # type: ignore[index,arg-type]


@pytest.mark.parametrize("dy", [0, 7, 1.5, "a"])
def test_more_measurements_than_entries_are_refused(dy: object) -> None:
    with pytest.raises(UserError, match=f"task.operator.dy={dy}: must be a whole number of 1 to 6"):
        tasks.linear(1, Noise(0, ["a"], "test"), dy=dy, channels=6)  # type: ignore[arg-type]
