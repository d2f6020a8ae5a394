"""What a person met at the first use of the window: cut numbers, keys that stutter, errors that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel, QToolButton
from window import PLAIN, Window, choose, held, write_mrc, write_star

from cryoppp_annotator import extensions

pytestmark = pytest.mark.any_qt

Key = Qt.Key


# --- the list --------------------------------------------------------------------------------------------------------


def test_numbers_are_whole_and_the_filter_gives_the_keys_back(window: Window, tmp_path: Path) -> None:
    session, panel = window.session, window.annotator.micrographs
    at = np.random.default_rng(0).uniform(20, 300, (11_000, 2)).round(2).tolist()
    window.enter(write_star(tmp_path / "many.star", [("a.mrc", x, y, 0.5, 1) for x, y in at]))
    window.until(lambda: session.current.n_undecided > 10_000)
    table = panel.table
    row = panel.model.row_of(session.current_id)
    for column in range(2, 5):
        index = panel.model.index(row, column)
        assert table.sizeHintForIndex(index).width() <= table.columnWidth(column), index.data()
    assert sum(table.columnWidth(k) for k in range(5)) <= 24 + 112 + 3 * 42, "the name gives way"
    for leave in ("clear", Key.Key_Return, Key.Key_Escape):
        QApplication.setActiveWindow(panel.window())
        panel._search.setFocus()
        assert panel.window().focusWidget() is panel._search
        panel._search.setText("b")
        assert panel.model.rowCount() == 1
        if leave == "clear":
            panel._search.findChild(QToolButton).click()
            assert panel.model.rowCount() == 4
        else:
            QTest.keyClick(panel._search, leave)
            panel._search.clear()
        assert panel.window().focusWidget() is not panel._search, leave


# --- keys that are held ----------------------------------------------------------------------------------------------


def _key(window: Window, kind: Any, key: Any, *, repeats: bool) -> None:
    QApplication.sendEvent(window.bench.canvas, QKeyEvent(kind, key, PLAIN, "", repeats))


def test_a_held_key_is_held_until_it_is_let_go(window: Window) -> None:
    """X11 repeats a held key as releases and presses, some of them not marked as repeated."""
    window.bench.canvas.setFocus()
    shown: list[bool] = []
    window.layer.events.visible.connect(lambda _event: shown.append(window.layer.visible))
    _key(window, QEvent.KeyPress, Key.Key_Space, repeats=False)
    for repeats in (True, False, False, True, False):
        _key(window, QEvent.KeyRelease, Key.Key_Space, repeats=repeats)
        _key(window, QEvent.KeyPress, Key.Key_Space, repeats=repeats)
        QApplication.processEvents()
    assert shown == [False], "the rings did not come back meanwhile"
    window.let_go(Key.Key_Space)
    assert shown == [False, True]
    # a region that is being drawn keeps its outline
    _key(window, QEvent.KeyPress, Key.Key_R, repeats=False)
    _key(window, QEvent.KeyRelease, Key.Key_R, repeats=False)
    _key(window, QEvent.KeyPress, Key.Key_R, repeats=False)
    assert window.bench.gestures.outlining
    window.let_go(Key.Key_R)
    assert not window.bench.gestures.outlining


# --- a picker that cannot --------------------------------------------------------------------------------------------


@pytest.mark.skipif("topaz" not in extensions.pickers(), reason="the plugin for Topaz is not installed")
def test_a_picker_without_its_program_says_so_before_and_after(
    window: Window, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    box = window.annotator.pick.propose
    program = tmp_path / "topaz"
    program.write_text("#!/bin/sh\necho 0.2.5a\n")
    program.chmod(0o755)
    monkeypatch.setenv("CRYOPPP_TOPAZ", str(program))
    choose(box.picker, "Topaz")
    window.idle()
    assert box.here.isEnabled()
    monkeypatch.setenv("CRYOPPP_TOPAZ", str(tmp_path / "nowhere"))
    box.here.click()  # it was there a moment ago
    wrong = "Topaz was not found; make its environment with"
    window.until(lambda: any(level == "error" and text.startswith(wrong) for text, level in window.said))
    jobs = window.annotator.jobs
    (row,) = [row for row in jobs._rows.values() if row.job.title == "propose on a"]
    window.until(lambda: row._note.text().startswith("failed: Topaz was not found"))
    window.until(lambda: not box.here.isEnabled())
    for shown in (box.here, box.everywhere):
        assert "Topaz cannot start" in shown.toolTip()
        assert "cryoppp-annotator-topaz install" in shown.toolTip()
    assert box.note.isVisibleTo(box)
    assert box.note.text() == box.here.toolTip()
    choose(box.picker, "(LoG)")
    assert box.here.isEnabled()
    monkeypatch.setenv("CRYOPPP_TOPAZ", str(program))
    choose(box.picker, "Topaz")
    window.until(box.here.isEnabled)


def test_why_nothing_is_proposed_or_seen(window: Window, micrographs: Path) -> None:
    pick, session = window.annotator.pick, window.session
    box = pick.propose
    box.avoid.click()
    box.whole.click()
    box.here.click()
    window.until(lambda: "proposes" in window.status)
    assert box.left_out.text().endswith(" left out at the border · candidates on carbon and ice came too")
    pick._score.setValue(99.0)
    window.go("d")
    box.here.click()
    window.until(lambda: "all below the threshold 99: move the line" in window.said[-1][0])
    for name, pixels in (("b", np.ones((320, 400), np.float32)), ("c", np.full((320, 400), np.nan, np.float32))):
        write_mrc(micrographs / f"{name}.mrc", pixels)
        session.go(window.named(name).id)
        box.here.click()
        why = "the micrograph is flat" if name == "b" else "the micrograph has no finite pixel"
        window.until(lambda why=why: why in window.said[-1][0])
        assert "nothing that looks like a particle of 100 Å" in window.said[-1][0]


# --- the line at the bottom, and the numbers beside the threshold ----------------------------------------------------


def test_what_is_over_is_not_said_any_more_and_long_lines_end_in_dots(window: Window) -> None:
    bench, line = window.bench, window.annotator.status.message
    bench.say("Topaz: no program · the raw picture is shown", "error", "picture")
    bench.show.choose_method(bench.show.pictures.denoiser.name, {})
    assert window.status == ""
    bench.say("something else failed", "error")
    bench.show.choose_method(bench.show.pictures.denoiser.name, {})
    assert window.status == "something else failed", "what is about something else stays"
    long = "no scheduler answers " * 30
    bench.say(long, "error", "cluster")
    assert (window.status, line.toolTip()) == (long, long)
    assert QLabel.text(line).endswith("…")
    bench.run_on.choose(True, "tcp://127.0.0.1:9999")
    assert window.status == ""
    with held(window):
        window.annotator.pick.propose.here.click()
        window.until(lambda: window.annotator.status._cancel.isVisible())
        window.annotator.status._on_cancel()
        assert "cancelled: " in window.status


def test_counts_follow_while_the_threshold_moves_and_say_why(picked: Window) -> None:
    window, pick = picked, picked.annotator.pick
    window.until(lambda: "here: " in pick._counts.text())
    window.idle()
    messages: list[str] = []
    pick._above.setText("")
    slider = pick.threshold
    for k in range(400):  # never at rest for as long as a timer would wait for it
        slider.set_value(k / 400)
        pick._on_threshold_moved(k / 400)
        window.qtbot.wait(5)
        messages.append(pick._above.text())
        if len(set(messages)) > 3:
            break
    assert len(set(messages)) > 3, "the numbers stood still"
    pick._score.setValue(2.0)
    window.until(lambda: pick._above.text() == "Accept 0 above")
    assert not pick._above.isEnabled()
    assert pick._above.toolTip() == "no undecided pick here has a score at or above 2"
    assert pick._selection.text().startswith("40 picks here")


def test_split_without_a_pointer_is_in_the_middle_and_another_pixel_size_keeps_the_view(window: Window) -> None:
    bench = window.bench
    middle = bench.picture_layer.picture.pixels.shape[1] // 2
    bench.give("split")
    window.until(lambda: bench.picture_layer.split == middle)
    window.point(350, 100)
    window.until(lambda: bench.picture_layer.split != middle)
    QApplication.sendEvent(bench.canvas, QEvent(QEvent.Leave))
    assert bench.picture_layer.split == middle
    bench.give("split")
    seen = window.at(0, 0), window.at(400, 320)
    window.session.set_pixel_size(window.session.pixel_size_A(window.session.current) * 1.77)
    window.idle()
    assert (window.at(0, 0), window.at(400, 320)) == seen


def test_icons_stand_before_known_words_and_follow_the_theme(window: Window) -> None:
    def ink(button: Any) -> float:
        picture = button.icon().pixmap(32, 32).toImage()
        colours = [picture.pixelColor(x, y) for x in range(32) for y in range(32)]
        solid = [colour.lightness() for colour in colours if colour.alpha() > 200]
        assert solid, "nothing is drawn"
        return sum(solid) / len(solid)

    buttons = (window.annotator.status.history, window.annotator.status._cancel)
    window.viewer.theme = "dark"
    assert all(ink(button) > 150 for button in buttons)
    window.viewer.theme = "light"
    assert all(ink(button) < 100 for button in buttons)
    picks = window.annotator.menus.menus["Picks"]
    with_icon = {action.text().split("\t")[0] for action in picks.actions() if not action.icon().isNull()}
    assert {"Accept", "Reject", "Next undecided"} <= with_icon
