"""Regions in the window: drawn with R held, found by a button, taken away, and the picks in them rejected."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window import LEFT, RIGHT, Window, choose, discs, places, write_mrc

from cryoppp_annotator.gui.layers.region_layer import inner_point
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.region import Origin, Region, holds
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session import regions

CORNERS = [(60, 60), (200, 60), (200, 220), (60, 220), (60, 64)]


def box_of(window: Window) -> Any:
    return window.annotator.pick.regions


def outline(window: Window, corners: Any = CORNERS) -> None:
    """Draw with R held."""
    canvas = window.bench.canvas
    canvas.setFocus()
    QTest.keyPress(canvas, Qt.Key.Key_R)
    window.drag(corners)
    window.let_go(Qt.Key.Key_R)
    QApplication.processEvents()


def with_r(window: Window, x: float, y: float, button: Any) -> None:
    canvas = window.bench.canvas
    QTest.keyPress(canvas, Qt.Key.Key_R)
    window.click(x, y, button)
    window.let_go(Qt.Key.Key_R)
    QApplication.processEvents()


def here(window: Window) -> list[Any]:
    return regions.of(window.session, window.session.current_id)


def test_a_region_is_drawn_shown_and_taken_back(window: Window) -> None:
    assert "regions" not in window.viewer.layers  # nobody pays for what is not there
    outline(window)
    (region,) = here(window)
    assert (region.reason, region.origin) == (Reason.CARBON, Origin.HAND)
    np.testing.assert_allclose(region.vertices.min(axis=0), (60, 60), atol=3)
    np.testing.assert_allclose(region.vertices.max(axis=0), (220, 200), atol=3)
    layer = window.viewer.layers["regions"]
    assert [len(shape) for shape in layer.data] == [len(region.vertices), 4], "the outline, and where its word stands"
    assert list(window.viewer.layers).index(layer) < list(window.viewer.layers).index(window.layer)
    assert window.viewer.layers.selection.active is window.layer  # mouse and keys stay ours
    assert window.steps() == 2  # the diameter, the region
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert here(window) == []
    assert not layer.visible
    window.click(300, 30)  # a click still adds a pick
    assert len(window.session.particles) == 1


def test_the_picture_follows_the_micrograph(window: Window) -> None:
    box = box_of(window)
    outline(window)
    window.go("b")
    assert not window.viewer.layers["regions"].visible
    assert box.list.count() == 0
    window.go("a")
    assert window.viewer.layers["regions"].visible
    assert len(window.viewer.layers["regions"].data) == 2
    box.visible.click()
    assert not window.viewer.layers["regions"].visible


def test_what_it_is_can_be_changed_and_it_can_be_taken_away(window: Window) -> None:
    box = box_of(window)
    outline(window)
    with_r(window, 100, 100, LEFT)
    assert box.selected == {here(window)[0].id}
    row = box.reason.findData(Reason.ICE)
    box.reason.setCurrentIndex(row)
    box.reason.activated.emit(row)
    assert here(window)[0].reason is Reason.ICE
    assert "ice" in box.list.item(0).text()
    with_r(window, 300, 300, RIGHT)  # beside it
    assert len(here(window)) == 1
    with_r(window, 100, 100, RIGHT)
    assert here(window) == []
    assert len(window.session.particles) == 0  # no pick was added or rejected by all this
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    box.reason.setCurrentIndex(0)
    window.annotator.pick.folds["regions"].open()
    box.list.item(0).setSelected(True)
    assert box.reason.currentData() is Reason.ICE  # what is selected, so that it can be changed
    box.list.setFocus()
    QTest.keyClick(box.list, Qt.Key.Key_Delete)
    assert here(window) == []


def test_undecided_picks_in_regions_are_rejected_and_decided_ones_stay(window: Window) -> None:
    box = box_of(window)
    inside = [(x, y) for x, y in places(0).tolist() if 60 < x < 200 and 60 < y < 220]
    assert len(inside) > 2
    ids = [window.session.add(x, y).new_id for x, y in inside]
    window.session.decide(ids[1:], Decision.UNDECIDED)
    assert not box.reject.isEnabled()
    assert "no undecided pick" in box.reject.toolTip()
    outline(window)
    assert f"{len(ids) - 1} picks" in box.reject.text()
    before = window.steps()
    box.reject.click()
    assert window.steps() == before + 1
    p = window.session.particles
    assert p.decision.tolist() == [Decision.ACCEPTED] + [Decision.REJECTED] * (len(ids) - 1)
    assert set(p.reason[1:].tolist()) == {Reason.CARBON}
    assert not box.reject.isEnabled()
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    box.reject_all.click()
    window.idle()
    assert window.session.counts()["rejected"] == len(ids) - 1


def test_ice_is_found_in_the_background_and_what_was_taken_away_stays_away(new_window: Any, micrographs: Path) -> None:
    rows, columns = np.mgrid[:320, :400]
    for seed, name in enumerate("abc"):
        ice = np.hypot(rows - 200, columns - 120) < 45
        write_mrc(micrographs / f"{name}.mrc", discs(seed) - 12 * ice.astype(np.float32))
    window = new_window().open(micrographs)
    window.session.set_diameter(100.0)
    window.until(window.drawn)
    box = box_of(window)
    box.everywhere.click()
    assert not box.here.isEnabled()
    assert "looking" in box.here.toolTip()
    window.until(lambda: "3 new regions on 4 micrographs" in window.status)
    window.idle()
    assert box.here.isEnabled()
    (region,) = here(window)
    assert (region.reason, region.origin) == (Reason.ICE, Origin.FOUND)
    assert abs(region.vertices.mean(axis=0) - (200, 120)).max() < 8
    with_r(window, 120, 200, RIGHT)
    assert here(window) == []
    box.here.click()
    window.until(lambda: "a person deleted it" in window.status)
    assert here(window) == []


def test_the_rest_of_napari_is_left_as_it_was(window: Window) -> None:
    outline(window)
    window.annotator.close_project()
    assert "regions" not in window.viewer.layers


def test_a_region_layer_that_was_deleted_comes_back(window: Window) -> None:
    outline(window)
    window.viewer.layers.remove("regions")
    assert len(here(window)) == 1
    outline(window, [(250, 60), (380, 60), (380, 220), (250, 220), (250, 64)])
    assert len(window.viewer.layers["regions"].data) == 4


def drag_with_r(window: Window, corners: Any) -> None:
    QTest.keyPress(window.bench.canvas, Qt.Key.Key_R)
    window.drag(corners)
    window.let_go(Qt.Key.Key_R)
    QApplication.processEvents()


def test_a_corner_is_moved_and_a_region_deleted_each_as_one_step(window: Window) -> None:
    outline(window)
    (before,) = here(window)
    corner = before.vertices[np.abs(before.vertices - (60, 60)).sum(axis=1).argmin()]
    steps = window.steps()
    drag_with_r(window, [(corner[1], corner[0]), (25, 30)])
    (after,) = here(window)
    assert window.steps() == steps + 1
    assert after.id == before.id
    assert np.abs(after.vertices - (30, 25)).sum(axis=1).min() < 4
    assert np.abs(after.vertices - (60, 60)).sum(axis=1).min() > 20
    np.testing.assert_allclose(after.vertices.max(axis=0), before.vertices.max(axis=0))
    assert box_of(window).selected == {after.id}
    assert len(window.viewer.layers["regions"].data) == 2
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(here(window)[0].vertices, before.vertices)
    with_r(window, *corner[::-1], LEFT)  # a click on a corner moves nothing
    assert window.steps() == steps + 1
    np.testing.assert_array_equal(here(window)[0].vertices, before.vertices)
    with_r(window, 130, 140, RIGHT)
    assert here(window) == []
    assert window.steps() == steps + 2
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(here(window)[0].vertices, before.vertices)
    assert len(window.session.particles) == 0


def test_without_room_for_words_letters_tell_regions_apart(window: Window) -> None:
    here_id = window.session.current_id
    hand = np.array([(20.0, 20.0), (20.0, 350.0), (120.0, 350.0), (120.0, 20.0)])
    regions.draw(window.session, hand, Reason.CARBON)
    regions.draw(window.session, np.add(hand, (120, 0)), Reason.ICE)
    small = np.array([(250.0, 20.0), (250.0, 40.0), (270.0, 40.0), (270.0, 20.0)])
    detected = regions.Detected(
        ((here_id, (Region(Reason.ICE, small), Region(Reason.CARBON, np.add(small, (0, 60))))),)
    )
    regions.enter_found(window.session, detected)
    layer = window.viewer.layers["regions"]
    assert sorted(layer.features["what"]) == ["", "", "", "", "C?", "I?", "carbon", "ice"]
    lines = [box_of(window).list.item(k).text().split(" ")[0] for k in range(4)]
    assert sorted(lines) == ["C", "C?", "I", "I?"]


def test_looking_everywhere_can_be_cancelled_and_begun_again(new_window: Any, micrographs: Path) -> None:
    rows, columns = np.mgrid[:320, :400]
    for seed, name in enumerate("ab"):
        ice = np.hypot(rows - 200, columns - 120) < 45
        write_mrc(micrographs / f"{name}.mrc", discs(seed) - 12 * ice.astype(np.float32))
    window = new_window().open(micrographs)
    window.session.set_diameter(100.0)
    window.until(window.drawn)
    window.idle()
    box, door = box_of(window), threading.Event()
    for _ in range(8):  # every worker waits, so that the search has not begun when it is cancelled
        window.bench.runner.submit(lambda context: door.wait(60), title="busy", quiet=True)
    try:
        box.everywhere.click()
        assert box.everywhere.text() == "cancel"
        box.everywhere.click()
        assert "cancelled" in window.status
        window.until(lambda: box.everywhere.text() == "on all")
    finally:
        door.set()
    window.idle()
    assert window.session.store.regions() == []
    box.everywhere.click()
    window.until(lambda: len(window.session.store.regions()) == 2)


def test_bright_particles_and_bright_ice(new_window: Any, micrographs: Path) -> None:
    rows, columns = np.mgrid[:320, :400]
    ice = np.hypot(rows - 200, columns - 120) < 45
    write_mrc(micrographs / "a.mrc", -discs(0) + 12 * ice.astype(np.float32))
    window = new_window().open(micrographs)
    window.session.set_diameter(100.0)
    window.until(window.drawn)
    box, particle = box_of(window), window.annotator.pick.particle
    box.here.click()
    window.until(lambda: "nothing new" in window.status)
    choose(particle.polarity, "bright")
    assert "particles are bright" in window.status
    box.here.click()
    window.until(lambda: len(here(window)) == 1)
    assert abs(here(window)[0].vertices.mean(axis=0) - (200, 120)).max() < 8
    window.annotator.pick.propose.here.click()
    window.until(lambda: window.session.current.n_undecided > 15)
    p, truth = window.session.particles, places(0)
    apart = truth[np.hypot(*(truth - (120, 200)).T) > 70]
    near = [np.hypot(*(np.column_stack([p.x, p.y]) - at).T).min() < 6 for at in apart]
    assert np.mean(near) > 0.85
    for _ in range(3):
        window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.session.settings.bright
    assert "dark" in particle.polarity.currentText()


def test_a_region_drawn_while_a_big_step_is_written_comes_after_it(picked: Window, monkeypatch: Any) -> None:
    window, box, door = picked, box_of(picked), threading.Event()
    monkeypatch.setattr("cryoppp_annotator.session.core.step.BIG", 40)
    window.bench.runner.submit(lambda context: door.wait(120), title="door", at_once=True)
    window.session.decide_where(Which(), Decision.ACCEPTED)
    outline(window)
    assert window.session.backlog.busy, "the window did not wait for it"
    assert "1 more step waits for it" in window.status
    assert here(window) == []
    window.go("b")
    door.set()
    window.until(lambda: not window.session.backlog.busy)
    assert here(window) == []
    window.go("a")
    (region,) = here(window)
    assert region.reason is Reason.CARBON
    assert len(window.viewer.layers["regions"].data) == 2
    assert window.session.counts()["accepted"] == 160
    with_r(window, 100, 100, RIGHT)
    assert box.list.count() == 0


def test_a_word_stands_inside_its_region() -> None:
    corner = np.array([(0.0, 0.0), (0.0, 100.0), (40.0, 60.0), (100.0, 0.0), (60.0, 40.0)])
    crescent = np.array([(0.0, 0.0), (0.0, 100.0), (100.0, 100.0), (100.0, 90.0), (10.0, 90.0), (10.0, 0.0)])
    for vertices in (corner, crescent):
        y, x = inner_point(vertices)
        assert holds(vertices, np.array([y]), np.array([x]))[0]
