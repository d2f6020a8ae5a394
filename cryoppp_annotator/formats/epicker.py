"""EPicker ``.thi`` and ``.coord``: particle centres in px of the full micrograph, one file per micrograph.

A ``.thi`` has sections in square brackets: particles (X Y Value), vesicles (X Y Radius Value), helices (X Y Group
Value); a ``.coord`` has bare rows ``x y [w h]`` (thuem/EPicker ``lib/mrc_utils/thi.py``, ``coord.py``; FORMATS.md 10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from .table.text_rows import (
    empty_picks,
    kept,
    numbered_lines,
    numeric_widths,
    read_bounded,
    source_positions,
    split_rows,
)

_SECTION = re.compile(r"(?i)^\s*\[\s*(particle|vesicle|helix) coordinates\b")
_COLUMNS = {
    "particle": ("x", "y", "value"),
    "vesicle": ("x", "y", "radius", "value"),
    "helix": ("x", "y", "group", "value"),
    "coord": ("x", "y", "width", "height"),
}
_WIDTHS = {"particle": {2, 3}, "vesicle": {4}, "helix": {4}, "coord": {2, 4}}
_GROUP = "epicker:group"


@dataclass(frozen=True)
class _Epicker:
    """EPicker's files; see the module."""

    name: str = "epicker"
    title: str = "EPicker (.thi)"
    extensions: tuple[str, ...] = (".thi", ".coord")
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a ``.thi`` (by its section line) or a ``.coord`` (by extension and rows)."""
        if not head and path.is_dir():
            return 0.0
        kind = path.suffix.lower()
        if not head:
            return 0.6 if kind in self.extensions else 0.0
        if _SECTION.search(decode_head(head).lstrip()):
            return 0.95
        if kind == ".coord":
            return 0.7 if numeric_widths(head) & {2, 4} else 0.0
        return 0.8 if kind == ".thi" and numeric_widths(head) & {2, 3} else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph, the one the file is called after. 0 bytes: looked at and empty.

        A vesicle's radius becomes its diameter; the group of a helix is kept.

        Raises
        ------
        FormatError
            A row is not what its section says.
        """
        sections = _sections(read_bounded(path), path, permissive)
        parts: list[FilePicks] = []
        issues: list[Issue] = []
        for kind, lines in sections:
            expected = " ".join(_COLUMNS[kind])
            rows = split_rows(lines, path, widths=_WIDTHS[kind], expected=expected, permissive=permissive)
            issues += rows.issues
            if rows.lines:
                columns = rows.named(_COLUMNS[kind])
                reader = ColumnReader(columns, rows.lines, path, permissive)
                parts.append(_picks(reader, columns, path, rows.lines))
                issues += reader.issues
        return PickFile(self.name, path, self.frame, tuple(parts) or (empty_picks(path),), tuple(issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/<stem>.thi`` for every micrograph, one without picks too.

        EPicker writes whole pixels and reads any number, so positions are written exactly. A pick without a score
        gets the value 0.

        Raises
        ------
        FormatError
            A position is not finite, or two micrographs share a stem.
        """
        names = [f"{name}{options.suffix or ''}.thi" for name in distinct_names(picks)]
        refuse_collisions(names, out)
        bodies = [_text(pick, options) for pick in picks]
        return [write_text(out / name, body) for name, body in zip(names, bodies, strict=True)]


def _sections(text: str, path: Path, permissive: bool) -> list[tuple[str, list[tuple[int, str]]]]:
    """Kind and numbered lines of each section; rows before any section are a particle's."""
    kind = "coord" if path.suffix.lower() == ".coord" else "particle"
    sections: list[tuple[str, list[tuple[int, str]]]] = [(kind, [])]
    for number, line in numbered_lines(text):
        if not line.lstrip().startswith("["):
            sections[-1][1].append((number, line))
        elif match := _SECTION.match(line):
            sections.append((match[1].lower(), []))
        elif line.strip().lower() != "[end]" and not permissive:
            raise FormatError(f"{line.strip()[:40]!r} is no section of particles, vesicles or helices", path, number)
    return [section for section in sections if section[1]]


def _picks(reader: ColumnReader, columns: Mapping[str, list[str]], path: Path, lines: Sequence[int]) -> FilePicks:
    data: dict[str, Any] = {"x": reader.number("x"), "y": reader.number("y")}
    extra: dict[str, NDArray[np.str_]] = {}
    if "value" in columns:
        data["score"] = reader.number("value", optional=True)
    if "radius" in columns:
        data["diameter_px"] = 2.0 * reader.number("radius")
    if "width" in columns:
        data["box_size_px"] = reader.number("width")
    if "group" in columns:
        extra[_GROUP] = reader.text("group")
    good = reader.good
    return FilePicks(
        path.stem,
        **{name: column[good] for name, column in data.items()},
        extra={name: column[good] for name, column in extra.items()},
        source=path,
        lines=np.array(lines, np.int64)[good],
        layout=RowLayout(0, 1, missing="0"),
    )


def _text(pick: MicrographPicks, options: WriteOptions) -> str:
    frame = STORED_FRAME if options.frame is None else options.frame
    columns = [number_text(column) for column in source_positions(pick, frame)]
    groups = kept(pick.extra, _GROUP, len(pick))
    heading = "[Particle Coordinates: X Y Value]"
    if groups and all(groups):
        heading = "[Helix Coordinates: X Y Group Value]"
        columns.append(groups)
    columns.append(number_text(np.where(np.isfinite(pick.score), pick.score, 0.0)))
    rows = ["\t".join(row) for row in zip(*columns, strict=True)]
    return "\n".join([heading, *rows, "[End]"]) + "\n"


EPICKER = _Epicker()
