"""A queue of undecided candidates, nearest to the threshold first: answered one by one, or a page of them at once.

A page of forty shows candidates of one side of the threshold: one key answers them as the threshold would, a click each
the exceptions. Measured by a simulated curator: ``benchmarks/curating.py``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ...audit.suspects import ErrorKind
from ...errors import Refused
from ...model.coordinates import FloatArray
from ...model.curation import Decision
from ...model.which import Which
from ..core.session import Session
from .review_item import ReviewItem

#: Number that stands for all undecided candidates among the sets one can choose.
UNDECIDED = -1
#: What it is called.
UNDECIDED_NAME = "undecided candidates"
#: Candidates in the queue at most; farther from the threshold there is little to settle.
MOST = 2_000
#: A probability is never surer, so that its log odds are finite.
_SUREST = 1e-4
#: Log odds at the ends of the range of scores that are no probabilities.
_FARTHEST = 4.0


def undecided_items(
    session: Session, pick_sets: tuple[int, ...] | None, threshold: float, *, probabilities: bool
) -> list[ReviewItem]:
    """Undecided candidates of some pick sets over the project, nearest to a threshold first.

    Parameters
    ----------
    pick_sets : tuple of int or None
        With scores of one scale; None = all.
    threshold : float
        Candidates below it are taken for no particles unless somebody says otherwise.
    probabilities : bool
        Whether the scores are probabilities.

    Raises
    ------
    Refused
        Nothing is undecided there.
    """
    which = Which(decisions=(Decision.UNDECIDED,), pick_sets=pick_sets)
    p = session.store.particles_where(which)
    p = p.take(np.flatnonzero(np.isfinite(p.score)))
    if not len(p):
        raise Refused("no undecided candidate with a score is left: propose some first")
    wrong = no_particle(p.score, threshold, probabilities=probabilities)
    order = np.lexsort((p.id, np.abs(wrong - 0.5)))[:MOST]
    return [
        ReviewItem(
            int(p.micrograph[i]),
            int(p.id[i]),
            float(p.x[i]),
            float(p.y[i]),
            float("nan"),
            float("nan"),
            ErrorKind.FALSE,
            float(wrong[i]),
            reason=f"Undecided, {'below' if wrong[i] >= 0.5 else 'above'} the threshold: score {p.score[i]:.4g}.",
        )
        for i in order.tolist()
    ]


def no_particle(score: FloatArray, threshold: float, *, probabilities: bool) -> FloatArray:
    """How likely each candidate is no particle, (n,): a half at the threshold, more below it.

    Parameters
    ----------
    score : (n,) float64
    threshold : float
    probabilities : bool
    """
    if probabilities:
        p = np.clip(np.append(score, threshold), _SUREST, 1.0 - _SUREST)
        odds = np.log(p / (1.0 - p))
        away = odds[:-1] - odds[-1]
    else:
        reach = float(np.abs(score - threshold).max()) or 1.0
        away = _FARTHEST * (score - threshold) / reach
    below, wrong = np.asarray(score < threshold), expit(-away)
    return np.asarray(np.where(below, np.maximum(wrong, 0.5), np.minimum(wrong, np.nextafter(0.5, 0.0))))
