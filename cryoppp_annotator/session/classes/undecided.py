"""One step that decides about the undecided picks of classes, on a micrograph or everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...model.curation import Decision, Reason
from ...model.which import ClassesOf, Which
from ..core.session import Session
from ..core.step import Outcome


def decide_by_class(session: Session, numbers: Sequence[int], decision: Decision, which: Which) -> Outcome:
    """Decide about the undecided picks of classes, as one step.

    Parameters
    ----------
    numbers : sequence of int
        Of the classes of the run that ``which.classes`` names (as imported by default).
    which : Which
        Accepting leaves out those that are hidden; rejecting takes them along.
    """
    chosen = tuple(sorted({int(n) for n in numbers}))
    run = None if which.classes is None else which.classes.run
    hidden = which.hidden if decision is Decision.ACCEPTED else ()
    which = replace(which, decisions=(Decision.UNDECIDED,), classes=ClassesOf(run, chosen), hidden=hidden)
    what = f"of {'class' if len(chosen) == 1 else 'classes'} {', '.join(map(str, chosen))}"
    reason = Reason.NOT_A_PARTICLE if decision is Decision.REJECTED else Reason.NONE
    return session.decide_where(which, decision, reason, what, nothing="nothing undecided is there")
