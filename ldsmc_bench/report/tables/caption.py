"""The words of a table: a caption of two lines; in full its runs, the meaning of ± and of marks, power, and run ids."""

import math
from collections.abc import Iterable, Sequence

from ldsmc_bench.report.select import display_name, sort_key
from ldsmc_bench.report.statistics import LEAST, LEVEL, UNPAIRED, Estimate
from ldsmc_bench.report.tables.content import Cell, Row, Table, format_value, seeds_text
from ldsmc_bench.report.tables.layout import Metric
from ldsmc_bench.scoring.protocols import PROTOCOLS

PUBLISHED = (
    "Published: arXiv 2502.05908, on other images and not ranked; how its FID and LPIPS are computed is unknown."
)
FACTS = ("dataset", "split", "prior", "variant", "task", "steps", "particles", "task.noise_std", "precision")
MOST = 4  # values of a setting that are listed


def caption(table: Table) -> str:
    """Two lines for a paper, with ± and † as they are, to be escaped by the typesetter; `details` has the rest."""
    cells = _cells(table)
    steps = table.runs.steps.unique().tolist() if "steps" not in table.layout.named else []
    facts = [table.layout.title.rstrip("."), _images(cells), *[f"{steps[0]} steps"] * (len(steps) == 1)]
    ties = " († ties)" * any(cell.dagger for cell in cells)
    signs = [f"best bold{ties}, second underlined"] if any(cell.mark for cell in cells) else []
    signs += ["±\xa0s.e."] if table.has_errors else []
    second = "; ".join(signs)
    return f"{', '.join(facts)}. {second[:1].upper()}{second[1:].removesuffix('.')}{'.' * bool(signs)}".strip()


def details(table: Table) -> list[str]:
    """The sentences on a table's runs, errors and tests, with ± and † as they are."""
    cells = _cells(table)
    estimates, seeds = [cell.estimate for cell in cells if cell.estimate], sorted({int(s) for s in table.runs.seed})
    facts = ", ".join([*_settings(table), _images(cells), seeds_text(seeds)])
    sentences = [f"{table.layout.title.rstrip('.')}.", f"{facts[0].upper()}{facts[1:]}."]
    if table.has_errors:
        sentences.append(f"{errors(estimates, table.metrics)}.")
        if any(estimate.seeds > 1 for estimate in estimates):
            sentences.append("Parts of images, seeds and the rest (two-way analysis of variance) add in squares.")
    if any(cell.mark for cell in cells):
        sentences.append(f"Best in bold, second underlined, in each column{' of a block' * bool(table.layout.blocks)}.")
    if alike := [cell for cell in cells if cell.dagger]:
        tests = ["Wilcoxon signed-rank test on common images"] * any(cell.by_image is not None for cell in alike)
        tests.append(f"Holm over the column, level {LEVEL}")
        sentences.append(f"† not distinguishable from the best ({'; '.join(tests)}).")
    if (sets := ", ".join(metric.label for metric in table.metrics if metric.of_sets)) and any(c.mark for c in cells):
        sentences.append(f"{sets}: {UNPAIRED}.")
    sentences += [*power_sentences(table), *_doubts(table)]
    if any(cell.estimate is None for cell in cells):
        sentences.append("-- no number.")
    if absent := [metric.label for metric in table.layout.metrics if metric not in table.metrics]:
        sentences.append(f"No run has {', '.join(absent)}.")
    sentences += [f"{table.left_out[0].upper()}{table.left_out[1:]}."] if table.left_out else []
    return [*sentences, *([PUBLISHED] if any(row.published for row in table.rows) else [])]


def errors(estimates: Iterable[Estimate], metrics: Iterable[Metric]) -> str:
    """The meaning of ± and of bars, in tables and in figures."""
    over = "images and seeds" if any(estimate.seeds > 1 for estimate in estimates) else "images"
    sets = ", ".join(metric.label for metric in metrics if metric.of_sets)
    return f"Mean ± one standard error over {over}{f' ({sets}: bootstrap over images)' if sets else ''}"


