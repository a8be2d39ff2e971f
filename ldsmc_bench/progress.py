"""How far a run is, and how long it will still take."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from ldsmc_bench.settings import Settings


class Progress:
    """A bar over images x moves with the time left; one line every so often where there is no terminal."""

    def __init__(self, settings: Settings, batches: Sequence[Sequence[str]]) -> None:
        images, names = sum(map(len, batches)), settings.labels
        rounds = settings.sample.get("gibbs_iterations", 1) * settings.sample.get("islands", 1)
        self.left = images * names["steps"] * rounds
        self.bar = tqdm(
            total=self.left,
            desc=f"{names['method']} {names['task']} N={names['particles']} ({images} images)",
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed} elapsed, {remaining} left",
            mininterval=1 if sys.stderr.isatty() else 15,
        )

    def tick(self, images: int) -> None:
        """One move of `images` images is done."""
        moves = min(images, self.left)
        self.left -= moves
        self.bar.update(moves)

    def finish(self) -> None:
        """Images that could not be read made no moves."""
        self.tick(self.left)

    def close(self) -> None:
        self.bar.close()
