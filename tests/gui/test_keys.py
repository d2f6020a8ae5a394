"""Keys, tooltips, the help page, what disabled controls say, and colours that can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from class_window import click_class
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QSlider, QWidget
from window import CTRL, button, dialog, discs, scored, write_mrc, write_star

from cryoppp_annotator.gui.keys import keep_own_keys
from cryoppp_annotator.gui.layers.styles import ink
from cryoppp_annotator.gui.show import WELCOME
from cryoppp_annotator.gui.widgets.dialogs.export_dialog import ExportDialog
from cryoppp_annotator.gui.widgets.dialogs.help import HelpDialog
from cryoppp_annotator.gui.widgets.dialogs.import_dialog import ImportDialog
from cryoppp_annotator.model.curation import Decision

pytestmark = pytest.mark.any_qt

Key = Qt.Key


@pytest.fixture
def page(window):
    """The help page, opened by its key."""
    window.key(Key.Key_Question)
    window.until(lambda: dialog(HelpDialog) is not None)
    yield
    if (shown := dialog(HelpDialog)) is not None:
        shown.close()


def test_the_help_page_lists_every_command_and_gesture(window, page):
    shown = dialog(HelpDialog)
    assert set(shown._edits) == set(window.bench.commands)
    text = " ".join(label.text() for label in shown.findChildren(QLabel))
    for command in window.bench.commands.values():
        assert command.title in text
        first = command.keys[0] if command.keys else ""
        assert shown._edits[command.id].keySequence() == QKeySequence(first)
    for gesture in ("click on a pick", "drag a pick", "right click", "Shift+drag", "Ctrl+drag", "B held", "Space held"):
        assert gesture in text


def set_key(name: str, key) -> None:
    edit = dialog(HelpDialog)._edits[name]
    edit.setKeySequence(QKeySequence(key))
    edit.editingFinished.emit()


def test_a_changed_key_works_and_is_remembered(window, page, new_window, micrographs):
    set_key("toggle-raw", "V")
    shown = dialog(HelpDialog)
    shown.close()
    window.key(Key.Key_V)
    assert window.bench.view == "raw"
    window.key(Key.Key_D)
    assert window.bench.view == "raw", "the old key does it no more"
    window.annotator.close_project()
    later = new_window().open(micrographs)
    later.key(Key.Key_V)
    assert later.bench.view == "raw"
    later.annotator.show_help()
    button(dialog(HelpDialog), "Default keys").click()
    dialog(HelpDialog).close()
    later.key(Key.Key_D)
    assert later.bench.view == "denoised"


def test_a_key_that_is_taken_is_refused(window, page):
    set_key("toggle-raw", "A")
    assert window.status == "A is already: Accept"
    assert dialog(HelpDialog)._edits["toggle-raw"].keySequence() == QKeySequence("D")
    dialog(HelpDialog).close()
    window.key(Key.Key_D)
    assert window.bench.view == "raw"


def test_every_command_says_what_it_does_in_the_menu(window):
    menus = list(window.annotator.menus.menus.values())
    for menu in menus:
        menu.aboutToShow.emit()
    inner = [action.menu() for menu in menus for action in menu.actions() if action.menu() is not None]
    actions = [a for m in (*menus, *inner) for a in m.actions() if not a.isSeparator() and a.menu() is None]
    for action in actions:
        assert action.toolTip(), action.text()
    said = [a.text().split("\t")[0].split(": ")[0] if "do: " in a.text() else a.text().split("\t")[0] for a in actions]
    for command in window.bench.commands.values():
        assert said.count(command.title) == 1, command.id
        if command.keys:
            assert any(a.text().endswith(f"\t{command.keys[0]}") for a in actions), command.id


def without_tooltip(parent: QWidget) -> list[str]:
    """Buttons, sliders and choices that say nothing."""
    names = []
    for kind in (QAbstractButton, QSlider, QComboBox):
        for widget in parent.findChildren(kind):
            # Qt's own: the corner of a table, buttons inside fields, the arrows of tabs
            own = widget.objectName().startswith("qt_") or type(widget.parent()).__name__ in (
                "QLineEdit",
                "QTabBar",
                "QTableWidget",
                "QTableView",
                "QSpinBox",
                "QDoubleSpinBox",
                "QDialogButtonBox",
            )
            if not own and not widget.toolTip():
                names.append(f"{type(widget).__name__} {getattr(widget, 'text', str)()}")
    return names


def test_everything_that_can_be_pressed_has_a_tooltip(window, tmp_path):
    window.enter(write_star(tmp_path / "picker.star", scored("ab")))
    annotator = window.annotator
    window.idle()
    for panel in (annotator, annotator.micrographs, annotator.status, annotator.pick.view.bar):
        assert without_tooltip(panel) == []
    for show, kind in ((annotator.show_import, ImportDialog), (annotator.show_export, ExportDialog)):
        show()
        assert without_tooltip(dialog(kind)) == []
        dialog(kind).close()


def test_what_is_disabled_says_why(window):
    pick = window.annotator.pick
    for shown, name in pick._target_buttons:
        assert not shown.isEnabled()
        assert shown.toolTip().endswith("\nselect some picks first"), name
    window.until(lambda: not pick._accept_all.isEnabled())
    assert pick._accept_all.toolTip() == pick._reject_all.toolTip() == "nothing is undecided there"
    assert not pick._score.isEnabled(), "no scores, no threshold"
    assert pick._accept_all.isVisible()
    assert not pick._above.isVisible()
    for command in window.bench.commands.values():
        why = command.why_not(window.bench.focus)
        assert not why or len(why) > 10, command.id
    window.click(100, 100)
    window.bench.focus.select(window.session.particles.id.tolist())
    assert all(shown.isEnabled() for shown, _ in pick._target_buttons)


def test_naparis_hints_stay_silent_where_number_keys_reject(window):
    assert window.layer.help == window.image.help == window.viewer.help == ""
    for mode in ("select", "pan_zoom"):
        window.layer.mode = mode
        assert window.viewer.help == window.viewer.window._qt_window.statusBar()._help.text() == ""
    window.click(100, 100)
    window.viewer.update_status_from_cursor()
    assert window.layer.help == window.image.help == window.viewer.help == ""
    for mode in ("select", "pan_zoom"):
        window.layer.mode = mode
        window.viewer.update_status_from_cursor()
        assert window.viewer.help == ""
    window.viewer.layers.selection.active = window.image
    window.key(Key.Key_5)
    assert str(window.image.mode) == "pan_zoom", "5 is a reason, not napari's transform"


def test_a_key_after_the_mouse_is_a_key(window):
    """vispy keeps the last mouse event, at whose place in memory Qt may put a key event."""
    for _ in range(3):
        window.click(100, 100)
        window.drag([(100, 100), (110, 110)])
        QTest.keyPress(window.bench.canvas, Key.Key_Space)
        assert not window.layer.visible
        window.let_go(Key.Key_Space)
        assert window.layer.visible
        window.key(Key.Key_Z, CTRL)


def texts(annotator: Any) -> str:
    """All that is written on it, on the bar over the picture, and in their tooltips."""
    widgets = [w for parent in (annotator, annotator.pick.view.bar) for w in (parent, *parent.findChildren(QWidget))]
    written = [widget.text() for widget in widgets if isinstance(widget, QLabel | QAbstractButton)]
    return "\n".join([*written, *(widget.toolTip() for widget in widgets)])


#: A key that nothing else has, for every command that a text of the window speaks of.
OTHER = {
    "accept": "F2",
    "reject": "F3",
    "undo": "F4",
    "redo": "F5",
    "remove": "F6",
    "select-none": "F7",
    "region": "F8",
    "brush": "F9",
    "measure": "F10",
    "toggle-raw": "F11",
    "split": "F12",
    "fit": "J",
    "show-rejected": "K",
    "next-undecided": "L",
    "smaller": "M",
    "larger": "P",
    "export": "Q",
    "help": "T",
    "next": "V",
    "undecide": "W",
    "hide-rings": "Y",
    **{f"reject-{k}": f"Ctrl+{k}" for k in range(1, 10)},
}


def test_every_text_names_the_keys_that_a_person_chose(classed):
    annotator, bench = classed.annotator, classed.bench
    annotator.tabs.setCurrentWidget(annotator.history)  # which is filled when it is seen
    annotator.tabs.setCurrentWidget(annotator.classes)
    click_class(classed, 1)
    before = texts(annotator)
    assert {"Accept (A)", "Reject (X)", "R + drag draws"} < set(before.split("\n"))
    assert "Advance after A or X" in before
    for key in ("(D toggles)", "(O)", "(F)", "(H)", "(Escape)", "[ and ]", "1 to 9 give", "(Ctrl+Z)"):
        assert key in before, key
    assert {"1 carbon", "9 other"} < set(before.split("\n"))
    keep_own_keys({name: (key,) for name, key in OTHER.items()})
    bench.bind_keys()
    after = texts(annotator)
    assert "Accept (F2)" in after
    assert {"carbon", "other"} < set(after.split("\n"))
    assert "F8 + drag draws" in after
    assert "Advance after F2 or F3" in after
    for key in ("(F11 toggles)", "(F10)", "(J)", "(K)", "(F7)", "M and P", "Ctrl+1, Ctrl+2", "(F4)"):
        assert key in after, key
    held = r"\b[ADHNORSX] (toggles|held|came)|\b1 to 9\b"
    old = re.compile(rf"\(([A-Z0-9]|Ctrl\+.|Escape)\)|{held}|Ctrl\+Z|Delete(?! region)")
    chosen = set(OTHER.values())
    left = [m[0] for m in old.finditer(after) if m[0].strip("()") not in chosen]
    assert left == []


def test_what_is_said_names_the_keys_that_a_person_chose(classed):
    window, bench = classed, classed.bench
    window.annotator.tabs.setCurrentWidget(window.annotator.history)
    keep_own_keys({"undo": ("F4",), "redo": ("F5",), "select-none": (), "accept": ("Y",)})
    bench.bind_keys()
    window.click(10, 300)
    assert window.status == "added 1 pick on a · F4 undoes"
    assert window.annotator.history.undo.toolTip() == "Undo: add 1 pick on a (F4)"
    window.key(Key.Key_F4)
    assert window.status == "undid: add 1 pick on a · F5 redoes"
    window.drag([(1, 1), (398, 318)], CTRL)
    assert window.status == (
        "40 selected: Y accepts, X or 1 to 9 rejects, Delete removes, Edit > Select nothing clears the selection"
    )
    bench.measure()
    assert bench.overlay.text.endswith("Edit > Select nothing: not now")
    assert window.annotator.classes.particles.back.toolTip() == "Back to the classes", "no key, no bracket"
    bench.say("read {undo}.star and {no-such-command} with Alt+click")
    assert window.status == "read F4.star and {no-such-command} with Alt+click"


def test_the_welcome_and_the_page_of_keys_follow_at_once(window):
    overlay = window.bench.overlay
    window.bench.overlay.write(WELCOME)
    assert "right click or X rejects, A accepts, Ctrl+Z undoes" in overlay.text
    window.annotator.show_help()
    shown = dialog(HelpDialog)
    set_key("accept", "F2")
    set_key("brush", "F9")
    assert "F2 accepts" in overlay.text
    texts_ = [label.text() for label in shown.findChildren(QLabel)]
    assert "F9 held + drag" in texts_
    assert "then F2, X, reasons mean the chosen classes" in texts_
    button(shown, "Default keys").click()
    texts_ = [label.text() for label in shown.findChildren(QLabel)]
    assert "B held + drag" in texts_
    shown.close()


# --- the line at the bottom ------------------------------------------------------------------------------------------


def test_a_long_name_loses_its_beginning_in_the_status_line(new_window, tmp_path):
    name = "FoilHole_17152398_Data_17141812_Falcon_2012_06_12-14_33_35_0"
    write_mrc(tmp_path / "data" / f"{name}.mrc", discs())
    window = new_window().open(tmp_path / "data")
    window.session.set_diameter(100.0)
    window.click(100, 100)
    assert window.status == (f"added 1 pick on …{name[-21:]} · Ctrl+Z undoes")
    assert window.annotator.status.message.toolTip() == f"added 1 pick on {name} · Ctrl+Z undoes"
    assert window.session.history()[0].title == f"add 1 pick on {name}"


def test_a_line_as_the_curator_expects_it(window, tmp_path):
    window.enter(write_star(tmp_path / "picker.star", scored("a")))
    window.bench.focus.select(window.session.particles.id[:12].tolist())
    window.key(Key.Key_1)
    assert window.status == "rejected 12 picks as carbon on a · Ctrl+Z undoes"
    assert window.session.next_undo().title == "reject 12 picks as carbon on a"
    window.key(Key.Key_Z, CTRL)
    assert window.status == "undid: reject 12 picks as carbon on a · Ctrl+Shift+Z redoes"
    assert window.session.particles.decision[0] == Decision.UNDECIDED


# --- themes ----------------------------------------------------------------------------------------------------------


def contrast(one: QColor, two: QColor) -> float:
    """Contrast of two colours as WCAG 2 counts it."""

    def brightness(colour: QColor) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.getRgbF()[:3]]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((brightness(one), brightness(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_messages_can_be_read_in_both_themes(window, theme):
    from napari.utils.theme import get_theme

    window.viewer.theme = theme
    QApplication.processEvents()
    background = QColor(get_theme(theme).background.as_hex())
    for level in ("warning", "error", "note"):
        assert window.bench.ink(level) == ink(level, light=theme == "light")
        assert contrast(QColor(window.bench.ink(level)), background) > 4.5
    window.bench.warn("something")
    assert window.bench.ink("warning") in window.annotator.status.message.styleSheet()
    assert window.bench.ink("warning") in window.annotator.pick.particle.doubt.styleSheet()
