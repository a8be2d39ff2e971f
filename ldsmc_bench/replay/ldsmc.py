"""A recorded run of LD-SMC, replayed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.prior.codec import VqCodec
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.replay import compare
from ldsmc_bench.replay.recording import RecordedNoise, Recording, latent_problem, of, released, require_shape, under
from ldsmc_bench.sampling import fits, ldsmc
from ldsmc_bench.sampling.chain import CHAINS
from ldsmc_bench.sampling.guidance import guided_mean, look_ahead, residual
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import gaussian

UNDECIDED = 2e-5  # relative distance by which a second code may be behind the first: float32 latents are no finer
WEIGHED = {"z": "z", "mean": "pi_mean", "log_weights": "log_weights"}  # our names and the recorded ones
DRAWS = {"init": "init_noise", "auxiliary": "auxiliary_noise", "proposal": "proposal_noise", "ancestors": "ancestors"}


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run LD-SMC on the recorded draws: the largest deviation of each quantity, relative to its largest value.
    `step/...` follow from recorded inputs alone."""
    prior, measurement = latent_problem(recording, facts, folder)
    chosen = arguments(facts)
    noise = RecordedNoise({name: of(recording, kept) for name, kept in DRAWS.items()})
    trace = Trace(keep=None)
    x_rec = ldsmc.sample(prior, measurement, noise, trace, **chosen)

    worst = {"x_rec": compare.deviation("x_rec", x_rec, recording["x_rec"])}
    worst["ys"], undecided = labels(prior, measurement, recording, chosen, trace.values["start"][0])
    worst |= weighed(trace.values, recording, undecided)
    if "x_rec_opt" in recording:
        heaviest = trace.values["log_weights"][0].argmax() if chosen["particles"] > 1 else torch.tensor(0)
        z_0 = trace.values["z"][0][heaviest][None]
        # rounding may decide it: one code of the quantiser that flips sends the descent elsewhere
        worst |= compare.runs(
            lambda z: {"x_rec_opt": prior.decode(fits.latent_fit(prior, measurement, z))},
            z_0,
            {"x_rec_opt": recording["x_rec_opt"]},
        )[1]
    return worst | compare_steps(prior, measurement, recording, chosen)


def arguments(facts: dict[str, Any]) -> dict[str, Any]:
    """The sampler's arguments by which the recorded run goes, but for its last fit."""
    steps = facts["schedule_steps"]
    chosen = released("method=ldsmc", f"steps={steps}", f"particles={facts['particles']}")
    chosen |= {key: facts[key] for key in ("eta", "kappa1", "kappa2", "rho", "gibbs_iterations")}
    return chosen | {"s": facts["switch_step"] / steps, "latent_fit_iterations": 0}


def weighed(
    values: Mapping[str, Mapping[int, Tensor]], recording: Recording, undecided: Mapping[int, float]
) -> dict[str, float]:
    """The largest deviations of particles, of their means and of their log-weights over the whole run. Log-weights past
    the tolerance of a step whose label is `undecided` follow from the other label, and are not judged."""
    worst = compare.Worst()
    for name, recorded in WEIGHED.items():
        for k, mine in values[name].items():
            key = f"weights/{k:03d}/{recorded}"
            reference = recording.get(key)
            if reference is None:
                continue
            if name == "log_weights":  # of one image, and known up to a constant
                mine, reference = mine[0] - mine[0].mean(), reference - reference.mean()
            apart = compare.deviation(key, mine, reference)
            if name == "log_weights" and apart > compare.TOLERANCE and k in undecided:
                nearer = f"a vector is nearer to one by {undecided[k]:.1g}"
                compare.report(key, apart, f"rounding decides between two codes of its label ({nearer})")
            else:
                worst.add({name: apart})
    return worst


