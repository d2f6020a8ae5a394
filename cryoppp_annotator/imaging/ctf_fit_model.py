"""Thon rings as numbers: the flattened power spectrum on rings and sectors, and the phase of the CTF there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from .ctf import Defocus, Optics, electron_wavelength_A
from .power_spectrum import TiledSpectrum, ring_mean

#: Rounds of the robust smoothing of the background.
_ROUNDS = 4
#: A ring whose residual is larger hardly counts, standard deviations.
_WILD = 2.0


@dataclass(frozen=True, eq=False)
class Rings:
    """What of a spectrum lies in the band of the fit, its smooth fall divided out.

    Attributes
    ----------
    signal : (n_sectors, n_rings) float64
        Power over smooth background, less 1; 0 where a bin is empty.
    weight : (n_sectors, n_rings) float64
        Fourier pixels of a bin; 0 where it is empty.
    k2, k4, k2_cos, k2_sin : (n_sectors, n_rings) float64
        As in ``PolarGeometry``, in 1/A^2 and 1/A^4.
    k : (n_rings,) float64
        Spatial frequency, 1/A.
    background : (n_rings,) float64
        What the power was divided by.
    """

    signal: NDArray[np.float64]
    weight: NDArray[np.float64]
    k2: NDArray[np.float64]
    k4: NDArray[np.float64]
    k2_cos: NDArray[np.float64]
    k2_sin: NDArray[np.float64]
    k: NDArray[np.float64]
    background: NDArray[np.float64]

    def phase_at(self, defocus: Defocus, optics: Optics) -> NDArray[np.float64]:
        """Phase of the CTF in each bin, (n_sectors, n_rings) float64, rad, as :func:`..ctf.ctf_2d` has it."""
        mean, half = (defocus.u_A + defocus.v_A) / 2.0, (defocus.u_A - defocus.v_A) / 2.0
        twice = 2.0 * math.radians(defocus.angle_deg)
        defocus_k2 = mean * self.k2 + half * (math.cos(twice) * self.k2_cos + math.sin(twice) * self.k2_sin)
        return math.pi * electron_wavelength_A(optics.voltage_kV) * defocus_k2 + fixed_phase(self.k4, optics)


def fixed_phase(k4: NDArray[np.float64], optics: Optics) -> NDArray[np.float64]:
    """What the phase of the CTF has beside the defocus, rad, at ``k4`` (any, ...).

    That is spherical aberration, amplitude contrast and phase plate.
    """
    wavelength = electron_wavelength_A(optics.voltage_kV)
    constant = math.asin(optics.amplitude_contrast) + math.radians(optics.phase_shift_deg)
    return np.asarray(constant - 0.5e7 * math.pi * optics.cs_mm * wavelength**3 * k4)


def spline_basis(x: NDArray[np.float64], n_pieces: int, degree: int = 3) -> NDArray[np.float64]:
    """(n, n_pieces + degree) B-splines with knots evenly over the range of ``x`` (n,), ascending."""
    inner = np.linspace(x[0], x[-1], n_pieces + 1)
    knots = np.concatenate([np.full(degree, x[0]), inner, np.full(degree, x[-1])])
    return np.asarray(BSpline.design_matrix(x, knots, degree).toarray())


def smooth_fall(k: NDArray[np.float64], power: NDArray[np.float64], n_pieces: int) -> NDArray[np.float64]:
    """Smooth background of a radial power spectrum, k (n,), 1/A, and power (n,): a robust spline of its logarithm."""
    basis = spline_basis(k, n_pieces)
    value = np.log(np.maximum(power, 1e-12 * power.max()))
    weight = np.ones(len(k))
    fitted = value
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        fitted = basis @ np.linalg.lstsq(basis * root[:, None], value * root, rcond=None)[0]
        residual = np.abs(value - fitted)
        spread = 1.4826 * float(np.median(residual)) + 1e-9
        weight = 1.0 / np.maximum(1.0, residual / (_WILD * spread))
    return np.asarray(np.exp(fitted))


def flatten(
    spectrum: TiledSpectrum, band: tuple[float, float], n_pieces: int, polar: NDArray[np.float64] | None = None
) -> Rings:
    """Cut the band out of a spectrum and divide its smooth fall out.

    Parameters
    ----------
    spectrum : TiledSpectrum
    band : (low, high), 1/A
    n_pieces : int
        Of the spline of the background.
    polar : (n_sectors, n_rings) float64, optional
        Another power on the same bins: that of a quarter.
    """
    k = spectrum.frequencies
    inside = (k >= band[0]) & (k <= band[1])
    g, scale = spectrum.geometry, spectrum.pixel_size_A
    power = (spectrum.polar if polar is None else polar)[:, inside]
    weight = np.where(np.isnan(power), 0.0, g.count[:, inside])
    background = smooth_fall(k[inside], ring_mean(power, weight), n_pieces)
    return Rings(
        np.nan_to_num(power / background - 1.0),
        weight,
        g.q2[:, inside] / scale**2,
        g.q4[:, inside] / scale**4,
        g.q2_cos[:, inside] / scale**2,
        g.q2_sin[:, inside] / scale**2,
        k[inside],
        background,
    )
