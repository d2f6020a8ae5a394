"""Corners of regions that can be taken hold of and moved while R is held."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...model.region import Region, holds

#: A corner is held when the pointer is so near, canvas px.
HOLD_PX = 9.0
#: A corner is shown when the pointer is so near, canvas px.
SHOW_PX = 60.0
#: Radius of the mark on a corner, canvas px.
MARK_PX = 5.0


class Corners:
    """Which corner is under the pointer.

    Parameters
    ----------
    regions : callable
        Those on the screen.
    moved : callable
        Given the region and its new outline, (n, 2) float64, yx, canonical px.
    """

    def __init__(
        self, regions: Callable[[], Sequence[Region]], moved: Callable[[Region, NDArray[np.float64]], None]
    ) -> None:
        self._regions, self.moved = regions, moved

    def held(self, y: float, x: float, per_px: float) -> tuple[Region, int] | None:
        """The region and the number of its corner at a point; ``per_px``: canvas px per canonical px."""
        best: tuple[float, Region, int] | None = None
        for region in self._regions():
            distance = np.hypot(*(region.vertices - (y, x)).T) * per_px
            k = int(distance.argmin())
            if distance[k] <= HOLD_PX and (best is None or distance[k] < best[0]):
                best = float(distance[k]), region, k
        return None if best is None else best[1:]

    def shown(self, y: float, x: float, per_px: float) -> NDArray[np.float64]:
        """(n, 2) float64, yx: corners of the regions that are at the pointer or near it."""
        corners = [np.zeros((0, 2))]
        for region in self._regions():
            near = (np.hypot(*(region.vertices - (y, x)).T) * per_px).min() <= SHOW_PX
            if near or holds(region.vertices, np.array([y]), np.array([x]))[0]:
                corners.append(region.vertices)
        return np.concatenate(corners)
