"""Candidates that are not drawn: those with a score below the threshold of their picker."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, false, or_

from . import schema

#: Thresholds, each with the pick sets whose candidates it hides (none named = all there are).
Hidden = tuple[tuple[float, tuple[int, ...]], ...]


def is_hidden(hidden: Hidden) -> ColumnElement[bool]:
    """The SQL condition, never NULL, of a score below its threshold; whether somebody decided is not looked at."""
    p = schema.particle.c
    return or_(
        false(),
        *(
            and_(p.score.is_not(None), p.score < threshold, *([p.pick_set.in_(sets)] if sets else []))
            for threshold, sets in hidden
        ),
    )
