"""Let a picker propose candidates, here or on every micrograph."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QPushButton, QVBoxLayout

from ... import extensions
from ...model.micrograph import FINISHED_STATES, Micrograph
from ...session import proposals
from ...session.edits import count_of
from ..workbench import Workbench

_HERE = "Undecided candidates on this micrograph; nothing you decided is touched. One undo."


class ProposeBox(QGroupBox):
    """Choose a picker, press a button.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Candidates")
        self._bench = bench
        self.picker = QComboBox()
        for name, found in extensions.pickers().items():
            self.picker.addItem(found.title, name)
        self.picker.setToolTip("Who proposes; the particle's diameter above is what it looks for")
        self.here = QPushButton("Propose here")
        self.everywhere = QPushButton("on all unfinished")
        self.everywhere.setToolTip("In the background, on every micrograph that is not finished; one step, one undo")
        row = QHBoxLayout()
        row.addWidget(self.here)
        row.addWidget(self.everywhere)
        layout = QVBoxLayout(self)
        layout.addWidget(self.picker)
        layout.addLayout(row)
        self.here.clicked.connect(self._on_here)
        self.everywhere.clicked.connect(self._on_everywhere)
        bench.session.current_changed.connect(self.refresh)
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._bench.session.current_changed.disconnect(self.refresh)

    def refresh(self) -> None:
        """Say what can be done now."""
        current = self._bench.session.current
        why = "open a micrograph first" if current is None else current.problem
        self.here.setEnabled(not why)
        self.here.setToolTip(why or _HERE)

    def _on_here(self) -> None:
        current = self._bench.session.current
        if current is not None:
            self._start([current])

    def _on_everywhere(self) -> None:
        wanted = [m for m in self._bench.session.micrographs if m.state not in FINISHED_STATES and not m.problem]
        if not wanted:
            self._bench.say("every micrograph is finished", "info")
            return
        self._start(wanted)

    def _start(self, micrographs: Sequence[Micrograph]) -> None:
        bench, session, name = self._bench, self._bench.session, self.picker.currentData()
        where = micrographs[0].name if len(micrographs) == 1 else count_of(len(micrographs), "micrograph")
        bench.runner.submit(
            lambda context: proposals.propose(session, name, micrographs, context=context),
            title=f"propose on {where}",
            on_done=self._on_done,
            on_failed=bench.job_failed,
        )
        bench.bridge.ticked.emit()

    def _on_done(self, proposal: proposals.Proposal) -> None:
        self._bench.guarded(lambda: self._bench.say(proposals.enter(self._bench.session, proposal)))
