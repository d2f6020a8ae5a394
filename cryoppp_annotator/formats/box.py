"""EMAN1 ``.box``, as crYOLO, Topaz, DeepPicker and REPIC write it too: box corners, one file per micrograph.

``x y width height [score]``; (x, y) is the corner with the smallest row and column of the MRC array (FORMATS.md 4.1).
A size of 0 says that x and y are centres already. EMAN1's boxer puts a flag (0, -1, -2, -3) in the fifth column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import Anchor, FloatArray, SourceFrame
from ..model.pickfile import FilePicks, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .names import distinct_names, refuse_collisions
from .table.star import ColumnReader, number_text
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

BOX_FRAME = SourceFrame(anchor=Anchor.CORNER, flips_tiff=True)
_X, _Y, _WIDTH, _HEIGHT, _FIFTH = _NAMES = ("x", "y", "width", "height", "fifth column")
_KEPT_X, _KEPT_Y, _KEPT_WIDTH, _KEPT_HEIGHT = (f"box:{name}" for name in ("x", "y", "width", "height"))
_FLAG = "box:flag"
#: Where imports of ``.box`` and ``.cbox`` keep a box's edges.
_KEPT_EDGES = {"width": (_KEPT_WIDTH, "cryolo:Width"), "height": (_KEPT_HEIGHT, "cryolo:Height")}
_FLAGS = re.compile(r"^(?:0|-\d+)$")
#: Wider than any micrograph, px.
MAX_EDGE = 1_000_000
_EXPECTED = "x y width height [score]"


@dataclass(frozen=True)
class _Box:
    """EMAN1 box files; see the module."""

    name: str = "box"
    title: str = "EMAN1 / crYOLO boxes (.box)"
    extensions: tuple[str, ...] = (".box",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = BOX_FRAME
    carries: frozenset[str] = frozenset({"score", "box", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a box file: by its extension, and rows of four or five numbers."""
        if (not head and path.is_dir()) or path.suffix.lower() != ".box":
            return 0.0
        if not head:
            return 0.6
        return 0.95 if numeric_widths(head) & {4, 5} else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the boxes of one micrograph, the one the file is called after. 0 bytes: looked at and empty.

        Raises
        ------
        FormatError
            A row is not ``x y width height [score]``.
        """
        lines = numbered_lines(read_bounded(path))
        rows = split_rows(lines, path, widths={4, 5}, expected=_EXPECTED, permissive=permissive)
        if not rows.lines:
            return PickFile(self.name, path, self.frame, (empty_picks(path),), tuple(rows.issues))
        columns = rows.named(_NAMES)
        reader = ColumnReader(columns, rows.lines, path, permissive)
        picks = _picks(reader, columns, path, rows.lines)
        return PickFile(self.name, path, self.frame, (picks,), (*rows.issues, *reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/<stem>.box`` for every micrograph; one without picks becomes a file of 0 bytes.

        The edge is ``options.box_size_px``, else what an import kept, else the diameter up to the next even number.
        Corners of whole pixels are written as whole numbers, which is all that RELION reads.

        Raises
        ------
        FormatError
            Neither box size nor diameter is known, a position is not finite, two micrographs share a stem.
        """
        names = [f"{name}{options.suffix or ''}.box" for name in distinct_names(picks)]
        refuse_collisions(names, out)
        bodies = [_text(pick, options) for pick in picks]
        return [write_text(out / name, body) for name, body in zip(names, bodies, strict=True)]


# --- reading -------------------------------------------------------------------------------------------------------


