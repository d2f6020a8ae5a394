"""Is what a project's database says sound? A project is passed around, so it is data that somebody else made.

SQLite answers for its pages; this looks at the meaning: types, enumerations, finite numbers, JSON, references, and that
there is nothing in the file which would run (views, triggers, virtual tables).
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.curation import Decision, Reason
from ..model.micrograph import MicrographState
from ..model.region import Origin, unpack_vertices
from .journal import reading_uri

#: Problems that are listed of one column; there may be more rows like them.
MOST_LISTED = 20
#: Whole numbers beyond are not exact as float64, and no id or size is so large.
_LARGEST = 2**53
#: No JSON text of ours is longer; a file list of 50,000 micrographs takes 5 MB.
_LONGEST_JSON = 64 * 2**20
#: Seconds to wait for somebody who writes.
_PATIENCE_S = 3.0
#: Tables with up to millions of rows: looked at whole by ``doctor`` only, and row by row as they are read.
_LARGE = ("particle", "class_member", "change")
#: Positions, sizes and scores beyond are damage.
_FARTHEST = 1e30


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a database.

    Attributes
    ----------
    table : str
    row : int or None
        Number of the row (SQLite's rowid); None = the table itself.
    column : str
    message : str
        What is wrong with it, without the place.
    """

    table: str
    row: int | None
    column: str
    message: str

    def __str__(self) -> str:
        where = self.table if self.row is None else f"{self.table}, row {self.row}"
        return f"{where}{f', {self.column}' if self.column else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a column may hold.

    Attributes
    ----------
    good : str
        SQL condition with ``{c}`` for the column; a row where it is not true is a problem.
    message : str
    decode : callable (text) -> object, optional
        Looks at a text that passed ``good``; raises ValueError, TypeError or KeyError with what is wrong.
    """

    good: str
    message: str
    decode: Callable[[str], object] | None = None


# --- what a column may hold ------------------------------------------------------------------------------------------


def _whole(low: int = -_LARGEST, high: int = _LARGEST) -> Rule:
    return Rule(f"typeof({{c}}) = 'integer' AND {{c}} BETWEEN {low} AND {high}", "is not a whole number that can be")


def _number(low: float = -_FARTHEST, high: float = _FARTHEST) -> Rule:
    good = f"typeof({{c}}) IN ('real', 'integer') AND {{c}} BETWEEN {low!r} AND {high!r}"
    return Rule(good, "is not a finite number that can be")


def _or_null(rule: Rule) -> Rule:
    return Rule(f"{{c}} IS NULL OR ({rule.good})", rule.message, rule.decode)


def _text(longest: int = 2**20) -> Rule:
    good = f"typeof({{c}}) = 'text' AND length({{c}}) <= {longest} AND instr({{c}}, char(0)) = 0"
    return Rule(good, f"is not a text of at most {longest:,} characters")


def _one_of(words: Iterator[str] | list[str], *, empty: bool = False) -> Rule:
    known = ", ".join(f"'{word}'" for word in [*words, *([""] if empty else [])])
    return Rule(f"typeof({{c}}) = 'text' AND {{c}} IN ({known})", "is none of the words known here")


def _json(inspect: Callable[[Any], object], *, empty: bool = False) -> Rule:
    def decode(text: str) -> None:
        if text or not empty:
            inspect(decoded(text))

    return Rule(f"typeof({{c}}) = 'text' AND length({{c}}) <= {_LONGEST_JSON}", "is not a text of JSON", decode)


def decoded(text: str) -> Any:
    """A JSON text as Python's objects. Raises ValueError, also where it is nested without an end."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _refuse_constant(word: str) -> float:
    return math.nan if word == "NaN" else math.inf if word == "Infinity" else -math.inf


def _need(good: object, message: str) -> None:
    if not good:
        raise ValueError(message)


def _object(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict), "is not a JSON object")
    return dict(value)


def _finite(value: Any, message: str) -> float:
    _need(isinstance(value, int | float) and not isinstance(value, bool), message)
    _need(abs(value) < _FARTHEST, message)
    return float(value)


def _texts(value: Any) -> None:
    for key, text in _object(value).items():
        _need(isinstance(text, str), f"its column {key!r} is no text")


