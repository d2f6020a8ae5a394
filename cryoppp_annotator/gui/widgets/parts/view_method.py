"""The fold of the View box: numbers of the denoiser, what is known of the microscope, pictures of other programs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QWidget,
)

from ....batch import ctf_project
from ....imaging.ctf import Ctf, Defocus, Optics
from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.parameter import Parameter
from ....session.core.session import Session
from ....session.pictures import foreign_pictures, optics
from ....session.pictures.denoiser import parameters_of
from ...show import kept_parameters
from ...workbench import Workbench
from ..dialogs.ctf_rings import RingsDialog
from .calm_wheel import calm

_UNITS = {"A": "Å"}
_MICROSCOPE = ("Acceleration voltage", "Spherical aberration", "Amplitude contrast: 0.07 to 0.1 in ice")
#: Voltage and aberration are typed one after the other.
_PAUSE_MS = 1500
_NOT_SAID = "A usual value: nobody has said it. What an image's file says of its voltage is used instead"


class MethodFold(QWidget):
    """What few people need.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._layout = layout
        self._dialog: RingsDialog | None = None
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self.estimate_missing)
        self._estimating = False
        self.numbers: dict[str, QDoubleSpinBox] = {}
        self._build_optics(layout)
        self._build_pictures(layout)
        self._build_numbers()
        self.refresh()

    def _build_numbers(self) -> None:
        for spin in self.numbers.values():
            self._layout.removeRow(spin)
        self.numbers = {}
        pictures = self._bench.show.pictures
        for row, parameter in enumerate(parameters_of(pictures.denoiser)):
            spin = _spin(parameter)
            spin.setValue(pictures.parameters.get(parameter.name, parameter.default))
            spin.valueChanged.connect(self._on_number)
            spin.editingFinished.connect(self._bench.canvas.setFocus)
            self.numbers[parameter.name] = spin
            self._layout.insertRow(row, parameter.title, spin)

    def _build_optics(self, layout: QFormLayout) -> None:
        self.defocus = _field(0.0, 30.0, 3, "", "Underfocus, µm, mean of both axes; 0 = unknown.")
        self.defocus.setSpecialValueText("unknown")
        self.defocus.setSingleStep(0.1)
        self.scope = QComboBox()
        self.scope.addItem("of this", "this")
        self.scope.addItem("of all", "all")
        self.scope.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.scope.setMinimumContentsLength(4)
        self.scope.setToolTip("Whether what you enter is this micrograph's or that of all")
        row = QHBoxLayout()
        row.addWidget(self.defocus, 9)
        row.addWidget(self.scope, 5)
        self.voltage = _field(20.0, 3000.0, 0, " kV", _MICROSCOPE[0])
        self.cs = _field(0.0, 50.0, 2, " mm", _MICROSCOPE[1])
        self.contrast = _field(0.0, 1.0, 2, "", _MICROSCOPE[2])
        self.contrast.setSingleStep(0.01)
        microscope = QHBoxLayout()
        microscope.setSpacing(3)
        for spin, share in ((self.voltage, 5), (self.cs, 6), (self.contrast, 3)):
            microscope.addWidget(spin, share)
        for spin in (self.defocus, self.voltage, self.cs, self.contrast):
            # napari's style keeps a field with arrows so wide that the panel would not fit beside the micrograph
            spin.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            spin.setStyleSheet("min-width: 36px; padding: 1px 2px;")
        self.from_star = QPushButton("defocus from a STAR …")
        self.from_star.setToolTip(
            "micrographs_ctf.star of RELION's or CTFFIND's job; matched by name, one step to undo"
        )
        layout.addRow("Defocus µm", row)
        layout.addRow("Microscope", microscope)
        layout.addRow(self.from_star)
        self.estimate = QPushButton("estimate from rings")
        self.estimate.setToolTip(
            "Find the defocus of all micrographs from the rings of their power spectra, in the background.\n"
            "What was imported or entered stays. Needs raw micrographs, and the microscope above"
        )
        self.rings = QPushButton("rings …")
        self.rings.setToolTip("Show the measured and the fitted rings of this micrograph")
        both = QHBoxLayout()
        both.addWidget(self.estimate, 2)
        both.addWidget(self.rings, 1)
        layout.addRow(both)
        self.estimate.clicked.connect(lambda: self.estimate_all())
        self.rings.clicked.connect(self.show_rings)
        self.defocus.valueChanged.connect(self._on_defocus)
        for spin in (self.voltage, self.cs, self.contrast):
            spin.valueChanged.connect(self._on_microscope)
        for spin in (self.defocus, self.voltage, self.cs, self.contrast):
            spin.editingFinished.connect(self._bench.canvas.setFocus)
        self.from_star.clicked.connect(self._on_star)

    def _build_pictures(self, layout: QFormLayout) -> None:
        self.attach = QPushButton("attach pictures …")
        self.attach.setToolTip(
            "Show pictures of another program instead of ours (Topaz, cryoSPARC, Warp, a binned copy):\n"
            "a folder, matched by name, scale by size. Picks stay in the micrograph's pixels"
        )
        self.detach = QPushButton("detach all")
        row = QHBoxLayout()
        row.addWidget(self.attach)
        row.addWidget(self.detach)
        layout.addRow(row)
        self.attach.clicked.connect(self._on_attach)
        self.detach.clicked.connect(self._on_detach)

    # ------------------------------------------------------------------ the method

    def choose(self, name: str) -> None:
        """Another method, with the numbers it had when it was last used."""
        self._bench.show.choose_method(name, kept_parameters(self._bench.show.methods[name]))
        self._build_numbers()

    def _on_number(self, _value: float) -> None:
        chosen = {name: spin.value() for name, spin in self.numbers.items()}
        self._bench.show.choose_method(self._bench.show.pictures.denoiser.name, chosen)

    # ------------------------------------------------------------------ the microscope

    def _ids(self) -> list[int]:
        """The micrographs that what is entered is about."""
        current = self._session.current
        if current is None or self.scope.currentData() == "all":
            return [m.id for m in self._session.micrographs]
        return [current.id]

    def _entered(self) -> Optics:
        """The microscope as the fields say."""
        known = _known_of(self._session)
        return replace(
            known or Optics(),
            voltage_kV=self.voltage.value(),
            cs_mm=self.cs.value(),
            amplitude_contrast=self.contrast.value(),
        )

    def _on_defocus(self, _value: float) -> None:
        if (current := self._session.current) is None:
            return
        known, ctf, mean = optics.ctf_of(current), None, self.defocus.value() * 1e4
        if mean > 0:
            # what was measured keeps its astigmatism
            half = 0.0 if known is None else (known.defocus.u_A - known.defocus.v_A) / 2
            angle = 0.0 if known is None else known.defocus.angle_deg
            ctf = Ctf(Defocus(mean + half, mean - half, angle), self._entered())
        self._bench.guarded(lambda: optics.set_optics(self._session, self._ids(), ctf))

    def _on_microscope(self, _value: float) -> None:
        """Of the micrographs it is entered for, each with its own defocus; where none is known, of the project."""
        if (current := self._session.current) is None:
            return
        microscope = self._entered()
        all_of_them = self.scope.currentData() == "all"
        with_project = all_of_them or optics.ctf_of(current) is None
        chosen = self._ids() if all_of_them or not with_project else []
        self._bench.guarded(lambda: optics.set_microscope(self._session, microscope, chosen, with_project=with_project))
        if with_project:
            self._pause.start()

    def _on_star(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Defocus of the micrographs", str(self._session.data_root), "STAR files (*.star);;All files (*)"
        )
        if name:
            self.import_star(Path(name))

    def import_star(self, star: Path) -> None:
        """Read a STAR in the background and enter it."""

        def work(context: JobContext) -> optics.OpticsPlan:
            context.check()
            return optics.read_optics(self._session, star)

        def enter(plan: optics.OpticsPlan) -> None:
            self._bench.guarded(lambda: self._bench.say(optics.enter(self._session, plan)))

        self._bench.start(work, title=f"read {star.name}", on_done=enter, on_failed=self._bench.job_failed, quiet=True)

    def estimate_all(self, *, unasked: bool = False) -> None:
        """Find the defocus of all micrographs in the background and enter it where none is known.

        Parameters
        ----------
        unasked : bool
            Started by the program: says nothing where it brings nothing.
        """
        if self._estimating:
            return

        def enter(estimates: ctf_project.Estimates) -> None:
            if unasked and not ctf_project.news(self._session, estimates):
                return
            self._bench.guarded(lambda: self._bench.say(ctf_project.enter(self._session, estimates)))
            if self._dialog is not None:
                self._dialog.refresh()

        self._bench.start(
            partial(
                ctf_project.estimate,
                ctf_project.exposures(self._session),
                ctf_project.folder_of(self._session),
            ),
            title="defocus from rings",
            on_done=enter,
            on_failed=self._bench.job_failed,
            on_end=self._on_estimated,
        )
        self._estimating = True

    def _on_estimated(self, _job: Job) -> None:
        self._estimating = False

    def estimate_missing(self) -> None:
        """As :meth:`estimate_all`, where the microscope is known and some micrograph has no defocus; else nothing."""
        if ctf_project.missing(self._session):
            self.estimate_all(unasked=True)

    def show_rings(self) -> None:
        """Open the picture of the rings; it follows the micrograph."""
        if self._dialog is None:
            self._dialog = RingsDialog(self._bench)
        self._dialog.show()
        self._dialog.raise_()

    def close_panel(self) -> None:
        """Stop listening."""
        self._pause.stop()
        if self._dialog is not None:
            self._dialog.close_panel()
            self._dialog = None

    def showEvent(self, event: QShowEvent) -> None:
        """What is not seen is not kept up to date."""
        super().showEvent(event)
        self.refresh()

    # ------------------------------------------------------------------ pictures of other programs

    def _on_attach(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Pictures of these micrographs", str(self._session.data_root))
        if folder:
            self.attach_folder(Path(folder))

    def attach_folder(self, folder: Path) -> None:
        """Find pictures in the background and attach them."""

        def enter(plan: foreign_pictures.AttachPlan) -> None:
            self._bench.guarded(lambda: self._bench.say(foreign_pictures.enter(self._session, plan)))
            self._bench.show.retry_lost()

        self._bench.start(
            partial(foreign_pictures.find, self._session, folder),
            title=f"pictures in {folder.name}",
            on_done=enter,
        )

    def _on_detach(self) -> None:
        self._bench.guarded(lambda: foreign_pictures.detach(self._session))

    # ------------------------------------------------------------------ what the session says

    def refresh(self) -> None:
        """Show what is known of the current micrograph."""
        current = self._session.current
        known = None if current is None else optics.ctf_of(current)
        microscope = _known_of(self._session, other_micrographs=self.isVisible())
        usual = microscope or Optics()
        mean = 0.0 if known is None else (known.defocus.u_A + known.defocus.v_A) / 2e4
        shown = (
            (self.defocus, mean),
            (self.voltage, usual.voltage_kV),
            (self.cs, usual.cs_mm),
            (self.contrast, usual.amplitude_contrast),
        )
        for spin, value in shown:
            spin.setEnabled(current is not None)
            if not spin.hasFocus():
                with QSignalBlocker(spin):
                    spin.setValue(value)
        said = "" if microscope is not None else f"\n{_NOT_SAID}"
        for spin, what in zip((self.voltage, self.cs, self.contrast), _MICROSCOPE, strict=True):
            spin.setToolTip(what + said)
        tip = "Underfocus, mean of both axes; 0 = unknown. The automatic method then also turns the phases back"
        if known is not None and known.defocus.u_A != known.defocus.v_A:
            tip += f"\n{known.defocus.u_A:.0f} and {known.defocus.v_A:.0f} Å at {known.defocus.angle_deg:.1f}°"
        self.defocus.setToolTip(tip if current is not None else "open a micrograph first")
        n = sum(bool(m.picture) for m in self._session.micrographs)
        self.detach.setEnabled(n > 0)
        self.detach.setText(f"detach {n:,}" if n else "detach all")
        self.detach.setToolTip("Show our own pictures again; one step to undo" if n else "no picture is attached")


def _known_of(session: Session, *, other_micrographs: bool = True) -> Optics | None:
    """The microscope of the current micrograph; None where nobody has said it.

    Without ``other_micrographs`` (all of which must be looked at) only what is said of itself and of the project.
    """
    current = session.current
    known = None if current is None else optics.ctf_of(current)
    if known is not None:
        return known.optics
    return optics.common_microscope(session) if other_micrographs else session.settings.microscope


def _field(low: float, high: float, decimals: int, suffix: str, tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(low, high)
    spin.setDecimals(decimals)
    spin.setSuffix(suffix)
    spin.setToolTip(tip)
    spin.setKeyboardTracking(False)
    spin.setMinimumWidth(10)
    calm(spin)
    return spin


def _spin(parameter: Parameter) -> QDoubleSpinBox:
    whole = parameter.unit == "px"
    unit = _UNITS.get(parameter.unit, parameter.unit)
    low = 0.0 if parameter.automatic else parameter.low
    spin = _field(low, parameter.high, 0 if whole else 1, f" {unit}" if unit else "", parameter.help)
    spin.setSingleStep(1.0 if whole or parameter.high > 20 else 0.1)
    if parameter.automatic:
        spin.setSpecialValueText(parameter.automatic)
    return spin
