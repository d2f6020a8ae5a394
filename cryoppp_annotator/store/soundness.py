"""Is what a project's database says sound? A project is passed around, so it is data that another person made.

SQLite answers for its pages; this looks at the meaning: types, enumerations, finite numbers, JSON, references, and that
there is nothing in the file which would run (views, triggers, virtual tables).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .journal import reading_uri
from .rules import FARTHEST, NUMBER_SETTINGS, REFERENCES, RULES, TEXT_SETTINGS, Rule, decoded
from .schema import HEAD

#: Problems that are listed of one column; there may be more rows like them.
MOST_LISTED = 20
#: Seconds to wait for somebody who writes.
_PATIENCE_S = 3.0
#: Columns since a schema: of an older database they are not asked for.
_SINCE = {"0003": {"particle": {"species"}, "pick_set": {"colour"}}, "0004": {"micrograph": {"assigned"}}}
#: Tables with up to millions of rows: looked at whole by ``doctor`` only, and row by row as they are read.
LARGE_TABLES = ("particle", "class_member", "change")


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
        return problems  # a database that would run another person's program is not asked further
    if deep:
        problems += _pages(connection)
    tables = _columns(connection)
    later = [columns for since, columns in _SINCE.items() if since > _schema_of(connection, tables)]
    for table, every in RULES.items():
        not_yet = set().union(*(columns.get(table, set()) for columns in later))
        rules = {name: rule for name, rule in every.items() if name not in not_yet}
        if table in tables and (large_tables or table not in LARGE_TABLES):
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


def _schema_of(connection: sqlite3.Connection, tables: dict[str, set[str]]) -> str:
    """The schema that a database says it has; this program's where it does not say."""
    if "version_num" not in tables.get("alembic_version", set()):
        return HEAD
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return HEAD if row is None else str(row[0])


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
        if key in NUMBER_SETTINGS and value not in (None, "") and not _positive_number(value):
            problems.append(Problem("setting", int(row), str(key), "is no number above 0"))
        if key in TEXT_SETTINGS and (is_number or not isinstance(value, str | None)):
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
        return not isinstance(value, bool) and 0 <= float(value) < FARTHEST
    except (TypeError, ValueError):
        return False


def _references(connection: sqlite3.Connection, tables: dict[str, set[str]]) -> list[Problem]:
    problems: list[Problem] = []
    for table, column, target in REFERENCES:
        if column not in tables.get(table, set()) or "id" not in tables.get(target, set()):
            continue
        query = (
            f"SELECT min(rowid) FROM {table} WHERE typeof({column}) = 'integer' GROUP BY {column} "
            f"HAVING {column} <> 0 AND {column} NOT IN (SELECT id FROM {target}) LIMIT {MOST_LISTED}"
        )
        message = f"names a {target.replace('_', ' ')} that is not there"
        problems += [Problem(table, int(row), column, message) for (row,) in connection.execute(query)]
    return problems


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return f'"{name}"'
