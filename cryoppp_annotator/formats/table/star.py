"""STAR grammar, through gemmi: blocks and loops as columns of text, and text files as columns of numbers.

Nothing here knows what a label means. RELION's dialect is assumed: one row is one line, comments start with ``#``,
strings with spaces are quoted, ``_label #n`` lines head a loop (3dem/relion ``src/metadata_table.cpp``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from ...errors import FormatError, disk_reason
from ...model.coordinates import FloatArray
from ...model.pickfile import Issue
from .columns import LongColumn

_SEMICOLON = "begins with ;, which opens a text of several lines in STAR; a comment begins with #"
_CHUNK = 1 << 16
_MAX_TEXT_COLUMN_BYTES = 1 << 31
_WORD = re.compile(r"\S+")
_CLOSING = {quote: re.compile(rf"{quote}(?=\s|$)") for quote in "'\""}
_RESERVED = re.compile(r"(?i)^(?:data_|save_|loop_|stop_|global_|[_$\[\]])")
_NEEDS_QUOTES = re.compile(r"""(?i)^$|\s|^(?:data_|save_|loop_|stop_|global_|[_$#;'"])""")
_OF_NUMBERS = "0123456789.+-e"
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_ESCAPED = re.compile(r"%u([0-9a-f]{6});")


# --- text in -------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    r"""Read a text file whole, with ``\n`` line ends and no byte-order mark.

    UTF-8 and, where a byte-order mark says so, UTF-16 are understood. The first 64 kB decide whether the file is
    text at all, so that a micrograph given by mistake is not read into memory.

    Raises
    ------
    FormatError
        The file cannot be read, is binary, or is in another encoding.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_CHUNK)
            refuse_binary(head, path)
            data = head + stream.read()
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError("is not UTF-8 text; save it as UTF-8 and read it again", path, line) from error
    if "\x00" in text:
        raise FormatError("holds NUL bytes: it is not a text file, or it is damaged", path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_head(head: bytes) -> str:
    """First bytes of a file as text for sniffing; what cannot be decoded is replaced."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return head.decode(encoding, errors="replace")


def refuse_binary(head: bytes, path: Path) -> None:
    """Raise FormatError where a file's first bytes are no text's."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    controls = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 11, 12, 13))
    if b"\x00" in head or controls > len(head) // 100:
        raise FormatError("is not a text file (binary data in its first bytes)", path)


# --- STAR in -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StarTable:
    """One table of a STAR file.

    Attributes
    ----------
    block : str
        Name after ``data_``; empty for RELION's nameless block.
    columns : mapping of label (without the underscore) to sequence of str
        All of one length, in the file's order.
    lines : list of int
        1-based line of each row.
    """

    block: str
    columns: Mapping[str, Sequence[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True, eq=False)
class StarFile:
    """The tables of one STAR file and, where read permissively, the rows that were stepped over."""

    path: Path
    tables: tuple[StarTable, ...]
    issues: tuple[Issue, ...] = ()

    def table(self, block: str) -> StarTable | None:
        """First table of the block of that name."""
        return next((table for table in self.tables if table.block == block), None)


@dataclass
class LoopSpan:
    """Where a loop lies in the text: line indices (0-based) of its rows."""

    n_labels: int = 0
    rows: list[int] = field(default_factory=list)


def parse_star(text: str, path: Path, *, permissive: bool = False) -> StarFile:
    """Parse the text of a STAR file; see :func:`star_file.read_star`."""
    if not text:
        return StarFile(path, ())
    escaped = not text.isascii()
    if escaped:  # gemmi takes ASCII only
        text = _NON_ASCII.sub(lambda match: f"%u{ord(match[0]):06x};", text)
    lines = [_unwrap_csv(line) for line in text.split("\n")] if '""' in text else text.split("\n")
    spans = find_loops(lines)
    issues = _check_rows(lines, spans, path, permissive)
    tables = _tables(_parse(lines, path), spans, path)
    if escaped:
        tables = [_unescaped(table) for table in tables]
    return StarFile(path, tuple(tables), tuple(issues))


def _unwrap_csv(line: str) -> str:
    """Undo a spreadsheet's quoting of a whole row, as in CryoPPP's EMPIAR-10077."""
    row = line.strip()
    if len(row) > 3 and row[0] == row[-1] == '"' and '""' in row[1:-1]:
        return row[1:-1].replace('""', '"')
    return line


def find_loops(lines: Sequence[str]) -> list[LoopSpan]:
    """Find each loop's label count and row lines. A line of one ``data_...`` word is a block header, never a row."""
    spans: list[LoopSpan] = []
    span: LoopSpan | None = None
    for index, line in enumerate(lines):
        row = line.strip()
        if not row or row[0] == "#":
            continue
        if span is not None and row[0] not in "_dDlL":
            span.rows.append(index)
            continue
        word = row.split(None, 1)[0].lower()
        if word.startswith("data_") and " " not in row and "\t" not in row:
            span = None
        elif word == "loop_":
            span = LoopSpan()
            spans.append(span)
        elif span is not None and row[0] == "_" and not span.rows and _is_label(row):
            span.n_labels += 1
        elif span is not None:
            span.rows.append(index)
    return spans


def _is_label(row: str) -> bool:
    """Whether a line that starts with an underscore heads a column: one word, and perhaps ``#n``."""
    return len(row.split("#", 1)[0].split()) == 1


def _check_rows(lines: list[str], spans: list[LoopSpan], path: Path, permissive: bool) -> list[Issue]:
    """Make sure each row has as many values as labels; bad rows are blanked out where reading is permissive."""
    issues: list[Issue] = []
    for span in spans:
        good: list[int] = []
        for index in span.rows:
            line = lines[index]
            plain = "'" not in line and '"' not in line and "#" not in line
            tokens = line.split() if plain else _tokens(line)
            wrong = len(tokens) != span.n_labels
            if wrong and "[" in line and (bracketed := _with_quoted_lists(line)) is not None:
                tokens = _tokens(bracketed)
                wrong = len(tokens) != span.n_labels
                line = lines[index] = bracketed if not wrong else line
            if wrong or line[0] == ";":
                message = _wrong_row(line, tokens, span.n_labels)
                if not permissive:
                    raise FormatError(message, path, index + 1)
                issues.append(Issue(message, path, index + 1))
                lines[index] = ""
                continue
            if any(map(_RESERVED.match, tokens)):
                lines[index] = " ".join(_protected(token) for token in tokens)
            good.append(index)
        span.rows = good
    return issues


def _with_quoted_lists(line: str) -> str | None:
    """A row with lists that have blanks in them, ``[1, 2, 3]``, quoted; None where quotes are in the way."""
    if "'" in line or '"' in line:
        return None
    return re.sub(r"\[[^\[\]]*\]", lambda match: '"' + match[0] + '"', line)


def _wrong_row(line: str, tokens: Sequence[str], n_labels: int) -> str:
    """Why a row cannot be read."""
    if line[0] == ";":
        return _SEMICOLON
    message = f"{len(tokens)} {'value' if len(tokens) == 1 else 'values'} where the loop has {n_labels} labels"
    if len(tokens) < n_labels and any(re.match(r"[+-]?\d*\.\d+[+-]\d|\d*\.\d+\.\d", token) for token in tokens):
        return f"{message}: a space between two numbers is missing"
    return f"{message}; a value with blanks in it needs quotes" if len(tokens) > n_labels else message


def _tokens(line: str) -> list[str]:
    """The values of a row, with their quotes, up to a comment. A quote ends where a blank follows it.

    The time grows with the length of the line, also where nothing that is opened is closed.
    """
    tokens: list[str] = []
    unclosed: set[str] = set()
    place = 0
    while word := _WORD.search(line, place):
        start, place = word.span()
        sign = line[start]
        if sign == "#":
            break
        if sign in _CLOSING and sign not in unclosed:
            closing = _CLOSING[sign].search(line, start + 1)
            place = closing.end() if closing else place
            if closing is None:
                unclosed.add(sign)
        tokens.append(line[start:place])
    return tokens


def _protected(token: str) -> str:
    """Quote a value that STAR would take for a keyword (a micrograph named ``data_01.mrc``)."""
    return cif.quote(token) if _RESERVED.match(token) and token[0] not in "[]" else token


def _parse(lines: list[str], path: Path) -> Any:
    try:
        document = cif.read_string("\n".join(lines))
    except (ValueError, RuntimeError) as error:
        if double := re.search(r"duplicate tag (\S+)", str(error)):
            places = [i for i, line in enumerate(lines, 1) if line.split("#")[0].strip() == double[1]]
            where = places[1] if len(places) > 1 else None
            raise FormatError(f"has the column {double[1]} twice in one table: take one away", path, where) from error
        match = re.match(r"string:(\d+)(?::\d+)?(?:\(\d+\))?", str(error))
        line = int(match[1]) if match else None
        detail = str(error)[match.end() :].strip(" :") if match else str(error)
        if ";" in (begun := [text[:1] for text in lines]):
            raise FormatError(_SEMICOLON, path, begun.index(";") + 1) from error
        raise FormatError(f"is not a STAR file: {detail}", path, line) from error
    if not len(document):
        raise FormatError("is not a STAR file: it has no data_ block", path)
    return document


def _tables(document: Any, spans: list[LoopSpan], path: Path) -> list[StarTable]:
    tables: list[StarTable] = []
    remaining = iter(spans)
    for block in document:
        name = block.name.strip()
        pairs: dict[str, list[str]] = {}
        for item in block:
            if item.loop is not None:
                tables.append(_loop_table(name, item.loop, next(remaining, LoopSpan()), path))
            elif item.pair is not None:
                pairs[item.pair[0].lstrip("_")] = [cif.as_string(item.pair[1])]
        if pairs:
            tables.append(StarTable(name, pairs, [1]))
    return tables


def _loop_table(name: str, loop: Any, span: LoopSpan, path: Path) -> StarTable:
    width, values = loop.width(), loop.values
    if width != span.n_labels or len(values) != width * len(span.rows):
        raise FormatError(f"the rows of the loop in data_{name} are not one line each", path)
    columns = {label.lstrip("_"): _plain(values[i::width]) for i, label in enumerate(loop.tags)}
    return StarTable(name, columns, [index + 1 for index in span.rows])


def _plain(values: list[str]) -> list[str]:
    """Values without their quotes."""
    joined = "".join(values)
    if "'" not in joined and '"' not in joined:
        return values
    return [cif.as_string(value) if value[:1] in ("'", '"') else value for value in values]


def _unescaped(table: StarTable) -> StarTable:
    def text(value: str) -> str:
        return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)

    columns = {text(label): [text(value) for value in column] for label, column in table.columns.items()}
    return StarTable(text(table.block), columns, table.lines)


# --- STAR out ------------------------------------------------------------------------------------------------------


def format_star(tables: Sequence[tuple[str, Mapping[str, Sequence[str]]]], *, version: str | None = None) -> str:
    """Write loops as text.

    Parameters
    ----------
    tables : sequence of (block name, mapping of label to (n,) sequence of str)
        Labels without the underscore.
    version : str, optional
        Put as ``# version ...`` before each block (RELION 3.1 and later: ``30001``).

    Raises
    ------
    FormatError
        A value cannot be written (line breaks, or both kinds of quotes).
    """
    parts: list[str] = []
    for block, columns in tables:
        head = "\n" if version is None else f"\n# version {version}\n\n"
        labels = "".join(f"_{label} #{i} \n" for i, label in enumerate(columns, 1))
        parts.append(f"{head}data_{block}\n\nloop_ \n{labels}{format_rows(list(columns.values()))}\n")
    return "".join(parts)


def format_rows(columns: Sequence[Sequence[str]]) -> str:
    """Rows of a loop as :func:`format_star` writes them, each with its line end; empty where there are none.

    Raises
    ------
    FormatError
        As there.
    """
    rows = "\n".join(map("\t".join, zip(*(_quoted(column) for column in columns), strict=True)))
    return f"{rows}\n" if rows else ""


def _quoted(column: Sequence[str]) -> Sequence[str]:
    are_numbers = not "".join(column).strip(_OF_NUMBERS) and "" not in column
    if are_numbers or not any(map(_NEEDS_QUOTES.search, column)):
        return column
    return [_quote(value) if _NEEDS_QUOTES.search(value) else value for value in column]


def _quote(value: str) -> str:
    marks = [mark for mark in "\"'" if not re.search(rf"{mark}\s", value)]  # it ends a value only before a blank
    if "\n" in value or "\r" in value or not marks:
        raise FormatError(f"{value!r} cannot be written in a STAR file")
    return (mark := min(marks, key=value.count)) + value + mark


# --- columns of text to columns of numbers, and back ---------------------------------------------------------------


def number_text(values: FloatArray) -> list[str]:
    """Shortest text that reads back as the same float64; whole numbers without a point.

    Parameters
    ----------
    values : (n,) float64, any unit
    """
    whole = np.isfinite(values) & (np.trunc(values) == values) & (np.abs(values) < 2.0**53)
    if whole.all():
        return list(map(str, values.astype(np.int64).tolist()))
    texts = list(map(repr, values.tolist()))
    for index in np.flatnonzero(whole).tolist():
        texts[index] = texts[index].removesuffix(".0")
    return texts


def require_finite(x: FloatArray, y: FloatArray, micrograph: str) -> None:
    """Raise FormatError where a position is NaN or infinite: no coordinate file can say that.

    Parameters
    ----------
    x, y : (n,) float64, px
    micrograph : str
        Named in the error.
    """
    bad = ~(np.isfinite(x) & np.isfinite(y))
    if bad.any():
        raise FormatError(f"particle {int(np.argmax(bad)) + 1} of {micrograph} has no finite position")


class ColumnReader:
    """Turns a table's text into numbers, keeping account of bad rows.

    Parameters
    ----------
    columns : mapping of label to (n,) sequence of str
    lines : (n,) list of int
        1-based line of each row.
    path : Path
    permissive : bool
        Bad rows become issues; otherwise the first raises FormatError.
    """

    def __init__(
        self, columns: Mapping[str, Sequence[str]], lines: Sequence[int], path: Path, permissive: bool
    ) -> None:
        self._columns = columns
        self._lines = lines
        self._path = path
        self._permissive = permissive
        self._bad = np.zeros(len(lines), bool)
        self.issues: list[Issue] = []

    def number(self, label: str, *, optional: bool = False) -> FloatArray:
        """(n,) float64. With ``optional``, -999, ``nan``, ``None``, ``<NA>`` and nothing are NaN = not set."""
        texts = self._columns[label]
        values = _to_float(texts)
        if not optional:
            self.refuse(~np.isfinite(values), label, "a finite number")
            return values
        suspects = np.flatnonzero(~np.isfinite(values)).tolist()
        values[values == -999] = np.nan
        bad = np.zeros(len(values), bool)
        bad[[i for i in suspects if not _UNSET.match(texts[i].strip())]] = True
        values[[i for i in suspects if not bad[i]]] = np.nan
        self.refuse(bad, label, "a number or -999")
        return values

    def integer(self, label: str) -> NDArray[np.int32]:
        """(n,) int32; -999 and other "not set" marks are 0."""
        values = np.nan_to_num(self.number(label, optional=True), nan=0.0)
        bad = (np.trunc(values) != values) | (np.abs(values) > np.iinfo(np.int32).max)
        self.refuse(bad, label, "a whole number")
        return np.where(bad, 0, values).astype(np.int32)

    def text(self, label: str) -> NDArray[np.str_]:
        """(n,) str, as written; of a long table in variable width."""
        texts = self._columns[label]
        if isinstance(texts, LongColumn):
            return texts.array
        width = max(map(len, texts), default=1)
        if 4 * width * len(texts) > _MAX_TEXT_COLUMN_BYTES:
            raise FormatError(f"column {label} holds a value of {width} characters; is it damaged?", self._path)
        return np.array(texts, dtype=np.str_)

    @property
    def good(self) -> NDArray[np.bool_]:
        """(n,) bool: rows in which every column read so far made sense."""
        return ~self._bad

    def refuse(self, bad: NDArray[np.bool_], label: str, expected: str) -> None:
        """Mark the rows where ``bad``, (n,) bool, is true: the first raises FormatError, or each becomes an issue."""
        for index in np.flatnonzero(bad & ~self._bad).tolist():
            value = self._columns[label][index]
            message = f"{label} is {value[:40]!r} where {expected} was expected{_hint(value)}"
            if not self._permissive:
                raise FormatError(message, self._path, self._lines[index])
            self.issues.append(Issue(message, self._path, self._lines[index]))
        self._bad |= bad


#: What programs write for a number that is not set, or that came out of 0/0: C++, Windows, pandas, CIF.
_UNSET = re.compile(r"(?i)^(?:[+-]?(?:nan|inf|infinity|\d+\.#\w+)(?:\([^)]*\))?|none|null|<na>|na|n/a|[-.?]|)$")
#: An exponent as Fortran writes it.
_FORTRAN = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))[dD]([+-]?\d+)$")


def _hint(value: str) -> str:
    """What a value that is no number looks like, for the end of a sentence."""
    if re.fullmatch(r"[+-]?\d+,\d+", value.strip()):
        return ": it has a decimal comma; save the file with decimal points"
    if re.match(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?[A-Za-zÅµ]", value.strip()):
        return ": a space is missing, or a unit stands behind the number"
    return ""


def _to_float(texts: Sequence[str]) -> FloatArray:
    """(n,) float64; text that is not a number is NaN. Python's digit groups (``1_000``) are not numbers here."""
    if isinstance(texts, LongColumn):
        return np.concatenate([np.zeros(0), *(_to_float(block) for block in texts.blocks())])
    if max(map(len, texts), default=0) <= 64 and "_" not in "".join(texts):
        try:
            return np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            pass
    return np.array([_float(text) for text in texts])


def _float(text: str) -> float:
    try:
        return float("nan" if "_" in text else _FORTRAN.sub(r"\1e\2", text.strip()))
    except ValueError:
        return float("nan")
