"""What ``ctf`` leaves on the disk: RELION's STAR, and the picture of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import FormatError, disk_reason
from ..formats.atomic import replacing, write_text
from ..formats.table.star import format_star
from ..imaging.ctf import Ctf
from ..imaging.ctf_fit import CtfFit
from ..imaging.ctf_picture import FINEST_A, ring_picture

#: Side of the picture of the rings, px.
SIDE = 512
#: Height of the curves below it, px.
_CURVE_HEIGHT = 200
#: Height of the text above it, px.
HEAD = 46
_INK = "#222222"
_GRID = "#dddddd"
#: Pillow's own font has no such signs.
_NO_GLYPH = str.maketrans({"Å": "A", "µ": "u"})
_MEASURED = "#222222"
_MODEL = "#d55e00"
_AGREEMENT = "#0072b2"
_RESOLUTIONS_A = (20.0, 10.0, 8.0, 6.0, 5.0, 4.0)


@dataclass(frozen=True, slots=True)
class CtfRow:
    """A micrograph with its answer.

    Attributes
    ----------
    name : str
        Path as given.
    pixel_size_A : float
    ctf : Ctf
    resolution_A, score, error_A : float
        See :class:`..imaging.ctf_fit.CtfFit`.
    tilt_deg : float or None
    """

    name: str
    pixel_size_A: float
    ctf: Ctf
    resolution_A: float
    score: float
    error_A: float
    tilt_deg: float | None


def write_star(path: Path, rows: Sequence[CtfRow]) -> Path:
    """Write a ``micrographs_ctf.star`` of RELION 3.1, with an optics group for each microscope and pixel size.

    Raises
    ------
    FormatError
        It cannot be written.
    """
    try:
        return write_text(path, star_text(rows))
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def star_text(rows: Sequence[CtfRow]) -> str:
    """What :func:`write_star` writes."""
    kinds = [
        (row.pixel_size_A, row.ctf.optics.voltage_kV, row.ctf.optics.cs_mm, row.ctf.optics.amplitude_contrast)
        for row in rows
    ]
    groups = {kind: i for i, kind in enumerate(dict.fromkeys(kinds), 1)}
    optics = {
        "rlnOpticsGroupName": [f"opticsGroup{i}" for i in groups.values()],
        "rlnOpticsGroup": [str(i) for i in groups.values()],
        "rlnMicrographOriginalPixelSize": [f"{kind[0]:.6f}" for kind in groups],
        "rlnVoltage": [f"{kind[1]:.6f}" for kind in groups],
        "rlnSphericalAberration": [f"{kind[2]:.6f}" for kind in groups],
        "rlnAmplitudeContrast": [f"{kind[3]:.6f}" for kind in groups],
        "rlnMicrographPixelSize": [f"{kind[0]:.6f}" for kind in groups],
    }
    defocus = [row.ctf.defocus for row in rows]
    micrographs = {
        "rlnMicrographName": [row.name for row in rows],
        "rlnOpticsGroup": [str(groups[kind]) for kind in kinds],
        "rlnDefocusU": [f"{d.u_A:.2f}" for d in defocus],
        "rlnDefocusV": [f"{d.v_A:.2f}" for d in defocus],
        "rlnCtfAstigmatism": [f"{d.u_A - d.v_A:.2f}" for d in defocus],
        "rlnDefocusAngle": [f"{d.angle_deg:.3f}" for d in defocus],
        "rlnCtfFigureOfMerit": [f"{row.score:.6f}" for row in rows],
        "rlnCtfMaxResolution": [f"{row.resolution_A:.4f}" for row in rows],
    }
    if any(row.ctf.optics.phase_shift_deg for row in rows):
        micrographs["rlnPhaseShift"] = [f"{row.ctf.optics.phase_shift_deg:.3f}" for row in rows]
    return format_star((("optics", optics), ("micrographs", micrographs)), version="30001")


def write_fit_picture(path: Path, name: str, fit: CtfFit) -> None:
    """Draw measured spectrum (left), model (right), and the equiphase average below, as a PNG.

    Raises
    ------
    FormatError
        It cannot be written.
    """
    image = Image.new("RGB", (SIDE, HEAD + SIDE + _CURVE_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    if fit.spectrum is not None:
        rings = ring_picture(fit.spectrum, fit.ctf, fit.curve, SIDE)
        image.paste(Image.fromarray(rings).convert("RGB"), (0, HEAD))
    draw.text((8, 5), name, fill=_INK, font=font)
    draw.text((8, 24), _headline(fit).translate(_NO_GLYPH), fill=_INK, font=font)
    if fit.curve is not None:
        _draw_curve(draw, fit, font)
    try:
        with replacing(path) as stream:
            image.save(stream, "PNG")
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error


def _headline(fit: CtfFit) -> str:
    if fit.ctf is None:
        return f"no answer: {fit.reason}"
    d = fit.ctf.defocus
    words = f"{d.u_A:,.0f} / {d.v_A:,.0f} A at {d.angle_deg:.0f} deg, rings to {fit.resolution_A:.1f} A"
    return words + f", score {fit.score:.2f}" + ("  (doubtful)" if fit.doubt else "")


def _draw_curve(draw: ImageDraw.ImageDraw, fit: CtfFit, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    """Measured rings, model and agreement over spatial frequency."""
    curve, top, bottom = fit.curve, HEAD + SIDE + 8, HEAD + SIDE + _CURVE_HEIGHT - 24
    if curve is None:
        return
    finest = 1.0 / FINEST_A
    x = 8 + (SIDE - 16) * np.clip(curve.k / max(finest, float(curve.k[-1])), 0, 1)
    show = curve.k > 1.0 / 25.0
    reach = float(np.percentile(np.abs(np.nan_to_num(curve.measured[show])), 97)) + 1e-9
    for resolution in _RESOLUTIONS_A:
        if 1.0 / resolution > curve.k[-1]:
            break
        at = float(np.interp(1.0 / resolution, curve.k, x))
        draw.line([(at, top), (at, bottom)], fill=_GRID)
        draw.text((at, bottom + 3), f"{resolution:g} A", fill=_INK, font=font, anchor="ma")
    end = float(np.interp(1.0 / fit.resolution_A, curve.k, x))
    draw.line([(end, top), (end, bottom)], fill=_AGREEMENT, width=2)
    for values, colour, scale in (
        (curve.agreement, _AGREEMENT, 1.0),
        (curve.model, _MODEL, reach),
        (curve.measured, _MEASURED, reach),
    ):
        y = 0.5 * (top + bottom) - 0.5 * (bottom - top) * np.clip(np.nan_to_num(values) / scale, -1.0, 1.0)
        points = list(zip(x[show].tolist(), y[show].tolist(), strict=True))
        draw.line(points, fill=colour, width=1 if colour == _AGREEMENT else 2)
