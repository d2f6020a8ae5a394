"""Whole classes of particles that were not labelled: a view, a margin, a corner of all micrographs.

A model that learns from labels learns their gaps, too. So here nothing is asked of the labels but where they are: the
good places of all micrographs, labelled or not, are sorted by what they look like into a mixture of averages, and the
averages whose places are seldom labelled come out. Ice and carbon look alike, too; what tells them from a missed
view is that they lie apart from labels, and are much stronger or weaker than particles are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from ..model.context import JobContext
from ..model.coordinates import FloatArray
from ..picking.views import Views, best_view, find_views, pictures, similarity
from .places import LabelledPlaces

#: A place is good where the detector's score is above that of this share of the labelled ones.
_GOOD = 0.05
#: A class is seldom labelled below this share of the usual one.
_HARDLY = 0.4
#: A class that is hardly labelled is a gap from so many places on.
_FEWEST = 10
#: Averages that correlate like this are one gap.
_ALIKE = 0.5
#: Most places that a mixture is fitted to.
_MOST_PICTURES = 3000
#: Most gaps that are reported.
_MOST_GAPS = 5
#: A class is at least as strong as this share of the labelled places.
_WEAK = 0.05
#: A place is too strong to be trusted beyond so many times what 95 % of the labelled ones are below.
_STRONG = 1.5
#: Least log likelihood of a place, nats.
_LEAST = 3.0
#: Least trust in a gap that is reported, 0 .. 1.
_TRUST = 0.3
#: Nearer to another label than this, diameters, a place may be a part of that particle.
_TOUCHES = 0.75
#: Neighbours of a place that are compared.
_NEIGHBOURS = 4
#: Cells along each side of a micrograph.
_CELLS = 8
#: Least expected number of particles in a part of the micrographs.
_EXPECTED = 10.0
#: Least margin without labels that is reported, diameters.
_MARGIN = 0.3


@dataclass(frozen=True, eq=False)
class Gap:
    """Places that look like particles and are seldom labelled.

    Attributes
    ----------
    name : str
        What they have in common, for a person.
    micrograph, place : (n,) intp
        Number of the micrograph and row of the place, the most typical first.
    trust : float
        0 .. 1: how much speaks for particles rather than ice, carbon or noise.
    """

    name: str
    micrograph: NDArray[np.intp]
    place: NDArray[np.intp]
    trust: float

    @property
    def worth(self) -> float:
        """Expected number of particles."""
        return self.trust * len(self.place)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Good places of all micrographs."""

    micrograph: NDArray[np.intp]
    place: NDArray[np.intp]
    labelled: NDArray[np.bool_]
    near_labels: FloatArray
    #: Whether it lies so near to a label of another place that it may be a part of that particle
    touches: NDArray[np.bool_]


def find_gaps(places: Sequence[LabelledPlaces], margin: float, context: JobContext) -> list[Gap]:
    """Views that are seldom labelled, the most particles first.

    Parameters
    ----------
    places : sequence of LabelledPlaces
    margin : float
        What lies nearer to the edge, diameters, is passed over.
    context : JobContext

    Raises
    ------
    Cancelled
    """
    pool = _pool(places, margin)
    if len(pool.place) < 4 * _FEWEST or not pool.labelled.any():
        return []
    with threadpool_limits(1):
        rng = context.rng()
        views = _mixture(places, pool, rng, context)
        best = [best_view(views, *_those(p, pool.place[pool.micrograph == i]), context) for i, p in enumerate(places)]
    view, likely = (np.concatenate([answer[k] for answer in best]) for k in (0, 1))
    gaps = [_gap(pool, np.isin(view, group), likely, view) for group in _groups(pool, view, likely, similarity(views))]
    return sorted((g for g in gaps if g.trust >= _TRUST), key=lambda g: -g.worth)[:_MOST_GAPS]


