"""LTDS: the twisted diffusion sampler (Wu et al., NeurIPS 2023, arXiv 2306.17775) in a latent space, as the LD-SMC
paper compares with it (sec. 5.1, App. A).

Particles follow a proposal twisted by pbar(y_0|z_k), the likelihood at the predicted clean latent; weights correct for
it, and the last ones hold p(y_0|z_0) itself. With LD-SMC's scaled guidance in place of TDS' own, as that paper has it,
this is LD-SMC without labels: its targets (Eq. 4), moves and weights (Eq. 6 and 7) less every factor of y_k, k > 0.
Hence no second implementation. With one particle it is LDPS, the latent-DPS of that paper.
"""

from typing import Literal

from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.trace import Trace


def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    eta: Fraction,
    kappa1: NonNegative,
    latent_fit_iterations: Natural,
    latent_fit_lr: Positive,
    chain: Literal["paper", "released"],
    temperature: ldsmc.Temperature,
    final_variance: Literal["noise", "schedule"],
    prior_mean: Literal["before", "after"],
    resample: Literal["multinomial", "systematic"],
    resample_below: Fraction,
    resample_first: bool,
    last_move: Literal["prior", "guided"],
    choose: Literal["draw", "argmax"],
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1]. The arguments are those of LD-SMC."""
    return ldsmc.sample(
        prior,
        measurement,
        noise,
        trace,
        particles=particles,
        steps=steps,
        eta=eta,
        kappa1=kappa1,
        latent_fit_iterations=latent_fit_iterations,
        latent_fit_lr=latent_fit_lr,
        chain=chain,
        temperature=temperature,
        final_variance=final_variance,
        prior_mean=prior_mean,
        resample=resample,
        resample_below=resample_below,
        resample_first=resample_first,
        last_move=last_move,
        choose=choose,
        # without labels nothing reads what fits, weighs or draws them
        s=None,
        kappa2=0.0,
        rho=0.0,
        gibbs_iterations=1,
        pixel_fit="least_squares",
        label_noise=False,
        switch_inclusive=False,
    )
