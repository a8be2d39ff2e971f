"""The layout of a table, from `conf/table/<name>.yaml`: which runs, and what makes its rows and columns.

    title: Faces of FFHQ            the first sentence of the caption
    where: {dataset: ffhq}          the runs shown: keys of a run, each with the value or values wanted, in their order
    rows: [method, particles]       what makes a row
    blocks: [task]                  what makes a block of rows under its own heading; rows are ranked within a block
    columns: task                   what makes a group of columns
    metrics: [psnr, {name: cost.seconds, label: s/image, digits: 2, better: lower}]
    sweep: sample.s                 only runs of which others differ in this alone
    style: plain                    the paper's page: icml (two columns), neurips, or plain, LaTeX's article
    errors: small                   standard errors in small type, or none
    ours: ldsmc                     the method that comes last, as "(ours)"
    star: false                     over both columns (`table*`)
    body_only: false                the tabular alone, without float, caption and footnotes

Only `title`, `rows` and `metrics` must be there; the command line overrides `where` and what follows `sweep`. Of runs
that differ in steps, images or split, which neither `where` nor rows and columns name, a table shows one group. A
metric of conf/metrics.yaml needs its name only; `times` converts its unit, values below its `floor` are printed as
`< floor`, and `how` explains it in the notes. A metric is a mean over images, or of a set where its protocol says so or
its name begins with `sets.`.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from omegaconf import OmegaConf
from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from ldsmc_bench.cli import Options
from ldsmc_bench.errors import UserError, nearest, one_line
from ldsmc_bench.files import CONF
from ldsmc_bench.report.frame import RUN
from ldsmc_bench.scoring.protocols import PROTOCOLS

COLUMNS = [*RUN, "precision", "n_images", "split"]
Paper = Literal["plain", "icml", "neurips"]
PARTS_OF_A_RUN = ("sample.", "task.", "dataset.", "prior.", "measurement.")


def _expect_column(name: str) -> str:
    if name not in COLUMNS and not name.startswith(PARTS_OF_A_RUN):
        raise ValueError(f"runs have no {name}; {nearest(name, COLUMNS)}, or sample.<argument>")
    return name


Column = Annotated[str, AfterValidator(_expect_column)]


class Metric(BaseModel, frozen=True, extra="forbid"):
    """A column: `better` is `higher`, `lower`, `one` (near 1) or `none`, where rows are not ranked."""

    name: str
    label: str
    latex: str
    digits: int = Field(ge=0, le=12)
    better: Literal["higher", "lower", "one", "none"] = "none"
    times: float = 1.0
    floor: float = -math.inf
    how: str = ""

    @model_validator(mode="before")
    @classmethod
    def _with_protocol(cls, value: Any) -> dict[str, Any]:
        given = value if isinstance(value, dict) else {"name": value}
        name = str(given.get("name"))
        if protocol := PROTOCOLS.get(name):
            return {
                key: getattr(protocol, key) for key in ("label", "latex", "digits", "better", "floor", "how")
            } | given
        if not {"label", "digits"} <= given.keys():
            raise ValueError(f"{name} has no protocol; give its label and digits too, or {nearest(name, PROTOCOLS)}")
        return {"latex": given["label"], **given}

    @property
    def of_sets(self) -> bool:
        protocol = PROTOCOLS.get(self.name)
        return self.name.startswith("sets.") or (protocol is not None and protocol.per in ("set", "pooled"))

    @property
    def column(self) -> str:
        """Its column in `frame.rows`, or in `frame.runs` where it is of sets."""
        return f"sets.{self.name.removeprefix('sets.')}" if self.of_sets else self.name


class Layout(BaseModel, frozen=True, extra="forbid"):
    """One table's layout; `name` is that of its file."""

    name: str
    title: str
    rows: list[Column] = Field(min_length=1)
    metrics: list[Metric] = Field(min_length=1)
    where: dict[Column, list[Any]] = {}
    blocks: list[Column] = []
    columns: Column | None = None
    sweep: Column | None = None
    style: Paper = "plain"
    errors: Literal["small", "none"] = "small"
    ours: str | None = None
    star: bool = False
    body_only: bool = False
    command: str = "python -m ldsmc_bench tables"  # that makes the table

    @field_validator("where", mode="before")
    @classmethod
    def _with_lists(cls, where: Any) -> Any:
        one_each = isinstance(where, dict)
        return {k: v if isinstance(v, list) else [v] for k, v in where.items()} if one_each else where

    @property
    def named(self) -> list[str]:
        """The keys whose values rows, blocks and columns name."""
        return [*self.blocks, *self.rows, *([self.columns] if self.columns else [])]


