"""What is known of each pick of some classes, as names of a filter: ``score < 0.3 or sure < 0.5``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Decision, Reason
from ...model.expression import Column, Expression, Value, parse
from ...model.which import Which
from ..core.session import Session
from .browse import RunMembers

_DECISIONS = {d.name.lower(): frozenset({d.name.lower()}) for d in Decision}
#: The names that a filter may use.
COLUMNS: tuple[Column, ...] = (
    Column("score"),
    Column("sure"),
    Column("class"),
    Column("decision", True, {**_DECISIONS, "todo": frozenset({"undecided"})}),
    Column("reason", True),
    Column("micrograph", True),
    Column("set", True),
    Column("x"),
    Column("y"),
)
ABOUT = (
    "score: the picker's; sure: how surely it belongs to its class, 0 to 1; class; decision: accepted, undecided, "
    "rejected; reason; micrograph: its name; set: the pick set; x, y: px"
)


def understood(text: str) -> Expression:
    """A filter over these facts. Raises ExpressionError."""
    return parse(text, COLUMNS)


def let_through(
    session: Session, members: RunMembers, rows: NDArray[np.intp], expression: Expression
) -> NDArray[np.intp]:
    """Rows (m,) among ``rows`` (n,) of a run's membership for which an expression holds, in the same order."""
    ids = members.particle[rows]
    picks = session.store.particles_where(Which(ids=tuple(np.unique(ids).tolist()), removed=True))
    place = picks.rows_of(ids)
    names = {m.id: m.name for m in session.micrographs}
    sets = {number: pick_set.name for number, pick_set in session.pick_sets.items()}
    kept = []
    for row, at in zip(rows.tolist(), place.tolist(), strict=True):
        if at < 0:
            continue  # deleted meanwhile
        facts: dict[str, Value] = {
            "score": float(picks.score[at]),
            "sure": float(members.posterior[row]),
            "class": float(members.number[row]),
            "decision": Decision(int(picks.decision[at])).name.lower(),
            "reason": Reason(int(picks.reason[at])).label if picks.reason[at] else "",
            "micrograph": names.get(int(picks.micrograph[at]), ""),
            "set": sets.get(int(picks.pick_set[at]), ""),
            "x": float(picks.x[at]),
            "y": float(picks.y[at]),
        }
        if expression.passes(facts):
            kept.append(row)
    return np.array(kept, np.intp)
