"""Carbon, ice and contamination: finding them on a micrograph, and leaving out what is picked there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging.filters import NO_PADDING, Padding
from ..model.candidates import Candidates
from ..model.coordinates import FloatArray
from ..model.curation import Reason
from ..model.region import Region, holds
from .suppress import inside

_WHERE = {
    Reason.CARBON: "on carbon",
    Reason.ICE: "on ice",
    Reason.AGGREGATE: "on aggregates",
    Reason.EDGE: "at the border",
}


class Excluded(NamedTuple):
    """What is left of some candidates, and how many were left out, by reason (``EDGE``: at the border)."""

    kept: Candidates
    counts: Mapping[Reason, int]


def exclude(
    candidates: Candidates,
    regions: Sequence[Region],
    *,
    shape: tuple[int, ...] | None = None,
    padding: Padding = NO_PADDING,
    margin: float = 0.0,
) -> Excluded:
    """Leave out candidates whose centre lies in a region, or on the border.

    Parameters
    ----------
    candidates : Candidates
    regions : sequence of Region
    shape : (rows, columns), optional
        Of the micrograph; without it the border is not looked at.
    padding : (top, bottom, left, right), px
        See :func:`~cryoppp_annotator.imaging.filters.find_padding`.
    margin : float
        Smallest distance from the edge of the file, padding or not, px: half a box, and none sticks out.

    Returns
    -------
    Excluded
    """
    why = reasons_at(candidates.x, candidates.y, regions)
    if shape is not None:
        border = ~inside(candidates.x, candidates.y, shape, padding)
        border |= ~inside(candidates.x, candidates.y, shape, margin=margin)
        why[border & (why == Reason.NONE)] = Reason.EDGE
    numbers, counts = np.unique(why[why != Reason.NONE], return_counts=True)
    left_out = {Reason(int(n)): int(c) for n, c in zip(numbers, counts, strict=True)}
    return Excluded(candidates.take(why == Reason.NONE), left_out)


def reasons_at(x: FloatArray, y: FloatArray, regions: Sequence[Region]) -> NDArray[np.int8]:
    """What lies under points: the reason of the first region that holds each, (n,) int8; 0 = none does.

    Parameters
    ----------
    x, y : (n,) float64, canonical px
    regions : sequence of Region
    """
    why = np.zeros(len(x), np.int8)
    for region in regions:
        why[holds(region.vertices, y, x) & (why == Reason.NONE)] = region.reason
    return why


def describe_left_out(counts: Mapping[Reason, int]) -> str:
    """``34 left out: 30 on carbon, 4 at the border``, ``4 left out at the border``; empty where nothing was."""
    some = {reason: n for reason, n in counts.items() if n}
    places = [(n, _WHERE.get(reason, "in other regions")) for reason, n in sorted(some.items())]
    if len(places) == 1:
        return f"{places[0][0]:,} left out {places[0][1]}"
    parts = [f"{n:,} {place}" for n, place in places]
    return f"{sum(some.values()):,} left out: {', '.join(parts)}" if parts else ""
