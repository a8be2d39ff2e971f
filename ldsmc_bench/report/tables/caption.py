"""The caption of a table and the lines under it: its runs, the meaning of ± and of the marks, power, and run ids."""

import math
from collections.abc import Sequence

from ldsmc_bench.report.select import display_name, sort_key
from ldsmc_bench.report.statistics import LEAST, LEVEL
from ldsmc_bench.report.tables.content import Cell, Row, Table, format_value
from ldsmc_bench.scoring.protocols import PROTOCOLS

PUBLISHED = (
    "Grey: numbers of arXiv 2502.05908, on other images and not ranked; how its FID and LPIPS are computed is unknown."
)
FACTS = ("dataset", "prior", "variant", "task", "steps", "particles", "task.noise_std", "precision")
MOST = 4  # values of a setting that are listed


def caption(table: Table) -> list[str]:
    """The sentences of the caption, with ± and † as they are, to be escaped by the typesetter."""
    cells = [row.cells.get(place, Cell()) for row in table.rows if not row.published for place in table.places]
    estimates = [cell.estimate for cell in cells if cell.estimate]
    sizes, seeds = sorted({estimate.n for estimate in estimates}), sorted({int(seed) for seed in table.runs.seed})
    images = f"N = {_range(sizes)} images" if sizes else "no image"
    numbers = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    facts = ", ".join([*_settings(table), images, numbers])
    sentences = [f"{table.layout.title.rstrip('.')}.", f"{facts[0].upper()}{facts[1:]}."]
    if any(estimate.se for estimate in estimates):
        over = "images and seeds" if any(estimate.seeds > 1 for estimate in estimates) else "images"
        sets = ", ".join(metric.label for metric in table.metrics if metric.of_sets)
        bootstrap = f" ({sets}: bootstrap over images)" if sets else ""
        sentences.append(f"Mean ± one standard error over {over}{bootstrap}.")
    if any(cell.mark for cell in cells):
        sentences.append(f"Best in bold, second underlined, in each column{' of a block' * bool(table.layout.blocks)}.")
    if alike := [cell for cell in cells if cell.like_best]:
        paired, of_sets = (any((cell.by_image is None) is which for cell in alike) for which in (False, True))
        tests = ["normal test with the bootstrap standard errors as if independent"] * of_sets
        tests = ["Wilcoxon signed-rank test on common images"] * paired + tests
        sentences.append(
            f"† not distinguishable from the best ({'; '.join(tests)}; Holm over the column, level {LEVEL})."
        )
    sentences += _power(table)
    if any(cell.estimate is None for cell in cells):
        sentences.append("-- no number.")
    if absent := [metric.label for metric in table.layout.metrics if metric not in table.metrics]:
        sentences.append(f"No run has {', '.join(absent)}.")
    return [*sentences, *([PUBLISHED] if any(row.published for row in table.rows) else [])]


def protocols(table: Table) -> list[str]:
    """How each metric is computed."""
    return [f"{metric.label}: {PROTOCOLS[metric.name].how}." for metric in table.metrics if metric.name in PROTOCOLS]


def choices(table: Table) -> list[str]:
    """The run ids of each row, where only settings that the layout does not name distinguish rows."""
    if not table.split:
        return []
    how = f"Rows differ in {', '.join(table.split)}; `runs` in {table.layout.name}.yaml selects among them:"
    own = [row for row in table.rows if not row.published]
    run_ids = [sorted({run_id for cell in row.cells.values() for run_id in cell.run_ids}) for row in own]
    return [how, *(f"{_label(table, row)}: {', '.join(ids)}." for row, ids in zip(own, run_ids, strict=True))]


def _power(table: Table) -> list[str]:
    """The smallest differences from the best that are detected in the first metric of images with a comparison."""
    for metric in table.metrics:
        cells = [cell for row in table.rows for (_, name), cell in row.cells.items() if name == metric.name]
        if pairs := [cell.power for cell in cells if cell.power and cell.power.n]:
            found = sorted((power.smallest, power.n) for power in pairs if math.isfinite(power.smallest))
            if not found:
                return [f"Fewer than {LEAST} images detect no difference."]
            images = _range(sorted(n for _, n in found))
            protocol = PROTOCOLS.get(metric.name)
            unit = f" {protocol.unit}" if protocol and protocol.unit and metric.times == 1 else ""
            differences = _range([format_value(metric, smallest) for smallest, _ in found])
            how = f"80 % power in one comparison at level {LEVEL}"
            return [
                f"{images} images detect a difference from the best of {differences}{unit} in {metric.label} ({how})."
            ]
    return []


def _range(values: Sequence[object]) -> str:
    """`7 to 8` of sorted values, `8` where they are equal."""
    return " to ".join(map(str, dict.fromkeys((values[0], values[-1]))))


def _settings(table: Table) -> list[str]:
    """`dataset FFHQ`, `steps 100`: the settings that no row or column names."""
    facts = []
    for key in FACTS:
        if key in table.runs and key not in (*table.keys, *table.layout.blocks, table.layout.columns):
            values = sorted(table.runs[key].dropna().unique().tolist(), key=lambda value: sort_key(key, value))
            listed = ", ".join(display_name(key, value) for value in values) if len(values) <= MOST else "several"
            facts += [f"{key.rpartition('.')[2]} {listed}"] if values else []
    return facts


def _label(table: Table, row: Row) -> str:
    """`box inpainting, LD-SMC, particles 5`."""
    values = zip([*table.layout.blocks, *table.keys], [*row.block, *row.key], strict=True)
    own = ("method", "task", "dataset")  # named by their values alone
    named = [(key, display_name(key, value)) for key, value in values if value is not None]
    return ", ".join(name if key in own else f"{key.rpartition('.')[2]} {name}" for key, name in named)
