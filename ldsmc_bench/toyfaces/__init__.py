"""`toyfaces`: faces drawn by the program at 64x64, each from its id alone, with known attributes."""

from ldsmc_bench.toyfaces.attributes import LABELS, SPLITS, Face, attributes, ids, labels
from ldsmc_bench.toyfaces.canvas import SIZE
from ldsmc_bench.toyfaces.drawing import VERSION, array, paint

__all__ = ["LABELS", "SIZE", "SPLITS", "VERSION", "Face", "array", "attributes", "ids", "labels", "paint"]
