"""Let a picker propose candidates, here or on every micrograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from .... import extensions
from ....errors import EngineError
from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.curation import Decision, Table
from ....model.micrograph import FINISHED_STATES, Micrograph
from ....model.parameter import Need
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.picks import learning, proposing
from ....session.picks.learning import Learned
from ....session.picks.proposing import Proposal
from ...programs import Programs
from ...workbench import Workbench
from ..dialogs.size_question import SizeQuestion
from ..dialogs.template_choice import TemplateChoice
from .fold import Fold

_HERE = "Undecided candidates on this micrograph; nothing you decided is touched. One undo"
#: More picks at once than this were not looked at one by one.
_MANY = 50
#: Milliseconds without a decision before it is learned from by itself.
_PAUSE_MS = 700
_IF_CANCELLED = "no pick is entered, and the next start continues where this one stopped"
_EVERYWHERE = (
    "In the background, on every micrograph that is not finished; one step, one undo.\n"
    "If you cancel it, no pick is entered; the next start continues where it stopped"
)


def _takes_templates(picker: str | None) -> bool:
    return bool(picker) and Need.TEMPLATES in extensions.needs_of(str(picker))


def _learns(picker: str | None) -> bool:
    """Whether it is handed a model of the decisions in this project."""
    return bool(picker) and Need.MODEL in extensions.needs_of(str(picker))


class ProposeBox(QGroupBox):
    """Choose a picker, press a button.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Candidates")
        self._bench = bench
        self.learned: Learned | None = None
        self.picker = QComboBox()
        for name, picker in extensions.pickers().items():
            self.picker.addItem(picker.title, name)
        known = self.picker.findData(bench.window_state.get("picker"))
        self.picker.setCurrentIndex(known if known >= 0 else max(0, self.picker.findData(extensions.DEFAULT_PICKER)))
        self.programs = Programs(bench)
        self.picker.setToolTip("The picker that proposes candidates; it uses the particle diameter above")
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setMinimumHeight(2 * self.fontMetrics().height() + 2)
        self.here = QPushButton("Propose here")
        self.question = SizeQuestion(bench, self, self.here)
        self.templates = TemplateChoice(bench, self.question)
        self.anew = QCheckBox("Retrain as I decide")
        self.anew.setToolTip(
            "When there are a quarter more decisions than it learned from, it learns again in the background, and\n"
            "the candidates on this micrograph get new probabilities. They stay the picks they are; one step, one undo"
        )
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._learn_again)
        self._learning: Job | None = None
        self._heard = 0
        self.avoid = QCheckBox("Leave out carbon, ice and regions")
        self.avoid.setChecked(True)
        self.avoid.setToolTip(
            "Candidates in the regions of a micrograph, on carbon and ice found on the way, and on the padding border\n"
            "are left out. Unticked, they are proposed too, undecided like the others"
        )
        self.whole = QCheckBox("Whole boxes only, of")
        self.whole.setToolTip(
            "No candidates whose box would stick out of the micrograph: programs that cut boxes drop those,\n"
            "and labels made with them end half a box from the edge. Kept in the project; one step, one undo"
        )
        self.box_px = QSpinBox()
        self.box_px.setRange(2, 9999)
        self.box_px.setSuffix(" px")
        self.box_px.setKeyboardTracking(False)
        self.box_px.setToolTip("Side of the box, px of the micrograph; one and a half diameters where it is not set")
        boxes = QHBoxLayout()
        boxes.addWidget(self.whole)
        boxes.addWidget(self.box_px, 1)
        self.left_out = QLabel()
        self.left_out.setWordWrap(True)
        self.left_out.setToolTip("By the last proposal; the regions are listed under Carbon and ice")
        self.everywhere = QPushButton("On all unfinished")
        row = QHBoxLayout()
        row.addWidget(self.here)
        row.addWidget(self.everywhere)
        layout = QVBoxLayout(self)
        for widget in (self.picker, self.templates, self.note):
            layout.addWidget(widget)
        layout.addWidget(self.anew)
        layout.addLayout(row)
        self.options = Fold("Left out", self._folded(boxes), "Which candidates do not come, and how many did not")
        layout.addWidget(self.options)
        self.here.clicked.connect(self._on_here)
        self.everywhere.clicked.connect(self._on_everywhere)
        self.picker.currentIndexChanged.connect(self._on_picker)
        self.templates.changed.connect(self.refresh)
        self.picker.activated.connect(self._on_chosen)
        self.programs.changed.connect(self.refresh)
        self.whole.toggled.connect(self._on_whole)
        self.box_px.valueChanged.connect(self._on_whole)
        self.box_px.editingFinished.connect(bench.canvas.setFocus)
        bench.propose_requested.connect(self.propose_on)
        bench.session.current_changed.connect(self.refresh)
        bench.session.changed.connect(self._on_changed)
        bench.run_on.changed.connect(self.refresh)
        self.refresh()

    def _folded(self, boxes: QHBoxLayout) -> QWidget:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.avoid)
        layout.addLayout(boxes)
        layout.addWidget(self.left_out)
        return content

    def close_panel(self) -> None:
        """Stop following the session."""
        self._pause.stop()
        self.programs.changed.disconnect(self.refresh)
        self._bench.session.current_changed.disconnect(self.refresh)
        self._bench.session.changed.disconnect(self._on_changed)
        self._bench.run_on.changed.disconnect(self.refresh)

    # ------------------------------------------------------------------ what can be done

    def _on_changed(self, announcement: Announcement) -> None:
        self.refresh()
        if announcement.kind == "note":
            return
        if announcement.kind != "do":  # a step of the machine's now would cut off what can be redone
            self._pause.stop()
            if self._learning is not None:
                self._learning.cancel()
        elif announcement.change is not None and announcement.change.n_rows() > _MANY:
            # a bulk decision: what it was made by is not learned from as if a person had looked at each
            self._heard = sum(learning.decided(self._bench.session))
        elif announcement.touches(Table.PARTICLE) and self._would_learn():
            self._pause.start()

    def _on_picker(self) -> None:
        self._bench.window_state.put("picker", self.picker.currentData())
        self.refresh()

    def _on_chosen(self, _row: int) -> None:
        self._bench.over("propose")
        self.programs.ask(self.picker.currentData())

    def refresh(self) -> None:
        """Say what can be done now."""
        session, name = self._bench.session, self.picker.currentData()
        self.templates.setVisible(_takes_templates(name))
        self.anew.setVisible(_learns(name))
        self.templates.refresh()
        missing = self._missing(name)
        note = missing
        if _learns(name):
            note = missing or self._learned_note()
        self.note.setText(note[:1].upper() + note[1:])
        # its two lines keep their room for a picker that has something to say now and then
        self.note.setVisible(bool(note) or _learns(name) or _takes_templates(name))
        left_out = proposing.last_left_out(session)
        self.left_out.setText(left_out)
        self.left_out.setVisible(bool(left_out))
        box_px = session.settings.whole_box_px
        with QSignalBlocker(self.whole), QSignalBlocker(self.box_px):
            self.whole.setChecked(bool(box_px))
            self.box_px.setEnabled(bool(box_px))
            if not self.box_px.hasFocus():
                self.box_px.setValue(round(box_px) or session.settings.suggested_box_px(session.current))
        current = session.current
        why = missing or ("open a micrograph first" if current is None else current.problem)
        self.here.setEnabled(not why)
        run_on = self._bench.run_on
        self.here.setToolTip(why or ". ".join(words for words in (_HERE, run_on.tooltip_here) if words))
        self.everywhere.setEnabled(not missing)
        self.everywhere.setToolTip(missing or "\n".join(words for words in (_EVERYWHERE, run_on.tooltip) if words))

    def _on_whole(self) -> None:
        side_px = float(self.box_px.value()) if self.whole.isChecked() else 0.0
        self._bench.guarded(lambda: self._bench.session.set_whole_box_px(side_px))
        self.refresh()

    def _missing(self, name: str) -> str:
        if gone := self.programs.missing(name):
            return gone
        if _learns(name):
            return learning.why_not(self._bench.session)
        if _takes_templates(name) and self.templates.chosen is None:
            return "no templates yet: average the accepted picks, take a file, or keep averages in the Classes tab"
        return ""

    def _learned_note(self) -> str:
        there = learning.usable(self._bench.session)
        if self.learned is None or self.learned.species != self._bench.session.loaded.current_species:
            return there.sentence
        if learning.grown(self._bench.session, self.learned.model):
            more = there.n - self.learned.model.n_accepted - self.learned.model.n_rejected
            wait = "it will learn from them" if self.anew.isChecked() else "propose again to use them"
            return f"{more:,} more decisions since it last learned: {wait}"
        return there.sentence

    # ------------------------------------------------------------------ doing it

    def _on_here(self) -> None:
        if self.question.needed_for("Propose", self._on_here):
            return
        current = self._bench.session.current
        if current is not None:
            self._start([current])

    def _on_everywhere(self) -> None:
        if self.question.needed_for("Propose", self._on_everywhere):
            return
        micrographs = [m for m in self._bench.session.micrographs if m.state not in FINISHED_STATES and not m.problem]
        if not micrographs:
            self._bench.say("every micrograph is finished", "info")
            return
        self._start(micrographs, only_unfinished=True)

    def propose_on(self, chosen: Sequence[int]) -> None:
        """Propose on some micrographs, finished ones too."""
        if self.question.needed_for("Propose", lambda: self.propose_on(chosen)):
            return
        if missing := self._missing(self.picker.currentData()):
            self._bench.say(missing, "warning")
            return
        micrographs = [m for i in chosen if not (m := self._bench.session.micrograph(i)).problem]
        if not micrographs:
            self._bench.say("none of the chosen micrographs can be read", "warning")
            return
        self._start(micrographs)

    def _would_learn(self) -> bool:
        """Whether it should learn again automatically: it has learned here, and there are so many more decisions."""
        return (
            self.anew.isChecked()
            and _learns(self.picker.currentData())
            and self.learned is not None
            and self.learned.species == self._bench.session.loaded.current_species
            and learning.grown(self._bench.session, self.learned.model, self._heard)
            and not self._missing(self.picker.currentData())
        )

    def _learn_again(self) -> None:
        current = self._bench.session.current
        if current is None or current.problem or current.state in FINISHED_STATES:
            return
        if self._learning is not None or not self._would_learn():
            return
        self._learning = self._start([current], by_itself=True)

    def _parameters(self, name: str) -> dict[str, Any]:
        return self.templates.parameters() if _takes_templates(name) else {}

    def _start(
        self, micrographs: Sequence[Micrograph], *, only_unfinished: bool = False, by_itself: bool = False
    ) -> Job:
        bench, session, name = self._bench, self._bench.session, self.picker.currentData()
        where = micrographs[0].name if len(micrographs) == 1 else count_of(len(micrographs), "micrograph")
        parameters, avoid = self._parameters(name), self.avoid.isChecked()
        polarity = "bright" if session.settings.bright else "dark"
        # an answer for the micrograph on the screen does not wait for a cluster
        many = only_unfinished or len(micrographs) > 1
        scheduler = bench.run_on.scheduler if many else None

        def work(context: JobContext) -> tuple[Proposal, Learned | None]:
            given: Mapping[str, Any] = parameters
            learned = None
            if _learns(name):
                # trained again each time: it takes a second, and the decisions have grown
                learned = learning.learn(session, polarity=polarity, context=context)
                context.log(learned.summary)
                given = learning.parameters_of(learned)
            proposal = proposing.propose(
                session, name, micrographs, parameters=given, avoid=avoid, scheduler=scheduler, context=context
            )
            if proposal.failed and not proposal.candidates:
                raise EngineError(proposing.why_failed(proposal))
            return proposal, learned

        bench.over("propose")
        title, done = f"propose on {where}", partial(self._on_done, only_unfinished)
        if by_itself:
            title, done = f"retrain, {where}", partial(self._on_learned, micrographs[0].id)
        return bench.start(
            work,
            title=title,
            on_done=done,
            on_failed=self._on_failed,
            on_end=self._on_end,
            where=bench.run_on.where if many else bench.run_on.here,
            if_cancelled=_IF_CANCELLED if len(micrographs) > 1 else "",
        )

    def _on_failed(self, job: Job) -> None:
        about = "propose cluster" if job.where else "propose"
        self._bench.say(f"{job.error} · {job.title}", "error", about)  # the reason first: the line may be cut
        self.programs.ask(self.picker.currentData())

    def _on_end(self, job: Job) -> None:
        if job is self._learning:
            self._learning = None

    def _on_learned(self, micrograph: int, done: tuple[Proposal, Learned | None]) -> None:
        """Started automatically: kept only where the curator still is, and still wants it."""
        if self._bench.session.current_id == micrograph and self.anew.isChecked():
            self._on_done(False, done)
        else:
            self.learned = done[1] or self.learned

    def _on_done(self, only_unfinished: bool, done: tuple[Proposal, Learned | None]) -> None:
        proposal, learned = done
        if only_unfinished:
            proposal = self._of_unfinished(proposal)
        if learned is not None:
            self.learned = learned
        learned_from = f" · {learned.summary}" if learned is not None else ""
        level = "warning" if proposal.failed else "info"

        def tell(line: str) -> None:
            self._bench.say(line + learned_from + self._all_hidden(proposal), level)

        def enter() -> None:
            proposing.enter(self._bench.session, proposal, tell)

        self._bench.guarded(enter)
        self.refresh()

    def _all_hidden(self, proposal: Proposal) -> str:
        """What to do where none of the candidates that were proposed here is drawn."""
        drawn, session = self._bench.focus.drawn, self._bench.session
        p = session.particles
        if [number for number, _ in proposal.candidates] != [session.current_id] or drawn.threshold is None:
            return ""
        undecided = p.decision == Decision.UNDECIDED
        if not undecided.any() or not drawn.below()[undecided].all():
            return ""
        return f" · all below the threshold {drawn.threshold:.4g}: move the line"

    def _of_unfinished(self, proposal: Proposal) -> Proposal:
        """A proposal without the micrographs that were finished while it was made."""
        session = self._bench.session

        def is_open(number: int) -> bool:
            return session.micrograph(number).state not in FINISHED_STATES

        return replace(
            proposal,
            candidates=tuple(item for item in proposal.candidates if is_open(item[0])),
            regions=tuple(item for item in proposal.regions if is_open(item[0])),
        )
