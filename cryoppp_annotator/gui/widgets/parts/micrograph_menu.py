"""What can be done with the micrographs chosen in the list, and with the list as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QMessageBox, QWidget

from ....formats.image.images import IMAGE_EXTENSIONS, find_micrographs
from ....formats.relion_micrographs import FILE_NAME
from ....model.curation import Decision
from ....model.micrograph import MicrographState
from ....session.core import assigning, watch
from ....session.core.edits import count_of
from ....session.files import membership, selecting
from ....session.review.history import HistoryScope
from ...workbench import Workbench

if TYPE_CHECKING:
    from .file_news import FileNewsBox


#: Why micrographs are given up, as the history then says.
UNUSABLE_BECAUSE = ("poor CTF", "ice", "carbon", "drift", "crowding", "damage", "no particles")


class MicrographMenu:
    """Fills menus.

    Parameters
    ----------
    bench : Workbench
    parent : QWidget
        Dialogs stand over it.
    news : FileNewsBox
        Asks where the micrographs are now, and what becomes of changed ones.
    """

    def __init__(self, bench: Workbench, parent: QWidget, file_box: FileNewsBox) -> None:
        self._bench, self._session, self._parent, self._news = bench, bench.session, parent, file_box

    def fill_for(self, menu: QMenu, chosen: Sequence[int]) -> None:
        """What can be done with chosen micrographs."""
        if not chosen:
            return
        for state in MicrographState:
            if state not in (MicrographState.UNSEEN, MicrographState.REMOVED):
                self._add(menu, f"Mark {state.value}", partial(self._session.set_state, chosen, state))
        reasons = menu.addMenu("Mark unusable because of")
        for reason in UNUSABLE_BECAUSE:
            mark = partial(self._session.set_state, chosen, MicrographState.UNUSABLE, reason)
            self._add(reasons, reason[:1].upper() + reason[1:], mark)
        self._fill_curators(menu.addMenu("Assign to"), chosen)
        menu.addSeparator()
        self._fill_picks(menu, chosen)
        if len(chosen) == 1:
            about = HistoryScope(micrograph=chosen[0])
            self._add(menu, "History of this micrograph", lambda: self._bench.history_requested.emit(about))
        menu.addSeparator()
        what = "it" if len(chosen) == 1 else count_of(len(chosen), "micrograph")
        self._add(menu, f"Remove {what} from the project", lambda: self.remove(chosen))

    def _fill_curators(self, menu: QMenu, chosen: Sequence[int]) -> None:
        """Whose they are to be."""
        for name in assigning.curators(self._session):
            text = f"{name} (me)" if name == self._session.curator else name
            self._add(menu, text.replace("&", "&&"), partial(assigning.assign, self._session, chosen, name))
        menu.addSeparator()
        self._add(menu, "Somebody else…", lambda: self._ask_curator(chosen))
        self._add(menu, "Nobody", partial(assigning.assign, self._session, chosen, ""))

    def _ask_curator(self, chosen: Sequence[int]) -> None:
        what = count_of(len(chosen), "micrograph")
        name, given = QInputDialog.getText(self._parent, f"Assign {what}", "The curator's name, as --curator says it")
        if given and name.strip():
            assigning.assign(self._session, chosen, name)

    def _fill_picks(self, menu: QMenu, chosen: Sequence[int]) -> None:
        """Propose on them, clear their picks, list them for RELION."""
        on = "here" if len(chosen) == 1 else f"on {count_of(len(chosen), 'micrograph')}"
        self._add(menu, f"Propose {on}", lambda: self._bench.propose_requested.emit(list(chosen)))
        micrographs = [self._session.micrograph(i) for i in chosen]
        undecided, every = sum(m.n_undecided for m in micrographs), sum(m.n_particles for m in micrographs)
        for n, text, decisions in (
            (undecided, f"Clear {count_of(undecided, 'undecided pick')}", (Decision.UNDECIDED,)),
            (every, f"Clear all {count_of(every)}", tuple(Decision)),
        ):
            self._add(menu, text, partial(selecting.clear, self._session, chosen, decisions)).setEnabled(n > 0)
        self._add(menu, f"Write {FILE_NAME}…", lambda: self._ask_where_to_write(chosen))

    def _ask_where_to_write(self, chosen: Sequence[int]) -> None:
        folder = self._bench.window_state.get("selected file") or str(self._session.data_root / FILE_NAME)
        name, _ = QFileDialog.getSaveFileName(
            self._parent, f"Write {count_of(len(chosen), 'micrograph')} for RELION", folder, "RELION (*.star)"
        )
        if name:
            self._bench.window_state.put("selected file", name)
            self.write_selected(chosen, Path(name))

    def write_selected(self, chosen: Sequence[int], file: Path) -> None:
        """Write micrographs as RELION's list, in the background."""
        session, bench = self._session, self._bench
        bench.start(
            lambda context: selecting.export_selected(session, chosen, file, context=context),
            title=f"write {file.name}",
            on_done=lambda report: bench.say(
                " · ".join((f"wrote {count_of(report.n_micrographs, 'micrograph')} to {report.file}", *report.notes)),
                "warning" if report.notes else "info",
            ),
        )

    def fill(self, menu: QMenu) -> None:
        """What can be done with the list as a whole."""
        menu.clear()
        self._add(menu, "Add micrographs…", self._ask_for_files)
        self._add(menu, "Add a folder of micrographs…", self._ask_for_folder)
        self._add(menu, "Where are the micrographs…", self._news.ask_where)
        if watch.changed(self._session):
            self._add(menu, "What becomes of changed ones…", self._news.ask_what_now)
        menu.addSeparator()
        n = count_of(len(self._session.removed), "removed micrograph")
        for text, edit in ((f"Bring back {n}", self._bring_back), (f"Delete {n} for good…", self._delete)):
            self._add(menu, text, edit).setEnabled(bool(self._session.removed))

    def _add(self, menu: QMenu, text: str, edit: Callable[[], object]) -> QAction:
        action = menu.addAction(text)
        action.triggered.connect(lambda _checked=False: self._bench.guarded(edit))
        return action

    def remove(self, chosen: Sequence[int]) -> None:
        """Take micrographs out of the project, and show another one where it was on the screen."""
        focus = self._bench.focus
        away = set(chosen)
        here = self._session.current_id in away
        rest = [i for i in focus.walking.micrographs() if i not in away]
        membership.remove(self._session, chosen)
        if here and rest:
            self._session.go(rest[0])

    def _bring_back(self) -> None:
        membership.bring_back(self._session)

    def _delete(self) -> None:
        n = len(self._session.removed)
        picks = sum(m.n_particles for m in self._session.removed.values())
        question = QMessageBox(self._parent)
        question.setIcon(QMessageBox.Icon.Question)
        question.setWindowTitle("Delete for good?")
        question.setText(
            f"{count_of(n, 'removed micrograph')} with {count_of(picks)} will be deleted from the project. "
            "The image files stay where they are."
        )
        delete = question.addButton("Delete", QMessageBox.ButtonRole.AcceptRole)
        question.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        self._bench.closing.connect(question.reject)
        question.exec_()
        if question.clickedButton() is delete:
            if self._session.current_id in self._session.removed and self._session.micrographs:
                self._session.go(self._session.micrographs[0].id)
            membership.delete_for_good(self._session)

    def _ask_for_files(self) -> None:
        kinds = " ".join(f"*{extension}" for extension in IMAGE_EXTENSIONS)
        names, _ = QFileDialog.getOpenFileNames(
            self._parent, "Micrographs to add", "", f"Micrographs ({kinds});;All (*)"
        )
        self.add([Path(name) for name in names])

    def _ask_for_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self._parent, "Folder of micrographs to add")
        if chosen:
            watch.remember_sources(self._session, [chosen])
            self.add(find_micrographs(chosen))

    def add(self, paths: Sequence[Path]) -> None:
        """Add images to the project."""
        if paths:
            self._bench.watcher.take(paths)
