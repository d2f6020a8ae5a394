"""Decisions about picks by their verdict in 3D, each one step; and whether the picks have changed since a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Change, Decision, Reason
from ...model.which import Which
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Outcome, Step
from .map_run import MapRun, PickVerdicts

#: A pick that lies so close to where a run had it was not moved, px.
_SAME_PLACE_PX = 0.5


def ids_of(picks: PickVerdicts, threshold: float, decision: Decision) -> NDArray[np.int64]:
    """Picks (n,) that a decision at a threshold of the log odds is about: those from it on, or those below it."""
    with np.errstate(invalid="ignore"):
        chosen = picks.log_odds >= threshold if decision is Decision.ACCEPTED else picks.log_odds < threshold
    return picks.particle[chosen]


def decide_by_verdict(session: Session, picks: PickVerdicts, threshold: float, decision: Decision) -> Outcome:
    """Accept the picks from a threshold on, or reject those below it, on every micrograph, as one step.

    Rejecting acts on undecided and accepted picks; accepting on undecided ones and on those that were rejected as *not
    a particle*. Picks without a verdict, and those that were moved since, stay as they are.

    Parameters
    ----------
    session : Session
    picks : PickVerdicts
    threshold : float
        Log odds.
    decision : Decision
        ACCEPTED or REJECTED.
    """
    ids = ids_of(picks, threshold, decision)
    which = Which(ids=tuple(ids.tolist()))
    side = "from" if decision is Decision.ACCEPTED else "below"
    what = f"with a verdict in 3D {side} {threshold:.1f}"

    def build(store: Store, connection: Connection) -> Change | None:
        present = store.read(connection, which)
        row = picks.rows_of(present.id)
        stays = np.hypot(present.x - picks.x[row], present.y - picks.y[row]) <= _SAME_PLACE_PX
        about = present.decision != int(decision)
        if decision is Decision.ACCEPTED:
            as_junk = present.reason == int(Reason.NOT_A_PARTICLE)
            about &= (present.decision == int(Decision.UNDECIDED)) | as_junk
        chosen = present.take(stays & about)
        reason = Reason.NOT_A_PARTICLE if decision is Decision.REJECTED else Reason.NONE
        return edits.decide(chosen, decision, reason, what, None, in_bulk=True)

    title = f"{edits.DOING[decision]} picks {what}"
    return session.commit(Step(build, len(ids), title, "every such pick is decided so already"))


def changed_since_map(session: Session, run: MapRun, picks: PickVerdicts) -> tuple[int, int, int]:
    """Picks added, removed and moved since a run; deciding about picks changes nothing. From any thread."""
    if session.store.newest() == run.record.get("head"):
        return 0, 0, 0
    which = run.options.boxes.which
    known, present = picks.particle, session.store.positions(which)["id"]
    everything = session.store.positions(replace(which, decisions=None, hidden=()))
    row = picks.rows_of(everything["id"])
    mine = row >= 0
    away = np.hypot(everything["x"][mine] - picks.x[row[mine]], everything["y"][mine] - picks.y[row[mine]])
    added = int((~np.isin(present, known)).sum())
    return added, len(known) - int(mine.sum()), int((away > _SAME_PLACE_PX).sum())
