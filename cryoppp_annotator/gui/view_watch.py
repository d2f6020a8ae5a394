"""Says when a rejection removes a view of the particle, before it is done and after; never stops the work."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from ..model.context import JobContext
from ..model.curation import Change, Decision, Kind, Table
from ..model.which import Which
from ..session.core.session import Announcement
from ..session.volume.view_guard import ViewLoss, known_views, loss_of
from .latest import Latest
from .widgets.dialogs.lost_views import LostViewsDialog
from .workbench import Workbench

#: Fewer picks than this are no view.
_FEWEST = 8
#: A choice counts when it rested so long, ms.
_REST_MS = 300


class ViewWatch(QObject):
    """Follows the decisions and the choices in one open project.

    Parameters
    ----------
    bench : Workbench
    """

    answered = Signal(object)  # a ViewLoss, or None

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        self._latest = Latest()
        self._asked: tuple[NDArray[np.int64] | Which, str] = np.zeros(0, np.int64), ""
        self._done = False  # whether the question is about what was done
        self._dialog: LostViewsDialog | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._ask)
        bench.session.changed.connect(self._on_changed)
        bench.rejection_considered.connect(self._on_considered)
        bench.views_requested.connect(self.show)

    def close_panel(self) -> None:
        """Stop following the session."""
        self._rest.stop()
        self._latest.close()
        self._session.changed.disconnect(self._on_changed)

    def _on_considered(self, picks: NDArray[np.int64] | Which, words: str) -> None:
        """Picks that a person is about to reject."""
        self._done = False
        self._asked = picks, f"{words} would remove a view: {{}}"
        self._rest.start()

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.change is None or announcement.kind not in ("do", "redo"):
            return
        self._rest.stop()  # what was about to be done is done, or something else was
        self._latest.forget()
        ids = _rejected(announcement.change)
        if len(ids) >= _FEWEST:
            self._done = True
            self._asked = ids, "this removed a view: {} · {{undo}} undoes"
            self._rest.start()

    def _is_late(self) -> bool:
        """Whether a choice is being acted on already; once that is done, the question is asked about what was done."""
        backlog = self._session.backlog
        return not self._done and backlog is not None and backlog.busy

    def _ask(self) -> None:
        if self._is_late():
            return
        picks, words = self._asked
        session = self._session

        def work(context: JobContext) -> ViewLoss | None:
            views = known_views(session)
            if views is None:
                return None
            ids = session.store.positions(picks)["id"] if isinstance(picks, Which) else picks
            return loss_of(session, views, ids)

        self._latest.ask()
        done = self._latest.only(partial(self._say, words))
        self._bench.start(work, title="does this remove a view", quiet=True, on_done=done)

    def _say(self, words: str, loss: ViewLoss | None) -> None:
        if self._is_late():
            return
        if loss is not None:
            self._bench.say(words.format(loss.sentence), "warning", "views")
        else:
            self._bench.over("views")
        self.answered.emit(loss)

    def show(self) -> None:
        """A picture of the views that the rejected picks take away."""
        session = self._session

        def work(context: JobContext) -> tuple[bool, ViewLoss | None]:
            views = known_views(session)
            return views is not None, None if views is None else loss_of(session, views)

        self._bench.start(work, title="which views are lost", quiet=True, on_done=self._open)

    def _open(self, answer: tuple[bool, ViewLoss | None]) -> None:
        known, loss = answer
        if self._dialog is not None:
            self._dialog.close()
        if not known:
            self._bench.say("no views are known: run in 3D, or classify the picks, first", "info")
        elif loss is None:
            self._bench.say("what is rejected removes no view")
        else:
            self._dialog = LostViewsDialog(self._bench, loss)
            self._dialog.show()


def _rejected(change: Change) -> NDArray[np.int64]:
    """Picks that a change rejects."""
    parts = [np.zeros(0, np.int64)]
    for delta in change.deltas:
        if delta.table is Table.PARTICLE and delta.kind is Kind.UPDATE and "decision" in delta.after:
            new = np.broadcast_to(delta.after["decision"], (len(delta),))
            parts.append(np.asarray(delta.ids)[new == int(Decision.REJECTED)])
    return np.concatenate(parts)
