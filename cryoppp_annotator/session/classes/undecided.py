"""Undecided picks of a class, on a micrograph or everywhere: how many, and one step that decides about them.

A class is one of a stored run, or (where no run is shown) the number a pick was imported with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, case, func, not_, select

from ...model.curation import Change, Decision, Reason
from ...model.particles import COLUMNS, Particles
from ...store import rows, schema
from ...store.hidden import Hidden, is_hidden
from ...store.store import Store
from ..core import edits
from ..core.session import Session


@dataclass(frozen=True, slots=True)
class Terms:
    """Which undecided picks are meant, besides their class; None = no restriction.

    Attributes
    ----------
    run : int or None
        Its classes; None = as imported.
    micrograph, pick_set : int or None
    hidden : tuple of (score, pick sets)
        Candidates of these sets with a lower score are not drawn.
    """

    run: int | None = None
    micrograph: int | None = None
    pick_set: int | None = None
    hidden: Hidden = ()


def _number(run: int | None) -> ColumnElement[int]:
    return schema.particle.c.class_id if run is None else schema.class_member.c.number


def _where(terms: Terms) -> ColumnElement[bool]:
    p, m = schema.particle.c, schema.class_member.c
    where = [p.decision == int(Decision.UNDECIDED), _number(terms.run) > 0]
    if terms.run is not None:
        where += [m.run == terms.run, m.particle == p.id]
    if terms.micrograph is not None:
        where.append(p.micrograph == terms.micrograph)
    if terms.pick_set is not None:
        where.append(p.pick_set == terms.pick_set)
    return and_(*where)


def undecided_by_class(store: Store, terms: Terms) -> dict[int, tuple[int, int]]:
    """Undecided picks of each class that has some, and how many of them are drawn; from any thread."""
    number, p = _number(terms.run), schema.particle.c
    query = select(number, func.count(), func.count(case((not_(is_hidden(terms.hidden)), p.id)))).where(_where(terms))
    with store.reading() as connection:
        found = connection.execute(query.group_by(number).order_by(number))
        return {int(k): (int(n), int(drawn)) for k, n, drawn in found}


def decide_by_class(session: Session, numbers: Sequence[int], decision: Decision, terms: Terms) -> int:
    """Decide about the undecided picks of classes, as one step.

    Accepting leaves out candidates that are not drawn; rejecting takes them along.

    Returns
    -------
    int
        How many changed (as :meth:`~.session.Session.commit_over`).
    """
    wanted = sorted({int(n) for n in numbers})
    one = terms.micrograph
    where = "in the project" if one is None else f"on {session.micrograph(one).name}"
    which = f"{'class' if len(wanted) == 1 else 'classes'} {', '.join(map(str, wanted))}"
    reason = Reason.NOT_A_PARTICLE if decision is Decision.REJECTED else Reason.NONE

    def build(_store: Store, connection: Connection) -> Change | None:
        p = schema.particle.c
        term = and_(_where(terms), _number(terms.run).in_(wanted))
        if decision is Decision.ACCEPTED:
            term = and_(term, not_(is_hidden(terms.hidden)))
        query = select(*(p[name] for name in ("id", *COLUMNS))).where(term).order_by(p.id)
        found = Particles(**rows.read_columns(connection, query, {"id": np.int64, **COLUMNS}))
        return edits.decide(found, decision, reason, f"of {which} {where}", one)

    at_most = sum(m.n_undecided for m in session.micrographs if one in (None, m.id))
    doing = f"{edits.DOING[decision]} picks of {which} {where}"
    return session.commit_over(build, at_most=at_most, doing=doing, nothing="nothing undecided is there")
