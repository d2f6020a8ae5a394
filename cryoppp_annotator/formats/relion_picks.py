"""Picks out of a RELION STAR: rows grouped by micrograph, with optics groups and what is doubtful said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import CRYOPPP_FRAME, RELION_FRAME, SourceFrame
from ..model.file_note import FileNote, NoteKind
from ..model.pickfile import FilePicks, Issue, PickFile, RowLayout
from .relion_optics import GROUP, Group, PixelSize, groups_of, microscope_columns, pixel_sizes, plain_number, size_keys
from .table.star import ColumnReader, StarFile, StarTable

X = "rlnCoordinateX"
Y = "rlnCoordinateY"
MICROGRAPH = "rlnMicrographName"
SCORE = "rlnAutopickFigureOfMerit"
CLASS = "rlnClassNumber"
#: CryoSegNet's and CryoPPP's own column in what looks like a RELION STAR.
CRYOPPP_DIAMETER = "rlnDiameter"
INTERPRETED = frozenset({X, Y, MICROGRAPH, SCORE, CLASS, CRYOPPP_DIAMETER})
_TOMOGRAPHY = re.compile(r"^(?:rln|wrp)(?:Centered)?Coordinate[XY]?Z|^rlnCenteredCoordinate|^rlnTomo|^wrpCoordinate")
_CRYOSPARC_NAME = re.compile(r"(?:^|/)J\d+/.*\d{21}_")
_IS_3D = "3"
#: The numbers of the lines of a file, for those that are not long.
_FIRST_LINES = np.arange(4096, dtype=np.int64)
_FIRST_LINES.setflags(write=False)


def read_picks(star: StarFile, format_name: str, *, permissive: bool, frame: SourceFrame = RELION_FRAME) -> PickFile:
    """Turn a parsed STAR into picks.

    Parameters
    ----------
    star : StarFile
    format_name : str
        Goes into the result.
    permissive : bool
        Bad rows become issues.
    frame : SourceFrame
        What the file's coordinates are declared to be in.

    Raises
    ------
    FormatError
        No table has ``rlnCoordinateX`` and ``rlnCoordinateY``, a row is bad, or the particles are of tomograms.
    """
    issues = list(star.issues)
    if not star.tables:
        empty = FilePicks(star.path.stem, np.zeros(0), np.zeros(0), source=star.path)
        return PickFile(format_name, star.path, frame, (empty,))
    refuse_tomography(star)
    table = coordinate_table(star)
    if frame == RELION_FRAME and CRYOPPP_DIAMETER in table.columns:
        frame = CRYOPPP_FRAME
    groups = groups_of(star)
    columns: dict[str, Sequence[str]] = {**table.columns, **microscope_columns(groups, table)}
    reader = ColumnReader(columns, table.lines, star.path, permissive)
    sizes = pixel_sizes(groups, table)
    picks = _grouped(reader, columns, table, star.path, groups, sizes)
    issues += reader.issues
    whole = _whole_size(sizes)
    if len({size.value_A for size in sizes.values()} - {None}) > 1 and permissive:
        values = sorted({size.value_A for size in sizes.values() if size.value_A is not None})
        issues.append(Issue(f"several micrograph pixel sizes: {', '.join(f'{s:g}' for s in values)} Å", star.path))
    return PickFile(
        format_name,
        star.path,
        frame,
        picks,
        tuple(issues),
        whole.value_A,
        whole.doubt,
        _assumptions(table, frame, whole.doubt, groups) + _mixed_sizes(groups, table, sizes),
        groups,
    )


def refuse_tomography(star: StarFile) -> None:
    """Raise FormatError where a STAR speaks of tomograms, whatever else it holds."""
    for table in star.tables:
        for label, column in table.columns.items():
            is_3d = label == "rlnImageDimensionality" and _IS_3D in {text.split(".")[0] for text in column}
            series = label == MICROGRAPH and any(text.lower().endswith(".tomostar") for text in column)
            if (_TOMOGRAPHY.match(label) and len(column)) or is_3d or series:
                what = f"{label} 3" if is_3d else f"{label} of .tomostar" if series else label
                raise FormatError(f"holds tomography particles ({what}); this program labels 2D micrographs", star.path)


def coordinate_table(star: StarFile) -> StarTable:
    """The one table with coordinates. Raises FormatError where there is none, or there are several."""
    tables = [table for table in star.tables if X in table.columns and Y in table.columns]
    if not tables:
        labels = ", ".join(list(star.tables[0].columns)[:6])
        raise FormatError(f"has no columns {X} and {Y} (it has {labels}){_way_out(star)}", star.path)
    if len(tables) > 1:
        names = ", ".join(f"data_{table.block}" for table in tables)
        raise FormatError(f"has coordinates in several blocks ({names}); keep one", star.path)
    return tables[0]


def _way_out(star: StarFile) -> str:
    """What a STAR without coordinates is good for, where that is known."""
    labels = {label for table in star.tables for label in table.columns}
    other_case = sorted(label for label in labels if label.lower() in (X.lower(), Y.lower()) and label not in (X, Y))
    if other_case:
        return f": write {', '.join(other_case)} with RELION's capitals"
    if any(label.startswith("cisTEM") for label in labels):
        return ": it is of particles that cisTEM has cut out, without their place; import the project's .db"
    if "rlnDefocusU" in labels and MICROGRAPH in labels:
        return ": it holds defocus values; give it to --ctf"
    if MICROGRAPH in labels:
        return ": it is a list of micrographs; give it to --micrographs"
    if any(label.startswith(("rlnPipeLine", "rlnJob")) for label in labels):
        return ": it is of RELION's pipeline; give the project's folder to --relion"
    return ""


def _whole_size(sizes: Mapping[tuple[str, ...], PixelSize]) -> PixelSize:
    """The one pixel size of a file; where it has several, none, and the doubt about any of them."""
    values = {size.value_A for size in sizes.values() if size.value_A is not None}
    doubt = next((size.doubt for size in sizes.values() if size.doubt), "")
    if len(values) == 1:
        return PixelSize(values.pop(), doubt)
    return PixelSize(None, doubt)


def _assumptions(table: StarTable, frame: SourceFrame, doubt: str, groups: Mapping[str, Group]) -> tuple[str, ...]:
    notes: list[str] = [FileNote(f"pixel size in doubt: {doubt}", NoteKind.PIXEL_SIZE)] if doubt else []
    strange = sorted({plain_number(text) for text in table.columns.get(GROUP, ())} - set(groups)) if groups else []
    if strange:
        notes.append(f"its rows name optics groups that data_optics does not have ({', '.join(strange[:4])})")
    labels = list(table.columns)
    names = table.columns.get(MICROGRAPH, ())
    if frame == CRYOPPP_FRAME and CRYOPPP_DIAMETER in labels:
        notes.append(f"{CRYOPPP_DIAMETER} is CryoPPP's column, not RELION's: y is counted from the last row")
    elif frame != RELION_FRAME:
        pass
    elif labels == [MICROGRAPH, X, Y]:
        text = (
            "y is taken as RELION's, from the first row; CryoPPP's tools write STARs of these three columns with y "
            "from the last row (check-frame asks the image)"
        )
        notes.append(FileNote(text, NoteKind.AXES))
    elif len(names) and _CRYOSPARC_NAME.search(names[0]):
        text = (
            "y is taken as RELION's, from the first row; csparc2star.py of before June 2022 counted it from the last "
            "(check-frame asks the image)"
        )
        notes.append(FileNote(text, NoteKind.AXES))
    return tuple(notes)


def _grouped(
    reader: ColumnReader,
    columns: Mapping[str, Sequence[str]],
    table: StarTable,
    path: Path,
    groups: Mapping[str, Group],
    sizes: Mapping[tuple[str, ...], PixelSize],
) -> tuple[FilePicks, ...]:
    """One FilePicks per micrograph named in the rows, in order of first appearance."""
    data: dict[str, Any] = {"x": reader.number(X), "y": reader.number(Y)}
    if SCORE in columns:
        data["score"] = reader.number(SCORE, optional=True)
    if CLASS in columns:
        data["class_id"] = reader.integer(CLASS)
    if CRYOPPP_DIAMETER in columns:
        data["diameter_px"] = reader.number(CRYOPPP_DIAMETER, optional=True)
    extra = {label: reader.text(label) for label in columns if label not in INTERPRETED}
    good = reader.good
    labels = list(table.columns)
    layout = RowLayout(labels.index(X), labels.index(Y))
    lines = _lines(table.lines)
    if MICROGRAPH not in table.columns and len(sizes) < 2 and good.all():  # as in a file for each micrograph
        return (FilePicks(path.stem, **data, extra=extra, source=path, lines=lines, layout=layout),)
    if MICROGRAPH in table.columns:
        rows = _rows_by_name(table.columns[MICROGRAPH], good)
    else:
        rows = {path.stem: np.flatnonzero(good)}
    size_of_row = _sizes_of_rows(groups, table, sizes) if len(sizes) > 1 else None
    return tuple(
        FilePicks(
            name,
            **{key: column[index] for key, column in data.items()},
            extra={key: column[index] for key, column in extra.items()},
            source=path,
            lines=lines[index],
            layout=layout,
            pixel_size_A=_size_of(size_of_row, index),
        )
        for name, index in rows.items()
    )


def _lines(numbers: Sequence[int]) -> NDArray[np.int64]:
    """(n,) int64; where they follow one another a part of an array that all files share."""
    if numbers and numbers[-1] < len(_FIRST_LINES) and numbers[-1] - numbers[0] == len(numbers) - 1:
        return _FIRST_LINES[numbers[0] : numbers[-1] + 1]
    return np.array(numbers, np.int64)


def _sizes_of_rows(
    groups: Mapping[str, Group], table: StarTable, sizes: Mapping[tuple[str, ...], PixelSize]
) -> NDArray[np.float64]:
    """(n,) pixel size of each row's micrograph, angstrom; NaN where it is not known or doubtful."""
    in_rows = np.full(len(table), np.nan)
    for key, rows in size_keys(groups, table).items():
        size = sizes[key]
        if size.value_A is not None and not size.doubt:
            in_rows[rows] = size.value_A
    return in_rows


