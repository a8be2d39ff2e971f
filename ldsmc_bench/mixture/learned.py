"""A learned prior of mixtures beside the exact one: what a sampler loses to the error of a network, and not its own.

A small network a problem, trained on draws of its mixture alone. The posterior stays that of the mixture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import file_digest
from ldsmc_bench.mixture.law import law_of, name_of
from ldsmc_bench.mixture.prior import MixturePrior, mixture
from ldsmc_bench.mixture.shipped import find, keep
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.prior.schedule import alpha_bar_at
from ldsmc_bench.problem.linear import runs

FOLDER = "networks"
PROBLEMS, WIDTH, WAVES = 8, 64, 4
LEAST, MOST = 0.05, 400.0  # noise-to-signal ratios that are learned
STEPS, ROWS, RATE = 4000, 256, 5e-3

Layers = dict[str, Tensor]  # weights (P,in,out) and biases (P,1,out) of P networks, by the name of a layer


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedPrior(MixturePrior):
    """The mixtures, seen through networks: `layers` of the first problems, and which one each group of rows takes."""

    layers: Layers
    chosen: tuple[int, ...] = (0,)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        moved = super().to(device, dtype)
        return replace(moved, layers={name: value.to(device, moved.means.dtype) for name, value in self.layers.items()})

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        """As the mixtures' own. Raises UserError for a problem without a network."""
        numbers = [0] if labels is None else runs(torch.tensor(labels)).tolist()
        if max(numbers) >= (there := len(self.layers["in.weight"])):
            raise UserError(f"prior=learned: has no network for {name_of(max(numbers))}; n_images={there} is the most")
        return replace(super().conditioned(labels), chosen=tuple(numbers))

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """Predicted by the network of each row's problem."""
        groups, a = len(self.chosen), alpha_bar_at(self.alpha_bar, t).to(z.dtype).reshape(len(self.chosen), -1, 1)
        mine = {name: value[list(self.chosen)] for name, value in self.layers.items()}
        z0_hat = predict(mine, z.reshape(groups, -1, self.dx) / a.sqrt(), ((1 - a) / a).sqrt(), self.variances)
        return ((z - (a.sqrt() * z0_hat).reshape(z.shape)) / (1 - a).sqrt().reshape(-1, 1, 1, 1)).to(z.dtype)


def predict(layers: Layers, x: Tensor, sigma: Tensor, variances: Tensor) -> Tensor:
    """z_0 (G,n,d) as predicted from x = z_0 + sigma noise, for sigma (G,n,1) and variances (G,) of an entry of z_0; the
    network's input and output are scaled as in Karras et al. (2022, Table 1)."""
    square = variances.reshape(-1, 1, 1)
    whole = square + sigma**2
    skipped, scale = square / whole * x, sigma * (square / whole).sqrt()
    return skipped + scale * respond(layers, torch.cat([x / whole.sqrt(), waves(sigma)], dim=2))


def waves(sigma: Tensor) -> Tensor:
    """The noise level as the network takes it: (G,n,1) -> (G,n,2 WAVES + 1)."""
    log = sigma.clamp(LEAST, MOST).log() / 4
    angles = log * 2.0 ** torch.arange(WAVES, device=log.device)
    return torch.cat([log, angles.sin(), angles.cos()], dim=2)


def respond(layers: Layers, x: Tensor) -> Tensor:
    """G networks of three hidden layers at once: (G,n,in) -> (G,n,out)."""
    h = F.silu(torch.baddbmm(layers["in.bias"], x, layers["in.weight"]))
    for name in ("first", "second"):
        h = h + F.silu(torch.baddbmm(layers[f"{name}.bias"], h, layers[f"{name}.weight"]))
    return torch.baddbmm(layers["out.bias"], h, layers["out.weight"])


