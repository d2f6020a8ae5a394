"""Notes what was on the screen at a useful zoom, whenever the view rests; shows it as a faint map."""

from __future__ import annotations

from qtpy.QtCore import QObject, QTimer

from ..model.curation import Table
from ..model.micrograph import MicrographState
from ..session.core.session import Announcement
from ..session.pictures.coverage import Coverage
from .layers.seen_layer import SeenLayer
from .workbench import Workbench

#: A particle that is smaller on the screen, px, is too small to be found by eye.
USEFUL_PX = 20.0
#: A view counts when it rested so long, ms.
_REST_MS = 700
#: What was seen is kept so often, ms.
_KEEP_MS = 5_000
#: A micrograph is called empty without a word where so much of it was seen.
_ALL = 0.9


class CoverageWatch(QObject):
    """Follows the camera of one open project.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._layer = bench, SeenLayer(bench.viewer)
        self.coverage = Coverage(bench.session)
        self.shown = False
        self._rest, self._keep = QTimer(self), QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.note_view)
        self._keep.setInterval(_KEEP_MS)
        self._keep.timeout.connect(self.coverage.write)
        self._keep.start()
        events = bench.viewer.scene.camera.events
        self._events = (events.zoom, events.center)
        for event in self._events:
            event.connect(self._on_moved)
        bench.picture_shown.connect(self._on_moved)
        bench.seen_requested.connect(self.toggle)
        bench.session.current_changed.connect(self._on_current)
        bench.session.changed.connect(self._on_changed)

    def close_panel(self) -> None:
        """Keep what was seen, and let go of the camera and the session."""
        for timer in (self._rest, self._keep):
            timer.stop()
        for event in self._events:
            event.disconnect(self._on_moved)
        session = self._bench.session
        session.current_changed.disconnect(self._on_current)
        session.changed.disconnect(self._on_changed)
        self.coverage.write()
        self._layer.clear()

    def _on_moved(self, _event: object = None) -> None:
        self._rest.start()

    def _on_current(self) -> None:
        self._rest.start()
        self._draw()

    def note_view(self) -> None:
        """Note what is on the screen now, where a particle is large enough on it to be found."""
        bench, micrograph = self._bench, self._bench.session.current
        if micrograph is None or bench.show.unseen or not bench.canvas.isVisible():
            return
        camera, (scale, _) = bench.viewer.scene.camera, bench.world()
        per_px = camera.zoom * scale
        if bench.session.settings.diameter_px(micrograph) * per_px < USEFUL_PX:
            return
        size = bench.canvas.size()
        y, x = camera.center[-2] / scale, camera.center[-1] / scale
        half_x, half_y = size.width() / per_px / 2, size.height() / per_px / 2
        if self.coverage.note(micrograph, x - half_x, y - half_y, x + half_x, y + half_y):
            self._draw()

    # ------------------------------------------------------------------ showing

    def toggle(self) -> None:
        """Show the map, or take it away."""
        self.shown = not self.shown
        if self.shown:
            self.coverage.read()
            share = (
                0.0 if self._bench.session.current_id is None else self.coverage.share(self._bench.session.current_id)
            )
            self._bench.say(f"{share:.0%} of this micrograph was on the screen at a useful zoom; the rest is dimmed")
        self._draw()

    def _draw(self) -> None:
        micrograph = self._bench.session.current
        if self.shown and micrograph is not None and micrograph.width:
            shape = (micrograph.height, micrograph.width)
            self._layer.show(self.coverage.seen(micrograph.id), shape, *self._bench.world())
        else:
            self._layer.clear()

    def _on_changed(self, announcement: Announcement) -> None:
        """Called empty, though not all of it was looked at: that is said."""
        change = announcement.change
        if change is None or announcement.kind != "do":
            return
        for delta in change.deltas:
            if delta.table is not Table.MICROGRAPH or "state" not in delta.after:
                continue
            for number in delta.ids.tolist():
                micrograph = self._bench.session.micrograph(number)
                share = self.coverage.share(number)
                if micrograph.state is MicrographState.EMPTY and share < _ALL:
                    self._bench.say(
                        f"{micrograph.name} is empty, but only {share:.0%} of it was on the screen at a useful zoom"
                        " · {undo} undoes",
                        "warning",
                    )
