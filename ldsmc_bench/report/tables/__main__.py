"""`python -m ldsmc_bench tables`: the tables of conf/table, from the store alone, into results/tables.

Each is written as <name>.tex and <name>_notes.tex, .md, .csv and .parquet. Of runs that differ in steps, images or
split a table shows those for which most images are done, unless `where` says which: where=steps=1000.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ldsmc_bench.cli import Options, entry, going_on, require_runs
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF, write_file
from ldsmc_bench.report import frame
from ldsmc_bench.report.select import require_ours, require_values, select_runs
from ldsmc_bench.report.tables import typeset
from ldsmc_bench.report.tables.content import Table, build_table
from ldsmc_bench.report.tables.layout import Layout, add_selection, choose_metrics, load_layouts, read_filter
from ldsmc_bench.report.tables.published import with_published
from ldsmc_bench.text import printable

WRITERS: dict[str, Callable[[Table], str | bytes]] = {
    "tex": typeset.latex,
    "md": typeset.markdown,
    "csv": typeset.spreadsheet,
    "parquet": typeset.parquet,
}
PACKAGES = "texlive-latex-base texlive-latex-recommended"


def make_tables(
    results_dir: Path, layouts: Sequence[Layout], failed: list[str], folder: Path, *, published: bool = False
) -> list[Path]:
    """Write every table that has a run into `folder`, and name those that have none.

    Returns the paths of the .tex files. A table that does not fit its page is named, in `failed` too. Raises UserError
    where the results cannot be read or no run belongs to any table.
    """
    require_runs(results_dir)
    paths = []
    for layout, table in zip(layouts, fill(results_dir, layouts), strict=True):
        if table is None or not table.metrics:
            print(f"{layout.name}: no run for it yet")
            continue
        with going_on(failed, layout.name):
            paths.append(write(with_published(table) if published else table, folder))
            print(printable(f"{layout.name}: {files_of(paths[-1])}"))
            if table.left_out:
                print(f"{layout.name}: {table.left_out}")
    if not paths and not failed:
        asked = {k: v for k, v in layouts[0].where.items() if all(layout.where.get(k) == v for layout in layouts)}
        require_values(asked, frame.runs(results_dir))
        where = "; check where=" if any(layout.where for layout in layouts) else ""
        raise UserError(f"results_dir={results_dir}: no run belongs to any table of these layouts{where}")
    return paths


def fill(results_dir: Path, layouts: Sequence[Layout]) -> list[Table | None]:
    """The layouts' tables; None where no run belongs to one. Raises UserError where the results cannot be read."""
    runs = frame.runs(results_dir)
    for layout in layouts:
        require_ours(layout.ours, runs)
    selected = [select_runs(layout, runs) for layout in layouts]
    run_ids = {run_id for shown, _ in selected for run_id in shown.run_id}
    metrics = {metric.column for layout in layouts for metric in layout.metrics if not metric.of_sets}
    images = frame.images(frame.rows(results_dir, run_ids, metrics))
    return [
        build_table(layout, shown, images, left_out) if len(shown) else None
        for layout, (shown, left_out) in zip(layouts, selected, strict=True)
    ]


def write(table: Table, folder: Path) -> Path:
    """Write the table under its layout's name and return the path of the .tex file."""
    for suffix, writer in {**WRITERS, "_notes.tex": typeset.latex_notes}.items():
        content = writer(table)
        data = content if isinstance(content, bytes) else printable(content).encode()
        write_file(folder / f"{table.layout.name}{'.' * suffix.isalpha()}{suffix}", data)
    return folder / f"{table.layout.name}.tex"


def files_of(table: Path) -> str:
    """The names of a written table's files in one: results/tables/main.{tex,md,csv,parquet}."""
    return f"{table.with_suffix('')}.{{{','.join(WRITERS)}}}"


def make_pdf(tables: Sequence[Path], style: str = "plain") -> Path:
    """Compile tables and their notes into `tables.pdf` beside the first, in a page of this style. Raises UserError
    that names what is missing or wrong."""
    program = shutil.which("pdflatex")
    if program is None:
        raise UserError(f"pdflatex is not installed, the .tex files are there: install a LaTeX (Debian: {PACKAGES})")
    folder = tables[0].parent
    files = [file for table in tables for file in (table, table.with_name(f"{table.stem}_notes.tex")) if file.exists()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    preamble = f"{typeset.PAGES[style].article}\\usepackage{{booktabs}}\n\\begin{{document}}\n"
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "tables.tex"
        source.write_text(f"{preamble}{text}\\end{{document}}\n", encoding="utf-8")
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", source.name]
        for _ in range(2):  # the second time, references are known
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            wrong = next((line for line in done.stdout.splitlines() if line.startswith("!")), "no message")
            raise UserError(
                f"pdflatex could not compile the tables in {folder} ({wrong.lstrip('! ')}; needs {PACKAGES})"
            )
        write_file(folder / "tables.pdf", source.with_suffix(".pdf").read_bytes())
    return folder / "tables.pdf"


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the tables; the exit code is 0, or 2 with a line that names the mistake."""
    parser = Options("tables", __doc__, results_dir=True)
    parser.add_argument("--layouts", type=Path, default=CONF / "table", help="the folder of the layouts")
    parser.add_argument("--table", metavar="NAME,...", help="these layouts alone")
    parser.add_argument("--metric", metavar="NAME,...", help="these columns, in place of the layouts' own")
    add_selection(parser)
    parser.add_argument("--errors", metavar="none|small", help="of standard errors")
    parser.add_argument("--body-only", action="store_true", help="the tabular without float, caption and footnotes")
    parser.add_argument("--published", action="store_true", help="published numbers too, in a block of their own")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(default: R/tables)")
    parser.add_argument("--pdf", action="store_true", help="tables.pdf of all of them too, where pdflatex is")
    options = parser.read(arguments)
    given = {key: getattr(options, key) for key in ("style", "errors", "ours", "star", "body_only")}
    given["where"] = dict(map(read_filter, options.where))
    names = options.table.split(",") if options.table else ()
    layouts = load_layouts(options.layouts, names, **{key: value for key, value in given.items() if value})
    if metrics := choose_metrics(options.metric, [metric for layout in layouts for metric in layout.metrics]):
        layouts = [layout.model_copy(update={"metrics": metrics}) for layout in layouts]
    failed: list[str] = []
    folder = options.out or options.results_dir / "tables"
    paths = make_tables(options.results_dir, layouts, failed, folder, published=options.published)
    if options.pdf and paths:
        print(make_pdf(paths, layouts[0].style))
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
