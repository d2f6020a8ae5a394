"""Changes inside a transaction: applied to the rows, given their ids, written into the history, read back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from ..errors import ConflictError, ProjectError
from ..model.curation import Change, Delta, Kind, Table, overlap
from ..model.particles import tally
from . import row_arrays, schema
from .delta_rules import unpacked

T = TypeVar("T")

#: The rows of a change are written in pieces of so many bytes.
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of the history panel."""

    id: int
    at: str
    curator: str
    kind: str
    state: str
    verb: str
    title: str
    micrograph: int | None
    n_particles: int
    target: int | None

    @property
    def many_regions(self) -> bool:
        """Whether it is about regions of several micrographs, as those that were looked for everywhere."""
        return self.verb == "region" and self.micrograph is None


def head(connection: Connection) -> int:
    """The newest history line's id, 0 in an empty history."""
    return int(connection.execute(select(func.max(schema.change.c.id))).scalar_one_or_none() or 0)


def reserve(connection: Connection, name: str, n: int) -> int:
    """Hand out ``n`` ids of table ``name``, the first of which is returned; none is ever handed out twice."""
    counter = schema.id_counter
    next_id = connection.execute(select(counter.c.next).where(counter.c.name == name)).scalar_one_or_none()
    if next_id is None:
        connection.execute(insert(counter).values(name=name, next=1 + n))
        return 1
    connection.execute(update(counter).where(counter.c.name == name).values(next=next_id + n))
    return int(next_id)


def with_ids(connection: Connection, change: Change) -> Change:
    """Give the placeholders (negative ids) of new pick sets, species and particles their real ids."""
    real: dict[Table, dict[int, int]] = {Table.PICK_SET: {}, Table.SPECIES: {}}
    deltas = []
    for delta in change.deltas:
        if delta.kind is Kind.INSERT and len(delta) and (delta.ids < 0).any():
            first = reserve(connection, delta.table.value, len(delta))
            ids = np.arange(first, first + len(delta), dtype=np.int64)
            if delta.table in real:
                real[delta.table].update(zip(delta.ids.tolist(), ids.tolist(), strict=True))
            delta = replace(delta, ids=ids)
        for table, numbers in real.items():
            column = delta.after.get(table.value)
            if delta.table is Table.PARTICLE and column is not None and (column < 0).any():
                given = np.array([numbers.get(int(number), int(number)) for number in column], column.dtype)
                delta = replace(delta, after={**delta.after, table.value: given})
        deltas.append(delta)
    return replace(change, deltas=tuple(deltas))


def apply(connection: Connection, change: Change, check: Callable[[], None] = lambda: None) -> bool:
    """Write a change; False (roll back then) where the rows are not what it says they were before.

    ``check`` is called between pieces; what it raises ends the writing.
    """
    for delta in change.deltas:
        if not len(delta):
            continue
        if delta.table is Table.SETTING:
            for key, old, new in zip(delta.after["key"], delta.before["value"], delta.after["value"], strict=True):
                if get_setting(connection, str(key)) != str(old):
                    return False
                put_setting(connection, str(key), str(new))
            continue
        table = getattr(schema, delta.table.value)
        if row_arrays.write_delta(connection, table, delta, check) != len(delta):
            return False
        if delta.table is Table.PARTICLE:
            _keep_counts(connection, delta)
    return True


_COUNTS = ("n_undecided", "n_accepted", "n_rejected")  # by value of Decision


def _keep_counts(connection: Connection, delta: Delta) -> None:
    """Keep the numbers beside each micrograph true: they are read by every list and must not cost a scan."""
    touched, steps = tally(delta)
    changed = steps.any(axis=1)
    if not changed.any():
        return
    m = schema.micrograph
    values = {name: m.c[name] + bindparam(f"d_{name}") for name in _COUNTS}
    statement = update(m).where(m.c.id == bindparam("b_id")).values(**values)
    columns = {"b_id": touched[changed], **{f"d_{name}": steps[changed, i] for i, name in enumerate(_COUNTS)}}
    for piece in row_arrays.parameters(columns, int(changed.sum())):
        connection.execute(statement, piece)


