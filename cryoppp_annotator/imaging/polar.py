"""Images on a polar grid of their Fourier transform, where an in-plane rotation is a phase.

An image is looked at as ``x_m(r)``: the transform ``F(r, theta)`` sampled exactly (a matrix product with the waves, no
interpolation) on rings, then expanded in ``exp(i m theta)``. Turning the image by ``phi`` multiplies ``x_m`` by
``exp(-i m phi)``. Because images are real, ``x_-m = (-1)^m conj(x_m)``: only ``m >= 0`` is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

#: Bytes the wave matrix of one block of angles may take.
_WAVE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class PolarGrid:
    """Where the transform of a square image is sampled.

    Attributes
    ----------
    box : int
        Side of the images, px; the origin is pixel ``box // 2`` of both axes.
    n_rings : int
        Rings at 1, 2, .. Fourier pixels (frequency ``ring / box`` per px); the zero frequency is left out.
    n_angles : int
        Samples of the full circle, even.
    """

    box: int
    n_rings: int
    n_angles: int

    def __post_init__(self) -> None:
        if not 1 <= self.n_rings <= self.box // 2 or self.n_angles < 4 or self.n_angles % 2:
            raise ValueError(f"no polar grid of {self.n_rings} rings and {self.n_angles} angles in {self.box} px")

    @property
    def n_orders(self) -> int:
        """Angular frequencies kept: 0 .. n_angles / 2 - 1."""
        return self.n_angles // 2

    @property
    def radii(self) -> NDArray[np.float32]:
        """(n_rings,) float32, Fourier px."""
        return np.arange(1, self.n_rings + 1, dtype=np.float32)


def angles_needed(n_rings: int, box: int, radius_px: float) -> int:
    """Even, FFT-friendly number of angles that resolves what an object of ``radius_px`` has on ring ``n_rings``.

    Its transform there varies with angular frequencies up to ``2 pi n_rings radius_px / box``.
    """
    highest = 2.0 * math.pi * n_rings * radius_px / box
    return 2 * int(scipy.fft.next_fast_len(math.ceil(highest) + 2))


@lru_cache(maxsize=4)
def _waves(grid: PolarGrid, first: int, last: int) -> NDArray[np.float32]:
    """Waves of half-circle angles first .. last: (box^2, (last - first) n_rings 2) float32, real and imaginary last."""
    theta = 2.0 * np.pi * np.arange(first, last) / grid.n_angles
    k = grid.radii.astype(np.float64) / grid.box
    at = np.arange(grid.box) - grid.box // 2
    along_x = np.exp(-2j * np.pi * np.multiply.outer(at, np.cos(theta)[:, None] * k)).astype(np.complex64)
    along_y = np.exp(-2j * np.pi * np.multiply.outer(at, np.sin(theta)[:, None] * k)).astype(np.complex64)
    waves = along_y[:, None] * along_x[None]
    return np.ascontiguousarray(waves).view(np.float32).reshape(grid.box**2, -1)


def _blocks(grid: PolarGrid) -> list[tuple[int, int]]:
    """Half-circle angle ranges whose waves fit into memory."""
    half = grid.n_angles // 2
    step = max(1, min(half, _WAVE_BYTES // (8 * grid.box**2 * grid.n_rings)))
    return [(first, min(half, first + step)) for first in range(0, half, step)]


def to_polar(images: NDArray[np.float32], grid: PolarGrid) -> NDArray[np.complex64]:
    """Expand images in angular frequencies on rings of their Fourier transform.

    Parameters
    ----------
    images : (n, box, box) float32, yx
    grid : PolarGrid

    Returns
    -------
    (n_orders, n, n_rings) complex64
        ``x_m(r) = mean over theta of F(r, theta) exp(-i m theta)`` with ``F = sum f exp(-2 pi i k.x)``; theta runs
        from the x (column) axis towards y (row).
    """
    n = len(images)
    half = grid.n_angles // 2
    flat = np.ascontiguousarray(images, np.float32).reshape(n, -1)
    ring = np.empty((n, grid.n_angles, grid.n_rings), np.complex64)
    for first, last in _blocks(grid):
        ring[:, first:last] = (flat @ _waves(grid, first, last)).view(np.complex64).reshape(n, last - first, -1)
    np.conj(ring[:, :half], out=ring[:, half:])  # F(r, theta + pi) = conj F(r, theta)
    orders = scipy.fft.fft(ring, axis=1, workers=1, overwrite_x=True)[:, : grid.n_orders]
    orders /= np.float32(grid.n_angles)
    return np.ascontiguousarray(orders.transpose(1, 0, 2), np.complex64)


def to_rings(orders: NDArray[np.complex64], grid: PolarGrid) -> NDArray[np.complex64]:
    """Values ``F(r, theta)`` on the half circle, (n, n_angles / 2, n_rings), from (n_orders, n, n_rings)."""
    n_orders = len(orders)
    full = np.zeros((orders.shape[1], grid.n_angles, orders.shape[2]), np.complex64)
    full[:, :n_orders] = orders.transpose(1, 0, 2)
    sign = np.where(np.arange(1, n_orders) % 2, -1.0, 1.0).astype(np.float32)
    full[:, -1:-n_orders:-1] = np.conj(full[:, 1:n_orders]) * sign[:, None]
    values = scipy.fft.ifft(full, axis=1, workers=1, overwrite_x=True)[:, : grid.n_angles // 2]
    values *= np.float32(grid.n_angles)
    return np.asarray(values, np.complex64)


def from_polar(orders: NDArray[np.complex64], grid: PolarGrid) -> NDArray[np.float32]:
    """Images that have these coefficients, with nothing at frequency 0 and beyond the last ring.

    Parameters
    ----------
    orders : (n_orders, n, n_rings) complex64, as of :func:`to_polar`; fewer rings than the grid's are taken as zero
    grid : PolarGrid

    Returns
    -------
    (n, box, box) float32, yx
    """
    n, n_rings = orders.shape[1:]
    inner = PolarGrid(grid.box, n_rings, grid.n_angles)
    values = to_rings(orders, inner)
    values *= inner.radii * np.float32(4.0 * np.pi / (grid.n_angles * grid.box**2))
    out = np.zeros((n, grid.box**2), np.float32)
    for first, last in _blocks(inner):
        part = np.ascontiguousarray(values[:, first:last]).view(np.float32).reshape(n, -1)
        out += part @ _waves(inner, first, last).T  # Re(F conj(wave)): both halves of the circle in one
    return out.reshape(n, grid.box, grid.box)


def shift_references(
    orders: NDArray[np.complex64], shifts: NDArray[np.float32], grid: PolarGrid, *, back: bool = False
) -> NDArray[np.complex64]:
    """Coefficients of references moved by each of several shifts.

    Parameters
    ----------
    orders : (n_orders, k, n_rings) complex64, or with ``back`` (n_orders, k, s, n_rings)
    shifts : (s, 2) float32, yx, px
    grid : PolarGrid
        Its box and angles count; the rings are those of ``orders``.
    back : bool
        Move back by each shift and add up: the adjoint.

    Returns
    -------
    (n_orders, k, s, n_rings) complex64, or with ``back`` (n_orders, k, n_rings)
    """
    n_orders, k, n_rings = len(orders), orders.shape[1], orders.shape[-1]
    half = grid.n_angles // 2
    theta = (2.0 * np.pi * np.arange(half) / grid.n_angles).astype(np.float32)
    along = shifts[:, :1] * np.sin(theta) + shifts[:, 1:] * np.cos(theta)
    ring = np.arange(1, n_rings + 1, dtype=np.float32) / grid.box
    phase = np.exp((-2j * np.pi) * along[:, :, None] * ring).astype(np.complex64)  # (s, half, rings)
    inner = PolarGrid(grid.box, n_rings, grid.n_angles)
    if back:
        values = to_rings(orders.reshape(n_orders, -1, n_rings), inner).reshape(k, len(shifts), half, n_rings)
        moved = (values * np.conj(phase)).sum(axis=1)
    else:
        values = to_rings(orders, inner)
        moved = (values[:, None] * phase).reshape(-1, half, n_rings)
    full = np.concatenate([moved, np.conj(moved)], axis=1)
    out = scipy.fft.fft(full, axis=1, workers=1, overwrite_x=True)[:, :n_orders] / np.float32(grid.n_angles)
    out = out.transpose(1, 0, 2)
    shape = (n_orders, k, n_rings) if back else (n_orders, k, len(shifts), n_rings)
    return np.ascontiguousarray(out, np.complex64).reshape(shape)


def rotation_table(n_orders: int, n_angles: int) -> NDArray[np.float32]:
    """Matrix (n_angles, 2 n_orders) float32 that turns coefficients over ``m`` into values at all rotations.

    Columns are ``e_m cos(m phi)`` and then ``e_m sin(m phi)``, ``phi = 2 pi a / n_angles``, ``e_0 = 1``, else 2: one
    product with it is the short inverse FFT over rotations, without a transposition and at the speed of BLAS.
    """
    phase = 2.0 * np.pi / n_angles * np.multiply.outer(np.arange(n_angles), np.arange(n_orders))
    weight = np.where(np.arange(n_orders) == 0, 1.0, 2.0)
    return np.concatenate([weight * np.cos(phase), weight * np.sin(phase)], axis=1).astype(np.float32)


def ring_power(orders: NDArray[Any]) -> NDArray[np.float32]:
    """Mean over the circle of ``|F|^2`` on each ring: (n, n_rings) float32 from (n_orders, n, n_rings)."""
    power = orders.real**2 + orders.imag**2
    return np.asarray(2.0 * power.sum(axis=0) - power[0], np.float32)
