"""Which decisions were made in bulk, by a rule and not by a look at each pick; read from the history.

A later decision about a pick, made one by one, by a page or by a class, is a person's judgement again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, or_, select

from ..errors import ProjectError
from ..model.curation import BULK_VERBS, Decision, Delta, Kind, Table
from . import schema
from .delta_rules import unpacked


@dataclass(frozen=True, eq=False)
class BulkDecided:
    """Picks whose present decision was made in bulk, ordered by id.

    Attributes
    ----------
    ids, micrograph : (n,) int64
    decision : (n,) int8
    """

    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    micrograph: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    decision: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def without(self, ids: NDArray[np.int64]) -> BulkDecided:
        """Those that are not among ``ids`` (m,) int64."""
        if not len(self.ids):
            return self
        at = np.searchsorted(self.ids, ids)
        at = at[(at < len(self.ids)) & (self.ids[np.minimum(at, len(self.ids) - 1)] == ids)]
        if not len(at):
            return self
        kept = np.ones(len(self.ids), bool)
        kept[at] = False
        return BulkDecided(self.ids[kept], self.micrograph[kept], self.decision[kept])

    def follow(self, delta: Delta, *, in_bulk: bool) -> BulkDecided:
        """As they are after a change of particles."""
        decided = delta.kind is Kind.UPDATE and "decision" in delta.after
        if not (decided or delta.kind is Kind.DELETE):
            return self
        rest = self.without(delta.ids)
        if not (decided and in_bulk):
            return rest
        n = len(delta.ids)
        decision = np.broadcast_to(np.asarray(delta.after["decision"], np.int8), n)
        new = decision != Decision.UNDECIDED
        ids = np.r_[rest.ids, delta.ids[new]]
        where = np.r_[rest.micrograph, np.broadcast_to(delta.micrograph, n)[new]]
        order = np.argsort(ids, kind="stable")
        return BulkDecided(ids[order], where[order], np.r_[rest.decision, decision[new]][order])


class BulkHistory:
    """Follows the history: what is known is kept, later steps are added; after an undo it is read anew."""

    def __init__(self) -> None:
        self._read_to = 0
        self._known = BulkDecided()
        self._lock = threading.Lock()

    def up_to(self, connection: Connection, head: int) -> BulkDecided:
        """Picks decided in bulk after the step ``head``.

        Raises
        ------
        ProjectError
            The history is damaged.
        """
        with self._lock:
            if head < self._read_to or (head > self._read_to and self._reverted_since(connection)):
                self._read_to, self._known = 0, BulkDecided()
            for verb, title, payload in self._steps(connection, head):
                self._known = _after(self._known, verb, title, payload)
            self._read_to = head
            return self._known

    def _reverted_since(self, connection: Connection) -> bool:
        c = schema.change.c
        query = select(c.id).where(c.id > self._read_to, c.kind.in_(("undo", "redo"))).limit(1)
        return connection.execute(query).first() is not None

    def _steps(self, connection: Connection, head: int) -> Iterable[tuple[str, str, bytes]]:
        c = schema.change.c
        applied = and_(c.id > self._read_to, c.id <= head, c.kind == "do", c.state == "applied", c.n_particles > 0)
        first: int | None = self._read_to
        if not len(self._known.ids):  # nothing before the first bulk step matters
            query = select(c.id).where(applied, _is_bulk()).order_by(c.id).limit(1)
            first = connection.execute(query).scalar_one_or_none()
        if first is None:
            return []
        query = select(c.verb, c.title, c.payload).where(applied, c.id >= first, c.verb.not_in(("import", "propose")))
        return [(str(v), str(t), bytes(p)) for v, t, p in connection.execute(query.order_by(c.id))]


def _is_bulk() -> ColumnElement[bool]:
    c = schema.change.c
    by_score = and_(c.verb == "decide", or_(c.title.contains(" above score "), c.title.contains(" below score ")))
    return or_(c.verb.in_(tuple(BULK_VERBS)), by_score)  # earlier versions had one verb for all decisions


def _after(known: BulkDecided, verb: str, title: str, payload: bytes) -> BulkDecided:
    in_bulk = verb in BULK_VERBS or (verb == "decide" and (" above score " in title or " below score " in title))
    try:
        deltas = unpacked(payload)
    except ValueError as error:
        raise ProjectError(f"the history is damaged at “{title}” ({error}); the particles are not touched") from error
    for delta in deltas:
        if delta.table is Table.PARTICLE:
            known = known.follow(delta, in_bulk=in_bulk)
    return known
