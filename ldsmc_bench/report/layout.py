"""What a table shows, from `conf/table/<name>.yaml`: which runs, and what makes its rows and columns.

    title: Faces of FFHQ            the first sentence of the caption
    runs: {dataset: ffhq}           the runs shown: columns of `frame.runs`, each with the value or values wanted
    rows: [method, particles]       what makes a row
    blocks: [task]                  what makes a block of rows under its own heading; rows are ranked within a block
    columns: task                   what makes a group of columns
    across: 4                       groups of columns side by side, the others below
    metrics: [psnr, {name: cost.seconds, label: s/image, digits: 2, better: lower}]
    sweep: sample.s                 only runs of which others differ in this alone

Only `title`, `rows` and `metrics` must be there. A metric of scoring/protocols.py needs its name only; `times` converts
its unit. A metric is a mean over images, or of a set where its protocol says so or its name begins with `sets.`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from ldsmc_bench.composition import CONF, nearest, one_line
from ldsmc_bench.errors import UserError
from ldsmc_bench.report.frame import RUN
from ldsmc_bench.scoring.protocols import PROTOCOLS

KEYS = ("title", "runs", "rows", "blocks", "columns", "across", "metrics", "sweep")
METRIC_KEYS = ("name", "label", "latex", "digits", "better", "times")
DIRECTIONS = ("higher", "lower", "one", "none")
PARTS_OF_A_RUN = ("sample.", "task.", "dataset.", "prior.", "measurement.")


@dataclass(frozen=True)
class Metric:
    """A column: `better` is `higher`, `lower`, `one` (near 1) or `none`, where rows are not ranked."""

    name: str
    label: str
    latex: str
    digits: int
    better: str
    times: float = 1.0

    @property
    def of_sets(self) -> bool:
        protocol = PROTOCOLS.get(self.name)
        return self.name.startswith("sets.") or (protocol is not None and protocol.per == "set")

    @property
    def column(self) -> str:
        """Its column in `frame.rows`, or in `frame.runs` where it is of sets."""
        return f"sets.{self.name.removeprefix('sets.')}" if self.of_sets else self.name


@dataclass(frozen=True)
class Layout:
    """One table's layout; `name` is that of its file."""

    name: str
    title: str
    rows: tuple[str, ...]
    metrics: tuple[Metric, ...]
    runs: Mapping[str, Any]
    blocks: tuple[str, ...] = ()
    columns: str | None = None
    across: int = 4
    sweep: str | None = None


def load_layouts(folder: Path = CONF / "table") -> list[Layout]:
    """The layouts of a folder, by name. Raises UserError that names the file and the key at fault."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise UserError(f"layouts={folder}: holds no layout, <name>.yaml; leave it out for those of conf/table")
    return [load_layout(file) for file in files]


def load_layout(file: Path) -> Layout:
    """The layout in `file`. Raises UserError that names the file and the key at fault."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except (OSError, YAMLError, Exception) as error:  # OmegaConf raises many kinds
        raise UserError(f"{file}: cannot be read ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise UserError(f"{file}: must say title, rows and metrics")
    _refuse_unknown(f"{file}", values, KEYS)
    if absent := [key for key in ("title", "rows", "metrics") if not values.get(key)]:
        raise UserError(f"{file}: {absent[0]} is missing")
    runs = _mapping(file, "runs", values.get("runs") or {})
    layout = Layout(
        name=file.stem,
        title=str(values["title"]),
        rows=_columns_of_runs(file, "rows", values["rows"]),
        metrics=tuple(_metric(file, metric) for metric in _sequence(file, "metrics", values["metrics"])),
        runs=runs,
        blocks=_columns_of_runs(file, "blocks", values.get("blocks") or []),
        columns=values.get("columns"),
        across=values.get("across", 4),
        sweep=values.get("sweep"),
    )
    _columns_of_runs(file, "runs", list(runs))
    _columns_of_runs(file, "columns", [layout.columns] if layout.columns is not None else [])
    _columns_of_runs(file, "sweep", [layout.sweep] if layout.sweep is not None else [])
    if not isinstance(layout.across, int) or layout.across < 1:
        raise UserError(f"{file}: across={layout.across}: must be a whole number, at least 1")
    return layout


def _metric(file: Path, value: object) -> Metric:
    given: dict[str, Any] = value if isinstance(value, dict) else {"name": value}
    _refuse_unknown(f"{file}: metrics", given, METRIC_KEYS)
    name = str(given.get("name"))
    protocol = PROTOCOLS.get(name)
    if protocol is not None:
        given = {"label": protocol.label, "latex": protocol.latex, "digits": protocol.digits} | given
        given = {"better": protocol.better} | given
    elif "label" not in given or "digits" not in given:
        known = nearest(name, PROTOCOLS)
        raise UserError(f"{file}: metrics: {name} has no protocol; give its label and digits too, or {known}")
    better = given.get("better", "none")
    if better not in DIRECTIONS:
        raise UserError(f"{file}: metrics: {name}.better={better}: must be {' or '.join(DIRECTIONS)}")
    if not isinstance(given["digits"], int) or not 0 <= given["digits"] <= 12:
        raise UserError(f"{file}: metrics: {name}.digits={given['digits']}: must be a whole number from 0 to 12")
    label = str(given["label"])
    return Metric(name, label, str(given.get("latex", label)), given["digits"], better, float(given.get("times", 1)))


def _columns_of_runs(file: Path, key: str, value: object) -> tuple[str, ...]:
    names = _sequence(file, key, value)
    for name in names:
        if name not in RUN and name != "precision" and not str(name).startswith(PARTS_OF_A_RUN):
            raise UserError(
                f"{file}: {key}: runs have no {name}; {nearest(str(name), [*RUN, 'precision'])}, or sample.<argument>"
            )
    return tuple(map(str, names))


def _sequence(file: Path, key: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise UserError(f"{file}: {key}={value}: must be a list")
    return value


def _mapping(file: Path, key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{file}: {key}={value}: must be a section, key: value")
    return value


def _refuse_unknown(where: str, given: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"{where}: no such key {key}; {nearest(str(key), known)}")
