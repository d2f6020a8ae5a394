"""What is seen: raw or denoised and by which method, contrast, the rings' colours, which way is up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)
from superqt import QRangeSlider

from ....model.curation import Decision
from ....session.pictures.display import View
from ...layers.styles import HEX, WORDS, ColourBy
from ...workbench import Workbench
from .calm_wheel import calm
from .view_method import MethodFold


class ViewBox(QGroupBox):
    """The *View* box of the *Pick* tab.

    Parameters
    ----------
    bench : Workbench
    """

    set_changed = Signal()

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        #: Stands over the micrograph: what is changed all the time.
        self.bar = PictureBar()
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
        self._raw, self._split, self._denoised = QPushButton("Raw"), QPushButton("Split"), QPushButton("Denoised")
        self._fit = QPushButton("Fit")
        for button, tip in (
            (self._raw, "The micrograph as it is ({toggle-raw} toggles)"),
            (self._split, "Raw to the left of the pointer, denoised to the right ({split})"),
            (self._denoised, "Made by the method below, or by another program ({toggle-raw} toggles)"),
        ):
            button.setCheckable(True)
            self._bench.keep_keyed(button.setToolTip, tip)
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
        self._more.setText("More")
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
        self._auto = QPushButton("Auto")
        self._auto.setToolTip("Contrast from the picture's percentiles, border and hot pixels left out")
        contrast = QHBoxLayout()
        contrast.addWidget(self.contrast, 1)
        contrast.addWidget(self._auto)
        self.contrast.valueChanged.connect(self._on_contrast)
        self._auto.clicked.connect(lambda: self.contrast.setValue((0, 100)))
        self._form.addRow("Denoise", method)
        self._form.addRow(self._note)
        self._form.addRow(self.fold)
        self._form.addRow("Contrast", contrast)
        self._on_more(False)

    def _build_rings(self) -> None:
        self._colour_by = QComboBox()
        self._colour_by.addItems([by.value for by in ColourBy])
        self._colour_by.setToolTip(
            "What the colour of a ring says: decision, score, class, species, pick set or verdict in 3D"
        )
        self._rejected = QCheckBox("Rejected")
        self._bench.keep_keyed(self._rejected.setToolTip, "Show rejected picks ({show-rejected})")
        self._set = QComboBox()
        self._set.setToolTip("Draw one pick set only (and your own picks); bulk decisions then act on that set")
        self._set_label = QLabel("Set")
        self._legend = QLabel()
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self.bar.lay_out(
            (self._raw, self._split, self._denoised),
            self._fit,
            (QLabel("Rings"), self._colour_by, self._rejected, self._set_label, self._set),
            self._legend,
        )
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
        self._bench.view_changed.emit()

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
        self.bar.place_legend()


def _name_of_picture(record: str) -> str:
    """File name of an attached picture; empty where there is none."""
    if not record:
        return ""
    try:
        return Path(str(json.loads(record)["path"])).name
    except (ValueError, TypeError, KeyError):
        return "a picture"


class PictureBar(QWidget):
    """The strip over the micrograph: which picture, which rings, and what their colours say where there is room."""

    def __init__(self) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(6, 1, 6, 1)
        self._row.setSpacing(5)
        self._legend = QLabel()
        self._rings = QWidget()
        self._always: tuple[QWidget, ...] = ()

    def lay_out(self, pictures: Sequence[QWidget], fit: QWidget, rings: Sequence[QWidget], legend: QLabel) -> None:
        """Put them side by side; the legend stands at the end. It and the rings' go where there is no room for them."""
        together = QHBoxLayout()
        together.setSpacing(0)
        for widget in pictures:
            together.addWidget(widget)
        self._rings = QWidget()
        row = QHBoxLayout(self._rings)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5)
        for widget in rings:
            row.addWidget(widget)
            if isinstance(widget, QComboBox):
                widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
                widget.setMinimumContentsLength(6)
            calm(widget)
        self._row.addLayout(together)
        self._row.addWidget(fit)
        self._row.addWidget(self._rings)
        self._row.addStretch(1)
        self._always = (*pictures, fit)
        self._legend = legend
        legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        legend.setParent(self)
        self.setFixedHeight(self.fontMetrics().height() + 14)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        """A window may be narrower: a bar that is too wide must not hold it open."""
        return QSize(120, self.height())

    def place_legend(self) -> None:
        """At the right end, where it is free."""
        size = self._legend.sizeHint()
        always = sum(widget.minimumSizeHint().width() for widget in self._always) + 22
        rings = always + self._rings.minimumSizeHint().width()
        self._rings.setVisible(rings <= self.width())
        self._legend.setVisible(rings + size.width() + 6 <= self.width())
        self._legend.setGeometry(self.width() - size.width() - 6, 0, size.width(), self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Follow the width."""
        super().resizeEvent(event)
        self.place_legend()


def _named_legend(bench: Workbench) -> str:
    """Species, or pick sets, with their colours."""
    session, layer = bench.session, bench.particles_layer
    species = layer.colour_by is ColourBy.SPECIES
    names = {number: one.name for number, one in (session.species if species else session.pick_sets).items()}
    rings = [
        f"<span style='color:{colour}; background:#262930; font-size:large'>◯</span> {escape(names.get(number, ''))}"
        for number, colour in layer.palette().items()
    ]
    return " ".join([*rings, *(["grey = no species"] if species else [])])


def _legend(by: ColourBy) -> str:
    if by is ColourBy.DECISION:
        rings = [
            f"<span style='color:{HEX[d]}; background:#262930; font-size:large'>◯</span> {WORDS[d]}"
            for d in (Decision.ACCEPTED, Decision.UNDECIDED, Decision.REJECTED)
        ]
        return " ".join(rings)
    if by is ColourBy.SCORE:
        return "dark blue = lowest score here, yellow = highest, grey = none"
    if by is ColourBy.MAP:
        return "dark blue = hardly the particle, yellow = surely, grey = no verdict"
    return "one colour a class, grey = not classified"
