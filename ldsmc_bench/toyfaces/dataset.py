"""The embedded data set: faces that the program draws."""

from ldsmc_bench.problem import pictures
from ldsmc_bench.problem.datasets import Dataset, digest_of
from ldsmc_bench.toyfaces.attributes import ids
from ldsmc_bench.toyfaces.drawing import VERSION, array


def toyfaces(split: str = "test") -> Dataset:
    """64x64 faces, each drawn from its id. Raises UserError for an unknown split."""
    names = ids(split)
    return Dataset("toyfaces", names, lambda image_id: pictures.tensor(array(image_id)), digest_of(VERSION, names))
