"""What the particles of a data set look like: a few average views, found without labels, and how likely each
place shows one of them.

Particles lie in any rotation, in a handful of views, in noise. So the best places of a detector are modelled as a
mixture of K averages, each turned by any angle, in white noise, and the averages are found by expectation
maximisation. A place's likelihood, summed over the views, the angles and small shifts, is a better detector than the
correlation with one average, because it asks for detail that only a particle has. Pictures are held as Fourier
coefficients over the angle, on rings: turning one is a change of phases, and all its correlations with all angles of
another are one short Fourier transform.

The mixture: F. Sigworth, J. Struct. Biol. 122 (1998) 328.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ..model.context import JobContext
from ..model.coordinates import FloatArray
from .response import FloatImage

Complex = NDArray[np.complex64]

#: Rings that a view is described on.
_RINGS = 10
#: Radius of the outermost ring, diameters.
_REACH = 0.6
#: Angles on a ring.
_ANGLES = 48
#: Angular harmonics that are kept beside the mean.
_HARMONICS = 14
#: Most views.
_MOST_VIEWS = 20
#: Places that each view needs.
_PLACES_EACH = 20
#: Rounds of expectation maximisation.
_ITERATIONS = 10
#: Variance of the noise; a white picture's is 1, but its pixels are not quite independent.
_VARIANCE = 2.0
#: The picture is clipped at this, standard deviations.
_CLIP = 4.0
#: An average is drawn towards nothing as by so many places.
_SHRINK = 5.0
#: The share of a view is drawn towards those of the others as by so many places.
_EVEN = 3.0
#: Shifts that are tried, diameters.
_SHIFT = 0.06
#: Places handled at a time, which bounds the memory.
_AT_ONCE = 400


@dataclass(frozen=True, eq=False)
class Views:
    """Averages of a mixture.

    Attributes
    ----------
    averages : (k, rings, harmonics + 1) complex64
    shares : (k,) float32
        Of the places; they sum to 1.
    """

    averages: Complex
    shares: NDArray[np.float32]


def pictures(white: FloatImage, x: FloatArray, y: FloatArray, diameter: float) -> Complex:
    """Places of a white picture as Fourier coefficients over the angle.

    Parameters
    ----------
    white : (h, w) float32, yx
        Whitened, in standard deviations.
    x, y : (n,) float64, px of ``white``
    diameter : float
        Of a particle, px of ``white``.

    Returns
    -------
    (n, rings, harmonics + 1) complex64
        Each ring times the square root of its pixels' area, so that a scalar product is one of pixels.
    """
    radius = ((np.arange(_RINGS) + 0.5) / _RINGS * _REACH * diameter)[:, None]
    angle = np.arange(_ANGLES) * (2.0 * np.pi / _ANGLES)
    places = [y[:, None, None] + radius * np.sin(angle), x[:, None, None] + radius * np.cos(angle)]
    values = np.clip(map_coordinates(white, places, order=1, mode="reflect"), -_CLIP, _CLIP)
    area = radius * (2.0 * np.pi / _ANGLES) * (_REACH * diameter / _RINGS)
    values *= np.sqrt(area / _ANGLES).astype(np.float32)
    return np.asarray(scipy.fft.rfft(values, axis=2)[:, :, : 1 + _HARMONICS], np.complex64)


def find_views(seen: Complex, weight: FloatArray, rng: np.random.Generator, context: JobContext) -> Views:
    """Averages that explain pictures best.

    Parameters
    ----------
    seen : (n, rings, harmonics + 1) complex64
        n >= 1.
    weight : (n,) float64
        How much each counts.
    rng : Generator
        Of the first guess; the same one gives the same averages.
    context : JobContext

    Raises
    ------
    Cancelled
    """
    k = int(np.clip(len(seen) // _PLACES_EACH, 1, _MOST_VIEWS))
    few = min(_PLACES_EACH, len(seen))
    averages = np.stack([seen[rng.choice(len(seen), few, replace=False)].mean(axis=0) for _ in range(k)])
    averages[:, :, 1:] = 0.5 * seen[rng.choice(len(seen), k, replace=False)][:, :, 1:]
    views = Views(averages.astype(np.complex64), np.full(k, 1.0 / k, np.float32))
    weight = np.asarray(weight, np.float32)
    for _ in range(_ITERATIONS):
        context.check()
        total = np.zeros(k)
        summed = np.zeros((1 + _HARMONICS, k, _RINGS), np.complex64)
        for start in range(0, len(seen), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            likely = _log_likely(seen[some], views)
            likely -= likely.max(axis=(1, 2), keepdims=True)
            np.exp(likely, out=likely)
            likely *= (weight[some] / likely.sum(axis=(1, 2)))[:, None, None]
            total += likely.sum(axis=(0, 2), dtype=np.float64)
            turned = np.conj(scipy.fft.rfft(likely, axis=2)[:, :, : 1 + _HARMONICS])
            summed += turned.transpose(2, 1, 0) @ seen[some].transpose(2, 0, 1)
        held = 1.0 / (total + _SHRINK)
        averages = (summed * held[:, None]).transpose(1, 2, 0)
        shares = (total + _EVEN) / (total + _EVEN).sum()
        views = Views(np.ascontiguousarray(averages, np.complex64), shares.astype(np.float32))
    return views


def likelihood(
    views: Views, white: FloatImage, x: FloatArray, y: FloatArray, diameter: float, context: JobContext
) -> FloatArray:
    """Log likelihood of places under the views against nothing but noise, summed over rotations and small shifts.

    Parameters
    ----------
    views : Views
    white : (h, w) float32, yx, standard deviations
        The whitened copy of the micrograph.
    x, y : (n,) float64, px of ``white``
    diameter : float
        Of a particle, px of ``white``.
    context : JobContext

    Returns
    -------
    (n,) float64

    Raises
    ------
    Cancelled
    """
    return likelihoods((views,), white, x, y, diameter, context)[0]


def likelihoods(
    several: Sequence[Views], white: FloatImage, x: FloatArray, y: FloatArray, diameter: float, context: JobContext
) -> list[FloatArray]:
    """As :func:`likelihood`, under several sets of views; the places are cut out once.

    Parameters
    ----------
    several : sequence of Views
    white : (h, w) float32, yx, standard deviations
    x, y : (n,) float64, px of ``white``
    diameter : float, px of ``white``
    context : JobContext

    Returns
    -------
    list of (n,) float64
    """
    out = [np.zeros(len(x)) for _ in several]
    step = _SHIFT * diameter
    shifts = [(dx * step, dy * step) for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    for start in range(0, len(x), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        sums: list[list[NDArray[np.float32]]] = [[] for _ in several]
        for dx, dy in shifts:
            context.check()
            seen = pictures(white, x[some] + dx, y[some] + dy, diameter)
            for views, of_shifts in zip(several, sums, strict=True):
                of_shifts.append(_log_sum(_log_likely(seen, views).reshape(len(seen), -1)))
        for values, of_shifts in zip(out, sums, strict=True):
            values[some] = _log_sum(np.stack(of_shifts, axis=1))
    return [np.asarray(values - np.log(_ANGLES * len(shifts))) for values in out]


def best_view(
    views: Views, white: FloatImage, x: FloatArray, y: FloatArray, diameter: float, context: JobContext
) -> tuple[NDArray[np.intp], FloatArray]:
    """The view that each place shows most likely, and how likely.

    Parameters
    ----------
    views : Views
    white : (h, w) float32, yx, standard deviations
        The whitened copy of the micrograph.
    x, y : (n,) float64, px of ``white``
    diameter : float
        Of a particle, px of ``white``.
    context : JobContext

    Returns
    -------
    view : (n,) intp
    log_likelihood : (n,) float64
        Against nothing but noise, at the best of all angles and small shifts.

    Raises
    ------
    Cancelled
    """
    step = _SHIFT * diameter
    best = np.full((len(x), len(views.shares)), -np.inf)
    for start in range(0, len(x), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            context.check()
            seen = pictures(white, x[some] + dx * step, y[some] + dy * step, diameter)
            best[some] = np.maximum(best[some], _log_likely(seen, views).max(axis=2))
    return best.argmax(axis=1), best.max(axis=1)


def similarity(views: Views) -> FloatArray:
    """Largest correlation of each average with each other one, over all angles: (k, k) float64, -1 .. 1."""
    spectra = views.averages.transpose(2, 0, 1)
    product = (spectra @ np.conj(spectra).transpose(0, 2, 1)).transpose(1, 2, 0)
    spectrum = np.zeros((*product.shape[:2], _ANGLES // 2 + 1), np.complex64)
    spectrum[:, :, : 1 + _HARMONICS] = product
    together = scipy.fft.irfft(spectrum, n=_ANGLES, axis=2).max(axis=2)
    length = np.sqrt(np.maximum(np.diag(together), 1e-12))
    return np.asarray(together / length[:, None] / length[None], np.float64)


def _log_sum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    most = values.max(axis=1)
    return np.asarray(most + np.log(np.exp(values - most[:, None]).sum(axis=1)))


def _log_likely(seen: Complex, views: Views) -> NDArray[np.float32]:
    """Log likelihood of each picture (n) under each view (k) at each angle (a), with its share: (n, k, a) float32."""
    product = seen.transpose(2, 0, 1) @ np.conj(views.averages).transpose(2, 1, 0)
    spectrum = np.zeros((len(seen), len(views.shares), _ANGLES // 2 + 1), np.complex64)
    spectrum[:, :, : 1 + _HARMONICS] = product.transpose(1, 2, 0)
    out = scipy.fft.irfft(spectrum, n=_ANGLES, axis=2, overwrite_x=True)
    power = np.abs(views.averages) ** 2
    length = power[:, :, 0].sum(axis=1) + 2.0 * power[:, :, 1:].sum(axis=(1, 2))
    out *= np.float32(_ANGLES / _VARIANCE)
    out += (np.log(views.shares) - 0.5 * length / _VARIANCE).astype(np.float32)[:, None]
    return np.asarray(out, np.float32)
