"""Draw the posteriors of nonlinear measurements of mixtures, in two independent ways that have to agree.

The settings are those of a run: task=phase, clip or quantise, dataset.kind, dataset.dx, seed, n_images. The first way
is kept: prior draws, accepted in proportion to their likelihood. The second is parallel tempering, which knows the
density alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.config import compose, instantiate, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture.difficulty import difficulty
from ldsmc_bench.mixture.distances import project, sliced
from ldsmc_bench.mixture.law import PROBLEMS, GaussianMixture, law_of, name_of
from ldsmc_bench.mixture.nonlinear import Nonlinear
from ldsmc_bench.mixture.posterior import log_likelihood
from ldsmc_bench.mixture.reference import FOLDER, ReferencePosterior, matrix_of, problems_of
from ldsmc_bench.mixture.shipped import keep
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.problem import load_batch

DRAWS = 10_000  # of each problem
TRIED = 200_000  # prior draws at a time
CHAINS, LADDER, HOTTEST = 100, 6, 0.1  # of parallel tempering; the powers of the density fall to the last
BURN_IN, APART = 600, 20  # steps; each chain then gives a draw every APART steps
SPLITS = 10
BOUND = 3.0  # of what the two ways differ by, over what each differs from itself


class Accepted(NamedTuple):
    """Independent draws (n,d), and what the weights of all that were tried say of log p(y)."""

    draws: Tensor
    log_evidence: float
    log_evidence_error: float
    ess: float
    tried: int


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the first n_images problems, and keep them where runs look for them."""
    parser = Options("draw-posterior", __doc__)
    parser.add_argument("settings", nargs="*", help="of a run, as task=phase dataset.dx=2 n_images=5")
    parser.add_argument("--ship", action="store_true", help="into the package, not into the user's cache")
    options = parser.read(arguments)
    settings = validate(compose("dataset=mixture", *options.settings))
    config = settings.config
    problem = problem_of(settings, instantiate(config["dataset"]["load"]))
    batch = load_batch(problem, first_draws(problem.dataset.ids[: settings.n_images]), 1)
    assert batch.measurement is not None and batch.labels is not None
    if not isinstance(batch.measurement.operator, Nonlinear):
        raise UserError(f"task={problem.task}: its posterior is in closed form; choose phase, clip or quantise")
    kind, dx, seed = (config["dataset"][key] for key in ("kind", "dx", "seed"))
    tensors, facts = dict[str, Tensor](), {}
    for row, number in enumerate(batch.labels):
        one = batch.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
        law, name = law_of(kind, dx, seed, number), name_of(number)
        found, facts[name] = drawn_twice(law, one, number)
        print(name, *(f"{key}={value:.4g}" for key, value in facts[name].items()), flush=True)
        if (apart := facts[name]["sw1"] / facts[name]["sw1_error"]) > BOUND:
            raise UserError(f"{name}: the two ways differ by {apart:.1f} times their error: nothing is kept")
        tensors[f"{name}.draws"] = found.draws.half()
        tensors[f"{name}.y"] = one.y.flatten().float()
        tensors[f"{name}.matrix"] = matrix_of(one).float()
        tensors[f"{name}.log_evidence"] = torch.tensor(found.log_evidence, dtype=torch.float64)
    asked = problems_of(kind, dx, seed, batch.measurement)
    made = {"command": asked.command(len(facts)), "problems": facts}
    print(keep(FOLDER, asked.file, tensors, made, ship=options.ship))


def drawn_twice(law: GaussianMixture, measurement: Measurement, number: int) -> tuple[Accepted, dict[str, float]]:
    """The draws that are kept of a problem, and their facts. `sw1` and `weights`: what the two ways differ by, as a
    sliced Wasserstein distance and as the total variation between the weights of the components; `..._error`: what
    this is for ways that agree, from the halves of each; `rounded`: sw1 between the draws and these in 16 bits."""
    first = accept(law, measurement, DRAWS, torch.Generator().manual_seed(number))
    second = temper(law, measurement, DRAWS, torch.Generator().manual_seed(PROBLEMS + number))
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(50, law.means.shape[1], generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)

    def sw1(a: Tensor, b: Tensor) -> float:
        return float(sliced(project(a, directions), project(b, directions)).mean())

    def weights(a: Tensor, b: Tensor) -> float:
        return float((law.responsibilities(a).mean(dim=0) - law.responsibilities(b).mean(dim=0)).abs().sum() / 2)

    posterior = ReferencePosterior(law, measurement, first.draws)
    facts = {
        "log_evidence": first.log_evidence,
        "log_evidence_error": first.log_evidence_error,
        "ess": first.ess,
        "tried": first.tried,
        "modes": difficulty(posterior)["modes"],
        "sw1": sw1(first.draws, second),
        "sw1_error": expected(sw1, first.draws, second),
        "weights": weights(first.draws, second),
        "weights_error": expected(weights, first.draws, second),
        "rounded": sw1(first.draws, first.draws.half().double()),
    }
    return first, facts


