"""A blind second pass on the screen: a place without any ring but the mark, one key for the answer, next."""

from __future__ import annotations

import secrets
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ....errors import AnnotatorError
from ....formats.atomic import write_text
from ....model.curation import Decision
from ....session.review.second_pass import BlindItem, PassResult, SecondPass, sample_places
from ...latest import Latest
from ...layers.review_layer import ReviewLayer
from ...workbench import Workbench
from ..dialogs.second_pass_dialog import SecondPassDialog
from ..panels.particle_gallery import decision_of
from .answer_buttons import describe, in_two_columns, wrapped

#: Seeds of samples: any will do, it is kept with none.
_SEEDS = 2**31


class SecondLook(QWidget):
    """Walks a curator through the places of a second pass.

    Parameters
    ----------
    bench : Workbench
    mark : ReviewLayer
    """

    def __init__(self, bench: Workbench, mark: ReviewLayer) -> None:
        super().__init__()
        self._bench, self._mark, self._latest = bench, mark, Latest()
        self._pass = SecondPass(bench.session)
        self.number: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.begin, self.go_on = QPushButton("Begin…"), QPushButton("Go on")
        self.question, self.why, self.results = QLabel(), QLabel(), QLabel()
        self.progress = QProgressBar()
        self.yes, self.no, self.skip, self.back = QPushButton(), QPushButton(), QPushButton(), QPushButton()
        self.show_results, self.csv = QPushButton("Results"), QPushButton("Save as CSV…")
        self.consensus = QPushButton("Make the consensus a set")
        wrapped(self.question, self.why, self.results)
        tips = {
            self.begin: "Draws a random sample of places; a pass that is open is put aside",
            self.go_on: "Shows the next place that you are to judge, or to settle",
            self.yes: "It is a particle; what others said is not shown",
            self.no: "It is none; what others said is not shown",
            self.skip: "Say nothing about this place; others are asked",
            self.back: "Take your last answer back",
            self.show_results: "How good the labels and the curators are, as far as was answered",
            self.csv: "Writes each place with what the labels and each curator said of it",
            self.consensus: "A new set of the places that are particles after all; each pick remembers who said what",
        }
        keyed = {
            self.yes: "Particle ({accept})",
            self.no: "No particle ({reject})",
            self.skip: "Skip ({next-undecided})",
            self.back: "Back ({undo})",
        }
        describe(bench, tips, keyed)
        self._arrange()
        self.begin.clicked.connect(self._on_begin)
        self.go_on.clicked.connect(self.show_next)
        self.yes.clicked.connect(lambda: self._answer(True))
        self.no.clicked.connect(lambda: self._answer(False))
        self.skip.clicked.connect(lambda: self._answer(None))
        self.back.clicked.connect(self._on_back)
        self.show_results.clicked.connect(self._on_results)
        self.csv.clicked.connect(self._on_csv)
        self.consensus.clicked.connect(lambda: bench.guarded(self._pass.make_consensus))
        bench.session.current_changed.connect(self._on_current)
        bench.takers.append(self)
        self._load()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self._bench.session.current_changed.disconnect(self._on_current)
        self._bench.takers.remove(self)

    def _arrange(self) -> None:
        top, below = QHBoxLayout(), QHBoxLayout()
        for row, buttons in ((top, (self.begin, self.go_on)), (below, (self.show_results, self.csv))):
            for button in buttons:
                row.addWidget(button)
        grid = in_two_columns((self.yes, self.no, self.skip, self.back))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 2, 2)
        layout.addLayout(top)
        for widget in (self.progress, self.question, self.why):
            layout.addWidget(widget)
        layout.addLayout(grid)
        layout.addLayout(below)
        layout.addWidget(self.consensus)
        layout.addWidget(self.results)
        layout.addStretch(1)

    # ------------------------------------------------------------------ beginning

    def _load(self) -> None:
        try:
            loaded = self._pass.load()
        except AnnotatorError as error:
            loaded = False
            self._bench.warn(str(error))
        self._rest(f"A second pass on {self._pass.of} is open." if loaded else "Begin a second pass first.")

    def _on_begin(self) -> None:
        dialog = SecondPassDialog(self._bench.session, self, self._pass.n_answers)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._bench.closing.connect(dialog.reject)
        dialog.accepted.connect(lambda: self._draw(dialog))
        dialog.open()

    def _draw(self, dialog: SecondPassDialog) -> None:
        session, options = self._bench.session, dialog.options(secrets.randbelow(_SEEDS))
        of = dialog.labels.currentText()
        self._latest.ask()
        self._bench.start(
            lambda context: sample_places(session, options),
            title="draw a sample of places",
            on_done=self._latest.only(lambda items: self._on_drawn(items, of)),
        )

    def _on_drawn(self, items: list[BlindItem], of: str) -> None:
        if self._bench.guarded(lambda: self._pass.start(items, of)):
            self.show_next()

    # ------------------------------------------------------------------ walking

    def show_next(self) -> None:
        """Bring the next place to the middle of the screen; no pick is drawn."""
        number = self._pass.next()
        if number is None:
            who = self._bench.session.curator
            self._rest(f"Nothing is left for {who}." if self._pass.items else "Begin a second pass first.")
            return
        item, session = self._pass.items[number], self._bench.session
        self.number = None
        if session.current_id != item.micrograph and not self._bench.guarded(lambda: session.go(item.micrograph)):
            return
        self.number = number
        self._pass.hold(number)
        self._bench.focus.select([])
        self._bench.particles_layer.cover(True)
        diameter = session.settings.diameter_px(session.micrograph(item.micrograph))
        self._bench.viewport.centre_at(item.x, item.y, diameter)
        self._mark.show_mark(item.x, item.y, diameter, *self._bench.world())
        self.results.setText("")
        self.question.setText("Is this a particle?")
        self.why.setText(session.micrograph(item.micrograph).name)
        self._show_parts()
        self.setFocus()

    def _rest(self, text: str) -> None:
        """No place is shown; the picks come back."""
        self.number = None
        self._mark.clear()
        self._bench.particles_layer.cover(False)
        self.question.setText(text)
        self.why.setText("")
        self._show_parts()

    def _show_parts(self) -> None:
        there, shown = bool(self._pass.items), self.number is not None
        left, done = self._pass.n_left, self._pass.n_done
        self.progress.setFormat(f"{done:,} answered · {left:,} left" if there else "no second pass yet")
        self.progress.setRange(0, max(1, done + left))
        self.progress.setValue(done)
        for button in (self.yes, self.no, self.skip):
            button.setEnabled(shown)
        self.back.setEnabled(self._pass.can_go_back)
        self.go_on.setEnabled(there and not shown and left > 0)
        self.show_results.setEnabled(there)
        self.csv.setEnabled(there)
        self.consensus.setEnabled(there)

    def hideEvent(self, event: object) -> None:
        """Behind another tab the picks are shown again."""
        super().hideEvent(event)
        if self.number is not None:
            self._rest(f"A second pass on {self._pass.of} is open.")

    def _on_current(self) -> None:
        if self.number is not None and self._pass.items[self.number].micrograph != self._bench.session.current_id:
            self._rest(f"A second pass on {self._pass.of} is open.")

    # ------------------------------------------------------------------ answering

    def _answer(self, is_particle: bool | None) -> None:
        number = self.number
        if number is not None and self._bench.guarded(lambda: self._pass.answer(number, is_particle)):
            self.show_next()

    def _on_back(self) -> None:
        if self._bench.guarded(self._pass.back):
            self.show_next()

    def _on_results(self) -> None:
        self._rest(self.question.text() if self.number is None else f"A second pass on {self._pass.of} is open.")
        self.results.setText(_said(self._pass.result(), self._pass.of))

    def _on_csv(self) -> None:
        bench = self._bench
        start = str(bench.session.data_root / "second_pass.csv")
        name, _ = QFileDialog.getSaveFileName(self, "Save the second pass", start, "CSV (*.csv)")
        if name and bench.guarded(lambda: write_text(Path(name), self._pass.as_csv())):
            bench.say(f"wrote {name}")

    # ------------------------------------------------------------------ keys

    def has_keyboard(self) -> bool:
        """Whether keys answer the place on the screen: always while one is there, for no pick is to be decided then."""
        return self.isVisible() and self.number is not None and QApplication.activeWindow() in (None, self.window())

    def take(self, command: str) -> bool:
        """Answer with the key of a decision. Returns whether the command was one."""
        if command == "undo":
            self._on_back()
            return True
        if command == "next-undecided":
            self._answer(None)
            return True
        decided = decision_of(command)
        if decided is not None and decided[0] is not Decision.UNDECIDED:
            self._answer(decided[0] is Decision.ACCEPTED)
            return True
        return False


def _said(result: PassResult, of: str) -> str:
    """What a second pass tells, some lines of plain words."""
    lines = [f"Looked at again: {result.n_judged:,} of {result.n_places:,}; {result.n_differ:,} differ"]
    lines[0] += f", {result.n_settled:,} of them settled." if result.n_differ else "."
    if result.n_judged:
        q = result.labels
        lines += ["", f"{of}: F1 {q.f1}", f"precision {q.precision}", f"recall {q.recall}"]
    for who, quality in result.curators.items():
        lines += ["", f"{who}, on {quality.n} gold: F1 {quality.f1}"]
        lines += [f"precision {quality.precision}", f"recall {quality.recall}"]
    return "\n".join([*lines, "", "In brackets: 95 % intervals."])
