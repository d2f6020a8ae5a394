"""What a project says of all its particles and micrographs: diameter, pixel size, polarity, whole boxes, microscope."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import Refused
from ...imaging.ctf import Optics
from ...imaging.patches import box_for
from ...model.coordinates import angstrom_to_px
from ...model.curation import Change
from ...model.micrograph import Micrograph, pixel_size_doubt
from . import edits

#: Used for rings and filters until somebody says what the particle measures, angstrom.
DEFAULT_DIAMETER_A = 150.0
#: A diameter that makes sense, angstrom: from a small protein to a large virus.
_DIAMETERS_A = (5.0, 10_000.0)
#: A pixel size that makes sense, angstrom per px.
_PIXEL_SIZES_A = (0.01, 100.0)
#: Side of a box, px, that is larger than any micrograph.
_TOO_LARGE_PX = 1e5
#: What the setting ``microscope`` holds.
_MICROSCOPE = ("voltage_kV", "cs_mm", "amplitude_contrast")
#: Largest diameter for which a box is suggested, px.
_LARGEST_DIAMETER_PX = 6e4


@dataclass(frozen=True, eq=False)
class ProjectSettings:
    """Settings of a project as they are now, and the change that setting one of them makes.

    How each micrograph was imaged is kept with the micrograph (:mod:`..pictures.optics`).

    Attributes
    ----------
    values : mapping
        As the database keeps them, decoded.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def after(self, changed: Mapping[str, Any]) -> ProjectSettings:
        """The settings with some changed."""
        return ProjectSettings({**self.values, **changed})

    # ------------------------------------------------------------------ reading

    @property
    def diameter_A(self) -> float:
        """The particle diameter, angstrom."""
        return float(self.values.get("diameter_A") or DEFAULT_DIAMETER_A)

    @property
    def diameter_is_set(self) -> bool:
        """Whether a person or an imported file said the diameter."""
        return bool(self.values.get("diameter_A"))

    @property
    def pixel_size_A(self) -> float | None:
        """The pixel size that a person said for all micrographs, angstrom per px; None = as each header says."""
        value = self.values.get("pixel_size_A")
        return float(value) if value is not None and value > 0 else None

    def pixel_size_of(self, micrograph: Micrograph) -> float:
        """Effective pixel size: the micrograph's override, the project's, the header's; 1.0 where none is known."""
        for value in (micrograph.own_pixel_size_A, self.pixel_size_A, micrograph.header_pixel_size_A):
            if value is not None and value > 0:
                return float(value)
        return 1.0

    def pixel_size_doubt(self, micrograph: Micrograph) -> str:
        """Why the pixel size should be questioned; empty where it is fine or was set by a person."""
        if micrograph.own_pixel_size_A or self.pixel_size_A:
            return ""
        return pixel_size_doubt(micrograph.header_pixel_size_A)

    def diameter_px(self, micrograph: Micrograph) -> float:
        """The particle diameter, px of a micrograph."""
        return angstrom_to_px(self.diameter_A, self.pixel_size_of(micrograph))

    @property
    def bright(self) -> bool:
        """Whether particles are brighter than their surroundings; dark, as from the microscope, by default."""
        return self.values.get("polarity") == "bright"

    @property
    def whole_box_px(self) -> float:
        """Side of the box that must lie whole in the micrograph, px; 0 = picks may lie anywhere.

        Programs that cut boxes drop those that stick out (cryoSPARC, EMAN2), so that labels made with them end half a
        box from the edge; what a picker proposes beyond is of no use there.
        """
        try:
            value = float(self.values.get("whole_box_px") or 0.0)
        except ValueError:
            return 0.0
        return value if math.isfinite(value) and value > 0 else 0.0

    @property
    def microscope(self) -> Optics | None:
        """The microscope of all micrographs as a person said it; None where nobody did."""
        stored = self.values.get("microscope")
        if not isinstance(stored, Mapping):
            return None
        try:
            return Optics(*(float(stored[name]) for name in _MICROSCOPE))
        except (KeyError, TypeError, ValueError):
            return None

    def suggested_box_px(self, micrograph: Micrograph | None) -> int:
        """One and a half diameters of the particle, in px of a micrograph (None = of 1 A/px)."""
        pixel_A = self.pixel_size_of(micrograph) if micrograph is not None else 1.0
        return box_for(min(max(angstrom_to_px(self.diameter_A, pixel_A), 1.0), _LARGEST_DIAMETER_PX))

    # ------------------------------------------------------------------ changing

    def set_diameter(self, diameter_A: float) -> Change | None:
        """Another particle diameter, angstrom."""
        return self._set("diameter_A", float(diameter_A), f"particle diameter {diameter_A:.4g} Å")

    def set_pixel_size(self, value_A: float | None) -> Change | None:
        """Another pixel size for all micrographs, angstrom per px; None = as each header says."""
        text = "as each header says" if value_A is None else f"{value_A:g} Å/px"
        return self._set("pixel_size_A", value_A, f"pixel size of the project: {text}")

    def set_bright(self, bright: bool) -> Change | None:
        """Particles are brighter (or darker) than their surroundings."""
        name = "bright" if bright else "dark"
        return None if bright == self.bright else self._set("polarity", name, f"particles are {name}")

    def set_whole_box_px(self, box_px: float) -> Change | None:
        """Only picks are proposed whose box of so many px lies whole in the micrograph; 0 = up to the edge."""
        if box_px == self.whole_box_px:
            return None
        title = f"propose whole boxes of {box_px:g} px only" if box_px else "propose up to the edge"
        return self._set("whole_box_px", f"{box_px:g}", title)

    def set_microscope(self, optics: Optics) -> Change | None:
        """Voltage, spherical aberration and amplitude contrast of micrographs whose defocus nobody has said yet."""
        if optics == self.microscope:
            return None
        values = {name: float(getattr(optics, name)) for name in _MICROSCOPE}
        return self._set("microscope", values, f"microscope of the project: {microscope_text(optics)}")

    def _set(self, key: str, value: Any, title: str) -> Change | None:
        return edits.set_setting(key, self.values.get(key), value, title)


def microscope_text(optics: Optics) -> str:
    """A microscope in words."""
    return f"{optics.voltage_kV:g} kV, Cs {optics.cs_mm:g} mm, amplitude contrast {optics.amplitude_contrast:g}"


def refuse_diameter(diameter_A: float) -> None:
    """Raises Refused for a particle diameter that makes no sense, angstrom."""
    low, high = _DIAMETERS_A
    if not low <= diameter_A <= high:
        raise Refused(f"a particle diameter of {diameter_A:g} Å makes no sense ({low:g} to {high:,.0f} Å)")


def refuse_pixel_size(value_A: float | None) -> None:
    """Raises Refused for a pixel size that makes no sense, angstrom per px."""
    low, high = _PIXEL_SIZES_A
    if value_A is not None and not low <= value_A <= high:
        raise Refused(f"a pixel size of {value_A:g} Å/px makes no sense ({low:g} to {high:g})")


def refuse_box(box_px: float) -> None:
    """Raises Refused for a box that no micrograph can hold, px."""
    if not (math.isfinite(box_px) and 0 <= box_px < _TOO_LARGE_PX):
        raise Refused(f"a box of {box_px:g} px makes no sense")
