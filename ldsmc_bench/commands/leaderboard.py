"""`python -m ldsmc_bench leaderboard`: which methods draw from known posteriors, at equal denoiser calls?

Of the runs of `experiment=leaderboard` in the results folder: a table for each world and number of denoiser calls, in
the terminal, and all of them as results/tables/leaderboard.tex, .md and .csv; figures in results/figures: distance
against denoiser calls, and against the difficulty of a problem. Where methods have run with weights too, a table and a
figure compare both. Methods are in the order of the median over problems of the distance (SW1) over that of exact
draws; in brackets is the 95 % interval of that median by a bootstrap over problems. `=` marks those that a paired test
does not tell from the first (Wilcoxon's, Holm over the table, level 0.05), where there are enough problems for one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from omegaconf import OmegaConf

from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import write_file
from ldsmc_bench.mixture.kept import world_of
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import leaderboard as figures
from ldsmc_bench.report.figures.plot import LOOK, save
from ldsmc_bench.report.page.__main__ import MEDIANS
from ldsmc_bench.report.select import display_name
from ldsmc_bench.report.statistics import EXACT, LEVEL, holm, paired_p
from ldsmc_bench.report.tables.__main__ import files_of, write
from ldsmc_bench.report.tables.content import build_table
from ldsmc_bench.report.tables.layout import Layout
from ldsmc_bench.scoring.distances import bootstrap
from ldsmc_bench.text import number, printable, text_table

METRICS = [EXACT, "mode_tv", "hpd_50", "hpd_90", "spread_ratio", "mmse_gap"]
CALLS = {"cost.denoiser_forward": "calls", "cost.denoiser_backward": "backward"}
WEIGHTED = "_weighted"  # the end of a method's name with `weighted=true`
KEYS = ("dataset.world", "dataset.calls", "sample.exact_for")  # columns of runs, from their configurations


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the tables, and draw the figures."""
    options = Options("leaderboard", __doc__, results_dir=True).read(arguments)
    runs, images = board(options.results_dir)
    for (calls, world), group in runs.groupby(["dataset.calls", "dataset.world"], sort=True):
        print(printable(f"\n{world}, {calls:,} denoiser calls a draw\n{text_of(group, images)}"))
    if not (pairs := pairs_of_weights(runs, images)).empty:
        print(printable(f"\nweights off and on, at equal denoiser calls\n{text_of_weights(pairs, images)}"))
    save_medians(options.results_dir / "tables" / MEDIANS, runs, images)
    print(f"\ntable: {save_table(options.results_dir / 'tables', runs, images)}")
    with rc_context(LOOK):
        drawn = {
            "leaderboard": figures.against_calls(runs, images),
            "leaderboard-difficulty": figures.against_difficulty(runs, images),
        }
        if not pairs.empty:
            drawn["leaderboard-weights"] = figures.weights_off_and_on(pairs, images)
        for name, figure in drawn.items():
            print(f"figure: {save(figure, options.results_dir / 'figures', name)}")


def board(results_dir: Path) -> tuple[pd.DataFrame, frame.Images]:
    """The runs of the leaderboard, with their `KEYS` and a `name`, and their problems by run id. Raises UserError where
    there is none."""
    absent = f"no run of the leaderboard in {results_dir}; give python -m ldsmc_bench experiment=leaderboard -m"
    require_runs(results_dir, absent)
    known = {job.run_id: job.asked for job in frame.jobs(results_dir) if job.run_id}
    runs = frame.runs(results_dir)
    runs = runs[runs["run_id"].isin(known) & (runs["n"] > 0)]
    runs["dataset.calls"] = [OmegaConf.select(known[run_id], "dataset.calls") for run_id in runs["run_id"]]
    runs = runs[runs["dataset.calls"].notna()]
    if runs.empty:
        raise UserError(absent)
    runs["dataset.calls"] = runs["dataset.calls"].astype(int)
    asked = [known[run_id] for run_id in runs["run_id"]]
    runs["dataset.world"] = [world_of(one) for one in asked]
    methods = [one.method.weighted if one.get("weighted") else one.method for one in asked]
    runs["sample.exact_for"] = [str(method.get("exact_for", "not said")) for method in methods]
    if runs["seed"].nunique() > 1:  # each has problems of its own, of the same names
        runs["dataset.world"] += runs["seed"].map(", seed {}".format)
    runs["name"] = [
        display_name("method", method) + (f", {variant}" if variant != "default" else "")
        for method, variant in zip(runs["method"], runs["variant"], strict=True)
    ]
    identities = [
        identity | {key: str(value) for key, value in zip(KEYS, row, strict=True)}
        for identity, row in zip(runs[frame.IDENTITY], runs[list(KEYS)].to_numpy(), strict=True)
    ]
    rows = frame.rows(results_dir, runs["run_id"], [*METRICS, "entropy", *CALLS])
    return runs.assign(**{frame.IDENTITY: identities}), frame.images(rows)


def text_of(runs: pd.DataFrame, images: frame.Images) -> str:
    """The table of a world and number of calls for the terminal."""
    lines = []
    for one in medians(runs, images):
        rows = images[one["run_id"]]
        line = {"": "=" if one["like_best"] else "", "method": one["method"]}
        line |= {"exact for": one["exact_for"], "N": str(one["particles"])}
        line |= {"SW1/floor": f"{one[EXACT]:.2f} [{one['low']:.2f}, {one['high']:.2f}]", "worst": f"{one['worst']:.1f}"}
        line |= {name: f"{rows[name].median():.2f}" for name in METRICS[1:]}
        line |= {heading: f"{rows[name].mean():.0f}" for name, heading in CALLS.items()}
        lines.append(line | {"n": str(one["n"])})
    columns = {heading: [line[heading] for line in lines] for heading in lines[0]}
    few = f"\nno `=`: {lines[0]['n']} problems are too few to tell {len(lines)} methods apart"
    return text_table(columns, left={"method", "exact for"}, rule=True) + few * (not any(columns[""]))


