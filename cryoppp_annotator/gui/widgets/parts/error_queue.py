"""The queue of likely errors on the screen: the item in the middle, why it is here, one key for the answer, next."""

from __future__ import annotations

import math

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ....audit.suspects import ErrorKind
from ....errors import AnnotatorError
from ....jobs.runner import Job
from ....model.curation import Decision, Reason
from ....session.core.session import Announcement
from ....session.picks.suggesting import are_probabilities
from ....session.review import sets
from ....session.review.error_queue import Answer, Review, find_errors
from ....session.review.review_item import ReviewItem
from ....session.review.undecided_queue import UNDECIDED, UNDECIDED_NAME, undecided_items
from ...binding import is_alive
from ...latest import Latest
from ...layers.review_layer import ReviewLayer
from ...workbench import Workbench
from ..dialogs.look_alikes import LookAlikes
from ..panels.particle_gallery import decision_of
from .answer_buttons import describe, in_two_columns, wrapped

_QUESTIONS = {
    ErrorKind.FALSE: "Is this a particle?",
    ErrorKind.MOVED: "Is this pick where its particle is?",
    ErrorKind.DOUBLE: "Is this another particle?",
    ErrorKind.MISSING: "Is this a particle without a pick?",
    ErrorKind.GAP: "Are these particles?",
}


