"""The list of micrographs: what it says, filter, sort, walking through it, and files that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu
from window import CTRL, LEFT, PLAIN, SHIFT, answer, choose, discs, scored, write_mrc, write_star

from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.gui.models.micrograph_table import COLUMNS, MORE
from cryoppp_annotator.gui.widgets.parts.list_facts import WHOSE
from cryoppp_annotator.imaging.ctf import Ctf, Defocus
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.pictures import optics

Key = Qt.Key
STATE, NAME, ACCEPTED, UNDECIDED, REJECTED, PIXEL, PROBLEM = range(7)


class Listed:
    """The table as it is read on the screen."""

    def __init__(self, window):
        self._window = window  # not its widgets: pytest keeps what a fixture gave

    @property
    def panel(self):
        return self._window.annotator.micrographs

    @property
    def model(self):
        return self.panel.model

    @property
    def table(self):
        return self.panel.table

    def names(self):
        return [self.cell(row, NAME) for row in range(self.model.rowCount())]

    def cell(self, row, column, role=Qt.ItemDataRole.DisplayRole):
        return self.model.index(row, column).data(role)

    def row(self, name):
        return [self.cell(self.names().index(name), column) for column in range(len(COLUMNS))]

    def tip(self, name, column):
        return self.cell(self.names().index(name), column, Qt.ItemDataRole.ToolTipRole)

    def click(self, name, held=PLAIN):
        at = self.table.visualRect(self.model.index(self.names().index(name), NAME)).center()
        QTest.mouseClick(self.table.viewport(), LEFT, held, at)
        QApplication.processEvents()


@pytest.fixture
def listed(window, tmp_path):
    window.enter(write_star(tmp_path / "picker.star", scored("abc", 30)))
    return Listed(window)


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_says_state_counts_and_pixel_size(window, listed):
    assert listed.names() == list("abcd")
    heads = [listed.model.headerData(k, Qt.Orientation.Horizontal) for k in range(7)]
    assert heads == ["", "name", "acc", "und", "rej", "Å/px", "problem"]
    tips = Qt.ItemDataRole.ToolTipRole
    assert all(listed.model.headerData(k, Qt.Orientation.Horizontal, tips) for k in range(7))
    assert listed.row("a") == ["◐", "a", "0", "30", "0", "5", ""]
    assert listed.row("d") == ["·", "d", "0", "0", "0", "5", ""]
    assert listed.tip("a", STATE) == "in progress, by ann"
    assert listed.table.isColumnHidden(PROBLEM), "no problem, no column"
    # counts follow
    ids = window.session.particles.id
    window.session.decide(ids[:12], Decision.ACCEPTED)
    window.session.decide(ids[12:17], Decision.REJECTED)
    assert listed.row("a")[ACCEPTED : REJECTED + 1] == ["12", "13", "5"]
    window.session.undo()
    assert listed.row("a")[ACCEPTED : REJECTED + 1] == ["12", "18", "0"]


def test_progress_and_states(window, listed):
    progress = listed.panel._progress
    assert (progress.text(), progress.value(), progress.maximum()) == ("0 of 4 complete", 0, 4)
    window.key(Key.Key_C)
    assert window.session.current.name == "b", "C goes on to the next"
    assert listed.row("a")[STATE] == "●"
    assert progress.text() == "1 of 4 complete"
    assert window.status == "a is complete, with 30 picks still undecided · Ctrl+Z undoes"
    window.key(Key.Key_E)
    assert window.session.current.name == "b"
    assert window.status == "30 picks here are undecided; reject before calling it empty"
    window.key(Key.Key_U)
    assert listed.row("b")[STATE] == "✕"
    window.go("d")
    window.key(Key.Key_E)
    assert listed.row("d")[STATE] == "○"
    assert progress.text() == "3 of 4 complete"
    assert listed.row("c")[STATE] == "◐"
    window.key(Key.Key_Z, CTRL)
    assert progress.text() == "2 of 4 complete"


def test_next_and_previous_follow_filter_and_order(window, listed):
    panel = listed.panel
    window.session.set_state([window.named("b").id], MicrographState.COMPLETE)
    choose(panel._states, "not finished")
    assert listed.names() == list("acd")
    assert panel._count.text() == "3 of 4 shown"
    window.key(Key.Key_PageDown)
    assert window.session.current.name == "c"
    assert window.status == "c · 0 accepted, 30 undecided, 0 rejected"
    choose(panel._states, "all states")
    panel._search.setText("D")
    assert listed.names() == ["d"], "capitals do not matter"
    window.key(Key.Key_PageDown)
    assert window.session.current.name == "d"
    panel._search.clear()
    choose(panel._states, "complete")
    assert listed.names() == ["b"]
    choose(panel._states, "with undecided picks")
    assert listed.names() == list("abc")
    choose(panel._states, "all states")
    window.key(Key.Key_PageDown)
    assert window.status == "this is the last micrograph of the list"


def test_sorting(window, listed):
    window.session.go(window.named("c").id)
    window.session.decide(window.session.particles.id[:20], Decision.ACCEPTED)
    head = listed.table.horizontalHeader()
    head.setSortIndicator(UNDECIDED, Qt.SortOrder.AscendingOrder)
    assert listed.names() == list("dcab"), "fewest undecided first"
    head.setSortIndicator(NAME, Qt.SortOrder.DescendingOrder)
    assert listed.names() == list("dcba")
    assert listed.table.currentIndex().row() == 1, "the current one stays marked"
    window.key(Key.Key_PageDown)
    assert window.session.current.name == "b", "next is the next of the list"


def test_a_click_opens_and_several_are_marked_at_once(window, listed):
    listed.click("c")
    assert window.session.current.name == "c"
    listed.click("d", CTRL)
    assert window.session.current.name == "c", "marking more opens nothing"
    assert listed.panel.chosen() == [window.named("c").id, window.named("d").id]
    offered = []

    def menu():
        popup = QApplication.activePopupWidget()
        return popup if isinstance(popup, QMenu) else None

    def reply(menu_shown):
        offered.extend(action.text() for action in menu_shown.actions())
        menu_shown.actions()[3].trigger()
        menu_shown.close()

    answer(menu, reply)
    listed.panel._on_menu(listed.table.visualRect(listed.model.index(2, NAME)).center())
    assert offered[:4] == ["Mark in progress", "Mark complete", "Mark empty", "Mark unusable"]
    assert offered[-1] == "Remove 2 micrographs from the project"
    assert [listed.row(name)[STATE] for name in "abcd"] == ["◐", "·", "✕", "✕"]
    assert window.status == "marked 2 micrographs unusable · Ctrl+Z undoes"
    window.session.undo()
    assert [listed.row(name)[STATE] for name in "cd"] == ["◐", "·"]


def test_micrographs_are_given_to_a_curator(window, listed, qtbot):
    whose = WHOSE
    assert listed.table.isColumnHidden(whose)
    menu = QMenu()
    chosen = [window.named(name).id for name in "bc"]
    listed.panel._menu.fill_for(menu, chosen)
    (offered,) = [action.menu() for action in menu.actions() if action.text() == "Assign to"]
    me = window.session.curator
    assert [action.text() for action in offered.actions()] == [f"{me} (me)", "", "Somebody else…", "Nobody"]
    offered.actions()[0].trigger()
    assert window.status == "assigned 2 micrographs to " + me + " · Ctrl+Z undoes"
    assert not listed.table.isColumnHidden(whose), "it is shown unasked"
    assert [listed.cell(row, whose) for row in range(4)] == ["", me, me, ""]
    assert f"assigned to {me}" in listed.tip("b", NAME)
    listed.model.sort(whose)
    assert listed.names() == list("bcad"), "those of nobody come last"
    listed.model.sort(-1)

    def reply(dialog):
        dialog.setTextValue("bob")
        dialog.accept()

    answer(lambda: QApplication.activeModalWidget(), reply)
    offered.actions()[2].trigger()
    assert [listed.cell(row, whose) for row in range(4)] == ["", "bob", "bob", ""]
    window.session.undo()
    choose(listed.panel._states, "mine")
    assert listed.names() == list("bc")
    window.session.undo()
    listed.model.arrange()
    assert listed.names() == []


# --- files that cannot be read ---------------------------------------------------------------------------------------


def test_a_truncated_file_is_named_and_the_others_go_on(new_window, micrographs):
    whole = (micrographs / "b.mrc").read_bytes()
    (micrographs / "b.mrc").write_bytes(whole[: len(whole) // 2])
    (micrographs / "c.mrc").write_text("this is no micrograph\n" * 100)
    window = new_window().open(micrographs)
    listed = Listed(window)
    assert not listed.table.isColumnHidden(PROBLEM)
    assert listed.row("b")[STATE] == "!"
    assert "truncated" in listed.row("b")[PROBLEM] or "bytes" in listed.row("b")[PROBLEM]
    assert "is text" in listed.row("c")[PROBLEM]
    assert listed.row("a")[PROBLEM] == listed.row("d")[PROBLEM] == ""
    choose(listed.panel._states, "with problems")
    assert listed.names() == list("bc")
    choose(listed.panel._states, "all states")
    window.key(Key.Key_PageDown)
    window.idle()
    assert window.bench.overlay.text == f"b cannot be shown: {listed.row('b')[PROBLEM]}"
    assert not window.image.visible, "the picture of a is gone"
    window.key(Key.Key_PageDown)
    window.key(Key.Key_PageDown)
    window.until(window.drawn)
    assert window.session.current.name == "d"
    assert window.image.visible
    # the copy is finished: it is looked at again
    (micrographs / "b.mrc").write_bytes(whole)
    window.go("b")
    assert listed.row("b") == ["·", "b", "0", "0", "0", "5", ""]
    window.click(100, 100)
    assert len(window.session.particles) == 1


def test_a_file_that_vanishes_and_comes_back(window, micrographs):
    listed = Listed(window)
    hidden = micrographs / "d.mrc"
    content = hidden.read_bytes()
    hidden.unlink()
    window.session.go(window.named("d").id)
    window.until(lambda: window.bench.problem)
    assert window.bench.problem == "does not exist; was it moved or renamed?"
    assert window.status.startswith("d: ")
    assert listed.row("d")[STATE] == "!"
    assert listed.row("d")[PROBLEM] == window.bench.problem
    assert not window.image.visible
    window.go("c")
    hidden.write_bytes(content)
    window.go("d")
    assert listed.row("d")[PROBLEM] == ""
    assert window.image.visible


def test_another_image_under_the_same_name(window, micrographs):
    """Written anew while the window is open: the next look shows it."""
    window.go("d")
    window.go("a")
    write_mrc(micrographs / "d.mrc", np.ascontiguousarray(discs(3)[:200]))
    (micrographs / "d.mrc").touch()
    window.go("d")
    assert window.drawn()


# --- columns, expressions, several rows ------------------------------------------------------------------------------


def test_the_filter_takes_expressions_and_columns_are_shown_and_hidden(window, listed):
    panel = listed.panel
    window.session.decide(window.session.particles.id[:12], Decision.ACCEPTED)
    panel._search.setText("acc > 5")
    assert listed.names() == ["a"]
    panel._search.setText("acc > 5 or")
    assert listed.names() == ["a"], "what is not whole yet changes nothing"
    assert "missing before the end" in panel._wrong.text()
    panel._search.setText("ac > 5")
    assert "is acc meant" in panel._wrong.text()
    panel._search.setText("B")
    assert (listed.names(), panel._wrong.isHidden()) == (["b"], True), "a text is a part of the name"
    panel._search.setText("res > 6")
    assert (listed.names(), panel._wrong.text()) == ([], "Too little is known of 4 micrographs")
    # the resolution is read in the background, again when it changes
    optics.set_optics(window.session, [2], Ctf(Defocus(15000.0, 15000.0, 0.0)))
    panel._search.setText("defocus > 1")
    window.until(lambda: listed.names() == ["b"])
    panel._search.setText("")
    assert not panel.facts.shown()
    defocus = len(COLUMNS) + [fact.name for fact in MORE].index("defocus")
    menu = QMenu()
    panel.facts.fill(menu)
    next(action for action in menu.actions() if action.text() == "defocus").trigger()
    assert not listed.table.isColumnHidden(defocus)
    window.until(lambda: listed.cell(1, defocus) == "1.50")
    assert listed.tip("a", defocus).endswith("not known")
    listed.table.sortByColumn(defocus, Qt.SortOrder.AscendingOrder)
    assert listed.names()[0] == "b", "what is not known comes last"
    panel.facts.show_column("defocus", False)
    assert listed.table.isColumnHidden(defocus)


def test_several_rows_are_marked_cleared_and_written(window, listed, tmp_path):
    listed.click("a")
    listed.click("c", SHIFT)
    menu = QMenu()

    def give(text):
        menu.clear()
        listed.panel._menu.fill_for(menu, listed.panel.chosen())
        actions = [*menu.actions(), *(inner for sub in menu.findChildren(QMenu) for inner in sub.actions())]
        next(action for action in actions if action.text() == text).trigger()

    give("Ice")
    assert [m.state for m in window.session.micrographs[:3]] == [MicrographState.UNUSABLE] * 3
    assert "unusable (ice)" in window.session.next_undo().title
    window.session.undo()
    give("Clear 90 undecided picks")
    assert window.session.counts()["undecided"] == 0
    window.session.undo()
    assert window.session.counts()["undecided"] == 90
    listed.panel._menu.write_selected(listed.panel.chosen(), tmp_path / "micrographs_selected.star")
    window.until((tmp_path / "micrographs_selected.star").is_file)
    names = read_star(tmp_path / "micrographs_selected.star").table("micrographs").columns["rlnMicrographName"]
    assert [name.rpartition("/")[2] for name in names] == ["a.mrc", "b.mrc", "c.mrc"]
    asked = []
    window.bench.propose_requested.connect(asked.append)
    window.session.set_diameter(100.0)
    give("Propose on 3 micrographs")
    assert asked == [[1, 2, 3]]
    window.until(lambda: window.session.next_undo().verb == "propose")
