"""SPIDER documents: rows ``key n value1 value2 ...`` below comments that start with ``;``, read only.

Which values are X and Y differs by script; the first two are taken, the others are kept. So does the frame: the y
axis may run either way and the first pixel may be 1 (FORMATS.md 10), which the frame guard tells from the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FormatError
from ..model.coordinates import STORED_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .table.star import ColumnReader, decode_head
from .table.text_rows import empty_picks, read_bounded, texts

_PREFIX = "spider:"
_MOST_VALUES = 200
_CERTAIN = frozenset({".spi", ".spd"})


@dataclass(frozen=True)
class _Spider:
    """SPIDER's document file; see the module."""

    name: str = "spider"
    title: str = "SPIDER document"
    extensions: tuple[str, ...] = (".spi", ".dat", ".spd", ".doc")
    can_read: bool = True
    can_write: bool = False
    frame: SourceFrame = STORED_FRAME
    carries: frozenset[str] = frozenset({"extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a document: rows that count their own values."""
        if not head or b"\0" in head:
            return 0.0
        lines = decode_head(head).splitlines()
        rows = [line for line in (lines[:-1] if len(head) >= 4096 else lines) if line.strip()]
        data = [line for line in rows if not line.lstrip().startswith(";")]
        if not data or _counted(data[0]) is None or len(_counted(data[0]) or ()) < 2:
            return 0.0
        known = path.suffix.lower() in self.extensions
        if len(data) < len(rows):
            return 0.9 if known else 0.7
        return 0.8 if path.suffix.lower() in _CERTAIN else 0.5 if known else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of one micrograph, the one the file is called after.

        Raises
        ------
        FormatError
            A row does not hold as many values as it says, or fewer than two.
        """
        rows: list[list[str]] = []
        lines: list[int] = []
        issues: list[Issue] = []
        for number, line in enumerate(read_bounded(path).split("\n"), 1):
            if not line.strip() or line.lstrip().startswith(";"):
                continue
            values = _counted(line)
            if values is not None and len(values) >= 2 and (not rows or len(values) == len(rows[0])):
                rows.append(values)
                lines.append(number)
                continue
            message = f"{line.strip()[:40]!r} where a key, the number of values and x, y, ... were expected"
            if not permissive:
                raise FormatError(message, path, number)
            issues.append(Issue(message, path, number))
        if issues and not rows:
            raise FormatError("has no row of a SPIDER document", path)
        if not rows:
            return PickFile(self.name, path, self.frame, (empty_picks(path),), tuple(issues))
        columns = {f"{_PREFIX}{place}": list(column) for place, column in enumerate(zip(*rows, strict=True), 1)}
        reader = ColumnReader(columns, lines, path, permissive)
        x, y = reader.number(f"{_PREFIX}1"), reader.number(f"{_PREFIX}2")
        extra = {label: texts(reader.text(label)[reader.good]) for label in list(columns)[2:]}
        picks = FilePicks(path.stem, x[reader.good], y[reader.good], extra=extra, source=path)
        return PickFile(self.name, path, self.frame, (picks,), (*issues, *reader.issues))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Raise FormatError: documents are only read."""
        raise FormatError("SPIDER documents are only read, not written", out)


def _counted(line: str) -> list[str] | None:
    """The values of a row that holds as many as it says, or None."""
    words = line.split()
    if len(words) < 2 or not (_whole(words[0]) and _whole(words[1])):
        return None
    return words[2:] if int(words[1]) == len(words) - 2 <= _MOST_VALUES else None


def _whole(text: str) -> bool:
    return len(text) <= 10 and text.isascii() and text.isdigit()


SPIDER = _Spider()
