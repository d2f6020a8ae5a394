"""Our two layers among those of the viewer: whether they have the mouse, and that they come back when deleted.

A layer that somebody adds does not take mouse and keys by itself; one that somebody chooses does, and it is said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari import Viewer
from napari.layers import Layer
from qtpy.QtCore import QTimer

from .layers.particle_layer import ParticlesLayer
from .layers.picture_layer import PictureLayer
from .layers.styles import is_ours


class OwnLayers:
    """The picture and the picks of one workbench.

    Parameters
    ----------
    viewer : Viewer
    picture : PictureLayer
    particles : ParticlesLayer
    warn : callable
        Gets a sentence where a person deleted one of them, or where another layer has the mouse now.
    """

    def __init__(
        self, viewer: Viewer, picture: PictureLayer, particles: ParticlesLayer, warn: Callable[[str], None]
    ) -> None:
        self._viewer, self._picture, self._particles, self._warn = viewer, picture, particles, warn
        self._closed = False
        self._added = ""  # the name of a layer that was added while ours had mouse and keys
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.selection.events.active.connect(self._on_active)
        particles.layer.events.mode.connect(self._on_mode)

    def close(self) -> None:
        """Let them go."""
        self._closed = True
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self._particles.layer.events.mode.disconnect(self._on_mode)

    def foreign(self) -> list[Layer]:
        """Layers that are not ours."""
        ours = (self._picture.layer, self._particles.layer)
        return [layer for layer in self._viewer.layers if layer not in ours]

    def have_mouse(self) -> bool:
        """Whether a click on the canvas is an edit: one of ours is active and napari's own tools are put away."""
        active = self._viewer.layers.selection.active
        if active is self._particles.layer:
            return str(active.mode) == "pan_zoom"
        return active is self._picture.layer

    def are_active(self) -> bool:
        """Whether one of ours is the active layer."""
        return self._viewer.layers.selection.active in (self._particles.layer, self._picture.layer)

    def take_back(self) -> None:
        """Give mouse and keys back to the picks."""
        self._particles.layer.mode = "pan_zoom"
        self._viewer.layers.selection.active = self._particles.layer

    def _on_inserted(self, event: Any) -> None:
        """Somebody adds a layer, which napari makes the active one: the next click is still a pick."""
        if not self._closed and self.are_active() and not is_ours(event.value):
            self._added = str(event.value.name)
            QTimer.singleShot(0, self._keep_mouse)

    def _keep_mouse(self) -> None:
        name, self._added = self._added, ""
        if self._closed or not name:
            return
        self.take_back()
        self._warn(
            f"layer “{name}” was added; mouse and keys stay with the picks (choose it in the layer list to use it)"
        )

    def _on_active(self, event: Any) -> None:
        """Somebody chose another layer: that is said once, or the next click would do nothing in silence."""
        layer = event.value
        if self._closed or self._added or layer is None or layer not in self.foreign():
            return
        if is_ours(layer):  # the layer of regions is active for a moment, while the program adds it
            QTimer.singleShot(0, partial(self._say_chosen, layer))
        else:
            self._say_chosen(layer)

    def _say_chosen(self, layer: Layer) -> None:
        if not self._closed and self._viewer.layers.selection.active is layer:
            self._warn(f"layer “{layer.name}” has mouse and keys now · {{take-back}} gives them back to the picks")

    def _on_mode(self, event: Any) -> None:
        if not self._closed and self.are_active() and str(event.mode) != "pan_zoom":
            tool = str(event.mode).replace("_", " ")
            self._warn(f"napari's tool “{tool}” has the mouse now · {{take-back}} gives it back to the picks")

    def _on_removed(self, _event: object) -> None:
        """A person deleted one of our layers in napari's list: it comes back, nothing is lost."""
        if self._closed or (self._particles.alive and self._picture.alive):
            return
        self._warn("that layer only shows the project, which keeps everything; close the panel to remove it")
        QTimer.singleShot(0, self._restore)

    def _restore(self) -> None:
        if self._closed:
            return
        layers = self._viewer.layers
        if not self._picture.alive:
            below = layers.index(self._particles.layer) if self._particles.alive else len(layers)
            layers.insert(below, self._picture.layer)
        if not self._particles.alive:
            layers.append(self._particles.layer)
        layers.selection.active = self._particles.layer
