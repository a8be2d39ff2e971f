"""What is drawn: which runs make a curve, what a run costs, and how far a mean can be trusted."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ldsmc_bench.report.names import called
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol

AXES = {"particles": "particles $N$", "steps": "steps", "sample.s": "$s$", "sample.gibbs_iterations": "Gibbs sweeps"}
NETWORKS = ("denoiser", "decoder", "encoder")
PASSES = "network passes per image: forward + 2 x backward of denoiser, decoder and encoder, each as one"
SHORT = {"particles": "N", "steps": "steps", "seed": "seed", "gibbs_iterations": "gibbs"}
SAID_FIRST = ("variant", "particles", "steps", "seed", "prior")
UNSAID = {"run_id", "method", "task", "dataset", "sample.particles", "sample.steps", "protocol", "skipped", "complete"}


@dataclass(frozen=True)
class Problem:
    """The runs of a task on a data set, and their rows that are `ok`: frames as `frame.runs` and `frame.rows` give."""

    task: str
    dataset: str
    runs: pd.DataFrame
    rows: pd.DataFrame
    results_dir: Path

    @property
    def title(self) -> str:
        return f"{called('task', self.task)}, {called('dataset', self.dataset)}"


def metrics_of(problem: Problem) -> list[Protocol]:
    """The metrics that these runs have."""
    return shown(problem.rows, problem.runs)


def passes(rows: pd.DataFrame) -> pd.Series:
    """Network passes of each row: forward + 2 backward over denoiser, decoder and encoder, each counted as one.

    A backward pass is taken for two forward ones, as is usual (Kaplan et al. 2020, arXiv 2001.08361, sec. 2.1). NaN
    where no call was counted.
    """
    weights = {f"cost.{network}_{way}": w for network in NETWORKS for way, w in (("forward", 1), ("backward", 2))}
    weights = {name: w for name, w in weights.items() if name in rows}
    counted = rows[list(weights)]
    return (counted * pd.Series(weights, dtype=float)).sum(axis=1).where(counted.notna().any(axis=1))


def half_interval(values: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Half the 95 % interval of the mean of independent values (Student's t); NaN for fewer than two."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def settings(runs: pd.DataFrame) -> list[str]:
    """The columns of `frame.runs` that make a run another run, in the order in which they are best said."""
    counts = ("n", "n_failed", "n_skipped", "n_requested")
    others = [name for name in runs.columns if name not in (*UNSAID, *counts) and not name.startswith("sets.")]
    return sorted(others, key=lambda name: SAID_FIRST.index(name) if name in SAID_FIRST else len(SAID_FIRST))


def told_apart(runs: pd.DataFrame, silent: Sequence[str] = ()) -> list[dict[str, str]]:
    """What tells the runs of each method from each other, `{"N": "5", "steps": "100"}`, as little as will do.

    A setting is said if it parts runs that those before it leave together; those in `silent` are not said.
    """
    said: dict[object, dict[str, str]] = {index: {} for index in runs.index}
    for _, group in runs.groupby("method"):
        known, texts = 1, pd.Series("", index=group.index)
        for name in settings(runs):
            values = group[name].map(_text)
            refined = texts + "\n" + values
            if name in silent or (parts := refined.nunique()) <= known:
                continue
            known, texts = parts, refined
            short = name.removeprefix("sample.").removeprefix("task.")
            for index, value in values.items():
                said[index][SHORT.get(short, short)] = value
    return list(said.values())


def name_of(method: str, said: dict[str, str]) -> str:
    """`ldsmc paper N=5`."""
    words = [value if key == "variant" else f"{key}={value}" for key, value in said.items()]
    return " ".join([method, *words])


def curves(runs: pd.DataFrame, axis: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Groups of runs that differ in `axis` alone (and in seed), where it has two values or more, sorted by it.

    With each comes what tells it from the other curves of its method on the same task, "" where there is no other.
    """
    if axis not in runs or runs[axis].isna().all():
        return
    runs = runs[runs[axis].notna()]
    same = [name for name in settings(runs) if name not in (axis, "seed", "variant")]
    keys = runs[["method", "task", "dataset", *same]].map(_text).agg("\n".join, axis=1)
    groups = [group for _, group in runs.groupby(keys, sort=False) if group[axis].nunique() > 1]
    firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
    labels: dict[str, dict[str, str]] = {}
    for _, rivals in firsts.groupby(["task", "dataset"]):
        labels |= dict(zip(rivals["run_id"], told_apart(rivals, silent=(axis, "seed")), strict=True))
    for group in groups:
        yield name_of("", labels[group["run_id"].iloc[0]]).strip(), group.sort_values([axis, "seed"])


def shown(rows: pd.DataFrame, runs: pd.DataFrame) -> list[Protocol]:
    """The metrics that these runs have, in the order of the protocols."""
    have = {name for name in rows.columns if rows[name].notna().any()}
    have |= {name.removeprefix("sets.") for name in runs.columns if runs[name].notna().any()}
    return [protocol for protocol in PROTOCOLS.values() if protocol.name in have]


def of_set(run: pd.Series, metric: str) -> tuple[float, float, float]:
    """A run's set metric and the ends of its 95 % interval (bootstrap), NaN where there is none."""
    value, se, ends = (run.get(f"sets.{metric}{end}") for end in ("", "_se", "_ci"))
    if value is None or not np.isfinite(value):
        return math.nan, math.nan, math.nan
    if isinstance(ends, str):
        low, high = json.loads(ends)
    elif se is not None and np.isfinite(se):
        low, high = value - 1.96 * se, value + 1.96 * se
    else:
        low = high = math.nan
    return float(value), float(low), float(high)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) < 25 else f"{text[:8]}…"
