"""What is seen: raw or denoised and by which method, contrast, the rings' colours, which way is up."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
)
from superqt import QRangeSlider

from ....model.curation import Decision
from ....session.pictures.display import View
from ...layers.styles import HEX, WORDS, ColourBy
from ...workbench import Workbench
from .view_method import MethodFold


class ViewBox(QGroupBox):
    """The *View* box of the *Pick* tab.

    Parameters
    ----------
    bench : Workbench
    """

    set_changed = Signal()

    def __init__(self, bench: Workbench) -> None:
        super().__init__("View")
        self._bench, self._session = bench, bench.session
        self._form = QFormLayout(self)
        self._build_picture()
        self._build_rings()
        self._up = QComboBox()
        self._up.addItem("first row on top", "down")
        self._up.addItem("first row at the bottom", "up")
        self._up.setCurrentIndex(self._up.findData(bench.viewport.up))
        self._up.setToolTip(
            "RELION and napari show the first row on top; IMOD, EMAN2 and cryoSPARC at the bottom.\n"
            "Only the view turns; images and coordinates stay as stored"
        )
        self._form.addRow("Up", self._up)
        self._up.activated.connect(self._on_up)
        bench.view_changed.connect(self._show_view)
        bench.picture_shown.connect(lambda _kind: self._on_picture())
        self._show_view()

    def _build_picture(self) -> None:
        self._raw, self._split, self._denoised = QPushButton("raw"), QPushButton("split"), QPushButton("denoised")
        self._fit = QPushButton("fit")
        row = QHBoxLayout()
        for button, tip in (
            (self._raw, "The micrograph as it is ({toggle-raw} toggles)"),
            (self._split, "Raw to the left of the pointer, denoised to the right ({split})"),
            (self._denoised, "Made by the method below, or by another program ({toggle-raw} toggles)"),
        ):
            button.setCheckable(True)
            self._bench.keep_keyed(button.setToolTip, tip)
            row.addWidget(button)
        row.addWidget(self._fit)
        self._raw.clicked.connect(lambda: self._bench.set_view(View.RAW))
        self._denoised.clicked.connect(lambda: self._bench.set_view(View.DENOISED))
        self._split.clicked.connect(lambda: self._bench.give("split"))
        self._bench.keep_keyed(self._fit.setToolTip, "Show the whole micrograph ({fit})")
        self._fit.clicked.connect(lambda: self._bench.give("fit"))
        self._method = QComboBox()
        for name, denoiser in sorted(self._bench.show.methods.items(), key=lambda item: item[0] != "auto"):
            self._method.addItem(denoiser.title, name)
        self._method.activated.connect(self._on_method)
        self._more = QToolButton()
        self._more.setText("more")
        self._more.setCheckable(True)
        self._more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._more.setToolTip("Numbers of the method, defocus, pictures of other programs")
        self._more.toggled.connect(self._on_more)
        method = QHBoxLayout()
        method.addWidget(self._method, 1)
        method.addWidget(self._more)
        self.fold = MethodFold(self._bench)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self.contrast = QRangeSlider(Qt.Orientation.Horizontal)
        self.contrast.setRange(-100, 200)
        self.contrast.setValue((0, 100))
        self.contrast.setToolTip("Black and white points; the middle third is the automatic range")
        self._auto = QPushButton("auto")
        self._auto.setToolTip("Contrast from the picture's percentiles, border and hot pixels left out")
        contrast = QHBoxLayout()
        contrast.addWidget(self.contrast, 1)
        contrast.addWidget(self._auto)
        self.contrast.valueChanged.connect(self._on_contrast)
        self._auto.clicked.connect(lambda: self.contrast.setValue((0, 100)))
        self._form.addRow("Picture", row)
        self._form.addRow("Denoise", method)
        self._form.addRow(self._note)
        self._form.addRow(self.fold)
        self._form.addRow("Contrast", contrast)
        self._on_more(False)

    def _build_rings(self) -> None:
        self._colour_by = QComboBox()
        self._colour_by.addItems([by.value for by in ColourBy])
        self._colour_by.setToolTip("What the colour of a ring says: decision, score, class, species or pick set")
        self._rejected = QCheckBox("rejected")
        self._bench.keep_keyed(self._rejected.setToolTip, "Show rejected picks ({show-rejected})")
        colours = QHBoxLayout()
        colours.addWidget(self._colour_by, 1)
        colours.addWidget(self._rejected)
        self._set = QComboBox()
        self._set.setToolTip("Draw one pick set only (and your own picks); bulk decisions then act on that set")
        self._set_label = QLabel("Pick set")
        self._legend = QLabel()
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self._legend.setWordWrap(True)
        self._form.addRow("Rings by", colours)
        self._form.addRow(self._legend)
        self._form.addRow(self._set_label, self._set)
        self._colour_by.currentTextChanged.connect(lambda text: self._bench.set_colour_by(ColourBy(text)))
        self._rejected.clicked.connect(lambda: self._bench.give("show-rejected"))
        self._set.activated.connect(self._on_set)

    # ------------------------------------------------------------------ what a person does

    def _on_contrast(self, value: tuple[int, int]) -> None:
        self._bench.picture_layer.set_contrast(value[0] / 100, value[1] / 100)

    def _on_up(self, _index: int) -> None:
        self._bench.viewport.set_up(self._up.currentData())

    def _on_set(self, _index: int) -> None:
        self._bench.focus.drawn.pick_set = self._set.currentData()
        self._bench.particles_layer.redraw()
        self.set_changed.emit()

    def _on_method(self, _index: int) -> None:
        self.fold.choose(self._method.currentData())

    def _on_more(self, shown: bool) -> None:
        self.fold.setVisible(shown)
        self._more.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)

    # ------------------------------------------------------------------ what the session says

    def refresh(self) -> None:
        """Show the session's sets and the present view."""
        self._show_sets()
        self._show_view()
        self.fold.refresh()

    def _show_sets(self) -> None:
        sets = self._session.pick_sets
        for widget in (self._set, self._set_label):
            widget.setVisible(len(sets) > 1)
        shown = [None, *(i for i, pick_set in sets.items() if not pick_set.by_hand)]
        if [self._set.itemData(k) for k in range(self._set.count())] != shown:
            self._set.clear()
            for i in shown:
                self._set.addItem("all" if i is None else sets[i].name, i)
        self._set.setCurrentIndex(max(0, self._set.findData(self._bench.focus.drawn.pick_set)))

    def _on_picture(self) -> None:
        low, high = self._bench.picture_layer.contrast  # raw and denoised have one each
        with QSignalBlocker(self.contrast):
            self.contrast.setValue((round(100 * low), round(100 * high)))
        self._show_view()

    def _show_view(self) -> None:
        bench, show = self._bench, self._bench.show
        self._raw.setChecked(show.view is View.RAW)
        self._denoised.setChecked(show.view is View.DENOISED and not show.split)
        self._split.setChecked(show.split)
        self._method.setCurrentIndex(max(0, self._method.findData(show.pictures.denoiser.name)))
        current = self._session.current
        attached = "" if current is None else _name_of_picture(current.picture)
        self._method.setEnabled(not attached)
        why = "a picture of another program is shown for this micrograph; detach it under “more”"
        self._method.setToolTip(why if attached else "What makes the denoised picture")
        lost = "" if current is None else show.pictures.lost.get(current.id, "")
        note = f"shown: {attached}" if attached else show.refusal
        if attached and lost:
            note = f"⚠ {attached} cannot be shown, ours is"
        self._note.setText(note)
        self._note.setToolTip(lost)
        self._note.setVisible(bool(note))
        with QSignalBlocker(self._rejected):
            self._rejected.setChecked(bench.focus.drawn.show_rejected)
        by = bench.particles_layer.colour_by
        with QSignalBlocker(self._colour_by):
            self._colour_by.setCurrentText(by.value)
        self._legend.setText(_named_legend(bench) if by in (ColourBy.SPECIES, ColourBy.SET) else _legend(by))


