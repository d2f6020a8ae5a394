"""A window of its own for a map in 3D, so that the labelling canvas is not disturbed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..reconstruct.fourier_map import centred_fft, centred_ifft, resized, sphere
from ..reconstruct.halves import lowpass
from ..session.volume.map_files import curve_of
from ..session.volume.map_run import MapResult
from .binding import is_alive
from .widgets.parts.map_plots import FscPlot, SliceStrip, ViewMap, surface_level
from .workbench import Workbench

#: Colours of the maps: the map, its halves, the reference.
_COLOURS = {"map": "bop orange", "reference": "gray", "half1": "bop blue", "half2": "bop blue"}
#: What they are called, in the order in which they stand, two in a row.
_NAMES = {"map": "map", "reference": "reference", "half1": "half 1", "half2": "half 2"}
#: Distance of two maps, as a share of their side.
_APART = 1.02
#: The surface is as bright as one part in so many of the colour map.
_BRIGHT = 1.8
#: Surfaces are drawn on a grid so many times as fine.
_FINER = 2
#: Finest detail of a reference without half maps, px.
_COARSE_PX = 3.0
_SIZE_PX = (1120, 700)
_FIGURES_PX = 260


class MapWindow:
    """Shows one run at a time: the map, its halves and the reference side by side, with figures beside them.

    Parameters
    ----------
    bench : Workbench
        It closes with the project.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.viewer: Viewer | None = None
        self._curve: FscPlot | None = None
        self._views: ViewMap | None = None
        self._slices: SliceStrip | None = None
        bench.closing.connect(self.close)

    @property
    def is_open(self) -> bool:
        """Whether there is a window that a person has not closed."""
        return self.viewer is not None and is_alive(self.viewer.window._qt_window)

    def show(self, result: MapResult, directions: NDArray[np.float64], kept: NDArray[np.bool_]) -> None:
        """Show a run, with the directions (n, 3) of its views and which of the picks (n,) stay."""
        if not self.is_open:
            self._open()
        assert self.viewer is not None
        assert self._curve is not None
        assert self._views is not None
        assert self._slices is not None
        self.viewer.title = f"3D · {result.run.name}"
        self.viewer.layers.clear()
        _add_maps(self.viewer, result)
        self._curve.show_curves(result.curves, result.run.options.lowpass_A)
        self._views.show_views(directions, kept)
        self._slices.show_map(result.maps.get("map", result.maps.get("reference")))
        window = self.viewer.window._qt_window
        window.show()
        window.raise_()

    def close(self) -> None:
        """Close the window, where it is open."""
        if self.is_open:
            assert self.viewer is not None
            self.viewer.close()
        self.viewer = self._curve = self._views = self._slices = None

    def _open(self) -> None:
        self.viewer = viewer = Viewer(title="3D", ndisplay=3, show=False)
        self._curve, self._views, self._slices = FscPlot(150), ViewMap(150), SliceStrip(110)
        page = QWidget()
        column = QVBoxLayout(page)
        for figure in (self._slices, self._curve, self._views):
            column.addWidget(figure)
        page.setMinimumWidth(_FIGURES_PX)
        viewer.window.add_dock_widget(page, area="right", name="Figures")
        qt_viewer: Any = viewer.window._qt_viewer
        for dock in (qt_viewer.dockLayerControls,):
            dock.setVisible(False)
        viewer.window._qt_window.resize(*_SIZE_PX)


def _add_maps(viewer: Viewer, result: MapResult) -> None:
    """The maps two by two, each with its surface, in nanometres."""
    shown = [name for name in _NAMES if name in result.maps]
    for place, name in enumerate(shown):
        volume, pixel_A = _smooth(result, name)
        scale = pixel_A / 10.0
        side = _APART * scale * len(volume)
        level = surface_level(volume)
        viewer.add_image(
            volume,
            name=_NAMES[name],
            scale=(scale,) * 3,
            units=("nm",) * 3,
            translate=(0.0, side * (place // 2), side * (place % 2)),
            rendering="iso",
            iso_threshold=level,
            colormap=_COLOURS[name],
            contrast_limits=(0.0, _BRIGHT * level),
            blending="translucent",
        )
    viewer.reset_view(margin=0.0)


def _smooth(result: MapResult, name: str) -> tuple[NDArray[np.float32], float]:
    """A map as its surface is drawn: without the noise beyond what the halves agree on, on a grid twice as fine."""
    volume, pixel_A = result.maps[name], result.run.pixel_size_A
    curve = curve_of(result)
    if curve is not None and math.isfinite(curve.resolution_A):
        volume = lowpass(volume, pixel_A, max(curve.resolution_A, 2.5 * pixel_A))
    elif name == "reference":
        volume = lowpass(volume, pixel_A, _COARSE_PX * pixel_A)
    fine = centred_ifft(np.asarray(resized(centred_fft(volume), _FINER * len(volume))))
    return fine * sphere(len(fine), len(fine) / 2 - 2), pixel_A / _FINER
