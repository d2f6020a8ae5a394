"""The Classes tab: steps too big for one moment, runs that cannot be saved, boxes, other programs' frames, floating."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from class_window import NAMES, click_class, decisions, everything, menu_action, open_tab, press, store_run
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QMessageBox
from window import (
    CTRL,
    DIAMETER,
    HEIGHT,
    LEFT,
    PLAIN,
    answer,
    button,
    choose,
    dialog,
    drop_files,
    let_go,
    places,
    scored,
    slide,
    write_star,
)

from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.gui.widgets.dialogs.class_axes import ClassFrameDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import FrameDialog, ImportDialog
from cryoppp_annotator.model.coordinates import Orientation
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.classes import decide
from cryoppp_annotator.session.core import opening

Key = Qt.Key


# --- big steps -------------------------------------------------------------------------------------------------------


@pytest.fixture
def door(classed, monkeypatch):
    """Steps over more than 40 picks are big, and wait until the door is open."""
    monkeypatch.setattr("cryoppp_annotator.session.core.step.BIG", 40)
    held = threading.Event()
    classed.bench.runner.submit(lambda context: held.wait(120), title="door", at_once=True)
    yield held
    held.set()


def test_a_large_class_is_rejected_while_the_curator_goes_on(classed, door):
    window, panel, session = classed, classed.annotator.classes, classed.session
    steps, titles = window.steps(), [entry.title for entry in window.session.history()]
    click_class(window, 1)
    press(panel.gallery, Key.Key_X)
    assert window.status == "rejecting 56 picks of class 1 …"
    window.click(10, 300)
    assert "1 more step waits" in window.status
    first = session.current_id
    window.go("b")
    panel.gallery.setFocus()
    click_class(window, 2)
    press(panel.gallery, Key.Key_A)
    press(panel.gallery, Key.Key_Z, CTRL)  # of what was asked for last
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [52, 0, 0]]
    assert [panel.model.tile(k).counts for k in (1, 2)] == [(56, 0, 0), (52, 0, 0)], "nothing is shown before it is so"
    assert any(job.title == "rejecting 56 picks of class 1" for job in window.bench.runner.active())
    door.set()
    window.until(lambda: not session.backlog.busy)
    assert decisions(window) == [[0, 0, 56], [52, 0, 0], [52, 0, 0]]
    assert [panel.model.tile(k).counts for k in (1, 2)] == [(0, 0, 56), (52, 0, 0)]
    made = [e for e in session.history() if e.kind == "do" and e.title not in titles]
    assert [e.title.split(" of ")[0].split(" on ")[0] for e in made] == [
        "accept 52 picks",
        "add 1 pick",
        "reject 56 picks as not a particle",
    ]
    assert [e.state for e in made] == ["undone", "applied", "applied"]
    assert window.steps() == steps + 3
    (added,) = [e for e in made if e.title.startswith("add")]
    assert added.micrograph == first, "where it was clicked"
    mine = session.particles
    assert (mine.decision[np.isin(mine.class_id, [1])] == Decision.REJECTED).all(), "the one on the screen follows"


def test_a_big_step_is_finished_before_the_project_closes(classed, door):
    window, panel = classed, classed.annotator.classes
    folder = window.project()
    click_class(window, 1)
    press(panel.gallery, Key.Key_X)
    window.click(10, 300)
    door.set()
    window.annotator.close_project()
    session = opening.open_project(folder, curator="ann")
    assert session.counts() == {"accepted": 1, "undecided": 104, "rejected": 56}
    session.close()


def test_a_cancelled_big_step_changes_nothing(classed, door):
    window, panel = classed, classed.annotator.classes
    click_class(window, 1)
    press(panel.gallery, Key.Key_X)
    (job,) = [job for job in window.bench.runner.active() if job.title.startswith("rejecting")]
    job.cancel()
    door.set()
    window.until(lambda: not window.session.backlog.busy)
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [52, 0, 0]]
    assert "cancelled" in window.status
    click_class(window, 1)
    press(panel.gallery, Key.Key_X)
    window.until(lambda: decisions(window)[0] == [0, 0, 56])


def test_many_picks_are_re_centred_in_one_step(classed, door):
    window, panel = classed, classed.annotator.classes
    before = everything(window)
    menu_action(panel, "Re-centre the picks of all classes").trigger()
    assert window.status == "moving 160 picks to the centre of their classes …"
    door.set()
    window.until(lambda: not window.session.backlog.busy)
    np.testing.assert_allclose(everything(window).x - before.x, 1.5, atol=1e-9)
    window.key(Key.Key_Z, CTRL)
    window.until(lambda: not window.session.backlog.busy)
    np.testing.assert_array_equal(everything(window).x, before.x)


# --- a run -----------------------------------------------------------------------------------------------------------


@contextmanager
def no_room_for_classes(window):
    """As on a full disk: the folder of the classes cannot be made."""
    blocked = window.project() / "classes"
    blocked.write_text("a file where the folder of the classes should be")
    yield
    blocked.unlink()


def classify(window, n_classes):
    """Press *Classify* and wait until nothing runs."""
    run = window.annotator.classes.run
    run.number.setValue(n_classes)
    run.start.click()
    window.until(lambda: not run.running)
    window.idle()


def test_what_cannot_be_saved_is_kept_and_saved_again(picked):
    window, panel = picked, open_tab(picked)
    box = panel.run.unsaved
    assert not box.isVisible()
    with no_room_for_classes(window):
        classify(window, 3)
        assert "kept in memory" in panel.run.message.text()
        assert "Not saved yet: “160 picks, 3 classes”" in box.message.text()
        assert decide.list_runs(window.session) == []
        box.again.click()
        window.until(lambda: any(level == "error" and t.startswith("save the classes") for t, level in window.said))
        window.idle()
        assert box.again.isVisible()
        assert box.again.isEnabled(), "it can be tried as often as one likes"
    box.again.click()
    window.until(lambda: panel.shown)
    (run,) = decide.list_runs(window.session)
    assert run.id == panel.shown.id
    assert len(decide.load_averages(window.session, run)) == 3
    assert not box.isVisible()


def test_what_is_not_saved_is_kept_when_another_run_starts_and_ends(picked):
    window, panel = picked, open_tab(picked)
    box = panel.run.unsaved
    with no_room_for_classes(window):
        classify(window, 3)
        classify(window, 4)  # which cannot be saved either
        assert "“160 picks, 3 classes”, nor is 1 more" in box.message.text()
    classify(window, 5)
    assert [len(run.summaries) for run in decide.list_runs(window.session)] == [5]
    assert box.isVisible(), "another run that was saved does not make these saved"
    panel.run.choose(panel.run.runs[0])
    assert box.isVisible()
    box.again.click()
    window.until(lambda: not box.isVisible())
    window.idle()
    assert [len(run.summaries) for run in decide.list_runs(window.session)] == [5, 3, 4], "the oldest first"
    assert panel.run.list.count() == 3


def test_what_is_not_saved_goes_when_it_is_thrown_away(picked):
    window, panel = picked, open_tab(picked)
    box = panel.run.unsaved
    with no_room_for_classes(window):
        classify(window, 3)
        for reply in (QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes):
            assert box.isVisible()
            answer(QApplication.activeModalWidget, lambda asked, reply=reply: asked.button(reply).click())
            box.away.click()
    assert not box.isVisible()
    box.save_again()
    window.idle()
    assert decide.list_runs(window.session) == []


@pytest.mark.parametrize("room", [True, False])
def test_a_project_that_closes_tries_once_more_to_save_classes(picked, room):
    window, _ = picked, open_tab(picked)
    folder = window.project()
    with no_room_for_classes(window):
        classify(window, 3)
        if not room:
            window.annotator.close_project()
    if room:
        window.annotator.close_project()
    said = window.annotator.start_page.message.text()
    session = opening.open_project(folder, curator="ann")
    kept = decide.list_runs(session)
    session.close()
    if room:
        assert [len(run.summaries) for run in kept] == [3]
        assert said == "Closed; everything is saved."
    else:
        assert kept == []
        assert said == "Closed; the picks are saved. Lost, because they could not be saved: 160 picks, 3 classes."


def test_some_classes_alone_are_classified_again(classed):
    window, panel = classed, classed.annotator.classes
    assert not menu_action(panel, "Re-classify these only").isEnabled()
    click_class(window, 2)
    click_class(window, 3, CTRL)
    menu_action(panel, "Re-classify these only").trigger()
    assert panel.run.running
    window.until(lambda: panel.shown is not None and panel.shown.name != "made by hand")
    picks = everything(window)
    members = decide.members(window.session, panel.shown.id)
    assert set(members.particle) <= set(picks.id[np.isin(picks.class_id, [2, 3])])
    assert len(members) > 90
    assert panel.shown.name == "made by hand, classes 2, 3"
    assert panel.run.list.count() == 2, "the one it comes from is still there"


def test_classify_asks_for_the_diameter_that_nobody_has_set(new_window, micrographs, tmp_path):
    window = new_window().open(micrographs)
    window.enter(write_star(tmp_path / "picks.star", scored(NAMES)))
    window.go("a")
    assert not window.session.settings.diameter_is_set
    panel = open_tab(window)
    panel.run.start.click()
    assert not panel.run.running
    assert "Classify needs the particle's diameter" in panel.run.question.message.text()
    assert panel.run.question.isVisible()
    x, y = places(0)[0]
    window.drag([(x, y), (x + DIAMETER / 2, y)])
    assert panel.run.running, "it goes on by itself"
    assert not panel.run.question.isVisible()
    window.until(lambda: panel.shown)
    measured = panel.shown.record["inputs"]["diameter_A"]
    assert measured == pytest.approx(window.session.diameter_A)
    assert measured == pytest.approx(100.0, rel=0.15)


def test_boxes_are_chosen_kept_with_the_run_and_used_again(picked):
    window, panel = picked, open_tab(picked)
    boxes = panel.run.boxes
    assert not boxes.isVisible(), "folded away"
    boxes.fold.click()
    assert boxes.isVisible()
    assert boxes.message.text().startswith(
        "150 Å, 1.5 diameters = 30 px of the micrographs, classified as 30 px of 5 Å"
    )
    choose(boxes.unit, "px")
    assert boxes.size.value() == 30, "the same in the other unit"
    boxes.size.setValue(18)
    assert not panel.run.start.isEnabled()
    assert "smaller than the particle" in boxes.message.text()
    assert "smaller than the particle" in panel.run.start.toolTip()
    boxes.size.setValue(40)
    boxes.pixel.setValue(2.0)
    assert "finer than those of the micrographs" in boxes.message.text()
    boxes.pixel.setValue(6.25)
    assert boxes.message.text().startswith(
        "200 Å, 2 diameters = 40 px of the micrographs, classified as 32 px of 6.25 Å"
    )
    panel.run.number.setValue(3)
    panel.run.start.click()
    window.until(lambda: panel.shown)
    run = panel.shown
    assert decide.load_averages(window.session, run).shape[1:] == (32, 32)
    assert run.pixel_size_A == pytest.approx(6.25)
    assert (run.record["parameters"]["box_px"], run.record["parameters"]["pixel_size_A"]) == (40, 6.25)
    assert run.record["inputs"]["box_A"] == pytest.approx(200.0)
    boxes.pixel.setValue(0.0)
    window.click(10, 300)
    window.until(lambda: panel.run.update_run.isVisible() and panel.run.update_run.isEnabled())
    panel.run.update_run.click()
    window.until(lambda: panel.shown is not None and panel.shown.id != run.id)
    assert panel.shown.pixel_size_A == pytest.approx(6.25), "an update is made as the run was"
    assert decide.load_averages(window.session, panel.shown).shape[1:] == (32, 32)


def test_a_doubtful_class_opens_with_its_worst_particles(classed):
    panel = classed.annotator.classes
    sure = np.linspace(0.2, 1.0, 160)
    picks = everything(classed)

    def opened(number):
        panel.open_classes([number])
        ids = panel.particles.model.ids.tolist()
        panel.particles.leave()
        return ids

    mine = picks.class_id == 2
    best = picks.id[mine][np.argsort(-sure[mine])].tolist()
    assert opened(2) == best
    slide(panel.threshold, 45)  # its quality is 0.5
    let_go(panel.threshold)
    assert opened(2) == best[::-1]
    assert opened(1)[0] == picks.id[picks.class_id == 1][-1], "the surest of a good class"
    panel.open_classes([2])
    choose(panel.particles.order, "best first")
    panel.particles.leave()
    assert opened(2) == best, "a person's choice stays"


# --- classes of another program --------------------------------------------------------------------------------------


def class_files(folder, rows):
    folder.mkdir()
    write_star(folder / "run_it025_data.star", rows)
    write_stack(folder / "run_it025_classes.mrcs", np.random.default_rng(0).random((3, 32, 32), np.float32), 10.0)
    return folder / "run_it025_data.star"


def test_a_class_file_is_dropped_on_the_tab(picked, tmp_path):
    window, panel = picked, open_tab(picked)
    file = class_files(tmp_path / "Class2D", scored("ab"))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(file))])
    here, copy = QPoint(30, 30), Qt.DropAction.CopyAction
    enter = QDragEnterEvent(here, copy, data, LEFT, PLAIN)
    QApplication.sendEvent(panel, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(panel, QDropEvent(QPointF(here), copy, data, LEFT, PLAIN))
    window.until(lambda: panel.shown)
    assert panel.shown.source == "relion"
    assert sum(panel.model.tile(number).counts[0] for number in panel.model.numbers) == 80


def flipped(names):
    return [(name, x, HEIGHT - y, score, k) for name, x, y, score, k in scored(names)]


def test_a_frame_that_the_image_contradicts_is_asked_about(picked, tmp_path):
    window, panel = picked, open_tab(picked)
    panel.menu.import_files([class_files(tmp_path / "Class2D", flipped("abcd"))])
    window.until(lambda: dialog(ClassFrameDialog))
    asked = dialog(ClassFrameDialog)
    assert decide.list_runs(window.session) == [], "nothing is imported before a person has chosen"
    said = {way: asked.choices[way].text() for way in Orientation}
    assert "160 of 160 particles lie on a pick · the image says so" in said[Orientation.FLIP_Y]
    assert said[Orientation.AS_STORED].endswith("the format says so")
    assert asked.choices[Orientation.FLIP_Y].isDefault()
    asked.choices[Orientation.FLIP_Y].click()
    window.until(lambda: panel.shown)
    assert panel.shown.source == "relion"
    assert sum(panel.model.tile(number).counts[0] for number in panel.model.numbers) == 160


def test_classes_whose_frame_nobody_settles_are_not_imported(picked, tmp_path):
    window, panel = picked, open_tab(picked)
    panel.menu.import_files([class_files(tmp_path / "Class2D", flipped("abcd"))])
    window.until(lambda: dialog(ClassFrameDialog))
    button(dialog(ClassFrameDialog), "Do not import").click()
    window.idle()
    assert "was not imported" in window.status
    assert decide.list_runs(window.session) == []


def drop(window, *files):
    """On the window, while the tab *Pick* is shown."""
    window.annotator.tabs.setCurrentWidget(window.annotator.pick)
    drop_files(window.annotator, files)


def asked_about(window, *files):
    """The import dialog after a drop, once it has read the files."""
    drop(window, *files)
    window.until(lambda: dialog(ImportDialog))
    asked = dialog(ImportDialog)
    window.until(asked.ok.isEnabled)
    return asked


def test_classes_dropped_on_another_tab_are_taken_for_classes(picked, tmp_path):
    window, panel = picked, picked.annotator.classes
    asked = asked_about(window, class_files(tmp_path / "Class2D", scored("ab")))
    assert "These particles have 2D classes: 3 averages in run_it025_classes.mrcs" in asked.said.text()
    assert asked.what.isVisible()
    assert asked.ok.text() == "Import 3 classes"
    assert not asked.decision.isEnabled()
    assert asked.decision.toolTip() == "2D classes enter no picks"
    asked.ok.click()
    window.until(lambda: panel.shown)
    assert panel.isVisible(), "their tab is in front"
    assert panel.shown.source == "relion"
    assert len(everything(window)) == 160, "no pick was added"


def test_the_picks_of_a_class_file_are_taken_where_that_is_wanted(picked, tmp_path):
    window = picked
    asked = asked_about(window, class_files(tmp_path / "Class2D", [("a.mrc", 11, 12, 0.5, 1), ("b.mrc", 9, 8, 1, 3)]))
    asked.what.setCurrentText("picks")
    asked.what.activated.emit(asked.what.currentIndex())
    assert asked.ok.text() == "Import 2 picks"
    assert asked.decision.isEnabled()
    asked.ok.click()
    window.until(lambda: len(everything(window)) == 162)
    window.idle()
    assert decide.list_runs(window.session) == []


@pytest.mark.parametrize("rows", [scored, flipped])
def test_where_nothing_is_picked_yet_picks_come_first_and_classes_follow(window, tmp_path, rows):
    panel = window.annotator.classes
    file = class_files(tmp_path / "Class2D", rows("abcd"))
    asked = asked_about(window, file, file.with_name("run_it025_classes.mrcs"))
    assert asked.ok.text() == "Import 160 picks and 3 classes"
    asked.ok.click()
    if rows is flipped:  # asked once, not again for the classes
        window.until(lambda: dialog(FrameDialog))
        assert decide.list_runs(window.session) == []
        dialog(FrameDialog).image.click()
    window.until(lambda: panel.shown)
    assert len(everything(window)) == 160
    assert sum(panel.model.tile(number).counts[0] for number in panel.model.numbers) == 160


def test_averages_that_are_dropped_too_leave_nothing_to_ask(picked, tmp_path):
    window, panel = picked, picked.annotator.classes
    file = class_files(tmp_path / "Class2D", scored("ab"))
    drop(window, file, file.with_name("run_it025_classes.mrcs"))
    window.until(lambda: panel.shown)
    assert dialog(ImportDialog) is None
    assert panel.isVisible()


def test_what_this_program_exported_is_known_again_and_a_picker_s_numbers_are_no_classes(classed, tmp_path):
    window, panel = classed, classed.annotator.classes
    panel.menu.export(panel.shown, tmp_path / "out")
    window.idle()
    asked = asked_about(window, tmp_path / "out" / "particles.star")
    assert asked.ok.text() == "Import 3 classes"
    asked.reject()
    asked = asked_about(window, write_star(tmp_path / "autopick.star", scored("a")))
    assert not asked.what.isVisible()
    assert asked.ok.text() == "Import 40 picks"


# --- a panel that floats ---------------------------------------------------------------------------------------------


def test_keys_mean_the_chosen_classes_while_the_panel_floats(classed, request):
    window, panel = classed, classed.annotator.classes
    dock = panel
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    dock.setFloating(True)
    request.addfinalizer(lambda: dock.setFloating(False))
    QApplication.processEvents()
    assert panel.gallery.window() is dock
    panel.gallery.setFocus()
    click_class(window, 3)
    press(panel.gallery, Key.Key_X)
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [0, 0, 52]]
    press(panel.gallery, Key.Key_Z, CTRL)
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [52, 0, 0]]
    # the canvas has its keys, though the gallery was the last that had them in its own window
    window.bench.window.activateWindow()
    window.until(lambda: QApplication.activeWindow() in (None, window.bench.window))
    p = window.session.particles
    window.click(p.x[0], p.y[0])
    window.key(Key.Key_X)
    assert (everything(window).decision == Decision.REJECTED).sum() == 1


def test_a_run_chosen_twice_is_read_once_more(classed):
    """The second of two stored runs is shown with its own classes."""
    window, panel = classed, classed.annotator.classes
    other = store_run(window.session, "turned", turned=1)
    panel.run.reread()
    panel.run.choose(other)
    window.until(lambda: panel.shown is not None and panel.shown.name == "turned")
    assert [panel.model.tile(k).counts for k in (1, 2, 3)] == [(52, 0, 0), (56, 0, 0), (52, 0, 0)]
