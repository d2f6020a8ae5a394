"""The *3D* tab: from picks to a map without leaving the window, decisions by verdict, and views that would be lost."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from class_window import click_class, store_run
from qtpy.QtCore import QEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.spatial.transform import Rotation
from window import LEFT, write_mrc, write_star

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "reconstruct"))
from planted import PIXEL_A, scene

from cryoppp_annotator.formats.image.volumes import write_volume
from cryoppp_annotator.gui.layers.styles import ColourBy
from cryoppp_annotator.gui.widgets.parts.map_plots import mollweide
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.volume import stored_maps
from cryoppp_annotator.session.volume.map_run import CURVES, MapResult, MapRun, PickVerdicts


@pytest.fixture
def planted_window(new_window, tmp_path):
    """A window on one micrograph of planted particles and junk; 81 picks, and the map they are of."""
    made = scene(1)
    for number, image in enumerate(made.micrographs):
        write_mrc(tmp_path / "data" / f"m{number}.mrc", image, PIXEL_A)
    rows = [(f"m{k}.mrc", x, y, 0.5, 1) for k, places in enumerate(made.places) for x, y in places.tolist()]
    window = new_window().open(tmp_path / "data")
    window.session.set_diameter(190.0)
    window.enter(write_star(tmp_path / "picks.star", rows))
    write_volume(tmp_path / "map.mrc", made.volume, PIXEL_A)
    write_volume(tmp_path / "bare.mrc", made.volume, 0.0)
    return window, made, tmp_path


def open_3d(window):
    panel = window.annotator.volume
    window.annotator.tabs.setCurrentWidget(panel)
    QApplication.processEvents()
    return panel


def press(button) -> None:
    QTest.mouseClick(button, LEFT)
    QApplication.processEvents()


def test_from_picks_to_a_verdict_and_decisions_in_the_window(planted_window) -> None:
    window, made, folder = planted_window
    panel = open_3d(window)
    assert panel.run.options().map_path == ""
    panel.run.choose_map(folder / "bare.mrc")
    assert not panel.run.pixel.isHidden()
    assert "pixel size" in panel.run.start.toolTip()
    panel.run.choose_map(folder / "map.mrc")
    assert panel.run.pixel.isHidden()
    panel.run.halves.setChecked(False)
    press(panel.run.start)
    assert panel.run.running
    window.until(lambda: not panel.run.running)
    window.idle()
    assert panel.result is not None
    picks = panel.result.picks
    particle = _truth(made, picks)
    assert ((picks.log_odds > 0) == particle).mean() > 0.93
    assert "rather particles" in panel.run.line.verdict.text()
    # rings say it: those of particles are lighter
    press(panel.colour)
    assert window.bench.particles_layer.colour_by is ColourBy.MAP
    shown = picks.odds_of(window.bench.particles_layer.ids)
    light = window.layer.border_color[:, :3].sum(axis=1)
    assert light[shown > 4].min() > light[shown < -4].max()
    # the line decides, in one step that can be undone
    panel.threshold.set_value(0.0)
    panel.threshold.changed.emit(0.0)
    below = int((picks.log_odds < 0).sum())
    assert panel.reject.text() == f"Reject {below}"
    press(panel.reject)
    assert window.session.counts()["rejected"] == below
    window.session.undo()
    assert window.session.counts()["rejected"] == 0
    # out of date when picks change
    window.session.move(picks.particle[:1], picks.x[:1] + 9.0, picks.y[:1])
    window.until(lambda: "1 moved" in panel.run.line.outdated.text())


def _truth(made, picks):
    at = [int(np.argmin(np.hypot(*(made.places[0] - (x, y)).T))) for x, y in zip(picks.x, picks.y, strict=True)]
    return made.particle[0][at]


def stored(window, *, halves: bool = True) -> MapResult:
    """A run whose picks look from all sides, the first twenty from one; every pick is surely a particle."""
    picks = window.session.store.particles_where(Which())
    n = len(picks)
    matrices = Rotation.random(n, random_state=1).as_matrix()
    # the first twenty look along x, the others never within 40 degrees of it
    matrices[:, 2, 0] *= 0.3
    matrices[:, 2] /= np.linalg.norm(matrices[:, 2], axis=1)[:, None]
    matrices[:20, 2] = (1.0, 0.0, 0.0)
    columns = PickVerdicts(
        picks.id,
        picks.micrograph,
        picks.x,
        picks.y,
        np.linspace(2.0, 9.0, n).astype(np.float32),
        np.full(n, 4.0, np.float32),
        matrices,
        np.zeros(n),
        np.zeros(n),
        (np.arange(n) % 2).astype(np.int8),
    )
    grid = np.mgrid[:16, :16, :16] - 8
    ball = (np.sqrt((grid**2).sum(axis=0)) < 5).astype(np.float32)
    maps = dict.fromkeys(("map", "half1", "half2", "reference", "mask"), ball) if halves else {"reference": ball}
    shells = np.linspace(1.0, 0.0, 8)
    curves = dict.fromkeys(CURVES[:4], shells) | {"period_A": 160.0 / np.maximum(np.arange(8.0), 1e-9)}
    record = {"name": "planted", "verdict": "a ball", "head": window.session.store.newest(), "pixel_size_A": 10.0}
    return stored_maps.save_map_run(window.session, MapResult(MapRun(0, record), columns, maps, curves))


@pytest.fixture
def with_run(picked):
    result = stored(picked)
    panel = open_3d(picked)
    panel.run.reread()
    picked.until(lambda: panel.result is not None)
    picked.idle()
    return picked, result  # no panel: pytest would keep it, and the viewer with it


def test_a_stored_run_is_drawn_and_its_map_has_a_window_of_its_own(with_run) -> None:
    window, _ = with_run
    panel = window.annotator.volume
    layers, active = list(window.viewer.layers), window.viewer.layers.selection.active
    assert "a ball" in panel.run.line.verdict.text()
    assert panel.curve.curves
    panel.open_window()
    shown = panel.window.viewer
    assert [layer.name for layer in shown.layers] == ["map", "reference", "half 1", "half 2"]
    assert shown.dims.ndisplay == 3
    assert window.viewer.dims.ndisplay == 2
    assert (list(window.viewer.layers), window.viewer.layers.selection.active) == (layers, active)
    panel.window.close()
    assert not panel.window.is_open
    del shown
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    assert window.bench.canvas.isVisible()


def test_a_lost_view_is_said_before_and_after_and_shown_on_demand(with_run) -> None:
    window, result = with_run
    panel = window.annotator.volume
    watch, answers = window.annotator.view_watch, []
    watch.answered.connect(answers.append)
    one_side, thinned = result.picks.particle[:20], result.picks.particle[20::4]
    window.bench.rejection_considered.emit(thinned, "rejecting these")
    window.until(lambda: answers)
    assert answers == [None]
    window.bench.rejection_considered.emit(one_side, "rejecting these")
    window.until(lambda: len(answers) == 2)
    assert "rejecting these would remove a view: the view at" in window.status
    panel.threshold.set_value(float(result.picks.log_odds[20]) - 1e-3)
    panel.threshold.changed.emit(panel.threshold.value)
    press(panel.reject)
    window.until(lambda: len(answers) == 3)
    assert "this removed a view" in window.status
    window.bench.views_requested.emit()
    window.until(lambda: watch._dialog is not None and watch._dialog.isVisible())
    assert re.search(r"keeps [01] of its 2\d picks", watch._dialog.text.text())
    watch._dialog.close()
    window.session.undo()


def test_choosing_classes_asks_whether_they_alone_show_a_view(picked) -> None:
    """Without a run in 3D it is the classes' averages that say it."""
    run = store_run(picked.session)
    answers: list[object] = []
    picked.annotator.view_watch.answered.connect(answers.append)
    panel = picked.annotator.classes
    picked.annotator.tabs.setCurrentWidget(panel)
    panel.run.reread()
    panel.run.choose(panel.run.runs[-1])
    picked.until(lambda: panel.shown is not None and panel.shown.id == run.id)
    click_class(picked, 1)
    picked.until(lambda: answers)
    assert "would remove a view: class 1 shows a view that no class which stays does" in picked.status


def test_the_sphere_keeps_areas() -> None:
    seen = Rotation.random(20_000, random_state=0).as_matrix()[:, 2]
    x, y = mollweide(seen).T
    assert (x**2 + y**2).max() <= 1.0 + 1e-6
    inner = (x**2 + y**2) < 0.25
    assert inner.mean() == pytest.approx(0.25, abs=0.01)
