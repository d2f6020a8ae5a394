"""cisTEM: exported ``.plt`` files (read and written) and the project database (read only).

A ``.plt`` row is, in IMAGIC's manner and counted from one, ``H - y + 1``, ``x + 1``, ``1.0``: first the row from the
*last* row of the micrograph, then the column (timothygrant80/cisTEM ``MyParticlePositionExportDialog.cpp:46``). With x
taken from the second column and y from the first that is a flipped, one-based :class:`SourceFrame`. The database keeps
positions in angstrom, row 0 = first row of the MRC (``src/core/database_schema.h``; FORMATS.md 9).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, Orientation, SourceFrame, angstrom_to_px
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .atomic import write_text
from .names import distinct_names, refuse_collisions
from .table.sqlite_file import SQLITE_MAGIC, opened, tables
from .table.star import ColumnReader, number_text
from .table.text_rows import (
    empty_picks,
    kept,
    numbered_lines,
    numeric_widths,
    read_bounded,
    source_positions,
    split_rows,
    texts,
)

PLT_FRAME = SourceFrame(Orientation.FLIP_Y, first_index=1)
_THIRD = "plt:third"
_EXPECTED = "H-y+1 x+1 1.0"
_POSITIONS = "PARTICLE_POSITION_ASSETS"
_IMAGES = "IMAGE_ASSETS"
_KEPT = (
    "PARTICLE_POSITION_ASSET_ID",
    "PICKING_ID",
    "PICK_JOB_ID",
    "TEMPLATE_ASSET_ID",
    "TEMPLATE_PSI",
    "TEMPLATE_THETA",
    "TEMPLATE_PHI",
)
_PREFIX = "cistem:"
_MAX_NAME = 4096


@dataclass(frozen=True)
class _CistemPlt:
    """cisTEM's exported positions; see the module."""

    name: str = "cistem-plt"
    title: str = "cisTEM export (.plt)"
    extensions: tuple[str, ...] = (".plt",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = PLT_FRAME
    carries: frozenset[str] = frozenset({"extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a ``.plt``: by its extension and rows of three numbers."""
        if (not head and path.is_dir()) or path.suffix.lower() != ".plt":
            return 0.0
        if not head:
            return 0.6
        return 0.9 if 3 in numeric_widths(head) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph, the one the file is called after.

        Raises
        ------
        FormatError
            A row is not three numbers.
        """
        lines = numbered_lines(read_bounded(path))
        rows = split_rows(lines, path, widths={3}, expected=_EXPECTED, permissive=permissive)
        if not rows.lines:
            return PickFile(self.name, path, self.frame, (empty_picks(path),), tuple(rows.issues))
        reader = ColumnReader(rows.named(("first", "second", "third")), rows.lines, path, permissive)
        y, x = reader.number("first"), reader.number("second")
        reader.number("third")
        extra = {_THIRD: reader.text("third")[reader.good]}
        picks = FilePicks(path.stem, x[reader.good], y[reader.good], extra=extra, source=path)
        return PickFile(self.name, path, self.frame, (picks,), (*rows.issues, *reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/<stem>.plt`` for every micrograph.

        Raises
        ------
        FormatError
            A position is not finite, the micrograph's height is unknown, two micrographs share a stem.
        """
        names = [f"{name}{options.suffix or ''}.plt" for name in distinct_names(picks)]
        refuse_collisions(names, out)
        bodies = [_plt_text(pick, options) for pick in picks]
        return [write_text(out / name, body) for name, body in zip(names, bodies, strict=True)]


def _plt_text(pick: MicrographPicks, options: WriteOptions) -> str:
    x, y = source_positions(pick, PLT_FRAME if options.frame is None else options.frame)
    third = [text or "1.0" for text in kept(pick.extra, _THIRD, len(pick))]
    rows = zip(number_text(y), number_text(x), third, strict=True)
    return "".join("\t".join(row) + "\n" for row in rows)


# --- the database --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cistem:
    """cisTEM's project database, opened read-only; see the module."""

    name: str = "cistem"
    title: str = "cisTEM project (.db)"
    extensions: tuple[str, ...] = (".db",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "extra"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a cisTEM project: an SQLite file with cisTEM's tables."""
        if not head.startswith(SQLITE_MAGIC):
            return 0.0
        try:
            with opened(path, "cisTEM project") as database:
                return 0.97 if tables(database) >= {_POSITIONS, _IMAGES} else 0.0
        except FormatError:
            return 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the particle position assets of every image.

        Raises
        ------
        FormatError
            It is no cisTEM project, it is damaged, or a position makes no sense.
        """
        with opened(path, "cisTEM project") as database:
            missing = {_POSITIONS, _IMAGES} - tables(database)
            if missing:
                raise FormatError(f"is no cisTEM project: it has no table {min(missing)}", path)
            images = _images(database, path)
            rows = _rows(database, path)
        return _pick_file(images, rows, path, permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Refuse: a cisTEM project is its program's own."""
        raise FormatError("cisTEM's database is read only; write cistem-plt, which cisTEM imports", out)


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]).upper() for row in database.execute(f"PRAGMA table_info({table})")}


def _images(database: sqlite3.Connection, path: Path) -> dict[int, tuple[str, float]]:
    """File name and pixel size (angstrom) of each image, by its id."""
    images_of: dict[int, tuple[str, float]] = {}
    query = f"SELECT IMAGE_ASSET_ID, FILENAME, PIXEL_SIZE FROM {_IMAGES}"
    for key, name, size in database.execute(query):
        if not isinstance(key, int) or not isinstance(name, str) or len(name) > _MAX_NAME:
            raise FormatError(f"{_IMAGES} has an image without a number or file name", path)
        images_of[key] = (name, float(size) if isinstance(size, int | float) else float("nan"))
    return images_of


def _rows(database: sqlite3.Connection, path: Path) -> list[dict[str, Any]]:
    """The positions; columns that an older schema lacks are left out."""
    columns = _columns(database, _POSITIONS)
    needed = ("PARENT_IMAGE_ASSET_ID", "X_POSITION", "Y_POSITION")
    if not set(needed) <= columns:
        raise FormatError(f"{_POSITIONS} lacks {', '.join(sorted(set(needed) - columns))}", path)
    chosen = [*needed, *(name for name in ("PEAK_HEIGHT", *_KEPT) if name in columns)]
    query = f"SELECT {', '.join(chosen)} FROM {_POSITIONS} ORDER BY rowid"
    return [dict(zip(chosen, row, strict=True)) for row in database.execute(query)]


def _pick_file(
    images: dict[int, tuple[str, float]], rows: list[dict[str, Any]], path: Path, permissive: bool
) -> PickFile:
    issues: list[Issue] = []
    groups: dict[int, list[dict[str, Any]]] = {}
    for number, row in enumerate(rows, 1):
        problem = _problem(row, images)
        if not problem:
            groups.setdefault(row["PARENT_IMAGE_ASSET_ID"], []).append(row)
        elif not permissive:
            raise FormatError(f"position {number}: {problem}", path)
        else:
            issues.append(Issue(f"position {number}: {problem}", path))
    picks = tuple(_picks(*images[key], group, path) for key, group in groups.items())
    sizes = {images[key][1] for key in groups}
    return PickFile("cistem", path, STORED_FRAME, picks, tuple(issues), sizes.pop() if len(sizes) == 1 else None)


def _problem(row: dict[str, Any], images: dict[int, tuple[str, float]]) -> str:
    """What is wrong with a row; empty where nothing is."""
    if row["PARENT_IMAGE_ASSET_ID"] not in images:
        return f"names image {str(row['PARENT_IMAGE_ASSET_ID'])[:40]}, which is not among {_IMAGES}"
    size = images[row["PARENT_IMAGE_ASSET_ID"]][1]
    if not (np.isfinite(size) and size > 0):
        return f"lies on an image without a pixel size ({size:g}), which angstroms need"
    for name in ("X_POSITION", "Y_POSITION"):
        value = row[name]
        if not isinstance(value, int | float) or not np.isfinite(float(value)) or abs(value) > 1e12 * size:
            return f"{name} is {str(value)[:40]!r} where a finite number was expected"
    return ""


def _picks(name: str, pixel_size_A: float, rows: list[dict[str, Any]], path: Path) -> FilePicks:
    def column(label: str) -> NDArray[np.float64]:
        return np.array([_number(row.get(label)) for row in rows], np.float64)

    extra = {
        _PREFIX + label: texts(["" if row[label] is None else str(row[label])[:64] for row in rows])
        for label in _KEPT
        if label in rows[0]
    }
    score = column("PEAK_HEIGHT") if "PEAK_HEIGHT" in rows[0] else None
    x, y = (angstrom_to_px(column(name), pixel_size_A) for name in ("X_POSITION", "Y_POSITION"))
    return FilePicks(name, x, y, score=score, extra=extra, source=path)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and np.isfinite(float(value)) else float("nan")


CISTEM_PLT = _CistemPlt()
CISTEM = _Cistem()
