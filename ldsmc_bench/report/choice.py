"""Which runs a table shows, and what tells them apart: nothing is averaged but seeds, and nothing is picked."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ldsmc_bench.report.frame import COUNTS
from ldsmc_bench.report.layout import Layout

FIRST = ("variant", "steps", "particles", "prior", "dataset", "task")  # what is said sooner than a sampler's argument
ALIASES = ("sample.steps", "sample.particles")  # of labels


def chosen(layout: Layout, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of which the table shows something: those that its layout asks for and that have a record."""
    keys = [key for key in (*layout.rows, *layout.blocks, layout.columns, layout.sweep, *layout.runs) if key]
    if any(key not in runs for key in keys):
        return runs.iloc[:0]
    begun = runs[["n", "n_failed", "n_skipped"]].sum(axis=1) > 0
    for key, wanted in layout.runs.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        begun &= runs[key].isin(values) | (runs[key].isna() & (None in values))
    for key in keys:
        if key not in layout.runs:
            given = runs[key].notna()  # not by methods without such an argument, nor where it has its default
            begun &= given | runs.method.isin(runs.method[given])
    found = runs[begun]
    return found if layout.sweep is None else swept(found, layout.sweep)


def swept(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    """The runs of which there are others that differ in `key`, and but for the seed in nothing else."""
    if not len(runs):
        return runs
    others = ["method", *(name for name in settings(runs) if name not in (key, "variant"))]
    values = _texts(runs, key).groupby(_fingerprint(runs, others)).transform("nunique")
    return runs[values > 1]


def settings(runs: pd.DataFrame) -> list[str]:
    """The columns that make a run another run, but for its seed; the ones best said come first."""
    no_setting = {"run_id", "seed", "method", *COUNTS, *ALIASES}
    names = [name for name in runs.columns if name not in no_setting and not name.startswith("sets.")]
    return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def told_apart(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The settings, as few as will do, that tell runs apart which agree in `keys` and still are not one run in several
    seeds; `run_id` at last, for runs that differ in nothing that is known."""
    said: list[str] = []
    whole = _fingerprint(runs, [name for name in settings(runs) if name != "variant"])  # which is but a label
    for name in settings(runs):
        group = _fingerprint(runs, [*keys, *said])
        if whole.groupby(group).nunique().max() == 1:
            break
        if _texts(runs, name).groupby(group).nunique().max() > 1:
            said.append(name)
    seeds = runs.seed.groupby(_fingerprint(runs, [*keys, *said]))
    return said if seeds.nunique().equals(seeds.size()) else [*said, "run_id"]


def values_of(runs: pd.DataFrame, key: str) -> list[Any]:
    """The distinct values of a column, in order of first appearance; NaN is one of them, as None."""
    return list(dict.fromkeys(None if pd.isna(value) else value for value in runs[key]))


def _fingerprint(runs: pd.DataFrame, keys: Iterable[str]) -> pd.Series:
    """One text for the values of `keys`, equal for runs that agree in them."""
    text = pd.Series("", index=runs.index, dtype=object)
    for key in keys:
        text = text + "\n" + _texts(runs, key)
    return text


def _texts(runs: pd.DataFrame, key: str) -> pd.Series:
    """A column as text, where nothing is a value like others."""
    return pd.Series([str(value) for value in runs[key]], index=runs.index, dtype=object)
