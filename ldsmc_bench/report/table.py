"""The table of finished runs that a sweep ends with in the terminal."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ldsmc_bench.records.summary import IDENTITY
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol
from ldsmc_bench.text import text_table

Summary = Mapping[str, Any]
MISSING = "--"


def table(summaries: Sequence[Summary], *, width: int = 160) -> str:
    """One row for each summary (see `summarise`), in the order given, beginning with the labels that vary.

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
    columns = {key: [str(s.get(key, MISSING)) for s in summaries] for key in varying}
    columns |= {metric.label: [_metric(metric, s) for s in summaries] for metric in metrics}
    columns |= {heading: [cell(s) for s in summaries] for heading, cell in COST.items()}
    body = text_table(columns, repeat=len(varying), width=width, rule=True)
    return "\n".join([" ".join(shared), body, *_footnotes(metrics, summaries)]) + "\n"


def with_error(value: float | None, error: float | None, digits: int) -> str:
    """`24.13 ± 0.21`; the value alone without an error, `--` without a value."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def _footnotes(metrics: Sequence[Protocol], summaries: Sequence[Summary]) -> list[str]:
    sets = ", ".join(metric.label for metric in metrics if metric.per == "set")
    bootstrap = f" ({sets}: bootstrap)" if sets else ""
    lines = [
        f"mean ± standard error over images{bootstrap}; denoiser, decoder, encoder: calls per image, forward/backward"
    ]
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
    """`forward/backward`, rounded (a call's share need not be whole); only a count that varies has an error to show."""
    counts = []
    for direction in ("forward", "backward"):
        mean = summary["cost"].get(f"{network}_{direction}", {})
        error = mean.get("se")
        counts.append(with_error(mean.get("mean"), error if error and error >= 0.5 else None, 0))
    return "/".join(counts)


def _images(summary: Summary) -> str:
    lost = ", ".join(f"{summary[f'n_{what}']} {what}" for what in ("failed", "skipped") if summary[f"n_{what}"])
    return f"{summary['n']} ({lost})" if lost else str(summary["n"])


COST: dict[str, Callable[[Summary], str]] = {
    "s/image": lambda summary: _mean(summary["cost"], "seconds", 2),
    **{network: partial(_calls, network) for network in ("denoiser", "decoder", "encoder")},
    "images": _images,
}
