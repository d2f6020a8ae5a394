"""The Review tab: likely errors answered with one key, a page of look-alikes, two sets compared, all taken back."""

from __future__ import annotations

import numpy as np
import pytest
from class_window import NAMES
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox
from window import DIAMETER, dialog, places, scored, write_star

from cryoppp_annotator.audit.suspects import ErrorKind
from cryoppp_annotator.gui.widgets.dialogs.look_alikes import LookAlikes
from cryoppp_annotator.gui.widgets.dialogs.second_pass_dialog import SecondPassDialog
from cryoppp_annotator.gui.widgets.parts.error_queue import ErrorQueue
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.which import Which

Key = Qt.Key


@pytest.fixture
def doubtful(window, tmp_path):
    """160 accepted picks on four micrographs; on each one lies on nothing, one beside its particle, one is missing."""
    rows = []
    for seed, name in enumerate("abcd"):
        there = places(seed)
        there[0] += (0.45 * DIAMETER, 0)
        rows += [(f"{name}.mrc", x, y, 0.5, 1) for x, y in np.delete(there, 1, axis=0).tolist()]
        rows.append((f"{name}.mrc", 4.0, 4.0, 0.5, 1))
    window.enter(write_star(tmp_path / "labels.star", rows))
    window.session.decide_where(Which(), Decision.ACCEPTED)
    window.idle()
    return window


def open_tab(window, title: str) -> None:
    tabs = window.annotator.tabs
    tabs.setCurrentIndex([tabs.tabText(k) for k in range(tabs.count())].index(title))
    QApplication.processEvents()


def started(window):
    """The queue on the screen, at its first item."""
    open_tab(window, "Review")
    queue = window.annotator.review.queue
    queue.find.click()
    window.until(lambda: queue.number is not None)
    QApplication.processEvents()
    return queue


