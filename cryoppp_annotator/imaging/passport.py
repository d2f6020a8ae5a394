"""Numbers that tell a good micrograph from a bad one, from its pixels and its power spectrum.

A number that cannot be known is NaN: the ice ring beyond Nyquist, the strength of rings where there are none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contrast import robust_location, sample_pixels
from .ctf import Ctf, ctf_1d
from .ctf_fit import CtfFit
from .ctf_fit_model import flatten
from .filters import box_reduce, find_padding
from .power_spectrum import TiledSpectrum

#: Band of the ice rings, angstrom: hexagonal and cubic ice at 3.90, 3.67 and 3.44, vitreous ice broadly at 3.7.
_ICE_BAND_A = (3.93, 3.42)
#: Bands on both sides of it that it is compared with, angstrom.
_BESIDE_ICE_A = ((4.6, 4.1), (3.35, 3.15))
#: Share of the Nyquist frequency that is looked at.
_MOST_NYQUIST = 0.98
#: So far, at least, the band must be seen: the ring at 3.9 is in it, angstrom.
_LEAST_OF_ICE_A = 3.75
#: A spot has so many times the median power of its ring, in tiles that are averaged.
_SPOT = 6.0
#: Rings whose strength is measured, angstrom.
_STRENGTH_BAND_A = (15.0, 5.0)
#: A line of the camera is dead where its spread is below this share of the median line's.
_DEAD = 0.05
_OUTLIER = 8.0
#: Side of the thumbnail that is compared, px.
THUMBNAIL = 64


@dataclass(frozen=True, eq=False)
class Measured:
    """What one micrograph says of itself. NaN = cannot be known.

    Attributes
    ----------
    ring_anisotropy, ring_direction_deg : float
        How much weaker rings are in one direction than at right angles, 0 .. 1 (drift), and the direction in which
        they are strongest, from x towards y.
    ring_strength : float
        Half the height of rings of 15 to 5 A, as a share of the background.
    ice_ring : float
        Power around 3.7 A over what lies on both sides, less 1.
    diffraction_spots : int
        Fourier pixels around 3.7 A that stand out of their ring; -1 where they cannot be seen.
    mean_grey, grey_gradient : float
        Median grey value, and its change across the micrograph in s.d. of the pixels.
    local_contrast : float
        Amplitude at the size of the particle over that of the noise.
    visibility : float
        Share of a particle's amplitude that this defocus shows, 0 .. 1.
    grey_outliers : float
        Share of pixels beyond 8 robust s.d.
    dead_rows, dead_columns : int
    padding : float
        Share of the area.
    thumbnail : (THUMBNAIL, THUMBNAIL) float32
        Without slope, unit variance: the same for the same exposure.
    """

    ring_anisotropy: float
    ring_direction_deg: float
    ring_strength: float
    ice_ring: float
    diffraction_spots: int
    mean_grey: float
    grey_gradient: float
    local_contrast: float
    visibility: float
    grey_outliers: float
    dead_rows: int
    dead_columns: int
    padding: float
    thumbnail: NDArray[np.float32]


def measure(image: NDArray[Any], fit: CtfFit, diameter_A: float, pixel_size_A: float) -> Measured:
    """Measure a micrograph whose CTF was fitted.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
    fit : CtfFit
        Of this image; its spectrum is used.
    diameter_A : float
        Of the particle.
    pixel_size_A : float
    """
    top, bottom, left, right = find_padding(image)
    inside = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    middle, spread = robust_location(sample_pixels(inside))
    rows, columns = _dead_lines(inside)
    small = _small(inside, middle, spread)
    anisotropy, direction, strength = ring_shape(fit)
    spectrum = fit.spectrum
    return Measured(
        anisotropy,
        direction,
        strength,
        ice_ring(spectrum) if spectrum is not None else math.nan,
        diffraction_spots(spectrum) if spectrum is not None else -1,
        float(middle),
        _gradient(small, spread),
        _contrast(spectrum, diameter_A) if spectrum is not None else math.nan,
        visibility(fit.ctf, diameter_A),
        _outliers(inside, middle, spread),
        rows,
        columns,
        1.0 - inside.size / image.size,
        _flattened(small),
    )


def ring_shape(fit: CtfFit) -> tuple[float, float, float]:
    """Anisotropy and direction of the rings and their strength; NaN where there is no answer.

    The rings of each direction are fitted by the model's; a specimen that moved lost the fine ones along its path.
    """
    if fit.ctf is None or fit.spectrum is None:
        return math.nan, math.nan, math.nan
    low, high = 1.0 / _STRENGTH_BAND_A[0], 1.0 / max(_STRENGTH_BAND_A[1], 2.1 * fit.spectrum.pixel_size_A)
    if high < 1.2 * low:
        return math.nan, math.nan, math.nan
    rings = flatten(fit.spectrum, (low, high), 4)
    model = -np.cos(2.0 * rings.phase_at(fit.ctf.defocus, fit.ctf.optics))
    mean = (rings.weight * model).sum(axis=1) / rings.weight.sum(axis=1)
    model = model - mean[:, None]
    products = (rings.weight * rings.signal * model).sum(axis=1)
    norms = (rings.weight * model**2).sum(axis=1)
    strength = float(products.sum() / norms.sum())
    n = len(products)
    twice = 2.0 * np.arange(n) * math.pi / n
    wave = np.column_stack([np.ones(n), np.cos(twice), np.sin(twice)]) * np.sqrt(norms)[:, None]
    (level, cosine, sine), residual, *_ = np.linalg.lstsq(wave, products / np.sqrt(norms), rcond=None)
    if not level > 0.0:
        return math.nan, math.nan, strength
    by_noise = 4.0 * float(residual.sum()) / (n - 3) / float(norms.sum())
    anisotropy = min(1.0, math.sqrt(max(0.0, float(cosine**2 + sine**2) - by_noise)) / float(level))
    return anisotropy, math.degrees(0.5 * math.atan2(sine, cosine)), strength


def ice_ring(spectrum: TiledSpectrum) -> float:
    """How far the power around 3.7 A stands above what lies on both sides, as a share of that; NaN beyond Nyquist.

    Where Nyquist lies between 3.4 and 3.7 A, the part of the band that is left is compared with what lies before it.
    """
    k, power = spectrum.frequencies, spectrum.radial
    inside = _ice_band(k)
    beside = [(k > 1.0 / a) & (k < 1.0 / b) for a, b in _BESIDE_ICE_A]
    if not inside.any() or not beside[0].any():
        return math.nan
    if beside[1].sum() < 3 or 1.0 / _ICE_BAND_A[1] > _MOST_NYQUIST * float(k[-1]):
        beside[1] = np.zeros(len(k), bool)
    around = beside[0] | beside[1]
    line = np.polyfit(k[around], np.log(np.maximum(power[around], 1e-30)), 1 if beside[1].any() else 0)
    return float(np.mean(power[inside] / np.exp(np.polyval(line, k[inside]))) - 1.0)


def _ice_band(k: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rings (n,) in the band of ice, of frequencies k (n,); none where Nyquist leaves too little of it."""
    end = min(1.0 / _ICE_BAND_A[1], _MOST_NYQUIST * float(k[-1]))
    if end < 1.0 / _LEAST_OF_ICE_A:
        return np.zeros(len(k), bool)
    return np.asarray((k > 1.0 / _ICE_BAND_A[0]) & (k < end))


