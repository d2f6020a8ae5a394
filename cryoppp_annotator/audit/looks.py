"""How likely each place carries a label, judged by its looks, as the labels of *other* micrographs teach it.

Two mixtures of averages are found, of labelled and of unlabelled places (``picking.views``); the likelihoods under
them, the detector's score and the rings around a place are what kernel ridge regression is fitted to. Thousands of
labels, a few of them wrong, are learned from: the regression smooths over the wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from ..model.context import JobContext
from ..model.coordinates import FloatArray
from ..picking.seen import Seen
from ..picking.views import Views, find_views, likelihoods, pictures
from .places import LabelledPlaces

#: Most places that each mixture is fitted to.
_MOST_PICTURES = 3000
#: Most places that the regression is fitted to.
_MOST_ROWS = 12000
#: Kernel width, as a factor of the squared distance per feature.
_GAMMA = 0.3
#: Places that the kernel compares with.
_LANDMARKS = 1000
#: Penalty of the regression.
_RIDGE = 5.0
#: Weights of the score, of the likelihood and of the ratio of likelihoods.
_WEIGHTS = (0.18, 0.35, 0.35)
#: A standardised feature is cut off here, standard deviations.
_FAR = 5.0


@dataclass(frozen=True, eq=False)
class Looks:
    """What labelled places look like, learned.

    Attributes
    ----------
    particle, other : Views
        Of labelled and of unlabelled places.
    landmarks : (m, k) float32
    weights : (m,) float64
    bias : float
    """

    particle: Views
    other: Views
    landmarks: NDArray[np.float32]
    weights: FloatArray
    bias: float


def learn(places: Sequence[LabelledPlaces], chosen: Sequence[NDArray[np.bool_]], context: JobContext) -> Looks:
    """Learn from labels.

    Parameters
    ----------
    places : sequence of LabelledPlaces
    chosen : sequence of (k,) bool
        The places of each that are learned from: labelled ones and free ones.
    context : JobContext
        The same labels and seed give the same.

    Raises
    ------
    Cancelled
    """
    rng = context.rng()
    with threadpool_limits(1):
        particle = _views(places, [c & p.labelled for c, p in zip(chosen, places, strict=True)], rng, context)
        other = _views(places, [c & ~p.labelled for c, p in zip(chosen, places, strict=True)], rng, context)
        numbers = [_numbers(p.seen, particle, other, context)[c] for p, c in zip(places, chosen, strict=True)]
        scaled = np.concatenate(numbers)
        label = np.concatenate([p.labelled[c] for p, c in zip(places, chosen, strict=True)]).astype(np.float64)
        if len(scaled) > _MOST_ROWS:
            some = np.sort(rng.choice(len(scaled), _MOST_ROWS, replace=False))
            scaled, label = scaled[some], label[some]
        context.check()
        landmarks = scaled[np.sort(rng.choice(len(scaled), min(_LANDMARKS, len(scaled)), replace=False))]
        bias, weights = _ridge(scaled, label, landmarks, context)
    return Looks(particle, other, landmarks, weights, bias)


def _views(
    places: Sequence[LabelledPlaces],
    chosen: Sequence[NDArray[np.bool_]],
    rng: np.random.Generator,
    context: JobContext,
) -> Views:
    seen = []
    for of_micrograph, rows in zip(places, chosen, strict=True):
        white, x, y, diameter = of_micrograph.seen.places
        seen.append(pictures(white, x[rows], y[rows], diameter))
    all_of_them = np.concatenate(seen)
    if len(all_of_them) > _MOST_PICTURES:
        all_of_them = all_of_them[rng.choice(len(all_of_them), _MOST_PICTURES, replace=False)]
    return find_views(all_of_them, np.ones(len(all_of_them)), rng, context)


def _numbers(seen: Seen, particle: Views, other: Views, context: JobContext) -> NDArray[np.float32]:
    """Numbers of all places, standardised within the micrograph and weighted, (k, n) float32."""
    likely, unlike = likelihoods((particle, other), *seen.places, context=context)
    few = np.column_stack([seen.numbers[:, 0], likely, likely - unlike])
    rings = seen.numbers[:, 2:]
    scaled = [_standard(few) * np.array(_WEIGHTS), _standard(rings) / math.sqrt(rings.shape[1])]
    return np.concatenate(scaled, axis=1).astype(np.float32)


def _standard(numbers: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.clip((numbers - numbers.mean(axis=0)) / (numbers.std(axis=0) + 1e-6), -_FAR, _FAR))


def _kernel(a: NDArray[np.float32], b: NDArray[np.float32]) -> FloatArray:
    return np.asarray(np.exp(-_GAMMA * cdist(a, b, "sqeuclidean")))


def _ridge(
    numbers: NDArray[np.float32], label: FloatArray, landmarks: NDArray[np.float32], context: JobContext
) -> tuple[float, FloatArray]:
    """Kernel ridge regression on landmarks (Nystroem): bias, weights of the landmarks (m,)."""
    values, vectors = scipy.linalg.eigh(_kernel(landmarks, landmarks))
    whiten = vectors / np.sqrt(np.maximum(values, 1e-5))
    context.check()
    columns = _kernel(numbers, landmarks) @ whiten
    bias = float(label.mean())
    matrix = columns.T @ columns
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    context.check()
    weights = scipy.linalg.solve(matrix, columns.T @ (label - bias), assume_a="pos")
    return bias, np.asarray(whiten @ weights)


def judge(looks: Looks, seen: Seen, context: JobContext) -> FloatArray:
    """How much each place looks like a labelled one, (k,) float64: some 0 for no, some 1 for yes; not calibrated.

    Raises
    ------
    Cancelled
    """
    if not len(seen):
        return np.zeros(0)
    with threadpool_limits(1):
        numbers = _numbers(seen, looks.particle, looks.other, context)
        return np.asarray(looks.bias + _kernel(numbers, looks.landmarks) @ looks.weights)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Makes of a judgement the probability that a place is labelled.

    Attributes
    ----------
    slope, offset : float
        Of the logistic function.
    base_rate : float
        Share of labelled places among those it was fitted to.
    """

    slope: float
    offset: float
    base_rate: float

    def log_odds(self, judged: FloatArray) -> FloatArray:
        """Logarithm of how much likelier such looks are among labelled places than among others, (k,)."""
        rate = min(max(self.base_rate, 1e-3), 1.0 - 1e-3)
        return np.asarray(self.slope * judged + self.offset - math.log(rate / (1.0 - rate)))

    def probability(self, judged: FloatArray) -> FloatArray:
        """That such a place is labelled, (k,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(self.slope * judged + self.offset, -50.0, 50.0))))


def calibrate(judged: FloatArray, labelled: NDArray[np.bool_]) -> Calibration:
    """Fit the logistic function (J. Platt, Advances in Large Margin Classifiers (1999) 61).

    Parameters
    ----------
    judged : (k,) float64
        Of places that were not learned from.
    labelled : (k,) bool
    """
    label = labelled.astype(np.float64)

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        z = at[0] * judged + at[1]
        error = 1.0 / (1.0 + np.exp(-np.clip(z, -50.0, 50.0))) - label
        off = at - np.array([8.0, -4.0])
        value = float(np.sum(np.logaddexp(0.0, z) - label * z) + 0.01 * off @ off)
        return value, np.array([error @ judged, error.sum()]) + 0.02 * off

    best = minimize(loss, np.array([8.0, -4.0]), jac=True, method="L-BFGS-B").x
    return Calibration(max(float(best[0]), 0.4), float(best[1]), float(label.mean()))
