"""What is seen while no project is open: open one, go on with a recent one, try the demo."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QInputDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from ....errors import ProjectError
from ....session.core.server_projects import folder_of
from ...icons import Icons
from ...recent import name_of, recent

_WELCOME = "Or drop a folder here. Images are never changed; what you do is saved as you do it."
_READS = (
    "<b>Micrographs</b>: MRC (also .mrcs, .gz, .bz2), TIFF, PNG, JPEG.<br>"
    "<b>Picks</b>: RELION, cryoSPARC, CryoPPP, EMAN2, crYOLO, Topaz, Xmipp, cisTEM, IMOD, EPicker, COCO, YOLO."
)


class StartPage(QWidget):
    """Buttons that say which path to open."""

    path_chosen = Signal(object)
    demo_wanted = Signal()

    def __init__(self, icons: Icons) -> None:
        super().__init__()
        self.message = QLabel(_WELCOME)
        self.message.setWordWrap(True)
        layout = QVBoxLayout(self)
        title = QLabel("<h2>CryoPPP Annotator</h2>Label protein particles in cryo-EM micrographs.")
        layout.addWidget(_rich(title))
        for icon, text, tip, run in (
            ("folder", "Open a folder of micrographs…", "Also a CryoPPP data set or a project", self.ask_folder),
            ("image", "Open one micrograph…", "MRC, TIFF, PNG or JPEG", self.ask_file),
            ("server", "Open a project on a server…", "The address of a PostgreSQL database", self.ask_server),
            ("demo", "Try the demo", "Six simulated micrographs whose truth is known", self.demo_wanted.emit),
        ):
            button = QPushButton(text)
            icons.put(button, icon)
            button.setToolTip(tip)
            button.clicked.connect(lambda _checked=False, act=run: act())
            layout.addWidget(button)
        self._recent = QVBoxLayout()
        layout.addLayout(self._recent)
        layout.addWidget(self.message)
        layout.addWidget(_rich(QLabel(_READS)))
        layout.addStretch(1)
        self.show_recent()

    def show_recent(self) -> None:
        """Read anew which projects were opened last."""
        while (item := self._recent.takeAt(0)) is not None:
            item.widget().deleteLater()
        folders = recent()[:5]
        if folders:
            self._recent.addWidget(QLabel("Recent projects"))
        for folder in folders:
            button = QPushButton(name_of(folder).removeprefix("…/"))
            button.setToolTip(f"Open {folder}")
            button.setStyleSheet("text-align: left; padding: 3px 6px;")
            button.clicked.connect(lambda _checked=False, path=folder: self.path_chosen.emit(path))
            self._recent.addWidget(button)

    def ask_folder(self) -> None:
        """Ask which folder to open."""
        chosen = QFileDialog.getExistingDirectory(self, "Folder of micrographs, data set or project")
        if chosen:
            self.path_chosen.emit(Path(chosen))

    def ask_server(self) -> None:
        """Ask for the address of a project on a server."""
        question = "Address: postgresql://NAME@HOST/DATABASE (password in ~/.pgpass, or NAME:PASSWORD@HOST)"
        text, given = QInputDialog.getText(self, "Open a project on a server", question)
        if given and text.strip():
            self.open_server(text.strip())

    def open_server(self, address: str) -> None:
        """Open a project by its address; what is none is said."""
        try:
            self.path_chosen.emit(folder_of(address))
        except ProjectError as error:
            self.message.setText(str(error))

    def ask_file(self) -> None:
        """Ask which micrograph to open."""
        chosen, _ = QFileDialog.getOpenFileName(self, "Micrograph")
        if chosen:
            self.path_chosen.emit(Path(chosen))


def _rich(label: QLabel) -> QLabel:
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setWordWrap(True)
    return label
