"""What an export takes, counted before it is written: the dialog says the numbers that the files will have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Decision
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState
from ...model.particles import Particles
from ...model.which import Hidden, Which
from ..core.edits import count_of
from ..core.session import Session
from ..core.watch import named


@dataclass(frozen=True, slots=True)
class Exportable:
    """What an export would write.

    Attributes
    ----------
    n_picks, n_micrographs : int
    n_hidden : int
        Candidates below their threshold, which are not among ``n_picks``.
    notes : tuple of str
        What is left out, and why.
    """

    n_picks: int
    n_micrographs: int
    n_hidden: int
    notes: tuple[str, ...]


def left_out(micrograph: Micrograph) -> bool:
    """Whether no pick of a micrograph is exported, whatever was decided about it."""
    return micrograph.state is MicrographState.UNUSABLE or micrograph.changed


def count(
    session: Session, decisions: Iterable[Decision], hidden: Hidden = (), species: tuple[int, ...] | None = None
) -> Exportable:
    """Count what an export with these decisions writes.

    Parameters
    ----------
    session : Session
    decisions : iterable of Decision
    hidden : Hidden
        Thresholds whose candidates are left out.
    species : tuple of int, optional
        Only picks of these kinds; all by default.
    """
    chosen = set(decisions)
    which = Which(decisions=tuple(chosen), species=species)
    drawn = None
    if species is not None or (hidden and Decision.UNDECIDED in chosen):
        drawn = session.store.count_by_micrograph(replace(which, hidden=hidden))
    of_species = session.store.count_by_micrograph(which) if species is not None else {}
    n_picks = n_micrographs = n_hidden = 0
    for m in session.micrographs:
        if left_out(m):
            continue
        n = sum(m.n_of(d) for d in chosen) if species is None else of_species.get(m.id, 0)
        below = n - min(n, drawn.get(m.id, 0)) if drawn is not None else 0
        n_picks += n - below
        n_hidden += below
        n_micrographs += bool(n - below or m.state in FINISHED_STATES)
    return Exportable(n_picks, n_micrographs, n_hidden, tuple(notes_on(session.micrographs)))


def notes_on(micrographs: Iterable[Micrograph]) -> list[str]:
    """What of some micrographs is left out, for the curator."""
    listed = list(micrographs)
    unusable = [m for m in listed if m.state is MicrographState.UNUSABLE and not m.changed]
    changed = [m for m in listed if m.changed]
    notes = []
    if unusable:
        notes.append(f"{count_of(len(unusable), 'unusable micrograph')} left out")
    if changed:
        notes.append(
            f"{count_of(len(changed), 'micrograph')} left out that changed since it was picked "
            f"({named([m.name for m in changed])}): say first what becomes of the picks"
        )
    return notes


def is_hidden(particles: Particles, hidden: Hidden) -> NDArray[np.bool_]:
    """(n,) bool: undecided, with a score below its picker's threshold."""
    below = np.zeros(len(particles), np.bool_)
    for threshold, sets in hidden:
        of_sets = np.isin(particles.pick_set, sets) if sets else np.ones(len(particles), np.bool_)
        with np.errstate(invalid="ignore"):
            below |= of_sets & (particles.score < threshold)
    return np.asarray(below & (particles.decision == Decision.UNDECIDED))
