"""Keys: ours win while our layers or panels are active, napari's come back when the panel is closed.

One listener to the application's events, because napari resolves keys by active layer first and Qt's menus before both.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDockWidget,
    QKeySequenceEdit,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from ..session.core.commands import Command
from ..session.core.opening import home
from .app_events import AppEvents
from .binding import as_key_event
from .menu_entries import menu_of

_TYPING = (QLineEdit, QAbstractSpinBox, QTextEdit, QPlainTextEdit, QKeySequenceEdit)
#: A key that is held comes as releases and presses on X11, not all of them marked as repeated: let go of is one
#: that is not pressed again in so many milliseconds.
_LET_GO_MS = 30
_LEAVES = (QEvent.Type.WindowDeactivate, QEvent.Type.ApplicationDeactivate)
_KINDS = (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress, QEvent.Type.KeyRelease, *_LEAVES)
_MODIFIER_KEYS = (Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr)


def key_text(event: QKeyEvent) -> str:
    """A key event in Qt's portable spelling (``Ctrl+Shift+Z``)."""
    key = Qt.Key(event.key())
    if key in _MODIFIER_KEYS:
        return ""
    parts = []
    held = event.modifiers()
    for modifier, name in (
        (Qt.KeyboardModifier.ControlModifier, "Ctrl"),
        (Qt.KeyboardModifier.AltModifier, "Alt"),
        (Qt.KeyboardModifier.ShiftModifier, "Shift"),
        (Qt.KeyboardModifier.MetaModifier, "Meta"),
    ):
        if held & modifier:
            parts.append(name)
    name = QKeySequence(int(event.key())).toString(QKeySequence.SequenceFormat.PortableText)
    # The shift that makes a sign ("?", "{") is part of the sign.
    if len(name) == 1 and not name.isalnum() and "Shift" in parts and event.text() == name:
        parts.remove("Shift")
    return "+".join([*parts, name])


