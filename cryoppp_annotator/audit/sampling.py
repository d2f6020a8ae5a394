"""A random sample of micrographs that looks like all of them: stratified by how dense they are and by defocus.

Cochran, *Sampling Techniques*, 3rd edition (1977), chapter 5: proportional allocation, weights N_h / n_h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused
from ..model.coordinates import FloatArray

#: Micrographs that a stratum should have at least, on average; with fewer there are fewer strata.
_IN_STRATUM = 4
#: Parts that density, and defocus, is divided into at most.
_PARTS = 3


@dataclass(frozen=True, eq=False)
class Sample:
    """Chosen units of a population.

    Attributes
    ----------
    chosen : (n,) intp
        Their numbers, in order.
    weight : (n,) float64
        How many of the population each stands for.
    stratum : (n,) intp
    """

    chosen: NDArray[np.intp]
    weight: FloatArray
    stratum: NDArray[np.intp]


def strata(density: FloatArray, defocus: FloatArray) -> NDArray[np.intp]:
    """The stratum of each micrograph, (n,) intp from 0.

    Parameters
    ----------
    density : (n,) float64
        Picks by area.
    defocus : (n,) float64
        Of any unit; NaN = not known, a part of its own.
    """
    n = len(density)
    parts = min(_PARTS, max(1, int(np.sqrt(n / _IN_STRATUM))))
    known = np.isfinite(defocus)
    of_defocus = np.full(n, parts, np.intp)
    of_defocus[known] = _part(defocus[known], parts)
    both = _part(density, parts) * (parts + 1) + of_defocus
    return np.asarray(np.unique(both, return_inverse=True)[1], np.intp)


def _part(values: FloatArray, parts: int) -> NDArray[np.intp]:
    """Parts of equal size by rank; ties are parted as they come."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(rank * parts // max(1, len(values)), np.intp)


def stratified(stratum: NDArray[np.intp], n: int, seed: int) -> Sample:
    """Choose ``n`` units, of each stratum its share (at least one, where ``n`` allows for it).

    Parameters
    ----------
    stratum : (N,) intp
    n : int
        At most N are chosen.
    seed : int

    Raises
    ------
    Refused
        There is nothing to choose from, or n is below 1.
    """
    total = len(stratum)
    if not total or n < 1:
        raise Refused("there is nothing to take a sample of")
    n = min(n, total)
    names, size = np.unique(stratum, return_counts=True)
    if n < len(names):  # too few for all strata: one of them
        names, size, stratum = np.zeros(1, np.intp), np.array([total]), np.zeros(total, np.intp)
    share = size * n / total
    take = np.minimum(size, np.maximum(1, np.floor(share).astype(np.intp)))
    while take.sum() != n:
        step = 1 if take.sum() < n else -1
        free = (take < size) if step > 0 else (take > 1)
        gap = np.where(free, step * (share - take), -np.inf)
        take[int(gap.argmax())] += step
    rng = np.random.default_rng(seed)
    chosen = np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(stratum == h))[:k] for h, k in zip(names, take, strict=True)])
    )
    where = np.searchsorted(names, stratum[chosen])
    return Sample(chosen, (size / take)[where], stratum[chosen])