def diffraction_spots(spectrum: TiledSpectrum) -> int:
    """Fourier pixels around 3.7 A with many times the power of their ring; -1 beyond Nyquist."""
    k = spectrum.frequencies
    band = _ice_band(k)
    if not band.any():
        return -1
    n_rings = len(k)
    ring = spectrum.geometry.bin % n_rings
    valid = spectrum.geometry.bin < spectrum.geometry.count.size
    chosen = valid & band[ring]
    level = np.array([np.median(spectrum.power[chosen & (ring == r)]) for r in np.flatnonzero(band)])
    by_ring = np.zeros(n_rings)
    by_ring[band] = level
    return int(np.count_nonzero(spectrum.power[chosen] > _SPOT * by_ring[ring[chosen]]))


def visibility(ctf: Ctf | None, diameter_A: float) -> float:
    """Root of the share of a disc's power, from 1.5 diameters to 15 A, that passes the CTF; NaN without one."""
    if ctf is None:
        return math.nan
    k = np.linspace(1.0 / (1.5 * diameter_A), 1.0 / 15.0, 400)
    reach = math.pi * diameter_A * k
    power = 1.0 / (1.0 + reach**3)  # how a disc's power falls, its zeros filled
    defocus = (ctf.defocus.u_A + ctf.defocus.v_A) / 2.0
    passed = ctf_1d(k, defocus, ctf.optics) ** 2
    return float(math.sqrt((power * passed * k).sum() / (power * k).sum()))


