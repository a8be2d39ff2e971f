"""An empty cache for every test, and no proxy between it and the loopback server."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LDSMC_CACHE", str(folder))
    monkeypatch.setenv("no_proxy", "*")
    return folder
