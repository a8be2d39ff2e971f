"""A recorded run of ReSample, replayed as a whole and step by step."""

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines import resample
from baselines.resample import Choices, Move
from ldsmc_bench.prior import compvis
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.replay.recording import (
    NUDGE,
    TOLERANCE,
    RecordedNoise,
    Recording,
    deviation,
    judged,
    of,
    operator,
    released,
    tables,
)
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace

CODE = ("dataset.tuning=ffhq", "task.tuning=gaussian_deblur")  # where the public code's own numbers stand


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run ReSample on the recorded draws, as a whole and each step anew from the recorded values: the largest deviation
    of each quantity, relative to its largest value.

    `step/...` follow from recorded inputs without a fit, `fit/pred_z0` over one. Of what contains a fit, that which a
    start moved by a relative 1e-7 moves nearly as far is chaotic (one code of the quantiser that flips sends the
    descent elsewhere): it is told on stderr, with both numbers, and not judged.
    """
    chosen = released("method=resample", *CODE, f"steps={facts['steps']}")
    chosen |= {key: facts[key] for key in chosen.keys() & facts.keys()}
    if "z_final" not in recording:
        chosen["final_iterations"] = 0
    prior = replace(compvis.load(folder, ema=facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])
    moves = resample.moves_of(
        chosen["chain"], prior.alpha_bar, *(chosen[key] for key in ("steps", "eta", "period", "ahead"))
    )

    def run(x_T: Tensor) -> dict[str, Tensor]:
        """The whole run from `x_T`, by the recording's names and in its order."""
        trace, noise = Trace(keep=None), RecordedNoise({"init": [x_T], "move": of(recording, "noise")})
        x = resample.sample(prior, measurement, noise, trace, **chosen)
        z0_hat = [trace.values["z0_hat"][k] for k in reversed(range(len(moves)))]
        return {**named(z0_hat), "z_final": trace.values["z"][0], "x_final": x}

    worst = tables(recording, [move.row for move in moves])
    if worst["step/timesteps"] > 0:  # another table: no step to compare
        return worst
    if "x_final" in recording:
        worst["step/x_final"] = deviation(prior.decode(recording["z_final"]), recording["x_final"])
    references = named([z0_hat[None] for z0_hat in recording["pred_z0"]])
    references |= {name: recording[name] for name in ("z_final", "x_final") if name in recording}
    ours = run(recording["x_T"])
    apart = {name: deviation(ours[name], reference) for name, reference in references.items()}
    if max(apart.values()) > TOLERANCE:
        nudged = run(recording["x_T"] * (1 + NUDGE))
        apart = judged(apart, {name: deviation(nudged[name], ours[name]) for name in apart})
    choices = Choices(**{field.name: chosen[field.name] for field in fields(Choices)})
    apart |= {"step/pred_z0/000": deviation(ours["pred_z0/000"], references["pred_z0/000"])}
    apart |= restarted(prior, measurement, recording, moves, choices)
    for name, value in apart.items():
        quantity = name.rstrip("0123456789").rstrip("/")
        worst[quantity] = max(worst.get(quantity, 0.0), value)
    return worst


def restarted(
    prior: Prior, measurement: Measurement, recording: Recording, moves: list[Move], choices: Choices
) -> dict[str, float]:
    """Each prediction from the recorded one before it, by the one move that lies between them.

    A recorded prediction determines the latent that it was made from (`origin`). That of a move with a look ahead is
    the look ahead's; there the latent is that which the move before ends at.
    """
    recorded = dict(zip(reversed(range(len(moves))), recording["pred_z0"][:, None], strict=True))
    draws = drawn(moves, of(recording, "noise"))

    def onward(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Where move `k` ends from `z`, and the prediction of the move after it."""
        z = resample.moved(prior, measurement, z, moves[k], iter(draws[k]).__next__, choices)[0]
        unfitted = replace(moves[k - 1], fit=None)
        return z, resample.moved(prior, measurement, z, unfitted, iter(draws[k - 1]).__next__, choices)[1]

    apart, chaos = dict[str, float](), dict[str, float]()
    end: Tensor | None = recording["x_T"]
    for k in reversed(range(1, len(moves))):
        z = end if moves[k].ahead else origin(prior, recorded[k], moves[k].row)
        if z is None:
            end = None
            continue
        end, prediction = onward(z, k)
        name = f"{'step' if moves[k].fit is None else 'fit'}/pred_z0/{len(moves) - k:03d}"
        apart[name] = deviation(prediction, recorded[k - 1])
        if moves[k].fit is not None and apart[name] > TOLERANCE:
            chaos[name] = deviation(onward(z * (1 + NUDGE), k)[1], prediction)
    return judged(apart, chaos)


def drawn(moves: list[Move], noise: list[Tensor]) -> dict[int, list[Tensor]]:
    """The recorded draws of each move: its own, those of its look ahead, and that of resampling."""
    rest, draws = iter(noise), {}
    for k in reversed(range(len(moves))):
        draws[k] = list(islice(rest, 1 + len(moves[k].ahead) + (moves[k].fit is not None)))
    return draws


def origin(prior: Prior, z0_hat: Tensor, row: Row, iterations: int = 200) -> Tensor | None:
    """The latent that `z0_hat` was predicted from: the fixed point of z = sqrt(a) z0_hat + sqrt(1 - a) eps(z). None
    where the iteration does not find it, which is told."""
    z = z0_hat
    for _ in range(iterations):
        eps = prior.eps(z, torch.full((1,), row.t))
        before, z = z, row.a**0.5 * z0_hat + (1 - row.a) ** 0.5 * eps
        if deviation(z, before) < 1e-6:
            return z
    print(f"pred_z0 at timestep {row.t}: its latent was not found, so no step starts there", file=sys.stderr)
    return None


def named(z0_hat: Sequence[Tensor]) -> dict[str, Tensor]:
    """Predictions, each of shape (1,C,h,w), by step."""
    return {f"pred_z0/{step:03d}": value for step, value in enumerate(z0_hat)}
