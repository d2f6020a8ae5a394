"""Undecided picks that lie in regions: looked up, and rejected for the region's reason. What was decided stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...model.context import JobContext
from ...model.curation import BULK_VERB, Change, Decision, Delta, Kind, Reason, Table
from ...model.message import Message
from ...model.particles import Particles
from ...model.region import Region
from ...model.which import InRegions, Which
from ...picking.leaving_out import reasons_at
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Nothing, Outcome, Step
from .region_rows import of

_QUIET = JobContext()


def undecided_in(particles: Particles, regions: Sequence[Region]) -> NDArray[np.int8]:
    """Reason of the region that each undecided pick lies in, (n,) int8; 0 for decided picks and those in none."""
    why = np.zeros(len(particles), np.int8)
    rows = np.flatnonzero(particles.decision == Decision.UNDECIDED)
    why[rows] = reasons_at(particles.x[rows], particles.y[rows], regions)
    return why


@dataclass(frozen=True, eq=False)
class Inside:
    """Undecided picks in regions: ids, micrographs, the reason each would be rejected for and has now; (n,) each."""

    ids: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    reason: NDArray[np.int8]
    before: NDArray[np.int8]


def picks_inside(session: Session, micrographs: Sequence[int] | None = None, context: JobContext = _QUIET) -> Inside:
    """Undecided picks that lie in regions of some micrographs (all of them by default).

    Raises
    ------
    Cancelled
    """
    numbers = session.store.micrographs_with_regions() if micrographs is None else list(micrographs)
    parts, reasons = [Particles.empty()], [np.zeros(0, np.int8)]
    for i, number in enumerate(numbers):
        context.progress(i, len(numbers), f"{i}/{len(numbers)} micrographs")
        which = Which((number,), (Decision.UNDECIDED,), regions=InRegions(), removed=True)
        parts.append(session.store.particles_where(which))
        reasons.append(reasons_at(parts[-1].x, parts[-1].y, of(session, number)))
    ids, where, before = (np.concatenate([getattr(p, name) for p in parts]) for name in ("id", "micrograph", "reason"))
    return Inside(ids, where, np.concatenate(reasons), before)


def reject_inside(session: Session, inside: Inside) -> Outcome:
    """Reject picks in regions, each for its region's reason, as one step.

    What was decided since they were looked for stays as it is.
    """
    nothing = "no undecided pick lies in a region there"
    if not len(inside.ids):
        return Nothing(nothing)

    which = Which(ids=tuple(inside.ids.tolist()), decisions=(Decision.UNDECIDED,))

    def build(store: Store, connection: Connection) -> Change | None:
        still = store.read(connection, which, ("reason",))
        mine = np.isin(inside.ids, still.id)
        n = int(mine.sum())
        if not n:
            return None
        before_now = still.reason[still.rows_of(inside.ids[mine])]
        why, where_of = inside.reason[mine], inside.micrograph[mine]
        before = {"decision": np.array([int(Decision.UNDECIDED)], np.int8), "reason": before_now}
        after = {"decision": np.array([int(Decision.REJECTED)], np.int8), "reason": why}
        delta = Delta(Table.PARTICLE, Kind.UPDATE, inside.ids[mine], before, after, where_of)
        touched = np.unique(where_of)
        only_micrograph = int(touched[0]) if len(touched) == 1 else None
        where = (
            session.micrograph(only_micrograph).name
            if only_micrograph is not None
            else edits.count_of(len(touched), "micrograph")
        )
        kinds, counts = np.unique(why, return_counts=True)
        by_reason = ", ".join(f"{c:,} as {Reason(int(k)).label}" for k, c in zip(kinds, counts, strict=True))
        message = Message("reject", edits.count_of(n), "in regions", f"on {where}: {by_reason}")
        return message.change(BULK_VERB, (delta,), only_micrograph)

    title = f"rejecting {edits.count_of(len(inside.ids))} in regions"
    return session.commit(Step(build, len(inside.ids), title, nothing))