def spelled(key: str) -> str:
    """A key as a person may write it, in Qt's portable spelling."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText) or key


class Keys(QObject):
    """Routes keys to commands.

    Parameters
    ----------
    window : QWidget
        The main window; its docks may float. Keys of other windows and of dialogs are left alone.
    active : callable
        Whether our layers have the keyboard.
    """

    def __init__(self, window: QWidget, active: Callable[[], bool]) -> None:
        super().__init__()  # no Qt parent: it must outlive a window that is being destroyed
        self._window = window
        self._active = active
        self._press: dict[str, Callable[[], object]] = {}
        self._hold: dict[str, Callable[[bool], None]] = {}
        self._always: set[str] = set()
        self._held: set[str] = set()
        self._ending: dict[str, QTimer] = {}
        AppEvents.instance().listen(_KINDS, self.on_event)

    def close(self) -> None:
        """Give the keyboard back."""
        if QApplication.instance() is not None:
            AppEvents.instance().forget(self.on_event)
        self._release_all()

    @property
    def held(self) -> frozenset[str]:
        """Keys that are held down now."""
        return frozenset(self._held)

    def bind(
        self,
        press: Mapping[str, Callable[[], object]],
        hold: Mapping[str, Callable[[bool], None]],
        *,
        always: Iterable[str] = (),
    ) -> None:
        """Set what keys do: ``press`` once a press, ``hold`` gets True on press and False on release.

        Those of ``always`` are ours also while our layers do not have the keyboard.
        """
        self._always = {spelled(key) for key in always}
        # "Delete" and "Escape" are "Del" and "Esc" where Qt spells them
        self._press = {spelled(key): run for key, run in press.items()}
        self._hold = {spelled(key): run for key, run in hold.items()}

    def add(self, press: Mapping[str, Callable[[], object]]) -> None:
        """Let more keys do something, until :meth:`bind` is called again."""
        self._press |= {spelled(key): run for key, run in press.items()}

    def on_event(self, watched: QObject, event: QEvent) -> bool:
        """Take our keys, leave the rest."""
        kind = event.type()
        if kind == QEvent.Type.KeyRelease:
            return self._released(as_key_event(event))
        if kind in _LEAVES:
            if self._is_home(watched):
                self._release_all()
            return False
        if not isinstance(watched, QWidget):
            return False
        if not self._reach(watched):
            return False
        pressed = as_key_event(event)
        text = key_text(pressed)
        if text not in self._always and not self._active():
            return False
        if text not in self._press and text not in self._hold:
            return False
        pressed.accept()
        if kind == QEvent.Type.ShortcutOverride:
            return True  # claims the key from Qt's menus; the key press follows
        if text in self._hold:
            self._goes_on(text)
            if not pressed.isAutoRepeat() and text not in self._held:
                self._held.add(text)
                self._hold[text](True)
        else:
            self._press[text]()
        return True

    def _reach(self, watched: QWidget) -> bool:
        """Whether keys for a widget are commands at all: it is in the window, and nobody is typing."""
        app = QApplication.instance()
        if app.activeModalWidget() is not None or app.activePopupWidget() is not None:
            return False
        if not self._is_home(watched.window()):
            return False
        focus = app.focusWidget()
        return not (isinstance(focus, _TYPING) or (isinstance(focus, QComboBox) and focus.isEditable()))

    def _is_home(self, window: QObject) -> bool:
        """The main window, or a dock of it that floats."""
        return window is self._window or (isinstance(window, QDockWidget) and window.parentWidget() is self._window)

    def _released(self, event: QKeyEvent) -> bool:
        if event.isAutoRepeat():
            return key_text(event) in self._held
        name = QKeySequence(int(event.key())).toString(QKeySequence.SequenceFormat.PortableText)
        if name not in self._held:
            return False
        if name not in self._ending:
            timer = self._ending[name] = QTimer(self)
            timer.setSingleShot(True)
            timer.timeout.connect(partial(self._on_let_go, name))
            timer.start(_LET_GO_MS)
        return True

    def _goes_on(self, name: str) -> None:
        """It was no release: the key is held on."""
        if (timer := self._ending.pop(name, None)) is not None:
            timer.stop()
            timer.deleteLater()

    def _on_let_go(self, name: str) -> None:
        timer = self._ending.get(name)
        if timer is not None and timer.interval():
            timer.start(0)  # only after what waits in the window system's queue, where the window was busy
            return
        self._goes_on(name)
        self._let_go(name)

    def _let_go(self, name: str) -> None:
        if name in self._held:
            self._held.discard(name)
            self._hold[name](False)

    def _release_all(self) -> None:
        for name in list(self._held):
            self._goes_on(name)
            self._let_go(name)


def has_keyboard(widget: QWidget) -> bool:
    """Whether keys are for ``widget``: it has the focus of its window, and no other window is in front."""
    window, active = widget.window(), QApplication.activeWindow()
    # every window remembers where its focus was, one that is not in front too
    return widget.isVisible() and window.focusWidget() is widget and active in (None, window)


#: A field of a text: ``{accept}`` is the key of that command, ``{reasons}`` are those of the nine reasons.
#: `` ({view})`` is left out with its brackets where the command has no key.
_FIELD = re.compile(r"( \()?\{([a-z]+(?:-[a-z0-9]+)*)\}(?(1)(\)))")


def with_keys(text: str, commands: Mapping[str, Command], keys_of: Callable[[str], tuple[str, ...]]) -> str:
    """A text with its fields filled in; a command without a key is called what the menu calls it."""

    def fill(field: re.Match[str]) -> str:
        opening, name, closing = (str(part or "") for part in field.groups())
        if name == "reasons":
            return f"{opening}{_reasons(keys_of)}{closing}"
        if name not in commands:
            return str(field[0])
        if keys := keys_of(name):
            return f"{opening}{keys[0]}{closing}"
        return "" if opening else f"{menu_of(name)} > {commands[name].title}"

    return _FIELD.sub(fill, text)


def _reasons(keys_of: Callable[[str], tuple[str, ...]]) -> str:
    keys = [keys_of(f"reject-{k}")[:1] for k in range(1, 10)]
    if keys == [(str(k),) for k in range(1, 10)]:
        return "1 to 9"
    return ", ".join(key for some in keys for key in some) or "Picks > Reject as"


def own_keys() -> dict[str, tuple[str, ...]]:
    """Keys a person chose, by command id."""
    try:
        keys = json.loads(_file().read_text(encoding="utf-8"))
        return {str(k): tuple(str(key) for key in v) for k, v in keys.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep_own_keys(keys: Mapping[str, tuple[str, ...]]) -> None:
    """Remember chosen keys for the next start."""
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps({k: list(v) for k, v in keys.items()}, indent=1), encoding="utf-8")


def _file() -> Path:
    return home() / "keys.json"
