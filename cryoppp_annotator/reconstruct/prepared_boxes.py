"""Boxes made ready: normalised, masked, transformed; each with its CTF."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..errors import EngineError
from ..imaging.ctf import Defocus, Optics, ctf_1d, ctf_2d
from ..imaging.polar import PolarGrid, ring_power, to_polar
from .match import PolarBoxes

#: Radius of the soft mask as a share of the box, and of what counts as background.
MASK = 0.47
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Stack:
    """Images and how each was taken.

    Attributes
    ----------
    images : (n, box, box) real array, yx, particles white
        May be a memory map.
    pixel_size_A : float
    defocus : (n, 3) float64
        Defocus U and V, A, underfocus positive, and the angle of U, degrees; NaN = not known, its CTF is taken as 1.
    optics : Optics
    """

    images: Any
    pixel_size_A: float
    defocus: NDArray[np.float64]
    optics: Optics = field(default_factory=Optics)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box(self) -> int:
        """Side of the images, px."""
        return int(self.images.shape[1])

    def take(self, rows: NDArray[np.intp]) -> Stack:
        """Some of the images, by rows (n,) int, in memory."""
        return Stack(np.asarray(self.images[rows], np.float32), self.pixel_size_A, self.defocus[rows], self.optics)


def check_stack(stack: Stack) -> None:
    """Refuse anything but a stack of square boxes with a pixel size.

    Raises
    ------
    EngineError
    """
    shape = stack.images.shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 16:
        raise EngineError(f"a stack of square boxes of at least 16 px was expected, not an array of {tuple(shape)}")
    if not stack.pixel_size_A > 0:
        raise EngineError("the pixel size of the boxes is not known")
    if stack.defocus.shape != (len(stack), 3):
        raise EngineError(f"{len(stack)} boxes, but {len(stack.defocus)} rows of defocus")


@lru_cache(maxsize=8)
def _masks(box: int, radius: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    yy, xx = np.indices((box, box)) - box // 2
    distance = np.hypot(yy, xx)
    mask = np.clip((box * radius - distance) / 3.0 + 0.5, 0.0, 1.0).astype(np.float32)
    return mask, distance > MASK * box


def degrees_of_freedom(box: int, radius: float = MASK) -> float:
    """Independent samples per Fourier pixel of masked boxes."""
    return float((_masks(box, radius)[0] ** 2).mean())


def normalised(images: NDArray[np.generic], radius: float = MASK) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Background of mean 0 and s.d. 1, masked; and which images can be used.

    Parameters
    ----------
    images : (n, box, box) real array, yx
    radius : float
        Of the soft mask, as a share of the box.

    Returns
    -------
    (n, box, box) float32 : 0 throughout where the image is not usable
    (n,) bool : those that are finite and have contrast
    """
    real = np.asarray(images, np.float32)
    mask, outside = _masks(real.shape[1], radius)
    with np.errstate(invalid="ignore", over="ignore"):
        background = real[:, outside]
        mean, sd = background.mean(axis=1), background.std(axis=1)
        good = np.isfinite(real).all(axis=(1, 2)) & (sd > 1e-6 * (1e-30 + np.abs(real).max(axis=(1, 2))))
    out = np.zeros_like(real)
    out[good] = (real[good] - mean[good, None, None]) / sd[good, None, None] * mask
    return out, good


def polar_boxes(stack: Stack, grid: PolarGrid, radius: float = MASK) -> tuple[PolarBoxes, NDArray[np.bool_]]:
    """A stack on the polar grid, and which of its images can be used."""
    n = len(stack)
    orders = np.empty((grid.n_orders, n, grid.n_rings), np.complex64)
    good = np.zeros(n, bool)
    for start in range(0, n, _CHUNK):
        rows = slice(start, start + _CHUNK)
        images, good[rows] = normalised(stack.images[rows], radius)
        orders[:, rows] = to_polar(images, grid)
    orders /= np.float32(stack.box)
    ctf = ring_ctf(stack, grid)
    power = ring_power(orders)
    orders *= ctf
    return PolarBoxes(orders, power, ctf**2, grid, degrees_of_freedom(stack.box, radius)), good


def ring_ctf(stack: Stack, grid: PolarGrid) -> NDArray[np.float32]:
    """CTF of each image on the rings, at its mean defocus, (n, n_rings)."""
    k = grid.radii / (stack.box * stack.pixel_size_A)
    out = np.ones((len(stack), grid.n_rings), np.float32)
    mean = stack.defocus[:, :2].mean(axis=1)
    for i in np.flatnonzero(np.isfinite(mean)):
        out[i] = ctf_1d(k, float(mean[i]), stack.optics)
    return out


@dataclass(frozen=True, eq=False)
class HalfPlane:
    """The Fourier pixels of a real image that are independent, out to a ring.

    Attributes
    ----------
    k : (p, 2) float64
        Frequencies, xy, Fourier px.
    ring : (p,) intp
        Nearest ring, from 1.
    row, column : (p,) intp
        Where they lie in what ``rfft2`` gives.
    """

    k: NDArray[np.float64]
    ring: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]


@lru_cache(maxsize=16)
def half_plane(box: int, rings: int) -> HalfPlane:
    """Pixels at 0.5 to ``rings + 0.5`` Fourier px."""
    ky, kx = np.meshgrid(scipy.fft.fftfreq(box, 1.0 / box), np.arange(box // 2 + 1.0), indexing="ij")
    distance = np.hypot(ky, kx)
    inside = (distance > 0.5) & (distance < min(rings, box // 2 - 1) + 0.5) & ((kx > 0) | (ky > 0))
    row, column = np.nonzero(inside)
    k = np.stack([kx[inside], ky[inside]], axis=1)
    return HalfPlane(k, np.rint(distance[inside]).astype(np.intp), row, column)


def plane_values(images: NDArray[np.float32], plane: HalfPlane) -> NDArray[np.complex64]:
    """Transform of masked images at the plane's pixels, origin at ``box // 2``, divided by the box: (n, p)."""
    moved = np.fft.ifftshift(images, axes=(1, 2))
    values = scipy.fft.rfft2(moved, workers=1)[:, plane.row, plane.column]
    return np.asarray(values / np.float32(images.shape[1]), np.complex64)


def plane_ctf(stack: Stack, plane: HalfPlane) -> NDArray[np.float32]:
    """CTF of each image, astigmatism included, at the plane's pixels: (n, p)."""
    out = np.ones((len(stack), len(plane.ring)), np.float32)
    box = stack.box
    for i in np.flatnonzero(np.isfinite(stack.defocus).all(axis=1)):
        u, v, angle = (float(value) for value in stack.defocus[i])
        full = ctf_2d((box, box), stack.pixel_size_A, Defocus(u, v, angle), stack.optics)
        out[i] = full[plane.row, plane.column]
    return out
