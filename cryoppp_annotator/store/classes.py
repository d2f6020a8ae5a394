"""Class runs and their members: kept beside the annotations, made by a machine, never a step to undo.

A run is written in pieces that hold the database for milliseconds each, and is not listed until it is published: its
``summary`` is empty until then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, insert, or_, select, update

from ..errors import ProjectError
from ..model.curation import Change, Decision, Reason
from ..model.particles import COLUMNS, Particles
from ..model.which import Which
from . import changes, row_arrays, schema
from .store import Store
from .which import condition

#: Members written in one transaction: the window may wait for one of them, never for all.
_PIECE = 5_000

_MEMBER = {
    "particle": np.int64,
    "number": np.int32,
    "posterior": np.float64,
    "shift_x": np.float64,
    "shift_y": np.float64,
    "angle_deg": np.float64,
    "x": np.float64,
    "y": np.float64,
}
_RECORD = (
    "kind",
    "engine",
    "version",
    "parameters",
    "inputs",
    "counts",
    "seed",
    "curator",
    "started",
    "seconds",
)
_FORGOTTEN = "forgotten"
_JSON = ("parameters", "inputs", "counts")


def runs(store: Store) -> list[dict[str, Any]]:
    """Published runs, oldest first: columns of ``class_run``, ``summary`` decoded, and ``record`` as a mapping."""
    run, record = schema.class_run, schema.record
    query = select(run, *(record.c[n].label(f"record_{n}") for n in _RECORD)).join(record).order_by(run.c.id)
    with store.reading() as connection:
        entries = connection.execute(query.where(run.c.summary != "")).mappings().all()
    out = []
    for row in entries:
        record_of = {n: row[f"record_{n}"] for n in _RECORD}
        record_of.update({n: json.loads(record_of[n]) for n in _JSON})
        entry = {c.name: row[c.name] for c in run.columns}
        out.append({**entry, "summary": json.loads(entry["summary"]), "record": record_of})
    return out


def begin(store: Store, record: Mapping[str, Any], *, head: int, pixel_size_A: float) -> int:
    """Reserve a run that is not published; returns its id."""
    values = {**record, **{n: json.dumps(record.get(n, {})) for n in _JSON}}
    with store.writing() as connection:
        number = changes.reserve(connection, "class_run", 1)
        provenance = changes.reserve(connection, "record", 1)
        connection.execute(insert(schema.record).values(id=provenance, **values))
        connection.execute(
            insert(schema.class_run).values(
                id=number, record=provenance, name="", head=head, pixel_size_A=pixel_size_A, folder="", summary=""
            )
        )
    return number


def add_members(
    store: Store, run: int, columns: Mapping[str, NDArray[Any]], check: Callable[[], None] = lambda: None
) -> None:
    """Write members of a run that is not published.

    Parameters
    ----------
    columns : mapping of ``particle, number, posterior, shift_x, shift_y, angle_deg, x, y`` to (n,) arrays
        NaN = not known.
    check : callable
        Called between pieces; what it raises ends the writing.
    """
    table = schema.class_member
    n = len(columns["particle"])
    order = np.argsort(columns["particle"], kind="stable")
    ordered = {name: columns[name][order] for name in _MEMBER}
    for start in range(0, n, _PIECE):
        check()
        piece = {name: column[start : start + _PIECE] for name, column in ordered.items()}
        with store.writing() as connection:
            for values in row_arrays.parameters({"run": np.array([run]), **piece}, len(piece["particle"])):
                connection.execute(insert(table), values)


def publish(
    store: Store, run: int, *, name: str, folder: str, summary: Sequence[Mapping[str, Any]], title: str, curator: str
) -> None:
    """Make a run visible to everybody; other windows notice."""

    def work(connection: Connection) -> None:
        r = schema.class_run
        values = {"name": name, "folder": folder, "summary": json.dumps(summary)}
        if connection.execute(update(r).where(r.c.id == run).values(**values)).rowcount != 1:
            raise ProjectError(f"the class run {run} is not in the database any more; save it again")

    store.note(Change("classify", title, ()), curator, work)


def hide(store: Store, run: int, *, title: str, curator: str) -> None:
    """Take a run out of the project, which other windows notice; its rows are for :func:`drop`."""
    r = schema.class_run
    change = update(r).where(r.c.id == run).values(summary="", name=_FORGOTTEN)
    store.note(Change("forget-run", title, ()), curator, lambda connection: connection.execute(change))


def drop(store: Store, run: int) -> None:
    """Remove the rows of a run that is not published, in pieces."""
    m, r = schema.class_member, schema.class_run
    while True:
        few = select(m.c.particle).where(m.c.run == run).limit(4 * _PIECE).scalar_subquery()
        with store.writing() as connection:
            if connection.execute(delete(m).where(m.c.run == run, m.c.particle.in_(few))).rowcount == 0:
                record = select(r.c.record).where(r.c.id == run)
                number = connection.execute(record).scalar_one_or_none()
                connection.execute(delete(r).where(r.c.id == run))
                connection.execute(delete(schema.record).where(schema.record.c.id == number))
                return


def unpublished(store: Store, before: str) -> list[int]:
    """Runs that may be dropped: forgotten ones, and those begun before an ISO 8601 moment that never were published."""
    r, record = schema.class_run.c, schema.record.c
    dead = or_(record.started < before, r.name == _FORGOTTEN)
    query = select(r.id).join(schema.record, record.id == r.record).where(r.summary == "", dead)
    with store.reading() as connection:
        return [int(number) for number in connection.execute(query).scalars()]


def members(
    store: Store,
    run: int,
    *,
    micrograph: int | None = None,
    numbers: Sequence[int] | None = None,
    columns: Sequence[str] = (*_MEMBER, "micrograph", "decision"),
) -> dict[str, NDArray[Any]]:
    """Members that are still there, ordered by particle: the columns of ``class_member``, ``micrograph, decision``.

    Parameters
    ----------
    micrograph : int, optional
        Only of this one.
    numbers : sequence of int, optional
        Only of these classes; all but 0 by default.
    columns : sequence of str
        Those that are read.
    """
    p, m = schema.particle.c, schema.class_member.c
    dtypes = {**_MEMBER, "micrograph": np.int64, "decision": np.int8}
    chosen = select(*(m[name] if name in _MEMBER else p[name] for name in columns))
    query = _joined(chosen, run, numbers, few=micrograph is not None).order_by(p.id)
    if micrograph is not None:
        query = query.where(p.micrograph == micrograph)
    with store.reading() as connection:
        return row_arrays.read_columns(connection, query, {name: dtypes[name] for name in columns})


def _joined(query: Select[Any], run: int, numbers: Sequence[int] | None, *, few: bool = False) -> Select[Any]:
    p, m = schema.particle, schema.class_member
    # an expression takes no index: the few picks meant by other terms are looked up, not all members of a class
    number = m.c.number + 0 if few or numbers is None else m.c.number
    chosen = number > 0 if numbers is None else number.in_([int(n) for n in numbers])
    return query.select_from(m.join(p, p.c.id == m.c.particle)).where(m.c.run == run, chosen)


def counts(store: Store, run: int, n_classes: int) -> NDArray[np.int64]:
    """(n_classes, 3) int64: undecided, accepted and rejected members of each class, as decided now."""
    p, m = schema.particle.c, schema.class_member.c
    query = _joined(select(m.number, p.decision, func.count()), run, None).group_by(m.number, p.decision)
    out = np.zeros((n_classes, 3), np.int64)
    with store.reading() as connection:
        for number, decision, n in connection.execute(query):
            if 1 <= number <= n_classes and 0 <= decision <= 2:
                out[number - 1, decision] = n
    return out


def micrographs_of(store: Store, run: int, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Micrographs on which members of classes lie, and how many: most first."""
    p = schema.particle.c
    n = func.count().label("n")
    query = _joined(select(p.micrograph, n), run, numbers).group_by(p.micrograph).order_by(n.desc(), p.micrograph)
    with store.reading() as connection:
        return [(int(a), int(b)) for a, b in connection.execute(query)]


