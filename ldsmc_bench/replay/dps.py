"""A recorded run of DPS, replayed.

Clipping makes whole runs chaotic: at high noise x0_hat magnifies the network's rounding a hundred times, and a pixel
that passes 1 or not has another gradient. So they start from several places, up to ten times as far apart as
float32 rounds: another processor may round differently in every operation.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines import dps
from ldsmc_bench.checkpoints import guided_diffusion
from ldsmc_bench.prior import schedule
from ldsmc_bench.replay import compare
from ldsmc_bench.replay.recording import RecordedNoise, Recording, measurement_of, of, released
from ldsmc_bench.sampling.trace import Trace

RECORDED = {"x": "out", "out": "x_t", "x0_hat": "x_0_hat"}  # results of a step: our names and the recorded ones
MOVED = (0.0, 1e-7, -1e-7, 2e-7, -2e-7, 4e-7, 1e-6, -1e-6)  # relative


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> compare.Worst:
    """Run DPS on the recorded draws: the largest deviation of each quantity, relative to its largest value.

    Quantities of the whole run have their recorded names; `step/...` are those of single steps, each from its recorded
    input. Deviations of x_0_hat are relative to x / sqrt(alpha_bar), of which it is a small difference.
    """
    chosen = released("method=dps", f"steps={facts['steps']}") | {"zeta": facts["zeta"]}
    prior = replace(guided_diffusion.load(folder), alpha_bar=schedule.linear(facts["schedule_steps"]))
    measurement = measurement_of(recording, facts, prior.shape[-1])
    rows = dps.levels(prior.alpha_bar, facts["steps"], chosen["transition"])
    draws = of(recording, "noise")
    if len(draws) == 2 * len(rows):
        draws = draws[::2]  # the others are of a noisy prediction that the public code never uses
    options = {key: chosen[key] for key in ("zeta", "scaling", "transition", "clip")}
    kept = [int(i) for i in recording.get("step/index", torch.arange(len(rows)))]  # steps, from the first move on

    worst = compare.Worst(
        betas=compare.deviation("betas", torch.tensor([1 - row.a / row.a_prev for row in rows]), recording["betas"]),
        timestep_map=compare.deviation(
            "timestep_map", torch.tensor([row.t for row in rows]), recording["timestep_map"]
        ),
    )
    references, least = {"x_final": recording["x_final"]}, dict[str, float]()
    for place, i in enumerate(kept):
        row, x = rows[-1 - i], recording["step/x_prev"][place][None]
        move = dps.step(prior, measurement, x, row, draws[i], **options)
        least[f"x_0_hat/{i}"] = float(x.abs().max()) / row.a**0.5
        for ours, theirs in RECORDED.items():
            name, reference = f"{theirs}/{i}", recording[f"step/{theirs}"][place][None]
            references[name] = reference
            worst.add({f"step/{name}": compare.deviation(name, getattr(move, ours), reference, least.get(name, 0))})

    def run(x_T: Tensor) -> dict[str, Tensor]:
        trace = Trace(keep=None)
        x_final = dps.sample(prior, measurement, RecordedNoise({"proposal": [x_T, *draws]}), trace, **chosen)
        values = {
            f"{theirs}/{i}": trace.values[ours][len(rows) - 1 - i] for i in kept for ours, theirs in RECORDED.items()
        }
        return {**values, "x_final": x_final}

    _, apart = compare.runs(run, recording["x_T"], references, moves=MOVED, least=least, chaos_of="x_final")
    worst.add(apart)
    return worst
