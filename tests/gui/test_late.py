"""What comes late: a job's result when something else has been chosen meanwhile, in whatever order jobs end."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from class_window import open_tab, store_run
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QWidget
from window import (
    CTRL,
    HEIGHT,
    LEFT,
    LIMIT_MS,
    PIXEL_A,
    PLAIN,
    RIGHT,
    WIDTH,
    Gate,
    button,
    choose,
    discs,
    held,
    latest_first,
    places,
    scored,
    write_mrc,
    write_star,
)

from cryoppp_annotator import extensions
from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.gui import app
from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import ImportDialog
from cryoppp_annotator.jobs.runner import JobState
from cryoppp_annotator.model.context import JobContext
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.session.files import exporting, linting
from cryoppp_annotator.session.pictures.display import View

Key = Qt.Key


class LateRefusal(Gate):
    """A denoiser that says only after a while that it cannot."""

    name, title = "late", "Late"

    def denoise(self, image, *, context, **words):
        super().denoise(image, context=context, **words)
        raise EngineError("the program is not installed")


# --- pictures --------------------------------------------------------------------------------------------------------


def test_no_other_micrograph_is_seen_under_the_picks_of_this_one(window):
    window.click(100, 80)
    with held(window):
        window.session.go(window.named("d").id)
        assert len(window.session.particles) == 0
        assert not window.image.visible, "the picture of a"
        assert window.bench.overlay.text == "reading d …"
    window.until(window.drawn)
    assert window.image.visible
    assert window.bench.overlay.text == ""


def test_picture_and_rings_keep_one_scale_while_another_picture_is_made(window):
    window.go("b")  # which was prepared: its raw picture was not needed
    window.click(100, 80)
    with held(window):
        window.session.set_pixel_size(2 * PIXEL_A)
        assert not window.drawn(), "the filter follows the pixel size"
        across = window.image.scale[0] * window.image.data.shape[0]
        assert across == pytest.approx(window.layer.scale[0] * HEIGHT) == 2 * PIXEL_A / 10 * HEIGHT
    window.until(window.drawn)


def test_the_scale_bar_comes_with_the_pixel_size_not_with_the_next_picture(new_window, tmp_path):
    for seed, name in enumerate("ab"):
        write_mrc(tmp_path / "data" / f"{name}.mrc", discs(seed), 1.0)
    window = new_window().open(tmp_path / "data")
    window.idle()
    window.go("b")
    bar = window.viewer.canvas.overlays.scale_bar
    with held(window):
        assert not bar.visible
        window.annotator.pick.particle.pixel_size.setValue(2.5)
        assert bar.visible


def test_the_raw_picture_of_an_earlier_frame_is_not_drawn(new_window, tmp_path):
    frames = np.stack([discs(0), discs(1), discs(2)])
    write_mrc(tmp_path / "data" / "movie.mrcs", frames)
    window = new_window().open(tmp_path / "data")
    drawn = []
    with held(window):
        choose(window.annotator.pick.particle.frame, "frame 1")
        choose(window.annotator.pick.particle.frame, "frame 2")
        window.bench.picture_shown.connect(lambda kind: drawn.append((kind, window.image.data.copy())))
    window.until(window.drawn)
    window.idle()
    assert drawn
    assert not any(np.array_equal(pixels, frames[0]) for kind, pixels in drawn if kind == "raw")


def test_a_failure_is_told_to_who_came_after_it_was_prepared(window):
    """The file of the next micrograph vanishes while it is prepared: nobody waits for it then, somebody does later."""
    window.bench.set_view(View.RAW)
    window.idle()
    with held(window):
        os.truncate(window.session.path_of(window.named("d")), 1024 + 400)
        window.session.go(window.named("b").id)  # d is prepared now
        window.session.go(window.named("d").id)
    window.until(lambda: window.bench.overlay.text.startswith("d cannot be shown"))
    assert not window.image.visible
    assert "d cannot be shown" in window.bench.overlay.text
    assert window.named("d").problem


def test_a_refusal_that_comes_late_says_nothing_of_the_method_chosen_meanwhile(new_window, micrographs, monkeypatch):
    late = LateRefusal()
    known = {**extensions.denoisers(), "late": late}
    monkeypatch.setattr(extensions, "denoisers", lambda: known)
    window = new_window().open(micrographs)
    window.until(window.drawn)
    view = window.annotator.pick.view
    choose(view._method, "Late")
    choose(view._method, "Automatic")
    window.until(window.drawn)
    late.open()
    window.idle()
    assert not [text for text, _ in window.said if "not installed" in text]
    assert window.drawn()
    choose(view._method, "Late")
    window.until(lambda: "not installed" in window.status)


# --- numbers and findings --------------------------------------------------------------------------------------------


@pytest.fixture
def picked(window, tmp_path):
    """80 undecided picks on a and b with scores 0 .. 0.975."""
    window.enter(write_star(tmp_path / "picker.star", scored("ab")))
    return window


def test_counts_of_an_earlier_threshold_do_not_replace_those_of_the_present_one(picked):
    pick = picked.annotator.pick
    with latest_first(picked):
        for threshold in (0.25, 0.75):
            pick._score.setValue(threshold)
            pick._show_counts()
    assert "all: 20 above, 60 below" in pick._counts.text()


def test_findings_about_other_picks_are_not_shown_for_those_chosen_meanwhile(picked):
    session, (x, y) = picked.session, places(0)[0]
    session.decide(session.particles.id[:1], Decision.ACCEPTED)
    session.add(x + 2, y, anyway=True)  # two accepted picks of one particle; of the undecided ones all are good
    picked.annotator.show_export()
    (asked,) = [d for d in picked.bench.window.findChildren(QDialog) if type(d) is ExportDialog]
    asked.decisions.setCurrentText("all")
    picked.idle()
    with latest_first(picked):
        asked.decisions.setCurrentText("accepted")
        asked.decisions.setCurrentText("undecided")
    findings = linting.lint(session, decisions=exporting.DECISIONS["undecided"], read_images=False)
    assert asked.lint.text().startswith(linting.one_line(findings).rstrip("."))
    assert not asked.mend.isVisible()
    asked.close()


def test_a_cancelled_look_can_be_started_again(picked):
    check = picked.annotator.check
    with held(picked):
        check.start()
        assert not check.check.isEnabled()
        picked.bench.runner.jobs[-1].cancel()
        picked.until(check.check.isEnabled)
    assert "cancelled" in check._said.text()


def test_findings_say_that_steps_were_made_while_they_were_looked_for(picked):
    check, (x, y) = picked.annotator.check, places(0)[0]
    picked.session.add(x + 2, y, anyway=True)
    with held(picked):
        check.start()
        picked.session.add(200, 1)
    picked.until(check.check.isEnabled)
    assert check._findings
    assert "out of date" in check._said.text()


def test_the_status_line_cancels_the_job_it_shows(window):
    window.idle()
    first, second, status = Event(), Event(), window.annotator.status

    def work(gate: Event, context: JobContext) -> None:
        while not gate.wait(0.01):
            context.check()

    shown, other = (
        window.bench.runner.submit(partial(work, gate), title=title) for gate, title in ((first, "A"), (second, "B"))
    )
    window.until(lambda: status._job.text().startswith("A (+1)"))
    first.set()
    assert shown.wait(120)
    status._cancel.click()  # before the line is drawn anew
    second.set()
    window.idle()
    assert (shown.state, other.state) != (JobState.DONE, JobState.CANCELLED)
    assert other.state is JobState.DONE


def test_classes_that_could_not_be_saved_are_saved_once_though_asked_twice(picked, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(decide, "enter_run", lambda _session, result: result)
        unsaved = store_run(picked.session)
    run = open_tab(picked).run
    run._keep(unsaved, "the disk is full")
    with held(picked):
        run.unsaved.again.click()
        run.unsaved.save_again()
    picked.until(lambda: run.runs)
    picked.idle()
    assert len(decide.list_runs(picked.session)) == 1


def test_the_end_of_a_run_does_not_turn_the_page_of_who_looks_at_another(picked):
    """Between its end and its arrival the list is written anew, and the newest stored one becomes the first."""
    stored = store_run(picked.session)
    panel = open_tab(picked)
    panel.run.reread()
    picked.until(lambda: panel.shown)
    panel.run.number.setValue(4)
    panel.run.start.click()
    choose(panel.run.list, stored.name)
    assert panel.run._job.wait(120)
    panel.run._fill_list()
    assert panel.run.list.currentIndex() == 0
    picked.until(lambda: len(panel.run.runs) == 2)
    picked.idle()
    assert panel.run.shown.id == stored.id


# --- the mouse -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("button", [LEFT, RIGHT])
@pytest.mark.parametrize("at", [(100, 80), (200, 200)])
def test_a_press_on_one_micrograph_does_nothing_to_the_next(window, button, at):
    """PgDn while the button is down: neither a pick is added there, nor one rejected or moved."""
    window.go("b")
    window.click(100, 80)
    before = window.session.particles
    window.go("a")
    window.click(100, 80)
    steps = window.steps()
    window.point(*at)
    QTest.mousePress(window.bench.canvas, button, PLAIN, window.at(*at))
    QApplication.processEvents()
    window.key(Key.Key_PageDown)
    assert window.session.current.name == "b"
    window.until(window.drawn)
    QTest.mouseRelease(window.bench.canvas, button, PLAIN, window.at(*at))
    QApplication.processEvents()
    assert window.steps() == steps
    np.testing.assert_array_equal(window.session.particles.decision, before.decision)
    assert len(window.session.particles) == 1


# --- projects --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    write_mrc(tmp_path / "others" / "x.mrc", discs(7))
    return tmp_path / "others"


def test_what_was_chosen_last_is_opened_and_nothing_else(new_window, micrographs, elsewhere, qtbot):
    window = new_window()
    opened = []
    window.annotator.opened.connect(lambda: opened.append(window.annotator.bench.session.data_root.name))
    window.annotator.open_path(micrographs)
    with qtbot.waitSignal(window.annotator.ready, timeout=LIMIT_MS):
        window.annotator.open_path(elsewhere)
    window.idle()
    assert opened == ["others"]
    assert [m.name for m in window.session.micrographs] == ["x"]
    assert len(window.viewer.layers) == 2, "one picture, one layer of picks"


def test_the_demo_does_not_close_what_was_opened_while_it_was_made(new_window, elsewhere, monkeypatch, tmp_path):
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))
    window = new_window()
    window.annotator.open_demo()
    window.open(elsewhere)
    window.idle()
    assert window.session.data_root == elsewhere


def test_a_window_that_was_drawn_is_not_given_up_later(qtbot, monkeypatch):
    class Told(QObject):
        ready, failed = Signal(), Signal(str)

    annotator, frame, outcome = Told(), QWidget(), {"code": 0}
    qtbot.addWidget(frame)
    monkeypatch.setattr(app, "_SCREENSHOT_LIMIT_MS", 1)
    app._plan_ending(annotator, frame, None, False, outcome)
    annotator.ready.emit()
    qtbot.wait(20)
    assert outcome == {"code": 0}
    app._plan_ending(annotator, frame, None, False, outcome)
    qtbot.waitUntil(lambda: outcome == {"code": 1}, timeout=LIMIT_MS)


def test_nothing_of_a_closed_project_arrives(window, elsewhere):
    runner, session = window.bench.runner, window.session
    came = []
    job = runner.submit(lambda context: 1, title="late", quiet=True, on_done=came.append, on_failed=came.append)
    assert job.wait(120)
    window.annotator.close_project()
    window.open(elsewhere)
    window.idle()
    assert came == []
    assert window.session is not session


@pytest.mark.parametrize(("show", "kind"), [("show_import", ImportDialog), ("show_export", ExportDialog)])
def test_dialogs_of_a_project_go_with_it(window, elsewhere, show, kind):
    getattr(window.annotator, show)()
    (asked,) = [d for d in window.bench.window.findChildren(QDialog) if type(d) is kind]
    gone = []
    asked.destroyed.connect(lambda: gone.append(True))
    window.annotator.close_project()
    window.until(lambda: gone)
    window.open(elsewhere)
    assert len(window.session.particles) == 0


def test_a_micrograph_finished_while_candidates_are_looked_for_gets_none(window):
    propose = window.annotator.pick.propose
    with held(window):
        button(propose, "On all unfinished").click()
        window.session.set_state([window.named("b").id], MicrographState.COMPLETE)
    window.until(lambda: "proposes" in window.status)
    undecided = {m.name: m.n_undecided for m in window.session.micrographs}
    assert undecided.pop("b") == 0
    assert all(undecided.values()), undecided


# --- a window that was busy ------------------------------------------------------------------------------------------


def pull(window, start, end, held=PLAIN, button=LEFT) -> None:
    """A drag whose moves come all at once, after the window was busy: vispy drops them."""
    canvas = window.bench.canvas
    window.point(*start)
    QTest.mousePress(canvas, button, held, window.at(*start))
    QTest.mouseRelease(canvas, button, held, window.at(*end))
    QApplication.processEvents()


def test_a_drag_is_no_click_though_its_moves_were_lost(picked):
    window, (x, y) = picked, places(0)[0]
    pick, n = int(window.session.particles.id[0]), len(window.session.particles)
    pull(window, (x, y), (x + 30, y + 20))
    p = window.session.particles
    assert len(p) == n
    row = p.rows_of(np.array([pick]))[0]
    assert (p.x[row], p.y[row]) == pytest.approx((x + 30, y + 20), abs=2)
    pull(window, (5, 5), (60, 5))
    assert len(window.session.particles) == n, "empty ice that was pulled is no pick"
    pull(window, (1, 1), (WIDTH - 2, HEIGHT - 2), CTRL)
    assert len(window.bench.focus.selected) == n
