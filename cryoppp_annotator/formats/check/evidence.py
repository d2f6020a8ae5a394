"""How much picks share: the averaged patch around them, scored against the same pattern of picks put elsewhere.

The image is described at each pixel by differences of Gaussian blurs (the coefficients of a radial profile), made
uncorrelated and of unit variance over the image. At particles the profiles point the same way, whatever their
shape: dark or bright, filled or ring. Anywhere else they cancel. :func:`score` measures that as the mean inner
product between *different* picks, which is the squared length of their mean profile without its noise bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...model.coordinates import FloatArray

#: Picks below which nothing is scored.
MIN_PICKS = 10
#: Blurs whose differences describe a place, in particle diameters: good from a quarter to twice the true diameter.
_SIGMAS = (0.1, 0.2, 0.35, 0.6, 1.0)
_N_SHIFTS = 100
_SMALL_DIAMETER = 10.0
_MAX_SIDE = 1400
#: Picks nearer than this share a place and count once, particle diameters.
_CELL = 0.75
#: Profiles longer than the typical one by this are shortened: an ice ball is one place, not many.
_TAIL = 2.0


@dataclass(frozen=True)
class Profiles:
    """A micrograph as radial profiles.

    Attributes
    ----------
    values : (rows, columns, n) float32
        Whitened profile at each block of ``step`` x ``step`` px; mean 0, variance about 1, uncorrelated.
    step : int
        Px per block.
    origin : (int, int)
        Row and column, px, of the corner of the first block.
    diameter : float
        Particle diameter, px.
    """

    values: NDArray[np.float32]
    step: int
    origin: tuple[int, int]
    diameter: float


@dataclass(frozen=True, eq=False)
class Score:
    """What picks at certain places have in common.

    Attributes
    ----------
    signal : float
        Squared length of the mean profile, bias removed: about 0 where there are no particles, may be negative.
    error, noise : float
        Standard error of ``signal``, and the part of it that is there without any particle.
    n : int
        Places tested.
    elsewhere : (k,) float64
        ``signal`` of the same pattern of picks shifted at random over the micrograph.
    """

    signal: float
    error: float
    noise: float
    n: int
    elsewhere: FloatArray


def profiles(image: NDArray[Any], diameter_px: float) -> Profiles | None:
    """Describe each place of a micrograph by its surroundings; None where the image says nothing.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        A constant padding border is left out, extreme values are clipped.
    diameter_px : float
        Particle diameter, px.
    """
    small, step, origin = _reduced(image, diameter_px)
    if small is None:
        return None
    blurred = [ndimage.gaussian_filter(small, sigma * diameter_px / step, truncate=3.0) for sigma in _SIGMAS]
    bands = np.stack([fine - coarse for fine, coarse in pairwise(blurred)], axis=-1)
    flat = bands.reshape(-1, bands.shape[-1])
    sample = flat[:: max(1, len(flat) // 100_000)].astype(np.float64)
    covariance = np.cov(sample, rowvar=False)
    scale = np.abs(small).max()
    if not np.linalg.eigvalsh(covariance)[0] > (1e-6 * scale) ** 2:
        return None
    whitener = np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32)
    white = _shortened((flat - sample.mean(axis=0).astype(np.float32)) @ whitener)
    white -= white.mean(axis=0)
    return Profiles(white.reshape(bands.shape), step, origin, diameter_px)


def score(places: Profiles, x: FloatArray, y: FloatArray) -> Score | None:
    """Score canonical positions; None where fewer than half of them, or too few, are places on the image.

    Parameters
    ----------
    places : Profiles
    x, y : (n,) float64, canonical px
        Positions that are not finite or off the image are left out; those nearer than a particle count once.
    """
    rows, columns = _blocks(places, x, y)
    n = len(rows)
    if n < MIN_PICKS:
        return None
    density_at = places.values[rows, columns].astype(np.float64)
    elsewhere = _elsewhere(places, rows, columns)
    total = density_at.sum(axis=0)
    shared = ((total - density_at) * density_at).sum(axis=1) / (n - 1)
    noise = max(2.0 * density_at.shape[1] / (n * (n - 1)), float(elsewhere.var()))
    error = float(np.sqrt(noise + 4.0 * shared.var() / n))
    return Score(float(_signal(density_at)), error, float(np.sqrt(noise)), n, elsewhere)


def _signal(density_at: NDArray[Any]) -> Any:
    """Mean inner product between different picks, ``(..., n, bands) -> (...)``."""
    n = density_at.shape[-2]
    total = density_at.sum(axis=-2, dtype=np.float64)
    own = np.einsum("...ij,...ij->...", density_at, density_at, dtype=np.float64)
    return ((total**2).sum(axis=-1) - own) / (n * (n - 1))


def _elsewhere(places: Profiles, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
    height, width, n_bands = places.values.shape
    down, right = _shifts(height, width, 1.5 * places.diameter / places.step)
    # an index of rows and one of columns, each wrapped, cost less than one of both
    i = (rows[None, :] + down[:, None]) % height
    i *= width
    i += (columns[None, :] + right[:, None]) % width
    flat = places.values.reshape(-1, n_bands)
    return np.asarray([_signal(flat[index]) for index in i], dtype=np.float64)


def _shifts(height: int, width: int, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Random wrapped shifts, none of them so small that it leads back to the particles."""
    rng = np.random.default_rng(0)
    down, right = rng.integers(0, height, 8 * _N_SHIFTS), rng.integers(0, width, 8 * _N_SHIFTS)
    far = np.hypot(np.minimum(down, height - down), np.minimum(right, width - right)) >= least
    return down[far][:_N_SHIFTS], right[far][:_N_SHIFTS]


