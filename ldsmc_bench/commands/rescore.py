"""`ldsmc-bench rescore`: the metrics that finished runs lack, computed from their saved pictures.

After metrics' files were fetched, or a data set's reference statistics made. What a record has already stays as it is.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from ldsmc_bench.cli import Options, entry, going_on
from ldsmc_bench.records.problems import problem_of_run
from ldsmc_bench.records.store import Store, amend, draw_stores, outcomes, read, read_image, runs
from ldsmc_bench.running.conclude import conclude, find_truth
from ldsmc_bench.scoring.metrics import Size, image_metrics
from ldsmc_bench.scoring.paired import ImageMetric, compute_metrics


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Rescore every run; the exit code is 0, or 2 if one of them could not be."""
    parser = Options("rescore", __doc__, results_dir=True)
    parser.add_argument("folder", nargs="?", type=Path, metavar="R", help="the same, without a name")
    options = parser.read(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    metrics = cache(lambda side: image_metrics(side, device))  # networks are loaded once, for all runs
    failed: list[str] = []
    for store in runs(options.folder or options.results_dir):
        with going_on(failed, store.run_id):
            print(f"{store.run_id}: {rescore(store, metrics, device)}")
    return 2 if failed else 0


def rescore(store: Store, metrics: Callable[[Size], dict[str, ImageMetric]], device: torch.device) -> str:
    """Amend the records of all draws of one run, and its summary; returns an account of it."""
    problems, amended, total = problem_of_run(store), 0, 0
    suited: dict[str, ImageMetric] = {}  # to the pictures of the run, which are of one size
    for drawn in draw_stores(store):
        records = read(drawn)
        total += len(records)
        scored = [record for record in records if record["status"] == "ok" and record["metrics"]]
        if scored and not any("truth" in record for record in scored):
            return "scored by its draws, not by its pictures"
        for record in tqdm(scored, desc=drawn.run_id, leave=False):
            suited = suited or metrics(read_image(drawn, record["image_id"]).transpose(2, 0, 1).shape)
            lacking = {name: metric for name, metric in suited.items() if name not in record["metrics"]}
            if not lacking:
                continue
            image = torch.from_numpy(read_image(drawn, record["image_id"])).permute(2, 0, 1)[None]
            found = record["metrics"] | compute_metrics(image, find_truth(problems, None, record)[None], lacking)
            if found.keys() != record["metrics"].keys():
                names = [name for name in (*suited, *found) if name in found]  # in the order of a fresh record
                amend(drawn, {**record, "metrics": {name: found[name] for name in names}})
                amended += 1
    if not suited:
        return "nothing is scored"
    conclude(store, list(outcomes(store)), device, problems)
    return f"{amended} of {total} records have more metrics now"
