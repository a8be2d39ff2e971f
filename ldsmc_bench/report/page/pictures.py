"""The pictures of the page: sheets of 64 small ones, of every run, and of every problem's truths and measurements.

A page holds pictures by the ten thousand. A sheet's name depends on its content, so that each is made once.
"""

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import replace
from ldsmc_bench.records.pictures import is_truth
from ldsmc_bench.records.problems import ProblemStore, columns, problem_of_run, read_picture
from ldsmc_bench.records.store import Store, draw_stores, image_path, read_image, read_spread, spread_path
from ldsmc_bench.report.frame import config_of

Picture = NDArray[np.uint8]  # (H,W,3)
ACROSS, BLOCK = 8, 64  # small pictures in a row of a sheet, and in a sheet
LARGEST = 128  # side of a small picture, pixels
FORMAT = "1"  # raise it when the making of a sheet changes
GAIN = 4  # of a spread, which seldom reaches a quarter of the range
LOSSY, NEARLY_EXACT = 90, 95  # quality of a run's pictures, which the store has in full, and of a problem's


@dataclass(frozen=True)
class Problem:
    """Runs that restored the same measurements; `config` is the config.yaml of one of them, `side` that of pictures."""

    store: ProblemStore
    config: Mapping[str, Any]
    side: int
    runs: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return self.store.problem_id


def sides(stores: Iterable[Store]) -> dict[str, int]:
    """By run id the side of the run's pictures, pixels; runs without any are left out."""
    found = {}
    for store in stores:
        for path in (store.root / "images").glob("[!.]*.png"):
            try:
                with Image.open(path) as picture:
                    found[store.run_id] = picture.width
                    break
            except (OSError, SyntaxError):  # Pillow raises SyntaxError for some damaged files
                continue
    return found


def problems(stores: Iterable[Store], sides: Mapping[str, int]) -> list[Problem]:
    """The problems of the runs that have pictures."""
    by_key: dict[str, Problem] = {}
    for store in stores:
        if store.run_id in sides and (kept := problem_of_run(store)):
            problem = Problem(kept, config_of(store), sides[store.run_id])
            by_key.setdefault(problem.key, problem).runs.append(store.run_id)
    return list(by_key.values())


