"""Reads a STAR file from the disk, whole or, where it is long, in pieces."""

from __future__ import annotations

from pathlib import Path

from .long_star import read_long_star
from .simple_star import read_simple
from .star import StarFile, StarTable, parse_star, read_text

#: Larger files are read in pieces.
_LONG_BYTES = 32 << 20


def read_star(path: Path, *, permissive: bool = False) -> StarFile:
    """Read a STAR file as columns of text.

    Parameters
    ----------
    path : Path
        A file of 0 bytes has no tables.
    permissive : bool
        Rows with too many or too few values become issues instead of an error.

    Raises
    ------
    FormatError
        With the 1-based line where the grammar breaks.
    """
    if _is_long(path):
        return read_long_star(path, permissive=permissive)
    text = read_text(path)
    simple = read_simple(text)
    if simple is not None:
        return StarFile(path, (StarTable(*simple),))
    return parse_star(text, path, permissive=permissive)


def _is_long(path: Path) -> bool:
    try:
        if path.stat().st_size <= _LONG_BYTES:
            return False
        with path.open("rb") as stream:
            return stream.read(2) not in (b"\xff\xfe", b"\xfe\xff")
    except OSError:
        return False  # the reader says why it cannot be read
