"""`pytest tests/baselines --method NAME [--config-dir DIR]`: the conformance suite for one method."""

import re
from pathlib import Path

import pytest

from tests.commands import choices

WEIGHTED = ("dps", "pigdm", "lgd")  # of the methods with weighted=true those that differ in kind
LEDGER = Path(__file__).parents[2] / "baselines" / "README.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", help="check this method only (default: all in conf/method)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--method", default=None)
    methods = [chosen] if chosen else [*choices("method"), *(f"{name} weighted=true" for name in WEIGHTED)]
    if {"method", "variant", "listed"} <= set(metafunc.fixturenames):
        ledger = rows_of_the_ledger()
        newcomers = {(method, "default"): None for method in methods if method not in {name for name, _ in ledger}}
        rows = {case: row for case, row in {**ledger, **newcomers}.items() if case[0] in methods}
        values = [(*case, row) for case, row in rows.items()]
        metafunc.parametrize(("method", "variant", "listed"), values, ids=map("-".join, rows), scope="module")
    elif "method" in metafunc.fixturenames:
        metafunc.parametrize("method", methods, scope="module")


def rows_of_the_ledger() -> dict[tuple[str, str], list[float]]:
    """The three figures of each method and variant: nothing measured, noise alone, one Gaussian."""
    _, _, section = LEDGER.read_text("utf-8").partition("\n## Prior check and Gaussian check\n")
    rows = re.findall(r"^\| `(\w+(?: weighted=true)?)` \| (\w+) \|(.*)\|$", section.partition("\n## ")[0], re.MULTILINE)
    return {
        (method, variant): [float(cell.strip(" *")) for cell in cells.split("|")] for method, variant, cells in rows
    }