def initial(problems: int, dx: int, generator: torch.Generator) -> Layers:
    """Random weights, in proportion to the root of a layer's inputs; no biases, and nothing at the end."""
    sizes = {"in": (dx + 2 * WAVES + 1, WIDTH), "first": (WIDTH, WIDTH), "second": (WIDTH, WIDTH), "out": (WIDTH, dx)}
    layers = Layers()
    for name, (into, out) in sizes.items():
        drawn = torch.randn(problems, into, out, generator=generator) / math.sqrt(into)
        layers |= {f"{name}.weight": drawn * (name != "out"), f"{name}.bias": torch.zeros(problems, 1, out)}
    return layers


def train(kind: str, dx: int, seed: int, problems: int = PROBLEMS, steps: int = STEPS) -> Layers:
    """The networks of the first problems after `steps` of Adam on draws of their mixtures, float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    laws = [law_of(kind, dx, seed, number) for number in range(problems)]
    variances = torch.stack([law.mean_and_variance()[1].mean() for law in laws]).float()
    pool = torch.stack([law.sample(200_000, generator) for law in laws]).float()
    layers = {name: value.requires_grad_() for name, value in initial(problems, dx, generator).items()}
    optimizer = torch.optim.Adam(layers.values(), lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = {name: value.detach().clone() for name, value in layers.items()}
    for step in range(steps):
        z_0 = pool[:, torch.randint(pool.shape[1], (ROWS,), generator=generator)]
        sigma = (0.5 + 1.5 * torch.randn(problems, ROWS, 1, generator=generator)).exp().clamp(LEAST, MOST)
        x = z_0 + sigma * torch.randn(z_0.shape, generator=generator)
        square = variances[:, None, None]
        error = (predict(layers, x, sigma, variances) - z_0) / (sigma * (square / (square + sigma**2)).sqrt())
        optimizer.zero_grad()
        error.square().mean(dim=(1, 2)).sum().backward()
        optimizer.step()
        falling.step()
        for name, value in layers.items():
            average[name].lerp_(value.detach(), max(0.005, 1 / (step + 1)))
    return average


def learned(kind: str, dx: int, seed: int, steps: int, sigma_min: float, sigma_max: float | None) -> LearnedPrior:
    """The mixtures that the problems are drawn from, seen through the networks that were trained on them. Raises
    UserError where there are none."""
    exact, file = mixture(kind, dx, seed, steps, sigma_min, sigma_max), file_of(kind, dx, seed)
    if (path := next(find(FOLDER, file), None)) is None:
        remedy = f"train them: {command_of(kind, dx, seed)}"
        raise UserError(f"prior=learned: no networks for dataset.kind={kind} dataset.dx={dx}; {remedy}")
    layers = {name: value.float() for name, value in load_file(path).items()}
    values = {field.name: getattr(exact, field.name) for field in fields(exact)}
    digest = digest_of("learned mixture", weights=file_digest(path), exact=exact.digest)
    return LearnedPrior(**values | {"digest": digest}, layers=layers)


def file_of(kind: str, dx: int, seed: int) -> str:
    return f"{kind}-dx{dx}-seed{seed}.safetensors"


def command_of(kind: str, dx: int, seed: int) -> str:
    """The one that trains the networks of these mixtures."""
    return f"python -m ldsmc_bench train-mixture kind={kind} dx={dx} seed={seed}"


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Train the networks of the first eight problems of a mixture, in a minute or two."""
    parser = Options("train-mixture", main.__doc__)
    parser.add_argument("--kind", default="lattice", help="lattice, scattered or single")
    parser.add_argument("--dx", type=int, default=8, help="entries of a vector")
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--ship", action="store_true", help="into the package, not into the user's cache")
    options = parser.read(arguments)
    asked = (options.kind, options.dx, options.seed)
    weights = {name: value.half() for name, value in train(*asked).items()}
    print(keep(FOLDER, file_of(*asked), weights, {"command": command_of(*asked)}, ship=options.ship))
