"""Rings of two compared sets in three colours, and a mark where an item of the queue lies: a picture, never an edit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...audit.comparing import TwoSets
from .shown_layer import ShownLayer, rings

NAME = "review"
#: Okabe & Ito's colours, distinguished by the colour-blind too: in both sets, only in the reference, only in the other.
BOTH = "#56B4E9"
ONLY_REFERENCE = "#E69F00"
ONLY_OTHER = "#CC79A7"
MARK = "#F0E442"
#: Rings are drawn so much larger than the picks' own, which stay in sight.
_LARGER = 1.2
#: The mark around the item in the middle is so much larger.
_MARK_LARGER = 1.6
#: Width of a line, share of the diameter.
_LINE = 0.06


class ReviewLayer(ShownLayer):
    """One Points layer that is added when there is something to show.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def show_sets(self, two: TwoSets, scale: float, units: str) -> None:
        """Draw what both sets have, and what only one has."""
        hit = two.matches.hit
        parts = (
            (two.other[hit], BOTH),
            (two.reference[two.only_reference], ONLY_REFERENCE),
            (two.other[two.only_other], ONLY_OTHER),
        )
        points = np.concatenate([part for part, _ in parts])
        colours = [colour for part, colour in parts for _ in range(len(part))]
        self._draw(points, _LARGER * two.diameter, colours, scale, units)

    def show_mark(self, x: float, y: float, diameter: float, scale: float, units: str) -> None:
        """Draw one ring around a place."""
        self._draw(np.array([[x, y]]), _MARK_LARGER * diameter, [MARK], scale, units)

    def _draw(self, points: NDArray[np.float64], diameter: float, colours: list[str], scale: float, units: str) -> None:
        self.clear()
        if not len(points):
            return
        self._put(rings(NAME, points[:, ::-1], diameter, colours, _LINE, scale, units))
