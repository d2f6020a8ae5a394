"""What the camera, not the specimen, puts into a power spectrum: lines along its axes, and spots of periodic patterns.

Rows or columns of uneven gain, dead ones, and offsets of amplifiers make lines along the axes; periodic patterns and
large crystals make spots.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .polar_geometry import PolarGeometry

#: Half the width of a line along an axis, Fourier px: the taper's leak included.
_LINE = 2
#: Fourier pixels on either side that a line is compared with.
_BESIDE = (4, 9)
#: A line along an axis has so many times the power of what lies beside it, in the median.
_LINE_FACTOR = 1.5
#: A spot has so many times the median power of its ring, more than rings of carbon have ...
_SPOT_FACTOR = 10.0
#: ... and reaches so far, Fourier px.
_SPOT_REACH = 3
#: Rings within this of the origin are no spots, Fourier px.
_LEAST_RING = 6


def camera_artefacts(power: NDArray[np.float32], geometry: PolarGeometry) -> NDArray[np.bool_]:
    """Fourier pixels that say nothing of the specimen.

    Parameters
    ----------
    power : (side, side // 2 + 1) float32
        Mean of tiles, as ``rfft2`` orders it.
    geometry : PolarGeometry

    Returns
    -------
    (side, side // 2 + 1) bool
    """
    out = np.zeros(power.shape, bool)
    rows = np.abs(np.fft.fftfreq(len(power), 1.0 / len(power)))
    columns = np.arange(power.shape[1])
    beside_rows = (rows >= _BESIDE[0]) & (rows < _BESIDE[1])
    if _stands_out(power[rows <= _LINE], power[beside_rows], 0):
        out[rows <= _LINE] = True
    beside_columns = (columns >= _BESIDE[0]) & (columns < _BESIDE[1])
    if _stands_out(power[:, columns <= _LINE], power[:, beside_columns], 1):
        out[:, columns <= _LINE] = True
    return out | _spots(power, geometry)


def _stands_out(line: NDArray[np.float32], beside: NDArray[np.float32], axis: int) -> bool:
    """Whether the strongest part of a line is far above what lies beside it, at most frequencies."""
    usual = np.median(beside, axis=axis)[_LEAST_RING:]
    ratio = line.max(axis=axis)[_LEAST_RING:] / np.maximum(usual, 1e-30)
    # of five pixels beside it, the strongest is this much above their median by chance
    by_chance = beside.max(axis=axis)[_LEAST_RING:] / np.maximum(usual, 1e-30)
    return bool(np.median(ratio) > _LINE_FACTOR * np.median(by_chance))


def _spots(power: NDArray[np.float32], geometry: PolarGeometry) -> NDArray[np.bool_]:
    n_rings = geometry.count.shape[1]
    known = geometry.bin < geometry.count.size
    ring = np.where(known, geometry.bin % n_rings, n_rings)
    # the mean of logarithms is little moved by a few strong pixels
    values = np.log(np.maximum(power, 1e-30))
    count = np.bincount(ring.ravel(), minlength=n_rings + 1)
    level = np.bincount(ring.ravel(), values.ravel(), n_rings + 1) / np.maximum(count, 1)
    level[:_LEAST_RING] = np.inf
    level[n_rings] = np.inf
    spots = values > level[ring] + np.log(_SPOT_FACTOR)
    if not spots.any():
        return np.asarray(spots)
    size = 2 * _SPOT_REACH + 1
    wide = ndimage.binary_dilation(spots, np.ones((size, size), bool))
    return np.asarray(wide & known)


def without_artefacts(power: NDArray[np.float32], artefact: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Power with the nearest other pixels in the place of artefacts.

    Parameters
    ----------
    power : (side, side // 2 + 1) float32
    artefact : (side, side // 2 + 1) bool
    """
    if not artefact.any() or artefact.all():
        return power
    rows, columns = ndimage.distance_transform_edt(artefact, return_distances=False, return_indices=True)
    return np.asarray(power[rows, columns])
