"""The micrograph on the screen: one Image layer whose data are swapped."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from ...model.micrograph import Micrograph
from ...model.picture import Picture
from .styles import silence

NAME = "micrograph"


class PictureLayer:
    """One Image layer that shows a :class:`Picture` in micrograph coordinates.

    Parameters
    ----------
    viewer : ViewerModel
    units : str
        World units to begin with: napari warns of a layer that differs from the others.
    """

    def __init__(self, viewer: ViewerModel, units: str = "pixel") -> None:
        self._viewer = viewer
        self.layer = Image(
            np.zeros((2, 2), np.float32), name=NAME, colormap="gray", interpolation2d="linear", units=(units,) * 2
        )
        silence(self.layer)
        viewer.add_layer(self.layer)
        #: Contrast chosen by the curator as shares of the picture's own range; (0, 1) = automatic.
        self.contrast = (0.0, 1.0)
        self.picture: Picture | None = None
        self._shape = (0, 0)

    def close(self) -> None:
        """Take the layer out of the viewer."""
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    @property
    def alive(self) -> bool:
        """Whether the layer is still in the viewer."""
        return self.layer in self._viewer.layers

    def show(self, picture: Picture, micrograph: Micrograph, scale: float, units: str) -> None:
        """Show a picture.

        Parameters
        ----------
        scale : float
            World units per micrograph pixel.
        """
        layer = self.layer
        step = (picture.step[0] * scale, picture.step[1] * scale)
        if picture is self.picture and np.allclose(layer.scale, step) and layer.visible:
            return
        self.picture = picture
        with layer.events.blocker_all():
            layer.data = picture.pixels
        low, high = picture.limits
        layer.contrast_limits_range = (low - (high - low), high + (high - low))
        self._apply_contrast()
        if not np.allclose(layer.scale, step):
            layer.scale = step
        if str(layer.units[-1]) != units:
            layer.units = (units, units)
        layer.visible = True
        layer.refresh()
        layer.events.data(value=layer.data)
        self._shape = (micrograph.height, micrograph.width)

    def blank(self) -> None:
        """Show nothing (the micrograph cannot be read)."""
        self.picture = None
        self.layer.visible = False

    def set_contrast(self, low: float, high: float) -> None:
        """Set the contrast as shares of the automatic range, -1 .. 2."""
        self.contrast = (low, max(high, low + 0.01))
        self._apply_contrast()

    def _apply_contrast(self) -> None:
        if self.picture is None:
            return
        low, high = self.picture.limits
        width = high - low
        limits = (low + self.contrast[0] * width, low + self.contrast[1] * width)
        if tuple(self.layer.contrast_limits) != limits:
            self.layer.contrast_limits = limits
