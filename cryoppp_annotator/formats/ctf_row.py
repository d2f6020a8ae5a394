"""What a CTF file says of one micrograph, whichever program wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CtfRow:
    """What a file says of one micrograph. NaN = nothing.

    Attributes
    ----------
    name : str
        As the file has it.
    defocus_u_A, defocus_v_A, angle_deg : float
        Underfocus positive; the angle from x towards y.
    phase_shift_deg, voltage_kV, cs_mm, amplitude_contrast : float
    resolution_A : float
        To which the fit is good.
    pixel_size_A : float
    line : int or None
    other_name : str
        What the file itself is called after, where that may be the micrograph's name too.
    group : mapping of label to text
        RELION's optics group of the micrograph.
    """

    name: str
    defocus_u_A: float
    defocus_v_A: float = math.nan
    angle_deg: float = math.nan
    phase_shift_deg: float = math.nan
    voltage_kV: float = math.nan
    cs_mm: float = math.nan
    amplitude_contrast: float = math.nan
    resolution_A: float = math.nan
    pixel_size_A: float = math.nan
    line: int | None = None
    other_name: str = ""
    group: Mapping[str, str] = field(default_factory=dict)
