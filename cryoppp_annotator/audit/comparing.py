"""How two sets of picks on the same micrographs differ: what one has and the other not, centring, agreement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.coordinates import FloatArray
from ..picking.evaluate import Quality, quality
from ..picking.matching import Matches, match
from .completeness import Completeness, completeness

#: Bounds of the distances from the edge that are distinguished, diameters.
EDGE_BOUNDS = (0.0, 0.5, 1.0, 2.0, 4.0, math.inf)
#: Parts that the scores are divided into, with equally many picks each.
_SCORE_PARTS = 5


@dataclass(frozen=True, eq=False)
class TwoSets:
    """A reference and another set on one micrograph.

    Attributes
    ----------
    name : str
    shape : (rows, columns), px
    diameter : float, px
    reference : (m, 2) float64, xy, canonical px
    other : (n, 2) float64, xy, canonical px
    matches : Matches
        For each pick of the other set the one of the reference.
    n_neither : int
        Candidates that both sets looked at and neither accepted.
    """

    name: str
    shape: tuple[int, int]
    diameter: float
    reference: FloatArray
    other: FloatArray
    matches: Matches
    n_neither: int = 0

    @property
    def only_reference(self) -> NDArray[np.intp]:
        """Rows of the reference without a partner."""
        rest = np.ones(len(self.reference), bool)
        rest[self.matches.truth_of[self.matches.hit]] = False
        return np.flatnonzero(rest)

    @property
    def only_other(self) -> NDArray[np.intp]:
        """Rows of the other set without a partner."""
        return np.flatnonzero(~self.matches.hit)

    @property
    def offsets(self) -> FloatArray:
        """From the reference to its partner, (k, 2) xy, px."""
        hit = self.matches.hit
        return np.asarray(self.other[hit] - self.reference[self.matches.truth_of[hit]])

    @property
    def disagreement(self) -> int:
        """Number of picks only one set has."""
        return len(self.only_reference) + len(self.only_other)


def compare_sets(
    name: str,
    shape: tuple[int, int],
    diameter: float,
    reference: FloatArray,
    other: FloatArray,
    score: FloatArray,
    tolerance: float,
    *,
    refused: tuple[FloatArray, FloatArray] | None = None,
) -> TwoSets:
    """Match two sets.

    Parameters
    ----------
    name : str
    shape : (rows, columns), px
    diameter : float, px
    reference : (m, 2) float64, xy, canonical px
    other : (n, 2) float64, xy, canonical px
    score : (n,) float64
        Of the other set; NaN for none.
    tolerance : float, diameters
    refused : (of the reference (a, 2), of the other (b, 2)), optional
        Candidates each set knows and does not accept.
    """
    reach = tolerance * diameter
    pairs = match(other[:, 0], other[:, 1], score, reference[:, 0], reference[:, 1], reach, name)
    neither = 0
    if refused is not None:
        # what one refuses and the other accepts is counted already, as a pick of one set alone
        mine, its = _unlike(refused[0], other, reach), _unlike(refused[1], reference, reach)
        both = match(its[:, 0], its[:, 1], np.zeros(len(its)), mine[:, 0], mine[:, 1], reach)
        neither = len(mine) + len(its) - int(both.hit.sum())
    return TwoSets(name, shape, diameter, reference, other, pairs, neither)


def _unlike(points: FloatArray, accepted: FloatArray, reach: float) -> FloatArray:
    hit = match(points[:, 0], points[:, 1], np.zeros(len(points)), accepted[:, 0], accepted[:, 1], reach).hit
    return np.asarray(points[~hit])


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a comparison says, of one micrograph or of all.

    Attributes
    ----------
    quality : Quality
        Of the other set, with the reference for the truth.
    only_reference, only_other : int
    shift_x, shift_y, shift_error : float, px
        Mean offset of matched picks (the other set less the reference), and its standard error; NaN without.
    spread : float, px
        Standard deviation of the offset, each axis; NaN without.
    kappa : float
        Cohen's, over all candidates of either set; NaN where neither set says what it refused.
    """

    quality: Quality
    only_reference: int
    only_other: int
    shift_x: float
    shift_y: float
    shift_error: float
    spread: float
    kappa: float

    @property
    def completeness(self) -> Completeness | None:
        """How many particles nobody picked, where both sets are independent; None without a common pick."""
        both = self.quality.matched
        return completeness(both + self.only_reference, both + self.only_other, both)


