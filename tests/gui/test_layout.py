"""Room and rest: the micrograph gets most of the window, nothing moves by itself, and no text is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QGroupBox,
    QLabel,
    QRadioButton,
    QToolButton,
    QWidget,
)
from superqt import QElidingLabel
from window import CTRL, Window, choose, dialog, scored, write_star

from cryoppp_annotator.gui.widgets.dialogs.ctf_rings import RingsDialog
from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.help import HelpDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import FrameDialog, ImportDialog
from cryoppp_annotator.gui.widgets.dialogs.species_dialog import SpeciesDialog
from cryoppp_annotator.gui.widgets.parts.eliding_combo import ElidingCombo
from cryoppp_annotator.model.curation import Decision
from cryoppp_annotator.model.species import Species
from cryoppp_annotator.session.files import importing

#: What a laptop leaves of 1280 x 800 and of 1920 x 1080 under a desktop's title bar.
SMALL = (1278, 775)
LARGE = (1918, 1055)


@pytest.fixture
def own(make_napari_viewer: Any, qtbot: Any, micrographs: Path) -> Iterator[Window]:
    """The program's own window on four micrographs, as small as a laptop's."""
    window = Window(make_napari_viewer(show=True), qtbot, own=True)
    window.bench_window = window.viewer.window._qt_window
    window.bench_window.resize(*SMALL)
    window.open(micrographs)
    window.session.set_diameter(100.0)
    window.until(window.drawn)
    yield window
    window.close()


def test_as_a_plugin_it_fits_a_small_window_too(window: Window) -> None:
    main, annotator = window.viewer.window._qt_window, window.annotator
    main.resize(*SMALL)
    lowest = {
        annotator.screen: annotator.screen.mark_suggested,
        annotator.classes: annotator.classes.reject_suggested,
        annotator.check: annotator.check.recentre,
    }
    for panel, button in lowest.items():
        annotator.tabs.setCurrentWidget(panel)
        window.settle()
        assert (main.width(), main.height()) == SMALL, "nothing holds the window open"
        assert button.mapTo(main, QPoint(0, button.height())).y() <= SMALL[1], panel.title
    assert window.annotator.micrographs.isVisible()


def places(root: QWidget) -> dict[QWidget, tuple[int, int, int, int]]:
    """Where every button, choice and heading in sight stands in the window."""
    out = {}
    for widget in root.findChildren(QWidget):
        if widget.isVisible() and isinstance(widget, QAbstractButton | QComboBox | QGroupBox):
            at = widget.mapTo(root, QPoint(0, 0))
            out[widget] = (at.x(), at.y(), widget.width(), widget.height())
    return out


def moved(before: dict[QWidget, Any], after: dict[QWidget, Any]) -> list[str]:
    """Widgets that stand elsewhere now, or that have come or gone."""
    return [
        f"{type(widget).__name__} {widget.toolTip()[:20]}: {before.get(widget)} -> {after.get(widget)}"
        for widget in {**before, **after}
        if widget not in before or widget not in after or not _same(before[widget], after[widget])
    ]


def _same(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Where they are but for two pixels of rounding."""
    return all(abs(a - b) <= 2 for a, b in zip(one, other, strict=True))


def test_the_micrograph_has_most_of_a_small_window_and_the_pick_tab_needs_no_scrolling(own: Window) -> None:
    own.enter(write_star(own.project().parent / "p.star", scored("abcd")))
    QApplication.processEvents()
    assert own.bench_window.width() == SMALL[0], "no panel holds the window open"
    assert own.bench.canvas.width() >= 0.6 * SMALL[0]
    assert own.annotator.pick.verticalScrollBar().maximum() == 0
    for panel in range(own.annotator.tabs.count()):
        own.annotator.tabs.setCurrentIndex(panel)
        QApplication.processEvents()
        assert own.bench.canvas.width() >= 0.6 * SMALL[0]
    wide = own.bench.canvas.width()
    for key, dock in ((Qt.Key.Key_L, own.annotator.micrographs), (Qt.Key.Key_T, own.annotator)):
        own.key(key, CTRL)
        assert not dock.isVisible()
    QApplication.processEvents()
    assert own.bench.canvas.width() > wide + 400
    for key, dock in ((Qt.Key.Key_L, own.annotator.micrographs), (Qt.Key.Key_T, own.annotator)):
        own.key(key, CTRL)
        assert dock.isVisible()


