"""What a blind second pass looks at again."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QFormLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from ....session.core.session import Session
from ....session.review import sets
from ....session.review.second_pass import PassOptions

_MOST = 100_000
_WHY = (
    "A random sample, stratified by density and defocus: half of the places are picks of the set, half are candidates "
    "that it does not have. Gold: places of known answer, mixed in, which measure each curator."
)


class SecondPassDialog(QDialog):
    """Asks for the set, the size of the sample, and the gold.

    Parameters
    ----------
    session : Session
    parent : QWidget
    n_answered : int
        Answers of the pass that is open; it is put aside.
    """

    def __init__(self, session: Session, parent: QWidget, n_answered: int = 0) -> None:
        super().__init__(parent)
        self.setWindowTitle("Begin a blind second pass")
        self.labels, self.gold = QComboBox(), QComboBox()
        for number, name in sets.choices(session).items():
            self.labels.addItem(name, number)
            self.gold.addItem(name, number)
        self.labels.setCurrentIndex(max(0, self.labels.findData(sets.largest(session))))
        self.labels.setToolTip("The set whose picks are looked at again")
        self.gold.insertItem(0, "none", None)
        self.gold.setCurrentIndex(0)
        self.gold.setToolTip("A set whose picks are particles for sure, and whose rejected picks are none")
        standard = PassOptions()
        self.micrographs = _spin(standard.n_micrographs, "Micrographs in the sample, at most")
        self.places = _spin(standard.n_places, "Places that are looked at again, at most")
        self.n_gold = _spin(standard.n_gold, "Gold places, half of them particles")
        aside = f" The pass that is open is put aside with its {n_answered:,} answers." if n_answered else ""
        hint = QLabel(_WHY + aside)
        hint.setWordWrap(True)
        form = QFormLayout()
        for text, widget in (
            ("Picks to look at again", self.labels),
            ("Micrographs", self.micrographs),
            ("Places", self.places),
            ("Gold", self.gold),
            ("Gold places", self.n_gold),
        ):
            form.addRow(text, widget)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(hint)
        layout.addLayout(form)
        layout.addWidget(buttons)

    def options(self, seed: int) -> PassOptions:
        """What was asked for."""
        return PassOptions(
            self.labels.currentData(),
            self.micrographs.value(),
            self.places.value(),
            self.gold.currentData(),
            self.n_gold.value(),
            seed,
        )


def _spin(value: int, tip: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(2, _MOST)
    box.setValue(value)
    box.setToolTip(tip)
    return box