def to_decide(connection: Connection, run: int, numbers: Sequence[int], decision: Decision) -> Particles:
    """Members of classes that a decision about the classes is about.

    Rejecting is about undecided and accepted ones; accepting about undecided ones and those rejected as *not a
    particle*; setting undecided about all. Only ids, micrographs, decisions and reasons are read.
    """
    p = schema.particle.c
    about: ColumnElement[bool] = p.decision != int(decision)
    if decision is Decision.ACCEPTED:
        as_junk = and_(p.decision == int(Decision.REJECTED), p.reason == int(Reason.NOT_A_PARTICLE))
        about = or_(p.decision == int(Decision.UNDECIDED), as_junk)
    dtypes = {"id": np.int64, **{name: COLUMNS[name] for name in ("micrograph", "decision", "reason")}}
    query = _joined(select(*(p[name] for name in dtypes)), run, numbers).where(about).order_by(p.id)
    columns = row_arrays.read_columns(connection, query, dtypes)
    return Particles.from_columns(columns.pop("id"), columns)


def to_move(connection: Connection, run: int, numbers: Sequence[int] | None) -> dict[str, NDArray[Any]]:
    """Members that lie where they were classified, with where they go: ``particle, micrograph, x, y, to_x, to_y``.

    Picks that a person has moved since, and rejected ones, stay where they are.
    """
    p, m = schema.particle.c, schema.class_member.c
    chosen = select(p.id, p.micrograph, p.x, p.y, (m.x + m.shift_x).label("to_x"), (m.y + m.shift_y).label("to_y"))
    query: Select[Any] = _joined(chosen, run, numbers).where(
        p.x == m.x, p.y == m.y, p.decision != int(Decision.REJECTED), m.shift_x.is_not(None), m.shift_y.is_not(None)
    )
    columns = {"particle": np.int64, "micrograph": np.int64, **dict.fromkeys(("x", "y", "to_x", "to_y"), np.float64)}
    return row_arrays.read_columns(connection, query.order_by(p.id), columns)


