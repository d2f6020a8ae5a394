"""The classic picture of a fitted CTF: what was measured left, the model right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .ctf import Ctf, electron_wavelength_A
from .ctf_fit_judge import RingCurve
from .ctf_fit_model import fixed_phase
from .power_spectrum import TiledSpectrum

#: The picture reaches to this resolution, angstrom, or to where rings agree where that is finer.
FINEST_A = 4.0
#: Standard deviations of the measured rings that become black.
_LOW = -2.0
#: Standard deviations of the measured rings that become white.
_HIGH = 3.0


def ring_picture(
    spectrum: TiledSpectrum, ctf: Ctf | None, curve: RingCurve | None, side: int = 512, finest_A: float = FINEST_A
) -> NDArray[np.uint8]:
    """Power spectrum, its smooth fall divided out, with the fitted CTF squared in its right half.

    Parameters
    ----------
    spectrum : TiledSpectrum
    ctf : Ctf or None
        None = the measured spectrum on both sides.
    curve : RingCurve or None
        Says how strong the rings are; the model is drawn as strong everywhere without.
    side : int
        Of the picture, px, even.
    finest_A : float
        Resolution at the middle of each edge.

    Returns
    -------
    (side, side) uint8, yx, zero frequency at pixel ``(side // 2, side // 2)``, x to the right and y down
    """
    frequency = (np.arange(side) - side // 2) * edge_frequency(spectrum.pixel_size_A, finest_A) / (side // 2)
    ky, kx = np.meshgrid(frequency, frequency, indexing="ij")
    k = np.hypot(ky, kx)
    picture = _measured(spectrum, ky, kx, k)
    if ctf is not None:
        model = _model(ctf, kx, ky)
        if curve is not None:
            model *= np.clip(_strength(curve, k), 0.15, None)
        right = kx > 0
        spread = float(picture[~right & (k > 1.0 / 25.0)].std()) + 1e-9
        picture[right] = spread * (3.0 * model[right] / max(float(np.abs(model[right]).max()), 1e-9))
        picture[:, side // 2] = _HIGH * spread
    scale = float(picture[k > 1.0 / 25.0].std()) + 1e-9
    return np.asarray(np.clip(255.0 * (picture / scale - _LOW) / (_HIGH - _LOW), 0, 255).astype(np.uint8))


def edge_frequency(pixel_size_A: float, finest_A: float = FINEST_A) -> float:
    """Spatial frequency at the middle of each edge of the picture, 1/A."""
    return min(1.0 / finest_A, 0.5 / pixel_size_A)


def _measured(
    spectrum: TiledSpectrum, ky: NDArray[np.float64], kx: NDArray[np.float64], k: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Power over its radial mean (smoothed over rings), less 1, sampled where the picture has its pixels."""
    n = spectrum.power.shape[0]
    radial = ndimage.median_filter(np.log(np.maximum(spectrum.radial, 1e-12)), max(3, len(spectrum.radial) // 8))
    radial = ndimage.gaussian_filter1d(radial, max(2.0, len(radial) / 30.0))
    rows, columns = ky * spectrum.pixel_size_A * n, kx * spectrum.pixel_size_A * n
    mirrored = columns < 0  # the other half is the same turned by half a turn
    rows, columns = np.where(mirrored, -rows, rows) % n, np.abs(columns)
    smooth = ndimage.gaussian_filter(spectrum.power, 1.2, mode=("wrap", "nearest"))
    padded = np.concatenate([smooth, smooth[:1]])  # row n is row 0
    power = ndimage.map_coordinates(padded, [rows, columns], order=1, mode="nearest")
    fall = np.exp(np.interp(k, spectrum.frequencies, radial))
    out = power / fall - 1.0
    out[k < spectrum.frequencies[1]] = 0.0
    return np.asarray(out)


def _model(ctf: Ctf, kx: NDArray[np.float64], ky: NDArray[np.float64]) -> NDArray[np.float64]:
    """``-cos`` of twice the phase at any frequencies (1/A)."""
    mean, half = (ctf.defocus.u_A + ctf.defocus.v_A) / 2.0, (ctf.defocus.u_A - ctf.defocus.v_A) / 2.0
    twice, k2 = 2.0 * math.radians(ctf.defocus.angle_deg), kx * kx + ky * ky
    defocus = mean * k2 + half * (math.cos(twice) * (kx * kx - ky * ky) + math.sin(twice) * 2.0 * kx * ky)
    phase = math.pi * electron_wavelength_A(ctf.optics.voltage_kV) * defocus + fixed_phase(k2 * k2, ctf.optics)
    return np.asarray(-np.cos(2.0 * phase))


def _strength(curve: RingCurve, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strong the fitted rings are at each frequency, 0 .. 1."""
    reach = ndimage.maximum_filter1d(np.abs(curve.model), max(3, len(curve.k) // 8))
    smooth = ndimage.gaussian_filter1d(reach, max(2.0, len(curve.k) / 20.0))
    return np.asarray(np.interp(k, curve.k, smooth / max(float(smooth.max()), 1e-9)))