def agreement(sets: Sequence[TwoSets]) -> Agreement:
    """Figures over some micrographs together."""
    offsets = np.concatenate([pair.offsets for pair in sets]) if sets else np.zeros((0, 2))
    only_reference = sum(len(pair.only_reference) for pair in sets)
    only_other = sum(len(pair.only_other) for pair in sets)
    n = len(offsets)
    shift = offsets.mean(axis=0) if n else np.full(2, np.nan)
    spread = float(np.sqrt(((offsets - shift) ** 2).sum() / (2.0 * max(n - 1, 1)))) if n else float("nan")
    return Agreement(
        quality([pair.matches for pair in sets]),
        only_reference,
        only_other,
        float(shift[0]),
        float(shift[1]),
        spread / math.sqrt(n) if n else float("nan"),
        spread,
        kappa(n, only_reference, only_other, sum(pair.n_neither for pair in sets)),
    )


def kappa(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Cohen's kappa of two judges of the same candidates (J. Cohen, Educ. Psychol. Meas. 20 (1960) 37).

    NaN where nothing was refused by both: without such candidates chance agreement has no meaning.
    """
    total = both + only_first + only_second + neither
    if not neither or not total:
        return float("nan")
    first, second = (both + only_first) / total, (both + only_second) / total
    by_chance = first * second + (1.0 - first) * (1.0 - second)
    return ((both + neither) / total - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Figures of the picks in one range of scores or of distances from the edge.

    Attributes
    ----------
    low, high : float
        The range, ``low <= value < high``; diameters where it is a distance.
    reference, other, matched : int
        Picks in the range; matched ones are those of the other set.
    precision, recall : float
        NaN where there is nothing to tell it from (a score says nothing of recall).
    centring_error_px : float
        Median distance of matched picks; NaN without.
    shift_x, shift_y : float, px
    """

    low: float
    high: float
    reference: int
    other: int
    matched: int
    precision: float
    recall: float
    centring_error_px: float
    shift_x: float
    shift_y: float


def by_edge(sets: Sequence[TwoSets]) -> list[Part]:
    """Figures against the distance from the edge of the micrograph, diameters."""
    return [
        _part(sets, low, high, lambda pair: _from_edge(pair, pair.other), lambda pair: _from_edge(pair, pair.reference))
        for low, high in itertools.pairwise(EDGE_BOUNDS)
    ]


def by_score(sets: Sequence[TwoSets]) -> list[Part]:
    """Figures against the score of the other set, best last; empty where it has no scores."""
    score = np.concatenate([pair.matches.score for pair in sets]) if sets else np.zeros(0)
    score = score[np.isfinite(score)]
    if not len(score):
        return []
    bounds = np.unique(np.quantile(score, np.linspace(0.0, 1.0, _SCORE_PARTS + 1)))
    bounds = np.append(bounds[:-1], np.inf) if len(bounds) > 1 else np.append(bounds, np.inf)
    return [
        _part(sets, low, high, lambda pair: pair.matches.score, None)
        for low, high in zip(bounds.tolist(), bounds[1:].tolist(), strict=False)
    ]


def _from_edge(pair: TwoSets, points: FloatArray) -> FloatArray:
    height, width = pair.shape
    x, y = points.T
    # what lies outside the picture is at its edge
    return np.asarray(np.maximum(0.0, np.minimum.reduce([x, width - 1 - x, y, height - 1 - y]) / pair.diameter))


def _part(
    sets: Sequence[TwoSets],
    low: float,
    high: float,
    of_other: Callable[[TwoSets], FloatArray],
    of_reference: Callable[[TwoSets], FloatArray] | None,
) -> Part:
    n_other = n_reference = n_reached = 0
    offsets = []
    for pair in sets:
        within = _within(of_other(pair), low, high)
        n_other += int(within.sum())
        offsets.append(pair.offsets[within[pair.matches.hit]])
        if of_reference is not None:
            in_range = _within(of_reference(pair), low, high)
            reached = np.zeros(len(in_range), bool)
            reached[pair.matches.truth_of[pair.matches.hit]] = True
            n_reference += int(in_range.sum())
            n_reached += int((in_range & reached).sum())
    all_of_them = np.concatenate(offsets)
    n = len(all_of_them)
    shift = all_of_them.mean(axis=0) if n else np.full(2, np.nan)
    return Part(
        low,
        high,
        n_reference,
        n_other,
        n,
        n / n_other if n_other else float("nan"),
        n_reached / n_reference if n_reference else float("nan"),
        float(np.median(np.hypot(*all_of_them.T))) if n else float("nan"),
        float(shift[0]),
        float(shift[1]),
    )


def _within(values: FloatArray, low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((values >= low) & (values < high), np.bool_)
