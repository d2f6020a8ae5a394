"""Fourier shell correlation of half maps: resolution, what the mask adds, what the reference cannot explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from . import symmetry
from .fourier_map import centred_fft, centred_ifft, sphere

#: Resolution is where the corrected correlation of half maps falls below this (Rosenthal & Henderson 2003).
THRESHOLD = 0.143
#: Power of a shell below which it is not lifted, as a share of the strongest.
_LEAST_POWER = 1e-10
#: Phases are randomised from where the unmasked correlation first falls below this.
_RANDOM_FROM = 0.8
#: Shells between the reference's band and the first that counts as outside: the mask smears shells over neighbours.
GUARD = 2
#: Sum over shells in units of its standard error, from which there is structure.
SIGNIFICANT = 5.0


@dataclass(frozen=True, eq=False)
class ShellCorrelation:
    """Correlation of two half maps on each shell, (box // 2,) float64 each; shell ``i`` has the period ``box px / i``.

    Attributes
    ----------
    unmasked : within the largest ball only
    masked : within the mask of the particle
    random : masked, phases of both maps randomised beyond a shell
    corrected : masked, less what the mask alone explains (Chen et al. 2013, doi:10.1016/j.ultramic.2013.06.004)
    period_A : (box // 2,) float64
    mask : (box, box, box) float32
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    random: NDArray[np.float64]
    corrected: NDArray[np.float64]
    period_A: NDArray[np.float64]
    mask: NDArray[np.float32]

    @property
    def resolution_A(self) -> float:
        """Where the corrected correlation falls below :data:`THRESHOLD`; infinite where it never is above."""
        return crossing(self.corrected, self.period_A, THRESHOLD)


def shell_index(side: int) -> NDArray[np.intp]:
    """Shell of each voxel of a centred transform, (side, side, side) intp."""
    at = np.arange(side) - side // 2
    square = at * at
    return np.asarray(np.rint(np.sqrt(square[:, None, None] + square[:, None] + square)), np.intp)


def correlate(a: NDArray[np.complex64], b: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Correlation of two centred transforms on shells 0 to ``side // 2 - 1``; the zeroth is taken as 1.

    Both ``a`` (side, side, side) and ``b`` (side, side, side) have their origin at ``side // 2``.
    """
    side = len(a)
    shell = shell_index(side).ravel()
    count = side // 2
    cross = np.bincount(shell, (a * np.conj(b)).real.ravel())[:count]
    power = [np.bincount(shell, (np.abs(transform).astype(np.float64) ** 2).ravel())[:count] for transform in (a, b)]
    out = cross / np.maximum(np.sqrt(power[0] * power[1]), 1e-30)
    out[0] = 1.0
    return np.asarray(out)


def crossing(values: NDArray[np.float64], period_A: NDArray[np.float64], threshold: float) -> float:
    """Period at which a curve (n,) of periods (n,) first falls below a threshold, between shells by straight lines."""
    below = np.flatnonzero(values[1:] < threshold)
    if not len(below):
        return float(period_A[-1])
    last = int(below[0])  # the shell before the one that is below
    if last == 0:
        return float("inf")
    above, under = values[last], values[last + 1]
    part = (above - threshold) / max(above - under, 1e-12)
    k = (1.0 - part) / period_A[last] + part / period_A[last + 1]
    return float(1.0 / k)


def particle_mask(mean: NDArray[np.float32], pixel_size_A: float, smooth_A: float) -> NDArray[np.float32]:
    """Soft mask around the particle: where the smoothed map (n, n, n) is above a seventh of its height, widened.

    Where that finds next to nothing or nearly all, it is the largest ball.
    """
    side = len(mean)
    ball = sphere(side, side / 2 - 3, 4.0)
    smooth = scipy.ndimage.gaussian_filter(mean * ball, max(1.0, 0.3 * smooth_A / pixel_size_A))
    inside = smooth > np.percentile(smooth, 99.8) / 7.0
    labels, count = scipy.ndimage.label(inside)
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        inside = np.isin(labels, 1 + np.flatnonzero(sizes > 0.1 * sizes.max()))
    distance = scipy.ndimage.distance_transform_edt(~inside)
    soft = max(3.0, 0.04 * side)
    mask = np.clip(1.0 - (distance - soft) / soft, 0.0, 1.0).astype(np.float32) * ball
    return mask if 0.01 < mask.mean() < 0.9 * ball.mean() else ball


def compare_halves(
    half1: NDArray[np.float32], half2: NDArray[np.float32], pixel_size_A: float, rng: np.random.Generator
) -> ShellCorrelation:
    """Correlations of two unfiltered half maps.

    Parameters
    ----------
    half1, half2 : (box, box, box) float32
    pixel_size_A : float
    rng : numpy Generator
        Randomises phases.
    """
    side = len(half1)
    ball = sphere(side, side / 2 - 3, 4.0)
    flat1, flat2 = _flattened(half1, half2)
    unmasked = correlate(centred_fft(flat1 * ball), centred_fft(flat2 * ball))
    period = side * pixel_size_A / np.maximum(np.arange(side // 2), 1e-9)
    rough = crossing(unmasked, period, 0.5)
    mask = particle_mask(np.asarray((half1 + half2) / 2, np.float32), pixel_size_A, min(rough, side * pixel_size_A / 4))
    masked = correlate(centred_fft(flat1 * mask), centred_fft(flat2 * mask))
    below = np.flatnonzero(unmasked < _RANDOM_FROM)
    first = int(below[0]) if len(below) else len(masked)
    shuffled = [_randomised(half * ball, first, rng) * mask for half in (flat1, flat2)]
    random = correlate(centred_fft(shuffled[0]), centred_fft(shuffled[1]))
    corrected = masked.copy()
    beyond = slice(min(first + 2, len(masked)), None)
    corrected[beyond] = (masked[beyond] - random[beyond]) / np.maximum(1.0 - random[beyond], 1e-6)
    return ShellCorrelation(unmasked, masked, random, corrected, period, mask)


def _flattened(half1: NDArray[np.float32], half2: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Both with the same power on every shell.

    A correlation on shells does not depend on their power, but a mask smears each shell over its neighbours: where the
    images fall off steeply (low-passed ones), the strong coarse shells would be all that is seen on the fine ones.
    """
    shell = shell_index(len(half1))
    transforms = centred_fft(half1), centred_fft(half2)
    power = sum(np.bincount(shell.ravel(), (np.abs(t).astype(np.float64) ** 2).ravel()) for t in transforms)
    mean = np.asarray(power) / np.maximum(np.bincount(shell.ravel()), 1)
    height = (1.0 / np.sqrt(np.maximum(mean, _LEAST_POWER * mean.max()) + 1e-300)).astype(np.float32)[shell]
    first, second = (centred_ifft((transform * height).astype(np.complex64)) for transform in transforms)
    return first, second


def _randomised(volume: NDArray[np.float32], first: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """With random phases from a shell on: those of noise, so that they belong to a real map."""
    side = len(volume)
    values = centred_fft(volume)
    noise = centred_fft(rng.standard_normal(volume.shape).astype(np.float32))
    phase = noise / np.maximum(np.abs(noise), 1e-20)
    return centred_ifft(np.where(shell_index(side) >= first, np.abs(values) * phase, values).astype(np.complex64))


@dataclass(frozen=True, slots=True)
class Beyond:
    """What half maps share that the reference did not have.

    Attributes
    ----------
    mean : float
        Correlation outside the reference's band, weighted by what each shell can say.
    significance : float
        The best sum over shells from the band outwards, in units of its standard error.
    period_A : float
        Finest period to which that sum goes; infinite where it is not significant.
    """

    mean: float
    significance: float
    period_A: float

    @property
    def significant(self) -> bool:
        """There is structure."""
        return self.significance >= SIGNIFICANT


def beyond_reference(
    unmasked: NDArray[np.float64], period_A: NDArray[np.float64], band_A: float, last: int, name: str = "C1"
) -> Beyond:
    """Test the correlation outside the reference's band against none at all.

    The halves share no reference there, and noise has none either: the expected correlation is 0, its variance
    one over the independent voxels of the shell. Sums from the band outwards are looked at, because where structure
    ends is not known.

    Parameters
    ----------
    unmasked : (s,) float64
        Correlation within the largest ball.
    period_A : (s,) float64
    band_A : float
        Finest period of the reference, A.
    last : int
        Last shell that was reconstructed.
    name : str
        Of the symmetry, which makes copies of the noise.
    """
    side = 2 * len(unmasked)
    edge = int(np.ceil(side * period_A[1] / side / band_A)) + GUARD
    shells = np.arange(edge, min(last, len(unmasked) - 1) + 1)
    if not len(shells):
        return Beyond(0.0, 0.0, float("inf"))
    independent = 2.0 * np.pi * shells**2 * (np.pi / 6.0 * 0.7) / len(symmetry.rotations(name))
    total = np.cumsum(independent * unmasked[shells])
    significance = total / np.sqrt(np.cumsum(independent))
    best = int(significance.argmax())
    top = float(significance[best])
    period = float(period_A[_reach(unmasked, shells, independent)]) if top >= SIGNIFICANT else float("inf")
    return Beyond(float(total[best] / independent[: best + 1].sum()), top, period)


def _reach(unmasked: NDArray[np.float64], shells: NDArray[np.intp], independent: NDArray[np.float64]) -> int:
    """Last shell before the correlation falls below the threshold or into its own error."""
    limit = np.maximum(THRESHOLD, 2.0 / np.sqrt(independent))
    below = np.flatnonzero(unmasked[shells] < limit)
    return int(shells[max(0, below[0] - 1)] if len(below) else shells[-1])
