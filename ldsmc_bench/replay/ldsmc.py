"""A recorded run of LD-SMC, replayed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.prior import compvis
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.replay.recording import NUDGE, RecordedNoise, Recording, deviation, judged, of, operator, released
from ldsmc_bench.sampling import fits, ldsmc
from ldsmc_bench.sampling.chain import CHAINS
from ldsmc_bench.sampling.guidance import guided_mean, look_ahead, residual
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import gaussian

WEIGHED = {"z": "z", "mean": "pi_mean", "log_weights": "log_weights"}  # our names and the recorded ones
DRAWS = {
    "init": "init_noise",
    "auxiliary": "auxiliary_noise",
    "proposal": "proposal_noise",
    "ancestors": "ancestors",
}


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run LD-SMC on the recorded draws: the largest deviation of each quantity, relative to its largest value.

    `step/...` follow from recorded inputs alone: proposals, and what weights are made of, each from its latents.
    """
    steps, particles = facts["schedule_steps"], facts["particles"]
    chosen = released("method=ldsmc", f"steps={steps}", f"particles={particles}")
    chosen |= {key: facts[key] for key in ("eta", "kappa1", "kappa2", "rho", "gibbs_iterations")}
    chosen |= {"s": facts["switch_step"] / steps, "latent_fit_iterations": 0}
    prior = replace(compvis.load(folder, ema=facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])
    noise = RecordedNoise({name: of(recording, kept) for name, kept in DRAWS.items()})
    trace = Trace(keep=None)
    x_rec = ldsmc.sample(prior, measurement, noise, trace, **chosen)

    worst: dict[str, float] = defaultdict(float, x_rec=deviation(x_rec, recording["x_rec"]))
    for k in range(steps):
        for name, recorded in WEIGHED.items():
            if f"weights/{k:03d}/{recorded}" in recording:
                reference = recording[f"weights/{k:03d}/{recorded}"]
                mine = trace.values[name][k].reshape(reference.shape)
                if name == "log_weights":  # known up to a constant
                    mine, reference = (values - values.mean() for values in (mine, reference))
                worst[name] = max(worst[name], deviation(mine, reference))
    if "x_rec_opt" in recording:
        heaviest = trace.values["log_weights"][0].argmax() if particles > 1 else torch.tensor(0)
        z_0 = trace.values["z"][0][heaviest][None]
        worst |= compared_latent_fit(prior, measurement, z_0, recording["x_rec_opt"])
    if "aux/ys" in recording:
        worst["ys"] = labels(prior, measurement, recording, chosen, trace.values["start"][0])
    worst |= guided_steps(prior, measurement, recording, chosen)
    return dict(worst) | weighed_steps(prior, measurement, recording, chosen)


def labels(
    prior: Prior, measurement: Measurement, recording: Recording, chosen: Mapping[str, Any], start: Tensor
) -> float:
    """The largest deviation of the labels y_1..y_T that follow from `start`, our z_0, and the recorded draws."""
    moves = CHAINS[chosen["chain"]](prior.alpha_bar, chosen["steps"], chosen["eta"])
    draws = iter(of(recording, DRAWS["auxiliary"]))
    latents = zip(range(moves.moves, 0, -1), ldsmc.label_latents(moves, start, lambda: next(draws)), strict=True)
    return max(deviation(measurement.operator(prior.decode(z)), recording["aux/ys"][k][None]) for k, z in latents)


def guided_steps(
    prior: Prior, measurement: Measurement, recording: Recording, chosen: Mapping[str, Any]
) -> dict[str, float]:
    """The proposal of every move from the latents that it was recorded at, rather than from ours."""
    rows = CHAINS[chosen["chain"]](prior.alpha_bar, chosen["steps"], chosen["eta"]).rows
    switch = round(chosen["s"] * chosen["steps"]) + int(chosen["switch_inclusive"])
    worst: dict[str, float] = defaultdict(float)
    for k in range(chosen["steps"]):
        recorded = {
            name: recording.get(f"prop/{k:03d}/{name}") for name in ("z_t", "y_t", "prior_mean", "z0_hat", "mean")
        }
        z, y_k = recorded["z_t"], recorded["y_t"]
        if z is None or y_k is None:
            continue
        y_0 = measurement.select(torch.zeros(len(z), dtype=torch.long))
        ahead = look_ahead(prior, z, rows[k + 1])
        with torch.enable_grad():
            error = residual(prior, y_0, ahead.z0_hat)
        label = replace(y_0, y=y_k.expand_as(y_0.y)) if k < switch else None
        kappa = chosen["kappa2" if k < switch else "kappa1"]
        mean = guided_mean(prior, ahead, error, label, kappa, chosen["rho"])
        for name, ours in (("prior_mean", ahead.mean), ("z0_hat", ahead.z0_hat.detach()), ("mean", mean)):
            reference = recorded[name]
            if reference is not None:
                worst[f"step/{name}"] = max(worst[f"step/{name}"], deviation(ours, reference))
    return worst


def weighed_steps(
    prior: Prior, measurement: Measurement, recording: Recording, chosen: Mapping[str, Any]
) -> dict[str, float]:
    """What the weights are made of, from the latents that they were recorded at; k = T is the first weighting."""
    rows = CHAINS[chosen["chain"]](prior.alpha_bar, chosen["steps"], chosen["eta"]).rows
    worst: dict[str, float] = defaultdict(float)
    for k in range(chosen["steps"] + 1):
        recorded = recording_at(recording, "weights/first" if k == chosen["steps"] else f"weights/{k:03d}")
        if "z" not in recorded:
            continue
        ours: dict[str, Tensor] = {}
        if k > 0:
            y_0 = measurement.select(torch.zeros(len(recorded["z"]), dtype=torch.long))
            ahead = look_ahead(prior, recorded["z"], rows[k], gradient=False)
            error = residual(prior, y_0, ahead.z0_hat)
            exponent, *_ = gaussian(error, torch.tensor([1 - rows[k].a], dtype=torch.float64))
            ours = {"z0_hat": ahead.z0_hat, "log_lik_y0": exponent / error[0].numel()}
        if 0 < k < chosen["steps"]:
            ours |= {"prior_mean": ahead.mean, "prior_std": torch.tensor(rows[k].sigma)}
        if k < chosen["steps"]:
            ours["pi_std"] = torch.tensor(rows[k + 1].sigma)
        for name in ours.keys() & recorded.keys():
            worst[f"step/weights/{name}"] = max(
                worst[f"step/weights/{name}"], deviation(ours[name].expand_as(recorded[name]), recorded[name])
            )
    return dict(worst)


def recording_at(recording: Recording, prefix: str) -> Recording:
    """The tensors under a prefix, by the rest of their names."""
    return {key.removeprefix(f"{prefix}/"): value for key, value in recording.items() if key.startswith(f"{prefix}/")}


def compared_latent_fit(prior: Prior, measurement: Measurement, z_0: Tensor, x_rec_opt: Tensor) -> dict[str, float]:
    """The deviation of the final latent fit, where rounding does not decide it: one code of the quantiser that flips
    sends the descent elsewhere. It is fitted twice, the second time from a start moved by a relative 1e-7; what moves
    nearly as far by itself is told and not judged."""
    ours, moved = (prior.decode(fits.latent_fit(prior, measurement, z)) for z in (z_0, z_0 * (1 + NUDGE)))
    return judged({"x_rec_opt": deviation(ours, x_rec_opt)}, {"x_rec_opt": deviation(moved, ours)})
