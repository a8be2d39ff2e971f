"""What one W&B run shows, a run of the store or one shard of it, and the notes that tell how far it is sent.

The notes lie in `results_dir/wandb`, beside the folders that wandb writes there:

    <run_id>.problem.json  the configuration and the image ids, so that anyone can pose the problem again and show it
    <name>.rows            which rows of its history a W&B run has, one line each
    <run_id>.json          that W&B has the run, as its summary said then
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from ldsmc_bench.records.publish import replace
from ldsmc_bench.records.status import requested
from ldsmc_bench.records.store import Store

Mode = Literal["online", "offline"]
PANEL = 16  # images of the panel: the first of the data set, so that all runs show the same ones


class Problem(TypedDict):
    """How a run's measurements are made: the resolved configuration, and the ids of all images asked for."""

    config: dict[str, Any]
    ids: list[str]


@dataclass(frozen=True)
class Part:
    """A run, or one shard of it.

    Shards are W&B runs of their own: several writers of one W&B run need wandb's mode "shared", which is experimental
    and has no offline files. The run's id is their group, and the shard that ends last sends the run itself.
    """

    store: Store
    shard: int = 0
    shards: int = 1

    @property
    def name(self) -> str:
        """The id of the W&B run."""
        return self.store.run_id + (f"-shard{self.shard}of{self.shards}" if self.shards > 1 else "")

    @property
    def results_dir(self) -> Path:
        return self.store.root.parent.parent

    def ids(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of a run's images that are this part's."""
        return ids[self.shard :: self.shards]


def keep_problem(store: Store, config: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Note how the run's measurements are made. Raises OSError if it cannot be written."""
    path = _note(store, ".problem.json")
    path.parent.mkdir(exist_ok=True)
    replace(path, json.dumps({"config": config, "ids": list(ids)}).encode())


def problem(store: Store) -> Problem | None:
    """How the run's measurements are made, where somebody noted it."""
    return cast(Problem | None, _read(_note(store, ".problem.json")))


def rows_path(part: Part) -> Path:
    return part.results_dir / "wandb" / f"{part.name}.rows"


def complete(store: Store) -> dict[str, Any] | None:
    """The summary of a run, if it is of all images that were asked for."""
    summary, wanted = _read(store.root / "summary.json"), requested(store)
    if summary is None:
        return None
    images = sum(summary[key] for key in ("n", "n_failed", "n_skipped"))
    return summary if wanted is None or images >= wanted.ids else None


def remember(store: Store, mode: Mode) -> None:
    """Note that W&B has the run as its summary now says."""
    replace(_note(store, ".json"), (json.dumps({"mode": mode, "summary": _digest(store)}) + "\n").encode())


def stands(store: Store, mode: str) -> bool:
    """Whether W&B has the run as its summary now says; one that is online need not go offline."""
    note = _read(_note(store, ".json"))
    try:
        return note is not None and note["summary"] == _digest(store) and note["mode"] in (mode, "online")
    except (OSError, KeyError):
        return False


def _digest(store: Store) -> str:
    return hashlib.sha256((store.root / "summary.json").read_bytes()).hexdigest()


def _note(store: Store, end: str) -> Path:
    return Part(store).results_dir / "wandb" / f"{store.run_id}{end}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
