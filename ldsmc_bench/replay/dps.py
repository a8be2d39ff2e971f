"""A recorded run of DPS, replayed.

Clipping makes a whole run chaotic in rounding: at high noise x0_hat magnifies what the network rounds a hundred times,
and a pixel that passes 1 or not has another gradient. So whole runs are compared with those from starts that are moved
by as much as float32 rounds, and single steps, each from its recorded input, are compared as they are.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from baselines import dps
from ldsmc_bench.prior import guided_diffusion, schedule
from ldsmc_bench.prior.pixel import PixelPrior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.replay.recording import RecordedNoise, Recording, deviation, of, operator, released
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace

Worst = dict[str, float]
RECORDED = {"x": "out", "out": "x_t", "x0_hat": "x_0_hat"}  # what a step makes, in our names and in the recorded ones
MOVED = (0.0, 1e-7, -1e-7, 2e-7, -2e-7, 3e-7, -3e-7, 4e-7)  # relative
ALIKE = 1e-3  # a run that stays as near as this to the recorded one has taken all its turns


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> Worst:
    """Run DPS on the recorded draws: the largest deviation of each quantity, relative to its largest value.

    Quantities of the whole run have their recorded names; `step/...` are those of single steps, each from its recorded
    input. Deviations of x_0_hat are relative to x / sqrt(alpha_bar), of which it is a small difference.
    """
    chosen = released("method=dps", f"steps={facts['steps']}") | {"zeta": facts["zeta"]}
    unet, model = guided_diffusion.load(folder)
    prior = PixelPrior(unet, schedule.linear(facts["schedule_steps"]), model.image_size, digest="recorded")
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])
    draws = of(recording, "noise")[::2]  # every second is of a noisy prediction that the public code never uses
    rows = dps.levels(prior.alpha_bar, facts["steps"], chosen["transition"])

    worst = {
        "betas": deviation(torch.tensor([1 - row.a / row.a_prev for row in rows]), recording["betas"]),
        "timestep_map": deviation(torch.tensor([row.t for row in rows]), recording["timestep_map"]),
    }
    options = {key: chosen[key] for key in ("zeta", "scaling", "transition", "clip")}
    for i, row in enumerate(reversed(rows)):
        move = dps.moved(prior, measurement, recording["step/x_prev"][i][None], row, draws[i], **options)
        compare(worst, "step/", recording, i, row, {ours: getattr(move, ours) for ours in RECORDED})

    runs: list[Worst] = []
    finals: list[torch.Tensor] = []
    for relative in MOVED:
        trace = Trace(keep=None)
        noise = RecordedNoise({"proposal": [recording["x_T"] * (1 + relative), *draws]})
        x_final = dps.sample(prior, measurement, noise, trace, **chosen)
        run = {"x_final": deviation(x_final, recording["x_final"])}
        for i, (k, row) in enumerate(reversed(list(enumerate(rows)))):
            compare(run, "", recording, i, row, {ours: trace.values[ours][k] for ours in RECORDED})
        runs.append(run)
        finals.append(x_final)
        if max(run.values()) < ALIKE:
            break
    return worst | judged(runs, max(deviation(x, finals[0]) for x in finals))


def compare(worst: Worst, prefix: str, recording: Recording, i: int, row: Row, values: dict[str, torch.Tensor]) -> None:
    """Raise the deviations in `worst` to those of the recorded step i, where they are larger."""
    for ours, theirs in RECORDED.items():
        apart = deviation(values[ours], recording[f"step/{theirs}"][i][None])
        if ours == "x0_hat":
            size = recording["step/x_prev"][i].abs().max() / row.a**0.5
            apart *= float((recording["step/x_0_hat"][i].abs().max() / size).clamp(max=1))
        worst[prefix + theirs] = max(worst.get(prefix + theirs, 0.0), apart)


def judged(runs: list[Worst], scatter: float) -> Worst:
    """The deviations of the run that follows the recorded one best. Where none does and they end as far from each
    other, `scatter`, the run is chaotic: that is told and not judged."""
    best = min(runs, key=lambda run: max(run.values()))
    if max(best.values()) >= ALIKE and scatter > best["x_final"] / 10:
        print(
            f"whole run: x_final {best['x_final']:.2g} apart, not judged: chaotic (starts that are moved by 1e-7 end "
            f"{scatter:.2g} away); single steps are judged",
            file=sys.stderr,
        )
        return {}
    return best
