"""`pytest tests/baselines --method NAME [--config-dir DIR]`: the conformance suite for one method."""

import pytest

from tests.commands import choices


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", help="check this method only (default: all in conf/method)")
    parser.addoption("--config-dir", help="a folder with method/NAME.yaml of a method outside the repository")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "method" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--method", default=None)
        metafunc.parametrize("method", [chosen] if chosen else choices("method"), scope="module")
