"""Plain rows: text files of whitespace-separated values, read within bounds, and positions on their way out.

What ``.box``, ``.plt``, ``.thi`` and their like share; each format puts its own meaning on the columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, disk_reason
from ...model.coordinates import FloatArray, Orientation, SourceFrame
from ...model.pickfile import FilePicks, Issue, MicrographPicks
from .star import decode_head, number_text, read_text, require_finite

#: No coordinate file of one micrograph is larger; a micrograph given by mistake is.
ONE_MICROGRAPH_BYTES = 64 << 20
_FLIPPED = (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y)


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of text.

    Attributes
    ----------
    columns : list of (n,) list of str
    lines : (n,) list of int
        1-based line of each row.
    issues : list of Issue
        Rows of another width, where read permissively.
    """

    columns: list[list[str]]
    lines: list[int]
    issues: list[Issue]

    def named(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Columns by name; those without one are left out."""
        return dict(zip(names, self.columns, strict=False))


def read_bounded(path: Path, limit: int = ONE_MICROGRAPH_BYTES) -> str:
    """Read a text file whole, but only if it is no larger than ``limit`` bytes.

    Raises
    ------
    FormatError
        It is larger, cannot be read, or is no text.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error
    if size > limit:
        raise FormatError(
            f"is {size >> 20:,} MB large, which no file of this format is (up to {limit >> 20:,} MB)", path
        )
    return read_text(path)


def split_rows(
    numbered: Sequence[tuple[int, str]], path: Path, *, widths: Collection[int], expected: str, permissive: bool
) -> Rows:
    """Split lines into columns; the first good row says how many there are.

    Parameters
    ----------
    numbered : sequence of (1-based line number, text)
        Blank lines and those that start with ``#`` are passed over.
    widths : collection of int
        Numbers of values a row may have.
    expected : str
        What a row should look like, for the message (``x y width height [score]``).

    Raises
    ------
    FormatError
        A row is of another width, unless permissive.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    issues: list[Issue] = []
    width = 0
    for number, line in numbered:
        values = line.split()
        if not values or values[0][0] == "#":
            continue
        if len(values) == width or (not width and len(values) in widths):
            width = len(values)
            rows.append(values)
            lines.append(number)
            continue
        why = f"{expected} was expected" if not width else f"{expected} was expected, {width} as in the rows before"
        message = f"{len(values)} values where {why}"
        if not permissive:
            raise FormatError(message, path, number)
        issues.append(Issue(message, path, number))
    if issues and not rows:
        raise FormatError(f"has no row of {expected}", path)
    return Rows([list(column) for column in zip(*rows, strict=True)], lines, issues)


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """Lines with their 1-based numbers."""
    return list(enumerate(text.split("\n"), 1))


def numeric_widths(head: bytes) -> set[int]:
    """How many numbers the whole lines in a file's first bytes hold; empty where the first line holds anything else.

    Used for sniffing: a later line with text in it is the reader's business.
    """
    lines = decode_head(head).splitlines()
    if len(head) >= 4096:
        lines = lines[:-1]
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    if not rows or not all(map(_is_number, rows[0])):
        return set()
    return {len(row) for row in rows if all(map(_is_number, row))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return len(text) < 64 and "_" not in text


def empty_picks(path: Path, micrograph: str | None = None) -> FilePicks:
    """What a file of 0 bytes says: the micrograph was inspected and holds no particle."""
    return FilePicks(path.stem if micrograph is None else micrograph, np.zeros(0), np.zeros(0), source=path)


def texts(values: Sequence[str] | NDArray[np.str_]) -> NDArray[np.str_]:
    """(n,) str; an empty column too."""
    return np.array(values, dtype=np.str_) if len(values) else np.zeros(0, "U1")


# --- writing -------------------------------------------------------------------------------------------------------


def source_positions(
    pick: MicrographPicks, frame: SourceFrame, box_size: FloatArray | float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Positions in the frame of the file to be written, source px.

    Where the frame takes arithmetic, what that adds in the last bits is rounded away at 1e-9 px.

    Parameters
    ----------
    pick : MicrographPicks
    frame : SourceFrame
        Of the file to be written.
    box_size : (n,) float64 or float, px
        Of the boxes whose corners are written.

    Returns
    -------
    x, y : (n,) float64, source px

    Raises
    ------
    FormatError
        A position is not finite, or y is counted from the last row of a micrograph whose height is unknown.
    """
    name = pick.micrograph.name
    frame = frame.on(pick.micrograph.path)
    require_finite(pick.x, pick.y, name)
    if len(pick) and frame.orientation in _FLIPPED and not pick.micrograph.height > 0:
        raise FormatError(f"the height of {name} is not known, and the format counts y from the last row")
    x, y = frame.from_canonical(pick.x, pick.y, height=pick.micrograph.height, box_size=box_size)
    return np.where(x == pick.x, x, np.round(x, 9)), np.where(y == pick.y, y, np.round(y, 9))


def kept(extra: Mapping[str, NDArray[np.str_]], name: str, n: int) -> list[str]:
    """(n,) texts an import kept under ``name``; empty texts where there are none."""
    column: list[str] = extra[name].tolist() if name in extra else [""] * n
    return column


def unedited_text(values: FloatArray, before: Sequence[str]) -> list[str]:
    """Numbers as text; a number that equals the imported text to 1e-9 keeps that text.

    So a corner that became a centre and a corner again is written as it was read.

    Parameters
    ----------
    values : (n,) float64, any unit
    before : (n,) sequence of str
        As imported.
    """
    now = number_text(values)
    if not any(before):
        return now
    same = np.abs(numbers(before) - values) < 1e-9
    return [old if unchanged else new for old, new, unchanged in zip(before, now, same, strict=True)]


def numbers(column: Sequence[str]) -> FloatArray:
    """(n,) float64; NaN for what is no number."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.nan

    return np.array([number(text) for text in column], np.float64)
