"""Edits a table of text in place: what was not edited stays as it was written, byte for byte.

Reading a file into numbers and writing them out again would change how they are written, drop comments and reorder
blocks. Here only the cells that were edited are replaced, dropped rows are left out, and new rows follow the last one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Mapping, Sequence

_WORDS = re.compile(r"'[^'\n]*'(?=\s|$)|\"[^\"\n]*\"(?=\s|$)|\S+")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def spans(line: str, separator: str | None) -> list[tuple[int, int]]:
    """Where the cells of a row lie, (start, end) each.

    Parameters
    ----------
    line : str
        Without its line end.
    separator : str or None
        None = white space, quotes hold words together (STAR); else a character (CSV), with CSV's quotes.
    """
    if separator is None:
        return [match.span() for match in _WORDS.finditer(line)]
    fields: list[tuple[int, int]] = []
    start, quoted = 0, False
    for place, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif sign == separator and not quoted:
            fields.append((start, place))
            start = place + 1
    return [*fields, (start, len(line))]


def cells(line: str, separator: str | None) -> list[str]:
    """The cells of a row as written."""
    return [line[a:b] for a, b in spans(line, separator)]


def with_cells(line: str, replaced: Mapping[int, str], separator: str | None) -> str:
    """A row with some cells replaced and everything between them as it was; a shorter value keeps the column's width.

    Raises
    ------
    IndexError
        The row has no such cell.
    """
    out: list[str] = []
    done = 0
    places = spans(line, separator)
    for number in sorted(replaced):
        start, end = places[number]
        text = replaced[number]
        before = places[number - 1][1] if number else 0
        blanks = start - before
        if separator is None and blanks > 1 and line[before:start] == " " * blanks:
            # RELION aligns numbers to the right in columns of blanks
            start, text = before, text.rjust(end - before) if len(text) < end - before else f" {text}"
        out += [line[done:start], text]
        done = end
    return "".join([*out, line[done:]])


def rewritten(
    data: bytes,
    *,
    edited: Mapping[int, Mapping[int, str]],
    dropped: Collection[int],
    appended: Sequence[tuple[int, str]],
    separator: str | None,
) -> bytes:
    """The bytes of a file with some rows edited, dropped and added.

    Parameters
    ----------
    data : bytes
        The file. Its encoding mark and line ends are kept.
    edited : mapping of 1-based line to mapping of cell number to text
    dropped : collection of 1-based lines
    appended : sequence of (line, text)
        New rows, each put after a 1-based line.
    separator : str or None
        See :func:`spans`.
    """
    mark, encoding = next(((m, e) for m, e in _BOMS if data.startswith(m)), (b"", "utf-8"))
    lines = data[len(mark) :].decode(encoding).split("\n")
    ending = "\r" if lines[0].endswith("\r") else ""
    after: dict[int, list[str]] = {}
    for place, text in appended:
        after.setdefault(place, []).append(text + ending)
    out: list[str] = []
    for number, line in enumerate(lines, 1):
        if number in edited:
            bare = line.removesuffix("\r")
            line = with_cells(bare, edited[number], separator) + line[len(bare) :]
        if number not in dropped:
            out.append(line)
        out += after.get(number, ())
    return mark + "\n".join(out).encode(encoding)
