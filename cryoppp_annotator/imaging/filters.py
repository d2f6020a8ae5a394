"""Pure filters on micrographs: the padding border, Fourier cropping, band-pass. All keep pixel 0 where it is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..model.context import JobContext

Padding: TypeAlias = tuple[int, int, int, int]
Gain: TypeAlias = Callable[[NDArray[np.complex64], tuple[int, int], tuple[int, int]], NDArray[np.float32]]
NO_PADDING: Padding = (0, 0, 0, 0)
_QUIET = JobContext()

#: A line is padding while it differs from its neighbour by less than this share of what lines inside differ by ...
_FLAT = 0.2
#: ... and the image begins where lines differ by more than this share of it.
_ALIVE = 0.6
#: Fewest lines of padding. Denoised CryoPPP micrographs have some 20 px of wrapped-around image outside their 88 px of
#: padding.
_MIN_RUN = 4
#: Padding begins at most so far from the edge, share of the side.
_MAX_START = 0.01
_MAX_PADDING = 0.2


def fft_workers() -> int:
    """Threads for ``scipy.fft``: the cores this process may use, at most 8."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(8, cores))


def find_padding(image: NDArray[Any]) -> Padding:
    """Width of the border in which lines repeat (constant, or the last line smeared outward).

    Motion correction leaves a constant frame, and CryoPPP's denoised micrographs one in which the edge is smeared
    outwards. In both, a line hardly differs from the next one, compared with lines inside.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        Non-finite pixels count as flat, so a border of NaN is padding.

    Returns
    -------
    (top, bottom, left, right) : int, px; each 0 where there is none, at most a fifth of the side
    """
    if image.ndim != 2 or min(image.shape) < 16:
        return NO_PADDING
    vertical = image[:, :: max(1, image.shape[1] // 512)]
    horizontal = image[:: max(1, image.shape[0] // 512)].T
    return (
        _flat_lines(vertical, vertical),
        _flat_lines(vertical[::-1], vertical),
        _flat_lines(horizontal, horizontal),
        _flat_lines(horizontal[::-1], horizontal),
    )


def _line_change(lines: NDArray[Any], broken: float = 0.0) -> NDArray[np.float32]:
    """Absolute difference of each line and the next, (n - 1, m) float32; ``broken`` where only one is finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = lines.astype(np.float32)
        change = np.abs(np.diff(values, axis=0))
    if lines.dtype.kind == "f":
        finite = np.isfinite(values)
        change[~np.isfinite(change)] = 0.0
        change[finite[1:] != finite[:-1]] = broken
    return change


def _flat_lines(lines: NDArray[Any], whole: NDArray[Any]) -> int:
    """Number of padding lines at the start of ``lines`` (n, m); ``whole`` gives what is usual inside."""
    n = len(lines)
    at = np.linspace(n // 4, n - n // 4 - 2, min(64, n // 2)).astype(int)
    usual = np.concatenate([_line_change(whole[i : i + 2]) for i in at])
    ceiling = float(np.percentile(usual, 99))  # hot pixels must not decide
    middle = float(np.minimum(usual, ceiling).mean())
    if middle <= 0.0:
        return 0
    edge = _line_change(lines[: int(n * _MAX_PADDING) + 1], broken=ceiling)
    activity = np.minimum(edge, ceiling).mean(axis=1) / middle
    flat = activity < _FLAT
    for start in range(max(2, int(n * _MAX_START)) + 1):
        if flat[start : start + _MIN_RUN].all():
            alive = np.flatnonzero(activity[start:] >= _ALIVE)
            # No end within reach: not a border but an empty image.
            return 0 if not alive.size else start + int(alive[0]) + 1
    return 0


def crop_spectrum(
    spectrum: NDArray[np.complex64], full: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.complex64]:
    """Cut a half spectrum (``rfft2`` of a ``full`` image) down to the frequencies an image of ``shape`` can hold.

    Parameters
    ----------
    spectrum : (full[0], full[1] // 2 + 1) complex64
    full, shape : (rows, columns), ``shape <= full``

    Returns
    -------
    (shape[0], shape[1] // 2 + 1) complex64
        Scaled so that ``irfft2(..., s=shape)`` keeps grey values. The Nyquist line of an even, shortened axis is 0:
        it holds only half of what is needed to place it. Where ``shape`` is ``full``, the spectrum itself.
    """
    if shape == full:
        return spectrum
    rows, columns = shape
    positive = (rows + 1) // 2
    out = np.zeros((rows, columns // 2 + 1), np.complex64)
    kept = columns // 2 + 1 if columns == full[1] else (columns + 1) // 2
    if rows == full[0]:
        out[:, :kept] = spectrum[:, :kept]
    else:
        out[:positive, :kept] = spectrum[:positive, :kept]
        negative = rows - positive - (1 - rows % 2)
        if negative:
            out[-negative:, :kept] = spectrum[-negative:, :kept]
    out *= np.float32(rows * columns / (full[0] * full[1]))
    return out


def fourier_crop(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample an image by cutting its Fourier transform; the image is taken as periodic.

    Parameters
    ----------
    image : (h, w) real array, yx
    shape : (m, n), at most (h, w)

    Returns
    -------
    (m, n) float32
        Pixel ``(i, j)`` is centred at ``(i * h / m, j * w / n)`` of the input, for odd and even sizes alike.

    Raises
    ------
    ValueError
        Where ``shape`` is empty or larger than the image.
    """
    if not all(0 < new <= old for new, old in zip(shape, image.shape, strict=True)):
        raise ValueError(f"cannot crop an image of {image.shape} to {shape}")
    full = (image.shape[0], image.shape[1])
    spectrum = scipy.fft.rfft2(image.astype(np.float32, copy=False), workers=fft_workers())
    small = crop_spectrum(spectrum.astype(np.complex64, copy=False), full, shape)
    return np.asarray(scipy.fft.irfft2(small, s=shape, workers=fft_workers(), overwrite_x=True), np.float32)


def band_gain(
    shape: tuple[int, int], step: float, high_pass_px: float | None, low_pass_px: float | None
) -> NDArray[np.float32]:
    """Gain of a band-pass with Gaussian flanks, 1/2 at both cut-offs, on a half spectrum.

    Parameters
    ----------
    shape : (rows, columns) of the image
    step : float
        Full-resolution pixels per pixel of that image.
    high_pass_px, low_pass_px : float or None
        Longest and shortest wavelength kept, full-resolution px; None = open.

    Returns
    -------
    (rows, columns // 2 + 1) float32, 0 .. 1
    """
    ky = (np.fft.fftfreq(shape[0], step) ** 2).astype(np.float32)[:, None]
    kx = (np.fft.rfftfreq(shape[1], step) ** 2).astype(np.float32)[None]
    half = math.log(2.0)
    gain = np.ones((shape[0], shape[1] // 2 + 1), np.float32)
    if high_pass_px is not None:  # exp(-a k^2) is separable: two short exponentials and one outer product
        a = np.float32(half * high_pass_px**2)
        gain -= np.exp(-a * ky) * np.exp(-a * kx)
    if low_pass_px is not None:
        a = np.float32(half * low_pass_px**2)
        gain *= np.exp(-a * ky) * np.exp(-a * kx)
    return gain


def band_pass(
    image: NDArray[Any],
    high_pass_px: float | None,
    low_pass_px: float | None,
    *,
    step: float = 1.0,
    padding: Padding = NO_PADDING,
    overwrite: bool = False,
    context: JobContext = _QUIET,
) -> NDArray[np.float32]:
    """Band-pass and Fourier-crop in one real FFT pair; edges are mirrored, so nothing rings or wraps around.

    Parameters
    ----------
    image : (h, w) real array, yx, finite
    high_pass_px, low_pass_px : float or None
        Wavelengths at which the gain is 1/2, px; None = open.
    step : float
        Input pixels per output pixel, >= 1 and a multiple of 1/4.
    padding : (top, bottom, left, right), px
        Border whose content is replaced by the mirrored inside.
    overwrite : bool
        The image is no longer needed: where the result has its size, it is written over it.
    context : JobContext

    Returns
    -------
    (ceil(h / step), ceil(w / step)) float32
        Pixel ``(i, j)`` is centred at ``(i * step, j * step)`` exactly.

    Raises
    ------
    Cancelled
    ValueError
        Where ``step`` is not a multiple of 1/4 or below 1.
    """
    # The high-pass has sigma 0.19 wavelengths in real space: 0.6 of one on either side is three sigma.
    margin = 0.6 * (high_pass_px if high_pass_px is not None else 4.0 * (low_pass_px or 0.0))
    return filtered(
        image,
        lambda _spectrum, _full, small: band_gain(small, step, high_pass_px, low_pass_px),
        margin_px=margin,
        step=step,
        padding=padding,
        overwrite=overwrite,
        context=context,
    )


def filtered(
    image: NDArray[Any],
    gain: Gain,
    *,
    margin_px: float,
    step: float = 1.0,
    padding: Padding = NO_PADDING,
    overwrite: bool = False,
    context: JobContext = _QUIET,
) -> NDArray[np.float32]:
    """Filter and Fourier-crop in one real FFT pair; edges are mirrored, so nothing rings or wraps around.

    Parameters
    ----------
    image : (h, w) real array, yx, finite
    gain : callable
        ``gain(spectrum, full, small)`` is handed the half spectrum of the mirrored image of shape ``full`` and gives
        the factors, ``(small[0], small[1] // 2 + 1)`` float32, on the half spectrum of the picture of shape ``small``.
    margin_px : float
        How far the filter reaches, input px: so much is mirrored.
    step, padding, overwrite, context
        As in :func:`band_pass`.

    Returns
    -------
    (ceil(h / step), ceil(w / step)) float32
        Pixel ``(i, j)`` is centred at ``(i * step, j * step)`` exactly.

    Raises
    ------
    Cancelled
    ValueError
        Where ``step`` is not a multiple of 1/4 or below 1.
    """
    if step < 1.0 or (4.0 * step) % 1.0:
        raise ValueError(f"step must be a multiple of 1/4 and at least 1, not {step}")
    small = (_fast_size(image.shape[0], margin_px, step), _fast_size(image.shape[1], margin_px, step))
    full = (round(small[0] * step), round(small[1] * step))
    spectrum = _mirrored_spectrum(image, full, padding, context)
    factors = gain(spectrum, full, small)
    spectrum = crop_spectrum(spectrum, full, small)
    spectrum *= factors
    del factors
    context.check()
    shape = (math.ceil(image.shape[0] / step), math.ceil(image.shape[1] / step))
    fits = overwrite and shape == image.shape and image.dtype == np.float32
    return _inverse(spectrum, small, np.asarray(image) if fits else np.empty(shape, np.float32))


#: Rows that are transformed at once: the mirrored image need not be there as a whole.
_ROWS_AT_ONCE = 256


def _mirrored_spectrum(
    image: NDArray[Any], full: tuple[int, int], padding: Padding, context: JobContext
) -> NDArray[np.complex64]:
    """``rfft2`` of :func:`extend_mirrored`, (full[0], full[1] // 2 + 1) complex64, in pieces of rows."""
    spectrum = np.empty((full[0], full[1] // 2 + 1), np.complex64)
    for start in range(0, full[0], _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, full[0]))
        spectrum[rows] = scipy.fft.rfft(_mirrored_rows(image, full, padding, rows), axis=1, workers=fft_workers())
    context.check()
    done = scipy.fft.fft(spectrum, axis=0, workers=fft_workers(), overwrite_x=True)
    context.check()
    return np.asarray(done, np.complex64)


def _inverse(spectrum: NDArray[np.complex64], full: tuple[int, int], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """The corner ``out`` (h, w) of ``irfft2(spectrum, s=full)``, filled and returned; ``spectrum`` is destroyed."""
    columns = scipy.fft.ifft(spectrum, axis=0, norm="forward", workers=fft_workers(), overwrite_x=True)
    scale = np.float32(1.0 / (full[0] * full[1]))
    for start in range(0, len(out), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(out)))
        lines = scipy.fft.irfft(columns[rows], n=full[1], axis=1, norm="forward", workers=fft_workers())
        np.multiply(lines[:, : out.shape[1]], scale, out=out[rows])
    return out


def _fast_size(side: int, margin: float, step: float) -> int:
    """FFT-friendly output size, a multiple of 4, that holds ``side`` and twice the margin (input px)."""
    return 4 * int(scipy.fft.next_fast_len(math.ceil((side + 2.0 * min(margin, side)) / step / 4.0), real=True))


def extend_mirrored(image: NDArray[Any], full: tuple[int, int], padding: Padding = NO_PADDING) -> NDArray[np.float32]:
    """Put an image on a larger periodic canvas, in place, and mirror it over the rest; the seam is far from it.

    Parameters
    ----------
    image : (h, w) real array, yx
    full : (rows, columns) of the canvas, at least (h, w)
    padding : (top, bottom, left, right), px
        Border that is mirrored over, too.

    Returns
    -------
    full float32
    """
    return _mirrored_rows(image, full, padding, slice(0, full[0]))


def _mirrored_rows(image: NDArray[Any], full: tuple[int, int], padding: Padding, rows: slice) -> NDArray[np.float32]:
    """These rows of :func:`extend_mirrored`, (n, full[1]) float32."""
    top, bottom, left, right = padding
    h, w = image.shape[0] - top - bottom, image.shape[1] - left - right
    source = top + _mirror_index(full[0], image.shape[0], top, h)[rows]
    columns = left + _mirror_index(full[1], image.shape[1], left, w)
    outside = np.ones(full[1], bool)
    outside[left : left + w] = False
    lines = image[source]
    canvas = np.empty((len(source), full[1]), np.float32)
    canvas[:, left : left + w] = lines[:, left : left + w]
    canvas[:, outside] = lines[:, columns[outside]]
    return canvas


def _mirror_index(full: int, side: int, start: int, length: int) -> NDArray[np.intp]:
    """For each of ``full`` periodic positions the inside pixel (0 .. length - 1) mirrored there."""
    position = np.arange(full)
    wrapped = np.where(position < side + (full - side) // 2, position, position - full) - start
    folded = np.mod(wrapped, 2 * length)
    return np.asarray(np.minimum(folded, 2 * length - 1 - folded), np.intp)


def box_reduce(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Shrink by a whole factor with a box centred on every ``factor``-th pixel, so that pixel 0 stays in place.

    Parameters
    ----------
    image : (h, w) float32, yx
    factor : int, >= 1
        Plain block averaging would move the image by ``(factor - 1) / 2`` px; for even factors this box is one pixel
        wider with half weight at both ends instead. Edge pixels are repeated outwards.

    Returns
    -------
    (ceil(h / factor), ceil(w / factor)) float32; pixel ``(i, j)`` is centred at ``(i * factor, j * factor)``
    """
    if factor <= 1:
        return image
    return _reduce_rows(np.ascontiguousarray(_reduce_rows(image, factor).T), factor).T.copy()


def _reduce_rows(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    reach = factor // 2
    centres = np.arange(0, len(image), factor)
    out = np.zeros((len(centres), image.shape[1]), np.float32)
    for offset in range(-reach, reach + 1):
        weight = 0.5 if factor % 2 == 0 and abs(offset) == reach else 1.0
        out += np.float32(weight / factor) * image[np.clip(centres + offset, 0, len(image) - 1)]
    return out
