"""`python -m ldsmc_bench.rescore`: the metrics that finished runs lack, computed from their saved pictures.

After metrics' files were fetched, or a data set's reference statistics made. What a record has already stays as it is.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.errors import UserError
from ldsmc_bench.pose import pixels
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.records.jobs import jobs
from ldsmc_bench.records.store import Store, amend, outcomes, read, read_image, runs
from ldsmc_bench.run import conclude
from ldsmc_bench.scoring.choice import image_metrics
from ldsmc_bench.scoring.paired import ImageMetric, compared
from ldsmc_bench.settings import made


def main(arguments: Sequence[str] | None = None) -> int:
    """Rescore every run; the exit code is 0, or 2 if one of them could not be."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.rescore", description=__doc__)
    parser.add_argument("results_dir", nargs="?", default="results", help="the folder that holds runs/ and logs/")
    parser.add_argument("--root", help="where the pictures of the data set are, if not where they were")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    metrics = cache(lambda side: image_metrics(side, device))  # networks are loaded once, for all runs
    code = 0
    try:
        configurations = configured(Path(options.results_dir))
        stores = runs(options.results_dir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for store in stores:
        try:
            print(f"{store.run_id}: {rescored(store, configurations.get(store.run_id), options.root, metrics, device)}")
        except UserError as error:
            print(f"error: {store.run_id}: {error}", file=sys.stderr)
            code = 2
    return code


def rescored(
    store: Store,
    cfg: DictConfig | None,
    root: str | None,
    metrics: Callable[[int], dict[str, ImageMetric]],
    device: torch.device,
) -> str:
    """Amend one run's records and its summary, and say what became of it."""
    records = [record for record in read(store) if record["status"] == "ok" and record["metrics"]]
    if not records:
        return "nothing is scored"
    if cfg is None:
        raise UserError("logs/ does not tell where its data set is; give the command of this run again, then this one")
    if cfg.dataset.name == "mixture":
        return "scored by its draws, not by its pictures"
    dataset = loaded(cfg, root)
    amended = 0
    for record in tqdm(records, desc=store.run_id, leave=False):
        image = _picture(store, record["image_id"])
        suited = metrics(image.shape[-1])
        lacking = {name: metric for name, metric in suited.items() if name not in record["metrics"]}
        if not lacking:
            continue
        found = record["metrics"] | compared(image, pixels(dataset.load(record["image_id"]))[None], lacking)
        names = [name for name in (*suited, *found) if name in found]  # in the order of a fresh record
        if found.keys() != record["metrics"].keys():
            amend(store, {**record, "metrics": {name: found[name] for name in names}})
            amended += 1
    conclude(store, dataset, device)
    return f"{amended} of {len(outcomes(store))} records have more metrics now"


def configured(results_dir: Path) -> dict[str, DictConfig]:
    """How each run was asked for, from the logs of its jobs: of several, the one with most images."""
    found: dict[str, DictConfig] = {}
    for run_id, folder in jobs(results_dir):
        cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
        assert isinstance(cfg, DictConfig)
        if run_id not in found or found[run_id].n_images <= cfg.n_images:
            found[run_id] = cfg
    return found


def loaded(cfg: DictConfig, root: str | None) -> Dataset:
    """The data set of a job, its pictures at `root` if that is given."""
    if root is not None:
        OmegaConf.update(cfg, "dataset.root", root)
    node: Any = OmegaConf.to_container(cfg.dataset.load, resolve=True)
    return made(node)


def _picture(store: Store, image_id: str) -> Tensor:
    return torch.from_numpy(read_image(store, image_id)).permute(2, 0, 1)[None]


if __name__ == "__main__":
    sys.exit(main())