def _picks(reader: ColumnReader, columns: dict[str, list[str]], path: Path, lines: list[int]) -> FilePicks:
    x, y = reader.number(_X), reader.number(_Y)
    width, height = read_edges(reader, _WIDTH, _HEIGHT)
    data: dict[str, Any] = {"x": x, "y": square_corner(y, width, height), "box_size_px": width}
    extra = {_KEPT_WIDTH: reader.text(_WIDTH), _KEPT_HEIGHT: reader.text(_HEIGHT)}
    for name, label, values, size in ((_KEPT_X, _X, x, width), (_KEPT_Y, _Y, y, height)):
        with np.errstate(invalid="ignore", over="ignore"):
            rounded = np.round(values + size / 2.0 - size / 2.0, 9)
        if (rounded != values).any():
            extra[name] = reader.text(label)
    if _FIFTH in columns and _are_flags(columns[_FIFTH]):
        extra[_FLAG] = reader.text(_FIFTH)
    elif _FIFTH in columns:
        data["score"] = reader.number(_FIFTH, optional=True)
    good = reader.good
    return FilePicks(
        path.stem,
        **{name: column[good] for name, column in data.items()},
        extra={name: column[good] for name, column in extra.items()},
        source=path,
        lines=np.array(lines, np.int64)[good],
        layout=RowLayout(0, 1, missing="0") if are_square(width, height) else None,
    )


def are_square(width: FloatArray, height: FloatArray) -> bool:
    """Whether the corner of each box is the corner in the file, so that rows can be edited in place.

    Parameters
    ----------
    width, height : (n,) float64, px
    """
    return bool(np.array_equal(width, height, equal_nan=True))


def read_edges(reader: ColumnReader, width: str, height: str) -> tuple[FloatArray, FloatArray]:
    """Box edges, px; a negative one makes a bad row."""
    edges = reader.number(width), reader.number(height)
    for label, values in zip((width, height), edges, strict=True):
        reader.refuse(
            ~((values >= 0) & (values <= MAX_EDGE)) & np.isfinite(values), label, f"a size of 0 to {MAX_EDGE:,}"
        )
    return edges


def square_corner(y: FloatArray, width: FloatArray, height: FloatArray) -> FloatArray:
    """Where the square box with the same centre begins that is as wide as a box that need not be square.

    Parameters
    ----------
    y : (n,) float64, px
        Of the corner of the box.
    width, height : (n,) float64, px
        Of the box.

    Returns
    -------
    (n,) float64, px
        ``y`` of the corner of the square box.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.where(width == height, y, y + (height - width) / 2.0), np.float64)


def _are_flags(column: list[str]) -> bool:
    """Whether a fifth column is EMAN1's flags: whole numbers, none above 0, some below."""
    return all(map(_FLAGS.match, column)) and any(text != "0" for text in column)


# --- writing -------------------------------------------------------------------------------------------------------


def _text(pick: MicrographPicks, options: WriteOptions) -> str:
    frame = BOX_FRAME if options.frame is None else options.frame
    width = edges(pick, options, frame, "width")
    height = edges(pick, options, frame, "height")
    x, y = source_positions(pick, frame, width)
    if frame.anchor is Anchor.CORNER:
        y = np.round(square_corner(y, height, width), 9)
    n = len(pick)
    named = {_KEPT_X: x, _KEPT_Y: y, _KEPT_WIDTH: width, _KEPT_HEIGHT: height}
    columns = [unedited_text(values, kept(pick.extra, name, n)) for name, values in named.items()]
    flags = kept(pick.extra, _FLAG, n)
    if np.isfinite(pick.score).any():
        columns.append(number_text(pick.score))
    elif any(flags):
        columns.append([flag or "0" for flag in flags])
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))


def edges(pick: MicrographPicks, options: WriteOptions, frame: SourceFrame, side: str) -> FloatArray:
    """(n,) box edges (``side`` width or height), source px: what was asked for, what an import kept, or the diameter.

    Raises
    ------
    FormatError
        None of these is known.
    """
    if options.box_size_px is not None:
        return np.full(len(pick), float(options.box_size_px))
    name = next((name for name in _KEPT_EDGES[side] if name in pick.extra), "")
    own = numbers(kept(pick.extra, name, len(pick)))
    own[~((own >= 0) & (own <= MAX_EDGE))] = np.nan
    sizes = np.where(np.isnan(own), 2.0 * np.ceil(pick.diameter_px / frame.scale / 2.0), own)
    if not np.isfinite(sizes).all():
        raise FormatError(f"{pick.micrograph.name} has picks without a diameter, and no box size was given: set one")
    return np.asarray(sizes, np.float64)


BOX = _Box()