def _frame(value: Any) -> None:
    frame = _object(value)
    if not frame:
        return
    for key in ("orientation", "anchor"):
        _need(isinstance(frame.get(key, ""), str), f"its {key} is no word")
    if "scale" in frame:
        _need(_finite(frame["scale"], "its scale is no number") > 0, "its scale is not above 0")
    if "first_index" in frame:
        _finite(frame["first_index"], "its first index is no number")


def _pick_set_parameters(value: Any) -> None:
    parameters = _object(value)
    files = parameters.get("files", [])
    _need(isinstance(files, list) and all(isinstance(name, str) for name in files), "its files are no list of names")
    for key in ("format", "identity"):
        _need(isinstance(parameters.get(key, ""), str), f"its {key} is no text")


_SUMMARY_NUMBERS = ("share", "resolution_A", "posterior", "offset_px", "spread", "quality")


def _summary(value: Any) -> None:
    _need(isinstance(value, list), "is no list of classes")
    for entry in value:
        item = _object(entry)
        for key in ("number", "count"):
            _need(isinstance(item.get(key), int) and 0 <= item[key] < _LARGEST, f"a class has no {key}")
        for key in _SUMMARY_NUMBERS:
            _need(item.get(key) is None or isinstance(item[key], int | float), f"the {key} of a class is no number")
        suggestion = item.get("suggestion", 0)
        _need(isinstance(suggestion, int) and suggestion in list(Decision), "the suggestion for a class is none")
        for key in ("kind", "note"):
            _need(isinstance(item.get(key, ""), str), f"the {key} of a class is no text")


def _setting_value(value: Any) -> None:
    if isinstance(value, float):
        _need(math.isfinite(value), "is not finite")


#: Settings that are numbers above 0, or nothing.
_NUMBER_SETTINGS = ("diameter_A", "pixel_size_A", "whole_box_px")
_TEXT_SETTINGS = ("data_root", "polarity")


def _path(text: str) -> None:
    _need(all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in text.split("/")), "no file has such a name")


_PATH = Rule(_text(4096).good, "is not a path", _path)
_ID = _whole(1)
_SIZE = _whole(0, 2**31)
_ANGSTROM = _or_null(_number(-1e6, 1e9))
_DECISION = _whole(min(Decision), max(Decision))
_REASON = _whole(min(Reason), max(Reason))

RULES: dict[str, dict[str, Rule]] = {
    "setting": {"key": _text(64), "value": _json(_setting_value)},
    "id_counter": {"name": _text(32), "next": _whole(1)},
    "micrograph": {
        "id": _ID,
        "name": _text(4096),
        "path": _PATH,
        "width": _SIZE,
        "height": _SIZE,
        "header_pixel_size_A": _or_null(Rule("typeof({c}) IN ('real', 'integer')", "is no number")),
        "own_pixel_size_A": _ANGSTROM,
        "n_frames": _whole(0, 2**31),
        "frame": _whole(-1, 2**31),
        "fingerprint": _text(),
        "state": _one_of([s.value for s in MicrographState]),
        "state_by": _text(),
        "problem": _text(),
        "optics": _json(_object, empty=True),
        "picture": _json(_object, empty=True),
        "n_accepted": _SIZE,
        "n_undecided": _SIZE,
        "n_rejected": _SIZE,
    },
    "pick_set": {
        "id": _ID,
        "name": _text(4096),
        "kind": _text(64),
        "source": _text(),
        "curator": _text(),
        "frame": _json(_frame),
        "parameters": _json(_pick_set_parameters),
        "created": _text(64),
    },
    "particle": {
        "id": _ID,
        "micrograph": _ID,
        "pick_set": _ID,
        "x": _number(),
        "y": _number(),
        "diameter_A": _or_null(_number()),
        "score": Rule("{c} IS NULL OR typeof({c}) IN ('real', 'integer')", "is no number"),
        "decision": _DECISION,
        "reason": _REASON,
        "class_id": _whole(-(2**31), 2**31 - 1),
        "extra": Rule(
            "{c} IS NULL OR CASE WHEN typeof({c}) = 'text' AND json_valid({c}) THEN json_type({c}) = 'object' END",
            "is no JSON object",
        ),
    },
    "change": {
        "id": _ID,
        "at": _text(64),
        "curator": _text(),
        "kind": _one_of(["do", "undo", "redo", "visit"]),
        "target": _or_null(_whole(0)),
        "state": _one_of(["applied", "undone", "abandoned"], empty=True),
        "verb": _text(),
        "title": _text(),
        "micrograph": _or_null(_whole(0)),
        "n_particles": _SIZE,
        "payload": Rule("{c} IS NULL OR typeof({c}) = 'blob'", "is no record of rows"),
    },
    "region": {
        "id": _ID,
        "micrograph": _ID,
        "reason": _REASON,
        "origin": _one_of([o.value for o in Origin]),
        "vertices": _json(lambda value: unpack_vertices(json.dumps(value))),
        "curator": _text(),
        "created": _text(64),
    },
    "record": {
        "id": _ID,
        "kind": _text(),
        "engine": _text(),
        "version": _text(),
        "parameters": _json(_object),
        "inputs": _json(_object),
        "counts": _json(_object),
        "seed": _or_null(_whole()),
        "curator": _text(),
        "started": _text(64),
        "seconds": _or_null(_number()),
    },
    "class_run": {
        "id": _ID,
        "record": _ID,
        "name": _text(4096),
        "head": _whole(0),
        "pixel_size_A": _number(),
        "folder": _text(4096),
        "summary": _json(_summary, empty=True),
    },
    "class_member": {
        "run": _ID,
        "particle": _ID,
        "number": _whole(0, 2**31 - 1),
        "posterior": _or_null(_number()),
        "shift_x": _or_null(_number()),
        "shift_y": _or_null(_number()),
        "angle_deg": _or_null(_number()),
        "x": _number(),
        "y": _number(),
    },
}

