"""Picking and deciding: diameter, colours, contrast, thresholds, bulk decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from ....model.curation import Decision, Delta, Reason, Table
from ....model.which import Which
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.core.species import named
from ....session.core.step import Nothing
from ....session.picks.suggesting import are_probabilities
from ....store.store import Store
from ...latest import Latest
from ...layers.styles import WORDS
from ...workbench import Workbench
from ..parts.by_class import ByClassRow
from ..parts.calm_wheel import calm
from ..parts.choice import Choice
from ..parts.compact import primary, side_by_side, tighten
from ..parts.fold import Fold, StillScrollArea
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
#: From so many picks on a count is rounded, so that its line has room.
_LONG = 1_000_000
#: Step of the project, threshold and picks that were counted.
_Counted = tuple[int, float | None, Which]
HERE = "this micrograph"
EVERYWHERE = "all micrographs"


class PickPanel(StillScrollArea):
    """The *Pick* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Pick"

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench.canvas)
        self._bench = bench
        self._threshold_chosen = False
        self._scale: tuple[int, ...] | None = None
        self._targets_shown: tuple[bool, dict[str, tuple[str, ...]]] | None = None
        self._session = bench.session
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(4, 2, 0, 2)  # on the right is the scroll bar
        layout.setSpacing(1)
        self.propose = ProposeBox(bench)
        self.particle = ParticleSizeBox(bench)
        self.regions = RegionsBox(bench)
        self.view = ViewBox(bench)
        self.view.set_changed.connect(self._on_set)
        self.species, self.sets = SpeciesBox(bench), SetsBox(bench)
        for box in (self.species, self.sets, self.regions):
            box.setTitle("")  # its fold says it
        bench.focus.drawn.changed.connect(self._count_soon)
        score, decide = self._score_box(), self._decide_box()
        self.by_class = ByClassRow(bench, self._where)
        self.folds = {
            "class": Fold("By class", self.by_class, "Accept or reject the undecided picks of a class"),
            "regions": Fold("Carbon and ice", self.regions, "Draw or find regions, reject the picks in them"),
            "species": Fold("Species", self.species, "Kinds of particle, and which one new picks are"),
            "sets": Fold("Pick sets", self.sets, "Where picks came from; which are drawn, and in which colour"),
            "view": Fold("Picture", self.view, "How the denoised picture is made, contrast, which way is up"),
        }
        for box in (self.particle, self.propose, score, decide, *self.folds.values()):
            layout.addWidget(box)
        layout.addStretch(1)
        tighten(inner, [button for button, _reason in self._reason_buttons])
        primary(self.propose.here, self._above)
        self.setWidget(inner)
        calm(inner)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self.refresh)
        bench.focus.selection_changed.connect(self._show_selection)
        bench.hovered_changed.connect(self._show_selection)
        self._sides: tuple[_Counted, tuple[int, int, int]] = ((-1, 0.0, Which()), (0, 0, 0))
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
        self._selection = QElidingLabel()  # one line: what is below must not move under the pointer
        self._selection.setFixedHeight(self.fontMetrics().height() + 2)
        self._selection.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
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
        self._reasons = grid
        self._bench.on_rekeyed.append(self._name_reasons)
        self._name_reasons()
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
        for column in range(3):  # wide where the words are long
            texts = [button.text() for button, reason in self._reason_buttons if (int(reason) - 1) % 3 == column]
            self._reasons.setColumnStretch(column, max(map(self.fontMetrics().horizontalAdvance, texts)))

    def _score_box(self) -> QGroupBox:
        self._score_group = QGroupBox("Threshold")
        layout = QVBoxLayout(self._score_group)
        self.threshold = ThresholdSlider()
        self._score = QDoubleSpinBox()
        self._score.setDecimals(4)
        self._score.setRange(-1e12, 1e12)
        self._score.setKeyboardTracking(False)
        self._counts = QLabel()
        self._counts.setWordWrap(True)
        self._counts.setToolTip("Undecided picks above and below the threshold, here and on all micrographs")
        self._scope = Choice(
            (
                (HERE, "This", "The buttons below act on this micrograph"),
                (EVERYWHERE, "All", "The buttons below act on all micrographs; one step, one undo"),
            )
        )
        self.suggested = SuggestedThreshold(self.threshold, self._on_suggested)
        top = QHBoxLayout()
        top.addWidget(QLabel("Score"))
        top.addWidget(self._score, 1)
        top.addWidget(self._scope, 1)
        self._counts.setFixedHeight(2 * self.fontMetrics().height() + 2)  # both lines have their room
        layout.addWidget(self.threshold)
        layout.addLayout(top)
        layout.addLayout(side_by_side(self.suggested.follow, self.suggested))
        layout.addWidget(self._counts)
        layout.addWidget(self._bulk_buttons())
        self.threshold.changed.connect(self._on_threshold_moved)
        self.threshold.changed.connect(self._bench.preview_threshold)
        self.threshold.released.connect(lambda: _on_rest(self._bench, self.threshold.value))
        self._score.valueChanged.connect(self._on_score_typed)
        # keys go back to the commands after a number was typed
        self._score.editingFinished.connect(self._bench.canvas.setFocus)
        self._above.clicked.connect(lambda: self._on_side(above=True))
        self._below.clicked.connect(lambda: self._on_side(above=False))
        self._scope.currentTextChanged.connect(lambda _text: self._show_counts())
        return self._score_group

    def _bulk_buttons(self) -> QStackedWidget:
        """One pair: above and below the line where there are scores, else all that is undecided."""
        self._above, self._below = QPushButton("Accept above"), QPushButton("Reject below")
        self._accept_all, self._reject_all = QPushButton("Accept undecided"), QPushButton("Reject undecided")
        self._bulk_pairs = QStackedWidget()
        self._bulk_pairs.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        undecided = (self._accept_all, self._reject_all)
        for pair, tip in (((self._above, self._below), _SIDES), (undecided, "One step, one undo")):
            page = QWidget()
            row = QHBoxLayout(page)
            row.setContentsMargins(0, 0, 0, 0)
            for button in pair:
                button.setToolTip(tip)
                row.addWidget(button, 1)
            self._bulk_pairs.addWidget(page)
        self._accept_all.clicked.connect(lambda: self._on_all(Decision.ACCEPTED))
        self._reject_all.clicked.connect(lambda: self._on_all(Decision.REJECTED))
        return self._bulk_pairs

    # ------------------------------------------------------------------ bulk

    def _where(self) -> int | None:
        """The micrograph that the bulk buttons act on; None = all."""
        return self._session.current_id if self._scope.currentText() == HERE else None

    def _undecided(self) -> Which:
        """The picks that the bulk buttons act on."""
        return self._bench.focus.drawn.of_bulk(micrograph=self._where())

    def _drawn(self) -> Which:
        """Those of them that are drawn, or would be on their micrographs."""
        return replace(self._undecided(), hidden=self._bench.focus.drawn.hidden())

    def _on_all(self, decision: Decision) -> None:
        if self._scope.currentText() == HERE:
            self._bench.give("accept-rest" if decision is Decision.ACCEPTED else "reject-rest")
        else:
            self._bulk(self._drawn(), decision, "")

    def _on_side(self, *, above: bool) -> None:
        value = self.threshold.value
        if value is None:
            return
        scored = replace(self._undecided(), pick_sets=self._bench.focus.drawn.scored_sets())
        if above:
            self._bulk(replace(scored, min_score=value), Decision.ACCEPTED, f"above score {value:.4g}")
        else:
            done = self._bulk(replace(scored, below_score=value), Decision.REJECTED, f"below score {value:.4g}")
            if done and self._bench.focus.drawn.show_rejected:
                self._bench.show_rejected(False)  # they were hidden before, and would cover the picture now

    def _bulk(self, which: Which, decision: Decision, what: str) -> bool:
        outcomes = []

        def edit() -> None:
            outcome = self._session.decide_where(which, decision, what=what, nothing=_NOTHING, in_bulk=True)
            if isinstance(outcome, Nothing):
                self._bench.say(outcome.why, "info")
            outcomes.append(outcome)

        return self._bench.guarded(edit) and not isinstance(outcomes[0], Nothing)

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
        if announcement.kind == "refresh" or (change is not None and any(_has_scores(d) for d in change.deltas)):
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
        for widget in (self.threshold, self._score):
            widget.setEnabled(bool(len(scores)))
        self._bulk_pairs.setCurrentIndex(0 if len(scores) else 1)
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
        drawn, hovered = self._bench.focus.drawn, self._bench.focus.hovered
        if n == 1:
            text = self._describe(int(self._bench.focus.selected[0]))
        elif n:
            text = f"{n:,} selected"
        elif hovered is not None:
            text = self._describe(hovered)
        else:
            hidden = int((drawn.below() & drawn.of_set()).sum())
            text = f"{count_of(int(drawn.of_set().sum()))} here"
            text += f", {hidden:,} hidden below the threshold" if hidden else ""
            text += " · none selected"
        self._selection.setText(text)
        self._selection.setToolTip(text)
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
        n = int((undecided & focus.drawn.mask()).sum()) if here else everywhere[0]
        words = " undecided" if _has_room(self._reject_all, f"Reject {n:,} undecided") else ""
        for button, verb in ((self._accept_all, "Accept"), (self._reject_all, "Reject")):
            _show_rest(button, f"{verb} {n:,}", words, n)
        if value is None or not self.threshold.isEnabled():
            n_all = everywhere[0]
            self._counts.setText(f"undecided here: {int(undecided.sum()):,}\nall micrographs: {n_all:,}")
            return
        with np.errstate(invalid="ignore"):
            scored = undecided & focus.drawn.of_scale()
            above, below = int((scored & (p.score >= value)).sum()), int((scored & (p.score < value)).sum())
        counted = sides_text(*everywhere[1:]) if self._sides[0][0] >= 0 else "being counted"
        self._counts.setText(f"here: {sides_text(above, below)}\nall: {counted}")
        if not here:
            above, below = everywhere[1:]
        where = "here" if here else "on any micrograph"
        for button, text, n, side in (
            (self._above, f"Accept {above:,} above", above, "at or above"),
            (self._below, f"Reject {below:,} below", below, "below"),
        ):
            button.setText(text if _has_room(button, text) else text.rpartition(" ")[0])
            button.setEnabled(n > 0)
            button.setToolTip(_SIDES if n else f"no undecided pick {where} has a score {side} {value:.4g}")

    def _everywhere(self, value: float | None) -> tuple[int, int, int]:
        """Undecided picks of the project: drawn, above, below; counted in the background, the last known until then."""
        drawn = self._bench.focus.drawn.of_bulk()
        scored = replace(drawn, pick_sets=self._bench.focus.drawn.scored_sets())
        drawn = replace(drawn, hidden=self._bench.focus.drawn.hidden())
        key = (self._session.store.head, value, drawn)
        if self._sides[0] != key and self._latest.ask(key):
            self._bench.start(
                lambda context: _count_sides(self._session.store, drawn, scored, value),
                title="count undecided picks",
                on_done=self._latest.only(lambda sides: self._on_sides(key, sides)),
                on_failed=self._latest.only(lambda _job: self._latest.forget()),  # asked again with the next step
                quiet=True,
            )
        return self._sides[1]

    def _on_sides(self, key: _Counted, sides: tuple[int, int, int]) -> None:
        self._sides = (key, sides)
        self._show_counts()


