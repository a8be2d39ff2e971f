"""Images posed as a problem: loaded and measured. What is needed to see a problem, without any sampler or metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.settings import Settings, made


@dataclass(frozen=True)
class Posed:
    """Images of a data set with their measurements, row by row; `unreadable` says why others are not among them."""

    ids: tuple[str, ...]
    truths: Tensor  # uint8 (B,3,S,S)
    measurement: Measurement | None  # None without any image
    unreadable: dict[str, str]
    labels: list[int] | None = None  # classes, where the data set has them


def pose(settings: Settings, dataset: Dataset, ids: Sequence[str]) -> Posed:
    """Load images and measure them: y depends on (seed, data set, image id, task) alone."""
    images, unreadable = {}, {}
    for image_id in ids:
        try:
            images[image_id] = dataset.load(image_id)
        except UserError as error:
            unreadable[image_id] = str(error)
    if not images:
        return Posed((), torch.empty(0), None, unreadable)
    x = torch.stack(list(images.values()))
    _expect_size(settings, x.shape[-1])
    noise = Noise(settings.seed, list(images), f"measurement/{dataset.name}/{settings.config['task']['name']}")
    measurement = measured(settings, x, noise)
    labels = [dataset.labels[image_id] for image_id in images] if dataset.labels else None
    return Posed(tuple(images), pixels(x), measurement, unreadable, labels)


def measured(settings: Settings, x: Tensor, noise: Noise) -> Measurement:
    """The task applied to images x (B,3,S,S)."""
    task, common = settings.config["task"], settings.config["measurement"]
    return measure(
        x,
        made(task["operator"]),
        noise,
        noise_std=task["noise_std"],
        noise_in_hole=common["noise_in_hole"],
        kind=task["noise"],
        poisson_rate=common["poisson_rate"],
    )


def _expect_size(settings: Settings, side: int) -> None:
    dataset, prior = (settings.config[part] for part in ("dataset", "prior"))
    if side != (wanted := prior["image_size"]):
        raise UserError(
            f"dataset={dataset['name']}: its images are of {side}, but prior={prior['name']} is of {wanted}; "
            "use a dataset of that size, or any folder of pictures: dataset=folder dataset.root=..."
        )


def pixels(x: Tensor) -> Tensor:
    """[-1,1] to uint8, clipped and rounded."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
