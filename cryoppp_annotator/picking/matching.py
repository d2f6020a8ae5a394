"""Which pick of one set is which of another: the one matching of the house, one-to-one and optimal.

Two picks may be the same particle where they are no farther apart than a tolerance. Of all the ways to pair them, this
one has the most pairs; of these, the pairs with the best scores; of these, the least total distance. Sets of picks that
can all be paired at once form a transversal matroid, so the same pairing has the most pairs above *every* threshold:
what lies below a score never decides whether a pick above it finds a particle (J. Edmonds & D. Fulkerson, J. Res. Natl.
Bur. Stand. 69B (1965) 147).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from ..model.coordinates import FloatArray


@dataclass(frozen=True, eq=False)
class Matches:
    """Picks of one micrograph beside its true particles.

    Attributes
    ----------
    name : str
        Of the micrograph.
    truth_of : (n,) intp
        For each pick the number of the true particle it found, -1 for none. No particle is found twice.
    distance : (n,) float64, px
        From the pick to that particle; NaN where there is none.
    score : (n,) float64
    n_truth : int
    """

    name: str
    truth_of: NDArray[np.intp]
    distance: FloatArray
    score: FloatArray
    n_truth: int

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Which picks found a particle, (n,) bool."""
        return np.asarray(self.truth_of >= 0, np.bool_)


def match(
    x: FloatArray,
    y: FloatArray,
    score: FloatArray,
    truth_x: FloatArray,
    truth_y: FloatArray,
    tolerance: float,
    name: str = "",
) -> Matches:
    """Pair picks with true particles: the most pairs, then the best scores, then the least total distance.

    Parameters
    ----------
    x, y : (n,) float64, px
        What is not finite is paired with nothing.
    score : (n,) float64
        NaN counts as lowest. All alike where there are no scores.
    truth_x, truth_y : (m,) float64, px
    tolerance : float
        Largest distance, px.
    name : str
        Of the micrograph.
    """
    pick, particle, away = _near(np.column_stack([x, y]), np.column_stack([truth_x, truth_y]), tolerance)
    chosen = _best_pairs(pick, particle, away, np.where(np.isnan(score), -np.inf, score), tolerance)
    truth_of = np.full(len(x), -1, np.intp)
    distance = np.full(len(x), np.nan)
    truth_of[pick[chosen]], distance[pick[chosen]] = particle[chosen], away[chosen]
    return Matches(name, truth_of, distance, np.asarray(score, np.float64), len(truth_x))


def _near(
    picks: FloatArray, truth: FloatArray, tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """All pairs no farther apart than ``tolerance``: row of the pick, row of the particle, distance; each (p,)."""
    sound = np.flatnonzero(np.isfinite(picks).all(axis=1))
    known = np.flatnonzero(np.isfinite(truth).all(axis=1))
    if not len(sound) or not len(known):
        nothing = np.zeros(0, np.intp)
        return nothing, nothing, np.zeros(0)
    near: Any = cKDTree(truth[known]).query_ball_point(picks[sound], tolerance)
    counts = np.array([len(rows) for rows in near])
    pick = np.repeat(sound, counts)
    particle = known[np.concatenate([np.asarray(rows, np.intp) for rows in near])]
    return pick, particle, np.asarray(np.hypot(*(picks[pick] - truth[particle]).T))


def _best_pairs(
    pick: NDArray[np.intp], particle: NDArray[np.intp], away: FloatArray, score: FloatArray, tolerance: float
) -> NDArray[np.intp]:
    """Rows of the pairs that make the best one-to-one pairing; each group of connected pairs is solved alone."""
    if not len(pick):
        return np.zeros(0, np.intp)
    n = len(score)
    graph = coo_array((np.ones(len(pick)), (pick, particle + n)), shape=(n + particle.max() + 1,) * 2)
    group = connected_components(graph, directed=False)[1][pick]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    chosen = []
    for rows in np.split(order, starts[1:]):
        some = rows if len(rows) == 1 else rows[_solved(pick[rows], particle[rows], away[rows], score, tolerance)]
        chosen.append(some)
    return np.concatenate(chosen)


def _solved(
    pick: NDArray[np.intp], particle: NDArray[np.intp], away: FloatArray, score: FloatArray, tolerance: float
) -> NDArray[np.intp]:
    """Rows of the best pairs of one group.

    A pair costs its distance, less a reward that grows with the rank of its score. In a matroid only the order of the
    weights matters, not their size, so ranks will do; a rank outweighs all distances together. Each pick may also
    stay alone, at no cost.
    """
    picks, row = np.unique(pick, return_inverse=True)
    particles, column = np.unique(particle, return_inverse=True)
    rank = np.unique(score[picks], return_inverse=True)[1] + 1.0
    n, m = len(picks), len(particles)
    reward = 1.0 + 2.0 * n
    worth = rank[row] * reward - away / max(tolerance, 1e-300)
    # a weight of zero would be no edge, so all costs are raised by the same; every pick has exactly one of them
    cost = np.r_[worth.max() + 1.0 - worth, np.full(n, worth.max() + 1.0)]
    edges = (np.r_[row, np.arange(n)], np.r_[column, m + np.arange(n)])
    partner = np.asarray(min_weight_full_bipartite_matching(csr_array((cost, edges), shape=(n, m + n)))[1])
    return np.flatnonzero(partner[row] == column)
