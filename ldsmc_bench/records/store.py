"""The store of a run: `results_dir/runs/<run_id>/` with one JSON record and one PNG per image.

    config.yaml              the resolved configuration, written once
    records/<image_id>.json  what became of an image: `ok`, or `failed` or `skipped` with the reason
    images/<image_id>.png    the 8-bit picture that the metrics were computed from
    spread/<image_id>.png    how far particles differ, where there were several: standard deviations, in the same units
    summary.json             once the run is complete

Any number of processes, on any number of machines, may write one run at once, and any may be killed at any moment. The
rule that keeps this right: the first complete `ok` record of an image stands for ever, a failure only until then.
"""

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.identity import canonical
from ldsmc_bench.records.publish import alias, link, publish, replace, staged, writing
from ldsmc_bench.records.record import Record, encode, load, status_of


@dataclass(frozen=True)
class Store:
    """Where one run is kept: `root` is `results_dir/runs/<run_id>`."""

    root: Path
    run_id: str


def record_path(store: Store, image_id: str) -> Path:
    """Where the record of an image is, or would be. Raises ValueError for an id that cannot name a file."""
    return store.root / "records" / f"{_safe(image_id)}.json"


def image_path(store: Store, image_id: str) -> Path:
    """Where the picture of an image is, or would be. Raises ValueError for an id that cannot name a file."""
    return store.root / "images" / f"{_safe(image_id)}.png"


def spread_path(store: Store, image_id: str) -> Path:
    """Where the particles' spread of an image is, or would be. Raises ValueError for an id that cannot name a file."""
    return store.root / "spread" / f"{_safe(image_id)}.png"


def runs(results_dir: str | Path) -> list[Store]:
    """Every run under a results folder, by name. Raises UserError if that folder is absent or cannot be read."""
    folder = Path(results_dir) / "runs"
    try:
        os.listdir(results_dir)  # a folder without runs is empty; a folder that is not there is a mistake
        names = sorted(os.listdir(folder)) if folder.exists() else []
        return [Store(folder / name, name) for name in names if (folder / name / "config.yaml").exists()]
    except OSError as error:
        raise UserError(
            f"results_dir={results_dir} cannot be read ({error.strerror}): give the folder that holds runs/"
        ) from error


def open_store(results_dir: str | Path, run_id: str, config_text: str) -> Store:
    """The store of a run, made if it is new. `config_text` is YAML, of what the run's identity is made of and no more.

    Its comments may differ from one invocation to the next (commit, versions, machine); the first text is kept.
    Raises UserError if nothing can be written there, or if another configuration already holds this id.
    """
    root = Path(results_dir) / "runs" / run_id
    config = root / "config.yaml"
    with writing(root):
        (root / "records").mkdir(parents=True, exist_ok=True)
        (root / "images").mkdir(exist_ok=True)
        if not config.exists():
            publish(config, config_text.encode())
        # Better to learn now than after an hour of sampling that no file can be written.
        with staged(root / "records" / "probe", b""), staged(root / "images" / "probe", b""):
            standing = config.read_text(encoding="utf-8")
        _uncover(root / "records")
    if _meaning(standing) != _meaning(config_text):
        raise UserError(
            f"internal error: {config} holds another configuration under this run id: move {root} away and report this"
        )
    return Store(root, run_id)


def outcomes(store: Store, image_ids: Iterable[str] | None = None) -> dict[str, str]:
    """`ok`, `failed` or `skipped` for each image, of `image_ids` or of the run, that has a complete record.

    One scan of the folder, then one small read for each record that is there: images without one cost nothing.
    """
    statuses = {image_id: status_of(path) for image_id, path in _present(store, image_ids).items()}
    return {image_id: status for image_id, status in statuses.items() if status is not None}


def finished(store: Store, image_ids: Iterable[str] | None = None) -> set[str]:
    """The images that need no more work. A failed one is not among them: it is tried again."""
    return {image_id for image_id, status in outcomes(store, image_ids).items() if status == "ok"}


def read(store: Store, image_ids: Iterable[str] | None = None) -> list[Record]:
    """The complete records of `image_ids`, in their order and where there is one, or of the run, sorted by id."""
    records = (load(path) for path in _present(store, image_ids).values())
    return [record for record in records if record is not None]


def read_image(store: Store, image_id: str) -> NDArray[np.uint8]:
    """The kept picture, uint8 (H,W,3). Raises UserError if it is absent or damaged."""
    path = image_path(store, image_id)
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for some damaged files
        record = record_path(store, image_id)
        raise UserError(f"{path} is absent or damaged: remove {record} too and run again to make both anew") from error


def read_spread(store: Store, image_id: str) -> NDArray[np.uint8] | None:
    """The particles' spread, uint8 (H,W); None where none was kept."""
    try:
        with Image.open(spread_path(store, image_id)) as picture:
            return np.array(picture)
    except (OSError, SyntaxError):
        return None