def _on_rest(bench: Workbench, value: float | None) -> None:
    """The line stands still: rejecting below it may remove a view, which is asked before it is done."""
    bench.preview_threshold(None)
    drawn = bench.focus.drawn
    which = replace(drawn.of_bulk(), pick_sets=drawn.scored_sets(), below_score=value)
    bench.rejection_considered.emit(which, "rejecting below this score")


def _has_room(button: QPushButton, text: str) -> bool:
    """Whether a text is not cut on a button, as far as that can be seen now."""
    return not button.isVisible() or button.fontMetrics().horizontalAdvance(text) <= button.width() - 6


def _show_rest(button: QPushButton, text: str, what: str, n: int) -> None:
    button.setText(f"{text}{what}")
    button.setEnabled(n > 0)
    button.setToolTip(f"{text} undecided picks. One step, one undo" if n else "nothing is undecided there")


def sides_text(above: int, below: int) -> str:
    """Undecided picks on both sides of the threshold, short enough for one line of the panel."""
    numbers = (f"{n:,}" if n < _LONG else f"{n / 1e6:.2f} M" for n in (above, below))
    return "{} above, {} below".format(*numbers)


def _count_sides(store: Store, drawn: Which, scored: Which, value: float | None) -> tuple[int, int, int]:
    if value is None:
        return (store.count(drawn), 0, 0)
    n, above, below = store.counts(drawn, replace(scored, min_score=value), replace(scored, below_score=value))
    return n, above, below


def _has_scores(delta: Delta) -> bool:
    """Whether it is of a pick set that may bring scores: not of one by hand, which comes with the first pick."""
    kinds = (delta.after or delta.before).get("kind", ()) if delta.table is Table.PICK_SET else ()
    return any(str(kind) != "hand" for kind in kinds)
