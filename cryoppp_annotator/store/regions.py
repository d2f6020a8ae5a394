"""Regions in the project database."""

from __future__ import annotations

from sqlalchemy import Connection, select

from ..model.curation import Reason
from ..model.region import Origin, Region, unpack_vertices
from . import schema


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
