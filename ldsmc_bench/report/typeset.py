"""A table as LaTeX (booktabs), as Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from ldsmc_bench.report import caption, names
from ldsmc_bench.report.cells import Cell, Row, Table, printed
from ldsmc_bench.report.layout import Metric

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "none": ""}
LINES = 40  # rows that a page takes
Block = tuple[str, list[Row]]  # with its heading, empty where there is but one
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "*": r"$^*$",
    "±": r"$\pm$", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "×": r"$\times$",
    "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "≈": r"$\approx$", "σ": r"$\sigma$", "‖": r"$\|$", "…": r"\ldots{}",
    "–": "--", "·": r"$\cdot$", "`": "'", "\n": " ",
}  # fmt: skip


def latex(table: Table) -> str:
    """A `table` environment, more where one page is not enough, for a paper that loads booktabs, xcolor, graphicx and
    amsmath."""
    first, *others = _pages(table)
    lines = [
        f"% {table.layout.name}: by python -m ldsmc_bench.report.tables; needs booktabs, xcolor, graphicx, amsmath",
        r"\begin{table}[tp]",
        r"\centering",
        rf"\caption{{{escaped(' '.join(caption.caption(table)))}}}",
        rf"\label{{tab:{table.layout.name}}}",
        r"\medskip\small",
        first,
    ]
    for page in others:
        head = rf"Table~\ref{{tab:{table.layout.name}}}, continued."
        lines += [r"\end{table}", r"\begin{table}[tp]", r"\centering\small", rf"{head}\par\medskip", page]
    marks = [rf"$^{{{letter}}}$ {escaped(note)}." for note, letter in table.notes.items()]
    if below := [*marks, *map(escaped, caption.choices(table))]:
        lines += ["", r"\medskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright", " \\\\\n".join(below)]
        lines += [r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def markdown(table: Table) -> str:
    """GitHub's Markdown: a heading, the table, and under it what a caption says."""
    parts = [f"### {_plain(table.layout.title)}"]
    parts += ["\n".join(_markdown_panel(table, columns)) for columns in _panels(table)]
    parts.append(" ".join(_plain(sentence) for sentence in caption.caption(table)[1:]))
    marks = [f"<sup>{letter}</sup> {_plain(note)}." for note, letter in table.notes.items()]
    if below := [*marks, *map(_plain, caption.choices(table))]:
        parts.append("  \n".join(below))
    return "\n\n".join(parts) + "\n"


