"""Selection of the runs that a table, a figure or the page shows, and of the settings in which they differ.

Two runs are alike where their `identity` (see `frame.runs`) is equal: all values of config.yaml but the seed. Only runs
that are alike are averaged or joined.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import yaml

from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.files import CONF
from ldsmc_bench.records.problems import PARTS
from ldsmc_bench.report.frame import COUNTS, IDENTITY, LABELS
from ldsmc_bench.report.tables.layout import Layout

FIRST = ("variant", "particles", "steps", "prior", "dataset", "task")  # named sooner than a sampler's argument
ALIASES = {"steps": "sample.steps", "particles": "sample.particles"}  # arguments that are labels too
SHORT = {"particles": "N", "gibbs_iterations": "gibbs"}
PROTOCOL = ("steps", "n_images", "split")  # runs that differ in them are no rivals, unless a table asks for them
LONGEST = 24  # characters of a value in a label
# Names of methods, tasks and data sets as readers know them; others keep the name they have.
NAMES: dict[str, Mapping[str, str]] = yaml.safe_load((CONF / "names.yaml").read_text("utf-8"))
SHORT_NAMES = NAMES.pop("short")


def select_runs(layout: Layout, runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The runs of a table: those that its layout asks for, of one protocol; and a line on those of others, or ""."""
    runs = runs.assign(n_images=runs.n_requested)
    keys = [key for key in (*layout.named, layout.sweep, *layout.where) if key]
    if any(key not in runs for key in keys):
        return runs.iloc[:0], ""
    selected = runs[["n", "n_failed", "n_skipped", "n_requested"]].sum(axis=1) > 0
    for key, wanted in layout.where.items():
        selected &= have_value(runs, key, wanted)
    if "task" not in layout.where:  # a task on which nothing can be run
        skipped = (runs.n_skipped > 0) & (runs.n_skipped >= runs.n_requested)
        selected &= ~skipped.groupby(key_texts(runs, ["dataset", "task"])).transform("all")
    for key in keys:
        if key not in layout.where:  # a run whose argument is null has it too
            selected &= runs[key].notna() | runs.method.isin(runs.method[runs[key].notna()])
    runs = runs[selected] if layout.sweep is None else select_sweep(runs[selected], layout.sweep)
    return select_protocol(runs, [key for key in PROTOCOL if key not in keys])


def have_value(runs: pd.DataFrame, key: str, wanted: Sequence[Any]) -> pd.Series:
    """True for the runs that have one of the `wanted` values of `key`, or none where that is wanted."""
    return runs[key].isin(_wanted(key, wanted)) | (runs[key].isna() & (None in wanted))


def require_ours(ours: str | None, runs: pd.DataFrame) -> None:
    """Raise UserError where no run is of this method."""
    if ours and ours not in runs.method.to_list():
        raise UserError(f"ours={ours}: no run of this method; {nearest(ours, runs.method.unique())}")


def require_values(where: Mapping[str, Sequence[Any]], runs: pd.DataFrame) -> None:
    """Raise UserError where no run has any of the values that `where=` names for a key."""
    for key, values in where.items():
        if key in runs and None not in values and not runs[key].isin(_wanted(key, values)).any():
            known = runs[key].dropna().map(lambda value: display_name("", value)).unique()
            raise UserError(f"where={key}={values[0]}: no run has this; {nearest(str(values[0]), known)}")


def require_some(runs: pd.DataFrame, results_dir: Path) -> None:
    """Raise UserError where `where=` has chosen no run."""
    if runs.empty:
        raise UserError(f"where chooses no run of results_dir={results_dir}; python -m ldsmc_bench status lists them")


