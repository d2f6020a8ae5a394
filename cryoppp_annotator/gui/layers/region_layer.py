"""The session's regions drawn as one Shapes layer: a picture of the store, never asked what is true.

The layer is made when there is a first region to draw, so that projects without regions pay nothing. Works with a
``ViewerModel``, without Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from numpy.typing import NDArray

from ...model.curation import Reason
from ...model.region import Origin, Region, holds
from .styles import REGION_HEX, rgba, silence

NAME = "regions"
#: Fill and width of the outline (screen px) of a person's regions and of found ones; of selected ones.
_FILL = {Origin.HAND: 0.30, Origin.FOUND: 0.14}
_WIDTH_PX = {Origin.HAND: 2.5, Origin.FOUND: 1.2}
_SELECTED_WIDTH_PX = 4.5
#: Size of the words in a region, points.
_TEXT = 10
#: Width of a letter of them, screen px.
_LETTER_PX = 9.0
#: Places along each side of a region's box where its text may stand.
_GRID = 12
#: Where there is no room for the word: distinguished without colours. A question mark: found, nobody has said so.
LETTERS = {Reason.CARBON: "C", Reason.ICE: "I", Reason.AGGREGATE: "A", Reason.OTHER: "O"}


def name_of(region: Region) -> str:
    """What the list calls it: ``carbon``, ``ice (detected, unconfirmed)``."""
    return region.reason.label + (" (detected, unconfirmed)" if region.origin is Origin.FOUND else "")


def letter_of(region: Region) -> str:
    """``C`` for carbon that a person drew, ``C?`` for what was found."""
    return LETTERS.get(region.reason, "O") + ("?" if region.origin is Origin.FOUND else "")


def inner_point(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """A point well inside a polygon (n, 2), as far from its outline as a grid finds one; (2,) float64, yx, px."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    share = (np.arange(_GRID) + 0.5) / _GRID
    y, x = (axis.ravel() for axis in np.meshgrid(*(low[:, None] + (high - low)[:, None] * share), indexing="ij"))
    inside = holds(vertices, y, x)
    if not inside.any():
        return np.asarray((low + high) / 2.0)
    points = np.column_stack([y, x])[inside]
    start, step = vertices, np.roll(vertices, -1, axis=0) - vertices
    along = ((points[:, None] - start) * step).sum(axis=2) / np.maximum((step**2).sum(axis=1), 1e-12)
    nearest = start + np.clip(along, 0.0, 1.0)[..., None] * step
    away = np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)
    return np.asarray(points[away.argmax()])


