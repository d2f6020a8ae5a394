"""Numbers of every micrograph that the picks on it make: the median of their scores, the quality of their classes."""

from __future__ import annotations

import json
import math

import numpy as np
from sqlalchemy import and_, func, select

from ..model.curation import Decision
from . import row_arrays, schema
from .store import Store


def median_scores(store: Store) -> dict[int, float]:
    """Median score of the picks that are not rejected, of each micrograph that has scored ones."""
    p = schema.particle.c
    query = select(p.micrograph, p.score).where(p.score.is_not(None), p.decision != int(Decision.REJECTED))
    with store.reading() as connection:
        columns = row_arrays.read_columns(connection, query, {"micrograph": np.int64, "score": np.float64})
    if not len(columns["score"]):
        return {}
    order = np.argsort(columns["micrograph"], kind="stable")
    numbers, start = np.unique(columns["micrograph"][order], return_index=True)
    parts = np.split(columns["score"][order], start[1:])
    return {int(number): float(np.median(part)) for number, part in zip(numbers, parts, strict=True)}


def class_quality(store: Store) -> dict[int, float]:
    """Median quality of the classes of a micrograph's picks that are not rejected, by the newest published run."""
    r, m, p = schema.class_run.c, schema.class_member, schema.particle
    newest = select(r.id, r.summary).where(r.summary != "").order_by(r.id.desc()).limit(1)
    with store.reading() as connection:
        run = connection.execute(newest).first()
        if run is None:
            return {}
        counted = (
            select(p.c.micrograph, m.c.number, func.count())
            .select_from(m.join(p, p.c.id == m.c.particle))
            .where(and_(m.c.run == run.id, p.c.decision != int(Decision.REJECTED)))
            .group_by(p.c.micrograph, m.c.number)
        )
        counts = connection.execute(counted).all()
    quality = {int(entry["number"]): entry.get("quality") for entry in json.loads(run.summary)}
    of_picks: dict[int, list[float]] = {}
    for micrograph, number, n in counts:
        value = quality.get(number)
        if isinstance(value, int | float) and math.isfinite(value):
            of_picks.setdefault(int(micrograph), []).extend([float(value)] * n)
    return {micrograph: float(np.median(values)) for micrograph, values in of_picks.items()}
