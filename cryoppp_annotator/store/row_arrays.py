"""Columns of numpy arrays to database rows and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, Table, bindparam, delete, insert, update
from sqlalchemy.sql.compiler import SQLCompiler

from ..errors import ProjectError
from ..model.curation import Decision, Delta, Kind, Reason

#: Rows handed to the driver at once: bounds the memory of a three-million-row import, and how many objects live at a
#: time, which the garbage collector would stop the window to look through.
CHUNK = 5_000
#: Columns of a position, which is always known.
_PLACES = frozenset({"x", "y"})
#: Columns that hold the number of a word: the first and the last.
_WORDS = {"decision": (min(Decision), max(Decision)), "reason": (min(Reason), max(Reason))}


def read_columns(connection: Connection, query: Select[Any], dtypes: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Run a query and return its columns as arrays; NULL becomes NaN."""
    parts: list[tuple[NDArray[Any], ...]] = []
    result = connection.execute(query)
    while chunk := result.fetchmany(CHUNK):
        columns = zip(*chunk, strict=True)
        parts.append(
            tuple(_column(c, name, d, connection) for c, (name, d) in zip(columns, dtypes.items(), strict=True))
        )
    if not parts:
        return {name: np.zeros(0, dtype) for name, dtype in dtypes.items()}
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(dtypes)}


def _damaged(connection: Connection, what: str) -> ProjectError:
    """A sentence that names the database: of two that are merged, which."""
    place, project = f"the database {connection.engine.url.database}", "PROJECT"
    if connection.dialect.name == "sqlite":
        place = str(connection.exec_driver_sql("PRAGMA database_list").all()[0][2])
        project = str(Path(place).parent)
    return ProjectError(f"{place} is damaged: {what}; 'cryoppp-annotator doctor {project}' names the row")


def _column(values: Sequence[Any], name: str, dtype: Any, connection: Connection) -> NDArray[Any]:
    """Raises ProjectError where a value is of no such kind, or cannot be."""
    try:
        column = np.array(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _damaged(connection, f"a value of {name} makes no sense ({error})") from error
    if column.dtype.kind == "f" and name != "score" and np.isinf(column).any():  # a picker may be as sure as that
        raise _damaged(connection, f"a value of {name} is infinite")
    if name in _PLACES and column.dtype.kind == "f" and np.isnan(column).any():
        raise _damaged(connection, f"a value of {name} is no number")
    low, high = _WORDS.get(name, (None, None))
    if low is not None and len(column) and not (low <= column.min() and column.max() <= high):
        raise _damaged(connection, f"a value of {name} is none that this program knows")
    return column


def write_delta(connection: Connection, table: Table, delta: Delta, check: Callable[[], None] = lambda: None) -> int:
    """Insert, delete or update the rows of a delta; returns how many there were.

    A row is updated only where it holds what the delta says it held before: fewer than ``len(delta)`` means that the
    delta was built on another state, and the transaction must be rolled back. ``check`` is called between pieces: what
    it raises ends the writing.
    """
    n, rows = 0, len(delta)
    if delta.kind is Kind.DELETE:
        statement: Any = delete(table).where(table.c.id == bindparam("b_id"))
        columns: dict[str, NDArray[Any]] = {"b_id": delta.ids}
    elif delta.kind is Kind.INSERT:
        return insert_rows(connection, table, {"id": delta.ids, **delta.after}, rows, check)
    else:
        unchanged = [table.c[name].is_not_distinct_from(bindparam(f"w_{name}")) for name in delta.before]
        statement = update(table).where(table.c.id.between(bindparam("b_first"), bindparam("b_last")), *unchanged)
        statement = statement.values({name: bindparam(f"v_{name}") for name in delta.after})
        columns = {f"w_{name}": column for name, column in delta.before.items()}
        columns.update({f"v_{name}": column for name, column in delta.after.items()})
        first, last = _runs(delta.ids, list(columns.values()))
        columns = {name: column if len(column) == 1 else column[first] for name, column in columns.items()}
        columns |= {"b_first": delta.ids[first], "b_last": delta.ids[last]}
        rows = len(first)
    for piece in parameters(columns, rows):
        check()
        result = connection.execute(statement, piece)
        n += result.rowcount
    return n


def insert_rows(
    connection: Connection,
    table: Table,
    columns: Mapping[str, NDArray[Any]],
    n: int,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Insert ``n`` rows of columns (n,) or (1,), which are repeated; returns how many.

    The statement is compiled once and the driver gets tuples: making and taking apart a dict for each of millions of
    rows would take longer than SQLite does.
    """
    compiled = insert(table).compile(dialect=connection.dialect, column_keys=list(columns))
    order = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
    if order is None or set(order) != set(columns):  # another database, or columns that SQLAlchemy fills
        for piece in parameters(columns, n):
            check()
            connection.execute(insert(table), piece)
        return n
    for start in range(0, n, CHUNK):
        check()
        values = [_values(columns[name], start, min(start + CHUNK, n), n) for name in order]
        connection.exec_driver_sql(str(compiled), list(zip(*values, strict=True)))
    return n


def _runs(ids: NDArray[np.int64], columns: Sequence[NDArray[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last places of runs of rows with consecutive ids (n,) and the same values: one statement for each.

    A decision about a whole data set is few runs; a separate row costs as much as a run.
    """
    new = np.diff(ids) != 1
    for column in columns:
        if len(column) > 1:
            new |= column[1:] != column[:-1]
    at = np.flatnonzero(new) + 1
    return np.concatenate([[0], at]), np.concatenate([at - 1, [len(ids) - 1]])


def parameters(columns: Mapping[str, NDArray[Any]], n: int) -> Iterator[list[dict[str, Any]]]:
    """Columns of ``n`` rows ((1,) ones are repeated) as the driver takes them, at most :data:`CHUNK` at once."""
    names = list(columns)
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        values = [_values(columns[name], start, stop, n) for name in names]
        yield [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _values(column: NDArray[Any], start: int, stop: int, n: int) -> list[Any]:
    array = column[start:stop] if len(column) == n else column
    values = array.tolist() * (1 if len(array) == stop - start else stop - start)
    if array.dtype.kind == "f":
        return [None if v != v else v for v in values]
    if array.dtype.kind == "S":  # UTF-8 text that may be missing; numpy has no missing string
        return [v.decode() if v else None for v in values]
    return list(values)
