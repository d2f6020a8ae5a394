"""How the axes of classes of other programs lie, where the image or the picks contradict the program's format."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from ....formats.check.frame import describe
from ....model.coordinates import Orientation
from ....session.classes.other_programs import FrameDoubt
from ....session.files.two_readings import Comparison
from ...plain_text import escaped
from ...workbench import Workbench
from .import_dialog import FRAMES, rings_drawn

_NAMES = {orientation: text for text, orientation in FRAMES.items() if orientation is not None}


class ClassFrameDialog(QDialog):
    """One button for each way the axes may lie, with what speaks for it. Nothing is imported until a person chooses.

    Parameters
    ----------
    bench : Workbench
    doubt : FrameDoubt
    drawn : Comparison or None
        The image with the rings of both readings, where the image is sure.
    on_chosen : callable
        Gets the orientation.
    """

    def __init__(
        self, bench: Workbench, doubt: FrameDoubt, drawn: Comparison | None, on_chosen: Callable[[Orientation], None]
    ) -> None:
        super().__init__(bench.window)
        self._bench, self._doubt, self._on_chosen = bench, doubt, on_chosen
        plan, n = doubt.plan, doubt.plan.file.n_picks
        self.setWindowTitle("Where are the particles?")
        message = QLabel(
            f"<b>{escaped(plan.file.path.name)}</b> is {plan.file.format}, whose frame is {describe(plan.declared)}. "
            f"{self._contradiction()} Which is right? Nothing is imported until you choose."
        )
        message.setTextFormat(Qt.TextFormat.RichText)
        message.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(message)
        if drawn is not None:
            pictures = QHBoxLayout()
            for places, text in ((drawn.seen, "as the image says"), (drawn.declared, "as the format says")):
                column, picture = QVBoxLayout(), QLabel()
                picture.setPixmap(rings_drawn(drawn, places))
                column.addWidget(picture)
                column.addWidget(QLabel(f"{drawn.micrograph}, {text}"))
                pictures.addLayout(column)
            layout.addLayout(pictures)
        self.choices: dict[Orientation, QPushButton] = {}
        best = plan.verdict.orientation or max(doubt.on_picks, key=lambda way: doubt.on_picks[way])
        for orientation, name in _NAMES.items():
            words = [name, f"{doubt.on_picks[orientation]:,} of {n:,} particles lie on a pick"]
            if orientation is plan.verdict.orientation:
                words.append(f"the image says so (by {plan.verdict.margin_se:.0f} standard errors)")
            if orientation is plan.declared.orientation:
                words.append("the format says so")
            button = QPushButton(" · ".join(words))
            button.setStyleSheet("text-align: left; padding: 5px;")
            button.setDefault(orientation is best)
            button.clicked.connect(partial(self._choose, orientation))
            self.choices[orientation] = button
            layout.addWidget(button)
        self.choices[best].setFocus()
        self.leave = QPushButton("Do not import")
        self.leave.clicked.connect(self._leave)
        layout.addWidget(self.leave)

    def _contradiction(self) -> str:
        plan = self._doubt.plan
        if plan.contradicted:
            return f"The image says {plan.verdict}."
        why = plan.verdict.reason or "it agrees"
        return f"The image does not contradict it ({why}), but then few particles lie on picks of this project."

    def _choose(self, orientation: Orientation, _checked: bool = False) -> None:
        self.accept()
        self._on_chosen(orientation)

    def _leave(self) -> None:
        self._bench.say(f"{self._doubt.plan.file.path.name} was not imported", "info")
        self.reject()
