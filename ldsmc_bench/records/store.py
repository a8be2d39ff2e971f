"""The store of a run: `results_dir/runs/<run_id>/` with one JSON record and one PNG for each draw of an image.

    config.yaml              the resolved configuration, written once
    records/<image_id>.json  what became of an image: `ok`, or `failed` or `skipped` with the reason
    images/<image_id>.png    the 8-bit picture that the metrics were computed from
    spread/<image_id>.png    how far particles differ, where there were several: standard deviations, in the same units
    particles/<image_id>.npz pictures and weights of the particles of draw 0, where `particles_as_draws` asks for them
    summary.json             once the run is complete
    truths.json              digests of truths that were copied anew since, by the states of their files
    replaced/                records and pictures of images whose truth has changed since: see `set_aside`
    draws/<number>/          records, images, spread and replaced of the draws after draw 0

Any number of processes, on any number of machines, may write one run at once, and any may be killed at any moment. The
rule that keeps this right: the first complete `ok` record of an image is kept for ever, a failure only until then.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.files import alias, canonical, link, publish, read_json, replace, staged, writing
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.records.pictures import files_of, png, read_pixels, read_png
from ldsmc_bench.records.record import Record, encode, glance, load, status_of
from ldsmc_bench.text import printable

MERGED = "merged.jsonl"  # in the folder of a run that came in archives: which ones


@dataclass(frozen=True)
class Store:
    """The folder of one run, `root`, which is `results_dir/runs/<run_id>`, and the draw that records are read from and
    written to."""

    root: Path
    run_id: str
    draw: int = 0

    @property
    def results_dir(self) -> Path:
        """The folder that holds `runs/`."""
        return self.root.parent.parent

    @property
    def folder(self) -> Path:
        """The folder of the draw's records and pictures."""
        return self.root / "draws" / str(self.draw) if self.draw else self.root


def of_draw(store: Store, draw: int) -> Store:
    """The store of the records of another draw, whose folders come with the first of them."""
    return replace_fields(store, draw=draw)


def draw_stores(store: Store) -> list[Store]:
    """The stores of all draws that a run has records of, draw 0 first."""
    found = [path for path in (store.root / "draws").glob("[1-9]*") if path.name.isdecimal() and path.name.isascii()]
    later = [int(path.name) for path in found if (path / "records").is_dir()]
    return [of_draw(store, number) for number in (0, *sorted(later))]


def record_path(store: Store, image_id: str) -> Path:
    """The path of an image's record. Raises ValueError for an id that leaves the folder, hides among the temporary
    names, or is too long once it is one of them."""
    separators = {"/", "\\"} & set(image_id)
    if separators or not image_id.isprintable() or image_id[:1] in ("", ".") or len(os.fsencode(image_id)) > 200:
        raise ValueError(f"image id {image_id!r} cannot name a file: 1 to 200 printable bytes, no slash, no dot first")
    return store.folder / "records" / f"{image_id}.json"


def image_path(store: Store, image_id: str) -> Path:
    return store.folder / "images" / f"{image_id}.png"


def spread_path(store: Store, image_id: str) -> Path:
    return store.folder / "spread" / f"{image_id}.png"


def particles_path(store: Store, image_id: str) -> Path:
    return store.folder / "particles" / f"{image_id}.npz"


def runs(results_dir: str | Path) -> list[Store]:
    """Every run under a results folder, by name. Raises UserError if that folder is absent or cannot be read."""
    folder = Path(results_dir) / "runs"
    try:
        os.listdir(results_dir)  # a folder without runs is empty; a folder that is not there is a mistake
        names = sorted(os.listdir(folder)) if folder.exists() else []
        names = [name for name in names if (folder / name / "config.yaml").exists() and _named(name)]
        return [Store(folder / name, name) for name in names]
    except OSError as error:
        why = f"cannot be read ({error.strerror}): give the folder that holds runs/"
        raise UserError(f"results_dir={results_dir} {why}") from error


def open_store(results_dir: str | Path, run_id: str, config_text: str) -> Store:
    """The store of a run, created if it is new. `config_text` is the run's identity as YAML, of whose comments the
    first are kept. Raises UserError if the folder cannot be written, or belongs to another configuration."""
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
        for one in draw_stores(Store(root, run_id)):
            _uncover(one.folder / "records")
    if _meaning(standing) != _meaning(config_text):
        remedy = f"move {root} away and report this"
        raise UserError(f"internal error: {config} holds another configuration under this run id: {remedy}")
    return Store(root, run_id)


