"""The question whether files are opened that a project names outside the folders of its micrographs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QWidget

#: So many folders are listed.
_LISTED = 5


def ask_outside(
    parent: QWidget, folders: Collection[Path], what: str, answered: Callable[[bool], object]
) -> QMessageBox:
    """Ask once, without stopping the window; ``answered`` gets whether they may be opened.

    Parameters
    ----------
    folders : collection of Path
    what : str
        What is there ("attached pictures").
    """
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Files outside the micrographs' folders")
    box.setTextFormat(Qt.TextFormat.PlainText)
    listed = sorted(map(str, folders))
    more = f"\nand {len(listed) - _LISTED} more folders" if len(listed) > _LISTED else ""
    names = "\n".join(listed[:_LISTED])
    box.setText(f"This project names {what} in\n\n{names}{more}\n\nThat is outside the folders of its micrographs.")
    box.setInformativeText("Open them if you trust who made the project. The answer is remembered for this project.")
    box.addButton("Open them", QMessageBox.ButtonRole.AcceptRole)
    no = box.addButton("Do not open", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(no)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def over(_result: int) -> None:
        clicked = box.clickedButton()
        if clicked is not None:
            answered(clicked is not no)

    box.finished.connect(over)
    box.open()
    return box