def some_extra(store: Store, micrograph: int, limit: int = 16) -> list[dict[str, str]]:
    """Uninterpreted imported columns of a few picks of a micrograph; empty where none has any."""
    p = schema.particle.c
    query = select(p.extra).where(p.micrograph == micrograph, p.extra.is_not(None)).limit(limit)
    with store.reading() as connection:
        return [json.loads(text) for text in connection.execute(query).scalars()]


def changed_since(store: Store, run: int, which: Which, tolerance_px: float = 0.5) -> tuple[int, int, int]:
    """Picks added, removed and moved since a run was made.

    Parameters
    ----------
    which : Which
        The picks such a run is made of.
    tolerance_px : float
        A pick that lies so close to where it was, or to its class's centre, is not moved.

    Returns
    -------
    added, removed, moved : int
        A rejected pick is not removed: deciding about classes does not make them out of date.
    """
    p, m = schema.particle, schema.class_member
    mine = and_(m.c.run == run, m.c.particle == p.c.id)
    dx, dy = p.c.x - m.c.x, p.c.y - m.c.y
    sx, sy = dx - func.coalesce(m.c.shift_x, 0.0), dy - func.coalesce(m.c.shift_y, 0.0)
    far = and_(dx * dx + dy * dy > tolerance_px**2, sx * sx + sy * sy > tolerance_px**2)
    added = select(func.count()).select_from(p).where(condition(which), ~exists().where(mine))
    removed = select(func.count()).select_from(m).where(m.c.run == run, ~exists().where(p.c.id == m.c.particle))
    moved = select(func.count()).select_from(m.join(p, p.c.id == m.c.particle)).where(m.c.run == run, far)
    with store.reading() as connection:
        a, r, v = (int(connection.execute(query).scalar_one()) for query in (added, removed, moved))
    return a, r, v
