"""Recorded runs of PSLD and ReSample, samplers on latent diffusion's DDIM chain, replayed."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines import psld, resample
from baselines.levels import released_rows
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.replay import compare
from ldsmc_bench.replay.recording import RecordedNoise, Recording, latent_problem, of, released
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace

GLUES = {"identity": "reference", "nearest": "reference", "adjoint": "adjoint"}
FFHQ = ("prior.tuning=ffhq", "task.tuning=gaussian_deblur")  # the row of ReSample's own numbers


def replay_psld(recording: Recording, facts: dict[str, Any], folder: Path) -> compare.Worst:
    """Run PSLD on the recorded draws (`replay_chain`). Raises UserError for an unknown gluing."""
    if facts["transpose"] not in GLUES:
        raise UserError(f"trace: transpose={facts['transpose']}: what can be replayed is {', '.join(GLUES)}")
    chosen = released("method=psld", f"steps={facts['steps']}")
    chosen |= {key: facts[key] for key in ("eta", "omega", "gamma", "prediction_noise")}
    chosen |= {"glue": GLUES[facts["transpose"]]}
    prior, measurement = latent_problem(recording, facts, folder)

    def sample(x_T: Tensor, trace: Trace) -> Tensor:
        noise = psld_noise(recording, x_T, facts["prediction_noise"])
        return psld.sample(prior, measurement, noise, trace, **chosen)

    return replay_chain(recording, prior, released_rows(prior.alpha_bar, facts["steps"], facts["eta"]), sample)


def psld_noise(recording: Recording, x_T: Tensor, prediction_noise: bool) -> RecordedNoise:
    """The recorded draws by name: a step's own, followed by that on the prediction if the run had one."""
    noise = of(recording, "noise")
    if not prediction_noise:
        return RecordedNoise({"init": [x_T], "proposal": noise})
    return RecordedNoise({"init": [x_T], "proposal": noise[0::2], "prediction": noise[1::2]})


def replay_chain(
    recording: Recording, prior: Prior, rows: list[Row], sample: Callable[[Tensor, Trace], Tensor]
) -> compare.Worst:
    """The largest deviation of each quantity, relative to its largest value, of the run `sample(x_T, trace)`.

    `step/...` follow from recorded inputs in one step; those of the chain's table are infinite if it has another
    length, and then nothing else is compared. Chaotic quantities of the whole run are not judged (`compare.runs`).
    """
    worst = compare.Worst()
    table = torch.tensor([[row.t, row.a, row.a_prev, row.sigma] for row in rows], dtype=torch.float64).unbind(1)
    for name, ours in zip(("timesteps", "ddim_alphas", "ddim_alphas_prev", "ddim_sigmas"), table, strict=True):
        alike = len(ours) == len(recording[name])
        worst[f"step/{name}"] = compare.deviation(name, ours, recording[name]) if alike else math.inf
    if max(worst.values()) == math.inf:
        return worst

    def run(x_T: Tensor) -> dict[str, Tensor]:
        trace = Trace(keep=("z", "z0_hat"))
        x = sample(x_T, trace)
        predictions = sorted(trace.values["z0_hat"].items(), reverse=True)
        values = {f"pred_z0/{i:03d}": z0_hat for i, (_, z0_hat) in enumerate(predictions)}
        return {**values, "z_final": trace.values["z"][0], "x_final": x}

    references = {f"pred_z0/{i:03d}": z0_hat[None] for i, z0_hat in enumerate(recording["pred_z0"])}
    references |= {name: recording[name] for name in ("z_final", "x_final") if name in recording}
    values, apart = compare.runs(run, recording["x_T"], references)
    worst.add(apart)
    worst["step/pred_z0"] = compare.deviation("pred_z0", values["pred_z0/000"], references["pred_z0/000"])
    if "x_final" in recording:
        worst["step/x_final"] = compare.deviation("x_final", prior.decode(recording["z_final"]), recording["x_final"])
    return worst


def replay_resample(recording: Recording, facts: dict[str, Any], folder: Path) -> compare.Worst:
    """Run ReSample on the recorded draws, as a whole (`replay_chain`) and each step anew from the recorded values:
    `step/pred_z0` without a fit, `fit/pred_z0` over one."""
    chosen = released("method=resample", *FFHQ, f"steps={facts['steps']}")
    chosen |= {key: facts[key] for key in chosen.keys() & facts.keys()}
    if "z_final" not in recording:
        chosen["final_iterations"] = 0
    prior, measurement = latent_problem(recording, facts, folder)
    choices = resample.Choices(**chosen)
    moves = resample.plan(choices.chain, prior.alpha_bar, choices.steps, choices.eta, choices.period, choices.ahead)

    def sample(x_T: Tensor, trace: Trace) -> Tensor:
        noise = RecordedNoise({"init": [x_T], "move": of(recording, "noise")})
        return resample.sample(prior, measurement, noise, trace, **chosen)

    worst = replay_chain(recording, prior, [move.row for move in moves], sample)
    if worst["step/timesteps"] == 0:  # another table has no steps to compare
        worst.add(restart(prior, measurement, recording, moves, choices))
    return worst


def restart(
    prior: Prior, measurement: Measurement, recording: Recording, moves: list[resample.Move], choices: resample.Choices
) -> dict[str, float]:
    """The deviation of each prediction from the recorded one before it, by the one move that lies between them.

    A recorded prediction determines the latent that it was made from (`origin`), but for a move with a look ahead,
    which starts at the end of the move before. A fit is chaotic where a code of the quantiser flips.
    """
    order = list(reversed(range(len(moves))))
    recorded = dict(zip(order, recording["pred_z0"][:, None], strict=True))
    rest = iter(of(recording, "noise"))  # a move's own, those of its look ahead, and that of resampling
    draws = {k: list(islice(rest, 1 + len(moves[k].ahead) + (moves[k].fit is not None))) for k in order}

    def onward(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The end of move `k` from `z`, and the prediction of the move after it."""
        z, _ = resample.step(prior, measurement, z, moves[k], iter(draws[k]).__next__, choices)
        unfitted = replace(moves[k - 1], fit=None)
        return z, resample.step(prior, measurement, z, unfitted, iter(draws[k - 1]).__next__, choices)[1]

    apart, chaos = dict[str, float](), dict[str, float]()
    end: Tensor | None = recording["x_T"]
    for k in order[:-1]:
        z = end if moves[k].ahead else origin(prior, recorded[k], moves[k].row)
        end = None
        if z is None:
            continue
        end, prediction = onward(z, k)
        name = f"{'step' if moves[k].fit is None else 'fit'}/pred_z0/{len(moves) - k:03d}"
        apart[name] = compare.deviation("pred_z0", prediction, recorded[k - 1])
        if moves[k].fit is not None and apart[name] > compare.TOLERANCE:
            chaos[name] = compare.deviation("pred_z0", onward(z * (1 + compare.NUDGE), k)[1], prediction)
    return compare.judge(apart, chaos)


def origin(prior: Prior, z0_hat: Tensor, row: Row) -> Tensor | None:
    """The latent that `z0_hat` was predicted from, by fixed-point iteration of z = sqrt(a) z0_hat + sqrt(1 - a) eps(z).
    None, and a line on stderr, if that does not converge."""
    z = z0_hat
    for _ in range(200):
        eps = prior.eps(z, torch.full((1,), row.t))
        before, z = z, row.a**0.5 * z0_hat + (1 - row.a) ** 0.5 * eps
        if compare.deviation("z", z, before) < 1e-6:
            return z
    print(f"pred_z0 at timestep {row.t}: its latent was not found, so no step starts there", file=sys.stderr)
    return None
