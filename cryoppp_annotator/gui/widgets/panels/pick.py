"""Picking and deciding: diameter, colours, contrast, thresholds, bulk decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ....model.curation import Decision, Delta, Reason, Table
from ....model.which import Which
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.core.species import named
from ....session.core.step import Nothing
from ....session.picks.suggesting import are_probabilities
from ...latest import Latest
from ...layers.styles import WORDS
from ...workbench import Workbench
from ..parts.by_class import ByClassRow
from ..parts.calm_wheel import calm
from ..parts.particle_size import ParticleSizeBox
from ..parts.propose import ProposeBox
from ..parts.region_box import RegionsBox
from ..parts.sets_box import SetsBox
from ..parts.species_box import SpeciesBox
from ..parts.suggested import SuggestedThreshold
from ..parts.threshold import ThresholdSlider
from ..parts.view import ViewBox

_SIDES = "Undecided picks only; decided ones stay as they are. One step, one undo."
_NOTHING = "nothing undecided is there"
HERE = "this micrograph"
EVERYWHERE = "all micrographs"


class PickPanel(QScrollArea):
    """The *Pick* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Pick"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._threshold_chosen = False
        self._scale: tuple[int, ...] | None = None
        self._targets_shown: tuple[bool, dict[str, tuple[str, ...]]] | None = None
        self._session = bench.session
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        self.propose = ProposeBox(bench)
        self.particle = ParticleSizeBox(bench)
        self.regions = RegionsBox(bench)
        self.view = ViewBox(bench)
        self.view.set_changed.connect(self._on_set)
        self.species, self.sets = SpeciesBox(bench), SetsBox(bench)
        bench.focus.drawn.changed.connect(self._count_soon)
        boxes = (self.particle, self.species, self.propose, self._score_box(), self._decide_box(), self.view, self.sets)
        for box in (*boxes, self.regions):
            layout.addWidget(box)
        layout.addStretch(1)
        for box in inner.findChildren(QGroupBox):
            box.layout().setContentsMargins(6, 4, 6, 6)
        for combo in inner.findChildren(QComboBox):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(5)
        for button in inner.findChildren(QPushButton):
            button.setMinimumWidth(10)
            button.setStyleSheet("padding: 3px 1px;")
        self.setWidget(inner)
        calm(inner)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        sideways = self.horizontalScrollBar()  # hidden, but a focus that moves on and a wheel would move it
        sideways.valueChanged.connect(lambda _value: sideways.setValue(0))
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self.refresh)
        bench.focus.selection_changed.connect(self._show_selection)
        bench.hovered_changed.connect(self._show_selection)
        self._sides: tuple[tuple[int, float | None, Which], tuple[int, int, int]] = ((-1, 0.0, Which()), (0, 0, 0))
        self._latest = Latest()
        self._count_timer = QTimer(self)
        self._count_timer.setSingleShot(True)
        self._count_timer.setInterval(150)
        self._count_timer.timeout.connect(self._show_counts)
        self._read_scores()
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self._count_timer.stop()
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self.refresh)
        self._bench.focus.drawn.changed.disconnect(self._count_soon)

    # ------------------------------------------------------------------ building

    def _decide_box(self) -> QGroupBox:
        box = QGroupBox("Decide")
        layout = QVBoxLayout(box)
        self._selection = QLabel()
        self._selection.setWordWrap(True)
        row = QHBoxLayout()
        self._target_buttons: list[tuple[QPushButton, str]] = []
        for name, text in (
            ("accept", "Accept"),
            ("reject", "Reject"),
            ("undecide", "Set undecided"),
            ("remove", "Remove"),
        ):
            row.addWidget(self._command_button(name, text))
        grid = QGridLayout()
        grid.setSpacing(3)
        self._reason_buttons: list[tuple[QPushButton, Reason]] = []
        for reason in Reason:
            if reason is not Reason.NONE:
                k = int(reason) - 1
                button = self._command_button(f"reject-{int(reason)}", reason.label)
                self._reason_buttons.append((button, reason))
                grid.addWidget(button, k // 3, k % 3)
        self._bench.on_rekeyed.append(self._name_reasons)
        self._name_reasons()
        rest = QHBoxLayout()
        self._scope = QComboBox()
        self._scope.addItems([HERE, EVERYWHERE])
        self._scope.setToolTip("Where these buttons and the score buttons act; one step, one undo")
        self._accept_all = QPushButton("Accept undecided")
        self._reject_all = QPushButton("Reject undecided")
        for button in (self._accept_all, self._reject_all):
            button.setToolTip("One step, one undo")
        self._accept_all.clicked.connect(lambda: self._on_all(Decision.ACCEPTED))
        self._reject_all.clicked.connect(lambda: self._on_all(Decision.REJECTED))
        rest.addWidget(self._accept_all)
        rest.addWidget(self._reject_all)
        self.go_on = QCheckBox()
        self._bench.on_rekeyed.append(self._show_selection)
        keep = self._bench.keep_keyed
        keep(self.go_on.setText, "Advance after {accept} or {reject}")
        keep(self.go_on.setToolTip, "A decision about the pick that {next-undecided} came to selects the next one")
        self.go_on.setChecked(self._bench.focus.walking.go_on)
        self.go_on.toggled.connect(self._bench.set_go_on)
        layout.addWidget(self._selection)
        layout.addLayout(row)
        layout.addLayout(grid)
        layout.addWidget(self.go_on)
        scope = QHBoxLayout()
        scope.addWidget(QLabel("On"))
        scope.addWidget(self._scope, 1)
        layout.addLayout(scope)
        layout.addLayout(rest)
        self.by_class = ByClassRow(self._bench, self._where)
        layout.addWidget(self.by_class)
        self._scope.currentTextChanged.connect(lambda _text: self._show_counts())
        return box

    def _command_button(self, name: str, text: str) -> QPushButton:
        button = QPushButton(text)
        button.clicked.connect(lambda _checked=False: self._bench.give(name))
        self._target_buttons.append((button, name))
        return button

    def _name_reasons(self) -> None:
        """Each with its key, where there is room for it."""
        for button, reason in self._reason_buttons:
            key = next(iter(self._bench.keys_of(f"reject-{int(reason)}")), "")
            button.setText(f"{key if len(key) == 1 else ''} {reason.label}".strip())

    def _score_box(self) -> QGroupBox:
        self._score_group = QGroupBox("Score threshold")
        layout = QVBoxLayout(self._score_group)
        self.threshold = ThresholdSlider()
        self._score = QDoubleSpinBox()
        self._score.setDecimals(4)
        self._score.setRange(-1e12, 1e12)
        self._score.setKeyboardTracking(False)
        self._counts = QLabel()
        self._counts.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(QLabel("score"))
        top.addWidget(self._score)
        self.suggested = SuggestedThreshold(self.threshold, self._on_suggested)
        top.addWidget(self.suggested.follow, 1)
        buttons = QHBoxLayout()
        self._above = QPushButton("Accept above")
        self._below = QPushButton("Reject below")
        for button in (self._above, self._below):
            button.setToolTip(_SIDES)
            buttons.addWidget(button)
        layout.addWidget(self.threshold)
        layout.addLayout(top)
        layout.addWidget(self.suggested)
        layout.addWidget(self._counts)
        layout.addLayout(buttons)
        self.threshold.changed.connect(self._on_threshold_moved)
        self.threshold.changed.connect(self._bench.preview_threshold)
        self.threshold.released.connect(lambda: self._bench.preview_threshold(None))
        self._score.valueChanged.connect(self._on_score_typed)
        # keys go back to the commands after a number was typed
        self._score.editingFinished.connect(self._bench.canvas.setFocus)
        self._above.clicked.connect(lambda: self._on_side(above=True))
        self._below.clicked.connect(lambda: self._on_side(above=False))
        return self._score_group

    # ------------------------------------------------------------------ bulk

    def _where(self) -> int | None:
        """The micrograph that the bulk buttons act on; None = all."""
        return self._session.current_id if self._scope.currentText() == HERE else None

    def _undecided(self) -> Which:
        """The picks that the bulk buttons act on."""
        return self._bench.focus.drawn.of_bulk(micrograph=self._where())

    def _on_all(self, decision: Decision) -> None:
        if self._scope.currentText() == HERE:
            self._bench.give("accept-rest" if decision is Decision.ACCEPTED else "reject-rest")
        else:
            self._bulk(self._undecided(), decision, "")

    def _on_side(self, *, above: bool) -> None:
        value = self.threshold.value
        if value is None:
            return
        scored = replace(self._undecided(), pick_sets=self._bench.focus.drawn.scored_sets())
        if above:
            self._bulk(replace(scored, min_score=value), Decision.ACCEPTED, f"above score {value:.4g}")
        else:
            self._bulk(replace(scored, below_score=value), Decision.REJECTED, f"below score {value:.4g}")

    def _bulk(self, which: Which, decision: Decision, what: str) -> None:
        def edit() -> None:
            outcome = self._session.decide_where(which, decision, what=what, nothing=_NOTHING, in_bulk=True)
            if isinstance(outcome, Nothing):
                self._bench.say(outcome.why, "info")

        self._bench.guarded(edit)

    def _on_threshold_moved(self, value: float) -> None:
        self._threshold_chosen = True
        self._on_threshold(value)

    def _on_threshold(self, value: float) -> None:
        self._bench.focus.drawn.set_threshold(value)
        with QSignalBlocker(self._score):
            self._score.setValue(value)
        if not len(self._bench.focus.selected):
            self._show_selection()
        self.suggested.show_at(value)
        self._count_soon()

    def _count_soon(self) -> None:
        if not self._count_timer.isActive():  # what moves on and on is counted on the way
            self._count_timer.start()

    def _on_score_typed(self, value: float) -> None:
        self.threshold.set_value(value)
        self._on_threshold_moved(value)
        self._bench.preview_threshold(None)

    # ------------------------------------------------------------------ following

    def _on_changed(self, announcement: Announcement) -> None:
        change = announcement.change
        if change is None or any(_has_scores(d) for d in change.deltas):
            self._read_scores()
        self.refresh()

    def _on_set(self) -> None:
        self._read_scores()
        self.refresh()

    def _read_scores(self) -> None:
        """Scores of the whole project for the histogram (a sample of a large one)."""
        self._bench.guarded(self._take_scores)

    def _take_scores(self) -> None:
        sets = self._bench.focus.drawn.scored_sets()
        if sets != self._scale and (not self._scale or not sets or not set(sets) & set(self._scale)):
            # scores of another picker have another threshold
            self.threshold.value = self._bench.focus.drawn.threshold
            self._threshold_chosen = self.threshold.value is not None
        self._scale = sets
        scores = self._session.store.sample_scores(Which(pick_sets=sets))
        self._score_group.setVisible(bool(len(scores)))
        self.threshold.set_scores(scores)
        if self.threshold.value is not None:
            with QSignalBlocker(self._score):
                self._score.setValue(self.threshold.value)
        if not len(scores):
            self._bench.focus.drawn.set_threshold(None)
            return
        self._score.setSingleStep(float(np.ptp(scores)) / 100 or 0.01)
        value = self.suggested.follow_scores(scores, are_probabilities(self._session, sets))
        if not self._threshold_chosen:
            self._on_suggested(value)

    def _on_suggested(self, value: float) -> None:
        self._threshold_chosen = False  # it follows new scores again
        self.threshold.set_value(value)
        self._on_threshold(value)
        self._bench.preview_threshold(None)  # draws what the threshold leaves

    def refresh(self) -> None:
        """Show the session's numbers."""
        self.particle.refresh()
        self.view.refresh()
        self._show_selection()
        self._count_soon()

    def _show_selection(self) -> None:
        n = len(self._bench.focus.selected)
        p = self._session.particles
        hovered = self._bench.focus.hovered
        if n == 1:
            text = self._describe(int(self._bench.focus.selected[0]))
        elif n:
            text = f"{n:,} selected"
        elif hovered is not None:
            text = self._describe(hovered)
        else:
            hidden = int(self._bench.focus.drawn.below().sum())
            text = f"{count_of(len(p))} here" + (f", {hidden:,} hidden below the threshold" if hidden else "")
            text += " · none selected"
        self._selection.setText(text)
        # thirteen tooltips are not written again for every pick
        shown = (bool(n), self._bench.chosen_keys)
        if shown == self._targets_shown:
            return
        self._targets_shown = shown
        for button, name in self._target_buttons:
            command = self._bench.commands[name]
            keys = ", ".join(self._bench.keys_of(name))
            # a button needs a selection: the pointer is on the button, not on a pick
            button.setEnabled(bool(n))
            tip = f"{command.title} ({keys})" if keys else command.title
            button.setToolTip(tip + ("" if n else "\nselect some picks first"))

    def _describe(self, particle: int) -> str:
        p = self._session.particles
        row = int(p.rows_of(np.array([particle]))[0])
        if row < 0:
            return ""
        decision = WORDS[Decision(int(p.decision[row]))]
        reason = Reason(int(p.reason[row]))
        because = f" as {reason.label}" if reason is not Reason.NONE else ""
        score = f" · score {p.score[row]:.4g}" if np.isfinite(p.score[row]) else ""
        pick_set = self._session.pick_sets.get(int(p.pick_set[row]))
        origin = "?" if pick_set is None else pick_set.name
        kind = f" · {named(self._session, int(p.species[row]))}" if self._session.species else ""
        return f"pick {particle}: {decision}{because}{score}{kind} · {origin}"

    def _show_counts(self) -> None:
        """Counts for the bulk buttons."""
        self.by_class.refresh()
        p, focus = self._session.particles, self._bench.focus
        undecided = (p.decision == Decision.UNDECIDED) & focus.drawn.of_set()
        value = self.threshold.value
        everywhere = self._everywhere(value)
        here = self._scope.currentText() == HERE
        shown, all_here = int((undecided & focus.drawn.mask()).sum()), int(undecided.sum())
        n_accept, n_reject = (shown, all_here) if here else (everywhere[0], everywhere[0])
        words = " undecided" if self._fits(f"Reject {max(n_accept, n_reject):,} undecided") else ""
        self._show_rest(self._accept_all, f"Accept {n_accept:,}", words, n_accept, all_here if here else 0)
        self._show_rest(self._reject_all, f"Reject {n_reject:,}", words, n_reject)
        if not here and focus.drawn.proposed_sets():
            self._accept_all.setEnabled(False)
            self._accept_all.setToolTip("candidates below the threshold are not drawn: use Accept above")
        if value is None or self._score_group.isHidden():
            return
        with np.errstate(invalid="ignore"):
            scored = undecided & focus.drawn.of_scale()
            above, below = int((scored & (p.score >= value)).sum()), int((scored & (p.score < value)).sum())
        text = f"undecided here: {above:,} above, {below:,} below"
        text += f"\nall micrographs: {everywhere[1]:,} above, {everywhere[2]:,} below"
        if self._scope.currentText() == EVERYWHERE:
            above, below = everywhere[1:]
        self._counts.setText(text)
        where = "here" if here else "on any micrograph"
        for button, text, n, side in (
            (self._above, f"Accept {above:,} above", above, "at or above"),
            (self._below, f"Reject {below:,} below", below, "below"),
        ):
            button.setText(text)
            button.setEnabled(n > 0)
            button.setToolTip(_SIDES if n else f"no undecided pick {where} has a score {side} {value:.4g}")

    def _fits(self, text: str) -> bool:
        """Whether a button that has half the width has room for it."""
        button = self._reject_all
        return not button.isVisible() or button.fontMetrics().horizontalAdvance(text) <= button.width() - 6

    @staticmethod
    def _show_rest(button: QPushButton, text: str, what: str, n: int, of: int = 0) -> None:
        """``of``: how many there are, those too that are hidden."""
        button.setText(f"{text}{what}")
        button.setEnabled(n > 0)
        hidden = f"{of - n:,} more are hidden below the threshold: they are rejected, but not accepted, with the others"
        tip = f"{text} undecided picks. One step, one undo" if n else "nothing is undecided there"
        if of > n:
            tip = f"{tip}\n{hidden}" if n else f"all {of:,} undecided picks are hidden below the threshold"
        button.setToolTip(tip)

    def _everywhere(self, value: float | None) -> tuple[int, int, int]:
        """Undecided picks of the project: all, above, below; counted in the background, the last known until then."""
        undecided = self._bench.focus.drawn.of_bulk()
        scored = replace(undecided, pick_sets=self._bench.focus.drawn.scored_sets())
        key = (self._session.store.head, value, undecided)
        if self._sides[0] != key and self._latest.ask(key):
            self._bench.start(
                lambda context: self._count_sides(undecided, scored, value),
                title="count undecided picks",
                on_done=self._latest.only(lambda sides: self._on_sides(key, sides)),
                on_failed=self._latest.only(lambda _job: self._latest.forget()),  # asked again with the next step
                quiet=True,
            )
        if undecided.pick_sets is None and undecided.species is None:
            return (sum(m.n_undecided for m in self._session.micrographs), *self._sides[1][1:])
        return self._sides[1]

    def _count_sides(self, undecided: Which, scored: Which, value: float | None) -> tuple[int, int, int]:
        store = self._session.store
        if value is None:
            return (store.count(undecided), 0, 0)
        n, above, below = store.counts(undecided, replace(scored, min_score=value), replace(scored, below_score=value))
        return n, above, below

    def _on_sides(self, key: tuple[int, float | None, Which], sides: tuple[int, int, int]) -> None:
        self._sides = (key, sides)
        self._show_counts()


def _has_scores(delta: Delta) -> bool:
    """Whether it is of a pick set that may bring scores: not of one by hand, which comes with the first pick."""
    kinds = (delta.after or delta.before).get("kind", ()) if delta.table is Table.PICK_SET else ()
    return any(str(kind) != "hand" for kind in kinds)
