"""`weighted=true`: guidance with its weights on, as the proposal of the one SMC loop.

A guided denoiser on a chain with fresh noise moves with a density, so importance weights can repair what it gets wrong:
N particles move as the method's one path does, and are weighed by `GuidedDenoiser`. Its last move is the prior's.
References: those of the methods; for the weights Wu et al., NeurIPS 2023, arXiv 2306.17775.
"""

from collections.abc import Callable, Sequence
from inspect import Signature, signature
from typing import Any

from torch import Tensor

from baselines.guided import Guide
from baselines.guided_model import GuidedDenoiser, PlainTwist, Scheme, restore
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace


def with_weights(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The sampler `method`, whose fifth parameter runs its guide (`guided.Run`), with weights.

    It takes the arguments of both; `twist` is the variance in log psi (`twisted`).
    It raises UserError for moves without fresh noise, which have no density.
    """

    def sampler(
        prior: Prior,
        measurement: Measurement,
        noise: Noise,
        trace: Trace,
        *,
        particles: Count,
        twist: PlainTwist,
        resample: Scheme,
        resample_below: Fraction,
        **own: Any,
    ) -> Tensor:
        def run(
            prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, rows: Sequence[Row], guide: Guide
        ) -> Tensor:
            if not all(row.sigma > 0 for row in rows[1:]):
                raise UserError("weighted=true: a move needs fresh noise, or it has no density; raise its eta or zeta")
            model = GuidedDenoiser(prior, measurement, noise, particles, rows)
            model.guide, model.twist = guide, twist
            return restore(model, trace, resample=resample, resample_below=resample_below)

        return method(prior, measurement, noise, trace, run, **own)

    *problem, _ = (p for p in signature(method).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)
    ours = signature(sampler).parameters.values()
    parameters = [p for p in (*signature(method).parameters.values(), *ours) if p.kind is p.KEYWORD_ONLY]
    sampler.__signature__ = Signature([*problem, *parameters])  # type: ignore[attr-defined]
    sampler.__annotations__ = {p.name: p.annotation for p in (*problem, *parameters)}
    return sampler
