"""Rings of the picks as they were at an earlier moment: a picture, never an edit."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Points

from ...model.coordinates import FloatArray
from ...model.curation import Decision
from ...model.particles import Particles
from .styles import HEX, WIDTH, put_over, take_away

NAME = "as it was"


class PastLayer:
    """One Points layer that is added while a film is shown.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layer: Points | None = None

    def show(self, picks: Particles, diameters: FloatArray, scale: float, units: str) -> None:
        """Draw picks with the colours of their decisions.

        Parameters
        ----------
        picks : Particles
        diameters : (n,) float64, px
        scale : float
            World units per px.
        units : str
        """
        self.clear()
        if not len(picks):
            return
        self.layer = Points(
            picks.yx,
            name=NAME,
            ndim=2,
            size=np.maximum(diameters, 1.0),
            face_color="transparent",
            border_color=[HEX[Decision(int(decision))] for decision in picks.decision],
            border_width=WIDTH,
            border_width_is_relative=True,
            symbol="disc",
            scale=(scale, scale),
            units=(units, units),
            canvas_size_limits=(4, 100_000),
        )
        put_over(self._viewer, self.layer)

    def clear(self) -> None:
        """Take the layer out of the viewer."""
        take_away(self._viewer, self.layer)
        self.layer = None
