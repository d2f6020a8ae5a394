"""STAR files of hundreds of megabytes, read in pieces: a particles.star of a million rows in less than 1 GB.

A piece ends within the rows of a loop. The next one starts with that loop's header again, is parsed as a file of its
own, and its rows are put to the others'; so the grammar is :func:`star.parse_star`'s alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import FormatError, disk_reason
from ...model.pickfile import Issue
from .columns import LongColumn
from .star import StarFile, StarTable, find_loops, parse_star, refuse_binary

PIECE_BYTES = 4 << 20
_LONGEST_LINE = 1 << 20
#: No STAR file has so much text outside its loops; garbage has.
_MOST_WITHOUT_ROWS = 64 << 20
_HEAD = re.compile(r"[ \t]*(?:_|data_|loop_)", re.IGNORECASE)


def read_long_star(path: Path, *, permissive: bool = False, piece_bytes: int = PIECE_BYTES) -> StarFile:
    """Read a STAR file in pieces: the same as :func:`star.read_star`, with little memory beside the result's.

    Parameters
    ----------
    path : Path
        UTF-8.
    permissive : bool
        Bad rows become issues.
    piece_bytes : int
        Size of a piece.

    Raises
    ------
    FormatError
        With the 1-based line where the grammar breaks.
    """
    assembly = _Assembly(path, permissive)
    for lines in _pieces(path, piece_bytes):
        assembly.add(lines)
    return assembly.finished()


class _Loop:
    """A table whose rows come in pieces."""

    def __init__(self, table: StarTable) -> None:
        self.block = table.block
        self.parts: dict[str, list[Sequence[str]]] = {label: [] for label in table.columns}
        self.lines: list[int] = []
        self.extend(table)

    def extend(self, table: StarTable) -> None:
        for label, column in table.columns.items():
            self.parts[label].append(LongColumn([column]))
        self.lines += table.lines

    def table(self) -> StarTable:
        """All rows. The pieces are given up one by one."""
        columns = {label: LongColumn(self.parts.pop(label)) for label in list(self.parts)}
        return StarTable(self.block, columns, self.lines)


class _Assembly:
    """Puts a file together from lines that come in pieces."""

    def __init__(self, path: Path, permissive: bool) -> None:
        self._path, self._permissive = path, permissive
        self._loops: list[_Loop] = []
        self._issues: list[Issue] = []
        self._header: list[str] = []  # of the loop that is being read
        self._growing: _Loop | None = None
        self._lines: list[str] = []  # not parsed yet
        self._n_parsed = 0
        self._enough = 0  # lines from which on a cut is looked for

    def add(self, lines: list[str]) -> None:
        """Take the next lines of the file, and parse all but the last row of the loop they end in."""
        self._lines += lines
        if len(self._lines) < self._enough:
            return
        only_rows = bool(self._header) and not any(map(_HEAD.match, self._lines))
        cut, header = (_last_row(self._lines), self._header) if only_rows else _cut([*self._header, *self._lines])
        cut -= 0 if only_rows else len(self._header)
        self._enough = 0 if cut > 0 else 2 * len(self._lines)
        if cut <= 0 and sum(map(len, self._lines)) > _MOST_WITHOUT_ROWS:
            raise FormatError(
                f"has no loop of rows in {_MOST_WITHOUT_ROWS >> 20} MB of text: not a STAR file",
                self._path,
                self._n_parsed + 1,
            )
        if cut > 0:
            rest = self._lines[cut:]
            self._parse(self._lines[:cut])
            self._header, self._lines = header, rest

    def finished(self) -> StarFile:
        """Parse what is left."""
        self._parse(self._lines)
        return StarFile(self._path, tuple(loop.table() for loop in self._loops), tuple(self._issues))

    def _parse(self, lines: list[str]) -> None:
        offset = self._n_parsed - len(self._header)

        def in_file(line: int | None) -> int | None:
            return None if line is None else line + offset

        try:
            star = parse_star("\n".join([*self._header, *lines]), self._path, permissive=self._permissive)
        except FormatError as error:
            raise FormatError(error.detail, self._path, in_file(error.line)) from error
        self._issues += [Issue(issue.message, issue.path, in_file(issue.line)) for issue in star.issues]
        tables = list(star.tables)
        if self._growing is not None and tables:
            self._growing.extend(_moved(tables.pop(0), offset))
        for table in tables:
            pairs = table.lines == [1]  # of no loop; they follow the loops of their block
            loop = _Loop(table if pairs else _moved(table, offset))
            self._loops.append(loop)
            self._growing = self._growing if pairs else loop
        self._n_parsed += len(lines)


def _moved(table: StarTable, offset: int) -> StarTable:
    return StarTable(table.block, table.columns, [line + offset for line in table.lines])


def _cut(lines: list[str]) -> tuple[int, list[str]]:
    """Index of the last row, where the lines end in a loop of at least two, and that loop's header; else 0."""
    spans = find_loops(lines)
    last = _last_row(lines)
    if not spans or len(spans[-1].rows) < 2 or spans[-1].rows[-1] != last:
        return 0, []
    start = next(i for i in range(spans[-1].rows[0], -1, -1) if lines[i].split()[:1] in (["loop_"], ["LOOP_"]))
    block = next((i for i in range(start, -1, -1) if _is_block(lines[i])), None)
    if block is None:
        return 0, []
    labels = [line for line in lines[start + 1 : spans[-1].rows[0]] if line.strip().startswith("_")]
    return last, [lines[block], "loop_", *labels]


def _is_block(line: str) -> bool:
    words = line.split()
    return len(words) == 1 and words[0].lower().startswith("data_")


def _last_row(lines: list[str]) -> int:
    """Index of the last line that is neither blank nor a comment; 0 where there is none."""
    return next((i for i in range(len(lines) - 1, 0, -1) if lines[i].strip()[:1] not in ("", "#")), 0)


def _pieces(path: Path, size: int) -> Iterator[list[str]]:
    """Lines without their ends."""
    rest, n_lines = b"", 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(size):
                if not n_lines and not rest:
                    refuse_binary(block[: 1 << 16], path)
                    block = block.removeprefix(b"\xef\xbb\xbf")
                whole, end, rest = (rest + block).rpartition(b"\n")
                if len(rest) > _LONGEST_LINE:
                    raise FormatError(f"has a line of more than {_LONGEST_LINE >> 20} MB", path, n_lines + 1)
                if end:
                    lines = _decoded(whole, path, n_lines)
                    n_lines += len(lines)
                    yield lines
        yield _decoded(rest, path, n_lines)
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error


def _decoded(data: bytes, path: Path, n_before: int) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = n_before + data.count(b"\n", 0, error.start) + 1
        raise FormatError("is not UTF-8 text; save it as UTF-8 and read it again", path, line) from error
    if "\x00" in text:
        raise FormatError("holds NUL bytes: it is not a text file, or it is damaged", path)
    return text.replace("\r\n", "\n").removesuffix("\r").replace("\r", "\n").split("\n")