def _mixture(places: Sequence[LabelledPlaces], pool: _Pool, rng: np.random.Generator, context: JobContext) -> Views:
    """Averages of the labelled and of the other places side by side: so neither swallows what is rare in the other."""
    averages, shares = [], []
    for labelled in (True, False):
        rows = np.flatnonzero(pool.labelled == labelled)
        if not len(rows):
            continue
        some = rows if len(rows) <= _MOST_PICTURES else np.sort(rng.choice(rows, _MOST_PICTURES, replace=False))
        chosen = [some[pool.micrograph[some] == i] for i in range(len(places))]
        seen = np.concatenate([pictures(*_those(p, pool.place[c])) for p, c in zip(places, chosen, strict=True)])
        views = find_views(seen, np.ones(len(seen)), rng, context)
        averages.append(views.averages)
        shares.append(views.shares * np.float32(len(rows) / len(pool.place)))
    return Views(np.concatenate(averages), np.concatenate(shares))


def _those(places: LabelledPlaces, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], FloatArray, FloatArray, float]:
    white, x, y, diameter = places.seen.places
    return white, x[rows], y[rows], diameter


def _pool(places: Sequence[LabelledPlaces], margin: float) -> _Pool:
    labelled_scores = [p.seen.numbers[p.labelled, 0] for p in places]
    least = float(np.quantile(np.concatenate(labelled_scores), _GOOD)) if any(map(len, labelled_scores)) else 0.0
    micrograph, place, labelled, near, touches = [], [], [], [], []
    for i, p in enumerate(places):
        rows = np.flatnonzero((p.labelled | p.free) & (p.seen.numbers[:, 0] >= least) & (p.seen.away > margin))
        micrograph.append(np.full(len(rows), i))
        place.append(rows)
        labelled.append(p.labelled[rows])
        near.append(_labelled_neighbours(p, rows))
        touches.append(_touches(p, rows))
    return _Pool(*(np.concatenate(parts) for parts in (micrograph, place, labelled, near, touches)))


def _labelled_neighbours(places: LabelledPlaces, rows: NDArray[np.intp]) -> FloatArray:
    """Share of labelled ones among the nearest other good places, for each, (n,)."""
    if len(rows) <= _NEIGHBOURS:
        return np.zeros(len(rows))
    points = np.column_stack([places.seen.x, places.seen.y])[rows]
    near = np.asarray(cKDTree(points).query(points, k=_NEIGHBOURS + 1)[1])[:, 1:]
    return np.asarray(places.labelled[rows][near].mean(axis=1))


