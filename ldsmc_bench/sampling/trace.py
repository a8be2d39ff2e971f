"""Callback that records named per-step values of a sampler; values that nobody asked for are dropped."""

from collections import defaultdict
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError

# The axes of what a run keeps; the first is of images.
AXES = {"ess": 1, "resampled": 1, "log_evidence": 1, "log_weights": 2, "spread": 4}
AXES |= {"particles": 5, "particles_log_weights": 2}


class Trace:
    """Collect values by name, and tick at every step; `keep=None` keeps everything (for replays).

    With `rows`, kept values must be tensors with a row for each of so many images; UserError is raised for others.
    """

    def __init__(
        self,
        keep: Collection[str] | None = ("ess", "resampled", "log_evidence"),
        tick: Callable[[], None] = lambda: None,
        rows: int | None = None,
    ) -> None:
        self.keep, self.tick, self.rows = keep, tick, rows
        self.values: dict[str, dict[int, Tensor]] = defaultdict(dict)

    def __call__(self, step: int, **values: Tensor) -> None:
        """Report a step that is done, with values of it; tensors stay on their device, so nothing waits for it."""
        self.tick()
        self.note(step, **values)

    def note(self, number: int, **values: Tensor) -> None:
        """Record values of something else than a step, numbered."""
        for name in [name for name in values if self.keep is None or name in self.keep]:
            if self.rows is not None:
                self._require(name, values[name])
            self.values[name][number] = values[name].detach().clone()  # the sampler may write to its own

    def _require(self, name: str, value: object) -> None:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(got, tuple) or len(got) != AXES[name] or got[0] != self.rows:
            shape = ", ".join([f"({self.rows}", *["…"] * (AXES[name] - 1)])
            raise UserError(
                f"method.sample: trace({name}=...) takes a tensor of shape {shape}), a row for each image; it got {got}"
            )

    def per_image(self) -> list[dict[str, list[float]]]:
        """One dictionary an image of the kept (B,) values: name -> value of each step, in order."""
        tables = {name: torch.stack(list(steps.values()), dim=1).cpu().tolist() for name, steps in self.values.items()}
        images = len(next(iter(tables.values()), []))
        return [{name: table[image] for name, table in tables.items()} for image in range(images)]
