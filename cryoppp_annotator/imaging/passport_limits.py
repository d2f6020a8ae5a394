"""Which micrographs of a set seem unusable: robust outliers, with floors below which a difference does not matter.

Never applied automatically: a suggestion names its reason, and a person decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = Mapping[str, float]
#: Fewer micrographs have no usual value.
_LEAST_SET = 5
#: Correlation of thumbnails from which two are one exposure.
_SAME = 0.9


@dataclass(frozen=True, slots=True)
class Limit:
    """One number, and from where on it makes a micrograph suspect.

    Attributes
    ----------
    column : str
    above : bool
        Whether large values are bad, else small ones.
    floor : float
        No value on the good side of it is bad, however unusual.
    always : float
        Every value beyond it is bad, however usual; NaN = none.
    logarithm : bool
        Whether ratios are compared, not differences.
    reason : str
    far : float
        Robust s.d. from the median from which a number is an outlier.
    """

    column: str
    above: bool
    floor: float
    always: float
    logarithm: bool
    reason: str
    far: float = 5.0


#: The limits; the same for all data sets.
LIMITS = (
    Limit("ice_ring", True, 0.25, 1.0, False, "crystalline ice (ring at 3.7 Å)"),
    Limit("diffraction_spots", True, 20.0, 500.0, False, "diffraction spots of ice"),
    Limit("ring_anisotropy", True, 0.5, math.nan, False, "drift (rings weaker in one direction)"),
    Limit("fit_resolution_A", True, 8.0, 15.0, True, "rings end early"),
    Limit("relative_thickness", True, 0.15, math.nan, False, "much darker than the others (thick ice)"),
    Limit("ring_strength", True, 0.0, math.nan, True, "rings far stronger than in the others (carbon)"),
    Limit("defocus_A", True, 35000.0, 55000.0, False, "defocus far from the others", 3.5),
    Limit("defocus_A", False, 5000.0, math.nan, True, "defocus far from the others", 3.5),
    Limit("carbon_share", True, 0.5, 0.8, False, "mostly carbon"),
    Limit("contamination_share", True, 0.3, 0.6, False, "mostly contamination"),
    Limit("crack_share", True, 0.1, 0.3, False, "cracked"),
    Limit("grey_outliers", True, 0.01, 0.05, False, "many broken pixels"),
)


def suggestions(rows: Sequence[Numbers]) -> list[str]:
    """Why each micrograph of a set seems unusable, most telling first; empty where nothing says so.

    Parameters
    ----------
    rows : sequence of mapping
        Numbers by column, NaN or absent where not known; ``has_rings`` 1 or 0 says whether there is a defocus.
    """
    reasons: list[list[str]] = [[] for _ in rows]
    answers = _column(rows, "has_rings")
    if len(rows) >= _LEAST_SET and np.nanmean(answers) > 0.5:
        for i in np.flatnonzero(answers == 0.0):
            reasons[i].append("no Thon rings where the others have them")
    for limit in LIMITS:
        for i in np.flatnonzero(beyond(_column(rows, limit.column), limit)):
            if limit.reason not in reasons[i]:
                reasons[i].append(limit.reason)
    return ["; ".join(parts) for parts in reasons]


def beyond(values: NDArray[np.float64], limit: Limit) -> NDArray[np.bool_]:
    """(n,) bool: what is on the wrong side of a limit; NaN never is."""
    edge = suggested_edge(values, limit)
    with np.errstate(invalid="ignore"):
        return np.asarray(values > edge if limit.above else values < edge)


def suggested_edge(values: NDArray[np.float64], limit: Limit) -> float:
    """From where on values (n,) are suspect: far from the median, beyond the floor, at most ``always``."""
    known = values[np.isfinite(values)]
    sign = 1.0 if limit.above else -1.0
    edge = sign * math.inf
    if len(known) >= _LEAST_SET:
        scale = np.log(np.maximum(known, 1e-6)) if limit.logarithm else known
        middle = float(np.median(scale))
        spread = 1.4826 * float(np.median(np.abs(scale - middle)))
        if limit.logarithm:
            spread = max(spread, 0.15)
        far = middle + sign * limit.far * spread
        edge = math.exp(far) if limit.logarithm else far
        edge = sign * max(sign * edge, sign * limit.floor)
    if not math.isnan(limit.always):
        edge = sign * min(sign * edge, sign * limit.always)
    return edge


def duplicates(thumbnails: Sequence[NDArray[np.float32]]) -> list[int]:
    """For each picture (h, w) the first earlier one that shows the same exposure, or -1."""
    if not thumbnails:
        return []
    flat = np.stack([thumbnail.ravel() for thumbnail in thumbnails]).astype(np.float32)
    norms = np.linalg.norm(flat, axis=1)
    flat /= np.where(norms > 0, norms, 1.0)[:, None]
    out = []
    for i in range(len(flat)):
        same = np.flatnonzero(flat[:i] @ flat[i] > _SAME)
        out.append(int(same[0]) if len(same) else -1)
    return out


def _column(rows: Sequence[Numbers], name: str) -> NDArray[np.float64]:
    return np.array([row.get(name, math.nan) for row in rows], np.float64)
