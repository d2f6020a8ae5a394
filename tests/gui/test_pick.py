"""Picking and deciding with mouse, keys and panel; walking by need."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window import ALT, CTRL, PIXEL_A, RIGHT, SHIFT, choose, places, scored, write_star

from cryoppp_annotator.gui.widgets.panels.pick import sides_text
from cryoppp_annotator.model.curation import Decision, Reason

Key = Qt.Key


def decisions(window):
    return window.session.particles.decision.tolist()


# --- one mode --------------------------------------------------------------------------------------------------------


@pytest.mark.any_qt
def test_add_move_reject_and_remove_without_changing_a_mode(window):
    window.click(100, 80)
    window.click(300, 200)
    assert decisions(window) == [Decision.ACCEPTED] * 2
    assert window.status == "added 1 pick on a · Ctrl+Z undoes"
    window.drag([(100, 80), (160, 120)])
    assert window.session.particles.yx[0] == pytest.approx((120, 160), abs=2)
    assert window.status == "moved 1 pick on a · Ctrl+Z undoes"
    window.click(160, 120, RIGHT)
    assert decisions(window) == [Decision.REJECTED, Decision.ACCEPTED]
    assert window.status == "rejected 1 pick on a · Ctrl+Z undoes"
    window.bench.focus.clear()
    window.point(300, 200)
    window.key(Key.Key_Delete)
    assert len(window.session.particles) == 1
    assert window.status == "deleted 1 pick on a · Ctrl+Z undoes"
    assert str(window.layer.mode) == "pan_zoom"
    for _ in range(5):
        window.key(Key.Key_Z, CTRL)
    assert decisions(window) == []
    assert window.status == "undid: add 1 pick on a · Ctrl+Shift+Z redoes"
    window.key(Key.Key_Z, CTRL | SHIFT)
    assert decisions(window) == [Decision.ACCEPTED]


@pytest.mark.any_qt
def test_too_close_is_refused_and_alt_adds_all_the_same(window, tmp_path):
    window.click(200, 160)
    window.enter(write_star(tmp_path / "picker.star", [("a.mrc", 100, 100, 0.5, 1)]))
    window.enter(write_star(tmp_path / "other.star", [("a.mrc", 300, 100, 0.5, 1)]))
    window.bench.focus.clear()
    window.click(207, 160)
    assert len(window.bench.focus.selected) == 1, "a click in a ring selects"
    window.bench.focus.clear()
    window.click(207, 160, held=ALT)
    assert len(window.session.particles) == len(window.layer.data) == 4
    # one that is not drawn is in the way as well, and it is said
    choose(window.annotator.pick.view._set, "other.star")
    before = window.steps()
    window.click(107, 100)
    assert window.said[-1][1] == "warning"
    assert "not added: another pick is" in window.status
    assert window.status.endswith("px away, less than half a diameter (P or Alt+click adds it anyway)")
    assert (window.steps(), len(window.layer.data)) == (before, 3)
    window.click(115, 100)
    assert window.steps() == before + 1, "farther than half a diameter"


@pytest.mark.any_qt
def test_what_is_under_the_pointer_is_rejected_with_a_reason(window):
    window.click(100, 80)
    window.click(300, 200)
    window.bench.focus.clear()
    window.point(100, 80)
    assert window.annotator.pick._selection.text().startswith("pick 1: accepted")
    window.key(Key.Key_2)
    p = window.session.particles
    assert (p.decision.tolist(), p.reason[0]) == ([Decision.REJECTED, Decision.ACCEPTED], Reason.ICE)
    assert window.status == "rejected 1 pick as ice on a · Ctrl+Z undoes"
    for key, reason in ((Key.Key_1, Reason.CARBON), (Key.Key_9, Reason(9))):
        window.key(key)
        assert window.session.particles.reason[0] == reason
    window.key(Key.Key_A)
    assert decisions(window)[0] == Decision.ACCEPTED
    assert window.session.particles.reason[0] == Reason.NONE
    window.key(Key.Key_0)
    assert decisions(window)[0] == Decision.UNDECIDED
    assert window.status == "set undecided: 1 pick on a · Ctrl+Z undoes"
    window.point(20, 300)
    window.key(Key.Key_X)
    assert window.status == "point at a pick or select some first"


@pytest.fixture
def picked(window, tmp_path):
    """Forty undecided candidates on each of a, b and c."""
    window.enter(write_star(tmp_path / "picker.star", scored("abc")))
    return window


@pytest.mark.any_qt
def test_lasso_and_rectangle(picked):
    window, xy = picked, places(0)
    window.drag([(100, 60), (300, 60), (300, 250), (100, 250), (100, 70)], SHIFT)
    inside = ((xy > (100, 60)) & (xy < (300, 250))).all(axis=1)
    selected = np.isin(window.session.particles.id, window.bench.focus.selected)
    near = (np.abs(xy[:, :1] - (100, 300)) < 3).any(axis=1) | (np.abs(xy[:, 1:] - (60, 250)) < 3).any(axis=1)
    np.testing.assert_array_equal(selected[~near], inside[~near])
    n = int(selected.sum())
    assert n > 5
    assert window.status == f"{n} selected: A accepts, X or 1 to 9 rejects, Delete removes, Escape clears the selection"
    window.key(Key.Key_1)
    np.testing.assert_array_equal(window.session.particles.decision == Decision.REJECTED, selected)
    assert window.status == f"rejected {n} picks as carbon on a · Ctrl+Z undoes"
    window.key(Key.Key_Z, CTRL)
    window.key(Key.Key_Escape)
    assert len(window.bench.focus.selected) == 0
    window.drag([(100, 60), (300, 250)], CTRL)
    selected = np.isin(window.session.particles.id, window.bench.focus.selected)
    np.testing.assert_array_equal(selected[~near], inside[~near])
    window.key(Key.Key_Delete)
    assert window.session.current.n_rejected == n, "imported picks are rejected, not deleted"
    assert len(window.session.particles) == 40


@pytest.mark.any_qt
def test_the_brush_rejects_what_it_sweeps_over_in_one_step(picked):
    window, xy = picked, places(0)
    before = window.steps()
    canvas = window.bench.canvas
    canvas.setFocus()
    QTest.keyPress(canvas, Key.Key_B)
    window.drag([(50, 160), (350, 160)])
    window.let_go(Key.Key_B)
    reach = 0.75 * 20
    swept = (np.abs(xy[:, 1] - 160) < reach - 2) & (xy[:, 0] > 50) & (xy[:, 0] < 350)
    spared = (np.abs(xy[:, 1] - 160) > reach + 2) | (xy[:, 0] < 50 - reach) | (xy[:, 0] > 350 + reach)
    rejected = window.session.particles.decision == Decision.REJECTED
    assert swept.sum() > 1
    assert rejected[swept].all()
    assert not rejected[spared].any()
    assert window.steps() == before + 1
    assert not window.bench.gestures.brushing
    window.click(20, 300)
    assert len(window.session.particles) == 41, "without B a click adds again"


# --- bulk ------------------------------------------------------------------------------------------------------------


@pytest.mark.any_qt
def test_above_and_below_a_score_here_and_everywhere(picked):
    window, pick, session = picked, picked.annotator.pick, picked.session
    pick._score.setValue(0.7)
    window.until(lambda: pick._above.text() == "Accept 12 above")
    counted = "here: 12 above, 28 below\nall: 36 above, 84 below"
    window.until(lambda: pick._counts.text() == counted)
    for n in (654, 205_200, 3_402_000):  # a line each, whatever is counted
        line = f"here: {sides_text(n, n)}"
        assert pick._counts.fontMetrics().horizontalAdvance(line) < pick._counts.width(), line
    pick._above.click()
    assert session.current.n_accepted == 12
    assert window.status == "accepted 12 picks above score 0.7 on a · Ctrl+Z undoes"
    choose(pick._scope, "all micrographs")
    window.until(lambda: pick._below.text() == "Reject 84 below")
    pick._below.click()
    assert session.counts() == {"accepted": 12, "undecided": 24, "rejected": 84}
    assert window.status == "rejected 84 picks below score 0.7 in the project · Ctrl+Z undoes"
    window.until(lambda: pick._accept_all.text() == "Accept 24 undecided")
    pick._accept_all.click()
    assert session.counts()["accepted"] == 36
    window.until(lambda: not pick._above.isEnabled() and not pick._accept_all.isEnabled())
    assert pick._accept_all.toolTip() == "nothing is undecided there"
    for _ in range(3):
        window.key(Key.Key_Z, CTRL)
    assert session.counts() == {"accepted": 0, "undecided": 120, "rejected": 0}


def test_all_here_by_key(picked):
    window = picked
    window.session.decide(window.session.particles.id[:3], Decision.ACCEPTED)
    window.key(Key.Key_X, SHIFT)
    assert window.status == "rejected 37 picks on a · Ctrl+Z undoes"
    assert window.session.counts() == {"accepted": 3, "undecided": 80, "rejected": 37}
    window.key(Key.Key_A, SHIFT)
    assert window.status == "nothing is undecided here"


@pytest.mark.any_qt
def test_a_threshold_that_moves_dims_what_is_below(picked):
    window, pick = picked, picked.annotator.pick
    bar = pick.threshold
    y = bar.height() // 2
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(bar.width() // 2, y))
    window.until(lambda: (window.layer.border_color[:, 3] < 0.5).any())
    below = window.session.particles.score < bar.value
    np.testing.assert_array_equal(window.layer.border_color[:, 3] < 0.5, below)
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(bar.width() // 2, y))
    window.until(lambda: (window.layer.border_color[:, 3] > 0.5).all())
    assert window.session.counts()["undecided"] == 120, "nothing is decided by looking"


# --- walking by need -------------------------------------------------------------------------------------------------


def the_selected(window):
    (one,) = window.bench.focus.selected.tolist()
    return one


def test_n_goes_to_what_matters_most_and_a_decision_goes_on(picked):
    window, focus = picked, picked.bench.focus
    window.annotator.pick._score.setValue(0.5)
    queue = focus.walking.by_need().tolist()
    score = dict(zip(window.session.particles.id.tolist(), window.session.particles.score.tolist(), strict=True))
    assert [abs(score[i] - 0.5) for i in queue] == sorted(abs(score[i] - 0.5) for i in queue)
    window.key(Key.Key_N)
    assert the_selected(window) == queue[0]
    zoom = window.viewer.scene.camera.zoom
    assert 100 / PIXEL_A * window.layer.scale[-1] * zoom > 39, "large enough to be judged"
    window.key(Key.Key_A)
    assert the_selected(window) == queue[1], "on to the next"
    where = window.session.particles.yx[window.session.particles.rows_of(np.array([queue[1]]))[0]]
    assert window.viewer.scene.camera.center[-2:] == pytest.approx(where * PIXEL_A / 10)
    assert window.status == "accepted 1 pick on a · Ctrl+Z undoes"
    window.key(Key.Key_N)  # skipped
    window.key(Key.Key_X)
    assert the_selected(window) == queue[3], "what was skipped is not offered again at once"
    window.key(Key.Key_2)
    assert the_selected(window) == queue[4]
    window.key(Key.Key_N, SHIFT)
    assert the_selected(window) == queue[1], "back: past what is decided"
    window.key(Key.Key_A)
    assert window.session.current.name == "c", "backwards it goes on backwards"


def test_walking_goes_on_to_the_next_micrograph_and_ends(picked):
    window, session = picked, picked.session
    window.key(Key.Key_X, SHIFT)
    session.undo()
    session.decide(session.particles.id[1:], Decision.ACCEPTED)
    session.go(window.named("b").id)
    session.decide(session.particles.id[1:], Decision.ACCEPTED)
    session.go(window.named("c").id)
    session.decide(session.particles.id, Decision.ACCEPTED)
    window.go("a")
    window.key(Key.Key_N)
    window.key(Key.Key_A)
    assert session.current.name == "b"
    assert session.particles.decision[session.particles.rows_of(window.bench.focus.selected)].tolist() == [0]
    window.key(Key.Key_X)
    assert window.status == "every pick of the listed micrographs is decided · Ctrl+Z undoes the last step"
    window.key(Key.Key_N)
    assert window.status == "no undecided pick is left in the listed micrographs"


@pytest.mark.any_qt
def test_going_on_is_an_option(picked, new_window, micrographs):
    window = picked
    window.annotator.pick.go_on.click()
    window.key(Key.Key_N)
    chosen = the_selected(window)
    window.key(Key.Key_A)
    assert the_selected(window) == chosen
    # a pick that was clicked is no walk
    window.annotator.pick.go_on.click()
    other = int(window.session.particles.id[-1])
    window.bench.focus.select([other])
    window.key(Key.Key_X)
    assert the_selected(window) == other
    window.annotator.pick.go_on.click()
    window.annotator.close_project()
    assert not new_window().open(micrographs).annotator.pick.go_on.isChecked(), "and is remembered"


def test_without_scores_a_walk_reads_line_by_line_from_inside(window, tmp_path):
    rows = [(350, 33), (60, 38), (200, 31), (4, 100), (100, 95), (300, 92), (200, 318), (390, 3)]
    names = [("a.mrc", x, y, "nan", 0) for x, y in rows]
    window.enter(write_star(tmp_path / "plain.star", names))
    p = window.session.particles
    seen = []
    for _ in rows:
        window.key(Key.Key_N)
        (row,) = p.rows_of(window.bench.focus.selected)
        seen.append((p.x[row], p.y[row]))
    inside = [(60, 38), (200, 31), (350, 33), (100, 95), (300, 92)]
    assert seen[:5] == inside, "lines of one diameter, left to right"
    assert set(seen[5:]) == {(4, 100), (200, 318), (390, 3)}, "what the edge cuts comes last"


@pytest.mark.any_qt
def test_the_wheel_scrolls_the_panel_and_turns_no_number_under_the_pointer(picked):
    window, pick = picked, picked.annotator.pick
    diameter, score = window.session.diameter_A, pick.threshold.value
    before, method = window.steps(), pick.view._method.currentIndex()
    window.bench.canvas.setFocus()
    for field in (pick.particle.diameter, pick.particle.diameter_slider, pick._score, pick.view._method, pick._scope):
        middle = QPointF(field.rect().center())
        wheel = QWheelEvent(
            middle,
            QPointF(field.mapToGlobal(field.rect().center())),
            QPoint(0, -120),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(field, wheel)
        QApplication.processEvents()
        assert not field.hasFocus()
    assert (window.session.diameter_A, pick.threshold.value, window.steps()) == (diameter, score, before)
    assert (pick.view._method.currentIndex(), pick._scope.currentIndex()) == (method, 0)
    bar = pick.verticalScrollBar()
    assert bar.maximum() == 0 or bar.value() > 0