def get_setting(connection: Connection, key: str) -> str:
    """A setting as stored, JSON text; ``null`` where there is none."""
    s = schema.setting.c
    text = connection.execute(select(s.value).where(s.key == key)).scalar_one_or_none()
    return "null" if text is None else str(text)


def put_setting(connection: Connection, key: str, value: str) -> None:
    """Store a setting, JSON text."""
    s = schema.setting
    if connection.execute(update(s).where(s.c.key == key).values(value=value)).rowcount == 0:
        connection.execute(insert(s).values(key=key, value=value))


def record(
    connection: Connection,
    change: Change,
    curator: str,
    *,
    kind: str,
    state: str,
    target: int | None = None,
    payload: bytes | None = None,
) -> int:
    """Append a line to the history and return its id."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    in_pieces = payload is not None and len(payload) > _PIECE_BYTES and connection.dialect.name == "sqlite"
    result = connection.execute(
        insert(schema.change).values(
            at=now,
            curator=curator,
            kind=kind,
            target=target,
            state=state,
            verb=change.verb,
            title=change.title,
            micrograph=change.micrograph,
            n_particles=change.n_rows(),
            payload=func.zeroblob(len(payload)) if in_pieces and payload is not None else payload,
        )
    )
    key = result.inserted_primary_key
    assert key is not None  # a single-row insert has one
    if in_pieces and payload is not None:
        _fill_in_pieces(connection, int(key[0]), payload)
    return int(key[0])


def _fill_in_pieces(connection: Connection, change_id: int, payload: bytes) -> None:
    """Write the rows of a large change into the place made for them; of one value SQLite would make three copies."""
    driver: Any = connection.connection.driver_connection
    with driver.blobopen(schema.change.name, schema.change.c.payload.name, change_id) as blob:
        for start in range(0, len(payload), _PIECE_BYTES):
            blob.write(payload[start : start + _PIECE_BYTES])


def adopt(connection: Connection, entries: Iterable[HistoryEntry]) -> None:
    """Append another project's steps to the history, with who and when; none of them can be undone here."""
    for entry in entries:
        connection.execute(
            insert(schema.change).values(
                at=entry.at,
                curator=entry.curator,
                kind="visit",
                state="",
                verb="merged",
                title=entry.title,
                micrograph=entry.micrograph,
                n_particles=entry.n_particles,
            )
        )


def load(connection: Connection, change_id: int) -> Change:
    """A stored change with its rows. Raises ProjectError where there is none or it is damaged."""
    c = schema.change.c
    query = select(c.verb, c.title, c.payload, c.micrograph).where(c.id == change_id)
    row = connection.execute(query).first()
    if row is None:
        raise ProjectError(f"the history has no step {change_id}")
    verb, title, payload, micrograph = row
    return Change(verb, title, _sound(partial(unpacked, payload), title) if payload else (), micrograph)


def _sound(read: Callable[[], T], title: str) -> T:
    try:
        return read()
    except ValueError as error:
        raise ProjectError(f"the history is damaged at “{title}” ({error}); the particles are not touched") from error


#: Rows of these belong to a micrograph: a step about one micrograph has none of another's.
_ON_MICROGRAPHS = frozenset({Table.PARTICLE, Table.REGION, Table.MICROGRAPH})


def refuse_conflict(
    connection: Connection, entry: HistoryEntry, change: Change, curator: str, passed: Collection[int] = ()
) -> None:
    """Refuse to revert rows that another person, or a later step that was ``passed`` over, changed after the step.

    The database picks out the steps that may be about the same rows; of those no more is unpacked than says which rows
    they are about.
    """
    c = schema.change.c
    query = select(c.payload, c.curator, c.title).where(
        c.id > entry.id, c.kind == "do", c.state == "applied", or_(c.curator != curator, c.id.in_(passed))
    )
    tables = {delta.table for delta in change.deltas}
    if entry.micrograph is not None and tables <= _ON_MICROGRAPHS:
        query = query.where(or_(c.micrograph.is_(None), c.micrograph == entry.micrograph))
    if tables == {Table.PARTICLE}:
        query = query.where(c.n_particles > 0)
    for payload, other, title in connection.execute(query):
        if _sound(partial(overlap, payload, change.deltas), title):
            raise ConflictError(
                f"{other} has since changed the same data ({title}); “{entry.title}” stays as it is", entry.id
            )
