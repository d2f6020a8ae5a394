"""Icons that everybody knows, in the colour of the theme's text.

They are glyphs of Material Design Icons' font, which superqt paints; each stands for the noun or verb beside it, or for
the tooltip where there is no room for a word.
"""

from __future__ import annotations

import weakref
from typing import Any

from fonticon_mdi7 import MDI7
from napari import Viewer
from napari.utils.theme import get_theme
from qtpy.QtCore import QSize
from qtpy.QtGui import QIcon
from superqt.fonticon import IconOpts, icon

from .binding import is_alive

#: By the command's id, or by what a button does.
_GLYPHS = {
    "accept": MDI7.check,
    "brush": MDI7.brush,
    "cancel": MDI7.close,
    "complete": MDI7.check_all,
    "demo": MDI7.flask_outline,
    "export": MDI7.export,
    "fit": MDI7.fit_to_screen,
    "folder": MDI7.folder_open,
    "help": MDI7.keyboard,
    "history": MDI7.history,
    "history-of-pick": MDI7.history,
    "image": MDI7.image_outline,
    "import": MDI7.import_,
    "jobs": MDI7.progress_clock,
    "measure": MDI7.ruler,
    "menu": MDI7.menu,
    "merge": MDI7.source_merge,
    "more": MDI7.dots_horizontal,
    "next": MDI7.arrow_right,
    "next-undecided": MDI7.skip_next,
    "previous": MDI7.arrow_left,
    "previous-undecided": MDI7.skip_previous,
    "redo": MDI7.redo,
    "region": MDI7.vector_polygon,
    "reject": MDI7.close,
    "remove": MDI7.trash_can_outline,
    "server": MDI7.database,
    "undecide": MDI7.help_circle_outline,
    "undo": MDI7.undo,
}
#: px, as large as the text's capitals and what hangs below.
_SIZE = QSize(16, 16)


class Icons:
    """Gives buttons and menu entries their icons, and new ones when napari's theme is changed.

    Parameters
    ----------
    viewer : Viewer
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = weakref.ref(viewer)
        self._buttons: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        viewer.events.theme.connect(self._on_theme)

    def close(self) -> None:
        """Follow the theme no more."""
        if (viewer := self._viewer()) is not None:
            viewer.events.theme.disconnect(self._on_theme)

    def named(self, name: str) -> QIcon:
        """The icon of a command or button; an empty one where it has none."""
        viewer = self._viewer()
        glyph = _GLYPHS.get(name)
        if viewer is None or glyph is None:
            return QIcon()
        colour = get_theme(viewer.theme).text.as_hex("long")
        return icon(glyph, color=colour, states={"disabled": IconOpts(opacity=0.35)})

    def put(self, button: Any, name: str) -> None:
        """Give a button its icon, for as long as it lives."""
        self._buttons[button] = name
        button.setIconSize(_SIZE)
        button.setIcon(self.named(name))

    def _on_theme(self) -> None:
        for button, name in list(self._buttons.items()):
            if is_alive(button):
                button.setIcon(self.named(name))
