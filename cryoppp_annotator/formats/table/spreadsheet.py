"""CSV that is safe to open in a spreadsheet, which would run a text that begins with ``=`` as a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence

#: What a spreadsheet takes for a formula, or for the blank before one; also as wide characters of East Asian fonts.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def kept_text(cell: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula: with ``'`` before it where it begins as one.

    Numbers (``-1.5``, ``+2e3``) stay as they are. :func:`original_text` is the inverse.
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def original_text(cell: str) -> str:
    """What :func:`kept_text` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    r"""Rows as CSV with ``\n`` line ends, every cell through :func:`kept_text`."""
    lines: list[str] = []
    writer = csv.writer(_Lines(lines), lineterminator="\r\n")
    writer.writerows([kept_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return "".join(lines)


class _Lines:
    """Ends lines as we do; csv only quotes a carriage return in a cell where it is in the line's end, too."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, line: str) -> None:
        self._lines.append(f"{line[:-2]}\n")
