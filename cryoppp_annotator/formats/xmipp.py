"""Xmipp ``.pos``, as Scipion writes it: particle centres, one file per micrograph; ``config.xmd`` has the box size.

``_enabled -1`` marks a pick that the user deleted and Xmipp keeps: a rejected one. Picks made by the program lie in the
block ``data_particles_auto``. Positions are whole pixels (Xmipp's label is an integer; FORMATS.md 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .names import distinct_names, refuse_collisions
from .table.star import ColumnReader, StarFile, StarTable, decode_head, number_text, parse_star
from .table.text_rows import empty_picks, kept, read_bounded, source_positions, texts

_X = "xcoor"
_Y = "ycoor"
_ENABLED = "enabled"
_COST = "cost"
_ID = "itemId"
_MICROGRAPH_ID = "micrographId"
_STATE = "pickingMicrographState"
_MANUAL = "Manual"
_BLOCKS = ("particles", "particles_auto")
_PREFIX = "xmipp:"
_KEPT_STATE = "xmipp:state"
_KEPT_BLOCK = "xmipp:block"
_LABELS = (_ID, _ENABLED, _X, _Y, _COST, _MICROGRAPH_ID)
_LINES = "lines"
_CONFIG = "config.xmd"
_SIZE = "particleSize"


@dataclass(frozen=True)
class _Xmipp:
    """Xmipp and Scipion picks; see the module."""

    name: str = "xmipp"
    title: str = "Xmipp / Scipion (.pos)"
    extensions: tuple[str, ...] = (".pos",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "box", "decision", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a ``.pos``: by its labels."""
        if not head and path.is_dir():
            return 0.0
        named = path.suffix.lower() == ".pos"
        if not head:
            return 0.6 if named else 0.0
        text = decode_head(head)
        if f"_{_X}" in text and f"_{_Y}" in text:
            return 0.97 if named else 0.8
        return 0.5 if named and "data_" in text else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph, the one the file is called after.

        A cost of 0 in a micrograph picked by hand is no score.

        Raises
        ------
        FormatError
            There is no block of particles, or a row is bad.
        """
        text = read_bounded(path)
        if not text.strip():
            return PickFile(self.name, path, self.frame, (empty_picks(path),))
        star = parse_star(text, path, permissive=permissive)
        state = _state(star)
        tables = [table for table in star.tables if table.block in _BLOCKS]
        if not tables:
            raise FormatError(f"has no block data_{_BLOCKS[0]}: not an Xmipp .pos file", path)
        issues = list(star.issues)
        parts = [_part(table, state, path, permissive, issues) for table in tables]
        picks = replace(_joined(parts, path, _box_size(path, permissive, issues)), layout=_layout(tables))
        return PickFile(self.name, path, self.frame, (picks,), tuple(issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/<stem>.pos`` for every micrograph, and ``out/config.xmd`` where a box size was given.

        Positions are rounded to whole pixels. Rejected picks are written as ``_enabled -1``.

        Raises
        ------
        FormatError
            A position is not finite, or two micrographs share a stem.
        """
        names = [f"{name}{options.suffix or ''}.pos" for name in distinct_names(picks)]
        refuse_collisions(names, out)
        bodies = {out / name: _text(pick, options) for name, pick in zip(names, picks, strict=True)}
        if options.box_size_px is not None:
            bodies[out / _CONFIG] = (
                "# XMIPP_STAR_1 *\n#\ndata_properties\nloop_\n _particleSize\n _pickingState\n"
                f" {round(options.box_size_px)} {_MANUAL}\n"
            )
        return [write_text(path, body) for path, body in bodies.items()]


# --- reading -------------------------------------------------------------------------------------------------------


def _state(star: StarFile) -> str:
    header = star.table("header")
    states = [] if header is None else header.columns.get(_STATE, [])
    return states[0] if states else _MANUAL


def _part(table: StarTable, state: str, path: Path, permissive: bool, issues: list[Issue]) -> dict[str, NDArray[Any]]:
    """Columns of one block: ``x, y, score, decision`` and those that are kept."""
    for label in (_X, _Y):
        if label not in table.columns:
            raise FormatError(f"data_{table.block} lacks the column _{label}", path)
    reader = ColumnReader(table.columns, table.lines, path, permissive)
    n = len(table)
    part: dict[str, NDArray[Any]] = {"x": reader.number(_X), "y": reader.number(_Y)}
    score = reader.number(_COST, optional=True) if _COST in table.columns else np.full(n, np.nan)
    part["score"] = np.where((score == 0) & (state == _MANUAL), np.nan, score)
    enabled = reader.integer(_ENABLED) if _ENABLED in table.columns else np.ones(n, np.int32)
    part["decision"] = np.where(enabled < 0, Decision.REJECTED, Decision.UNDECIDED).astype(np.int8)
    for label in table.columns:
        if label not in (_X, _Y, _ENABLED, _COST):
            part[_PREFIX + label] = reader.text(label)
    part[_LINES] = np.array(table.lines, np.int64)
    part[_KEPT_STATE], part[_KEPT_BLOCK] = texts([state] * n), texts([table.block] * n)
    issues += reader.issues
    return {name: column[reader.good] for name, column in part.items()}