def spreadsheet(table: Table) -> str:
    """CSV, one line a number: what row and column it is, the number in full, its errors' parts, its marks and runs."""
    keys = [*table.layout.blocks, *table.keys]
    head = [*keys, *([table.layout.columns] if table.layout.columns else []), "metric", "value", "se", "se_images"]
    head += ["se_seeds", "se_rest", "n", "seeds", "printed", "mark", "like_best", "published", "run_ids", "notes"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        for value in table.columns:
            for metric in table.metrics:
                cell = row.cells.get((value, metric.name), Cell())
                e = cell.estimate
                numbers = [e.value, e.se, e.images, e.of_seeds, e.rest, e.n, e.seeds] if e else [None] * 7
                place = [*row.block, *row.key, *([value] if table.layout.columns else []), metric.name]
                marks = [_text(metric, cell), cell.mark, int(cell.like_best), int(row.published)]
                writer.writerow([*place, *map(_full, numbers), *marks, " ".join(cell.run_ids), "; ".join(cell.notes)])
    return file.getvalue()


def escaped(text: str) -> str:
    """Text for LaTeX. What pdflatex has no letter for becomes a question mark."""
    return "".join(_LATEX.get(c, c if ord(c) < 0x180 and c.isprintable() else "?") for c in text)


def _pages(table: Table) -> list[str]:
    """The tabulars that a page holds, page by page: groups of columns one below the other, then further blocks."""
    pages: list[list[str]] = []
    left = 0
    for blocks in _in_parts(_blocks(table)):
        size = sum(len(rows) + bool(heading) for heading, rows in blocks)
        for columns in _panels(table):
            if size > left:
                pages.append([])
                left = LINES
            pages[-1].append(_tabular(table, columns, blocks))
            left -= size + 5  # rules and headings
    return ["\n\n\\medskip\n".join(page) for page in pages]


def _in_parts(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in their order, as many together as a page holds."""
    parts: list[list[Block]] = []
    left = 0
    for heading, rows in blocks:
        if len(rows) > left:
            parts.append([])
            left = LINES
        parts[-1].append((heading, rows))
        left -= len(rows) + 1
    return parts


def _tabular(table: Table, columns: Sequence[Any], blocks: Sequence[Block]) -> str:
    keys, metrics = _shown_keys(table), table.metrics
    numbers = len(columns) * len(metrics)
    head = []
    if table.layout.columns is not None:
        groups = [rf"\multicolumn{{{len(metrics)}}}{{c}}{{{escaped(_called(table, c))}}}" for c in columns]
        head.append(" & ".join([*[""] * len(keys), *groups]) + r" \\")
        starts = [len(keys) + 1 + i * len(metrics) for i in range(len(columns))]
        head.append(" ".join(rf"\cmidrule(lr){{{s}-{s + len(metrics) - 1}}}" for s in starts))
    headings = [f"{metric.latex} {escaped(ARROWS[metric.better])}".strip() for metric in metrics]
    head.append(" & ".join([*(escaped(_heading(key)) for key in keys), *headings * len(columns)]) + r" \\")
    body = []
    for heading, rows in blocks:
        body.append(r"\midrule")
        if heading:
            body.append(rf"\multicolumn{{{len(keys) + numbers}}}{{l}}{{\textit{{{escaped(heading)}}}}} \\")
        body += [_latex_row(table, row, columns) for row in rows]
    begin = rf"\begin{{tabular}}{{{'l' * len(keys)}{'c' * numbers}}}"
    tabular = "\n".join([begin, r"\toprule", *head, *body, r"\bottomrule", r"\end{tabular}"])
    return f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{tabular}}}"


def _latex_row(table: Table, row: Row, columns: Sequence[Any]) -> str:
    cells = [*map(escaped, _names(table, row))]
    cells += [_latex_cell(table, m, row.cells.get((value, m.name), Cell())) for value in columns for m in table.metrics]
    if row.published:
        cells = [rf"\textcolor{{gray}}{{{cell}}}" if cell else "" for cell in cells]
    return " & ".join(cells) + r" \\"


def _latex_cell(table: Table, metric: Metric, cell: Cell) -> str:
    value, _, error = _text(metric, cell).partition(" ± ")
    value = value if value == "--" else value.replace("-", "$-$")
    value = {"best": rf"\textbf{{{value}}}", "second": rf"\underline{{{value}}}"}.get(cell.mark, value)
    raised = [*([r"\dagger"] if cell.like_best else []), *(table.notes[note] for note in cell.notes)]
    return (
        value + (rf" {{\scriptsize$\pm$ {error}}}" if error else "") + (f"$^{{{','.join(raised)}}}$" if raised else "")
    )


def _markdown_panel(table: Table, columns: Sequence[Any]) -> list[str]:
    keys = _shown_keys(table)
    heads = [
        " ".join(filter(None, [_called(table, c) if table.layout.columns else "", m.label, ARROWS[m.better]]))
        for c in columns
        for m in table.metrics
    ]
    lines = [_line([*map(_heading, keys), *heads], _plain), "|" + "---|" * len(keys) + "---:|" * len(heads)]
    for block, rows in _blocks(table):
        if block:
            lines.append(_line([f"*{_plain(block)}*", *[""] * (len(keys) + len(heads) - 1)], str))
        for row in rows:
            cells = [
                _markdown_cell(table, m, row.cells.get((v, m.name), Cell())) for v in columns for m in table.metrics
            ]
            cells = [*map(_plain, _names(table, row)), *cells]
            lines.append(_line([f"*{cell}*" if row.published and cell else cell for cell in cells], str))
    return lines


def _markdown_cell(table: Table, metric: Metric, cell: Cell) -> str:
    value, plus_minus, error = _text(metric, cell).partition(" ± ")
    value = {"best": f"**{value}**", "second": f"<ins>{value}</ins>"}.get(cell.mark, value)
    raised = ",".join(table.notes[note] for note in cell.notes)
    return value + plus_minus + error + (" †" if cell.like_best else "") + (f" <sup>{raised}</sup>" if raised else "")


def _text(metric: Metric, cell: Cell) -> str:
    """`24.13 ± 0.21`; without an error where it is nought or unknown; `--` without a number."""
    if cell.estimate is None:
        return "--"
    error = cell.estimate.se
    return printed(metric, cell.estimate.value) + (f" ± {printed(metric, error)}" if error else "")


def _panels(table: Table) -> list[Sequence[Any]]:
    """The groups of columns that stand side by side."""
    across = table.layout.across
    return [table.columns[start : start + across] for start in range(0, len(table.columns), across)]


def _blocks(table: Table) -> list[Block]:
    """Blocks with their headings, in order."""
    keys, blocks = table.layout.blocks, dict.fromkeys(row.block for row in table.rows)
    return [
        (
            ", ".join(names.called(key, value) for key, value in zip(keys, block, strict=True)),
            [row for row in table.rows if row.block == block],
        )
        for block in blocks
    ]


def _shown_keys(table: Table) -> list[str]:
    """The columns that name a row: the first, and of the others those that vary."""
    own = [row.key for row in table.rows if not row.published]
    return [key for i, key in enumerate(table.keys) if i == 0 or len({values[i] for values in own}) > 1]


def _names(table: Table, row: Row) -> list[str]:
    shown = _shown_keys(table)
    cells = [_name(table, row, k, v) for k, v in zip(table.keys, row.key, strict=True) if k in shown]
    return [f"{cells[0]}, published", *cells[1:]] if row.published else cells


def _name(table: Table, row: Row, key: str, value: Any) -> str:
    """Nothing for an argument that a method has not, `unset` for one that it has and config.yaml does not tell."""
    if value is not None:
        return names.called(key, value)
    method = dict(zip(table.keys, row.key, strict=True)).get("method")
    told = key.startswith("sample.") and table.runs[table.runs.method == method][key].notna().any()
    return "unset" if told else ""


def _called(table: Table, value: Any) -> str:
    return names.called(table.layout.columns or "", value)


def _heading(key: str) -> str:
    return {"particles": "N"}.get(key, key.split(".")[-1] if key.startswith("sample.") else key)


def _line(cells: Sequence[str], escape: Callable[[str], str]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"


def _plain(text: str) -> str:
    return re.sub(r"([\\*_|<>`\[\]])", r"\\\1", text.replace("\n", " "))


def _full(value: float | int | None) -> str:
    return "" if value is None else repr(value)