def protocols(metrics: Iterable[Metric]) -> list[str]:
    """The computation of each metric, a sentence each."""
    return [f"{metric.label}: {metric.how}." for metric in metrics if metric.how]


def choices(table: Table) -> list[str]:
    """The run ids of each row, where only settings that the layout does not name distinguish rows."""
    if not table.split:
        return []
    how = f"Rows differ in {', '.join(table.split)}; `where` selects among them:"
    own = [row for row in table.rows if not row.published]
    run_ids = [sorted({run_id for cell in row.cells.values() for run_id in cell.run_ids}) for row in own]
    return [how, *(f"{_label(table, row)}: {', '.join(ids)}." for row, ids in zip(own, run_ids, strict=True))]


def _cells(table: Table) -> list[Cell]:
    return [row.cells.get(place, Cell()) for row in table.rows if not row.published for place in table.places]


def _images(cells: Sequence[Cell]) -> str:
    return images(cell.estimate for cell in cells if cell.estimate)


def images(estimates: Iterable[Estimate]) -> str:
    """`64 images`, `7 to 8 images` where some are over more or fewer."""
    sizes = sorted({estimate.n for estimate in estimates})
    return f"{_range(sizes)} image{'s' * (sizes[-1] > 1)}" if sizes else "no image"


def power_sentences(table: Table) -> list[str]:
    """The smallest differences from the best that are detected in each metric of images with a comparison."""
    sizes: set[int] = set()
    named, compared = [], False
    for metric in table.metrics:
        cells = [cell for row in table.rows for (_, name), cell in row.cells.items() if name == metric.name]
        pairs = [cell.power for cell in cells if cell.power and cell.power.n]
        compared = compared or bool(pairs)
        if found := sorted((one.smallest, one.n) for one in pairs if 0 < one.smallest < math.inf):
            sizes |= {n for _, n in found}
            protocol = PROTOCOLS.get(metric.name)
            unit = f" {protocol.unit}" if protocol and protocol.unit and metric.times == 1 else ""
            named.append(f"{_range([format_value(metric, one) for one, _ in found])}{unit} in {metric.label}")
    if not named:
        return [f"Fewer than {LEAST} images detect no difference."] if compared else []
    how = f"80 % power in one comparison at level {LEVEL}"
    return [f"{_range(sorted(sizes))} images detect a difference from the best of {', '.join(named)} ({how})."]


def _doubts(table: Table) -> list[str]:
    """The warnings of runs that speak of the table's set metrics, such as that FID is biased on few images."""
    names = [metric.label.rstrip("*") for metric in table.metrics if metric.of_sets]
    texts = [text for text in table.runs.get("sets.warning", ()) if isinstance(text, str)]
    parts = dict.fromkeys(part for text in texts for part in text.split("; ") if any(name in part for name in names))
    return [f"{part[0].upper()}{part[1:]}." for part in parts]


def _range(values: Sequence[object]) -> str:
    """`7 to 8` of sorted values, `8` where they are equal."""
    return " to ".join(map(str, dict.fromkeys((values[0], values[-1]))))


def _settings(table: Table) -> list[str]:
    """`dataset FFHQ`, `steps 100`, `N=5`: the settings that no row or column names."""
    facts, columns = [], [*table.layout.blocks, *table.shown_keys, table.layout.columns]
    for key in FACTS:
        if key in table.runs and key not in columns:
            values = sorted(table.runs[key].dropna().unique().tolist(), key=lambda value: sort_key(key, value))
            listed = ", ".join(display_name(key, value) for value in values) if len(values) <= MOST else "several"
            name = "N=" if key == "particles" else f"{key.rpartition('.')[2]} "
            facts += [f"{name}{listed}"] if values else []
    return facts


def _label(table: Table, row: Row) -> str:
    """`box inpainting, LD-SMC, particles 5`."""
    values = zip([*table.layout.blocks, *table.keys], [*row.block, *row.key], strict=True)
    own = ("method", "task", "dataset")  # named by their values alone
    named = [(key, display_name(key, value)) for key, value in values if value is not None]
    return ", ".join(name if key in own else f"{key.rpartition('.')[2]} {name}" for key, name in named)
