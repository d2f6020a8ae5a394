"""The tabs Check, History and Jobs."""

from __future__ import annotations

import re
import threading

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QHeaderView, QTabWidget
from window import CTRL, LEFT, SHIFT, Gate, discs, places, scored, write_mrc, write_star

from cryoppp_annotator import extensions
from cryoppp_annotator.jobs.runner import JobState
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.review.history import HistoryScope

Key = Qt.Key


def show(window, title: str) -> None:
    """Open a tab."""
    (row,) = [
        (tabs, k)
        for tabs in window.annotator.findChildren(QTabWidget)
        for k in range(tabs.count())
        if tabs.tabText(k) == title
    ]
    row[0].setCurrentIndex(row[1])
    QApplication.processEvents()


def texts(table, column: int) -> list[str]:
    return [table.item(row, column).text() for row in range(table.rowCount())]


# --- check -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(window, tmp_path):
    """On b: one pick twice, one over the edge, beside good ones; the window shows a."""
    rows = [("b.mrc", x, y, 0.5, 1) for x, y in places(1).tolist()]
    (x, y) = places(1)[0]
    rows += [("b.mrc", x + 2, y, 0.4, 1), ("b.mrc", 200, 1, 0.4, 1)]
    window.enter(write_star(tmp_path / "picker.star", rows))
    return window


def test_look_jump_mend_undo(doubtful):
    window, panel = doubtful, doubtful.annotator.check
    show(window, "Check")
    assert not panel.mend.isEnabled()
    assert panel.mend.toolTip() == "none of these findings has a safe remedy"
    panel.check.click()
    assert not panel.check.isEnabled()
    window.until(panel.check.isEnabled)
    said = texts(panel.table, 1)
    assert len(said) >= 2
    assert all(said)
    (twice,) = [row for row, text in enumerate(said) if "closer than" in text or "duplicate" in text]
    assert texts(panel.table, 0)[twice] == "b"
    panel.table.cellClicked.emit(twice, 1)
    assert window.session.current.name == "b"
    marked = window.session.particles.take(window.session.particles.rows_of(window.bench.focus.selected))
    assert {round(x) for x in marked.x} <= {round(places(1)[0][0]), round(places(1)[0][0]) + 2}
    panel.table.clearSelection()
    n = int(panel.mend.text().split()[1])
    assert n >= 2
    panel.mend.click()
    assert window.session.current.n_rejected == n
    assert {Reason.OVERLAP, Reason.EDGE} <= set(window.session.particles.reason.tolist())
    assert window.status == f"mended {n} picks found by lint · Ctrl+Z undoes"
    window.until(panel.check.isEnabled)
    assert not panel.mend.isEnabled(), "it looked again"
    window.key(Key.Key_Z, CTRL)
    assert window.session.current.n_rejected == 0
    assert panel._said.text().endswith("out of date: check again")


def test_one_finding_can_be_mended(doubtful):
    window, panel = doubtful, doubtful.annotator.check
    show(window, "Check")
    panel.start()
    window.until(panel.check.isEnabled)
    (edge,) = [row for row, item in enumerate(panel._findings) if item.finding.mend.name == "REJECT_EDGE"]
    panel.table.selectRow(edge)
    assert panel.mend.text() == "Reject 1 flagged pick"
    panel.mend.click()
    assert window.named("b").n_rejected == 1


# --- history ---------------------------------------------------------------------------------------------------------


def test_every_step_is_listed_and_a_double_click_goes_there(window):
    window.click(100, 80)
    window.click(100, 80, Qt.MouseButton.RightButton)
    window.go("c")
    window.click(200, 200)
    show(window, "History")
    panel = window.annotator.history
    assert texts(panel.table, 2) == [
        "add 1 pick on c",
        "reject 1 pick on a",
        "add 1 pick on a",
        "particle diameter 100 Å",
    ]
    assert panel.table.isColumnHidden(1), "one curator's name on every line says nothing"
    header = panel.table.horizontalHeader()
    header.setSectionResizeMode(2, QHeaderView.ResizeMode.Fixed)
    header.resizeSection(2, 60)
    window.until(lambda: panel.table.rowHeight(3) >= 2 * panel.table.fontMetrics().height())  # all of it can be read
    assert panel.undo.toolTip() == "Undo: add 1 pick on c (Ctrl+Z)"
    assert not panel.redo.isEnabled()
    assert panel.redo.toolTip() == "nothing to redo"
    at = panel.table.visualItemRect(panel.table.item(1, 2)).center()
    QTest.mouseClick(panel.table.viewport(), LEFT, pos=at)
    QTest.mouseDClick(panel.table.viewport(), LEFT, pos=at)
    QApplication.processEvents()
    assert window.session.current.name == "a"


