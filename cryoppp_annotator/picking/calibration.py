"""From a score that orders candidates to the probability that a person would accept each; what a threshold is worth.

Decisions are not a fair sample of the candidates. A person decides about picks near the threshold, accepts clear ones,
and rejects what disturbs among the accepted ones. The share of rejections among the decisions therefore says little
about the share of false candidates. So the decisions give the scores of accepted and of rejected picks, and how steeply
the probability rises with the score. The scores of *all* candidates give how common either kind is, and so where the
probability is one half: two normal distributions are fitted, and the decisions say which of them is which. This prior
weighs as much as some seventy decisions, so that many decisions overrule it. Where particles are rare (fewer than one
candidate in twenty) the two kinds cannot be told apart in this way, and too many particles are expected.

The best threshold is the one of the best expected F1: ``n`` candidates above it of which ``sum(p)`` are particles,
among ``sum(p)`` of all. Measured in ``benchmarks/threshold.py``.

Platt's logistic function: J. Platt, Advances in Large Margin Classifiers (1999) 61. Otsu: IEEE Trans. Systems,
Man and Cybernetics 9 (1979) 62.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from skimage import filters

from ..model.coordinates import FloatArray

# scikit-image has no types
_filters: Any = filters
#: Slope of the logistic function that is expected, per standard deviation of all scores.
_SLOPE = 4.0
#: Log odds that are expected at the boundary of the two kinds.
_OFFSET = 0.15
#: How firmly the slope is expected: inverse variance.
_SLOPE_HELD = 3.0
#: How firmly the log odds at the boundary are expected: inverse variance; as much as some seventy decisions.
_OFFSET_HELD = 70.0
#: Log odds at the edge of the micrograph, which can only take away.
_EDGE = -1.0
#: How firmly they are expected.
_EDGE_HELD = 1.0
#: Steps towards the two kinds of scores.
_STEPS = 60
#: Share of the candidates that are particles: the first guess.
_SHARE = 0.3
#: Its limits.
_SHARE_LIMITS = (0.005, 0.9)
#: A slope is never less: decisions that contradict the picture must not turn the order round.
_LEAST_SLOPE = 0.3


class Calibration(NamedTuple):
    """A logistic function of a score and of the nearness to the edge.

    Attributes
    ----------
    slope, edge_slope, offset : float
    """

    slope: float
    edge_slope: float
    offset: float


def parting(scores: FloatArray) -> float:
    """The level between the two kinds of values that scores (n,) are of."""
    return float(scores[0]) if np.ptp(scores) <= 0 else float(_filters.threshold_otsu(scores))


class Kind(NamedTuple):
    """One of two kinds of candidates.

    Attributes
    ----------
    share : float
        Of all candidates.
    mean, spread : float
        Of its scores.
    """

    share: float
    mean: float
    spread: float

    def log_density(self, scores: FloatArray) -> FloatArray:
        """Of its share, but for a constant, (n,)."""
        return np.asarray(np.log(self.share / self.spread) - 0.5 * ((scores - self.mean) / self.spread) ** 2)


def boundary(of_all: FloatArray, score: FloatArray, accepted: NDArray[np.bool_]) -> float:
    """The score at which a candidate is as likely of the accepted kind as of the rejected one.

    Parameters
    ----------
    of_all : (m,) float64
        Scores of all candidates.
    score, accepted : (n,)
        Of the decided ones.
    """
    low, high = _first_kinds(of_all, score, accepted)
    for _ in range(_STEPS):
        odds = high.log_density(of_all) - low.log_density(of_all)
        is_high = np.where(of_all <= low.mean, 0.0, np.where(of_all >= high.mean, 1.0, expit(odds)))
        share = float(np.clip(is_high.mean(), *_SHARE_LIMITS))
        low = _kind(1.0 - share, of_all, 1.0 - is_high, score[~accepted])
        high = _kind(share, of_all, is_high, score[accepted])
    between = np.linspace(low.mean, high.mean, 200)
    return float(between[np.abs(high.log_density(between) - low.log_density(between)).argmin()])


def _first_kinds(of_all: FloatArray, score: FloatArray, accepted: NDArray[np.bool_]) -> tuple[Kind, Kind]:
    spread = 0.5 * float(of_all.std()) + 1e-9
    means = [float(score[~accepted].mean()), float(score[accepted].mean())] if 0 < accepted.sum() < len(score) else []
    if not means or means[1] <= means[0]:  # the decisions contradict the picture
        above = of_all > parting(of_all)
        means = [float(of_all[part].mean()) if part.any() else float(of_all.mean()) for part in (~above, above)]
    return Kind(1.0 - _SHARE, means[0], spread), Kind(_SHARE, means[1], spread)


def _kind(share: float, of_all: FloatArray, weight: FloatArray, decided: FloatArray) -> Kind:
    values, weights = np.r_[of_all, decided], np.r_[weight, np.ones(len(decided))]
    mean = float(np.average(values, weights=weights))
    return Kind(share, mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights))) + 1e-4)


def calibrate(score: FloatArray, edge: FloatArray, accepted: NDArray[np.bool_], of_all: FloatArray) -> Calibration:
    """Turn scores into probabilities.

    Parameters
    ----------
    score : (n,) float64
        Of the decided candidates, as they would be had nobody decided about them.
    edge : (n,) float64
        1 at the edge of the micrograph .. 0 inside.
    accepted : (n,) bool
    of_all : (m,) float64
        Scores of all candidates, decided or not.

    Returns
    -------
    Calibration
    """
    middle, spread = boundary(of_all, score, accepted), float(of_all.std()) + 1e-9
    columns = np.column_stack([(score - middle) / spread, edge])
    n_yes = int(accepted.sum())
    # as Platt's, but with half a count (Krichevsky and Trofimov's): nobody is that sure
    yes, no = (n_yes + 0.5) / (n_yes + 1.0), 0.5 / (len(accepted) - n_yes + 1.0)
    slopes, offset = logistic(
        columns,
        np.where(accepted, yes, no),
        np.ones(len(accepted)),
        np.array([_SLOPE, _EDGE, _OFFSET]),
        np.array([_SLOPE_HELD, _EDGE_HELD, _OFFSET_HELD]),
    )
    slope = max(float(slopes[0]), _LEAST_SLOPE) / spread
    return Calibration(slope, min(float(slopes[1]), 0.0), offset - slope * middle)


def logistic(
    columns: NDArray[np.float64], label: FloatArray, weight: FloatArray, prior: FloatArray, held: FloatArray
) -> tuple[FloatArray, float]:
    """Logistic regression held near what is expected.

    Parameters
    ----------
    columns : (n, k) float64
    label, weight : (n,) float64
        Labels between 0 and 1.
    prior, held : (k + 1,) float64
        Expected slopes and offset, and their inverse variances.

    Returns
    -------
    slopes : (k,) float64
    offset : float
    """

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        z = columns @ at[:-1] + at[-1]
        off = at - prior
        error = weight * (expit(z) - label)
        value = float(weight @ (np.logaddexp(0.0, z) - label * z) + 0.5 * off @ (held * off))
        return value, np.append(columns.T @ error, error.sum()) + held * off

    fit = minimize(loss, prior, jac=True, method="L-BFGS-B")
    return np.asarray(fit.x[:-1]), float(fit.x[-1])


@dataclass(frozen=True, slots=True)
class Expected:
    """What the picks at and above a threshold are expected to be.

    Attributes
    ----------
    threshold : float
    precision, recall, f1 : float
        Recall of the particles among the candidates; what no candidate lies on is not counted.
    """

    threshold: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0


def expected(probability: FloatArray, threshold: float) -> Expected | None:
    """What the candidates at and above a threshold are expected to be; None where nothing is above it.

    Parameters
    ----------
    probability : (n,) float64
        Of every candidate.
    threshold : float
    """
    above = probability[probability >= threshold]
    total = float(probability.sum())
    return Expected(threshold, float(above.mean()), float(above.sum()) / total) if len(above) and total else None


def best_expected(probability: FloatArray) -> Expected | None:
    """The threshold of the best expected F1; None without candidates.

    Parameters
    ----------
    probability : (n,) float64
        Of every candidate.
    """
    ordered = np.sort(probability[np.isfinite(probability)])[::-1]
    if not len(ordered) or not ordered[0] > 0:
        return None
    sure = np.cumsum(ordered)
    f1 = 2.0 * sure / (np.arange(1, len(ordered) + 1) + sure[-1])
    return expected(ordered, float(ordered[int(f1.argmax())]))
