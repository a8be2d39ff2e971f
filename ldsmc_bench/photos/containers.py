"""Pictures that are no files of their own: NumPy arrays, tables of Hugging Face's `datasets`, tars of WebDataset."""

import io
import json
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from ldsmc_bench.errors import UserError, nearest, one_line
from ldsmc_bench.photos.folder import (
    CHANNELS,
    SUFFIXES,
    collection_of,
    folder_at,
    id_of,
    require_colours,
    state_of,
    transform,
)
from ldsmc_bench.problem import pictures
from ldsmc_bench.problem.datasets import Dataset, digest_of
from ldsmc_bench.problem.pictures import Size


class Part(NamedTuple):
    """A part of a table that is read at once: the number of its rows, the names of its columns, and what reads some."""

    rows: int
    columns: list[str]
    read: Callable[[list[str]], pa.Table]


def stacked(path: str, image_size: Size, channels: int, collection: str | None = None) -> Dataset:
    """The pictures of a `.npy`, or of the entry `images` of a `.npz`, whose entry `labels` are their classes.

    They are (N,H,W), (N,H,W,C) or (N,C,H,W) with C = 1 or 3, as bytes or as floats in [0,1], and become RGB, or grey
    for a prior of one channel. An id is the place in the array. Raises UserError where the file holds something else.
    """
    file, where = path_of(path), f"dataset.root={path}"
    require_colours("arrays", channels)
    try:
        found = np.load(file, mmap_mode="r")
        images, labels = (found, None) if isinstance(found, np.ndarray) else (found["images"], found.get("labels"))
    except Exception as error:  # parsers of arbitrary bytes raise almost anything
        raise UserError(f"{where}: cannot be read as pictures of NumPy ({one_line(error)})") from error
    first = images.ndim == 4 and images.shape[3] not in CHANNELS  # the channels come first
    if (
        not images.size
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[1 if first else 3] not in CHANNELS)
    ):
        raise UserError(f"{where}: its shape is {images.shape}; give (N,H,W), (N,H,W,C) or (N,C,H,W) with C = 1 or 3")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UserError(f"{where}: its type is {images.dtype}; give uint8, or floats in [0,1]")

    def load(image_id: str) -> Tensor:
        one = np.moveaxis(images[int(image_id)], 0, -1) if first else images[int(image_id)]
        if one.dtype != np.uint8:
            if not 0 <= one.min() <= one.max() <= 1:
                raise UserError(f"{where}: picture {image_id} has values outside [0,1]; scale it, or give uint8")
            one = np.round(255 * one.astype(np.float64)).astype(np.uint8)
        one = one[..., 0] if one.shape[2:] == (1,) else one
        return pictures.fit(Image.fromarray(np.ascontiguousarray(one)), image_size, channels)

    way = [transform(image_size, channels), collection_of(file, collection)]
    return _numbered("arrays", len(images), load, way, labels, [file])


def table(
    root: str | None,
    split: str | None,
    image: str,
    label: str,
    image_size: Size,
    channels: int = 3,
    collection: str | None = None,
) -> Dataset:
    """The pictures of a folder that `save_to_disk` of `datasets` wrote, or of Parquet files as the hub keeps them.

    `split` is a subfolder, or what the names of Parquet files begin with; None for all. `image` and `label` name the
    columns; without a column `label` there are no classes. An id is the number of a row. Raises UserError where there
    is no such folder, split or column.
    """
    top, where = folder_at(root), f"dataset.root={root}"
    require_colours("huggingface", channels)
    files = _table_files(top, split, where)
    try:
        parts = [part for file in files for part in _parts(file)]
        names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
        if image not in names:
            raise UserError(f"{where}: has no column {image} (dataset.image); {nearest(str(image), names)}")
        columns = [part.read([label])[label].cast(pa.int64()) for part in parts] if label in names else None
        labels = None if columns is None else [int(one) for column in columns for one in column.to_pylist()]
    except (OSError, ValueError, TypeError, IndexError, pa.ArrowException) as error:
        raise UserError(f"{where}: cannot be read as a table of pictures and classes ({one_line(error)})") from error
    begins = list(accumulate((part.rows for part in parts), initial=0))

    @lru_cache(maxsize=2)
    def column(part: int) -> pa.ChunkedArray:
        return parts[part].read([image])[image]

    def load(image_id: str) -> Tensor:
        part = bisect_right(begins, int(image_id)) - 1
        cell = column(part)[int(image_id) - begins[part]].as_py()
        held = cell if isinstance(cell, dict) else {"bytes": cell}
        if not isinstance(held.get("bytes"), bytes) and not isinstance(held.get("path"), str):
            raise UserError(f"{where}: row {image_id} holds no picture in its column {image}")
        whole = held.get("bytes")
        source = io.BytesIO(whole) if isinstance(whole, bytes) else top / held["path"]
        return pictures.read(source, image_size, channels, f"{where}, row {image_id}")

    way = [transform(image_size, channels), collection_of(top, collection), split, image]
    return _numbered("huggingface", begins[-1], load, way, labels, files)


