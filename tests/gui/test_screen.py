"""Micrographs are screened by their numbers: ranges dim, one click marks, one undo takes it back."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from window import CTRL, LEFT, PLAIN, SHIFT, choose, scored, write_mrc, write_star

from cryoppp_annotator.batch import passport_project
from cryoppp_annotator.batch.passport import COLUMNS
from cryoppp_annotator.gui.models.class_table import TILE
from cryoppp_annotator.gui.models.thumbnail_table import MicrographTile
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.files import facts


def passport(**numbers: object) -> dict[str, object]:
    row = {name: 0.0 if form else "" for name, form in COLUMNS.items()}
    return row | numbers


@pytest.fixture
def screened(window):
    """Four micrographs, ``a`` to ``d``, whose rings end at 4, 5, nobody knows, and 16 A; ``d`` seems unusable."""
    ids = {name: window.named(name).id for name in "abcd"}
    window.annotator.screen.show_rows(
        {
            ids["a"]: passport(fit_resolution_A=4.0, ice_ring=0.1),
            ids["b"]: passport(fit_resolution_A=5.0, ice_ring=0.9),
            ids["c"]: passport(fit_resolution_A=None, ice_ring=0.2),
            ids["d"]: passport(fit_resolution_A=16.0, ice_ring=0.3, suggestion="rings end early"),
        }
    )
    window.annotator.tabs.setCurrentWidget(window.annotator.screen)
    return window, ids


def states(window) -> str:
    return "".join("x" if m.state is MicrographState.UNUSABLE else "." for m in window.session.micrographs)


def ink(window, name: str) -> object:
    model = window.annotator.micrographs.model
    row = model.rows.index(window.named(name).id)
    return model.data(model.index(row, 1), Qt.ItemDataRole.ForegroundRole)


def test_a_range_dims_and_one_click_marks_and_one_undo_takes_it_back(screened):
    window, ids = screened
    screen = window.annotator.screen
    assert screen.outside() == []
    assert not screen.mark.isEnabled()
    screen.slider.setValue((4.0, 8.0))
    assert screen.outside() == [ids["d"]], "what is not known is not left out"
    assert ink(window, "d") is not None
    assert ink(window, "a") is None
    assert states(window) == "....", "looking changes nothing"
    screen.x.setCurrentIndex(screen.x.findData("ice_ring"))
    screen.slider.setValue((0.1, 0.5))
    assert screen.outside() == [ids["b"], ids["d"]], "ranges of several numbers count together"
    assert screen.mark.text() == "Mark 2 unusable"
    screen.mark.click()
    assert states(window) == ".x.x"
    assert "outside the range of rings to (Å), ice ring" in window.session.next_undo().title
    window.session.undo()
    assert states(window) == "...."
    keys = ((Qt.Key.Key_Left, PLAIN), (Qt.Key.Key_Left, CTRL), (Qt.Key.Key_Right, CTRL | SHIFT))
    for key, held in keys:  # of 0.8: a hundredth, a tenth, a tenth
        window.qtbot.keyClick(screen.slider._slider, key, held)
    assert screen.slider.value() == (pytest.approx(0.18), pytest.approx(0.412))
    assert screen.outside() == [ids["a"], ids["b"], ids["d"]]
    screen.reset.click()
    assert screen.outside() == []
    assert ink(window, "d") is None


def test_a_suggestion_is_followed_only_by_a_click(screened):
    window, _ = screened
    screen = window.annotator.screen
    assert states(window) == "...."
    assert screen.mark_suggested.text() == "Mark 1 suggested unusable"
    assert "d: rings end early" in screen.mark_suggested.toolTip()
    screen.mark_suggested.click()
    assert states(window) == "...x"
    assert not screen.mark_suggested.isEnabled()
    window.session.undo()
    assert screen.mark_suggested.isEnabled()


def test_a_dot_leads_to_its_micrograph(screened):
    window, ids = screened
    screen = window.annotator.screen
    screen.y.setCurrentIndex(screen.y.findData("ice_ring"))
    x, y = screen.plot.points()[3]
    window.qtbot.mouseClick(screen.plot, LEFT, pos=QPoint(round(x), round(y)))
    window.until(lambda: window.session.current_id == ids["d"])
    assert "Here: rings end early." in screen.note.text()


def order(window) -> str:
    names = {m.id: m.name for m in window.session.micrographs}
    return "".join(names[i] for i in window.annotator.screen.grid.model.ids)


def tile(window, name: str) -> MicrographTile:
    model = window.annotator.screen.grid.model
    return model.data(model.index(model.ids.index(window.named(name).id)), TILE)


def test_thumbnails_are_sorted_dimmed_and_lead_to_their_micrograph(screened):
    window, ids = screened
    screen, grid = window.annotator.screen, window.annotator.screen.grid
    assert order(window) == "abcd"
    choose(grid.by, "ice ring")
    assert order(window) == "acdb"
    assert tile(window, "b").value == "0.9000"
    grid.way.click()
    assert order(window) == "bdca"
    choose(grid.by, "rings to")
    assert order(window) == "dbac", "what is not known comes last, either way"
    assert (tile(window, "c").value, tile(window, "d").suggestion) == ("?", "rings end early")
    screen.slider.setValue((4.0, 8.0))
    assert [tile(window, name).dimmed for name in "abcd"] == [False, False, False, True]
    window.until(lambda: all(tile(window, name).image is not None for name in "abcd"))
    at = grid.view.visualRect(grid.model.index(1)).center()  # b
    window.qtbot.mouseClick(grid.view.viewport(), LEFT, pos=at)
    window.until(lambda: window.session.current_id == ids["b"])
    assert tile(window, "b").current
    window.qtbot.keyClick(grid.view, Qt.Key.Key_Left)
    window.qtbot.keyClick(grid.view, Qt.Key.Key_Return)
    window.until(lambda: window.session.current_id == ids["d"])
    screen.mark.click()
    assert tile(window, "d").unusable


def yellow(window, name: str) -> int:
    """Pixels of a thumbnail that have the colour of an undecided ring, blue ones as negative."""
    image = tile(window, name).image
    colours = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
    blue = sum(c.blue() > c.red() + 40 for c in colours)
    return sum(c.red() > c.blue() + 40 for c in colours) - blue


def test_thumbnails_and_numbers_follow_the_picks(screened, tmp_path):
    window, ids = screened
    screen = window.annotator.screen
    window.until(lambda: tile(window, "a").image is not None)
    assert yellow(window, "a") == 0
    window.enter(write_star(tmp_path / "picks.star", [*scored("a", 12), *scored("b", 4)]))
    window.until(lambda: yellow(window, "a") > 20)
    window.until(lambda: screen.rows[ids["a"]]["picks"] == 12)
    row = screen.rows[ids["a"]]
    assert (row["pick_density"], row["pick_score"]) == (6.0, pytest.approx(5.5 / 12)), (
        "the median of 12, 4, 0 and 0 is 2"
    )
    assert screen.rows[ids["c"]]["pick_score"] is None
    window.session.go(ids["a"])
    window.session.decide(window.session.particles.id, Decision.ACCEPTED)
    window.until(lambda: yellow(window, "a") < -20)
    screen.save_table(tmp_path / "out")
    with (tmp_path / "out/passport.csv").open(newline="") as stream:
        assert [line["picks"] for line in csv.DictReader(stream)] == ["12", "4", "0", "0"]
    assert "cryopppPickDensity" in (tmp_path / "out/passport.star").read_text()


def test_measuring_fills_it(new_window, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        write_mrc(tmp_path / f"data/{name}.mrc", rng.normal(40.0, 6.0, (320, 320)).astype(np.float32), 3.0)
    window = new_window().open(tmp_path / "data")
    screen = window.annotator.screen
    screen.measure.click()
    assert not screen.measure.isEnabled(), "one measuring at a time"
    window.until(lambda: len(screen.rows) == 2)
    window.until(screen.measure.isEnabled)
    assert "2 micrographs measured, 0 outside, 0 (orange) seem unusable" in screen.note.text()
    assert np.isfinite(screen.values("mean_grey")).all()
    assert np.isnan(screen.values("fit_resolution_A")).all(), "noise has no rings"
    names = [m.name for m in facts.where(window.session, "contrast > 0").micrographs]
    assert names == ["a", "b"], "the list knows it, too"
    kept = passport_project.kept(window.session)
    assert [row["mean_grey"] for row in kept.values()] == screen.values("mean_grey").tolist()
