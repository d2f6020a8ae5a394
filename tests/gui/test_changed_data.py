"""Data that change under an open window: replaced, new, gone; micrographs removed and brought back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QMenu
from window import PIXEL_A, Window, button, dialog, discs, write_mrc

from cryoppp_annotator.gui.widgets.dialogs.changed_dialog import ChangedDialog
from cryoppp_annotator.model.curation import Decision, Reason


def news(window: Window) -> Any:
    return window.annotator.micrographs.news


def seen(window: Window) -> None:
    """Look at all files, as the timer does."""
    window.bench.watcher.check_now()
    window.until(lambda: window.bench.watcher._job is None)


def test_a_replaced_micrograph_is_shown_and_settled_in_one_step(picked: Window, micrographs: Path) -> None:
    window = picked
    first = window.session.current
    before = window.session.particles.yx.copy()
    write_mrc(micrographs / f"{first.name}.mrc", discs(0)[::2, ::2].copy(), 2 * PIXEL_A)
    seen(window)
    assert news(window).settle.isVisible()
    assert "1 micrograph changed" in news(window).changed.text()
    window.until(lambda: window.bench.picture_layer.layer.data.shape[0] < before.max())  # the new image is shown
    news(window).settle.click()
    window.until(lambda: dialog(ChangedDialog) is not None)
    asked = dialog(ChangedDialog)
    assert asked.factor.value() == 0.5
    assert asked.scale.isChecked()
    asked.buttons.accepted.emit()
    window.until(lambda: not news(window).isVisible())
    np.testing.assert_allclose(window.session.particles.yx, before / 2)
    news(window).settle.click()  # a click that came as it was settled
    assert window.annotator.status.message.text() == "no micrograph has changed since it was picked"
    window.bench.give("undo")
    np.testing.assert_allclose(window.session.particles.yx, before)
    assert news(window).settle.isVisible()


def test_new_micrographs_are_offered_and_taken(window: Window, micrographs: Path) -> None:
    write_mrc(micrographs / "e.mrc", discs(5))
    seen(window)
    assert news(window).new.text() == "1 new in the folder"
    button(news(window), "Add").click()
    window.until(lambda: len(window.session.micrographs) == 5)
    window.until(lambda: not news(window).isVisible())
    news(window).always.setChecked(True)
    write_mrc(micrographs / "f.mrc", discs(6))
    seen(window)
    window.until(lambda: len(window.session.micrographs) == 6)
    assert window.annotator.micrographs.model.rowCount() == 6


def test_a_file_that_comes_back_is_usable_again(window: Window, micrographs: Path) -> None:
    there = micrographs / "a.mrc"
    whole = there.read_bytes()
    there.write_bytes(whole[:3000])
    seen(window)
    window.until(lambda: bool(window.session.micrographs[0].problem))
    there.write_bytes(whole)
    seen(window)
    assert not window.session.micrographs[0].problem
    window.until(window.drawn)


def test_where_the_micrographs_are_now(window: Window, micrographs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in sorted(micrographs.glob("*.mrc")):
        shutil.move(file, moved / file.name)
    seen(window)
    assert news(window).gone.text() == "4 files not there"
    news(window).relink(moved)
    seen(window)
    window.until(lambda: not news(window).isVisible())
    assert not [m for m in window.session.micrographs if m.problem]


def choose_from_menu(window: Window, text: str, chosen: list[int] | None = None) -> list[str]:
    """Choose an entry of the list's menu, or of the one about ``chosen`` micrographs; what else there is."""
    menu, panel = QMenu(), window.annotator.micrographs
    if chosen is None:
        panel._menu.fill(menu)
    else:
        panel._menu.fill_for(menu, chosen)
    texts = [action.text() for action in menu.actions()]
    menu.actions()[texts.index(text)].trigger()
    return texts


def test_removing_and_bringing_back(picked: Window) -> None:
    window = picked
    here, counts = window.session.current_id, window.session.counts()
    assert "Mark removed" not in choose_from_menu(window, "Remove it from the project", [here])
    assert window.session.current_id != here
    assert here not in window.annotator.micrographs.model.rows
    assert window.session.counts()["undecided"] == counts["undecided"] - 40
    choose_from_menu(window, "Bring back 1 removed micrograph")
    assert here in window.annotator.micrographs.model.rows
    assert window.session.counts() == counts


def test_the_particles_layer_has_features(picked: Window) -> None:
    window = picked
    particles = window.session.particles
    window.session.decide(particles.id[:3], Decision.REJECTED, Reason.OFF_CENTRE)
    x, y = 200.0, 5.0
    window.session.add(x, y, anyway=True)
    window.until(lambda: "id" in window.layer.features and (window.layer.features["decision"] == "accepted").any())
    features = window.layer.features
    assert list(features.columns) == ["id", "decision", "reason", "score", "set", "class", "species"]
    rejected = features[features["decision"] == "rejected"]
    assert rejected["id"].tolist() == particles.id[:3].tolist()
    assert rejected["reason"].unique().tolist() == ["off-centre"]
    mine = features[features["decision"] == "accepted"]
    np.testing.assert_allclose(window.layer.data[mine.index[0]], (y, x))
    assert mine["score"].isna().all()
    assert "by hand" in mine["set"].iloc[0]
    window.bench.give("undo")
    window.until(lambda: window.layer.features["id"].tolist() == window.session.particles.id.tolist())
