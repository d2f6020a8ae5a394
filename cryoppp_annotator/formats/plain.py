"""Plain tables of positions: our own with everything (``--to table``), and ``x y`` as napari and Fiji write it.

Ours is CSV, or Parquet where the file is named so: one row a pick, positions in the canonical frame, and the decision
with its reason, curator, time, pick set and region. Of other tables only the columns are known, by their names; what
their numbers are in is an assumption that is said.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.file_note import FileNote, NoteKind
from ..model.pickfile import SPECIES_COLUMN, FilePicks, MicrographPicks, PickFile, WriteOptions
from .atomic import replacing, write_text
from .table.spreadsheet import csv_text, original_text
from .table.star import ColumnReader, decode_head, number_text
from .table.text_rows import numeric_widths, read_bounded, source_positions, texts

#: Columns of our own table, in their order; positions and diameter in px of the micrograph.
_OWN = ("micrograph", "x", "y", "diameter_px", "diameter_A", "pixel_size_A", "score", "class", "decision")
_OURS = frozenset({"micrograph", "x", "y", "decision"})
_CURATION = ("id", "reason", "pick_set", "source", "curator", "decided", "region")
#: Column names of x and y, in lower case: ours and plain ones, Fiji's results, napari's points.
_NAMES = (
    ("x", "y"),
    ("x_px", "y_px"),
    ("x (px)", "y (px)"),
    ("x-coordinate", "y-coordinate"),
    ("axis-2", "axis-1"),
    ("axis-1", "axis-0"),
    ("xm", "ym"),
    ("col", "row"),
    ("column", "row"),
    ("centroid-1", "centroid-0"),
)
#: Columns that say on which slice of a stack or tomogram a point lies; napari's first axis where there are three.
_DEPTHS = ("z", "z_px", "slice", "frame")
#: What Fiji puts behind an image's name for a point of its list of regions.
_FIJI_POINT = re.compile(r"(?::\d+)?:(?:\d+-)?\d{4,}-\d{4,}$")
_IMAGE = ("micrograph", "micrograph_name", "image", "image_name", "label", "filename", "file")
_SCORE = "score"
_DIAMETER = "diameter_px"
_CLASS = "class"
_DECISION = "decision"
_SPECIES = "species"
_MAX_BYTES = 1 << 30
_EXTENSIONS = (".csv", ".tsv", ".txt", ".parquet", ".coords", ".coord", ".xy")
_DECISIONS = {decision.name.lower(): int(decision) for decision in Decision}


@dataclass(frozen=True)
class _Table:
    """Plain tables; see the module."""

    name: str = "table"
    title: str = "Table with everything (CSV, Parquet); plain x y"
    extensions: tuple[str, ...] = _EXTENSIONS
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "diameter", "class", "decision", "curation", "species"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is our table, or at least a plain one; other formats are surer of theirs."""
        if not head and path.is_dir():
            return 0.0
        if head.startswith(b"PAR1"):
            return 0.6
        if path.suffix.lower() not in _EXTENSIONS or not head:
            return 0.0
        header = [cell.lower() for cell in _cells(decode_head(head).split("\n", 1)[0])]
        if set(header) >= _OURS:
            return 0.9
        if _columns_of(header) is not None:
            return 0.4
        return 0.3 if (numeric_widths(head.replace(b",", b" ")) & {2, 3}) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a table by the names of its columns, or without names as ``x y``.

        Raises
        ------
        FormatError
            It has no columns for x and y, a row is bad, or a third coordinate says it is of a tomogram.
        """
        columns, lines = _parquet(path) if path.suffix.lower() == ".parquet" else _text_columns(path)
        labels = {label.lower(): label for label in columns}
        names = _columns_of(list(labels))
        if names is None:
            raise FormatError(f"has no columns x and y (it has {', '.join(list(columns)[:6])})", path)
        image = next((labels[label] for label in _IMAGE if label in labels), None)
        images = columns[image] if image is not None else [_stem(path)] * len(lines)
        if image is not None and image.lower() == "label":
            images = [_FIJI_POINT.sub("", name) for name in images]
        _refuse_shapes(labels, path)
        _refuse_depth(columns, labels, images, path)
        reader = ColumnReader(columns, lines, path, permissive)
        data: dict[str, Any] = {"x": reader.number(labels[names[0]]), "y": reader.number(labels[names[1]])}
        for field, label in (("score", _SCORE), ("diameter_px", _DIAMETER)):
            if label in labels:
                data[field] = reader.number(labels[label], optional=True)
        if _CLASS in labels:
            data["class_id"] = reader.integer(labels[_CLASS])
        if _DECISION in labels:
            words = columns[labels[_DECISION]]
            data["decision"] = np.array([_DECISIONS.get(word.strip().lower(), 0) for word in words], np.int8)
        ours = set(labels) >= _OURS
        if ours and _SPECIES in labels:
            data[_SPECIES] = texts(list(columns[labels[_SPECIES]]))
        if ours and path.suffix.lower() != ".parquet":
            images = [original_text(name) for name in images]
        notes = () if ours else _assumptions(names, labels)
        return PickFile(self.name, path, self.frame, _picks(images, data, reader, path), (*reader.issues,), notes=notes)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write one table of all picks: ``out`` where it ends in ``.csv`` or ``.parquet``, else ``out/picks.csv``.

        Raises
        ------
        FormatError
            A position is not finite, or Parquet is asked for without the package pyarrow.
        """
        target = out if out.suffix.lower() in (".csv", ".parquet") else out / f"picks{options.suffix or ''}.csv"
        columns = _columns(picks, STORED_FRAME if options.frame is None else options.frame)
        if target.suffix.lower() == ".parquet":
            return [_write_parquet(target, columns)]
        return [write_text(target, csv_text([list(columns), *zip(*columns.values(), strict=True)]))]