def tars(root: str | None, image_size: Size, channels: int = 3, collection: str | None = None) -> Dataset:
    """The pictures of a tar of WebDataset, or of all tars in a folder; a `.cls` beside a picture is its class.

    An id is the path in the tar, after the tar's name where there are several. Raises UserError for a tar that cannot
    be read, and without pictures.
    """
    top = path_of(root)
    require_colours("webdataset", channels)
    files = sorted(top.glob("*.tar")) if top.is_dir() else [top]
    places: dict[str, tuple[Path, str, int, int]] = {}
    classes: dict[str, int] = {}
    names: dict[str, str] = {}
    for file in files:
        prefix, where = f"{file.stem}/" if files[1:] else "", f"{file}"
        try:
            with tarfile.open(file, "r:") as tar:
                for member in tar:
                    where = f"{file}, {member.name}"
                    stem, dot, kind = (prefix + member.name).rpartition(".")
                    if member.isfile() and f".{kind.lower()}" in SUFFIXES:
                        image_id = id_of(prefix + member.name)
                        places[image_id], names[image_id] = (file, member.name, member.offset_data, member.size), stem
                    elif dot and kind == "cls" and (content := tar.extractfile(member)):
                        classes[stem] = _class(content.read(), where)
                where, end = f"{file}", tar.offset
            with file.open("rb") as opened:  # tarfile takes what is no header for the end, which is a block of zeros
                opened.seek(end)
                if opened.read(tarfile.BLOCKSIZE) not in (b"", bytes(tarfile.BLOCKSIZE)):
                    raise ValueError(f"it is cut off, or something else begins at byte {end}")
        except (OSError, ValueError, tarfile.TarError) as error:
            raise UserError(f"{where}: cannot be read as a tar, not compressed, of pictures ({error})") from error
    if not places:
        raise UserError(f"dataset.root={root}: no tars with pictures ({', '.join(SUFFIXES)})")

    def load(image_id: str) -> Tensor:
        file, member, begin, size = places[image_id]
        with file.open("rb") as opened:
            opened.seek(begin)
            return pictures.read(io.BytesIO(opened.read(size)), image_size, channels, f"{file}, {member}")

    labels = {image_id: classes[name] for image_id, name in names.items() if name in classes}
    digest = digest_of(transform(image_size, channels), [collection_of(top, collection)])
    whole = labels if len(labels) == len(places) else None
    return Dataset("webdataset", sorted(places), load, digest, whole, lambda image_id: state_of(places[image_id][0]))


def path_of(path: str | None) -> Path:
    """The file or folder that `dataset.root` names. Raises UserError where it is not set or not there."""
    if not path:
        raise UserError("dataset.root is not set: give dataset.root=/path/to/your/pictures")
    file = Path(str(path)).expanduser()
    if not file.exists():
        raise UserError(f"dataset.root={path}: no such file")
    return file


def _numbered(
    name: str, count: int, load: Callable[[str], Tensor], way: Sequence[Any], labels: Any, files: Sequence[Path]
) -> Dataset:
    """A data set whose ids are the numbers of its pictures, with a class for each or none."""
    ids = [f"{number:0{len(str(count))}d}" for number in range(count)]
    if count == 0:
        raise UserError(f"dataset={name}: {files[0]} holds no picture")
    if labels is not None and np.asarray(labels).dtype.kind not in "iu":
        raise UserError(f"dataset={name}: classes must be whole numbers, and are {np.asarray(labels).dtype}")
    if labels is not None and np.shape(labels) != (count,):
        raise UserError(f"dataset={name}: labels of shape {np.shape(labels)} for {count} pictures; give each one class")
    pairs = [] if labels is None else zip(ids, labels, strict=True)
    classes = {image_id: _class(one, f"dataset={name}: picture {image_id}") for image_id, one in pairs}
    digest = digest_of(" ".join(map(str, way)), [] if labels is None else [str(one) for one in labels])
    return Dataset(name, ids, load, digest, classes or None, lambda _: "+".join(str(state_of(file)) for file in files))


def _class(value: Any, where: str) -> int:
    """A class, written or a number. Raises UserError for anything but a whole number of at least 0."""
    with suppress(ValueError):
        if (number := int(value)) >= 0:
            return number
    shown = value[:40].decode(errors="replace") if isinstance(value, bytes) else value
    raise UserError(f"{where}: its class is {shown}, and must be a whole number of at least 0; or leave classes out")


def _table_files(top: Path, split: str | None, where: str) -> list[Path]:
    split = None if split is None else str(split)
    folder = top / split if split and (top / split).is_dir() else top
    if (state := folder / "state.json").is_file():
        try:
            return [folder / one["filename"] for one in json.loads(state.read_bytes())["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{state}: names no files of a table ({one_line(error)}); save or fetch it anew") from error
    tables = sorted(top.rglob("*.parquet"))
    if files := [file for file in tables if not split or file.name.startswith(split)]:
        return files
    splits = {path.parent.name for path in top.glob("*/state.json")} | {file.stem.split("-")[0] for file in tables}
    named = f"no folder and no file is of dataset.split={split}; {nearest(str(split), splits)}" if split else ""
    remedy = (
        (named or f"set dataset.split; {nearest('', splits)}") if splits else "it has neither state.json nor Parquet"
    )
    raise UserError(f"{where}: no table of pictures here; {remedy}")


def _parts(file: Path) -> list[Part]:
    """The parts of a file. No picture is read."""
    if file.suffix == ".parquet":
        groups = pq.ParquetFile(file, memory_map=True)
        rows = [groups.metadata.row_group(number).num_rows for number in range(groups.num_row_groups)]
        names = groups.schema_arrow.names
        return [Part(count, names, partial(groups.read_row_group, number)) for number, count in enumerate(rows)]
    with pa.ipc.open_stream(pa.memory_map(str(file))) as stream:  # stays on the disk until a picture is read
        whole = stream.read_all()
    return [Part(len(whole), whole.column_names, whole.select)]
