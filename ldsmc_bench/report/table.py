"""The table of finished runs that a sweep ends with in the terminal, and what it shows in a sentence.

Pandas and the room of tables take a second to import, and are imported where there is something to compare.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ldsmc_bench.records.summary import IDENTITY
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol
from ldsmc_bench.text import number, text_table

if TYPE_CHECKING:
    from ldsmc_bench.report.frame import Images
    from ldsmc_bench.report.tables.content import Cell

Summary = Mapping[str, Any]
MISSING = "--"
BEST, TIED = "●", "†"
PROBLEM = ("task", "dataset", "seed")  # what runs share that have the same measurements
MOST = 4  # names in a sentence
PREFERRED = ("lpips_vgg", "toyfaces_perceptual", "psnr")  # of which the sentence speaks: the first that runs have


def table(summaries: Sequence[Summary], *, width: int = 160, images: "Images" = MappingProxyType({})) -> str:
    """One row for each summary (see `summarise`), in the order given, beginning with the labels that vary.

    With the runs' `images` (see `frame.images`) there is the ESS of particles, and runs on one problem are compared as
    in the tables of papers: marks for the best and for what a paired test cannot distinguish from it, and a sentence.
    Labels that all runs share are printed above. Columns that do not fit into `width` characters follow in further
    blocks. A missing number is `--`. Reasons for skipping and warnings of the set metrics follow the footnote, each
    once. Raises ValueError without summaries.
    """
    if not summaries:
        raise ValueError("a table needs at least one run")
    keys = [key for key in IDENTITY if key != "run_id"]
    varying = [key for key in keys if len({str(s.get(key)) for s in summaries}) > 1]
    if len({tuple(s.get(key) for key in varying) for s in summaries}) < len(summaries):
        # Runs that differ in settings only are named by their overrides, if the caller knows them.
        varying.append("asked" if all("asked" in s for s in summaries) else "run_id")
    shared = [f"{key}={summaries[0][key]}" for key in keys if key not in varying and key in summaries[0]]
    had = {name for s in summaries for name in (*s["metrics"], *s["sets"])} & PROTOCOLS.keys()
    order = [*(name for name in PROTOCOLS if name != "misfit"), "misfit"]
    metrics = [PROTOCOLS[name] for name in order if name in (had or ("psnr", "ssim", "misfit"))]
    columns = {key: [_label(key, s) for s in summaries] for key in varying}
    names = [" ".join(f"{'N' if key == 'particles' else key}={c}" if c.isdigit() else c for key, c in
                      zip(varying, of_run, strict=True) if key not in PROBLEM)
             for of_run in zip(*columns.values(), strict=True)]  # fmt: skip
    ranked = {metric.name: _ranked(metric, summaries, images) for metric in metrics if metric.per == "image"}
    for metric in metrics:
        columns[metric.label] = _marked([_metric(metric, s) for s in summaries], ranked.get(metric.name, []))
    if ess := _effective_sizes(summaries, images):
        columns["ESS"] = ess
    columns |= {heading: [cell(s) for s in summaries] for heading, cell in COST.items()}
    body = text_table(columns, repeat=len(varying), width=width, rule=True)
    marked = {name for name, cells in ranked.items() if any(cell.mark for cell in cells)}
    tests = [f"{BEST} best, {TIED} not distinguishable from it by a paired test (Wilcoxon on common images, Holm)"]
    spoken = next((metric for name in PREFERRED for metric in metrics if metric.name == name and name in marked), None)
    findings = _findings(spoken, summaries, names, ranked[spoken.name]) if spoken else []
    return (
        "\n".join([" ".join(shared), body, *_footnotes(metrics, summaries), *(tests if marked else []), *findings])
        + "\n"
    )


def _label(key: str, summary: Summary) -> str:
    from ldsmc_bench.report.select import display_name

    return display_name(key, summary[key]) if summary.get(key) is not None else MISSING


def _problems(summaries: Sequence[Summary]) -> list[list[int]]:
    """The places of runs on one problem, whose id is `problem` if the caller knows it, for each of two runs or more."""
    problems: dict[tuple[str, ...], list[int]] = {}
    for i, summary in enumerate(summaries):
        problems.setdefault(tuple(str(summary.get(key)) for key in (*PROBLEM, "problem")), []).append(i)
    return [places for places in problems.values() if len(places) > 1]


def _ranked(metric: Protocol, summaries: Sequence[Summary], images: "Images") -> list["Cell"]:
    """A cell for each run, ranked and tested among those on its problem; none where nothing can be compared."""
    if not images or metric.better == "none" or not _problems(summaries):
        return []
    from ldsmc_bench.report import statistics
    from ldsmc_bench.report.tables.content import Cell, rank
    from ldsmc_bench.report.tables.layout import Metric

    tables = [statistics.by_image([s["run_id"]], images, metric.name) for s in summaries]
    cells = [Cell(statistics.mean(t), by_image=t.mean(axis=1)) if len(t) else Cell() for t in tables]
    for places in _problems(summaries):
        rank(Metric.model_validate(metric.name), [cells[i] for i in places])
    return cells


def _marked(texts: Sequence[str], cells: Sequence["Cell"]) -> list[str]:
    """The texts with their marks, all as wide as if they had one."""
    if not any(cell.mark for cell in cells):
        return list(texts)
    marks = [BEST if cell.mark == "best" else TIED if cell.like_best else " " for cell in cells]
    return [f"{text} {mark}" for text, mark in zip(texts, marks, strict=True)]


def _effective_sizes(summaries: Sequence[Summary], images: "Images") -> list[str]:
    """`1.2 of 5`: the mean over steps and images; empty where no run has particles."""
    cells = []
    for summary in summaries:
        rows, particles = images.get(summary["run_id"]), summary.get("particles", 1)
        if rows is None or particles == 1 or "diagnostics.ess" not in rows:
            cells.append(MISSING)
        else:
            cells.append(f"{rows['diagnostics.ess'].mean():.1f} of {particles}")
    return cells if any(cell != MISSING for cell in cells) else []


def _findings(
    metric: Protocol, summaries: Sequence[Summary], names: Sequence[str], cells: Sequence["Cell"]
) -> list[str]:
    """A sentence for each problem, one for seeds in which it is the same: which run is best, which are not
    distinguishable from it, and which are worse."""
    from ldsmc_bench.report.statistics import LEAST

    several = [key for key in PROBLEM if len({str(summary.get(key)) for summary in summaries}) > 1]
    seeds: dict[tuple[str, str], list[str]] = {}  # of each sentence, with its place
    for places in _problems(summaries):
        best = [names[i] for i in places if cells[i].mark == "best"]
        tied = [names[i] for i in places if cells[i].like_best]
        others = [(names[i], cells[i].power) for i in places if not cells[i].like_best and cells[i].mark != "best"]
        worse = [name for name, power in others if power and power.n]
        if best and (tied or worse):
            n = min(estimate.n for i in places if (estimate := cells[i].estimate))
            few = f" (no test can with fewer than {LEAST})" if n < LEAST else ""
            what = f"{_listed(best)} best in {metric.label}; not distinguishable from it: {_listed(tied) or 'none'}"
            if not worse:
                what = f"nothing is distinguishable from the best in {metric.label}, {_listed(best)}{few}"
            task, dataset, seed = (_label(key, summaries[places[0]]) for key in PROBLEM)
            where = ", ".join([task, *[dataset] * ("dataset" in several), f"{n} image{'s' * (n > 1)}"])
            seeds.setdefault((where, what + (f"; worse: {_listed(worse)}" if worse else "")), []).append(seed)
    of_seeds = ", seed " * ("seed" in several)
    return [f"{where}{of_seeds}{', '.join(of) * bool(of_seeds)}: {what}" for (where, what), of in seeds.items()]


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`; only the number of many."""
    if len(names) > MOST:
        return f"{len(names)} others"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def with_error(value: float | None, error: float | None, digits: int, floor: float = -math.inf) -> str:
    """`24.13 ± 0.21`, `24.13 ± <0.01` where the error's digits would be zeros; `--` without a value.

    The value alone where there is no error, or none but rounding's; so too a count of calls, to its last digit.
    """
    if value is None:
        return MISSING
    shown, printed = number(value, digits, floor), number(error or 0.0, digits)
    if error is None or error <= 1e-9 * abs(value) or (not digits and not float(printed)):
        return shown
    return f"{shown} ± {printed if float(printed) else f'<{10.0**-digits:.{digits}f}'}"


