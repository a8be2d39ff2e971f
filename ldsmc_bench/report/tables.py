"""`python -m ldsmc_bench.report.tables`: the tables of conf/table, from the store alone, into results/tables.

Each is written as <name>.tex, <name>.md and <name>.csv. Options are written as everywhere, key=value:

    results_dir=results    the folder that holds runs/
    published=false        true: published numbers beside ours, in grey
    layouts=conf/table     the folder of the layouts
    pdf=false              true: tables.pdf of all of them too, where pdflatex is
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ldsmc_bench.composition import CONF, nearest
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import replace, writing
from ldsmc_bench.report import frame, typeset
from ldsmc_bench.report.cells import Table, tabulated
from ldsmc_bench.report.choice import chosen
from ldsmc_bench.report.layout import Layout, load_layouts
from ldsmc_bench.report.published import with_published

WRITERS = {"tex": typeset.latex, "md": typeset.markdown, "csv": typeset.spreadsheet}
PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,margin=18mm]{geometry}
\usepackage{amsmath,booktabs,graphicx,xcolor}
\begin{document}
"""
PACKAGES = "texlive-latex-base texlive-latex-recommended"


def make_tables(results_dir: Path, *, published: bool = False, layouts: Path = CONF / "table") -> list[Path]:
    """Write every table that has a run, as .tex, .md and .csv in `results_dir/tables`, and name those that have none.

    Returns the paths of the .tex files. Raises UserError for a layout that is wrong, and where the results cannot be
    read or no run belongs to any table.
    """
    made = []
    wanted = load_layouts(layouts)
    runs = frame.runs(results_dir)
    images = _images(results_dir, runs, wanted)
    for layout in wanted:
        table = tabulated(layout, runs, images)
        if table is None or not table.metrics:
            print(f"{layout.name}: no run for it yet")
            continue
        made.append(write(with_published(table) if published else table, results_dir / "tables"))
        print(f"{layout.name}: {made[-1].with_suffix('')}.{{{','.join(WRITERS)}}}")
    if not made:
        raise UserError(f"results_dir={results_dir}: no run belongs to any table of {layouts}; `make run` makes some")
    return made


def write(table: Table, folder: Path) -> Path:
    """Write the table under its layout's name and return the path of the .tex file."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in WRITERS.items():
            replace(folder / f"{table.layout.name}.{suffix}", text(table).encode())
    return folder / f"{table.layout.name}.tex"


def make_pdf(tables: Sequence[Path]) -> Path:
    """Compile tables into `tables.pdf` beside the first. Raises UserError that says what is missing or wrong."""
    program = shutil.which("pdflatex")
    if program is None:
        raise UserError(f"pdflatex is not installed, the .tex files are there: install a LaTeX (Debian: {PACKAGES})")
    folder = tables[0].parent
    text = "".join(f"\\input{{{table.resolve()}}}\n\\clearpage\n" for table in tables)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "tables.tex"
        source.write_text(f"{PREAMBLE}{text}\\end{{document}}\n")
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", source.name]
        for _ in range(2):  # the second time, references are known
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            wrong = next((line for line in done.stdout.splitlines() if line.startswith("!")), "no message")
            raise UserError(
                f"pdflatex could not compile the tables in {folder} ({wrong.lstrip('! ')}); "
                f"it needs the packages of {PACKAGES}"
            )
        with writing(folder):
            replace(folder / "tables.pdf", source.with_suffix(".pdf").read_bytes())
    return folder / "tables.pdf"


def _images(results_dir: Path, runs: pd.DataFrame, layouts: Sequence[Layout]) -> dict[str, pd.DataFrame]:
    """By run id, the rows of images that are done, of the runs and with the metrics that some table shows."""
    run_ids = {run_id for layout in layouts for run_id in chosen(layout, runs).run_id}
    metrics = {metric.column for layout in layouts for metric in layout.metrics if not metric.of_sets}
    rows = frame.rows(results_dir, run_ids, metrics)
    done = rows[rows.status == "ok"].drop(columns=["status", "error"])
    return {str(run_id): group.set_index("image_id") for run_id, group in done.groupby("run_id", sort=False)}


def _options(arguments: Sequence[str]) -> dict[str, str]:
    options = {"results_dir": "results", "published": "false", "layouts": str(CONF / "table"), "pdf": "false"}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(f"{argument}: write key=value, one of {', '.join(options)}")
        if key not in options:
            raise UserError(f"{key}: no such key; {nearest(key, options)}")
        options[key] = value
    for key in ("published", "pdf"):
        if options[key] not in ("true", "false"):
            raise UserError(f"{key}={options[key]}: must be true or false")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the tables; the exit code is 0, or 2 with a line that says what is wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(given):
        print(__doc__)
        return 0
    try:
        options = _options(given)
        made = make_tables(
            Path(options["results_dir"]),
            published=options["published"] == "true",
            layouts=Path(options["layouts"]),
        )
        if options["pdf"] == "true":
            print(make_pdf(made))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
