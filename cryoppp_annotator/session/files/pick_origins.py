"""What the project knows of each pick beside its place: who decided, when, why, where it came from, in what region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Decision, Reason, Table
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ...model.region import holds
from .. import regions
from ..core.session import Session

_ALL = 1_000_000_000


def last_decisions(session: Session) -> dict[int, tuple[str, str]]:
    """Curator and time (ISO 8601, UTC) of each pick's latest decision, by its id; import and picking count as one."""
    decided: dict[int, tuple[str, str]] = {}
    for entry in reversed(session.store.history(_ALL)):
        if entry.kind != "do" or entry.state != "applied":
            continue
        for delta in session.store.change(entry.id).deltas:
            if delta.table is Table.PARTICLE and delta.after and "decision" in delta.after:
                decided.update(dict.fromkeys(delta.ids.tolist(), (entry.curator, entry.at)))
    return decided


def curation_of(
    session: Session, micrograph: Micrograph, particles: Particles, decided: Mapping[int, tuple[str, str]]
) -> dict[str, NDArray[np.str_]]:
    """Columns of text about particles of one micrograph.

    Parameters
    ----------
    micrograph : Micrograph
    particles : Particles
        (n,) of them.
    decided : mapping of id to (curator, time)
        Of :func:`last_decisions`.

    Returns
    -------
    mapping of name to (n,) array of str
        ``id, reason, pick_set, source, curator, decided, region``; empty text where there is nothing to say.
    """
    sets = [session.pick_sets.get(number) for number in particles.pick_set.tolist()]
    rejected = particles.decision == Decision.REJECTED
    who = [decided.get(number, ("", "")) for number in particles.id.tolist()]
    columns: dict[str, Sequence[str]] = {
        "id": list(map(str, particles.id.tolist())),
        "reason": [
            Reason(value).label if no and value else ""
            for value, no in zip(particles.reason.tolist(), rejected.tolist(), strict=True)
        ],
        "pick_set": ["" if pick_set is None else pick_set.name for pick_set in sets],
        "source": ["" if pick_set is None else pick_set.source for pick_set in sets],
        "curator": [name for name, _ in who],
        "decided": [at for _, at in who],
        "region": _regions(session, micrograph, particles),
    }
    return {name: np.array(column, dtype=np.str_) for name, column in columns.items()}


def _regions(session: Session, micrograph: Micrograph, particles: Particles) -> list[str]:
    """Reason and number of the region that each particle lies in; the first where there are several."""
    names = np.full(len(particles), "", dtype=object)
    for region in regions.of(session, micrograph.id):
        inside = holds(region.vertices, particles.y, particles.x) & (names == "")
        names[inside] = f"{region.reason.label} {region.id}"
    return [str(name) for name in names.tolist()]
