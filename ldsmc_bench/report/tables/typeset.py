"""A table as LaTeX (booktabs), as Markdown and as CSV."""

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ldsmc_bench.report.select import display_name
from ldsmc_bench.report.tables import caption
from ldsmc_bench.report.tables.content import Cell, Row, Table, format_value
from ldsmc_bench.report.tables.layout import Metric
from ldsmc_bench.text import number

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "none": ""}
LINES = 40  # rows that a page takes
Block = tuple[str, list[Row]]  # with its heading, empty where there is but one
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "*": r"$^*$",
    "±": r"$\pm$", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "×": r"$\times$",
    "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "≈": r"$\approx$", "…": r"\ldots{}", "·": r"$\cdot$", "∞": r"$\infty$",
    "–": "--", "—": "---", "’": "'", "`": r"\textasciigrave{}", "\n": " ", "\xa0": "~", "[": "{[}", "]": "{]}",
}  # fmt: skip
_LATIN_LACKS = "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"  # below U+0180, in LaTeX's first encoding (OT1)
_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
_NUMBER = "{[}U+"
NUMBERED = "Characters that the fonts lack are written as their Unicode numbers, such as {[}U+65B9{]}."


def latex(table: Table) -> str:
    """A `table` environment, more where one page is not enough, for a paper that loads booktabs, xcolor, graphicx and
    amsmath. How each metric is computed is a comment."""
    first, *others = _pages(table)
    lines = [
        f"% {table.layout.name}: by {table.layout.command}; needs booktabs, xcolor, graphicx, amsmath",
        *(f"% {line}" for line in caption.protocols(table)),
        r"\begin{table}[tp]",
        r"\centering",
        rf"\caption{{{escape_latex(' '.join(caption.caption(table)))}}}",
        rf"\label{{tab:{table.layout.name}}}",
        r"\medskip\small",
        first,
    ]
    for page in others:
        head = rf"Table~\ref{{tab:{table.layout.name}}}, continued."
        lines += [r"\end{table}", r"\begin{table}[tp]", r"\centering\small", rf"{head}\par\medskip", page]
    notes = [rf"$^{{{letter}}}$ {escape_latex(note)}." for note, letter in table.notes.items()]
    if any(_NUMBER in text for text in (*notes, *lines)):
        notes.append(NUMBERED)
    if notes := [*notes, *map(escape_latex, caption.choices(table))]:
        lines += ["", r"\medskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright", " \\\\\n".join(notes)]
        lines += [r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def markdown(table: Table) -> str:
    """GitHub's Markdown: a heading, the table, its caption, footnotes, and how each metric is computed."""
    title, *sentences = map(_escape_markdown, caption.caption(table))
    parts = [f"### {title.removesuffix('.')}"]
    parts += ["\n".join(_markdown_panel(table, columns)) for columns in _panels(table)]
    parts.append(" ".join(sentences))
    notes = [f"<sup>{letter}</sup> {_escape_markdown(note)}." for note, letter in table.notes.items()]
    notes += map(_escape_markdown, caption.choices(table))
    parts += ["  \n".join(notes), "  \n".join(map(_escape_markdown, caption.protocols(table)))]
    return "\n\n".join(filter(None, parts)) + "\n"


def spreadsheet(table: Table) -> str:
    """CSV, one line a number: its row and column, the number in full, the parts of its error, its marks and runs."""
    across = [table.layout.columns] if table.layout.columns else []
    numbers = ["value", "se", "se_images", "se_seeds", "se_rest", "n", "seeds"]
    marks = ["printed", "mark", "like_best", "published", "run_ids", "notes"]
    lines = []
    for row in table.rows:
        for value in table.columns:
            for metric in table.metrics:
                cell = row.cells.get((value, metric.name), Cell())
                e = cell.estimate
                lines.append(
                    [*row.block, *row.key, *([value] if across else []), metric.name]
                    + ([e.value, e.se, e.images, e.of_seeds, e.rest, e.n, e.seeds] if e else [None] * 7)
                    + [_text(metric, cell), cell.mark, int(cell.like_best), int(row.published)]
                    + [" ".join(cell.run_ids), "; ".join(cell.notes)]
                )
    columns = [*table.layout.blocks, *table.keys, *across, "metric", *numbers, *marks]
    return pd.DataFrame(lines, columns=columns, dtype=object).to_csv(index=False, lineterminator="\n")


def escape_latex(text: str) -> str:
    """Text for pdflatex, different for different texts: a character that its fonts lack becomes its Unicode number."""
    return "".join(_LATEX.get(c) or _latex_letter(c) for c in unicodedata.normalize("NFC", text))


def _latex_letter(c: str) -> str:
    if ord(c) < 0x180 and c.isprintable() and c not in _LATIN_LACKS:
        return c
    match unicodedata.name(c, "").replace("LAMDA", "LAMBDA").split():
        case ["GREEK", "SMALL", "LETTER", name] if name not in ("OMICRON", "DIGAMMA"):
            return rf"$\{name.lower()}$"
        case ["GREEK", "CAPITAL", "LETTER", name] if name.capitalize() in _CAPITALS:
            return rf"$\{name.capitalize()}$"
    return f"{_NUMBER}{ord(c):04X}{{]}}"


def _pages(table: Table) -> list[str]:
    """The tabulars of each page: groups of columns one below the other, each on its own page where one is too small."""
    blocks = _blocks(table)
    ends = itertools.accumulate(len(rows) + 1 for _, rows in blocks)
    parts = itertools.groupby(zip(blocks, ends, strict=False), lambda pair: (pair[1] - 1) // LINES)
    on_pages = [[block for block, _ in part] for _, part in parts]
    tabulars = [_tabular(table, columns, part) for part in on_pages for columns in _panels(table)]
    fits = (len(table.rows) + len(blocks)) * len(_panels(table)) <= LINES
    return ["\n\n\\medskip\n".join(tabulars)] if fits else tabulars


def _tabular(table: Table, columns: Sequence[Any], blocks: Sequence[Block]) -> str:
    keys, metrics = _shown_keys(table), table.metrics
    numbers = len(columns) * len(metrics)
    lines = [rf"\begin{{tabular}}{{{'l' * len(keys)}{'c' * numbers}}}", r"\toprule"]
    if table.layout.columns is not None:
        names = [escape_latex(display_name(table.layout.columns, value)) for value in columns]
        groups = [rf"\multicolumn{{{len(metrics)}}}{{c}}{{{name}}}" for name in names]
        lines.append(" & ".join([*[""] * len(keys), *groups]) + r" \\")
        starts = [len(keys) + 1 + i * len(metrics) for i in range(len(columns))]
        lines.append(" ".join(rf"\cmidrule(lr){{{s}-{s + len(metrics) - 1}}}" for s in starts))
    headings = [f"{metric.latex} {escape_latex(ARROWS[metric.better])}".strip() for metric in metrics]
    lines.append(" & ".join([*map(escape_latex, _headings(keys)), *headings * len(columns)]) + r" \\")
    for heading, rows in blocks:
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(keys) + numbers}}}{{l}}{{\textit{{{escape_latex(heading)}}}}} \\")
        for row in rows:
            cells = [*map(escape_latex, _names(table, row)), *_cells(table, row, columns, _latex_cell)]
            grey = [rf"\textcolor{{gray}}{{{cell}}}" if cell else "" for cell in cells]
            lines.append(" & ".join(grey if row.published else cells) + r" \\")
    tabular = "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
    return f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{tabular}}}"