def _contrast(spectrum: TiledSpectrum, diameter_A: float) -> float:
    """Amplitude between 1.5 and 0.3 diameters over that of the finest quarter of the spectrum."""
    k, power = spectrum.frequencies, spectrum.radial
    band = (k >= 1.0 / (1.5 * diameter_A)) & (k <= 1.0 / (0.3 * diameter_A))
    noise = power[(k > 0.6 * k[-1]) & (k < 0.95 * k[-1])]
    if not band.any() or not noise.size or not float(np.median(noise)) > 0.0:
        return math.nan
    return float(math.sqrt(power[band].mean() / np.median(noise)))


def _small(image: NDArray[Any], middle: float, spread: float) -> NDArray[np.float32]:
    """Some 64 px on the shorter side, without hot pixels."""
    reach = _OUTLIER * spread
    clipped = np.clip(image, middle - reach, middle + reach, dtype=np.float32, casting="unsafe")
    np.nan_to_num(clipped, copy=False, nan=middle)
    factor = max(1, min(image.shape) // THUMBNAIL)
    return np.asarray(box_reduce(np.ascontiguousarray(clipped), factor), np.float32)


def _plane(small: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares plane through a picture, and its slopes across the whole of it."""
    y, x = (np.linspace(-0.5, 0.5, n) for n in small.shape)
    rows, columns = np.meshgrid(y, x, indexing="ij")
    matrix = np.column_stack([np.ones(small.size), rows.ravel(), columns.ravel()])
    parts = np.linalg.lstsq(matrix, small.ravel().astype(np.float64), rcond=None)[0]
    return np.asarray((matrix @ parts).reshape(small.shape)), np.asarray(parts[1:])


def _gradient(small: NDArray[np.float32], spread: float) -> float:
    return float(np.hypot(*_plane(small)[1]) / spread) if spread > 0 else math.nan


def _flattened(small: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = small - _plane(small)[0]
    flat = flat[:THUMBNAIL, :THUMBNAIL]
    norm = float(flat.std())
    out = np.zeros((THUMBNAIL, THUMBNAIL), np.float32)
    out[: flat.shape[0], : flat.shape[1]] = (flat - flat.mean()) / norm if norm > 0 else 0.0
    return out


def _outliers(image: NDArray[Any], middle: float, spread: float) -> float:
    """Share of pixels far from the median, or not finite."""
    low, high = middle - _OUTLIER * spread, middle + _OUTLIER * spread
    ordinary = np.count_nonzero((image >= low) & (image <= high))
    return 1.0 - ordinary / image.size


def _dead_lines(image: NDArray[Any]) -> tuple[int, int]:
    """Rows and columns that are constant, or nearly so, from every fourth of their pixels."""
    counts = []
    for lines in (image[:, ::4], image[::4].T):
        spread = lines.std(axis=1, dtype=np.float32)
        counts.append(int(np.count_nonzero(~(spread > _DEAD * np.nanmedian(spread)))))
    return counts[0], counts[1]
