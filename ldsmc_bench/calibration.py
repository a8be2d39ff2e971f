"""How far a prior's look ahead is from the truth, as a task's measurements see it: found once, kept in the cache.

The twist `cal` of LD-SMC's exact variant weighs its guesses by this. Any positive table leaves its weights exact; one
that is too small makes them vary wildly, one that is too large does little harm: hence the safety factor.
"""

import hashlib
import json
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.pose import pose
from ldsmc_bench.prior.cache import cache_folder
from ldsmc_bench.prior.interface import Calibrated, Prior
from ldsmc_bench.prior.wrapped import Wrapped
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.records.identity import canonical
from ldsmc_bench.records.publish import replace as put
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.twist import CALIBRATED
from ldsmc_bench.settings import Settings, made

IMAGES, LEVELS = 8, 20
SAFETY = 3.0


@dataclass(frozen=True)
class CalibratedPrior(Wrapped):
    """Looks like `prior`; `table` has the mean squares at some alpha_bar, both falling as noise falls."""

    table: tuple[tuple[float, float], ...]  # (alpha_bar, mean square of an entry of y), alpha_bar rising

    def unexplained(self, operator: Operator, a: float) -> Tensor:
        """Of an entry of y, (1,): between levels in proportion to log(1/alpha_bar - 1), times the safety factor."""
        places = torch.tensor([_place(level) for level, _ in self.table], dtype=torch.float64)
        logs = torch.tensor([math.log(max(value, 1e-12)) for _, value in self.table], dtype=torch.float64)
        at = torch.tensor(_place(a), dtype=torch.float64).clamp(places.min(), places.max())
        above = int((places >= at).sum().clamp(1, len(places) - 1))  # places fall
        share = (places[above - 1] - at) / (places[above - 1] - places[above])
        return SAFETY * torch.exp(torch.lerp(logs[above - 1], logs[above], share)).reshape(1)


def calibration_due(settings: Settings, prior: Prior) -> bool:
    """Whether the method reads a table that the prior does not have yet."""
    return settings.sample.get("twist") in CALIBRATED and not isinstance(prior, Calibrated)


def calibrated(settings: Settings, prior: Prior) -> CalibratedPrior:
    """The prior with its table for the run's task: read from the cache, or measured on validation images of the data
    set (of one without such a part, on its last images). Raises UserError where they cannot be read."""
    config = settings.config
    meaning = {
        "prior": prior.digest,
        "task": {key: value for key, value in config["task"].items() if key != "tuning"},
        "dataset": config["dataset"]["name"],
        "images": IMAGES,
        "levels": LEVELS,
    }
    path = cache_folder() / "calibrations" / f"{hashlib.sha256(canonical(meaning).encode()).hexdigest()[:32]}.json"
    try:
        kept = json.loads(path.read_bytes())
        if kept["digest"] == _digest(kept["table"]):
            return CalibratedPrior(prior, tuple((a, value) for a, value in kept["table"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not whole: made anew
    load = config["dataset"]["load"]
    apart = "split" in load
    dataset = made(load | {"split": "validation"} if apart else load)
    ids = list(dataset.ids[:IMAGES] if apart else dataset.ids[-IMAGES:])
    posed = pose(settings, dataset, ids)
    if posed.measurement is None:
        raise UserError(f"dataset={dataset.name}: no image to calibrate method.sample.twist=cal on; use twist=tds")
    x = torch.stack([dataset.load(image_id) for image_id in posed.ids]).to(settings.device, settings.dtype)
    measurement = posed.measurement.to(settings.device, settings.dtype)
    rows = measured(prior.conditioned(posed.labels), measurement, x, Noise(0, posed.ids, "calibration"))
    described = {"table": rows, "digest": _digest(rows), "safety": SAFETY, "of": meaning}
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, (json.dumps(described, indent=2) + "\n").encode())
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


def _place(a: float) -> float:
    return math.log((1 - a) / a)


def _digest(table: object) -> str:
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()
