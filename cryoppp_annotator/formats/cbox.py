"""crYOLO ``.cbox``: box corners with confidences, one file per micrograph.

The STAR-like form (``data_cryolo``) and, for reading, the older rows of seven columns (FORMATS.md 5). A ``.cbox`` holds
*all* picks down to a low threshold. ``_EstWidth`` and ``_EstHeight`` are the size crYOLO sees: the nearest thing to a
diameter. A file of 0 bytes says: looked at and empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import Anchor, FloatArray, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .box import are_square, edges, read_edges, square_corner
from .names import distinct_names, refuse_collisions
from .table.star import ColumnReader, StarFile, decode_head, format_star, number_text, parse_star
from .table.text_rows import (
    empty_picks,
    kept,
    numbered_lines,
    numbers,
    numeric_widths,
    read_bounded,
    source_positions,
    split_rows,
    unedited_text,
)

_X = "CoordinateX"
_Y = "CoordinateY"
_Z = "CoordinateZ"
_WIDTH = "Width"
_HEIGHT = "Height"
_EST_WIDTH, _EST_HEIGHT = _EST = ("EstWidth", "EstHeight")
_CONFIDENCE = "Confidence"
_BLOCK = "cryolo"
_FILAMENTS = "filament_vertices"
_NONE = "<NA>"
_LABELS = (_X, _Y, _Z, _WIDTH, _HEIGHT, "Depth", *_EST, _CONFIDENCE, "NumBoxes", "Angle")
_OLD_LABELS = (_X, _Y, _WIDTH, _HEIGHT, _CONFIDENCE, *_EST)
_PREFIX = "cryolo:"
_HEAD = "\ndata_global\n\n_cbox_format_version 1.0\n"

#: Boxes by their corner; how crYOLO turns a TIFF is not known, so that the image has the word there.
CBOX_FRAME = SourceFrame(anchor=Anchor.CORNER)


@dataclass(frozen=True)
class _Cbox:
    """crYOLO's own box files; see the module."""

    name: str = "cbox"
    title: str = "crYOLO (.cbox)"
    extensions: tuple[str, ...] = (".cbox",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = CBOX_FRAME
    carries: frozenset[str] = frozenset({"score", "diameter", "box", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a ``.cbox`` of the new or the old kind."""
        if not head and path.is_dir():
            return 0.0
        named = path.suffix.lower() == ".cbox"
        if not head:
            return 0.6 if named else 0.0
        text = decode_head(head)
        if f"data_{_BLOCK}" in text or "_cbox_format_version" in text:
            return 0.97 if named else 0.8
        return 0.9 if named and numeric_widths(head) & {5, 7} else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the boxes of one micrograph, the one the file is called after.

        Of a filament file the boxes along the filaments are read (``data_cryolo``), the filaments' own vertices are
        not; an issue says so, also where reading is strict.

        Raises
        ------
        FormatError
            A row is bad, or the boxes lie in several slices of a tomogram.
        """
        text = read_bounded(path)
        if not text.strip():
            return PickFile(self.name, path, self.frame, (empty_picks(path),))
        if "data_" not in text:
            return _read_old(text, path, permissive)
        return _read_star(parse_star(text, path, permissive=permissive), permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/<stem>.cbox`` for every micrograph; one without picks becomes a file of 0 bytes.

        The edge is ``options.box_size_px``, else what an import kept, else the diameter up to the next even number.

        Raises
        ------
        FormatError
            Neither box size nor diameter is known, a position is not finite, two micrographs share a stem.
        """
        names = [f"{name}{options.suffix or ''}.cbox" for name in distinct_names(picks)]
        refuse_collisions(names, out)
        bodies = [_text(pick, options) if len(pick) else "" for pick in picks]
        return [write_text(out / name, body) for name, body in zip(names, bodies, strict=True)]


# --- reading -------------------------------------------------------------------------------------------------------


def _read_old(text: str, path: Path, permissive: bool) -> PickFile:
    expected = "x y width height confidence [width height as seen]"
    rows = split_rows(numbered_lines(text), path, widths={5, 7}, expected=expected, permissive=permissive)
    columns = rows.named(_OLD_LABELS)
    if not rows.lines:
        return PickFile("cbox", path, CBOX_FRAME, (empty_picks(path),), tuple(rows.issues))
    reader = ColumnReader(columns, rows.lines, path, permissive)
    return PickFile(
        "cbox", path, CBOX_FRAME, (_picks(reader, columns, path, rows.lines),), (*rows.issues, *reader.issues)
    )


def _read_star(star: StarFile, permissive: bool) -> PickFile:
    table = star.table(_BLOCK)
    if table is None:
        blocks = ", ".join(f"data_{table.block}" for table in star.tables)
        raise FormatError(f"has no block data_{_BLOCK} (it has {blocks or 'none'})", star.path)
    missing = [label for label in (_X, _Y, _WIDTH, _HEIGHT) if label not in table.columns]
    if missing:
        raise FormatError(f"data_{_BLOCK} lacks the column _{missing[0]}", star.path)
    reader = ColumnReader(table.columns, table.lines, star.path, permissive)
    _refuse_tomogram(reader, table.columns, star.path)
    picks = _picks(reader, table.columns, star.path, table.lines)
    issues = [*star.issues, *reader.issues]
    vertices = star.table(_FILAMENTS)
    if vertices is not None and len(vertices):
        message = f"{len(vertices)} vertices of filaments are left out; the boxes along the filaments are read"
        issues.append(Issue(message, star.path, vertices.lines[0]))
    return PickFile("cbox", star.path, CBOX_FRAME, (picks,), tuple(issues))


def _refuse_tomogram(reader: ColumnReader, columns: Mapping[str, Sequence[str]], path: Path) -> None:
    if _Z not in columns:
        return
    z = reader.number(_Z, optional=True)
    slices = np.unique(z[np.isfinite(z)])
    if len(slices) > 1:
        raise FormatError(
            f"holds boxes in {len(slices)} slices of a tomogram (z from {slices[0]:g} to {slices[-1]:g}); "
            "this program labels 2D micrographs",
            path,
        )


def _picks(reader: ColumnReader, columns: Mapping[str, Sequence[str]], path: Path, lines: Sequence[int]) -> FilePicks:
    x, y = reader.number(_X), reader.number(_Y)
    width, height = read_edges(reader, _WIDTH, _HEIGHT)
    data: dict[str, Any] = {"x": x, "y": square_corner(y, width, height), "box_size_px": width}
    if all(label in columns for label in _EST):
        seen = [reader.number(label, optional=True) for label in _EST]
        data["diameter_px"] = (seen[0] + seen[1]) / 2.0
    if _CONFIDENCE in columns:
        data["score"] = reader.number(_CONFIDENCE, optional=True)
    extra = {_PREFIX + label: reader.text(label) for label in columns}
    good = reader.good
    labels = list(columns)
    return FilePicks(
        path.stem,
        **{name: column[good] for name, column in data.items()},
        extra={name: column[good] for name, column in extra.items()},
        source=path,
        lines=np.array(lines, np.int64)[good],
        layout=RowLayout(labels.index(_X), labels.index(_Y), missing=_NONE) if are_square(width, height) else None,
    )


# --- writing -------------------------------------------------------------------------------------------------------


def _text(pick: MicrographPicks, options: WriteOptions) -> str:
    frame = CBOX_FRAME if options.frame is None else options.frame
    width = edges(pick, options, frame, "width")
    height = edges(pick, options, frame, "height")
    x, y = source_positions(pick, frame, width)
    if frame.anchor is Anchor.CORNER:
        y = np.round(square_corner(y, height, width), 9)
    known = {
        label: _column(pick, label, values)
        for label, values in {_X: x, _Y: y, _WIDTH: width, _HEIGHT: height, _CONFIDENCE: pick.score}.items()
    }
    known.update(_sizes_seen(pick, frame))
    labels = dict.fromkeys((*_LABELS, *(name.removeprefix(_PREFIX) for name in pick.extra if name.startswith(_PREFIX))))
    columns = {label: known.get(label) or _kept(pick, label) for label in labels}
    return _HEAD + format_star([(_BLOCK, columns), (f"{_BLOCK}_include", {"slice_index": []})])


def _kept(pick: MicrographPicks, label: str) -> list[str]:
    return [text or _NONE for text in kept(pick.extra, _PREFIX + label, len(pick))]


def _column(pick: MicrographPicks, label: str, values: FloatArray) -> list[str]:
    """Numbers as an import wrote them, where they are still the same; ``<NA>`` for NaN."""
    column = unedited_text(values, kept(pick.extra, _PREFIX + label, len(pick)))
    return [text if finite else _NONE for text, finite in zip(column, np.isfinite(values), strict=True)]


def _sizes_seen(pick: MicrographPicks, frame: SourceFrame) -> dict[str, list[str]]:
    """Width and height as crYOLO saw them, where they still agree with the diameter; else the diameter twice."""
    diameter = pick.diameter_px / frame.scale
    texts = [kept(pick.extra, _PREFIX + label, len(pick)) for label in _EST]
    with np.errstate(invalid="ignore"):
        seen = (numbers(texts[0]) + numbers(texts[1])) / 2.0
        same = np.isclose(seen, diameter, rtol=1e-9) | ~np.isfinite(diameter)
    now = _or_none(diameter)
    return {
        label: [(old or _NONE) if agrees else new for old, new, agrees in zip(column, now, same, strict=True)]
        for label, column in zip(_EST, texts, strict=True)
    }


def _or_none(values: FloatArray) -> list[str]:
    return [text if finite else _NONE for text, finite in zip(number_text(values), np.isfinite(values), strict=True)]


CBOX = _Cbox()
