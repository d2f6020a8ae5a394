"""Magellon's particle picks (``<micrograph>_picks.json``): a list of ``{x, y, score, id}``, read only.

Centres in px of the full-resolution micrograph, row 0 first. The file says no scale: where the images at hand are
binned copies the frame guard finds the factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.pickfile import FilePicks, MicrographPicks, PickFile, WriteOptions
from .table.entries import EntryReader, as_number, kept_text, load_json, short

_LIMIT = 64 << 20
_PREFIX = "magellon:"
_NUMBERS = frozenset({"x", "y", "score"})


@dataclass(frozen=True)
class _Magellon:
    """Magellon's JSON; see the module."""

    name: str = "magellon"
    title: str = "Magellon picks (.json)"
    extensions: tuple[str, ...] = (".json",)
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"score", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a list of objects with ``x`` and ``y``."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start.startswith(b"["):
            return 0.0
        if b'"x"' in start and b'"y"' in start:
            return 0.9
        empty = start.replace(b" ", b"").strip() == b"[]"
        return 0.8 if empty and path.name.endswith("_picks.json") else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph, the one the file is called after; what else an entry holds is kept.

        Raises
        ------
        FormatError
            Not such a list, or an entry is bad.
        """
        entries = load_json(path, _LIMIT)
        if not isinstance(entries, list):
            raise FormatError("is no list of picks: [{x, y, score, id}, ...] was expected", path)
        reader = EntryReader(path, permissive)
        rows: list[dict[str, Any]] = []
        for number, entry in enumerate(entries, 1):
            if _is_pick(entry):
                rows.append(entry)
            else:
                reader.refuse(f"pick {number} is {short(entry)} where x, y and score were expected")
        return PickFile(self.name, path, self.frame, (_picks(rows, path),), tuple(reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Raise FormatError: these files are only read."""
        raise FormatError("Magellon's files are only read, not written", out)


def _is_pick(entry: object) -> bool:
    if not isinstance(entry, dict) or as_number(entry.get("x")) is None or as_number(entry.get("y")) is None:
        return False
    return entry.get("score") is None or as_number(entry["score"]) is not None


def _picks(rows: list[dict[str, Any]], path: Path) -> FilePicks:
    scores = np.array([np.nan if row.get("score") is None else row["score"] for row in rows], np.float64)
    labels = list(dict.fromkeys(key for row in rows for key in row if key not in _NUMBERS))
    return FilePicks(
        path.stem,
        np.array([row["x"] for row in rows], np.float64),
        np.array([row["y"] for row in rows], np.float64),
        score=scores if np.isfinite(scores).any() else None,
        extra={
            f"{_PREFIX}{label}": np.array([_text(row.get(label)) for row in rows], dtype=np.str_) for label in labels
        },
        source=path,
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and len(value) < 1000 else kept_text(value)


MAGELLON = _Magellon()
