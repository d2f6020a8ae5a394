"""What the curator sees: pictures, contrast, scale, rings."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from window import DIAMETER, PIXEL_A, WIDTH, Gate, choose, discs, let_go, places, scored, slide, write_mrc, write_star

from cryoppp_annotator import extensions
from cryoppp_annotator.gui.layers.styles import HEX, rgba
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.session.pictures.display import View

Key = Qt.Key


# --- the picture -----------------------------------------------------------------------------------------------------


def test_the_raw_image_shows_while_the_denoised_one_is_prepared(new_window, micrographs, monkeypatch):
    gate = Gate()
    monkeypatch.setattr(extensions, "denoisers", lambda: {"band-pass": gate})
    window = new_window().open(micrographs, ready=False)
    window.until(lambda: window.bench.picture_layer.picture is not None)
    shown = []
    window.bench.picture_shown.connect(shown.append)
    np.testing.assert_array_equal(window.image.data, discs(0))
    gate.open()
    window.until(lambda: shown)
    assert shown == ["denoised"]
    # band-passed, to mean 0 and s.d. 1: particles are dark and stand out more than in the raw image
    pixels = window.image.data
    assert pixels.mean() == pytest.approx(0, abs=0.05)
    rows, columns = places(0).astype(int)[:, ::-1].T
    assert pixels[rows, columns].mean() < -1


@pytest.mark.any_qt
def test_d_toggles_raw_and_denoised(window):
    pick, shown = window.annotator.pick, []
    window.bench.picture_shown.connect(shown.append)
    window.key(Key.Key_D)
    window.until(lambda: window.drawn() and shown == ["raw"])
    np.testing.assert_array_equal(window.image.data, discs(0))
    assert (pick.view._raw.isChecked(), pick.view._denoised.isChecked()) == (True, False)
    window.key(Key.Key_D)
    assert shown == ["raw", "denoised"], "it was kept in memory"
    assert (pick.view._raw.isChecked(), pick.view._denoised.isChecked()) == (False, True)
    assert window.steps() == 1, "looking is no step (one was the diameter)"


def test_hot_pixels_and_the_border_do_not_move_the_contrast(new_window, tmp_path):
    clean, spoilt = discs(0), discs(0)
    inner = spoilt[30:, :-40]
    rng = np.random.default_rng(0)
    inner.flat[rng.choice(inner.size, 30, replace=False)] = 1e6
    spoilt[:30], spoilt[:, -40:] = -500, -500
    write_mrc(tmp_path / "data" / "a.mrc", spoilt)
    window = new_window().open(tmp_path / "data")
    window.until(window.drawn)  # the raw picture may have come first
    low, high = window.image.contrast_limits
    assert -8 < low < -1
    assert 1 < high < 8
    window.key(Key.Key_D)
    window.until(window.drawn)
    low, high = window.image.contrast_limits
    assert clean.min() <= low < np.percentile(clean, 3)
    assert np.percentile(clean, 97) < high <= clean.max()


@pytest.mark.any_qt
def test_the_contrast_control_and_auto(window):
    pick, automatic = window.annotator.pick, window.image.contrast_limits
    width = automatic[1] - automatic[0]
    pick.view.contrast.setValue((20, 60))
    assert window.image.contrast_limits == pytest.approx([automatic[0] + 0.2 * width, automatic[0] + 0.6 * width])
    window.go("b")
    other = window.bench.picture_layer.picture.limits
    share = (np.array(window.image.contrast_limits) - other[0]) / (other[1] - other[0])
    assert share == pytest.approx([0.2, 0.6]), "what was chosen holds for the next micrograph"
    pick.view._auto.click()
    assert window.image.contrast_limits == pytest.approx(list(other))


def test_the_next_and_the_previous_are_prepared_ahead(window):
    window.go("b")
    window.idle()
    for name in "acd":
        assert window.denoised(name) is not None, name
    shown = []
    window.bench.picture_shown.connect(shown.append)
    window.key(Key.Key_PageDown)
    assert (window.session.current.name, shown) == ("c", ["denoised"]), "drawn at once"
    assert window.drawn()


def test_a_picture_is_made_once(window):
    window.go("d")
    window.idle()
    pictures = window.bench.pictures
    job = pictures.request(window.named("b"), View.RAW)
    assert job.wait(120)  # it has ended, and is not delivered yet
    assert pictures.request(window.named("b"), View.RAW) is job
    window.until(lambda: pictures.ready(window.named("b"), View.RAW) is not None)


def test_no_picture_is_drawn_on_another_micrograph(new_window, micrographs, monkeypatch):
    gate = Gate()
    monkeypatch.setattr(extensions, "denoisers", lambda: {"band-pass": gate})
    window = new_window().open(micrographs, ready=False)
    wrong = []

    def check(_kind: str) -> None:
        current, shown = window.session.current, window.bench.picture_layer.picture
        mine = [window.bench.pictures.ready(current, view) for view in View]
        if not any(shown is picture for picture in mine):
            wrong.append(current.name)

    window.bench.picture_shown.connect(check)
    for key in (Key.Key_PageDown, Key.Key_PageDown, Key.Key_PageUp, Key.Key_PageDown, Key.Key_PageDown):
        window.key(key)
        window.qtbot.wait(15)  # a raw image may come in between
    assert window.session.current.name == "d"
    gate.open()
    window.until(window.drawn)
    window.idle()
    assert window.drawn()
    assert wrong == []


# --- scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.any_qt
def test_the_scale_bar_is_in_nanometres(window):
    bar = window.viewer.canvas.overlays.scale_bar
    assert bar.visible
    assert {str(unit) for unit in window.image.units} == {"nanometer"}
    np.testing.assert_allclose(window.image.scale, PIXEL_A / 10)
    np.testing.assert_allclose(window.layer.scale, PIXEL_A / 10)


def test_no_scale_bar_where_the_pixel_size_is_not_believed(new_window, tmp_path):
    for seed, name in enumerate("ab"):
        write_mrc(tmp_path / "data" / f"{name}.mrc", discs(seed), 1.0)
    window = new_window().open(tmp_path / "data")
    bar, pick = window.viewer.canvas.overlays.scale_bar, window.annotator.pick
    table = window.annotator.micrographs.model
    assert not bar.visible
    assert pick.particle.doubt.isVisible()
    assert "exactly 1 Å/px" in pick.particle.doubt.text()
    assert table.index(0, 5).data() == "1 ?"
    # a person says it for the project
    pick.particle.pixel_size.setValue(2.5)
    assert bar.visible
    assert not pick.particle.doubt.isVisible()
    assert [table.index(row, 5).data() for row in (0, 1)] == ["2.5", "2.5"]
    np.testing.assert_allclose(window.layer.scale, 0.25)
    assert window.status == "pixel size of the project: 2.5 Å/px · Ctrl+Z undoes"
    # and for this one
    choose(pick.particle.pixel_scope, "of this")
    pick.particle.pixel_size.setValue(4.0)
    assert [table.index(row, 5).data() for row in (0, 1)] == ["4", "2.5"]
    np.testing.assert_allclose(window.layer.scale, 0.4)
    window.session.undo()
    window.session.undo()
    assert not bar.visible
    np.testing.assert_allclose(window.layer.scale, 0.1)


# --- rings -----------------------------------------------------------------------------------------------------------


@pytest.mark.any_qt
def test_rings_follow_the_diameter_slider_live(window):
    window.click(120, 90)
    pick, steps = window.annotator.pick, window.steps()
    np.testing.assert_allclose(window.layer.size, 100 / PIXEL_A)
    slide(pick.particle.diameter_slider, 600)
    preview = float(window.layer.size[0]) * PIXEL_A
    assert preview > 150
    assert window.session.diameter_A == 100, "not stored while it moves"
    assert window.steps() == steps
    assert pick.particle.diameter.value() == pytest.approx(preview, abs=1)
    assert pick.particle.diameter_px.text() == f"({preview / PIXEL_A:.0f} px)"
    slide(pick.particle.diameter_slider, 620)
    let_go(pick.particle.diameter_slider)
    assert window.steps() == steps + 1
    assert window.session.diameter_A == pytest.approx(float(window.layer.size[0]) * PIXEL_A)
    assert window.session.diameter_A > preview
    window.key(Key.Key_BracketLeft)
    assert float(window.layer.size[0]) * PIXEL_A == pytest.approx(window.session.diameter_A)


@pytest.mark.any_qt
def test_a_diameter_by_drawing_a_circle(window):
    window.key(Key.Key_O)
    assert window.status == "drag from the centre of a particle to its rim: this sets the diameter"
    window.drag([(200, 160), (230, 160)])
    assert window.session.diameter_A == pytest.approx(60 * PIXEL_A, rel=0.05)
    assert len(window.session.particles) == 0


@pytest.fixture
def scored_window(window, tmp_path):
    window.enter(write_star(tmp_path / "picker.star", scored("abcd")))
    return window


@pytest.mark.any_qt
def test_colours_by_decision_score_and_class(scored_window):
    window = scored_window
    session, layer, pick = window.session, window.layer, window.annotator.pick
    ids = session.particles.id
    session.decide(ids[:10], Decision.ACCEPTED)
    session.decide(ids[10:15], Decision.REJECTED)
    expected = [Decision.ACCEPTED] * 10 + [Decision.REJECTED] * 5 + [Decision.UNDECIDED] * 25
    np.testing.assert_allclose(layer.border_color, [rgba(HEX[d]) for d in expected], atol=1e-6)
    assert (layer.border_width[10:15] < layer.border_width[:5]).all(), "rejected rings are also thinner"
    choose(pick.view._colour_by, "score")
    brightness = layer.border_color[:, :3].sum(axis=1)
    assert (np.diff(brightness) > 0).all(), "brighter with the score"
    assert "score" in pick.view._legend.text()
    choose(pick.view._colour_by, "class")
    colours = [tuple(layer.border_color[k::3].round(4).tolist()[0]) for k in range(3)]
    assert len(set(colours)) == 3
    for k in range(3):
        np.testing.assert_allclose(layer.border_color[k::3], np.tile(colours[k], (len(ids[k::3]), 1)), atol=1e-3)
    window.go("b")
    assert len(layer.data) == 40
    assert not np.allclose(layer.border_color[0], layer.border_color[1]), "also on the next micrograph"


def test_rejected_picks_can_be_hidden(scored_window):
    window = scored_window
    ids = window.session.particles.id
    window.session.decide(ids[:7], Decision.REJECTED)
    hidden = window.session.particles.take(np.arange(7)).yx[0]
    window.key(Key.Key_H)
    assert len(window.layer.data) == 33
    assert not window.annotator.pick.view._rejected.isChecked()
    assert window.bench.focus.at(hidden[1], hidden[0]) is None, "what is not seen is not hit"
    assert window.session.current.n_rejected == 7
    window.annotator.pick.view._rejected.click()
    assert len(window.layer.data) == 40


@pytest.mark.any_qt
def test_space_hides_the_rings_while_held(scored_window):
    from qtpy.QtTest import QTest

    canvas = scored_window.bench.canvas
    canvas.setFocus()
    QTest.keyPress(canvas, Key.Key_Space)
    assert not scored_window.layer.visible
    scored_window.let_go(Key.Key_Space)
    assert scored_window.layer.visible


def test_one_pick_set_at_a_time(scored_window, tmp_path):
    window, pick = scored_window, scored_window.annotator.pick
    second = [(f"{name}.mrc", x + 6, y + 6, 0.5, 1) for name, x, y, *_ in scored("ab", 12)]
    second = [(name.replace(".mrc.mrc", ".mrc"), *rest) for name, *rest in second]
    window.enter(write_star(tmp_path / "second.star", second))
    window.click(30, 300)
    everything = len(window.session.particles)
    assert len(window.layer.data) == everything == 53
    choose(pick.view._set, "second.star")
    assert len(window.layer.data) == 13, "that set and one's own"
    listed = window.annotator.micrographs.model
    window.until(lambda: [listed.n_undecided(window.named(name)) for name in "abcd"] == [12, 12, 0, 0])
    choose(pick._scope, "this micrograph")
    window.until(lambda: pick._accept_all.text() == "Accept 12 undecided")
    pick._accept_all.click()
    assert window.session.current.n_accepted == 13
    assert window.session.current.n_undecided == 40, "bulk decisions act on the set that is drawn"
    choose(pick.view._set, "all")
    assert len(window.layer.data) == everything


# --- frames and the view's direction ---------------------------------------------------------------------------------


def test_a_file_of_several_frames(new_window, tmp_path):
    frames = np.stack([discs(0), discs(1), discs(2)])
    write_mrc(tmp_path / "data" / "movie.mrcs", frames)
    write_mrc(tmp_path / "data" / "single.mrc", discs(3))
    window = new_window().open(tmp_path / "data")
    pick = window.annotator.pick
    assert pick.particle.more.head.text().endswith("3 frames")
    pick.particle.more.open()
    assert pick.particle.frame.isVisible()
    assert [pick.particle.frame.itemText(k) for k in range(4)] == ["average of 3", "frame 1", "frame 2", "frame 3"]
    assert pick.particle.frame.currentText() == "average of 3"
    window.key(Key.Key_D)
    window.until(window.drawn)
    np.testing.assert_allclose(window.image.data, frames.mean(axis=0), atol=1e-6)
    choose(pick.particle.frame, "frame 2")
    window.until(lambda: window.drawn() and np.array_equal(window.image.data, frames[1]))
    assert window.status == "showing frame 2 of movie · Ctrl+Z undoes"
    window.go("single")
    assert not pick.particle.frame.isVisible()
    window.session.undo()
    window.until(window.drawn)
    assert pick.particle.frame.currentText() == "average of 3"


@pytest.mark.any_qt
def test_up_turns_the_view_and_nothing_else(window, new_window, micrographs):
    pick = window.annotator.pick
    before = window.image.data
    top = window.at(100, 40)
    choose(pick.view._up, "first row at the bottom")
    assert window.image.data is before
    assert window.at(100, 40).y() > top.y() + 50, "row 40 is now below the middle"
    window.click(100, 40)
    (row,) = window.session.particles.yx
    px = 1 / (window.viewer.scene.camera.zoom * window.layer.scale[-1])
    assert row == pytest.approx((40, 100), abs=1.5 * px), "a click lands on the pixel that is seen there"
    # the mark under the pointer and a drag follow as well
    window.point(100, 40)
    assert window.bench.focus.hovered == window.session.particles.id[0]
    x, y, _radius = window.bench.gestures.canvas_circle(0)
    assert (x, y) == pytest.approx((window.at(*row[::-1]).x(), window.at(*row[::-1]).y()), abs=2)
    window.drag([(100, 40), (WIDTH - 60, 200)])
    assert window.session.particles.yx[0] == pytest.approx((200, WIDTH - 60), abs=2 * px + 1)
    assert 2 * px < DIAMETER
    # a preference: the next window has it too
    window.annotator.close_project()
    again = new_window().open(micrographs)
    assert again.bench.viewport.up == "up"
    assert again.annotator.pick.view._up.currentData() == "up"
