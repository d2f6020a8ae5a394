"""Where the camera looks: the whole micrograph, one pick, which way is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from ..session.core.session import Session
from .preferences import keep_preference, preference
from .widgets.parts.overlay import Overlay

#: A ring smaller than this on the screen is too small to decide about.
_JUDGED_PX = 40.0


class Viewport:
    """The camera of one open project.

    Parameters
    ----------
    viewer : Viewer
    session : Session
    canvas : QWidget
        napari draws in it.
    overlay : Overlay
    scale : callable returning float
        World units per micrograph px.
    had_layers : bool
        The viewer shows foreign layers: its camera is given back.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        canvas: QWidget,
        overlay: Overlay,
        scale: Callable[[], float],
        *,
        had_layers: bool,
    ) -> None:
        self._camera = camera = viewer.scene.camera
        self._session, self._canvas, self._overlay, self._scale = session, canvas, overlay, scale
        self._fitted: tuple[float, ...] = ()  # the camera as fit() left it
        self._refit = QTimer()
        self._refit.setSingleShot(True)
        self._refit.setInterval(0)
        self._refit.timeout.connect(self.fit)
        overlay.resized.connect(self._on_resized)
        self._had = (camera.center, camera.zoom) if had_layers else None
        self._had_up = self.up
        self.set_up(preference("up", "down"), keep=False)
        self._stopped = False
        for event in self._events():
            event.connect(self._on_moved)

    @property
    def moving(self) -> bool:
        """Whether the whole micrograph is about to be shown again, in a window of another size."""
        return self._refit.isActive()

    def _events(self) -> tuple[Any, Any]:
        return self._camera.events.zoom, self._camera.events.center

    def stop(self) -> None:
        """Do not follow the window's size any more."""
        self._stopped = True
        self._refit.stop()

    def close(self) -> None:
        """Let go of the camera."""
        for event in self._events():
            event.disconnect(self._on_moved)

    def restore(self) -> None:
        """Leave the camera as it was found."""
        if self._had is not None:
            self._camera.center, self._camera.zoom = self._had
        self.set_up(self._had_up, keep=False)

    def fit(self) -> None:
        """Show the whole micrograph."""
        current = self._session.current
        if current is None or not current.width:
            return
        scale = self._scale()
        height, width = current.height * scale, current.width * scale
        size = self._canvas.size()
        self._camera.center = (0.0, height / 2, width / 2)
        self._camera.zoom = 0.97 * min(size.width() / width, size.height() / height)
        self._fitted = self._seen()

    def rescale(self, factor: float) -> None:
        """Keep in view what is, where a px of the micrograph is so much larger in the world."""
        as_fitted = self._as_fitted()
        self._camera.center = tuple(float(c) * factor for c in self._camera.center)
        self._camera.zoom /= factor
        if as_fitted:
            self._fitted = self._seen()

    def _as_fitted(self) -> bool:
        return bool(self._fitted) and bool(np.allclose(self._fitted, self._seen(), rtol=1e-3))

    def _seen(self) -> tuple[float, ...]:
        return (*self._camera.center, self._camera.zoom)

    def _on_resized(self) -> None:
        """A micrograph that is seen whole stays so while the window or a panel changes its size."""
        if not self._stopped and (self._as_fitted() or self._refit.isActive()):
            self._refit.start()

    def centre_on(self, particles: NDArray[np.int64]) -> None:
        """Bring picks of this micrograph (n,) to the middle of the canvas, large enough to be judged."""
        p = self._session.particles
        rows = p.rows_of(particles)
        rows = rows[rows >= 0]
        current = self._session.current
        if len(rows) and current is not None:
            self._refit.stop()  # or the whole micrograph would be shown again a moment later
            scale = self._scale()
            ring = float(self._session.diameters_px(current)[rows[0]]) * scale
            if ring * self._camera.zoom < _JUDGED_PX:
                self._camera.zoom = 2 * _JUDGED_PX / ring
            self._camera.center = (0.0, float(p.y[rows].mean()) * scale, float(p.x[rows].mean()) * scale)

    def centre_at(self, x: float, y: float, diameter: float) -> None:
        """Bring a place of this micrograph to the middle of the canvas, large enough to be judged; canonical px."""
        self._refit.stop()
        scale = self._scale()
        ring = diameter * scale
        if ring * self._camera.zoom < _JUDGED_PX:
            self._camera.zoom = 2 * _JUDGED_PX / ring
        self._camera.center = (0.0, y * scale, x * scale)

    @property
    def up(self) -> str:
        """Which way row numbers grow on the screen: ``down`` (row 0 on top) or ``up``."""
        return str(self._camera.orientation2d[0].value)

    def set_up(self, up: str, *, keep: bool = True) -> None:
        """Turn the view, see :attr:`up`; data are never flipped. ``keep`` it for the next start."""
        if self.up != up:
            self._camera.orientation2d = (up, "right")
        if keep:
            keep_preference("up", up)

    def _on_moved(self, _event: object = None) -> None:
        self._overlay.mark(None)