def _mixed_sizes(
    groups: Mapping[str, Group], table: StarTable, sizes: Mapping[tuple[str, ...], PixelSize]
) -> tuple[str, ...]:
    """A sentence about micrographs whose rows give several pixel sizes; nothing where none does."""
    if len(sizes) < 2 or MICROGRAPH not in table.columns:
        return ()
    in_rows = _sizes_of_rows(groups, table, sizes)
    given: dict[str, set[float]] = {}
    for name, size in zip(table.columns[MICROGRAPH], in_rows.tolist(), strict=True):
        if np.isfinite(size):
            given.setdefault(name, set()).add(size)
    mixed = [(name, values) for name, values in given.items() if len(values) > 1]
    if not mixed:
        return ()
    name, values = mixed[0]
    more = f" and {len(mixed) - 1:,} more" if len(mixed) > 1 else ""
    listed = " and ".join(f"{value:g}" for value in sorted(values)[:3])
    return (f"rows of {name}{more} give pixel sizes of {listed} A: none of them is taken",)


def _size_of(size_of_row: NDArray[np.float64] | None, rows: NDArray[np.intp]) -> float | None:
    if size_of_row is None or not len(rows):
        return None
    values = np.unique(size_of_row[rows])
    return float(values[0]) if len(values) == 1 and np.isfinite(values[0]) else None


def _rows_by_name(names: Sequence[str], good: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.intp)
    order = np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(len(codes) + 1))
    groups = {name: order[edges[i] : edges[i + 1]] for name, i in codes.items()}
    return {name: index[good[index]] for name, index in groups.items()}