def test_the_history_of_a_pick_two_moments_compared_csv_and_film(window, tmp_path, monkeypatch):
    window.click(100, 80)
    window.click(200, 200)
    window.drag([(100, 80), (112, 89)])
    window.click(112, 89, Qt.MouseButton.RightButton)
    rejected = int(window.session.particles.id[0])
    window.click(112, 89, Qt.MouseButton.RightButton, SHIFT)
    panel = window.annotator.history
    assert window.annotator.tabs.currentWidget() is panel
    window.until(lambda: panel.of.currentText() == f"pick {rejected}" and panel.table.rowCount() == 3)
    last, middle, first = texts(panel.table, 2)
    assert (last, first) == ("rejected", "added, accepted")
    assert re.fullmatch(r"moved by 1[456]\.\d px", middle)
    assert window.session.counts()["rejected"] == 1, "Shift + right click rejects nothing"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "pick.csv"), ""))
    panel.csv.click()
    window.until(lambda: window.status.startswith("wrote 3 rows"))
    assert (tmp_path / "pick.csv").read_text().count("ann,do,") == 3
    panel.film.start.click()
    window.until(lambda: panel.film.slider.isVisible())
    assert not window.layer.visible, "the picks as they are make room"
    shown = []
    for row in range(panel.film.slider.maximum() + 1):
        panel.film.slider.setValue(row)
        shown.append(len(window.viewer.layers["as it was"].data))
    assert shown == [1, 2, 2, 2]
    before = window.session.counts()
    window.bench.give("accept-rest")
    window.click(300, 100)
    assert window.session.counts() == before, "the past is not edited"
    panel.film.start.click()
    assert window.layer.visible
    assert "as it was" not in window.viewer.layers
    panel.show_about(HistoryScope())
    panel.compare.click()
    assert window.status.startswith("mark one step")
    panel.table.selectRow(2)  # the second pick was just added
    panel.compare.click()
    compare = window.annotator.review.sets
    window.until(lambda: "only first" in compare.counts.text())
    assert window.annotator.tabs.currentWidget() is window.annotator.review
    assert "both 1" in compare.counts.text()
    assert "only first 1" in compare.counts.text()
    assert "(step " in compare.first.currentText()


def test_undo_back_to_a_marked_step(window):
    for x in (60, 120, 180, 240):
        window.click(x, 80)
    show(window, "History")
    panel = window.annotator.history
    panel._back.click()
    assert window.status == "mark a step first"
    panel.table.selectRow(2)  # the second click
    panel._back.click()
    assert sorted(window.session.particles.x.round(-1).tolist()) == [60, 120]
    struck = [panel.table.item(row, 2).font().strikeOut() for row in range(5)]
    assert struck == [True, True, False, False, False]
    panel.redo.click()
    assert len(window.session.particles) == 3
    assert [panel.table.item(row, 2).font().strikeOut() for row in range(5)] == [True, False, False, False, False]


def test_each_step_is_named_in_the_menu(window):
    window.click(100, 80)
    menu = window.annotator.menus.menus["Edit"]
    menu.aboutToShow.emit()
    said = {action.text().split("\t")[0]: action for action in menu.actions()}
    assert said["Undo: add 1 pick on a"].isEnabled()
    assert said["Undo: add 1 pick on a"].text().endswith("\tCtrl+Z")
    assert not said["Redo"].isEnabled()
    assert said["Redo"].toolTip() == "nothing to redo"
    said["Undo: add 1 pick on a"].trigger()
    assert len(window.session.particles) == 0
    menu.aboutToShow.emit()
    assert "Redo: add 1 pick on a" in {action.text().split("\t")[0] for action in menu.actions()}


def test_undo_goes_where_the_step_was_and_holds_over_a_restart(window, new_window, micrographs):
    window.click(100, 80)
    window.go("b")
    window.key(Key.Key_Z, CTRL)
    assert window.session.current.name == "a"
    window.key(Key.Key_Z, CTRL | Qt.KeyboardModifier.ShiftModifier)
    window.annotator.close_project()
    later = new_window().open(micrographs)
    assert later.session.current.name == "a"
    assert len(later.session.particles) == 1
    later.key(Key.Key_Z, CTRL)
    assert len(later.session.particles) == 0


# --- jobs ------------------------------------------------------------------------------------------------------------


def row_of(window, title: str):
    """The newest row of a job, once it is listed."""

    def matching():
        return [row for row in window.annotator.jobs._rows.values() if row._title.text() == title]

    window.until(matching)
    return matching()[-1]


