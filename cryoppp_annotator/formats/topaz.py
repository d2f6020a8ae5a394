"""Topaz ``.txt``: a table ``image_name x_coord y_coord [score]`` for all micrographs.

Positions are centres in px of the image Topaz saw, that is of a micrograph made smaller by ``topaz preprocess -s``; the
file does not say by how much, so the scale is the frame's to say (``SourceFrame.scale``; FORMATS.md 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .names import distinct_names, refuse_collisions
from .table.star import ColumnReader, decode_head, number_text
from .table.text_rows import kept, read_bounded, source_positions

_NAME, _X, _Y, _SCORE = _KNOWN = ("image_name", "x_coord", "y_coord", "score")
_PREFIX = "topaz:"
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class _Topaz:
    """Topaz tables; see the module."""

    name: str = "topaz"
    title: str = "Topaz (.txt)"
    extensions: tuple[str, ...] = (".txt", ".tsv", ".tab")
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "extra"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a Topaz table: by the names in its first line."""
        if not head:
            return 0.0
        return 0.97 if {_NAME, _X, _Y} <= set(_cells(decode_head(head).split("\n", 1)[0])) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a table; rows are grouped by image, in the file's order.

        The declared scale is 1; say otherwise through the frame.

        Raises
        ------
        FormatError
            The first line lacks a column, or a row is bad.
        """
        columns, lines, separator, issues = _table(path, permissive)
        labels = list(columns)
        layout = RowLayout(labels.index(_X), labels.index(_Y), separator, "")
        reader = ColumnReader(columns, lines, path, permissive)
        data: dict[str, Any] = {"x": reader.number(_X), "y": reader.number(_Y)}
        if _SCORE in columns:
            data["score"] = reader.number(_SCORE, optional=True)
        extra = {_PREFIX + label: reader.text(label) for label in columns if label not in _KNOWN}
        picks = tuple(
            FilePicks(
                image,
                **{name: column[rows] for name, column in data.items()},
                extra={name: column[rows] for name, column in extra.items()},
                source=path,
                lines=np.array(lines, np.int64)[rows],
                layout=layout,
            )
            for image, rows in _groups(columns[_NAME], reader.good).items()
        )
        return PickFile(self.name, path, self.frame, picks, (*issues, *reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write one table: ``out`` where it ends in ``.txt``, else ``out/particles.txt``.

        Positions are divided by ``options.frame.scale``. Topaz writes whole pixels and reads any number, so they are
        written exactly. A micrograph without picks leaves no trace. Scores are written where any pick has one.

        Raises
        ------
        FormatError
            A position is not finite, two micrographs share a stem, or a name holds a tab.
        """
        refuse_collisions(distinct_names(picks), out)
        target = out if out.suffix.lower() in self.extensions else out / f"particles{options.suffix or ''}.txt"
        return [write_text(target, _text(picks, options))]


# --- reading -------------------------------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    separator = "\t" if "\t" in line else "," if "," in line else None
    return [cell.strip() for cell in line.strip("\ufeff\r\n").split(separator)]


def _table(path: Path, permissive: bool) -> tuple[dict[str, list[str]], list[int], str | None, list[Issue]]:
    """Columns as text, 1-based line of each row, what stands between values, and the rows of another width."""
    lines = read_bounded(path, _MAX_BYTES).split("\n")
    header = _cells(lines[0])
    missing = [name for name in (_NAME, _X, _Y) if name not in header]
    if missing:
        raise FormatError(f"the first line lacks the column {' and '.join(missing)}: not a Topaz table", path, 1)
    if len(set(header)) < len(header):
        raise FormatError("two columns have the same name", path, 1)
    separator = "\t" if "\t" in lines[0] else "," if "," in lines[0] else None
    rows: list[list[str]] = []
    numbers: list[int] = []
    issues: list[Issue] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        values = line.split(separator)
        if len(values) == len(header):
            rows.append(values)
            numbers.append(number)
            continue
        message = f"{len(values)} values where the header has {len(header)} columns"
        if not permissive:
            raise FormatError(message, path, number)
        issues.append(Issue(message, path, number))
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in header]
    return dict(zip(header, columns, strict=True)), numbers, separator, issues


def _groups(names: list[str], good: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        rows.setdefault(name.strip(), []).append(index)
    arrays = {name: np.array(index, np.intp) for name, index in rows.items()}
    return {name: index[good[index]] for name, index in arrays.items()}


# --- writing -------------------------------------------------------------------------------------------------------


def _text(picks: Sequence[MicrographPicks], options: WriteOptions) -> str:
    frame = STORED_FRAME if options.frame is None else options.frame
    scored = any(np.isfinite(pick.score).any() for pick in picks)
    more = list(dict.fromkeys(name for pick in picks for name in pick.extra if name.startswith(_PREFIX)))
    header = [_NAME, _X, _Y, *([_SCORE] if scored else []), *(name.removeprefix(_PREFIX) for name in more)]
    lines = ["\t".join(header)]
    for pick, name in zip(picks, distinct_names(picks), strict=True):
        n = len(pick)
        columns = [[name] * n, *map(number_text, source_positions(pick, frame))]
        if scored:
            columns.append(number_text(pick.score))
        columns += [kept(pick.extra, label, n) for label in more]
        rows = list(map("\t".join, zip(*columns, strict=True)))
        if any(row.count("\t") != len(header) - 1 or "\n" in row for row in rows):
            raise FormatError(f"{name}: a name or value with a tab in it cannot be written in a Topaz table")
        lines += rows
    return "\n".join(lines) + "\n"


TOPAZ = _Topaz()