#: (table, column, table it points to); class members may outlive their particles.
REFERENCES = (
    ("particle", "micrograph", "micrograph"),
    ("particle", "pick_set", "pick_set"),
    ("region", "micrograph", "micrograph"),
    ("class_run", "record", "record"),
    ("class_member", "run", "class_run"),
)


# --- looking ---------------------------------------------------------------------------------------------------------


def find_problems(path: Path, *, deep: bool = False) -> list[Problem]:
    """What is wrong in a database; nothing is changed.

    Parameters
    ----------
    path : Path
        The SQLite file.
    deep : bool
        Also let SQLite look at every page (a second for some 100 MB).

    Returns
    -------
    list of Problem
        At most :data:`MOST_LISTED` of each column.
    """
    try:
        with closing(connect_read_only(path)) as connection:
            return problems_in(connection, deep=deep)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [Problem("database", None, "", f"cannot be read ({error})")]


def problems_in(connection: sqlite3.Connection, *, deep: bool = False, large_tables: bool = True) -> list[Problem]:
    """As :func:`find_problems`, of an open database; ``large_tables`` = also particles, members and history."""
    problems = list(_objects(connection))
    if problems:
        return problems  # nothing else is asked of a database that would answer with somebody's program
    if deep:
        problems += _pages(connection)
    tables = _columns(connection)
    for table, rules in RULES.items():
        if table in tables and (large_tables or table not in _LARGE):
            problems += _rows(connection, table, rules, tables[table])
    problems += _settings(connection, tables)
    problems += _references(connection, tables) if large_tables else _strays(connection, tables)
    return problems


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and runs nothing of the file's. Raises sqlite3.Error."""
    connection = sqlite3.connect(reading_uri(path, _PATIENCE_S), uri=True, timeout=_PATIENCE_S)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA query_only=ON")
    return connection


def find_programs(connection: Any) -> list[str]:
    """Views, triggers and virtual tables of a database, which this program never makes: each in words."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    programs = [f"the {kind} {name!r}" for kind, name, _ in rows if kind in ("view", "trigger")]
    programs += [f"the virtual table {name!r}" for _, name, sql in rows if "VIRTUAL" in str(sql or "").upper().split()]
    generated = [name for kind, name, sql in rows if kind == "table" and "GENERATED" in str(sql or "").upper().split()]
    return programs + [f"computed columns in {name!r}" for name in generated]


def _objects(connection: sqlite3.Connection) -> Iterator[Problem]:
    for words in find_programs(connection):
        yield Problem("database", None, "", f"holds {words}, which this program never makes")


def _pages(connection: sqlite3.Connection) -> list[Problem]:
    answers = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MOST_LISTED})")]
    return [Problem("database", None, "", answer) for answer in answers if answer != "ok"]


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Columns of each table that is there."""
    names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: {str(row[1]) for row in connection.execute(f'PRAGMA table_info("{name}")')} for name in names}


