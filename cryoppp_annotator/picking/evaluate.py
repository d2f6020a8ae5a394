"""How good picks are against a truth: one-to-one matching, precision, recall, F1, average precision, centring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
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


@dataclass(frozen=True, slots=True)
class Quality:
    """What matching says, of one micrograph or of all.

    Attributes
    ----------
    picks, truth, matched : int
    precision, recall, f1 : float
        0 .. 1. Of nothing where nothing was to be found: 1.
    centring_error_px : float
        Median distance of matched picks, px; NaN where none is.
    average_precision : float
        Area under the precision-recall curve (a step function over every score that occurs); NaN without scores.
    best_threshold, best_f1 : float
        The score at and above which F1 is best; NaN without scores.
    """

    picks: int
    truth: int
    matched: int
    precision: float
    recall: float
    f1: float
    centring_error_px: float
    average_precision: float
    best_threshold: float
    best_f1: float


def match(
    x: FloatArray,
    y: FloatArray,
    score: FloatArray,
    truth_x: FloatArray,
    truth_y: FloatArray,
    tolerance: float,
    name: str = "",
) -> Matches:
    """Give each pick, from the best score down, the nearest true particle that is still free.

    So the matches above a threshold are the same, whatever lies below it.

    Parameters
    ----------
    x, y : (n,) float64, px
    score : (n,) float64
        NaN counts as lowest; of equals the earlier goes first.
    truth_x, truth_y : (m,) float64, px
    tolerance : float
        Largest distance, px.
    name : str
        Of the micrograph.
    """
    truth_of = np.full(len(x), -1, np.intp)
    distance = np.full(len(x), np.nan)
    picks, truth = np.column_stack([x, y]), np.column_stack([truth_x, truth_y])
    sound: NDArray[np.bool_] = np.asarray(np.isfinite(picks).all(axis=1))
    known = np.flatnonzero(np.isfinite(truth).all(axis=1))
    if len(known) and sound.any():
        tree = cKDTree(truth[known])
        free = np.ones(len(known), bool)
        order = np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")
        for row in order[sound[order]].tolist():
            near = np.array(tree.query_ball_point(picks[row], tolerance), np.intp)
            near = near[free[near]]
            if not len(near):
                continue
            away = np.hypot(*(truth[known[near]] - picks[row]).T)
            best = int(np.argmin(away))
            free[near[best]] = False
            truth_of[row], distance[row] = known[near[best]], away[best]
    return Matches(name, truth_of, distance, np.asarray(score, np.float64), len(truth_x))


def quality(matches: Sequence[Matches]) -> Quality:
    """Figures over all picks and particles of some micrographs together (one score threshold for all)."""
    n_truth = sum(m.n_truth for m in matches)
    hit = np.concatenate([m.hit for m in matches]) if matches else np.zeros(0, bool)
    score = np.concatenate([m.score for m in matches]) if matches else np.zeros(0)
    distance = np.concatenate([m.distance for m in matches]) if matches else np.zeros(0)
    matched = int(hit.sum())
    n = len(hit)
    ap, threshold, best = _curve(hit, score, n_truth)
    return Quality(
        n, n_truth, matched, _share(matched, n, n_truth), _share(matched, n_truth, n),
        1.0 if n + n_truth == 0 else 2.0 * matched / (n + n_truth),
        float(np.median(distance[hit])) if matched else float("nan"), ap, threshold, best,
    )  # fmt: skip


def _share(part: int, whole: int, other: int) -> float:
    """Of nothing: right where there was nothing on the other side either."""
    return part / whole if whole else float(other == 0)


def precision_recall(
    hit: NDArray[np.bool_], score: FloatArray, n_truth: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision and recall at each score that occurs.

    Parameters
    ----------
    hit : (n,) bool
    score : (n,) float64
        Picks whose score is NaN are left out.
    n_truth : int

    Returns
    -------
    threshold, precision, recall : (k,) float64
        By falling threshold.
    """
    scored = ~np.isnan(score)
    order = np.argsort(-score[scored], kind="stable")
    sorted_score, found = score[scored][order], np.cumsum(hit[scored][order])
    last = np.flatnonzero(np.append(np.diff(sorted_score) != 0, True)) if len(order) else np.zeros(0, np.intp)
    return sorted_score[last], found[last] / (last + 1.0), found[last] / max(1, n_truth)


def _curve(hit: NDArray[np.bool_], score: FloatArray, n_truth: int) -> tuple[float, float, float]:
    threshold, precision, recall = precision_recall(hit, score, n_truth)
    if not len(threshold) or n_truth == 0:
        return float("nan"), float("nan"), float("nan")
    ap = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1))
    return ap, float(threshold[best]), float(f1[best])
