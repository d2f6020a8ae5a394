"""Start a run in 3D, follow it, and choose which of the stored ones is shown."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, QSignalBlocker, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ....errors import AnnotatorError, EngineError
from ....formats.image.volumes import read_volume
from ....jobs.runner import Job, JobState
from ....model.context import JobContext
from ....model.curation import Decision, Table
from ....model.which import only
from ....reconstruct import symmetry
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.volume.by_verdict import changed_since_map
from ....session.volume.map_job import FEWEST, MapPreview, prove
from ....session.volume.map_run import MapResult, MapRun, MapRunOptions
from ....session.volume.stored_maps import list_map_runs
from ...latest import Latest
from ...workbench import Workbench
from ..dialogs.size_question import SizeQuestion
from ..panels.jobs import Remaining
from .eliding_combo import ElidingCombo
from .run_line import RunLine

_NO_MAP = "no map: from class averages"
_CHOOSE = "choose a map…"
_SYMMETRIES = ("C1", "C2", "C3", "C4", "C5", "C6", "D2", "D3", "D4", "D7", "T", "O", "I")
_BOTH = (Decision.UNDECIDED, Decision.ACCEPTED)


class _Post(QObject):
    """Carries what a job knows from its thread to the window."""

    arrived = Signal(object)


class MapRunBox(QWidget):
    """The top of the *3D* tab.

    Parameters
    ----------
    bench : Workbench
    """

    preview = Signal(object)  # a MapPreview
    chosen = Signal(object)  # the MapRun to show; None = none
    brought = Signal(object)  # a MapResult that has just been made

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        self._job: Job | None = None
        self._remaining, self._latest = Remaining(), Latest()
        self.runs: list[MapRun] = []
        self.shown: MapResult | None = None
        self._post = _Post()
        self._post.arrived.connect(self._on_preview)
        self.picks, self.map, self.symmetry = ElidingCombo(), ElidingCombo(), QComboBox()
        self.pixel, self.start, self.halves = QDoubleSpinBox(), QPushButton("Run in 3D"), QCheckBox("half maps")
        self.bar, self.cancel = QProgressBar(), QToolButton()
        self.list, self.more, self.line = ElidingCombo(), QPushButton("More"), RunLine()
        self.question = SizeQuestion(bench, self, self.start)
        self._say_what_they_are()
        self._lay_out()
        self._connect()
        self._timer = QTimer(self)  # looks whether the shown run is out of date, when edits pause
        self._timer.setSingleShot(True)
        self._timer.setInterval(1200)
        self._timer.timeout.connect(self._compare_with_picks)

    def _say_what_they_are(self) -> None:
        self.picks.setToolTip("Which picks are laid on the map")
        self.map.setToolTip("A map of your particle or of a relative (MRC); or none: it is made from class averages")
        self.map.addItem(_NO_MAP, "")
        self.map.addItem(_CHOOSE, None)
        self.symmetry.addItems(_SYMMETRIES)
        self.symmetry.setEditable(True)
        self.symmetry.setToolTip("Symmetry of the particle: C1, Cn, Dn, T, O or I; the n-fold axis lies on z")
        self.pixel.setRange(0.0, 50.0)
        self.pixel.setSuffix(" Å")
        self.pixel.setSpecialValueText("Å / px?")
        self.pixel.setKeyboardTracking(False)
        self.pixel.setToolTip("Pixel size of the map, whose header says none")
        self.halves.setChecked(True)
        self.halves.setToolTip(
            "Also make two half maps, and say what they show that the map did not have: takes longer"
        )
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self._bench.icons.put(self.cancel, "cancel")
        self.cancel.setToolTip("Cancel this run; earlier ones stay")
        self.list.setToolTip("Runs in 3D of this project; choosing one computes nothing")
        self.more.setToolTip("Show in 3D, views, export, forget")
        self.line.update_run.setToolTip("The same with the picks as they are now")

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        against = QHBoxLayout()
        against.addWidget(self.map, 1)
        against.addWidget(self.symmetry)
        self.line.setFixedHeight(3 * self.fontMetrics().height() + 6)
        self.symmetry.setMaximumWidth(64)
        self._go = QStackedWidget()
        self._go.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        for widgets in ((self.start, self.halves), (self.bar, self.cancel)):
            page = QWidget()
            row = QHBoxLayout(page)
            row.setContentsMargins(0, 0, 0, 0)
            row.addWidget(widgets[0], 1)
            row.addWidget(widgets[1])
            self._go.addWidget(page)
        shown = QHBoxLayout()
        shown.addWidget(self.list, 1)
        shown.addWidget(self.more)
        picks = QHBoxLayout()
        picks.addWidget(self.picks, 1)
        picks.addWidget(self.pixel)
        for row in (picks, against):
            layout.addLayout(row)
        layout.addWidget(self._go)
        layout.addLayout(shown)
        layout.addWidget(self.line)

    def _connect(self) -> None:
        self.start.clicked.connect(self._on_start)
        self.cancel.clicked.connect(self._on_cancel)
        self.pixel.valueChanged.connect(lambda _value: self.refresh())
        self.pixel.editingFinished.connect(self._bench.canvas.setFocus)
        self.picks.activated.connect(lambda _row: self.refresh())
        self.map.activated.connect(self._on_map)
        self.symmetry.currentTextChanged.connect(lambda _text: self.refresh())
        self.list.activated.connect(self._on_list)
        self.line.update_run.clicked.connect(self._on_update)
        self._bench.bridge.ticked.connect(self._on_tick)
        self._session.changed.connect(self._on_changed)
        self._bench.themed.connect(self._colour)
        self._colour()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._timer.stop()
        self._bench.bridge.ticked.disconnect(self._on_tick)
        self._session.changed.disconnect(self._on_changed)

    # ------------------------------------------------------------------ what can be done

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self._job is not None and not self._job.over

    def why_not(self) -> str:
        """Why nothing can be run now; empty where it can."""
        if self.running:
            return "a run goes on: cancel it first"
        if self._session.store.read_only:
            return "the project was opened read-only"
        if (n := self.n_picks()) < FEWEST:
            return f"at least {FEWEST} picks are needed; there are {n}"
        if not self.pixel.isHidden() and not self.pixel.value():
            return "the map's header has no pixel size: give it, in angstrom"
        try:
            symmetry.rotations(self.symmetry.currentText().strip())
        except EngineError as error:
            return str(error)
        return ""

    def n_picks(self) -> int:
        """Picks that may take part."""
        counts = self._session.counts()
        accepted_only = self.picks.currentData() == ("decision", int(Decision.ACCEPTED))
        return counts["accepted"] + (0 if accepted_only else counts["undecided"])

    def options(self) -> MapRunOptions:
        """What *Run* would do."""
        what, number = self.picks.currentData() or ("all", 0)
        drawn = self._bench.focus.drawn
        return MapRunOptions(
            map_path=self.map.currentData() or "",
            map_pixel_A=None if self.pixel.isHidden() else self.pixel.value() or None,
            symmetry=self.symmetry.currentText().strip(),
            halves=self.halves.isChecked(),
            decisions=(Decision.ACCEPTED,) if what == "decision" else _BOTH,
            pick_sets=(number,) if what == "set" else None,
            species=only(drawn.only_species),
            hidden=drawn.hidden(),
            invert=not self._session.settings.bright,
        )

    def refresh(self) -> None:
        """Say what can be done now."""
        self._fill_picks()
        self.halves.setEnabled(bool(self.map.currentData()))
        self.pixel.setVisible(bool(self.map.currentData()) and not _says_pixel_size(self.map.currentData()))
        why = self.why_not()
        self.start.setEnabled(not why)
        self.start.setToolTip(why or f"Lays {count_of(self.n_picks())} on the map from all sides, in the background")
        self._go.setCurrentIndex(1 if self.running else 0)
        self.line.update_run.setEnabled(not self.running)
        if not self.running and not self.runs:
            first = "Nothing in 3D yet. A run says of each pick whether it is the particle, and what all show together."
            self.line.tell(f"{why[0].upper()}{why[1:]}." if why else first)

    def _fill_picks(self) -> None:
        choices: list[tuple[str, tuple[str, int]]] = [
            ("accepted and undecided", ("all", 0)),
            ("accepted picks", ("decision", int(Decision.ACCEPTED))),
            *((one.name, ("set", number)) for number, one in self._session.pick_sets.items()),
        ]
        if choices == [(self.picks.itemText(k), self.picks.itemData(k)) for k in range(self.picks.count())]:
            return
        kept = self.picks.currentText()
        with QSignalBlocker(self.picks):
            self.picks.clear()
            for text, data in choices:
                self.picks.addItem(text, data)
            self.picks.setCurrentIndex(max(0, self.picks.findText(kept)))

    def choose_map(self, path: Path | str) -> None:
        """Take a map; empty = none."""
        text = str(path)
        row = self.map.findData(text)
        if row < 0:
            row = self.map.count() - 1
            self.map.insertItem(row, Path(text).name, text)
        self.map.setCurrentIndex(row)
        self.refresh()

    def _on_map(self, row: int) -> None:
        if self.map.itemData(row) is None:
            name, _ = QFileDialog.getOpenFileName(
                self, "A map", str(self._session.data_root), "Maps (*.mrc *.map *.mrc.gz *.ccp4);;All files (*)"
            )
            self.choose_map(name)
        self.refresh()

    def _colour(self) -> None:
        self.line.outdated.setStyleSheet(f"color: {self._bench.ink('warning')};")

    # ------------------------------------------------------------------ a run

    def _on_start(self) -> None:
        if not self.question.needed_for("Run in 3D", self.run):  # boxes are cut by it
            self.run()

    def run(self, options: MapRunOptions | None = None) -> None:
        """Begin a run in the background."""
        if why := self.why_not():
            self._bench.say(why, "info")
            return
        session, post, chosen = self._session, self._post, options or self.options()
        run_on = self._bench.run_on
        scheduler = run_on.scheduler if chosen.map_path else None  # verdicts work there, maps are made here

        def work(context: JobContext) -> MapResult:
            return prove(session, chosen, on_preview=post.arrived.emit, scheduler=scheduler, context=context)

        self._job = self._bench.start(
            work,
            title="picks in 3D",
            on_done=self._on_done,
            on_failed=self._on_failed,
            where=run_on.where if scheduler else run_on.here,
            if_cancelled="nothing is changed, earlier runs stay",
        )
        self._fill_list()
        self.line.tell("starting …")
        self.refresh()

    def _on_cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self.line.tell("cancelling …")

    def _on_tick(self) -> None:
        job = self._job
        if job is None:
            return
        if job.state is JobState.CANCELLED:
            self._ended("cancelled; nothing was changed")
            self.choose(None if self.shown is None else self.shown.run)
        elif not job.over:
            self.bar.setRange(0, 0 if job.fraction is None else 1000)
            self.bar.setValue(int(1000 * (job.fraction or 0)))
            words = [job.message or "starting", self._remaining.text(job)]
            self.line.tell(" · ".join(word for word in words if word))

    def _on_preview(self, preview: MapPreview) -> None:
        if self.running:
            self.list.setItemText(0, f"now: {preview.words}")
            self.preview.emit(preview)

    def _ended(self, text: str) -> None:
        self._job = None
        self.line.tell(text)
        self._fill_list()
        self.refresh()

    def _on_failed(self, job: Job) -> None:
        self._ended(str(job.error))
        self.choose(None if self.shown is None else self.shown.run)
        self._bench.job_failed(job)

    def _on_done(self, result: MapResult) -> None:
        self.runs = list_map_runs(self._session)
        self.shown = result
        self._ended("")
        self._select(result.run)
        self._bench.say(f"{result.run.name}: {result.run.verdict}")
        self.brought.emit(result)

    # ------------------------------------------------------------------ stored runs

    def reread(self) -> None:
        """Read the list of runs again, and show the latest where the one that is shown has gone."""
        self.runs = list_map_runs(self._session)
        for run in self.runs:
            if run.options.map_path and self.map.findData(run.options.map_path) < 0:
                self.map.insertItem(self.map.count() - 1, Path(run.options.map_path).name, run.options.map_path)
        self._fill_list()
        if self.shown is None or self.shown.run.number not in {run.number for run in self.runs}:
            self.choose(self.runs[-1] if self.runs else None)
        self.refresh()

    def _fill_list(self) -> None:
        with QSignalBlocker(self.list):
            self.list.clear()
            if self.running:
                self.list.addItem("now: starting", -1)
            for run in reversed(self.runs):
                at = str(run.record.get("started", ""))[:16].replace("T", " ")
                self.list.addItem(f"{run.name} · {at}", run.number)
            self.list.setCurrentIndex(0 if self.list.count() else -1)
        self.list.setEnabled(self.list.count() > 0)

    def _select(self, run: MapRun) -> None:
        with QSignalBlocker(self.list):
            self.list.setCurrentIndex(self.list.findData(run.number))

    def choose(self, run: MapRun | None) -> None:
        """Show a stored run."""
        if run is not None:
            self._select(run)
        self.line.show_outdated("")
        self.chosen.emit(run)

    def _on_list(self, row: int) -> None:
        number = self.list.itemData(row)
        if number != -1:
            self.choose(next(run for run in self.runs if run.number == number))

    # ------------------------------------------------------------------ out of date

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.touches(Table.PARTICLE) or announcement.touches(Table.PICK_SET):
            self._timer.start()
        self.refresh()

    def compare_soon(self) -> None:
        """Look again whether the shown run is out of date."""
        self._timer.start()

    def showEvent(self, event: object) -> None:
        """Look again whether the shown run is out of date."""
        super().showEvent(event)
        self._timer.start()

    def _compare_with_picks(self) -> None:
        result, session = self.shown, self._session
        if result is None or self.running or not self.isVisible():
            return

        def compare(context: JobContext) -> tuple[int, int, int]:
            return changed_since_map(session, result.run, result.picks)

        self._latest.ask()
        show = self._latest.only(lambda counts: self._on_compared(result, counts))
        self._bench.start(compare, title="compare the run in 3D with the picks", quiet=True, on_done=show)

    def _on_compared(self, result: MapResult, counts: tuple[int, int, int]) -> None:
        if self.shown is not result or self.running:
            return
        pairs = zip(counts, ("new", "removed", "moved"), strict=True)
        words = ", ".join(f"{n:,} {what}" for n, what in pairs if n)
        self.line.show_outdated(f"Out of date: {count_of(sum(counts))} changed since ({words})" if words else "")

    def _on_update(self) -> None:
        if self.shown is not None:
            options = self.shown.run.options
            try:
                self.run(options)
            except AnnotatorError as error:
                self._bench.say(str(error), "error")


def _says_pixel_size(path: str) -> bool:
    """Whether a map's header has a pixel size; a file that cannot be read is refused when it is used."""
    try:
        return bool(read_volume(Path(path))[1])
    except (AnnotatorError, OSError):
        return True