def _name_of_picture(record: str) -> str:
    """File name of an attached picture; empty where there is none."""
    if not record:
        return ""
    try:
        return Path(str(json.loads(record)["path"])).name
    except (ValueError, TypeError, KeyError):
        return "a picture"


def _named_legend(bench: Workbench) -> str:
    """Species, or pick sets, with their colours."""
    session, layer = bench.session, bench.particles_layer
    species = layer.colour_by is ColourBy.SPECIES
    names = {number: one.name for number, one in (session.species if species else session.pick_sets).items()}
    rings = [
        f"<span style='color:{colour}; background:#262930; font-size:large'>◯</span> {escape(names.get(number, ''))}"
        for number, colour in layer.palette().items()
    ]
    return " &nbsp; ".join([*rings, *(["grey = no species"] if species else [])])


def _legend(by: ColourBy) -> str:
    if by is ColourBy.DECISION:
        rings = [
            f"<span style='color:{HEX[d]}; background:#262930; font-size:large'>◯</span> {WORDS[d]}"
            for d in (Decision.ACCEPTED, Decision.UNDECIDED, Decision.REJECTED)
        ]
        return " &nbsp; ".join(rings)
    if by is ColourBy.SCORE:
        return "dark blue = lowest score here, yellow = highest, grey = none"
    return "one colour a class, grey = not classified"
