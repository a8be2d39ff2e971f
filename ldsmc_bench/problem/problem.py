"""A problem: images of a data set, each with a measurement that depends on (seed, data set, image, task) alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.operators import Operator, PhaseRetrieval


@dataclass(frozen=True)
class Problem:
    """A task on a data set under a seed; `noise` has the arguments of `measure` that say how it falls."""

    dataset: Dataset
    task: str
    seed: int
    operator: Callable[[int, Noise], Operator]
    noise: Mapping[str, Any]
    bounded: bool = True  # images lie in [-1,1]


@dataclass(frozen=True)
class Batch:
    """Draws to make, row by row, with the images and their measurements; `unreadable` has the reasons why others are
    missing. Draws of one image have the same truth and the same measurement.

    `states` has the state of each image's file (`Dataset.state`).
    """

    draws: tuple[Draw, ...]
    truths: Tensor  # uint8 (B,C,H,W)
    measurement: Measurement | None  # None without any image
    unreadable: dict[Draw, str]
    labels: list[int] | None = None  # classes, where the data set has them
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The image of each row."""
        return [draw.image_id for draw in self.draws]


def load_batch(problem: Problem, draws: Sequence[Draw], image_size: int | Sequence[int]) -> Batch:
    """Load and measure the images of draws, each once. Raises UserError where they are not of `image_size`, the
    prior's: a side, or (C,H,W)."""
    dataset = problem.dataset
    images, unreadable, states = {}, {}, {}
    for image_id in dict.fromkeys(draw.image_id for draw in draws):
        if dataset.state and (state := dataset.state(image_id)):  # before the file is read, which may change meanwhile
            states[image_id] = state
        try:
            images[image_id] = _image(problem, image_id)
        except UserError as error:
            unreadable[image_id] = str(error)
    missing = {draw: unreadable[draw.image_id] for draw in draws if draw.image_id in unreadable}
    if not images:
        return Batch((), torch.empty(0), None, missing)
    x = torch.stack(list(images.values()))
    wanted = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if (there := tuple(x.shape[-len(wanted) :])) != wanted:
        raise UserError(
            f"dataset={dataset.name}: its images are of {_written(there)}, but the prior's of {_written(wanted)}; "
            "use a dataset of that size, or any folder of pictures: dataset=folder dataset.root=..."
        )
    noise = Noise(problem.seed, list(images), f"measurement/{dataset.name}/{problem.task}")
    measurement = measure_batch(problem, x, noise)
    readable = tuple(draw for draw in draws if draw.image_id in images)
    if len(readable) > len(images):
        row_of = {image_id: row for row, image_id in enumerate(images)}
        rows = torch.tensor([row_of[draw.image_id] for draw in readable])
        x, measurement = x[rows], measurement.select(rows)
    labels = [dataset.labels[draw.image_id] for draw in readable] if dataset.labels else None
    return Batch(readable, to_uint8(x), measurement, missing, labels, states)


def _image(problem: Problem, image_id: str) -> Tensor:
    """An image of the data set. Raises UserError for another type, or values that images do not have."""
    x: Any = problem.dataset.load(image_id)
    if not (isinstance(x, Tensor) and x.dtype == torch.float32 and x.ndim == 3 and x.numel()):
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UserError(f"dataset={problem.dataset.name}: load must return float32 (C,H,W); {image_id} is {found}")
    low, high = (float(one) for one in x.aminmax())
    if problem.bounded and not -1.001 < low <= high < 1.001:
        wrong = f"dataset={problem.dataset.name}: {image_id} has values from {low:.4g} to {high:.4g}"
        raise UserError(f"{wrong}; scale images to [-1,1], or set bounded: false in its YAML")
    return x


def _written(shape: Sequence[int]) -> str:
    """A side or two and, if there are others than three, channels."""
    *channels, height, width = shape
    size = f"{width} pixels" if height == width else f"{height} x {width} pixels"
    return f"{size} and {channels[0]} channel(s)" if channels not in ([], [3]) else size


def measure_batch(problem: Problem, x: Tensor, noise: Noise) -> Measurement:
    """The task applied to images x (B,C,H,W) in [-1,1]."""
    return measure(x, problem.operator, noise, **problem.noise)


def to_uint8(x: Tensor) -> Tensor:
    """[-1,1] to uint8, clipped and rounded."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def measurement_pictures(measurement: Measurement) -> Tensor:
    """uint8 pictures (B,3,h,w) of y: clipped to [-1,1], mid grey where it carries no information; what is no picture is
    scaled to its largest. Magnitudes, which span orders, are shown by their logarithm, from the noise level (or a
    thousandth of the largest) in black to the largest of an image in white."""
    y = measurement.y.float().cpu()
    largest = y.abs().amax(dim=(1, 2, 3), keepdim=True)
    if isinstance(measurement.operator, PhaseRetrieval):
        floor = torch.clamp(largest / 1000, min=max(float(measurement.noise_std), 1e-6)).minimum(largest / 2)
        y = 2 * torch.log(y.clamp(min=1e-12) / floor) / torch.log(largest / floor) - 1
    elif not is_picture(measurement):
        y = y / largest.clamp(min=1e-12)
    observed = measurement.operator.observed()
    if observed is not None:
        y = torch.where(observed.cpu().expand_as(y) > 0, y, 0.0)
    return preview(to_uint8(y))


def preview(x: Tensor) -> Tensor:
    """Red, green and blue (B,3,H,W) of any number of channels: their first, middle and last."""
    return x[:, [0, x.shape[1] // 2, -1]]


def is_picture(measurement: Measurement) -> bool:
    """True if y is an image of grey levels or colours: its picture then shows all but the noise beyond [-1,1]."""
    return measurement.y.shape[1] in (1, 3) and getattr(measurement.operator, "brightness", True)
