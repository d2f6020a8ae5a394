"""Whether rings are there, how far they agree with a CTF, and whether the specimen is tilted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .ctf import Defocus, Optics, electron_wavelength_A
from .ctf_fit_model import Rings, fixed_phase, flatten
from .ctf_fit_refine import Refined, refine
from .ctf_fit_search import Match
from .power_spectrum import TiledSpectrum

#: Correlation below which rings are not fitted any more (CTFFIND 4's threshold).
_AGREEMENT = 0.5
#: Least length of the window in which it is measured, rings.
_WINDOW_RINGS = 2.5
#: The same in Fourier px.
_WINDOW_PX = 9
#: A filter was applied where the power falls below this share of what it is in the reference band.
_FILTERED = 2e-3
#: The reference band, angstrom.
_REFERENCE_A = (20.0, 40.0)
#: Places where neighbouring pixels are compared: how many along an axis, and their side, px.
_PLACES_PER_AXIS = 5
_PLACE_PX = 64
#: Least tilt that is reported, degrees.
_LEAST_TILT_DEG = 5.0
#: A tilt is reported where it is so many standard errors.
_TILT_ERRORS = 3.0
#: Nearer quarters cannot tell a tilt from ice that bends, angstrom.
_LEAST_BASELINE_A = 1200.0


@dataclass(frozen=True, eq=False)
class RingCurve:
    """Rings averaged along lines of constant CTF phase ("equiphase"), as the mean defocus would have them.

    Attributes
    ----------
    k : (n,) float64
        Spatial frequency, 1/A.
    measured : (n,) float64
        Power over background, less 1; NaN where nothing falls.
    model : (n,) float64
        The fitted rings.
    agreement : (n,) float64
        Correlation of both around each frequency, -1 .. 1.
    """

    k: NDArray[np.float64]
    measured: NDArray[np.float64]
    model: NDArray[np.float64]
    agreement: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tilt:
    """How the defocus changes across a micrograph.

    Attributes
    ----------
    angle_deg, error_deg : float
        Of the specimen against the image plane, and its standard error.
    axis_deg : float
        Of the line of equal defocus, from the x (column) axis towards y (row), -90 .. 90.
    """

    angle_deg: float
    error_deg: float
    axis_deg: float

    @property
    def reported(self) -> bool:
        """Whether it is over 5 degrees and no accident."""
        return self.angle_deg >= max(_LEAST_TILT_DEG, _TILT_ERRORS * self.error_deg)


def equiphase(
    rings: Rings, defocus: Defocus, optics: Optics, envelope: NDArray[np.float64], rest: NDArray[np.float64]
) -> RingCurve:
    """Average what was measured along lines of constant phase, and compare it with the model.

    Parameters
    ----------
    rings : Rings
    defocus : Defocus
    optics : Optics
    envelope, rest : (n_rings,) float64
        From :class:`.ctf_fit_refine.Refined`.
    """
    mean = (defocus.u_A + defocus.v_A) / 2.0
    scale = math.pi * electron_wavelength_A(optics.voltage_kV)
    k = rings.k
    radial_phase = np.maximum.accumulate(scale * mean * k**2 + fixed_phase(k**4, optics))
    place = np.interp(rings.phase_at(defocus, optics), radial_phase, np.arange(len(k), dtype=float))
    lower = np.minimum(place.astype(int), len(k) - 2)
    share = place - lower
    total, count = np.zeros(len(k)), np.zeros(len(k))
    residual = rings.signal - rest
    for at, part in ((lower, 1.0 - share), (lower + 1, share)):
        total += np.bincount(at.ravel(), (part * rings.weight * residual).ravel(), len(k))
        count += np.bincount(at.ravel(), (part * rings.weight).ravel(), len(k))
    measured = np.where(count > 0, total / np.maximum(count, 1e-9), np.nan)
    model = -envelope * np.cos(2.0 * (scale * mean * k**2 + fixed_phase(k**4, optics)))
    return RingCurve(k, measured, model, _agreement(np.nan_to_num(measured), model, radial_phase))


def _agreement(
    measured: NDArray[np.float64], model: NDArray[np.float64], phase: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of two curves in a window around each place that holds a few rings."""
    per_px = np.gradient(phase) / math.pi
    half = np.maximum(_WINDOW_PX, 0.5 * _WINDOW_RINGS / np.maximum(per_px, 1e-3)).astype(int)
    out = np.zeros(len(model))
    for i in range(len(model)):
        at = slice(max(0, i - half[i]), i + half[i] + 1)
        out[i] = correlation(measured[at], model[at])
    return out


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of a (n,) and b (n,); 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else 0.0


