"""What the built-in pickers share: the working copy of a micrograph, whitening, scores in units of noise, peaks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from ..imaging.denoise import cleaned
from ..imaging.filters import Padding, band_pass, fft_workers
from ..model.context import JobContext

FloatImage = NDArray[np.float32]

#: Pixels of the working copy per particle diameter.
_PX_PER_DIAMETER = 16.0
#: Longest wavelength that is let through, diameters.
_HIGH_PASS = 3.0
#: Shortest wavelength that is let through, diameters.
_LOW_PASS = 0.1
#: Pixels beyond so many robust s.d. show ice, not a particle.
_CLIP = 4.0
#: Bins of the radial spectrum.
_BINS = 60
#: Power of the spectrum that is divided out; 1 = fully white.
_WHITENING = 0.5
#: Statistics of the working copy are taken from every so many pixels; odd, so that it drifts across the columns.
_SPARSE = 5


def working_copy(
    clean: FloatImage, padding: Padding, whole: float, context: JobContext
) -> tuple[FloatImage, float] | None:
    """Band-passed, shrunk copy in robust standard deviations, and micrograph pixels per pixel of it.

    Parameters
    ----------
    clean : (h, w) float32
        Of :func:`bright_copy`.
    padding : (top, bottom, left, right), px
    whole : float
        Diameter of a particle, px.
    context : JobContext

    Returns
    -------
    (small, step), or None where the image holds nothing
    """
    step = max(1.0, math.floor(4.0 * whole / _PX_PER_DIAMETER) / 4.0)
    low, high = cut_offs(whole / step)
    small = band_pass(clean, low * step, high * step, step=step, padding=padding, context=context)
    spread = robust_sd(small)
    # of a constant image only rounding errors are left
    if spread < 1e-5:
        return None
    np.clip(small, -_CLIP * spread, _CLIP * spread, out=small)
    small /= np.float32(spread)
    return small, step


def cut_offs(diameter: float) -> tuple[float, float]:
    """Longest and shortest wavelength of the working copy, px of it; ``diameter`` too."""
    return _HIGH_PASS * diameter, max(_LOW_PASS * diameter, 2.0)


def bright_copy(image: NDArray[Any], padding: Padding, polarity: str, context: JobContext) -> FloatImage:
    """The cleaned micrograph (h, w) with bright particles."""
    clean = cleaned(image, padding, context)
    if polarity == "dark":
        np.negative(clean, out=clean)
    return clean


def whitening(spectrum: NDArray[np.complex64], frequency: FloatImage, part: float = _WHITENING) -> FloatImage:
    """Gain that takes part of the radial amplitude out of the spectrum; 1 = all of it.

    ``spectrum`` (h, w // 2 + 1), ``frequency`` (h, w // 2 + 1) in cycles per px.
    """
    ring = np.minimum((frequency * (2 * _BINS)).astype(np.intp), _BINS - 1)
    total = np.bincount(ring.ravel(), (np.abs(spectrum) ** 2).ravel(), _BINS)
    power = total / np.maximum(1, np.bincount(ring.ravel(), minlength=_BINS))
    gain = np.maximum(power, 1e-4 * power.max()) ** (-0.5 * part)
    return np.asarray((gain / gain.max()).astype(np.float32)[ring])


def white_copy(image: FloatImage) -> FloatImage:
    """A picture whose noise is the same at all frequencies, in robust standard deviations, (h, w) float32."""
    shape = tuple(int(scipy.fft.next_fast_len(side + side // 16, real=True)) for side in image.shape)
    extended = np.pad(image, [(0, b - a) for a, b in zip(image.shape, shape, strict=True)], mode="symmetric")
    spectrum = scipy.fft.rfft2(extended, workers=fft_workers())
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]).astype(np.float32)
    white = filtered(spectrum, whitening(spectrum, frequency, 1.0), shape, image.shape)
    return white / np.float32(max(robust_sd(white), 1e-12))


def filtered(
    spectrum: NDArray[np.complex64], gain: FloatImage | float, full: tuple[int, ...], shape: tuple[int, ...]
) -> FloatImage:
    """Image of ``shape`` of a half spectrum (h, w // 2 + 1) of a ``full`` image, times a gain (h, w // 2 + 1)."""
    out = scipy.fft.irfft2(spectrum * gain, s=full, workers=fft_workers(), overwrite_x=True)
    return np.asarray(out[: shape[0], : shape[1]], np.float32)


def robust_sd(values: NDArray[Any]) -> float:
    """Standard deviation of values (..., n) by the median deviation, of some 200,000 of them."""
    sample = values.ravel()[:: max(1, values.size // 200_000)]
    return 1.4826 * float(np.median(np.abs(sample - np.median(sample))))


def normalised(response: FloatImage, inner: NDArray[np.bool_], window: int) -> FloatImage:
    """Response in units of its noise: the micrograph's robust s.d., or the neighbourhood's where that is more.

    ``response`` (h, w) float; ``inner`` (h, w) bool, where there is no padding. The neighbourhood's
    is taken from what is below the median, where particles are not.
    """
    values = response[inner][::_SPARSE]
    response = response - np.float32(np.median(values))
    overall = max(robust_sd(values), 1e-12)
    low = np.clip(response, -_CLIP * overall, 0.0) ** 2
    low[~inner] = 0.0
    weight = uniform_filter((inner & (response < 0)).astype(np.float32), window, mode="constant")
    local = np.sqrt(uniform_filter(low, window, mode="constant") / np.maximum(weight, 1e-3))
    usual = max(float(np.median(local[inner][::_SPARSE])), 1e-12)
    return np.asarray(response / (np.float32(overall) * np.maximum(local / usual, 1.0)), np.float32)


def peaks(response: FloatImage, distance: float) -> tuple[NDArray[np.float64], ...]:
    """Local maxima above 0 of a response (h, w), with a parabola through their neighbours: y, x (its px), score."""
    size = 2 * max(1, int(distance)) + 1
    top = (response == maximum_filter(response, size=size)) & (response > 0)
    top[[0, -1]] = top[:, [0, -1]] = False
    y, x = np.nonzero(top)
    score = response[y, x]
    dy = _vertex(response[y - 1, x], score, response[y + 1, x])
    dx = _vertex(response[y, x - 1], score, response[y, x + 1])
    return y + dy, x + dx, score.astype(np.float64)


def _vertex(before: FloatImage, at: FloatImage, after: FloatImage) -> NDArray[np.float64]:
    bend = (before - 2.0 * at + after).astype(np.float64)
    shift = 0.5 * (before.astype(np.float64) - after) / np.where(bend < 0, bend, 1.0)
    return np.where(bend < 0, np.clip(shift, -0.5, 0.5), 0.0)


def inner_mask(shape: tuple[int, ...], padding: Padding, step: float, full: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the working copy (of ``shape``) shows image and no padding, (h, w) bool."""
    top, bottom, left, right = padding
    y, x = np.arange(shape[0]) * step, np.arange(shape[1]) * step
    rows, columns = (y >= top) & (y < full[0] - bottom), (x >= left) & (x < full[1] - right)
    return rows[:, None] & columns[None]