def _joined(parts: list[dict[str, NDArray[Any]]], path: Path, box_size: float | None) -> FilePicks:
    """Both blocks as one; a column that one of them lacks is empty there."""
    n = [len(part["x"]) for part in parts]
    names = dict.fromkeys(name for part in parts for name in part)
    columns = {
        name: np.concatenate([part.get(name, np.full(k, "", "U1")) for part, k in zip(parts, n, strict=True)])
        for name in names
    }
    return FilePicks(
        path.stem,
        columns["x"],
        columns["y"],
        box_size_px=None if box_size is None else np.full(sum(n), box_size),
        score=columns["score"],
        decision=columns["decision"],
        extra={name: column for name, column in columns.items() if name.startswith(_PREFIX)},
        source=path,
        lines=columns[_LINES],
    )


def _layout(tables: Sequence[StarTable]) -> RowLayout | None:
    """How rows are laid out; None where the two blocks differ in it."""
    labels = list(tables[0].columns)
    if any(list(table.columns) != labels for table in tables):
        return None
    flag = (labels.index(_ENABLED), "-1", "1") if _ENABLED in labels else None
    serial = labels.index(_ID) if _ID in labels else None
    return RowLayout(labels.index(_X), labels.index(_Y), missing="0", whole=True, flag=flag, serial=serial)


def _box_size(path: Path, permissive: bool, issues: list[Issue]) -> float | None:
    """Box size in px from ``config.xmd`` beside, where there is one."""
    config = path.parent / _CONFIG
    if not config.is_file():
        return None
    try:
        star = parse_star(read_bounded(config), config)
        for table in star.tables:
            if _SIZE in table.columns and len(table):
                size = float(ColumnReader(table.columns, table.lines, config, False).number(_SIZE)[0])
                return size if size > 0 else None
    except FormatError as error:
        if not permissive:
            raise
        issues.append(Issue(error.detail, config, error.line))
    return None


# --- writing -------------------------------------------------------------------------------------------------------


def _text(pick: MicrographPicks, options: WriteOptions) -> str:
    n = len(pick)
    columns = _columns(pick, options)
    states = [state for state in kept(pick.extra, _KEPT_STATE, n) if state]
    lines = ["# XMIPP_STAR_1 *", "#", "data_header", "loop_", f" _{_STATE}", states[0] if states else _MANUAL]
    blocks = kept(pick.extra, _KEPT_BLOCK, n)
    rows = list(zip(*columns.values(), strict=True))
    for name in _BLOCKS:
        own = [row for row, block in zip(rows, blocks, strict=True) if (block or _BLOCKS[0]) == name]
        if own or name == _BLOCKS[0]:
            lines += [f"data_{name}", "loop_", *(f" _{label}" for label in columns)]
            lines += [" " + "   ".join(row) for row in own]
    return "\n".join(lines) + "\n"


def _columns(pick: MicrographPicks, options: WriteOptions) -> dict[str, list[str]]:
    n = len(pick)
    x, y = source_positions(pick, STORED_FRAME if options.frame is None else options.frame)
    columns = {
        _ID: _item_ids(kept(pick.extra, _PREFIX + _ID, n)),
        _ENABLED: np.where(pick.decision == Decision.REJECTED, "-1", "1").tolist(),
        _X: number_text(np.rint(x)),
        _Y: number_text(np.rint(y)),
        _COST: number_text(np.where(np.isfinite(pick.score), pick.score, 0.0)),
        _MICROGRAPH_ID: _filled(kept(pick.extra, _PREFIX + _MICROGRAPH_ID, n), f"{max(pick.micrograph.id, 1):06d}"),
    }
    for name in pick.extra:
        label = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and label not in _LABELS and name not in (_KEPT_STATE, _KEPT_BLOCK):
            columns[label] = _filled(kept(pick.extra, name, n), "0")
    return columns


def _item_ids(ids: list[str]) -> list[str]:
    """Ids as imported, and new ones for new picks."""
    taken = [int(text) for text in ids if text.isdecimal()]
    following = iter(range(max(taken, default=0) + 1, max(taken, default=0) + 1 + len(ids)))
    return [text if text.isdecimal() else f"{next(following):06d}" for text in ids]


def _filled(column: Sequence[str], default: str) -> list[str]:
    """A column without gaps; a value that STAR would misread is left at the default."""
    return [text if text and not set(text) & set(" \t\n'\"#") else default for text in column]


XMIPP = _Xmipp()