class ErrorQueue(QWidget):
    """Walks through the likely errors of a set.

    Parameters
    ----------
    bench : Workbench
    mark : ReviewLayer
    """

    def __init__(self, bench: Workbench, mark: ReviewLayer) -> None:
        super().__init__()
        self._bench, self._mark, self._latest = bench, mark, Latest()
        self._review = Review(bench.session)
        self.number: int | None = None
        self._question: QMessageBox | None = None
        self._chosen = False  # whether a person chose the set
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.of, self.find = QComboBox(), QPushButton("Find errors")
        self.said, self.why = QLabel(), QLabel()
        wrapped(self.said, self.why)
        self.progress = QProgressBar()
        self.accept, self.reject = QPushButton(), QPushButton()
        self.move_to, self.skip = QPushButton("Move there (M)"), QPushButton()
        self.page, self.back = QPushButton("Look-alikes (Enter)"), QPushButton()
        tips = {
            self.find: "Judges each pick by a model fitted to the picks of the other micrographs; changes nothing",
            self.of: "The pick set in which errors are searched",
            self.accept: "It is a particle: accept it, and go to the next item",
            self.reject: "It is none: reject it, and go to the next item; the keys of reasons give one",
            self.move_to: "Move the pick to where the model sees the particle",
            self.skip: "Say nothing about this item; it stays in the queue",
            self.page: "Look-alikes of this item side by side: click the exceptions, answer the rest together",
            self.back: "Go back to the item before and take its answer back",
        }
        keyed = {
            self.accept: "Particle ({accept})",
            self.reject: "No particle ({reject})",
            self.back: "Back ({undo})",
        }
        describe(bench, tips, keyed)
        self._arrange()
        self.of.activated.connect(self._on_chosen)
        self.find.clicked.connect(self._on_find)
        self.accept.clicked.connect(lambda: self._answer(Answer.ACCEPT))
        self.reject.clicked.connect(lambda: self._answer(Answer.REJECT))
        self.move_to.clicked.connect(lambda: self._answer(Answer.MOVE))
        self.skip.clicked.connect(lambda: self._answer(Answer.SKIP))
        self.back.clicked.connect(self._on_back)
        self.page.clicked.connect(self._on_page)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._on_current)
        bench.canvas.installEventFilter(self)
        bench.takers.append(self)
        bench.on_rekeyed.append(self._name_skip)
        self._fill()
        self._resume()

    def close_panel(self) -> None:
        """Stop following the session."""
        self.number = None
        self._latest.close()
        self._bench.session.changed.disconnect(self._on_changed)
        self._bench.session.current_changed.disconnect(self._on_current)
        if is_alive(self._bench.canvas):
            self._bench.canvas.removeEventFilter(self)
        self._bench.takers.remove(self)

    def _arrange(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.of, 1)
        top.addWidget(self.find)
        grid = in_two_columns((self.accept, self.reject, self.move_to, self.skip, self.page, self.back))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 2, 2)
        layout.addLayout(top)
        layout.addWidget(self.progress)
        layout.addWidget(self.said)
        layout.addWidget(self.why)
        layout.addLayout(grid)
        layout.addStretch(1)

    def _fill(self) -> None:
        session = self._bench.session
        # the largest is looked for where somebody sees it: among millions of picks that takes half a second
        chosen = sets.largest(session) if self.isVisible() and not self._chosen else self.of.currentData()
        self.of.clear()
        for number, name in sets.choices(session).items():
            self.of.addItem(name, number)
        self.of.addItem(UNDECIDED_NAME, UNDECIDED)
        self.of.setCurrentIndex(max(0, self.of.findData(chosen)))

    def _on_chosen(self, _row: int) -> None:
        self._chosen = True

    def _on_changed(self, announcement: Announcement) -> None:
        if len(sets.choices(self._bench.session)) + 1 != self.of.count():
            self._fill()
        if announcement.kind == "undo" and self._review.take_back_undone():
            # undone on the picture: the question is open again
            if self.isVisible():
                self.show_next()
            else:
                self._show_progress()
        elif announcement.kind == "do":
            QTimer.singleShot(0, self._after_step)

    def _on_current(self) -> None:
        """On another micrograph the keys are for what is seen there."""
        if self.number is None or self._review.items[self.number].micrograph == self._bench.session.current_id:
            return
        self.number = None
        self._bench.show.expect(())
        self._mark.clear()
        self.said.setText("The queue waits: Go on shows its next item.")
        self.why.setText("")
        self._show_progress()

    def showEvent(self, event: object) -> None:
        """Offer the set that is worth a look now."""
        if not self._chosen:
            self._fill()
        super().showEvent(event)

    # ------------------------------------------------------------------ finding

    def _resume(self) -> None:
        try:
            loaded = self._review.load()
        except AnnotatorError as error:
            loaded = False
            self._bench.warn(str(error))
        self.why.setText("")
        if loaded and self._review.n_left:
            self.said.setText(f"A review of {self._review.title} is open.")
        else:
            self.said.setText("Every item is answered." if loaded else "Find errors in a set first.")
        self._show_progress()

    def _on_find(self) -> None:
        if self._review.items and self._review.n_left:
            self._ask_what_becomes()
        else:
            self._find()

    def _ask_what_becomes(self) -> None:
        """A queue with open items is not replaced unasked."""
        review = self._review
        question = self._question = QMessageBox(self)
        question.setIcon(QMessageBox.Icon.Question)
        question.setWindowTitle("Go on with the open queue?")
        question.setText(
            f"The review of {review.title} has open items: {review.n_left:,} (answered so far: {review.n_answered:,})."
        )
        question.setInformativeText("A new queue puts this one aside. Answers that were given stay decided.")
        go_on = question.addButton("Go on with it", QMessageBox.ButtonRole.AcceptRole)
        question.addButton("New queue", QMessageBox.ButtonRole.DestructiveRole)
        question.addButton(QMessageBox.StandardButton.Cancel)
        question.setDefaultButton(go_on)
        self._bench.closing.connect(question.reject)
        question.finished.connect(self._on_reply)
        question.open()

    def _on_reply(self, _code: int) -> None:
        question, self._question = self._question, None
        if question is None:
            return
        role = question.buttonRole(question.clickedButton())
        question.deleteLater()
        if role == QMessageBox.ButtonRole.AcceptRole:
            self.show_next()
        elif role == QMessageBox.ButtonRole.DestructiveRole:
            self._find()

    def _find(self) -> None:
        number, session, of = self.of.currentData(), self._bench.session, self.of.currentText()
        if number == UNDECIDED:
            self._line_up_undecided()
            return
        if not self._latest.ask():
            return
        self.find.setEnabled(False)
        self.said.setText("Each micrograph is judged by the picks of the others …")
        self._bench.start(
            lambda context: find_errors(session, number, context),
            title="find errors in picks",
            on_done=self._latest.only(lambda items: self._on_found(items, of)),
            on_failed=self._on_failed,
        )

    def _line_up_undecided(self) -> None:
        drawn, session = self._bench.focus.drawn, self._bench.session
        if drawn.threshold is None:
            self._bench.say("propose candidates first: they are lined up by their distance from the threshold")
            return
        where, scales, line = drawn.scored_sets(), are_probabilities(session, drawn.scored_sets()), drawn.threshold
        self._bench.guarded(
            lambda: self._on_found(undecided_items(session, where, line, probabilities=scales), self.of.currentText())
        )

    def _on_failed(self, job: Job) -> None:
        self.find.setEnabled(True)
        self.said.setText("Errors could not be searched")
        self.why.setText(str(job.error))
        self._bench.job_failed(job)

    def _on_found(self, items: list[ReviewItem], of: str) -> None:
        self.find.setEnabled(True)
        if self._bench.guarded(lambda: self._review.start(items, of)):
            self.show_next()

    # ------------------------------------------------------------------ walking

    def show_next(self) -> None:
        """Bring the next unanswered item to the middle of the screen."""
        self.number = self._review.next()
        self._show_progress()
        if self.number is None:
            self.said.setText("Every item is answered." if self._review.items else "Find errors in a set first.")
            self.why.setText("")
            self._mark.clear()
            self._bench.show.expect(())
            return
        if self.number and not self._review.n_likely_left and self._review.items[self.number - 1].likely:
            self._bench.say("every likely error is answered: what is left is more likely right than wrong")
        self._review.hold(self.number)
        self.show_item(self._review.items[self.number])
        self._bench.show.expect(self._review.upcoming())

    def show_item(self, item: ReviewItem) -> None:
        """Centre an item, enlarged, and say why it is here."""
        session = self._bench.session
        if session.current_id != item.micrograph and not self._bench.guarded(lambda: session.go(item.micrograph)):
            return
        self._bench.focus.select(self._item_pick())
        micrograph = session.micrograph(item.micrograph)
        diameter = session.settings.diameter_px(micrograph)
        self._bench.viewport.centre_at(item.x, item.y, diameter)
        where = (item.to_x, item.to_y) if math.isfinite(item.to_x) else (item.x, item.y)
        self._mark.show_mark(*where, diameter, *self._bench.world())
        many = f" ({len(item.members)} places; Enter shows them)" if item.members else ""
        self.said.setText(f"{_QUESTIONS[item.kind]} {item.kind.value}, {item.probability:.0%}{many}")
        self.why.setText(f"{micrograph.name}: {item.reason}")
        self.setFocus()

    def _show_progress(self) -> None:
        n = len(self._review.items)
        self.progress.setFormat(self._counted() if n else "no queue yet")
        self.progress.setRange(0, max(1, n))
        self.progress.setValue(self._review.n_answered)
        item = None if self.number is None else self._review.items[self.number]
        self._name_skip()
        for button in (self.accept, self.reject):
            button.setEnabled(item is not None and item.kind is not ErrorKind.GAP)
        self.page.setEnabled(n > 0)
        self.skip.setEnabled(n > 0)
        self.back.setEnabled(self._review.can_go_back)
        self.move_to.setEnabled(item is not None and math.isfinite(item.to_x))

    def _counted(self) -> str:
        """How far one has come; the queue goes on far beyond what is likely wrong."""
        review, answered = self._review, f"%v of {len(self._review.items):,} answered"
        return answered if review.of == UNDECIDED_NAME else f"{answered} · {review.n_likely_left:,} likely left"

    def _name_skip(self) -> None:
        shown = self.number is not None
        self.skip.setText(self._bench.keyed("Skip ({next-undecided})") if shown else "Go on")

    # ------------------------------------------------------------------ answering

    def _answer(self, answer: Answer, reason: Reason = Reason.NOT_A_PARTICLE) -> None:
        number = self.number
        if number is None:
            self.show_next()
            return
        if not self._review.is_open(number):
            self._bench.say("somebody else has answered this item meanwhile: here is the next one")
            self.show_next()
            return
        if self._review.items[number].kind is ErrorKind.GAP and answer is not Answer.SKIP:
            self._on_page()
            return
        if answer is Answer.MOVE and not math.isfinite(self._review.items[number].to_x):
            self._bench.say("the right place of this pick is not known: move it by hand, or say what it is")
            return
        if self._bench.guarded(lambda: self._bench.say(self._review.answer(number, answer, reason))):
            self.show_next()

    def _on_back(self) -> None:
        back: list[int | None] = []
        if not self._bench.guarded(lambda: back.append(self._review.back())):
            return
        if back[0] is None:
            self._bench.say("there is no answer of this session to take back")
            return
        self.show_next()

    def _on_page(self) -> None:
        numbers = self._review.page()
        if not numbers:
            return
        self._review.hold(*numbers)
        dialog = LookAlikes(self._bench, self._review, numbers, self)
        dialog.answered.connect(self.show_next)
        dialog.open()

    # ------------------------------------------------------------------ keys

    def has_keyboard(self) -> bool:
        """Whether keys answer the item on the screen."""
        window, active = self.window(), QApplication.activeWindow()
        focus = window.focusWidget()
        if not self.isVisible() or self.number is None or focus is None or active not in (None, window):
            return False
        return focus is self or self.isAncestorOf(focus)

    def eventFilter(self, _watched: object, event: QEvent) -> bool:
        """A click on the picture does not take the keys for good."""
        if event.type() == QEvent.Type.MouseButtonRelease:
            QTimer.singleShot(0, self._take_keys_back)
        return False

    def _take_keys_back(self) -> None:
        """After a click on the picture, unless it selected another pick, which the keys then mean."""
        if self._lent() and self._bench.focus.selected.tolist() in ([], self._item_pick()):
            self.setFocus()

    def _after_step(self) -> None:
        """What was done on the picture is done: keys mean the item again."""
        if self._lent():
            self._bench.focus.select(self._item_pick())
            self.setFocus()

    def _lent(self) -> bool:
        """Whether the picture has the keys, while an item is shown."""
        if not is_alive(self) or not self.isVisible() or self.number is None:
            return False
        focus, canvas = self.window().focusWidget(), self._bench.canvas
        on_picture = focus is not None and (focus is canvas or canvas.isAncestorOf(focus))
        return on_picture and not any(taker.has_keyboard() for taker in self._bench.takers)

    def _item_pick(self) -> list[int]:
        """The pick that the item on the screen is about; none where it is about a place."""
        item = None if self.number is None else self._review.items[self.number]
        return [item.particle] if item is not None and item.particle else []

    def take(self, command: str) -> bool:
        """Answer with the key of a decision. Returns whether the command was one."""
        if command == "undo":
            if not self._review.last_step_was_an_answer:
                return False
            self._on_back()
            return True
        if command == "next-undecided":
            self._answer(Answer.SKIP)
            return True
        decided = decision_of(command)
        if decided is None or decided[0] is Decision.UNDECIDED:
            return False
        self._answer(Answer.ACCEPT if decided[0] is Decision.ACCEPTED else Answer.REJECT, decided[1])
        return True

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """M moves the pick to where the model thinks that its particle lies, Enter shows the look-alikes."""
        if event.key() == Qt.Key.Key_M:
            self._answer(Answer.MOVE)
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.page.isEnabled():
            self._on_page()
            return
        super().keyPressEvent(event)