def _rows(connection: sqlite3.Connection, table: str, rules: dict[str, Rule], columns: set[str]) -> list[Problem]:
    missing = sorted(set(rules) - columns)
    if missing:
        return [Problem(table, None, name, "is missing") for name in missing]
    conditions = " AND ".join(f"ifnull({rule.good.format(c=quoted(name))}, 0)" for name, rule in rules.items())
    problems: list[Problem] = []
    if connection.execute(f"SELECT 1 FROM {table} WHERE NOT ({conditions}) LIMIT 1").fetchone():
        for name, rule in rules.items():
            good = rule.good.format(c=quoted(name))
            query = f"SELECT rowid FROM {table} WHERE NOT ifnull({good}, 0) LIMIT {MOST_LISTED}"
            problems += [Problem(table, int(row), name, rule.message) for (row,) in connection.execute(query)]
    for name, rule in rules.items():
        if rule.decode is not None:
            problems += _undecoded(connection, table, name, rule)
    return problems


def _undecoded(connection: sqlite3.Connection, table: str, name: str, rule: Rule) -> list[Problem]:
    problems: list[Problem] = []
    good = rule.good.format(c=quoted(name))
    for row, text in connection.execute(f"SELECT rowid, {quoted(name)} FROM {table} WHERE {good}"):
        message = decoding_problem(rule, text)
        if message:
            problems.append(Problem(table, int(row), name, message))
        if len(problems) >= MOST_LISTED:
            break
    return problems


def decoding_problem(rule: Rule, text: str) -> str:
    """What is wrong with a text that has the right type; empty where nothing is."""
    if rule.decode is None or text is None:
        return ""
    try:
        rule.decode(text)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        return f"makes no sense ({str(error)[:200] or type(error).__name__})"
    return ""


def _settings(connection: sqlite3.Connection, tables: dict[str, set[str]]) -> list[Problem]:
    if not {"key", "value"} <= tables.get("setting", set()):
        return []
    problems = []
    for row, key, text in connection.execute("SELECT rowid, key, value FROM setting"):
        try:
            value = decoded(str(text))
        except ValueError:
            continue  # named already
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in _NUMBER_SETTINGS and value not in (None, "") and not _positive_number(value):
            problems.append(Problem("setting", int(row), str(key), "is no number above 0"))
        if key in _TEXT_SETTINGS and (is_number or not isinstance(value, str | None)):
            problems.append(Problem("setting", int(row), str(key), "is no text"))
    return problems


def _strays(connection: sqlite3.Connection, tables: dict[str, set[str]]) -> list[Problem]:
    """Micrographs that particles name and that are not there; by the index, so in milliseconds."""
    if not {"id", "micrograph"} <= tables.get("particle", set()):
        return []
    query = (
        "WITH RECURSIVE named(micrograph) AS (SELECT min(micrograph) FROM particle UNION ALL "
        "SELECT (SELECT min(micrograph) FROM particle WHERE particle.micrograph > named.micrograph) FROM named "
        "WHERE named.micrograph IS NOT NULL) "
        "SELECT (SELECT min(id) FROM particle WHERE particle.micrograph = named.micrograph) FROM named "
        f"WHERE micrograph IS NOT NULL AND micrograph NOT IN (SELECT id FROM micrograph) LIMIT {MOST_LISTED}"
    )
    rows = [row for (row,) in connection.execute(query)]
    return [Problem("particle", row, "micrograph", "names a micrograph that is not there") for row in rows]


def _positive_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= float(value) < _FARTHEST
    except (TypeError, ValueError):
        return False


def _references(connection: sqlite3.Connection, tables: dict[str, set[str]]) -> list[Problem]:
    problems: list[Problem] = []
    for table, column, target in REFERENCES:
        if column not in tables.get(table, set()) or "id" not in tables.get(target, set()):
            continue
        query = (
            f"SELECT min(rowid) FROM {table} WHERE typeof({column}) = 'integer' GROUP BY {column} "
            f"HAVING {column} NOT IN (SELECT id FROM {target}) LIMIT {MOST_LISTED}"
        )
        message = f"names a {target.replace('_', ' ')} that is not there"
        problems += [Problem(table, int(row), column, message) for (row,) in connection.execute(query)]
    return problems


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return f'"{name}"'
