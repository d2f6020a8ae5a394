"""Doors of the window: what is dropped anywhere in it, layers of somebody else, clicks before there is a picture."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from window import (
    ALT,
    RIGHT,
    Window,
    dialog,
    discs,
    drop_files,
    held,
    places,
    scored,
    write_mrc,
    write_star,
)

from cryoppp_annotator.gui.widgets.dialogs.import_dialog import ImportDialog
from cryoppp_annotator.store.store import DATABASE_NAME

Key = Qt.Key


def box_file(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [f"{x - 10:.0f} {y - 10:.0f} 20 20\n" for x, y in places("abcd".index(name)).tolist()]
    (folder / f"{name}.box").write_text("".join(rows))
    return folder / f"{name}.box"


def test_what_is_dropped_anywhere_goes_to_the_import(window: Window, tmp_path: Path) -> None:
    window.annotator.own_window = True
    star = write_star(tmp_path / "picks.star", scored("ab"))
    boxes = [box_file(tmp_path / "boxes", name) for name in "ab"]
    layers = list(window.viewer.layers)
    for on, files in (
        (window.bench.canvas, [star]),
        (window.annotator.micrographs._search, boxes),
        (window.annotator.status, [tmp_path / "boxes"]),
        (window.annotator.tabs, boxes),
    ):
        assert drop_files(on, files)
        window.until(lambda: dialog(ImportDialog) is not None)
        asked = dialog(ImportDialog)
        window.until(asked.ok.isEnabled)
        assert asked.ok.text() == "Import 80 picks"
        asked.reject()
    assert list(window.viewer.layers) == layers, "no stray layer"
    window.click(200, 160)
    assert len(window.session.particles) == 1, "the next click is a pick"


def test_micrographs_and_projects_that_are_dropped(window: Window, tmp_path: Path) -> None:
    window.annotator.own_window = True
    more = write_mrc(tmp_path / "more" / "e.mrc", discs(4))
    drop_files(window.bench.canvas, [more])
    window.until(lambda: [m.name for m in window.session.micrographs] == ["a", "b", "c", "d", "e"])
    write_mrc(tmp_path / "folder" / "f.mrc", discs(5))
    drop_files(window.bench.canvas, [tmp_path / "folder"])
    window.until(lambda: window.session.micrographs[-1].name == "f")
    project = window.project()
    with window.qtbot.waitSignal(window.annotator.ready):
        drop_files(window.bench.canvas, [project / DATABASE_NAME])
    assert window.project() == project
    assert len(window.session.micrographs) == 6


def test_picks_without_a_project_are_no_micrograph(new_window, micrographs: Path, tmp_path: Path) -> None:
    window: Window = new_window()
    window.annotator.own_window = True
    drop_files(window.annotator, [box_file(tmp_path, "a")])
    assert window.annotator.start_page.message.text().startswith("a.box holds picks: open the folder")
    with window.qtbot.waitSignal(window.annotator.ready):
        drop_files(window.viewer.window._qt_viewer, [micrographs])
    assert len(window.session.micrographs) == 4


def test_beside_other_layers_napari_gets_what_is_not_ours(window: Window, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((8, 8), np.float32))
    drop_files(window.bench.canvas, [tmp_path / "other.npy"])
    assert [layer.name for layer in window.viewer.layers][-1] == "other"
    window.until(lambda: "layer “other” was added" in window.status)
    window.click(200, 160)
    assert len(window.session.particles) == 1


def test_a_layer_that_is_chosen_says_that_it_has_the_keys(window: Window) -> None:
    other = window.viewer.add_points([[10.0, 10.0]], name="other")
    window.until(lambda: "layer “other” was added; mouse and keys stay with the picks" in window.status)
    window.click(200, 160)
    assert len(window.session.particles) == 1
    window.viewer.layers.selection.active = other
    assert window.status == "layer “other” has mouse and keys now · F8 gives them back to the picks"
    window.click(100, 100)
    assert len(window.session.particles) == 1
    window.key(Key.Key_F8)
    window.click(100, 100)
    assert len(window.session.particles) == 2
    window.layer.mode = "select"
    assert window.status == "napari's tool “select” has the mouse now · F8 gives it back to the picks"
    window.key(Key.Key_F8)
    window.click(300, 250)
    assert len(window.session.particles) == 3


def test_clicks_while_the_picture_is_read_make_nothing(picked: Window) -> None:
    window, before = picked, picked.steps()
    with held(window):
        window.session.go(window.named("d").id)
        x, y = places(3)[0]
        window.click(200, 160)
        window.click(x, y, RIGHT)
        window.click(x, y, held=ALT)
        window.key(Key.Key_P)
        assert window.steps() == before
        assert window.status == "d is still being read: nothing was changed"
    window.until(window.drawn)
    window.click(x, y, RIGHT)
    assert window.session.current.n_rejected == 1


def test_a_key_adds_where_alt_is_taken_by_the_window_manager(window: Window) -> None:
    window.click(200, 160)
    window.point(207, 160)
    window.key(Key.Key_P)
    assert len(window.session.particles) == 2
    assert window.session.particles.yx[1] == pytest.approx([160, 207], abs=3)


def test_the_contrast_of_each_kind_outlasts_a_restart(window: Window, micrographs: Path) -> None:
    slider = window.annotator.pick.view.contrast
    slider.setValue((20, 60))
    window.key(Key.Key_D)
    window.until(window.drawn)
    assert slider.value() == (0, 100), "raw has one of its own"
    slider.setValue((-30, 130))
    window.annotator.close_project()
    window.open(micrographs)
    window.until(window.drawn)
    slider = window.annotator.pick.view.contrast
    assert slider.value() == (20, 60)
    low, high = window.bench.picture_layer.picture.limits
    shown = (np.array(window.image.contrast_limits) - low) / (high - low)
    assert shown == pytest.approx([0.2, 0.6])
    window.key(Key.Key_D)
    window.until(window.drawn)
    assert slider.value() == (-30, 130)


def test_a_report_is_saved_without_names(window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOPPP_TOPAZ", str(tmp_path))  # it takes half a minute to try Topaz
    logging.getLogger("cryoppp_annotator.trial").error("cannot read %s", window.project().parent / "a.mrc")
    menu = window.viewer.window.help_menu
    assert {"Save a report…", "Show the log"} <= {action.text() for action in menu.actions()}
    window.annotator.report.write(tmp_path / "report.txt", names=False)
    window.until(lambda: (tmp_path / "report.txt").is_file())
    text = (tmp_path / "report.txt").read_text()
    assert "micrographs: 4, {'in_progress': 1, 'unseen': 3}" in text
    assert "ERROR cryoppp_annotator.trial: cannot read <path>.mrc" in text
    assert "binding: PyQt" in text or "binding: PySide" in text
    assert f"numpy {np.__version__}" in text
    for name in ("a.mrc", str(tmp_path)):
        assert name not in text
    window.annotator.shut_down()
    assert "Save a report…" not in {action.text() for action in menu.actions()}
