"""The history read backwards: each step with its rows, as it changed the project then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from sqlalchemy import Connection, or_, select

from ..model.curation import Change
from . import changes, schema
from .changes import HistoryEntry


@dataclass(frozen=True, eq=False)
class PastStep:
    """A line of the history, and what it did to the rows.

    Attributes
    ----------
    entry : HistoryEntry
    change : Change
        As it was applied then: of an undo the inverse of the step that it took back.
    """

    entry: HistoryEntry
    change: Change


def steps_back(
    connection: Connection, *, after: int = 0, up_to: int | None = None, micrograph: int | None = None
) -> Iterator[PastStep]:
    """The steps after a history line, the newest first; lines that changed no rows are left out.

    Parameters
    ----------
    connection : Connection
    after : int
        Id of the line that is the last one left out; 0 = from the beginning.
    up_to : int, optional
        Id of the newest line; None = up to now.
    micrograph : int, optional
        Only steps that may be about it; they may touch others, too.

    Raises
    ------
    ProjectError
        The history is damaged.
    """
    names = [f.name for f in fields(HistoryEntry)]
    c = schema.change.c
    query = select(*(c[name] for name in names)).where(c.id > after, c.kind.in_(("do", "undo", "redo")))
    if up_to is not None:
        query = query.where(c.id <= up_to)
    if micrograph is not None:
        query = query.where(or_(c.micrograph.is_(None), c.micrograph == micrograph))
    for row in connection.execute(query.order_by(c.id.desc())).all():
        entry = HistoryEntry(*row)
        change = changes.load(connection, entry.id if entry.target is None else entry.target)
        yield PastStep(entry, change.inverse() if entry.kind == "undo" else change)
