"""Start a 2D classification, follow it, and choose which of the stored ones is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from qtpy.QtCore import QObject, QSignalBlocker, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ....errors import AnnotatorError
from ....jobs.runner import Job, JobState
from ....model.classes import ClassRun
from ....model.context import JobContext
from ....model.curation import Table
from ....model.pick_set import PickSet
from ....model.which import only
from ....session.classes import decide
from ....session.classes.browse import as_greys, n_classes_for
from ....session.classes.decide import Preview, RunOptions, RunResult
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ...latest import Latest
from ...workbench import Workbench
from ..dialogs.size_question import SizeQuestion
from ..dialogs.unsaved_runs import UnsavedBox
from ..panels.jobs import Remaining
from .box_options import BoxChoice
from .eliding_combo import ElidingCombo
from .run_line import RunLine

#: Fewest picks that can be classified.
_FEWEST = 10


class _Post(QObject):
    """Carries averages from the job's thread to the window."""

    arrived = Signal(object)


class RunBox(QWidget):
    """The top of the *Classes* tab.

    Parameters
    ----------
    bench : Workbench
    """

    preview = Signal(object, object, int, int)  # greys, shares, picks, iteration
    chosen = Signal(object)  # the ClassRun to show; None = none

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._session = bench.session
        self._job: Job | None = None
        self._remaining = Remaining()
        self._level = "info"
        self._watching = False  # whether the run that goes on was chosen to be seen
        self._latest = Latest()
        self.runs: list[ClassRun] = []
        self.shown: ClassRun | None = None
        self._post = _Post()
        self._post.arrived.connect(self._on_preview)
        self.start = QPushButton("Classify")
        self.number = QSpinBox()
        self.number.setRange(0, 200)
        self.number.setSpecialValueText("auto")
        self.number.setKeyboardTracking(False)
        self.number.valueChanged.connect(lambda _value: self.refresh())
        self.number.editingFinished.connect(bench.canvas.setFocus)
        self.picks = ElidingCombo()
        self.picks.setToolTip("Which picks are classified: accepted and undecided ones of this set")
        self.picks.activated.connect(lambda _row: self.refresh())
        self.boxes = BoxChoice(bench)
        self.question = SizeQuestion(bench, self, self.start)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.cancel = QToolButton()
        bench.icons.put(self.cancel, "cancel")
        self.cancel.setToolTip("Cancel this classification; earlier ones stay")
        self.line = RunLine()
        self.message, self.outdated, self.update_run = self.line.message, self.line.outdated, self.line.update_run
        self.list = ElidingCombo()
        self.list.setToolTip("Classifications of this project; choosing one computes nothing")
        self.more = QPushButton("More")
        self.more.setToolTip("Re-centre, templates, classify again, import, export")
        self.unsaved = UnsavedBox(bench)
        self._lay_out()
        self.start.clicked.connect(self._on_start)
        for changed in (self.boxes.size.valueChanged, self.boxes.pixel.valueChanged, self.boxes.unit.activated):
            changed.connect(lambda _value: self.refresh())
        self.cancel.clicked.connect(self._on_cancel)
        self.update_run.clicked.connect(self._on_update)
        self.unsaved.saved.connect(self._on_saved)
        self.list.activated.connect(self._on_list)
        #: Looks whether the shown run is out of date, when edits pause.
        self._compare_timer = QTimer(self)
        self._compare_timer.setSingleShot(True)
        self._compare_timer.setInterval(1200)
        self._compare_timer.timeout.connect(self._compare_with_picks)
        bench.bridge.ticked.connect(self._on_tick)
        bench.session.changed.connect(self._on_changed)
        bench.run_on.changed.connect(self.refresh)
        bench.themed.connect(self._colour)
        self._colour()

    def _lay_out(self) -> None:
        what = QHBoxLayout()
        what.addWidget(self.picks, 1)
        what.addWidget(QLabel("into"))
        what.addWidget(self.number)
        # one in the place of the other: nothing moves when a classification begins
        self._go = QStackedWidget()
        self._go.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        for widgets in ((self.start, self.boxes.fold), (self.bar, self.cancel)):
            page = QWidget()
            row = QHBoxLayout(page)
            row.setContentsMargins(0, 0, 0, 0)
            row.addWidget(widgets[0], 1)
            row.addWidget(widgets[1])
            self._go.addWidget(page)
        shown = QHBoxLayout()
        shown.addWidget(self.list, 1)
        shown.addWidget(self.more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(what)
        layout.addWidget(self._go)
        layout.addWidget(self.boxes)
        layout.addLayout(shown)
        layout.addWidget(self.line)
        layout.addWidget(self.unsaved)

    def close_panel(self) -> None:
        """Stop following the session."""
        self._compare_timer.stop()
        self._bench.bridge.ticked.disconnect(self._on_tick)
        self._session.changed.disconnect(self._on_changed)
        self._bench.run_on.changed.disconnect(self.refresh)

    # ------------------------------------------------------------------ what can be done

    @property
    def running(self) -> bool:
        """Whether a classification goes on."""
        return self._job is not None and not self._job.over

    def why_not(self) -> str:
        """Why nothing can be classified now; empty where it can."""
        if self.running:
            return "a classification is running: cancel it first"
        if self._session.store.read_only:
            return "the project was opened read-only"
        if (n := self.n_picks()) < _FEWEST:
            return f"at least {_FEWEST} picks that are not rejected are needed; there are {n}"
        return ""

    def why_not_so(self) -> str:
        """Why *Classify* cannot be pressed as it stands."""
        return self.why_not() or self.boxes.why_not()

    def n_picks(self) -> int:
        """Accepted and undecided picks of the project."""
        counts = self._session.counts()
        return counts["accepted"] + counts["undecided"]

    def options(self) -> RunOptions:
        """What *Classify* would do."""
        chosen = self.picks.currentData()
        base = RunOptions(
            n_classes=self.number.value() or n_classes_for(self.n_picks()),
            pick_sets=None if chosen is None else (int(chosen),),
            invert=not self._session.settings.bright,
        )
        base = self.boxes.options(base)
        focus = self._bench.focus
        # candidates that are not drawn are not classified
        return replace(base, hidden=focus.drawn.hidden(), species=only(focus.drawn.only_species))

    def refresh(self) -> None:
        """Say what can be done now."""
        _fill_pick_sets(self.picks, self._session.pick_sets)
        self.boxes.refresh()
        why = self.why_not()
        self.start.setEnabled(not self.why_not_so())
        n = self.n_picks()
        self.start.setToolTip(
            self.why_not_so()
            or f"Sorts {n:,} accepted and undecided picks by what they look like, in the background\n"
            f"{self._bench.run_on.tooltip}".rstrip()
        )
        self.number.setToolTip(f"How many classes; auto: about sixty picks each, now {n_classes_for(n)}")
        self._go.setCurrentIndex(1 if self.running else 0)
        if why and not self.running and not self.runs:
            self._tell(f"{why[0].upper()}{why[1:]}.", "note")
        elif not self.running and not self.runs and not self.unsaved.held:
            self._tell("No classes yet. Classify shows what the picks look like on average.", "note")
        self.update_run.setEnabled(not self.running)

    def _tell(self, text: str, level: str = "info") -> None:
        self.line.tell(text)
        if level != self._level:  # a style sheet costs as much as a commit
            self._level = level
            self._colour()

    def _colour(self) -> None:
        self.outdated.setStyleSheet(f"color: {self._bench.ink('warning')};")
        colour = self._bench.ink(self._level)
        self.message.setStyleSheet(f"color: {colour};" if colour else "")

    # ------------------------------------------------------------------ a run

    def _on_start(self) -> None:
        if not self.question.needed_for("Classify", self.classify):  # boxes are cut by it
            self.classify()

    def classify(self, options: RunOptions | None = None) -> None:
        """Start a classification in the background."""
        if why := self.why_not():
            self._bench.say(why, "info")
            return
        chosen = self.options() if options is None else options
        session, post, run_on = self._session, self._post, self._bench.run_on
        scheduler = run_on.scheduler

        def hand_on(preview: Preview) -> None:
            post.arrived.emit((as_greys(preview.averages), preview.share, preview.n_picks, preview.iteration))

        def work(context: JobContext) -> RunResult:
            return decide.classify_project(session, chosen, context=context, on_iteration=hand_on, scheduler=scheduler)

        self._job = self._bench.start(
            work,
            title="classify picks",
            on_done=self._on_done,
            on_failed=self._on_failed,
            where=run_on.where,
            if_cancelled="nothing is changed, earlier classes stay",
        )
        self._watching = True
        self._fill_list()
        self.list.setCurrentIndex(0)
        self._tell("starting …")
        self.refresh()

    def _on_cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._tell("cancelling …")

    def _on_tick(self) -> None:
        job = self._job
        if job is None:
            return
        if job.state is JobState.CANCELLED:
            self._ended("cancelled; nothing was changed")
            self.choose(self.shown)
        elif not job.over:
            self.bar.setRange(0, 0 if job.fraction is None else 1000)
            self.bar.setValue(int(1000 * (job.fraction or 0)))
            words = [job.message or "starting", self._remaining.text(job)]
            self._tell(" · ".join(w for w in words if w))

    def _on_preview(self, arrived: tuple[object, object, int, int]) -> None:
        if not self.running:
            return  # it was cancelled meanwhile
        greys, share, n, iteration = arrived
        if self.shows_running():
            self.list.setItemText(0, f"now: iteration {iteration}, {n:,} picks")
            self.preview.emit(greys, share, n, iteration)

    def shows_running(self) -> bool:
        """Whether the run that goes on is what is shown."""
        return self.running and self.list.currentIndex() == 0

    def _ended(self, text: str, level: str = "info") -> None:
        if not self.running:
            self._job = None
            self._tell(text, level)
        elif text:
            self._bench.say(text, level)
        self._fill_list()
        self.refresh()

    def _on_failed(self, job: Job) -> None:
        self._ended(str(job.error), "error")
        self.choose(self.shown)
        self._bench.job_failed(job)

    def _on_done(self, result: RunResult) -> None:
        self.enter(result, show=self._watching)

    def enter(self, result: RunResult, *, show: bool = True) -> None:
        """Make what a job brought the project's, and show it; one that could not be saved is kept and offered."""
        self._session.when_free(lambda: self._enter(result, show=show))

    def _enter(self, result: RunResult, *, show: bool) -> None:
        if result.saved is None:
            self._keep(result, result.problem)  # trying again here could take seconds
            return
        try:
            run = decide.enter_run(self._session, result)
        except AnnotatorError as error:
            self._keep(result, str(error))
            return
        self._take(run, show=show, notes=result.notes)

    def _keep(self, result: RunResult, why: str) -> None:
        """It is not saved: keep it, say so, and offer to save it again."""
        self.unsaved.keep(result)
        self._ended(why, "error")
        self._bench.say(why, "error")

    def _on_saved(self, run: ClassRun, notes: tuple[str, ...]) -> None:
        self._take(run, show=not self.running, notes=notes)

    def _take(self, run: ClassRun, *, show: bool, notes: tuple[str, ...]) -> None:
        self.runs = decide.list_runs(self._session)
        self._ended("")
        self._bench.say(" · ".join([f"{run.name}: {run.verdict}" if run.verdict else run.name, *notes]))
        self.choose(run if show else self.shown)

    # ------------------------------------------------------------------ stored runs

    def reread(self) -> None:
        """Read the list of runs again."""
        self.runs = decide.list_runs(self._session)
        known = {run.id: run for run in self.runs}
        if self.shown is None or self.shown.id not in known:
            self._fill_list()
            self.choose(self.runs[-1] if self.runs else None)
        else:
            self._fill_list()
        self.refresh()

    def _fill_list(self) -> None:
        with QSignalBlocker(self.list):
            kept = self.list.currentData()
            self.list.clear()
            if self.running:
                self.list.addItem("now: starting", -1)
            for run in reversed(self.runs):
                self.list.addItem(_label(run), run.id)
            row = self.list.findData(kept)
            self.list.setCurrentIndex(row if row >= 0 else 0 if self.list.count() else -1)
        self.list.setEnabled(self.list.count() > 0)
        self.list.setToolTip(
            "Classifications of this project; choosing one computes nothing" if self.list.count() else "none yet"
        )

    def choose(self, run: ClassRun | None) -> None:
        """Show a stored run."""
        self.shown = run
        if run is not None:
            self._watching = False
        with QSignalBlocker(self.list):
            if run is not None:
                self.list.setCurrentIndex(self.list.findData(run.id))
        self.chosen.emit(run)
        self.line.show_outdated("")
        self._compare_timer.start()

    def forget(self, run: ClassRun) -> None:
        """A run was taken out of the project."""
        if self.shown is not None and self.shown.id == run.id:
            self.shown = None
        self.reread()

    def _on_list(self, row: int) -> None:
        number = self.list.itemData(row)
        self._watching = number == -1
        if number == -1:
            return  # the next iteration draws it
        self._tell("")
        self.choose(next(run for run in self.runs if run.id == number))

    # ------------------------------------------------------------------ out of date

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.kind == "refresh":
            self.reread()
        if announcement.touches(Table.PARTICLE) or announcement.touches(Table.PICK_SET):
            self._compare_timer.start()
            if self.runs and not self.running and not self.unsaved.held:
                self._tell("")  # what was said of a classification that ended is read by now
        self.refresh()

    def _compare_with_picks(self) -> None:
        run, session = self.shown, self._session
        if run is None or self.running or not self.isVisible():
            return

        def compare(context: JobContext) -> tuple[int, int, int]:
            return decide.changed_since(session, run)

        self._latest.ask()
        self._bench.start(
            compare,
            title="compare the classes with the picks",
            quiet=True,
            on_done=self._latest.only(lambda counts: self._on_compared(run, counts)),
        )

    def _on_compared(self, run: ClassRun, counts: tuple[int, int, int]) -> None:
        if self.shown is not run or self.running:
            return
        n = sum(counts)
        added, removed, moved = counts
        words = [f"{k:,} {what}" for k, what in ((added, "new"), (removed, "removed"), (moved, "moved")) if k]
        self.line.show_outdated(f"Out of date: {count_of(n)} changed since ({', '.join(words)})" if n else "")

    def _on_update(self) -> None:
        if (run := self.shown) is not None:
            self._bench.guarded(lambda: self.classify(decide.update_of(run)))

    def showEvent(self, event: object) -> None:
        """Look again whether the shown run is out of date."""
        super().showEvent(event)
        self._compare_timer.start()


def _fill_pick_sets(box: QComboBox, sets: Mapping[int, PickSet]) -> None:
    """Offer all picks, or those of one set; what was chosen stays chosen."""
    choices = [("all picks", None), *((pick_set.name, number) for number, pick_set in sets.items())]
    present = [(box.itemText(k), box.itemData(k)) for k in range(box.count())]
    if choices == present:
        return
    kept = box.currentData()
    with QSignalBlocker(box):
        box.clear()
        for text, number in choices:
            box.addItem(text, number)
        box.setCurrentIndex(max(0, box.findData(kept)) if kept is not None else 0)
    box.setVisible(True)


def _label(run: ClassRun) -> str:
    at = str(run.record.get("started", ""))[:16].replace("T", " ")
    named = run.source == "here" or run.source in run.name.lower()
    source = "" if named else f" ({run.source})"
    seconds = run.record.get("seconds")
    took = f" in {seconds:.0f} s" if seconds and run.source == "here" else ""
    return f"{run.name}{source}{took} · {at}" if at else f"{run.name}{source}"