def test_nothing_moves_on_hover_selection_a_long_line_or_new_scores(own: Window, tmp_path: Path) -> None:
    own.enter(write_star(tmp_path / "plain.star", [("a.mrc", 100, 80, "nan", 0), ("a.mrc", 300, 200, "nan", 0)]))
    window, root = own, own.bench_window
    window.until(lambda: window.annotator.pick._counts.text().endswith("all micrographs: 2"))
    window.idle()
    at_rest = places(root)
    assert len(at_rest) > 30

    def nothing_moved(why: str) -> None:
        window.settle()
        assert moved(at_rest, places(root)) == [], why

    window.point(100, 80)
    assert window.annotator.pick._selection.text().startswith("pick ")
    nothing_moved("a pick under the pointer")
    window.bench.focus.select(window.session.particles.id)
    nothing_moved("picks are selected")
    window.bench.say("a sentence that goes on and on, " * 12)
    nothing_moved("a long sentence")
    window.bench.focus.select(window.session.particles.id[:1])
    window.key(Qt.Key.Key_2)
    nothing_moved("a decision")
    window.enter(write_star(tmp_path / "picker.star", scored("abcd")))
    window.until(lambda: window.annotator.pick._above.text() != "Accept above")
    window.idle()
    now = places(root)
    both = at_rest.keys() & now.keys()  # two buttons have made room for two others in their place
    assert len(both) >= len(at_rest) - 2
    assert moved({w: at_rest[w] for w in both}, {w: now[w] for w in both}) == [], "scores arrive"


def test_nothing_moves_when_a_panel_scrolls_or_asks_for_the_diameter(own: Window, tmp_path: Path) -> None:
    own.key(Qt.Key.Key_Z, CTRL)
    own.enter(write_star(tmp_path / "p.star", scored("abcd")))
    assert not own.session.settings.diameter_is_set
    pick, classes = own.annotator.pick, own.annotator.classes
    own.until(lambda: pick._counts.text().count("above") == 2)
    own.settle()
    heads = {fold.head for fold in pick.folds.values()}
    before = {widget: at for widget, at in places(pick).items() if widget not in heads}
    for fold in pick.folds.values():
        fold.open()
    own.until(lambda: pick.verticalScrollBar().maximum() > 0)
    own.settle()
    own.until(lambda: moved(before, {w: at for w, at in places(pick).items() if w in before}) == [])
    assert cut(pick) == []
    for panel, press, question in (
        (pick, pick.propose.here, pick.propose.question),
        (classes, classes.run.start, classes.run.question),
    ):
        own.annotator.tabs.setCurrentWidget(panel)
        own.settle()
        before = places(panel)
        press.click()
        own.until(question.isVisible)
        own.settle()
        assert moved(before, {w: at for w, at in places(panel).items() if not question.isAncestorOf(w)}) == []
        assert cut(question) == []
        question.drop.click()
    own.annotator.tabs.setCurrentWidget(pick)
    pick.view._more.click()
    own.settle()
    assert pick.widget().width() <= pick.viewport().width(), "defocus and microscope fit beside the micrograph"


def test_a_button_that_is_used_up_scrolls_nothing_and_presses_no_other(own: Window, tmp_path: Path) -> None:
    own.enter(write_star(tmp_path / "picker.star", scored("ab")))
    pick = own.annotator.pick
    own.bench_window.resize(1278, 560)
    for fold in pick.folds.values():
        fold.open()
    own.until(lambda: pick.verticalScrollBar().maximum() > 0)
    pick._score.setValue(0.5)
    own.until(lambda: pick._below.text() == "Reject 20 below")
    pick._below.setFocus()
    at = pick.verticalScrollBar().value()
    pick._below.click()
    own.until(lambda: not pick._below.isEnabled())
    assert pick.verticalScrollBar().value() == at
    assert own.bench_window.focusWidget() is own.bench.canvas


def test_what_is_counted_is_what_is_done(own: Window, tmp_path: Path) -> None:
    own.enter(write_star(tmp_path / "picker.star", scored("abcd")))
    pick, session = own.annotator.pick, own.session
    pick._score.setValue(0.7)
    for scope, n_above, n_below in (("this micrograph", 12, 28), ("all micrographs", 36, 84)):
        choose(pick._scope, scope)
        own.until(lambda n=n_above: pick._above.text() == f"Accept {n} above")
        before = session.counts()
        pick._above.click()
        own.until(lambda n=n_above, b=before: session.counts()["accepted"] == b["accepted"] + n)
        own.until(lambda n=n_below: pick._below.text() == f"Reject {n} below")
        pick._below.click()
        own.until(lambda n=n_below, b=before: session.counts()["rejected"] == b["rejected"] + n)


