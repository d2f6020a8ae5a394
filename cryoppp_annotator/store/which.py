"""The one translation of :class:`~cryoppp_annotator.model.which.Which` to SQL, and the questions asked with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, not_, or_, select, true

from ..model.curation import Decision
from ..model.micrograph import MicrographState
from ..model.particles import COLUMNS, Particles
from ..model.region import Origin, holds, unpack_vertices
from ..model.which import ClassesOf, Hidden, InRegions, Which
from . import row_arrays, schema

#: Ids in one statement: SQLite takes 32,766 values at most.
_IDS_AT_ONCE = 5_000
#: Neighbouring ids that a sample of scores is taken from: a scattered one would read every page of a large table.
_SAMPLE_RUN = 200

_REMOVED = select(schema.micrograph.c.id).where(schema.micrograph.c.state == MicrographState.REMOVED.value)


def condition(which: Which) -> ColumnElement[bool]:
    """The SQL condition on the particle table; never NULL where a score is.

    Of regions it only knows on which micrographs they lie: :func:`_pieces` does the rest.
    """
    p = schema.particle.c
    terms: list[ColumnElement[bool]] = []
    for column, values in (
        (p.micrograph, which.micrographs),
        (p.pick_set, which.pick_sets),
        (p.decision, which.decisions),
        (p.id, which.ids),
        (p.species, which.species),
    ):
        if values is not None:
            terms.append(column.in_([int(value) for value in values]))
    if not which.removed:
        terms.append(p.micrograph.not_in(_REMOVED))
    if which.min_score is not None:
        terms.append(p.score >= which.min_score)
    if which.below_score is not None:
        terms.append(p.score < which.below_score)
    if which.classes is not None:
        terms.append(_in_classes(which.classes))
    if which.regions is not None:
        terms.append(p.micrograph.in_(select(schema.region.c.micrograph).where(_standing(which.regions))))
    if which.hidden:
        terms.append(or_(p.decision != int(Decision.UNDECIDED), not_(_below(which.hidden))))
    return and_(true(), *terms)


def _in_classes(classes: ClassesOf) -> ColumnElement[bool]:
    p, m = schema.particle.c, schema.class_member.c
    number = p.class_id if classes.run is None else m.number
    named = number > 0 if classes.numbers is None else number.in_([int(n) for n in classes.numbers])
    return named if classes.run is None else p.id.in_(select(m.particle).where(m.run == classes.run, named))


def _below(hidden: Hidden) -> ColumnElement[bool]:
    """The SQL condition that a score is below its threshold; never NULL; whatever was decided."""
    p = schema.particle.c
    return or_(
        *(
            and_(p.score.is_not(None), p.score < threshold, *([p.pick_set.in_(sets)] if sets else []))
            for threshold, sets in hidden
        )
    )


def _standing(regions: InRegions) -> ColumnElement[bool]:
    """The SQL condition on the region table."""
    r = schema.region.c
    chosen = true() if regions.numbers is None else r.id.in_([int(number) for number in regions.numbers])
    return and_(r.origin != Origin.DISMISSED.value, chosen)


def _pieces(connection: Connection, which: Which) -> Iterator[Which]:
    """The same in terms that SQL knows, with few enough ids in each; in the order of the ids."""
    if which.regions is not None:
        which = replace(which, regions=None, ids=_ids_in_regions(connection, which, which.regions))
    yield from _by_ids(which)


def _by_ids(which: Which) -> Iterator[Which]:
    if which.ids is None or len(which.ids) <= _IDS_AT_ONCE:
        yield which
        return
    ids = sorted(set(which.ids))
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield replace(which, ids=tuple(ids[start : start + _IDS_AT_ONCE]))


def _ids_in_regions(connection: Connection, which: Which, regions: InRegions) -> tuple[int, ...]:
    """Ids of the particles that are meant; whether a point lies in a polygon is what SQL cannot say."""
    dtypes = {"id": np.int64, **{name: COLUMNS[name] for name in ("micrograph", "x", "y")}}
    columns = _read(connection, _by_ids(which), dtypes)
    order = np.argsort(columns["micrograph"], kind="stable")
    micrograph, x, y = (columns[name][order] for name in ("micrograph", "x", "y"))
    inside = np.zeros(len(order), bool)
    r = schema.region.c
    for number, vertices in connection.execute(select(r.micrograph, r.vertices).where(_standing(regions))):
        start, end = np.searchsorted(micrograph, [number, number + 1])
        inside[start:end] |= holds(unpack_vertices(vertices), y[start:end], x[start:end])
    return tuple(columns["id"][order[inside]].tolist())


def _read(connection: Connection, pieces: Iterator[Which], dtypes: dict[str, Any]) -> dict[str, NDArray[Any]]:
    query = select(*(schema.particle.c[name] for name in dtypes)).order_by(schema.particle.c.id)
    parts = [row_arrays.read_columns(connection, query.where(condition(piece)), dtypes) for piece in pieces]
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in dtypes}


def read(connection: Connection, which: Which, columns: Sequence[str] = tuple(COLUMNS)) -> Particles:
    """The particles that are meant, ordered by id.

    Parameters
    ----------
    columns : sequence of str
        Those that are read; the others hold what stands for *not known*.
    """
    dtypes = {"id": np.int64, **{name: COLUMNS[name] for name in columns}}
    joined = _read(connection, _pieces(connection, which), dtypes)
    if set(dtypes) == {"id", *COLUMNS}:
        return Particles(**joined)
    return Particles.from_columns(joined.pop("id"), joined)


def count(connection: Connection, whiches: Sequence[Which]) -> tuple[int, ...]:
    """How many particles each of some questions means, in one pass over the table."""
    if any(which.regions is not None or len(which.ids or ()) > _IDS_AT_ONCE for which in whiches):
        return tuple(sum(count(connection, [piece])[0] for piece in _pieces(connection, which)) for which in whiches)
    # what all of them ask for is looked at once a row
    first, every = whiches[0], Which(removed=True)
    names = [f.name for f in fields(Which) if len({getattr(which, f.name) for which in whiches}) == 1]
    common: dict[str, Any] = {name: getattr(first, name) for name in names}
    dropped: dict[str, Any] = {name: getattr(every, name) for name in names}
    shared, own = replace(every, **common), [replace(which, **dropped) for which in whiches]
    counts = [func.count(case((condition(which), 1))) for which in own]
    row = connection.execute(select(*counts).select_from(schema.particle).where(condition(shared))).one()
    return tuple(int(n) for n in row)


def count_by_micrograph(connection: Connection, which: Which) -> dict[int, int]:
    """How many are meant on each micrograph that has some."""
    p, counts = schema.particle.c, Counter[int]()
    query = select(p.micrograph, func.count()).group_by(p.micrograph)
    for piece in _pieces(connection, which):
        counts.update({int(number): int(n) for number, n in connection.execute(query.where(condition(piece)))})
    return dict(sorted(counts.items()))


def count_by_class(connection: Connection, which: Which) -> dict[int, tuple[int, int]]:
    """How many are meant in each class of ``which.classes`` that has some: with those that are hidden, and without."""
    p, m, classes = schema.particle, schema.class_member, which.classes or ClassesOf()
    drawn = func.count(case((condition(Which(hidden=which.hidden, removed=True)), p.c.id)))
    if classes.run is None:
        number, query = p.c.class_id, select(p.c.class_id, func.count(), drawn).where(_in_classes(classes))
    else:
        named = m.c.number > 0 if classes.numbers is None else m.c.number.in_(classes.numbers)
        number, query = m.c.number, select(m.c.number, func.count(), drawn)
        query = query.select_from(m.join(p, p.c.id == m.c.particle)).where(m.c.run == classes.run, named)
    counts, counts_drawn = Counter[int](), Counter[int]()
    for piece in _pieces(connection, replace(which, classes=None, hidden=())):
        for k, n, n_drawn in connection.execute(query.where(condition(piece)).group_by(number)):
            counts[int(k)] += int(n)
            counts_drawn[int(k)] += int(n_drawn)
    return {k: (n, counts_drawn[k]) for k, n in sorted(counts.items())}


def positions(connection: Connection, which: Which) -> dict[str, NDArray[Any]]:
    """Where they lie: columns ``id, micrograph, x, y, diameter_A``, ordered by micrograph and id."""
    picks = read(connection, which, ("micrograph", "x", "y", "diameter_A"))
    order = np.argsort(picks.micrograph, kind="stable")
    return {name: getattr(picks, name)[order] for name in ("id", "micrograph", "x", "y", "diameter_A")}


def sample_scores(connection: Connection, which: Which, limit: int) -> NDArray[np.float64]:
    """Scores (n,) float64, about ``limit`` at most, evenly taken over the ids; no NaN."""
    p = schema.particle.c
    last = int(connection.execute(select(func.max(p.id))).scalar_one_or_none() or 0)
    if last < 2 * limit or which.ids is not None or which.regions is not None:
        scores = _read(connection, _pieces(connection, which), {"score": COLUMNS["score"]})["score"]
        scores = scores[~np.isnan(scores)]
        return np.asarray(scores[:: max(1, len(scores) // limit)], np.float64)
    starts = np.linspace(1, max(1, last - _SAMPLE_RUN), limit // _SAMPLE_RUN).astype(int).tolist()
    scored = and_(p.score.is_not(None), condition(which))
    query = select(p.score).where(p.id.between(bindparam("a"), bindparam("b")), scored)
    parts = [list(connection.execute(query, {"a": a, "b": a + _SAMPLE_RUN - 1}).scalars()) for a in starts]
    return np.array([score for run in parts for score in run], dtype=np.float64)
