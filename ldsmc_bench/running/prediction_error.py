"""Estimates of the error of a prior's z_0 prediction in measurement space, computed once and cached.

The twist `cal` of LD-SMC's exact variant weighs its guesses by this. Any positive table leaves its weights exact; one
that is too small makes them vary wildly, one that is too large does little harm: hence the safety factor.
"""

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench import files
from ldsmc_bench.config import Settings, instantiate
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Calibrated, Prior, PriorWrapper, image_shape
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.problem.problem import Problem, load_batch
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.twist import CALIBRATED

IMAGES, LEVELS = 8, 20
SAFETY = 3.0


@dataclass(frozen=True)
class CalibratedPrior(PriorWrapper):
    """Looks like `prior`; `table` has the mean squares at some alpha_bar, both falling as noise falls."""

    table: tuple[tuple[float, float], ...]  # (alpha_bar, mean square of an entry of y), alpha_bar rising

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        """Of an entry of y, (1,): between levels in proportion to log(1/alpha_bar - 1), times the safety factor."""
        noise = [math.log((1 - level) / level) for level, _ in reversed(self.table)]
        logs = [math.log(max(value, 1e-12)) for _, value in reversed(self.table)]
        log = np.interp(math.log((1 - a) / a), noise, logs)
        return torch.tensor([SAFETY * math.exp(log)], dtype=torch.float64)


def calibration_due(settings: Settings, prior: Prior) -> bool:
    """True if the method reads a table that the prior does not have yet."""
    return settings.sample.get("twist") in CALIBRATED and not isinstance(prior, Calibrated)


def calibrated(settings: Settings, problem: Problem, prior: Prior) -> CalibratedPrior:
    """The prior with its table for the run's task: read from the cache, or measured on validation images of the data
    set (of one without such a part, on its last images). Raises UserError where they cannot be read."""
    config, load = settings.config, settings.config["dataset"]["load"]
    meaning = {
        "prior": prior.digest,
        "task": {key: value for key, value in config["task"].items() if key != "tuning"},
        "dataset": config["dataset"]["name"],
        "images": IMAGES,
        "levels": LEVELS,
    }
    name = hashlib.sha256(files.canonical(meaning).encode()).hexdigest()[:32]
    path = files.cache_folder() / "calibrations" / f"{name}.json"
    with suppress(ValueError, KeyError, TypeError):  # absent or damaged: computed again
        return CalibratedPrior(prior, tuple((a, value) for a, value in files.read_json(path)["table"]))
    apart = "split" in load
    dataset = instantiate(load | {"split": "validation"} if apart else load)
    ids = list(dataset.ids[:IMAGES] if apart else dataset.ids[-IMAGES:])
    batch = load_batch(replace(problem, dataset=dataset), first_draws(ids), image_shape(prior))
    if batch.measurement is None:
        raise UserError(f"dataset={dataset.name}: no image to calibrate method.sample.twist=cal on; use twist=tds")
    x = torch.stack([dataset.load(image_id) for image_id in batch.ids]).to(settings.device, settings.dtype)
    measurement = batch.measurement.to(settings.device, settings.dtype)
    rows = measured(prior.conditioned(batch.labels), measurement, x, Noise(0, batch.ids, "calibration"))
    with suppress(OSError):  # of a cache to read only; without a table it is measured again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"table": rows, "safety": SAFETY, "of": meaning}, indent=2)
        files.replace(path, f"{text}\n".encode())
    return CalibratedPrior(prior, tuple((a, value) for a, value in rows))


@torch.no_grad()
def measured(prior: Prior, measurement: Measurement, x: Tensor, noise: Noise) -> list[list[float]]:
    """[alpha_bar, mean square of an entry of A(D(z_0)) - A(D(z0_hat))] at 20 levels of noise, for z_0 = E(x)."""
    z_0 = prior.encode(x)
    truth = measurement.operator(prior.decode(z_0))
    last, rows = len(prior.alpha_bar) - 1, []
    for t in sorted({round(i * last / (LEVELS - 1)) for i in range(LEVELS)}, reverse=True):
        a = float(prior.alpha_bar[t])
        z = a**0.5 * z_0 + (1 - a) ** 0.5 * noise.normal("level", prior.shape).to(z_0)
        z0_hat = look_ahead(prior, z, Row(t, a, 1.0, 0.0), gradient=False).z0_hat
        rows.append([a, float((measurement.operator(prior.decode(z0_hat)) - truth).double().square().mean())])
    return rows
