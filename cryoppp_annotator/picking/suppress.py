"""Which candidates are left out: those too near a better one, on the border, or in a region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..imaging.filters import NO_PADDING, Padding
from ..model.coordinates import FloatArray
from ..model.region import holds


def suppress(x: FloatArray, y: FloatArray, score: FloatArray, distance: float) -> NDArray[np.intp]:
    """Non-maximum suppression: go through the candidates from the best, and drop what is too near a kept one.

    Parameters
    ----------
    x, y : (n,) float64, px
        Finite.
    score : (n,) float64
        Of equals the earlier is kept.
    distance : float
        Two kept ones are at least this far apart, px.

    Returns
    -------
    (m,) intp
        Rows kept, best first.
    """
    if not len(x):
        return np.zeros(0, np.intp)
    points = np.column_stack([x, y])
    tree = cKDTree(points)
    order = np.argsort(-score, kind="stable")
    alive = np.ones(len(x), bool)
    kept: list[int] = []
    # a pair at exactly the distance stays
    reach = float(np.nextafter(distance, 0.0))
    for row in order.tolist():
        if not alive[row]:
            continue
        kept.append(row)
        alive[tree.query_ball_point(points[row], reach)] = False
        alive[row] = False
    return np.array(kept, np.intp)


def inside(
    x: FloatArray, y: FloatArray, shape: tuple[int, ...], padding: Padding = NO_PADDING, margin: float = 0.0
) -> NDArray[np.bool_]:
    """Whether points lie on the image proper.

    Parameters
    ----------
    x, y : (n,) float64, px
    shape : (rows, columns)
    padding : (top, bottom, left, right), px
    margin : float
        Smallest distance from the edge of what is inside the padding, px.

    Returns
    -------
    (n,) bool
    """
    top, bottom, left, right = padding
    rows = (y >= top + margin) & (y <= shape[0] - 1 - bottom - margin)
    columns = (x >= left + margin) & (x <= shape[1] - 1 - right - margin)
    return np.asarray(rows & columns, np.bool_)


def in_polygons(x: FloatArray, y: FloatArray, polygons: Sequence[FloatArray]) -> NDArray[np.bool_]:
    """Whether points lie in any of some polygons (even-odd rule).

    Parameters
    ----------
    x, y : (n,) float64, px
    polygons : sequence of (k, 2) float64, xy, px
        Closed by themselves; fewer than three corners hold nothing.

    Returns
    -------
    (n,) bool
    """
    inside_any = np.zeros(len(x), bool)
    for polygon in polygons:
        inside_any |= holds(polygon[:, ::-1], y, x)
    return inside_any
