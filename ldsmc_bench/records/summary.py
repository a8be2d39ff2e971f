"""A finished run in a few numbers: means with standard errors over its images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ldsmc_bench.records.record import LABELS

IDENTITY = ("run_id", *LABELS)


def summarise(records: Sequence[Mapping[str, Any]], set_metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one run from its images' records and the metrics of its images as a set.

    Keys: the run's identity, `n` images that count, `n_failed` and `n_skipped` that do not, `metrics` and `cost` (for
    each name `mean`, `se` = sd/√n, None for a single image, and `n`), `sets` (as given), and `skipped`, the reason,
    where the method cannot do the task. A row that failed, or has a number that is not finite, is in no mean. Raises
    ValueError without records.
    """
    if not records:
        raise ValueError("a run without records has no summary")
    good = [record for record in records if _counts(record)]
    reasons = [record["error"] for record in records if record["status"] == "skipped"]
    return {
        **{key: records[0][key] for key in IDENTITY if key in records[0]},
        "n": len(good),
        "n_failed": len(records) - len(good) - len(reasons),
        "n_skipped": len(reasons),
        "metrics": _means([record["metrics"] for record in good]),
        "cost": _means([record["cost"] for record in good]),
        "sets": dict(set_metrics),
        **({"skipped": reasons[0]} if reasons else {}),
    }


def not_converged(summary: Mapping[str, Any]) -> str | None:
    """A warning where the estimates of the evidence vary by a factor of e or more: its particles are then too few."""
    if not (spread := summary["metrics"].get("sd_log_evidence")) or spread["mean"] < 1:
        return None
    which = f"{summary['method']} particles={summary['particles']}"
    varies = f"its log-evidence varies by {spread['mean']:.3g} (sd; below 1 with enough particles)"
    return f"{which} has not converged: {varies}"


def _counts(record: Mapping[str, Any]) -> bool:
    values = [value for part in ("metrics", "cost") for value in record[part].values() if value is not None]
    return record["status"] == "ok" and all(map(math.isfinite, values))


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """Name by name in the order of first appearance, over the rows that have it; None is as good as absent."""
    by_name: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                by_name.setdefault(name, []).append(float(value))
    return {name: _mean(values) for name, values in by_name.items()}


def _mean(values: Sequence[float]) -> dict[str, float | int | None]:
    n = len(values)
    mean = math.fsum(values) / n
    se = math.hypot(*(v - mean for v in values)) / math.sqrt((n - 1) * n) if n > 1 else None
    return {"mean": mean, "se": se, "n": n}
