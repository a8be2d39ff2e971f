"""The problems that runs restore: `results_dir/problems/<problem_id>/`, kept once for all runs on them.

    problem.yaml             the problem's identity
    <column>/<image_id>.png  pictures of an image: its `truth`, its `measurement`, or what else its world can show
    y/<image_id>.npy         the measurement in full precision, where it is no picture
    observed/<image_id>.png  white where a mask leaves entries of the image, black where it hides them

Reports and metrics read truths and measurements here, and never compute them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import publish, replace, writing
from ldsmc_bench.records.identity import name_with_hash
from ldsmc_bench.records.pictures import files_of, npy, read_pixels
from ldsmc_bench.records.store import Store

OBSERVED = "observed"
PARTS = ("protocol", "task", "measurement", "dataset", "seed")  # of a run's identity


@dataclass(frozen=True)
class ProblemStore:
    """The folder of one problem."""

    root: Path

    @property
    def problem_id(self) -> str:
        return self.root.name


def _store(results_dir: Path, identity: Mapping[str, Any]) -> tuple[ProblemStore, dict[str, Any]]:
    """`problems/<task>-<dataset>-<hash>`, and its identity: what the measurements of a run depend on."""
    parts = {key: identity[key] for key in PARTS}
    return ProblemStore(results_dir / "problems" / name_with_hash(parts, ("task", "dataset"))), parts


def open_problem(results_dir: str | Path, identity: Mapping[str, Any]) -> ProblemStore:
    """The problem of a run with this identity, created if it is new. Raises UserError if it cannot be written."""
    store, parts = _store(Path(results_dir), identity)
    with writing(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        if not (path := store.root / "problem.yaml").exists():
            publish(path, yaml.safe_dump(parts, sort_keys=False, allow_unicode=True).encode())
    return store


def problem_of_run(run: Store) -> ProblemStore | None:
    """The problem that a run restores, kept or not; None where its config.yaml is damaged."""
    try:
        return _store(run.results_dir, yaml.safe_load((run.root / "config.yaml").read_text(encoding="utf-8")))[0]
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, UserError):
        return None


def keep_problem(
    store: ProblemStore, image_id: str, pictures: Mapping[str, NDArray[np.uint8]], y: NDArray[Any] | None = None
) -> None:
    """Keep the pictures of an image by their columns, uint8 (H,W,C), and its measurement `y` where it is no picture;
    others under this id, of a file that was exchanged, are replaced. Raises UserError if they cannot be written."""
    files: dict[Path, bytes] = {}
    for column, picture in pictures.items():
        files |= files_of(store.root / column / f"{image_id}.png", picture)
    if y is not None:
        files[store.root / "y" / f"{image_id}.npy"] = npy(y)
    with writing(store.root):
        for path, data in files.items():
            path.parent.mkdir(exist_ok=True)
            there = path.exists() or not publish(path, data)  # kept for another run: not written again
            if there and path.read_bytes() != data:
                replace(path, data)


def read_picture(store: ProblemStore, column: str, image_id: str) -> NDArray[np.uint8] | None:
    """A picture of an image, uint8 (H,W,C); None where it was not kept."""
    return read_pixels(store.root / column / f"{image_id}.png")


def columns(store: ProblemStore) -> list[str]:
    """The kinds of kept pictures, truth first; an empty list where `keep_problems` was false."""
    order = {"truth": 0, "measurement": 1}
    found = [path.name for path in store.root.glob("*/") if path.name not in ("y", OBSERVED)]
    return sorted(found, key=lambda column: (order.get(column, 2), column))
