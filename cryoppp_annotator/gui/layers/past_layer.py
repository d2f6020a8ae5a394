"""Rings of the picks as they were at an earlier moment: a picture, never an edit."""

from __future__ import annotations

import numpy as np

from ...model.coordinates import FloatArray
from ...model.curation import Decision
from ...model.particles import Particles
from .shown_layer import ShownLayer, rings
from .styles import HEX, WIDTH

NAME = "as it was"


class PastLayer(ShownLayer):
    """One Points layer that is added while a film is shown.

    Parameters
    ----------
    viewer : ViewerModel
    """

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
        colours = [HEX[Decision(int(decision))] for decision in picks.decision]
        self._put(rings(NAME, picks.yx, np.maximum(diameters, 1.0), colours, WIDTH, scale, units))
