"""No test reads or writes the user's cache, and processes that test at once share the cores."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AT_ONCE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if AT_ONCE > 1:  # before torch is imported, here and in every program that a test starts
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // AT_ONCE))
    os.environ["OMP_WAIT_POLICY"] = "passive"  # a thread that waits leaves its core to the other process


LONGEST = (  # files, by what `--durations=0` shows
    *("test_disturbed", "test_undisturbed", "test_exactness_slow", "test_published", "test_conformance"),  # slow tests
    *("test_resume", "test_wandb", "test_bad_input", "test_failures", "test_command_line", "test_exactness"),
    *("test_page_browser", "test_benchmark_command", "test_resample_replay", "test_ldsmc_replay", "test_conf"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--prior", help="check this prior only, with tests/prior/test_prior_conformance.py")
    parser.addoption("--config-dir", help="a folder with method/NAME.yaml or prior/NAME.yaml outside the repository")


def pytest_configure(config: pytest.Config) -> None:
    """The modules of a folder that `--config-dir` names are found, as by a command that is given there."""
    if folder := config.getoption("--config-dir", default=None):
        sys.path.insert(0, str(Path(folder).resolve()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process for the tests of a file, or of a method there, which share what is costly to make; and for all on
    SLURM, which share their cluster. The longest come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        together = item.path.parent if item.path.parent.name == "cluster" else item.path
        method = item.callspec.params.get("method", "") if hasattr(item, "callspec") else ""
        item.add_marker(pytest.mark.xdist_group(f"{together}-{method}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Between collection and the first test: what is there stays, so that no collection of garbage looks through it."""
    gc.freeze()
    if "tests.commands" in sys.modules and sys.platform == "linux":
        sys.modules["tests.commands"].serve()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDSMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
