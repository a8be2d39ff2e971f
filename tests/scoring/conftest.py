"""Toyfaces for the tests of this room, drawn once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ldsmc_bench import toyfaces
from tests.scoring import standins


@pytest.fixture(scope="session")
def faces() -> Tensor:
    """The first 256 test faces, uint8 (256, 3, 64, 64)."""
    drawn = [toyfaces.array(image_id) for image_id in toyfaces.ids("test")[:256]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="session")
def degrade() -> Callable[..., Tensor]:
    """uint8 images after a circular Gaussian blur (std in pixels, in Fourier space) and noise (std in grey levels)."""

    def degraded(images: Tensor, *, blur: float = 0, noise: float = 0) -> Tensor:
        frequency = torch.fft.fftfreq(images.shape[-1], dtype=torch.float64)
        decay = torch.exp(-2 * (torch.pi * blur * frequency) ** 2)
        x = torch.fft.ifft2(torch.fft.fft2(images.double()) * decay[:, None] * decay).real
        error = np.random.default_rng(0).normal(size=x.shape)
        return (x + noise * torch.from_numpy(error)).round().clamp(0, 255).to(torch.uint8)

    return degraded


@pytest.fixture(scope="session")
def standin_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a stand-in of every metric's file, made once."""
    cache = tmp_path_factory.mktemp("standins")
    standins.write(cache)
    return cache / "metrics"


@pytest.fixture
def fetched(standin_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test, which has them all."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "metrics").symlink_to(standin_files, target_is_directory=True)
    monkeypatch.setenv("LDSMC_CACHE", str(cache))
    return cache


@pytest.fixture
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "empty"))
