"""A map's Fourier transform, sampled where projections need it (the projection-slice theorem)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..errors import EngineError
from ..imaging.filters import fft_workers
from ..imaging.polar import PolarGrid
from . import poses

#: The transform is sampled this many times as finely as the map needs, so that straight lines between samples will do.
PADDING = 2
_BLOCK = 400_000


@dataclass(frozen=True, eq=False)
class FourierMap:
    """The transform of a map.

    Attributes
    ----------
    values : (p, p, p) complex64, zyx
        Zero frequency at ``p // 2``; divided beforehand by what straight lines between samples multiply.
    step : float
        Frequency of one sample, 1/A.
    limit_A : float
        Finest period that it holds, A.
    """

    values: NDArray[np.complex64]
    step: float
    limit_A: float

    def at(self, k: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Values at frequencies ``k`` (..., 3), xyz, 1/A; 0 beyond what the map holds."""
        flat = k.reshape(-1, 3)
        out = np.empty(len(flat), np.complex64)
        for start in range(0, len(flat), _BLOCK):
            out[start : start + _BLOCK] = self._block(flat[start : start + _BLOCK])
        return out.reshape(k.shape[:-1])

    def _block(self, k: NDArray[np.float64]) -> NDArray[np.complex64]:
        side = self.values.shape[0]
        place = (k / self.step + side // 2).astype(np.float32)
        base = np.floor(place)
        inside = ((base >= 0) & (base < side - 1)).all(axis=1)
        base = np.clip(base, 0, side - 2)
        x, y, z = (place - base).T
        index = base.astype(np.int32)
        corner = (index[:, 2] * side + index[:, 1]) * side + index[:, 0]
        flat = self.values.reshape(-1)
        low, high = (
            (flat[at] * (1 - x) + flat[at + 1] * x) * (1 - y)
            + (flat[at + side] * (1 - x) + flat[at + side + 1] * x) * y
            for at in (corner, corner + side * side)
        )
        return np.asarray((low * (1 - z) + high * z) * inside, np.complex64)


def sphere(box: int, radius_px: float, soft_px: float = 3.0) -> NDArray[np.float32]:
    """Soft ball (box, box, box) float32 around ``box // 2``: 1 inside, 0 outside."""
    at = np.arange(box, dtype=np.float32) - box // 2
    square = at * at
    radius = np.sqrt(square[:, None, None] + square[:, None] + square)
    return np.asarray(np.clip((radius_px - radius) / soft_px + 0.5, 0.0, 1.0), np.float32)


def centred_fft(volume: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Transform (n, ..., n) with both origins at ``n // 2``, any number of axes."""
    moved = scipy.fft.fftn(np.fft.ifftshift(volume), workers=fft_workers())
    return np.asarray(np.fft.fftshift(moved), np.complex64)


def centred_ifft(values: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Undo :func:`centred_fft` of (n, ..., n); the real part."""
    moved = scipy.fft.ifftn(np.fft.ifftshift(values), workers=fft_workers())
    return np.asarray(np.fft.fftshift(moved.real), np.float32)


def resized(values: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """Crop or zero-pad all axes of (n, ..., n) to ``side`` around ``n // 2``."""
    out = np.zeros((side,) * values.ndim, values.dtype)
    pairs = [_overlap(n, side) for n in values.shape]
    out[tuple(pair[1] for pair in pairs)] = values[tuple(pair[0] for pair in pairs)]
    return out


def _overlap(source: int, target: int) -> tuple[slice, slice]:
    first = target // 2 - source // 2
    low, high = max(0, first), min(target, first + source)
    return slice(low - first, high - first), slice(low, high)


def spread_correction(side: int, padded: int) -> NDArray[np.float32]:
    """What straight lines between samples of a padded transform multiply the map by, (side, side, side) float32."""
    line = np.sinc((np.arange(side) - side // 2) / padded) ** 2
    return np.asarray(line[:, None, None] * line[:, None] * line, np.float32)


def prepare_map(volume: NDArray[np.generic], pixel_size_A: float, limit_A: float) -> FourierMap:
    """Make a map ready to be projected.

    Parameters
    ----------
    volume : (a, b, c) real array, zyx
        Any sides: it is padded to a cube. What lies at its border is taken as the background.
    pixel_size_A : float
    limit_A : float
        Finest period that will be asked for, A; a map with larger pixels holds less.

    Raises
    ------
    EngineError
        It is no volume, has values that are not finite, or no contrast.
    """
    if volume.ndim != 3 or min(volume.shape) < 8:
        raise EngineError(f"a map of three axes of at least 8 voxels was expected, not an array of {volume.shape}")
    if not np.isfinite(volume).all():
        raise EngineError("the map has values that are not finite (NaN or infinity)")
    cube = np.asarray(volume, np.float32)
    edge = np.concatenate([face.ravel() for axis in range(3) for face in (cube.take(0, axis), cube.take(-1, axis))])
    cube = np.asarray(resized(cube - np.median(edge), max(cube.shape)))
    if not float(cube.std()) > 0.0:
        raise EngineError("the map is empty: all its voxels are equal")
    side = len(cube)
    cube *= sphere(side, side / 2 - 1.5)
    kept = min(side, 2 * math.ceil(side * pixel_size_A / limit_A + 1))
    if kept < side:
        cube = centred_ifft(np.asarray(resized(centred_fft(cube), kept)))
        pixel_size_A *= side / kept
    padded = PADDING * (kept + kept % 2)
    values = centred_fft(np.asarray(resized(cube / spread_correction(kept, padded), padded)))
    return FourierMap(values, 1.0 / (padded * pixel_size_A), max(limit_A, 2.0 * pixel_size_A))


def polar_slices(
    source: FourierMap, matrices: NDArray[np.float64], grid: PolarGrid, pixel_size_A: float
) -> NDArray[np.complex64]:
    """Projections on the polar grid, as :func:`~cryoppp_annotator.imaging.polar.to_polar` gives them of images.

    Parameters
    ----------
    source : FourierMap
    matrices : (v, 3, 3) float64
        Poses (:mod:`.poses`).
    grid : PolarGrid
    pixel_size_A : float
        Of the images.

    Returns
    -------
    (n_orders, v, n_rings) complex64
    """
    theta = 2.0 * np.pi * np.arange(grid.n_angles // 2) / grid.n_angles
    circle = np.stack([np.cos(theta), np.sin(theta)], axis=1) / (grid.box * pixel_size_A)
    half = np.einsum("tj,vjk->vtk", circle, matrices[:, :2])
    k = half[:, :, None] * grid.radii[:, None].astype(np.float64)
    values = source.at(k)
    full = np.concatenate([values, np.conj(values)], axis=1)
    orders = scipy.fft.fft(full, axis=1, workers=1, overwrite_x=True)[:, : grid.n_orders] / np.float32(grid.n_angles)
    return np.ascontiguousarray(orders.transpose(1, 0, 2), np.complex64)


def mirrored(orders: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Coefficients (n, ...) of the images with y turned round: projections from the opposite side."""
    sign = np.where(np.arange(len(orders)) % 2, -1.0, 1.0).astype(np.float32)
    return np.asarray(np.conj(orders) * sign[:, None, None], np.complex64)


def project(source: FourierMap, angles_deg: NDArray[np.float64], box: int, pixel_size_A: float) -> NDArray[np.float32]:
    """Projections as images, (n, box, box) float32, yx, of RELION's rot, tilt, psi (n, 3), degrees."""
    at = (np.arange(box) - box // 2) / (box * pixel_size_A)
    plane = np.stack(np.meshgrid(at, at, indexing="xy"), axis=-1).reshape(-1, 2)
    out = np.empty((len(angles_deg), box, box), np.float32)
    for i, matrix in enumerate(poses.to_matrix(np.atleast_2d(angles_deg))):
        out[i] = centred_ifft(source.at(plane @ matrix[:2]).reshape(box, box))
    return out


def on_grid(volume: NDArray[np.generic], pixel_size_A: float, box: int, box_pixel_A: float) -> NDArray[np.float32]:
    """A map (a, b, c), zyx, of any box and pixel size on the grid of another: (box, box, box) float32.

    Raises
    ------
    EngineError
        As :func:`prepare_map`.
    """
    source = prepare_map(volume, pixel_size_A, 2.0 * box_pixel_A)
    at = (np.arange(box) - box // 2) / (box * box_pixel_A)
    z, y, x = np.meshgrid(at, at, at, indexing="ij")
    return centred_ifft(source.at(np.stack([x, y, z], axis=-1)))