def test_one_key_an_answer_the_next_at_once_and_back(doubtful):
    window = doubtful
    before = window.session.counts()
    queue = started(window)
    assert queue.number == 0
    item = queue._review.items[0]
    assert window.session.current_id == item.micrograph
    centre = np.array(window.viewer.scene.camera.center[-2:]) / window.layer.scale
    assert np.allclose(centre, (item.y, item.x), atol=1.0)
    QTest.keyClick(queue, Key.Key_X)
    assert queue.number == 1
    assert window.session.counts()["rejected"] == before["rejected"] + 1
    assert queue.progress.value() == 1
    QTest.keyClick(queue, Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert queue.number == 0
    assert window.session.counts() == before
    assert not queue.back.isEnabled(), "there is no answer left to take back"
    QTest.keyClick(queue, Key.Key_X)
    assert queue.back.isEnabled()
    window.key(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)  # on the picture
    assert (queue.number, queue.progress.value()) == (0, 0), "undone is unanswered"
    assert window.session.counts() == before
    QTest.keyClick(queue, Key.Key_X)
    not_replaced_unasked(window, queue)


def test_a_click_on_the_picture_does_not_take_the_keys_for_good(doubtful):
    window, queue = doubtful, started(doubtful)
    item, picks, name = queue._review.items[0], window.session.particles, window.session.current.name
    before = window.session.counts()
    away = np.hypot(picks.x - item.x, picks.y - item.y)
    other = int(np.argsort(away)[1])
    window.click(item.x + 0.5 * (picks.x[other] - item.x), item.y + 0.5 * (picks.y[other] - item.y))
    assert window.session.counts()["accepted"] == before["accepted"] + 1, "a pick was added there"
    window.until(queue.has_keyboard)
    QTest.keyClick(queue, Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.session.counts() == before, "undo takes that back, and no answer"
    assert queue.number == 0
    # another pick is selected: the keys mean that one, once
    window.bench.canvas.setFocus()
    window.click(picks.x[other], picks.y[other])
    assert not queue.has_keyboard()
    window.key(Key.Key_X)
    assert window.session.store.particles_where(Which(ids=(int(picks.id[other]),))).decision.tolist() == [2]
    window.until(queue.has_keyboard)
    QTest.keyClick(queue, Key.Key_X)
    assert window.session.next_undo().title == f"reject 1 pick on {name} in review"
    assert queue.number == 1
    # elsewhere the keys are for what is seen there
    window.session.go(next(m.id for m in window.session.micrographs if m.id != window.session.current_id))
    assert queue.number is None
    assert not queue.has_keyboard()
    queue.skip.click()
    assert queue.number == 1
    assert window.session.current_id == queue._review.items[1].micrograph


def not_replaced_unasked(window, queue) -> None:
    items, likely = list(queue._review.items), queue._review.n_likely_left
    assert f"1 of {len(items)} answered · {likely} likely left" in queue.progress.text()
    for reply in ("Cancel", "Go on with it"):
        queue.find.click()
        question = dialog(QMessageBox)
        assert "answered so far: 1" in question.text()
        next(button for button in question.buttons() if button.text().replace("&", "") == reply).click()
        QApplication.processEvents()
        assert (queue._review.items, queue.number) == (items, 1)
    queue.of.setCurrentIndex(queue.of.count() - 1)
    queue.find.click()
    next(button for button in dialog(QMessageBox).buttons() if button.text() == "New queue").click()
    QApplication.processEvents()
    assert window.status == "no undecided candidate with a score is left: propose some first"
    assert (queue._review.items, queue.number) == (items, 1), "kept until there is another"
    again = ErrorQueue(window.bench, queue._mark)  # another day
    again.setParent(queue)
    assert again.said.text() == f"A review of {queue._review.title} is open."
    assert again.skip.text() == "Go on"
    again.skip.click()
    assert again.number == 1
    again.close_panel()


def test_the_set_that_has_picks_is_offered_first(picked):
    open_tab(picked, "Review")
    queue = picked.annotator.review.queue
    assert queue.of.currentText() == "picks.star", "nothing is accepted yet"
    assert not queue.back.isEnabled()
    picked.session.decide_where(Which(), Decision.ACCEPTED)
    open_tab(picked, "Check")
    open_tab(picked, "Review")
    assert queue.of.currentText() == "accepted picks"


def test_why_no_errors_were_searched_stands_where_one_pressed(window):
    queue = window.annotator.review.queue
    window.annotator.tabs.setCurrentWidget(window.annotator.review)
    queue.find.click()
    window.until(queue.why.text)
    assert queue.said.text() == "Errors could not be searched"
    assert queue.why.text() in window.status
    assert queue.find.isEnabled()


def test_what_was_planted_is_settled_by_the_first_answers(doubtful):
    window, queue = doubtful, started(doubtful)
    keys = {ErrorKind.FALSE: Key.Key_X, ErrorKind.MOVED: Key.Key_M, ErrorKind.MISSING: Key.Key_A}
    for _ in range(12):
        QTest.keyClick(queue, keys[queue._review.items[queue.number].kind])
    for seed, micrograph in enumerate(window.session.micrographs):
        here = window.session.store.particles(micrograph.id)
        kept = here.take(here.decision == Decision.ACCEPTED)
        away = np.hypot(*(places(seed)[:, None] - np.column_stack([kept.x, kept.y])[None]).transpose(2, 0, 1))
        assert len(kept) == 40
        assert away.min(axis=1).max() < 0.2 * DIAMETER


def test_a_page_is_answered_at_once_but_for_its_exceptions(doubtful):
    window, queue = doubtful, started(doubtful)
    before = window.session.counts()
    queue.page.click()
    page = dialog(LookAlikes)
    window.until(lambda: not page.tiles.item(0).icon().isNull())
    n = page.tiles.count()
    shown = {(queue._review.items[number].kind, queue._review.items[number].likely) for number in page._numbers}
    assert len(shown) == 1, "what is likely wrong is not answered with what is likely right"
    assert not page.no.isVisible()
    page.tiles.item(n - 1).setSelected(True)
    page.yes.click()
    QApplication.processEvents()
    assert queue._review.n_answered == n
    assert window.session.next_undo().title.endswith("in review")
    queue.back.click()
    assert window.session.counts() == before
    assert queue._review.n_answered == 0


def steps_of(window) -> int:
    """Steps in the history; looking at a micrograph for the first time is none."""
    return sum(entry.kind != "visit" for entry in window.session.history())


def test_a_second_pass_is_blind_and_changes_no_pick(picked, tmp_path, monkeypatch):
    window = picked
    rows = [(f"{name}.mrc", x, y, 0.5, 1) for k, name in enumerate("abcd") for x, y in places(k + 10).tolist()]
    window.enter(write_star(tmp_path / "others.star", rows))
    before, steps = window.session.counts(), steps_of(window)
    open_tab(window, "Review")
    panel = window.annotator.review
    second = panel.second
    panel.tabs.setCurrentWidget(second)
    assert not second.go_on.isEnabled()
    second.begin.click()
    ask = dialog(SecondPassDialog)
    ask.labels.setCurrentIndex(ask.labels.findText("picks.star"))
    ask.micrographs.setValue(2)
    ask.places.setValue(12)
    ask.accept()
    window.until(lambda: second.number is not None)
    item = second._pass.items[second.number]
    assert window.session.current_id == item.micrograph
    assert not window.layer.visible, "what was said is not shown"
    assert "score" not in second.why.text()
    window.key(Key.Key_Space)
    assert not window.layer.visible
    QTest.keyClick(second, Key.Key_A)
    QTest.keyClick(window.bench.canvas, Key.Key_X)  # wherever the keyboard is
    assert second._pass.n_done == 2
    window.bench.give("accept-rest")
    assert window.status.startswith("the picks are hidden")
    QTest.keyClick(second, Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert second._pass.n_done == 1
    open_tab(window, "Check")
    assert window.layer.visible
    open_tab(window, "Review")
    second.go_on.click()
    while second.number is not None:
        QTest.keyClick(second, Key.Key_A)
    assert second.question.text() == "Nothing is left for ann."
    assert window.layer.visible
    assert (window.session.counts(), steps_of(window)) == (before, steps)
    second.show_results.click()
    text = second.results.text()
    assert "Looked at again: 12 of 12; 6 differ, 0 of them settled." in text
    assert "F1 0." in text
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "who.csv"), ""))
    second.csv.click()
    assert len((tmp_path / "who.csv").read_text().splitlines()) == 13
    second.consensus.click()
    assert window.session.next_undo().title.endswith("consensus on picks.star")


def test_two_sets_in_three_colours_and_a_set_made_of_them(window, tmp_path):
    window.enter(write_star(tmp_path / "first.star", scored(NAMES)))
    rows = [row for row in scored(NAMES) if row[0] != "b.mrc"][5:]
    window.enter(write_star(tmp_path / "second.star", rows))
    open_tab(window, "Review")
    panel = window.annotator.review
    panel.tabs.setCurrentWidget(panel.sets)
    compare = panel.sets
    compare.first.setCurrentIndex(1)
    compare.second.setCurrentIndex(2)
    compare.start.click()
    window.until(lambda: compare.table.rowCount() == 4)
    assert compare.table.item(0, 0).text() == "b"
    assert "only first 45" in compare.counts.text()
    compare.table.cellClicked.emit(0, 0)
    assert window.session.current.name == "b"
    assert len(window.viewer.layers["review"].data) == 40
    assert window.viewer.layers.selection.active is window.layer
    n, before = len(window.session.pick_sets), window.session.counts()
    compare.make.click()
    window.idle()
    assert len(window.session.pick_sets) == n + 1
    assert window.session.counts()["undecided"] == before["undecided"] + 115
    open_tab(window, "Check")
    assert "review" not in window.viewer.layers
