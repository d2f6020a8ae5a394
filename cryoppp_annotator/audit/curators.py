"""How good a curator, or a set of labels, is: precision, recall and F1 against known answers, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.coordinates import FloatArray

#: Two-sided normal quantile of an interval that covers 95 %.
_WIDE = 1.96


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its interval of 95 %; all NaN where nothing was counted."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "–" if math.isnan(self.value) else f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Quality:
    """Answers against the truth.

    Attributes
    ----------
    n : int
        Answers.
    precision, recall, f1 : Share
    """

    n: int
    precision: Share
    recall: Share
    f1: Share


def share_of(hits: float, n: float, n_effective: float | None = None) -> Share:
    """``hits / n`` with Wilson's interval.

    Parameters
    ----------
    hits, n : float
        Sums of weights.
    n_effective : float, optional
        Independent answers that the weighted ones are worth; ``n`` by default.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if n <= 0:
        return Share(math.nan, math.nan, math.nan)
    p, m = hits / n, n if n_effective is None else n_effective
    centre = (p + _WIDE**2 / (2 * m)) / (1 + _WIDE**2 / m)
    half = _WIDE / (1 + _WIDE**2 / m) * math.sqrt(p * (1 - p) / m + _WIDE**2 / (4 * m**2))
    return Share(p, max(0.0, centre - half), min(1.0, centre + half))


def quality_of(said: NDArray[np.bool_], true: NDArray[np.bool_], weight: FloatArray | None = None) -> Quality:
    """Precision, recall and F1 of answers.

    F1 is ``2 J / (1 + J)`` of Jaccard's index J, a share of the places that either calls a particle, and so has J's
    interval. Weighted answers are worth ``(sum w)^2 / sum w^2`` independent ones; that answers on one micrograph are
    more alike than others is not allowed for.

    Parameters
    ----------
    said : (n,) bool
        Whether each place was called a particle.
    true : (n,) bool
        Whether it is one.
    weight : (n,) float64, optional
        How many places of the population each stands for.
    """
    w = np.ones(len(said)) if weight is None else np.asarray(weight, np.float64)
    both, either = said & true, said | true
    jaccard = _weighted(both, either, w)
    f1 = Share(*(2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high)))
    return Quality(len(said), _weighted(both, said, w), _weighted(both, true, w), f1)


def _weighted(hits: NDArray[np.bool_], among: NDArray[np.bool_], weight: FloatArray) -> Share:
    w = weight[among]
    if not len(w):
        return Share(math.nan, math.nan, math.nan)
    return share_of(float(weight[hits].sum()), float(w.sum()), float(w.sum() ** 2 / (w**2).sum()))
