"""The film of a micrograph: a slider over its history, with play; rings as they were, which cannot be edited."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSlider, QWidget

from ....model.particles import Particles
from ....session.review import history
from ....store.changes import HistoryEntry
from ...latest import Latest
from ...layers.past_layer import PastLayer
from ...workbench import Workbench

#: A film of any length takes about so long, ms.
_LASTS_MS = 20_000
#: A frame is never shown for less, ms.
_SHORTEST_MS = 40
#: A frame is never shown for longer, ms.
_LONGEST_MS = 500


class Film(QWidget):
    """Shows the current micrograph's picks as they were.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._latest, self._layer = bench, Latest(), PastLayer(bench.viewer)
        self.frames: list[tuple[HistoryEntry, Particles]] = []
        self._of: int | None = None
        self.start, self.play = QPushButton("Film of this micrograph"), QPushButton("Play")
        self.start.setCheckable(True)
        self.start.setToolTip("Shows the picks here after each step, the rings as they were; changes nothing")
        self.play.setToolTip("Goes through the steps, from the beginning where the end is reached")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip("The step after which the picks are shown")
        self.step = QLabel()
        self.step.setWordWrap(True)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.start, 0, 0)
        layout.addWidget(self.play, 0, 1)
        layout.addWidget(self.slider, 1, 0, 1, 2)
        layout.addWidget(self.step, 2, 0, 1, 2)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_tick)
        self.start.toggled.connect(self._on_toggled)
        self.play.clicked.connect(self._on_play)
        self.slider.valueChanged.connect(self._on_slider)
        bench.session.current_changed.connect(self.stop)
        self._show_parts(False)

    def close_panel(self) -> None:
        """Let go of the session, and take the rings out of the viewer."""
        self._latest.close()
        self._bench.session.current_changed.disconnect(self.stop)
        self._timer.stop()
        self._layer.clear()

    def stop(self) -> None:
        """Show the picks as they are again."""
        self.start.setChecked(False)

    def hideEvent(self, event: object) -> None:
        """Behind another tab nothing is shown of the past."""
        super().hideEvent(event)
        self.stop()

    def _show_parts(self, shown: bool) -> None:
        for widget in (self.play, self.slider, self.step):
            widget.setVisible(shown)

    def _on_toggled(self, on: bool) -> None:
        bench = self._bench
        self._timer.stop()
        self.play.setText("Play")
        self._latest.forget()
        if not on:
            self._show_parts(False)
            self._layer.clear()
            bench.particles_layer.cover(False)
            return
        session, here = bench.session, bench.session.current_id
        if here is None or not self._latest.ask():
            self.stop()
            return
        bench.start(
            lambda context: history.film_of(session, here),
            title="read the history of a micrograph",
            on_done=self._latest.only(self._on_read),
            on_failed=self._on_failed,
            quiet=True,
        )

    def _on_failed(self, job: object) -> None:
        self.stop()
        self._bench.job_failed(job)  # type: ignore[arg-type]

    def _on_read(self, frames: list[tuple[HistoryEntry, Particles]]) -> None:
        if not frames:
            self._bench.say("no step of the history changed a pick on this micrograph")
            self.stop()
            return
        self.frames = frames
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(frames) - 1)
        self.slider.setValue(len(frames) - 1)
        self.slider.blockSignals(False)
        self._show_parts(True)
        self._bench.particles_layer.cover(True)
        self._on_slider(len(frames) - 1)

    def _on_slider(self, row: int) -> None:
        entry, picks = self.frames[row]
        micrograph = self._bench.session.current
        if micrograph is None or not self.start.isChecked():
            return
        self._layer.show(picks, self._bench.session.diameters_px(micrograph, picks), *self._bench.world())
        word = "" if entry.kind == "do" else f"{entry.kind}: "
        when = entry.at[:16].replace("T", " ")
        self.step.setText(f"{row + 1} of {len(self.frames)} · {when} UTC · {entry.curator}: {word}{entry.title}")

    def _on_play(self) -> None:
        if self._timer.isActive():
            self._timer.stop()
        else:
            if self.slider.value() == self.slider.maximum():
                self.slider.setValue(0)
            self._timer.start(min(max(_LASTS_MS // len(self.frames), _SHORTEST_MS), _LONGEST_MS))
        self.play.setText("Pause" if self._timer.isActive() else "Play")

    def _on_tick(self) -> None:
        if self.slider.value() < self.slider.maximum():
            self.slider.setValue(self.slider.value() + 1)
        else:
            self._timer.stop()
            self.play.setText("Play")