def select_protocol(runs: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Of the runs on each data set, those with the values of `keys` for which most images are done; and a line that
    names the values of the others, or ""."""
    kept, others = [runs.iloc[:0]], []
    for _, of_dataset in group_runs(runs, ["dataset"]):
        groups = group_runs(of_dataset, keys)
        most = max(groups, key=lambda group: group[1].n.sum())
        kept.append(most[1])
        for values, group in groups:
            if group is not most[1]:
                differing = [(key, v) for key, v, used in zip(keys, values, most[0], strict=True) if v != used]
                how = " ".join(f"where={key}={'null' if v is None else display_name(key, v)}" for key, v in differing)
                others.append(f"{len(group)} run{'s' * (len(group) > 1)} (chosen by {how})")
    return pd.concat(kept).sort_index(), f"left out: {', '.join(others)}" if others else ""


def _wanted(key: str, values: Iterable[Any]) -> list[Any]:
    """Values that a layout names, as the runs have them: names as text, also by what tables print of them."""
    ids = {shown: name for name, shown in NAMES.get(key, {}).items()}
    texts = [str(value) if key in (*LABELS, "split") and value is not None else value for value in values]
    return [one for text in texts for one in ((text, ids[text]) if text in ids else (text,))]


def select_sweep(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    """The runs of which there are others that differ in `key`, and but for the seed in nothing else."""
    if not len(runs):
        return runs
    return runs[_exact_texts(runs, key).groupby(identity_texts(runs, [key])).transform("nunique") > 1]


def distinguishing_settings(runs: pd.DataFrame, keys: Sequence[str] = (), ignored: Sequence[str] = ()) -> list[str]:
    """A minimal list of settings that distinguishes runs with equal `keys` (seeds aside), `ignored` ones left out. It
    ends with `run_id` where runs with equal settings are still not one run in several seeds."""
    no_setting = {"run_id", "seed", "method", "n_images", IDENTITY, *COUNTS, *ALIASES.values(), *ignored}
    candidates = [name for name in runs.columns if name not in no_setting and not name.startswith("sets.")]
    candidates.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    chosen: list[str] = []
    identities = identity_texts(runs, ignored)
    for name in candidates:
        group = key_texts(runs, [*keys, *chosen])
        if identities.groupby(group).nunique().max() <= 1:
            break
        if _exact_texts(runs, name).groupby(group).nunique().max() > 1:
            chosen.append(name)
    group = key_texts(runs, [*keys, *chosen])
    seeds = runs.seed.groupby(group)
    repeated = not ignored and not seeds.nunique().equals(seeds.size())
    return [*chosen, "run_id"] if repeated or identities.groupby(group).nunique().max() > 1 else chosen


def label_runs(runs: pd.DataFrame, ignored: Sequence[str] = ()) -> list[dict[str, str]]:
    """For each run, by short names, the settings that distinguish it from the other runs of its method: `{"N": "5"}`.

    The seed is one of them where it differs, unless it is `ignored`.
    """
    labels: dict[object, dict[str, str]] = {index: {} for index in runs.index}
    for _, group in runs.groupby("method"):
        keys = distinguishing_settings(group, ignored=[name for name in ignored if name != "seed"])
        if "seed" not in ignored and group.seed.nunique() > 1:
            settings = [*(key for key in keys if key != "run_id"), "seed"]
            unique = "run_id" not in keys or key_texts(group, settings).is_unique
            keys = settings if unique else [*settings, "run_id"]
        last = [key.rpartition(".")[2] for key in keys]
        for key, short in zip(keys, last, strict=True):
            name = short if key.startswith(("sample.", "task.")) and last.count(short) == 1 else key
            for index, text in _short_texts(group, key).items():
                labels[index][SHORT.get(name, name)] = text
    return [labels[index] for index in runs.index]


def join_label(name: str, settings: dict[str, str]) -> str:
    """`ldsmc paper N=5`."""
    return " ".join([name, *(value if key == "variant" else f"{key}={value}" for key, value in settings.items())])


def curves(runs: pd.DataFrame, axis: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Groups of runs that differ in `axis` alone (and in seed), where it has two values or more, sorted by it.

    Each comes with the label that distinguishes it from the other curves of its method on the same task, or "".
    """
    if axis not in runs:
        return
    places = pd.to_numeric(runs[axis], errors="coerce")  # a word has no place on an axis
    runs = runs.assign(**{axis: places})[places.notna()]
    if runs.empty:
        return
    keys = key_texts(runs, ["method", "task", "dataset"]) + identity_texts(runs, [axis])
    groups = [group for _, group in runs.groupby(keys, sort=False) if group[axis].nunique() > 1]
    firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
    labels: dict[str, dict[str, str]] = {}
    for _, rivals in firsts.groupby(["task", "dataset"]):
        labels |= dict(zip(rivals["run_id"], label_runs(rivals, ignored=(axis, "seed")), strict=True))
    for group in groups:
        yield join_label("", labels[group["run_id"].iloc[0]]).strip(), group.sort_values([axis, "seed"])


def group_runs(
    runs: pd.DataFrame, keys: Sequence[str], where: Mapping[str, Sequence[Any]] = MappingProxyType({})
) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The runs by their values of `keys`, absent ones as None, in the order of `where`, else of names and numbers."""
    orders = {key: _wanted(key, values) for key, values in where.items()}

    def place(key: str, value: Any) -> tuple[Any, ...]:
        listed = orders.get(key, [])
        return listed.index(value) if value in listed else len(listed), *sort_key(key, value)

    groups = []
    for _, group in runs.groupby(key_texts(runs, keys), sort=False):
        values = [group[key].tolist()[0] for key in keys]  # Python's numbers, which are sorted as such
        groups.append((tuple(None if pd.isna(value) else value for value in values), group))
    return sorted(groups, key=lambda group: [*map(place, keys, group[0])])


def identity_texts(runs: pd.DataFrame, but: Iterable[str] = ()) -> pd.Series:
    """One text for each run, equal where runs are alike but for the settings `but`."""
    left_out = {*but, *(ALIASES[name] for name in but if name in ALIASES)}
    return runs[IDENTITY].map(
        lambda identity: json.dumps({name: text for name, text in sorted(identity.items()) if name not in left_out})
    )


def problem_text(identity: Mapping[str, str]) -> str:
    """One text for runs on equal measurements, seeds aside; a run without a legible configuration has its own."""
    parts = {key: text for key, text in identity.items() if key.partition(".")[0] in PARTS}
    return json.dumps(parts or dict(identity), sort_keys=True)


def problem_settings(runs: pd.DataFrame, keys: Sequence[str] = (), ignored: Sequence[str] = ()) -> list[str]:
    """The settings in which measurements differ of runs with equal task, data set and `keys`, seeds aside."""
    others = [name for name in runs.columns if name.partition(".")[0] not in PARTS]
    return distinguishing_settings(runs, ["task", "dataset", *keys], [*others, *ignored])


def problem_labels(runs: pd.DataFrame) -> list[dict[str, str]]:
    """For each run, by short names, its values of `problem_settings`."""
    settings, lines = problem_settings(runs), runs.to_dict("records")
    known = [{key.rpartition(".")[2]: line[key] for key in settings if pd.notna(line[key])} for line in lines]
    return [{key: display_name("", value)[:LONGEST] for key, value in one.items()} for one in known]


def key_texts(runs: pd.DataFrame, keys: Iterable[str]) -> pd.Series:
    """One text for the values of `keys`, equal for runs that agree in them."""
    columns = [_exact_texts(runs, key) for key in keys]
    texts = [json.dumps(values) for values in zip(*columns, strict=True)] if columns else ""
    return pd.Series(texts, index=runs.index, dtype=object)


def _exact_texts(runs: pd.DataFrame, key: str) -> pd.Series:
    """The exact values of a column as text, "" where there is none."""
    if key in (*LABELS, *PROTOCOL, "particles", "seed", "run_id"):
        return runs[key].map(str)
    return runs[IDENTITY].map(lambda identity: identity.get(key, ""))


def _short_texts(runs: pd.DataFrame, key: str) -> pd.Series:
    """The values of a column for labels: long ones cut, unless two would read alike then."""
    full = runs[key].map(lambda value: "-" if pd.isna(value) else display_name("", value))
    cut = full.map(lambda text: text if len(text) <= LONGEST else f"{text[:8]}…")
    return cut if cut.nunique() == _exact_texts(runs, key).nunique() else full


def display_name(key: str, value: object) -> str:
    """The name of a run's `method`, `task` or `dataset`; other values as they are, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return NAMES.get(key, {}).get(str(value), str(value))


def sort_key(key: str, value: object) -> tuple[int, float, str]:
    """Sorts the names of conf/names.yaml in their order, then numbers by size, then the rest by name."""
    listed = list(NAMES.get(key, {}))
    if value in listed:
        return listed.index(str(value)), 0.0, ""
    if isinstance(value, int | float):
        return len(listed), float(value), ""
    return len(listed) + 1, 0.0, str(value)
