"""A recorded run of PSLD, replayed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines import psld
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import compvis
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
from ldsmc_bench.sampling.chain import released_rows
from ldsmc_bench.sampling.trace import Trace

GLUES = {"identity": "reference", "nearest": "reference", "adjoint": "adjoint"}


def replay(recording: Recording, facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run PSLD on the recorded draws: the largest deviation of each quantity, relative to its largest value.

    `step/...` follow from recorded inputs in one step. Of the whole run, what a start moved by a relative 1e-7 moves
    nearly as far is chaotic: it is told on stderr, with both numbers, and not judged.
    Raises UserError for a gluing that is not known.
    """
    if facts["transpose"] not in GLUES:
        raise UserError(f"trace: transpose={facts['transpose']}: what can be replayed is {', '.join(GLUES)}")
    chosen = released("method=psld", f"steps={facts['steps']}")
    chosen |= {key: facts[key] for key in ("eta", "omega", "gamma", "prediction_noise")}
    chosen |= {"glue": GLUES[facts["transpose"]]}
    prior = replace(compvis.load(folder, ema=facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])

    def run(x_T: Tensor) -> dict[str, Tensor]:
        """The whole run from `x_T`: the predicted latents in the recording's order, the last latent, the image."""
        trace = Trace(keep=("z", "z0_hat"))
        x = psld.sample(prior, measurement, draws(recording, x_T, facts["prediction_noise"]), trace, **chosen)
        z0_hat = trace.values["z0_hat"]
        return {
            **{f"pred_z0/{i}": z0_hat[k] for i, k in enumerate(sorted(z0_hat, reverse=True))},
            "z_final": trace.values["z"][0],
            "x_final": x,
        }

    rows = released_rows(prior.alpha_bar, facts["steps"], facts["eta"])
    ours = run(recording["x_T"])
    references = {f"pred_z0/{i}": z0[None] for i, z0 in enumerate(recording["pred_z0"])}
    references |= {name: recording[name] for name in ("z_final", "x_final")}
    apart = {name: deviation(ours[name], reference) for name, reference in references.items()}
    worst = tables(recording, rows) | {"step/pred_z0": apart["pred_z0/0"]}
    worst["step/x_final"] = deviation(prior.decode(recording["z_final"]), recording["x_final"])
    if max(apart.values()) > TOLERANCE:
        moved = run(recording["x_T"] * (1 + NUDGE))
        apart = judged(apart, {name: deviation(moved[name], ours[name]) for name in apart})
    for name, value in apart.items():
        quantity = name.split("/")[0]
        worst[quantity] = max(worst.get(quantity, 0.0), value)
    return worst


def draws(recording: Recording, x_T: Tensor, prediction_noise: bool) -> RecordedNoise:
    """The recorded draws by name: a step's own, followed by that on the prediction where the run had one."""
    noise = of(recording, "noise")
    if not prediction_noise:
        return RecordedNoise({"init": [x_T], "proposal": noise})
    return RecordedNoise({"init": [x_T], "proposal": noise[0::2], "prediction": noise[1::2]})
