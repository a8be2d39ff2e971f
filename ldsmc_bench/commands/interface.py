"""The benchmark from Python: `run`, `load_results` and `compare`, which do what the command line does.

import ldsmc_bench as lb

rows = lb.run(my_sampler, task="box", dataset="toyfaces", particles=[1, 5])
results = lb.load_results("results")
lb.compare(results[results.method == "ldsmc"], results[results.method == "dps"], "psnr")
"""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf, open_dict
from scipy import stats

from ldsmc_bench.commands.messages import explaining, quoted
from ldsmc_bench.config import compose
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.identity import sampler_arguments
from ldsmc_bench.report import frame
from ldsmc_bench.report.statistics import mean, paired_p


@dataclass(frozen=True)
class Comparison:
    """The mean of a - b over `n` images, its 95 % interval, and the p-value of Wilcoxon's paired test."""

    difference: float
    low: float
    high: float
    p: float
    n: int


def run(method: Callable[..., Any] | str, /, **keys: Any) -> pd.DataFrame:
    """Run a method, and return the rows of its runs as `load_results` has them.

    `method` is a sampler (a function of a module, see README) or the name of one in conf/method. `keys` are those of
    the command line, `method__sample__zeta=2.0` for method.sample.zeta; a list makes a run of each of its values.
    Finished runs are read, not computed again. Raises UserError for wrong keys and values.
    """
    from ldsmc_bench.run import run as run_one

    swept = {key: value if isinstance(value, list | tuple) else [value] for key, value in keys.items()}
    points = [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]
    stores = [run_one(configuration(method, point)) for point in points]
    folders = dict.fromkeys(one.results_dir for one in stores)
    return pd.concat([load_results(one, [store.run_id for store in stores]) for one in folders], ignore_index=True)


def load_results(results_dir: str | Path = "results", run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """A row for each draw of an image: its run (`run_id method variant task dataset prior steps particles seed`),
    `image_id draw status error`, metrics by name, `cost.<name>` and the mean `diagnostics.<name>`.

    Raises UserError if the results folder cannot be read.
    """
    runs = frame.runs(results_dir)
    chosen = runs if run_ids is None else runs[runs["run_id"].isin(list(run_ids))]
    rows = frame.rows(results_dir, chosen["run_id"].tolist(), every_draw=True)
    return chosen[frame.RUN].merge(rows, on="run_id").reset_index(drop=True)


def compare(a: pd.DataFrame, b: pd.DataFrame, metric: str) -> Comparison:
    """Compare draw 0 of two selections of `load_results`, image by image: the images of a task and seed that both have.

    Raises UserError where one holds several runs of a seed, lacks the metric, or has no image in common with the other.
    """
    tables = []
    for name, rows in (("a", a), ("b", b)):
        if metric not in rows:
            raise UserError(f"compare: {name} has no metric {metric}; it has {', '.join(map(str, rows.columns))}")
        good = rows[(rows["status"] == "ok") & rows[metric].notna()]
        good = good[good["draw"] == 0] if "draw" in good else good
        if good.duplicated(keys := ["task", "dataset", "image_id", "seed"]).any():
            raise UserError(f"compare: {name} holds several runs of one seed; select one method, variant and so on")
        tables.append(good.set_index(keys)[metric])
    difference = (tables[0] - tables[1]).unstack("seed").dropna()
    if not len(difference):
        raise UserError("compare: a and b have no image in common")
    estimate = mean(difference)
    half = np.nan if estimate.se is None else float(stats.t.ppf(0.975, max(len(difference) - 1, 1)) * estimate.se)
    by_image = difference.mean(axis=1)
    p = paired_p(by_image, pd.Series(0.0, by_image.index))
    return Comparison(estimate.value, estimate.value - half, estimate.value + half, p, len(difference))


def configuration(method: Callable[..., Any] | str, keys: dict[str, Any]) -> DictConfig:
    """The configuration of one run, as the command line composes it. Raises UserError for wrong keys, and for a
    function of no module."""
    dotted = {key.replace("__", "."): value for key, value in keys.items()}
    named = isinstance(method, str)
    own = {} if named else {key: dotted.pop(key) for key in [*dotted] if key.startswith("method.")}
    overrides = [f"{key}={_text(value)}" for key, value in (dotted | ({"method": method} if named else {})).items()]
    with explaining(overrides):
        config = compose(*overrides)
    if isinstance(method, str):
        return config
    if "<" in method.__qualname__:
        raise UserError(f"{method.__qualname__}: give a function of a module, so that its runs have a name")
    sample = {"_target_": f"{method.__module__}.{method.__qualname__}", "_partial_": True}
    sample |= {key: f"${{{key}}}" for key in ("steps", "particles") if key in sampler_arguments(method)}
    with open_dict(config):
        config.method = OmegaConf.create({"name": method.__name__, "sample": sample})
        for key, value in own.items():
            OmegaConf.update(config, key, value)
    return config


def _text(value: Any) -> str:
    """A value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return quoted(value) if isinstance(value, str) else str(value)
