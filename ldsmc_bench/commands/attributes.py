"""Part of `calibration`: what draws show of the attributes that the measurement hides, as a table and figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context

from ldsmc_bench.calibration import figures
from ldsmc_bench.calibration.judge import DrawSet
from ldsmc_bench.calibration.reliability import Readings, Reliability, reliability
from ldsmc_bench.calibration.sbc import Uniformity, sbc_values, uniformity
from ldsmc_bench.files import write_file
from ldsmc_bench.noise import Noise
from ldsmc_bench.report.figures.plot import LOOK, figure_text, save
from ldsmc_bench.text import number, text_table

READ = "read rightly, % of each class"
HEADINGS = {"brier": "Brier", "log_score": "log score", "ece": "ECE", "ece_floor": "floor", "read": READ}


def judge_attributes(
    world: ModuleType, results_dir: Path, end: str, title: str, drawn: Mapping[str, Sequence[DrawSet]]
) -> Iterator[str]:
    """Judge what draws show of the attributes that the measurement hides: a table a run, and of all runs a CSV file, a
    figure of their reliability, one of each run's attributes pooled, and one of the ranks of their log-odds.

    `world` has the functions `readings` and `scores` of `toyfaces.semantics`.
    """
    rows: list[dict[str, Any]] = []
    curves, pooled = dict[str, Reliability](), dict[str, Reliability]()
    ranks: dict[str, dict[str, Uniformity]] = {}
    for name, images in drawn.items():
        found = world.readings(
            {one.image_id: one.draws() for one in images}, {one.image_id: one.hidden() for one in images}
        )
        if not found:  # in enough images
            continue
        scores = world.scores(found)
        yield f"\n{title}, {name}: attributes that the measurement hides. A calibrated sampler has the ECE `floor` on"
        yield f"average, and one as high as here with probability p.\n\n{attribute_table(scores)}"
        rows += [{"method": name, **row} for row in scores]
        pooled[figure_text(name)] = reliability(list(found.values()))
        noise = {one.image_id: one.noise() for one in images}
        for attribute, one in found.items():
            panel = figure_text(f"{name}: {attribute}".replace("_", " "))
            curves[panel] = reliability([one])
            ranks[panel] = {of: uniformity(ranked) for of, ranked in ranks_of_odds(one, attribute, noise).items()}
    if not rows:
        return
    path = results_dir / "tables" / f"attributes-{end}.csv"
    write_file(path, pd.DataFrame(rows).to_csv(index=False).encode())
    yield f"table: {path}"
    folder = results_dir / "figures"
    with rc_context(LOOK):
        for panels, stem, heading in ((curves, end, title), (pooled, f"{end}-pooled", f"{title}: all attributes")):
            figure = figures.reliability_curves(panels, heading)
            yield f"figure: {save(figure, folder, f'reliability-{stem}')}"
        figure = figures.rank_differences(ranks, f"{title}: ranks of attributes' log-odds")
        yield f"figure: {save(figure, folder, f'sbc-attributes-{end}')}"


def attribute_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `semantics.scores` for the terminal."""
    columns = {HEADINGS.get(key, key): [_cell(key, row[key]) for row in scores] for key in scores[0]}
    return text_table(columns, left=("attribute", READ), rule=True)


def _cell(key: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return number(value, 3, floor=0.001) if key == "p" else number(value, 3)


def ranks_of_odds(readings: Readings, attribute: str, noise: Mapping[str, Noise]) -> dict[str, np.ndarray]:
    """The values (n,) of SBC of the log-odds of each class, as the network reads them from truth and draws alike."""
    assert readings.odds is not None
    values = []
    for image_id, odds in zip(readings.ids, readings.odds, strict=True):
        [generator] = noise[image_id].numpy(f"ranks/{attribute}")
        values.append(sbc_values(odds[1:], odds[0], generator))
    return {f"class {which}": ranked for which, ranked in enumerate(np.stack(values).T)}