def _touches(places: LabelledPlaces, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a labelled place other than itself lies within :data:`_TOUCHES`, for each, (n,)."""
    points = np.column_stack([places.seen.x, places.seen.y])
    labels = points[places.labelled]
    if not len(labels):
        return np.zeros(len(rows), bool)
    n_near = cKDTree(labels).query_ball_point(points[rows], _TOUCHES * places.diameter, return_length=True)
    return np.asarray(n_near > places.labelled[rows])


def _groups(pool: _Pool, view: NDArray[np.intp], likely: FloatArray, alike: FloatArray) -> list[NDArray[np.intp]]:
    """Views that are seldom labelled, those that look alike together."""
    usual = float(pool.labelled.mean())
    n = len(alike)
    counts = np.bincount(view, minlength=n)
    share = np.bincount(view, pool.labelled, n) / np.maximum(counts, 1)
    rows = np.flatnonzero((counts >= _FEWEST // 2) & (share < _HARDLY * max(usual, 0.5)))
    least = max(_LEAST, float(np.quantile(likely[pool.labelled], _WEAK)))
    rows = np.array([k for k in rows if np.median(likely[view == k]) >= least], np.intp)
    together = np.eye(n, dtype=bool)
    together[np.ix_(rows, rows)] |= alike[np.ix_(rows, rows)] > _ALIKE
    groups: list[NDArray[np.intp]] = []
    left = set(rows.tolist())
    while left:
        group = {left.pop()}
        while more := {j for j in left if any(together[i, j] for i in group)}:
            group |= more
            left -= more
        groups.append(np.array(sorted(group), np.intp))
    return groups


def _gap(pool: _Pool, member: NDArray[np.bool_], likely: FloatArray, view: NDArray[np.intp]) -> Gap:
    strongest = _STRONG * max(_LEAST, float(np.quantile(likely[pool.labelled], 0.95)))
    off = max(0.0, math.log(max(float(np.median(likely[member])), 1e-6) / strongest))
    beside = float(pool.near_labels[member].mean()) / max(float(pool.near_labels[pool.labelled].mean()), 1e-6)
    # parts of labelled particles look alike, too; true particles touch others no more often than labels do
    parts = max(0.0, float(pool.touches[member & ~pool.labelled].mean() - pool.touches[pool.labelled].mean()))
    trust = math.exp(-4.0 * off) * min(1.0, beside) * (1.0 - parts) ** 2
    rows = np.flatnonzero(member & ~pool.labelled)
    rows = rows[np.argsort(-likely[rows], kind="stable")]
    if len(rows) < _FEWEST:
        trust = 0.0
    n = len(np.unique(view[member]))
    name = f"{len(rows)} places that look alike and are seldom labelled" + (f" ({n} averages)" if n > 1 else "")
    return Gap(name, pool.micrograph[rows], pool.place[rows], trust)


def find_empty_parts(places: Sequence[LabelledPlaces], likely: Sequence[FloatArray], margin: float) -> list[Gap]:
    """Parts of the frame without labels on all micrographs, though particles are to be seen there.

    Parameters
    ----------
    places : sequence of LabelledPlaces
    likely : sequence of (k,) float64
        Probability that each place would be labelled if it lay elsewhere.
    margin : float
        Nearer to the edge than this, diameters, nothing is labelled.
    """
    gaps = []
    if margin >= _MARGIN:
        rim = [(p.seen.away <= margin) & (p.seen.edge < 0.2) for p in places]
        gaps.append(_part("in the margin that the labels leave free, all around", places, likely, rim))
    cell = [_cells(p) for p in places]
    inner = [p.seen.away > margin for p in places]
    expected, present = np.zeros(_CELLS**2), np.zeros(_CELLS**2)
    for p, where, chance, within in zip(places, cell, likely, inner, strict=True):
        expected += np.bincount(where, np.where(within & (p.free | p.labelled), chance, 0.0), _CELLS**2)
        present += np.bincount(where, within & p.labelled, _CELLS**2)
    usual = present.sum() / max(expected.sum(), 1e-9)
    empty = (present < 0.15 * usual * expected) & (expected >= 3.0)
    part, n = connected(empty.reshape(_CELLS, _CELLS))
    for k in range(1, n + 1):
        rows = [np.asarray(part.ravel()[where] == k) & within for where, within in zip(cell, inner, strict=True)]
        gaps.append(_part(f"in one part of the frame ({_named(part == k)}), on all micrographs", places, likely, rows))
    return [gap for gap in gaps if gap.worth >= _EXPECTED]


def _cells(places: LabelledPlaces) -> NDArray[np.intp]:
    height, width = places.shape
    row = np.clip(places.seen.y / height * _CELLS, 0, _CELLS - 1).astype(np.intp)
    return row * _CELLS + np.clip(places.seen.x / width * _CELLS, 0, _CELLS - 1).astype(np.intp)


def _named(cells: NDArray[np.bool_]) -> str:
    row, column = (float(np.mean(positions)) / (_CELLS - 1) for positions in np.nonzero(cells))
    up = "top" if row < 0.35 else "bottom" if row > 0.65 else "middle"
    side = "left" if column < 0.35 else "right" if column > 0.65 else "middle"
    return up if up == side else f"{up} {side}"


def _part(
    name: str, places: Sequence[LabelledPlaces], likely: Sequence[FloatArray], rows: Sequence[NDArray[np.bool_]]
) -> Gap:
    micrograph, place, chance = [], [], []
    for i, (p, these, log_likelihood) in enumerate(zip(places, rows, likely, strict=True)):
        good = np.flatnonzero(these & p.free & (log_likelihood > 0.5))
        micrograph.append(np.full(len(good), i))
        place.append(good)
        chance.append(log_likelihood[good])
    all_of_them = np.concatenate(chance)
    order = np.argsort(-all_of_them, kind="stable")
    trust = float(all_of_them.mean()) if len(all_of_them) else 0.0
    return Gap(
        f"{len(order)} places that look like particles {name}",
        np.concatenate(micrograph)[order],
        np.concatenate(place)[order],
        trust,
    )
