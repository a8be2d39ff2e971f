import os
from pathlib import Path

import pytest

from ldsmc_bench.records.store import Store, open_store
from tests.records.kept import RUN


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine dies in these tests, and a busy disk may take a second to sync a file."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path, RUN, "steps: 100\n")
