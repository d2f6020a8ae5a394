"""The Classes tab: run, gallery, decisions about classes, links with the canvas, particles of a class."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from class_window import (
    NAMES,
    click_class,
    click_tile,
    decisions,
    double_click,
    everything,
    menu_action,
    open_tab,
    press,
    store_run,
)
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox, QTabWidget
from window import (
    CTRL,
    DIAMETER,
    LEFT,
    LIMIT_MS,
    PLAIN,
    RIGHT,
    SHIFT,
    answer,
    choose,
    latest_first,
    let_go,
    scored,
    slide,
    write_star,
)

from cryoppp_annotator.formats.image.stacks import write_stack
from cryoppp_annotator.formats.table.star_file import read_star
from cryoppp_annotator.gui.layers.particle_layer import UNLIT
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.classes import decide

Key = Qt.Key


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.mark.any_qt
def test_one_button_classifies_while_picking_goes_on(picked):
    window, panel = picked, open_tab(picked)
    assert panel.run.start.isEnabled()
    seen = []
    panel.run.preview.connect(lambda greys, share, n, iteration: seen.append((iteration, len(greys), n)))
    panel.run.number.setValue(4)
    panel.run.start.click()
    assert not panel.run.start.isEnabled()
    assert "running" in panel.run.start.toolTip()
    window.until(lambda: seen)
    assert panel.model.is_live
    assert panel.model.rowCount() == seen[-1][1]
    assert panel.gallery.chosen() == [], "nothing can be decided about averages that will be others"
    window.click(10, 300)
    assert window.session.counts()["accepted"] == 1, "a pick was added meanwhile"
    window.until(lambda: panel.shown, 120_000)
    iterations = [iteration for iteration, _, _ in seen]
    assert iterations == sorted(iterations)
    assert len(iterations) > 3
    tiles = [panel.model.tile(number) for number in panel.model.numbers]
    assert sum(sum(tile.counts) for tile in tiles) == sum(item.count for item in panel.shown.summaries)
    assert panel.verdict.text() == f"{panel.shown.verdict} (1 note)."
    for width in range(120, 400, 7):
        panel.verdict.resize(width, panel.run.line.height())
        assert panel.verdict.heightForWidth(width) <= panel.run.line.height(), "two lines at most"
    assert "no CTF" in panel.verdict.toolTip()
    assert panel.run.list.currentText().startswith(panel.shown.name)


def test_stored_classes_are_read_again_without_computing(classed, new_window):
    project = classed.project()
    classed.annotator.close_project()
    with classed.qtbot.waitSignal(classed.annotator.ready, timeout=LIMIT_MS):
        classed.annotator.open_path(project, curator="ann")
    panel = open_tab(classed)
    classed.until(lambda: panel.shown)
    assert panel.run.list.currentText().startswith("made by hand in 3 s · 2026-01-01")
    assert [panel.model.tile(k).counts for k in (1, 2, 3)] == [(56, 0, 0), (52, 0, 0), (52, 0, 0)]
    assert not [job for job in classed.bench.runner.jobs if "classify" in job.title]


def test_a_cancelled_run_leaves_what_was_shown(classed):
    panel = classed.annotator.classes
    panel.run.start.click()
    panel.run.cancel.click()
    classed.until(lambda: "cancelled" in panel.run.message.text())
    assert panel.run.start.isEnabled()
    classed.until(lambda: panel.shown)
    assert panel.shown.name == "made by hand"
    assert panel.run.list.count() == 1


def test_too_few_picks_say_so(window):
    panel = open_tab(window)
    assert not panel.run.start.isEnabled()
    assert "at least 10 picks" in panel.run.start.toolTip()
    assert "At least 10 picks" in panel.run.message.text()
    assert not panel.reject.isEnabled()
    assert panel.reject.toolTip() == "there are no classes yet"


def test_an_old_run_says_so_and_can_be_updated(classed):
    window, panel = classed, classed.annotator.classes
    window.click(10, 300)
    window.click(390, 10)
    window.session.move(window.session.particles.id[:1], [200.0], [160.0])
    window.until(lambda: panel.run.outdated.isVisible())
    assert panel.run.outdated.text() == "Out of date: 3 picks changed since (2 new, 1 moved)"
    panel.run.update_run.click()
    assert panel.run.running
    panel.run.cancel.click()
    window.until(lambda: not panel.run.running)


# --- deciding about classes ------------------------------------------------------------------------------------------


def test_x_rejects_the_picks_of_chosen_classes_on_every_micrograph(classed):
    window, panel = classed, classed.annotator.classes
    steps = window.steps()
    click_class(window, 2)
    click_class(window, 3, CTRL)
    assert sorted(panel.gallery.chosen()) == [2, 3]
    press(panel.gallery, Key.Key_X)
    assert decisions(window) == [[56, 0, 0], [0, 0, 52], [0, 0, 52]]
    picks = everything(window)
    assert set(picks.reason[picks.decision == Decision.REJECTED].tolist()) == {Reason.NOT_A_PARTICLE}
    assert window.steps() == steps + 1
    assert [panel.model.tile(k).state for k in (1, 2, 3)] == [0, 2, 2], "the tiles follow"
    assert "Ctrl+Z" in window.status
    press(panel.gallery, Key.Key_Z, CTRL)
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [52, 0, 0]]
    assert [panel.model.tile(k).counts for k in (2, 3)] == [(52, 0, 0), (52, 0, 0)]


def test_a_accepts_and_a_number_gives_the_reason(classed):
    window, panel = classed, classed.annotator.classes
    click_class(window, 1)
    press(panel.gallery, Key.Key_2)
    picks = everything(window)
    assert set(picks.reason[picks.class_id == 1].tolist()) == {Reason.ICE}
    press(panel.gallery, Key.Key_Right)
    assert panel.gallery.chosen() == [2]
    press(panel.gallery, Key.Key_A)
    assert decisions(window) == [[0, 0, 56], [0, 52, 0], [52, 0, 0]]
    press(panel.gallery, Key.Key_Escape)
    press(panel.gallery, Key.Key_X)
    assert decisions(window) == [[0, 0, 56], [0, 52, 0], [52, 0, 0]]
    assert "choose classes first" in window.status


def test_keys_mean_the_canvas_again_after_a_click_on_it(classed):
    window, panel = classed, classed.annotator.classes
    click_class(window, 1)
    p = window.session.particles
    window.click(p.x[0], p.y[0])
    window.key(Key.Key_X)
    assert np.flatnonzero(window.session.particles.decision == Decision.REJECTED).tolist() == [0]
    assert len(everything(window)) == 160
    assert (everything(window).decision == Decision.REJECTED).sum() == 1
    assert panel.gallery.chosen() == [1]


def test_what_is_suggested_is_done_in_one_step_each(classed):
    window, panel = classed, classed.annotator.classes
    assert panel.accept_suggested.text() == "Accept 2"
    assert panel.reject_suggested.text() == "Reject 1"
    steps = window.steps()
    panel.reject_suggested.click()
    panel.accept_suggested.click()
    assert decisions(window) == [[0, 56, 0], [0, 52, 0], [0, 0, 52]]
    assert window.steps() == steps + 2
    assert not panel.accept_suggested.isEnabled()
    assert panel.accept_suggested.toolTip() == "nothing is suggested"


def test_the_threshold_moves_the_suggestion(classed):
    panel = classed.annotator.classes
    assert panel.threshold.value() == 30, "half-way between the worst kept and the best dropped"
    slide(panel.threshold, 60)
    assert [panel.model.tile(k).suggestion for k in (1, 2, 3)] == [1, 2, 2]
    assert panel.reject_suggested.text() == "Reject 2"
    slide(panel.threshold, 5)
    assert [panel.model.tile(k).suggestion for k in (1, 2, 3)] == [1, 1, 1]
    let_go(panel.threshold)
    panel.automatic.click()
    assert [panel.model.tile(k).suggestion for k in (1, 2, 3)] == [1, 1, 2]
    assert panel.threshold.value() == 30


def test_classes_are_sorted(classed):
    panel = classed.annotator.classes
    orders = {
        "to reject": [3, 1, 2],
        "largest": [1, 2, 3],
        "best quality": [1, 2, 3],
        "worst quality": [3, 2, 1],
        "finest": [2, 1, 3],
        "coarsest": [3, 1, 2],
    }
    click_class(classed, 3)
    for text, numbers in orders.items():
        choose(panel.sort, text)
        assert panel.model.numbers == numbers, text
        assert panel.gallery.chosen() == [3], "what is chosen stays chosen"


# --- linked with the canvas ------------------------------------------------------------------------------------------


def test_a_chosen_class_lights_its_picks(classed):
    window = classed
    bench, mine = window.bench, window.session.particles.class_id == 2
    assert (window.layer.border_color[:, 3] == 1).all()
    click_class(window, 2)
    np.testing.assert_allclose(window.layer.border_color[:, 3], np.where(mine, 1.0, UNLIT), atol=1e-3)
    widths = window.layer.border_width
    assert widths[mine].min() > widths[~mine].max()
    assert len(bench.focus.selected) == 0, "what is selected is another matter"
    window.go("b")
    mine = window.session.particles.class_id == 2
    np.testing.assert_allclose(window.layer.border_color[:, 3], np.where(mine, 1.0, UNLIT), atol=1e-3)
    window.annotator.findChild(QTabWidget).setCurrentWidget(window.annotator.pick)
    assert (window.layer.border_color[:, 3] == 1).all(), "not while another tab is open"


def test_where_the_others_are(classed):
    window, panel = classed, classed.annotator.classes
    click_class(window, 1)
    assert panel.where_title.text() == "Class 1, 56 picks: 14 here, on 4 micrographs"
    assert [panel.where.item(k).text() for k in range(4)] == [f"14  ·  {name}" for name in NAMES]
    place = panel.where.visualItemRect(panel.where.item(2)).center()
    QTest.mouseClick(panel.where.viewport(), LEFT, PLAIN, place)
    assert window.session.current.name == "c"
    assert panel.gallery.chosen() == [1]


@pytest.mark.any_qt
def test_picks_chosen_on_the_canvas_mark_their_classes(classed):
    window, panel = classed, classed.annotator.classes
    p = window.session.particles
    window.bench.focus.select(p.id[:4].tolist())
    assert [panel.model.tile(k).marked for k in (1, 2, 3)] == [2, 1, 1]
    window.bench.focus.clear()
    assert [panel.model.tile(k).marked for k in (1, 2, 3)] == [0, 0, 0]


def test_rings_by_class_are_those_of_the_run(classed):
    window, panel = classed, classed.annotator.classes
    choose(window.annotator.pick.view._colour_by, "class")
    imported = window.session.particles.class_id
    first = [window.layer.border_color[imported == k][0].copy() for k in (1, 2, 3)]
    assert len(np.unique(np.round(first, 3), axis=0)) == 3
    panel.run.choose(store_run(window.session, "turned", turned=1))
    window.until(lambda: panel.shown is not None and panel.shown.name == "turned")
    for k in (1, 2, 3):
        colours = window.layer.border_color[imported == k]
        np.testing.assert_allclose(colours, np.broadcast_to(first[k % 3], colours.shape), atol=1e-6)
    added = window.session.add(5.0, 5.0).new_id
    row = int(np.flatnonzero(window.bench.particles_layer.ids == added)[0])
    grey = window.layer.border_color[row]
    assert not (np.isclose(first, grey).all(axis=1)).any(), "it is in no class"


# --- the particles of a class ----------------------------------------------------------------------------------------


@pytest.fixture
def opened(classed):
    """The particles of class 1."""
    panel = classed.annotator.classes
    double_click(panel.gallery, panel.model.row_of(1))
    classed.until(lambda: panel.particles.isVisible())
    QApplication.processEvents()
    return classed


@pytest.mark.any_qt
def test_a_class_opens_as_its_particles(opened):
    window, gallery = opened, opened.annotator.classes.particles
    picks = everything(window)
    sure = np.linspace(0.2, 1.0, 160)[picks.class_id == 1]
    assert gallery.model.ids.tolist() == picks.id[picks.class_id == 1][np.argsort(-sure)].tolist(), "best first"
    window.until(lambda: not len(gallery.model.missing(gallery.view.rows_in_sight())))
    from cryoppp_annotator.gui.models.class_table import TILE

    tile = gallery.model.index(0).data(TILE)
    side = tile.image.width()
    assert side >= 1.4 * DIAMETER
    centre, corner = (tile.image.pixelColor(k, k).value() for k in (side // 2, 1))
    assert centre > corner + 60, "a particle is white, in the middle"
    choose(gallery.order, "worst first")
    assert gallery.model.ids.tolist() == picks.id[picks.class_id == 1][np.argsort(sure)].tolist()
    press(gallery.view, Key.Key_Escape)
    assert not gallery.isVisible()
    assert opened.annotator.classes.gallery.has_keyboard()


@pytest.mark.any_qt
def test_a_click_chooses_a_key_or_a_right_click_decides(opened):
    window, gallery = opened, opened.annotator.classes.particles
    steps, particle = window.steps(), int(gallery.model.ids[2])

    def decision() -> int:
        picks = everything(window)
        return int(picks.decision[picks.id == particle][0])

    click_tile(gallery.view, 2)
    assert gallery.view.chosen_rows() == [2], "a click chooses, as it does among the classes"
    assert (decision(), window.steps()) == (Decision.UNDECIDED, steps)
    press(gallery.view, Key.Key_X)
    assert decision() == Decision.REJECTED
    assert window.steps() == steps + 1
    assert "1 rejected" in gallery.hint.text()
    press(gallery.view, Key.Key_Z, CTRL)
    assert decision() == Decision.UNDECIDED
    click_tile(gallery.view, 4, button=RIGHT)
    assert gallery.model.decision(4) is Decision.REJECTED
    assert decision() == Decision.UNDECIDED, "the one under the pointer, not the chosen one"


@pytest.mark.any_qt
def test_the_particles_of_a_class_are_filtered(opened):
    window, gallery = opened, opened.annotator.classes.particles
    picks, sure = everything(window), np.linspace(0.2, 1.0, 160)
    mine = picks.class_id == 1
    gallery.filter.line.setText("sure > 0.6 and x < 200")
    expected = picks.id[mine & (sure > 0.6) & (picks.x < 200)]
    assert 0 < len(expected) < mine.sum()
    window.until(lambda: sorted(gallery.model.ids.tolist()) == expected.tolist())
    assert f"{len(expected)} of {mine.sum()} picks" in gallery.title.text()
    gallery.filter.line.setText("sure > 0.6 and decision == acepted")
    assert "is accepted meant" in gallery.filter.wrong.text()
    assert len(gallery.model.ids) == len(expected), "the filter before it stays"
    press(gallery.view, Key.Key_A, CTRL)
    press(gallery.view, Key.Key_2)
    picks = everything(window)
    assert picks.id[picks.decision == Decision.REJECTED].tolist() == expected.tolist(), "only what is shown"
    gallery.filter.line.setText("reason == ice")
    window.until(lambda: len(gallery.model.ids) == len(expected) and gallery.filter.wrong.isHidden())
    gallery.filter.line.setText("")
    window.until(lambda: len(gallery.model.ids) == mine.sum())


@pytest.mark.any_qt
def test_several_are_decided_by_key(opened):
    window, gallery = opened, opened.annotator.classes.particles
    click_tile(gallery.view, 1, CTRL)
    click_tile(gallery.view, 6, SHIFT)
    press(gallery.view, Key.Key_1)
    picks = everything(window)
    rejected = picks.take(picks.decision == Decision.REJECTED)
    assert sorted(rejected.id.tolist()) == sorted(gallery.model.ids[1:7].tolist())
    assert set(rejected.reason.tolist()) == {Reason.CARBON}
    assert len(np.unique(rejected.micrograph)) == 2 or len(rejected) == 6
    assert opened.annotator.classes.model.tile(1).counts == (50, 0, 6)


@pytest.mark.any_qt
def test_a_double_click_goes_there_and_decides_nothing(opened):
    window, gallery = opened, opened.annotator.classes.particles
    steps, particle = window.steps(), int(gallery.model.ids[3])
    double_click(gallery.view, 3)
    picks = everything(window).take(everything(window).id == particle)
    assert window.session.current_id == int(picks.micrograph[0])
    assert window.bench.focus.selected.tolist() == [particle]
    scale = window.layer.scale[-1]
    np.testing.assert_allclose(window.viewer.scene.camera.center[-2:], (picks.y[0] * scale, picks.x[0] * scale))
    assert window.steps() == steps
    assert gallery.model.decision(3) is Decision.UNDECIDED


def test_pictures_of_another_diameter_that_come_late_are_not_kept(opened):
    from cryoppp_annotator.gui.models.class_table import TILE
    from cryoppp_annotator.session.classes.crops import cut_crops

    window, gallery = opened, opened.annotator.classes.particles
    window.until(lambda: not len(gallery.model.missing(gallery.view.rows_in_sight())))
    with latest_first(window):
        gallery._forget_pictures()
        gallery._ask_for_pictures()
        job = gallery._job
        assert job.wait(120), "they are cut, and on their way"
        window.session.set_diameter(160.0)
    window.until(lambda: not len(gallery.model.missing(gallery.view.rows_in_sight())))
    asked = []
    first = gallery.model.ids[:1]
    cut_crops(window.session, first, on_some=lambda _ids, greys: asked.append(greys[0]))
    image = gallery.model.index(0).data(TILE).image
    got = [[image.pixelColor(x, y).value() for x in range(image.width())] for y in range(image.height())]
    np.testing.assert_array_equal(np.array(got), asked[0])


def test_of_two_looks_whether_a_run_is_out_of_date_the_later_one_counts(classed):
    window, run = classed, classed.annotator.classes.run
    window.idle()
    with latest_first(window):
        run._compare_with_picks()
        assert window.bench.runner.jobs[-1].wait(120)
        window.session.add(10, 300)
        run._compare_with_picks()
    assert run.update_run.isVisible()


# --- what else can be done -------------------------------------------------------------------------------------------


def test_picks_move_to_the_centres_of_their_classes(classed):
    window, panel = classed, classed.annotator.classes
    before = everything(window)
    click_class(window, 2)
    menu_action(panel, "Re-centre").trigger()
    after = everything(window)
    mine = before.class_id == 2
    np.testing.assert_allclose(after.x - before.x, np.where(mine, 1.5, 0.0), atol=1e-9)
    np.testing.assert_allclose(after.y - before.y, np.where(mine, -2.0, 0.0), atol=1e-9)
    window.key(Key.Key_Z, CTRL)
    np.testing.assert_array_equal(everything(window).x, before.x)


def test_averages_become_templates(classed):
    panel = classed.annotator.classes
    assert not menu_action(panel, "Use as templates").isEnabled()
    click_class(classed, 1)
    click_class(classed, 2, CTRL)
    menu_action(panel, "Use as templates").trigger()
    (templates,) = decide.list_templates(classed.session)
    assert templates.numbers == (1, 2)
    assert "kept 2 templates" in classed.status


def test_classes_of_another_program_come_in(picked, tmp_path):
    window, panel = picked, open_tab(picked)
    folder = tmp_path / "Class2D"
    folder.mkdir()
    rows = [(name, x, y, score, 1 + k % 3) for name, x, y, score, k in scored("ab")]
    write_star(folder / "run_it025_data.star", rows)
    write_stack(folder / "run_it025_classes.mrcs", np.random.default_rng(0).random((3, 32, 32), np.float32), 10.0)
    panel.menu.import_files([folder / "run_it025_data.star"])
    window.until(lambda: panel.shown)
    assert panel.shown.source == "relion"
    assert panel.run.list.currentText().startswith("run_it025_data.star (RELION) ·")
    assert sum(panel.model.tile(number).counts[0] for number in panel.model.numbers) == 80
    p = window.session.particles
    assert (panel.model.tile(2).counts[0], int((p.class_id == 1).sum())) == (28, 14), "1 became 2 on both"
    click_class(window, 2)
    press(panel.gallery, Key.Key_X)
    picks = everything(window)
    assert set(picks.class_id[picks.decision == Decision.REJECTED].tolist()) == {1}


def test_classes_are_exported(classed, tmp_path):
    window, panel = classed, classed.annotator.classes
    panel.menu.export(panel.shown, tmp_path / "out")
    window.idle()
    assert (tmp_path / "out" / "classes.mrcs").is_file()
    assert "particles.star" in window.status
    # only the chosen ones: averages, numbers and picks agree in the files
    click_class(window, 2)
    press(panel.gallery, Key.Key_I, CTRL)
    assert sorted(panel.gallery.chosen()) == [1, 3], "the others instead"
    menu_action(panel, "Invert the choice").trigger()
    assert panel.gallery.chosen() == [2]
    menu_action(panel, "Invert the choice").trigger()
    assert menu_action(panel, "Export 2 classes…").isEnabled()
    panel.menu.export(panel.shown, tmp_path / "some", panel.gallery.chosen())
    window.idle()
    written = mrcfile.read(tmp_path / "out" / "classes.mrcs")
    assert np.array_equal(mrcfile.read(tmp_path / "some" / "classes.mrcs"), written[[0, 2]])
    numbers = read_star(tmp_path / "some" / "particles.star").table("particles").columns["rlnClassNumber"]
    picks = everything(window)
    assert (numbers.count("1"), numbers.count("2")) == tuple(int((picks.class_id == k).sum()) for k in (1, 3))
    assert "class 3 of the run" in (tmp_path / "some" / "summary.csv").read_text()


def test_a_forgotten_run_is_gone_and_its_decisions_stay(classed):
    window, panel = classed, classed.annotator.classes
    panel.reject_suggested.click()
    answer(
        lambda: QApplication.activeModalWidget(),
        lambda box: box.button(QMessageBox.StandardButton.Yes).click(),
    )
    menu_action(panel, "Forget this run").trigger()
    window.until(lambda: panel.model.rowCount() == 0)
    assert panel.run.list.count() == 0
    assert decisions(window) == [[56, 0, 0], [52, 0, 0], [0, 0, 52]]


def test_averages_that_vanished_are_told_of(classed):
    window, panel = classed, classed.annotator.classes
    (window.project() / panel.shown.folder / "classes.mrcs").unlink()
    panel.run.choose(panel.shown)
    window.until(lambda: "cannot be shown" in panel.verdict.text())
    assert panel.model.rowCount() == 0
    assert not panel.accept_suggested.isEnabled()
