"""The run id of every method, variant, data set and task, pinned: code may be renamed and moved, ids stay.

Where a change of ids is meant, `python -m tests.records.test_golden_ids` writes the file anew, and the commit says why.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.config import weigh
from ldsmc_bench.files import CONF
from ldsmc_bench.mixture.law import mixture
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import choices, configured

WEIGHTED = [f"{name} weighted=true" for name in ("diffpir", "dps", "lgd", "mmps", "pigdm", "tmpd")]
GOLDEN = Path(__file__).with_name("golden_ids.json")
ONE_TASK = {"kde_faces": "linear", "empirical": "linear"}  # whose posterior is known
AS_FOLDER = ("huggingface", "webdataset")  # pictures that are known by a path or a name, as those of a folder


def ids() -> dict[str, Any]:
    """The hash of each run id by method, data set, variant and task, for a prior and data set of fixed digest."""
    tasks = {name: load("task", name) for name in choices("task")}
    return {
        method: {
            name: {
                variant: ids_of(composed(method, variant), name, tasks)
                for variant in choices(f"variant/{method.split()[0]}")
            }
            for name in choices("dataset")
            if name not in AS_FOLDER
        }
        for method in [*choices("method"), *WEIGHTED]
    }


def composed(method: str, variant: str) -> DictConfig:
    cfg = configured(*f"method={method}".split(), f"variant={variant}")
    if cfg.weighted:
        weigh(cfg)
    return cfg


def ids_of(cfg: DictConfig, dataset: str, tasks: Mapping[str, Any]) -> dict[str, str]:
    """Those of a variant on one data set. Exchanging files in one composition takes a fraction of composing each."""
    OmegaConf.set_struct(cfg, False)
    default = load(f"prior/{dataset}", cfg.prior.name.replace("ldm", "latent").removesuffix("_toyfaces")).defaults[0]
    cfg.dataset, cfg.prior = load("dataset", dataset), load("prior", default.split("@")[0].removeprefix("/prior/"))
    measurement = OmegaConf.to_container(cfg.measurement)
    fixed = cast(Any, SimpleNamespace(digest="golden"))
    found: dict[str, str] = {}
    samples: dict[str, Any] = {}  # tasks that share a row of the tables share their arguments
    for name in [ONE_TASK[dataset]] if dataset in ONE_TASK else cfg.dataset.get("task", tasks):
        cfg.task = tasks[name]
        if cfg.task.tuning not in samples:
            samples[cfg.task.tuning] = OmegaConf.to_container(cfg.method.sample, resolve=True)
        config: dict[str, Any] = {
            "method": {"name": cfg.method.name, "version": cfg.method.version, "sample": samples[cfg.task.tuning]},
            "task": OmegaConf.to_container(cfg.task, resolve=True),
            "measurement": measurement,
            **{part: {"name": cfg[part].name} for part in ("dataset", "prior")},
            **{part: cfg[part] for part in ("seed", "precision")},
        }
        found[name] = run_id(identify(config, fixed, fixed)).rpartition("-")[2]
    return found


@cache  # OmegaConf copies what it is given
def load(group: str, name: str) -> Any:
    return OmegaConf.load(CONF / group / f"{name}.yaml")


def test_no_id_has_changed() -> None:
    golden = json.loads(GOLDEN.read_text())
    now = ids()
    assert now.keys() == golden.keys()
    changed = [
        f"{method} {dataset} {variant} {task}"
        for method, datasets in golden.items()
        for dataset, variants in datasets.items()
        for variant, tasks in variants.items()
        for task, digest in tasks.items()
        if now[method].get(dataset, {}).get(variant, {}).get(task) != digest
    ]
    assert changed == []
    assert now == golden, "something new has no pinned id yet"


def test_no_digest_of_an_embedded_data_set_has_changed() -> None:
    assert toyfaces().digest[:12] == "57b44ed60487"
    assert mixture("lattice", 8, 0).digest[:12] == "d01a00532dff"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(ids(), indent=1) + "\n")
