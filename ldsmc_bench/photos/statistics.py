"""The reference statistics of a folder of pictures: any number of them, one after another."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.checkpoints.metrics import inception_space
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import replacing
from ldsmc_bench.photos.folder import folder
from ldsmc_bench.problem.problem import to_uint8
from ldsmc_bench.scoring.fetched import command, file_of
from ldsmc_bench.scoring.reference import FeatureSpace, Reference, reference_path, save_reference

KERNEL = 5000  # pictures whose features are kept: KID takes time and memory by their square
CHUNK = 256


def statistics_of_folder(dataset: str, root: str, side: int) -> tuple[Path, Reference]:
    """Make and cache the statistics of all pictures below `root`, read as runs read them.

    Raises UserError where Inception was not fetched, or the folder has fewer than two pictures or an unreadable one.
    """
    if dataset == "folder":
        raise UserError(f"--dataset {dataset}: is compared with its own truths; name a data set, such as ffhq")
    if (file := file_of("fid_clean")) is None:
        raise UserError(f"FID needs its network: {command(['fid_clean'])}")
    space = inception_space(file, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    reference = folder_reference(space, dataset, root, side)
    path = reference_path(dataset, side)
    with replacing(path) as temporary:
        save_reference(reference, temporary, np.float32)
    return path, reference


def folder_reference(space: FeatureSpace, dataset: str, root: str, side: int) -> Reference:
    """The reference that the pictures below `root` make. Its digest is that of their ids and their pixels as read."""
    pictures = folder(root, side)
    n, digest = len(pictures.ids), hashlib.sha256()
    if n < 2:
        raise UserError(f"--folder {root}: a reference needs at least two pictures, here is {n}")
    chosen = set(np.linspace(0, n - 1, min(n, KERNEL)).round().astype(int).tolist())

    def images() -> Iterator[Tensor]:
        for image_id in tqdm(pictures.ids, desc=f"{dataset} {side}x{side}", leave=False):
            image = to_uint8(pictures.load(image_id))
            digest.update(image_id.encode() + b"\0" + image.numpy().tobytes())
            yield image

    origin, total, outer = np.zeros(space.dimension), np.zeros(space.dimension), np.zeros((space.dimension,) * 2)
    kept: list[np.ndarray] = []
    done, waiting = 0, images()
    while batch := list(islice(waiting, CHUNK)):
        features = space.features(batch)
        if not done:
            origin = features.mean(axis=0)  # near the mean of all, so that sums of squares lose no digits
        kept.append(features[[i for i in range(len(features)) if done + i in chosen]])
        done += len(features)
        total += (features - origin).sum(axis=0)
        outer += (features - origin).T @ (features - origin)
    cov = (outer - np.outer(total, total) / n) / (n - 1)
    name = f"{n} pictures of {dataset} at {side}x{side}" + (f" (KID: {KERNEL} of them)" if n > KERNEL else "")
    return Reference(name, np.concatenate(kept), origin + total / n, cov, space.digest, n, digest.hexdigest())
