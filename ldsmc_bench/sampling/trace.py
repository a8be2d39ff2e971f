"""What a sampler lets out while it runs: named values of a step, kept only where somebody asked for them."""

from collections import defaultdict
from collections.abc import Callable, Collection

import torch
from torch import Tensor


class Trace:
    """Collects values by name, and ticks at every step; `keep=None` keeps everything (for replays)."""

    def __init__(
        self,
        keep: Collection[str] | None = ("ess", "resampled", "log_evidence"),
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.keep = keep
        self.tick = tick
        self.values: dict[str, dict[int, Tensor]] = defaultdict(dict)

    def __call__(self, step: int, **values: Tensor) -> None:
        """A step is done, with these values; tensors stay on their device, so nothing waits for it."""
        self.tick()
        self.note(step, **values)

    def note(self, number: int, **values: Tensor) -> None:
        """Values of something else than a step, numbered."""
        for name, value in values.items():
            if self.keep is None or name in self.keep:
                self.values[name][number] = value.detach()

    def per_image(self) -> list[dict[str, list[float]]]:
        """The kept values of (B,) tensors as one dictionary an image: name -> value for each step, in order."""
        tables = {name: torch.stack(list(steps.values()), dim=1).cpu().tolist() for name, steps in self.values.items()}
        images = len(next(iter(tables.values()), []))
        return [{name: table[image] for name, table in tables.items()} for image in range(images)]
