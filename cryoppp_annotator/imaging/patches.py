"""Boxes around picks, cut from a micrograph and made fit for averaging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..model.coordinates import FloatArray
from .ctf import Defocus, Optics, ctf_2d
from .filters import fft_workers

#: Boxes transformed at once.
_BATCH = 256


class Edge(StrEnum):
    """What becomes of a pick whose box reaches beyond the micrograph."""

    SKIP = "skip"
    PAD = "pad"


@dataclass(frozen=True, slots=True)
class PatchOptions:
    """How boxes are cut.

    Attributes
    ----------
    box_px : int
        Side of the box in the micrograph, px, even.
    out_px : int
        Side after Fourier cropping, px, even, at most ``box_px``.
    edge : Edge
        Leave out boxes beyond the edge, or repeat the edge pixels outwards.
    radius : float
        Radius of the particle as a share of the box; background is what lies outside. RELION's default is 0.375.
    invert : bool
        True for particles that are dark in the micrograph: they become white.
    """

    box_px: int
    out_px: int
    edge: Edge = Edge.SKIP
    radius: float = 0.375
    invert: bool = True

    def __post_init__(self) -> None:
        if not 8 <= self.out_px <= self.box_px or self.out_px % 2 or self.box_px % 2:
            raise ValueError(f"box sides must be even, 8 px or more: not {self.box_px} px cropped to {self.out_px} px")


def box_for(diameter_px: float, diameters: float = 1.5) -> int:
    """Even FFT-friendly box of at least so many diameters, px.

    Raises
    ------
    ValueError
        The diameter is not a positive number.
    """
    if not 0 < diameter_px < 1e5:
        raise ValueError(f"no box for a diameter of {diameter_px} px")
    return max(8, 2 * int(scipy.fft.next_fast_len(math.ceil(diameters * diameter_px / 2.0))))


def extract_patches(
    image: NDArray[Any],
    x: FloatArray,
    y: FloatArray,
    options: PatchOptions,
    *,
    ctf: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Cut boxes around picks: centred to a fraction of a pixel, ramp removed, normalised, white.

    Parameters
    ----------
    image : (h, w) real array, yx
    x, y : (n,) float64, px, canonical
    options : PatchOptions
    ctf : (box_px, box_px // 2 + 1) float32, optional
        As of :func:`phase_ctf`: phases are flipped where it is negative.

    Returns
    -------
    patches : (m, out_px, out_px) float32
        The pick lies at pixel ``out_px // 2`` of both axes; outside the circle mean 0 and standard deviation 1.
    rows : (m,) intp
        Which picks. Left out are boxes beyond the edge (with :attr:`Edge.SKIP`), those with non-finite pixels or
        position, those without any contrast outside the circle, and picks that lie off the micrograph themselves.
    """
    corner, fraction = _corners(x, y, options.box_px)
    rows = _placeable(image, x, y, corner, options)
    kept: list[NDArray[np.float32]] = [np.zeros((0, options.out_px, options.out_px), np.float32)]
    of_rows: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        patches = _cut(image, corner[batch], options.box_px)
        good = np.isfinite(patches).all(axis=(1, 2))
        patches, batch = patches[good], batch[good]
        if options.invert:
            np.negative(patches, out=patches)
        # Before it is moved: a ramp jumps at the box's edge, and moving a jump by a fraction of a pixel rings.
        patches -= patches.mean(axis=(1, 2), keepdims=True)
        size = np.abs(patches).max(axis=(1, 2), initial=0.0)
        _level(patches, options.radius)
        patches = _resampled(patches, fraction[batch], options, ctf)
        contrast = _standardise(patches, options.radius, size)
        kept.append(patches[contrast])
        of_rows.append(batch[contrast])
    return np.concatenate(kept), np.concatenate(of_rows)