def pairs_of_weights(runs: pd.DataFrame, images: frame.Images) -> pd.DataFrame:
    """The methods that ran as they are and `weighted=true`, a row for each world and number of calls: world, calls,
    name, particles, the runs `off` and `on`, and the paired p-value, adjusted for the number of methods."""
    plain = runs[(runs["variant"] == "default") & ~runs["method"].str.endswith(WEIGHTED)]
    weighted = runs[runs["method"].str.endswith(WEIGHTED)].assign(
        method=lambda these: these["method"].str[: -len(WEIGHTED)]
    )
    keys = {"dataset.world": "world", "dataset.calls": "calls"}
    both = plain.merge(weighted, on=["method", *keys], suffixes=("", "_on")).rename(columns=keys)
    both = both.rename(columns={"run_id": "off", "run_id_on": "on"})
    both = both.sort_values(["world", "calls", "name"])[["world", "calls", "name", "particles_on", "off", "on"]]
    for _, group in both.groupby(["world", "calls"]):
        p = holm(
            {
                str(at): paired_p(np.log(images[row.off][EXACT]), np.log(images[row.on][EXACT]))
                for at, row in group.iterrows()
            }
        )
        both.loc[group.index, "p"] = [p[str(at)] for at in group.index]
    return both


def text_of_weights(pairs: pd.DataFrame, images: frame.Images) -> str:
    """Medians of both forms with their intervals, and the p-value of their difference."""
    columns: dict[str, list[str]] = {"world": list(pairs["world"]), "calls": [f"{calls:,}" for calls in pairs["calls"]]}
    columns |= {"method": list(pairs["name"]), "N": [str(number) for number in pairs["particles_on"]]}
    for heading, key in (("off", "off"), ("on", "on")):
        found = [median(images[run_id][EXACT]) for run_id in pairs[key]]
        columns[heading] = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in found]
    columns["p"] = [number(p, 3, 0.001) for p in pairs["p"]]
    return text_table(columns, left={"world", "method"}, rule=True)


def medians(runs: pd.DataFrame, images: frame.Images) -> list[dict[str, Any]]:
    """The runs of a world and number of calls, best first, with the median of their distance and its interval."""
    ratios = {run_id: images[run_id][EXACT] for run_id in runs["run_id"]}
    order = sorted(ratios, key=lambda run_id: float(ratios[run_id].median()))
    tests = holm({run_id: paired_p(np.log(ratios[run_id]), np.log(ratios[order[0]])) for run_id in order[1:]})
    few = len(tests) * 2.0 ** (1 - min(map(len, ratios.values()))) >= LEVEL  # the least p that Holm leaves
    labels, lines = runs.set_index("run_id"), []
    for run_id in order:
        label, (value, low, high) = labels.loc[run_id], median(ratios[run_id])
        line = {"run_id": run_id, "method": str(label["name"]), "exact_for": str(label["sample.exact_for"])}
        line |= {"particles": int(label["particles"]), EXACT: value, "low": low, "high": high}
        line |= {"worst": float(ratios[run_id].max()), "like_best": int(not few and tests.get(run_id, 1.0) >= LEVEL)}
        lines.append(line | {"n": len(ratios[run_id])})
    return lines


def save_medians(path: Path, runs: pd.DataFrame, images: frame.Images) -> None:
    """Write the `medians` of all worlds and numbers of calls as CSV, for the page."""
    groups = runs.groupby(["dataset.calls", "dataset.world"], sort=True)
    lines = [{"world": world, "calls": n} | one for (n, world), group in groups for one in medians(group, images)]
    write_file(path, pd.DataFrame(lines).to_csv(index=False).encode())


def median(values: pd.Series) -> tuple[float, float, float]:
    """The median with its 95 % bootstrap interval over problems; of few it is all of their range."""
    table = values.dropna().to_numpy()
    if len(table) < 3:
        return float(np.median(table)), float(table.min()), float(table.max())
    one = bootstrap(lambda counts: float(np.median(np.repeat(table, counts.astype(int)))), len(table))
    return one.value, max(one.low, float(table.min())), min(one.high, float(table.max()))


def save_table(folder: Path, runs: pd.DataFrame, images: frame.Images) -> str:
    """Write all worlds as all tables are written: means, standard errors, marks, and paired tests. Returns the names of
    the files."""
    layout = Layout.model_validate(
        {
            "name": "leaderboard",
            "title": "Draws against known posteriors, at equal denoiser calls",
            "blocks": ["dataset.world", "dataset.calls"],
            "rows": ["method", "variant", "sample.exact_for", "particles"],
            "metrics": [
                EXACT,
                *({"name": name, "better": "none"} for name in METRICS[1:]),
                *({"name": key, "label": label, "digits": 0} for key, label in CALLS.items()),
            ],
            "command": "python -m ldsmc_bench leaderboard",
        }
    )
    return files_of(write(build_table(layout, runs.drop(columns="name"), images), folder))


if __name__ == "__main__":
    sys.exit(main())