def _latex_cell(table: Table, metric: Metric, cell: Cell) -> str:
    value, _, error = _text(metric, cell).partition(" ± ")
    value = value if value == "--" else escape_latex(value).replace("-", "$-$")
    value = {"best": rf"\textbf{{{value}}}", "second": rf"\underline{{{value}}}"}.get(cell.mark, value)
    raised = ",".join([*([r"\dagger"] if cell.like_best else []), *(table.notes[note] for note in cell.notes)])
    return value + (rf" {{\scriptsize$\pm$ {error}}}" if error else "") + (f"$^{{{raised}}}$" if raised else "")


def _markdown_panel(table: Table, columns: Sequence[Any]) -> list[str]:
    keys = _shown_keys(table)
    heads = _headings(keys)
    for value in columns:
        name = f"{display_name(table.layout.columns, value)} " if table.layout.columns else ""
        heads += [f"{name}{metric.label} {ARROWS[metric.better]}".strip() for metric in table.metrics]
    lines = [[*map(_escape_markdown, heads)]]
    for block, rows in _blocks(table):
        if block:
            lines.append([f"*{_escape_markdown(block)}*", *[""] * (len(heads) - 1)])
        for row in rows:
            cells = [*map(_escape_markdown, _names(table, row)), *_cells(table, row, columns, _markdown_cell)]
            lines.append([f"*{cell}*" if row.published and cell else cell for cell in cells])
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return [head, "|" + "---|" * len(keys) + "---:|" * (len(heads) - len(keys)), *body]


def _markdown_cell(table: Table, metric: Metric, cell: Cell) -> str:
    value, plus_minus, error = _text(metric, cell).partition(" ± ")
    value = _escape_markdown(value)
    value = {"best": f"**{value}**", "second": f"<ins>{value}</ins>"}.get(cell.mark, value)
    raised = ",".join(table.notes[note] for note in cell.notes)
    return value + plus_minus + error + (" †" if cell.like_best else "") + (f" <sup>{raised}</sup>" if raised else "")


def _cells(table: Table, row: Row, columns: Sequence[Any], write: Callable[[Table, Metric, Cell], str]) -> list[str]:
    places = [(value, metric) for value in columns for metric in table.metrics]
    return [write(table, metric, row.cells.get((value, metric.name), Cell())) for value, metric in places]


def _text(metric: Metric, cell: Cell) -> str:
    """`24.13 ± 0.21`; without an error where it is zero or unknown; `--` without a number."""
    if cell.estimate is None:
        return "--"
    value, error = number(cell.estimate.value, metric.digits, metric.floor), cell.estimate.se
    return f"{value} ± {format_value(metric, error)}" if error else value


def _panels(table: Table) -> list[Sequence[Any]]:
    """The groups of columns that are set side by side."""
    across = table.layout.across
    return [table.columns[start : start + across] for start in range(0, len(table.columns), across)]


def _blocks(table: Table) -> list[Block]:
    """Blocks with their headings, in order."""
    return [(", ".join(map(display_name, table.layout.blocks, block)), rows) for block, rows in table.blocks.items()]


def _shown_keys(table: Table) -> list[str]:
    """The columns that name a row: the first, and of the others those that vary."""
    own = [row.key for row in table.rows if not row.published]
    return [key for i, key in enumerate(table.keys) if i == 0 or len({values[i] for values in own}) > 1]


def _headings(keys: Sequence[str]) -> list[str]:
    return [{"particles": "N"}.get(key, key.removeprefix("sample.")) for key in keys]


def _names(table: Table, row: Row) -> list[str]:
    """The cells that name a row: empty for an argument that a method has not."""
    values, keys = dict(zip(table.keys, row.key, strict=True)), _shown_keys(table)
    first, *others = ["" if values[key] is None else display_name(key, values[key]) for key in keys]
    return [f"{first}, published" if row.published else first, *others]


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\*_|<>`\[\]])", r"\\\1", text.replace("\n", " "))
