"""Accept or reject the undecided picks of a class, here or everywhere, beside above and below the threshold."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ....model.classes import ClassRun
from ....model.curation import Decision
from ....model.which import ClassesOf, Which, only
from ....session.classes.undecided import decide_by_class
from ....session.core.step import Nothing
from ...latest import Latest
from ...workbench import Workbench

_ACCEPT = "Undecided picks of this class that are drawn; one step, one undo"
_REJECT = "Undecided picks of this class, also those below the threshold, as not a particle; one step, one undo"


class ByClassRow(QWidget):
    """Which class, and two buttons; hidden while no pick has a class.

    Parameters
    ----------
    bench : Workbench
    scope : callable
        The micrograph the buttons act on; None = all.
    """

    def __init__(self, bench: Workbench, scope: Callable[[], int | None]) -> None:
        super().__init__()
        self._bench, self._session, self._scope = bench, bench.session, scope
        self._run: ClassRun | None = None
        self._latest = Latest()
        self._counts: dict[int, tuple[int, int]] = {}
        self._closed = False
        self.list = QComboBox()
        self.list.setToolTip("Undecided picks by class: of the run that the Classes tab shows, else as imported")
        self.accept = QPushButton("Accept class")
        self.reject = QPushButton("Reject class")
        row = QHBoxLayout()
        row.addWidget(self.accept)
        row.addWidget(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list)
        layout.addLayout(row)
        self.list.currentIndexChanged.connect(lambda _row: self._show_buttons())
        self.accept.clicked.connect(lambda: self._decide(Decision.ACCEPTED))
        self.reject.clicked.connect(lambda: self._decide(Decision.REJECTED))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(150)
        self._timer.timeout.connect(self._count)
        self._show_buttons()
        self.hide()

    def close_panel(self) -> None:
        """Count no more."""
        self._closed = True
        self._latest.close()
        self._timer.stop()

    def show_run(self, run: ClassRun | None) -> None:
        """Classes of another run."""
        self._run = run
        self.refresh()

    def refresh(self) -> None:
        """Count again, when edits pause."""
        if not self._closed:
            self._timer.start()

    def _which(self) -> Which:
        focus = self._bench.focus
        classes = ClassesOf(None if self._run is None else self._run.id)
        return Which(
            only(self._scope()),
            (Decision.UNDECIDED,),
            only(focus.drawn.pick_set),
            classes=classes,
            hidden=focus.drawn.hidden(),
        )

    def _count(self) -> None:
        which = self._which()
        if not self._latest.ask((self._session.store.head, which)):
            return
        self._bench.start(
            lambda context: self._session.store.count_by_class(which),
            title="count picks by class",
            on_done=self._latest.only(self._on_counted),
            on_failed=self._latest.only(lambda _job: self._latest.forget()),  # asked again with the next step
            quiet=True,
        )

    def _on_counted(self, counts: dict[int, tuple[int, int]]) -> None:
        self._counts = counts
        chosen = self.list.currentData()
        with QSignalBlocker(self.list):
            self.list.clear()
            for number, (n, _drawn) in counts.items():
                self.list.addItem(f"class {number} · {n:,} undecided", number)
            self.list.setCurrentIndex(max(0, self.list.findData(chosen)) if counts else -1)
        known = bool(counts) or self._run is not None
        self.list.setVisible(bool(counts))
        self.setVisible(known)
        self._show_buttons()

    def _show_buttons(self) -> None:
        number = self.list.currentData()
        n, drawn = self._counts.get(number, (0, 0)) if number is not None else (0, 0)
        for button, word, some, tip in (
            (self.accept, "Accept", drawn, _ACCEPT),
            (self.reject, "Reject", n, _REJECT),
        ):
            button.setText(f"{word} {some:,}")
            button.setEnabled(some > 0)
            button.setToolTip(tip if some else "no pick of a class is undecided there")

    def _decide(self, decision: Decision) -> None:
        number, which = self.list.currentData(), self._which()
        if number is not None:
            self._bench.guarded(lambda: self._edit(int(number), decision, which))

    def _edit(self, number: int, decision: Decision, which: Which) -> None:
        outcome = decide_by_class(self._session, [number], decision, which)
        if isinstance(outcome, Nothing):
            self._bench.say(outcome.why, "info")
