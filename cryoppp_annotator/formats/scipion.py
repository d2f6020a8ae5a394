"""Scipion's sets of coordinates (``coordinates.sqlite``): read only.

Scipion keeps a set in three tables: ``Classes`` says which column (``c00`` ...) holds which property (``_x``, ``_y``,
``_micName``, ``_micId``), ``Objects`` has one row an item (``enabled`` 0 = deselected by a person), ``Properties`` the
set's own (``_boxSize``). x and y are whole pixels of the micrograph, row 0 = first row (I2PC/scipion
``pyworkflow/mapper/sqlite.py``, ``pyworkflow/em/data.py``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .table.sqlite_file import SQLITE_MAGIC, opened, tables
from .table.text_rows import texts

_X, _Y, _NAME, _ID = "_x", "_y", "_micName", "_micId"
_NEEDED = (_X, _Y)
_PREFIX = "scipion:"
#: Properties that are a picker's score, by their endings.
_SCORES = ("score", "cost", "fom")
_MAX_NAME = 4096


@dataclass(frozen=True)
class _Scipion:
    """A set of coordinates; see the module."""

    name: str = "scipion"
    title: str = "Scipion coordinates (.sqlite)"
    extensions: tuple[str, ...] = (".sqlite",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "box", "decision", "extra"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a set of coordinates of Scipion."""
        if not head.startswith(SQLITE_MAGIC):
            return 0.0
        try:
            with opened(path, "Scipion set") as database:
                is_set = tables(database) >= {"CLASSES", "OBJECTS"}
                return 0.97 if is_set and set(_NEEDED) <= set(_columns(database)) else 0.0
        except FormatError:
            return 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read all coordinates; deselected ones are rejected.

        Raises
        ------
        FormatError
            It is no set of coordinates, it is damaged, of a tomogram, or a row makes no sense.
        """
        with opened(path, "Scipion set") as database:
            columns = _columns(database)
            missing = [name for name in _NEEDED if name not in columns]
            if missing:
                raise FormatError(f"is a set of Scipion, but not of coordinates: it has no {missing[0]}", path)
            if "_z" in columns:
                raise FormatError("holds positions in three dimensions, of a tomogram", path)
            if _NAME not in columns:
                raise FormatError(
                    "names no micrographs, only their numbers in Scipion; export the coordinates from Scipion", path
                )
            rows = _rows(database, columns)
            box = _box_size(database)
        return _pick_file(rows, box, path, permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Refuse: a set of Scipion belongs to its project."""
        raise FormatError("Scipion's sets are read only; write xmipp, which Scipion imports", out)


def _columns(database: sqlite3.Connection) -> dict[str, str]:
    """Which column holds which property."""
    query = "SELECT label_property, column_name FROM Classes WHERE label_property <> 'self'"
    return {
        str(label): str(column) for label, column in database.execute(query) if str(column).isidentifier() and label
    }


def _rows(database: sqlite3.Connection, columns: dict[str, str]) -> list[dict[str, Any]]:
    names = [*columns, "id", "enabled"]
    query = ", ".join(f'"{column}"' for column in (*columns.values(), "id", "enabled"))
    return [dict(zip(names, row, strict=True)) for row in database.execute(f"SELECT {query} FROM Objects ORDER BY id")]


def _box_size(database: sqlite3.Connection) -> float:
    """Box edge of the set, px; 0 where it has none."""
    if "PROPERTIES" not in tables(database):
        return 0.0
    for (value,) in database.execute("SELECT value FROM Properties WHERE key IN ('_boxSize', 'self._boxSize')"):
        try:
            size = float(value)
        except (TypeError, ValueError):
            continue
        return size if np.isfinite(size) and 0 < size < 1e6 else 0.0
    return 0.0


def _pick_file(rows: list[dict[str, Any]], box: float, path: Path, permissive: bool) -> PickFile:
    issues: list[Issue] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        problem = _problem(row)
        if not problem:
            groups.setdefault(row[_NAME], []).append(row)
        elif not permissive:
            raise FormatError(f"coordinate {row['id']}: {problem}", path)
        else:
            issues.append(Issue(f"coordinate {row['id']}: {problem}", path))
    picks = tuple(_picks(name, group, box, path) for name, group in groups.items())
    return PickFile("scipion", path, STORED_FRAME, picks, tuple(issues))


def _problem(row: dict[str, Any]) -> str:
    """What is wrong with a row; empty where nothing is."""
    name = row[_NAME]
    if not isinstance(name, str) or not name or len(name) > _MAX_NAME:
        return "names no micrograph"
    for label in _NEEDED:
        value = row[label]
        if not isinstance(value, int | float) or not np.isfinite(float(value)) or abs(value) > 1e9:
            return f"{label} is {str(value)[:40]!r} where a number was expected"
    return ""


def _picks(name: str, rows: list[dict[str, Any]], box: float, path: Path) -> FilePicks:
    n = len(rows)
    labels = [label for label in rows[0] if label not in (_X, _Y, _NAME, "enabled")]
    score = next((label for label in labels if label.lower().endswith(_SCORES)), None)
    deselected = np.array([row["enabled"] == 0 for row in rows], bool)
    return FilePicks(
        name,
        np.array([float(row[_X]) for row in rows], np.float64),
        np.array([float(row[_Y]) for row in rows], np.float64),
        box_size_px=np.full(n, box) if box else None,
        score=None if score is None else np.array([_number(row[score]) for row in rows], np.float64),
        decision=np.where(deselected, Decision.REJECTED, Decision.UNDECIDED).astype(np.int8),
        extra={
            _PREFIX + label: texts(["" if row[label] is None else str(row[label])[:64] for row in rows])
            for label in labels
        },
        source=path,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and np.isfinite(float(value)) else float("nan")


SCIPION = _Scipion()
