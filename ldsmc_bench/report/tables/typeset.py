"""A table as LaTeX (booktabs), as Markdown, CSV and Parquet.

LaTeX has no way to ask how wide a table will be, so widths are estimated from those of Computer Modern, the widest of
the fonts in question: a table takes the fewest panels, and then the largest type, that fit its column.
"""

import io
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ldsmc_bench.errors import UserError
from ldsmc_bench.report.select import SHORT_NAMES, display_name
from ldsmc_bench.report.tables import caption
from ldsmc_bench.report.tables.content import Cell, Row, Table, format_cell
from ldsmc_bench.report.tables.layout import Metric

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "none": ""}
LINES = 40  # rows that a page takes
INCH = 72.27  # points
SIZES = {9: 9.25, 8: 8.5, 7: 7.97}  # of type, the smallest that is legible last; with twice the width of its digits
GAPS = {9: 3.0, 8: 2.5, 7: 2.0}  # half the space between columns, in points
SMALL = 7  # points: type of errors and marks
BOLD = 1.15  # as wide as upright
_WIDE = ("W→", 1.03), ("M", 0.92), ("m", 0.84), ("wBCEFPRT", 0.74), ("LZ", 0.63), ("bdhknpquvxyJS", 0.56)
_NARROW = ("scez†", 0.45), ("frtIj()[]- ", 0.39), ("il.,:;'!|", 0.28), ("↑↓/0123456789ago", 0.5)
_EMS = {c: em for text, em in (*_WIDE, *_NARROW) for c in text}  # of Computer Modern; others take 0.78 at most
Place = tuple[Any, Metric]  # of a number in a row
Block = tuple[str, list[Row]]  # with its heading, "" where it needs none
Section = tuple[Sequence[Place], str, list[Row]]  # a block's rows in one panel


class Page(NamedTuple):
    """The widths of a column and of a page's text in inches, and what gives an article these."""

    column: float
    whole: float
    article: str


PAGES = {
    "plain": Page(345 / INCH, 345 / INCH, r"\documentclass{article}"),
    "icml": Page(
        3.25, 6.75, r"\documentclass[twocolumn]{article}\usepackage[textwidth=6.75in,columnsep=0.25in]{geometry}"
    ),
    "neurips": Page(5.5, 5.5, r"\documentclass{article}\usepackage[textwidth=5.5in]{geometry}"),
}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "*": "{*}",
    "±": r"$\pm$", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "×": r"$\times$",
    "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "≈": r"$\approx$", "…": r"\ldots{}", "·": r"$\cdot$", "∞": r"$\infty$",
    "–": "--", "—": "---", "’": "'", "`": r"\textasciigrave{}", "\n": " ", "\xa0": "~", "[": "{[}", "]": "{]}",
}  # fmt: skip
_LATIN_LACKS = "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"  # below U+0180, in LaTeX's first encoding (OT1)
_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
_ACCENTS = {"0300": "`", "0301": "'", "0302": "^", "0303": "~", "0304": "=", "0306": "u", "0307": ".", "0308": '"'}
_ACCENTS |= {"030A": "r", "030B": "H", "030C": "v", "0323": "d", "0327": "c", "0331": "b"}
_NUMBER = "{[}U+"
NUMBERED = "Characters that the fonts lack are written as their Unicode numbers, such as {[}U+65B9{]}."


def latex(table: Table) -> str:
    """A `table` environment, more where one page is not enough, for a paper that loads booktabs; its body alone where
    the layout asks for that. Raises UserError where even one group of columns is too wide."""
    layout, (size, panels) = table.layout, _fit(table)
    look = rf"\fontsize{{{size}}}{{{1.2 * size:.1f}}}\selectfont\setlength{{\tabcolsep}}{{{GAPS[size]}pt}}"
    first, *others = (_tabular(table, sections, len(panels[0]), size) for sections in _pages(table, panels))
    head = f"% {layout.name}: by {layout.command}; needs booktabs"
    if layout.body_only:
        return "\n\n".join([f"{head}\n{{{look}%\n{first}", *others]) + "}\n"
    begin, end = (rf"\{word}{{table{'*' * layout.star}}}" for word in ("begin", "end"))
    title = rf"\caption{{{escape_latex(caption.caption(table))}}}"
    lines = [head, f"{begin}[tp]", r"\centering", title, rf"\label{{tab:{layout.name}}}", r"\medskip", look, first]
    for page in others:
        again = rf"Table~\ref{{tab:{layout.name}}}, continued.\par\medskip"
        lines += [end, f"{begin}[tp]", r"\centering", again, look, page]
    notes = _footnotes(table)
    if any(_NUMBER in text for text in (*notes, *lines)):
        notes.append(NUMBERED)
    if notes:
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\scriptsize\raggedright", " \\\\\n".join(notes)]
        lines += [r"\end{minipage}"]
    return "\n".join([*lines, end]) + "\n"


