"""Cracks in the ice or the film: bright lines wider than any fringe, where the beam passes through nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..imaging.contrast import robust_location, sample_pixels
from ..imaging.denoise import diameter_px
from ..imaging.filters import box_reduce
from .dirt_cues import FloatImage, Mask, depth_in, each_part

#: Working pixels per particle diameter, and most of them along a side.
_PER_DIAMETER = 6.0
_MOST_SIDE = 256
#: Smoothing, diameters: the bright fringe of carbon is narrower.
_SMOOTH = 0.3
#: The inside of a crack is brighter than the field by so many robust s.d. ...
_BRIGHT = 8.0
#: ... and it reaches as far as it has this share of that.
_RIM = 0.4
#: A crack is at least so wide, diameters ...
_LEAST_WIDTH = 0.4
#: ... and so long, as a share of the shorter side.
_LEAST_LENGTH = 0.25
#: A line has more area than so many times the square of its inscribed radius; a hole in carbon has less.
_LINE = 8.0


def crack_share(inside: NDArray[Any], *, pixel_size_A: float | None, diameter_A: float | None) -> float:
    """Share of a micrograph's area that is cracked.

    Parameters
    ----------
    inside : (h, w) array of any real dtype, yx
        Raw, without its padding.
    pixel_size_A, diameter_A : float or None
        What the particles measure; a usual size where either is not known.

    Returns
    -------
    float
        0 .. 1
    """
    diameter = diameter_px(max(inside.shape), pixel_size_A, diameter_A)
    factor = max(1, round(diameter / _PER_DIAMETER), math.ceil(max(inside.shape) / _MOST_SIDE))
    median, spread = robust_location(sample_pixels(inside))
    if not spread > 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = np.clip(inside.astype(np.float32), median - 8 * spread, median + 8 * spread)
    np.nan_to_num(pixels, copy=False, nan=median)
    small = np.asarray(box_reduce(np.ascontiguousarray(pixels), factor), np.float32)
    if min(small.shape) < 24:
        return 0.0
    cracks = _cracks(ndimage.gaussian_filter(small, max(1.0, _SMOOTH * diameter / factor)), diameter / factor)
    return float(cracks.mean())


def _cracks(smooth: FloatImage, diameter: float) -> Mask:
    """Long bright lines of a smoothed picture."""
    above = _above_field(smooth)
    out = np.zeros(smooth.shape, bool)
    if not (above > _BRIGHT).any():
        return out
    brightest = ndimage.maximum_filter(above, size=2 * round(2.0 * diameter) + 1)
    rim = above > np.maximum(_RIM * brightest, _RIM * _BRIGHT)
    for window, part in each_part(rim, 1.0):
        depth = float(depth_in(part).max())
        length = math.hypot(*(np.ptp(np.flatnonzero(part.any(axis=axis))) + 1 for axis in (0, 1)))
        if (
            above[window][part].max() > _BRIGHT
            and 2.0 * depth >= max(2.0, _LEAST_WIDTH * diameter)
            and length >= _LEAST_LENGTH * min(smooth.shape)
            and part.sum() >= _LINE * depth**2
        ):
            out[window] |= part
    return out


def _above_field(smooth: FloatImage) -> FloatImage:
    """How far each pixel is above a plane through the field, in robust s.d. of the field.

    The field is what is neither among the darkest third (carbon, dirt) nor among the brightest third (cracks).
    """
    y, x = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in smooth.shape), indexing="ij")
    terms = np.stack([np.ones(smooth.size), y.ravel(), x.ravel()], axis=1)
    values = smooth.ravel().astype(np.float64)
    rest = values
    for _ in range(4):
        used = (rest >= np.percentile(rest, 33)) & (rest <= np.percentile(rest, 67))
        rest = values - terms @ np.linalg.lstsq(terms[used], values[used], rcond=None)[0]
    lower, middle, upper = np.percentile(rest, (25, 50, 75))
    spread = float(min(upper - middle, middle - lower)) / 0.6745  # the other is wide where carbon, or a crack, is
    return np.asarray(((rest - middle) / max(spread, 1e-30)).reshape(smooth.shape), np.float32)