def keep(
    store: Store, record: Record, image: NDArray[np.uint8] | None = None, spread: NDArray[np.uint8] | None = None
) -> bool:
    """Keep an image's record, its picture, uint8 (H,W,3), and its particles' `spread`, uint8 (H,W). True if they stand,
    False if a success was there before.

    Pictures come first, so that a record always finds them. Two processes may make pictures that differ by a rounding
    (another GPU): those of the record stay. Raises UserError when the disk is full or the folder cannot be
    written (nothing finished is touched), ValueError for a record or a picture not as promised.
    """
    data = encode(record)
    if record["run_id"] != store.run_id:
        raise ValueError(f"the record of {record['image_id']} belongs to run {record['run_id']}, not {store.run_id}")
    path, pictures = record_path(store, record["image_id"]), {}
    if image is not None:
        pictures[image_path(store, record["image_id"])] = _png(image, colours=(3,))
    if spread is not None:
        pictures[spread_path(store, record["image_id"])] = _png(spread, colours=())
    with writing(store.root):
        if status_of(path) == "ok":
            return False
        if record["status"] != "ok":
            return _keep_failure(path, data)
        for picture, png in pictures.items():
            picture.parent.mkdir(exist_ok=True)
            publish(picture, png)
        stands = _keep_success(path, data)
        # A process that was killed or came second may have left other pictures: the one whose record stands decides.
        for picture, png in pictures.items():
            if stands and picture.read_bytes() != png:
                replace(picture, png)
        return stands


def write_summary(store: Store, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`, or leave it untouched if it says the same. Raises UserError as `keep` does."""
    path = store.root / "summary.json"
    data = (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()
    with writing(store.root):
        if not path.exists() or path.read_bytes() != data:
            replace(path, data)


def read_summary(store: Store) -> dict[str, Any] | None:
    """What `write_summary` wrote last; None before it first did."""
    try:
        return json.loads((store.root / "summary.json").read_bytes())
    except (OSError, ValueError):
        return None


def amend(store: Store, record: Record) -> None:
    """Replace the record of an image that is finished by one that says more of it. Raises UserError as `keep` does."""
    path = record_path(store, record["image_id"])
    if status_of(path) != "ok" or record["status"] != "ok":
        raise ValueError(f"{record['image_id']}: only a finished image's record can be amended")
    with writing(store.root):
        replace(path, encode(record))


def _keep_success(path: Path, data: bytes) -> bool:
    """Let the first success stand, even where several writers find the same failure in their way.

    If each renamed its file over the failure, the last would win. So the first to link `.<image_id>.ok` wins instead;
    that file never changes or goes, and whoever comes by makes the record another name of it.
    """
    with staged(path, data) as temporary:
        if link(temporary, path):
            return True
        if status_of(path) == "ok":
            return False
        stands = link(temporary, _first_success(path))
        alias(_first_success(path), path)
        return stands


def _keep_failure(path: Path, data: bytes) -> bool:
    """Let the latest failure stand, but not in the place of a success."""
    if publish(path, data):
        return True
    if status_of(path) == "ok":
        return False
    replace(path, data)
    if not _first_success(path).exists():
        return True
    alias(_first_success(path), path)  # it came between our look and our writing
    return False


def _uncover(folder: Path) -> None:
    """Bring back each success that a failure covers, whose writer was killed before it could do so itself."""
    for name in os.listdir(folder):
        path = folder / f"{name[1:].removesuffix('.ok')}.json"
        if name.endswith(".ok") and status_of(path) in ("failed", "skipped"):
            alias(_first_success(path), path)


def _first_success(path: Path) -> Path:
    return path.with_name(f".{path.stem}.ok")


def _present(store: Store, image_ids: Iterable[str] | None) -> dict[str, str]:
    """The record files that are there, by image id. Temporary names start with a dot, ids never do."""
    folder = store.root / "records"
    try:
        with os.scandir(folder) as entries:
            paths = {entry.name.removesuffix(".json"): entry.path for entry in entries if _is_record(entry.name)}
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check results_dir") from error
    wanted = sorted(paths) if image_ids is None else image_ids
    return {image_id: paths[image_id] for image_id in wanted if image_id in paths}


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _png(image: NDArray[np.uint8], colours: tuple[int, ...]) -> bytes:
    """The same bytes for the same picture: a fixed effort of compression, no text, no time."""
    if image.dtype != np.uint8 or image.ndim < 2 or image.shape[2:] != colours:
        raise ValueError(f"a picture is uint8 {('H', 'W', *colours)}, not {image.dtype} {image.shape}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _safe(image_id: str) -> str:
    """Refuse an id that leaves the folder, hides among the temporary names, or is too long once it is one of them."""
    if not image_id.isprintable() or image_id.startswith(".") or not 0 < len(os.fsencode(image_id)) <= 200:
        raise ValueError(f"image id {image_id!r} cannot name a file: 1 to 200 printable bytes, no dot first")
    if "/" in image_id or "\\" in image_id:
        raise ValueError(f"image id {image_id!r} cannot name a file: it holds a path separator")
    return image_id


def _meaning(config_text: str) -> str | None:
    """What a configuration says, however it is written (1 or 1.0, any order, any comment); None if it is damaged."""
    try:
        return canonical(yaml.safe_load(config_text))
    except yaml.YAMLError:
        return None