def latex_notes(table: Table) -> str:
    """A paragraph for an appendix: all that the caption is too short for, and the footnotes."""
    texts = [*caption.details(table), *caption.protocols(table.metrics), *caption.choices(table)]
    head = rf"\paragraph{{Table~\ref{{tab:{table.layout.name}}}.}}"
    notes = _footnotes(table, r"\textsuperscript")
    return "\n".join([f"% by {table.layout.command}", head, *map(escape_latex, texts), *notes]) + "\n"


def _footnotes(table: Table, raised: str = r"\raisebox{.4ex}") -> list[str]:
    return [rf"{raised}{{{letter}}}\,{escape_latex(note)}." for note, letter in table.notes.items()]


def markdown(table: Table) -> str:
    """GitHub's Markdown: a heading, the table, its caption, footnotes, and how each metric is computed."""
    title, *sentences = map(_escape_markdown, caption.details(table))
    parts = [f"### {title.removesuffix('.')}"]
    parts.append("\n".join(_markdown_lines(table)))
    parts.append(" ".join(sentences))
    notes = [f"<sup>{letter}</sup> {_escape_markdown(note)}." for note, letter in table.notes.items()]
    notes += map(_escape_markdown, caption.choices(table))
    parts += ["  \n".join(notes), "  \n".join(map(_escape_markdown, caption.protocols(table.metrics)))]
    return "\n\n".join(filter(None, parts)) + "\n"


def spreadsheet(table: Table) -> str:
    """CSV of `data`."""
    return data(table).to_csv(index=False, lineterminator="\n")


def parquet(table: Table) -> bytes:
    """Parquet of `data`: a column of text where its values are of several kinds."""
    columns = data(table).convert_dtypes()
    for name in columns.select_dtypes("object"):
        columns[name] = columns[name].map(str, na_action="ignore").astype("string")
    columns.to_parquet(buffer := io.BytesIO(), index=False)
    return buffer.getvalue()


def data(table: Table) -> pd.DataFrame:
    """One line a number: its row and column, the number in full, the parts of its error, its marks and runs."""
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
                    + [format_cell(table.layout, metric, cell), cell.mark, int(cell.like_best), int(row.published)]
                    + [" ".join(cell.run_ids), "; ".join(cell.notes)]
                )
    columns = [*table.layout.blocks, *table.keys, *across, "metric", *numbers, *marks]
    return pd.DataFrame(lines, columns=columns, dtype=object)


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
    match unicodedata.decomposition(c).split():
        case [base, accent] if accent in _ACCENTS:
            return rf"\{_ACCENTS[accent]}{{{_latex_letter(chr(int(base, 16)))}}}"
        case ["<sub>" | "<super>" as place, base]:
            height = "-.3ex" if place == "<sub>" else ".6ex"
            return rf"\raisebox{{{height}}}{{\scriptsize {_latex_letter(chr(int(base, 16)))}}}"
    return f"{_NUMBER}{ord(c):04X}{{]}}"


