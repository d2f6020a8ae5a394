"""Whole rows of a micrograph, every column, as a delta needs them that takes them away and may bring them back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ..model.particles import COLUMNS
from . import row_arrays, schema

Rows = dict[str, NDArray[Any]]


def particles_of(connection: Connection, micrograph: int) -> Rows:
    """Every column of its particles, ordered by id; ``extra`` as UTF-8, empty where there is none."""
    p = schema.particle.c
    query = select(*(p[name] for name in ("id", *COLUMNS))).where(p.micrograph == micrograph).order_by(p.id)
    columns = row_arrays.read_columns(connection, query, {"id": np.int64, **COLUMNS})
    texts = select(p.id, p.extra).where(p.micrograph == micrograph, p.extra.is_not(None))
    extra = {number: text.encode() for number, text in connection.execute(texts)}
    columns["extra"] = np.array([extra.get(number, b"") for number in columns["id"].tolist()] or [], "S")
    return columns


def regions_of(connection: Connection, micrograph: int) -> Rows:
    """Every column of its regions, the dismissed ones, too; ordered by id."""
    table = schema.region
    query = select(table).where(table.c.micrograph == micrograph).order_by(table.c.id)
    every = connection.execute(query).mappings().all()
    kinds: dict[str, Any] = {"id": np.int64, "micrograph": np.int64, "reason": np.int8}
    return {c.name: np.array([row[c.name] for row in every], kinds.get(c.name, np.str_)) for c in table.columns}
