"""Keeps an eye on the micrographs' files while a project is open: replaced, back, new in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from ..jobs.runner import Job
from ..model.context import JobContext
from ..model.micrograph import Micrograph
from ..session.core import bookkeeping, opening, watch
from ..session.core.edits import count_of
from .show import Stage

#: From one look to the next, ms; a session is recorded at some hundred micrographs an hour.
_INTERVAL_MS = 20_000


class Watcher(QObject):
    """Looks again every while, in the background.

    Parameters
    ----------
    bench : Stage
    """

    changed = Signal()  # there is other news than before

    def __init__(self, bench: Stage) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        #: Images in the folder that the project does not have.
        self.new: tuple[Path, ...] = ()
        #: Micrographs whose file is not there.
        self.gone: tuple[str, ...] = ()
        self._job: Job | None = None
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self.check_now)
        self._timer.start()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._timer.stop()

    @property
    def takes_new(self) -> bool:
        """Whether new micrographs are taken without asking."""
        return bool(self._session.settings.values.get(watch.TAKE_NEW))

    def check_now(self) -> None:
        """Look at all files now, in the background; nothing where that is going on."""
        if self._job is not None or self._closed:
            return
        session = self._session
        self._job = self._bench.start(
            lambda context: watch.look_at_files(session, new=True, context=context),
            title="look at the micrographs' files",
            on_done=self._on_news,
            on_failed=self._on_failed,
            quiet=True,
        )

    def look_at(self, micrograph: Micrograph) -> None:
        """Check one file, on which a person is about to work."""
        session = self._session
        self._bench.start(
            lambda context: watch.look_at_files(session, [micrograph], context=context),
            title=f"look at {micrograph.name}",
            on_done=self._on_one,
            quiet=True,
        )

    def _on_one(self, file_changes: watch.FileNews) -> None:
        if not self._closed and file_changes.updates:
            self._take_note(file_changes)
            self.changed.emit()

    def _on_news(self, file_changes: watch.FileNews) -> None:
        self._job = None
        if self._closed:
            return
        self._take_note(file_changes)
        gone = tuple(update.now.name for update in file_changes.of(watch.What.GONE))
        before, (self.new, self.gone) = (self.new, self.gone), (file_changes.new, gone)
        if self.new and self.takes_new:
            self.take()
        elif before != (self.new, self.gone) or file_changes.updates:
            self.changed.emit()

    def _take_note(self, file_changes: watch.FileNews) -> None:
        self._bench.guarded(lambda: watch.note(self._session, file_changes))

    def _on_failed(self, _job: Job) -> None:
        self._job = None  # the next look may go better

    # ------------------------------------------------------------------ taking micrographs in

    def take(self, paths: Sequence[Path] | None = None) -> None:
        """Add images (the new ones of the folder by default) to the project, in the background."""
        session = self._session
        chosen = self.new if paths is None else tuple(paths)

        def work(context: JobContext) -> list[Micrograph]:
            return opening.describe_new(session, chosen, context)

        def done(described: list[Micrograph]) -> None:
            if self._closed:
                return
            added: list[int] = []
            self._bench.guarded(lambda: added.append(bookkeeping.add_micrographs(session, described)))
            self.new = tuple(path for path in self.new if path not in chosen)
            if added:
                self._bench.say(f"added {count_of(added[0], 'micrograph')}")
            self.changed.emit()

        self._bench.start(work, title="read headers", on_done=done)

    def set_takes_new(self, take: bool) -> None:
        """Whether new micrographs are taken without asking, in this project."""
        self._bench.guarded(lambda: bookkeeping.remember(self._session, {watch.TAKE_NEW: take}))
        if take and self.new:
            self.take()
