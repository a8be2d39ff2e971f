"""Stores as runs leave them, without sampling: records, pictures, summaries, and the log of the command that made them.

The numbers have the shape of real ones: methods differ, images are hard or easy for all of them, particles help a bit.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ldsmc_bench import toyfaces
from ldsmc_bench.records.identity import run_id
from ldsmc_bench.records.problems import keep_problem, open_problem
from ldsmc_bench.toyfaces.dataset import toyfaces as dataset

TASKS: Mapping[str, dict[str, Any]] = {
    "denoise": {
        "name": "denoise",
        "operator": {},
        "noise": "gaussian",
        "noise_std": 0.2,
    },
    "box": {
        "name": "box",
        "operator": {"size": 128, "margin": 16},
        "noise": "gaussian",
        "noise_std": 0.01,
    },
}
LEVEL = {"ldsmc": 3.0, "psld": 1.5, "dps": 0.5, "resample": 2.0, "pfld": 1.0, "latent_dps": 0.0}


def identity(method: str, task: str, sample: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """What config.yaml holds of a run."""
    return {
        "protocol": 2,
        "method": {"name": method, "version": 1, "sample": dict(sample)},
        "task": TASKS[task],
        "measurement": {"noise_in_hole": False},
        "dataset": {"name": "toyfaces", "digest": dataset("test").digest},
        "prior": {"name": "ldm_toyfaces", "digest": "0" * 64},
        "seed": seed,
        "precision": "fp32",
    }


def stored(
    results: Path,
    method: str,
    task: str,
    ids: Sequence[str],
    *,
    seed: int = 0,
    lost: Mapping[str, str] | None = None,
    pictures: bool = True,
    parts: Mapping[str, Any] | None = None,
    **sample: Any,
) -> Path:
    """Write one run over `ids`; those in `lost` failed with the reason given there. Returns the run's folder."""
    sample = {"steps": 20, "particles": 1} | sample
    config = identity(method, task, sample, seed) | dict(parts or {})
    name = run_id(config)
    root = results / "runs" / name
    for folder in ("records", "images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text("# commit: none\n" + yaml.safe_dump(config, sort_keys=False))
    labels = {"method": method, "task": task, "dataset": config["dataset"]["name"], "seed": seed}
    labels |= {key: sample[key] for key in ("steps", "particles")}
    wanted = {"images": [len(ids)], **labels, "variant": "default"}
    (root / "requested.json").write_text(json.dumps(wanted))
    problem = open_problem(results, config) if pictures else None
    number = np.random.default_rng(int(name[-8:], 16))
    quality = LEVEL.get(method, 0) + np.log(sample["particles"]) + 0.5 * np.log(sample["steps"] / 20)
    for image_id in ids:
        record: dict[str, Any] = {"run_id": name, "image_id": image_id, **labels}
        if reason := (lost or {}).get(image_id):
            record |= {"status": "failed", "error": reason, "metrics": {}, "cost": {}, "diagnostics": {}}
        else:
            error = np.exp(-0.2 * quality) * np.exp(0.1 * number.standard_normal())
            record |= {"status": "ok", **_outcome(error, sample, number)}
            if pictures:
                _picture(root / "images" / f"{image_id}.png", image_id, error, number)
            if problem is not None:
                truth = toyfaces.array(image_id)
                keep_problem(problem, image_id, {"truth": truth, "measurement": measured(truth, task)})
        (root / "records" / f"{image_id}.json").write_text(json.dumps(record))
    fid = 40 - 3 * quality
    sets = {"toyfaces_fid": fid, "toyfaces_fid_se": 2.0, "toyfaces_fid_low": fid - 3.5, "toyfaces_fid_high": fid + 4.5}
    sets |= {"n": len(ids), "warning": None}
    summary = {"run_id": name, **labels, "n": len(ids), "n_failed": 0, "n_skipped": 0, "metrics": {}, "cost": {}}
    (root / "summary.json").write_text(json.dumps(summary | {"sets": sets}))
    return root


def _outcome(error: float, sample: Mapping[str, Any], number: np.random.Generator) -> dict[str, Any]:
    particles, steps = sample["particles"], sample["steps"]
    calls = float(particles * steps)
    metrics = {
        "psnr": 29 - 8 * np.log(error) / 2 + 0.2 * number.standard_normal(),
        "ssim": 1 - 0.08 * error,
        "toyfaces_perceptual": 0.09 * error,
        "misfit": 1 + 0.5 * error,
    }
    cost = {"seconds": 0.03 * calls, "denoiser_forward": calls, "denoiser_backward": calls, "decoder_forward": calls}
    ess = particles ** np.clip(0.8 + 0.15 * number.standard_normal(steps), 0, 1)
    many = {"ess": ess.round(4).tolist(), "resampled": (ess < particles / 2).astype(float).tolist()}
    return {"metrics": metrics, "cost": cost, "diagnostics": many if particles > 1 else {}}


def measured(truth: np.ndarray, task: str) -> np.ndarray:
    """A measurement as a picture: a grey hole for `box`, noise otherwise."""
    shown = truth.astype(float) + 10 * np.random.default_rng(0).standard_normal(truth.shape)
    if task == "box":
        shown[16:48, 16:48] = 128
    return shown.clip(0, 255).round().astype(np.uint8)


def _picture(path: Path, image_id: str, error: float, number: np.random.Generator) -> None:
    face = toyfaces.array(image_id).astype(float)
    blurred = sum(np.roll(face, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    share = min(1.0, 1.2 * error)
    pixels = (1 - share) * face + share * blurred + 12 * error * number.standard_normal(face.shape)
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(path, compress_level=1)