def outcomes(store: Store, image_ids: Iterable[str] | None = None) -> dict[str, str]:
    """`ok`, `failed` or `skipped` for each image, of `image_ids` or of the run, that has a complete record."""
    return {image_id: found["status"] for image_id, found in glances(store, image_ids).items()}


def glances(store: Store, image_ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """As `outcomes`, with all that a resumed run asks of a record. Images without one cost nothing."""
    found = ((image_id, glance(path)) for image_id, path in _present(store, image_ids).items())
    return {name: one for name, one in found if one and _belongs(store, name, one)}


def glances_of_draws(store: Store, draws: Iterable[Draw]) -> dict[Draw, dict[str, Any]]:
    """As `glances`, of these draws."""
    by_number: dict[int, list[str]] = defaultdict(list)
    for draw in draws:
        by_number[draw.number].append(draw.image_id)
    return {
        Draw(image_id, number): one
        for number, image_ids in by_number.items()
        for image_id, one in glances(of_draw(store, number), image_ids).items()
    }


def finished(store: Store, image_ids: Iterable[str] | None = None) -> set[str]:
    """The images that need no more work. A failed one is not among them: it is tried again."""
    return {image_id for image_id, status in outcomes(store, image_ids).items() if status == "ok"}


def read(store: Store, image_ids: Iterable[str] | None = None) -> list[Record]:
    """The complete records of `image_ids`, in their order and where there is one, or of the run, sorted by id."""
    found = ((image_id, load(path)) for image_id, path in _present(store, image_ids).items())
    return [one for name, one in found if one and _belongs(store, name, one)]


def strays(store: Store, records: Iterable[Record]) -> bool:
    """True if the run's folder has record files besides `records`, the valid ones that `read` returns."""
    return len(_present(store, None)) > len(list(records))


def is_unpublished(store: Store, image_id: str) -> bool:
    """True where an image's picture stayed out of the archive that the run came in (publish, merge)."""
    return not image_path(store, image_id).exists() and (store.root / MERGED).exists()


def read_image(store: Store, image_id: str) -> NDArray[np.uint8]:
    """The kept picture, uint8 (H,W,C). Raises UserError if it is absent or damaged."""
    path, record = image_path(store, image_id), record_path(store, image_id)
    if (picture := read_pixels(path)) is None:
        if is_unpublished(store, image_id):
            raise UserError(f"{path} was not published: publish the run again with pictures=all, and merge that")
        raise UserError(f"{path} is absent or damaged: remove {record} too and run again to make both anew")
    return picture


def read_spread(store: Store, image_id: str) -> NDArray[np.uint8] | None:
    """The particles' spread, uint8 (H,W); None where it was not kept."""
    return read_png(spread_path(store, image_id))


def keep(
    store: Store, record: Record, image: NDArray[np.uint8] | None = None, spread: NDArray[np.uint8] | None = None
) -> bool:
    """Keep an image's record, its picture, uint8 (H,W,C), and its particles' `spread`, uint8 (H,W). True if they are
    kept, False if a success was there before.

    Pictures come first, so that a record always finds them. Raises UserError when the disk is full or the folder cannot
    be written (nothing finished is touched), ValueError for a record or a picture not as promised.
    """
    data = encode(record)
    if record["run_id"] != store.run_id:
        raise ValueError(f"the record of {record['image_id']} belongs to run {record['run_id']}, not {store.run_id}")
    image_id = record["image_id"]
    pictures: dict[Path, bytes] = {}
    path = record_path(store, image_id)
    if image is not None:
        pictures |= files_of(image_path(store, image_id), image)
    if spread is not None:
        pictures[spread_path(store, image_id)] = png(spread, colours=())
    with writing(store.root):
        if (found := glance(path)) and not _belongs(store, image_id, found):
            set_aside(store, image_id, "stray")
        if status_of(path) == "ok":
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        if record["status"] != "ok":
            return _keep_failure(path, data)
        for picture, data_of in pictures.items():
            picture.parent.mkdir(exist_ok=True)
            publish(picture, data_of)
        kept = _keep_success(path, data)
        # A process that was killed or came second may have left pictures that differ by a rounding.
        for picture, data_of in pictures.items():
            if kept and picture.read_bytes() != data_of:
                replace(picture, data_of)
        return kept


def write_summary(store: Store, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`, or leave it untouched if it says the same. Raises UserError as `keep` does."""
    path = store.root / "summary.json"
    data = (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()
    with writing(store.root):
        if not path.exists() or path.read_bytes() != data:
            replace(path, data)


def read_summary(store: Store) -> dict[str, Any] | None:
    """The latest summary; None before the first."""
    return read_json(store.root / "summary.json") or None


def amend(store: Store, record: Record, image: NDArray[np.uint8] | None = None) -> None:
    """Replace the record of an image that is finished, and its picture if one is given, by those that show more of it.
    Raises UserError as `keep` does."""
    with writing(store.root):
        if image is not None:
            for path, data in files_of(image_path(store, record["image_id"]), image).items():
                replace(path, data)
        replace(record_path(store, record["image_id"]), encode(record))


def set_aside(store: Store, image_id: str, truth: str) -> None:
    """Move the record and the pictures of an image to `replaced/`, under the digest of its former truth, and remove
    the summary, which counts it: the image is computed again. Raises UserError as `keep` does."""
    folder, record = store.folder / "replaced", record_path(store, image_id)
    with writing(store.root):
        folder.mkdir(exist_ok=True)
        _first_success(record).unlink(missing_ok=True)
        (store.root / "summary.json").unlink(missing_ok=True)
        others = (path_of(store, image_id) for path_of in (image_path, spread_path, particles_path))
        for path in (record, image_path(store, image_id).with_suffix(".npy"), *others):
            with suppress(FileNotFoundError):  # another shard was first, or there are no particles
                kind = "" if path.parent.name != "spread" else ".spread"
                os.replace(path, folder / f"{image_id}.{truth}{kind}{path.suffix}")


def _keep_success(path: Path, data: bytes) -> bool:
    """Keep the first success, even where several writers find the same failure in its place.

    If each renamed its file over the failure, the last would win. So the first to link `.<image_id>.ok` wins instead;
    that file never changes or goes, and whoever comes by makes the record another name of it.
    """
    with staged(path, data) as temporary:
        if link(temporary, path):
            return True
        if status_of(path) == "ok":
            return False
        kept = link(temporary, _first_success(path))
        alias(_first_success(path), path)
        return kept


def _keep_failure(path: Path, data: bytes) -> bool:
    """Keep the latest failure, unless there is a success."""
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
    folder = store.folder / "records"
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.name.endswith(".json") and not entry.name.startswith(".")]
            files = [entry for entry in files if _named(entry.name) and not entry.is_dir()]
            paths = {entry.name.removesuffix(".json"): entry.path for entry in files}
    except FileNotFoundError:  # a half-copied folder is an empty run, and hides no other
        if store.draw == 0:
            warn(f"{folder} is absent: {store.root.name} counts for nothing; move it out of runs/, or run it again")
        return {}
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check results_dir") from error
    wanted = sorted(paths) if image_ids is None else image_ids
    return {image_id: paths[image_id] for image_id in wanted if image_id in paths}


def _belongs(store: Store, name: str, record: Mapping[str, Any]) -> bool:
    """True if the record in `name`.json is of this run, that image and that draw; a copy is ignored with a warning."""
    run_id, image_id, draw = record.get("run_id"), record.get("image_id"), record.get("draw") or 0
    if run_id != store.run_id:
        warn(f"{store.folder} holds records of run {run_id}, which do not count: move them out of runs/")
    elif image_id != name:
        path = record_path(store, name)
        warn(f"{path} is a record of {image_id}, which does not count: remove it, or rename it back")
    elif draw != store.draw:
        warn(f"{store.folder} holds records of draw {draw}, which do not count: move them away")
    return run_id == store.run_id and image_id == name and draw == store.draw


def _named(name: str) -> bool:
    if not name.isprintable():
        warn(f"{printable(name)!r} does not count: no image and no run has such a name; rename it, or move it away")
    return name.isprintable()


def _meaning(config_text: str) -> str | None:
    """The canonical text of a configuration; None if it is damaged."""
    try:
        return canonical(yaml.safe_load(config_text))
    except yaml.YAMLError:
        return None
