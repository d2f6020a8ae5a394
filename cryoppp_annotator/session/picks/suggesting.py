"""Where to put the threshold of a picker's scores, and what the picks above it are expected to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import extensions
from ...picking.calibration import Expected, best_expected, expected, parting
from ..core.session import Session


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A threshold of scores.

    Attributes
    ----------
    threshold : float
    probabilities : (n,) float64 or None
        The scores, where they are probabilities: what is above a threshold can be foretold then.
    """

    threshold: float
    probabilities: NDArray[np.float64] | None = None

    def at(self, threshold: float) -> Expected | None:
        """What the picks at and above a threshold are expected to be; None where the scores do not tell."""
        return None if self.probabilities is None else expected(self.probabilities, threshold)


def suggest(scores: NDArray[np.float64], *, probabilities: bool) -> Suggestion:
    """Suggest a threshold: of the best expected F1 for probabilities, else where the scores part into two kinds.

    Parameters
    ----------
    scores : (n,) float64
        Of the candidates of one picker, no NaN; at least one.
    probabilities : bool
        Whether they are probabilities that a person would accept each.
    """
    best = best_expected(scores) if probabilities else None
    return Suggestion(parting(scores)) if best is None else Suggestion(best.threshold, scores)


def are_probabilities(session: Session, pick_sets: Iterable[int] | None) -> bool:
    """Whether all these pick sets (None = any) have scores that are probabilities."""
    if pick_sets is None:
        return False
    known = extensions.pickers()
    pickers = {session.pick_sets[i].picker for i in pick_sets if i in session.pick_sets}
    return bool(pickers) and all(getattr(known.get(name), "gives_probabilities", False) for name in pickers)