def _fit(table: Table) -> tuple[int, list[list[Place]]]:
    """The size of type in points and the places of each panel. Raises UserError."""
    layout, page = table.layout, PAGES[table.layout.style]
    room = (page.whole if layout.star else page.column) * INCH
    groups = [[(value, metric) for metric in table.metrics] for value in table.columns]
    if layout.columns is None:
        groups = [[place] for place in groups[0]]
    least = math.inf
    for stacked in range(1, len(groups) + 1):
        across = -(-len(groups) // stacked)
        parts = [groups[start : start + across] for start in range(0, len(groups), across)]
        panels = [list(itertools.chain(*part)) for part in parts]
        for size in SIZES:
            if (width := _width(table, panels, size)) <= room:
                return size, panels
            least = min(least, width)
    remedies = ["errors=none"] * (layout.errors != "none")
    remedies += ["star=true"] * (page.whole > page.column and not layout.star)
    remedies.append(
        f"a layout of your own that leaves out some of {', '.join(metric.name for metric in table.metrics)}"
    )
    raise UserError(
        f"one {layout.columns or 'metric'} takes {least / INCH:.2f} in at {SMALL} pt, and style={layout.style} has "
        f"{room / INCH:.2f} in: give {' or '.join(remedies)}"
    )


def _width(table: Table, panels: Sequence[Sequence[Place]], size: int) -> float:
    """The width of a tabular with these panels below each other, in points."""
    keys, widths = table.shown_keys, [0.0] * len(panels[0])
    heads = zip(_headings(keys), *(_names(table, row) for row in table.rows), strict=True)
    named = sum(max(_points(text, size) for text in texts) for texts in heads)
    for panel in panels:
        for i, place in enumerate(panel):
            head, whole, rest = _measure(table, place, size)
            widths[i] = max(widths[i], whole + rest, head)
        m = len(table.metrics)
        for last in range(m - 1, len(panel), m) if table.layout.columns else ():  # where a heading's excess goes
            room = sum(widths[last + 1 - m : last + 1]) + 2 * GAPS[size] * (m - 1)
            widths[last] += max(0.0, _points(_short(table, panel[last][0]), size) - room)
    return named + sum(widths) + 2 * GAPS[size] * (len(keys) + len(widths))


def _measure(table: Table, place: Place, size: int) -> tuple[float, float, float]:
    """The widths of a column's heading, and of its numbers up to their decimal point and from there on, in points."""
    value, metric = place
    cells = [row.cells.get((value, metric.name), Cell()) for row in table.rows]
    parts = [(*_parts(table, metric, cell), BOLD if cell.mark == "best" else 1.0) for cell in cells]
    whole = max(_points(whole, size) * bold for whole, *_, bold in parts)
    rest = max(
        _points(rest, size) * bold + _points(f"{error} {raised}" if raised else error, SMALL)
        for _, rest, error, raised, bold in parts
    )
    head = re.sub(r"[$^_{}]|\\\w*", "", metric.latex) + ARROWS[metric.better]
    return _points(head, size), whole, rest


def _points(text: str, size: int) -> float:
    """An estimate of the width of a text at a size of type."""
    drawn = "".join(c if _NUMBER not in (_LATEX.get(c) or _latex_letter(c)) else f"[U+{ord(c):04X}]" for c in text)
    return sum(_EMS.get(c, 0.78) for c in drawn) * SIZES[size]


def _pages(table: Table, panels: Sequence[Sequence[Place]]) -> Iterator[list[Section]]:
    """The sections of each page: all blocks in the first panel, then in the next."""
    sections = [(panel, heading, rows) for panel in panels for heading, rows in _blocks(table)]
    ends = itertools.accumulate(len(rows) + 1 for _, _, rows in sections)
    for _, pairs in itertools.groupby(zip(sections, ends, strict=True), lambda pair: (pair[1] - 1) // LINES):
        yield [section for section, _ in pairs]


def _tabular(table: Table, sections: Sequence[Section], numbers: int, size: int) -> str:
    """One tabular; a number takes two of its columns, which meet at the decimal point. Below a wider heading the first
    of them is widened, by a box in one row, as LaTeX would widen the second alone."""
    keys, above = table.shown_keys, None
    boxes = [0.0] * numbers
    for i, places in enumerate(itertools.zip_longest(*(panel for panel, *_ in sections))):
        sizes = [_measure(table, place, size) for place in places if place]
        head, whole, rest = map(max, zip(*sizes, strict=True))
        boxes[i] = (whole + head - rest) / 2 if head > whole + rest + 2 else 0
    lines = [rf"\begin{{tabular}}{{{'l' * len(keys)}{'r@{}l' * numbers}}}", r"\toprule"]
    for panel, heading, rows in sections:
        if panel is not above:
            lines += [*([r"\midrule"] if above else []), *_head(table, keys, panel)]
        above = panel
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(keys) + 2 * numbers}}}{{l}}{{\textit{{{escape_latex(heading)}}}}} \\")
        for row in rows:
            cells = _cells(table, row, panel, _latex_cell)
            for i, (whole, join, rest) in enumerate(cell.partition(" & ") for cell in cells):
                if join and boxes[i]:
                    cells[i], boxes[i] = rf"\makebox[{boxes[i]:.0f}pt][r]{{{whole}}}{join}{rest}", 0.0
            lines.append(" & ".join([*map(escape_latex, _names(table, row)), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _head(table: Table, keys: Sequence[str], panel: Sequence[Place]) -> list[str]:
    """The headings above a panel."""
    lines, m, k = [], len(table.metrics), len(keys)
    if table.layout.columns is not None:
        starts = range(0, len(panel), m)
        groups = [rf"\multicolumn{{{2 * m}}}{{c}}{{{escape_latex(_short(table, panel[i][0]))}}}" for i in starts]
        lines.append(" & ".join([*[""] * k, *groups]) + r" \\")
        lines.append(" ".join(rf"\cmidrule(lr){{{k + 2 * i + 1}-{k + 2 * (i + m)}}}" for i in starts))
    heads = [rf"\multicolumn{{2}}{{c}}{{{metric.latex}{escape_latex(ARROWS[metric.better])}}}" for _, metric in panel]
    return [*lines, " & ".join([*map(escape_latex, _headings(keys)), *heads]) + r" \\"]


def _short(table: Table, value: Any) -> str:
    """The name of a group of columns, which takes little room."""
    return SHORT_NAMES.get(str(value)) or display_name(table.layout.columns or "", value)


def _parts(table: Table, metric: Metric, cell: Cell) -> tuple[str, str, str, str]:
    """A cell up to its decimal point, from there on, its error, and the marks that are raised."""
    value, _, error = format_cell(table.layout, metric, cell).partition(" ± ")
    whole, point, decimals = value.partition(".")
    raised = "†" * cell.dagger + ",".join(table.notes[note] for note in cell.notes)
    return whole, point + decimals, f"±{error}" * bool(error), raised


def _latex_cell(table: Table, metric: Metric, cell: Cell) -> str:
    whole, rest, error, raised = _parts(table, metric, cell)
    mark = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}.get(cell.mark, "%s")
    small = escape_latex(error) + (rf"\raisebox{{.4ex}}{{\,{escape_latex(raised)}}}" if raised else "")
    small = rf"{{\scriptsize{small}}}" if small else ""
    if whole == "--":
        return rf"\multicolumn{{2}}{{c}}{{--{small}}}"
    return " & ".join(mark % half if half else "" for half in (escape_latex(whole).replace("-", "$-$"), rest)) + small


def _markdown_lines(table: Table) -> list[str]:
    keys, places = table.shown_keys, [(value, metric) for value in table.columns for metric in table.metrics]
    heads = _headings(keys)
    for value in table.columns:
        name = f"{display_name(table.layout.columns, value)} " if table.layout.columns else ""
        heads += [f"{name}{metric.label} {ARROWS[metric.better]}".strip() for metric in table.metrics]
    lines = [[*map(_escape_markdown, heads)]]
    for block, rows in _blocks(table):
        if block:
            lines.append([f"*{_escape_markdown(block)}*", *[""] * (len(heads) - 1)])
        for row in rows:
            cells = [*map(_escape_markdown, _names(table, row)), *_cells(table, row, places, _markdown_cell)]
            lines.append([f"*{cell}*" if row.published and cell else cell for cell in cells])
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return [head, "|" + "---|" * len(keys) + "---:|" * (len(heads) - len(keys)), *body]


def _markdown_cell(table: Table, metric: Metric, cell: Cell) -> str:
    value, plus_minus, error = map(_escape_markdown, format_cell(table.layout, metric, cell).partition(" ± "))
    value = {"best": f"**{value}**", "second": f"<ins>{value}</ins>"}.get(cell.mark, value)
    raised = ",".join(table.notes[note] for note in cell.notes)
    return value + plus_minus + error + (" †" if cell.dagger else "") + (f" <sup>{raised}</sup>" if raised else "")


def _cells(table: Table, row: Row, places: Sequence[Place], write: Callable[[Table, Metric, Cell], str]) -> list[str]:
    return [write(table, metric, row.cells.get((value, metric.name), Cell())) for value, metric in places]


def _blocks(table: Table) -> list[Block]:
    """The rows of each block, apart from those of ours and from published ones, with their headings, in order."""
    named: set[Any] = set()
    blocks = []
    for (block, published, ours), rows in itertools.groupby(table.rows, lambda r: (r.block, r.published, r.ours)):
        names = [_heading(key, value, ours) for key, value in zip(table.layout.blocks, block, strict=True)]
        heads = [*(names if published or block not in named else []), *(["published, arXiv 2502.05908"] * published)]
        named.add(block)
        blocks.append((", ".join(heads), list(rows)))
    return blocks


def _headings(keys: Sequence[str]) -> list[str]:
    return [{"particles": "N"}.get(key, key.removeprefix("sample.")) for key in keys]


def _names(table: Table, row: Row) -> list[str]:
    """The cells that name a row: empty for an argument that a method has not."""
    values = dict(zip(table.keys, row.key, strict=True))
    return ["" if values[key] is None else _name(key, values[key], row.ours) for key in table.shown_keys]


def _heading(key: str, value: Any, ours: bool) -> str:
    """`box inpainting`, `noise_std=0.2`."""
    return f"{key.rpartition('.')[2]}=" * ("." in key and not isinstance(value, str)) + _name(key, value, ours)


def _name(key: str, value: Any, ours: bool) -> str:
    return display_name(key, value) + (" (ours)" if ours and key == "method" else "")


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\*_|<>`\[\]])", r"\\\1", text.replace("\n", " "))
