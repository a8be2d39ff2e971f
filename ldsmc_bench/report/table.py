"""The table of finished runs that a sweep ends with in the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ldsmc_bench.report.summary import IDENTITY
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol

Summary = Mapping[str, Any]
MISSING = "--"
ALWAYS = ("psnr", "ssim", "misfit")
STARRED = tuple(name for name in PROTOCOLS if name.startswith("toyfaces_"))


def table(summaries: Sequence[Summary], *, width: int = 160) -> str:
    """One row for each summary (see `summarise`), in the order given; what varies between runs comes first.

    What all runs share stands above. Columns that do not fit into `width` characters follow in further blocks, each
    with the runs' names repeated. A missing number is `--`; a metric of a network that no run has is left out. Why
    methods skipped tasks, and warnings of the set metrics, follow the footnote, each once. Raises ValueError without
    summaries.
    """
    if not summaries:
        raise ValueError("a table needs at least one run")
    keys = [key for key in IDENTITY if key != "run_id"]
    varying = [key for key in keys if len({str(s.get(key)) for s in summaries}) > 1]
    if len({tuple(s.get(key) for key in varying) for s in summaries}) < len(summaries):
        # runs that differ in their settings only are told apart by what was asked of them, if the caller knows that
        varying.append("asked" if all("asked" in s for s in summaries) else "run_id")
    shared = [f"{key}={summaries[0][key]}" for key in keys if key not in varying and key in summaries[0]]
    names = [_aligned(key, [str(s.get(key, MISSING)) for s in summaries]) for key in varying]
    metrics = _shown(summaries)
    cells = {metric.label: _set_metric(metric) if metric.per == "set" else _metric(metric) for metric in metrics} | COST
    columns = [_aligned(heading, [cell(s) for s in summaries]) for heading, cell in cells.items()]
    blocks = ["\n".join(_block(block)) for block in _fitting(names, columns, width)]
    return (
        "\n".join([" ".join(shared), "\n\n".join(blocks), *_footnote(metrics, summaries), *_warnings(summaries)]) + "\n"
    )


def with_error(value: float | None, error: float | None, digits: int) -> str:
    """`24.13 ± 0.21`; the value alone without an error, `--` without a value."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def _shown(summaries: Sequence[Summary]) -> list[Protocol]:
    """The metrics that any run has, in the order of columns; toyfaces' together, and also where no other is there."""
    had = {name for s in summaries for name in (*s["metrics"], *s["sets"])} & PROTOCOLS.keys()
    if "sw1_ratio" in had:  # of problems that are known; there are no images
        return [PROTOCOLS[name] for name in PROTOCOLS if name in had]
    if had.intersection(STARRED) or had <= set(ALWAYS):
        had.update(STARRED)
    order = [*(name for name in PROTOCOLS if name != "misfit"), "misfit"]
    return [PROTOCOLS[name] for name in order if name in had.union(ALWAYS)]


def _footnote(metrics: Sequence[Protocol], summaries: Sequence[Summary]) -> list[str]:
    sets = ", ".join(metric.label for metric in metrics if metric.per == "set")
    lines = [
        f"mean ± standard error over images{f' ({sets}: bootstrap)' if sets else ''}; "
        "denoiser, decoder, encoder: calls per image, forward/backward"
    ]
    if PROTOCOLS["toyfaces_fid"] in metrics:
        lines.append("* toyfaces feature network, not LPIPS / Inception-FID")
    if PROTOCOLS["fid_clean"] in metrics:
        references = dict.fromkeys(s["sets"]["reference"] for s in summaries if "fid_clean" in s["sets"])
        lines.append(
            f"FID, KID: clean-fid's features; all images in the last column, against {' or '.join(references)}"
        )
    return lines


def _metric(metric: Protocol) -> Callable[[Summary], str]:
    def cell(summary: Summary) -> str:
        mean = summary["metrics"].get(metric.name, {})
        return with_error(mean.get("mean"), mean.get("se"), metric.digits)

    return cell


def _set_metric(metric: Protocol) -> Callable[[Summary], str]:
    def cell(summary: Summary) -> str:
        sets = summary["sets"]
        return with_error(sets.get(metric.name), sets.get(f"{metric.name}_se"), metric.digits)

    return cell


def _seconds(summary: Summary) -> str:
    mean = summary["cost"].get("seconds", {})
    return with_error(mean.get("mean"), mean.get("se"), 2)


def _calls(network: str) -> Callable[[Summary], str]:
    """`forward/backward`, rounded (a call's share need not be whole); only a count that varies has an error to show."""

    def count(summary: Summary, direction: str) -> str:
        mean = summary["cost"].get(f"{network}_{direction}", {})
        error = mean.get("se")
        return with_error(mean.get("mean"), error if error and error >= 0.5 else None, 0)

    return lambda summary: f"{count(summary, 'forward')}/{count(summary, 'backward')}"


def _images(summary: Summary) -> str:
    lost = ", ".join(f"{summary[f'n_{what}']} {what}" for what in ("failed", "skipped") if summary[f"n_{what}"])
    return f"{summary['n']} ({lost})" if lost else str(summary["n"])


COST: dict[str, Callable[[Summary], str]] = {
    "s/image": _seconds,
    "denoiser": _calls("denoiser"),
    "decoder": _calls("decoder"),
    "encoder": _calls("encoder"),
    "images": _images,
}


def _aligned(heading: str, cells: Sequence[str]) -> list[str]:
    width = max(map(len, (heading, *cells)))
    return [text.rjust(width) for text in (heading, *cells)]


def _fitting(names: list[list[str]], columns: list[list[str]], width: int) -> list[list[list[str]]]:
    """The columns in order, in as few blocks as the width allows; every block begins with the names."""
    blocks = [list(names)]
    for column in columns:
        if len(blocks[-1]) > len(names) and _width([*blocks[-1], column]) > width:
            blocks.append(list(names))
        blocks[-1].append(column)
    return blocks


def _block(columns: list[list[str]]) -> list[str]:
    """Lines of columns two spaces apart, a rule below the headings."""
    lines = ["  ".join(row) for row in zip(*columns, strict=True)]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _width(columns: list[list[str]]) -> int:
    return sum(len(column[0]) + 2 for column in columns) - 2


def _warnings(summaries: Sequence[Summary]) -> list[str]:
    skipped = dict.fromkeys(s.get("skipped") for s in summaries)
    warnings = dict.fromkeys(s["sets"].get("warning") for s in summaries)
    return [*(f"skipped: {why}" for why in skipped if why), *(f"warning: {what}" for what in warnings if what)]
