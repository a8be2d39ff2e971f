"""The twisted diffusion sampler in a latent space, with weights that are exact for the chain of the given steps.

Particles follow proposals that know of y_0; weights correct for it, and the last ones hold p(y_0|z_0) itself. The law
of the chosen z_0 tends to p(z_0|y_0) of that chain as N grows, and the estimate of p(y_0) is unbiased for every N.
References: Wu et al., NeurIPS 2023, arXiv 2306.17775 (Algorithm 1); with the moves and the weights that Achituve et
al., arXiv 2502.05908, give LD-SMC (Eq. 4, 6 and 7 without labels), this is the LTDS that they compare with.
"""

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.guidance import Rows, guided_mean, twisted_mean
from ldsmc_bench.sampling.particles import ExactChoices, LatentModel, Particles, View
from ldsmc_bench.sampling.smc import Path
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: ExactChoices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1]."""
    return restore(TwistedModel(prior, measurement, noise, choices), trace)


class TwistedModel(LatentModel):
    """Feynman-Kac model with the target p(z_{0:T}) p(y_0|z_0), twisted by pbar(y_0|z_k)."""

    def start(self, path: Path | None) -> Particles:
        # z_T ~ N(0, I)
        z = self.draw("proposal", self.particles)
        return Particles(z, mean=z, mu=z, sigma=0.0, log_psi_before=None)

    def move(self, k: int, before: Particles, ancestors: Tensor) -> Particles:
        mu, sigma, log_psi = self.look_on(k, before, ancestors)
        mean = centre = mu
        # m_k = mu_k + shift
        if k > 0 or sigma > 0 or self.choices.last_move == "guided":
            mean = centre = self.guide(k, before, ancestors)
        # z_k ~ (1 - e) N(m_k, sigma_k^2 I) + e N(mu_k, sigma_k^2 I)
        if self.choices.defensive > 0 and sigma > 0:
            free = self.noise.uniform("defensive", (self.particles,)).reshape(-1, 1, 1, 1) < self.choices.defensive
            centre = torch.where(free, mu, mean)
        return Particles(centre + sigma * self.draw("proposal", self.particles), mean, mu, sigma, log_psi)

    def proposal_mean(self, k: int, view: View, survivors: Tensor, rows: Rows) -> Tensor:
        if self.choices.gain in ("paper", "rms"):
            return guided_mean(self.prior, view.ahead, view.error, None, self.unit * self.choices.kappa1, 0.0, rows)
        row, gain, clip = self.chain.rows[k + 1], self.choices.gain, self.choices.clip
        return twisted_mean(view.ahead, view.error, view.weighted_error, row, gain, clip)[rows]

    def log_weight(self, k: int, now: Particles) -> Tensor | None:
        if self.particles == 1 and not self.choices.evidence:
            return None
        if k == 0:
            # p(y_0|z_0)
            now.x = self.prior.decode(now.z)
            log_y0 = self.log_final(self.y_0.y - self.y_0.operator(now.x))
        else:
            # pbar(y_0|z_k)
            log_y0 = self.look(k, now).log_psi
        # w_T = pbar(y_0|z_T), w_k = w_{k+1} pbar(y_0|z_k) p(z_k|z_{k+1}) / (pbar(y_0|z_{k+1}) q(z_k|z_{k+1}))
        if now.log_psi_before is not None:
            log_y0 = log_y0 - now.log_psi_before
        return log_y0 if now.sigma == 0 else log_y0 + self.log_prior(k, now) - self.log_proposal(now)


def restore(model: TwistedModel, trace: Trace) -> Tensor:
    """The images (B,3,H,W) of the particles that a run of `model` chooses."""
    choices = model.choices
    z_0, log_evidences = smc.sample(
        model,
        model.noise,
        lambda step: report(step, model, trace),
        scheme=choices.resample,
        resample_below=choices.resample_below,
        resample_first=choices.resample_first,
        choose=choices.choose,
        sweeps=choices.gibbs_iterations,
        conditional=choices.conditional,
        islands=choices.islands,
    )
    for number, log_evidence in enumerate(log_evidences if choices.evidence else []):
        trace.note(number, log_evidence=log_evidence)
    # final latent optimisation, if the task asks for it (Achituve et al., App. A)
    fit = choices.latent_fit_iterations, choices.latent_fit_lr
    return fits.fit_and_decode(model.prior, model.measurement, z_0, *fit)


def report(step: smc.Step[Particles], model: TwistedModel, trace: Trace) -> None:
    """Trace a move: its latents and means, and the weights where there are several particles or the evidence."""
    now, weighed = step.now, {}
    if step.log_weights is not None:
        weighed = {"ess": step.weights.ess, "resampled": step.resampled, "log_weights": step.log_weights}
    if now.x is not None and model.particles > 1:
        trace.note(0, **smc.picture_values(now.x, step.weights))
    trace(step.k, z=now.z, mean=now.mean, **weighed)
