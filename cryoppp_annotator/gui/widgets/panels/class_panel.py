"""2D classes: see at once whether the picks are particles, and act on all of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from ....jobs.runner import Job
from ....model.classes import ClassRun
from ....model.curation import Change, Decision, Reason
from ....model.particles import Particles
from ....session.classes import decide
from ....session.classes.browse import RunPictures, SortBy, classes_of, is_doubtful, load_pictures, suggested_threshold
from ....session.core.edits import count_of
from ....session.core.session import Announcement, Session
from ....session.core.step import Nothing
from ...models.class_table import ClassTable
from ...workbench import Workbench
from ..parts.class_menu import SUFFIXES, ClassMenu
from ..parts.class_run import RunBox
from ..parts.compact import side_by_side
from ..parts.eliding_combo import ElidingCombo
from ..parts.gallery_tiles import ClassGallery
from .particle_gallery import ParticleGallery, decision_of

_SORTS = {
    "to reject": (SortBy.DOUBT, False),
    "largest": (SortBy.SIZE, False),
    "smallest": (SortBy.SIZE, True),
    "best quality": (SortBy.QUALITY, False),
    "worst quality": (SortBy.QUALITY, True),
    "finest": (SortBy.RESOLUTION, False),
    "coarsest": (SortBy.RESOLUTION, True),
}
#: Lines of the list of micrographs: nobody reads more.
_LISTED = 200

#: Tooltips of the order, the threshold and the button that lets the program choose the threshold.
_TIPS = (
    "Which classes come first: by picks, quality or resolution",
    "Classes of lower quality are dimmed and suggested for rejection",
    "As the program suggests",
)


class ClassesPanel(QWidget):
    """The *Classes* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Classes"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._session = bench.session
        self._pictures: RunPictures | None = None
        self._job: Job | None = None
        self._missed: list[Change] = []  # what was decided while a run was read
        self._threshold: float | None = None
        self.model = ClassTable()
        self.gallery = ClassGallery(self.model)
        self.run = RunBox(bench)
        self.particles = ParticleGallery(bench)
        self.verdict = self.run.line.verdict
        self._pages = QStackedWidget()
        self._pages.addWidget(self._gallery_page())
        self._pages.addWidget(self.particles)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.run)
        layout.addWidget(self._pages, 1)
        self.gallery.chosen_changed.connect(self._on_chosen)
        self.gallery.opened.connect(self._on_opened)
        self.particles.left.connect(self._on_left)
        self.run.preview.connect(self._on_preview)
        self.run.chosen.connect(self._on_run)
        bench.takers += [self, self.particles]
        bench.particles_layer.class_of = self._class_of
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._show_where)
        bench.focus.selection_changed.connect(self._mark)
        self.menu = ClassMenu(bench, self)
        self.run.more.setMenu(self.menu)
        self.setAcceptDrops(True)
        self.run.reread()
        self._show_actions()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._bench.takers = [t for t in self._bench.takers if t not in (self, self.particles)]
        self._bench.particles_layer.class_of = None
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self._show_where)
        self._bench.focus.selection_changed.disconnect(self._mark)

    # ------------------------------------------------------------------ layout

    def _gallery_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._sort_row())
        split = QSplitter(Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self.gallery)
        split.addWidget(self._where_box())
        split.setStretchFactor(0, 1)
        layout.addWidget(split, 1)
        layout.addLayout(self._actions())
        return page

    def _sort_row(self) -> QVBoxLayout:
        self.sort = ElidingCombo()
        self.sort.addItems(list(_SORTS))
        self.threshold = QSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(0, 100)
        self.quality = QLabel()
        self.automatic = QToolButton()
        self.automatic.setText("auto")
        self.wide = QPushButton("⤢ Show all")
        self.wide.setCheckable(True)
        self.wide.setToolTip("Show all classes at once, over most of the micrograph; again: as before")
        self.wide.toggled.connect(self._bench.widen_requested.emit)
        rows = QVBoxLayout()
        rows.addLayout(side_by_side(QLabel("First"), self.sort, self.wide))
        rows.addLayout(side_by_side(self.threshold, self.quality, self.automatic))
        self.sort.currentTextChanged.connect(self._on_sort)
        self.threshold.valueChanged.connect(self._on_threshold)
        self.automatic.clicked.connect(lambda: self._set_threshold(None))
        return rows

    def _where_box(self) -> QWidget:
        box = QWidget()
        layout = QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.where_title = QElidingLabel()
        self.where_title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.where = QListWidget()
        self.where.setToolTip("Where the picks of the chosen classes are; a click goes there")
        self.where.setMinimumHeight(2 * self.where.fontMetrics().height() + 12)
        self.where.setMaximumHeight(8 * self.where.fontMetrics().height())
        self.where.itemClicked.connect(self._on_where)
        layout.addWidget(self.where_title)
        layout.addWidget(self.where)
        return box

    def _actions(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(3)
        self.accept, self.reject = QPushButton(), QPushButton()
        self._bench.keep_keyed(self.accept.setText, "Accept ({accept})")
        self._bench.keep_keyed(self.reject.setText, "Reject ({reject})")
        self._bench.on_rekeyed.append(self._show_actions)
        self.accept_suggested = QPushButton()
        self.reject_suggested = QPushButton()
        self.open_button = QPushButton("Particles…")
        suggested = QLabel("Suggested")
        for row, widgets in enumerate(
            ((self.accept, self.reject, self.open_button), (suggested, self.accept_suggested, self.reject_suggested))
        ):
            for column, widget in enumerate(widgets):
                grid.addWidget(widget, row, column)
        for column in range(3):
            grid.setColumnStretch(column, 1)
        self.accept.clicked.connect(lambda: self.decide(self.gallery.chosen(), Decision.ACCEPTED))
        self.reject.clicked.connect(lambda: self.decide(self.gallery.chosen(), Decision.REJECTED))
        self.open_button.clicked.connect(lambda: self.open_classes(self.gallery.chosen()))
        for button, decision in (
            (self.accept_suggested, Decision.ACCEPTED),
            (self.reject_suggested, Decision.REJECTED),
        ):
            button.clicked.connect(lambda _on=False, d=decision: self.decide(self.model.suggested(d), d))
        return grid

    # ------------------------------------------------------------------ what is shown

    @property
    def shown(self) -> ClassRun | None:
        """The run whose classes are shown; None while there is none, or one goes on."""
        return None if self._pictures is None or self.model.is_live else self._pictures.run

    def _on_run(self, run: ClassRun | None) -> None:
        """Another stored run is to be shown."""
        if self._job is not None:
            self._job.cancel()
        if run is None:
            self._pictures = None
            self.model.clear()
            self._after_showing()
            return
        session, self._missed = self._session, []
        self._job = self._bench.start(
            lambda context: load_pictures(session, run, context=context),
            title=f"read classes of {run.name}",
            quiet=True,
            on_done=self._show,
            on_failed=self._on_load_failed,
        )

    def _on_load_failed(self, job: Job) -> None:
        self._pictures = None
        self.model.clear()
        self._after_showing()
        self.run.line.show_verdict(f"These classes cannot be shown: {job.error}")
        self._bench.job_failed(job)

    def _show(self, pictures: RunPictures) -> None:
        if self.run.shows_running():
            return
        same = self._pictures is not None and self._pictures.run.id == pictures.run.id
        if not same:
            self.gallery.clearSelection()
            self._pages.setCurrentIndex(0)
        self._pictures = pictures
        for change in self._missed:
            pictures.members.absorb(change)
        with QSignalBlocker(self.threshold):
            self._set_threshold(self._threshold if same else None)
        self.model.show_run(pictures.run.summaries, pictures.greys, pictures.members.counts())
        if self._pages.currentIndex() == 1:
            self.open_classes(self.particles.numbers)
        self._after_showing()

    def _after_showing(self) -> None:
        self._bench.particles_layer.redraw()
        self._mark()
        self._on_chosen()

    def _on_preview(self, greys: NDArray[np.uint8], share: NDArray[np.float64], n: int, iteration: int) -> None:
        if self._pages.currentIndex() == 1:
            return  # the particles that a person looks at stay on the screen
        self.model.show_preview(greys, share, n)
        self._show_actions()
        self.run.line.show_verdict(f"Iteration {iteration} on {count_of(n)}: the averages sharpen while it runs")

    def _on_left(self) -> None:
        self._pages.setCurrentIndex(0)
        self.gallery.setFocus()
        self._light()

    # ------------------------------------------------------------------ following the session

    def _on_changed(self, announcement: Announcement) -> None:
        pictures = self._pictures
        if announcement.change is not None:
            self._missed.append(announcement.change)
        if pictures is None or announcement.kind == "note":
            return
        if announcement.change is None:
            self._on_run(pictures.run)
        elif pictures.members.absorb(announcement.change):
            self.model.set_counts(pictures.members.counts())
            self._show_actions()
        self.particles.follow(announcement.change)

    def _class_of(self, shown: Particles) -> NDArray[np.int32] | None:
        """Classes of picks in the shown run; None where no run is shown."""
        return None if self._pictures is None else self._pictures.members.numbers_of(shown.id)

    def _mark(self) -> None:
        """Mark the classes of the picks that are selected on the canvas."""
        if self._pictures is None or self.model.is_live:
            return
        numbers = self._pictures.members.numbers_of(self._bench.focus.selected)
        marked = Counter(numbers[numbers > 0].tolist())
        self.model.set_marked(marked)
        if marked and not self.gallery.has_keyboard():
            row = self.model.row_of(marked.most_common(1)[0][0])
            if row >= 0:
                self.gallery.scrollTo(self.model.index(row))

    def showEvent(self, event: object) -> None:
        """Light the members of the chosen classes."""
        super().showEvent(event)
        self._light()

    def hideEvent(self, event: object) -> None:
        """Behind another tab nothing is lit, and the micrograph has its room again."""
        super().hideEvent(event)
        self.wide.setChecked(False)
        self._light()

    def _light(self) -> None:
        opened = self._pages.currentIndex() == 1
        numbers = self.particles.numbers if opened else self.gallery.chosen()
        self._bench.particles_layer.light(frozenset(numbers if self.isVisible() else ()))

    # ------------------------------------------------------------------ choosing

    def _on_chosen(self) -> None:
        _consider(self._bench, self._pictures, self.gallery.chosen())
        self._light()
        self._show_where()
        self._show_actions()

    def _show_where(self) -> None:
        chosen = self.gallery.chosen()
        self.where.clear()
        if self._pictures is None or not chosen:
            self.where_title.setText("Choose a class to see its micrographs." if self.shown else "")
            self.where.setVisible(False)
            return
        counts = self._pictures.members.where(chosen)
        self.where_title.setText(_where_text(chosen, counts, self._session.current_id))
        self.where_title.setToolTip(self.where_title.text())
        _fill_where(self.where, counts, self._session)
        self.where.setVisible(True)

    def _on_where(self, item: QListWidgetItem) -> None:
        number = item.data(Qt.ItemDataRole.UserRole)
        if number is not None and number != self._session.current_id:
            self._bench.guarded(lambda: self._session.go(number))

    def _on_opened(self, index: QModelIndex) -> None:
        chosen = self.gallery.chosen()
        number = self.model.numbers[index.row()]
        self.open_classes(chosen if number in chosen else [number])

    def open_classes(self, numbers: Sequence[int]) -> None:
        """Show the particles of classes."""
        if self.shown is None or self._pictures is None or not numbers:
            return
        parameters = self._pictures.run.record.get("parameters", {})
        self._pages.setCurrentIndex(1)
        middle = self._threshold_shown()
        doubtful = any(is_doubtful(self.model.tile(k).summary, middle) for k in numbers)
        self.particles.open(
            self._pictures.members, numbers, invert=bool(parameters.get("invert", True)), worst_first=doubtful
        )
        self._light()

    def _on_sort(self, text: str) -> None:
        by, ascending = _SORTS[text]
        self.model.sort_by(by, ascending=ascending)

    def _on_threshold(self, value: int) -> None:
        self._set_threshold(value / 100)

    def _set_threshold(self, threshold: float | None) -> None:
        """Suggest by a quality; None = as the program does."""
        self._threshold = threshold
        shown = self._threshold_shown()
        with QSignalBlocker(self.threshold):
            self.threshold.setValue(round(100 * shown))
        self.quality.setText(f"q {shown:.2f}")
        self.model.set_threshold(threshold)
        self._show_actions()

    def _threshold_shown(self) -> float:
        if self._threshold is not None:
            return self._threshold
        return 0.0 if self._pictures is None else suggested_threshold(self._pictures.run.summaries)

    # ------------------------------------------------------------------ deciding

    def decide(self, numbers: Sequence[int], decision: Decision, reason: Reason = Reason.NOT_A_PARTICLE) -> None:
        """Decide about all picks of classes, as one step."""
        run = self.shown
        if run is None:
            self._bench.say("no finished classes are shown", "info")
        elif not numbers:
            self._bench.say("choose classes first: click one, Ctrl or Shift adds more", "info")
        else:
            self._bench.guarded(lambda: self._decide(run, numbers, decision, reason))

    def _decide(self, run: ClassRun, numbers: Sequence[int], decision: Decision, reason: Reason) -> None:
        n = sum(sum(self.model.tile(k).counts) for k in numbers)
        outcome = decide.decide_classes(self._session, run.id, numbers, decision, reason, at_most=n)
        if isinstance(outcome, Nothing):
            self._bench.say(outcome.why, "info")

    def has_keyboard(self) -> bool:
        """Whether keys mean the chosen classes."""
        return self.gallery.has_keyboard()

    def take(self, command: str) -> bool:
        """Do a command about the chosen classes. Returns whether it was one."""
        gallery = self.gallery
        choose = {
            "select-none": gallery.clearSelection,
            "select-all": gallery.selectAll,
            "select-others": gallery.invert,
        }
        if command in choose:
            choose[command]()
            return True
        decided = decision_of(command)
        if decided is None:
            return False
        decision, reason = decided
        self.decide(self.gallery.chosen(), decision, reason)
        return True

    def _show_actions(self) -> None:
        """Say what can be done now, and why not."""
        run, chosen = self.shown, self.gallery.chosen()
        why = "" if run is not None else "the run goes on" if self.model.is_live else "there are no classes yet"
        none = why or ("" if chosen else "choose classes first: click one, Ctrl or Shift adds more")
        tips = (
            (self.accept, none, decide.ACCEPT_TIP),
            (self.reject, none, self._bench.keyed(f"{decide.REJECT_TIP} {{reasons}} give another reason.")),
            (self.open_button, none, "Shows the particles of the chosen classes (double click, Enter)"),
        )
        for button, reason, tip in tips:
            button.setEnabled(not reason)
            button.setToolTip(reason or tip)
        for button, decision, verb in (
            (self.accept_suggested, Decision.ACCEPTED, "Accept"),
            (self.reject_suggested, Decision.REJECTED, "Reject"),
        ):
            numbers = [] if run is None else self.model.suggested(decision)
            n = sum(sum(self.model.tile(k).counts) for k in numbers)
            button.setText(f"{verb} {len(numbers):,}" if numbers else verb)
            button.setEnabled(bool(numbers))
            what = classes_of(len(numbers))
            button.setToolTip(why or (f"{what} with {count_of(n)}, as one step" if numbers else "nothing is suggested"))
        for control, tip in zip((self.sort, self.threshold, self.automatic), _TIPS, strict=True):
            control.setEnabled(run is not None)
            control.setToolTip(why or tip)
        if run is not None:
            self.run.line.show_verdict(*_verdict_of(run))
        elif not self.model.is_live:
            self.run.line.show_verdict("")

    # ------------------------------------------------------------------ classes of other programs

    def dragEnterEvent(self, event: object) -> None:
        """Take files of classes."""
        urls = event.mimeData().urls()  # type: ignore[attr-defined]
        if urls and all(url.toLocalFile().endswith(SUFFIXES) for url in urls):
            event.acceptProposedAction()  # type: ignore[attr-defined]

    def dropEvent(self, event: object) -> None:
        """Import what is dropped."""
        urls = event.mimeData().urls()  # type: ignore[attr-defined]
        self.menu.import_files([Path(url.toLocalFile()) for url in urls])


def _consider(bench: Workbench, pictures: RunPictures | None, chosen: Sequence[int]) -> None:
    """Rejecting these classes may remove a view: that is asked before it is done."""
    if pictures is not None and chosen:
        ids = pictures.members.particle[pictures.members.of_classes(chosen)]
        bench.rejection_considered.emit(ids, "rejecting what is chosen")


def _verdict_of(run: ClassRun) -> tuple[str, str]:
    """What is said of a run, and its notes."""
    notes = run.record.get("inputs", {}).get("notes", ())
    more = f" ({count_of(len(notes), 'note')})" if notes else ""
    return f"{run.verdict or run.name}{more}.", "\n".join(notes)


def _where_text(chosen: Sequence[int], counts: Sequence[tuple[int, int]], current: int | None) -> str:
    here = dict(counts).get(current, 0) if current is not None else 0
    what = f"Class {chosen[0]}" if len(chosen) == 1 else classes_of(len(chosen))
    total = sum(n for _, n in counts)
    return f"{what}, {count_of(total)}: {here:,} here, on {count_of(len(counts), 'micrograph')}"


def _fill_where(listed: QListWidget, counts: Sequence[tuple[int, int]], session: Session) -> None:
    """The micrographs that the picks of some classes are on, the one on the screen in bold."""
    for number, n in counts[:_LISTED]:
        item = QListWidgetItem(f"{n:,}  ·  {session.micrograph(number).name}")
        item.setData(Qt.ItemDataRole.UserRole, number)
        if number == session.current_id:
            font = item.font()
            font.setBold(True)
            item.setFont(font)
        listed.addItem(item)
    if len(counts) > _LISTED:
        listed.addItem(f"… and {len(counts) - _LISTED:,} more")
