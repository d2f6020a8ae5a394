"""Our two layers among those of the viewer: whether they have the mouse, and that they come back when deleted."""

from __future__ import annotations

from collections.abc import Callable

from napari import Viewer
from napari.layers import Layer
from qtpy.QtCore import QTimer

from .layers.particle_layer import ParticlesLayer
from .layers.picture_layer import PictureLayer


class OwnLayers:
    """The picture and the picks of one workbench.

    Parameters
    ----------
    viewer : Viewer
    picture : PictureLayer
    particles : ParticlesLayer
    warn : callable
        Gets a sentence where a person deleted one of them.
    """

    def __init__(
        self, viewer: Viewer, picture: PictureLayer, particles: ParticlesLayer, warn: Callable[[str], None]
    ) -> None:
        self._viewer, self._picture, self._particles, self._warn = viewer, picture, particles, warn
        self._closed = False
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let them go."""
        self._closed = True
        self._viewer.layers.events.removed.disconnect(self._on_removed)

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
