"""Who did what when: steps about a pick, a micrograph, a set or the project, and the picks as they were at any moment.

A *moment* is the number of a history line: the state after that line, 0 before everything.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...formats.table.spreadsheet import csv_text
from ...model.context import JobContext
from ...model.curation import Decision, Delta, Kind, Reason, Table
from ...model.particles import Particles, apply_delta
from ...model.which import Which
from ...store.changes import HistoryEntry
from ...store.past import PastStep, steps_back
from ..core.session import Session

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class HistoryScope:
    """What a history is about; all None: the project.

    Attributes
    ----------
    micrograph, particle, pick_set : int, optional
        Ids; at most one of them.
    """

    micrograph: int | None = None
    particle: int | None = None
    pick_set: int | None = None


@dataclass(frozen=True, slots=True)
class PickEvent:
    """What one step did to one pick.

    Attributes
    ----------
    step : int
        Number of the history line.
    at : str
        ISO 8601, UTC.
    curator, kind, verb, title : str
        Who; ``do``, ``undo`` or ``redo``; the step's stable name, and what a person reads.
    micrograph : str
    particle : int
    made_by : str
        The set that the pick came with, and where that came from.
    what : str
        What became of the pick.
    x, y : float, canonical px
        Afterwards; of a deleted pick where it was. NaN where the step says nothing of it.
    """

    step: int
    at: str
    curator: str
    kind: str
    verb: str
    title: str
    micrograph: str
    particle: int
    made_by: str
    what: str
    x: float
    y: float


def steps_about(session: Session, scope: HistoryScope, context: JobContext = _QUIET) -> list[HistoryEntry]:
    """History lines about something, newest first; undone steps and the undoing are lines of their own.

    Raises
    ------
    ProjectError
        The history is damaged.
    Cancelled
    """
    return [past.entry for past in _past(session, scope, context)]


def pick_events(session: Session, scope: HistoryScope, context: JobContext = _QUIET) -> list[PickEvent]:
    """What each step did to each pick, the oldest first.

    Raises
    ------
    ProjectError
        The history is damaged.
    Cancelled
    """
    sets, names = _sets_of_picks(session, scope), _names(session)
    events: list[PickEvent] = []
    for past in reversed(list(_past(session, scope, context))):
        context.check()
        for delta in past.change.deltas:
            if delta.table is Table.PARTICLE:
                events += _events_of(past.entry, delta, _rows_in(delta, scope, sets), sets, names)
    return events


def picks_at(session: Session, moment: int, micrograph: int | None = None) -> Particles:
    """The picks of the project, or of a micrograph, as they were after a history line.

    Parameters
    ----------
    moment : int
        Id of the line; 0 = before the first.
    micrograph : int, optional

    Raises
    ------
    ProjectError
        The history is damaged.
    """
    which = Which(removed=True) if micrograph is None else Which(micrographs=(micrograph,), removed=True)
    with session.store.reading() as connection:
        picks = session.store.read(connection, which)
        for past in steps_back(connection, after=moment, micrograph=micrograph):
            picks = _stepped(picks, past.change.inverse().deltas, micrograph)
    return picks


def film_of(session: Session, micrograph: int) -> list[tuple[HistoryEntry, Particles]]:
    """The picks of a micrograph after each step about it, the oldest first.

    Raises
    ------
    ProjectError
        The history is damaged.
    """
    with session.store.reading() as connection:
        picks = session.store.read(connection, Which(micrographs=(micrograph,), removed=True))
        film = []
        for past in steps_back(connection, micrograph=micrograph):
            before = _stepped(picks, past.change.inverse().deltas, micrograph)
            if before is not picks:
                film.append((past.entry, picks))
                picks = before
    return film[::-1]


def moment_of(session: Session, text: str) -> int:
    """The moment that a person names: the number of a history line, or a date and time (UTC).

    Raises
    ------
    Refused
        It is neither.
    """
    if text.strip().isdigit():
        return int(text)
    try:
        when = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(f"{text!r} is neither the number of a step nor a date such as 2026-11-30T14:00") from None
    when = when.replace(tzinfo=datetime.UTC) if when.tzinfo is None else when.astimezone(datetime.UTC)
    lines = session.store.history(limit=_ALL)
    return next((line.id for line in lines if datetime.datetime.fromisoformat(line.at) <= when), 0)


#: More lines than any history has.
_ALL = 2**31 - 1


def as_csv(events: Sequence[PickEvent]) -> str:
    """Events as CSV text with a head line."""
    rows = ([_cell(value) for value in asdict(event).values()] for event in events)
    return csv_text([[f.name for f in fields(PickEvent)], *rows])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return value


# --- inside ----------------------------------------------------------------------------------------------------------


def _stepped(picks: Particles, deltas: tuple[Delta, ...], micrograph: int | None) -> Particles:
    for delta in deltas:
        if delta.table is Table.PARTICLE:
            picks = apply_delta(picks, delta, micrograph)
    return picks


def _past(session: Session, scope: HistoryScope, context: JobContext) -> Iterator[PastStep]:
    """Steps that touch what is meant, newest first."""
    where = scope.micrograph
    if scope.particle is not None:
        here = session.store.particles_where(Which(ids=(scope.particle,), removed=True))
        where = int(here.micrograph[0]) if len(here) else None
    sets = {} if scope.pick_set is None else _sets_of_picks(session, scope)
    with session.store.reading() as connection:
        for past in steps_back(connection, micrograph=where):
            context.check()
            if any(_touches(delta, scope, sets) for delta in past.change.deltas):
                yield past


def _touches(delta: Delta, scope: HistoryScope, sets: Mapping[int, int]) -> bool:
    if scope == HistoryScope():
        return True
    if delta.table is Table.PARTICLE:
        return bool(_rows_in(delta, scope, sets).any())
    about = {Table.MICROGRAPH: scope.micrograph, Table.PICK_SET: scope.pick_set}.get(delta.table)
    return about is not None and bool((delta.ids == about).any())


def _rows_in(delta: Delta, scope: HistoryScope, sets: Mapping[int, int]) -> NDArray[np.bool_]:
    """(n,) mask of the rows of a delta of particles that are meant."""
    n = len(delta)
    if scope.particle is not None:
        return np.asarray(delta.ids == scope.particle)
    if scope.micrograph is not None:
        return np.asarray(np.broadcast_to(delta.micrograph, (n,)) == scope.micrograph)
    if scope.pick_set is not None:
        return np.array([sets.get(int(i)) == scope.pick_set for i in delta.ids], bool)
    return np.ones(n, bool)


def _sets_of_picks(session: Session, scope: HistoryScope) -> dict[int, int]:
    """The set of every pick there is or was, by id."""
    where = scope.micrograph
    which = Which(removed=True) if where is None else Which(micrographs=(where,), removed=True)
    sets: dict[int, int] = {}
    with session.store.reading() as connection:
        here = session.store.read(connection, which)
        sets.update(zip(here.id.tolist(), here.pick_set.tolist(), strict=True))
        for past in steps_back(connection, micrograph=where):
            for delta in past.change.deltas:
                columns = delta.before if delta.kind is Kind.DELETE else delta.after
                if delta.table is Table.PARTICLE and delta.kind is not Kind.UPDATE and "pick_set" in columns:
                    of = np.broadcast_to(columns["pick_set"], (len(delta),))
                    sets.update(zip(delta.ids.tolist(), of.tolist(), strict=True))
    return sets


def _names(session: Session) -> dict[tuple[str, int], str]:
    names = {("micrograph", m.id): m.name for m in (*session.micrographs, *session.removed.values())}
    for number, pick_set in session.pick_sets.items():
        origin = pick_set.source or (f"{pick_set.kind}: {pick_set.picker}" if pick_set.proposed else "")
        names["set", number] = f"{pick_set.name} ({origin})" if origin else pick_set.name
    return names


def _events_of(
    entry: HistoryEntry,
    delta: Delta,
    rows: NDArray[np.bool_],
    sets: Mapping[int, int],
    names: Mapping[tuple[str, int], str],
) -> Iterator[PickEvent]:
    n = len(delta)
    micrograph = np.broadcast_to(delta.micrograph, (n,)) if len(delta.micrograph) else np.zeros(n, np.int64)
    for i in np.flatnonzero(rows).tolist():
        before, after = (
            {name: column[i if len(column) == n else 0] for name, column in columns.items()}
            for columns in (delta.before, delta.after)
        )
        there = after if "x" in after else before
        yield PickEvent(
            entry.id,
            entry.at,
            entry.curator,
            entry.kind,
            entry.verb,
            entry.title,
            names.get(("micrograph", int(micrograph[i])), ""),
            int(delta.ids[i]),
            names.get(("set", sets.get(int(delta.ids[i]), 0)), ""),
            _what(delta.kind, before, after),
            float(there.get("x", math.nan)),
            float(there.get("y", math.nan)),
        )


def _what(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if kind is Kind.DELETE:
        return "deleted"
    if kind is Kind.INSERT:
        return f"added, {_decided(after)}"
    words = []
    if "x" in after or "y" in after:
        steps = [float(after.get(k, 0.0)) - float(before.get(k, 0.0)) for k in ("x", "y")]
        words.append(f"moved by {math.hypot(*steps):.1f} px")
    if "decision" in after:
        words.append(_decided(after))
    for column, word in (
        ("class_id", "class"),
        ("species", "species"),
        ("diameter_A", "diameter, Å"),
        ("score", "score"),
    ):
        if column in after:
            words.append(f"{word}: {before.get(column, 0):g} → {after[column]:g}")
    return ", ".join(words)


def _decided(after: Mapping[str, Any]) -> str:
    decision, reason = Decision(int(after.get("decision", 0))), Reason(int(after.get("reason", 0)))
    return decision.name.lower() + (f" as {reason.label}" if decision is Decision.REJECTED and reason else "")