def cut(root: QWidget) -> list[str]:
    """Texts in sight that have less room than they need."""
    out = []
    for widget in root.findChildren(QWidget):
        if not widget.isVisible():
            continue
        if isinstance(widget, QElidingLabel):
            if widget.wordWrap() and widget.heightForWidth(widget.width()) > widget.height():
                out.append(f"lines: {widget.text()}")
            if widget._elidedText() != widget.text() and not widget.toolTip():
                out.append(f"shortened without a tooltip: {widget.text()}")
        elif isinstance(widget, QLabel):
            text = widget.text()
            high = widget.heightForWidth(widget.width()) if widget.wordWrap() else widget.sizeHint().height()
            if text and (high > widget.height() or (not widget.wordWrap() and not _fits(widget, text))):
                out.append(f"label: {text}")
        elif isinstance(widget, QCheckBox | QRadioButton):
            if widget.sizeHint().width() > widget.width():
                out.append(f"tick: {widget.text()} {widget.width()}")
        elif isinstance(widget, QAbstractButton) and not (isinstance(widget, QToolButton) and not widget.text()):
            if widget.text() and not _fits(widget, widget.text()):
                out.append(f"button: {widget.text()} {widget.width()}")
        elif isinstance(widget, ElidingCombo):
            if widget.shown_text() != widget.currentText() and not widget.toolTip():
                out.append(f"shortened without a tooltip: {widget.currentText()}")
        elif isinstance(widget, QComboBox) and not _fits(widget, widget.currentText(), 24):
            out.append(f"choice: {widget.currentText()} {widget.width()}")
    return out


def _fits(widget: QWidget, text: str, more: int = 0) -> bool:
    if "<" in text:
        return widget.sizeHint().width() <= widget.width()
    lines = text.replace("&", "").split("\n")
    return max(widget.fontMetrics().horizontalAdvance(line) for line in lines) + more <= widget.width()


def dialogs(window: Window, picks: Path) -> Iterator[tuple[str, QDialog]]:
    """Every dialog of ours with something in it, one after the other; each is open while it is looked at."""
    annotator, bench = window.annotator, window.bench
    annotator.show_export()
    export = dialog(ExportDialog)
    window.idle()  # it counts and checks
    yield "export", export
    annotator.ask_to_import([picks])
    window.idle()
    yield "import", dialog(ImportDialog)
    annotator.show_help()
    yield "keys", dialog(HelpDialog)
    made = (
        SpeciesDialog(bench.window, Species(-1, "a complex with a long name", "#4C9BE8", "", 120.0), frozenset()),
        RingsDialog(bench),
        FrameDialog(bench, importing.read(bench.session, picks), None, bench.say),
    )
    for one in made:
        one.show()
        yield type(one).__name__, one


def test_large_counts_are_not_cut(own: Window, tmp_path: Path) -> None:
    places = [(5 + 3.9 * (k % 100), 5 + 10.0 * (k // 100)) for k in range(3000)]
    rows = [(f"{name}.mrc", x, y, k / 3000, 1) for name in "abcd" for k, (x, y) in enumerate(places)]
    own.enter(write_star(tmp_path / "picker.star", rows))
    pick = own.annotator.pick
    choose(pick._scope, "all micrographs")
    for value, text in ((0.1, "Accept 10,800"), (0.9, "Reject 10,800")):
        pick._score.setValue(value)
        button = pick._above if text.startswith("Accept") else pick._below
        own.until(lambda b=button, t=text: b.text().startswith(t))
        assert cut(button.parentWidget()) == []


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["1280", "1920"])
def test_no_text_is_cut(own: Window, tmp_path: Path, size: tuple[int, int], theme: str) -> None:
    own.enter(write_star(tmp_path / "picker.star", scored("abcd")))
    own.viewer.theme = theme
    own.bench_window.resize(*size)
    own.idle()
    tabs = own.annotator.tabs
    wrong = {}
    for k in range(tabs.count()):
        tabs.setCurrentIndex(k)
        own.settle()
        if texts := cut(own.bench_window):
            wrong[tabs.tabText(k)] = texts
    for name, widget in dialogs(own, tmp_path / "picker.star"):
        widget.resize(widget.size().boundedTo(own.bench_window.size()))
        own.settle()
        assert widget.height() <= size[1], f"{name} is higher than the screen"
        if texts := cut(widget):
            wrong[name] = texts
        widget.close()
    assert wrong == {}
    assert own.session.counts()["undecided"] == 160
    assert Decision.UNDECIDED in own.session.particles.decision