def run_pictures(folder: Path, store: Store, ids: Iterable[str], side: int, kind: str = "images") -> dict[str, Any]:
    """Make the sheets of `images` or `spread` of a run's draw; returns their place: `ids`, `folder`, `files`."""
    entries = {entry.name: entry.stat() for entry in os.scandir(store.folder / kind)}
    stats = {image_id: entries.get(image_path(store, image_id).name) for image_id in ids}
    name = store.run_id + (f"-draw{store.draw}" if store.draw else "") + ("-spread" if kind == "spread" else "")
    states = {image_id: f"{stat.st_size} {stat.st_mtime_ns}" if stat else "absent" for image_id, stat in stats.items()}

    def read(image_id: str) -> Picture | None:
        try:
            if kind == "images":
                return read_image(store, image_id)
        except UserError as error:
            _warn(str(error))
            return None
        spread = read_spread(store, image_id)
        return None if spread is None else np.dstack([np.minimum(spread, 255 // GAIN) * GAIN] * 3)

    files = _make_sheets(folder / name, states, min(side, LARGEST), LOSSY, read)
    return {"ids": list(states), "folder": name, "files": files}


def layers(folder: Path, store: Store, ids: Iterable[str], side: int) -> dict[str, Any]:
    """The places of what else a run shows of an image, by its name: the particles' `spread`, four times enlarged, and
    `draw 1`, `draw 2`, … of the first 64 images."""
    found = {}
    good = list(ids)
    if spread := [image_id for image_id in good if spread_path(store, image_id).exists()]:
        found["spread"] = run_pictures(folder, store, spread, side, "spread")
    for draw in draw_stores(store)[1:]:
        if shown := [image_id for image_id in good[:BLOCK] if image_path(draw, image_id).exists()]:
            found[f"draw {draw.draw}"] = run_pictures(folder, draw, shown, side)
    return found


def problem_pictures(folder: Path, problem: Problem, truths: Mapping[str, str | None]) -> dict[str, Any]:
    """Make the sheets of `truth` and `measurement`; returns their places, or `missing`, the reason why there are none.

    `truths` has the images' ids with the digests that their records have. Where the pictures are larger than small
    ones, `full` are sheets of their own size.
    """
    if not {"truth", "measurement"} <= set(columns(problem.store)):
        return {"missing": "its truths and measurements were not kept (keep_problems=false)"}
    changed, places = set[str](), {}
    for column in ("truth", "measurement"):

        def read(image_id: str, column: str = column) -> Picture | None:
            truth = read_picture(problem.store, "truth", image_id)
            if truth is not None and not is_truth(truth, truths[image_id]):
                changed.add(image_id)
                return None
            return truth if column == "truth" else read_picture(problem.store, column, image_id)

        place: dict[str, Any] = {"ids": list(truths), "folder": f"{column}-{problem.key}", "full": []}
        small = min(problem.side, LARGEST)
        for which, tile in {"files": small, **({"full": problem.side} if problem.side > small else {})}.items():
            place[which] = _make_sheets(folder / place["folder"], truths, tile, NEARLY_EXACT, read)
        places[column] = place
    if changed:
        first = f"{min(changed)}{', …' if len(changed) > 1 else ''}"
        _warn(f"{problem.key}: {first}: {len(changed)} pictures have changed since they were restored; not shown")
    return places


def clean(folder: Path, contents: Iterable[Mapping[str, Any]]) -> None:
    """Remove the sheets under `folder` that no script names, and the folders that are empty then."""
    places = []
    for content in contents:
        places += [content[key] for key in ("pictures", "truth", "measurement") if key in content]
        places += content.get("layers", {}).values()
    used = {folder / one["folder"] / name for one in places for name in (*one["files"], *one.get("full", ()))}
    for path in set(folder.glob("*/*.webp")) - used:
        path.unlink(missing_ok=True)
    for inner in folder.glob("*/"):
        if not any(inner.iterdir()):
            inner.rmdir()


def _make_sheets(
    folder: Path, states: Mapping[str, str | None], tile: int, quality: int, read: Callable[[str], Picture | None]
) -> list[str]:
    """Make the sheets of images that are not there yet, with pictures of side `tile`; returns the names of all.

    `states` are the images' ids, with a text that is another for each other content.
    """
    ids, names = list(states), []
    for block in (ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)):
        content = "\n".join([FORMAT, str(tile), *(f"{image_id} {states[image_id]}" for image_id in block)])
        names.append(f"{hashlib.sha256(content.encode()).hexdigest()[:12]}.webp")
        if not (folder / names[-1]).exists():
            _write_sheet(folder / names[-1], [read(image_id) for image_id in block], tile, quality)
    return names


def _write_sheet(path: Path, pictures: Sequence[Picture | None], tile: int, quality: int) -> None:
    """Write the sheet of pictures, of any size, in rows of 8 from the left top; None stays black.

    Small ones are enlarged pixel by pixel, so that a coarse measurement looks coarse; large ones are averaged.
    """
    sheet = Image.new("RGB", (ACROSS * tile, -(-len(pictures) // ACROSS) * tile))
    for i, pixels in enumerate(pictures):
        if pixels is not None:
            way = Image.Resampling.NEAREST if max(pixels.shape[:2]) <= tile else Image.Resampling.BOX
            picture = Image.fromarray(pixels).resize((tile, tile), way)
            sheet.paste(picture, (i % ACROSS * tile, i // ACROSS * tile))
    file = io.BytesIO()
    sheet.save(file, format="WEBP", quality=quality, method=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, file.getvalue())


def _warn(line: str) -> None:
    tqdm.write(f"warning: {line}", file=sys.stderr)