def load_layouts(folder: Path = CONF / "table", names: Sequence[str] = (), **options: Any) -> list[Layout]:
    """The layouts of a folder, all or those of these names, with `options` in place of their own values. Raises
    UserError that names the file and the key at fault."""
    files = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if not files:
        raise UserError(
            f"layouts={folder}: no layout is there; make a file <name>.yaml in it with title, rows and metrics, as "
            f"those of {CONF / 'table'}, or leave layouts out for these"
        )
    if unknown := [name for name in names if name not in files]:
        raise UserError(f"table={unknown[0]}: {folder} has no such layout; {nearest(unknown[0], files)}")
    return [load_layout(files[name], **options) for name in names or files]


def load_layout(file: Path, **options: Any) -> Layout:
    """The layout in `file`, see `load_layouts`. Raises UserError that names the file and the key at fault."""
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except Exception as error:  # OmegaConf raises many kinds
        raise UserError(f"{file}: cannot be read ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise UserError(f"{file}: must be a section with title, rows and metrics")
    given = {key: value for key, value in values.items() if value is not None}
    if "where" in options and isinstance(given.get("where", {}), dict):
        options = {**options, "where": given.get("where", {}) | options["where"]}
    return check_layout({**given, "name": file.stem}, options, f"{file}: ")


def check_layout(values: dict[str, Any], options: dict[str, Any], file: str = "") -> Layout:
    """The layout of these values, with `options` in their place. Raises UserError that names the key at fault, and the
    file unless an option is."""
    try:
        return Layout.model_validate({**values, **options})
    except ValidationError as error:
        of_option = error.errors()[0]["loc"][0] in options
        raise UserError(f"{'' if of_option else file}{_explain(error)}") from error


def add_selection(parser: Options) -> None:
    """The options of tables, figures and samples that choose runs and the paper's page."""
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE,...",
        help="runs with these values alone, and in their order; as often as needed",
    )  # fmt: skip
    parser.add_argument("--style", choices=get_args(Paper), help="the paper's page")
    parser.add_argument("--star", action="store_true", help="over both columns of the page")
    parser.add_argument("--ours", metavar="METHOD", help='the method that comes last, as "(ours)"')


def choose_metrics(text: str | None, own: Iterable[Metric] = ()) -> list[Metric]:
    """The metrics that `metric=NAME,...` names, each as a layout's `own` has it, else by its protocol; none without a
    text. Raises UserError for an unknown one."""
    known: dict[str, Metric | None] = {**dict.fromkeys(PROTOCOLS), **{metric.name: metric for metric in own}}
    names = dict.fromkeys(text.split(",") if text else ())
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"metric={unknown[0]}: no such metric; {nearest(unknown[0], known)}")
    return [known[name] or Metric.model_validate(name) for name in names]


def read_filter(text: str) -> tuple[str, list[Any]]:
    """`("steps", [100, 1000])` of `steps=100,1000`. Raises UserError."""
    key, _, values = text.partition("=")
    if not key or not values:
        raise UserError(f"where={text}: must be where=KEY=VALUE, or VALUE,VALUE, such as where=steps=1000")
    try:
        return key, [yaml.safe_load(value) for value in values.split(",")]
    except yaml.YAMLError:
        return key, values.split(",")


def _explain(error: ValidationError) -> str:
    """The first mistake in one line."""
    mistake = error.errors()[0]
    loc = [str(part) for part in mistake["loc"] if part != "[key]"]
    place, key = ".".join(loc), loc[-1]
    match mistake["type"]:
        case "extra_forbidden":
            return f"no such key {key}; {nearest(key, (Metric if '.' in place else Layout).model_fields)}"
        case "missing":
            return f"{place} is missing"
        case "value_error":
            return f"{place}: {mistake['ctx']['error']}"
    return f"{place}={mistake['input']}: {mistake['msg'].lower().replace('input should', 'must')}"
