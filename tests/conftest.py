"""No test reads or writes the user's cache, and processes that test at once share the cores."""

import os
from collections.abc import Iterator

import pytest

TESTING = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if TESTING > 1:  # before torch is imported, here and in every program that a test starts
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // TESTING))


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDSMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