def labels(
    prior: LatentPrior, measurement: Measurement, recording: Recording, chosen: Mapping[str, Any], start: Tensor
) -> tuple[float, dict[int, float]]:
    """The largest deviation of the labels y_1..y_T that follow from `start`, our z_0, and the recorded draws; and, of
    the labels whose codes rounding decides, how near the second code is. These may have either code."""
    moves = CHAINS[chosen["chain"]](prior.alpha_bar, chosen["steps"], chosen["eta"])
    draws = iter(of(recording, DRAWS["auxiliary"]))
    worst, undecided = 0.0, {}
    for k, z in zip(range(moves.moves, 0, -1), ldsmc.label_latents(moves, start, lambda: next(draws)), strict=True):
        others, nearness = between_codes(prior, z)
        if others:
            undecided[k] = nearness
        recorded = recording["aux/ys"][k][None] if "aux/ys" in recording else recording.get(f"prop/{k:03d}/y_t")
        if recorded is not None and (k < moves.moves or "aux/ys" in recording):
            decoded = (measurement.operator(prior.decode(one)) for one in (z, *others))
            worst = max(worst, min(compare.deviation(f"y of step {k}", y, recorded) for y in decoded))
    return worst, undecided


def between_codes(prior: LatentPrior, z: Tensor) -> tuple[list[Tensor], float]:
    """The latent `z` (1,C,h,w) with a vector that lies between two codes moved to the second, for each such vector; and
    how far the second is behind the first, at least."""
    codec = prior.codec
    assert isinstance(codec, VqCodec)  # as all recorded models have
    vectors = (z / codec.scale).permute(0, 2, 3, 1).flatten(0, 2).double()
    codes = codec.codebook.double()
    distances = (0.5 * (codes * codes).sum(dim=1) - vectors @ codes.T).topk(2, dim=1, largest=False)
    behind = distances.values.diff(dim=1)[:, 0] / (1 + vectors.norm(dim=1) * codes.norm(dim=1).max())
    others = []
    for place in (behind < UNDECIDED).nonzero()[:, 0]:
        moved = vectors.clone()
        moved[place] = codes[distances.indices[place, 1]]
        others.append((moved.reshape(1, *z.shape[2:], -1).permute(0, 3, 1, 2) * codec.scale).to(z.dtype))
    return others, float(behind.min())


def compare_steps(
    prior: Prior, measurement: Measurement, recording: Recording, chosen: Mapping[str, Any]
) -> dict[str, float]:
    """The deviations of all proposals and factors of weights, from their recorded latents z_k; k = T comes first."""
    steps, rows = chosen["steps"], CHAINS[chosen["chain"]](prior.alpha_bar, chosen["steps"], chosen["eta"]).rows
    switch = round(chosen["s"] * steps) + int(chosen["switch_inclusive"])
    worst = compare.Worst()

    def add(prefix: str, recorded: Recording, ours: Mapping[str, Tensor]) -> None:
        for name, mine in ours.items():
            if name in recorded:
                mine = mine.expand_as(recorded[name]) if mine.numel() == 1 else mine
                worst.add({f"{prefix}/{name}": compare.deviation(name, mine, recorded[name])})

    for k in range(steps + 1):
        weights = under(recording, "weights/first" if k == steps else f"weights/{k:03d}")
        proposal = under(recording, f"prop/{k - 1:03d}")
        if k < steps:
            add("step/weights", weights, {"pi_std": torch.tensor(rows[k + 1].sigma)})
        z = proposal.get("z_t", weights.get("z"))  # the same
        if k == 0 or z is None:
            continue
        y_0 = measurement.select(torch.zeros(len(z), dtype=torch.long))
        ahead = look_ahead(prior, z, rows[k])
        with torch.enable_grad():
            error = residual(prior, y_0, ahead.z0_hat)
        exponent, *_ = gaussian(error.detach(), torch.tensor([1 - rows[k].a], dtype=torch.float64))
        z0_hat = {"z0_hat": ahead.z0_hat.detach()}
        add("step/weights", weights, z0_hat | {"log_lik_y0": exponent / error[0].numel()})
        if k < steps:  # the first weighting has the prior N(0, I)
            add("step/weights", weights, {"prior_mean": ahead.mean, "prior_std": torch.tensor(rows[k].sigma)})
        if (y_k := proposal.get("y_t")) is not None:
            require_shape(f"prop/{k - 1:03d}/y_t", y_k, measurement.y.shape)
            label = replace(y_0, y=y_k.expand_as(y_0.y)) if k - 1 < switch else None
            kappa = chosen["kappa1" if label is None else "kappa2"]
            mean = guided_mean(prior, ahead, error, label, kappa, chosen["rho"])
            add("step", proposal, z0_hat | {"prior_mean": ahead.mean, "mean": mean})
    return worst
