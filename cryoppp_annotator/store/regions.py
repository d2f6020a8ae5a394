"""Regions in the project database."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ..model.curation import Decision, Reason
from ..model.region import Origin, Region, unpack_vertices
from . import schema

#: Ids asked for at once.
_CHUNK = 500


def read(connection: Connection, micrograph: int | None = None) -> list[Region]:
    """Regions of one micrograph, or of the project, also those a person dismissed; ordered by id."""
    r = schema.region.c
    query = select(r.reason, r.vertices, r.id, r.micrograph, r.origin, r.curator, r.created).order_by(r.id)
    if micrograph is not None:
        query = query.where(r.micrograph == micrograph)
    return [
        Region(Reason(reason), unpack_vertices(vertices), number, where, Origin(origin), curator, created)
        for reason, vertices, number, where, origin, curator, created in connection.execute(query)
    ]


def micrographs_with(connection: Connection) -> list[int]:
    """Ids of the micrographs that have a region which counts, in order."""
    r = schema.region.c
    query = select(r.micrograph).where(r.origin != Origin.DISMISSED.value).distinct().order_by(r.micrograph)
    return list(connection.execute(query).scalars())


def undecided(connection: Connection, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Those of some picks (n,), in their order, that nobody has decided about, and the reason each has from before."""
    p = schema.particle.c
    kept: dict[int, int] = {}
    for start in range(0, len(ids), _CHUNK):
        some = p.id.in_(ids[start : start + _CHUNK].tolist())
        kept.update(connection.execute(select(p.id, p.reason).where(some, p.decision == int(Decision.UNDECIDED))).all())
    still = [i for i in ids.tolist() if i in kept]
    return np.array(still, np.int64), np.array([kept[i] for i in still], np.int8)
