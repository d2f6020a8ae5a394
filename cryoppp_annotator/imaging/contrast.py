"""Contrast limits that a hot pixel, a border or a NaN cannot move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels looked at per axis: enough for a 0.5 % percentile (about 1,300 pixels below it), few enough for 10 ms.
_SAMPLES_PER_AXIS = 512


def interior(image: NDArray[Any], padding: tuple[int, int, int, int]) -> NDArray[Any]:
    """View of ``image`` (h, w) without its (top, bottom, left, right) padding; all of it where none would be left."""
    top, bottom, left, right = padding
    inner = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    return inner if inner.size else image


def sample_pixels(image: NDArray[Any], padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> NDArray[np.float64]:
    """Regular subsample of the finite pixels inside the padding.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
    padding : (top, bottom, left, right), px

    Returns
    -------
    (n,) float64, at most about 300,000 values; empty where no pixel is finite
    """
    inner = interior(image, padding)
    # An odd stride does not fall into step with detector tiles and binning, whose periods are even.
    strides = tuple(slice(None, None, max(1, side // _SAMPLES_PER_AXIS) | 1) for side in inner.shape)
    values = np.asarray(inner[strides], dtype=np.float64).ravel()
    return values if inner.dtype.kind in "iub" else values[np.isfinite(values)]


def robust_limits(
    image: NDArray[Any], low: float = 0.5, high: float = 99.5, padding: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> tuple[float, float]:
    """Contrast limits from percentiles of a subsample.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        NaN and infinities are ignored.
    low, high : float
        Percentiles, 0 .. 100.
    padding : (top, bottom, left, right)
        Border left out, px.

    Returns
    -------
    (lo, hi) : float, units of the image, finite, ``lo < hi`` always; (0, 1) where no pixel is finite
    """
    values = sample_pixels(image, padding)
    if not values.size:
        return 0.0, 1.0
    lo, hi = (float(v) for v in np.percentile(values, (low, high)))
    if not lo < hi:  # most pixels are equal: a mask, or spots on nothing
        lo, hi = float(values.min()), float(values.max())
    # napari and the GPU hold limits as float32: less than a few of its steps is nothing.
    if hi - lo <= 1e-6 * max(abs(lo), abs(hi)):
        half = max(0.5, 1e-3 * abs(lo))
        lo, hi = lo - half, hi + half
    return lo, hi


def robust_location(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and robust standard deviation (1.4826 MAD) of (n,) finite values.

    Falls back on the ordinary standard deviation where more than half of the values are equal, and on 1 where all are.
    """
    if not values.size:
        return 0.0, 1.0
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    if spread <= 0.0:
        spread = float(np.std(values / max(1.0, float(np.abs(values).max())))) * max(1.0, float(np.abs(values).max()))
    return median, spread if spread > 0.0 else 1.0
