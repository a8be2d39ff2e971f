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
from ldsmc_bench.files import write_file
from ldsmc_bench.records.pictures import is_truth, read_pixels, rgb
from ldsmc_bench.records.problems import ProblemStore, columns, problem_of_run, read_picture
from ldsmc_bench.records.store import (
    Store,
    draw_stores,
    image_path,
    is_unpublished,
    read_image,
    read_spread,
    spread_path,
)
from ldsmc_bench.report.frame import config_of

Picture = NDArray[np.uint8]  # (H,W,3)
ACROSS, BLOCK = 8, 64  # small pictures in a row of a sheet, and in a sheet
LARGEST = 128  # side of a small picture, pixels
FORMAT = "1"  # raise it when the making of a sheet changes
GAIN = 4  # of a spread, which seldom reaches a quarter of the range
LOSSY, NEARLY_EXACT = 90, 95  # quality of a run's pictures, which the store has in full, and of a problem's


@dataclass(frozen=True)
class Problem:
    """Runs that restored the same measurements; `config` is the config.yaml of one of them, `side` that of pictures,
    and `truths` has the digest of each image's truth in the records (see `data.truths`)."""

    store: ProblemStore
    config: Mapping[str, Any]
    side: int
    runs: list[str] = field(default_factory=list)
    truths: dict[str, str | None] = field(default_factory=dict)

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


def published(store: Store, ids: Sequence[str]) -> list[str]:
    """The images whose pictures a merged run came with, all of another run; a line says so where they are fewer."""
    there = [image_id for image_id in ids if not is_unpublished(store, image_id)]
    if len(there) < len(ids):
        tqdm.write(f"{store.run_id}: pictures of {len(there)} of {len(ids)} images were published", file=sys.stderr)
    return there


def run_pictures(folder: Path, store: Store, ids: Iterable[str], side: int) -> dict[str, Any]:
    """Make the sheets of the reconstructions of a run's draw; returns their place: `ids`, `folder`, `files`."""
    name = f"{store.run_id}-draw{store.draw}" if store.draw else store.run_id

    def read(image_id: str) -> Picture | None:
        try:
            return read_image(store, image_id)
        except UserError as error:
            _warn(str(error))
            return None

    return _make_place(folder, name, _states(store, "images", ids), side, read)


def layers(folder: Path, store: Store, ids: Sequence[str], side: int, problem: Problem | None) -> dict[str, Any]:
    """The places of what else a run shows of an image, by its name: `error`, the mean over channels of the distance to
    the truth, and `spread`, that of its particles, both four times enlarged, and `draw 1`, `draw 2`, … of the first 64
    images. An error is grey where the truth is another picture now."""

    def error(image_id: str) -> Picture | None:
        restored = read_pixels(image_path(store, image_id))
        truth = read_truth(problem, image_id) if problem else None
        if restored is None or truth is None:
            return restored if restored is None else np.full_like(restored, 128)
        return _amplified(np.abs(restored.astype(int) - truth).mean(axis=2))

    def spread(image_id: str) -> Picture | None:
        return None if (picture := read_spread(store, image_id)) is None else _amplified(picture)

    found = {}
    if problem and "truth" in columns(problem.store):
        of_image = _states(store, "images", ids)
        states = {image_id: f"{of_image[image_id]} {problem.truths.get(image_id)}" for image_id in of_image}
        found["error"] = _make_place(folder, f"{store.run_id}-error", states, side, error)
    if there := [image_id for image_id in ids if spread_path(store, image_id).exists()]:
        states = _states(store, "spread", there)
        found["spread"] = _make_place(folder, f"{store.run_id}-spread", states, side, spread)
    for draw in draw_stores(store)[1:]:
        if there := [image_id for image_id in ids[:BLOCK] if image_path(draw, image_id).exists()]:
            found[f"draw {draw.draw}"] = run_pictures(folder, draw, there, side)
    return found


def _states(store: Store, kind: str, ids: Iterable[str]) -> dict[str, str]:
    """A text for each image, that is another for each other content of its picture in `images` or `spread`."""
    entries = {entry.name: entry.stat() for entry in os.scandir(store.folder / kind)}
    stats = {image_id: entries.get(image_path(store, image_id).name) for image_id in ids}
    return {image_id: f"{stat.st_size} {stat.st_mtime_ns}" if stat else "absent" for image_id, stat in stats.items()}


def _make_place(
    folder: Path, name: str, states: Mapping[str, str], side: int, read: Callable[[str], Picture | None]
) -> dict[str, Any]:
    files = _make_sheets(folder / name, states, min(side, LARGEST), LOSSY, read)
    return {"ids": list(states), "folder": name, "files": files}


def _amplified(values: NDArray[Any]) -> Picture:
    return np.dstack([np.minimum(GAIN * values.astype(float), 255).astype(np.uint8)] * 3)


def read_truth(problem: Problem, image_id: str) -> Picture | None:
    """The truth of an image; None where it was not kept, or is not that of the records."""
    truth = read_picture(problem.store, "truth", image_id)
    return truth if truth is not None and is_truth(truth, problem.truths.get(image_id)) else None


def problem_pictures(folder: Path, problem: Problem) -> dict[str, Any]:
    """Make the sheets of `truth` and `measurement`; returns their places, or `missing`, the reason why there are none.

    Where the pictures are larger than small ones, `full` are sheets of their own size.
    """
    if not {"truth", "measurement"} <= set(columns(problem.store)):
        return {"missing": "its truths and measurements were not kept (keep_problems=false)"}
    there = {path.stem for path in (problem.store.root / "truth").glob("*.png")}
    truths = {image_id: digest for image_id, digest in problem.truths.items() if image_id in there}
    changed, places = set[str](), dict[str, Any]()
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
            wide, high = (round(tile * side / max(pixels.shape[:2])) for side in pixels.shape[1::-1])
            picture = Image.fromarray(rgb(pixels)).resize((wide, high), way)
            sheet.paste(picture, (i % ACROSS * tile, i // ACROSS * tile))
    file = io.BytesIO()
    sheet.save(file, format="WEBP", quality=quality, method=2)
    write_file(path, file.getvalue())


def _warn(line: str) -> None:
    tqdm.write(f"warning: {line}", file=sys.stderr)
