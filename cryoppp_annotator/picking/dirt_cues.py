"""What gives dirt away on a small copy of a micrograph: darkness, wide darkness, and too much detail."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Smoothing that wide darkness is looked for with, diameters.
_WIDE_SMOOTH = 0.3
#: Side of the square that has to fit into a wide thing, diameters.
_WIDE_SIDE = 1.4
#: A wide thing is seen where it is darker than this, robust s.d. of the field's own bright places.
_WIDE_DEPTH = 10.0
#: A wide thing reaches as far as it has this share of its darkness.
_WIDE_SHARE = 0.5
#: So dark is enough where there is less than the median detail: a crowd of particles has more.
_WIDE_EMPTY = 9.0
#: Field, in the same unit, is never brighter.
_BRIGHTEST = 2.0
#: The strength of detail is averaged over so much, diameters.
_AVERAGE = 0.6
#: At its strongest an aggregate has so many times the detail of particles ...
_CLUMP_DETAIL = 3.5
#: ... and at its rim so many times ...
_CLUMP_RIM = 2.0
#: ... and at its rim an aggregate has such a share of its strongest nearby.
_CLUMP_SHARE = 0.25
#: What is smaller is a particle, square diameters.
_CLUMP_LEAST = 3.0
#: So many particles are what detail is measured by.
_SINGLES = 5
#: What has more area than so many times the square of its inscribed radius is a line.
_COMPACT = 8.0
#: Share of the local maxima of detail that particles may make up or not.
_TYPICAL = 70


def below_field(smooth: FloatImage) -> FloatImage:
    """How far each pixel is above its field, in robust standard deviations of what is brighter than the field.

    Parameters
    ----------
    smooth : (h, w) float32
        The field is a parabola through the brighter part, whatever share of the image is dark.

    Returns
    -------
    (h, w) float32, negative on dark things
    """
    step = max(1, int(math.sqrt(smooth.size / 6000)))
    sample = smooth[::step, ::step].astype(np.float64)
    y, x = np.linspace(-1, 1, sample.shape[0])[:, None], np.linspace(-1, 1, sample.shape[1])[None]
    terms = np.stack([np.broadcast_to(t, sample.shape).ravel() for t in (1.0, x, y, x * x, x * y, y * y)], 1)
    values = sample.ravel()
    weight = (values > np.percentile(values, 30)).astype(np.float64)
    spread = 0.0
    factors = np.zeros(6)
    for _ in range(12):
        weighted = terms * weight[:, None]
        factors = np.linalg.lstsq(weighted.T @ terms, weighted.T @ values, rcond=None)[0]
        rest = values - terms @ factors
        above = rest[rest > 0]
        spread = float(np.median(above)) / 0.6745 if len(above) else 0.0
        if spread <= 1e-6 * max(1e-30, float(np.abs(values).max())):
            return np.zeros_like(smooth)
        weight = np.where(
            rest > 0, 1.0 / np.maximum(1.0, rest / (2 * spread)), np.clip(1.0 - (rest / (4 * spread)) ** 2, 0, 1) ** 2
        )
    # the sample's first and last line lie where its grid says, not at the image's edge
    y = (np.arange(smooth.shape[0]) / (step * max(1, sample.shape[0] - 1)) * 2 - 1)[:, None]
    x = (np.arange(smooth.shape[1]) / (step * max(1, sample.shape[1] - 1)) * 2 - 1)[None]
    a, b, c, d, e, f = factors
    # no matrix product: its threads would spin for longer than it takes
    down, across = np.float32(a + c * y + f * y * y), np.float32(b * x + d * x * x)
    above_field = smooth - down - across - np.float32(e * y) * np.float32(x)
    return np.asarray(above_field * np.float32(1.0 / spread), np.float32)


def wide_and_dark(small: FloatImage, strength: FloatImage, diameter: float) -> Mask:
    """Insides of things wider than a particle and darker than the gaps between particles, however pale.

    Parameters
    ----------
    small : (h, w) float32
        Dirt and particles dark.
    strength : (h, w) float32
        See :func:`detail`.
    diameter : float
        Px of ``small``.

    Returns
    -------
    (h, w) bool
        A grey closing by a square of 1.4 diameters fills single particles and crowds of them (whose gaps are as bright
        as the field) and leaves what the square fits into.
    """
    side = 2 * round(0.5 * _WIDE_SIDE * diameter) + 1
    # what is brighter than the field (the fringe of carbon, a crack) is field
    smooth = np.minimum(below_field(ndimage.gaussian_filter(small, _WIDE_SMOOTH * diameter)), _BRIGHTEST)
    closed = below_field(ndimage.minimum_filter(ndimage.maximum_filter(smooth, size=side), size=side))
    seed = (closed < -_WIDE_DEPTH) | ((closed < -_WIDE_EMPTY) & (strength < float(np.median(strength))))
    if not seed.any():
        return np.asarray(seed)
    deepest = ndimage.minimum_filter(closed, size=side)
    dark = touching((closed < _WIDE_SHARE * deepest) & (closed < -_WIDE_SHARE * _WIDE_DEPTH), seed)
    return compact(dark)


def compact(mask: Mask) -> Mask:
    """The connected parts of ``mask`` that are no lines (the rim of carbon, a fringe)."""
    kept = np.zeros(mask.shape, bool)
    for window, part in each_part(mask, 0.0):
        kept[window] |= part & (part.sum() < _COMPACT * depth_in(part).max() ** 2)
    return kept


def detail(fine: FloatImage, coarse: FloatImage, diameter: float) -> FloatImage:
    """Strength (variance) of detail of the size of particles around each pixel, (h, w) float32.

    Parameters
    ----------
    fine, coarse : (h, w) float32
        Smoothed by an eighth and by half of a diameter.
    diameter : float
    """
    band = fine - coarse
    band *= band
    return np.asarray(ndimage.gaussian_filter(band, _AVERAGE * diameter))


def clumps(strength: FloatImage, diameter: float) -> Mask:
    """Where there is much more :func:`detail` than particles have, over more than one of them.

    Parameters
    ----------
    strength : (h, w) float32
    diameter : float

    Returns
    -------
    (h, w) bool
        Aggregates; ice, too, where it has a strong rim or detail.
    """
    nothing = np.zeros(strength.shape, bool)
    strongest_near = ndimage.maximum_filter(strength, size=2 * round(0.75 * diameter) + 1)
    peaks = strength[strength == strongest_near]
    usual = float(np.percentile(peaks, _TYPICAL)) if len(peaks) else 0.0
    if float(strength.max()) <= _CLUMP_DETAIL * usual:
        return nothing
    own = strength > _CLUMP_SHARE * ndimage.maximum_filter(strongest_near, size=2 * round(1.25 * diameter) + 1)
    for _ in range(3):
        if usual <= 0:
            return nothing
        label, n = ndimage.label(own & (strength > _CLUMP_RIM * usual))
        if not n:
            return nothing
        numbers = np.arange(1, n + 1)
        strongest = np.atleast_1d(ndimage.maximum(strength, label, numbers))
        area = np.bincount(label.ravel(), minlength=n + 1)[1:] / diameter**2
        single = (area < _CLUMP_LEAST) & (strongest > 1.5 * usual)
        if single.sum() < _SINGLES:
            clumped = np.isin(label, numbers[(area >= _CLUMP_LEAST) & (strongest > _CLUMP_DETAIL * usual)])
            return compact(np.asarray(clumped & (label > 0)))
        usual = float(np.median(strongest[single]))  # few particles: most maxima were noise
    return nothing


def depth_in(mask: Mask) -> NDArray[np.float64]:
    """Distance to what is outside; what is cut by the image's edge goes on there."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1])


def grown(mask: Mask, reach: float) -> Mask:
    """``mask`` and all within ``reach`` px of it."""
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= reach)


def each_part(mask: Mask, margin: float) -> Iterator[tuple[tuple[slice, slice], Mask]]:
    """Connected parts of ``mask``: a window with ``margin`` px around each, and the part in it."""
    label, _ = ndimage.label(mask)
    reach = math.ceil(margin) + 1
    for number, box in enumerate(ndimage.find_objects(label), 1):
        rows, columns = (slice(max(0, along.start - reach), along.stop + reach) for along in box)
        yield (rows, columns), np.asarray(label[rows, columns] == number)


def touching(mask: Mask, seed: Mask) -> Mask:
    """The connected parts of ``mask`` that hold a pixel of ``seed``."""
    label, n = ndimage.label(mask)
    touched = np.zeros(n + 1, bool)
    touched[label[mask & seed]] = True
    touched[0] = False
    return np.asarray(touched[label])