def _blocks(places: Profiles, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Block of each pick on the image; of picks in one cell the first. None at all where most are lost."""
    nothing = np.zeros(0, np.intp)
    finite = np.isfinite(x) & np.isfinite(y)
    i = np.floor((y[finite] + 0.5 - places.origin[0]) / places.step)
    j = np.floor((x[finite] + 0.5 - places.origin[1]) / places.step)
    height, width, _ = places.values.shape
    inside = (i >= 0) & (j >= 0) & (i < height) & (j < width)
    if 2 * np.count_nonzero(inside) < len(x):
        return nothing, nothing
    rows, columns = i[inside].astype(np.intp), j[inside].astype(np.intp)
    cell = max(1.0, _CELL * places.diameter / places.step)
    _, first = np.unique((rows // cell).astype(np.intp) * width + (columns // cell).astype(np.intp), return_index=True)
    if 2 * len(first) < len(rows):  # particles do not lie two deep
        return nothing, nothing
    return rows[first], columns[first]


def _shortened(profile: NDArray[np.float32]) -> NDArray[np.float32]:
    limit = np.float32(np.sqrt(profile.shape[1]) + _TAIL)
    length = np.sqrt(np.einsum("ij,ij->i", profile, profile))
    profile *= np.minimum(1.0, limit / np.maximum(length, 1e-6))[:, None]
    return profile


# --- the image, smaller --------------------------------------------------------------------------------------------


def _reduced(image: NDArray[Any], diameter_px: float) -> tuple[NDArray[np.float32] | None, int, tuple[int, int]]:
    """Block-averaged image without border and outliers, its step in px, and the (row, column) its corner lies at."""
    rows, columns = _content(image)
    inside = image[rows, columns]
    origin = (rows.start, columns.start)
    step = max(1, int(diameter_px / _SMALL_DIAMETER), -(-max(inside.shape) // _MAX_SIDE))
    if min(inside.shape) < max(4 * step, 2 * diameter_px):
        return None, step, origin
    small = _block_mean(inside, step)
    finite = np.isfinite(small)
    if not finite.any():
        return None, step, origin
    small = np.where(finite, small, np.mean(small[finite]))
    return np.clip(small, *np.percentile(small, (0.1, 99.9))).astype(np.float32), step, origin


def _content(image: NDArray[Any]) -> tuple[slice, slice]:
    """The image without border rows and columns of one value each side."""
    rows = np.flatnonzero((image != image[:, :1]).any(axis=1))
    columns = np.flatnonzero((image != image[:1, :]).any(axis=0))
    if not len(rows) or not len(columns):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _block_mean(image: NDArray[Any], step: int) -> NDArray[np.float32]:
    height, width = (side // step for side in image.shape)
    trimmed = image[: height * step, : width * step]
    total = np.zeros((height, width), np.float32)
    for i in range(step):  # strided sums: no full-size float copy
        rows = trimmed[i::step].reshape(height, width, step)
        total += rows.sum(axis=2, dtype=np.float32)
    return np.asarray(total / np.float32(step * step), dtype=np.float32)