def fit_resolution_A(curve: RingCurve) -> float:
    """Resolution up to which Thon rings agree with the model, angstrom; infinity where they do nowhere.

    CTFFIND 4's criterion (Rohou & Grigorieff 2015, doi:10.1016/j.jsb.2015.08.008): the frequency at which the
    correlation of measured and fitted rings, in a window that moves along the equiphase average, falls below 0.5.
    """
    good = ndimage.median_filter((curve.agreement >= _AGREEMENT).astype(int), 5)
    first = np.flatnonzero(good)
    if not len(first):
        return math.inf
    bad = np.flatnonzero(good[first[0] :] == 0)
    last = first[0] + bad[0] - 1 if len(bad) else len(good) - 1
    return float(1.0 / curve.k[last])


def passband_end(k: NDArray[np.float64], power: NDArray[np.float64]) -> float:
    """Frequency, 1/A, beyond which a filter has taken the power away; the last of ``k`` where none has.

    Electrons are counted one by one: a raw micrograph has their noise at all frequencies.
    ``k`` (n,) 1/A, ``power`` (n,).
    """
    low, high = 1.0 / _REFERENCE_A[1], 1.0 / _REFERENCE_A[0]
    usual = power[(k >= low) & (k <= high)]
    if not len(usual):
        return float(k[-1])
    gone = np.flatnonzero((k > high) & (power < _FILTERED * float(np.median(usual))))
    return float(k[gone[0]]) if len(gone) else float(k[-1])


def repeated_pixels(image: NDArray[Any]) -> float:
    """Share of neighbouring pixels that are copies of one another, beyond what few grey values explain.

    Noise of counted electrons never repeats itself; a median filter, an enlargement without interpolation and a smooth
    picture in few grey values do. ``image`` (h, w), any real dtype; returns the median of places all over it.
    """
    rows, columns = (
        np.unique(np.linspace(0, max(0, n - _PLACE_PX), _PLACES_PER_AXIS).astype(int)) for n in image.shape
    )
    excess = []
    for y in rows:
        for x in columns:
            place = np.asarray(image[y : y + _PLACE_PX, x : x + _PLACE_PX])
            _, counts = np.unique(place, return_counts=True)
            by_chance = float(((counts / place.size) ** 2).sum())
            excess.append(float(np.mean(place[:, 1:] == place[:, :-1])) - by_chance)
    return float(np.median(excess))


def rings_before(frequency: float, defocus: Defocus, optics: Optics) -> float:
    """Thon rings (half turns of the phase) up to a frequency, 1/A."""
    mean = (defocus.u_A + defocus.v_A) / 2.0
    phase = math.pi * electron_wavelength_A(optics.voltage_kV) * mean * frequency**2
    return (phase + float(fixed_phase(np.array(frequency**4), optics))) / math.pi


def measure_tilt(spectrum: TiledSpectrum, rings: Rings, refined: Refined, optics: Optics, n_pieces: int) -> Tilt | None:
    """Plane through the mean defocus of the four quarters; None where they lie too near.

    Parameters
    ----------
    spectrum : TiledSpectrum
    rings, refined : Rings, Refined
        Of the whole micrograph; the astigmatism is taken from it.
    optics : Optics
    n_pieces : int
        Of the spline of the background.
    """
    baseline = np.ptp(spectrum.quarter_centres, axis=0).min() * spectrum.pixel_size_A
    if not baseline >= _LEAST_BASELINE_A:  # nor where a quarter has no tile, NaN
        return None
    whole, band = Match(refined.defocus, 0.0, 1.0), (float(rings.k[0]), float(rings.k[-1]))
    fits = [
        refine(flatten(spectrum, band, n_pieces, quarter), optics, whole, n_pieces, only_mean=True)
        for quarter in spectrum.quarters
    ]
    defocus = np.array([(fit.defocus.u_A + fit.defocus.v_A) / 2.0 for fit in fits])
    error = np.maximum([fit.error_A for fit in fits], 1.0)
    place = (spectrum.quarter_centres - spectrum.quarter_centres.mean(axis=0)) * spectrum.pixel_size_A
    matrix = np.column_stack([np.ones(4), place]) / error[:, None]
    covariance = np.linalg.inv(matrix.T @ matrix)
    _, slope_y, slope_x = covariance @ (matrix.T @ (defocus / error))
    slope = math.hypot(slope_y, slope_x)
    if not slope > 0.0:
        return None
    direction = np.array([0.0, slope_y, slope_x]) / slope
    slope_error = math.sqrt(float(direction @ covariance @ direction))
    angle = math.degrees(math.atan(slope))
    error_deg = math.degrees(math.atan(slope + slope_error)) - angle
    axis = math.degrees(math.atan2(slope_x, -slope_y))
    return Tilt(angle, error_deg, (axis + 90.0) % 180.0 - 90.0)
