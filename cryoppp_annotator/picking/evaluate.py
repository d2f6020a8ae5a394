"""How good matched picks are: precision, recall, F1, average precision, centring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.coordinates import FloatArray
from .matching import Matches


@dataclass(frozen=True, slots=True)
class Quality:
    """What matching says, of one micrograph or of all.

    Attributes
    ----------
    picks, truth, matched : int
    precision, recall, f1 : float
        0 .. 1. Without picks and without particles: 1.
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
        n,
        n_truth,
        matched,
        _share(matched, n, n_truth),
        _share(matched, n_truth, n),
        1.0 if n + n_truth == 0 else 2.0 * matched / (n + n_truth),
        float(np.median(distance[hit])) if matched else float("nan"),
        ap,
        threshold,
        best,
    )


def _share(part: int, whole: int, other: int) -> float:
    """A ratio; with nothing to divide by it is 1 where the other side has nothing either, else 0."""
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
    sorted_score, n_found = score[scored][order], np.cumsum(hit[scored][order])
    last = np.flatnonzero(np.append(np.diff(sorted_score) != 0, True)) if len(order) else np.zeros(0, np.intp)
    return sorted_score[last], n_found[last] / (last + 1.0), n_found[last] / max(1, n_truth)


def _curve(hit: NDArray[np.bool_], score: FloatArray, n_truth: int) -> tuple[float, float, float]:
    threshold, precision, recall = precision_recall(hit, score, n_truth)
    if not len(threshold) or n_truth == 0:
        return float("nan"), float("nan"), float("nan")
    ap = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1))
    return ap, float(threshold[best]), float(f1[best])
