"""How likely each label is false, moved or double, and each unlabelled place a missed particle.

By Bayes' rule from three things: how a place looks (``looks``), how far the label lies from what the detector sees, and
how near another label is. What is assumed before anything is seen: one label in twenty is false, one in twenty moved,
and one particle in fourteen has no label. These rates set the level of the probabilities, hardly their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..model.coordinates import FloatArray
from .looks import Calibration
from .places import FAR, LabelledPlaces

#: Assumed share of labels that are no particle.
FALSE_RATE = 0.05
#: Assumed share of labels that lie beside their particle.
MOVED_RATE = 0.05
#: Assumed share of particles without a label.
MISSING_RATE = 0.07
#: Share of good labels that lie around their place by the wider normal distribution.
_TAIL = 0.06
#: Width of that distribution, in widths of the narrow one.
_TAIL_WIDTH = 2.2
#: Least standard deviation of good labels from their place, diameters.
_LEAST_SIGMA = 0.03
#: Share of false labels that a picker has centred on what it took for a particle; the others lie anywhere.
_CENTRED = 0.5
#: How often the detector sees nothing at a good label.
_BLIND = 0.02
#: How often the detector sees nothing at a place taken at random.
_NOTHING_THERE = 0.5
#: Two labels nearer than this are one particle twice, diameters.
_DOUBLE = 0.4
#: Where so large a share of labels has such a neighbour, they are not taken for doubles.
_OFTEN = 0.2
#: Probability of a double where two labels lie nearer than half that distance.
_SURELY_DOUBLE = 0.97
#: Probability of a double where two labels lie nearer than that distance.
_LIKELY_DOUBLE = 0.85
#: Probability of a double in data where labels often lie so near.
_PERHAPS_DOUBLE = 0.3


class ErrorKind(StrEnum):
    """What may be wrong."""

    FALSE = "false"
    MOVED = "moved"
    DOUBLE = "double"
    MISSING = "missing"
    GAP = "gap"


@dataclass(frozen=True, eq=False)
class Suspects:
    """Labels and unlabelled places of one micrograph, each with what is most likely wrong about it.

    Attributes
    ----------
    micrograph : str
    x, y : (n,) float64, canonical px
        Where the label lies, or the particle without one.
    to_x, to_y : (n,) float64, canonical px
        Where a label should lie instead, for moved ones; NaN else.
    kind : (n,) object, ErrorKind
    probability : (n,) float64
        That it is wrong in any of the ways.
    label : (n,) intp
        Number of the label; -1 for a place without one.
    place : (n,) intp
        Row of the described place; -1 where there is none.
    """

    micrograph: str
    x: FloatArray
    y: FloatArray
    to_x: FloatArray
    to_y: FloatArray
    kind: NDArray[np.object_]
    probability: FloatArray
    label: NDArray[np.intp]
    place: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.x)


def spread_of(places: Sequence[LabelledPlaces]) -> float:
    """How far good labels lie from their places: sigma of each axis, diameters."""
    offset = np.concatenate([p.offset for p in places]) if places else np.zeros(0)
    offset = offset[np.isfinite(offset)]
    # the median of a Rayleigh distribution is 1.1774 sigma
    return max(_LEAST_SIGMA, float(np.median(offset)) / 1.1774) if len(offset) else 0.07


def suspect(
    places: LabelledPlaces,
    log_odds: FloatArray,
    calibration: Calibration,
    sigma: float,
    margin: float,
    often_double: bool = False,
) -> Suspects:
    """Weigh the labels and free places of one micrograph.

    Parameters
    ----------
    places : LabelledPlaces
    log_odds : (k,) float64
        Of each place: how much likelier such looks are among labelled places.
    calibration : Calibration
    sigma : float
        See :func:`spread_of`.
    margin : float
        Free places nearer to the edge than this, diameters, are no suspects: the labels end there.
    often_double : bool
        Whether labels of this set lie close together as a matter of course.
    """
    kind, wrong = _labels(places, log_odds, sigma)
    _doubles(places, kind, wrong, often_double)
    free = np.flatnonzero(places.free & (places.seen.away > margin))
    rate = min(max(calibration.base_rate, 1e-3), 1.0 - 1e-3)
    missing = _share(np.exp(log_odds[free]) * MISSING_RATE * rate, np.full(len(free), 1.0 - rate))
    n = len(places.x)
    moved = np.array([error == ErrorKind.MOVED for error in kind], bool)
    to = np.full((2, n), np.nan)
    to[:, moved] = np.stack([places.seen.x, places.seen.y])[:, places.place[moved]]
    nowhere = np.full(len(free), np.nan)
    return Suspects(
        places.name,
        np.r_[places.x, places.seen.x[free]],
        np.r_[places.y, places.seen.y[free]],
        np.r_[to[0], nowhere],
        np.r_[to[1], nowhere],
        np.concatenate([kind, np.full(len(free), ErrorKind.MISSING, object)]),
        np.r_[wrong, missing],
        np.r_[np.arange(n), np.full(len(free), -1)],
        np.r_[places.row, free],
    )


def _share(part: FloatArray, rest: FloatArray) -> FloatArray:
    return np.asarray(part / (part + rest))


def _labels(places: LabelledPlaces, log_odds: FloatArray, sigma: float) -> tuple[NDArray[np.object_], FloatArray]:
    """Kind, false or moved, and probability of it, for each label."""
    n = len(places.x)
    odds = np.ones(n)
    odds[places.row >= 0] = np.exp(log_odds[places.row[places.row >= 0]])
    offset = places.offset
    # both densities of the distance grow with it from 0 at first; what is left is their ratio, also at 0
    evenly = np.full(n, 2.0 / FAR**2)
    near = _near(offset, sigma)
    good = (1.0 - FALSE_RATE - MOVED_RATE) * odds * near
    moved, false = MOVED_RATE * odds * evenly, FALSE_RATE * (_CENTRED * near + (1.0 - _CENTRED) * evenly)
    nothing = ~np.isfinite(offset)
    good[nothing] = (1.0 - FALSE_RATE - MOVED_RATE) * odds[nothing] * _BLIND
    moved[nothing], false[nothing] = 0.0, FALSE_RATE * _NOTHING_THERE
    good[places.row < 0] = 0.0  # outside the picture
    wrong = (moved + false) / np.maximum(good + moved + false, 1e-300)
    return np.where(moved > false, ErrorKind.MOVED, ErrorKind.FALSE).astype(object), wrong


def _near(offset: FloatArray, sigma: float) -> FloatArray:
    """Density of the distance of a good label from its place, per diameter, divided by that distance."""
    wide = _TAIL_WIDTH * sigma
    return np.asarray(
        (1.0 - _TAIL) / sigma**2 * np.exp(-0.5 * (offset / sigma) ** 2)
        + _TAIL / wide**2 * np.exp(-0.5 * (offset / wide) ** 2)
    )


def crowded(places: Sequence[LabelledPlaces]) -> bool:
    """Whether labels lie so close together as a matter of course that closeness alone says little."""
    n = sum(len(p.x) for p in places)
    close = sum(len({row for pair in _close_pairs(p) for row in pair}) for p in places)
    return n > 0 and close > _OFTEN * n


def _close_pairs(places: LabelledPlaces) -> list[tuple[int, int]]:
    sound = np.flatnonzero(np.isfinite(places.x) & np.isfinite(places.y))
    if len(sound) < 2:
        return []
    tree = cKDTree(np.column_stack([places.x, places.y])[sound])
    return [(int(sound[i]), int(sound[j])) for i, j in tree.query_pairs(_DOUBLE * places.diameter)]


def _doubles(places: LabelledPlaces, kind: NDArray[np.object_], wrong: FloatArray, often: bool) -> None:
    """Of two labels on one particle the one that fits it worse is the double."""
    offset = np.where(np.isfinite(places.offset), places.offset, np.inf)
    for pair in _close_pairs(places):
        worse = max(pair, key=lambda row: (offset[row], row))
        away = np.hypot(*(np.subtract(*(np.array([places.x[row], places.y[row]]) for row in pair))))
        closely = away < 0.5 * _DOUBLE * places.diameter
        chance = _PERHAPS_DOUBLE if often else _SURELY_DOUBLE if closely else _LIKELY_DOUBLE
        if chance > 0.5 or chance > wrong[worse]:
            kind[worse], wrong[worse] = ErrorKind.DOUBLE, max(chance, float(wrong[worse]))
