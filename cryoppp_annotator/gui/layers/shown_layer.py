"""A layer that only shows something: in the viewer while it is asked for, never what is edited."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer, Points

from .styles import put_over, take_away


class ShownLayer:
    """One layer at a time.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layer: Layer | None = None

    def clear(self) -> None:
        """Take the layer out of the viewer."""
        take_away(self._viewer, self.layer)
        self.layer = None

    def _put(self, layer: Layer) -> None:
        """Show a layer instead of the one before."""
        self.clear()
        self.layer = layer
        put_over(self._viewer, layer)


def rings(name: str, places: Any, diameters: Any, colours: list[str], width: float, scale: float, units: str) -> Points:
    """Rings as a layer.

    Parameters
    ----------
    name : str
    places : (n, 2) float64, yx, px
    diameters : float or (n,) float64, px
    colours : list of str
        ``#RRGGBB`` of each.
    width : float
        Of the lines, share of the diameter.
    scale : float
        World units per px.
    units : str
    """
    return Points(
        places,
        name=name,
        ndim=2,
        size=diameters,
        face_color="transparent",
        border_color=colours,
        border_width=width,
        border_width_is_relative=True,
        symbol="disc",
        scale=(scale, scale),
        units=(units, units),
        canvas_size_limits=(4, 100_000),
    )
