"""The weighted particles that draw 0 of an image was taken from, kept where `particles_as_draws` asks for them."""

import io
import os
import zipfile

import numpy as np
from numpy.typing import NDArray

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import write_file
from ldsmc_bench.records.store import Store, particles_path


def keep_particles(store: Store, image_id: str, pictures: NDArray[np.uint8], weights: NDArray[np.float64]) -> None:
    """Keep an image's particles, pictures (N,3,S,S) with weights (N,). Raises UserError if they cannot be written."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pictures=pictures, weights=weights)
    write_file(particles_path(store, image_id), buffer.getvalue())


def read_particles(store: Store, image_id: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The pictures (N,3,S,S) and the weights (N,) of an image's particles. Raises UserError for a file that is absent
    or damaged, and for weights that are not finite."""
    path = particles_path(store, image_id)
    remedy = "remove it and give the run's command again with particles_as_draws=true"
    try:
        with np.load(path) as kept:
            pictures, weights = kept["pictures"], kept["weights"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is absent or damaged: {remedy}") from error
    if not (np.isfinite(weights).all() and weights.sum() > 0):
        raise UserError(f"{path}: the weights are not finite, so these particles are no draws")
    return pictures, weights


def with_particles(store: Store) -> set[str]:
    """The images whose particles are kept."""
    folder = store.folder / "particles"
    names = os.listdir(folder) if folder.is_dir() else []
    return {name.removesuffix(".npz") for name in names if name.endswith(".npz") and not name.startswith(".")}
