"""Text that every file, terminal and library takes, and tables of it for a terminal."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def printable(text: object) -> str:
    """The text with an escape in place of each character that UTF-8 cannot hold, as in file names of other encodings:
    `M\\xfcller.jpg` is read from the disk as `M\\udcfcller.jpg`, and a file of that text cannot be written."""
    text = str(text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def printable_values(value: Any) -> Any:
    """A value of JSON or YAML with all its text, keys included, made printable."""
    if isinstance(value, dict):
        return {printable_values(key): printable_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable_values(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def number(value: float, digits: int, floor: float = -math.inf) -> str:
    """The value at so many decimals, without a sign before zero; `< 0.001` below a floor of 0.001."""
    return f"< {floor:.{digits}f}" if value < floor else f"{value:z.{digits}f}"


def text_table(
    columns: Mapping[str, Sequence[str]],
    *,
    left: Collection[str] = (),
    repeat: int = 0,
    width: int | None = None,
    rule: bool = False,
) -> str:
    """Lay out columns of text under their headings, two spaces apart, right-aligned but for those in `left`.

    Columns that do not fit into `width` characters go into further blocks, each beginning with the first `repeat`
    columns. `rule` draws a line below the headings.
    """
    aligned = []
    for heading, cells in columns.items():
        size = max(map(len, (heading, *cells)))
        aligned.append([cell.ljust(size) if heading in left else cell.rjust(size) for cell in (heading, *cells)])
    blocks = [aligned[:repeat]]
    for column in aligned[repeat:]:
        needed = sum(len(other[0]) + 2 for other in blocks[-1]) + len(column[0])
        if width is not None and needed > width and len(blocks[-1]) > repeat:
            blocks.append(aligned[:repeat])
        blocks[-1] = [*blocks[-1], column]
    texts = []
    for block in blocks:
        lines = ["  ".join(cells).rstrip() for cells in zip(*block, strict=True)]
        texts.append("\n".join([lines[0], *(["-" * len(lines[0])] if rule else []), *lines[1:]]))
    return "\n\n".join(texts)
