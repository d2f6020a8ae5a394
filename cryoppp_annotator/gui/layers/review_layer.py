"""Rings of two compared sets in three colours, and a mark where an item of the queue lies: a picture, never an edit."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Points
from numpy.typing import NDArray

from ...audit.comparing import TwoSets
from .styles import put_over, take_away

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


class ReviewLayer:
    """One Points layer that is added when there is something to show.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layer: Points | None = None

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

    def clear(self) -> None:
        """Take the layer out of the viewer."""
        take_away(self._viewer, self.layer)
        self.layer = None

    def _draw(self, points: NDArray[np.float64], diameter: float, colours: list[str], scale: float, units: str) -> None:
        self.clear()
        if not len(points):
            return
        self.layer = Points(
            points[:, ::-1],
            name=NAME,
            ndim=2,
            size=diameter,
            face_color="transparent",
            border_color=colours,
            border_width=0.06,
            border_width_is_relative=True,
            symbol="disc",
            scale=(scale, scale),
            units=(units, units),
            canvas_size_limits=(4, 100_000),
        )
        put_over(self._viewer, self.layer)