def expected(distance: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> float:
    """The distance of two sets of draws (n,d) of one law, from those of the halves of each, which are of half as many:
    their errors have twice the size, and add up as squares. Draws of one chain are side by side, and in one half; the
    mean is over SPLITS random halves."""
    generator, squares = torch.Generator().manual_seed(0), 0.0
    for draws in (a, b):
        chains = draws.unflatten(0, (CHAINS, -1))
        for _ in range(SPLITS):
            one, other = chains[torch.randperm(CHAINS, generator=generator)].chunk(2)
            squares += distance(one.flatten(0, 1), other.flatten(0, 1)) ** 2 / SPLITS
    return math.sqrt(squares) / 2


def accept(law: GaussianMixture, measurement: Measurement, draws: int, generator: torch.Generator) -> Accepted:
    """Draws of the posterior from those of the prior: each is accepted with a probability of its likelihood over the
    largest that there is. So the draws (n,d) are independent and exact, and the weights give log p(y)."""
    largest = -len(measurement.y.flatten()) * math.log(float(measurement.noise_std) * math.sqrt(2 * math.pi))
    accepted, weights = list[Tensor](), list[Tensor]()
    while sum(map(len, accepted)) < draws:
        x = law.sample(TRIED, generator)
        weights.append((log_likelihood(measurement, x[:, :, None, None]) - largest).exp())
        accepted.append(x[torch.rand(TRIED, generator=generator, dtype=torch.float64) < weights[-1]])
    w = torch.cat(weights)
    ess = float(w.sum() ** 2 / w.square().sum())
    error = float(w.std() / w.mean()) / math.sqrt(len(w))
    return Accepted(torch.cat(accepted)[:draws], largest + float(w.mean().log()), error, ess, len(w))


def temper(law: GaussianMixture, measurement: Measurement, draws: int, generator: torch.Generator) -> Tensor:
    """Draws (n,d) of the posterior by parallel tempering (Geyer 1991): chains of random walks (Metropolis) on powers of
    its density, which swap their states, from points spread over more than the prior. Half of the moves leap from one
    component towards another besides, either way alike. Draws of one chain are side by side."""

    def random(draw: Callable[..., Tensor], *shape: int) -> Tensor:
        return draw(*shape, generator=generator, dtype=torch.float64)

    def log_density(x: Tensor) -> Tensor:
        points = x.flatten(0, 1)
        return (law.log_density(points) + log_likelihood(measurement, points[:, :, None, None])).reshape(x.shape[:2])

    d, powers = law.means.shape[1], HOTTEST ** torch.linspace(0, 1, LADDER, dtype=torch.float64)
    reach = 2.4 / (d * powers).sqrt()[:, None]  # of a Gaussian of unit variance, the best (Roberts et al. 1997)
    x = (2 * random(torch.rand, CHAINS, LADDER, d) - 1) * 1.5 * law.means.abs().max()
    value, kept = log_density(x), list[Tensor]()
    for step in range(1, BURN_IN + -(-draws // CHAINS) * APART + 1):
        pairs = torch.randint(len(law.means), (2, CHAINS, LADDER), generator=generator)
        leap = (law.means[pairs[0]] - law.means[pairs[1]]) * (random(torch.rand, CHAINS, LADDER, 1) < 0.5)
        moved = x + leap + reach * random(torch.rand, CHAINS, LADDER, 1) * random(torch.randn, CHAINS, LADDER, d)
        there = log_density(moved)
        accepted = random(torch.rand, CHAINS, LADDER).log() < powers * (there - value)
        x, value = torch.where(accepted[..., None], moved, x), torch.where(accepted, there, value)
        cold = torch.arange(step % 2, LADDER - 1, 2)  # each with its warmer neighbour
        gain = (powers[cold] - powers[cold + 1]) * (value[:, cold + 1] - value[:, cold])
        swapped = random(torch.rand, *gain.shape).log() < gain
        order = torch.arange(LADDER).repeat(CHAINS, 1)
        order[:, cold], order[:, cold + 1] = cold + swapped.long(), cold + 1 - swapped.long()
        x, value = x.gather(1, order[..., None].expand_as(x)), value.gather(1, order)
        if step > BURN_IN and (step - BURN_IN) % APART == 0:
            kept.append(x[:, 0])
    return torch.stack(kept, dim=1).flatten(0, 1)[:draws]
