"""All keys and gestures on one page; keys can be changed there."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHBoxLayout,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ....session.core.commands import DECIDING
from ...keys import keep_own_keys, own_keys
from ...view_commands import LOOKING
from ...workbench import Workbench

GESTURES = (
    ("click", "add a pick"),
    ("{add-here}, or Alt+click", "add one even close to another"),
    ("click on a pick", "select it (Ctrl: add to the selection)"),
    ("drag a pick", "move it (and what is selected with it)"),
    ("drag beside, wheel", "pan, zoom"),
    ("right click", "reject the pick"),
    ("Shift + right click", "history of the pick"),
    ("Shift+drag", "select with a lasso"),
    ("Ctrl+drag", "select with a rectangle"),
    ("{brush} held + drag", "brush: reject what it sweeps over"),
    ("{region} held + drag", "draw a region: carbon, ice"),
    ("{region} held + click", "select a region (right click: delete it)"),
    ("{hide-rings} held", "hide the rings"),
    ("{measure}, then drag", "measure a particle: sets the diameter"),
    ("click in a gallery", "then {accept}, {reject}, reasons mean the chosen classes"),
    ("double click, Enter", "open a class; go to a particle"),
    ("Ctrl+wheel there", "larger and smaller tiles"),
)

#: Where the groups stand; those not named go into the middle.
_COLUMN = {LOOKING: 0, DECIDING: 2}
#: Longer titles are wrapped.
_LONG = 32


class HelpDialog(QDialog):
    """Keys by group.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self.setWindowTitle("Keys and mouse")
        inner = QWidget()
        layout = QHBoxLayout(inner)
        layout.setSpacing(16)
        columns = [QVBoxLayout() for _ in range(3)]
        for column in columns:
            layout.addLayout(column, 1)
        self._gestures: list[tuple[QLabel, str]] = []
        columns[0].addWidget(_packed(self._mouse()))
        groups: dict[str, list[str]] = {}
        for command in bench.commands.values():
            groups.setdefault(command.group, []).append(command.id)
        self._edits: dict[str, QKeySequenceEdit] = {}
        for group, ids in groups.items():
            columns[_COLUMN.get(group, 1)].addWidget(_packed(self._group(group, ids)))
        for column in columns:
            column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        default = QPushButton("Default keys")
        default.setToolTip("Forget the keys that were chosen here")
        default.clicked.connect(self._on_default)
        buttons.addButton(default, QDialogButtonBox.ButtonRole.ResetRole)
        layout = QVBoxLayout(self)
        note = QLabel("Click a key to change it. Edits act on the selection, else on the pick under the pointer.")
        note.setWordWrap(True)
        layout.addWidget(note)
        layout.addWidget(area, 1)
        layout.addWidget(buttons)
        # all of it at once where the screen has the room, and no key field takes the first key that is pressed
        room = (parent or self).screen().availableSize() if hasattr(self, "screen") else inner.sizeHint()
        size = inner.sizeHint()
        self.resize(min(size.width() + 100, room.width() - 20), min(size.height() + 130, room.height() - 60))
        buttons.button(QDialogButtonBox.StandardButton.Close).setFocus()

    def _mouse(self) -> QGridLayout:
        grid = QGridLayout()
        grid.addWidget(_heading("Mouse"), 0, 0, 1, 2)
        for row, (gesture, does) in enumerate(GESTURES, 1):
            for column, text in enumerate((gesture, does)):
                label = QLabel(self._bench.keyed(text))
                self._gestures.append((label, text))
                grid.addWidget(label, row, column)
        grid.setColumnStretch(1, 1)
        return grid

    def _group(self, group: str, ids: list[str]) -> QGridLayout:
        grid = QGridLayout()
        grid.addWidget(_heading(group), 0, 0, 1, 2)
        for row, name in enumerate(ids, 1):
            command = self._bench.commands[name]
            keys = self._bench.keys_of(name)
            edit = QKeySequenceEdit(QKeySequence(keys[0] if keys else ""))
            edit.setFixedWidth(104)
            edit.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
            for field in edit.findChildren(QLineEdit):
                field.setPlaceholderText("none")
            edit.editingFinished.connect(lambda n=name: self._on_edited(n))
            self._edits[name] = edit
            also = f"   (also {', '.join(keys[1:])})" if keys[1:] else ""
            title = QLabel(command.title + also)
            title.setToolTip(command.about)
            if len(title.text()) > _LONG:
                title.setWordWrap(True)
            grid.addWidget(edit, row, 0)
            grid.addWidget(title, row, 1)
        grid.setColumnStretch(1, 1)
        return grid

    def _on_edited(self, name: str) -> None:
        text = self._edits[name].keySequence().toString(QKeySequence.SequenceFormat.PortableText)
        text = text.split(", ")[0]
        present = self._bench.keys_of(name)
        if text == (present[0] if present else ""):
            return
        taken = [c.title for c in self._bench.commands.values() if c.id != name and text in self._bench.keys_of(c.id)]
        if text and taken:
            self._bench.warn(f"{text} is already: {taken[0]}")
            self._edits[name].setKeySequence(QKeySequence(present[0] if present else ""))
            return
        keys = own_keys()
        keys[name] = tuple(k for k in (text, *present[1:]) if k)
        keep_own_keys(keys)
        self._rebind()

    def _rebind(self) -> None:
        self._bench.bind_keys()
        for label, text in self._gestures:
            label.setText(self._bench.keyed(text))

    def _on_default(self) -> None:
        keep_own_keys({})
        self._rebind()
        for name, edit in self._edits.items():
            keys = self._bench.commands[name].keys
            edit.setKeySequence(QKeySequence(keys[0] if keys else ""))


def _packed(grid: QGridLayout) -> QWidget:
    """A block that keeps its rows together."""
    block = QWidget()
    grid.setContentsMargins(0, 0, 0, 6)
    grid.setVerticalSpacing(2)
    grid.setHorizontalSpacing(10)
    block.setLayout(grid)
    block.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
    return block


def _heading(text: str) -> QLabel:
    label = QLabel(f"<b>{text}</b>")
    label.setTextFormat(Qt.TextFormat.RichText)
    return label
