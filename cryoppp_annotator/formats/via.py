"""CSV of the VGG Image Annotator, as Topaz' page (``topaz.html``) saves picks: all pictures in one file, read only.

Each row is a region of a picture, its shape a JSON text: a point, circle, ellipse or rectangle. Px of the *picture*
that was labelled, which often is a smaller copy of the micrograph: the frame guard finds the factor.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.pickfile import FilePicks, MicrographPicks, PickFile, WriteOptions
from .table.entries import EntryReader, as_number
from .table.star import decode_head
from .table.text_rows import read_bounded, texts

_LIMIT = 256 << 20
_FILE = "filename"
_SHAPE = "region_shape_attributes"
_COUNT = "region_count"
_REGION = "region_attributes"
#: Keys of each shape: column, row, and up to two lengths that make the diameter.
_KEYS = {
    "point": ("cx", "cy"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "rect": ("x", "y", "width", "height"),
}


@dataclass
class _Rows:
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    diameter: list[float] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Via:
    """VIA's CSV; see the module."""

    name: str = "via"
    title: str = "VIA CSV (Topaz' page)"
    extensions: tuple[str, ...] = (".csv",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"diameter", "extra"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a VIA CSV: by its header."""
        if not head and path.is_dir():
            return 0.0
        header = decode_head(head).split("\n", 1)[0]
        return 0.95 if _SHAPE in header and _FILE in header else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the regions of every picture; one listed without any is an empty micrograph.

        Raises
        ------
        FormatError
            Not such a CSV, or a region is none of point, circle, ellipse, rectangle.
        """
        text = read_bounded(path, _LIMIT)
        reader = EntryReader(path, permissive)
        rows_of: dict[str, _Rows] = {}
        rows = csv.reader(text.split("\n"))
        try:
            header = [cell.strip().lstrip("#") for cell in next(rows, [])]
            missing = [label for label in (_FILE, _SHAPE) if label not in header]
            if missing:
                raise FormatError(f"has no column {missing[0]}, which a VIA CSV has", path, 1)
            for cells in rows:
                if cells:
                    _take(cells, header, rows_of, reader, rows.line_num)
        except csv.Error as error:
            raise FormatError(f"is no CSV ({error})", path, rows.line_num) from error
        picks = tuple(_picks(name, part, path) for name, part in rows_of.items())
        return PickFile(self.name, path, self.frame, picks, tuple(reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Raise FormatError: these files are only read."""
        raise FormatError("VIA's CSVs are only read, not written", out)


def _take(cells: list[str], header: list[str], rows_of: dict[str, _Rows], reader: EntryReader, line: int) -> None:
    if len(cells) != len(header):
        reader.refuse(f"{len(cells)} values where the header has {len(header)} columns", line)
        return
    row = dict(zip(header, cells, strict=True))
    if not row[_FILE]:
        reader.refuse("the row names no picture", line)
        return
    part = rows_of.setdefault(row[_FILE], _Rows())
    if row[_SHAPE].strip() in ("", "{}") and row.get(_COUNT, "0").strip() in ("", "0"):
        return
    place = _place(row[_SHAPE])
    if place is None:
        reader.refuse(
            f"the region is {row[_SHAPE][:60]!r} where a point, circle, ellipse or rectangle was expected", line
        )
        return
    part.x.append(place[0])
    part.y.append(place[1])
    part.diameter.append(place[2])
    part.attributes.append(row.get(_REGION, ""))


def _place(text: str) -> tuple[float, float, float] | None:
    """Column and row of the middle, and diameter (NaN for a point), px."""
    try:
        shape = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(shape, dict) or not isinstance(shape.get("name"), str) or shape["name"] not in _KEYS:
        return None
    numbers = [as_number(shape.get(key)) for key in _KEYS[shape["name"]]]
    values = [number for number in numbers if number is not None]
    if len(values) < len(numbers) or any(length < 0 for length in values[2:]):
        return None
    x, y, *lengths = values
    if shape["name"] == "rect":
        return x + lengths[0] / 2, y + lengths[1] / 2, sum(lengths) / 2
    return x, y, 2.0 * sum(lengths) / len(lengths) if lengths else float("nan")


def _picks(name: str, part: _Rows, path: Path) -> FilePicks:
    diameter = np.array(part.diameter, np.float64)
    extra = {f"via:{_REGION}": texts(part.attributes)} if any(a not in ("", "{}") for a in part.attributes) else {}
    return FilePicks(
        name,
        np.array(part.x, np.float64),
        np.array(part.y, np.float64),
        diameter_px=diameter if np.isfinite(diameter).any() else None,
        extra=extra,
        source=path,
    )


VIA = _Via()
