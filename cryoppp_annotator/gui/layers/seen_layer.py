"""A faint map of what nobody has looked at yet, over the micrograph."""

from __future__ import annotations

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from .shown_layer import ShownLayer

NAME = "not looked at"
#: How strongly what was not looked at is dimmed.
_OPACITY = 0.45


class SeenLayer(ShownLayer):
    """One Image layer that is added while it is asked for.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def show(self, seen: NDArray[np.bool_], shape: tuple[int, int], scale: float, units: str) -> None:
        """Dim what was not seen.

        Parameters
        ----------
        seen : (n, n) bool, rows first
        shape : (height, width), px
        scale : float
            World units per px.
        units : str
        """
        steps = [side / cells * scale for side, cells in zip(shape, seen.shape, strict=True)]
        # pixel centres lie on whole numbers: the first cell's middle is half a cell in, less half a pixel
        start = [step / 2 - scale / 2 for step in steps]
        # blue where nobody looked, transparent elsewhere
        dimmed = np.zeros((*seen.shape, 4), np.float32)
        dimmed[~seen] = (0.10, 0.16, 0.45, 1.0)
        self._put(
            Image(dimmed, name=NAME, rgb=True, scale=steps, translate=start, opacity=_OPACITY, units=(units, units))
        )
