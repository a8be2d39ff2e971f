"""LTDS: the twisted diffusion sampler (Wu et al., NeurIPS 2023, arXiv 2306.17775) in a latent space, as the LD-SMC
paper compares with it (sec. 5.1, App. A).

With LD-SMC's scaled guidance in place of TDS' own, as that paper has it, this is LD-SMC without labels: its targets
(Eq. 4), moves and weights (Eq. 6 and 7) less every factor of y_k, k > 0. Hence no second implementation. With one
particle it is LDPS, the latent-DPS of that paper.
"""

from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import twisted
from ldsmc_bench.sampling.arguments import takes
from ldsmc_bench.sampling.particles import Choices, ExactChoices
from ldsmc_bench.sampling.trace import Trace


@takes(Choices)
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1]. The arguments are those of LD-SMC."""
    return twisted.sample(prior, measurement, noise, trace, ExactChoices(**vars(choices)))
