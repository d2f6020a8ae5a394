"""Do the rows of a change make sense? Asked before any is written, and of a step that comes out of the history.

A project may be another person's, and so may its history, which *Undo* writes back and the film plays. The rules are
those of the tables (:mod:`.rules`): what this program would refuse to read it does not write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.curation import Delta, Kind, Table, unpack
from . import schema
from .rules import RULES, Rule

#: What every particle that is inserted or deleted must say.
_NEEDED = frozenset({"micrograph", "pick_set", "x", "y", "decision"})
#: Large, and read row by row: texts of JSON that nothing but an export looks at.
_NOT_ASKED = frozenset({"extra"})


def unpacked(payload: bytes) -> tuple[Delta, ...]:
    """The rows of a step of the history, which may be another person's.

    Raises ValueError where they are damaged or make no sense.
    """
    deltas = unpack(payload)
    if problem := problem_in(deltas):
        raise ValueError(problem)
    return deltas


def problem_in(deltas: Iterable[Delta]) -> str:
    """What is wrong with the rows of a change; empty where nothing is.

    Parameters
    ----------
    deltas : iterable of Delta
        With the real ids of their rows.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        for delta in deltas:
            if problem := _problem_in(connection, delta):
                return f"{delta.table.value.replace('_', ' ')}: {problem}"
    return ""


def _problem_in(connection: sqlite3.Connection, delta: Delta) -> str:
    problem = _ids_problem(delta)
    for columns in (delta.before, delta.after):
        for name, column in columns.items():
            problem = problem or _column_problem(connection, delta, name, column)
    return problem or _shape_problem(delta)


def _ids_problem(delta: Delta) -> str:
    for numbers in (delta.ids, delta.micrograph):
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            return "its rows have no numbers"
    if delta.table is Table.PARTICLE and len(delta.micrograph) not in (1, len(delta)):
        return "its micrographs are not as many as its rows"
    return ""


def _shape_problem(delta: Delta) -> str:
    """Whether the columns that this kind of change must have are there."""
    sides: dict[Kind, tuple[Mapping[str, NDArray[Any]], ...]] = {
        Kind.INSERT: (delta.after,),
        Kind.DELETE: (delta.before,),
        Kind.UPDATE: (delta.before, delta.after),
    }
    if delta.table is Table.SETTING:
        needed = [side for side in (delta.before, delta.after) if {"key", "value"} - set(side)]
        return "its keys and values are missing" if needed else ""
    if delta.kind is Kind.UPDATE and set(delta.before) != set(delta.after):
        return "it does not say of every column what it was and what it is"
    if delta.table is Table.PARTICLE and delta.kind is not Kind.UPDATE:
        missing = sorted(_NEEDED - set(sides[delta.kind][0]))
        return f"{', '.join(missing)} missing" if missing else ""
    return ""


def _column_problem(connection: sqlite3.Connection, delta: Delta, name: str, column: NDArray[Any]) -> str:
    rule = RULES[delta.table.value].get(name)
    if rule is None or name not in getattr(schema, delta.table.value).c:
        return f"there is no column {name[:40]!r}"
    if column.ndim != 1 or len(column) not in (1, len(delta)):
        return f"{name} is not one value a row"
    if column.dtype.kind not in "iufbUS":
        return f"{name} is of no kind that a table holds"
    if name in _NOT_ASKED:
        return ""
    for value in _telling(column):
        if not _is_good(connection, rule, value):
            return f"{name} {rule.message}"
    return ""


def _telling(column: NDArray[Any]) -> list[Any]:
    """Values that answer for all of a column: of numbers the least, the largest and whether any is missing."""
    if not len(column):
        return []
    if column.dtype.kind == "S":  # UTF-8 text that may be missing, see row_arrays
        return [value.decode("utf-8", "replace") if value else None for value in np.unique(column).tolist()]
    if column.dtype.kind == "U":
        return list(np.unique(column).tolist())
    missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
    known = column[~missing] if missing.any() else column
    ends = [known.min().item(), known.max().item()] if len(known) else []
    return [*(int(end) if isinstance(end, bool) else end for end in ends), *([None] if missing.any() else [])]


def _is_good(connection: sqlite3.Connection, rule: Rule, value: Any) -> bool:
    try:
        (good,) = connection.execute(f"SELECT ifnull({rule.good.format(c='?1')}, 0)", (value,)).fetchone()
    except (OverflowError, UnicodeError, sqlite3.Error):  # beyond 64 bits, lone surrogates, too long
        return False
    return bool(good)
