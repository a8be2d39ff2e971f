"""`python -m ldsmc_bench.report.tables`: the tables of conf/table, from the store alone, into results/tables.

Each is written as <name>.tex, <name>.md and <name>.csv.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ldsmc_bench.cli import NO_RUNS, Options, entry, has_no_runs
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF, replace, writing
from ldsmc_bench.report import frame
from ldsmc_bench.report.select import select_runs
from ldsmc_bench.report.tables import typeset
from ldsmc_bench.report.tables.content import Table, build_table
from ldsmc_bench.report.tables.layout import Layout, load_layouts
from ldsmc_bench.report.tables.published import with_published
from ldsmc_bench.text import printable

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
    loaded = load_layouts(layouts)
    if has_no_runs(results_dir):
        raise UserError(NO_RUNS)
    runs = frame.runs(results_dir)
    images = load_images(results_dir, runs, loaded)
    paths = []
    for layout in loaded:
        table = build_table(layout, runs, images)
        if table is None or not table.metrics:
            print(f"{layout.name}: no run for it yet")
            continue
        paths.append(write(with_published(table) if published else table, results_dir / "tables"))
        print(printable(f"{layout.name}: {paths[-1].with_suffix('')}.{{{','.join(WRITERS)}}}"))
    if not paths:
        raise UserError(f"results_dir={results_dir}: no run belongs to any table of {layouts}")
    return paths


def load_images(results_dir: Path, runs: pd.DataFrame, layouts: Sequence[Layout]) -> frame.Images:
    """The rows of images that are done, of the runs and with the metrics that some table shows."""
    run_ids = {run_id for layout in layouts for run_id in select_runs(layout, runs).run_id}
    metrics = {metric.column for layout in layouts for metric in layout.metrics if not metric.of_sets}
    return frame.images(frame.rows(results_dir, run_ids, metrics))


def write(table: Table, folder: Path) -> Path:
    """Write the table under its layout's name and return the path of the .tex file."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in WRITERS.items():
            replace(folder / f"{table.layout.name}.{suffix}", printable(text(table)).encode())
    return folder / f"{table.layout.name}.tex"


def make_pdf(tables: Sequence[Path]) -> Path:
    """Compile tables into `tables.pdf` beside the first. Raises UserError that names what is missing or wrong."""
    program = shutil.which("pdflatex")
    if program is None:
        raise UserError(f"pdflatex is not installed, the .tex files are there: install a LaTeX (Debian: {PACKAGES})")
    folder = tables[0].parent
    text = "".join(f"{table.read_text(encoding='utf-8')}\\clearpage\n" for table in tables)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "tables.tex"
        source.write_text(f"{PREAMBLE}{text}\\end{{document}}\n", encoding="utf-8")
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", source.name]
        for _ in range(2):  # the second time, references are known
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            wrong = next((line for line in done.stdout.splitlines() if line.startswith("!")), "no message")
            raise UserError(
                f"pdflatex could not compile the tables in {folder} ({wrong.lstrip('! ')}; needs {PACKAGES})"
            )
        with writing(folder):
            replace(folder / "tables.pdf", source.with_suffix(".pdf").read_bytes())
    return folder / "tables.pdf"


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the tables; the exit code is 0, or 2 with a line that names the mistake."""
    parser = Options("tables", __doc__, results_dir=True)
    parser.add_argument("--published", action="store_true", help="published numbers beside ours, in grey")
    parser.add_argument("--layouts", type=Path, default=CONF / "table", help="the folder of the layouts")
    parser.add_argument("--pdf", action="store_true", help="tables.pdf of all of them too, where pdflatex is")
    options = parser.read(arguments)
    paths = make_tables(options.results_dir, published=options.published, layouts=options.layouts)
    if options.pdf:
        print(make_pdf(paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
