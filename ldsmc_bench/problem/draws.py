"""Draws: the answers of a sampler to the measurement of an image."""

from collections.abc import Sequence
from typing import NamedTuple


class Draw(NamedTuple):
    """One of the answers of a sampler to the measurement of an image; the first is number 0."""

    image_id: str
    number: int = 0

    @property
    def trial_id(self) -> str:
        """The name of its noise. Draw 0 has that of its image, however many follow; no image id has a slash."""
        return f"{self.image_id}/{self.number}" if self.number else self.image_id


def first_draws(ids: Sequence[str]) -> list[Draw]:
    """Draw 0 of each image."""
    return [Draw(image_id) for image_id in ids]
