"""Labels of one micrograph laid on the places a detector finds there: which label sits on what, and what has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..model.context import JobContext
from ..model.coordinates import FloatArray
from ..picking.matching import match
from ..picking.seen import Seen, describe
from ..picking.suppress import inside

_QUIET = JobContext()
#: A label so near to a place belongs to it, diameters.
NEAR = 0.25
#: A label so near to a place may be that one, moved; diameters.
FAR = 0.6
#: A place nearer to a label than this is the same particle seen twice, and no place for a label of its own; diameters.
_BESIDE = 0.5
#: The label's own description lies within so many diameters of it.
_OWN = 0.3
#: So many free places for each label are looked at, the best.
_FREE_PER_LABEL = 4.0
#: At least so many free places are looked at.
_FEWEST_FREE = 300


@dataclass(frozen=True, eq=False)
class LabelledPlaces:
    """Labels and places of one micrograph.

    Attributes
    ----------
    name : str
        Of the micrograph.
    shape : (rows, columns), px
    x, y : (n,) float64, canonical px
        The labels.
    seen : Seen
        The places, described: those of the detector first, then labels it saw nothing at.
    place : (n,) intp
        The detected place each label sits on or was moved from; -1 for none.
    offset : (n,) float64, diameters
        From the label to that place; NaN for none.
    row : (n,) intp
        The place that describes each label; -1 where it lies outside the picture.
    labelled : (k,) bool
        Places some label belongs to.
    free : (k,) bool
        Places of the detector that no label belongs to or lies beside.
    """

    name: str
    shape: tuple[int, int]
    x: FloatArray
    y: FloatArray
    seen: Seen
    place: NDArray[np.intp]
    offset: FloatArray
    row: NDArray[np.intp]
    labelled: NDArray[np.bool_]
    free: NDArray[np.bool_]

    @property
    def diameter(self) -> float:
        """Of a particle, px."""
        return self.seen.diameter


def lay(
    image: NDArray[Any],
    x: FloatArray,
    y: FloatArray,
    *,
    pixel_size_A: float,
    diameter_A: float,
    polarity: str = "dark",
    name: str = "",
    context: JobContext = _QUIET,
) -> LabelledPlaces:
    """Find and describe the places of a micrograph, and lay its labels on them.

    Parameters
    ----------
    image : (h, w) real array, yx
    x, y : (n,) float64, canonical px
        The labels.
    pixel_size_A, diameter_A : float
    polarity : 'dark' or 'bright'
    name : str
    context : JobContext

    Raises
    ------
    EngineError
        The image or the sizes are of no use.
    Cancelled
    """
    seen = describe(
        image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, polarity=polarity, also=(x, y), context=context
    )
    within = np.isfinite(x) & np.isfinite(y)
    within[within] = inside(x[within], y[within], image.shape)
    place, offset = _sat_on(x, y, seen)
    row = _described(x, y, place, within, seen)
    labelled = np.zeros(len(seen), bool)
    labelled[row[row >= 0]] = True
    free = ~labelled & (np.arange(len(seen)) < seen.n_detected)
    if within.any() and len(seen):
        nearest = cKDTree(np.column_stack([x, y])[within]).query(np.column_stack([seen.x, seen.y]))[0]
        free &= np.asarray(nearest) > _BESIDE * seen.diameter
    places = LabelledPlaces(name, (image.shape[0], image.shape[1]), x, y, seen, place, offset, row, labelled, free)
    return _without_the_weakest(places)


def _without_the_weakest(places: LabelledPlaces) -> LabelledPlaces:
    """Only the places that matter: those labels need, and the best of the free ones."""
    seen = places.seen
    free = np.flatnonzero(places.free)
    most = max(_FEWEST_FREE, int(_FREE_PER_LABEL * places.labelled.sum()))
    if len(free) <= most:
        return places
    best = free[np.argsort(-seen.numbers[free, 0], kind="stable")[:most]]
    kept = places.labelled.copy()
    kept[best] = True
    kept[places.place[places.place >= 0]] = True
    number = np.append(np.cumsum(kept) - 1, -1)  # what was -1 stays so
    fewer = replace(
        seen,
        x=seen.x[kept],
        y=seen.y[kept],
        numbers=seen.numbers[kept],
        edge=seen.edge[kept],
        away=seen.away[kept],
        n_detected=int(kept[: seen.n_detected].sum()),
    )
    free_now = np.zeros(len(seen), bool)
    free_now[best] = True
    return replace(
        places,
        seen=fewer,
        place=number[places.place],
        row=number[places.row],
        labelled=places.labelled[kept],
        free=free_now[kept],
    )


def _sat_on(x: FloatArray, y: FloatArray, seen: Seen) -> tuple[NDArray[np.intp], FloatArray]:
    """Place and offset of each label: first what is near, then, among what is left, what may have been moved."""
    place, offset = np.full(len(x), -1, np.intp), np.full(len(x), np.nan)
    taken = np.zeros(seen.n_detected, bool)
    score = seen.numbers[: seen.n_detected, 0].astype(np.float64)
    # near by, the nearest place is the label's; farther off, the most particle-like
    for reach, by in ((NEAR, np.zeros(seen.n_detected)), (FAR, score)):
        rest, left = np.flatnonzero(place < 0), np.flatnonzero(~taken)
        pairs = match(seen.x[left], seen.y[left], by[left], x[rest], y[rest], reach * seen.diameter)
        labels, places = rest[pairs.truth_of[pairs.hit]], left[pairs.hit]
        place[labels], offset[labels] = places, pairs.distance[pairs.hit] / seen.diameter
        taken[places] = True
    return place, offset


def _described(
    x: FloatArray, y: FloatArray, place: NDArray[np.intp], within: NDArray[np.bool_], seen: Seen
) -> NDArray[np.intp]:
    """The row of ``seen`` that describes each label: its place, else the given one, else the nearest."""
    row = place.copy()
    points = np.column_stack([seen.x, seen.y])
    given = np.arange(seen.n_detected, len(seen))
    for rows, reach in ((given, _OWN * seen.diameter), (np.arange(len(seen)), np.inf)):
        rest = np.flatnonzero((row < 0) & within)
        if len(rest) and len(rows):
            away, nearest = cKDTree(points[rows]).query(np.column_stack([x, y])[rest])
            close = np.asarray(away) <= reach
            row[rest[close]] = rows[np.asarray(nearest, np.intp)[close]]
    return row


def polarity_of(image: NDArray[Any], x: FloatArray, y: FloatArray, diameter: float) -> float:
    """How much brighter labels are than what lies around them, in standard errors; negative where they are darker.

    Parameters
    ----------
    image : (h, w) real array, yx
    x, y : (n,) float64, canonical px
    diameter : float, px

    Returns
    -------
    float
        NaN where no label lies inside.
    """
    angle = np.arange(12) * (2.0 * np.pi / 12)
    radius = np.array([0.0, 0.12, 0.24, 0.36, 0.65, 0.75, 0.85]) * diameter
    rows = np.rint(y[:, None, None] + radius[:, None] * np.sin(angle)).astype(np.intp)
    columns = np.rint(x[:, None, None] + radius[:, None] * np.cos(angle)).astype(np.intp)
    good = ((rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])).all(axis=(1, 2))
    if not good.any():
        return float("nan")
    values = np.asarray(image[rows[good], columns[good]], np.float64)
    difference = values[:, :4].mean(axis=(1, 2)) - values[:, 4:].mean(axis=(1, 2))
    spread = difference.std() / np.sqrt(len(difference)) + 1e-12
    return float(difference.mean() / spread)
