"""Images of any number of channels as NumPy files: hyperspectral, complex, grey in full precision."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError, one_line
from ldsmc_bench.photos.containers import stacked
from ldsmc_bench.photos.folder import collection_of, folder_at, state_of
from ldsmc_bench.problem.datasets import Dataset, digest_of
from ldsmc_bench.problem.pictures import Size, sides


def arrays(root: str | None, image_size: Size, channels: int, collection: str | None = None) -> Dataset:
    """All `.npy` files in `root`, each an image (C,H,W), or grey (H,W), of floating-point numbers in [-1,1]; complex
    ones (H,W) are two channels, real and imaginary. An id is the file's name without `.npy`. Where `root` is a file, it
    holds many pictures (`containers.stacked`).

    `collection` names the folder in a run's identity: None for its path. Raises UserError without such files; `load`
    raises it, naming the file, for one that cannot be read or is of another shape or range.
    """
    if root and Path(str(root)).expanduser().is_file():
        return stacked(str(root), image_size, channels, collection)
    top, shape = folder_at(root), (channels, *sides(image_size))
    paths = {path.stem: path for path in sorted(top.glob("[!.]*.npy"))}
    if not paths:
        raise UserError(f"dataset.root={root}: no arrays (.npy) in this folder")

    def state(image_id: str) -> str | None:
        return state_of(paths[image_id])

    way = digest_of(f"arrays {shape}", [collection_of(top, collection)])
    return Dataset("arrays", list(paths), lambda image_id: read(paths[image_id], shape), way, state=state)


def read(path: Path, shape: Sequence[int]) -> Tensor:
    """An array as an image of `shape` (C,H,W), float32. Raises UserError, naming the file, for any other."""
    try:
        found = np.load(path)
    except Exception as error:  # a parser of arbitrary bytes may raise anything
        raise UserError(f"{path}: cannot be read ({one_line(error)}); repair or remove it") from error
    whole = np.stack([found.real, found.imag]) if np.iscomplexobj(found) else found
    whole = whole[None] if whole.ndim == 2 else whole
    if whole.shape != tuple(shape):
        raise UserError(f"{path}: has the shape {found.shape}, {found.dtype}, but the prior's images {tuple(shape)}")
    if whole.dtype.kind != "f" or not np.abs(whole).max() <= 1:
        raise UserError(f"{path}: must be of floating-point numbers in [-1,1]; scale it")
    return torch.from_numpy(whole.astype(np.float32))