def _footnotes(metrics: Sequence[Protocol], summaries: Sequence[Summary]) -> list[str]:
    sets = ", ".join(metric.label for metric in metrics if metric.per == "set")
    bootstrap = f" ({sets}: bootstrap)" if sets else ""
    lines = [f"mean ± standard error over images{bootstrap}; calls of networks are per image, forward/backward"]
    lines += [f"* {metric.network}, not LPIPS / Inception-FID" for metric in metrics if metric.label.endswith("*")]
    if references := dict.fromkeys(s["sets"]["reference"] for s in summaries if "fid_clean" in s["sets"]):
        against = " or ".join(references)
        lines.append(f"FID, KID: clean-fid's features; all images in the last column, against {against}")
    lines += [f"skipped: {s['skipped']}" for s in summaries if s.get("skipped")]
    lines += [f"warning: {s['sets']['warning']}" for s in summaries if s["sets"].get("warning")]
    return list(dict.fromkeys(lines))


def _metric(metric: Protocol, summary: Summary) -> str:
    sets = summary["sets"]
    if metric.per == "set":
        return with_error(sets.get(metric.name), sets.get(f"{metric.name}_se"), metric.digits)
    return _mean(summary["metrics"], metric.name, metric.digits)


def _mean(means: Mapping[str, Any], name: str, digits: int) -> str:
    mean = means.get(name, {})
    return with_error(mean.get("mean"), mean.get("se"), digits)


def _calls(network: str, summary: Summary) -> str:
    """`forward/backward`, rounded: a call's share need not be whole."""
    return "/".join(_mean(summary["cost"], f"{network}_{way}", 0) for way in ("forward", "backward"))


def _images(summary: Summary) -> str:
    lost = ", ".join(f"{summary[f'n_{what}']} {what}" for what in ("failed", "skipped") if summary[f"n_{what}"])
    return f"{summary['n']} ({lost})" if lost else str(summary["n"])


COST: dict[str, Callable[[Summary], str]] = {
    "s/image": lambda summary: _mean(summary["cost"], "seconds", 2),
    **{f"{network} calls": partial(_calls, network) for network in ("denoiser", "decoder", "encoder")},
    "images": _images,
}
