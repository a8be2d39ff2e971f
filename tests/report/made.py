"""Stores with numbers that are given, for tests of tables: records and what stands beside them, without pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ldsmc_bench.records.identity import run_id

Values = Mapping[str, Mapping[str, float | None] | str]  # by image: its metrics, or why it failed


def made(
    results: Path,
    method: str,
    task: str,
    images: Values,
    *,
    dataset: str = "toyfaces",
    particles: int = 1,
    steps: int = 100,
    seed: int = 0,
    wanted: int | None = None,
    variant: str = "default",
    split: str | None = None,
    status: str = "failed",
    cost: Mapping[str, float] | None = None,
    sets: Mapping[str, float] | None = None,
    noise_std: float = 0.01,
    **sample: Any,
) -> str:
    """Write one run, of which `wanted` images were asked, or as many as there are; return its id. Where `images` has a
    reason instead of metrics, the record has it as the error of its `status`."""
    config = {
        "protocol": 2,
        "method": {"name": method, "version": 1, "sample": {"particles": particles, "steps": steps, **sample}},
        "task": {"name": task, "noise_std": noise_std, "operator": {}},
        "dataset": {"name": dataset, "digest": split or "0"},
        "prior": {"name": f"ldm_{dataset}", "digest": "0"},
        "seed": seed,
        "precision": "fp32",
    }
    name = run_id(config)
    labels = {"method": method, "task": task, "dataset": dataset, "seed": seed, "steps": steps, "particles": particles}
    root = results / "runs" / name
    (root / "records").mkdir(parents=True)
    for image_id, outcome in images.items():
        record: dict[str, Any] = {"run_id": name, "image_id": image_id, **labels, "metrics": {}, "cost": {}}
        if isinstance(outcome, str):
            record |= {"status": status, "error": outcome}
        else:
            record |= {"status": "ok", "metrics": outcome, "cost": cost or {"seconds": 2.0 * particles}}
        (root / "records" / f"{image_id}.json").write_text(json.dumps(record | {"diagnostics": {}}))
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    request = {"images": [wanted or len(images)], "variant": variant, "split": split, **labels}
    (root / "requested.json").write_text(json.dumps(request))
    if sets is not None:
        (root / "summary.json").write_text(json.dumps({"sets": {"n": len(images), **sets}}))
    return name


def psnr(values: Sequence[float | None], **others: float) -> Values:
    """Images a, b, c, … with these values of psnr, and the same of other metrics for all."""
    return {chr(ord("a") + i): {"psnr": value, **others} for i, value in enumerate(values)}
