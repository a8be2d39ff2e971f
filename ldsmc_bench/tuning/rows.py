"""The tables of conf/tuned: a row is exchanged, all other rows and comments stay as they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import write_file


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """The own rows of a file, by name; none where there is no file. Raises UserError for one that is no table."""
    try:
        found = yaml.safe_load(path.read_text("utf-8")) if path.exists() else None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: cannot be read as YAML: mend it, or choose another folder with out=...") from error
    rows = {} if found is None else found
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for key, row in rows.items() if key != "defaults"):
        raise UserError(f"{path}: must hold a row of values for each task, as box: {{zeta: 1.0}}")
    return {key: row for key, row in rows.items() if key != "defaults"}


def with_row(text: str, name: str, row: Mapping[str, Any], note: str) -> str:
    """The text of a table with this row in the place of the one of its name, else at the end.

    A comment above it, `# name: note`, takes the place of those that began so. An anchor stays, so that rows which are
    aliases of this one follow it.
    """
    lines = [line for line in text.splitlines() if not line.startswith(f"# {name}: ")]
    first = next((i for i, line in enumerate(lines) if line.startswith(f"{name}:")), len(lines))
    last = next((i for i in range(first + 1, len(lines)) if not re.match(r"\s+\S|\s*}", lines[i])), len(lines))
    anchor = re.match(r"\S+:\s*(&\S+)", lines[first]) if first < len(lines) else None
    flow = yaml.safe_dump(dict(row), default_flow_style=True, sort_keys=False, width=1000).strip()
    lines[first:last] = [f"# {name}: {note}", f"{name}: {f'{anchor[1]} ' if anchor else ''}{flow}"]
    return "\n".join(lines) + "\n"


def write_row(path: Path, name: str, values: Mapping[str, Any], note: str) -> list[str]:
    """Set `values` in the row `name` of the table at `path`, which comes to be where there is none, and return the
    names of the rows that follow it. Raises UserError where the file is no table or cannot be written."""
    before = rows_of(path)
    text = path.read_text("utf-8") if path.exists() else "# Written by `ldsmc-bench tune`.\n"
    write_file(path, with_row(text, name, before.get(name, {}) | dict(values), note).encode())
    return [other for other, row in rows_of(path).items() if other != name and before.get(other) != row]


def list_table(path: Path, table: str, method: str) -> None:
    """Have the file at `path`, conf/tuned/<method>.yaml, list the table `table` of the method."""
    text = path.read_text("utf-8") if path.exists() else ""
    head = f"# The tables of hyper-parameters of method={method}; a prior names its own as prior.tuning.\ndefaults:\n"
    entry = f"  - {table}/{method}@{table}\n"
    if entry not in text:
        write_file(path, ((text or head) + entry).encode())
