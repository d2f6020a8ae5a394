"""The picks in 3D: a verdict for each against a map, the map that they make, and the views that a rejection loses."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMenu, QMessageBox, QPushButton, QVBoxLayout, QWidget

from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.curation import Decision, Table
from ....model.particles import Particles
from ....reconstruct import poses
from ....reconstruct.verdict import CONFIDENT_DEG
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.core.step import Nothing
from ....session.volume.by_verdict import decide_by_verdict, ids_of
from ....session.volume.map_files import export_map
from ....session.volume.map_job import MapPreview
from ....session.volume.map_run import MapResult, MapRun
from ....session.volume.stored_maps import forget_map_run, load_map_run
from ....session.volume.view_guard import kept_ids
from ...layers.styles import ColourBy
from ...map_window import MapWindow
from ...workbench import Workbench
from ..parts.compact import side_by_side
from ..parts.map_plots import FscPlot, SliceStrip, ViewMap
from ..parts.map_run_box import MapRunBox
from ..parts.threshold import ThresholdSlider

_THRESHOLD_TIP = (
    "Log odds that a pick is the particle: 0 is even, +3 is 20 to 1. Drag: picks left of the line would be rejected, "
    "those right of it accepted, on all micrographs"
)


class MapPanel(QWidget):
    """The *3D* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "3D"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        self._loading: Job | None = None
        self.result: MapResult | None = None
        self._early: dict[int, float] = {}  # first verdicts of the run that goes on
        self.run = MapRunBox(bench)
        self.window = MapWindow(bench)
        self.threshold = ThresholdSlider()
        self.counts = QLabel()
        self.accept, self.reject = QPushButton("Accept"), QPushButton("Reject")
        self.show_3d, self.colour = QPushButton("Show in 3D…"), QPushButton("Rings: 3D")
        self.curve, self.views, self.slices = FscPlot(), ViewMap(), SliceStrip()
        self._lay_out()
        self._connect()
        self.run.reread()
        self._show()

    def _lay_out(self) -> None:
        self.threshold.setToolTip(_THRESHOLD_TIP)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.run)
        layout.addWidget(self.threshold)
        layout.addWidget(self.counts)
        layout.addLayout(side_by_side(self.accept, self.reject))
        layout.addLayout(side_by_side(self.colour, self.show_3d))
        layout.addWidget(self.slices, 1)
        figures = QHBoxLayout()
        figures.addWidget(self.curve)
        figures.addWidget(self.views)
        layout.addLayout(figures, 2)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.run.more.setMenu(self.menu)
        self.run.chosen.connect(self._on_run)
        self.run.brought.connect(self._take)
        self.run.preview.connect(self._on_preview)
        self.threshold.changed.connect(lambda _value: self._show_counts())
        self.threshold.released.connect(self._ask_guard)
        self.accept.clicked.connect(lambda: self.decide(Decision.ACCEPTED))
        self.reject.clicked.connect(lambda: self.decide(Decision.REJECTED))
        self.show_3d.clicked.connect(self.open_window)
        self.colour.clicked.connect(lambda: self._bench.set_colour_by(ColourBy.MAP))
        for figure in (self.curve, self.views, self.slices):
            figure.opened.connect(self.open_window)
        self._bench.particles_layer.odds_of = self._odds_of
        self._session.changed.connect(self._on_changed)

    def close_panel(self) -> None:
        """Stop following the session."""
        self._session.changed.disconnect(self._on_changed)
        self._bench.particles_layer.odds_of = None

    # ------------------------------------------------------------------ which run

    def _on_run(self, run: MapRun | None) -> None:
        """Another stored run is to be shown."""
        if self._loading is not None:
            self._loading.cancel()
        if run is None:
            self.run.shown = None
            self._take(None)
            return
        session = self._session

        def work(context: JobContext) -> MapResult:
            return load_map_run(session, run)

        self._loading = self._bench.start(work, title=f"read {run.name}", quiet=True, on_done=self._on_loaded)

    def _on_loaded(self, result: MapResult) -> None:
        self.run.shown = result
        self._take(result)

    def _take(self, result: MapResult | None) -> None:
        """Show a run; None = none."""
        self.result = result
        self._early = {}
        self.run.compare_soon()
        self._show()
        self._bench.particles_layer.redraw()
        if self.window.is_open and result is not None:
            self.open_window()

    def _on_preview(self, preview: MapPreview) -> None:
        """What the run that goes on knows already."""
        self._early.update(zip(preview.particle.tolist(), preview.log_odds.tolist(), strict=True))
        if preview.volume is not None:
            self.slices.show_map(preview.volume)
        if len(preview.particle):
            self.threshold.value = self.threshold.value or 0.0
            self.threshold.set_scores(np.fromiter(self._early.values(), float))
            self._bench.particles_layer.redraw()
        self._show_counts()

    # ------------------------------------------------------------------ what is shown

    def _odds_of(self, shown: Particles) -> NDArray[np.float64]:
        """Verdicts of picks, for the colour of their rings."""
        if self._early and self.run.running:
            return np.array([self._early.get(number, np.nan) for number in shown.id.tolist()])
        if self.result is None:
            return np.full(len(shown), np.nan)
        return self.result.picks.odds_of(shown.id)

    def _show(self) -> None:
        result = self.result
        if result is None:
            self.threshold.set_scores(np.zeros(0))
            self.curve.show_curves({})
            self.views.show_views(np.zeros((0, 3)), np.zeros(0, bool))
            self.slices.show_map(None)
            self.run.line.show_verdict("")
        else:
            self.threshold.value = 0.0
            self.threshold.set_scores(result.picks.log_odds.astype(np.float64))
            self.curve.show_curves(result.curves, result.run.options.lowpass_A)
            self.slices.show_map(result.maps.get("map", result.maps.get("reference")))
            more = f" ({count_of(len(result.run.notes), 'note')})" if result.run.notes else ""
            self.run.line.show_verdict(f"{result.run.verdict}{more}.", "\n".join(result.run.notes))
            self._show_views()
        self._show_counts()

    def directions(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Directions (n, 3) of the confident particles of the shown run, and their ids (n,)."""
        if self.result is None:
            return np.zeros((0, 3)), np.zeros(0, np.int64)
        picks = self.result.picks
        with np.errstate(invalid="ignore"):
            known = (picks.log_odds > 0) & (picks.error_deg < CONFIDENT_DEG)
        return poses.directions(picks.matrices[known]), picks.particle[known]

    def _show_views(self) -> None:
        """Draw the views, those of rejected picks in red; which are rejected is asked in the background."""
        session, result = self._session, self.result

        def work(context: JobContext) -> NDArray[np.int64]:
            return kept_ids(session)

        def show(kept: NDArray[np.int64]) -> None:
            if self.result is result:
                self._kept = kept
                directions, ids = self.directions()
                self.views.show_views(directions, np.isin(ids, kept))

        self._bench.start(work, title="which views are kept", quiet=True, on_done=show)

    def _show_counts(self) -> None:
        value, result = self.threshold.value, self.result
        going = self.run.running
        for button, decision, verb in (
            (self.accept, Decision.ACCEPTED, "Accept"),
            (self.reject, Decision.REJECTED, "Reject"),
        ):
            usable = result is not None and value is not None and not going
            n = len(ids_of(result.picks, value, decision)) if usable else 0  # type: ignore[union-attr, arg-type]
            button.setText(f"{verb} {n:,}" if n else verb)
            button.setEnabled(n > 0)
            side = "from the line on" if decision is Decision.ACCEPTED else "below the line"
            button.setToolTip(f"{count_of(n)} {side}, on all micrographs, as one step" if n else "there is no verdict")
        for button in (self.show_3d, self.colour):
            button.setEnabled(result is not None or bool(self._early))
        self.show_3d.setToolTip("Map, half maps and reference in a window of their own" if result else "no map yet")
        self.colour.setToolTip("Let the colour of each ring say how likely the pick is the particle")
        self.counts.setText("" if value is None else f"Verdicts, and a line at log odds {value:.1f}")

    def open_window(self) -> None:
        """Show the run in 3D, in a window of its own."""
        if self.result is not None:
            directions, ids = self.directions()
            self.window.show(self.result, directions, np.isin(ids, kept_ids(self._session)))

    # ------------------------------------------------------------------ deciding

    def _ask_guard(self) -> None:
        """Before it is done: would the threshold lose a view?"""
        if self.result is not None and self.threshold.value is not None:
            ids = ids_of(self.result.picks, self.threshold.value, Decision.REJECTED)
            self._bench.rejection_considered.emit(ids, "rejecting below this line")

    def decide(self, decision: Decision) -> None:
        """Accept what is above the line, or reject what is below it, as one step."""
        result, value = self.result, self.threshold.value
        if result is None or value is None:
            self._bench.say("there is no verdict in 3D yet", "info")
            return
        self._bench.guarded(lambda: self._decide(result, value, decision))

    def _decide(self, result: MapResult, value: float, decision: Decision) -> None:
        outcome = decide_by_verdict(self._session, result.picks, value, decision)
        if isinstance(outcome, Nothing):
            self._bench.say(outcome.why, "info")

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.kind == "refresh":
            self.run.reread()
        elif announcement.touches(Table.PARTICLE) and self.result is not None and self.isVisible():
            self._show_views()

    def showEvent(self, event: object) -> None:
        """Draw the views as they are now."""
        super().showEvent(event)
        if self.result is not None:
            self._show_views()

    # ------------------------------------------------------------------ the menu

    def _fill_menu(self) -> None:
        self.menu.clear()
        none = "" if self.result is not None else "no run is shown"
        for text, why, do, tip in (
            ("Show in 3D…", none, self.open_window, "Map, half maps and reference in a window of their own"),
            ("Lost views…", "", self._bench.views_requested.emit, "Which views the picks lose that are rejected now"),
            ("Export…", none, self._on_export, "Half maps, mask, correlation, particles with poses, for RELION"),
            ("Forget this run…", none, self._on_forget, "Picks and decisions stay"),
        ):
            action = self.menu.addAction(text)
            action.setEnabled(not why)
            action.setToolTip(why or tip)
            action.triggered.connect(lambda _checked=False, run=do: run())

    def _on_export(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder for the map and its particles")
        if chosen:
            self.export(Path(chosen))

    def export(self, folder: Path) -> None:
        """Write the shown run for other programs, in the background."""
        session, result, bench = self._session, self.result, self._bench
        if result is None:
            return

        def work(context: JobContext) -> tuple[Path, ...]:
            return export_map(session, result, folder, context=context)

        def done(files: tuple[Path, ...]) -> None:
            bench.say(f"wrote {', '.join(file.name for file in files)} to {folder}")

        bench.start(work, title=f"export the map to {folder.name}", on_done=done)

    def _on_forget(self) -> None:
        if self.result is None:
            return
        run = self.result.run
        asked = QMessageBox.question(
            self,
            "Forget this run?",
            f"“{run.name}” and its maps are deleted. Picks and decisions stay. This cannot be undone.",
        )
        if asked == QMessageBox.StandardButton.Yes and self._bench.guarded(lambda: forget_map_run(self._session, run)):
            self.run.shown = None
            self.run.reread()