def test_denoise_all_shows_progress_and_stops(new_window, tmp_path):
    for seed in range(6):
        write_mrc(tmp_path / "data" / f"m{seed}.mrc", discs(seed))
    window = new_window().open(tmp_path / "data")
    window.idle()  # the first three are prepared by themselves
    gate = Gate()
    gate.name = window.bench.pictures.denoiser.name  # its pictures stand for those of the method in use
    window.bench.pictures.denoiser = gate
    show(window, "Jobs")
    window.annotator.jobs._denoise.click()
    row, status = row_of(window, "denoise 6 micrographs"), window.annotator.status
    window.until(lambda: row.job.state is JobState.RUNNING and row.job.message == "3/6")
    window.until(lambda: "3/6" in status._job.text())
    assert status._job.text().startswith("denoise 6 micrographs · 3/6")
    assert row._bar.isVisible()
    assert row._bar.value() == row._bar.maximum() // 2
    assert row._cancel.isVisible()
    assert status._cancel.isVisible()
    window.click(100, 80)
    assert len(window.session.particles) == 1, "nothing is blocked meanwhile"
    row._cancel.click()
    window.until(lambda: row._note.text().startswith("cancelled"))
    assert row.job.state is JobState.CANCELLED
    assert not row._cancel.isVisible()
    # and to its end
    gate.open()
    window.annotator.jobs._denoise.click()
    window.until(lambda: "6 denoised, 0 failed" in row_of(window, "denoise 6 micrographs")._note.text())
    for micrograph in window.session.micrographs:
        assert window.bench.pictures._file(window.bench.pictures.key(micrograph, window.bench.view)[2]).exists()


def test_the_status_line_cancels_too(window):
    window.idle()
    gate = window.bench.pictures.denoiser = Gate()
    window.annotator.jobs._denoise.click()
    row, status = row_of(window, "denoise 4 micrographs"), window.annotator.status
    window.until(status._cancel.isVisible)
    status._cancel.click()
    window.until(lambda: row.job.state is JobState.CANCELLED)
    gate.open()
    window.until(lambda: not status._cancel.isVisible())


def test_a_job_that_fails_says_why_and_folds_its_details(window):
    def work(context):
        raise extensions.EngineError("the model file is damaged; download it again")

    window.bench.runner.submit(work, title="pick with a model", on_failed=window.bench.job_failed)
    window.until(lambda: window.said and window.said[-1][1] == "error")
    assert window.status == "pick with a model: the model file is damaged; download it again"
    show(window, "Jobs")
    row = row_of(window, "pick with a model")
    assert row._note.text() == "failed: the model file is damaged; download it again"
    assert not row._text.isVisible()
    row._details.click()
    assert row._text.isVisible()
    assert "Traceback" in row._text.toPlainText()


def test_a_job_shows_its_time_left_then_what_it_took_and_its_log(window):
    going = threading.Event()

    def work(context):
        context.log("$ relion_autopick --i micrographs.star")
        context.progress(1, 4, "one of four")
        going.wait(120)
        context.progress(4, 4, "all four")
        context.log("two lines")

    window.bench.runner.submit(work, title="pick with a program")
    show(window, "Jobs")
    row = row_of(window, "pick with a program")
    window.until(lambda: row._note.text().endswith("s left"))
    assert row._note.text().startswith("running · one of four · ")
    going.set()
    window.until(lambda: row.job.state is JobState.DONE)
    window.until(lambda: re.fullmatch(r"done · all four · [\d.]+ s", row._note.text()))
    assert row._details.text() == "log (2)"
    row._details.click()
    assert row._text.isVisible()
    assert row._text.toPlainText() == "$ relion_autopick --i micrographs.star\ntwo lines"


def test_counts_in_the_panel_follow(window, tmp_path):
    window.enter(write_star(tmp_path / "picker.star", scored("ab")))
    pick = window.annotator.pick
    window.until(lambda: pick._accept_all.text() == "Accept 40 undecided")
    window.session.decide(window.session.particles.id[:5], Decision.ACCEPTED)
    window.until(lambda: pick._accept_all.text() == "Accept 35 undecided")
    window.go("b")
    window.until(lambda: pick._accept_all.text() == "Accept 40 undecided")


def test_a_job_whose_cluster_has_no_workers_offers_to_go_on_here(window):
    went_on = threading.Event()

    def work(context):
        context.on_lost("No workers are connected to tcp://there:8786")
        while not context.goes_on_here():
            context.check()
        context.on_lost("")
        went_on.set()
        return 5

    show(window, "Jobs")
    window.bench.start(work, title="a job elsewhere")
    row = row_of(window, "a job elsewhere")
    window.until(row._here.isVisible)
    assert row._note.text() == "No workers are connected to tcp://there:8786"
    assert "No workers are connected" in window.status
    row._here.click()
    window.until(lambda: row.job.state is JobState.DONE)
    assert went_on.is_set()
    window.until(lambda: not row._here.isVisible())
