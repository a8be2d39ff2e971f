"""Pictures of draws beside the posterior that they should be of."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldsmc_bench.mixture.posterior import Posterior
from ldsmc_bench.problem.problem import to_uint8

SIDE = 160  # pixels of a scatter plot
SHOWN, GAP = 8, 2  # draws on a sheet, and pixels between them


def picture(draws: Tensor, posterior: Posterior, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Of draws (n,d) of images or vectors of this `shape` (C,H,W): a sheet or a scatter plot, (h,w,3)."""
    return sheet(draws.double(), posterior, shape) if shape[0] == 3 and shape[1] > 1 else scatter(draws, posterior)


def sheet(draws: Tensor, posterior: Posterior, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Two rows of images: mean, standard deviation and eight draws, of the posterior and below of the sampler.

    Draws are in the order of the weights of their components, and are taken at even distances: where the weights of the
    sampler's components are right, it shows the same below as above.
    """
    mean, variance = posterior.mean_and_variance()
    exact = posterior.sample(max(100, len(draws)), torch.Generator().manual_seed(0))
    spread = draws.std(dim=0, correction=0)
    rows = [[mean, variance.sqrt() * 2 - 1, *_ordered(exact, posterior)]]
    rows += [[draws.mean(dim=0), spread * 2 - 1, *_ordered(draws, posterior)]]
    height, width = shape[1] + GAP, shape[2] + GAP
    page = np.full((2 * height - GAP, len(rows[0]) * width - GAP, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            pixels = to_uint8(image.reshape(*shape)).permute(1, 2, 0).numpy()
            page[i * height : i * height + shape[1], j * width : j * width + shape[2]] = pixels
    return page


def _ordered(draws: Tensor, posterior: Posterior) -> Tensor:
    """Eight of the draws (8,d), from those of the heaviest component to those of the lightest."""
    weight = posterior.weights[posterior.responsibilities(draws).argmax(dim=1)]
    order = weight.argsort(descending=True, stable=True)
    return draws[order[((torch.arange(SHOWN) + 0.5) * len(draws) / SHOWN).long()]]


def scatter(draws: Tensor, posterior: Posterior) -> NDArray[np.uint8]:
    """A plot of the first two entries: the posterior in shades of blue, draws as red points over it, at the border if
    they lie outside."""
    axes = [0, min(1, draws.shape[1] - 1)]
    plane = posterior.sample(50_000, torch.Generator().manual_seed(0))[:, axes].numpy()
    middle = np.median(plane, axis=0)
    reach = np.abs(plane - middle).max() * 1.3
    edges = np.linspace(-reach, reach, SIDE + 1)
    across, up = (plane - middle).T
    density, _, _ = np.histogram2d(across, up, bins=[edges, edges])
    shade = np.sqrt(density / density.max())[..., None]
    picture = 255 - shade * (255 - np.array([40, 90, 170]))
    points = draws.double()[:1000, axes].numpy() - middle
    places = np.clip(((points + reach) / (2 * reach) * SIDE).astype(int), 1, SIDE - 2)
    for x, y in places:
        picture[x : x + 2, y : y + 2] = 0.45 * picture[x : x + 2, y : y + 2] + 0.55 * np.array([210, 40, 20])
    return np.ascontiguousarray(picture.swapaxes(0, 1)[::-1]).round().astype(np.uint8)
