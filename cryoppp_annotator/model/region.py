"""Where there is nothing to pick: polygons on carbon, ice and contamination, drawn by a person or found."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from .coordinates import FloatArray
from .curation import Reason


class Origin(StrEnum):
    """Who says that there is nothing to pick."""

    HAND = "hand"
    FOUND = "found"
    #: Found by the machine, taken away by a person: kept so that it is not found again.
    DISMISSED = "dismissed"


#: Share of the smaller region in common from which a detected region is the one that a person dealt with.
_SAME = 0.5
#: What a region can be; the picks in it are rejected for the same reason.
REGION_REASONS = (Reason.CARBON, Reason.ICE, Reason.AGGREGATE, Reason.OTHER)


@dataclass(frozen=True, eq=False)
class Region:
    """A polygon on a micrograph.

    Attributes
    ----------
    reason : Reason
        One of :data:`REGION_REASONS`.
    vertices : (n, 2) float64, yx, canonical px
        The last is joined to the first; at least three.
    id : int
        0 while it is not in a project.
    micrograph : int
    origin : Origin
    curator, created : str
    """

    reason: Reason
    vertices: FloatArray
    id: int = 0
    micrograph: int = 0
    origin: Origin = Origin.FOUND
    curator: str = ""
    created: str = ""

    @property
    def area(self) -> float:
        """Its area, px squared."""
        return area_of(self.vertices)


def area_of(vertices: FloatArray) -> float:
    """Area of a polygon (n, 2), px squared; 0 of fewer than three corners."""
    y, x = np.asarray(vertices, np.float64).reshape(-1, 2).T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def pack_vertices(vertices: FloatArray) -> str:
    """A polygon as the store keeps it: JSON, ``[[y, x], ...]``, to a hundredth of a pixel.

    Parameters
    ----------
    vertices : (n, 2) float64, yx, px
    """
    return json.dumps(np.round(np.asarray(vertices, np.float64), 2).tolist())


def unpack_vertices(text: str) -> FloatArray:
    """Inverse of :func:`pack_vertices`. Raises ValueError where it is no polygon."""
    return as_polygon(json.loads(text))


def as_polygon(vertices: ArrayLike) -> FloatArray:
    """A list of corners as a polygon, (n, 2) float64, yx. Raises ValueError where it is none."""
    try:
        polygon = np.asarray(vertices, np.float64)
    except (TypeError, ValueError):
        polygon = np.zeros(0)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.isfinite(polygon).all():
        raise ValueError("a region is a polygon of at least three corners")
    return polygon


def overlap(a: FloatArray, b: FloatArray, cells: int = 48) -> float:
    """How much of the smaller of two polygons lies in the other.

    Parameters
    ----------
    a, b : (n, 2) float64, yx, px
    cells : int
        Points across the longer side of their common box.

    Returns
    -------
    float
        0 .. 1
    """
    low, high = np.maximum(a.min(axis=0), b.min(axis=0)), np.minimum(a.max(axis=0), b.max(axis=0))
    smaller = min(area_of(a), area_of(b))
    side = float((high - low).max())
    if not (high > low).all() or smaller <= 0:
        return 0.0
    step = side / cells
    y = np.arange(low[0] + step / 2, high[0] + step / 2, step)
    x = np.arange(low[1] + step / 2, high[1] + step / 2, step)
    yy, xx = (part.ravel() for part in np.meshgrid(y, x, indexing="ij"))
    shared = np.count_nonzero(holds(a, yy, xx) & holds(b, yy, xx)) * step * step
    return min(1.0, shared / smaller) if math.isfinite(shared) else 0.0


def holds(polygon: FloatArray, y: FloatArray, x: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether points lie in a polygon, by the even-odd rule.

    Parameters
    ----------
    polygon : (n, 2) float64, yx, px
    y, x : (m,) float64, px

    Returns
    -------
    (m,) bool
    """
    inside = np.zeros(len(x), bool)
    if len(polygon) < 3 or not len(x):
        return inside
    near = np.flatnonzero(
        (y >= polygon[:, 0].min())
        & (y <= polygon[:, 0].max())
        & (x >= polygon[:, 1].min())
        & (x <= polygon[:, 1].max())
    )
    py, px = y[near], x[near]
    odd = np.zeros(len(near), bool)
    for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > py) != (y1 > py)
            odd ^= crosses & (px < x0 + (py - y0) * (x1 - x0) / (y1 - y0))
    inside[near] = odd
    return inside


def not_dealt_with(detected: Sequence[Region], existing: Sequence[Region]) -> list[Region]:
    """Detected regions that are nothing a person has drawn, changed or dismissed."""
    by_hand = [region.vertices for region in existing if region.origin is not Origin.FOUND]
    return [r for r in detected if not any(overlap(r.vertices, vertices) > _SAME for vertices in by_hand)]