def shrink(patches: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Fourier-crop a stack of boxes to ``side`` px; pixel ``box // 2`` comes to lie at ``side // 2``.

    Parameters
    ----------
    patches : (n, box, box) real array
        Of an odd box the last row and column are dropped. Boxes with NaN stay NaN.
    side : int
        Even, at most ``box``.

    Returns
    -------
    (n, side, side) float32
    """
    even = patches.shape[1] // 2 * 2
    options = PatchOptions(even, side)
    out = np.empty((len(patches), side, side), np.float32)
    for start in range(0, len(patches), _BATCH):
        batch = np.asarray(patches[start : start + _BATCH, :even, :even], np.float32)
        with np.errstate(invalid="ignore"):
            out[start : start + _BATCH] = _resampled(batch, np.zeros((len(batch), 2), np.float32), options, None)
    return out


def phase_ctf(box_px: int, pixel_size_A: float, defocus: Defocus, optics: Optics) -> NDArray[np.float32]:
    """The CTF on the half spectrum of a box, (box_px, box_px // 2 + 1) float32."""
    return ctf_2d((box_px, box_px), pixel_size_A, defocus, optics)


def _corners(x: FloatArray, y: FloatArray, box: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """First pixel of each box and what the pick lies beside its pixel ``box // 2``, both (n, 2), yx."""
    centre = np.stack([y, x], axis=1)
    known = np.where(np.isfinite(centre) & (np.abs(centre) < 1e9), centre, -1e9)
    nearest = np.floor(known + 0.5)
    return nearest.astype(np.int64) - box // 2, (known - nearest).astype(np.float32)


def _placeable(
    image: NDArray[Any], x: FloatArray, y: FloatArray, corner: NDArray[np.int64], options: PatchOptions
) -> NDArray[np.intp]:
    h, w = image.shape
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    if options.edge is Edge.SKIP:
        inside &= (corner >= 0).all(axis=1) & (corner + options.box_px <= [h, w]).all(axis=1)
    return np.flatnonzero(inside)


def _cut(image: NDArray[Any], corner: NDArray[np.int64], box: int) -> NDArray[np.float32]:
    line = np.arange(box)
    rows = np.clip(corner[:, :1] + line, 0, image.shape[0] - 1)
    columns = np.clip(corner[:, 1:] + line, 0, image.shape[1] - 1)
    with np.errstate(over="ignore"):
        return np.asarray(image[rows[:, :, None], columns[:, None, :]], np.float32)


def _resampled(
    patches: NDArray[np.float32], fraction: NDArray[np.float32], options: PatchOptions, ctf: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Fourier-cropped, moved by the fraction of a pixel, phases flipped."""
    box, out = options.box_px, options.out_px
    spectrum = scipy.fft.rfft2(patches, workers=fft_workers())
    if ctf is not None:
        spectrum *= np.where(ctf < 0, np.float32(-1.0), np.float32(1.0))
    # The pick must come to lie at out // 2 of the new grid, which is pixel (out // 2) * box / out of the old one.
    target = (out // 2) * box / out
    move = target - (box // 2 + fraction)
    keep = out // 2
    rows = np.concatenate([np.arange(keep), np.arange(box - keep, box)])
    small = spectrum[:, rows, : keep + 1]
    if out < box:
        small[:, keep] = 0.0  # the Nyquist line holds only half of what is needed to place it
        small[:, :, keep] = 0.0
    ky = np.fft.fftfreq(box)[rows]
    kx = np.arange(keep + 1) / box
    small *= np.exp(-2j * np.pi * move[:, :1] * ky).astype(np.complex64)[:, :, None]
    small *= np.exp(-2j * np.pi * move[:, 1:] * kx).astype(np.complex64)[:, None]
    small *= np.float32((out / box) ** 2)
    return np.asarray(scipy.fft.irfft2(small, s=(out, out), workers=fft_workers(), overwrite_x=True), np.float32)


def normalise(patches: NDArray[np.float32], radius: float = 0.375) -> NDArray[np.bool_]:
    """Remove the plane through the background and bring it to mean 0, standard deviation 1, in place.

    Parameters
    ----------
    patches : (n, side, side) float32, finite
    radius : float
        Background is what lies farther than so many sides from pixel ``side // 2``.

    Returns
    -------
    (n,) bool
        False where the background has no contrast; those patches are only levelled.
    """
    return _standardise(patches, radius, np.abs(patches).max(axis=(1, 2), initial=0.0))


def _standardise(patches: NDArray[np.float32], radius: float, size: NDArray[np.float32]) -> NDArray[np.bool_]:
    """:func:`normalise`, given the size (n,) of the grey values before anything was subtracted from them."""
    outside = _level(patches, radius)
    sd = patches[:, outside].std(axis=1)
    good = sd > 1e-5 * size
    patches /= np.where(good, sd, 1.0)[:, None, None]
    return np.asarray(good, np.bool_)


def _level(patches: NDArray[np.float32], radius: float) -> NDArray[np.bool_]:
    """Remove the plane through each background in place; which pixels are background, (side, side)."""
    side = patches.shape[1]
    yy, xx = (np.indices((side, side)) - side // 2).astype(np.float32)
    outside = np.hypot(yy, xx) > radius * side
    plane = np.stack([np.ones_like(xx), xx, yy], axis=-1)
    solve = np.linalg.pinv(plane[outside].astype(np.float64)).astype(np.float32)
    patches -= np.tensordot(patches[:, outside] @ solve.T, plane, axes=([1], [2]))
    return np.asarray(outside, np.bool_)
