"""The small pictures of every run, and the truths and measurements of every problem."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from tqdm import tqdm

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.identity import canonical
from ldsmc_bench.records.store import Store, image_path, read_image
from ldsmc_bench.report.page.problems import Pictures, posed
from ldsmc_bench.report.page.thumbnails import LARGEST, blocks, make_sheet, sheet_name

LOSSY, NEARLY_EXACT = 90, 95  # quality of a run's pictures, which the store has in full, and of those made here only


@dataclass(frozen=True)
class Problem:
    """Runs that restored the same measurements; `config` is the config.yaml of one of them, `side` that of pictures."""

    key: str
    config: Mapping[str, Any]
    side: int
    runs: list[str] = field(default_factory=list)


def sides(stores: Iterable[Store]) -> dict[str, int]:
    """By run id the side of the run's pictures, pixels; runs without any are left out."""
    found = {store.run_id: _side((store.root / "images").glob("[!.]*.png")) for store in stores}
    return {run_id: side for run_id, side in found.items() if side is not None}


def problems(stores: Iterable[Store], sides: Mapping[str, int]) -> list[Problem]:
    """What the runs with pictures restored: each set of measurements once."""
    found: dict[str, Problem] = {}
    for store in stores:
        config = _config(store)
        if store.run_id not in sides or config is None:
            continue
        parts = {key: config[key] for key in ("task", "measurement", "dataset", "seed")}
        digest = _digest(canonical({**parts, "side": sides[store.run_id]}))
        key = f"{config['task']['name']}-{config['dataset']['name']}-{digest}"
        found.setdefault(key, Problem(key, config, sides[store.run_id])).runs.append(store.run_id)
    return list(found.values())


def run_pictures(folder: Path, store: Store, ids: Sequence[str], side: int) -> dict[str, Any]:
    """Make the sheets of what a run restored; returns their place: `ids`, `folder`, `files`."""
    known = {entry.name: entry.stat() for entry in os.scandir(store.root / "images")}
    tile, files = min(side, LARGEST), []
    for block in blocks(ids):
        stats = [known.get(image_path(store, image_id).name) for image_id in block]
        stamps = (f"{stat.st_size} {stat.st_mtime_ns}" if stat else "absent" for stat in stats)
        path = folder / store.run_id / sheet_name([*block, *stamps], tile)
        if not path.exists():
            make_sheet(path, block, _kept(store, block), tile, LOSSY)
        files.append(path.name)
    return {"ids": list(ids), "folder": store.run_id, "files": files}


def problem_pictures(
    folder: Path, problem: Problem, ids: Sequence[str], loads: Callable[[str], Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Make the sheets of `truth` and `measurement`; returns their places, or `missing`, why they cannot be had.

    Where the pictures are larger than small ones, `full` are sheets of their own size. `loads` is `problems.asked`.
    """
    dataset, side, tile = problem.config["dataset"], problem.side, min(problem.side, LARGEST)
    truths = f"truth-{dataset['name']}-{_digest(dataset['digest'] + str(side))}"
    columns: list[dict[str, Any]]
    columns = [{"ids": list(ids), "folder": name, "files": [], "full": []} for name in (truths, problem.key)]
    wanted = [(0, "files", tile), (1, "files", tile), *([(0, "full", side), (1, "full", side)] if side > tile else [])]

    @cache
    def pose() -> Callable[[Sequence[str]], tuple[Pictures, Pictures]]:
        return posed(problem.config, side, [load for run_id in problem.runs for load in loads(run_id)])

    try:
        for block in blocks(ids):
            paths = [folder / columns[i]["folder"] / sheet_name(block, size) for i, _, size in wanted]
            if not all(path.exists() for path in paths):
                pictures = pose()(block)
                for path, (i, _, size) in zip(paths, wanted, strict=True):
                    make_sheet(path, block, pictures[i], size, NEARLY_EXACT)
            for path, (i, which, _) in zip(paths, wanted, strict=True):
                columns[i][which].append(path.name)
    except UserError as error:
        return {"missing": str(error)}
    return {"truth": columns[0], "measurement": columns[1]}


def _side(paths: Iterable[Path]) -> int | None:
    """The width of the first picture that is whole."""
    for path in paths:
        try:
            with Image.open(path) as picture:
                return picture.width
        except OSError:
            continue
    return None


def _kept(store: Store, ids: Sequence[str]) -> Pictures:
    pictures = {}
    for image_id in ids:
        try:
            pictures[image_id] = read_image(store, image_id)
        except UserError as error:
            _warn(str(error))
    return pictures


def _config(store: Store) -> Mapping[str, Any] | None:
    try:
        return yaml.safe_load((store.root / "config.yaml").read_bytes())
    except (OSError, yaml.YAMLError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _warn(line: str) -> None:
    tqdm.write(f"warning: {line}", file=sys.stderr)
