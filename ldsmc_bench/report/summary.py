"""A finished run in a few numbers: means with standard errors over its images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

IDENTITY = ("run_id", "method", "task", "dataset", "steps", "particles", "seed")


def summarise(records: Sequence[Mapping[str, Any]], set_metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one run from its images' records and the metrics of its images as a set.

    Keys: the run's identity (`run_id method task dataset steps particles seed`, from its first record), `n` images that
    count, `n_failed` and `n_skipped` that do not, `metrics` and `cost` (for each name `mean`, `se` = sd/√n, None for a
    single image, and `n`), and `sets` (as given). A row that failed, or that holds a number that is not finite, is in
    no mean. Where the method cannot do the task, `skipped` says why.
    Raises ValueError without records.
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
    spread = summary["metrics"].get("sd_log_evidence")
    if spread is None or spread["mean"] < 1:
        return None
    runs = f"{summary['method']} particles={summary['particles']}"
    return (
        f"{runs} has not converged: its log-evidence varies by {spread['mean']:.3g} (sd; below 1 with enough particles)"
    )


def _counts(record: Mapping[str, Any]) -> bool:
    if record["status"] != "ok":
        return False
    values = (*record["metrics"].values(), *record["cost"].values())
    return all(math.isfinite(value) for value in values if value is not None)


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """Name by name in the order of first appearance, over the rows that have it; None is as good as absent."""
    measured = [{name: float(value) for name, value in row.items() if value is not None} for row in rows]
    names = dict.fromkeys(name for row in measured for name in row)
    return {name: _mean([row[name] for row in measured if name in row]) for name in names}


def _mean(values: Sequence[float]) -> dict[str, float | int | None]:
    n = len(values)
    mean = math.fsum(values) / n
    se = math.hypot(*(v - mean for v in values)) / math.sqrt((n - 1) * n) if n > 1 else None
    return {"mean": mean, "se": se, "n": n}