# --- reading -------------------------------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    separator = next((sign for sign in ("\t", ";", ",") if sign in line), None)
    return [cell.strip().strip('"') for cell in line.strip("\ufeff\r\n").split(separator)]


def _columns_of(labels: Sequence[str]) -> tuple[str, str] | None:
    """Names of the columns of x and y, in lower case; None where there are none."""
    return next((pair for pair in _NAMES if set(pair) <= set(labels)), None)


def _text_columns(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Columns by name, and the line of each row; without a header the columns are x, y, z."""
    lines = read_bounded(path, _MAX_BYTES).split("\n")
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not numbered:
        return {"x": [], "y": []}, []
    first = _cells(numbered[0][1])
    named = not all(map(_is_number, first))
    header = [cell or f"column {i}" for i, cell in enumerate(first, 1)] if named else ["x", "y", "z", *"abcdef"]
    body = numbered[1:] if named else numbered
    separator = next((sign for sign in ("\t", ";", ",") if sign in numbered[0][1]), None)
    numbers, rows = _rows(body, separator, path)
    width = len(header) if named else len(rows[0]) if rows else 2
    for number, row in zip(numbers, rows, strict=True):
        while len(row) > width and not row[-1].strip():
            row.pop()
        if len(row) != width:
            raise FormatError(f"{len(row)} values where {width} were expected", path, number)
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
    return dict(zip(header, columns, strict=False)), numbers


def _rows(body: Sequence[tuple[int, str]], separator: str | None, path: Path) -> tuple[list[int], list[list[str]]]:
    """Number of the last line and the cells of each row; a quoted cell may run over line ends."""
    if separator is None:
        return [number for number, _ in body], [line.split() for _, line in body]
    reader = csv.reader((f"{line}\n" for _, line in body), delimiter=separator)
    numbers, rows = [], []
    try:
        for row in reader:
            numbers.append(body[reader.line_num - 1][0])
            rows.append(row)
    except csv.Error as error:
        raise FormatError(f"is not a table: {error}", path) from error
    return numbers, rows


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _refuse_shapes(labels: Mapping[str, str], path: Path) -> None:
    if "vertex-index" in labels:
        raise FormatError("is napari's table of shapes, whose rows are corners: save a points layer", path)


def _refuse_depth(
    columns: Mapping[str, Sequence[str]], labels: Mapping[str, str], images: Sequence[str], path: Path
) -> None:
    """Raise FormatError where the points of one image lie on several slices."""
    depths = ("axis-0", *_DEPTHS) if "axis-2" in labels else _DEPTHS
    for name in (name for name in depths if name in labels):
        places = {(image, text.strip()) for image, text in zip(images, columns[labels[name]], strict=True)}
        if len(places) > len(set(images)):
            raise FormatError(
                f"has a third coordinate that differs from row to row ({name}): positions in a tomogram or stack; this "
                "program labels 2D micrographs. Leave that column out if they are of one image",
                path,
            )


def _assumptions(names: tuple[str, str], labels: Mapping[str, str]) -> tuple[str, ...]:
    taken = FileNote(
        f"columns {names[0]} and {names[1]} are taken as centres in px, x the column and y the row from the first row "
        "(check-frame asks the image)",
        NoteKind.AXES,
    )
    if {"width", "height"} <= set(labels):
        return taken, "columns width and height are not read: if x and y are corners of boxes, save them as .box"
    return (taken,)


def _stem(path: Path) -> str:
    return path.stem


def _picks(images: Sequence[str], data: Mapping[str, Any], reader: ColumnReader, path: Path) -> tuple[FilePicks, ...]:
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(images):
        rows.setdefault(name, []).append(index)
    if not rows:
        return (FilePicks(_stem(path), np.zeros(0), np.zeros(0), source=path),)
    good = reader.good
    chosen = {name: np.array(index, np.intp)[good[index]] for name, index in rows.items()}
    return tuple(
        FilePicks(
            name,
            **{field: column[index] for field, column in data.items() if field != _SPECIES},
            extra={SPECIES_COLUMN: data[_SPECIES][index]} if _SPECIES in data else {},
            source=path,
        )
        for name, index in chosen.items()
    )


# --- writing -------------------------------------------------------------------------------------------------------


def _columns(picks: Sequence[MicrographPicks], frame: SourceFrame) -> dict[str, list[str]]:
    kinds = [_SPECIES] if any(pick.species is not None for pick in picks) else []
    known = [name for name in _CURATION if any(name in pick.curation for pick in picks)]
    columns: dict[str, list[str]] = {name: [] for name in (*_OWN, *kinds, *known)}
    words = {int(decision): decision.name.lower() for decision in Decision}
    for pick in picks:
        x, y = source_positions(pick, frame)
        pixel = pick.pixel_size_A
        in_A = pick.diameter_px * pixel if pixel else np.full(len(pick), np.nan)
        numbers: dict[str, NDArray[np.float64]] = {
            "x": x,
            "y": y,
            "diameter_px": pick.diameter_px,
            "diameter_A": np.round(in_A, 6),
            "score": pick.score,
        }
        for name, values in numbers.items():
            columns[name] += [
                text if np.isfinite(value) else "" for text, value in zip(number_text(values), values, strict=True)
            ]
        columns["micrograph"] += [pick.written_name] * len(pick)
        columns["pixel_size_A"] += [f"{pixel:.6g}" if pixel else ""] * len(pick)
        columns["class"] += [str(number) if number else "" for number in pick.class_id.tolist()]
        columns["decision"] += [words[int(value)] for value in pick.decision.tolist()]
        for name in kinds:
            columns[name] += [""] * len(pick) if pick.species is None else pick.species.tolist()
        for name in known:
            columns[name] += pick.curation[name].tolist() if name in pick.curation else [""] * len(pick)
    return columns


_NUMERIC = ("x", "y", "diameter_px", "diameter_A", "pixel_size_A", "score")


def _write_parquet(target: Path, columns: Mapping[str, Sequence[str]]) -> Path:
    pyarrow, parquet = _pyarrow(target)
    arrays = {
        name: [float(text) if text else None for text in column] if name in _NUMERIC else list(column)
        for name, column in columns.items()
    }
    with replacing(target) as stream:
        parquet.write_table(pyarrow.table(arrays), stream)
    return target


def _parquet(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    _, parquet = _pyarrow(path)
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot be read as Parquet ({str(error)[:80]})", path) from error
    columns = {
        name: texts(["" if value is None else str(value) for value in table[name].to_pylist()]).tolist()
        for name in table.column_names
    }
    return columns, list(range(1, table.num_rows + 1))


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise FormatError("needs the package pyarrow (pip install pyarrow); CSV needs nothing", path) from error
    return pyarrow, parquet


TABLE = _Table()
