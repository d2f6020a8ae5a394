"""Kinds of particle: which one new picks are of, its size and colour, and whether it alone is drawn."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QSignalBlocker
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QComboBox, QDialog, QGroupBox, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout

from ....model.curation import Table
from ....model.species import NO_SPECIES, Species, next_colour
from ....session.core import species
from ....session.core.session import Announcement
from ...workbench import Workbench
from ..dialogs.species_dialog import KEYS, SpeciesDialog

_KEPT = "species"
_ABOUT = (
    "New picks, by hand and proposed, are of this kind.\n"
    "A species' key gives it to the selected picks, else to the one under the pointer"
)


class SpeciesBox(QGroupBox):
    """The *Species* box of the *Pick* tab: one line where all particles are of one kind.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Species")
        self._bench, self._session = bench, bench.session
        self.first = QPushButton("Several kinds of particle…")
        self.first.setToolTip("Makes a species: a kind of particle with a name, colour, key and diameter of its own")
        self.choice = QComboBox()
        self.choice.setToolTip(_ABOUT)
        self.add, self.edit, self.remove, self.give = QToolButton(), QToolButton(), QToolButton(), QToolButton()
        for button, text, tip in (
            (self.add, "+", "Add a species"),
            (self.edit, "✎", "Change its name, colour, key or diameter; one step, one undo"),
            (self.remove, "−", "Take it away; its picks stay, of no species. One step, one undo"),
            (self.give, "give", "The selected picks are of this species; one step, one undo"),
        ):
            button.setText(text)
            button.setToolTip(tip)
        self.only = QCheckBox("show only this one")
        self.only.setToolTip("Only picks of this kind are drawn, decided about in bulk and classified")
        top, below = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.choice, 1)
        for button in (self.add, self.edit, self.remove):
            top.addWidget(button)
        below.addWidget(self.only, 1)
        below.addWidget(self.give)
        layout = QVBoxLayout(self)
        layout.addWidget(self.first)
        layout.addLayout(top)
        layout.addLayout(below)
        self.first.clicked.connect(self.ask_new)
        self.add.clicked.connect(self.ask_new)
        self.edit.clicked.connect(self._ask_change)
        self.remove.clicked.connect(self._on_remove)
        self.give.clicked.connect(self._on_give)
        self.choice.activated.connect(lambda _row: self._choose(self.choice.currentData()))
        self.only.toggled.connect(self._on_only)
        bench.session.changed.connect(self._on_changed)
        bench.focus.species_changed.connect(self.refresh)
        bench.focus.selection_changed.connect(self._show_selection)
        bench.focus.drawn.changed.connect(bench.particles_layer.redraw)
        kept = bench.window_state.get(_KEPT)
        if isinstance(kept, int) and kept in bench.session.species:
            bench.focus.choose_species(kept)
        bench.on_rekeyed.append(self._add_keys)
        bench.bind_keys()
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._session.changed.disconnect(self._on_changed)
        self._bench.focus.species_changed.disconnect(self.refresh)
        self._bench.focus.selection_changed.disconnect(self._show_selection)
        self._bench.focus.drawn.changed.disconnect(self._bench.particles_layer.redraw)

    # ------------------------------------------------------------------ what is shown

    def refresh(self) -> None:
        """Show the species there are."""
        kinds, current = self._session.species, self._session.loaded.current_species
        self.first.setVisible(not kinds)
        for widget in (self.choice, self.add, self.edit, self.remove, self.only, self.give):
            widget.setVisible(bool(kinds))
        with QSignalBlocker(self.choice), QSignalBlocker(self.only):
            self.choice.clear()
            for one in kinds.values():
                self.choice.addItem(icon_of(one.colour), self._text(one), one.id)
            self.choice.addItem("no species", NO_SPECIES)
            self.choice.setCurrentIndex(max(0, self.choice.findData(current)))
            self.only.setChecked(self._bench.focus.drawn.only_species is not None)
        for button in (self.edit, self.remove):
            button.setEnabled(current != NO_SPECIES)
        self._show_selection()

    def _text(self, one: Species) -> str:
        size = f"{self._session.loaded.diameter_of(one.id):.0f} Å"
        return f"{one.name}, {size}{f'  ({one.key})' if one.key else ''}"

    def _show_selection(self) -> None:
        self.give.setEnabled(bool(len(self._bench.focus.selected)))

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.touches(Table.SPECIES) or announcement.touches(Table.SETTING):
            self._bench.bind_keys()
            self.refresh()

    # ------------------------------------------------------------------ keys

    def _add_keys(self) -> None:
        """Let each species' key give it; commands keep theirs."""
        own = {one.key: one.id for one in self._session.species.values() if one.key}
        taken = self._of_commands()
        self._bench.keys.add({key: partial(self.take, number) for key, number in own.items() if key not in taken})

    def _of_commands(self) -> frozenset[str]:
        return frozenset(key for name in self._bench.commands for key in self._bench.keys_of(name))

    def take(self, number: int) -> None:
        """The picks that are meant become a species, and new picks will be of it."""
        targets = self._bench.focus.targets()
        self._choose(number)
        if len(targets):
            self._bench.guarded(lambda: species.give(self._session, targets, number))
        else:
            self._bench.say(f"new picks are {species.named(self._session, number)}")

    # ------------------------------------------------------------------ what a person does

    def _choose(self, number: int) -> None:
        self._bench.focus.choose_species(number)
        self._bench.window_state.put(_KEPT, number)
        if self._bench.focus.drawn.only_species is not None:
            self._bench.focus.drawn.show_only(number)
        self.refresh()

    def _on_only(self, only: bool) -> None:
        self._bench.focus.drawn.show_only(self._session.loaded.current_species if only else None)

    def _on_give(self) -> None:
        number, ids = self._session.loaded.current_species, self._bench.focus.selected
        self._bench.guarded(lambda: species.give(self._session, ids, number))

    def _on_remove(self) -> None:
        number = self._session.loaded.current_species
        self._bench.guarded(lambda: species.remove(self._session, number))

    def ask_new(self) -> None:
        """Ask for the values of a new species, and make it."""
        known = self._session.species.values()
        free = [key for key in KEYS if key not in {one.key for one in known} | self._of_commands()]
        shown = Species(-1, "", next_colour(len(known)), free[0] if free else "", self._session.loaded.new_diameter_A)
        self._ask(shown)

    def _ask_change(self) -> None:
        self._ask(self._session.species[self._session.loaded.current_species])

    def _ask(self, shown: Species) -> None:
        taken = frozenset(one.key for one in self._session.species.values()) | self._of_commands()
        dialog = SpeciesDialog(self, shown, taken)
        self._bench.closing.connect(dialog.reject)
        if dialog.exec_() == QDialog.DialogCode.Accepted:
            entered = dialog.values()
            self.enter(shown.id, entered.name, entered.colour, entered.key, entered.diameter_A)

    def enter(self, number: int, name: str, colour: str, key: str, diameter_A: float | None) -> None:
        """Make a species (number -1) or change one."""
        session = self._session

        def edit() -> None:
            if number < 0:
                made = species.add(session, name, colour=colour, key=key, diameter_A=diameter_A)
                self._choose(species.new_id(made))
            else:
                species.change(session, number, name=name, colour=colour, key=key, diameter_A=diameter_A)

        self._bench.guarded(edit)


def icon_of(colour: str) -> QIcon:
    """A square of a colour."""
    pixels = QPixmap(12, 12)
    pixels.fill(QColor(colour))
    return QIcon(pixels)
