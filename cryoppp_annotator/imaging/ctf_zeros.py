"""Where the CTF is zero, as rings in the power spectrum; and the defocus that puts such a ring through a point."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ctf import Ctf, Defocus, electron_wavelength_A
from .ctf_fit_model import fixed_phase


def zero_ring(ctf: Ctf, number: int, angles: ArrayLike) -> NDArray[np.float64]:
    """Spatial frequency of a zero of the CTF in some directions.

    Parameters
    ----------
    ctf : Ctf
    number : int
        From 1, the innermost.
    angles : (n,) float
        Rad, from the x (column) axis towards y (row).

    Returns
    -------
    (n,) float64, 1/A; NaN where spherical aberration leaves no such zero
    """
    linear = (
        math.pi * electron_wavelength_A(ctf.optics.voltage_kV) * _along(ctf.defocus, np.asarray(angles, np.float64))
    )
    constant = float(fixed_phase(np.zeros(1), ctf.optics)[0])
    quadratic = float(fixed_phase(np.ones(1), ctf.optics)[0]) - constant
    rise = number * math.pi - constant
    with np.errstate(invalid="ignore", divide="ignore"):
        if quadratic == 0.0:
            k2 = rise / linear
        else:
            # the smaller root of quadratic k^4 + linear k^2 = rise, in a form that does not cancel
            root = np.sqrt(linear**2 + 4.0 * quadratic * rise)
            k2 = 2.0 * rise / (linear + root)
        return np.asarray(np.sqrt(np.where(k2 > 0, k2, np.nan)))


def nearest_zero(ctf: Ctf, kx: float, ky: float) -> int:
    """Number of the zero that is nearest to a spatial frequency (1/A), from 1."""
    return max(1, round(_phase(ctf, kx, ky) / math.pi))


def with_zero_at(ctf: Ctf, number: int, kx: float, ky: float) -> Ctf:
    """The CTF with another mean defocus, so that a zero passes through a spatial frequency (1/A).

    The astigmatism stays. At zero frequency there is no such defocus: the CTF itself.
    """
    k2 = kx * kx + ky * ky
    if k2 == 0.0:
        return ctf
    slope = math.pi * electron_wavelength_A(ctf.optics.voltage_kV) * k2
    change = (number * math.pi - _phase(ctf, kx, ky)) / slope
    defocus = ctf.defocus
    return Ctf(Defocus(defocus.u_A + change, defocus.v_A + change, defocus.angle_deg), ctf.optics)


def _along(defocus: Defocus, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Defocus in some directions (n,), rad, angstrom."""
    mean, half = (defocus.u_A + defocus.v_A) / 2.0, (defocus.u_A - defocus.v_A) / 2.0
    return np.asarray(mean + half * np.cos(2.0 * (angles - math.radians(defocus.angle_deg))))


def _phase(ctf: Ctf, kx: float, ky: float) -> float:
    """Phase of the CTF at a spatial frequency (1/A), rad; the CTF is zero where it is a multiple of pi."""
    k2 = kx * kx + ky * ky
    defocus = float(_along(ctf.defocus, np.array([math.atan2(ky, kx)]))[0])
    fixed = float(fixed_phase(np.array([k2 * k2]), ctf.optics)[0])
    return math.pi * electron_wavelength_A(ctf.optics.voltage_kV) * defocus * k2 + fixed
