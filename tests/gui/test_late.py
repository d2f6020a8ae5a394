"""What comes late: a job's result when something else has been chosen meanwhile, in whatever order jobs end."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog
from window import HEIGHT, PIXEL_A, Gate, choose, discs, held, write_mrc

from cryoppp_annotator import extensions
from cryoppp_annotator.errors import EngineError
from cryoppp_annotator.gui.widgets.exporting import ExportDialog
from cryoppp_annotator.gui.widgets.importing import ImportDialog
from cryoppp_annotator.session.pictures import View

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
    window.click(100, 80)
    with held(window):
        window.session.set_pixel_size(2 * PIXEL_A)
        assert not window.drawn(), "the filter follows the pixel size"
        across = window.image.scale[0] * window.image.data.shape[0]
        assert across == pytest.approx(window.layer.scale[0] * HEIGHT) == 2 * PIXEL_A / 10 * HEIGHT
    window.until(window.drawn)


def test_the_scale_bar_comes_with_the_pixel_size_not_with_the_next_picture(new_window, tmp_path):
    write_mrc(tmp_path / "data" / "a.mrc", discs(0), 1.0)
    window = new_window().open(tmp_path / "data")
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


# --- projects --------------------------------------------------------------------------------------------------------


@pytest.fixture
def others(tmp_path: Path) -> Path:
    write_mrc(tmp_path / "others" / "x.mrc", discs(7))
    return tmp_path / "others"


def test_what_was_chosen_last_is_opened_and_nothing_else(new_window, micrographs, others, qtbot):
    window = new_window()
    opened = []
    window.annotator.opened.connect(lambda: opened.append(window.annotator.bench.session.data_root.name))
    window.annotator.open_path(micrographs)
    with qtbot.waitSignal(window.annotator.ready, timeout=120_000):
        window.annotator.open_path(others)
    window.idle()
    assert opened == ["others"]
    assert [m.name for m in window.session.micrographs] == ["x"]
    assert len(window.viewer.layers) == 2, "one picture, one layer of picks"


def test_the_demo_does_not_close_what_was_opened_while_it_was_made(new_window, others, monkeypatch, tmp_path):
    monkeypatch.setenv("CRYOPPP_ANNOTATOR_HOME", str(tmp_path / "home"))
    window = new_window()
    window.annotator._on_demo()
    window.open(others)
    window.idle()
    assert window.session.data_root == others


def test_nothing_of_a_closed_project_arrives(window, others):
    runner, session = window.bench.runner, window.session
    came = []
    job = runner.submit(lambda context: 1, title="late", quiet=True, on_done=came.append, on_failed=came.append)
    assert job.wait(120)
    window.annotator.close_project()
    window.open(others)
    window.idle()
    assert came == []
    assert window.session is not session


@pytest.mark.parametrize(("show", "kind"), [("show_import", ImportDialog), ("show_export", ExportDialog)])
def test_dialogs_of_a_project_go_with_it(window, others, show, kind):
    getattr(window.annotator, show)()
    (asked,) = [d for d in window.bench.window.findChildren(QDialog) if type(d) is kind]
    gone = []
    asked.destroyed.connect(lambda: gone.append(True))
    window.annotator.close_project()
    window.until(lambda: gone)
    window.open(others)
    assert len(window.session.particles) == 0
