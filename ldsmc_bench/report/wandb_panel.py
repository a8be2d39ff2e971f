"""The pictures that W&B shows of an image, side by side: truth, measurement, reconstruction, particles' spread."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ldsmc_bench.report.wandb_part import Problem

MARGIN = 4
AMPLIFIED = 4  # times: particles seldom differ by more than a quarter of the range

Picture = NDArray[np.uint8]  # (h,w,3)


def posed_pictures(problem: Problem, ids: Sequence[str]) -> dict[str, tuple[Picture, Picture]]:
    """Truth and measurement of images, made again from the configuration, on the CPU; unreadable ones are left out.

    Raises UserError where that is not possible here, a data set's folder gone for example.
    """
    import torch  # takes seconds: not before there is a picture to show

    from ldsmc_bench.pose import pose
    from ldsmc_bench.report.sheet import measurement_pictures
    from ldsmc_bench.settings import Settings, made

    # Checked by the run that noted it; the sampler, which may be anybody's module, plays no part.
    config = problem["config"]
    keys = ("n_images", "seed", "batch_size", "shard", "shards", "precision")
    settings = Settings(config, sample={}, device=torch.device("cpu"), **{key: config[key] for key in keys})
    posed = pose(settings, made(settings.config["dataset"]["load"]), ids)
    if posed.measurement is None:
        return {}
    columns = [posed.truths, measurement_pictures(posed.measurement)]
    truths, measurements = ([picture.permute(1, 2, 0).numpy() for picture in column] for column in columns)
    return dict(zip(posed.ids, zip(truths, measurements, strict=True), strict=True))


def amplified(spread: NDArray[np.uint8]) -> Picture:
    """Standard deviations (h,w) in grey: black where all particles agree, white where they differ most."""
    grey = np.minimum(spread.astype(np.int64) * AMPLIFIED, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def strip(pictures: Sequence[Picture]) -> Picture:
    """Pictures in one, left to right with white between, each enlarged by nearest pixels to the tallest."""
    height = max(picture.shape[0] for picture in pictures)
    parts = [np.full((height, MARGIN, 3), 255, dtype=np.uint8)] * (2 * len(pictures) - 1)
    for i, picture in enumerate(pictures):
        width = picture.shape[1] * height // picture.shape[0]
        parts[2 * i] = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))
    return np.concatenate(parts, axis=1)