def _spot(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A square too small to be seen."""
    return np.asarray(at + np.array([(-0.01, -0.01), (-0.01, 0.01), (0.01, 0.01), (0.01, -0.01)]))


class RegionsLayer:
    """One Shapes layer under the rings.

    Parameters
    ----------
    viewer : ViewerModel
    above : Layer
        The rings: they stay on top, and stay the active layer.
    """

    def __init__(self, viewer: ViewerModel, above: Layer) -> None:
        self._viewer, self._above = viewer, above
        self.layer: Shapes | None = None
        self.regions: list[Region] = []
        self.selected: frozenset[int] = frozenset()
        self.visible = True
        self._inside: dict[int, NDArray[np.float64]] = {}
        self._zoom = 0.0
        viewer.scene.camera.events.zoom.connect(self._on_zoom)

    def close(self) -> None:
        """Take the layer out of the viewer."""
        self._viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def show(self, regions: Iterable[Region], selected: Iterable[int] = ()) -> None:
        """Draw regions (ids in ``selected`` marked)."""
        self.regions, self.selected = list(regions), frozenset(selected)
        self._inside = {region.id: inner_point(region.vertices) for region in self.regions}
        if not self.regions and self.layer is None:
            return
        layer = self._made()
        scale, units = self._above.scale, self._above.units
        with layer.events.blocker_all():
            if not np.array_equal(layer.scale, scale) or layer.units != units:
                layer.scale, layer.units = scale, units
            layer.selected_data = set()
            layer.data = []
            if self.regions:
                layer.add_polygons(
                    [region.vertices for region in self.regions],
                    edge_width=self._widths(),
                    edge_color=np.array([rgba(REGION_HEX[r.reason]) for r in self.regions]),
                    face_color=np.array([self._fill(r) for r in self.regions]),
                )
                # a region's own text would stand in the middle of its box, which may lie outside of it
                layer.add_rectangles(
                    [_spot(self._inside[region.id]) for region in self.regions],
                    edge_width=1.0,
                    edge_color="transparent",
                    face_color="transparent",
                )
                layer.features = {"what": self._labels()}
                layer.text = {"string": "{what}", "size": _TEXT, "color": "white", "anchor": "center"}
        layer.visible = self.visible and bool(self.regions)
        layer.refresh()

    def set_visible(self, visible: bool) -> None:
        """Show or hide them all."""
        self.visible = visible
        if self.layer is not None:
            self.layer.visible = visible and bool(self.regions)

    def _fill(self, region: Region) -> NDArray[np.float64]:
        colour = rgba(REGION_HEX[region.reason])
        colour[3] = _FILL[region.origin] + (0.12 if region.id in self.selected else 0.0)
        return colour

    def _widths(self) -> list[float]:
        """Widths in layer px that come out the same on the screen at any zoom."""
        self._zoom = float(self._viewer.scene.camera.zoom)
        per_px = max(1e-9, self._zoom * float(self._above.scale[-1]))
        wide = [_SELECTED_WIDTH_PX if r.id in self.selected else _WIDTH_PX[r.origin] for r in self.regions]
        return [width / per_px for width in wide]

    def _all_widths(self) -> list[float]:
        """Also of the spots that carry the words."""
        return [*self._widths(), *[1.0] * len(self.regions)]

    def _labels(self) -> list[str]:
        """What each is and whether it was found: in words where there is room, else as a letter."""
        per_px = self._zoom * float(self._above.scale[-1])
        room = [float(np.ptp(r.vertices[:, 1])) * per_px / _LETTER_PX for r in self.regions]
        words = [name_of(r) for r in self.regions]
        labels = [word if len(word) < n else letter_of(r) for r, word, n in zip(self.regions, words, room, strict=True)]
        return [*[""] * len(labels), *labels]

    def _made(self) -> Shapes:
        if self.layer is not None and self.layer in self._viewer.layers:
            return self.layer
        self._quietly(self._make)
        assert self.layer is not None
        return self.layer

    def _make(self) -> None:
        layer = Shapes(None, ndim=2, name=NAME, scale=self._above.scale, units=self._above.units, edge_width=1.0)
        silence(layer)
        layer.editable = False  # its corners are the store's
        layers = self._viewer.layers
        layers.insert(layers.index(self._above) if self._above in layers else len(layers), layer)
        self.layer = layer

    def _quietly(self, make: Callable[[], None]) -> None:
        """A new layer becomes napari's active one: ours would lose mouse and keys."""
        active = self._viewer.layers.selection.active
        make()
        self._viewer.layers.selection.active = active if active is not None else self._above

    def _on_zoom(self, _event: object) -> None:
        if self.layer is None or not self.regions or not self.layer.visible:
            return
        if not 0.77 < float(self._viewer.scene.camera.zoom) / max(self._zoom, 1e-9) < 1.3:
            with self.layer.events.blocker_all():
                self.layer.edge_width = self._all_widths()
                self.layer.features = {"what": self._labels()}
                self.layer.refresh_text()
            self.layer.refresh()

    def at(self, y: float, x: float) -> Region | None:
        """The smallest region under a point, canonical px."""
        under = [r for r in self.regions if holds(r.vertices, np.array([y]), np.array([x]))[0]]
        return min(under, key=lambda region: region.area) if under else None


REASON_WORDS = {
    Reason.CARBON: "carbon",
    Reason.ICE: "ice, crystals",
    Reason.AGGREGATE: "aggregate, dirt",
    Reason.OTHER: "other",
}
