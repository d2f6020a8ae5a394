"""Lists in which a dialog asks for a species."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox

from ....session.core.session import Session
from ....session.files.exporting import EACH_SPECIES
from .species_box import icon_of

_AS_FILE = "as the file says"
_ALL, _EACH = "all, in the same files", "each, in a folder of its own"


def species_choice(session: Session) -> QComboBox:
    """Of which species imported picks are: one that is there, or a name that is typed."""
    box = QComboBox()
    box.setEditable(True)
    box.addItem(_AS_FILE)
    for one in session.species.values():
        box.addItem(icon_of(one.colour), one.name)
    box.setToolTip("Of picks about which the file says nothing; type a name to make a species")
    return box


def species_named(box: QComboBox) -> str:
    """The name that was chosen or typed; empty where the file says it."""
    text = str(box.currentText()).strip()
    return "" if text == _AS_FILE else text


def species_to_export(session: Session) -> QComboBox:
    """Which species go out; its data is None for all, :data:`EACH_SPECIES`, or a tuple with one number."""
    box = QComboBox()
    box.addItem(_ALL, None)
    box.addItem(_EACH, EACH_SPECIES)
    for one in session.species.values():
        box.addItem(icon_of(one.colour), f"only {one.name}", (one.id,))
    box.setToolTip("Where a format has no place for the species, a note says so")
    return box
