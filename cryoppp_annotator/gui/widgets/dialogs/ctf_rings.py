"""The measured and the fitted rings of the micrograph on the screen."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout

from ....batch.ctf_project import picture_of
from ...workbench import Workbench

#: Of the window's height.
_SHARE = 0.75
_EXPLAINED = (
    "Left: measured. Right: fitted. Below: measured (black) and fitted (orange) rings along lines of equal phase; "
    "blue: how well they agree, and a bar where that ends."
)


class RingsDialog(QDialog):
    """Stays open and follows the current micrograph.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench.window)
        self._bench = bench
        self.setWindowTitle("Thon rings")
        self.picture, self.note = QLabel(), QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # its room is there from the beginning, so that it does not grow over the edge of the screen
        self._height = round(_SHARE * min(bench.window.height(), self.screen().availableGeometry().height()))
        self.picture.setMinimumSize(round(0.68 * self._height), self._height)
        self.note.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.picture)
        layout.addWidget(self.note)
        bench.session.current_changed.connect(self.refresh)
        bench.session.changed.connect(self.refresh)
        self.refresh()

    def refresh(self, *_what: object) -> None:
        """Show the picture of the current micrograph, or say that there is none."""
        current = self._bench.session.current
        pixmap = QPixmap() if current is None else QPixmap(str(picture_of(self._bench.session, current)))
        if pixmap.isNull():
            self.picture.clear()
            self.note.setText("The rings of this micrograph were not looked at yet: estimate the defocus first.")
        else:
            height = min(pixmap.height(), self._height)
            self.picture.setPixmap(pixmap.scaledToHeight(height, Qt.TransformationMode.SmoothTransformation))
            self.note.setText(_EXPLAINED)

    def close_panel(self) -> None:
        """Stop listening."""
        self._bench.session.current_changed.disconnect(self.refresh)
        self._bench.session.changed.disconnect(self.refresh)
        self.close()
